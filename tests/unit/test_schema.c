// SPDX-License-Identifier: MIT
/* lib/base/schema: request tables. Every kind of field, every way to get one wrong, in bodies and queries. */
#include <CUnit/Basic.h>

#include "lib/base/limits.h"
#include "lib/base/schema.h"

void suite_schema(void);

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

/* --- a table with every kind of field ------------------------------------------------------------------- */

struct sub {
	uint64_t present;
	const char *name;
	int64_t n;
};

static const struct field sub_fields[] = {
	{ .name = "name", .kind = F_STR, .required = true, .offset = offsetof(struct sub, name), .min = 1, .max = 5 },
	{ .name = "n", .kind = F_INT, .offset = offsetof(struct sub, n), .min = 0, .max = 9, .dflt = 4 },
};

static SCHEMA(sub_schema, struct sub, "Sub", sub_fields, "A part.");

struct all {
	uint64_t present;
	const char *str, *slug, *uuid, *url, *email, *json, *obj_text;
	int64_t i, time;
	double num;
	bool flag;
	int choice;
	struct strs strs, slugs, uuids;
	uint32_t mask;
	struct sub *sub;
	struct objs subs;
};

static const char *const colours[] = { "red", "green", "blue", NULL };

#define AT(f) offsetof(struct all, f)

static const struct field all_fields[] = {
	{ .name = "str", .kind = F_STR, .offset = AT(str), .min = 2, .max = 4, .alias = "text", .help = "Some text." },
	{ .name = "slug", .kind = F_SLUG, .offset = AT(slug) },
	{ .name = "uuid", .kind = F_UUID, .offset = AT(uuid) },
	{ .name = "url", .kind = F_URL, .offset = AT(url) },
	{ .name = "email", .kind = F_EMAIL, .offset = AT(email) },
	{ .name = "int", .kind = F_INT, .offset = AT(i), .min = -5, .max = 10, .dflt = 7, .alias = "whole" },
	{ .name = "num", .kind = F_NUM, .offset = AT(num), .min = 0, .max = 1, .dflt = 1 },
	{ .name = "flag", .kind = F_BOOL, .offset = AT(flag), .dflt = 1 },
	{ .name = "time", .kind = F_TIME, .offset = AT(time) },
	{ .name = "choice", .kind = F_ENUM, .offset = AT(choice), .names = colours, .dflt = 2 },
	{ .name = "json", .kind = F_JSON, .offset = AT(json), .max = 20 },
	{ .name = "obj", .kind = F_JSON_OBJ, .offset = AT(obj_text) },
	{ .name = "strs", .kind = F_STRS, .offset = AT(strs), .min = 1, .max = 3 },
	{ .name = "slugs", .kind = F_SLUGS, .offset = AT(slugs), .max = 3 },
	{ .name = "uuids", .kind = F_UUIDS, .offset = AT(uuids), .max = 3 },
	{ .name = "sub", .kind = F_OBJ, .offset = AT(sub), .sub = &sub_schema },
	{ .name = "subs", .kind = F_OBJS, .offset = AT(subs), .sub = &sub_schema, .min = 1, .max = 2 },
	{ .name = "mask", .kind = F_ENUMS, .offset = AT(mask), .names = colours },
};

static SCHEMA(all_schema, struct all, "All", all_fields, "Every kind.");

struct needs {
	uint64_t present;
	const char *name, *any;
	int64_t n;
};

static const struct field needs_fields[] = {
	{ .name = "name", .kind = F_STR, .required = true, .offset = offsetof(struct needs, name),
	  .max = 10, .alias = "title" },
	{ .name = "any", .kind = F_JSON, .required = true, .offset = offsetof(struct needs, any) },
	{ .name = "n", .kind = F_INT, .required = true, .offset = offsetof(struct needs, n), .max = 9 },
};

static SCHEMA(needs_schema, struct needs, "Needs", needs_fields, "");

static const struct schema update_schema = { .name = "Update", .size = sizeof(struct sub), .fields = sub_fields + 1,
					      .n = 1, .min_fields = 1 };

