// SPDX-License-Identifier: MIT
/* lib/base/json: what is JSON and what is not, what the tree holds, and exact numbers (lib/base/decimal). */
#include <CUnit/Basic.h>

#include "lib/base/decimal.h"
#include "lib/base/json.h"
#include "lib/base/limits.h"

void suite_json(void);

static struct arena arena;
static struct error error;

static int setup(void)
{
	arena_init(&arena);
	return 0;
}

static int teardown(void)
{
	arena_release(&arena);
	return 0;
}

/*
 * Parse a copy that ends where the text ends, so that the sanitizer sees a read past it. The copy stays in
 * the arena, since nodes point into it.
 */
static enum err parse(const char *text, size_t n, int depth, struct jv **root)
{
	char *tight = malloc(n ? n : 1);
	char *kept = arena_alloc(&arena, n);

	memcpy(tight, text, n);
	memcpy(kept, text, n);
	error_init(&error, &arena);
	enum err first = json_parse(&arena, tight, n, 0, NULL, &error);

	free(tight);
	error_init(&error, &arena);
	enum err err = json_parse(&arena, kept, n, depth, root, &error);

	CU_ASSERT_EQUAL(first, err);
	return err;
}

static struct jv *tree(const char *text)
{
	struct jv *v = NULL;

	if (parse(text, strlen(text), JSON_BUILD_ALL, &v) || !v) {
		fprintf(stderr, "not parsed: %s: %s\n", text, error.message);
		CU_FAIL_FATAL("the test's own text is not JSON");
	}
	return v;
}

/* A text with its length, for those that hold U+0000. */
#define T(s) { s, sizeof(s) - 1 }

struct text {
	const char *s;
	size_t n;
};

static const struct text accepted[] = {
	/* white space, and every kind of value alone */
	T("null"), T("true"), T("false"), T("0"), T("\"\""), T("[]"), T("{}"), T(" \t\r\n[ \t\r\n] \t\r\n"),
	T(" { } "), T("[ ]"), T("\n1\n"),
	/* arrays and objects */
	T("[1]"), T("[1,2]"), T("[null, true, false, \"\", [], {}]"), T("[[[[[]]]]]"), T("[[],[[]]]"),
	T("{\"a\":1}"), T("{\"a\":1,\"b\":2}"), T("{\"\":0}"), T("{\"a\":{\"a\":{\"a\":[]}}}"),
	T("[{\"a\":1},{\"a\":1}]"), T("{\"a\":1,\"A\":2,\" a\":3,\"a \":4}"), T("{\"a\" : 1 , \"b\" : 2}"),
	T("{\"\\u0061\":1,\"b\":2}"), T("{\"\xc3\xa9\":1,\"e\xcc\x81\":2}"),
	/* numbers */
	T("-0"), T("0"), T("-1"), T("10"), T("1234567890"), T("0.0"), T("-0.0"), T("0.5"), T("1.5e10"), T("1e5"),
	T("1E5"), T("1e+5"), T("1e-5"), T("0e0"), T("0e+1"), T("-0e-0"), T("1e00005"), T("123.456e-789"),
	T("1e9999"), T("-1e9999"), T("123456789012345678901234567890"), T("0.000000000000000000000000000001"),
	T("1.7976931348623157e308"), T("5e-324"), T("[-0,0.1,2e3]"),
	/* strings: every escape, and UTF-8 at the edges of each length */
	T("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\""), T("\"\\u0000\""), T("\"\\u001f\""), T("\"\\uFFFF\""),
	T("\"\\uabcd\\uABCD\""), T("\"\\uD834\\uDD1E\""), T("\"\\ud800\\udc00\""), T("\"\\udbff\\udfff\""),
	T("\"/\""), T("\"\x7f\""), T("\" \""), T("\"\xc2\x80\""), T("\"\xdf\xbf\""), T("\"\xe0\xa0\x80\""),
	T("\"\xed\x9f\xbf\""), T("\"\xee\x80\x80\""), T("\"\xef\xbf\xbf\""), T("\"\xf0\x90\x80\x80\""),
	T("\"\xf4\x8f\xbf\xbf\""), T("\"\xe2\x80\xa8\""), T("\"\\\\u0061\""), T("\"\xef\xbb\xbf\""), T("\"\\u2028\""),
	T("\"abc\\\\\""), T("\"\\\\\\\"\""),
};

