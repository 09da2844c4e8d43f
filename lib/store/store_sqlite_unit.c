// SPDX-License-Identifier: MIT
/* Units of work: all ops or none, inside a group. */
#include "store_sqlite.h"

#include "../base/limits.h"

struct unit_job {
	struct store_unit *u;
	bool each;
};

static enum err run_op(struct sq_group *g, struct store_unit *u, struct store_op *op)
{
	op->row = NULL;
	op->rev = 0;
	switch (op->kind) {
	case SOP_TASK_INSERT:
		return sq_task_insert(g, op->task, &op->result, u->error);
	case SOP_TASK_CHANGE:
		return sq_task_change(g, op->change, op->want_row ? SQ_ROW_ALL : SQ_ROW_NONE, u->arena,
				      &op->result, &op->row, u->error);
	case SOP_REC_PUT:
		return sq_rec_put(g, op, u->error);
	case SOP_REC_DELETE:
		return sq_rec_delete(g, op, u->error);
	}
	return sq_error(u->error, ERR_INTERNAL, "unknown kind of op %d", (int)op->kind);
}

/* Each op on its own: one that is refused has changed nothing, so there is nothing to take back. */
static enum err run_each(struct sq_group *g, struct store_unit *u)
{
	for (size_t i = 0; i < u->n; i++) {
		enum err err = run_op(g, u, &u->ops[i]);

		if (err)
			return err;
	}
	return OK;
}

/* Everything before the refused op is undone; nothing after it is tried. */
static enum err refuse(struct sq_group *g, struct store_unit *u, size_t refused)
{
	for (size_t i = 0; i < u->n; i++) {
		if (i == refused)
			continue;
		u->ops[i].result = SOP_SKIPPED;
		u->ops[i].row = NULL;
		u->ops[i].rev = 0;
	}
	if (u->n > 1) {
		enum err err = sq_undo_back(g, u->error);

		if (err)
			return err;
	}
	return ERR_CONFLICT;
}

static enum err run_unit(struct sq_group *g, struct store_unit *u)
{
	enum err err = u->n > 1 ? sq_undo_mark(g, u->error) : OK;

	for (size_t i = 0; i < u->n && !err; i++) {
		err = run_op(g, u, &u->ops[i]);
		if (!err && u->ops[i].result != SOP_DONE)
			return refuse(g, u, i);
	}
	if (!err && u->n > 1)
		err = sq_undo_release(g, u->error);
	return err;
}

static enum err run(struct sq_group *g, struct sq_job *job)
{
	struct unit_job *j = job->arg;

	return j->each ? run_each(g, j->u) : run_unit(g, j->u);
}

enum err sq_apply(struct store *s, struct store_unit *u, bool each)
{
	struct unit_job arg = { .u = u, .each = each };
	struct sq_job job = { .run = run, .arg = &arg, .error = u->error, .cost = (int)u->n, .lazy = true };

	for (size_t i = 0; i < u->n; i++)
		job.lazy &= u->ops[i].lazy;
	enum err err = sq_submit((struct sqlite_store *)s, &job);

	if (err && err != ERR_CONFLICT) {
		for (size_t i = 0; i < u->n; i++) {
			u->ops[i].result = SOP_SKIPPED;
			u->ops[i].row = NULL;
			u->ops[i].rev = 0;
		}
	}
	return err;
}

/* --- sweep and purge ------------------------------------------------------------------------------- */

struct sweep {
	const char *execution_id, *agent_id;
	const struct task_change *c;
	int limit;
	struct arena *a;
	struct sq_tasks out;
};

/* Up to a chunk of ids that fit, from after on; they are read first because changing them moves them. */
#define SWEEP_CHUNK 256

static enum err sweep_chunk(struct sq_group *g, struct sweep *w, int status, struct sq_id *after, int *got,
			    struct error *e)
{
	sqlite3_stmt *st = sq_st(g->c, w->execution_id ? SQ_SWEEP_EXECUTION : SQ_SWEEP_AGENT);
	struct sq_id ids[SWEEP_CHUNK], execution, agent;
	struct task_change c = *w->c;
	int n = 0, rc;

	if (w->execution_id) {
		sq_bind_id(st, 1, w->execution_id, &execution);
		sqlite3_bind_int64(st, 3, w->c->if_status);
	} else {
		sqlite3_bind_int(st, 1, status);
	}
	sqlite3_bind_blob(st, 2, after->b, 16, SQLITE_STATIC);
	sqlite3_bind_int64(st, 4, w->c->if_hold);
	sq_bind_id(st, 5, w->agent_id, &agent);
	sqlite3_bind_int(st, 6, SWEEP_CHUNK);
	while ((rc = sqlite3_step(st)) == SQLITE_ROW && n < SWEEP_CHUNK)
		memcpy(ids[n++].b, sqlite3_column_blob(st, 0), 16);
	sqlite3_reset(st);
	if (rc != SQLITE_DONE && rc != SQLITE_ROW)
		return sq_fail(g->c, e, rc, "sweep");
	*got = n;
	for (int i = 0; i < n && w->out.n < w->limit; i++) {
		enum store_op_result res;
		struct task *row;

		id_from_bytes(ids[i].b, c.id);
		enum err err = sq_task_change(g, &c, SQ_ROW_BRIEF, w->a, &res, &row, e);

		if (err)
			return err;
		if (res == SOP_DONE)
			sq_tasks_add(&w->out, w->a, row);
		*after = ids[i];
	}
	return OK;
}

