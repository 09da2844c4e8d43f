// SPDX-License-Identifier: MIT
/*
 * Lanes this process has seen, with their signatures. A claim by ids must not take a task whose lane does
 * not fit its agent, whatever the queue in Redis says. Instead of reading each task first, the claim names the
 * lanes that fit and the compare-and-set demands one of them. A task of a lane that has not been seen is
 * refused once; the row that comes back with the refusal brings the lane, and the claim is tried again.
 */
#include "store_mongo_int.h"

#define LANES_MAX 256	/* with more, claims look the tasks up first */

struct mg_lanes {
	pthread_rwlock_t lock;
	int n;
	struct { int64_t lane; char *sig; } v[LANES_MAX];
};

struct mg_lanes *mg_lanes_new(void)
{
	struct mg_lanes *l = xcalloc(1, sizeof(*l));

	pthread_rwlock_init(&l->lock, NULL);
	return l;
}

void mg_lanes_free(struct mg_lanes *l)
{
	if (!l)
		return;
	for (int i = 0; i < l->n; i++)
		free(l->v[i].sig);
	pthread_rwlock_destroy(&l->lock);
	free(l);
}

static bool known(const struct mg_lanes *l, int64_t lane)
{
	for (int i = 0; i < l->n; i++)
		if (l->v[i].lane == lane)
			return true;
	return false;
}

void mg_lanes_learn(struct mg_lanes *l, int64_t lane, const char *sig)
{
	pthread_rwlock_wrlock(&l->lock);
	if (!known(l, lane) && l->n < LANES_MAX) {
		l->v[l->n].lane = lane;
		l->v[l->n++].sig = xstrdup(sig ? sig : "");
	}
	pthread_rwlock_unlock(&l->lock);
}

bool mg_lanes_too_many(struct mg_lanes *l)
{
	pthread_rwlock_rdlock(&l->lock);
	bool many = l->n == LANES_MAX;

	pthread_rwlock_unlock(&l->lock);
	return many;
}

int mg_lanes_fitting(struct mg_lanes *l, const struct claim *c, struct arena *a, int64_t **lanes)
{
	int n = 0;

	*lanes = arena_alloc(a, sizeof(**lanes) * LANES_MAX);
	pthread_rwlock_rdlock(&l->lock);
	for (int i = 0; i < l->n; i++)
		if (c->fits(c->arg, l->v[i].lane, l->v[i].sig))
			(*lanes)[n++] = l->v[i].lane;
	pthread_rwlock_unlock(&l->lock);
	return n;
}
