// SPDX-License-Identifier: MIT
/* lib/base/jsonschema and pattern: what is a schema, what meets it, and that nothing takes for ever. */
#include <CUnit/Basic.h>

#include "lib/base/buf.h"
#include "lib/base/clock.h"
#include "lib/base/jsonschema.h"
#include "lib/base/limits.h"
#include "lib/base/place.h"

void suite_jsonschema(void);

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

static const struct jv *tree_n(const char *text, size_t n)
{
	struct jv *v = NULL;

	error_init(&error, &arena);
	if (json_parse(&arena, text, n, JSON_BUILD_ALL, &v, &error)) {
		fprintf(stderr, "%.200s: %s\n", text, error.message);
		CU_FAIL_FATAL("the test's own text is not JSON");
	}
	error_init(&error, &arena);
	return v;
}

static const struct jv *tree(const char *text)
{
	return tree_n(text, strlen(text));
}

/* The bad fields as "path code, path code". */
static const char *found(void)
{
	const char *list = "";

	for (const struct field_error *f = error.fields; f; f = f->next)
		list = arena_printf(&arena, "%s%s%s %s", list, *list ? ", " : "", f->path, f->code);
	return list;
}

static void expect(const char *want, enum err err, const char *what, const char *value)
{
	CU_ASSERT_EQUAL(err, *want ? ERR_VALIDATION : OK);
	if (strcmp(found(), want) != 0) {
		fprintf(stderr, "%s < %s\n\twant: %s\n\tgot:  %s\n", what, value, want, found());
		CU_FAIL("other bad fields than expected");
	}
}

static void validates(const char *schema, const char *value, const char *want)
{
	const struct jv *s = tree(schema);
	const struct jv *v = tree(value);

	expect(want, jsonschema_validate(s, v, "$", &error), schema, value);
}

static void checks(const char *schema, const char *want)
{
	const struct jv *s = tree(schema);

	expect(want, jsonschema_check(s, "$", &error), schema, "(check)");
}

/* --- what is a schema ---------------------------------------------------------------------------------- */

static void test_check_good(void)
{
	static const char *const good[] = {
		"true", "false", "{}", "{\"type\":\"object\"}", "{\"type\":[\"null\",\"integer\"]}",
		"{\"$schema\":\"https://json-schema.org/draft/2020-12/schema\",\"title\":\"t\",\"description\":\"d\","
		"\"default\":{\"any\":[1]},\"examples\":[1,\"x\"]}",
		"{\"properties\":{\"type\":{\"type\":\"string\"},\"$ref\":true,\"\":false},\"required\":[\"type\",\"$ref\",\"x\",\"x\"],"
		"\"additionalProperties\":{\"type\":\"number\"}}",
		"{\"required\":[]}",
		"{\"prefixItems\":[true,{}],\"items\":false,\"minItems\":0,\"maxItems\":5,\"uniqueItems\":true}",
		"{\"minimum\":-1.5,\"maximum\":1e400,\"exclusiveMinimum\":0,\"exclusiveMaximum\":7,\"multipleOf\":0.01}",
		"{\"minLength\":1,\"maxLength\":2.0,\"pattern\":\"^[a-z]+$\"}", "{\"enum\":[1,1,null,{}]}",
		"{\"const\":null}",
		"{\"anyOf\":[{}],\"allOf\":[true],\"oneOf\":[false],\"not\":{\"not\":true}}",
	};

	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
		checks(good[i], "");
}

