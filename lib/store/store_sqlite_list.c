// SPDX-License-Identifier: MIT
/*
 * Lists of tasks, in id order, from whichever index fits best.
 *
 * Every index ends in the id, so that all entries with the same leading values are a list in id
 * order: a stream. A filter by type has one stream; one by status has a stream for each (status,
 * hold, priority) there is, merged here. Conditions that the index does not answer are looked at row
 * by row. When several indexes would do, a glance at each tells which one is the sparsest: the one
 * whose next few entries reach farthest in id order, which is time.
 */
#include "store_sqlite.h"

#include "../base/buf.h"

#define CHUNK 64
#define GLANCE 100		/* entries that are looked ahead to compare indexes */
#define STREAMS_MAX (TASK_STATUS_COUNT * HOLD_COUNT * PRIO_COUNT)
#define BUDGET_NS 4000000	/* CPU time for a walk that finds little */
#define CLOCK_SLACK_MS 1000	/* an id may be this much older or younger than its created_at */

/* Parameters of the statements built here. */
enum { P_FROM = 1, P_END, P_LIMIT, P_KEY1, P_KEY2, P_KEY3, P_TYPE, P_PIPELINE, P_EXECUTION, P_AGENT, P_CREATOR,
       P_STAGE, P_CREATED_FROM, P_CREATED_TO, P_UPDATED, P_STATUS, P_PRIORITY, P_HOLD };

enum index { BY_ID, BY_TYPE, BY_STATE, BY_CREATOR, BY_AGENT, BY_PIPELINE, BY_EXECUTION };

static const struct {
	const char *name, *where;
} indexes[] = {
	[BY_ID] = { NULL, "1" },
	[BY_TYPE] = { "tasks_type", "type=?7" },
	[BY_STATE] = { "tasks_state", "status=?4 AND hold=?5 AND priority=?6" },
	[BY_CREATOR] = { "tasks_creator", "created_by=?11" },
	[BY_AGENT] = { "tasks_agent", "agent_id=?10 AND status=?4" },
	[BY_PIPELINE] = { "tasks_pipeline", "pipeline_id=?8" },
	[BY_EXECUTION] = { "tasks_execution", "execution_id=?9" },
};

struct stream {
	int key[3];
	struct { struct sq_id id; bool fits; } ahead[CHUNK];
	int n, pos;
	bool end;
};

struct walk {
	struct sq_conn *c;
	const struct task_filter *f;
	struct arena *a;
	enum index index;
	struct stream *streams;
	int n_streams;
	uint8_t from[17], end[17];	/* bounds of the ids still to come, both exclusive */
	int from_n, end_n;
	struct sq_id pipeline, execution, agent;
	struct sq_id last;
	int seen;
	struct timespec begun;
	int rc;
};

/* --- which rows ------------------------------------------------------------------------------------- */

static void bind_filter(struct walk *w, sqlite3_stmt *st)
{
	const struct task_filter *f = w->f;

	sqlite3_bind_blob(st, P_FROM, w->from, w->from_n, SQLITE_STATIC);
	sqlite3_bind_blob(st, P_END, w->end, w->end_n, SQLITE_STATIC);
	if (f->type)
		sq_bind_text(st, P_TYPE, f->type);
	if (f->pipeline_id)
		sqlite3_bind_blob(st, P_PIPELINE, w->pipeline.b, 16, SQLITE_STATIC);
	if (f->execution_id)
		sqlite3_bind_blob(st, P_EXECUTION, w->execution.b, 16, SQLITE_STATIC);
	if (f->agent_id)
		sqlite3_bind_blob(st, P_AGENT, w->agent.b, 16, SQLITE_STATIC);
	if (f->created_by)
		sq_bind_text(st, P_CREATOR, f->created_by);
	if (f->stage)
		sqlite3_bind_int(st, P_STAGE, f->stage);
	if (f->created_from)
		sqlite3_bind_int64(st, P_CREATED_FROM, f->created_from);
	if (f->created_to)
		sqlite3_bind_int64(st, P_CREATED_TO, f->created_to);
	if (f->updated_from)
		sqlite3_bind_int64(st, P_UPDATED, f->updated_from);
	if (f->status)
		sqlite3_bind_int64(st, P_STATUS, f->status);
	if (f->priority)
		sqlite3_bind_int64(st, P_PRIORITY, f->priority);
	if (f->hold)
		sqlite3_bind_int64(st, P_HOLD, f->hold);
}

