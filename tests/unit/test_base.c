// SPDX-License-Identifier: MIT
/* lib/base: arena, buffers and the JSON writer, UTF-8, errors, log lines. */
#include <CUnit/Basic.h>
#include <math.h>
#include <unistd.h>

#include "lib/base/arena.h"
#include "lib/base/buf.h"
#include "lib/base/clock.h"
#include "lib/base/error.h"
#include "lib/base/json.h"
#include "lib/base/log.h"
#include "lib/base/place.h"
#include "lib/base/utf8.h"

void suite_base(void);

static struct arena arena;
static struct error error;
static struct buf buf;

static int setup(void)
{
	arena_init(&arena);
	buf_init(&buf);
	return 0;
}

static int teardown(void)
{
	arena_release(&arena);
	buf_release(&buf);
	return 0;
}

/* --- arena ---------------------------------------------------------------------------------------------- */

static void test_arena_alloc(void)
{
	struct arena a;
	unsigned char *p[600];
	size_t sum = 0;

	arena_init(&a);
	for (size_t i = 0; i < 600; i++) {
		/* Mostly small, some larger than a chunk. */
		size_t n = i % 50 == 49 ? 20000 + i : i;

		p[i] = arena_alloc(&a, n);
		CU_ASSERT_EQUAL((uintptr_t)p[i] % _Alignof(max_align_t), 0);
		memset(p[i], (int)(i & 0xff), n);
		sum += n;
	}
	CU_ASSERT(a.used >= sum);
	for (size_t i = 0; i < 600; i++) {
		size_t n = i % 50 == 49 ? 20000 + i : i;

		for (size_t k = 0; k < n; k++) {
			if (p[i][k] != (i & 0xff)) {
				CU_FAIL("two allocations overlap");
				break;
			}
		}
	}
	arena_reset(&a);
	CU_ASSERT_EQUAL(a.used, 0);
	unsigned char *zero = arena_zalloc(&a, 1000);

	for (size_t i = 0; i < 1000; i++)
		CU_ASSERT_EQUAL_FATAL(zero[i], 0);
	arena_release(&a);
	arena_release(&a);
}

/* A loan of a megabyte is returned at the reset; the first chunk stays. */
static void test_arena_reset(void)
{
	struct arena a;

	arena_init(&a);
	char *small = arena_alloc(&a, 10);
	char *big = arena_alloc(&a, 1 << 20);

	memset(big, 1, 1 << 20);
	/* What was left of the chunk is still used after a large one-off. */
	CU_ASSERT_PTR_EQUAL(arena_alloc(&a, 16), small + 16);
	arena_reset(&a);
	CU_ASSERT_PTR_EQUAL(arena_alloc(&a, 10), small);
	arena_reset(&a);
	/* Only large ones: nothing to keep. */
	arena_release(&a);
	arena_init(&a);
	memset(arena_alloc(&a, 50000), 1, 50000);
	arena_reset(&a);
	CU_ASSERT_PTR_NULL(a.head);
	CU_ASSERT_PTR_NOT_NULL(arena_alloc(&a, 0));
	arena_release(&a);
}

static void test_arena_wipe(void)
{
	struct arena a;

	arena_init_wiped(&a);
	char *secret = arena_strdup(&a, "correct horse battery staple");

	arena_reset(&a);
	/* The chunk is kept, so its bytes may be looked at. */
	for (size_t i = 0; i < 28; i++)
		CU_ASSERT_EQUAL(secret[i], 0);
	CU_ASSERT(a.wipe);
	arena_release(&a);
}

static void test_arena_strings(void)
{
	CU_ASSERT_PTR_NULL(arena_strdup(&arena, NULL));
	CU_ASSERT_STRING_EQUAL(arena_strdup(&arena, ""), "");
	CU_ASSERT_STRING_EQUAL(arena_strndup(&arena, "abcdef", 3), "abc");
	CU_ASSERT_STRING_EQUAL(arena_printf(&arena, "%d-%s", 7, "x"), "7-x");
	char *wide = arena_printf(&arena, "%040000d", 5);

	CU_ASSERT_EQUAL(strlen(wide), 40000);
	CU_ASSERT_EQUAL(wide[39999], '5');
	char *copy = xstrdup("x");

	copy = xrealloc(copy, 0);
	free(copy);
	free(xmalloc(0));
	free(xcalloc(0, 8));
}