static void test_check_bad(void)
{
	checks("1", "$ bad_type");
	checks("null", "$ bad_type");
	checks("[]", "$ bad_type");
	checks("{\"type\":\"text\"}", "$.type bad_value");
	checks("{\"type\":\"Object\"}", "$.type bad_value");
	checks("{\"type\":\"null\\u0000\"}", "$.type bad_value");
	checks("{\"type\":7}", "$.type bad_value");
	checks("{\"type\":[]}", "$.type bad_count");
	checks("{\"type\":[\"string\",1,\"any\"]}", "$.type[1] bad_value, $.type[2] bad_value");
	checks("{\"enum\":[]}", "$.enum bad_count");
	checks("{\"enum\":1}", "$.enum bad_type");
	checks("{\"anyOf\":[]}", "$.anyOf bad_count");
	checks("{\"oneOf\":{}}", "$.oneOf bad_type");
	checks("{\"allOf\":[{},1]}", "$.allOf[1] bad_type");
	checks("{\"not\":[]}", "$.not bad_type");
	checks("{\"properties\":[]}", "$.properties bad_type");
	checks("{\"properties\":{\"a\":{\"items\":[{}]},\"two words\":3}}",
	       "$.properties.a.items bad_type, $.properties[\"two words\"] bad_type");
	checks("{\"required\":\"a\"}", "$.required bad_type");
	checks("{\"required\":[\"a\",1,\"\\u0000\"]}", "$.required[1] bad_type, $.required[2] bad_character");
	checks("{\"additionalProperties\":\"no\"}", "$.additionalProperties bad_type");
	checks("{\"prefixItems\":{}}", "$.prefixItems bad_type");
	checks("{\"minItems\":-1,\"maxItems\":1.5,\"minLength\":\"1\",\"maxLength\":1e30}",
	       "$.minItems out_of_range, $.maxItems out_of_range, $.minLength out_of_range, $.maxLength out_of_range");
	checks("{\"uniqueItems\":1}", "$.uniqueItems bad_type");
	checks("{\"minimum\":\"0\",\"exclusiveMaximum\":true}", "$.minimum bad_type, $.exclusiveMaximum bad_type");
	checks("{\"multipleOf\":0}", "$.multipleOf out_of_range");
	checks("{\"multipleOf\":-2}", "$.multipleOf out_of_range");
	checks("{\"multipleOf\":1.000000000000000001}", "$.multipleOf out_of_range");
	checks("{\"pattern\":1}", "$.pattern bad_type");
	checks("{\"pattern\":\"(\"}", "$.pattern bad_pattern");
	checks("{\"title\":1,\"description\":[],\"$schema\":true}",
		"$.title bad_type, $.description bad_type, $.$schema bad_type");
}

/* Everything that JSON Schema has and this does not, and slips of the pen. */
static void test_check_unknown(void)
{
	static const char *const names[] = {
		"$ref", "$defs", "definitions", "$id", "$anchor", "$dynamicRef", "$comment", "format",
		"patternProperties",
		"propertyNames", "minProperties", "maxProperties", "dependentRequired", "dependentSchemas",
		"dependencies",
		"if", "then", "else", "contains", "minContains", "unevaluatedItems", "unevaluatedProperties",
		"additionalItems",
		"contentEncoding", "deprecated", "readOnly", "Type", "minlength", "requred", "", "nullable",
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		checks(arena_printf(&arena, "{\"%s\":{}}", names[i]),
		       arena_printf(&arena, *names[i] ? "$.%s unknown_keyword" : "$[\"%s\"] unknown_keyword",
		       	names[i]));
		checks(arena_printf(&arena, "{\"items\":{\"anyOf\":[{\"%s\":true}]}}", names[i]),
		       arena_printf(&arena,
		       	*names[i] ? "$.items.anyOf[0].%s unknown_keyword" : "$.items.anyOf[0][\"%s\"] unknown_keyword",
				    names[i]));
	}
	/* A schema that was never checked does not pass by being run. */
	validates("{\"format\":\"date\"}", "\"x\"", "schema.format unknown_keyword");
}

