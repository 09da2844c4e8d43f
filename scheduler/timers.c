// SPDX-License-Identifier: MIT
/* What time brings: the end of waits, leases, attempts and deadlines; and tasks that wait for other tasks. */
#include "sched.h"

#include "../lib/base/clock.h"

#define BATCH 256
#define ROUNDS 16		/* batches of one kind in one run: then the others have their turn */
#define LOOK_MS_MAX 1000
#define LOOK_MS_ALONE 250	/* while Redis is away nobody wakes us */
#define DEPS_MS 200		/* between walks over waiting tasks */
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

		if (!err)
			err = crew_each(s->crew, op, n, expire_one, &d, NULL);
		if (err || n < BATCH)
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

static enum err check_one(struct op *op, void *arg, int i)
{
	struct task **tasks = arg;
	bool moved;

	return task_check_dependencies(op, tasks[i], &moved);
}

enum err dependencies_run(struct sched *s, struct op *op, unsigned why, int64_t *next)
{
	int64_t begun = mono_us();
	int seen = 0;

	(void)why;
	for (int round = 0; round < ROUNDS && leads(s); round++) {
		struct task **tasks;
		int n;
		enum err err = store_tasks_dep_waiters(op->app->store, *s->deps_after ? s->deps_after : NULL, BATCH, op->arena,
						       &tasks, &n, op->err);

		/* One bad row must not hold up those behind it: the walk goes on from here next time. */
		s->deps_after[0] = '\0';
		if (!err && n == BATCH)
			memcpy(s->deps_after, tasks[n - 1]->id, ID_TEXT);
		if (!err)
			err = crew_each(s->crew, op, n, check_one, tasks, NULL);
		if (err)
			return err;
		seen += n;
		if (n < BATCH)
			break;
	}
	int64_t rest = (mono_us() - begun) / 1000 * DEPS_SHARE;

	*next = !seen ? LOOK_MS_MAX : rest > DEPS_MS ? rest : DEPS_MS;
	return OK;
}
