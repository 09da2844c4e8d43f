// SPDX-License-Identifier: MIT
#include "attempt.h"

#include "../base/limits.h"
#include "../base/log.h"
#include "execution.h"

const char *fault_json(struct op *op, const struct task_fault *f, bool retryable)
{
	struct buf b;
	struct jw w;

	buf_init(&b);
	jw_init(&w, &b);
	jw_obj(&w);
	jw_kstr(&w, "type", f->type);
	jw_kstr(&w, "code", f->code);
	jw_kstr(&w, "message", f->message);
	jw_kraw(&w, "details", f->details);
	jw_kbool(&w, "retryable", retryable);
	jw_end_obj(&w);
	const char *text = arena_strndup(op->arena, b.p, b.n);

	buf_release(&b);
	return text;
}

const char *attempts_with(struct op *op, const struct task *t, const char *outcome, const char *error_json)
{
	struct buf b;
	struct jw w;
	size_t had = t->attempts ? strlen(t->attempts) : 0;

	if (t->attempt >= LIMIT_ATTEMPTS_KEPT)
		return t->attempts;
	buf_init(&b);
	if (had > 2) {
		buf_add(&b, t->attempts, had - 1);
		buf_addc(&b, ',');
	} else {
		buf_addc(&b, '[');
	}
	jw_init(&w, &b);
	jw_obj(&w);
	jw_kint(&w, "attempt", t->attempt);
	jw_kstr(&w, "agent_id", *t->agent_id ? t->agent_id : NULL);
	jw_kint(&w, "fence", t->fence);
	jw_ktime(&w, "assigned_at", t->assigned_at);
	jw_ktime(&w, "started_at", t->started_at);
	jw_ktime(&w, "ended_at", op->now);
	jw_kstr(&w, "outcome", outcome);
	jw_kraw(&w, "error", error_json);
	jw_end_obj(&w);
	buf_addc(&b, ']');
	const char *text = arena_strndup(op->arena, b.p, b.n);

	buf_release(&b);
	return text;
}

void attempt_ended(struct op *op, const struct task *t, const struct task_fault *f, struct task_change *c)
{
	bool retryable = f->retryable >= 0 ? f->retryable : retry_allows(&t->retry, f->type);
	/* An assignment nobody took up counts no attempt, so it cannot use up the tries. */
	bool again = retryable && t->attempt <= t->max_retries;
	int64_t delay = retry_delay_ms(&t->retry, t->attempt > 0 ? t->attempt : 1);

	if (t->deadline && op->now + delay >= t->deadline)
		again = false;
	c->set.error = fault_json(op, f, retryable);
	c->set.attempts = attempts_with(op, t, f->outcome, c->set.error);
	c->set.updated_at = op->now;
	c->fields |= TF_STATUS | TF_HOLD | TF_ERROR | TF_ATTEMPTS;
	c->tally = TALLY_FAILED;
	if (again) {
		c->set.status = TASK_RETRYING;
		c->set.hold = HOLD_TIME;
		c->set.due_at = op->now + delay;
	} else {
		c->set.status = TASK_FAILED;
		c->set.hold = HOLD_NONE;
		c->set.completed_at = op->now;
		c->fields |= TF_COMPLETED;
	}
}

enum err change_one(struct op *op, const struct task_change *c, bool lazy, struct task **row)
{
	struct store_op o = { .kind = SOP_TASK_CHANGE, .change = c, .lazy = lazy, .want_row = true };
	struct store_unit u = { .ops = &o, .n = 1, .arena = op->arena, .error = op->err };
	enum err err = op_apply(op, &u);

	*row = o.row;
	if (err == ERR_CONFLICT && o.result == SOP_MISSING)
		return error_set(op->err, ERR_NOT_FOUND, "no task %s", c->id);
	return err;
}

/* What follows a change that stands already: its failure is logged and left to the scheduler's sweep. */
static void follow(struct op *op, enum err (*step)(struct op *op, const struct task *row), const struct task *row,
		   const char *what)
{
	struct error *outer = op->err;
	struct error e;

	error_init(&e, op->arena);
	op->err = &e;
	if (step(op, row))
		log_error(LOG_WARN, &e, "%s of task %s is left to the sweep", what, row->id);
	op->err = outer;
}

static enum err advance(struct op *op, const struct task *row)
{
	return execution_advance(op, row->execution_id);
}

void task_left(struct op *op, const struct task *row, const char *event)
{
	task_posted(op, row, event);
	if (row->concurrency_key)
		follow(op, slot_pass_on, row, "the slot");
}

void task_settled(struct op *op, const struct task *row, const char *event)
{
	task_left(op, row, event);
	if (*row->execution_id && ST(row->status) & ST_ENDED)
		follow(op, advance, row, "the execution");
}

void tasks_settled(struct op *op, struct task *const *rows, int n, const char *event)
{
	for (int i = 0; i < n; i++)
		task_left(op, rows[i], event);
	/* A batch is mostly of a few runs: each is looked at once. */
	for (int i = 0; i < n; i++) {
		bool seen = !*rows[i]->execution_id;

		for (int k = i - 1; k >= 0 && !seen; k--)
			seen = strcmp(rows[k]->execution_id, rows[i]->execution_id) == 0;
		if (!seen)
			follow(op, advance, rows[i], "the execution");
	}
}
