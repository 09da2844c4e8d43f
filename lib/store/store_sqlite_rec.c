// SPDX-License-Identifier: MIT
/* Records: everything but tasks. */
#include "store_sqlite.h"

#include "../base/buf.h"
#include "../base/clock.h"

static const char *text_or_empty(const char *s)
{
	return s ? s : "";
}

/* SQLITE_ROW and the revision, or SQLITE_DONE when there is none. */
static int read_rev(struct sq_conn *c, const struct record *r, int64_t *rev)
{
	sqlite3_stmt *st = sq_rec_st(c, r->kind, SQR_REV);

	sq_bind_text(st, 1, r->id);
	int rc = sqlite3_step(st);

	*rev = rc == SQLITE_ROW ? sqlite3_column_int64(st, 0) : 0;
	sqlite3_reset(st);
	return rc;
}

enum err sq_rec_put(struct sq_group *g, struct store_op *op, struct error *e)
{
	const struct record *r = op->rec;
	int64_t rev;
	int rc = read_rev(g->c, r, &rev);

	if (rc != SQLITE_ROW && rc != SQLITE_DONE)
		return sq_fail(g->c, e, rc, "read record");
	bool there = rc == SQLITE_ROW;

	if (op->expect_rev == REV_ABSENT && there) {
		op->result = SOP_EXISTS;
		return OK;
	}
	if (op->expect_rev > 0 && rev != op->expect_rev) {
		op->result = there ? SOP_REFUSED : SOP_MISSING;
		return OK;
	}
	sqlite3_stmt *st = sq_rec_st(g->c, r->kind, there ? SQR_UPDATE : SQR_INSERT);

	sq_bind_text(st, 1, r->id);
	sqlite3_bind_int64(st, 2, rev + 1);
	sq_bind_text(st, 3, text_or_empty(r->s1));
	sq_bind_text(st, 4, text_or_empty(r->s2));
	sq_bind_text(st, 5, text_or_empty(r->s3));
	sqlite3_bind_int64(st, 6, r->n1);
	sqlite3_bind_int64(st, 7, r->n2);
	sq_bind_text(st, 8, r->body);
	rc = sq_run(st);
	if (rc == SQLITE_CONSTRAINT_UNIQUE) {
		op->result = SOP_EXISTS;
		return OK;
	}
	if (rc != SQLITE_DONE)
		return sq_fail(g->c, e, rc, "write record");
	op->rev = rev + 1;
	op->result = SOP_DONE;
	return OK;
}

enum err sq_rec_delete(struct sq_group *g, struct store_op *op, struct error *e)
{
	int64_t rev;
	int rc = read_rev(g->c, op->rec, &rev);

	if (rc == SQLITE_DONE) {
		op->result = SOP_MISSING;
		return OK;
	}
	if (rc == SQLITE_ROW && op->expect_rev != REV_ANY && op->expect_rev != rev) {
		op->result = SOP_REFUSED;
		return OK;
	}
	if (rc == SQLITE_ROW) {
		sqlite3_stmt *st = sq_rec_st(g->c, op->rec->kind, SQR_DELETE);

		sq_bind_text(st, 1, op->rec->id);
		rc = sq_run(st);
	}
	if (rc != SQLITE_DONE)
		return sq_fail(g->c, e, rc, "delete record");
	op->result = SOP_DONE;
	return OK;
}

enum err sq_rec_get(struct store *base, enum record_kind kind, const char *id, bool by_s1, struct arena *a,
		    struct record **out, struct error *e)
{
	struct sqlite_store *s = (struct sqlite_store *)base;
	struct sq_conn *c;
	enum err err = sq_read_begin(s, &c, e);

	if (err)
		return err;
	sqlite3_stmt *st = sq_rec_st(c, kind, by_s1 ? SQR_BY_S1 : SQR_GET);

	sq_bind_text(st, 1, id);
	int rc = sqlite3_step(st);

	if (rc == SQLITE_ROW)
		*out = sq_record_row(st, kind, a);
	else if (rc != SQLITE_DONE)
		err = sq_fail(c, e, rc, "read record");
	sqlite3_reset(st);
	sq_read_end(s, c);
	return err;
}

/* --- lists ------------------------------------------------------------------------------------------ */

enum { IX_S1 = 1, IX_S2 = 2, IX_S3 = 4, IX_N2 = 8 };

/* Indexes in id order that sql/ makes. */
static const uint8_t indexes[REC_KIND_COUNT] = {
	[REC_AGENT] = IX_S1 | IX_S2 | IX_S3,
	[REC_PIPELINE] = IX_S1,
	[REC_EXECUTION] = IX_S1 | IX_S2 | IX_S3 | IX_N2,
	[REC_BLOB] = IX_S1,
	[REC_TASK_LOG] = IX_S1,
	[REC_API_KEY] = IX_S3,
	[REC_SESSION] = IX_S1,
	[REC_REVOCATION] = IX_S1,
	[REC_OUTBOX] = IX_S1 | IX_S3,
	[REC_AUDIT] = IX_S1 | IX_S2 | IX_S3,
	[REC_ALERT] = IX_S1 | IX_S2,
};

