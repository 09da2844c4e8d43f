// SPDX-License-Identifier: MIT
/* What the holder of a lease does with its task. */
#include "task.h"

#include "../base/limits.h"
#include "agent.h"
#include "attempt.h"
#include "execution.h"
#include "meter.h"

enum err task_claim(struct op *op, const char *agent_id, const struct claim_in *in, struct task ***out, int *n)
{
	struct agent *agent;
	enum err err = agent_known(op, agent_id, &agent);

	*n = 0;
	*out = NULL;
	if (err)
		return err;
	int64_t max = in->max;

	meter_agent(agent->id, agent->type);
	err = agent_room(op, agent, &max);
	if (err || max <= 0)
		return err;
	struct fit fit = { .capabilities = agent->capabilities, .clearance = agent->clearance, .types = in->types };
	struct claim c = { .fits = lane_fits, .arg = &fit, .agent_id = agent->id,
			   .lease_until = op->now + op->app->cfg->task_lease * 1000, .max = (int)max };

	*out = arena_calloc(op->arena, (size_t)max, sizeof(**out));
	if (store_prefers_queue(op->app->store))
		err = claim_from_queue(op, &c, &fit, *out, n);
	if (!err && *n < max) {
		int more = 0;

		/* The store has the last word: what Redis does not know of is found here. */
		c.max = (int)max - *n;
		err = store_tasks_claim(op->app->store, &c, op->arena, *out + *n, &more, op->err);
		*n += err ? 0 : more;
		if (err && *n)
			err = OK;	/* those taken are leased already: hand them over */
	}
	for (int i = 0; i < *n; i++)
		task_posted(op, (*out)[i], "task.assigned");
	return err;
}

/* Why a report was refused, from the row as it stands. */
static enum err refused(struct op *op, const struct task *row, int64_t fence)
{
	if (row->fence != fence)
		return error_public(op->err, ERR_STALE_FENCE,
				    "The task's fence is %lld now, not %lld: the lease was lost; drop this work.",
				    (long long)row->fence, (long long)fence);
	if (!(ST(row->status) & ST_LEASED))
		return error_public(op->err, ERR_BAD_STATE, "The task is %s.", task_status_names[row->status]);
	return error_public(op->err, ERR_FORBIDDEN, "The task is leased to another agent.");
}

/* Only the agent that holds the lease reports; who manages tasks and is no agent may with the right fence. */
static const char *holder(const struct op *op)
{
	return op->caller->kind == CALLER_AGENT || !caller_may(op->caller, PERM_TASK_MANAGE) ? op->caller->id : NULL;
}

bool task_held_by_caller(const struct op *op, const struct task *t)
{
	return !holder(op) || strcmp(holder(op), t->agent_id) == 0;
}

static struct task_change report(struct op *op, const char *id, int64_t fence, uint32_t from)
{
	struct task_change c = { .if_status = from, .if_fence = fence, .if_agent = holder(op) };

	memcpy(c.id, id, ID_TEXT);
	c.set.updated_at = op->now;
	return c;
}

/* The first report of an assigned task starts it: the attempt counts from here. */
static enum err start_assigned(struct op *op, const struct task *row)
{
	struct task_change c = report(op, row->id, row->fence, ST(TASK_ASSIGNED));
	struct task *started;

	c.fields = TF_STATUS | TF_ATTEMPT_BUMP | TF_STARTED | TF_LEASE;
	c.set.status = TASK_RUNNING;
	c.set.started_at = op->now;
	c.set.lease_expires_at = op->now + op->app->cfg->task_lease * 1000;
	enum err err = change_one(op, &c, false, &started);

	if (!err)
		task_posted(op, started, "task.progress");
	return err;
}

enum err task_progress(struct op *op, const char *id, int64_t fence, double progress, const char *message,
		       struct task **out)
{
	struct task_change c = report(op, id, fence, ST(TASK_RUNNING));
	struct task *row = NULL;

	c.fields = TF_LEASE | (progress >= 0 ? TF_PROGRESS : 0);
	c.set.lease_expires_at = op->now + op->app->cfg->task_lease * 1000;
	c.set.progress = progress;
	c.set.message = message;
	enum err err = change_one(op, &c, true, &row);

	if (err == ERR_CONFLICT && row && row->status == TASK_ASSIGNED && row->fence == fence && task_held_by_caller(op, row)) {
		err = start_assigned(op, row);
		if (!err)
			err = change_one(op, &c, true, &row);
	}
	if (err == ERR_CONFLICT && row)
		return refused(op, row, fence);
	if (err)
		return err;
	task_posted(op, row, "task.progress");
	*out = row;
	return OK;
}

static struct task_change completion(struct op *op, const char *id, int64_t fence, const char *result)
{
	struct task_change c = report(op, id, fence, ST(TASK_RUNNING));

