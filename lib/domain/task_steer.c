// SPDX-License-Identifier: MIT
/* Looking at tasks and steering them: for people, and for whoever manages tasks. */
#include "task.h"

#include "../base/limits.h"
#include "agent.h"
#include "attempt.h"
#include "idem.h"
#include "outbox.h"

static const struct field update_fields[] = {
	{ "priority", F_ENUM, .offset = offsetof(struct task_update_in, priority), .names = priority_names },
	{ "deadline", F_TIME, .offset = offsetof(struct task_update_in, deadline) },
	{ "timeout", F_INT, .offset = offsetof(struct task_update_in, timeout), .min = 1, .max = LIMIT_TIMEOUT_S },
	{ "max_retries", F_INT, .offset = offsetof(struct task_update_in, max_retries), .min = 0,
	  .max = LIMIT_RETRIES, .alias = "retry_count" },
	{ "run_at", F_TIME, .offset = offsetof(struct task_update_in, run_at) },
};
const struct schema task_update_schema = {
	.name = "TaskUpdate", .size = sizeof(struct task_update_in), .fields = update_fields, .n = 5, .min_fields = 1,
	.help = "What may still change before a task runs.",
};

/* A worker that does not manage tasks, agent or not, knows only its own. */
static bool sees_all(const struct caller *c)
{
	return c->role != ROLE_WORKER || caller_may(c, PERM_TASK_MANAGE);
}

bool task_visible(const struct caller *c, const struct task *t)
{
	return sees_all(c) || strcmp(t->agent_id, c->id) == 0 || (t->created_by && strcmp(t->created_by, c->id) == 0);
}

/* Narrow the filter to what the caller may see; false when nothing is left of it. */
static bool narrow(const struct caller *c, struct task_filter *f)
{
	const char **own = c->kind == CALLER_AGENT ? &f->agent_id : &f->created_by;

	if (sees_all(c))
		return true;
	if (*own && strcmp(*own, c->id) != 0)
		return false;
	*own = c->id;
	return true;
}

enum err task_get(struct op *op, const char *id, struct task **out)
{
	enum err err = store_task_get(op->app->store, id, op->arena, out, op->err);

	if (err)
		return err;
	if (!*out || !task_visible(op->caller, *out))
		return error_set(op->err, ERR_NOT_FOUND, "no task %s for this caller", id);
	return OK;
}

enum err task_list(struct op *op, struct task_filter *f, const char *cursor, struct task_page *out,
		   const char **next_cursor)
{
	*next_cursor = NULL;
	enum err err = cursor_decode_id(op, "t", cursor, &f->after);

	if (err)
		return err;
	*out = (struct task_page){ 0 };
	if (!narrow(op->caller, f))
		return OK;
	err = store_tasks_list(op->app->store, f, op->arena, out, op->err);

	if (!err && out->more)
		*next_cursor = cursor_encode(op->arena, "t", out->last);
	return err;
}

/* --- changes ------------------------------------------------------------------------------------------ */

static enum err load(struct op *op, const char *id, struct task **row)
{
	enum err err = store_task_get(op->app->store, id, op->arena, row, op->err);

	if (!err && !*row)
		return error_set(op->err, ERR_NOT_FOUND, "no task %s", id);
	return err;
}

static struct task_change change_of(struct op *op, const struct task *t, uint32_t from)
{
	struct task_change c = { .if_status = from, .if_fence = t->fence };

	memcpy(c.id, t->id, ID_TEXT);
	c.set.updated_at = op->now;
	return c;
}

static enum err bad_state(struct op *op, const struct task *row, const char *verb)
{
	return error_public(op->err, ERR_BAD_STATE, "A task that is %s cannot be %s.", task_status_names[row->status], verb);
}

/* Apply; when someone changed the task meanwhile say what it is now. */
static enum err settle(struct op *op, const struct task_change *c, const char *verb, struct task **row)
{
	enum err err = change_one(op, c, false, row);

	return err == ERR_CONFLICT && *row ? bad_state(op, *row, verb) : err;
}

