// SPDX-License-Identifier: MIT
/*
 * Arena: memory that lives as long as one request, one tick or one batch.
 *
 * Everything a request builds is taken from its arena and goes at once when the answer is out, so
 * nothing is freed piecemeal and nothing leaks on an error path. An arena keeps its first chunk
 * between uses; a large one-off allocation is returned to the system by arena_reset().
 *
 * Not thread-safe: one arena has one user at a time (a caller that blocks may lend its arena to the
 * thread that works for it).
 *
 * Out of memory aborts the process: a half-built answer is worse than a restart by the master, and
 * every acknowledged change is in the store already. Sizes are bounded by lib/base/limits.h before
 * anything is allocated from outside input.
 */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stdarg.h>
#include <stddef.h>
#include "banned.h"

struct arena_chunk;

struct arena {
	struct arena_chunk *head;	/* chunk being filled */
	size_t used;			/* bytes handed out since the last reset */
	unsigned wipe : 1;		/* overwrite with zeros before memory is reused: for secrets */
};

void arena_init(struct arena *a);
/* As arena_init, and all memory is zeroed when it is reset or released. */
void arena_init_wiped(struct arena *a);
/* Give everything back but one chunk. Pointers taken from the arena die. */
void arena_reset(struct arena *a);
void arena_release(struct arena *a);

/* n bytes, aligned for any type; never NULL; contents undefined. n = 0 gives a valid pointer. */
void *arena_alloc(struct arena *a, size_t n) __attribute__((malloc, returns_nonnull));
/* The same, zeroed. */
void *arena_zalloc(struct arena *a, size_t n) __attribute__((malloc, returns_nonnull));
/* count * size bytes zeroed; aborts on overflow. */
void *arena_calloc(struct arena *a, size_t count, size_t size) __attribute__((malloc, returns_nonnull));
/* Copy of n bytes plus a terminating NUL. */
char *arena_strndup(struct arena *a, const char *s, size_t n) __attribute__((returns_nonnull));
/* Copy of a string; NULL stays NULL. */
char *arena_strdup(struct arena *a, const char *s);
char *arena_printf(struct arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3), returns_nonnull));

#define arena_new(a, type) ((type *)arena_zalloc((a), sizeof(type)))

/* malloc and friends that abort instead of returning NULL: for long-lived objects. */
void *xmalloc(size_t n) __attribute__((malloc, returns_nonnull));
void *xcalloc(size_t count, size_t size) __attribute__((malloc, returns_nonnull));
void *xrealloc(void *p, size_t n) __attribute__((returns_nonnull));
char *xstrdup(const char *s) __attribute__((returns_nonnull));

#endif
