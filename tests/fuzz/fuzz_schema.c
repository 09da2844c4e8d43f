// SPDX-License-Identifier: MIT
/*
 * Fuzzes what checks requests and results. An input is two lines. As two JSON texts they are a validation
 * schema and a value: laws of logic must hold (s or not s, never both; s and s is s; a value equals itself
 * in another spelling). The second line alone is also read by a request table, as a body and as a query
 * string; and a body that the table takes must meet the JSON Schema that the table writes about itself, and
 * the other way round.
 *
 * Mutated text is seldom a schema, so each input's hash also grows a schema, a value and a body, which are
 * then put to the same laws.
 */
#include "lib/base/jsonschema.h"
#include "lib/base/schema.h"
#include "tests/fuzz/fuzz.h"

#ifndef FUZZ_LIBFUZZER
static const char *const seeds[] = {
	"{\"type\":\"object\",\"properties\":{\"id\":{\"type\":\"integer\",\"minimum\":0},\"s\":{\"pattern\":\"^a+$\"}},\"required\":[\"id\"],"
	"\"additionalProperties\":false}\n{\"id\":1,\"s\":\"aa\"}",
	"{\"items\":{\"anyOf\":[{\"type\":\"string\",\"minLength\":1},{\"multipleOf\":0.5,\"exclusiveMaximum\":10}]},\"uniqueItems\":true,"
	"\"minItems\":1,\"maxItems\":4}\n[\"a\",1.5,\"b\",2]",
	"{\"prefixItems\":[true,{\"const\":{\"a\":[1.0,null]}}],\"items\":false}\n[0,{\"a\":[1,null]}]",
	"{\"oneOf\":[{\"enum\":[1,2,\"x\"]},{\"not\":{\"type\":[\"null\",\"boolean\"]}}],\"allOf\":[{\"maximum\":1e3}]}\n2.0",
	"{\"pattern\":\"(a|b)*c?[^d]{2,3}$\"}\n\"ababcxy\"",
	"{\"uniqueItems\":true}\n[1,1.0,\"1\",[1],{\"a\":1,\"b\":2},{\"b\":2,\"a\":1},0,-0.0,10,1e1]",
	"true\n{\"str\":\"ab\",\"slug\":\"a.b\",\"int\":5,\"flag\":true,\"choice\":\"red\",\"json\":[1],\"obj\":{},\"strs\":[\"x\"],\"slugs\":[\"a\",\"b\"],"
	"\"sub\":{\"name\":\"n\"},\"subs\":[{\"name\":\"a\",\"n\":1},{\"name\":\"b\"}]}",
	"{}\nstr=a%20b&int=3&flag=false&choice=blue&slugs=a,b&strs=a,b&mask=red,blue",
	"{}\ntime=2026-01-31T12:00:00Z&uuid=0190b5a8-7c4e-7d3a-9f00-0123456789ab&num=0.5",
};

static const char *const tokens[] = {
	"{", "}", "[", "]", ",", ":", "\"", "\\", "\n", "null", "true", "false", "0", "1", "-1", "0.5", "1e400",
	"1e-400", "9007199254740993",
	"\"a\"", "\"\"", "{}", "[]", "\"type\":", "\"string\"", "\"integer\"", "\"number\"", "\"enum\":[",
	"\"const\":", "\"anyOf\":[", "\"oneOf\":[",
	"\"allOf\":[", "\"not\":", "\"properties\":{", "\"required\":[", "\"additionalProperties\":", "\"items\":",
	"\"prefixItems\":[",
	"\"minItems\":", "\"maxItems\":", "\"uniqueItems\":true", "\"minimum\":", "\"exclusiveMinimum\":",
	"\"multipleOf\":", "\"minLength\":",
	"\"maxLength\":", "\"pattern\":\"", "\"$ref\":", "\"title\":\"", "(a+)+$", "(?:", "(?=", "(?!", ")*",
	"{1,999}", "[^", "\\\\1", "\\\\p{L}", "\\\\d",
	"%41", "%00", "%", "&", "=", "+", ",", "int=", "slugs=", "mask=red,", "&sub=", "\"int\":", "\"sub\":{",
	"\"subs\":[{", "\"n\":", "\"name\":\"",
	"\"strs\":[", "\"text\":\"", "\xc3\xa9", "\xf0\x9f\x98\x80", "\x7f", "\\u0000", "\\u0061",
};
#endif

