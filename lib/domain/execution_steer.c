// SPDX-License-Identifier: MIT
/* Steering runs: pause, resume, cancel, retry, and one stage again. */
#include "execution.h"

#include "idem.h"
#include "meter.h"
#include "task.h"

#define TRIES 16

typedef enum err execution_edit(struct op *op, struct execution *ex, void *arg);

static enum err change(struct op *op, const char *id, execution_edit *edit, void *arg, struct execution **out)
{
	for (int i = 0; i < TRIES; i++) {
		struct store_unit u = execution_unit(op);
		enum err err = execution_load(op, id, out);

		if (!err)
			err = edit(op, *out, arg);
		if (err)
			return err;
		execution_put(op, *out, &u);
		if ((*out)->status == EXEC_CANCELLED && (*out)->completed_at == op->now)
			execution_notify(op, *out, &u);
		if (op->idem && (err = execution_count(op, *out)))
			return err;
		if (op->idem)
			idem_add(op, u.ops, &u.n, op->idem->status, execution_text(op, *out));
		err = store_apply(op->app->store, &u);
		(*out)->counted = false;
		if (err == ERR_CONFLICT && idem_lost(op, u.ops, u.n))
			return ERR_IDEM_BUSY;
		if (err != ERR_CONFLICT) {
			(*out)->rev++;
			return err;
		}
	}
	return error_public(op->err, ERR_CONFLICT, "The execution is changing fast; try again.");
}

static enum err bad_state(struct op *op, const struct execution *ex, const char *verb)
{
	return error_public(op->err, ERR_BAD_STATE, "An execution that is %s cannot be %s.", execution_status_names[ex->status],
			    verb);
}

enum err execution_hold_tasks(struct op *op, const struct execution *ex, bool pause)
{
	struct task_change c = { .if_status = ST(TASK_PENDING), .if_fence = -1, .fields = TF_HOLD,
				 .if_hold = pause ? 1u << HOLD_NONE : 1u << HOLD_PAUSE };

	c.set.hold = pause ? HOLD_PAUSE : HOLD_NONE;
	c.set.updated_at = op->now;
	for (;;) {
		struct task **rows;
		int n;
		enum err err = store_tasks_sweep(op->app->store, ex->id, NULL, &c, LIMIT_PAGE, op->arena, &rows, &n, op->err);

		if (err || n == 0)
			return err;
		for (int i = 0; i < n; i++)
			task_posted(op, rows[i], NULL);
	}
}

static enum err edit_pause(struct op *op, struct execution *ex, void *arg)
{
	(void)arg;
	if (ex->status != EXEC_RUNNING)
		return bad_state(op, ex, "paused");
	ex->status = EXEC_PAUSED;
	return OK;
}

enum err execution_pause(struct op *op, const char *id, struct execution **out)
{
	enum err err = change(op, id, edit_pause, NULL, out);

	if (err || (err = execution_hold_tasks(op, *out, true)))
		return err;
	execution_post(op, *out, "pipeline.progress", 0);
	return OK;
}

static enum err edit_resume(struct op *op, struct execution *ex, void *arg)
{
	(void)arg;
	if (ex->status != EXEC_PAUSED)
		return bad_state(op, ex, "resumed");
	ex->status = EXEC_RUNNING;
	return OK;
}

enum err execution_resume(struct op *op, const char *id, struct execution **out)
{
	enum err err = change(op, id, edit_resume, NULL, out);

	if (err || (err = execution_hold_tasks(op, *out, false)))
		return err;
	return execution_advance(op, id);
}

static enum err edit_cancel(struct op *op, struct execution *ex, void *arg)
{
	bool *again = arg;

	if (ex->status == EXEC_COMPLETED || ex->status == EXEC_FAILED)
		return bad_state(op, ex, "cancelled");
	*again = ex->status == EXEC_CANCELLED;
	if (*again)
		return OK;
	for (int s = 1; s <= ex->n_stages; s++) {
		if (ex->state[s].status == STAGE_RUNNING) {
			ex->state[s].status = STAGE_CANCELLED;
			ex->state[s].completed_at = op->now;
		}
	}
	ex->completed_at = op->now;
	ex->status = EXEC_CANCELLED;
	return OK;
}

enum err execution_cancel(struct op *op, const char *id, struct execution **out)
{
	bool again;
	enum err err = change(op, id, edit_cancel, &again, out);

	/* Once more, for tasks that a request which died has left. */
	if (err || (err = stage_cancel_tasks(op, id, 0)) || again)
		return err;
	meter_run(*out);
	execution_post(op, *out, "pipeline.cancelled", 0);
	return OK;
}

/* Put the ended tasks of a stage back: those in `from`. */
static enum err revive_tasks(struct op *op, const struct execution *ex, int s, uint32_t from)
{
	struct task_filter f = { .execution_id = ex->id, .stage = s, .status = from, .limit = 100, .ascending = true };