#define UUID "0190b5a8-7c4e-7d3a-9f00-0123456789ab"
#define UUID2 "0190b5a8-7c4e-7d3a-9f00-0123456789ac"

/* --- helpers ---------------------------------------------------------------------------------------------- */

static const char *found(void)
{
	const char *list = "";

	for (const struct field_error *f = error.fields; f; f = f->next)
		list = arena_printf(&arena, "%s%s%s %s", list, *list ? ", " : "", f->path, f->code);
	return list;
}

static void *checked(enum err err, const char *want, const char *input, void *obj)
{
	CU_ASSERT_EQUAL(err, *want ? ERR_VALIDATION : OK);
	CU_ASSERT_EQUAL(error.code, *want ? ERR_VALIDATION : OK);
	if (strcmp(found(), want) != 0) {
		fprintf(stderr, "%s\n\twant: %s\n\tgot:  %s\n", input, want, found());
		CU_FAIL("other bad fields than expected");
	}
	return obj;
}

/* Read a body; want lists the bad fields. */
static void *body(const struct schema *s, const char *text, const char *want)
{
	struct jv *v = NULL;
	void *obj = NULL;

	error_init(&error, &arena);
	if (json_parse(&arena, text, strlen(text), JSON_BUILD_ALL, &v, &error)) {
		fprintf(stderr, "%s: %s\n", text, error.message);
		CU_FAIL_FATAL("the test's own text is not JSON");
	}
	enum err err = schema_read(s, v, &arena, &obj, &error);

	return checked(err, want, text, obj);
}

static void *query(const struct schema *s, const char *text, const char *want)
{
	void *obj = NULL;

	error_init(&error, &arena);
	enum err err = schema_read_query(s, text, false, &arena, &obj, &error);

	return checked(err, want, text, obj);
}

/* --- bodies ------------------------------------------------------------------------------------------------ */

static void test_all_given(void)
{
	const struct all *o = body(&all_schema,
		"{\"str\":\"\xc3\xa9\xf0\x9f\x98\x80zz\",\"slug\":\"a.b_c:d/e-9\",\"uuid\":\"" UUID "\",\"url\":\"https://example.org:8443/x?y=1#z\","
		"\"email\":\"a.b+c@example.org\",\"int\":-5,\"num\":0.25,\"flag\":false,\"time\":\"2026-01-31T12:00:00+01:00\","
		"\"choice\":\"green\",\"json\":[1, 1e400],\"obj\":{ \"a\":\"\\u0000\" },\"strs\":[\"a\",\"a\"],\"slugs\":[\"x\",\"y\"],"
		"\"uuids\":[\"" UUID "\"],\"sub\":{\"name\":\"n\"},\"subs\":[{\"name\":\"a\",\"n\":1},{\"name\":\"b\"}]}", "");

	CU_ASSERT_PTR_NOT_NULL_FATAL(o);
	CU_ASSERT_STRING_EQUAL(o->str, "\xc3\xa9\xf0\x9f\x98\x80zz");
	CU_ASSERT_STRING_EQUAL(o->slug, "a.b_c:d/e-9");
	CU_ASSERT_STRING_EQUAL(o->uuid, UUID);
	CU_ASSERT_STRING_EQUAL(o->url, "https://example.org:8443/x?y=1#z");
	CU_ASSERT_STRING_EQUAL(o->email, "a.b+c@example.org");
	CU_ASSERT_EQUAL(o->i, -5);
	CU_ASSERT_EQUAL(o->num, 0.25);
	CU_ASSERT_FALSE(o->flag);
	CU_ASSERT_EQUAL(o->time, 1769857200000);
	CU_ASSERT_EQUAL(o->choice, 1);
	CU_ASSERT_STRING_EQUAL(o->json, "[1, 1e400]");
	CU_ASSERT_STRING_EQUAL(o->obj_text, "{ \"a\":\"\\u0000\" }");
	CU_ASSERT_EQUAL(o->strs.n, 2);
	CU_ASSERT_STRING_EQUAL(o->strs.v[1], "a");
	CU_ASSERT_EQUAL(o->slugs.n, 2);
	CU_ASSERT_EQUAL(o->uuids.n, 1);
	CU_ASSERT_STRING_EQUAL(o->sub->name, "n");
	CU_ASSERT_EQUAL(o->sub->n, 4);
	CU_ASSERT_EQUAL(o->subs.n, 2);
	CU_ASSERT_EQUAL(((struct sub *)o->subs.v)[0].n, 1);
	CU_ASSERT_STRING_EQUAL(((struct sub *)o->subs.v)[1].name, "b");
	CU_ASSERT_FALSE(schema_has(&sub_schema, (struct sub *)o->subs.v + 1, "n"));
	CU_ASSERT(schema_has(&all_schema, o, "str"));
	CU_ASSERT(schema_has(&all_schema, o, "text"));
	CU_ASSERT_FALSE(schema_has(&all_schema, o, "mask"));
	CU_ASSERT_FALSE(schema_has(&all_schema, o, "none"));
}