/* --- request tables ------------------------------------------------------------------------------------- */

struct part {
	uint64_t present;
	const char *name;
	int64_t n;
};

struct record {
	uint64_t present;
	const char *str, *slug, *uuid, *url, *email, *json, *obj;
	int64_t i, time;
	double num;
	bool flag;
	int choice;
	uint32_t mask;
	struct strs strs, slugs, uuids;
	struct part *sub;
	struct objs subs;
};

static const char *const colours[] = { "red", "green", "blue", NULL };

static const struct field part_fields[] = {
	{ .name = "name", .kind = F_STR, .required = true, .offset = offsetof(struct part, name), .min = 1, .max = 5 },
	{ .name = "n", .kind = F_INT, .offset = offsetof(struct part, n), .max = 9 },
};

static SCHEMA(part_schema, struct part, "Part", part_fields, "");

#define AT(f) offsetof(struct record, f)
/* Kinds of which the table and its JSON Schema say exactly the same. */
#define PLAIN_FIELDS													\
	{ .name = "str", .kind = F_STR, .offset = AT(str), .min = 2, .max = 4 },					\
	{ .name = "slug", .kind = F_SLUG, .offset = AT(slug) },								\
	{ .name = "int", .kind = F_INT, .offset = AT(i), .min = -5, .max = 10, .dflt = 7 },				\
	{ .name = "flag", .kind = F_BOOL, .offset = AT(flag), .dflt = 1 },						\
	{ .name = "choice", .kind = F_ENUM, .offset = AT(choice), .names = colours, .dflt = 2 },			\
	{ .name = "json", .kind = F_JSON, .offset = AT(json) },								\
	{ .name = "obj", .kind = F_JSON_OBJ, .offset = AT(obj) },							\
	{ .name = "strs", .kind = F_STRS, .offset = AT(strs), .min = 1, .max = 3 },					\
	{ .name = "slugs", .kind = F_SLUGS, .offset = AT(slugs), .max = 3 },						\
	{ .name = "sub", .kind = F_OBJ, .offset = AT(sub), .sub = &part_schema },					\
	{ .name = "subs", .kind = F_OBJS, .offset = AT(subs), .sub = &part_schema, .min = 1, .max = 2 }

static const struct field plain_fields[] = { PLAIN_FIELDS };
static const struct field all_fields[] = {
	PLAIN_FIELDS,
	{ .name = "uuid", .kind = F_UUID, .offset = AT(uuid) },
	{ .name = "url", .kind = F_URL, .offset = AT(url) },
	{ .name = "email", .kind = F_EMAIL, .offset = AT(email) },
	{ .name = "num", .kind = F_NUM, .offset = AT(num), .max = 1 },
	{ .name = "time", .kind = F_TIME, .offset = AT(time) },
	{ .name = "uuids", .kind = F_UUIDS, .offset = AT(uuids), .max = 3, .alias = "text" },
	{ .name = "mask", .kind = F_ENUMS, .offset = AT(mask), .names = colours },
};
/* Kinds that a query string can hold. */
static const struct field query_fields[] = {
	{ .name = "str", .kind = F_STR, .offset = AT(str), .max = 4, .alias = "text" },
	{ .name = "slug", .kind = F_SLUG, .offset = AT(slug) },
	{ .name = "int", .kind = F_INT, .offset = AT(i), .min = -5, .max = 10 },
	{ .name = "flag", .kind = F_BOOL, .offset = AT(flag) },
	{ .name = "choice", .kind = F_ENUM, .offset = AT(choice), .names = colours },
	{ .name = "strs", .kind = F_STRS, .offset = AT(strs), .max = 3 },
	{ .name = "slugs", .kind = F_SLUGS, .offset = AT(slugs), .max = 3 },
	{ .name = "uuid", .kind = F_UUID, .offset = AT(uuid) },
	{ .name = "url", .kind = F_URL, .offset = AT(url) },
	{ .name = "email", .kind = F_EMAIL, .offset = AT(email) },
	{ .name = "num", .kind = F_NUM, .offset = AT(num), .max = 1 },
	{ .name = "time", .kind = F_TIME, .offset = AT(time) },
	{ .name = "uuids", .kind = F_UUIDS, .offset = AT(uuids), .max = 3 },
	{ .name = "mask", .kind = F_ENUMS, .offset = AT(mask), .names = colours },
};