static const struct text refused[] = {
	/* nothing, or something after the value */
	T(""), T(" "), T("\n"), T("\xef\xbb\xbf{}"), T("{}x"), T("{} {}"), T("[],"), T("1 2"), T("nullnull"),
	T("\"a\"\"b\""), T("[]\0"), T("\0"), T("{}#"), T("1\x0b"), T("\x0c""1"), T("\xc2\xa0""1"),
	/* words */
	T("nul"), T("nulL"), T("NULL"), T("True"), T("TRUE"), T("fals"), T("tru"), T("undefined"), T("NaN"),
	T("nan"), T("-NaN"), T("Infinity"), T("-Infinity"), T("inf"), T("'a'"), T("a"), T("nullx"), T("truefalse"),
	/* numbers */
	T("-"), T("+1"), T("01"), T("-01"), T("00"), T("1."), T("1.e5"), T(".5"), T("-.5"), T("1e"), T("1e+"),
	T("1E-"), T("1e1.5"), T("0x10"), T("1_000"), T("1,000"), T("--1"), T("-+1"), T("1e5e5"), T("1.2.3"), T("012"),
	T("1-"), T("1+1"), T("-a"), T("0.1.2"), T("1a"), T("\xef\xbc\x91"), T("1."), T("[1.]"), T("2.e+3"), T("- 1"),
	/* strings */
	T("\""), T("\"a"), T("\"\\\""), T("\"\\"), T("\"\\x41\""), T("\"\\'\""), T("\"\\a\""), T("\"\\0\""),
	T("\"\\u\""), T("\"\\u0\""), T("\"\\u00\""), T("\"\\u000\""), T("\"\\u00G0\""), T("\"\\U0041\""),
	T("\"\\u+041\""), T("\"\\u 041\""), T("\"\\u{41}\""), T("\"\t\""), T("\"\n\""), T("\"\r\""), T("\"\0\""),
	T("\"\x01\""), T("\"\x1f\""), T("\"a\nb\""), T("\"\\\n\""), T("\"\\\0\""),
	/* surrogates */
	T("\"\\ud800\""), T("\"\\udbff\""), T("\"\\udc00\""), T("\"\\udfff\""), T("\"\\ud800\\ud800\""),
	T("\"\\udc00\\ud800\""), T("\"\\ud800x\""), T("\"\\ud800\\n\""), T("\"\\ud800\\u0041\""), T("\"\\ud800\\u\""),
	T("\"\\ud800\\"), T("\"\\ud800\\udc0\""), T("\"\\ud800\\uD7FF\""), T("\"\\ud800\\ue000\""),
	/* UTF-8: stray, cut, overlong, surrogates, past U+10FFFF */
	T("\"\x80\""), T("\"\xbf\""), T("\"\xc3\""), T("\"\xc3"), T("\"\xe2\x82\""), T("\"\xe2\x82"),
	T("\"\xf0\x9f\x98\""), T("\"\xf0\x9f\x98"), T("\"\xc0\x80\""), T("\"\xc0\xaf\""), T("\"\xc1\xbf\""),
	T("\"\xe0\x80\x80\""), T("\"\xe0\x9f\xbf\""), T("\"\xf0\x80\x80\x80\""), T("\"\xf0\x8f\xbf\xbf\""),
	T("\"\xed\xa0\x80\""), T("\"\xed\xbf\xbf\""), T("\"\xed\xa0\xb4\xed\xb4\x9e\""), T("\"\xf4\x90\x80\x80\""),
	T("\"\xf5\x80\x80\x80\""), T("\"\xf8\x88\x80\x80\x80\""), T("\"\xfe\""), T("\"\xff\""), T("\"\xc3\x28\""),
	T("\"\xe9\""), T("\xff"), T("[\xe9]"),
	/* arrays */
	T("["), T("]"), T("[1"), T("[1,"), T("[,"), T("[,1]"), T("[1,]"), T("[1,,2]"), T("[1 2]"), T("[1}"),
	T("[\"a\""),
	T("[1:2]"), T("[[]"), T("[]]"), T("[1,\n"), T("[*]"), T("[//]"), T("[1/**/]"), T("[tru]"), T("[nul"),
	/* objects */
	T("{"), T("}"), T("{]"), T("{\"a\""), T("{\"a\":"), T("{\"a\":1"), T("{\"a\":1,"), T("{\"a\":1,}"), T("{,}"),
	T("{\"a\"}"), T("{\"a\":}"), T("{:1}"), T("{a:1}"), T("{'a':1}"), T("{1:1}"), T("{null:1}"), T("{\"a\" 1}"),
	T("{\"a\",1}"), T("{\"a\"::1}"), T("{\"a\":1 \"b\":2}"), T("{\"a\":1,,\"b\":2}"), T("{\"a\":1}}"),
	T("{\"a\":1]"), T("{[]:1}"), T("{\"a\":1;\"b\":2}"), T("{\"a\":1/**/}"), T("{\"\\u0000\":1}"),
	T("{\"a\\u0000b\":1}"), T("{\"\xff\":1}"), T("{\"\\ud800\":1}"), T("{\"a"), T("{\"a\":tru}"), T("{\"a\": "),
	/* the same name twice, however it is spelt */
	T("{\"a\":1,\"a\":2}"), T("{\"a\":1,\"a\":1}"), T("{\"a\":1,\"b\":2,\"a\":3}"), T("{\"\":1,\"\":2}"),
	T("{\"a\":1,\"\\u0061\":2}"), T("{\"\\u0061\":1,\"a\":2}"), T("{\"\\u0061\":1,\"\\u0061\":2}"),
	T("{\"/\":1,\"\\/\":2}"), T("{\"\xc3\xa9\":1,\"\\u00e9\":2}"), T("{\"\\u00E9\":1,\"\\u00e9\":2}"),
	T("{\"\\ud83d\\ude00\":1,\"\xf0\x9f\x98\x80\":2}"), T("{\"\\\"\":1,\"\\u0022\":2}"),
	T("[{\"x\":{\"a\":1,\"a\":2}}]"), T("{\"\\n\":1,\"\\u000a\":2}"),
};