/* What the index does not answer, as an expression. Nothing left: 1, and the row is not even read. */
static void residual(struct buf *b, const struct task_filter *f, enum index by)
{
	buf_addc(b, '1');
	if (f->type && by != BY_TYPE)
		buf_adds(b, " AND type=?7");
	if (f->pipeline_id && by != BY_PIPELINE)
		buf_adds(b, " AND pipeline_id IS ?8");
	if (f->execution_id && by != BY_EXECUTION)
		buf_adds(b, " AND execution_id IS ?9");
	if (f->agent_id && by != BY_AGENT)
		buf_adds(b, " AND agent_id IS ?10");
	if (f->created_by && by != BY_CREATOR)
		buf_adds(b, " AND created_by IS ?11");
	if (f->stage)
		buf_adds(b, " AND stage=?12");
	if (f->created_from)
		buf_adds(b, " AND created_at>=?13");
	if (f->created_to)
		buf_adds(b, " AND created_at<?14");
	if (f->updated_from)
		buf_adds(b, " AND updated_at>=?15");
	if (f->status && by != BY_STATE && by != BY_AGENT)
		buf_adds(b, " AND ((1<<status)&?16)<>0");
	if (f->priority && by != BY_STATE)
		buf_adds(b, " AND ((1<<priority)&?17)<>0");
	if (f->hold && by != BY_STATE)
		buf_adds(b, " AND ((1<<hold)&?18)<>0");
}

static void walk_sql(struct buf *b, const struct walk *w, bool glance)
{
	const char *name = indexes[w->index].name;
	bool up = w->f->ascending;

	buf_adds(b, "SELECT id,");
	if (glance)
		buf_addc(b, '1');
	else
		residual(b, w->f, w->index);
	buf_addf(b, " FROM tasks %s%s WHERE %s AND id%s?1 AND id%s?2 ORDER BY id%s LIMIT ", name ? "INDEXED BY " : "",
		 name ? name : "", indexes[w->index].where, up ? ">" : "<", up ? "<" : ">", up ? "" : " DESC");
	if (glance)
		buf_addf(b, "1 OFFSET ?3");
	else
		buf_adds(b, "?3");
}

/* --- streams ----------------------------------------------------------------------------------------- */

static sqlite3_stmt *stream_stmt(struct walk *w, const struct stream *s, bool glance)
{
	struct buf sql;

	buf_init(&sql);
	walk_sql(&sql, w, glance);
	sqlite3_stmt *st = sq_cached(w->c, sql.p);

	buf_release(&sql);
	bind_filter(w, st);
	if (w->index == BY_STATE || w->index == BY_AGENT)
		sqlite3_bind_int(st, P_KEY1, s->key[0]);
	if (w->index == BY_STATE) {
		sqlite3_bind_int(st, P_KEY2, s->key[1]);
		sqlite3_bind_int(st, P_KEY3, s->key[2]);
	}
	return st;
}

static void refill(struct walk *w, struct stream *s)
{
	int want = w->n_streams > 4 ? CHUNK / 4 : CHUNK;
	sqlite3_stmt *st = stream_stmt(w, s, false);

	if (w->n_streams == 1 && w->f->limit + 1 < want)
		want = w->f->limit + 1;
	if (s->n)
		sqlite3_bind_blob(st, P_FROM, s->ahead[s->n - 1].id.b, 16, SQLITE_TRANSIENT);
	sqlite3_bind_int(st, P_LIMIT, want);
	s->n = s->pos = 0;
	while ((w->rc = sqlite3_step(st)) == SQLITE_ROW && s->n < want) {
		memcpy(s->ahead[s->n].id.b, sqlite3_column_blob(st, 0), 16);
		s->ahead[s->n++].fits = sqlite3_column_int(st, 1);
	}
	s->end = s->n < want;
	if (w->rc == SQLITE_ROW)
		w->rc = SQLITE_DONE;
	sqlite3_reset(st);
}

static bool wanted(const struct task_filter *f, int status, int hold, int priority)
{
	return (!f->status || f->status & 1U << status) && (!f->hold || f->hold & 1U << hold) &&
	       (!f->priority || f->priority & 1U << priority);
}

