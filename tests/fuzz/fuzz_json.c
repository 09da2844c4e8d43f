// SPDX-License-Identifier: MIT
/*
 * Fuzzes the JSON reader. Any input: the answer does not depend on how deep the tree is built. What is
 * accepted: the tree is whole and within the text, written out again it reads back equal, and json-c, which
 * is laxer, accepts it too and sees the same values.
 */
#include <json_tokener.h>
#include <json_object.h>
#include <math.h>

#include "lib/base/buf.h"
#include "lib/base/decimal.h"
#include "lib/base/json.h"
#include "lib/base/limits.h"
#include "lib/base/utf8.h"
#include "tests/fuzz/fuzz.h"

#ifndef FUZZ_LIBFUZZER
static const char *const seeds[] = {
	"{\"name\":\"\\u00e9\\ud83d\\ude00é\",\"list\":[1,-2.5e+10,true,false,null,{\"deep\":[[{}]]}],\"\\u0061\":{\"\":[ ]}}",
	"[0,-0,0.5,1e5,1E-5,123456789012345678901234567890,9223372036854775807,-9223372036854775808]",
	"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0000\\uD834\\uDD1E\"", "{\"a\":{\"a\":{\"a\":{\"b\":[],\"c\":\"\"}}}}",
	"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]",
	"{\"a\":1,\"b\":2,\"c\":3,\"d\":4,\"e\":5,\"f\":6,\"g\":7,\"h\":8,\"i\":9,\"j\":0,\"k\":1,\"l\":2,\"m\":3,\"n\":4}",
	" \t\r\n{ \"k\" : [ \"x\" , \"y\" ] } \n",
	"\"\xc2\x80\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xf0\x90\x80\x80\xf4\x8f\xbf\xbf\"",
	"null", "true", "-1.5e-3", "\"\"", "[]", "{}",
};

static const char *const tokens[] = {
	"{", "}", "[", "]", ",", ":", "\"", "\\", "\\u", "\\ud800", "\\udc00", "\\u0000", "\\u0061", "\\\"", "0",
	"00", "1", "-", "+", ".",
	"e", "E+", "1e400", "NaN", "Infinity", "null", "true", "false", "\"a\"", "\"a\":", ",\"a\":1",
	"\"\\u0061\":2", " ", "\t", "\n",
	"\x0c", "\x01", "\x7f", "\xef\xbb\xbf", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xff", "é", "/*",
	"//", "'",
	"[[[[[[[[[[[[[[[[", "]]]]]]]]]]]]]]]]", "{\"\":",
	"11111111111111111111111111111111111111111111111111111111111111111111111111111111",
};
#endif

static void walk(const struct jv *v, const char *text, size_t n)
{
	unsigned children = 0;

	HOLDS(v->raw >= text && v->raw + v->raw_len <= text + n && v->raw_len > 0);
	if (v->type == J_STRING) {
		HOLDS(utf8_valid(v->str, v->str_len) && v->str[v->str_len] == '\0');
		HOLDS(v->has_nul == (memchr(v->str, '\0', v->str_len) != NULL));
	}
	for (const struct jv *m = v->child; m; m = m->next, children++) {
		HOLDS((m->key != NULL) == (v->type == J_OBJECT));
		HOLDS(!m->key || jv_get(v, m->key) == m);
		walk(m, text, n);
	}
	HOLDS(children == v->n);
	HOLDS(v->n == 0 || v->type == J_OBJECT || v->type == J_ARRAY);
}

static void write_value(struct buf *b, const struct jv *v)
{
	const char *sep = "";

	if (v->type == J_STRING) {
		buf_addc(b, '"');
		buf_add_json_escaped(b, v->str, v->str_len);
		buf_addc(b, '"');
		return;
	}
	if (v->type != J_ARRAY && v->type != J_OBJECT) {
		buf_add(b, v->raw, v->raw_len);
		return;
	}
	buf_addc(b, v->type == J_ARRAY ? '[' : '{');
	for (const struct jv *m = v->child; m; m = m->next, sep = ",") {
		buf_adds(b, sep);
		if (m->key) {
			buf_addc(b, '"');
			buf_add_json_escaped(b, m->key, strlen(m->key));
			buf_adds(b, "\":");
		}
		write_value(b, m);
	}
	buf_addc(b, v->type == J_ARRAY ? ']' : '}');
}

static void same(const struct jv *a, const struct jv *b)
{
	HOLDS(a->type == b->type && a->n == b->n);
	HOLDS((a->key == NULL) == (b->key == NULL) && (!a->key || strcmp(a->key, b->key) == 0));
	if (a->type == J_STRING)
		HOLDS(a->str_len == b->str_len && memcmp(a->str, b->str, a->str_len) == 0);
	if (a->type == J_NUMBER)
		HOLDS(a->raw_len == b->raw_len && memcmp(a->raw, b->raw, a->raw_len) == 0);
	for (const struct jv *x = a->child, *y = b->child; x; x = x->next, y = y->next)
		same(x, y);
}

/* Integers and doubles of a number agree with each other and with its decimal digits. */
static void numbers_agree(const struct jv *v)
{
	struct decimal d;
	struct decimal whole;
	int64_t i;
	double f;
	char text[32];

	decimal_read(&d, v->raw, v->raw_len);
	HOLDS(decimal_cmp(&d, &d) == 0);
	if (jv_int(v, &i)) {
		int n = snprintf(text, sizeof(text), "%lld", (long long)i);

		decimal_read(&whole, text, (size_t)n);
		HOLDS(decimal_is_whole(&d) && decimal_cmp(&d, &whole) == 0);
		HOLDS(jv_double(v, &f) && f == (double)i);
	}
	if (jv_double(v, &f) && fabs(f) < 9e18 && f == trunc(f) && fabs(f) > 0 && d.n <= 15)
		HOLDS(decimal_is_whole(&d));
}

/* json-c 0.16 reads many a surrogate pair (\uD836\uDD1E) as U+FFFD: what holds such characters is not compared. */
static bool beyond_bmp(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if ((unsigned char)s[i] >= 0xf0)
			return true;
	}
	return false;
}