static void test_defaults(void)
{
	const struct all *o = body(&all_schema, "{}", "");

	CU_ASSERT_EQUAL(o->present, 0);
	CU_ASSERT_EQUAL(o->i, 7);
	CU_ASSERT_EQUAL(o->num, 1);
	CU_ASSERT(o->flag);
	CU_ASSERT_EQUAL(o->choice, 2);
	CU_ASSERT_PTR_NULL(o->str);
	CU_ASSERT_PTR_NULL(o->sub);
	CU_ASSERT_EQUAL(o->subs.n, 0);
	/* null is "not given", but for a field whose value may be null */
	o = body(&all_schema,
		"{\"str\":null,\"int\":null,\"sub\":null,\"subs\":null,\"strs\":null,\"flag\":null,\"json\":null,\"obj\":null}", "");
	CU_ASSERT_EQUAL(o->i, 7);
	CU_ASSERT_STRING_EQUAL(o->json, "null");
	CU_ASSERT_FALSE(schema_has(&all_schema, o, "str"));
	CU_ASSERT(schema_has(&all_schema, o, "json"));
	CU_ASSERT_FALSE(schema_has(&all_schema, o, "obj"));
}

static void test_not_an_object(void)
{
	body(&all_schema, "[]", "$ bad_type");
	body(&all_schema, "null", "$ bad_type");
	body(&all_schema, "\"{}\"", "$ bad_type");
	body(&needs_schema, "1", "$ bad_type");
}

static void test_wrong_types(void)
{
	/* Every field given a value of a type that it does not take. */
	body(&all_schema,
	     "{\"str\":1,\"slug\":true,\"uuid\":[],\"url\":{},\"email\":5,\"int\":\"1\",\"num\":\"0.5\",\"flag\":1,\"time\":1769857200,"
	     "\"choice\":1,\"obj\":[],\"strs\":\"a\",\"slugs\":{},\"uuids\":1,\"sub\":[],\"subs\":{},\"mask\":\"red\"}",
	     "$.str bad_type, $.slug bad_type, $.uuid bad_type, $.url bad_type, $.email bad_type, $.int bad_type, $.num bad_type, "
	     "$.flag bad_type, $.time bad_type, $.choice bad_type, $.obj bad_type, $.strs bad_type, $.slugs bad_type, $.uuids bad_type, "
	     "$.sub bad_type, $.subs bad_type, $.mask bad_type");
}