static SCHEMA(plain_schema, struct record, "Plain", plain_fields, "");
static SCHEMA(all_schema, struct record, "All", all_fields, "");
static SCHEMA(query_schema, struct record, "Query", query_fields, "");

/* The answer and the error say the same. */
static bool settled(enum err err, const struct error *e)
{
	HOLDS(err == OK || err == ERR_VALIDATION);
	HOLDS((err == OK) == (e->n_fields == 0));
	HOLDS((e->fields != NULL) == (e->n_fields > 0));
	for (const struct field_error *f = e->fields; f; f = f->next)
		HOLDS(*f->path && strlen(f->path) <= ERROR_PATH_MAX + 3 && *f->code && *f->message);
	return err == OK;
}

static struct jv *must_parse(struct arena *a, const char *text)
{
	struct error e;
	struct jv *v = NULL;

	error_init(&e, a);
	HOLDS(json_parse(a, text, strlen(text), JSON_BUILD_ALL, &v, &e) == OK);
	return v;
}

/* Places where a table knowingly says more or less than JSON Schema: null is "absent", control characters. */
static bool is_special(const struct jv *v)
{
	if (v->type == J_NULL || v->has_nul)
		return true;
	for (size_t i = 0; v->type == J_STRING && i < v->str_len; i++) {
		if ((unsigned char)v->str[i] < 0x20 || v->str[i] == 0x7f)
			return true;
	}
	for (const struct jv *m = v->child; m; m = m->next) {
		if (is_special(m))
			return true;
	}
	return false;
}

static void fuzz_body(struct arena *a, const struct jv *v)
{
	struct error e;
	struct buf b;
	struct jw w;
	void *out;

	error_init(&e, a);
	settled(schema_read(&all_schema, v, a, &out, &e), &e);
	error_init(&e, a);
	bool taken = settled(schema_read(&plain_schema, v, a, &out, &e), &e);

	if (is_special(v))
		return;
	buf_init(&b);
	jw_init(&w, &b);
	schema_write(&plain_schema, &w);
	const struct jv *schema = must_parse(a, b.p);

	error_init(&e, a);
	HOLDS(jsonschema_check(schema, "$", &e) == OK);
	HOLDS(settled(jsonschema_validate(schema, v, "$", &e), &e) == taken);
	buf_release(&b);
}

static void fuzz_query(struct arena *a, const char *text, size_t n)
{
	struct error e;
	void *out;

	for (int form = 0; form < 2; form++) {
		error_init(&e, a);
		settled(schema_read_query(&query_schema, arena_strndup(a, text, n), form, a, &out, &e), &e);
	}
}

/* --- validation schemas ------------------------------------------------------------------------------------ */

static bool is_costly(const struct error *e)
{
	for (const struct field_error *f = e->fields; f; f = f->next) {
		if (strcmp(f->code, "too_costly") == 0)
			return true;
	}
	return e->n_fields > ERROR_FIELDS_MAX;
}

/* Does v meet this schema? -1: that took too much work to say. */
static int meets(struct arena *a, const char *schema, const struct jv *v)
{
	struct error e;

	error_init(&e, a);
	bool good = settled(jsonschema_validate(must_parse(a, schema), v, "$", &e), &e);

	return is_costly(&e) ? -1 : good;
}

static bool agree(int a, int b)
{
	return a < 0 || b < 0 || a == b;
}

static void fuzz_validation(struct arena *a, const struct jv *schema, const struct jv *v)
{
	const char *s = jv_text(a, schema);
	struct error e;

	error_init(&e, a);
	bool known = settled(jsonschema_check(schema, "schema", &e), &e);
	unsigned bad = e.n_fields;

	error_init(&e, a);
	bool good = settled(jsonschema_validate(schema, v, "$", &e), &e);

	if (!known) {
		/* What the check refuses, a validation refuses for the same reasons. */
		HOLDS(!good && e.n_fields == bad && strncmp(e.fields->path, "schema", 6) == 0);
		return;
	}
	int answer = is_costly(&e) ? -1 : good;
	/* As deep as may be, there is no room around it. */
	struct jv *scrap;
	const char *twice = arena_printf(a, "{\"allOf\":[%s,%s]}", s, s);

	error_init(&e, a);
	if (json_parse(a, twice, strlen(twice), 0, &scrap, &e))
		return;
	HOLDS(agree(meets(a, twice, v), answer));
	HOLDS(agree(meets(a, arena_printf(a, "{\"anyOf\":[false,%s]}", s), v), answer));
	HOLDS(agree(meets(a, arena_printf(a, "{\"oneOf\":[%s,false]}", s), v), answer));
	HOLDS(agree(meets(a, arena_printf(a, "{\"not\":%s}", s), v), answer < 0 ? -1 : !answer));
	HOLDS(agree(meets(a, arena_printf(a, "{\"oneOf\":[true,%s]}", s), v), answer < 0 ? -1 : !answer));
}

