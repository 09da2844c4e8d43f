// SPDX-License-Identifier: MIT
/* Values in and out of statements. */
#include "store_sqlite.h"

bool sq_bind_id(sqlite3_stmt *st, int i, const char *text, struct sq_id *keep)
{
	if (!text || !*text) {
		sqlite3_bind_null(st, i);
		return true;
	}
	if (!id_to_bytes(text, keep->b)) {
		sqlite3_bind_null(st, i);
		return false;
	}
	sqlite3_bind_blob(st, i, keep->b, sizeof(keep->b), SQLITE_STATIC);
	return true;
}

void sq_bind_text(sqlite3_stmt *st, int i, const char *text)
{
	if (text)
		sqlite3_bind_text(st, i, text, (int)strlen(text), SQLITE_STATIC);
	else
		sqlite3_bind_null(st, i);
}

const char *sq_col_text(sqlite3_stmt *st, int i, struct arena *a)
{
	const unsigned char *s = sqlite3_column_text(st, i);

	return s ? arena_strndup(a, (const char *)s, (size_t)sqlite3_column_bytes(st, i)) : NULL;
}

void sq_col_id(sqlite3_stmt *st, int i, char out[ID_TEXT])
{
	const void *b = sqlite3_column_blob(st, i);

	if (b && sqlite3_column_bytes(st, i) == 16)
		id_from_bytes(b, out);
	else
		out[0] = '\0';
}

/* A value that stands in task_parts. */
static int load_part(struct sq_conn *c, const char *id, int part, struct arena *a, const char **out)
{
	sqlite3_stmt *st = sq_st(c, SQ_PART_GET);
	struct sq_id keep;

	sq_bind_id(st, 1, id, &keep);
	sqlite3_bind_int(st, 2, part);
	int rc = sqlite3_step(st);

	if (rc == SQLITE_ROW) {
		*out = sq_col_text(st, 0, a);
		rc = SQLITE_OK;
	} else if (rc == SQLITE_DONE) {
		rc = SQLITE_CORRUPT;
	}
	sqlite3_reset(st);
	return rc;
}