enum err task_update(struct op *op, const char *id, const struct task_update_in *in, struct task **out)
{
	struct task *t;
	enum err err = load(op, id, &t);

	if (err)
		return err;
	if (t->status != TASK_PENDING)
		return bad_state(op, t, "changed");
	struct task_change c = change_of(op, t, ST(TASK_PENDING));

	if (in->deadline && in->deadline <= op->now)
		return error_field(op->err, "$.deadline", "in_the_past", "must lie in the future");
	int64_t deadline = in->deadline ? in->deadline : t->deadline;

	if (deadline && (in->run_at ? in->run_at : t->run_at) >= deadline)
		return error_field(op->err, in->run_at ? "$.run_at" : "$.deadline", "out_of_range",
				   "run_at must lie before the deadline");
	c.set = *t;
	c.set.updated_at = op->now;
	c.fields = TF_LIMITS | TF_ORDER;
	c.if_hold = 1u << t->hold;
	if (schema_has(&task_update_schema, in, "priority"))
		c.set.priority = (enum priority)in->priority;
	if (in->deadline)
		c.set.deadline = in->deadline;
	if (schema_has(&task_update_schema, in, "timeout"))
		c.set.timeout_s = in->timeout;
	if (schema_has(&task_update_schema, in, "max_retries"))
		c.set.max_retries = in->max_retries;
	if (in->run_at) {
		c.set.run_at = in->run_at;
		/* Held for another reason: run_at is looked at when that one is gone. */
		if (t->hold == HOLD_NONE || t->hold == HOLD_TIME) {
			c.fields |= TF_HOLD;
			c.set.hold = HOLD_TIME;
			c.set.due_at = in->run_at;
		}
	}
	c.set.order_key = order_key(c.set.priority, c.set.run_at > t->created_at ? c.set.run_at : t->created_at);
	err = settle(op, &c, "changed", out);
	if (err)
		return err;
	if (t->hold == HOLD_NONE)
		bus_post(op->app->bus, &(struct bus_post){ .op = BQ_REMOVE, .task_id = t->id, .lane = t->lane }, 1);
	task_posted(op, *out, NULL);
	return OK;
}

enum err task_cancel(struct op *op, const char *id, struct task **out)
{
	struct task *t;
	enum err err = load(op, id, &t);

	if (err)
		return err;
	if (t->status == TASK_CANCELLED) {
		*out = t;
		return OK;
	}
	if (ST(t->status) & ST_ENDED)
		return bad_state(op, t, "cancelled");
	struct task_change c = change_of(op, t, ST_LIVE);

	c.fields = TF_STATUS | TF_HOLD | TF_FENCE_BUMP | TF_COMPLETED;
	c.set.status = TASK_CANCELLED;
	c.set.completed_at = op->now;
	if (ST(t->status) & ST_LEASED) {
		c.fields |= TF_ATTEMPTS;
		c.set.attempts = attempts_with(op, t, "cancelled", NULL);
	}
	err = settle(op, &c, "cancelled", out);
	if (!err)
		task_settled(op, *out, "task.cancelled");
	return err;
}

/* Back to the queue, as if new but with its history; the caller says from which state. */
static struct task_change revival(struct op *op, const struct task *t)
{
	struct task_change c = change_of(op, t, ST(TASK_FAILED) | ST(TASK_CANCELLED));

	c.fields = TF_STATUS | TF_HOLD | TF_ATTEMPT_SET | TF_ERROR | TF_COMPLETED | TF_PROGRESS | TF_AGENT | TF_ORDER |
		   TF_STARTED | TF_RESULT | TF_LIMITS;
	c.set = *t;
	c.set.updated_at = op->now;
	c.set.status = TASK_PENDING;
	c.set.hold = t->concurrency_key ? HOLD_SLOT : HOLD_NONE;
	c.set.attempt = 0;
	c.set.error = NULL;
	c.set.result = NULL;
	c.set.message = "";
	c.set.progress = 0;
	c.set.completed_at = c.set.started_at = c.set.assigned_at = 0;
	c.set.agent_id[0] = '\0';
	/* A deadline that has passed would end it at once: whoever retries wants it done late. */
	if (t->deadline && t->deadline <= op->now)
		c.set.deadline = 0;
	c.set.order_key = order_key(t->priority, op->now);
	return c;
}