static void same_as_other(const struct jv *v, struct json_object *o)
{
	static const json_type types[] = { json_type_null, json_type_boolean, json_type_boolean, json_type_null,
		json_type_string,
					   json_type_array, json_type_object };
	struct json_object *member;
	size_t i = 0;

	if (v->type == J_NUMBER) {
		double f;

		HOLDS(json_object_is_type(o, json_type_int) || json_object_is_type(o, json_type_double));
		/* Beyond int64 the other reader clamps. */
		if (jv_double(v, &f) && fabs(f) < 9e18)
			HOLDS(json_object_get_double(o) == f);
		numbers_agree(v);
		return;
	}
	HOLDS(json_object_is_type(o, types[v->type]));
	for (const struct jv *m = v->child; m && m->key; m = m->next) {
		if (beyond_bmp(m->key, strlen(m->key)))
			return;
	}
	if (v->type == J_STRING && !beyond_bmp(v->str, v->str_len))
		HOLDS((size_t)json_object_get_string_len(o) == v->str_len && memcmp(json_object_get_string(o), v->str,
			v->str_len) == 0);
	if (v->type == J_ARRAY)
		HOLDS(json_object_array_length(o) == v->n);
	if (v->type == J_OBJECT)
		HOLDS((size_t)json_object_object_length(o) == v->n);
	for (const struct jv *m = v->child; m; m = m->next, i++) {
		if (v->type == J_OBJECT)
			HOLDS(json_object_object_get_ex(o, m->key, &member));
		else
			member = json_object_array_get_idx(o, i);
		same_as_other(m, member);
	}
}

static void check_other_reader(const char *text, size_t n, const struct jv *v)
{
	struct json_tokener *tok = json_tokener_new_ex(LIMIT_JSON_DEPTH + 2);

	json_tokener_set_flags(tok, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	struct json_object *o = json_tokener_parse_ex(tok, text, (int)n);
	enum json_tokener_error err = json_tokener_get_error(tok);

	/* It waits for more after a number that ends the text. */
	if (err == json_tokener_continue) {
		o = json_tokener_parse_ex(tok, "", 1);
		err = json_tokener_get_error(tok);
	}
	HOLDS(err == json_tokener_success);
	same_as_other(v, o);
	json_object_put(o);
	json_tokener_free(tok);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const int depths[] = { 0, 1, 3 };
	const char *text = (const char *)data;
	struct arena a;
	struct error e;
	struct jv *v = NULL;
	struct jv *again = NULL;
	struct buf b;

	arena_init(&a);
	error_init(&e, &a);
	enum err err = json_parse(&a, text, size, JSON_BUILD_ALL, &v, &e);

	HOLDS(err == OK || (err == ERR_BAD_JSON && e.code == err && e.message[0]));
	for (size_t i = 0; i < sizeof(depths) / sizeof(*depths); i++) {
		struct jv *root;

		HOLDS(json_parse(&a, text, size, depths[i], &root, &e) == err);
		HOLDS(err || (root->type == v->type && root->n == v->n && root->raw_len == v->raw_len));
	}
	if (!err) {
		walk(v, text, size);
		buf_init(&b);
		write_value(&b, v);
		HOLDS(json_parse(&a, b.p, b.n, JSON_BUILD_ALL, &again, &e) == OK);
		same(v, again);
		check_other_reader(text, size, v);
		buf_release(&b);
	}
	arena_release(&a);
	return 0;
}

FUZZ_MAIN(200000)