	c.fields = TF_STATUS | TF_RESULT | TF_COMPLETED | TF_PROGRESS | TF_HOLD | TF_ERROR;
	c.if_unguarded = true;
	c.set.status = TASK_COMPLETED;
	c.set.progress = 1;
	c.set.result = result;
	c.set.completed_at = op->now;
	c.tally = TALLY_COMPLETED;
	return c;
}

/* The same report came before: it gets the same answer. */
static bool is_repeat(const struct op *op, const struct task *row, int64_t fence, uint32_t ended)
{
	return row->fence == fence && ST(row->status) & ended && task_held_by_caller(op, row);
}

/* A result that the stage's validation refuses ends the attempt as a validation error. */
static enum err check_guarded(struct op *op, const struct task *row, const char *result, struct task **out)
{
	struct error why;
	struct error *outer = op->err;

	error_init(&why, op->arena);
	op->err = &why;
	enum err err = execution_check_result(op, row, result);

	op->err = outer;
	if (err != ERR_VALIDATION) {
		if (err)
			*op->err = why;
		return err;
	}
	const char *first = why.fields ? arena_printf(op->arena, "%s %s", why.fields->path, why.fields->message) : "";
	struct task_fault fault = { .type = "validation", .code = "result_invalid", .retryable = -1, .outcome = "failed",
				    .message = arena_printf(op->arena, "The result does not meet the stage's validation: %s",
							    first) };

	err = task_fail(op, row->id, row->fence, &fault, out);
	if (err)
		return err;
	*op->err = why;
	op->err->code = ERR_BUSINESS;
	error_public(op->err, ERR_BUSINESS, "The result does not meet the stage's validation; the attempt has failed.");
	return ERR_BUSINESS;
}

/*
 * The only report of an assigned task is its last one (a push that was answered): its start and its end are one step,
 * so that no crash comes between them.
 */
static void begin_and_end(const struct task *row, struct task_change *c)
{
	if (row->status != TASK_ASSIGNED)
		return;
	c->if_status = ST(TASK_ASSIGNED);
	c->fields |= TF_ATTEMPT_BUMP | TF_STARTED;
	c->set.started_at = row->assigned_at;
}

static enum err complete_again(struct op *op, struct task_change *c, struct task **row, struct task **out)
{
	enum err err = OK;

	begin_and_end(*row, c);
	if ((*row)->guarded) {
		err = check_guarded(op, *row, c->set.result, out);
		c->if_unguarded = false;
	}
	return err ? err : change_one(op, c, false, row);
}

enum err task_complete(struct op *op, const char *id, int64_t fence, const char *result, struct task **out)
{
	struct task_change c = completion(op, id, fence, result);
	struct task *row = NULL;
	enum err err = change_one(op, &c, false, &row);

	if (err == ERR_CONFLICT && row) {
		bool mine = row->fence == fence && task_held_by_caller(op, row);

		if (is_repeat(op, row, fence, ST(TASK_COMPLETED))) {
			*out = row;
			return OK;
		}
		if (mine && ST(row->status) & ST_LEASED)
			err = complete_again(op, &c, &row, out);
	}
	if (err == ERR_CONFLICT && row)
		return is_repeat(op, row, fence, ST(TASK_COMPLETED)) ? (*out = row, OK) : refused(op, row, fence);
	if (err)
		return err;
	task_settled(op, row, "task.completed");
	*out = row;
	return OK;
}

enum err task_fail(struct op *op, const char *id, int64_t fence, const struct task_fault *f, struct task **out)
{
	struct task *row;
	enum err err = store_task_get(op->app->store, id, op->arena, &row, op->err);

	if (!err && !row)
		return error_set(op->err, ERR_NOT_FOUND, "no task %s", id);
	if (err)
		return err;
	if (is_repeat(op, row, fence, ST(TASK_FAILED) | ST(TASK_RETRYING))) {
		*out = row;
		return OK;
	}
	struct task_change c = report(op, id, fence, ST(TASK_RUNNING));

	begin_and_end(row, &c);
	if (row->status == TASK_ASSIGNED) {
		row->attempt++;
		row->started_at = row->assigned_at;
	}
	attempt_ended(op, row, f, &c);
	err = change_one(op, &c, false, &row);
	if (err == ERR_CONFLICT && row) {
		if (!is_repeat(op, row, fence, ST(TASK_FAILED) | ST(TASK_RETRYING)))
			return refused(op, row, fence);
		*out = row;
		return OK;
	}
	if (err)
		return err;
	task_settled(op, row, row->status == TASK_FAILED ? "task.failed" : "task.retrying");
	*out = row;
	return OK;
}

enum err task_release(struct op *op, const char *id, int64_t fence, struct task **out)
{
	struct task *row;
	enum err err = store_task_get(op->app->store, id, op->arena, &row, op->err);