static void test_accepted(void)
{
	for (size_t i = 0; i < sizeof(accepted) / sizeof(*accepted); i++) {
		struct jv *v = NULL;

		if (parse(accepted[i].s, accepted[i].n, JSON_BUILD_ALL, &v)) {
			fprintf(stderr, "refused: %s: %s\n", accepted[i].s, error.message);
			CU_FAIL("valid JSON was refused");
		}
		CU_ASSERT_PTR_NOT_NULL(v);
	}
}

static void test_refused(void)
{
	for (size_t i = 0; i < sizeof(refused) / sizeof(*refused); i++) {
		for (int depth = 0; depth <= JSON_BUILD_ALL; depth += depth < 2 ? 1 : JSON_BUILD_ALL - 2) {
			if (parse(refused[i].s, refused[i].n, depth, NULL) != ERR_BAD_JSON) {
				fprintf(stderr, "accepted at depth %d: %s\n", depth, refused[i].s);
				CU_FAIL("what is not JSON was accepted");
			}
			CU_ASSERT_EQUAL(strncmp(error.message, "Malformed JSON at byte ", 23), 0);
		}
	}
}

/* Every beginning of a text is refused, unless it is a shorter number. */
static void test_truncated(void)
{
	static const char text[] = "{\"name\":\"\\u00e9\\ud83d\\ude00\xc3\xa9\",\"list\":[1,-2.5e+10,true,false,null,"
				   "{\"deep\":[[{}]]}],\"\\u0061\":{\"\":[ ]}}";

	CU_ASSERT_EQUAL(parse(text, sizeof(text) - 1, JSON_BUILD_ALL, NULL), OK);
	for (size_t n = 0; n < sizeof(text) - 1; n++)
		CU_ASSERT_EQUAL(parse(text, n, JSON_BUILD_ALL, NULL), ERR_BAD_JSON);
}

static void nested(char *out, size_t depth, char open, char close)
{
	memset(out, open, depth);
	memset(out + depth, close, depth);
}

