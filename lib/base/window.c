// SPDX-License-Identifier: MIT
#include "window.h"

#include <pthread.h>

#include "clock.h"
#include "hash.h"

static struct {
	int64_t window;
	int64_t count;
} slots[WINDOW_SLOTS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static unsigned slot_of(const char *key)
{
	return (unsigned)(hash_add(HASH_START, key, strlen(key)) % WINDOW_SLOTS);
}

bool window_take(const char *key, int64_t limit, int64_t cost, int64_t *left, int *reset_s)
{
	int64_t now_s = mono_us() / 1000000;
	unsigned i = slot_of(key);
	bool taken = true;

	*reset_s = (int)(WINDOW_S - now_s % WINDOW_S);
	pthread_mutex_lock(&lock);
	if (slots[i].window != now_s / WINDOW_S) {
		slots[i].window = now_s / WINDOW_S;
		slots[i].count = 0;
	}
	if (limit > 0 && slots[i].count + cost > limit)
		taken = false;
	else
		slots[i].count += cost;
	*left = limit > slots[i].count ? limit - slots[i].count : 0;
	pthread_mutex_unlock(&lock);
	return taken;
}

int64_t window_count(const char *key)
{
	unsigned i = slot_of(key);

	pthread_mutex_lock(&lock);
	int64_t n = slots[i].window == mono_us() / 1000000 / WINDOW_S ? slots[i].count : 0;

	pthread_mutex_unlock(&lock);
	return n;
}