/* --- buffers and the writer -------------------------------------------------------------------------------- */

static void test_buf(void)
{
	struct buf b;

	buf_init(&b);
	CU_ASSERT_STRING_EQUAL(b.p, "");
	for (int i = 0; i < 10000; i++) {
		buf_addf(&b, "%d,", i % 10);
		CU_ASSERT_EQUAL_FATAL(b.p[b.n], '\0');
	}
	CU_ASSERT_EQUAL(b.n, 20000);
	buf_addf(&b, "%s", "");
	buf_addf(&b, "%0300d", 1);
	CU_ASSERT_EQUAL(b.n, 20300);
	buf_reset(&b);
	CU_ASSERT_EQUAL(b.n, 0);
	CU_ASSERT(b.cap >= 20300);
	buf_grow(&b, 100000);
	buf_reset(&b);
	CU_ASSERT(b.cap < 100000);
	buf_add(&b, "a\0b", 3);
	buf_addc(&b, 'c');
	buf_adds(&b, "d");
	CU_ASSERT_EQUAL(memcmp(b.p, "a\0bcd", 6), 0);
	buf_release(&b);
	buf_release(&b);
}

static void test_escapes(void)
{
	static const struct { const char *in; size_t n; const char *out; } cases[] = {
		{ "plain", 5, "plain" }, { "\"\\/", 3, "\\\"\\\\/" }, { "\n\r\t\b\f", 5, "\\n\\r\\t\\u0008\\u000c" },
		{ "\0\x1f\x7f", 3, "\\u0000\\u001f\\u007f" },
		{ "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", 9, "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80" },
		{ "a\xff""b", 3, "a\\ufffdb" }, { "\xc3", 1, "\\ufffd" },
		{ "\xed\xa0\x80", 3, "\\ufffd\\ufffd\\ufffd" },
		{ "\xf0\x9f\x98", 3, "\\ufffd\\ufffd\\ufffd" }, { "\xc0\x80", 2, "\\ufffd\\ufffd" }, { "", 0, "" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		buf_reset(&buf);
		buf_add_json_escaped(&buf, cases[i].in, cases[i].n);
		CU_ASSERT_STRING_EQUAL(buf.p, cases[i].out);
	}
	/* Every byte, alone and between others, makes a string that the reader takes. */
	for (int c = 0; c < 256; c++) {
		char text[3] = { 'x', (char)c, 'y' };
		struct jv *v;

		buf_reset(&buf);
		buf_addc(&buf, '"');
		buf_add_json_escaped(&buf, text, 3);
		buf_addc(&buf, '"');
		error_init(&error, &arena);
		CU_ASSERT_EQUAL_FATAL(json_parse(&arena, buf.p, buf.n, 0, &v, &error), OK);
		CU_ASSERT(c >= 0x80 ? v->str_len == 5 : v->str_len == 3 && v->str[1] == (char)c);
	}
}

static void test_writer(void)
{
	struct jw w;

	buf_reset(&buf);
	jw_init(&w, &buf);
	jw_obj(&w);
	jw_kstr(&w, "s", "a\"b");
	jw_kstr(&w, "none", NULL);
	jw_kint(&w, "min", INT64_MIN);
	jw_kdouble(&w, "d", 0.5);
	jw_kbool(&w, "b", false);
	jw_knull(&w, "z");
	jw_kraw(&w, "raw", "[1, 2]");
	jw_kraw(&w, "raw0", NULL);
	jw_kraw(&w, "raw1", "");
	jw_ktime(&w, "t", 1767225600123);
	jw_ktime(&w, "t0", 0);
	jw_key(&w, "k\n");
	jw_arr(&w);
	jw_arr(&w);
	jw_end_arr(&w);
	jw_obj(&w);
	jw_end_obj(&w);
	jw_bool(&w, true);
	jw_strn(&w, "xyz", 2);
	jw_int(&w, -1);
	jw_end_arr(&w);
	jw_kint(&w, "last", 1);
	jw_end_obj(&w);
	CU_ASSERT_STRING_EQUAL(buf.p,
		"{\"s\":\"a\\\"b\",\"none\":null,\"min\":-9223372036854775808,\"d\":0.5,\"b\":false,"
			       "\"z\":null,\"raw\":[1, 2],\"raw0\":null,\"raw1\":null,\"t\":\"2026-01-01T00:00:00.123Z\","
			       "\"t0\":null,\"k\\n\":[[],{},true,\"xy\",-1],\"last\":1}");
	CU_ASSERT_EQUAL(w.depth, 0);
	error_init(&error, &arena);
	CU_ASSERT_EQUAL(json_parse(&arena, buf.p, buf.n, JSON_BUILD_ALL, NULL, &error), OK);
}

static void test_doubles(void)
{
	static const struct { double v; const char *text; } cases[] = {
		{ 0, "0" }, { 1, "1" }, { -1.5, "-1.5" }, { 0.1, "0.1" }, { 0.2, "0.2" },
		{ 0.1 + 0.2, "0.30000000000000004" },
		{ 1e21, "1e+21" }, { 1e-7, "1e-07" }, { 123456789, "123456789" }, { NAN, "null" }, { INFINITY, "null" },
		{ -INFINITY, "null" }, { 1.0 / 3, "0.3333333333333333" },
		{ 1.7976931348623157e308, "1.7976931348623157e+308" },
		{ 5e-324, "4.94066e-324" }, { 100, "100" },
	};
	struct jw w;
	uint64_t bits = 88172645463325252u;

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		buf_reset(&buf);
		jw_init(&w, &buf);
		jw_double(&w, cases[i].v);
		CU_ASSERT_STRING_EQUAL(buf.p, cases[i].text);
	}
	/* Any double reads back as itself. */
	for (int i = 0; i < 20000; i++) {
		double v;

		bits ^= bits << 13;
		bits ^= bits >> 7;
		bits ^= bits << 17;
		memcpy(&v, &bits, sizeof(v));
		if (!isfinite(v))
			continue;
		buf_reset(&buf);
		jw_init(&w, &buf);
		jw_double(&w, v);
		CU_ASSERT_FATAL(strtod(buf.p, NULL) == v);
	}
}

