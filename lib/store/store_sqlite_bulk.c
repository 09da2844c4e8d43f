// SPDX-License-Identifier: MIT
/*
 * Sweeps and retention: changes of many tasks, done in pieces, so that nobody who wants to write
 * something small has to wait for all of it.
 */
#include "store_sqlite.h"

#define PIECE 256	/* tasks changed or deleted in one job */

/* --- sweeps ---------------------------------------------------------------------------------------------- */

/* How far a sweep has come. */
struct place {
	int status;		/* of an agent's tasks, which are indexed by status */
	struct sq_id after;
	bool end;
};

struct sweep {
	const char *execution_id, *agent_id;
	const struct task_change *c;
	int limit;
	struct arena *a;
	struct sq_tasks done;	/* by the jobs before … */
	struct place from;	/* … which came this far */
	struct sq_tasks out;	/* with what this job does … */
	struct place to;	/* … and how far it comes */
};

/* Ids that fit, from w->to on; they are read first, because changing them moves them in the index. */
static int read_ids(struct sq_group *g, struct sweep *w, struct sq_id *ids, int *n)
{
	sqlite3_stmt *st = sq_st(g->c, w->execution_id ? SQ_SWEEP_EXECUTION : SQ_SWEEP_AGENT);
	struct sq_id execution, agent;
	int rc;

	if (w->execution_id) {
		sq_bind_id(st, 1, w->execution_id, &execution);
		sqlite3_bind_int64(st, 3, w->c->if_status);
	} else {
		sqlite3_bind_int(st, 1, w->to.status);
	}
	sqlite3_bind_blob(st, 2, w->to.after.b, 16, SQLITE_STATIC);
	sqlite3_bind_int64(st, 4, w->c->if_hold);
	sq_bind_id(st, 5, w->agent_id, &agent);
	sqlite3_bind_int(st, 6, PIECE);
	*n = 0;
	while ((rc = sqlite3_step(st)) == SQLITE_ROW && *n < PIECE)
		memcpy(ids[(*n)++].b, sqlite3_column_blob(st, 0), 16);
	sqlite3_reset(st);
	return rc == SQLITE_ROW ? SQLITE_DONE : rc;
}

/* The next status of an agent's tasks that is asked for; an execution's are walked in one go. */
static void next_status(struct sweep *w)
{
	uint32_t mask = w->c->if_status ? w->c->if_status : ST(TASK_STATUS_COUNT) - 1;

	w->to.after = (struct sq_id){ { 0 } };
	do {
		w->to.status++;
	} while (w->to.status < TASK_STATUS_COUNT && !(mask & ST(w->to.status)));
	w->to.end = w->execution_id ? w->to.status > 0 : w->to.status >= TASK_STATUS_COUNT;
}

static enum err run_sweep(struct sq_group *g, struct sq_job *job)
{
	struct sweep *w = job->arg;
	struct task_change c = *w->c;
	struct sq_id ids[PIECE];
	int n, rc;

	w->out = w->done;
	w->to = w->from;
	rc = read_ids(g, w, ids, &n);
	if (rc != SQLITE_DONE)
		return sq_fail(g->c, job->error, rc, "sweep");
	for (int i = 0; i < n && w->out.n < w->limit; i++) {
		enum store_op_result res;
		struct task *row;

		id_from_bytes(ids[i].b, c.id);
		enum err err = sq_task_change(g, &c, SQ_ROW_BRIEF, w->a, &res, &row, job->error);

		if (err)
			return err;
		if (res == SOP_DONE)
			sq_tasks_add(&w->out, w->a, row);
		w->to.after = ids[i];
	}
	if (n < PIECE)
		next_status(w);
	return OK;
}

enum err sq_tasks_sweep(struct store *s, const char *execution_id, const char *agent_id,
			const struct task_change *c, int limit, struct arena *a, struct task ***out, int *n,
			struct error *e)
{
	struct sweep w = { .execution_id = execution_id, .agent_id = agent_id, .c = c, .limit = limit, .a = a };

	/* An id that is none is nobody's. */
	if ((execution_id && !id_valid(execution_id)) || (agent_id && !id_valid(agent_id)))
		return OK;
	w.to.status = -1;
	next_status(&w);
	w.to.end = false;
	w.from = w.to;
	while (!w.from.end && w.done.n < limit) {
		struct sq_job job = { .run = run_sweep, .arg = &w, .error = e, .cost = PIECE };
		enum err err = sq_submit((struct sqlite_store *)s, &job);

		/* What was done is told all the same: the caller comes again, and meets the error then. */
		if (err && !w.done.n)
			return err;
		if (err)
			break;
		w.done = w.out;
		w.from = w.to;
	}
	*out = w.done.v;
	*n = w.done.n;
	return OK;
}

/* --- retention --------------------------------------------------------------------------------------------- */

struct purge {
	int64_t before;
	uint32_t class_mask;
	int limit, n;
	enum record_kind kind;	/* of records */
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

/* run deletes up to p->limit a job; until limit are gone, or no more are there. */
static enum err purge_in_pieces(struct store *s, enum err (*run)(struct sq_group *g, struct sq_job *job),
				struct purge *p, int limit, int *n, struct error *e)
{
	while (*n < limit) {
		p->limit = limit - *n < PIECE ? limit - *n : PIECE;
		struct sq_job job = { .run = run, .arg = p, .error = e, .cost = p->limit };
		enum err err = sq_submit((struct sqlite_store *)s, &job);

		if (err)
			return *n ? OK : err;
		*n += p->n;
		if (p->n < p->limit)
			break;
	}
	return OK;
}

enum err sq_tasks_purge(struct store *s, int64_t before, uint32_t class_mask, int limit, int *n,
			struct error *e)
{
	struct purge p = { .before = before, .class_mask = class_mask };

	return purge_in_pieces(s, run_purge, &p, limit, n, e);
}

static enum err run_rec_purge(struct sq_group *g, struct sq_job *job)
{
	struct purge *p = job->arg;
	sqlite3_stmt *st = sq_rec_st(g->c, p->kind, SQR_PURGE);

	sqlite3_bind_int64(st, 1, p->before);
	sqlite3_bind_int(st, 2, p->limit);
	int rc = sq_run(st);

	if (rc != SQLITE_DONE)
		return sq_fail(g->c, job->error, rc, "purge records");
	p->n = sqlite3_changes(g->c->db);
	return OK;
}

enum err sq_recs_purge(struct store *s, enum record_kind kind, int64_t before, int limit, int *n, struct error *e)
{
	struct purge p = { .before = before, .kind = kind };

	return purge_in_pieces(s, run_rec_purge, &p, limit, n, e);
}
