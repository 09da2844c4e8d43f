// SPDX-License-Identifier: MIT
/* What time, other tasks and dead agents do to a task: called by the scheduler. */
#include "task.h"

#include "../base/limits.h"
#include "attempt.h"

static struct task_change change_of(struct op *op, const struct task *t, uint32_t from)
{
	struct task_change c = { .if_status = from, .if_fence = t->fence };

	memcpy(c.id, t->id, ID_TEXT);
	c.set.updated_at = op->now;
	return c;
}

/* A row that changed meanwhile is not this sweep's business any more. */
static enum err forgive(enum err err)
{
	return err == ERR_CONFLICT || err == ERR_NOT_FOUND ? OK : err;
}

/* An assigned task nobody took up goes back to the queue; that was no attempt. */
static enum err unassign(struct op *op, const struct task *t)
{
	struct task_change c = change_of(op, t, ST(TASK_ASSIGNED));
	struct task *row;

	c.fields = TF_STATUS | TF_HOLD | TF_FENCE_BUMP | TF_AGENT;
	c.set.status = TASK_PENDING;
	enum err err = change_one(op, &c, false, &row);

	if (!err)
		task_posted(op, row, NULL);
	return forgive(err);
}

static enum err end_attempt(struct op *op, const struct task *brief, const struct task_fault *fault)
{
	struct task *t;
	struct task *row;
	enum err err = store_task_get(op->app->store, brief->id, op->arena, &t, op->err);

	if (err || !t || t->fence != brief->fence)
		return err;
	struct task_change c = change_of(op, t, ST_LEASED);

	attempt_ended(op, t, fault, &c);
	/* Fence off whoever still works on it. */
	c.fields |= TF_FENCE_BUMP;
	err = change_one(op, &c, false, &row);
	if (!err)
		task_settled(op, row, row->status == TASK_FAILED ? "task.failed" : "task.retrying");
	return forgive(err);
}

static enum err past_deadline(struct op *op, const struct task *t)
{
	struct task_fault f = { .type = "timeout", .code = "deadline_exceeded", .retryable = 0, .outcome = "deadline",
				.message = "The task's deadline has passed." };
	struct task *row;

	if (ST(t->status) & ST_LEASED)
		return end_attempt(op, t, &f);
	struct task_change c = change_of(op, t, ST_QUEUED);

	c.fields = TF_STATUS | TF_HOLD | TF_ERROR | TF_COMPLETED;
	c.set.status = TASK_FAILED;
	c.set.error = fault_json(op, &f, false);
	c.set.completed_at = op->now;
	enum err err = change_one(op, &c, false, &row);

	if (!err)
		task_settled(op, row, "task.failed");
	return forgive(err);
}

enum err task_expire(struct op *op, const struct task *t, enum due_kind why)
{
	switch (why) {
	case DUE_HOLD:
		return task_wake(op, t);
	case DUE_DEADLINE:
		return past_deadline(op, t);
	case DUE_LEASE:
		if (t->status == TASK_ASSIGNED)
			return unassign(op, t);
		return end_attempt(op, t, &(struct task_fault){ .type = "timeout", .code = "lease_expired", .retryable = -1,
								.outcome = "lease_expired",
								.message = "The agent did not renew its lease." });
	case DUE_TIMEOUT:
		return end_attempt(op, t, &(struct task_fault){ .type = "timeout", .code = "attempt_timeout",
								.retryable = -1, .outcome = "timeout",
								.message = "The attempt took longer than its timeout." });
	}
	return OK;
}

enum err task_paused(struct op *op, const struct task *t, bool *is)
{
	struct record *rec;

	*is = false;
	if (!*t->execution_id)
		return OK;
	enum err err = store_rec_get(op->app->store, REC_EXECUTION, t->execution_id, op->arena, &rec, op->err);

	*is = !err && rec && strcmp(rec->s2, "paused") == 0;
	return err;
}

enum err task_wake(struct op *op, const struct task *t)
{
	struct task_change c = change_of(op, t, ST_QUEUED);
	struct task *row;
	bool wait;
	enum err err = task_paused(op, t, &wait);

	if (err)
		return err;
	c.if_hold = 1u << t->hold;
	c.fields = TF_STATUS | TF_HOLD;
	c.set.status = TASK_PENDING;
	c.set.hold = wait ? HOLD_PAUSE : t->concurrency_key ? HOLD_SLOT : HOLD_NONE;
	/* Dependencies come first, then the time. */
	if (t->hold == HOLD_DEPS && t->run_at > op->now) {
		c.set.hold = HOLD_TIME;
		c.set.due_at = t->run_at;
	}
	err = change_one(op, &c, false, &row);
	if (err)
		return forgive(err);
	task_posted(op, row, NULL);
	return row->hold == HOLD_SLOT ? slot_heal(op, t->concurrency_key) : OK;
}