/* The combinations of status, hold and priority that exist and are wanted: a seek for each. */
static int find_states(struct walk *w, int found[STREAMS_MAX][3])
{
	int key[3] = { 0, 0, -1 }, n = 0;

	while (n < STREAMS_MAX) {
		sqlite3_stmt *st = sq_st(w->c, SQ_STATE_NEXT);

		/* From the next priority on; a strict comparison would walk through the last one's entries. */
		key[2]++;
		for (int i = 0; i < 3; i++)
			sqlite3_bind_int(st, 1 + i, key[i]);
		w->rc = sqlite3_step(st);
		for (int i = 0; i < 3 && w->rc == SQLITE_ROW; i++)
			key[i] = sqlite3_column_int(st, i);
		sqlite3_reset(st);
		if (w->rc != SQLITE_ROW)
			return n;
		if (wanted(w->f, key[0], key[1], key[2]))
			memcpy(found[n++], key, sizeof(key));
	}
	w->rc = SQLITE_DONE;
	return n;
}

static void make_streams(struct walk *w)
{
	int key[STREAMS_MAX][3] = { { 0 } }, n = 1;

	w->rc = SQLITE_DONE;
	if (w->index == BY_STATE) {
		n = find_states(w, key);
	} else if (w->index == BY_AGENT) {
		n = 0;
		for (int i = 0; i < TASK_STATUS_COUNT; i++)
			if (!w->f->status || w->f->status & ST(i))
				key[n++][0] = i;
	}
	w->n_streams = n;
	w->streams = arena_alloc(w->a, (size_t)n * sizeof(*w->streams));
	for (int i = 0; i < n; i++) {
		memcpy(w->streams[i].key, key[i], sizeof(key[i]));
		w->streams[i].n = w->streams[i].pos = 0;
		w->streams[i].end = false;
	}
}

/* The stream whose next id comes first. */
static struct stream *next_stream(struct walk *w)
{
	struct stream *best = NULL;

	for (int i = 0; i < w->n_streams; i++) {
		struct stream *s = &w->streams[i];

		if (s->pos == s->n && !s->end) {
			refill(w, s);
			if (w->rc != SQLITE_DONE)
				return NULL;
		}
		if (s->pos == s->n)
			continue;
		if (best) {
			int d = memcmp(s->ahead[s->pos].id.b, best->ahead[best->pos].id.b, 16);

			if (w->f->ascending ? d > 0 : d < 0)
				continue;
		}
		best = s;
	}
	return best;
}

/* --- choosing an index --------------------------------------------------------------------------------- */

static int candidates(const struct task_filter *f, enum index out[7])
{
	int n = 0;

	if (f->execution_id)
		out[n++] = BY_EXECUTION;
	if (f->agent_id)
		out[n++] = BY_AGENT;
	if (f->pipeline_id)
		out[n++] = BY_PIPELINE;
	if (f->type)
		out[n++] = BY_TYPE;
	if (f->created_by)
		out[n++] = BY_CREATOR;
	if (f->status || f->hold || f->priority)
		out[n++] = BY_STATE;
	if (!n)
		out[n++] = BY_ID;
	return n;
}

/*
 * How far the next GLANCE entries of the index reach; false: it has no more than that, nothing can be
 * better. Of several streams each gets its share, and the one that reaches least speaks for all.
 */
static bool glance(struct walk *w, struct sq_id *reach)
{
	bool full = false;

	for (int i = 0; i < w->n_streams; i++) {
		sqlite3_stmt *st = stream_stmt(w, &w->streams[i], true);

		sqlite3_bind_int(st, P_LIMIT, GLANCE / w->n_streams);
		w->rc = sqlite3_step(st);
		if (w->rc == SQLITE_ROW) {
			const void *id = sqlite3_column_blob(st, 0);
			int d = full ? memcmp(id, reach->b, 16) : 0;

			if (!full || (w->f->ascending ? d < 0 : d > 0))
				memcpy(reach->b, id, 16);
			full = true;
			w->rc = SQLITE_DONE;
		}
		sqlite3_reset(st);
		if (w->rc != SQLITE_DONE)
			return false;
	}
	return full;
}

