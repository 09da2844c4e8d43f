// SPDX-License-Identifier: MIT
#include "token_cache.h"

#include <pthread.h>

#include "../base/secret.h"

#define STRIPES 256	/* a power of two, at most TOKEN_CACHE_SLOTS */

struct entry {
	uint64_t epoch;
	size_t n;
	struct claims claims;
	char token[];
};

/* One lock a cache line, so that neighbours do not slow each other. */
struct stripe {
	_Alignas(64) pthread_mutex_t lock;
};

struct token_cache {
	struct stripe stripe[STRIPES];
	struct entry *slot[TOKEN_CACHE_SLOTS];
};

struct token_cache *token_cache_new(void)
{
	struct token_cache *c = aligned_alloc(64, sizeof(*c));

	if (!c)
		abort();
	memset(c, 0, sizeof(*c));
	for (int i = 0; i < STRIPES; i++)
		pthread_mutex_init(&c->stripe[i].lock, NULL);
	return c;
}

static void entry_free(struct entry *e)
{
	if (!e)
		return;
	secret_wipe(e->token, e->n);
	free(e);
}

void token_cache_free(struct token_cache *c)
{
	if (!c)
		return;
	for (int i = 0; i < TOKEN_CACHE_SLOTS; i++)
		entry_free(c->slot[i]);
	for (int i = 0; i < STRIPES; i++)
		pthread_mutex_destroy(&c->stripe[i].lock);
	free(c);
}

/* The last characters of a token belong to its signature; the very last one holds only four of its bits. */
static size_t slot_of(const char *token, size_t n)
{
	uint64_t h = 0;

	if (n >= sizeof(h) + 1)
		memcpy(&h, token + n - 1 - sizeof(h), sizeof(h));
	h *= UINT64_C(0x9e3779b97f4a7c15);
	return (size_t)(h >> 40) & (TOKEN_CACHE_SLOTS - 1);
}

bool token_cache_get(struct token_cache *c, const char *token, size_t n, uint64_t epoch, struct claims *out)
{
	size_t i = slot_of(token, n);
	pthread_mutex_t *lock = &c->stripe[i & (STRIPES - 1)].lock;
	bool found = false;

	pthread_mutex_lock(lock);
	const struct entry *e = c->slot[i];

	if (e && e->n == n && e->epoch == epoch && secret_equal(e->token, token, n)) {
		*out = e->claims;
		found = true;
	}
	pthread_mutex_unlock(lock);
	return found;
}

void token_cache_put(struct token_cache *c, const char *token, size_t n, uint64_t epoch,
		     const struct claims *claims)
{
	if (n > TOKEN_CACHE_TEXT_MAX)
		return;
	size_t i = slot_of(token, n);
	pthread_mutex_t *lock = &c->stripe[i & (STRIPES - 1)].lock;
	struct entry *fresh = xmalloc(sizeof(*fresh) + n);

	fresh->epoch = epoch;
	fresh->n = n;
	fresh->claims = *claims;
	memcpy(fresh->token, token, n);
	pthread_mutex_lock(lock);
	struct entry *old = c->slot[i];

	c->slot[i] = fresh;
	pthread_mutex_unlock(lock);
	entry_free(old);
}
