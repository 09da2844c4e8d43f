// SPDX-License-Identifier: MIT
/*
 * Growing byte buffer, always NUL-terminated, and the JSON writer that fills it.
 *
 * The writer (jw_*) keeps commas and quotes right: a value written after another in the same
 * object or array gets its comma by itself. Depth is bounded by JW_MAX_DEPTH; what nests deeper
 * than that is a bug in our code (outside JSON is copied as text, never re-nested).
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stdbool.h>
#include <stdint.h>
#include "arena.h"

struct buf {
	char *p;	/* never NULL after buf_init; p[n] == '\0' */
	size_t n;	/* bytes used */
	size_t cap;	/* bytes allocated */
};

void buf_init(struct buf *b);
void buf_release(struct buf *b);
/* Forget the contents, keep up to 64 KiB of the memory. */
void buf_reset(struct buf *b);
/* Make room for n more bytes and the NUL. */
void buf_grow(struct buf *b, size_t n);
void buf_add(struct buf *b, const void *data, size_t n);
void buf_adds(struct buf *b, const char *s);
void buf_addc(struct buf *b, char c);
void buf_addf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define JW_MAX_DEPTH 32

/* Writes one JSON text into a buffer. */
struct jw {
	struct buf *out;
	unsigned depth;
	bool first[JW_MAX_DEPTH + 1];	/* nothing written yet at this depth */
	bool after_key;
};

void jw_init(struct jw *w, struct buf *out);
void jw_obj(struct jw *w);		/* { */
void jw_end_obj(struct jw *w);		/* } */
void jw_arr(struct jw *w);		/* [ */
void jw_end_arr(struct jw *w);		/* ] */
void jw_key(struct jw *w, const char *key);
void jw_str(struct jw *w, const char *s);	/* NULL writes null */
void jw_strn(struct jw *w, const char *s, size_t n);
void jw_int(struct jw *w, int64_t v);
/* Shortest text that reads back as the same double; NaN and infinities become null (RFC 8259 §6). */
void jw_double(struct jw *w, double v);
void jw_bool(struct jw *w, bool v);
void jw_null(struct jw *w);
/* A value that is JSON text already (checked by json_parse before); NULL or "" writes null. */
void jw_raw(struct jw *w, const char *json);
void jw_rawn(struct jw *w, const char *json, size_t n);
/* RFC 3339 UTC with milliseconds from ms since the epoch; 0 writes null. */
void jw_time(struct jw *w, int64_t ms);

/* key and value in one call */
void jw_kstr(struct jw *w, const char *key, const char *s);
void jw_kint(struct jw *w, const char *key, int64_t v);
void jw_kdouble(struct jw *w, const char *key, double v);
void jw_kbool(struct jw *w, const char *key, bool v);
void jw_kraw(struct jw *w, const char *key, const char *json);
void jw_ktime(struct jw *w, const char *key, int64_t ms);
void jw_knull(struct jw *w, const char *key);

/* s with JSON string escapes, without the quotes. Invalid UTF-8 becomes U+FFFD. */
void buf_add_json_escaped(struct buf *b, const char *s, size_t n);

#endif