static void choose(struct walk *w)
{
	enum index by[7];
	int n = candidates(w->f, by);
	struct walk best = { 0 };
	struct sq_id far = { { 0 } };

	for (int i = 0; i < n; i++) {
		struct sq_id reach;

		w->index = by[i];
		make_streams(w);
		if (n == 1 || w->rc != SQLITE_DONE)
			return;
		if (!glance(w, &reach))
			return;
		int d = i ? memcmp(reach.b, far.b, 16) : 0;

		if (!i || (w->f->ascending ? d > 0 : d < 0)) {
			best = *w;
			far = reach;
		}
	}
	w->index = best.index;
	w->streams = best.streams;
	w->n_streams = best.n_streams;
}

/* --- the walk -------------------------------------------------------------------------------------------- */

static int prefix_of(int64_t ms, uint8_t out[17])
{
	if (ms < 0)
		ms = 0;
	for (int i = 5; i >= 0; i--, ms >>= 8)
		out[i] = (uint8_t)ms;
	return 6;
}

/*
 * Where the walk begins and ends: the cursor, and the ids of the time range. A bound of 6 bytes is
 * smaller than every id of that millisecond, one of none smaller than all, one of 17 larger.
 */
static bool set_bounds(struct walk *w)
{
	const struct task_filter *f = w->f;
	uint8_t low[17], high[17];
	int low_n = 0, high_n = 17;

	memset(high, 0xff, sizeof(high));
	if (f->created_from > CLOCK_SLACK_MS)
		low_n = prefix_of(f->created_from - CLOCK_SLACK_MS, low);
	if (f->created_to)
		high_n = prefix_of(f->created_to + CLOCK_SLACK_MS, high);
	memcpy(w->from, f->ascending ? low : high, sizeof(w->from));
	memcpy(w->end, f->ascending ? high : low, sizeof(w->end));
	w->from_n = f->ascending ? low_n : high_n;
	w->end_n = f->ascending ? high_n : low_n;
	if (!f->after)
		return true;
	struct sq_id after;

	if (!id_to_bytes(f->after, after.b))
		return false;
	int d = memcmp(after.b, w->from, w->from_n < 16 ? (size_t)w->from_n : 16);

	if (f->ascending ? d >= 0 : d < 0) {
		memcpy(w->from, after.b, 16);
		w->from_n = 16;
	}
	return true;
}

static bool over_budget(struct walk *w)
{
	struct timespec now;

	if (++w->seen >= STORE_SCAN_MAX)
		return true;
	if (w->seen % 512)
		return false;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (now.tv_sec - w->begun.tv_sec) * 1000000000LL + now.tv_nsec - w->begun.tv_nsec > BUDGET_NS;
}

/* Ids of the page into ids[], at most limit; true when there may be more after w->last. */
static bool collect_ids(struct walk *w, struct sq_id *ids, int *n)
{
	struct stream *s;

	while ((s = next_stream(w))) {
		bool fits = s->ahead[s->pos].fits;

		if (fits && *n == w->f->limit)
			return true;
		if (*n < w->f->limit)
			w->last = s->ahead[s->pos].id;
		if (fits)
			ids[(*n)++] = w->last;
		s->pos++;
		if (over_budget(w))
			return true;
	}
	return false;
}

static enum err list_by_id(struct sq_conn *c, const struct task_filter *f, struct arena *a, struct task_page *out,
			   struct walk *w, struct error *e)
{
	struct sq_id *ids = arena_calloc(a, (size_t)f->limit, sizeof(*ids));
	int n = 0;

	choose(w);
	if (w->rc == SQLITE_DONE)
		out->more = collect_ids(w, ids, &n);
	if (w->rc != SQLITE_DONE)
		return sq_fail(c, e, w->rc, "list tasks");
	out->items = arena_calloc(a, (size_t)f->limit, sizeof(*out->items));
	for (int i = 0; i < n; i++) {
		int rc = sq_task_fetch(c, ids[i].b, f->cols, a, &out->items[out->n]);

		if (rc != SQLITE_ROW)
			return sq_fail(c, e, rc, "list tasks");
		out->n++;
	}
	if (w->seen)
		id_from_bytes(w->last.b, out->last);
	return OK;
}

