// SPDX-License-Identifier: MIT
/*
 * What a crash can leave behind a run. Its record is changed by one compare-and-set, and what follows from it (filling
 * a large stage, cancelling, holding) comes after; each of those may be done again at any time.
 */
#include "execution.h"

#include "task.h"

#define REVIVAL_MS 10000
#define FILL_MS 3000		/* nobody has touched the run for so long: the stage is not still being filled */

static int64_t live(const struct execution *ex, int s)
{
	const int64_t *c = ex->counts.n[s];

	return c[TASK_PENDING] + c[TASK_ASSIGNED] + c[TASK_RUNNING] + c[TASK_RETRYING];
}

static int64_t all(const struct execution *ex, int s)
{
	int64_t n = 0;

	for (int i = 0; i < TASK_STATUS_COUNT; i++)
		n += ex->counts.n[s][i];
	return n;
}

/* Is a running stage decided by its tasks, or is there none running at all? Then the run can move. */
static bool may_advance(const struct execution *ex)
{
	bool running = false;

	for (int s = 1; s <= ex->n_stages; s++) {
		const int64_t *c = ex->counts.n[s];

		if (ex->state[s].status != STAGE_RUNNING)
			continue;
		running = true;
		if (c[TASK_FAILED] || c[TASK_CANCELLED] || c[TASK_COMPLETED] >= ex->state[s].tasks)
			return true;
	}
	return !running && ex->status == EXEC_RUNNING;
}

static enum err refill(struct op *op, struct execution *ex, int s)
{
	struct store_unit none = { 0 };
	enum err err = execution_fill(op, ex, s);

	return err ? err : stage_announce(op, ex, s, &none);
}

/* A retry puts tasks back before the record says that the run lives again: leave those alone. */
static enum err being_revived(struct op *op, const struct execution *ex, int s, bool *is)
{
	struct task_filter f = { .execution_id = ex->id, .stage = s, .status = ST(TASK_PENDING), .limit = 1,
				 .cols = TASK_COLS_BRIEF };
	struct task_page page;
	enum err err = store_tasks_list(op->app->store, &f, op->arena, &page, op->err);

	*is = !err && page.n && page.items[0]->updated_at > ex->updated_at &&
	      op->now - page.items[0]->updated_at < REVIVAL_MS;
	return err;
}

/*
 * Counts that belong to the record as it stands. ex may come from a page that was read a while ago, and the tasks of a
 * stage that has begun since then are no leftovers of it.
 */
static enum err count_afresh(struct op *op, struct execution *ex, bool *still)
{
	*still = false;
	for (int i = 0; i < 3; i++) {
		struct execution *now;
		enum err err = execution_count(op, ex);

		if (!err)
			err = execution_load(op, ex->id, &now);
		if (err)
			return err;
		if (now->rev == ex->rev) {
			*still = true;
			return OK;
		}
		*ex = *now;
	}
	return OK;	/* it moves by itself */
}

enum err execution_heal(struct op *op, struct execution *ex, bool crashed)
{
	bool still;
	enum err err = count_afresh(op, ex, &still);

	if (err || !still)
		return err;
	bool over = ex->status != EXEC_CREATED && ex->status != EXEC_RUNNING && ex->status != EXEC_PAUSED;
	bool settled = op->now - ex->updated_at > FILL_MS;

	for (int s = 1; s <= ex->n_stages && !err; s++) {
		bool running = ex->state[s].status == STAGE_RUNNING;
		bool revived = false;

		if (live(ex, s) && (over || !running)) {
			err = being_revived(op, ex, s, &revived);
			if (!err && !revived)
				err = stage_cancel_tasks(op, ex->id, s);
		} else if (!over && running && settled && all(ex, s) < ex->state[s].tasks) {
			err = refill(op, ex, s);
		}
	}
	if (!err && !over && crashed)
		err = execution_hold_tasks(op, ex, ex->status == EXEC_PAUSED);
	if (!err && !over && may_advance(ex))
		err = execution_advance(op, ex->id);
	return err;
}