	for (;;) {
		struct task_page page;
		enum err err = store_tasks_list(op->app->store, &f, op->arena, &page, op->err);

		for (int i = 0; i < page.n && !err; i++) {
			struct task *t = page.items[i];
			struct task_change c = { .if_status = from, .if_fence = t->fence,
						 .fields = TF_STATUS | TF_HOLD | TF_ATTEMPT_SET | TF_ERROR | TF_RESULT |
							   TF_COMPLETED | TF_PROGRESS | TF_AGENT | TF_STARTED };
			struct store_op o = { .kind = SOP_TASK_CHANGE, .change = &c, .want_row = true };
			struct store_unit u = { .ops = &o, .n = 1, .arena = op->arena, .error = op->err };

			memcpy(c.id, t->id, ID_TEXT);
			c.set.status = TASK_PENDING;
			c.set.hold = t->concurrency_key ? HOLD_SLOT : HOLD_NONE;
			c.set.message = "";
			c.set.updated_at = op->now;
			err = store_apply(op->app->store, &u);
			if (!err)
				task_posted(op, o.row, "task.retrying");
			else if (err == ERR_CONFLICT)
				err = OK;
		}
		if (err || !page.more)
			return err;
		f.after = arena_strdup(op->arena, page.last);
	}
}

static enum err edit_retry(struct op *op, struct execution *ex, void *arg)
{
	(void)arg;
	if (ex->status != EXEC_FAILED && ex->status != EXEC_CANCELLED)
		return bad_state(op, ex, "retried");
	for (int s = 1; s <= ex->n_stages; s++) {
		if (ex->state[s].status != STAGE_FAILED && ex->state[s].status != STAGE_CANCELLED)
			continue;
		ex->state[s].status = ex->state[s].tasks ? STAGE_RUNNING : STAGE_PENDING;
		ex->state[s].completed_at = 0;
		ex->state[s].error = NULL;
	}
	ex->status = EXEC_RUNNING;
	ex->error = NULL;
	ex->completed_at = 0;
	return OK;
}

/* After the record says running again: admit, fill what is missing, and look. */
static enum err set_going(struct op *op, struct execution *ex)
{
	enum err err = OK;

	for (int s = 1; s <= ex->n_stages && !err; s++) {
		if (ex->state[s].status == STAGE_RUNNING && ex->stages[s].fan_out) {
			struct store_unit none = { 0 };

			err = stage_announce(op, ex, s, &none);
		}
	}
	return err ? err : execution_advance(op, ex->id);
}

enum err execution_retry(struct op *op, const char *id, struct execution **out)
{
	enum err err = execution_load(op, id, out);

	if (err)
		return err;
	if ((*out)->status != EXEC_FAILED && (*out)->status != EXEC_CANCELLED)
		return bad_state(op, *out, "retried");
	/* Tasks first: a run that says it runs must not find its failed tasks still failed. */
	for (int s = 1; s <= (*out)->n_stages && !err; s++) {
		if ((*out)->state[s].status == STAGE_FAILED || (*out)->state[s].status == STAGE_CANCELLED)
			err = revive_tasks(op, *out, s, ST(TASK_FAILED) | ST(TASK_CANCELLED));
	}
	if (err || (err = change(op, id, edit_retry, NULL, out)))
		return err;
	execution_post(op, *out, "pipeline.started", 0);
	return set_going(op, *out);
}

static enum err edit_run_stage(struct op *op, struct execution *ex, void *arg)
{
	int s = *(int *)arg;

	if (s > ex->n_stages)
		return error_public(op->err, ERR_NOT_FOUND, "The pipeline has %d stages.", ex->n_stages);
	if (ex->status == EXEC_PAUSED)
		return bad_state(op, ex, "moved on; resume it first");
	if (ex->state[s].status == STAGE_RUNNING)
		return error_public(op->err, ERR_BAD_STATE, "Stage %d is running already.", s);
	for (int d = 1; d <= ex->n_stages; d++) {
		if (ex->stages[s].deps >> d & 1 && !stage_over(ex, d))
			return error_public(op->err, ERR_BAD_STATE, "Stage %d waits for stage %d.", s, d);
	}
	ex->state[s].status = ex->state[s].tasks ? STAGE_RUNNING : STAGE_PENDING;
	ex->state[s].error = NULL;
	ex->state[s].completed_at = 0;
	ex->status = EXEC_RUNNING;
	ex->error = NULL;
	ex->completed_at = 0;
	return OK;
}

enum err execution_run_stage(struct op *op, const char *id, int stage, struct execution **out)
{
	enum err err = execution_load(op, id, out);

	if (err)
		return err;
	struct execution probe = **out;

	err = edit_run_stage(op, &probe, &stage);
	if (!err && (*out)->state[stage].tasks)
		err = revive_tasks(op, *out, stage, ST_ENDED);
	if (err || (err = change(op, id, edit_run_stage, &stage, out)))
		return err;
	return set_going(op, *out);
}
