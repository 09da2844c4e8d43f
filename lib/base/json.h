// SPDX-License-Identifier: MIT
/*
 * Strict JSON reader (RFC 8259 plus I-JSON's RFC 7493 rules that keep systems from disagreeing).
 *
 * One pass checks the whole text: UTF-8, no duplicate keys, no lone surrogates, no NaN, no trailing
 * bytes, bounded depth and number length. What passes is safe to store and send on as text, so
 * payloads travel through the panel byte for byte: no number is rounded on the way.
 *
 * Nodes are built only down to the depth the caller asks for; below that a value is checked and
 * kept as text (`raw`). Strings and keys of built nodes are decoded and NUL-terminated.
 */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include <stdbool.h>
#include <stdint.h>
#include "error.h"

enum jtype { J_NULL, J_FALSE, J_TRUE, J_NUMBER, J_STRING, J_ARRAY, J_OBJECT };

struct jv {
	enum jtype type;
	bool has_nul;		/* a string holding U+0000: refuse it where C strings are kept */
	unsigned n;		/* members of an object, elements of an array */
	const char *key;	/* decoded; NULL outside an object */
	const char *str;	/* J_STRING: decoded text */
	size_t str_len;
	const char *raw;	/* the value's own text inside the input; not NUL-terminated */
	size_t raw_len;
	struct jv *child;	/* first member or element; NULL when empty or deeper than asked */
	struct jv *next;	/* next sibling */
};

#define JSON_BUILD_ALL 64

/*
 * Check text[0..n) and build nodes for build_depth levels (0: check only; 1: the root's own members;
 * JSON_BUILD_ALL: all). On success *root (may be NULL pointer to skip) is in the arena and points into
 * text. Errors: ERR_BAD_JSON with a public message naming the byte offset and the reason.
 */
enum err json_parse(struct arena *a, const char *text, size_t n, int build_depth, struct jv **root,
		    struct error *e) MUST_CHECK;

/* Member of an object by key, or NULL. o may be NULL or of another type. */
const struct jv *jv_get(const struct jv *o, const char *key);
/* True and the value when v is an integer (no fraction after evaluation of an exponent) within int64. */
bool jv_int(const struct jv *v, int64_t *out);
/* True when v is a number that a double can hold as a finite value. */
bool jv_double(const struct jv *v, double *out);
/* String value of a member, or NULL when absent or not a string. */
const char *jv_str(const struct jv *o, const char *key);
/* Integer member, or dflt when absent or not an integer. */
int64_t jv_int_or(const struct jv *o, const char *key, int64_t dflt);
double jv_double_or(const struct jv *o, const char *key, double dflt);
bool jv_bool_or(const struct jv *o, const char *key, bool dflt);
/* The value's text, NUL-terminated in the arena. v NULL gives NULL. */
const char *jv_text(struct arena *a, const struct jv *v);
const char *jtype_name(enum jtype t);

#endif