static void test_utf8(void)
{
	/* What is written is read, over every code point; surrogates are not characters. */
	for (uint32_t cp = 1; cp <= 0x10ffff; cp += cp < 0x11000 ? 1 : 257) {
		char text[5] = "";
		size_t n = utf8_encode(cp, text);
		bool surrogate = cp >= 0xd800 && cp <= 0xdfff;

		text[n] = '\0';
		CU_ASSERT_EQUAL_FATAL(utf8_char_len(text, n), surrogate ? 0 : n);
		if (n > 1)
			CU_ASSERT_EQUAL_FATAL(utf8_char_len(text, n - 1), 0);
		if (!surrogate)
			CU_ASSERT_EQUAL_FATAL(utf8_count(text), 1);
	}
	CU_ASSERT(utf8_valid("", 0));
	CU_ASSERT(utf8_valid("a\xc3\xa9", 3));
	CU_ASSERT_FALSE(utf8_valid("a\xc3\xa9", 2));
	CU_ASSERT_EQUAL(utf8_count("a\xc3\xa9\xf0\x9f\x98\x80z"), 4);
}

/* --- errors ---------------------------------------------------------------------------------------------------------- */

static void test_error_table(void)
{
	for (int code = OK; code < ERR_COUNT; code++) {
		int status = err_status((enum err)code);

		CU_ASSERT(status == 200 || (status >= 400 && status <= 504));
		CU_ASSERT(*err_type((enum err)code) && *err_text((enum err)code) && *err_name((enum err)code));
		CU_ASSERT(code == OK || *err_message((enum err)code));
		/* The text is what clients switch on: one code, one text. */
		for (int other = OK; other < code; other++)
			CU_ASSERT_STRING_NOT_EQUAL(err_text((enum err)other), err_text((enum err)code));
	}
	CU_ASSERT_EQUAL(err_status(ERR_COUNT), 500);
	CU_ASSERT_STRING_EQUAL(err_name((enum err)9999), "ERR_INTERNAL");
	CU_ASSERT_EQUAL(err_status(ERR_STALE_FENCE), 409);
	CU_ASSERT_STRING_EQUAL(err_type(ERR_VALIDATION), "validation");
}