/* v in other words: members backwards, characters as escapes, whole numbers with a fraction. */
static void write_otherwise(struct buf *b, const struct jv *v)
{
	const struct jv *members[64];
	unsigned n = 0;

	if (v->type == J_NUMBER) {
		buf_add(b, v->raw, v->raw_len);
		if (v->raw_len < 300 && !memchr(v->raw, '.', v->raw_len) && !memchr(v->raw, 'e', v->raw_len) &&
		    !memchr(v->raw, 'E', v->raw_len))
			buf_adds(b, v->raw[v->raw_len - 1] == '0' && v->raw_len < 3 ? ".00" : "0.00e-1");
	} else if (v->type == J_STRING) {
		buf_addc(b, '"');
		for (size_t i = 0; i < v->str_len; i++) {
			unsigned char c = (unsigned char)v->str[i];

			buf_addf(b, c < 0x80 ? "\\u%04x" : "%c", c);
		}
		buf_addc(b, '"');
	} else if (v->type == J_ARRAY || (v->type == J_OBJECT && v->n > 64)) {
		buf_add(b, v->raw, v->raw_len);
	} else if (v->type == J_OBJECT) {
		for (const struct jv *m = v->child; m; m = m->next)
			members[n++] = m;
		buf_addc(b, '{');
		while (n--) {
			buf_addc(b, '"');
			buf_add_json_escaped(b, members[n]->key, strlen(members[n]->key));
			buf_adds(b, "\":");
			write_otherwise(b, members[n]);
			buf_adds(b, n ? "," : "");
		}
		buf_addc(b, '}');
	} else {
		buf_add(b, v->raw, v->raw_len);
	}
}

static void fuzz_equality(struct arena *a, const struct jv *v)
{
	const char *text = jv_text(a, v);
	struct jv *scrap;
	struct error e;
	struct buf b;

	buf_init(&b);
	write_otherwise(&b, v);
	const char *same = arena_printf(a, "{\"const\":%s,\"enum\":[0,%s]}", b.p, b.p);

	error_init(&e, a);
	if (!json_parse(a, same, strlen(same), 0, &scrap, &e)) {
		HOLDS(meets(a, same, v) != 0);
		HOLDS(meets(a, "{\"uniqueItems\":true}", must_parse(a, arena_printf(a, "[%s,-7,%s]", text, b.p))) != 1);
	}
	buf_release(&b);
}

/* --- grown schemas and values -------------------------------------------------------------------------------- */

struct grower {
	uint64_t state;
	struct buf *out;
};

static size_t pick(struct grower *g, size_t n)
{
	g->state ^= g->state << 13;
	g->state ^= g->state >> 7;
	g->state ^= g->state << 17;
	return (size_t)((g->state >> 11) % n);
}

#define ONE_OF(g, list) ((list)[pick((g), N_OF(list))])

static const char *const numbers[] = { "0", "1", "2", "3", "-1", "5", "0.5", "1.0", "2.0", "1.5", "-0.0", "10", "1e3",
	"9" };
static const char *const strings[] = { "\"\"", "\"a\"", "\"ab\"", "\"abc\"", "\"é\"", "\"b1\"", "\"A\"", "\"red\"",
	"\"abcde\"", "\"abcdef\"" };
static const char *const names[] = { "\"a\"", "\"b\"", "\"c\"", "\"x\"" };

static void grow_value(struct grower *g, int depth);
static void grow_schema(struct grower *g, int depth);

