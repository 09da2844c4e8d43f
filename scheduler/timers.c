// SPDX-License-Identifier: MIT
/* What time brings: the end of waits, leases, attempts and deadlines; and tasks that wait for other tasks. */
#include "sched.h"

#include "../lib/base/clock.h"

#define BATCH 256
#define ROUNDS 16		/* batches of one kind in one run: then the others have their turn */
#define LOOK_MS_MAX 1000
#define LOOK_MS_ALONE 250	/* while Redis is away nobody wakes us */
#define DEPS_MS 25		/* between walks over waiting tasks while they move … */
#define DEPS_MS_MAX 200		/* … and while they do not */
#define DEPS_SHARE 10		/* a walk takes at most this part of the time */

struct due {
	struct task **tasks;
	enum due_kind kind;
};

static enum err expire_one(struct op *op, void *arg, int i)
{
	const struct due *d = arg;

	return task_expire(op, d->tasks[i], d->kind);
}

/* *more: it was too much for one run. */
static enum err expire_kind(struct sched *s, struct op *op, enum due_kind kind, bool *more)
{
	for (int round = 0; round < ROUNDS && leads(s); round++) {
		struct due d = { .kind = kind };
		int n;
		enum err err = store_tasks_due(op->app->store, kind, now_ms(), BATCH, op->arena, &d.tasks, &n, op->err);

		bool full = n == BATCH;

		if (!err && kind == DUE_HOLD)
			err = tasks_wake(op, d.tasks, n, &n);
		if (!err)
			err = crew_each(s->crew, op, n, expire_one, &d, NULL);
		if (err || !full)
			return err;
	}
	*more = true;
	return OK;
}

enum err timers_run(struct sched *s, struct op *op, unsigned why, int64_t *next)
{
	static const enum due_kind kinds[] = { DUE_LEASE, DUE_TIMEOUT, DUE_DEADLINE, DUE_HOLD };
	enum err first = OK;
	bool more = false;
	int64_t at = INT64_MAX;

	(void)why;
	/* One kind that fails does not hold up the others. */
	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
		enum err err = expire_kind(s, op, kinds[i], &more);

		first = first ? first : err;
	}
	if (first)
		return first;
	enum err err = store_next_due(op->app->store, &at, op->err);
	int64_t most = bus_up(op->app->bus) ? LOOK_MS_MAX : LOOK_MS_ALONE;
	int64_t wait = at == INT64_MAX ? most : at - now_ms();

	*next = more || wait < 0 ? 0 : wait < most ? wait : most;
	return err;
}

/* --- dependencies --------------------------------------------------------------------------------------- */

struct waiters {
	struct task **tasks;
	_Atomic int moved;
};

static enum err check_one(struct op *op, void *arg, int i)
{
	struct waiters *w = arg;
	bool moved;
	enum err err = task_check_dependencies(op, w->tasks[i], &moved);

	w->moved += moved;
	return err;
}

enum err dependencies_run(struct sched *s, struct op *op, unsigned why, int64_t *next)
{
	int64_t begun = mono_us();
	struct waiters w = { 0 };
	int seen = 0;

	for (int round = 0; round < ROUNDS && leads(s); round++) {
		int n;
		enum err err = store_tasks_dep_waiters(op->app->store, *s->deps_after ? s->deps_after : NULL, BATCH, op->arena,
						       &w.tasks, &n, op->err);

		/* One bad row must not hold up those behind it: the walk goes on from here next time. */
		s->deps_after[0] = '\0';
		if (!err && n == BATCH)
			memcpy(s->deps_after, w.tasks[n - 1]->id, ID_TEXT);
		if (!err)
			err = crew_each(s->crew, op, n, check_one, &w, NULL);
		if (err)
			return err;
		seen += n;
		if (n < BATCH)
			break;
	}
	int64_t rest = (mono_us() - begun) / 1000 * DEPS_SHARE;

	if (w.moved || why)
		s->deps_ms = DEPS_MS;
	else
		s->deps_ms = 2 * s->deps_ms < DEPS_MS_MAX ? 2 * s->deps_ms : DEPS_MS_MAX;
	*next = !seen ? LOOK_MS_MAX : rest > s->deps_ms ? rest : s->deps_ms;
	return OK;
}
