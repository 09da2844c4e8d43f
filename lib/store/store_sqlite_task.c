// SPDX-License-Identifier: MIT
/* Inserting and changing one task inside a group's transaction, and units of work. */
#include "store_sqlite.h"

#include "../base/buf.h"

/* Values up to this long stay in the task's row. */
#define INLINE_MAX 400

enum { PART_PARAMETERS, PART_REQUIREMENTS, PART_DEPENDENCIES, PART_RESULT, PART_ATTEMPTS };

static bool apart(const char *value)
{
	return value && strnlen(value, INLINE_MAX + 1) > INLINE_MAX;
}

/* Put a value into task_parts, or take it out of there. */
static int put_part(struct sq_conn *c, const char *id, int part, const char *value)
{
	sqlite3_stmt *st = sq_st(c, value ? SQ_PART_PUT : SQ_PART_DELETE);
	struct sq_id keep;

	sq_bind_id(st, 1, id, &keep);
	sqlite3_bind_int(st, 2, part);
	if (value)
		sq_bind_text(st, 3, value);
	return sq_run(st);
}

static bool bind_ids(sqlite3_stmt *st, const struct task *t, struct sq_id keep[4])
{
	return sq_bind_id(st, 1, t->id, &keep[0]) && t->id[0] &&
	       sq_bind_id(st, 10, t->pipeline_id, &keep[1]) &&
	       sq_bind_id(st, 11, t->execution_id, &keep[2]) &&
	       sq_bind_id(st, 29, t->agent_id, &keep[3]);
}

static void bind_rest(sqlite3_stmt *st, const struct task *t)
{
	sq_bind_text(st, 2, t->type);
	sqlite3_bind_int(st, 3, (int)t->status);
	sqlite3_bind_int(st, 4, (int)t->priority);
	sqlite3_bind_int(st, 5, (int)t->classification);
	sqlite3_bind_int(st, 6, (int)t->hold);
	sqlite3_bind_int64(st, 7, t->due_at);
	sqlite3_bind_int64(st, 8, t->lane);
	sqlite3_bind_int64(st, 9, t->order_key);
	sqlite3_bind_int(st, 12, t->stage);
	sqlite3_bind_int64(st, 13, t->stage_seq);
	sq_bind_text(st, 14, t->concurrency_key);
	sqlite3_bind_int64(st, 15, t->concurrency_limit);
	sqlite3_bind_int64(st, 16, t->run_at);
	sqlite3_bind_int64(st, 17, t->deadline);
	sqlite3_bind_int64(st, 18, t->timeout_s);
	sqlite3_bind_int64(st, 19, t->max_retries);
	sqlite3_bind_int(st, 20, t->retry.strategy);
	sqlite3_bind_int64(st, 21, t->retry.initial_delay_ms);
	sqlite3_bind_int64(st, 22, t->retry.max_delay_ms);
	sqlite3_bind_double(st, 23, t->retry.factor);
	sqlite3_bind_int(st, 24, t->retry.jitter);
	sqlite3_bind_int64(st, 25, t->retry.retryable);
	sqlite3_bind_int64(st, 26, t->attempt);
	sqlite3_bind_int64(st, 27, t->fence);
	sqlite3_bind_int64(st, 28, t->lease_expires_at);
	sqlite3_bind_double(st, 30, t->progress);
	sq_bind_text(st, 31, t->message);
	sq_bind_text(st, 32, t->error);
	sqlite3_bind_int(st, 33, t->guarded);
	sq_bind_text(st, 34, t->created_by);
	sqlite3_bind_int64(st, 35, t->created_at);
	sqlite3_bind_int64(st, 36, t->updated_at);
	sqlite3_bind_int64(st, 37, t->assigned_at);
	sqlite3_bind_int64(st, 38, t->started_at);
	sqlite3_bind_int64(st, 39, t->completed_at);
}

enum err sq_task_insert(struct sq_group *g, const struct task *t, enum store_op_result *res, struct error *e)
{
	const char *value[] = { t->parameters, t->requirements, t->dependencies, t->result, t->attempts };
	sqlite3_stmt *st = sq_st(g->c, SQ_TASK_INSERT);
	struct sq_id keep[4];
	unsigned parts = 0;

	if (!bind_ids(st, t, keep) || !t->type)
		return sq_error(e, ERR_INTERNAL, "task %.36s has a bad id or no type", t->id);
	bind_rest(st, t);
	for (int i = 0; i < 5; i++) {
		if (apart(value[i]))
			parts |= 1U << i;
		sq_bind_text(st, 41 + i, parts & 1U << i ? NULL : value[i]);
	}
	sqlite3_bind_int(st, 40, (int)parts);
	int rc = sq_run(st);