static void test_check_limits(void)
{
	struct buf b;

	buf_init(&b);
	buf_adds(&b, "{\"anyOf\":[");
	for (int i = 0; i < LIMIT_SCHEMA_PATTERNS + 1; i++)
		buf_addf(&b, "%s{\"pattern\":\"a{%d}\"}", i ? "," : "", i);
	buf_adds(&b, "]}");
	checks(b.p, arena_printf(&arena, "$.anyOf[%d].pattern too_large", LIMIT_SCHEMA_PATTERNS));
	buf_reset(&b);
	buf_adds(&b, "{\"anyOf\":[");
	for (int i = 0; i < LIMIT_SCHEMA_NODES + 1; i++)
		buf_adds(&b, i ? ",{}" : "{}");
	buf_adds(&b, "]}");
	/* The root is one of them. */
	checks(b.p, arena_printf(&arena, "$.anyOf[%d] too_large, $.anyOf[%d] too_large", LIMIT_SCHEMA_NODES - 1,
				 LIMIT_SCHEMA_NODES));
	buf_reset(&b);
	buf_adds(&b, "{\"pattern\":\"");
	for (int i = 0; i < LIMIT_PATTERN + 1; i++)
		buf_addc(&b, 'a');
	buf_adds(&b, "\"}");
	checks(b.p, "$.pattern bad_pattern");
	/* As deep as JSON goes. */
	buf_reset(&b);
	for (int i = 0; i < 63; i++)
		buf_adds(&b, "{\"not\":");
	buf_adds(&b, "{}");
	for (int i = 0; i < 63; i++)
		buf_addc(&b, '}');
	checks(b.p, "");
	validates(b.p, "1", "$ forbidden");
	buf_release(&b);
	/* A tree that was not built whole is our own mistake, and no reason to let anything pass. */
	struct jv *flat;

	error_init(&error, &arena);
	CU_ASSERT_EQUAL(json_parse(&arena, "{\"a\":[1]}", 9, 1, &flat, &error), OK);
	CU_ASSERT_EQUAL(jsonschema_check(flat, "$", &error), ERR_INTERNAL);
	CU_ASSERT_EQUAL(jsonschema_validate(tree("true"), flat, "$", &error), ERR_INTERNAL);
}

/* --- what meets it -------------------------------------------------------------------------------------- */

static void test_types(void)
{
	static const char *const values[] = { "null", "true", "1.5", "\"s\"", "[]", "{}", "7", "7.0", "70e-1",
		"1e-400" };
	static const struct { const char *type, *fits; } cases[] = {
		{ "null", "y........." }, { "boolean", ".y........" }, { "number", "..y...yyyy" },
		{ "integer", "......yyy." },
		{ "string", "...y......" }, { "array", "....y....." }, { "object", ".....y...." },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		for (size_t j = 0; j < sizeof(values) / sizeof(*values); j++) {
			const char *want = cases[i].fits[j] == 'y' ? "" : "$ bad_type";

			validates(arena_printf(&arena, "{\"type\":\"%s\"}", cases[i].type), values[j], want);
			validates(arena_printf(&arena, "{\"type\":[\"%s\"]}", cases[i].type), values[j], want);
			validates("{}", values[j], "");
			validates("true", values[j], "");
			validates("false", values[j], "$ forbidden");
		}
	}
	validates("{\"type\":[\"integer\",\"null\"]}", "2.5", "$ bad_type");
	CU_ASSERT_STRING_EQUAL(error.fields->message, "must be integer or null, not number");
	validates("{\"type\":[\"integer\",\"null\"]}", "null", "");
}

static void test_values(void)
{
	validates("{\"enum\":[1,\"1\",null]}", "1.0", "");
	validates("{\"enum\":[1,\"1\",null]}", "null", "");
	validates("{\"enum\":[1,\"1\",null]}", "false", "$ bad_value");
	validates("{\"const\":0}", "-0.0", "");
	validates("{\"const\":0}", "false", "$ bad_value");
	validates("{\"const\":9007199254740993}", "9007199254740992", "$ bad_value");
	validates("{\"const\":9007199254740993}", "900719925474099.3e1", "");
	validates("{\"const\":\"a\\u0062\"}", "\"\\u0061b\"", "");
	validates("{\"const\":\"a\\u0000b\"}", "\"a\\u0000c\"", "$ bad_value");
	validates("{\"const\":{\"a\":[1,{\"b\":2}],\"c\":null}}", "{\"c\":null,\"a\":[1.0,{\"b\":20e-1}]}", "");
	validates("{\"const\":{\"a\":1,\"b\":2}}", "{\"a\":1,\"c\":2}", "$ bad_value");
	validates("{\"const\":{\"a\":1}}", "{\"a\":1,\"b\":2}", "$ bad_value");
	validates("{\"const\":[1,2]}", "[2,1]", "$ bad_value");
	validates("{\"const\":[1,2]}", "[1]", "$ bad_value");
	validates("{\"const\":true}", "true", "");
	validates("{\"const\":true}", "1", "$ bad_value");
}

