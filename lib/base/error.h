// SPDX-License-Identifier: MIT
/*
 * Errors are values. A function that can fail returns `enum err`, which the compiler does not let
 * anyone drop; what the caller may read travels in `struct error`: a public message, the bad
 * fields, and a detail that goes to the log only.
 *
 * errors.def is the one table of codes, HTTP statuses, types and texts.
 */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#include "arena.h"

#define MUST_CHECK __attribute__((warn_unused_result))

enum err {
	OK = 0,
#define X(code, status, type, text, msg) code,
#include "errors.def"
#undef X
	ERR_COUNT
};

/* One bad field of a request. */
struct field_error {
	const char *path;	/* JSON path, "$.stages[2].name", or "query.limit", "header.X" */
	const char *code;	/* "required", "unknown_field", "out_of_range", … */
	const char *message;	/* names the limit and the fix */
	struct field_error *next;
};

#define ERROR_FIELDS_MAX 100	/* more bad fields than this are counted, not listed */
#define ERROR_PATH_MAX 256	/* bytes of a path that are kept; what is longer ends in "…" */

struct error {
	enum err code;
	char message[256];	/* public; empty: the table's text */
	char detail[256];	/* for the log only */
	struct field_error *fields, **tail;
	unsigned n_fields;
	struct arena *arena;	/* owns the field errors */
	const char *extra;	/* JSON object text for details when there are no fields, or NULL */
};

void error_init(struct error *e, struct arena *arena);
/* Set code and detail (log text); returns code, so that `return error_set(...)` reads well. */
enum err error_set(struct error *e, enum err code, const char *detail_fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* Set code and public message. */
enum err error_public(struct error *e, enum err code, const char *message_fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* Add a bad field; the code becomes ERR_VALIDATION when none was set. path is copied. */
enum err error_field(struct error *e, const char *path, const char *code, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

struct jw;
/* The list of bad fields, as answers have it: [{ field, code, message }…]. */
void error_fields_json(const struct error *e, struct jw *w);

int err_status(enum err code);
const char *err_type(enum err code);
const char *err_text(enum err code);	/* "stale_fence" */
const char *err_message(enum err code);
const char *err_name(enum err code);	/* "ERR_STALE_FENCE" */

#endif
