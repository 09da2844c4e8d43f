// SPDX-License-Identifier: MIT
/*
 * Grouping of units of several ops. A transaction costs mongod 0.6 ms of CPU, however little it does; so
 * units that come while others are under way wait, and go together in the next transaction. Two
 * transactions run at a time, each led by one of the callers whose units are in it: whoever finds a place
 * free leads at once, and hands the place on to the first who waits.
 *
 * Units in one transaction touch different documents, so that each is judged by what stands in the
 * store and not by its neighbours. When one is refused the transaction is undone and each of its units goes
 * alone, at the same time, by its own caller. Large units go alone from the start.
 */
#include "store_mongo_int.h"

#include <errno.h>
#include <time.h>

#define LEADERS		2
#define UNIT_OPS	32		/* a unit of more ops goes alone */
#define GROUP_OPS	256
#define GROUP_UNITS	32

enum { WAITS, LEADS, GOES, GOES_ALONE, DONE };

struct waiter {
	struct mg_plan *p;
	struct error *e;
	size_t bytes;
	int state;
	enum err err;
	pthread_cond_t wake;
	struct waiter *next;
};

struct mg_units {
	pthread_mutex_t lock;
	struct waiter *head, **tail;
	int leaders;
};

struct mg_units *mg_units_new(void)
{
	struct mg_units *q = xcalloc(1, sizeof(*q));

	pthread_mutex_init(&q->lock, NULL);
	q->tail = &q->head;
	return q;
}

void mg_units_free(struct mg_units *q)
{
	if (!q)
		return;
	pthread_mutex_destroy(&q->lock);
	free(q);
}

/* --- the group ------------------------------------------------------------------------------------------------ */

struct group {
	struct waiter *v[GROUP_UNITS];
	int n;
	size_t bytes;
	struct mg_plan plan;
	struct mg_job *order[GROUP_OPS];
	int wave[GROUP_OPS];
};

static int store_of(const struct mg_job *j)
{
	return j->queue < MGQ_REC ? 0 : j->queue;
}

static bool apart(const struct group *g, const struct mg_plan *p)
{
	for (int i = 0; i < p->n; i++)
		for (int k = 0; k < g->plan.n; k++)
			if (p->order[i]->hash == g->order[k]->hash && store_of(p->order[i]) == store_of(g->order[k]) &&
			    !strcmp(p->order[i]->key, g->order[k]->key))
				return false;
	return true;
}

static bool join(struct group *g, struct waiter *w)
{
	if (g->n == GROUP_UNITS || g->plan.n + w->p->n > GROUP_OPS || g->bytes + w->bytes > MG_BULK_BYTES ||
	    !apart(g, w->p))
		return false;
	memcpy(g->order + g->plan.n, w->p->order, sizeof(*g->order) * (size_t)w->p->n);
	g->plan.n += w->p->n;
	g->bytes += w->bytes;
	g->v[g->n++] = w;
	return true;
}

static void gather(struct mg_units *q, struct group *g)
{
	struct waiter **at = &q->head;

	while (*at) {
		struct waiter *w = *at;

		if (!join(g, w)) {
			at = &w->next;
			continue;
		}
		w->state = GOES;
		*at = w->next;
	}
	q->tail = at;
}

/* The leader's own unit is the first; the lock is held, and given up while the transaction runs. */
static void lead(struct mongo_store *s, struct waiter *own)
{
	struct mg_units *q = s->units;
	struct group *g = xcalloc(1, sizeof(*g));
	struct error e;
	enum err err;

	if (!join(g, own))
		abort();	/* an empty group takes any unit that is small enough to be here */
	gather(q, g);
	pthread_mutex_unlock(&q->lock);
	g->plan.order = g->order;
	g->plan.wave = g->wave;
	mg_plan_sort(&g->plan);
	error_init(&e, NULL);
	if (g->n == 1)
		err = mg_unit_alone(s, own->p, own->e);
	else
		err = mg_units_together(s, &g->plan, &e);
	pthread_mutex_lock(&q->lock);
	for (int i = 0; i < g->n; i++) {
		struct waiter *w = g->v[i];
		/* Something was refused, or could not be done: but not by all, perhaps. */
		bool alone = g->n > 1 && err && err != ERR_UNCERTAIN && err != ERR_UNAVAILABLE;

		w->err = g->n > 1 && err ? mg_error(w->e, err, "%s", e.detail) : err;
		w->state = alone ? GOES_ALONE : DONE;
		pthread_cond_signal(&w->wake);
	}
	free(g);
}

static void hand_on(struct mg_units *q)
{
	struct waiter *next = q->head;

	if (!next) {
		q->leaders--;
		return;
	}
	q->head = next->next;
	if (!q->head)
		q->tail = &q->head;
	next->state = LEADS;
	pthread_cond_signal(&next->wake);
}

/* --- callers ---------------------------------------------------------------------------------------------------- */

static void withdraw(struct mg_units *q, struct waiter *w)
{
	struct waiter **at = &q->head;

	while (*at && *at != w)
		at = &(*at)->next;
	if (*at) {
		*at = w->next;
		if (q->tail == &w->next)
			q->tail = at;
	}
}

/* Wait for a state other than WAITS; false when the time limit came first. */
static bool wait_turn(struct mg_units *q, struct waiter *w, int timeout_ms)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += timeout_ms / 1000;
	until.tv_nsec += timeout_ms % 1000 * 1000000L;
	if (until.tv_nsec >= 1000000000L) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000L;
	}
	while (w->state == WAITS) {
		if (pthread_cond_timedwait(&w->wake, &q->lock, &until) == ETIMEDOUT && w->state == WAITS) {
			withdraw(q, w);
			return false;
		}
	}
	return true;
}

static enum err take_turn(struct mongo_store *s, struct waiter *w)
{
	struct mg_units *q = s->units;

	pthread_mutex_lock(&q->lock);
	if (q->leaders < LEADERS) {
		q->leaders++;
		w->state = LEADS;
	} else {
		*q->tail = w;
		q->tail = &w->next;
		if (!wait_turn(q, w, s->timeout_ms)) {
			pthread_mutex_unlock(&q->lock);
			return mg_error(w->e, ERR_UNAVAILABLE, "MongoDB did not get to it within %d ms", s->timeout_ms);
		}
	}
	if (w->state == LEADS) {
		lead(s, w);
		hand_on(q);
	}
	while (w->state == GOES)
		pthread_cond_wait(&w->wake, &q->lock);
	pthread_mutex_unlock(&q->lock);
	return w->state == GOES_ALONE ? mg_unit_alone(s, w->p, w->e) : w->err;
}

enum err mg_unit_run(struct mongo_store *s, struct mg_plan *p, struct error *e)
{
	struct waiter w = { .p = p, .e = e };
	pthread_condattr_t mono;

	for (int i = 0; i < p->n; i++) {
		uint32_t h = 2166136261u;

		for (const char *k = p->order[i]->key; *k; k++)
			h = (h ^ (unsigned char)*k) * 16777619u;
		p->order[i]->hash = h;
		w.bytes += p->order[i]->bytes;
	}
	if (p->n > UNIT_OPS || w.bytes > MG_BULK_BYTES)
		return mg_unit_alone(s, p, e);
	pthread_condattr_init(&mono);
	pthread_condattr_setclock(&mono, CLOCK_MONOTONIC);
	pthread_cond_init(&w.wake, &mono);
	pthread_condattr_destroy(&mono);
	enum err err = take_turn(s, &w);

	pthread_cond_destroy(&w.wake);
	return err;
}