static void test_text(void)
{
	body(&all_schema, "{\"str\":\"a\"}", "$.str bad_length");
	CU_ASSERT_STRING_EQUAL(error.fields->message, "must have 2 to 4 characters; it has 1");
	body(&all_schema, "{\"str\":\"abcde\"}", "$.str bad_length");
	body(&all_schema, "{\"str\":\"\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\"}", "");
	body(&all_schema, "{\"str\":\"ab\\u0007\"}", "$.str bad_character");
	body(&all_schema, "{\"str\":\"ab\x7f\"}", "$.str bad_character");
	body(&all_schema, "{\"str\":\"a\\n\\t\\r\"}", "");
	body(&all_schema, "{\"str\":\"a\\u0000b\"}", "$.str bad_character");
	body(&all_schema, "{\"choice\":\"red\\u0000\"}", "$.choice bad_character");
	body(&all_schema, "{\"choice\":\"Red\"}", "$.choice bad_value");
	CU_ASSERT_STRING_EQUAL(error.fields->message, "must be one of: red, green, blue");
	body(&all_schema, "{\"time\":\"yesterday\"}", "$.time bad_time");
	body(&all_schema, "{\"uuid\":\"" UUID "0\"}", "$.uuid bad_id");
	body(&all_schema, "{\"uuid\":\"0190B5A8-7C4E-7D3A-9F00-0123456789AB\"}", "$.uuid bad_id");
}

static void test_slugs(void)
{
	static const char *const bad[] = { "", "A", "a b", "-a", ".a", "/a", "a,b", "\xc3\xa9", "a\\n", "a%20" };
	char *longest = arena_printf(&arena, "%0*d", LIMIT_SLUG, 0);

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		body(&all_schema, arena_printf(&arena, "{\"slug\":\"%s\"}", bad[i]), "$.slug bad_slug");
	body(&all_schema, arena_printf(&arena, "{\"slug\":\"%s\"}", longest), "");
	body(&all_schema, arena_printf(&arena, "{\"slug\":\"%s0\"}", longest), "$.slug bad_slug");
	CU_ASSERT(slug_valid("ab", 2));
	CU_ASSERT_FALSE(slug_valid("abc", 2));
	CU_ASSERT_EQUAL(name_index(colours, "blue"), 2);
	CU_ASSERT_EQUAL(name_index(colours, ""), -1);
}

static void test_urls(void)
{
	static const char *const good[] = { "http://a", "http://127.0.0.1:9000/task", "https://[::1]:80",
		"http://a?x", "http://a/b@c" };
	static const char *const bad[] = {
		"", "a", "ftp://a", "//a", "http://", "http:///x", "http://:80", "http://?x", "http://#x",
		"http://u:p@a", "http://u@a/x",
		"http://a b", "http://a\\nb", "http://a/<x>", "http://a/{x}", "http://a\\\\b", "HTTP://a",
		"http://\xc3\xa9", "javascript:x",
		"http://a/^", "http://a/`", "http://a/|", "http://a\\u007f",
	};

	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
		body(&all_schema, arena_printf(&arena, "{\"url\":\"%s\"}", good[i]), "");
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		body(&all_schema, arena_printf(&arena, "{\"url\":\"%s\"}", bad[i]), "$.url bad_url");
	body(&all_schema, arena_printf(&arena, "{\"url\":\"http://%0*d\"}", LIMIT_URL - 7, 0), "");
	body(&all_schema, arena_printf(&arena, "{\"url\":\"http://%0*d\"}", LIMIT_URL - 6, 0), "$.url bad_url");
}

static void test_emails(void)
{
	static const char *const bad[] = { "", "a", "@b.c", "a@", "a@b", "a@.b", "a@@b.c", "a@b@c.d", "a b@c.d",
		"a@b.c>", "<a@b.c",
					   "a,b@c.d", "a;@c.d", "a@b.c\\r\\nBcc: x@y.z", "\\\"a\\\"@b.c", "a(b)@c.d" };

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		body(&all_schema, arena_printf(&arena, "{\"email\":\"%s\"}", bad[i]), "$.email bad_email");
	body(&all_schema, arena_printf(&arena, "{\"email\":\"%0250d@b.c\"}", 0), "");
	body(&all_schema, arena_printf(&arena, "{\"email\":\"%0251d@b.c\"}", 0), "$.email bad_email");
}

