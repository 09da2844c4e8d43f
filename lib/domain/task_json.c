// SPDX-License-Identifier: MIT
#include "meter.h"
#include "task.h"

static void opt_str(struct jw *w, const char *key, const char *s)
{
	jw_kstr(w, key, s && *s ? s : NULL);
}

/* The attempt in hand or the last one: derived from the task, so that a plain run writes no history. */
static void last_attempt(const struct task *t, struct jw *w)
{
	static const char *const outcome[] = { NULL, NULL, NULL, "failed", "completed", "failed", "cancelled" };

	jw_obj(w);
	jw_kint(w, "attempt", t->attempt);
	opt_str(w, "agent_id", t->agent_id);
	jw_kint(w, "fence", t->fence);
	jw_ktime(w, "assigned_at", t->assigned_at);
	jw_ktime(w, "started_at", t->started_at);
	jw_ktime(w, "ended_at", t->completed_at);
	jw_kstr(w, "outcome", outcome[t->status]);
	jw_kraw(w, "error", t->status == TASK_FAILED ? t->error : NULL);
	jw_end_obj(w);
}

static void attempts(const struct task *t, struct jw *w)
{
	/* history is "[…]" without the current attempt */
	bool current = t->attempt > 0 && t->assigned_at &&
		       (t->status == TASK_RUNNING || t->status == TASK_ASSIGNED || t->status == TASK_COMPLETED);

	jw_key(w, "attempts");
	if (!t->attempts) {
		jw_arr(w);
		if (current)
			last_attempt(t, w);
		jw_end_arr(w);
		return;
	}
	if (!current) {
		jw_raw(w, t->attempts);
		return;
	}
	size_t n = strlen(t->attempts);

	jw_raw(w, "[");
	buf_add(w->out, t->attempts + 1, n - 2);
	struct jw inner;

	buf_addc(w->out, ',');
	jw_init(&inner, w->out);
	last_attempt(t, &inner);
	buf_addc(w->out, ']');
}

static void full(struct op *op, const struct task *t, struct jw *w)
{
	(void)op;
	jw_kraw(w, "parameters", t->parameters);
	jw_kraw(w, "requirements", t->requirements);
	jw_kraw(w, "dependencies", t->dependencies ? t->dependencies : "[]");
	jw_key(w, "retry");
	retry_json(&t->retry, w);
	jw_kraw(w, "result", t->result);
	attempts(t, w);
}

void task_json(struct op *op, const struct task *t, enum task_view view, struct jw *w)
{
	jw_obj(w);
	jw_kstr(w, "task_id", t->id);
	jw_kstr(w, "type", t->type);
	jw_kstr(w, "status", task_status_names[t->status]);
	jw_kstr(w, "priority", priority_names[t->priority]);
	jw_kstr(w, "classification", class_names[t->classification]);
	opt_str(w, "pipeline_id", t->pipeline_id);
	opt_str(w, "execution_id", t->execution_id);
	if (t->stage)
		jw_kint(w, "stage", t->stage);
	else
		jw_knull(w, "stage");
	opt_str(w, "concurrency_key", t->concurrency_key);
	if (t->concurrency_key)
		jw_kint(w, "concurrency_limit", t->concurrency_limit);
	jw_ktime(w, "run_at", t->run_at);
	jw_ktime(w, "deadline", t->deadline);
	jw_kint(w, "timeout", t->timeout_s);
	jw_kint(w, "max_retries", t->max_retries);
	jw_kint(w, "attempt", t->attempt);
	jw_kint(w, "fence", t->fence);
	jw_ktime(w, "lease_expires_at", ST(t->status) & ST_LEASED ? t->lease_expires_at : 0);
	opt_str(w, "assigned_agent_id", t->agent_id);
	jw_kdouble(w, "progress", t->progress);
	opt_str(w, "message", t->message);
	jw_kraw(w, "error", t->error);
	opt_str(w, "created_by", t->created_by);
	jw_ktime(w, "created_at", t->created_at);
	jw_ktime(w, "updated_at", t->updated_at);
	jw_ktime(w, "started_at", t->started_at);
	jw_ktime(w, "completed_at", t->completed_at);
	if (view == VIEW_FULL)
		full(op, t, w);
	jw_end_obj(w);
}

const char *task_text(struct op *op, const struct task *t, enum task_view view)
{
	struct buf b;
	struct jw w;

	buf_init(&b);
	jw_init(&w, &b);
	task_json(op, t, view, &w);
	const char *text = arena_strndup(op->arena, b.p, b.n);

	buf_release(&b);
	return text;
}

const char *task_event_json(struct op *op, const struct task *t)
{
	struct buf b;
	struct jw w;

	buf_init(&b);
	jw_init(&w, &b);
	jw_obj(&w);
	jw_kstr(&w, "task_id", t->id);
	jw_kstr(&w, "type", t->type);
	jw_kstr(&w, "status", task_status_names[t->status]);
	jw_kstr(&w, "priority", priority_names[t->priority]);
	jw_kstr(&w, "classification", class_names[t->classification]);
	if (*t->execution_id) {
		jw_kstr(&w, "pipeline_id", t->pipeline_id);
		jw_kstr(&w, "execution_id", t->execution_id);
	}
	if (t->stage)
		jw_kint(&w, "stage", t->stage);
	if (*t->agent_id)
		jw_kstr(&w, "agent_id", t->agent_id);
	jw_kint(&w, "attempt", t->attempt);
	jw_kdouble(&w, "progress", t->progress);
	if (t->created_by)
		jw_kstr(&w, "created_by", t->created_by);
	if (t->error && (t->status == TASK_FAILED || t->status == TASK_RETRYING) && t->classification < CLASS_RESTRICTED)
		jw_kraw(&w, "error", t->error);
	jw_end_obj(&w);
	const char *text = arena_strndup(op->arena, b.p, b.n);

	buf_release(&b);
	return text;
}

void task_told_again(struct op *op, const struct task *t, const char *event)
{
	struct bus_post p = { .type = event, .at = op->now, .task_id = t->id, .lane = t->lane, .lane_sig = t->lane_sig,
			      .order_key = t->order_key, .agent_id = *t->agent_id ? t->agent_id : NULL,
			      .lease_until = t->lease_expires_at };

	if (event)
		p.data = task_event_json(op, t);
	if (t->status == TASK_PENDING && t->hold == HOLD_NONE)
		p.op = BQ_ADD;
	else if (ST(t->status) & ST_LEASED)
		p.op = BQ_LEASE;
	else
		p.op = BQ_END;
	if (ST(t->status) & ST_QUEUED && t->hold != HOLD_NONE)
		p.wake = "s";
	bus_post(op->app->bus, &p, 1);
}

void task_posted(struct op *op, const struct task *t, const char *event)
{
	if (event)
		meter_task(op, t, event);
	task_told_again(op, t, event);
}