static void test_objects(void)
{
	static const char *const s = "{\"type\":\"object\",\"properties\":{\"id\":{\"type\":\"integer\"},\"name\":{\"type\":\"string\"},"
				     "\"tags\":{\"items\":{\"type\":\"string\"}}},\"required\":[\"id\",\"name\",\"when\"],"
				     "\"additionalProperties\":false}";

	validates(s, "{\"id\":1,\"name\":\"x\",\"when\":1}", "$.when unknown_field");
	validates(s, "{}", "$.id required, $.name required, $.when required");
	validates(s, "{\"id\":\"1\",\"name\":null,\"tags\":[\"a\",2,3],\"two words\":0}",
		  "$.id bad_type, $.name bad_type, $.tags[1] bad_type, $.tags[2] bad_type, $[\"two words\"] unknown_field, $.when required");
	validates("{\"properties\":{\"a\":false}}", "{\"a\":1}", "$.a forbidden");
	validates("{\"properties\":{\"a\":false}}", "{\"b\":1}", "");
	validates("{\"additionalProperties\":{\"type\":\"number\"},\"properties\":{\"s\":true}}",
		"{\"s\":\"x\",\"a\":1,\"b\":\"y\"}", "$.b bad_type");
	validates("{\"properties\":{\"\\u0061\":{\"const\":1}}}", "{\"a\":2}", "$.a bad_value");
	validates("{\"required\":[\"a\"],\"additionalProperties\":false}", "{\"a\":1}", "$.a unknown_field");
	/* Keywords for objects say nothing about others. */
	validates("{\"properties\":{\"a\":false},\"required\":[\"a\"],\"additionalProperties\":false}", "[1]", "");
	validates("{\"required\":[]}", "{}", "");
}

static void test_arrays(void)
{
	validates("{\"items\":{\"type\":\"integer\"}}", "[1,2,3]", "");
	validates("{\"items\":{\"type\":\"integer\"}}", "[1,\"2\",3,null]", "$[1] bad_type, $[3] bad_type");
	validates("{\"items\":false}", "[]", "");
	validates("{\"items\":false}", "[0]", "$[0] forbidden");
	validates("{\"prefixItems\":[{\"type\":\"string\"},{\"type\":\"number\"}]}", "[\"a\",1,null]", "");
	validates("{\"prefixItems\":[{\"type\":\"string\"},{\"type\":\"number\"}]}", "[1]", "$[0] bad_type");
	validates("{\"prefixItems\":[true],\"items\":{\"type\":\"number\"}}", "[\"a\",1,\"b\"]", "$[2] bad_type");
	validates("{\"minItems\":2,\"maxItems\":3}", "[1]", "$ bad_count");
	validates("{\"minItems\":2,\"maxItems\":3}", "[1,2]", "");
	validates("{\"minItems\":2,\"maxItems\":3}", "[1,2,3,4]", "$ bad_count");
	validates("{\"minItems\":2}", "{}", "");
	validates("{\"uniqueItems\":true}", "[1,2,\"1\",null,false,0,[],{},\"\"]", "");
	validates("{\"uniqueItems\":true}", "[1,2,1.0]", "$ duplicate");
	validates("{\"uniqueItems\":true}", "[{\"a\":1,\"b\":[2]},{\"b\":[2.0],\"a\":1e0}]", "$ duplicate");
	validates("{\"uniqueItems\":true}", "[[1,2],[2,1],[[1],2]]", "");
	validates("{\"uniqueItems\":true}", "[{\"a\":1},{\"a\":2},{\"b\":1}]", "");
	validates("{\"uniqueItems\":true}", "[\"a\",\"\\u0061\"]", "$ duplicate");
	CU_ASSERT_STRING_EQUAL(error.fields->message, "items 0 and 1 are equal; each may stand only once");
	validates("{\"uniqueItems\":false}", "[1,1]", "");
}