enum err tasks_wake(struct op *op, struct task **tasks, int n, int *left)
{
	struct store_op *ops = arena_calloc(op->arena, (size_t)n + 1, sizeof(*ops));
	struct task_change *changes = arena_calloc(op->arena, (size_t)n + 1, sizeof(*changes));
	struct store_unit u = { .ops = ops, .arena = op->arena, .error = op->err };

	*left = 0;
	for (int i = 0; i < n; i++) {
		struct task_change *c = &changes[u.n];

		/* A run may be paused, and a key may be taken. */
		if (*tasks[i]->execution_id || tasks[i]->concurrency_key || tasks[i]->hold != HOLD_TIME) {
			tasks[(*left)++] = tasks[i];
			continue;
		}
		*c = change_of(op, tasks[i], ST_QUEUED);
		c->if_hold = 1u << HOLD_TIME;
		c->fields = TF_STATUS | TF_HOLD;
		c->set.status = TASK_PENDING;
		ops[u.n++] = (struct store_op){ .kind = SOP_TASK_CHANGE, .change = c, .want_row = true };
	}
	enum err err = u.n ? store_apply_each(op->app->store, &u) : OK;

	for (size_t i = 0; i < u.n && !err; i++) {
		if (ops[i].result == SOP_DONE)
			task_posted(op, ops[i].row, NULL);
	}
	return err;
}

enum err task_check_dependencies(struct op *op, const struct task *t, bool *moved)
{
	struct jv *list;
	struct error scrap;

	*moved = false;
	error_init(&scrap, op->arena);
	if (!t->dependencies ||
	    json_parse(op->arena, t->dependencies, strlen(t->dependencies), JSON_BUILD_ALL, &list, &scrap))
		return error_set(op->err, ERR_INTERNAL, "dependencies of %s do not parse", t->id);
	const char **ids = arena_calloc(op->arena, list->n + 1, sizeof(*ids));
	struct task **deps = arena_calloc(op->arena, list->n + 1, sizeof(*deps));
	int n = 0;
	bool done = true;

	for (const struct jv *m = list->child; m; m = m->next)
		ids[n++] = m->str;
	enum err err = store_tasks_get(op->app->store, ids, n, TASK_COLS_BRIEF, op->arena, deps, op->err);

	for (int i = 0; i < n && !err; i++) {
		/* One that retention has removed was over long ago. */
		if (!deps[i] || deps[i]->status == TASK_COMPLETED)
			continue;
		done = false;
		if (!(ST(deps[i]->status) & ST_ENDED))
			continue;
		struct task_fault f = { .type = "business_logic", .code = "dependency_failed", .outcome = "failed",
					.message = arena_printf(op->arena, "Dependency %s has %s.", deps[i]->id,
								task_status_names[deps[i]->status]) };
		struct task_change c = change_of(op, t, ST_QUEUED);
		struct task *row;

		c.fields = TF_STATUS | TF_HOLD | TF_ERROR | TF_COMPLETED;
		c.set.status = TASK_FAILED;
		c.set.error = fault_json(op, &f, false);
		c.set.completed_at = op->now;
		err = change_one(op, &c, false, &row);
		if (!err)
			task_settled(op, row, "task.failed");
		*moved = !err;
		return forgive(err);
	}
	if (err || !done)
		return err;
	*moved = true;
	return task_wake(op, t);
}

enum err task_requeue_agent(struct op *op, const char *agent_id, const char *outcome, int *n)
{
	struct task_fault f = { .type = "timeout", .code = "agent_lost", .retryable = -1, .outcome = outcome,
				.message = "The agent that held the task is gone." };
	struct task_filter filter = { .status = ST_LEASED, .agent_id = agent_id, .limit = LIMIT_PAGE,
				      .cols = TASK_COLS_BRIEF, .ascending = true };

	*n = 0;
	for (;;) {
		struct task_page page;
		enum err err = store_tasks_list(op->app->store, &filter, op->arena, &page, op->err);

		for (int i = 0; i < page.n && !err; i++, (*n)++)
			err = page.items[i]->status == TASK_ASSIGNED ? unassign(op, page.items[i])
								     : end_attempt(op, page.items[i], &f);
		if (err || !page.more)
			return err;
		filter.after = arena_strdup(op->arena, page.last);
	}
}