static void test_numbers(void)
{
	static const char *const bad_int[] = { "-6", "11", "1.5", "1e2", "9223372036854775808", "1e400", "-1e-400" };
	static const char *const bad_num[] = { "-0.1", "1.1", "1e400", "-1e400" };

	for (size_t i = 0; i < sizeof(bad_int) / sizeof(*bad_int); i++)
		body(&all_schema, arena_printf(&arena, "{\"int\":%s}", bad_int[i]), "$.int out_of_range");
	for (size_t i = 0; i < sizeof(bad_num) / sizeof(*bad_num); i++)
		body(&all_schema, arena_printf(&arena, "{\"num\":%s}", bad_num[i]), "$.num out_of_range");
	CU_ASSERT_EQUAL(((struct all *)body(&all_schema, "{\"int\":10.0}", ""))->i, 10);
	CU_ASSERT_EQUAL(((struct all *)body(&all_schema, "{\"int\":0.5e1}", ""))->i, 5);
	CU_ASSERT_EQUAL(((struct all *)body(&all_schema, "{\"num\":1e-1}", ""))->num, 0.1);
	body(&all_schema, "{\"json\":\"123456789012345678\"}", "");
	body(&all_schema, "{\"json\":\"1234567890123456789\"}", "$.json too_large");
}

static void test_lists(void)
{
	body(&all_schema, "{\"strs\":[]}", "$.strs bad_count");
	body(&all_schema, "{\"strs\":[\"a\",\"b\",\"c\",\"d\"]}", "$.strs bad_count");
	body(&all_schema, "{\"strs\":[\"\",1,null]}", "$.strs[1] bad_type, $.strs[2] bad_type");
	body(&all_schema, arena_printf(&arena, "{\"strs\":[\"%0*d\",\"a\\u0000\",\"\\u0001\"]}", LIMIT_NAME + 1, 0),
	     "$.strs[0] bad_length, $.strs[1] bad_type, $.strs[2] bad_character");
	body(&all_schema, "{\"slugs\":[\"a\",\"B\",\"a\"]}", "$.slugs[1] bad_slug, $.slugs[2] duplicate");
	body(&all_schema, "{\"uuids\":[\"" UUID "\",\"" UUID2 "\",\"" UUID "\"]}", "$.uuids[2] duplicate");
	body(&all_schema, "{\"uuids\":[\"x\"]}", "$.uuids[0] bad_id");
	CU_ASSERT_EQUAL(((struct all *)body(&all_schema, "{\"slugs\":[]}", ""))->slugs.n, 0);
	body(&all_schema, "{\"subs\":[]}", "$.subs bad_count");
	body(&all_schema, "{\"subs\":[{},{},{}]}", "$.subs bad_count");
	body(&all_schema, "{\"subs\":[{\"name\":\"\",\"x\":1},2]}",
		"$.subs[0].name bad_length, $.subs[0].x unknown_field, $.subs[1] bad_type");
	body(&all_schema, "{\"sub\":{\"n\":10,\"two words\":1}}",
		"$.sub.n out_of_range, $.sub[\"two words\"] unknown_field, $.sub.name required");
}

static void test_names(void)
{
	const struct all *o;

	body(&all_schema, "{\"unknown\":1,\"Str\":\"ab\",\"\":0}",
		"$.unknown unknown_field, $.Str unknown_field, $[\"\"] unknown_field");
	o = body(&all_schema, "{\"text\":\"ab\",\"whole\":3}", "");
	CU_ASSERT_STRING_EQUAL(o->str, "ab");
	CU_ASSERT_EQUAL(o->i, 3);
	body(&all_schema, "{\"str\":\"ab\",\"text\":\"cd\"}", "$.text duplicate");
	CU_ASSERT_STRING_EQUAL(error.fields->message, "is given twice: text is another name of str");
	body(&all_schema, "{\"whole\":1,\"int\":1}", "$.int duplicate");
	o = body(&all_schema, "{\"str\":null,\"text\":\"cd\"}", "");
	CU_ASSERT_STRING_EQUAL(o->str, "cd");
}