/* The condition the list is walked by; the others are looked at row by row. */
static const char *walk_by(const struct rec_filter *f)
{
	uint8_t ix = indexes[f->kind];

	if (f->s1 && *f->s1 && ix & IX_S1)
		return "s1=?3";
	if (f->s3 && ix & IX_S3)
		return "s3=?5";
	if (f->has_n2 && f->n2 != 0 && ix & IX_N2)
		return "n2<>0 AND n2=?7";
	if (f->s2 && ix & IX_S2)
		return "s2=?4";
	return "1";
}

/* Whether a row is one of the list. */
static void condition(struct buf *b, const struct rec_filter *f)
{
	buf_adds(b, "(1");
	if (f->s1)
		buf_adds(b, " AND s1=?3");
	if (f->s2)
		buf_adds(b, " AND s2=?4");
	if (f->s3)
		buf_adds(b, " AND s3=?5");
	if (f->has_n1_max)
		buf_adds(b, " AND n1<=?6");
	if (f->has_n2)
		buf_adds(b, " AND n2=?7");
	buf_addc(b, ')');
}

/* The conditions are no part of WHERE, so that rows passed over are counted. Their bodies are not read. */
static void list_sql(struct buf *b, const struct rec_filter *f)
{
	buf_adds(b, "SELECT id,rev,s1,s2,s3,n1,n2,CASE WHEN ");
	condition(b, f);
	buf_adds(b, " THEN body END,");
	condition(b, f);
	buf_addf(b, " FROM %s WHERE %s", sq_rec_table(f->kind), walk_by(f));
	if (f->after)
		buf_adds(b, f->descending ? " AND id<?1" : " AND id>?1");
	buf_adds(b, f->descending ? " ORDER BY id DESC" : " ORDER BY id");
}

/* A leading + keeps the planner from choosing an index whose order would have to be sorted. */
static void by_n1_sql(struct buf *b, const struct rec_filter *f)
{
	buf_addf(b, "SELECT id,rev,s1,s2,s3,n1,n2,body,1 FROM %s WHERE 1", sq_rec_table(f->kind));
	if (f->s1)
		buf_adds(b, " AND +s1=?3");
	if (f->s2)
		buf_adds(b, " AND s2=?4");
	if (f->s3)
		buf_adds(b, " AND +s3=?5");
	if (f->has_n1_max)
		buf_adds(b, " AND n1<=?6");
	if (f->has_n2)
		buf_adds(b, " AND +n2=?7");
	buf_adds(b, " ORDER BY n1,id");
}

static void bind_filter(sqlite3_stmt *st, const struct rec_filter *f)
{
	if (f->after && !f->by_n1)
		sq_bind_text(st, 1, f->after);
	if (f->s1)
		sq_bind_text(st, 3, f->s1);
	if (f->s2)
		sq_bind_text(st, 4, f->s2);
	if (f->s3)
		sq_bind_text(st, 5, f->s3);
	if (f->has_n1_max)
		sqlite3_bind_int64(st, 6, f->n1_max);
	if (f->has_n2)
		sqlite3_bind_int64(st, 7, f->n2);
}

static int walk(sqlite3_stmt *st, const struct rec_filter *f, struct arena *a, struct rec_page *out)
{
	int seen = 0, rc;

	out->items = arena_calloc(a, (size_t)f->limit, sizeof(*out->items));
	while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
		if (!sqlite3_column_int(st, 8)) {
			if (++seen < STORE_SCAN_MAX)
				continue;
			out->more = true;
			out->last = sq_col_text(st, 0, a);
			return SQLITE_DONE;
		}
		if (out->n == f->limit) {
			out->more = true;
			return SQLITE_DONE;
		}
		out->items[out->n++] = sq_record_row(st, f->kind, a);
		out->last = out->items[out->n - 1]->id;
		seen++;
	}
	return rc;
}

enum err sq_recs_list(struct store *base, const struct rec_filter *f, struct arena *a, struct rec_page *out,
		      struct error *e)
{
	struct sqlite_store *s = (struct sqlite_store *)base;
	struct sq_conn *c;
	struct buf sql;
	enum err err = sq_read_begin(s, &c, e);

	if (err)
		return err;
	buf_init(&sql);
	if (f->by_n1)
		by_n1_sql(&sql, f);
	else
		list_sql(&sql, f);
	sqlite3_stmt *st = sq_cached(c, sql.p);

	buf_release(&sql);
	bind_filter(st, f);
	int rc = walk(st, f, a, out);

	sqlite3_reset(st);
	if (rc != SQLITE_DONE)
		err = sq_fail(c, e, rc, "list records");
	sq_read_end(s, c);
	return err;
}