static void grow_list(struct grower *g, int depth, size_t least, size_t most, void (*grow)(struct grower *, int))
{
	size_t n = least + pick(g, most - least + 1);

	buf_addc(g->out, '[');
	for (size_t i = 0; i < n; i++) {
		buf_adds(g->out, i ? "," : "");
		grow(g, depth);
	}
	buf_addc(g->out, ']');
}

/* Names do not repeat: some of the four, in order. */
static void grow_object(struct grower *g, int depth, void (*grow)(struct grower *, int))
{
	const char *sep = "{";

	for (size_t i = 0; i < N_OF(names); i++) {
		if (pick(g, 2))
			continue;
		buf_addf(g->out, "%s%s:", sep, names[i]);
		grow(g, depth);
		sep = ",";
	}
	buf_adds(g->out, *sep == '{' ? "{}" : "}");
}

static void grow_value(struct grower *g, int depth)
{
	static const char *const words[] = { "null", "true", "false" };

	switch (pick(g, depth ? 7 : 5)) {
	case 0:
		buf_adds(g->out, ONE_OF(g, words));
		break;
	case 1:
	case 2:
		buf_adds(g->out, ONE_OF(g, numbers));
		break;
	case 3:
	case 4:
		buf_adds(g->out, ONE_OF(g, strings));
		break;
	case 5:
		grow_list(g, depth - 1, 0, 3, grow_value);
		break;
	default:
		grow_object(g, depth - 1, grow_value);
	}
}

static void grow_keyword(struct grower *g, const char *key, int depth)
{
	static const char *const types[] = { "\"null\"", "\"boolean\"", "\"number\"", "\"integer\"", "\"string\"",
		"\"array\"", "\"object\"",
					     "[\"string\",\"integer\"]", "[\"null\",\"array\",\"object\"]" };
	static const char *const lists[] = { "[]", "[\"a\"]", "[\"b\",\"c\"]", "[\"x\",\"a\",\"a\"]" };
	static const char *const patterns[] = { "\"^a\"", "\"b$\"", "\"^[a-z]+$\"", "\"\\\\d\"", "\"^.$\"", "\"é|A\"",
		"\"(a|b)*c\"" };
	static const char *const units[] = { "1", "2", "0.5", "3", "0.1" };

	buf_addf(g->out, "\"%s\":", key);
	if (strcmp(key, "type") == 0)
		buf_adds(g->out, ONE_OF(g, types));
	else if (strcmp(key, "enum") == 0)
		grow_list(g, 2, 1, 4, grow_value);
	else if (strcmp(key, "const") == 0)
		grow_value(g, 2);
	else if (strstr(key, "Of") && key[0] != 'm')
		grow_list(g, depth - 1, 1, 3, grow_schema);
	else if (strcmp(key, "prefixItems") == 0)
		grow_list(g, depth - 1, 1, 3, grow_schema);
	else if (strcmp(key, "properties") == 0)
		grow_object(g, depth - 1, grow_schema);
	else if (strcmp(key, "required") == 0)
		buf_adds(g->out, ONE_OF(g, lists));
	else if (strcmp(key, "uniqueItems") == 0)
		buf_adds(g->out, "true");
	else if (strcmp(key, "pattern") == 0)
		buf_adds(g->out, ONE_OF(g, patterns));
	else if (strcmp(key, "multipleOf") == 0)
		buf_adds(g->out, ONE_OF(g, units));
	else if (strstr(key, "Items") || strstr(key, "Length"))
		buf_addf(g->out, "%zu", pick(g, 4));
	else if (strstr(key, "imum"))
		buf_adds(g->out, ONE_OF(g, numbers));
	else
		grow_schema(g, depth - 1);
}

static void grow_schema(struct grower *g, int depth)
{
	/* The first so many hold no schemas. */
	static const char *const keys[] = {
		"type", "type", "enum", "const", "required", "minItems", "maxItems", "uniqueItems", "minimum",
		"maximum", "exclusiveMinimum",
		"exclusiveMaximum", "multipleOf", "minLength", "maxLength", "pattern", "anyOf", "allOf", "oneOf",
		"not", "properties",
		"additionalProperties", "items", "prefixItems",
	};
	const char *used[3] = { "", "", "" };
	const char *sep = "{";

	if (depth <= 0 || pick(g, 12) == 0) {
		buf_adds(g->out, pick(g, 3) ? "true" : "false");
		return;
	}
	for (size_t i = 0; i < 1 + pick(g, 3); i++) {
		const char *key = keys[pick(g, depth > 1 ? N_OF(keys) : 16)];

		if (strcmp(key, used[0]) == 0 || strcmp(key, used[1]) == 0)
			continue;
		used[i] = key;
		buf_adds(g->out, sep);
		grow_keyword(g, key, depth);
		sep = ",";
	}
	buf_adds(g->out, *sep == '{' ? "{}" : "}");
}