static void test_error_fields(void)
{
	char path[ERROR_PATH_MAX + 50];
	unsigned listed = 0;

	error_init(&error, &arena);
	CU_ASSERT_EQUAL(error_set(&error, ERR_INTERNAL, "%s %d", "sqlite says", 5), ERR_INTERNAL);
	CU_ASSERT_STRING_EQUAL(error.detail, "sqlite says 5");
	CU_ASSERT_EQUAL(error_public(&error, ERR_CONFLICT, "%0300d", 1), ERR_CONFLICT);
	CU_ASSERT_EQUAL(strlen(error.message), sizeof(error.message) - 1);
	/* A code that was set stays. */
	CU_ASSERT_EQUAL(error_field(&error, "$.x", "bad", "%s", "m"), ERR_CONFLICT);
	error_init(&error, &arena);
	for (int i = 0; i < 250; i++)
		CU_ASSERT_EQUAL(error_field(&error, arena_printf(&arena, "$[%d]", i), "bad", "item %d", i),
			ERR_VALIDATION);
	for (const struct field_error *f = error.fields; f; f = f->next, listed++)
		CU_ASSERT_STRING_EQUAL(f->message, arena_printf(&arena, "item %u", listed));
	CU_ASSERT_EQUAL(listed, ERROR_FIELDS_MAX);
	CU_ASSERT_EQUAL(error.n_fields, 250);
	/* A path is the caller's text: cut, and never inside a character. */
	for (size_t shift = 0; shift < 3; shift++) {
		memset(path, 'x', shift);
		for (size_t i = shift; i + 3 < sizeof(path); i += 3)
			memcpy(path + i, "\xe2\x82\xac", 4);
		error_init(&error, &arena);
		error_field(&error, path, "bad", "%s", "m");
		CU_ASSERT(strlen(error.fields->path) <= ERROR_PATH_MAX + 3);
		CU_ASSERT(utf8_valid(error.fields->path, strlen(error.fields->path)));
		CU_ASSERT_STRING_EQUAL(error.fields->path + strlen(error.fields->path) - 3, "…");
	}
}

static void test_place(void)
{
	error_init(&error, &arena);
	struct place root = place_root(&arena, &error, "$");
	struct place stages = place_member(&root, "stages");
	struct place third = place_item(&stages, 2);
	struct place odd = place_member(&third, "a.b \"c\"");
	struct place none = place_member(&odd, "");

	complain(&root, "c", "%s", "m");
	complain(&third, "c", "%s", "m");
	complain(&none, "c", "%d", 7);
	CU_ASSERT_STRING_EQUAL(error.fields->path, "$");
	CU_ASSERT_STRING_EQUAL(error.fields->next->path, "$.stages[2]");
	CU_ASSERT_STRING_EQUAL(error.fields->next->next->path, "$.stages[2][\"a.b \\\"c\\\"\"][\"\"]");
	CU_ASSERT_STRING_EQUAL(error.fields->next->next->message, "7");
}

/* --- log --------------------------------------------------------------------------------------------------------------- */

/* What one call writes to stderr, as a tree. */
static const struct jv *logged(void (*call)(void))
{
	static char text[8192];
	int pipes[2];
	int keep = dup(STDERR_FILENO);
	struct jv *v = NULL;

	CU_ASSERT_FATAL(keep >= 0 && pipe(pipes) == 0);
	dup2(pipes[1], STDERR_FILENO);
	call();
	dup2(keep, STDERR_FILENO);
	close(keep);
	close(pipes[1]);
	ssize_t n = read(pipes[0], text, sizeof(text));

	close(pipes[0]);
	if (n <= 0)
		return NULL;
	/* One line, whole. */
	CU_ASSERT_PTR_EQUAL(memchr(text, '\n', (size_t)n), text + n - 1);
	error_init(&error, &arena);
	CU_ASSERT_EQUAL(json_parse(&arena, text, (size_t)n, JSON_BUILD_ALL, &v, &error), OK);
	return v;
}

