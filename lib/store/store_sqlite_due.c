// SPDX-License-Identifier: MIT
/* Tasks for which a time or an occasion has come; all answered from small partial indexes. */
#include "store_sqlite.h"

/* Rows of a prepared and bound statement into a list; resets it and gives the connection back. */
static enum err collect(struct sqlite_store *s, struct sq_conn *c, sqlite3_stmt *st, enum task_cols cols,
			struct arena *a, struct task ***out, int *n, struct error *e)
{
	struct sq_tasks list = { 0 };
	enum err err = OK;
	int rc;

	while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
		int part_rc;
		struct task *t = sq_task_row(c, st, cols, a, &part_rc);

		if (!t) {
			rc = part_rc;
			break;
		}
		sq_tasks_add(&list, a, t);
	}
	if (rc != SQLITE_DONE)
		err = sq_fail(c, e, rc, "read tasks");
	sqlite3_reset(st);
	sq_read_end(s, c);
	*out = list.v;
	*n = err ? 0 : list.n;
	return err;
}

enum err sq_tasks_due(struct store *base, enum due_kind kind, int64_t now, int limit, struct arena *a,
		      struct task ***out, int *n, struct error *e)
{
	static const enum sq_stmt which[] = {
		[DUE_HOLD] = SQ_DUE_HOLD,
		[DUE_LEASE] = SQ_DUE_LEASE,
		[DUE_DEADLINE] = SQ_DUE_DEADLINE,
		[DUE_TIMEOUT] = SQ_DUE_TIMEOUT,
	};
	struct sqlite_store *s = (struct sqlite_store *)base;
	struct sq_conn *c;
	enum err err = sq_read_begin(s, &c, e);

	if (err)
		return err;
	sqlite3_stmt *st = sq_st(c, which[kind]);

	sqlite3_bind_int64(st, 1, now);
	sqlite3_bind_int(st, 2, limit);
	return collect(s, c, st, TASK_COLS_BRIEF, a, out, n, e);
}

enum err sq_next_due(struct store *base, int64_t *at, struct error *e)
{
	static const enum sq_stmt which[] = { SQ_NEXT_HOLD, SQ_NEXT_WAKE, SQ_NEXT_DEADLINE };
	struct sqlite_store *s = (struct sqlite_store *)base;
	struct sq_conn *c;
	enum err err = sq_read_begin(s, &c, e);

	if (err)
		return err;
	for (size_t i = 0; i < sizeof(which) / sizeof(which[0]) && !err; i++) {
		sqlite3_stmt *st = sq_st(c, which[i]);
		int rc = sqlite3_step(st);

		if (rc == SQLITE_ROW && sqlite3_column_int64(st, 0) < *at)
			*at = sqlite3_column_int64(st, 0);
		else if (rc != SQLITE_ROW && rc != SQLITE_DONE)
			err = sq_fail(c, e, rc, "next due");
		sqlite3_reset(st);
	}
	sq_read_end(s, c);
	return err;
}

enum err sq_slot_waiters(struct store *base, const char *key, int limit, struct arena *a, struct task ***out,
			 int *n, struct error *e)
{
	struct sqlite_store *s = (struct sqlite_store *)base;
	struct sq_conn *c;
	enum err err = sq_read_begin(s, &c, e);

	if (err)
		return err;
	sqlite3_stmt *st = sq_st(c, key ? SQ_SLOT_KEY : SQ_SLOT_ANY);

	if (key)
		sq_bind_text(st, 1, key);
	sqlite3_bind_int(st, 2, limit);
	return collect(s, c, st, TASK_COLS_BRIEF, a, out, n, e);
}

enum err sq_dep_waiters(struct store *base, const char *after, int limit, struct arena *a, struct task ***out,
			int *n, struct error *e)
{
	struct sqlite_store *s = (struct sqlite_store *)base;
	struct sq_id from = { { 0 } };
	struct sq_conn *c;
	enum err err;

	if (after && !id_to_bytes(after, from.b))
		return sq_error(e, ERR_INTERNAL, "bad id to go on from");
	err = sq_read_begin(s, &c, e);
	if (err)
		return err;
	sqlite3_stmt *st = sq_st(c, SQ_DEPS);

	sqlite3_bind_blob(st, 1, from.b, 16, SQLITE_STATIC);
	sqlite3_bind_int(st, 2, limit);
	return collect(s, c, st, TASK_COLS_ALL, a, out, n, e);
}
