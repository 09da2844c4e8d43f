// SPDX-License-Identifier: MIT
/*
 * Where in a document a check stands: a chain of places on the stack, written out as a JSON path
 * ("$.stages[2].name", "$[\"two words\"]") only when there is something to complain about.
 */
#ifndef BASE_PLACE_H
#define BASE_PLACE_H

#include "error.h"

struct place {
	struct arena *arena;	/* for what the check builds */
	struct error *e;
	const struct place *up;	/* NULL: name is the root, such as "$" or "query" */
	const char *name;	/* member of up, or NULL: item [index] of it */
	size_t index;
};

#define PLACE_NAME_MAX 64	/* bytes of one name that a path shows */

static inline struct place place_root(struct arena *a, struct error *e, const char *name)
{
	return (struct place){ .arena = a, .e = e, .name = name };
}

/* A place points at the one above it, which must outlive it. */
static inline struct place place_member(const struct place *up, const char *name)
{
	return (struct place){ .arena = up->arena, .e = up->e, .up = up, .name = name };
}

static inline struct place place_item(const struct place *up, size_t index)
{
	return (struct place){ .arena = up->arena, .e = up->e, .up = up, .index = index };
}

/* Add a bad field at this place (error_field). Cheap once the list of bad fields is full. */
void complain(const struct place *at, const char *code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#endif
