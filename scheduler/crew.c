// SPDX-License-Identifier: MIT
#include "crew.h"

#include <pthread.h>
#include <signal.h>

#define HELPERS_MAX 16

struct batch {
	struct batch *next;
	crew_work *work;
	void *arg;
	int n, taken, busy;		/* items handed out; those being worked on */
	int failed;
	enum err err;
	struct error first;
};

struct crew {
	struct app *app;
	pthread_t threads[HELPERS_MAX];
	int n_threads;
	pthread_mutex_t lock;
	pthread_cond_t work, done;
	struct batch *batches;		/* those with items to hand out */
	bool stop;
};

/* The lock is held. */
static void unlist(struct crew *c, struct batch *b)
{
	for (struct batch **p = &c->batches; *p; p = &(*p)->next) {
		if (*p == b) {
			*p = b->next;
			return;
		}
	}
}

/* One item of b; the lock is held before and after. */
static void work_one(struct crew *c, struct batch *b, struct arena *arena)
{
	int i = b->taken++;
	struct error e;
	struct op op;

	if (b->taken == b->n)
		unlist(c, b);
	b->busy++;
	pthread_mutex_unlock(&c->lock);
	op_init(&op, c->app, arena, &e, &system_caller, NULL);
	enum err err = b->work(&op, b->arg, i);

	pthread_mutex_lock(&c->lock);
	if (err && b->failed++ == 0) {
		b->err = err;
		b->first = e;
		/* What hangs in this item's arena goes with it. */
		b->first.fields = NULL;
		b->first.tail = NULL;
		b->first.n_fields = 0;
		b->first.extra = NULL;
	}
	arena_reset(arena);
	if (--b->busy == 0 && b->taken == b->n)
		pthread_cond_broadcast(&c->done);
}

static void *helper_main(void *arg)
{
	struct crew *c = arg;
	struct arena arena;

	pthread_setname_np(pthread_self(), "crew");
	arena_init(&arena);
	pthread_mutex_lock(&c->lock);
	for (;;) {
		while (!c->batches && !c->stop)
			pthread_cond_wait(&c->work, &c->lock);
		if (!c->batches)
			break;
		work_one(c, c->batches, &arena);
	}
	pthread_mutex_unlock(&c->lock);
	arena_release(&arena);
	return NULL;
}

enum err crew_each(struct crew *c, struct op *op, int n, crew_work *work, void *arg, int *failed)
{
	struct batch b = { .work = work, .arg = arg, .n = n };
	struct arena arena;

	if (failed)
		*failed = 0;
	if (n <= 0)
		return OK;
	arena_init(&arena);
	pthread_mutex_lock(&c->lock);
	b.next = c->batches;
	c->batches = &b;
	if (n > 1)
		pthread_cond_broadcast(&c->work);
	while (b.taken < n)
		work_one(c, &b, &arena);
	while (b.busy)
		pthread_cond_wait(&c->done, &c->lock);
	pthread_mutex_unlock(&c->lock);
	arena_release(&arena);
	if (failed)
		*failed = b.failed;
	if (b.err) {
		struct arena *own = op->err->arena;

		*op->err = b.first;
		op->err->arena = own;
		op->err->tail = &op->err->fields;
	}
	return b.err;
}

enum err crew_new(struct app *app, int helpers, struct crew **out, struct error *e)
{
	struct crew *c = xcalloc(1, sizeof(*c));

	c->app = app;
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->work, NULL);
	pthread_cond_init(&c->done, NULL);
	for (int i = 0; i < helpers && i < HELPERS_MAX; i++) {
		if (pthread_create(&c->threads[i], NULL, helper_main, c)) {
			crew_free(c);
			return error_set(e, ERR_INTERNAL, "no thread for the crew");
		}
		c->n_threads++;
	}
	*out = c;
	return OK;
}

void crew_free(struct crew *c)
{
	if (!c)
		return;
	pthread_mutex_lock(&c->lock);
	c->stop = true;
	pthread_cond_broadcast(&c->work);
	pthread_mutex_unlock(&c->lock);
	for (int i = 0; i < c->n_threads; i++)
		pthread_join(c->threads[i], NULL);
	pthread_cond_destroy(&c->work);
	pthread_cond_destroy(&c->done);
	pthread_mutex_destroy(&c->lock);
	free(c);
}