static void test_numbers(void)
{
	static const char *const bounds = "{\"minimum\":-1.5,\"maximum\":10}";
	static const char *const open = "{\"exclusiveMinimum\":0,\"exclusiveMaximum\":1}";

	validates(bounds, "-1.5", "");
	validates(bounds, "10.0", "");
	validates(bounds, "-1.50000000000000000000001", "$ out_of_range");
	validates(bounds, "10.00000000000000000000001", "$ out_of_range");
	validates(bounds, "1e999", "$ out_of_range");
	validates(bounds, "-1e999", "$ out_of_range");
	validates(bounds, "\"11\"", "");
	validates(open, "0", "$ out_of_range");
	validates(open, "-0.0", "$ out_of_range");
	validates(open, "1e-999", "");
	validates(open, "0.99999999999999999999", "");
	validates(open, "1.0", "$ out_of_range");
	CU_ASSERT_STRING_EQUAL(error.fields->message, "must be less than 1");
	validates("{\"minimum\":5,\"maximum\":4,\"multipleOf\":2}", "4.5",
		"$ out_of_range, $ out_of_range, $ not_multiple");
	validates("{\"multipleOf\":0.01}", "4.02", "");
	validates("{\"multipleOf\":0.01}", "4.025", "$ not_multiple");
	validates("{\"multipleOf\":0.1}", "-0.3", "");
	validates("{\"multipleOf\":3}", "1e30", "$ not_multiple");
	validates("{\"multipleOf\":3}", "0", "");
}

static void test_strings(void)
{
	validates("{\"minLength\":2,\"maxLength\":3}", "\"\xc3\xa9\xf0\x9f\x98\x80\"", "");
	validates("{\"minLength\":2,\"maxLength\":3}", "\"\xf0\x9f\x98\x80\"", "$ bad_length");
	validates("{\"minLength\":2,\"maxLength\":3}", "\"a\\u0000\\u0000\"", "");
	validates("{\"minLength\":2,\"maxLength\":3}", "\"abcd\"", "$ bad_length");
	CU_ASSERT_STRING_EQUAL(error.fields->message, "must have at most 3 characters; it has 4");
	validates("{\"minLength\":2}", "1", "");
	validates("{\"pattern\":\"b\"}", "\"abc\"", "");
	validates("{\"pattern\":\"^b\"}", "\"abc\"", "$ bad_pattern");
	validates("{\"pattern\":\"c$\"}", "\"abc\"", "");
	validates("{\"pattern\":\"c$\"}", "\"abc\\n\"", "$ bad_pattern");
	validates("{\"pattern\":\"^.$\"}", "\"\xf0\x9f\x98\x80\"", "");
	validates("{\"pattern\":\"^.$\"}", "\"\\r\"", "$ bad_pattern");
	validates("{\"pattern\":\"^\\\\d+$\"}", "\"\xd9\xa1\"", "$ bad_pattern");
	validates("{\"pattern\":\"^\\\\w\\\\s\\\\D$\"}", "\"_ x\"", "");
	validates("{\"pattern\":\"^\\\\u0061\\\\u{1f600}$\"}", "\"a\xf0\x9f\x98\x80\"", "");
	validates("{\"pattern\":\"^\\\\p{L}+$\"}", "\"\xc3\xa9\xce\xb1\"", "");
	validates("{\"pattern\":\"[]\"}", "\"]\"", "$ bad_pattern");
	validates("{\"pattern\":\"^(?<y>\\\\d{4})-(?=\\\\d\\\\d$)(?!13).*$\"}", "\"2026-12\"", "");
	validates("{\"pattern\":\"^(?<y>\\\\d{4})-(?=\\\\d\\\\d$)(?!13).*$\"}", "\"2026-13\"", "$ bad_pattern");
	validates("{\"pattern\":\"^a\\\\x00b$\"}", "\"a\\u0000b\"", "");
	validates("{\"pattern\":\"^(a)|(b)|(c)|(d)$\"}", "\"a\"", "");
	validates("{\"pattern\":\"\"}", "\"\"", "");
	validates("{\"type\":\"string\",\"minLength\":3,\"pattern\":\"^x\"}", "\"ab\"", "$ bad_length, $ bad_pattern");
}