static void test_required(void)
{
	const struct needs *o;

	body(&needs_schema, "{}", "$.name required, $.any required, $.n required");
	body(&needs_schema, "{\"name\":null,\"any\":null,\"n\":null}", "$.name required, $.n required");
	o = body(&needs_schema, "{\"title\":\"x\",\"any\":null,\"n\":0}", "");
	CU_ASSERT_STRING_EQUAL(o->name, "x");
	CU_ASSERT_STRING_EQUAL(o->any, "null");
	/* an update with nothing in it */
	body(&update_schema, "{}", "$ required");
	body(&update_schema, "{\"n\":null}", "$ required");
	body(&update_schema, "{\"x\":1}", "$.x unknown_field");
	body(&update_schema, "{\"n\":1}", "");
}

/* Every bad field is counted; the list and each path are bounded. */
static void test_many_errors(void)
{
	struct buf b;

	buf_init(&b);
	buf_addc(&b, '{');
	for (int i = 0; i < 5000; i++)
		buf_addf(&b, "%s\"k%d\":0", i ? "," : "", i);
	buf_addf(&b, ",\"%0*d\":0}", 100000, 0);
	struct jv *v;
	void *obj;
	unsigned listed = 0;

	error_init(&error, &arena);
	CU_ASSERT_EQUAL_FATAL(json_parse(&arena, b.p, b.n, JSON_BUILD_ALL, &v, &error), OK);
	CU_ASSERT_EQUAL(schema_read(&all_schema, v, &arena, &obj, &error), ERR_VALIDATION);
	for (const struct field_error *f = error.fields; f; f = f->next)
		listed++;
	CU_ASSERT_EQUAL(listed, ERROR_FIELDS_MAX);
	CU_ASSERT_EQUAL(error.n_fields, 5001);
	buf_release(&b);
}

/* --- query strings --------------------------------------------------------------------------------------------- */

static void test_query(void)
{
	const struct all *o = query(&all_schema, "str=a%20b&text2=", "query.text2 unknown_field");

	o = query(&all_schema,
		"str=%C3%A9+x&int=3&num=0.5&flag=false&time=2026-01-31T12:00:00%2B01:00&choice=blue&mask=red,blue"
			       "&slugs=a,b&uuid=" UUID "&url=http%3A%2F%2Fa%2Fb&email=a%40b.c&uuids=" UUID "," UUID2 "&strs=a,a", "");
	CU_ASSERT_STRING_EQUAL(o->str, "\xc3\xa9 x");
	CU_ASSERT_EQUAL(o->i, 3);
	CU_ASSERT_EQUAL(o->num, 0.5);
	CU_ASSERT_FALSE(o->flag);
	CU_ASSERT_EQUAL(o->time, 1769857200000);
	CU_ASSERT_EQUAL(o->choice, 2);
	CU_ASSERT_EQUAL(o->mask, 5);
	CU_ASSERT_EQUAL(o->slugs.n, 2);
	CU_ASSERT_STRING_EQUAL(o->slugs.v[1], "b");
	CU_ASSERT_STRING_EQUAL(o->url, "http://a/b");
	CU_ASSERT_EQUAL(o->uuids.n, 2);
	CU_ASSERT_EQUAL(o->strs.n, 2);
	o = query(&all_schema, NULL, "");
	CU_ASSERT_EQUAL(o->i, 7);
	CU_ASSERT_EQUAL(((struct all *)query(&all_schema, "&&int=1&", ""))->i, 1);
	CU_ASSERT_EQUAL(((struct all *)query(&all_schema, "whole=2", ""))->i, 2);
	CU_ASSERT(((struct all *)query(&all_schema, "flag=1", ""))->flag);
	CU_ASSERT_FALSE(((struct all *)query(&all_schema, "flag=0", ""))->flag);
	CU_ASSERT_EQUAL(((struct all *)query(&all_schema, "%69nt=4", ""))->i, 4);
}

