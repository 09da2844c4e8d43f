// SPDX-License-Identifier: MIT
/*
 * Request shapes as tables. One table of fields says what a body (or a query string) may hold; it is
 * used to check the input (every bad field is reported, unknown ones too), to fill a C struct, and to
 * write the OpenAPI document, so the three cannot disagree.
 *
 * The struct that is filled starts with `uint64_t present`: bit i is set when field i was given (and not
 * null). Absent numbers get the field's default. Everything lives in the request's arena.
 */
#ifndef BASE_SCHEMA_H
#define BASE_SCHEMA_H

#include <stddef.h>
#include "buf.h"
#include "json.h"

enum field_kind {
	F_STR,		/* const char *; length in characters */
	F_SLUG,		/* const char *; [a-z0-9][a-z0-9._:/-]*, length */
	F_UUID,		/* const char * */
	F_URL,		/* const char *; http or https, no user:password@ */
	F_EMAIL,	/* const char * */
	F_INT,		/* int64_t, range */
	F_NUM,		/* double, range (min/max as whole numbers) */
	F_BOOL,		/* bool */
	F_TIME,		/* int64_t ms; RFC 3339 */
	F_ENUM,		/* int: index in names */
	F_JSON,		/* const char *: any JSON value as text; max bytes */
	F_JSON_OBJ,	/* const char *: a JSON object as text; max bytes */
	F_STRS,		/* struct strs; max items; elements as F_STR of up to LIMIT_NAME characters, or one of names */
	F_SLUGS,	/* struct strs; the same of slugs, no doubles */
	F_UUIDS,	/* struct strs; no doubles */
	F_ENUMS,	/* uint32_t mask of names (query strings: comma-separated) */
	F_OBJ,		/* void *: struct of sub, NULL when absent */
	F_OBJS,		/* struct objs: array of structs of sub */
};

struct strs {
	const char **v;
	int n;
};

struct objs {
	void *v;	/* n structs of the sub-schema's size, one after another */
	int n;
};

struct schema;

struct field {
	const char *name;
	enum field_kind kind;
	bool required;
	size_t offset;
	int64_t min, max;		/* see the kind */
	int64_t dflt;			/* INT, NUM, BOOL, ENUM when absent */
	const char *const *names;	/* ENUM, ENUMS, and STRS if it has them: NULL-terminated */
	const struct schema *sub;	/* OBJ, OBJS */
	const char *alias;		/* an older spelling that is accepted too, or NULL */
	const char *help;
	const char *pattern;		/* STR: for the documents; the verb that reads it checks it */
};

struct schema {
	const char *name;		/* OpenAPI component name */
	size_t size;			/* of the struct that is filled */
	const struct field *fields;
	size_t n;			/* ≤ 64 */
	const char *help;
	unsigned min_fields;		/* at least so many must be given (updates: 1) */
};

#define SCHEMA(var, type, title, table, text) \
	const struct schema var = { .name = title, .size = sizeof(type), .fields = table, \
				    .n = sizeof(table) / sizeof(*(table)), .help = text }

/*
 * Check body against s and fill a new struct in *out. Bad fields go to e (path "$.a[2].b"); ERR_VALIDATION
 * when there is one.
 */
enum err schema_read(const struct schema *s, const struct jv *body, struct arena *a, void **out, struct error *e)
	MUST_CHECK;
/*
 * The same from a query string (application/x-www-form-urlencoded); paths read "query.limit", or "$.x" when
 * form is set (a form body). Lists are comma-separated; a repeated name is an error.
 */
enum err schema_read_query(const struct schema *s, const char *query, bool form, struct arena *a, void **out,
			   struct error *e) MUST_CHECK;
/* Was this field given? */
bool schema_has(const struct schema *s, const void *obj, const char *field);

/* The JSON Schema (draft 2020-12) of s, without nested components: {"type":"object",…}. */
void schema_write(const struct schema *s, struct jw *w);
/* The schema of one field's value. */
void field_write(const struct field *f, struct jw *w);

/* Decode %XX and + in place; false on a bad escape, invalid UTF-8 or a NUL. */
bool url_decode(char *s, bool plus);
bool slug_valid(const char *s, size_t max);
/* Index of text in a NULL-terminated list, or -1. */
int name_index(const char *const *names, const char *text);

#endif