	if (rc == SQLITE_DONE && !sqlite3_changes(g->c->db)) {
		*res = SOP_EXISTS;
		return OK;
	}
	for (int i = 0; i < 5 && rc == SQLITE_DONE; i++)
		if (parts & 1U << i)
			rc = put_part(g->c, t->id, i, value[i]);
	if (rc != SQLITE_DONE)
		return sq_fail(g->c, e, rc, "insert task");
	enum err err = sq_book_lane(g, t->lane, t->lane_sig, e);

	if (err)
		return err;
	sq_count_move(g->counts, NULL, t);
	sq_book_move(g->book, t->id, NULL, t);
	*res = SOP_DONE;
	return OK;
}

/* --- UPDATE by field mask ------------------------------------------------------------------------- */

static const struct {
	uint32_t field;
	const char *set;
} columns[] = {
	{ TF_STATUS, "status=?" },
	{ TF_HOLD, "hold=?,due_at=?" },
	{ TF_ORDER, "priority=?,order_key=?" },
	{ TF_LEASE, "lease_expires_at=?" },
	{ TF_AGENT, "agent_id=?,assigned_at=?" },
	{ TF_FENCE_BUMP, "fence=?" },
	{ TF_ATTEMPT_BUMP | TF_ATTEMPT_SET, "attempt=?" },
	{ TF_PROGRESS, "progress=?,message=coalesce(?,message)" },
	{ TF_RESULT, "result=?" },
	{ TF_ERROR, "error=?" },
	{ TF_ATTEMPTS, "attempts=?" },
	{ TF_STARTED, "started_at=?" },
	{ TF_COMPLETED, "completed_at=?" },
	{ TF_LIMITS, "timeout_s=?,max_retries=?,deadline=?,run_at=?" },
	{ TF_MAX_RETRIES, "max_retries=?" },
};

static sqlite3_stmt *update_stmt(struct sq_conn *c, uint32_t fields)
{
	struct buf sql;
	int i;

	for (i = 0; i < SQ_UPDATES && c->update[i].st; i++) {
		if (c->update[i].mask == fields) {
			sqlite3_reset(c->update[i].st);
			return c->update[i].st;
		}
	}
	buf_init(&sql);
	buf_adds(&sql, "UPDATE tasks SET updated_at=?");
	for (size_t k = 0; k < sizeof(columns) / sizeof(columns[0]); k++) {
		/* TF_LIMITS sets max_retries too: a column is named once. */
		if (!(fields & columns[k].field) ||
		    (columns[k].field == TF_MAX_RETRIES && fields & TF_LIMITS))
			continue;
		buf_addc(&sql, ',');
		buf_adds(&sql, columns[k].set);
	}
	if (fields & (TF_RESULT | TF_ATTEMPTS))
		buf_adds(&sql, ",parts=?");
	buf_adds(&sql, " WHERE id=?");
	sqlite3_stmt *st = sq_cached(c, sql.p);

	/* The hot masks get a place of their own; sq_cached() keeps the others. */
	if (st && i < SQ_UPDATES) {
		for (int k = 0; k < SQ_CACHED; k++) {
			if (c->cached[k].st == st) {
				free(c->cached[k].sql);
				c->cached[k].sql = NULL;
				c->cached[k].st = NULL;
			}
		}
		c->update[i].mask = fields;
		c->update[i].st = st;
	}
	buf_release(&sql);
	return st;
}