int sq_task_signature(struct sq_conn *c, struct task *t, struct arena *a)
{
	sqlite3_stmt *st = sq_st(c, SQ_LANE_SIG);

	sqlite3_bind_int64(st, 1, t->lane);
	int rc = sqlite3_step(st);

	if (rc == SQLITE_ROW)
		t->lane_sig = sq_col_text(st, 0, a);
	sqlite3_reset(st);
	return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int read_values(struct sq_conn *c, sqlite3_stmt *st, struct task *t, unsigned parts, struct arena *a)
{
	const char **value[] = { &t->parameters, &t->requirements, &t->dependencies, &t->result, &t->attempts };
	int rc = SQLITE_OK;

	for (int i = 0; i < 5 && rc == SQLITE_OK; i++) {
		if (parts & 1U << i)
			rc = load_part(c, t->id, i, a, value[i]);
		else
			*value[i] = sq_col_text(st, 40 + i, a);
	}
	return rc;
}

struct task *sq_task_row(struct sq_conn *c, sqlite3_stmt *st, enum task_cols cols, struct arena *a, int *rc)
{
	struct task *t = arena_new(a, struct task);
	int i = 0;

	sq_col_id(st, i++, t->id);
	t->type = sq_col_text(st, i++, a);
	t->status = (enum task_status)sqlite3_column_int(st, i++);
	t->priority = (enum priority)sqlite3_column_int(st, i++);
	t->classification = (enum data_class)sqlite3_column_int(st, i++);
	t->hold = (enum hold)sqlite3_column_int(st, i++);
	t->due_at = sqlite3_column_int64(st, i++);
	t->lane = sqlite3_column_int64(st, i++);
	t->order_key = sqlite3_column_int64(st, i++);
	sq_col_id(st, i++, t->pipeline_id);
	sq_col_id(st, i++, t->execution_id);
	t->stage = sqlite3_column_int(st, i++);
	t->stage_seq = sqlite3_column_int64(st, i++);
	t->concurrency_key = sq_col_text(st, i++, a);
	t->concurrency_limit = sqlite3_column_int64(st, i++);
	t->run_at = sqlite3_column_int64(st, i++);
	t->deadline = sqlite3_column_int64(st, i++);
	t->timeout_s = sqlite3_column_int64(st, i++);
	t->max_retries = sqlite3_column_int64(st, i++);
	t->retry.strategy = sqlite3_column_int(st, i++);
	t->retry.initial_delay_ms = sqlite3_column_int64(st, i++);
	t->retry.max_delay_ms = sqlite3_column_int64(st, i++);
	t->retry.factor = sqlite3_column_double(st, i++);
	t->retry.jitter = sqlite3_column_int(st, i++);
	t->retry.retryable = (uint32_t)sqlite3_column_int64(st, i++);
	t->attempt = sqlite3_column_int64(st, i++);
	t->fence = sqlite3_column_int64(st, i++);
	t->lease_expires_at = sqlite3_column_int64(st, i++);
	sq_col_id(st, i++, t->agent_id);
	t->progress = sqlite3_column_double(st, i++);
	t->message = sq_col_text(st, i++, a);
	t->error = sq_col_text(st, i++, a);
	t->guarded = sqlite3_column_int(st, i++);
	t->created_by = sq_col_text(st, i++, a);
	t->created_at = sqlite3_column_int64(st, i++);
	t->updated_at = sqlite3_column_int64(st, i++);
	t->assigned_at = sqlite3_column_int64(st, i++);
	t->started_at = sqlite3_column_int64(st, i++);
	t->completed_at = sqlite3_column_int64(st, i++);
	unsigned parts = (unsigned)sqlite3_column_int(st, i++);

	*rc = cols == TASK_COLS_ALL ? read_values(c, st, t, parts, a) : SQLITE_OK;
	if (*rc == SQLITE_OK && t->status == TASK_PENDING)
		*rc = sq_task_signature(c, t, a);
	return *rc == SQLITE_OK ? t : NULL;
}

int sq_task_fetch(struct sq_conn *c, const uint8_t id[16], enum task_cols cols, struct arena *a,
		  struct task **out)
{
	sqlite3_stmt *st = sq_st(c, cols == TASK_COLS_ALL ? SQ_TASK_ALL : SQ_TASK_BRIEF);

	*out = NULL;
	sqlite3_bind_blob(st, 1, id, 16, SQLITE_STATIC);
	int rc = sqlite3_step(st);

	if (rc == SQLITE_ROW) {
		int part_rc;

		*out = sq_task_row(c, st, cols, a, &part_rc);
		if (!*out)
			rc = part_rc;
	}
	sqlite3_reset(st);
	return rc;
}

struct record *sq_record_row(sqlite3_stmt *st, enum record_kind kind, struct arena *a)
{
	struct record *r = arena_new(a, struct record);

	r->kind = kind;
	r->id = sq_col_text(st, 0, a);
	r->rev = sqlite3_column_int64(st, 1);
	r->s1 = sq_col_text(st, 2, a);
	r->s2 = sq_col_text(st, 3, a);
	r->s3 = sq_col_text(st, 4, a);
	r->n1 = sqlite3_column_int64(st, 5);
	r->n2 = sqlite3_column_int64(st, 6);
	r->body = sq_col_text(st, 7, a);
	return r;
}

void sq_tasks_add(struct sq_tasks *l, struct arena *a, struct task *t)
{
	if (l->n == l->cap) {
		int cap = l->cap ? l->cap * 2 : 16;
		struct task **v = arena_alloc(a, (size_t)cap * sizeof(*v));

		if (l->n)
			memcpy(v, l->v, (size_t)l->n * sizeof(*v));
		l->v = v;
		l->cap = cap;
	}
	l->v[l->n++] = t;
}