static enum err run_sweep(struct sq_group *g, struct sq_job *job)
{
	struct sweep *w = job->arg;
	uint32_t mask = w->c->if_status ? w->c->if_status : ST(TASK_STATUS_COUNT) - 1;

	w->out = (struct sq_tasks){ 0 };
	for (int status = 0; status < TASK_STATUS_COUNT; status++) {
		struct sq_id after = { { 0 } };
		int got = SWEEP_CHUNK;

		/* An agent's tasks are indexed by status; those of an execution are not. */
		if (!w->execution_id && !(mask & ST(status)))
			continue;
		while (got == SWEEP_CHUNK && w->out.n < w->limit) {
			enum err err = sweep_chunk(g, w, status, &after, &got, job->error);

			if (err)
				return err;
		}
		if (w->execution_id)
			break;
	}
	return OK;
}

enum err sq_tasks_sweep(struct store *s, const char *execution_id, const char *agent_id,
			const struct task_change *c, int limit, struct arena *a, struct task ***out, int *n,
			struct error *e)
{
	struct sweep w = { .execution_id = execution_id, .agent_id = agent_id, .c = c, .limit = limit, .a = a };
	struct sq_job job = { .run = run_sweep, .arg = &w, .error = e, .cost = limit };
	enum err err;

	/* An id that is none is nobody's. */
	if ((execution_id && !id_valid(execution_id)) || (agent_id && !id_valid(agent_id)))
		return OK;
	err = sq_submit((struct sqlite_store *)s, &job);
	if (err)
		return err;
	*out = w.out.v;
	*n = w.out.n;
	return OK;
}

struct purge {
	int64_t before;
	uint32_t class_mask;
	int limit, n;
};

struct ended {
	struct task t;
	unsigned parts;
};

static int delete_task(struct sq_group *g, const struct ended *x)
{
	struct sq_id id;
	int rc = SQLITE_DONE;

	if (x->parts) {
		sqlite3_stmt *st = sq_st(g->c, SQ_PARTS_DELETE);

		sq_bind_id(st, 1, x->t.id, &id);
		rc = sq_run(st);
	}
	if (rc == SQLITE_DONE) {
		sqlite3_stmt *st = sq_st(g->c, SQ_LOGS_DELETE);

		sq_bind_text(st, 1, x->t.id);
		rc = sq_run(st);
	}
	if (rc == SQLITE_DONE) {
		sqlite3_stmt *st = sq_st(g->c, SQ_TASK_DELETE);

		sq_bind_id(st, 1, x->t.id, &id);
		rc = sq_run(st);
	}
	if (rc == SQLITE_DONE)
		sq_count_move(g->counts, &x->t, NULL);
	return rc;
}

static int purge_class(struct sq_group *g, struct purge *p, int class)
{
	int limit = p->limit - p->n, n = 0, rc;
	struct ended *v = arena_calloc(&g->scratch, (size_t)limit, sizeof(*v));
	sqlite3_stmt *st = sq_st(g->c, SQ_ENDED);

	sqlite3_bind_int(st, 1, class);
	sqlite3_bind_int64(st, 2, p->before);
	sqlite3_bind_int(st, 3, limit);
	while ((rc = sqlite3_step(st)) == SQLITE_ROW && n < limit) {
		struct ended *x = &v[n++];

		sq_col_id(st, 0, x->t.id);
		x->t.status = (enum task_status)sqlite3_column_int(st, 1);
		sq_col_id(st, 2, x->t.execution_id);
		x->t.stage = sqlite3_column_int(st, 3);
		x->t.priority = (enum priority)sqlite3_column_int(st, 4);
		x->t.hold = (enum hold)sqlite3_column_int(st, 5);
		x->parts = (unsigned)sqlite3_column_int(st, 6);
	}
	sqlite3_reset(st);
	if (rc == SQLITE_ROW)
		rc = SQLITE_DONE;
	for (int i = 0; i < n && rc == SQLITE_DONE; i++)
		rc = delete_task(g, &v[i]);
	p->n += n;
	return rc;
}

static enum err run_purge(struct sq_group *g, struct sq_job *job)
{
	struct purge *p = job->arg;
	int rc = SQLITE_DONE;

	p->n = 0;
	for (int class = 0; class < CLASS_COUNT && p->n < p->limit && rc == SQLITE_DONE; class++)
		if (p->class_mask & 1U << class)
			rc = purge_class(g, p, class);
	return rc == SQLITE_DONE ? OK : sq_fail(g->c, job->error, rc, "purge");
}

enum err sq_tasks_purge(struct store *s, int64_t before, uint32_t class_mask, int limit, int *n,
			struct error *e)
{
	struct purge p = { .before = before, .class_mask = class_mask, .limit = limit };
	struct sq_job job = { .run = run_purge, .arg = &p, .error = e, .cost = limit };
	enum err err;

	/* One call holds the writer for as long as its deletions take, so it stays small. */
	if (p.limit > LIMIT_BATCH)
		p.limit = LIMIT_BATCH;
	err = sq_submit((struct sqlite_store *)s, &job);
	if (!err)
		*n = p.n;
	return err;
}