	if (err)
		return err;
	if (!row)
		return error_set(op->err, ERR_NOT_FOUND, "no task %s", id);
	if (row->fence != fence || !(ST(row->status) & ST_LEASED))
		return refused(op, row, fence);
	struct task_change c = report(op, id, fence, ST(row->status));

	/* The fence grows, so that a report that is still under way is refused. */
	c.fields = TF_STATUS | TF_HOLD | TF_FENCE_BUMP | TF_ATTEMPT_SET | TF_AGENT | TF_PROGRESS | TF_STARTED;
	c.set.status = TASK_PENDING;
	c.set.attempt = row->status == TASK_RUNNING ? row->attempt - 1 : row->attempt;
	err = change_one(op, &c, false, &row);
	if (err == ERR_CONFLICT && row)
		return refused(op, row, fence);
	if (err)
		return err;
	/* It keeps its slot: it is claimable at once. */
	task_posted(op, row, NULL);
	*out = row;
	return OK;
}

static void report_op(struct op *op, struct report_item *item, struct store_op *o, struct task_change *c)
{
	*c = completion(op, item->task_id, item->fence, item->result);
	*o = (struct store_op){ .kind = SOP_TASK_CHANGE, .change = c, .want_row = true };
}

/* One at a time, for what the bulk round could not settle: faults, validation, repeats, refusals. */
static void report_alone(struct op *op, struct report_item *item)
{
	struct error e;
	struct op one = *op;
	struct task *row = NULL;

	error_init(&e, op->arena);
	one.err = &e;
	item->err = item->result ? task_complete(&one, item->task_id, item->fence, item->result, &row)
				 : task_fail(&one, item->task_id, item->fence, item->fault, &row);
	if (!item->err)
		item->status = row->status;
}

enum err task_report_batch(struct op *op, struct report_item *items, int n)
{
	struct store_op *ops = arena_calloc(op->arena, (size_t)n, sizeof(*ops));
	struct task_change *changes = arena_calloc(op->arena, (size_t)n, sizeof(*changes));
	struct store_unit u = { .ops = ops, .arena = op->arena, .error = op->err };
	int *item_of = arena_calloc(op->arena, (size_t)n, sizeof(*item_of));
	struct task **rows = arena_calloc(op->arena, (size_t)n, sizeof(*rows));
	int done = 0;

	for (int i = 0; i < n; i++) {
		items[i].err = ERR_CONFLICT;
		if (items[i].result) {
			item_of[u.n] = i;
			report_op(op, &items[i], &ops[u.n], &changes[u.n]);
			u.n++;
		}
	}
	enum err err = u.n ? store_apply_each(op->app->store, &u) : OK;

	if (err)
		return err;
	for (size_t k = 0; k < u.n; k++) {
		if (ops[k].result != SOP_DONE)
			continue;
		items[item_of[k]].err = OK;
		items[item_of[k]].status = ops[k].row->status;
		rows[done++] = ops[k].row;
	}
	tasks_settled(op, rows, done, "task.completed");
	for (int i = 0; i < n; i++) {
		if (items[i].err)
			report_alone(op, &items[i]);
	}
	return OK;
}

enum err task_renew(struct op *op, const char *agent_id, struct lease_item *items, int n)
{
	const char **ids = arena_calloc(op->arena, (size_t)n + 1, sizeof(*ids));
	struct task **rows = arena_calloc(op->arena, (size_t)n + 1, sizeof(*rows));
	struct store_op *ops = arena_calloc(op->arena, (size_t)n + 1, sizeof(*ops));
	struct task_change *changes = arena_calloc(op->arena, (size_t)n + 1, sizeof(*changes));
	struct store_unit u = { .ops = ops, .arena = op->arena, .error = op->err };
	int64_t lease = op->app->cfg->task_lease * 1000;

	for (int i = 0; i < n; i++)
		ids[i] = items[i].task_id;
	enum err err = store_tasks_get(op->app->store, ids, n, TASK_COLS_BRIEF, op->arena, rows, op->err);

	if (err)
		return err;
	for (int i = 0; i < n; i++) {
		const struct task *t = rows[i];

		items[i].lost = !t || t->fence != items[i].fence || !(ST(t->status) & ST_LEASED) ||
				strcmp(t->agent_id, agent_id) != 0;
		items[i].cancelled = t && t->status == TASK_CANCELLED;
		if (items[i].lost || t->status != TASK_RUNNING || t->lease_expires_at - op->now > lease / 2)
			continue;
		struct task_change *c = &changes[u.n];

		*c = report(op, t->id, t->fence, ST(TASK_RUNNING));
		c->fields = TF_LEASE;
		c->set.lease_expires_at = op->now + lease;
		ops[u.n++] = (struct store_op){ .kind = SOP_TASK_CHANGE, .change = c, .lazy = true };
	}
	/* A renewal that is refused just now is found lost by the next heartbeat. */
	return u.n ? store_apply_each(op->app->store, &u) : OK;
}