static void test_query_bad(void)
{
	query(&all_schema, "int=11&num=x&flag=yes&time=now&choice=pink&mask=red,pink&uuid=1&slugs=a,B",
	      "query.int out_of_range, query.num bad_type, query.flag bad_type, query.time bad_time, query.choice bad_value, "
	      "query.mask bad_value, query.uuid bad_id, query.slugs bad_slug");
	query(&all_schema, "int=", "query.int bad_type");
	query(&all_schema, "int", "query.int bad_type");
	query(&all_schema, "int=0x1", "query.int bad_type");
	query(&all_schema, "int=+1", "query.int bad_type");
	query(&all_schema, "int=%2B1", "query.int bad_type");
	query(&all_schema, "int=%201", "query.int bad_type");
	query(&all_schema, "int=1%0a", "query.int bad_type");
	query(&all_schema, "int=01", "query.int bad_type");
	query(&all_schema, "int=true", "query.int bad_type");
	query(&all_schema, "int=1.5", "query.int out_of_range");
	query(&all_schema, "int=1&int=1", "query.int duplicate");
	query(&all_schema, "int=1&whole=1", "query.whole duplicate");
	query(&all_schema, "slugs=a,b,a", "query.slugs duplicate");
	query(&all_schema, "slugs=a,b,c,d", "query.slugs bad_count");
	query(&all_schema, "nothing=1&two%20words=2&=3",
		"query.nothing unknown_field, query[\"two words\"] unknown_field, query[\"\"] unknown_field");
	query(&all_schema, "str=%zz&str=%4&str=%&str=%00&str=%ff&%ff=1&str=%C3%28",
	      "query bad_escape, query bad_escape, query bad_escape, query bad_escape, query bad_escape, query bad_escape, query bad_escape");
	query(&needs_schema, "n=1", "query.name required, query.any required");
}

/* A form body is read the same, and its fields are named as a body's. */
static void test_form(void)
{
	void *obj;

	error_init(&error, &arena);
	CU_ASSERT_EQUAL(schema_read_query(&all_schema, "int=99&x=1", true, &arena, &obj, &error), ERR_VALIDATION);
	CU_ASSERT_STRING_EQUAL(found(), "$.int out_of_range, $.x unknown_field");
}