enum err task_retry(struct op *op, const char *id, struct task **out)
{
	struct task *t;
	enum err err = load(op, id, &t);

	if (err)
		return err;
	if (!(ST(t->status) & (ST(TASK_FAILED) | ST(TASK_CANCELLED))))
		return bad_state(op, t, "retried");
	if (*t->execution_id)
		return error_public(op->err, ERR_BAD_STATE,
				    "The task belongs to execution %s; retry that with POST /executions/{id}/retry.",
				    t->execution_id);
	struct task_change c = revival(op, t);
	struct store_op ops[2] = { { .kind = SOP_TASK_CHANGE, .change = &c, .want_row = true } };
	struct store_unit u = { .ops = ops, .n = 1, .arena = op->arena, .error = op->err };

	if (op->idem)
		idem_add(op, ops, &u.n, op->idem->status, task_text(op, &c.set, VIEW_BRIEF));
	err = op_apply(op, &u);
	*out = ops[0].row;
	if (err == ERR_CONFLICT)
		return idem_lost(op, ops, u.n) ? ERR_IDEM_BUSY : *out ? bad_state(op, *out, "retried") : ERR_CONFLICT;
	if (err)
		return err;
	task_posted(op, *out, "task.retrying");
	return t->concurrency_key ? slot_heal(op, t->concurrency_key) : OK;
}

enum err task_retry_dead(struct op *op, const struct strs *ids, struct task_filter *f, int limit, int *n)
{
	struct task_page page = { 0 };
	enum err err;

	*n = 0;
	if (ids && ids->n) {
		page.items = arena_calloc(op->arena, (size_t)ids->n, sizeof(*page.items));
		page.n = ids->n;
		err = store_tasks_get(op->app->store, (const char *const *)ids->v, ids->n, TASK_COLS_ALL, op->arena, page.items,
				      op->err);
	} else {
		f->status = ST(TASK_FAILED);
		f->limit = limit;
		f->cols = TASK_COLS_ALL;
		err = store_tasks_list(op->app->store, f, op->arena, &page, op->err);
	}
	for (int i = 0; i < page.n && !err; i++) {
		struct task *t = page.items[i];
		struct task *row;

		if (!t || t->status != TASK_FAILED || *t->execution_id)
			continue;
		struct task_change c = revival(op, t);

		err = change_one(op, &c, false, &row);
		if (err == ERR_CONFLICT || err == ERR_NOT_FOUND) {
			err = OK;	/* someone else has moved it */
			continue;
		}
		if (err)
			break;
		task_posted(op, row, "task.retrying");
		if (t->concurrency_key)
			err = slot_heal(op, t->concurrency_key);
		(*n)++;
	}
	return err;
}

/* --- giving a task to an agent --------------------------------------------------------------------------- */

/* Why the agent cannot have the task, or NULL. */
static const char *unfit(struct op *op, const struct agent *a, const struct task *t)
{
	struct fit fit = { .capabilities = a->capabilities, .clearance = a->clearance };
	int64_t room = 1;

	if (!a->enabled)
		return "it is disabled";
	if (a->draining)
		return "it is draining";
	if (a->status == AGENT_INACTIVE)
		return "it is inactive";
	if (t->classification > a->clearance)
		return "it is not cleared for the task's class";
	if (!lane_fits(&fit, t->lane, t->lane_sig))
		return "it lacks a required capability";
	if (agent_room(op, a, &room) || room <= 0)
		return "it has no free slot";
	return NULL;
}

static enum err assign_to(struct op *op, const struct task *t, const struct agent *a, struct task **out)
{
	struct task_change c = change_of(op, t, ST(TASK_PENDING));
	struct store_op ops[2] = { { .kind = SOP_TASK_CHANGE, .change = &c, .want_row = true } };
	struct store_unit u = { .ops = ops, .n = 1, .arena = op->arena, .error = op->err };