static void test_combined(void)
{
	static const char *const any = "{\"anyOf\":[{\"type\":\"string\",\"minLength\":2},{\"type\":\"integer\",\"minimum\":5}]}";
	static const char *const one = "{\"oneOf\":[{\"multipleOf\":3},{\"multipleOf\":5}]}";

	validates(any, "\"ab\"", "");
	validates(any, "5", "");
	validates(any, "\"a\"", "$ no_match");
	validates(any, "4", "$ no_match");
	validates("{\"allOf\":[{\"minimum\":5},{\"maximum\":3},{\"type\":\"integer\"}]}", "4.5",
		  "$ out_of_range, $ out_of_range, $ bad_type");
	validates(one, "9", "");
	validates(one, "15", "$ no_match");
	CU_ASSERT_STRING_EQUAL(error.fields->message,
		"must meet exactly one of the 2 schemas of `oneOf`; it meets more");
	validates(one, "7", "$ no_match");
	validates("{\"not\":{\"type\":\"null\"}}", "1", "");
	validates("{\"not\":{\"type\":\"null\"}}", "null", "$ forbidden");
	validates("{\"not\":{\"required\":[\"a\"],\"properties\":{\"a\":{\"items\":{\"minimum\":3}}}}}",
		"{\"a\":[4,2]}", "");
	validates("{\"not\":{\"required\":[\"a\"],\"properties\":{\"a\":{\"items\":{\"minimum\":3}}}}}",
		"{\"a\":[4,5]}", "$ forbidden");
	validates("{\"properties\":{\"p\":{\"anyOf\":[{\"const\":1},{\"allOf\":[{\"type\":\"object\"},{\"additionalProperties\":false}]}]}}}",
		  "{\"p\":{\"x\":1}}", "$.p no_match");
}

/* A validation of a shape that results really have. */
static void test_records(void)
{
	static const char *const s =
		"{\"type\":\"object\",\"required\":[\"items\"],\"properties\":{\"items\":{\"type\":\"array\",\"minItems\":1,\"items\":"
		"{\"type\":\"object\",\"required\":[\"id\",\"age\"],\"properties\":{\"id\":{\"type\":\"string\",\"pattern\":\"^[0-9]{6}$\"},"
		"\"age\":{\"type\":[\"integer\",\"null\"],\"minimum\":0,\"maximum\":120},\"sex\":{\"enum\":[\"f\",\"m\",null]}}}}}}";
	struct buf b;

	buf_init(&b);
	buf_adds(&b, "{\"items\":[");
	for (int i = 0; i < 5000; i++)
		buf_addf(&b, "%s{\"id\":\"%06d\",\"age\":%d,\"sex\":\"%c\"}", i ? "," : "", i, i % 100, "fm"[i & 1]);
	buf_adds(&b, "]}");
	validates(s, b.p, "");
	buf_release(&b);
	validates(s, "{\"items\":[{\"id\":\"12345\",\"age\":121},{\"id\":7,\"age\":null,\"sex\":\"x\"}]}",
		  "$.items[0].id bad_pattern, $.items[0].age out_of_range, $.items[1].id bad_type, $.items[1].sex bad_value");
}

/* --- nothing takes for ever, nothing is repeated at length ------------------------------------------------ */