static bool bind_fields(sqlite3_stmt *st, const struct task *t, uint32_t f, unsigned parts, struct sq_id *agent,
			int *n)
{
	int i = 1;
	bool good = true;

	sqlite3_bind_int64(st, i++, t->updated_at);
	if (f & TF_STATUS)
		sqlite3_bind_int(st, i++, (int)t->status);
	if (f & TF_HOLD) {
		sqlite3_bind_int(st, i++, (int)t->hold);
		sqlite3_bind_int64(st, i++, t->due_at);
	}
	if (f & TF_ORDER) {
		sqlite3_bind_int(st, i++, (int)t->priority);
		sqlite3_bind_int64(st, i++, t->order_key);
	}
	if (f & TF_LEASE)
		sqlite3_bind_int64(st, i++, t->lease_expires_at);
	if (f & TF_AGENT) {
		good = sq_bind_id(st, i++, t->agent_id, agent);
		sqlite3_bind_int64(st, i++, t->assigned_at);
	}
	if (f & TF_FENCE_BUMP)
		sqlite3_bind_int64(st, i++, t->fence);
	if (f & (TF_ATTEMPT_BUMP | TF_ATTEMPT_SET))
		sqlite3_bind_int64(st, i++, t->attempt);
	if (f & TF_PROGRESS) {
		sqlite3_bind_double(st, i++, t->progress);
		sq_bind_text(st, i++, t->message);
	}
	if (f & TF_RESULT)
		sq_bind_text(st, i++, parts & 1U << PART_RESULT ? NULL : t->result);
	if (f & TF_ERROR)
		sq_bind_text(st, i++, t->error);
	if (f & TF_ATTEMPTS)
		sq_bind_text(st, i++, parts & 1U << PART_ATTEMPTS ? NULL : t->attempts);
	if (f & TF_STARTED)
		sqlite3_bind_int64(st, i++, t->started_at);
	if (f & TF_COMPLETED)
		sqlite3_bind_int64(st, i++, t->completed_at);
	if (f & TF_LIMITS) {
		sqlite3_bind_int64(st, i++, t->timeout_s);
		sqlite3_bind_int64(st, i++, t->max_retries);
		sqlite3_bind_int64(st, i++, t->deadline);
		sqlite3_bind_int64(st, i++, t->run_at);
	} else if (f & TF_MAX_RETRIES) {
		sqlite3_bind_int64(st, i++, t->max_retries);
	}
	if (f & (TF_RESULT | TF_ATTEMPTS))
		sqlite3_bind_int(st, i++, (int)parts);
	*n = i;
	return good;
}

enum err sq_task_update(struct sq_group *g, const struct task *t, uint32_t fields, unsigned parts,
			struct error *e)
{
	unsigned was = parts;
	struct sq_id id, agent;
	int n, rc = SQLITE_DONE;

	if (fields & TF_RESULT)
		parts = (parts & ~(1U << PART_RESULT)) | (unsigned)apart(t->result) << PART_RESULT;
	if (fields & TF_ATTEMPTS)
		parts = (parts & ~(1U << PART_ATTEMPTS)) | (unsigned)apart(t->attempts) << PART_ATTEMPTS;
	sqlite3_stmt *st = update_stmt(g->c, fields);

	if (!bind_fields(st, t, fields, parts, &agent, &n))
		return sq_error(e, ERR_INTERNAL, "task %s: bad agent id", t->id);
	sq_bind_id(st, n, t->id, &id);
	rc = sq_run(st);
	if (rc == SQLITE_DONE && fields & TF_RESULT && (was | parts) & 1U << PART_RESULT)
		rc = put_part(g->c, t->id, PART_RESULT, parts & 1U << PART_RESULT ? t->result : NULL);
	if (rc == SQLITE_DONE && fields & TF_ATTEMPTS && (was | parts) & 1U << PART_ATTEMPTS)
		rc = put_part(g->c, t->id, PART_ATTEMPTS, parts & 1U << PART_ATTEMPTS ? t->attempts : NULL);
	return rc == SQLITE_DONE ? OK : sq_fail(g->c, e, rc, "update task");
}

/* --- compare and set ------------------------------------------------------------------------------ */

/* What a change is judged by and what the counters need, without the rest of the row. */
static int fetch_hot(struct sq_conn *c, const uint8_t id[16], struct task *t, unsigned *parts)
{
	sqlite3_stmt *st = sq_st(c, SQ_TASK_HOT);

	sqlite3_bind_blob(st, 1, id, 16, SQLITE_STATIC);
	int rc = sqlite3_step(st);

	if (rc == SQLITE_ROW) {
		t->status = (enum task_status)sqlite3_column_int(st, 0);
		t->priority = (enum priority)sqlite3_column_int(st, 1);
		t->hold = (enum hold)sqlite3_column_int(st, 2);
		t->lane = sqlite3_column_int64(st, 3);
		t->order_key = sqlite3_column_int64(st, 4);
		sq_col_id(st, 5, t->execution_id);
		t->stage = sqlite3_column_int(st, 6);
		sq_col_id(st, 7, t->agent_id);
		t->fence = sqlite3_column_int64(st, 8);
		t->attempt = sqlite3_column_int64(st, 9);
		t->guarded = sqlite3_column_int(st, 10);
		t->started_at = sqlite3_column_int64(st, 11);
		*parts = (unsigned)sqlite3_column_int(st, 12);
	}
	sqlite3_reset(st);
	return rc;
}