	c.if_hold = 1u << HOLD_NONE;
	c.fields = TF_STATUS | TF_AGENT | TF_FENCE_BUMP | TF_LEASE | TF_PROGRESS;
	c.set.status = TASK_ASSIGNED;
	memcpy(c.set.agent_id, a->id, ID_TEXT);
	c.set.assigned_at = op->now;
	c.set.lease_expires_at = op->now + op->app->cfg->assignment_timeout * 1000;
	if (a->ep_task && *a->ep_task)
		outbox_push_task(op, &ops[u.n++], t, t->fence + 1, a->id, a->ep_task);
	enum err err = op_apply(op, &u);

	*out = ops[0].row;
	if (err == ERR_CONFLICT && ops[0].row)
		return bad_state(op, ops[0].row, "assigned");
	if (err)
		return err;
	task_posted(op, *out, "task.assigned");
	if (u.n > 1)
		bus_post(op->app->bus, &(struct bus_post){ .wake = "s" }, 1);
	return OK;
}

enum err task_push(struct op *op, const struct task *t, const char *agent_id, const char *url)
{
	struct agent a = { .ep_task = url };
	struct task *row;

	memcpy(a.id, agent_id, ID_TEXT);
	return assign_to(op, t, &a, &row);
}

static enum err claimable(struct op *op, const char *id, struct task **t)
{
	enum err err = load(op, id, t);

	if (err)
		return err;
	if ((*t)->status != TASK_PENDING)
		return bad_state(op, *t, "assigned");
	if ((*t)->hold != HOLD_NONE)
		return error_public(op->err, ERR_BAD_STATE, "The task is not ready: it waits for %s.",
				    (*t)->hold == HOLD_TIME ? "its time" : (*t)->hold == HOLD_DEPS ? "its dependencies" :
				    (*t)->hold == HOLD_SLOT ? "its concurrency key" : "its execution, which is paused");
	return OK;
}

enum err task_delegate(struct op *op, const char *id, const char *agent_id, struct task **out)
{
	struct task *t;
	struct agent *a;
	enum err err = claimable(op, id, &t);

	if (err || (err = agent_load(op, agent_id, &a)))
		return err;
	const char *why = unfit(op, a, t);

	if (why)
		return error_public(op->err, ERR_NO_AGENT, "Agent %s cannot have the task: %s.", agent_id, why);
	return assign_to(op, t, a, out);
}

enum err task_assign(struct op *op, const char *id, const struct agent_criteria *c, struct task **out)
{
	struct agent_criteria any = { .max_load = 1, .limit = LIMIT_PAGE };
	struct candidate *found;
	struct task *t;
	int n;
	enum err err = claimable(op, id, &t);

	if (err || (err = agents_discover(op, c ? c : &any, &found, &n)))
		return err;
	struct buf reasons;
	struct jw w;

	buf_init(&reasons);
	jw_init(&w, &reasons);
	jw_obj(&w);
	jw_key(&w, "reasons");
	jw_arr(&w);
	const struct agent *chosen = NULL;

	for (int i = 0; i < n && !chosen; i++) {
		const char *why = unfit(op, found[i].agent, t);

		if (!why) {
			chosen = found[i].agent;
			break;
		}
		jw_obj(&w);
		jw_kstr(&w, "agent_id", found[i].agent->id);
		jw_kstr(&w, "reason", why);
		jw_end_obj(&w);
	}
	jw_end_arr(&w);
	jw_end_obj(&w);
	if (!chosen)
		op->err->extra = arena_strndup(op->arena, reasons.p, reasons.n);
	buf_release(&reasons);
	if (!chosen)
		return error_public(op->err, ERR_NO_AGENT, n ? "None of the %d matching agents can have the task; see details."
							      : "No agent matches the criteria (%d found).", n);
	return assign_to(op, t, chosen, out);
}