static void say_info(void)
{
	log_info("hello \"%s\"\n\x01", "w\xff");
}

static void say_debug(void)
{
	log_debug("%s", "not shown");
	log_at(LOG_DEBUG, "%s", "not shown");
}

static void say_error(void)
{
	struct error e;

	error_init(&e, &arena);
	(void)error_set(&e, ERR_UNAVAILABLE, "connection refused");
	log_error(LOG_ERROR, &e, "%s", "no store");
}

static void say_timed(void)
{
	log_timed(LOG_WARN, 1500, "%0*d", 5000, 1);
}

static void test_log(void)
{
	enum log_level level = LOG_INFO;
	int64_t ms;

	log_init("unit", LOG_INFO);
	*log_context() = (struct log_context){ .request_id = "r-1", .task_id = "t-1", .user_id = "" };
	const struct jv *v = logged(say_info);

	CU_ASSERT_PTR_NOT_NULL_FATAL(v);
	CU_ASSERT_STRING_EQUAL(jv_str(v, "level"), "INFO");
	CU_ASSERT_STRING_EQUAL(jv_str(v, "component"), "unit");
	CU_ASSERT_STRING_EQUAL(jv_str(v, "message"), "hello \"w\xef\xbf\xbd\"\n\x01");
	CU_ASSERT_STRING_EQUAL(jv_str(v, "request_id"), "r-1");
	CU_ASSERT_STRING_EQUAL(jv_text(&arena, jv_get(v, "context")), "{\"task_id\":\"t-1\"}");
	CU_ASSERT(time_parse(jv_str(v, "timestamp"), &ms));
	log_context_clear();
	CU_ASSERT_PTR_NULL(logged(say_debug));
	log_set_level(LOG_DEBUG);
	CU_ASSERT(log_enabled(LOG_DEBUG));
	log_set_level(LOG_INFO);
	v = logged(say_error);
	CU_ASSERT_STRING_EQUAL(jv_str(jv_get(v, "error"), "type"), "store_unavailable");
	CU_ASSERT_STRING_EQUAL(jv_str(jv_get(v, "error"), "message"), "connection refused");
	CU_ASSERT_PTR_NULL(jv_get(v, "request_id"));
	v = logged(say_timed);
	CU_ASSERT_EQUAL(jv_double_or(v, "duration_ms", 0), 1.5);
	CU_ASSERT(strlen(jv_str(v, "message")) < 1024);
	CU_ASSERT(log_level_parse("warning", &level) && level == LOG_WARN);
	CU_ASSERT(log_level_parse("Critical", &level) && level == LOG_CRITICAL);
	CU_ASSERT_FALSE(log_level_parse("loud", &level));
	CU_ASSERT_EQUAL(level, LOG_CRITICAL);
}

void suite_base(void)
{
	CU_pSuite s = CU_add_suite("base", setup, teardown);

	CU_add_test(s, "arena: allocations do not overlap", test_arena_alloc);
	CU_add_test(s, "arena: reset", test_arena_reset);
	CU_add_test(s, "arena: secrets are wiped", test_arena_wipe);
	CU_add_test(s, "arena: strings", test_arena_strings);
	CU_add_test(s, "buf", test_buf);
	CU_add_test(s, "escapes", test_escapes);
	CU_add_test(s, "JSON writer", test_writer);
	CU_add_test(s, "doubles", test_doubles);
	CU_add_test(s, "UTF-8", test_utf8);
	CU_add_test(s, "error table", test_error_table);
	CU_add_test(s, "bad fields", test_error_fields);
	CU_add_test(s, "paths", test_place);
	CU_add_test(s, "log lines", test_log);
}