static bool holds(const struct task_change *c, const struct task *t)
{
	return (!c->if_status || c->if_status & ST(t->status)) &&
	       (c->if_fence < 0 || c->if_fence == t->fence) &&
	       (!c->if_hold || c->if_hold & 1U << t->hold) &&
	       (!c->if_agent || !strcmp(c->if_agent, t->agent_id)) &&
	       !(c->if_unguarded && t->guarded);
}

static void set_fields(struct task *t, const struct task *set, uint32_t f)
{
	t->updated_at = set->updated_at;
	if (f & TF_STATUS)
		t->status = set->status;
	if (f & TF_HOLD) {
		t->hold = set->hold;
		t->due_at = set->due_at;
	}
	if (f & TF_ORDER) {
		t->priority = set->priority;
		t->order_key = set->order_key;
	}
	if (f & TF_LEASE)
		t->lease_expires_at = set->lease_expires_at;
	if (f & TF_AGENT) {
		memcpy(t->agent_id, set->agent_id, sizeof(t->agent_id));
		t->assigned_at = set->assigned_at;
	}
	t->fence += (f & TF_FENCE_BUMP) != 0;
	if (f & TF_ATTEMPT_SET)
		t->attempt = set->attempt;
	t->attempt += (f & TF_ATTEMPT_BUMP) != 0;
	if (f & TF_PROGRESS) {
		t->progress = set->progress;
		if (set->message)
			t->message = set->message;
	}
	if (f & TF_RESULT)
		t->result = set->result;
	if (f & TF_ERROR)
		t->error = set->error;
	if (f & TF_ATTEMPTS)
		t->attempts = set->attempts;
	if (f & TF_STARTED)
		t->started_at = set->started_at;
	if (f & TF_COMPLETED)
		t->completed_at = set->completed_at;
	if (f & TF_LIMITS) {
		t->timeout_s = set->timeout_s;
		t->deadline = set->deadline;
		t->run_at = set->run_at;
	}
	if (f & (TF_LIMITS | TF_MAX_RETRIES))
		t->max_retries = set->max_retries;
}

/* A row that is returned outlives the change: what it took from there is copied. */
static void own_strings(struct task *t, uint32_t f, struct arena *a)
{
	if (f & TF_PROGRESS)
		t->message = arena_strdup(a, t->message);
	if (f & TF_RESULT)
		t->result = arena_strdup(a, t->result);
	if (f & TF_ERROR)
		t->error = arena_strdup(a, t->error);
	if (f & TF_ATTEMPTS)
		t->attempts = arena_strdup(a, t->attempts);
}

enum err sq_task_change(struct sq_group *g, const struct task_change *c, enum sq_row_want want, struct arena *a,
			enum store_op_result *res, struct task **row, struct error *e)
{
	struct task hot = { 0 }, before, *t = &hot;
	unsigned parts = 0;
	struct sq_id id;
	int rc;

	*row = NULL;
	*res = SOP_MISSING;
	if (!id_to_bytes(c->id, id.b))
		return OK;
	rc = fetch_hot(g->c, id.b, &hot, &parts);
	if (rc == SQLITE_DONE)
		return OK;
	if (rc == SQLITE_ROW && want != SQ_ROW_NONE)
		rc = sq_task_fetch(g->c, id.b, want == SQ_ROW_ALL ? TASK_COLS_ALL : TASK_COLS_BRIEF, a, &t);
	if (rc != SQLITE_ROW)
		return sq_fail(g->c, e, rc, "read task");
	if (want != SQ_ROW_NONE)
		*row = t;
	if (!holds(c, t)) {
		*res = SOP_REFUSED;
		return OK;
	}
	before = *t;
	memcpy(t->id, c->id, sizeof(t->id));
	set_fields(t, &c->set, c->fields);
	enum err err = sq_task_update(g, t, c->fields, parts, e);

	if (err)
		return err;
	if (want != SQ_ROW_NONE) {
		own_strings(t, c->fields, a);
		rc = t->status == TASK_PENDING && !t->lane_sig ? sq_task_signature(g->c, t, a) : SQLITE_OK;
		if (rc != SQLITE_OK)
			return sq_fail(g->c, e, rc, "lane");
	}
	sq_count_move(g->counts, &before, t);
	sq_book_move(g->book, c->id, &before, t);
	sq_count_attempt(g->counts, &before, c);
	*res = SOP_DONE;
	return OK;
}