static void test_depth(void)
{
	char text[400];

	nested(text, 64, '[', ']');
	CU_ASSERT_EQUAL(parse(text, 128, JSON_BUILD_ALL, NULL), OK);
	CU_ASSERT_EQUAL(parse(text, 128, 0, NULL), OK);
	nested(text, 65, '[', ']');
	CU_ASSERT_EQUAL(parse(text, 130, JSON_BUILD_ALL, NULL), ERR_BAD_JSON);
	CU_ASSERT_PTR_NOT_NULL(strstr(error.message, "at byte 64: nested deeper than 64"));
	CU_ASSERT_EQUAL(parse(text, 130, 0, NULL), ERR_BAD_JSON);
	nested(text, 200, '[', ']');
	CU_ASSERT_EQUAL(parse(text, 400, 0, NULL), ERR_BAD_JSON);
	/* Objects count the same. */
	for (size_t depth = 64; depth <= 65; depth++) {
		char *p = text;

		for (size_t i = 0; i < depth - 1; i++)
			p = (char *)memcpy(p, "{\"\":", 4) + 4;
		*p++ = '{';
		memset(p, '}', depth);
		CU_ASSERT_EQUAL(parse(text, (size_t)(p - text) + depth, 0, NULL), depth == 64 ? OK : ERR_BAD_JSON);
	}
	/* Side by side is not nested. */
	CU_ASSERT_EQUAL(parse("[[[]],[[]],[[]]]", 16, 0, NULL), OK);
}

static void test_number_length(void)
{
	char text[500];

	memset(text, '7', sizeof(text));
	CU_ASSERT_EQUAL(parse(text, LIMIT_NUMBER_LEN, 0, NULL), OK);
	CU_ASSERT_EQUAL(parse(text, LIMIT_NUMBER_LEN + 1, 0, NULL), ERR_BAD_JSON);
	text[1] = '.';
	CU_ASSERT_EQUAL(parse(text, LIMIT_NUMBER_LEN + 1, 0, NULL), ERR_BAD_JSON);
	text[1] = 'e';
	CU_ASSERT_EQUAL(parse(text, LIMIT_NUMBER_LEN, 0, NULL), OK);
	CU_ASSERT_EQUAL(parse(text, LIMIT_NUMBER_LEN + 1, 0, NULL), ERR_BAD_JSON);
}

/* Enough keys for the sorted search, the double at the end, in the middle, and spelt with an escape. */
static void test_many_keys(void)
{
	static const char *const extra[] = { "\"last\"", "\"k0\"", "\"k77\"", "\"\\u006b499\"" };

	for (size_t i = 0; i < sizeof(extra) / sizeof(*extra); i++) {
		char *text = NULL;
		size_t n = 0;
		FILE *f = open_memstream(&text, &n);

		CU_ASSERT_PTR_NOT_NULL_FATAL(f);
		fputc('{', f);
		for (int k = 0; k < 500; k++)
			fprintf(f, "\"k%d\":%d,", k, k);
		fprintf(f, "%s:0}", extra[i]);
		fclose(f);
		CU_ASSERT_EQUAL(parse(text, n, 0, NULL), i ? ERR_BAD_JSON : OK);
		CU_ASSERT_EQUAL(parse(text, n, JSON_BUILD_ALL, NULL), i ? ERR_BAD_JSON : OK);
		free(text);
	}
	/* Both sides of the change from comparing pairs to sorting. */
	for (int count = 11; count <= 15; count++) {
		char text[256];
		int at = 0;

		for (int k = 0; k < count; k++)
			at += snprintf(text + at, sizeof(text) - (size_t)at, "%c\"%c\":0", k ? ',' : '{', 'a' + k);
		int plain = at;

		text[at++] = '}';
		CU_ASSERT_EQUAL(parse(text, (size_t)at, 0, NULL), OK);
		at = plain + snprintf(text + plain, sizeof(text) - (size_t)plain, ",\"%c\":0}", 'a' + count - 1);
		CU_ASSERT_EQUAL(parse(text, (size_t)at, 0, NULL), ERR_BAD_JSON);
	}
}