/* The value must not pass, must be called too costly, and quickly. */
static void is_costly(const char *schema, const char *value, size_t n)
{
	const struct jv *s = tree(schema);
	const struct jv *v = tree_n(value, n);
	int64_t from = mono_us();

	CU_ASSERT_EQUAL(jsonschema_check(s, "$", &error), OK);
	CU_ASSERT_EQUAL(jsonschema_validate(s, v, "$", &error), ERR_VALIDATION);
	CU_ASSERT_STRING_EQUAL(found(), "$ too_costly");
	/* It takes about 0.2 s; a sanitizer and a busy machine take their share. */
	CU_ASSERT(mono_us() - from < 10 * 1000000);
	arena_reset(&arena);
}

static void test_costly_patterns(void)
{
	static const char *const patterns[] = {
		"(a+)+$[yz]", "(?:a*)*[yz]", "a*a*a*a*[yz]", ".*.*.*[yz]", "(.*)\\\\1[yz]", "[ab]*[yz]", "a++[yz]",
		"(?>a*)[yz]",
		"^(a?){50}a{50}[yz]", "(a|aa)+$[yz]", "(a(?1)?a)[yz]", "a[^b]{60000}[yz]", "(?=.*b)a", ".*?.*?[yz]",
		"(?R)?[yz]",
	};
	const size_t n = 200000;
	char *value = malloc(n);

	memset(value, 'a', n);
	value[0] = value[n - 1] = '"';
	for (size_t i = 0; i < sizeof(patterns) / sizeof(*patterns); i++) {
		const char *schema = arena_printf(&arena, "{\"pattern\":\"%s\"}", patterns[i]);

		is_costly(schema, value, n);
	}
	/* An answer that was not found is not the opposite answer. */
	is_costly("{\"not\":{\"pattern\":\"(a|aa)+$[yz]\"}}", value, n);
	is_costly("{\"oneOf\":[{\"pattern\":\"(?R)?[yz]\"},true]}", value, n);
	free(value);
}

static void test_costly_shapes(void)
{
	struct buf b;
	struct buf s;

	buf_init(&b);
	buf_init(&s);
	/* many alternatives for many items */
	buf_adds(&s, "{\"items\":{\"enum\":[");
	for (int i = 0; i < 20000; i++)
		buf_addf(&s, "%s%d", i ? "," : "", i);
	buf_adds(&s, "]}}");
	buf_addc(&b, '[');
	for (int i = 0; i < 20000; i++)
		buf_adds(&b, i ? ",19999" : "19999");
	buf_addc(&b, ']');
	is_costly(s.p, b.p, b.n);
	/* big objects that are equal but for the order of their members */
	buf_reset(&s);
	buf_reset(&b);
	buf_adds(&s, "{\"const\":{");
	buf_addc(&b, '{');
	for (int i = 0; i < 9000; i++) {
		buf_addf(&s, "%s\"%d\":0", i ? "," : "", i);
		buf_addf(&b, "%s\"%d\":0", i ? "," : "", 8999 - i);
	}
	buf_adds(&s, "}}");
	buf_addc(&b, '}');
	is_costly(s.p, b.p, b.n);
	/* 10,000 missing members of many objects, looked for in silence and aloud */
	buf_reset(&s);
	buf_reset(&b);
	buf_adds(&s, "{\"items\":{\"required\":[");
	for (int i = 0; i < 10000; i++)
		buf_addf(&s, "%s\"%d\"", i ? "," : "", i);
	buf_adds(&s, "]}}");
	buf_addc(&b, '[');
	for (int i = 0; i < 100000; i++)
		buf_adds(&b, i ? ",{}" : "{}");
	buf_addc(&b, ']');
	const struct jv *schema = tree(s.p);
	const struct jv *value = tree(b.p);
	int64_t from = mono_us();

	CU_ASSERT_EQUAL(jsonschema_validate(schema, value, "$", &error), ERR_VALIDATION);
	CU_ASSERT(error.n_fields > ERROR_FIELDS_MAX && error.n_fields <= LIMIT_VALIDATION_STEPS);
	CU_ASSERT(mono_us() - from < 10 * 1000000);
	/* all different, and many */
	buf_reset(&b);
	buf_addc(&b, '[');
	for (int i = 0; i < 200000; i++)
		buf_addf(&b, "%s%d", i ? "," : "", i);
	buf_addc(&b, ']');
	validates("{\"uniqueItems\":true}", b.p, "");
	buf_release(&b);
	buf_release(&s);
	arena_reset(&arena);
}