/* A body for the request tables, good more often than not. */
static void grow_body(struct grower *g, const char *const (*fields)[5], size_t n)
{
	const char *sep = "{";

	for (size_t i = 0; i < n; i++) {
		if (pick(g, 3) == 0)
			continue;
		buf_addf(g->out, "%s\"%s\":", sep, fields[i][0]);
		if (pick(g, 12) == 0)
			grow_value(g, 2);
		else
			buf_adds(g->out, fields[i][1 + (pick(g, 8) ? pick(g, 3) : 3)]);
		sep = ",";
	}
	if (pick(g, 12) == 0) {
		buf_addf(g->out, "%s\"extra\":1", sep);
		sep = ",";
	}
	buf_adds(g->out, *sep == '{' ? "{}" : "}");
}

static void fuzz_grown(struct arena *a, const char *text, size_t n)
{
	/* name, three good values, a bad one */
	static const char *const fields[][5] = {
		{ "str", "\"ab\"", "\"abcd\"", "\"éé\"", "\"a\"" }, { "slug", "\"a\"", "\"a.b/c\"", "\"9\"", "\"A\"" },
		{ "int", "0", "10", "-5.0", "11" }, { "flag", "true", "false", "true", "1" },
		{ "choice", "\"red\"", "\"blue\"", "\"green\"", "\"pink\"" },
		{ "json", "[1]", "\"x\"", "{}", "0" }, { "obj", "{}", "{\"a\":[]}", "{\"b\":1}", "[]" },
		{ "strs", "[\"a\"]", "[\"a\",\"a\"]", "[\"\"]", "[]" },
		{ "slugs", "[]", "[\"a\"]", "[\"a\",\"b\"]", "[\"a\",\"a\"]" },
		{ "sub", "{\"name\":\"a\"}", "{\"name\":\"abcde\",\"n\":9}", "{\"n\":0,\"name\":\"é\"}", "{\"n\":1}" },
		{ "subs", "[{\"name\":\"a\"}]", "[{\"name\":\"a\"},{\"name\":\"b\"}]", "[{\"n\":3.0,\"name\":\"x\"}]",
		"[{\"name\":\"\"}]" },
	};
	struct buf b;
	struct grower g = { .state = UINT64_C(0xcbf29ce484222325), .out = &b };

	for (size_t i = 0; i < n; i++)
		g.state = (g.state ^ (unsigned char)text[i]) * UINT64_C(0x100000001b3);
	g.state |= 1;
	buf_init(&b);
	grow_schema(&g, 4);
	const struct jv *schema = must_parse(a, arena_strndup(a, b.p, b.n));

	buf_reset(&b);
	grow_value(&g, 3);
	const struct jv *v = must_parse(a, arena_strndup(a, b.p, b.n));

	fuzz_validation(a, schema, v);
	fuzz_equality(a, v);
	buf_reset(&b);
	grow_body(&g, fields, N_OF(fields));
	fuzz_body(a, must_parse(a, b.p));
	buf_release(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data;
	const char *line = size ? memchr(text, '\n', size) : NULL;
	struct arena a;
	struct error e;
	struct jv *schema;
	struct jv *v;

	arena_init(&a);
	error_init(&e, &a);
	fuzz_grown(&a, text, size);
	if (!line) {
		arena_release(&a);
		return 0;
	}
	const char *second = line + 1;
	size_t n = (size_t)(text + size - second);

	fuzz_query(&a, second, n);
	if (!json_parse(&a, second, n, JSON_BUILD_ALL, &v, &e)) {
		fuzz_body(&a, v);
		fuzz_equality(&a, v);
		if (!json_parse(&a, text, (size_t)(line - text), JSON_BUILD_ALL, &schema, &e))
			fuzz_validation(&a, schema, v);
	}
	arena_release(&a);
	return 0;
}

FUZZ_MAIN(30000)
