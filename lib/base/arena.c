// SPDX-License-Identifier: MIT
#include "arena.h"

#include <stdint.h>

#define CHUNK_MIN ((size_t)16 * 1024)

struct arena_chunk {
	struct arena_chunk *next;
	size_t size;
	size_t used;
	max_align_t data[];
};

static void die_oom(void)
{
	/* No allocation and no formatting here: there may be no memory for either. */
	fputs("{\"level\":\"CRITICAL\",\"component\":\"base\",\"message\":\"out of memory\"}\n", stderr);
	abort();
}

void *xmalloc(size_t n)
{
	void *p = malloc(n ? n : 1);

	if (!p)
		die_oom();
	return p;
}

void *xcalloc(size_t count, size_t size)
{
	void *p = calloc(count ? count : 1, size ? size : 1);

	if (!p)
		die_oom();
	return p;
}

void *xrealloc(void *p, size_t n)
{
	p = realloc(p, n ? n : 1);
	if (!p)
		die_oom();
	return p;
}

char *xstrdup(const char *s)
{
	char *p = strdup(s);

	if (!p)
		die_oom();
	return p;
}

void arena_init(struct arena *a)
{
	*a = (struct arena){ 0 };
}

void arena_init_wiped(struct arena *a)
{
	*a = (struct arena){ .wipe = 1 };
}

static void chunk_free(struct arena *a, struct arena_chunk *c)
{
	if (a->wipe)
		explicit_bzero(c->data, c->used);
	free(c);
}

void arena_reset(struct arena *a)
{
	struct arena_chunk *keep = NULL;

	for (struct arena_chunk *c = a->head, *next; c; c = next) {
		next = c->next;
		if (!keep && c->size == CHUNK_MIN) {
			keep = c;
			continue;
		}
		chunk_free(a, c);
	}
	if (keep) {
		if (a->wipe)
			explicit_bzero(keep->data, keep->used);
		keep->next = NULL;
		keep->used = 0;
	}
	a->head = keep;
	a->used = 0;
}

void arena_release(struct arena *a)
{
	for (struct arena_chunk *c = a->head, *next; c; c = next) {
		next = c->next;
		chunk_free(a, c);
	}
	a->head = NULL;
	a->used = 0;
}

void *arena_alloc(struct arena *a, size_t n)
{
	const size_t align = _Alignof(max_align_t);
	struct arena_chunk *c = a->head;

	if (n > SIZE_MAX / 2)
		die_oom();
	n = (n + align - 1) & ~(align - 1);
	if (!c || c->size - c->used < n) {
		size_t size = n > CHUNK_MIN ? n : CHUNK_MIN;

		c = xmalloc(sizeof(*c) + size);
		c->size = size;
		c->used = 0;
		if (size > CHUNK_MIN && a->head) {
			/* A big one-off goes behind the head: what is left of the head stays usable. */
			c->next = a->head->next;
			a->head->next = c;
		} else {
			c->next = a->head;
			a->head = c;
		}
	}
	void *p = (char *)c->data + c->used;

	c->used += n;
	a->used += n;
	return p;
}

void *arena_zalloc(struct arena *a, size_t n)
{
	return memset(arena_alloc(a, n), 0, n);
}

void *arena_calloc(struct arena *a, size_t count, size_t size)
{
	size_t n;

	if (__builtin_mul_overflow(count, size, &n))
		die_oom();
	return arena_zalloc(a, n);
}

char *arena_strndup(struct arena *a, const char *s, size_t n)
{
	char *p = arena_alloc(a, n + 1);

	memcpy(p, s, n);
	p[n] = '\0';
	return p;
}

char *arena_strdup(struct arena *a, const char *s)
{
	return s ? arena_strndup(a, s, strlen(s)) : NULL;
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
	va_list ap;
	va_list again;

	va_start(ap, fmt);
	va_copy(again, ap);
	int n = vsnprintf(NULL, 0, fmt, ap);

	va_end(ap);
	if (n < 0)
		n = 0;
	char *p = arena_alloc(a, (size_t)n + 1);

	if (vsnprintf(p, (size_t)n + 1, fmt, again) < 0)
		p[0] = '\0';
	va_end(again);
	return p;
}