static void test_bounded_report(void)
{
	struct buf b;

	buf_init(&b);
	buf_addc(&b, '[');
	for (int i = 0; i < 50000; i++)
		buf_adds(&b, i ? ",1" : "1");
	buf_addc(&b, ']');
	const struct jv *s = tree("{\"items\":{\"type\":\"string\"}}");
	const struct jv *v = tree(b.p);
	unsigned listed = 0;

	CU_ASSERT_EQUAL(jsonschema_validate(s, v, "$.result", &error), ERR_VALIDATION);
	for (const struct field_error *f = error.fields; f; f = f->next)
		listed++;
	CU_ASSERT_EQUAL(listed, ERROR_FIELDS_MAX);
	CU_ASSERT_EQUAL(error.n_fields, 50000);
	CU_ASSERT_STRING_EQUAL(error.fields->path, "$.result[0]");
	/* Names of any length and spelling. */
	buf_reset(&b);
	buf_adds(&b, "{\"a\\\"b\\n\":1,\"");
	for (int i = 0; i < 100000; i++)
		buf_adds(&b, "\xc3\xa9");
	buf_adds(&b, "\":2,\"");
	for (int i = 0; i < 100000; i++)
		buf_addc(&b, 'x');
	buf_adds(&b, "\":3}");
	s = tree("{\"additionalProperties\":false}");
	v = tree(b.p);
	CU_ASSERT_EQUAL(jsonschema_validate(s, v, "$", &error), ERR_VALIDATION);
	CU_ASSERT_STRING_EQUAL(error.fields->path, "$[\"a\\\"b\\n\"]");
	CU_ASSERT_EQUAL(strlen(error.fields->next->path), 3 + PLACE_NAME_MAX + 3 + 2);
	CU_ASSERT_EQUAL(strlen(error.fields->next->next->path), 2 + PLACE_NAME_MAX + 3);
	buf_release(&b);
}

/* Bad fields that were there before neither count nor vanish. */
static void test_earlier_errors(void)
{
	const struct jv *s = tree("{\"type\":\"string\"}");
	const struct jv *v = tree("\"x\"");

	error_init(&error, &arena);
	error_field(&error, "$.other", "bad_type", "%s", "earlier");
	CU_ASSERT_EQUAL(jsonschema_check(s, "$", &error), OK);
	CU_ASSERT_EQUAL(jsonschema_validate(s, v, "$", &error), OK);
	CU_ASSERT_EQUAL(error.n_fields, 1);
}

void suite_jsonschema(void)
{
	CU_pSuite s = CU_add_suite("jsonschema", setup, teardown);

	CU_add_test(s, "schemas of the subset", test_check_good);
	CU_add_test(s, "mistakes in a schema", test_check_bad);
	CU_add_test(s, "other keywords are refused", test_check_unknown);
	CU_add_test(s, "limits of a schema", test_check_limits);
	CU_add_test(s, "type", test_types);
	CU_add_test(s, "enum, const", test_values);
	CU_add_test(s, "objects", test_objects);
	CU_add_test(s, "arrays", test_arrays);
	CU_add_test(s, "numbers", test_numbers);
	CU_add_test(s, "strings", test_strings);
	CU_add_test(s, "anyOf, allOf, oneOf, not", test_combined);
	CU_add_test(s, "records", test_records);
	CU_add_test(s, "patterns that take for ever do not", test_costly_patterns);
	CU_add_test(s, "nor do shapes", test_costly_shapes);
	CU_add_test(s, "the report is bounded", test_bounded_report);
	CU_add_test(s, "earlier errors", test_earlier_errors);
}