/* A stage's tasks in the order of its fan-out. */
static enum err list_by_seq(struct sq_conn *c, const struct task_filter *f, struct arena *a, struct task_page *out,
			    struct walk *w, struct error *e)
{
	int64_t after_seq = f->after ? f->after_seq : f->after_seq >= 0 ? f->after_seq + 1 : 0;
	struct sq_id after = { { 0 } };
	struct buf sql;
	int rc;

	if (f->after) {
		/* The row itself knows its place best: the caller has only its id after a page that found nothing. */
		sqlite3_stmt *seq = sq_st(c, SQ_TASK_SEQ);

		sq_bind_id(seq, 1, f->after, &after);
		if (sqlite3_step(seq) == SQLITE_ROW)
			after_seq = sqlite3_column_int64(seq, 0);
		sqlite3_reset(seq);
	}
	buf_init(&sql);
	buf_adds(&sql, "SELECT id,");
	residual(&sql, f, BY_EXECUTION);
	buf_adds(&sql, " FROM tasks INDEXED BY tasks_stage WHERE execution_id=?9 AND stage=?12 "
		 "AND (stage_seq,id)>(?4,?1) ORDER BY stage_seq,id");
	sqlite3_stmt *st = sq_cached(c, sql.p);

	buf_release(&sql);
	bind_filter(w, st);
	sqlite3_bind_blob(st, P_FROM, after.b, 16, SQLITE_STATIC);
	sqlite3_bind_int64(st, P_KEY1, after_seq);
	out->items = arena_calloc(a, (size_t)f->limit, sizeof(*out->items));
	while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
		bool fits = sqlite3_column_int(st, 1);

		if (fits && out->n == f->limit) {
			out->more = true;
			break;
		}
		if (out->n < f->limit)
			memcpy(w->last.b, sqlite3_column_blob(st, 0), 16);
		if (fits) {
			rc = sq_task_fetch(c, w->last.b, f->cols, a, &out->items[out->n]);
			if (rc != SQLITE_ROW)
				break;
			out->n++;
		}
		if (over_budget(w)) {
			out->more = true;
			break;
		}
	}
	sqlite3_reset(st);
	if (w->seen)
		id_from_bytes(w->last.b, out->last);
	return rc == SQLITE_DONE || out->more ? OK : sq_fail(c, e, rc, "list stage");
}

static bool filter_ids(struct walk *w)
{
	const struct task_filter *f = w->f;

	return (!f->pipeline_id || id_to_bytes(f->pipeline_id, w->pipeline.b)) &&
	       (!f->execution_id || id_to_bytes(f->execution_id, w->execution.b)) &&
	       (!f->agent_id || id_to_bytes(f->agent_id, w->agent.b));
}

enum err sq_tasks_list(struct store *base, const struct task_filter *f, struct arena *a, struct task_page *out,
		       struct error *e)
{
	struct sqlite_store *s = (struct sqlite_store *)base;
	struct walk w = { .f = f, .a = a, .rc = SQLITE_DONE };

	/* An id that is none matches nothing. */
	if (f->limit <= 0 || !filter_ids(&w))
		return OK;
	if (!set_bounds(&w))
		return sq_error(e, ERR_INTERNAL, "bad id to go on from");
	enum err err = sq_read_begin(s, &w.c, e);

	if (err)
		return err;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &w.begun);
	err = sq_snapshot(w.c, e);
	if (!err)
		err = f->by_stage_seq ? list_by_seq(w.c, f, a, out, &w, e) : list_by_id(w.c, f, a, out, &w, e);
	sq_read_end(s, w.c);
	return err;
}

enum err sq_tasks_get(struct store *base, const char *const *ids, int n, enum task_cols cols, struct arena *a,
		      struct task **out, struct error *e)
{
	struct sqlite_store *s = (struct sqlite_store *)base;
	struct sq_conn *c;
	enum err err = sq_read_begin(s, &c, e);

	if (err)
		return err;
	if (n > 1 || cols == TASK_COLS_ALL)
		err = sq_snapshot(c, e);
	for (int i = 0; i < n && !err; i++) {
		struct sq_id id;

		if (!id_to_bytes(ids[i], id.b))
			continue;
		int rc = sq_task_fetch(c, id.b, cols, a, &out[i]);

		if (rc != SQLITE_ROW && rc != SQLITE_DONE)
			err = sq_fail(c, e, rc, "read task");
	}
	sq_read_end(s, c);
	return err;
}