static void test_url_decode(void)
{
	static const struct { const char *in, *plus, *plain; } cases[] = {
		{ "a+b", "a b", "a+b" }, { "a%2Bb", "a+b", "a+b" }, { "%41%42", "AB", "AB" },
		{ "%c3%A9", "\xc3\xa9", "\xc3\xa9" },
		{ "", "", "" }, { "%", NULL, NULL }, { "%4", NULL, NULL }, { "%4x", NULL, NULL },
		{ "% 1", NULL, NULL }, { "%+1", NULL, NULL },
		{ "%00", NULL, NULL }, { "%ff", NULL, NULL }, { "%ed%a0%80", NULL, NULL }, { "\xff", NULL, NULL },
		{ "100%", NULL, NULL },
		{ "%25%32%35", "%25", "%25" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		char text[32];

		for (int plus = 0; plus < 2; plus++) {
			const char *want = plus ? cases[i].plus : cases[i].plain;

			memcpy(text, cases[i].in, strlen(cases[i].in) + 1);
			CU_ASSERT_EQUAL(url_decode(text, plus), want != NULL);
			if (want)
				CU_ASSERT_STRING_EQUAL(text, want);
		}
	}
}

/* --- what the table says to others ------------------------------------------------------------------------------ */

/* What an optional member may be beside null: anyOf [it, null]. */
static const struct jv *value_of(const struct jv *properties, const char *name)
{
	const struct jv *any = jv_get(jv_get(properties, name), "anyOf");

	CU_ASSERT_PTR_NOT_NULL_FATAL(any);
	CU_ASSERT_STRING_EQUAL(jv_str(any->child->next, "type"), "null");
	return any->child;
}

static void test_written_schema(void)
{
	struct buf b;
	struct jw w;
	struct jv *v = NULL;

	buf_init(&b);
	jw_init(&w, &b);
	schema_write(&all_schema, &w);
	error_init(&error, &arena);
	CU_ASSERT_EQUAL_FATAL(json_parse(&arena, b.p, b.n, JSON_BUILD_ALL, &v, &error), OK);
	const struct jv *p = jv_get(v, "properties");

	CU_ASSERT_EQUAL(p->n, sizeof(all_fields) / sizeof(*all_fields));
	CU_ASSERT_FALSE(jv_bool_or(v, "additionalProperties", true));
	CU_ASSERT_PTR_NULL(jv_get(v, "required"));
	CU_ASSERT_STRING_EQUAL(jv_text(&arena, value_of(p, "str")),
			       "{\"description\":\"Some text.\",\"type\":\"string\","
			       "\"pattern\":\"^[^\\\\u0000-\\\\u0008\\\\u000b\\\\u000c\\\\u000e-\\\\u001f\\\\u007f]*$\",\"minLength\":2,\"maxLength\":4}");
	CU_ASSERT_STRING_EQUAL(jv_text(&arena, value_of(p, "int")),
		"{\"type\":\"integer\",\"minimum\":-5,\"maximum\":10}");
	CU_ASSERT_STRING_EQUAL(jv_text(&arena, value_of(p, "choice")),
		"{\"type\":\"string\",\"enum\":[\"red\",\"green\",\"blue\"]}");
	CU_ASSERT_STRING_EQUAL(jv_text(&arena, jv_get(value_of(p, "slugs"), "uniqueItems")), "true");
	CU_ASSERT_STRING_EQUAL(jv_text(&arena, jv_get(value_of(p, "sub"), "required")), "[\"name\"]");
	CU_ASSERT_EQUAL(jv_int_or(value_of(p, "subs"), "maxItems", 0), 2);
	CU_ASSERT_STRING_EQUAL(jv_str(value_of(p, "uuid"), "format"), "uuid");
	CU_ASSERT_STRING_EQUAL(jv_str(value_of(p, "time"), "format"), "date-time");
	CU_ASSERT_STRING_EQUAL(jv_str(value_of(p, "url"), "format"), "uri");
	CU_ASSERT_STRING_EQUAL(jv_str(value_of(p, "email"), "format"), "email");
	CU_ASSERT_STRING_EQUAL(jv_str(value_of(p, "flag"), "type"), "boolean");
	CU_ASSERT_STRING_EQUAL(jv_str(value_of(p, "obj"), "type"), "object");
	CU_ASSERT_STRING_EQUAL(jv_text(&arena, jv_get(p, "json")), "{}");
	buf_reset(&b);
	jw_init(&w, &b);
	schema_write(&update_schema, &w);
	CU_ASSERT_PTR_NOT_NULL(strstr(b.p, "\"minProperties\":1"));
	buf_release(&b);
}

void suite_schema(void)
{
	CU_pSuite s = CU_add_suite("schema", setup, teardown);

	CU_add_test(s, "all kinds given", test_all_given);
	CU_add_test(s, "defaults and null", test_defaults);
	CU_add_test(s, "not an object", test_not_an_object);
	CU_add_test(s, "wrong types", test_wrong_types);
	CU_add_test(s, "text", test_text);
	CU_add_test(s, "slugs", test_slugs);
	CU_add_test(s, "URLs", test_urls);
	CU_add_test(s, "e-mail addresses", test_emails);
	CU_add_test(s, "numbers", test_numbers);
	CU_add_test(s, "lists and objects", test_lists);
	CU_add_test(s, "unknown and other names", test_names);
	CU_add_test(s, "required", test_required);
	CU_add_test(s, "many errors", test_many_errors);
	CU_add_test(s, "query strings", test_query);
	CU_add_test(s, "bad query strings", test_query_bad);
	CU_add_test(s, "forms", test_form);
	CU_add_test(s, "percent decoding", test_url_decode);
	CU_add_test(s, "the schema written out", test_written_schema);
}