static void test_message(void)
{
	static const struct { const char *text, *says; } cases[] = {
		{ "{\"a\":1,\"a\":2}", "byte 0: a member name stands twice" },
		{ "[1,2", "byte 4: ',' or ']'" }, { "{\"a\":1", "byte 6: ',' or '}'" }, { "{\"a\"}", "byte 4: ':'" },
		{ "{x", "byte 1: a member name in quotes" }, { "", "byte 0: the text ends" },
		{ "[01]", "byte 1: a number may not" },
		{ "[1.]", "byte 1: a digit must follow the decimal point" },
		{ "1e", "byte 0: a digit must follow the exp" },
		{ "\"\\q\"", "byte 1: an unknown escape" }, { "\"\\u12", "byte 1: \\u needs four" },
		{ "\"ab", "byte 0: a string is not closed" },
		{ "\"\\ud800\"", "byte 1: a high surrogate" }, { "\"\\udc00\"", "byte 1: a low surrogate" },
		{ "\"a\tb\"", "byte 2: a control character" }, { "\"a\xff\"", "byte 2: invalid UTF-8" },
		{ "true false", "byte 5: something follows" },
		{ "{\"\\u0000\":1}", "byte 1: a member name holds U+0000" },
		{ "\"\\", "byte 2: the text ends inside a string" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		CU_ASSERT_EQUAL(parse(cases[i].text, strlen(cases[i].text), JSON_BUILD_ALL, NULL), ERR_BAD_JSON);
		if (!strstr(error.message, cases[i].says)) {
			fprintf(stderr, "%s: says \"%s\"\n", cases[i].text, error.message);
			CU_FAIL("the message does not say where or why");
		}
	}
}

static void test_tree(void)
{
	static const char text[] = " {\"a\" : [1, \"two\" , {\"b\":null}], \"c\":true,\"e\\u0301\\n\":\"x\\ty\"} ";
	const struct jv *v = tree(text);
	const struct jv *a = jv_get(v, "a");

	CU_ASSERT_EQUAL(v->type, J_OBJECT);
	CU_ASSERT_EQUAL(v->n, 3);
	CU_ASSERT_PTR_NULL(v->key);
	CU_ASSERT_EQUAL(v->raw_len, sizeof(text) - 3);
	CU_ASSERT_PTR_NOT_NULL_FATAL(a);
	CU_ASSERT_EQUAL(a->type, J_ARRAY);
	CU_ASSERT_EQUAL(a->n, 3);
	CU_ASSERT_STRING_EQUAL(jv_text(&arena, a), "[1, \"two\" , {\"b\":null}]");
	CU_ASSERT_STRING_EQUAL(a->child->next->str, "two");
	CU_ASSERT_EQUAL(a->child->next->str_len, 3);
	CU_ASSERT_STRING_EQUAL(jv_text(&arena, a->child->next), "\"two\"");
	CU_ASSERT_EQUAL(jv_get(a->child->next->next, "b")->type, J_NULL);
	CU_ASSERT_PTR_NULL(a->child->next->next->next);
	CU_ASSERT_EQUAL(a->next->type, J_TRUE);
	CU_ASSERT_STRING_EQUAL(jv_str(v, "e\xcc\x81\n"), "x\ty");
	CU_ASSERT_PTR_NULL(jv_get(v, "b"));
	CU_ASSERT_PTR_NULL(jv_get(a, "a"));
	CU_ASSERT_PTR_NULL(jv_get(NULL, "a"));
	CU_ASSERT_PTR_NULL(jv_str(v, "c"));
	CU_ASSERT_PTR_NULL(jv_text(&arena, NULL));
	for (int t = J_NULL; t <= J_OBJECT; t++)
		CU_ASSERT_PTR_NOT_NULL(jtype_name((enum jtype)t));
}

/* Deeper than asked a value is checked, counted and kept as text. */
static void test_build_depth(void)
{
	static const char text[] = "{\"a\":{\"b\":{\"c\":\"\\u0064\"}}}";
	struct jv *v;

	CU_ASSERT_EQUAL(parse(text, sizeof(text) - 1, 0, &v), OK);
	CU_ASSERT_PTR_NULL(v->child);
	CU_ASSERT_EQUAL(v->n, 1);
	CU_ASSERT_EQUAL(parse(text, sizeof(text) - 1, 1, &v), OK);
	CU_ASSERT_PTR_NULL(jv_get(v, "a")->child);
	CU_ASSERT_EQUAL(jv_get(v, "a")->n, 1);
	CU_ASSERT_STRING_EQUAL(jv_text(&arena, jv_get(v, "a")), "{\"b\":{\"c\":\"\\u0064\"}}");
	CU_ASSERT_EQUAL(parse(text, sizeof(text) - 1, 2, &v), OK);
	CU_ASSERT_PTR_NULL(jv_get(jv_get(v, "a"), "b")->child);
	CU_ASSERT_EQUAL(parse(text, sizeof(text) - 1, 3, &v), OK);
	CU_ASSERT_STRING_EQUAL(jv_str(jv_get(jv_get(v, "a"), "b"), "c"), "d");
	CU_ASSERT_EQUAL(parse("\"\\u0064\"", 8, 0, &v), OK);
	CU_ASSERT_STRING_EQUAL(v->str, "d");
}

static void test_strings(void)
{
	const struct jv *v = tree("[\"\\\"\\\\\\/\\b\\f\\n\\r\\t\",\"a\\u0000b\",\"\\u00e9\\u20ac\\ud83d\\ude00\",\"\xf0\x9f\x98\x80\","
				  "\"\",\"\\uffff\",\"tail\\n\",\"\\nhead\"]");
	const struct jv *s = v->child;

	CU_ASSERT_STRING_EQUAL(s->str, "\"\\/\b\f\n\r\t");
	CU_ASSERT_FALSE(s->has_nul);
	s = s->next;
	CU_ASSERT(s->has_nul);
	CU_ASSERT_EQUAL(s->str_len, 3);
	CU_ASSERT_EQUAL(memcmp(s->str, "a\0b", 4), 0);
	s = s->next;
	CU_ASSERT_STRING_EQUAL(s->str, "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80");
	CU_ASSERT_STRING_EQUAL(s->next->str, "\xf0\x9f\x98\x80");
	s = s->next->next;
	CU_ASSERT_EQUAL(s->str_len, 0);
	CU_ASSERT_STRING_EQUAL(s->str, "");
	CU_ASSERT_STRING_EQUAL(s->next->str, "\xef\xbf\xbf");
	CU_ASSERT_STRING_EQUAL(s->next->next->str, "tail\n");
	CU_ASSERT_STRING_EQUAL(s->next->next->next->str, "\nhead");
}

static void test_int(void)
{
	static const struct { const char *text; bool is; int64_t n; } cases[] = {
		{ "0", true, 0 }, { "-0", true, 0 }, { "-0.0e5", true, 0 }, { "0e999999999999", true, 0 },
		{ "42", true, 42 },
		{ "9223372036854775807", true, INT64_MAX }, { "-9223372036854775808", true, INT64_MIN },
		{ "9223372036854775808", false, 0 }, { "-9223372036854775809", false, 0 },
		{ "9223372036854775807.0", true, INT64_MAX }, { "-922337203685477580.8e1", true, INT64_MIN },
		{ "9.223372036854775808e18", false, 0 }, { "3.0", true, 3 }, { "1e3", true, 1000 },
		{ "1.5e1", true, 15 },
		{ "1500e-2", true, 15 }, { "1e18", true, 1000000000000000000 },
		{ "9007199254740993.0", true, 9007199254740993 },
		{ "1.5", false, 0 }, { "1e-400", false, 0 }, { "1.0000000000000000000001", false, 0 },
		{ "1e19", false, 0 },
		{ "1e400", false, 0 }, { "1e99999999999999999999", false, 0 }, { "0.1e1", true, 1 },
		{ "15e-1", false, 0 },
		{ "true", false, 0 }, { "\"1\"", false, 0 }, { "null", false, 0 }, { "[1]", false, 0 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		int64_t n = 0;
		bool is = jv_int(tree(cases[i].text), &n);

		if (is != cases[i].is || (is && n != cases[i].n)) {
			fprintf(stderr, "jv_int(%s) = %d, %lld\n", cases[i].text, is, (long long)n);
			CU_FAIL("jv_int");
		}
	}
	CU_ASSERT_FALSE(jv_int(NULL, &(int64_t){ 0 }));
}

static void test_members(void)
{
	const struct jv *v = tree("{\"n\":7,\"d\":0.5,\"big\":1e999,\"small\":1e-999,\"t\":true,\"f\":false,\"s\":\"x\",\"z\":null}");
	double d;

	CU_ASSERT_EQUAL(jv_int_or(v, "n", 1), 7);
	CU_ASSERT_EQUAL(jv_int_or(v, "d", 1), 1);
	CU_ASSERT_EQUAL(jv_int_or(v, "none", 1), 1);
	CU_ASSERT_EQUAL(jv_double_or(v, "d", 1), 0.5);
	CU_ASSERT_EQUAL(jv_double_or(v, "n", 1), 7);
	CU_ASSERT_EQUAL(jv_double_or(v, "big", 1), 1);
	CU_ASSERT_EQUAL(jv_double_or(v, "s", 1), 1);
	CU_ASSERT(jv_double(jv_get(v, "small"), &d) && d == 0);
	CU_ASSERT_TRUE(jv_bool_or(v, "t", false));
	CU_ASSERT_FALSE(jv_bool_or(v, "f", true));
	CU_ASSERT_TRUE(jv_bool_or(v, "z", true));
	CU_ASSERT_FALSE(jv_bool_or(v, "none", false));
	CU_ASSERT_STRING_EQUAL(jv_str(v, "s"), "x");
}

static struct decimal dec(const char *text)
{
	struct decimal d;

	decimal_read(&d, text, strlen(text));
	return d;
}

static void test_decimal_order(void)
{
	/* ascending; a row's texts are equal */
	static const char *const rows[][4] = {
		{ "-1e999999999999", "-1e99999999999" }, { "-1e400" }, { "-10.5", "-1.05e1", "-105e-1" }, { "-10.4" },
		{ "-1e-400" },
		{ "0", "-0", "0.000", "-0e77" }, { "1e-400", "0.1e-399", "10e-401" },
		{ "0.1", "1e-1", "0.10", "100e-3" },
		{ "0.10000000000000000000000000000001" }, { "1", "1.0", "10e-1", "0.01e2" },
		{ "9007199254740992" }, { "9007199254740993", "9007199254740993.0", "900719925474099.3e1" },
		{ "9007199254740993.00000000000001" }, { "1e400", "10e399", "0.001e403" }, { "1.1e400" },
	};
	const size_t n = sizeof(rows) / sizeof(*rows);

	for (size_t i = 0; i < n * 4; i++) {
		for (size_t j = 0; j < n * 4; j++) {
			if (!rows[i / 4][i % 4] || !rows[j / 4][j % 4])
				continue;
			struct decimal a = dec(rows[i / 4][i % 4]);
			struct decimal b = dec(rows[j / 4][j % 4]);
			int c = decimal_cmp(&a, &b);

			CU_ASSERT_EQUAL((c > 0) - (c < 0), (i / 4 > j / 4) - (i / 4 < j / 4));
		}
	}
	CU_ASSERT(decimal_is_whole(&(struct decimal){ 0 }));
}

static void test_decimal_multiple(void)
{
	static const struct { const char *d, *unit; bool is; } cases[] = {
		{ "0", "3", true }, { "-0.0", "0.7", true }, { "6", "3", true }, { "-6", "3", true },
		{ "7", "3", false },
		{ "0.3", "0.1", true }, { "1.1", "0.1", true }, { "0.35", "0.1", false }, { "4.02", "0.01", true },
		{ "0.0075", "0.0001", true }, { "0.00751", "0.0001", false }, { "1e308", "0.5", true },
		{ "1e308", "3", false },
		{ "3e308", "3", true }, { "1e999999999", "7", false }, { "7e999999999", "7", true },
		{ "1e-5", "1", false },
		{ "1.5", "1", false }, { "4.5", "1.5", true }, { "10", "2.5", true }, { "12", "2.5", false },
		{ "100", "1e2", true },
		{ "150", "1e2", false }, { "1", "1e-30", true }, { "1e-30", "1e-30", true },
		{ "1e-31", "1e-30", false },
		{ "123456789012345678901234567890", "123456789", true },
		{ "123456789012345678901234567891", "123456789", false },
		{ "999999999999999999", "999999999999999999", true },
		{ "1999999999999999998", "999999999999999999", true },
		{ "1999999999999999999", "999999999999999999", false },
		{ "5", "0", false }, { "5", "1234567890123456789", false },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct decimal d = dec(cases[i].d);
		struct decimal unit = dec(cases[i].unit);

		if (decimal_is_multiple(&d, &unit) != cases[i].is) {
			fprintf(stderr, "%s of %s\n", cases[i].d, cases[i].unit);
			CU_FAIL("decimal_is_multiple");
		}
	}
}

void suite_json(void)
{
	CU_pSuite s = CU_add_suite("json", setup, teardown);

	CU_add_test(s, "JSON is accepted", test_accepted);
	CU_add_test(s, "what is not JSON is refused, at every build depth", test_refused);
	CU_add_test(s, "a cut text is refused", test_truncated);
	CU_add_test(s, "64 levels and no more", test_depth);
	CU_add_test(s, "length of a number", test_number_length);
	CU_add_test(s, "double names in big objects", test_many_keys);
	CU_add_test(s, "messages say where and why", test_message);
	CU_add_test(s, "tree", test_tree);
	CU_add_test(s, "build depth", test_build_depth);
	CU_add_test(s, "strings are decoded", test_strings);
	CU_add_test(s, "integers are exact", test_int);
	CU_add_test(s, "members with defaults", test_members);
	CU_add_test(s, "decimals: order and equality", test_decimal_order);
	CU_add_test(s, "decimals: multiples", test_decimal_multiple);
}
