// SPDX-License-Identifier: MIT
/*
 * Claims. Tasks of one lane fit the same agents, so a claim asks `fits` at most once a lane, and takes
 * the smallest order_key among the heads of the lanes that fit. The cost grows with the number of
 * lanes that have something to claim, not with the number of tasks that wait.
 */
#include "store_sqlite_book.h"

#include "../base/clock.h"

struct claim_job {
	const char (*ids)[ID_TEXT];
	int n_ids;
	const struct claim *c;
	struct arena *a;
	struct task **out;
	int n;
};

#define CLAIM_FIELDS (TF_STATUS | TF_LEASE | TF_AGENT | TF_FENCE_BUMP | TF_ATTEMPT_BUMP | TF_PROGRESS | TF_STARTED)

/* t is claimable; make it the agent's. */
static enum err take(struct sq_group *g, struct claim_job *j, struct task *t, struct error *e)
{
	struct task was = *t;

	t->status = TASK_RUNNING;
	t->fence++;
	t->attempt++;
	snprintf(t->agent_id, sizeof(t->agent_id), "%s", j->c->agent_id);
	t->assigned_at = t->started_at = t->updated_at = now_ms();
	t->progress = 0;
	t->lease_expires_at = j->c->lease_until;
	enum err err = sq_task_update(g, t, CLAIM_FIELDS, 0, e);

	if (err)
		return err;
	sq_count_move(g->counts, &was, t);
	sq_book_move(g->book, t->id, &was, t);
	j->out[j->n++] = t;
	return OK;
}

static enum err claim_in_order(struct sq_group *g, struct claim_job *j, struct error *e)
{
	int rc = sq_book_ready(g);

	while (rc == SQLITE_DONE && j->n < j->c->max) {
		struct sq_head head;
		struct task *t;
		bool found;

		rc = sq_book_next(g, j->c, &head, &found);
		if (rc != SQLITE_DONE || !found)
			break;
		rc = sq_task_fetch(g->c, head.id.b, TASK_COLS_ALL, j->a, &t);
		if (rc != SQLITE_ROW)
			break;
		enum err err = take(g, j, t, e);

		if (err)
			return err;
		rc = SQLITE_DONE;
	}
	return rc == SQLITE_DONE ? OK : sq_fail(g->c, e, rc, "claim");
}

static enum err claim_ids(struct sq_group *g, struct claim_job *j, struct error *e)
{
	for (int i = 0; i < j->n_ids && j->n < j->c->max; i++) {
		struct sq_lane *lane;
		struct sq_id id;
		struct task *t;

		if (!id_to_bytes(j->ids[i], id.b))
			continue;
		int rc = sq_task_fetch(g->c, id.b, TASK_COLS_ALL, j->a, &t);

		if (rc == SQLITE_DONE || (rc == SQLITE_ROW && (t->status != TASK_PENDING || t->hold != HOLD_NONE)))
			continue;
		if (rc == SQLITE_ROW)
			rc = sq_book_find(g, t->lane, &lane);
		if (rc != SQLITE_DONE)
			return sq_fail(g->c, e, rc, "claim");
		if (j->c->fits && !j->c->fits(j->c->arg, t->lane, lane->sig))
			continue;
		enum err err = take(g, j, t, e);

		if (err)
			return err;
	}
	return OK;
}

static enum err run(struct sq_group *g, struct sq_job *job)
{
	struct claim_job *j = job->arg;

	j->n = 0;
	return j->ids ? claim_ids(g, j, job->error) : claim_in_order(g, j, job->error);
}

enum err sq_claim(struct store *s, const char (*ids)[ID_TEXT], int n_ids, const struct claim *c, struct arena *a,
		  struct task **out, int *n, struct error *e)
{
	struct claim_job j = { .ids = ids, .n_ids = n_ids, .c = c, .a = a, .out = out };
	struct sq_job job = { .run = run, .arg = &j, .error = e, .cost = c->max };

	if (!id_valid(c->agent_id))
		return sq_error(e, ERR_INTERNAL, "claim for a bad agent id");
	enum err err = sq_submit((struct sqlite_store *)s, &job);

	if (!err)
		*n = j.n;
	return err;
}
