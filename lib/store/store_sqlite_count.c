// SPDX-License-Identifier: MIT
/*
 * Counters that change with tasks. While a group runs, changes are only noted; before its COMMIT
 * they are added up and written, so that a hundred completions of one agent cost one write. They are
 * part of the transaction, so they are exact.
 */
#include "store_sqlite.h"

#define KEY_HELD	16
#define KEY_LEASED	32
#define KEYS		33

struct stage_note {
	uint8_t execution[16];
	int stage, status, delta;
};

struct tally_note {
	uint8_t agent[16];
	int64_t hour, completed, failed, duration;
};

struct list {
	void *v;
	size_t n, cap, mark;
};

struct sq_counts {
	int64_t queue[KEYS], queue_mark[KEYS];
	struct list stages, tallies;
};

struct sq_counts *sq_counts_new(void)
{
	return xcalloc(1, sizeof(struct sq_counts));
}

void sq_counts_free(struct sq_counts *n)
{
	if (!n)
		return;
	free(n->stages.v);
	free(n->tallies.v);
	free(n);
}

static void *add(struct list *l, size_t size)
{
	if (l->n == l->cap) {
		l->cap = l->cap ? l->cap * 2 : 64;
		l->v = xrealloc(l->v, l->cap * size);
	}
	return (char *)l->v + size * l->n++;
}

void sq_counts_begin(struct sq_counts *n)
{
	memset(n->queue, 0, sizeof(n->queue));
	n->stages.n = 0;
	n->tallies.n = 0;
}

void sq_counts_mark(struct sq_counts *n)
{
	memcpy(n->queue_mark, n->queue, sizeof(n->queue));
	n->stages.mark = n->stages.n;
	n->tallies.mark = n->tallies.n;
}

void sq_counts_back(struct sq_counts *n)
{
	memcpy(n->queue, n->queue_mark, sizeof(n->queue));
	n->stages.n = n->stages.mark;
	n->tallies.n = n->tallies.mark;
}

static void note(struct sq_counts *n, const struct task *t, int delta)
{
	uint32_t st = ST(t->status);

	if (t->status == TASK_PENDING && t->hold == HOLD_NONE && t->priority < PRIO_COUNT)
		n->queue[t->priority] += delta;
	if ((st & ST_QUEUED) && t->hold < HOLD_COUNT)
		n->queue[KEY_HELD + t->hold] += delta;
	if (st & ST_LEASED)
		n->queue[KEY_LEASED] += delta;
	if (t->execution_id[0]) {
		struct stage_note *s = add(&n->stages, sizeof(*s));

		if (!id_to_bytes(t->execution_id, s->execution))
			memset(s->execution, 0, sizeof(s->execution));
		s->stage = t->stage;
		s->status = (int)t->status;
		s->delta = delta;
	}
}

void sq_count_move(struct sq_counts *n, const struct task *before, const struct task *after)
{
	if (before && after && before->status == after->status && before->hold == after->hold &&
	    before->priority == after->priority)
		return;
	if (before)
		note(n, before, -1);
	if (after)
		note(n, after, 1);
}

void sq_count_attempt(struct sq_counts *n, const struct task *row, const struct task_change *c)
{
	struct tally_note t = { .hour = (c->set.completed_at ? c->set.completed_at : c->set.updated_at) / 3600000 };

	if (c->tally == TALLY_NONE || !id_to_bytes(row->agent_id, t.agent))
		return;
	if (c->tally == TALLY_COMPLETED) {
		int64_t started = c->fields & TF_STARTED ? c->set.started_at : row->started_at;

		t.completed = 1;
		if (started && c->set.completed_at > started)
			t.duration = c->set.completed_at - started;
	} else {
		t.failed = 1;
	}
	struct tally_note *slot = add(&n->tallies, sizeof(*slot));

	*slot = t;
}

static int bucket_of(int64_t ms)
{
	for (int i = 0; i < TALLY_BUCKETS - 1; i++)
		if (ms < (int64_t)1 << i)
			return i;
	return TALLY_BUCKETS - 1;
}

static int by_stage(const void *a, const void *b)
{
	const struct stage_note *x = a, *y = b;
	int d = memcmp(x->execution, y->execution, sizeof(x->execution));

	return d ? d : x->stage - y->stage;
}

static int by_agent_hour(const void *a, const void *b)
{
	const struct tally_note *x = a, *y = b;
	int d = memcmp(x->agent, y->agent, sizeof(x->agent));

	return d ? d : (x->hour > y->hour) - (x->hour < y->hour);
}

static int write_queue(struct sq_counts *n, struct sq_conn *c)
{
	for (int i = 0; i < KEYS; i++) {
		if (!n->queue[i])
			continue;
		sqlite3_stmt *st = sq_st(c, SQ_COUNT_QUEUE);

		sqlite3_bind_int(st, 1, i);
		sqlite3_bind_int64(st, 2, n->queue[i]);
		int rc = sq_run(st);

		if (rc != SQLITE_DONE)
			return rc;
	}
	return SQLITE_DONE;
}

static int write_stage(struct sq_conn *c, const struct stage_note *s, const int sum[TASK_STATUS_COUNT])
{
	sqlite3_stmt *st = sq_st(c, SQ_COUNT_STAGE);
	bool some = false, less = false;

	for (int i = 0; i < TASK_STATUS_COUNT; i++) {
		some |= sum[i] != 0;
		less |= sum[i] < 0;
		sqlite3_bind_int(st, 3 + i, sum[i]);
	}
	if (!some)
		return SQLITE_DONE;
	sqlite3_bind_blob(st, 1, s->execution, 16, SQLITE_STATIC);
	sqlite3_bind_int(st, 2, s->stage);
	int rc = sq_run(st);

	if (rc != SQLITE_DONE || !less)
		return rc;
	st = sq_st(c, SQ_COUNT_STAGE_GONE);
	sqlite3_bind_blob(st, 1, s->execution, 16, SQLITE_STATIC);
	sqlite3_bind_int(st, 2, s->stage);
	return sq_run(st);
}

static int write_stages(struct sq_counts *n, struct sq_conn *c)
{
	struct stage_note *v = n->stages.v;
	int rc = SQLITE_DONE;

	if (n->stages.n)
		qsort(v, n->stages.n, sizeof(*v), by_stage);
	for (size_t i = 0, j; i < n->stages.n && rc == SQLITE_DONE; i = j) {
		int sum[TASK_STATUS_COUNT] = { 0 };

		for (j = i; j < n->stages.n && !by_stage(&v[i], &v[j]); j++)
			sum[v[j].status] += v[j].delta;
		rc = write_stage(c, &v[i], sum);
	}
	return rc;
}

static int write_tallies(struct sq_counts *n, struct sq_conn *c)
{
	struct tally_note *v = n->tallies.v;
	int rc = SQLITE_DONE;

	if (n->tallies.n)
		qsort(v, n->tallies.n, sizeof(*v), by_agent_hour);
	for (size_t i = 0, j; i < n->tallies.n && rc == SQLITE_DONE; i = j) {
		int64_t completed = 0, failed = 0, duration = 0, bucket[TALLY_BUCKETS] = { 0 };
		sqlite3_stmt *st = sq_st(c, SQ_COUNT_TALLY);

		for (j = i; j < n->tallies.n && !by_agent_hour(&v[i], &v[j]); j++) {
			completed += v[j].completed;
			failed += v[j].failed;
			duration += v[j].duration;
			if (v[j].completed)
				bucket[bucket_of(v[j].duration)]++;
		}
		sqlite3_bind_blob(st, 1, v[i].agent, 16, SQLITE_STATIC);
		sqlite3_bind_int64(st, 2, v[i].hour);
		sqlite3_bind_int64(st, 3, completed);
		sqlite3_bind_int64(st, 4, failed);
		sqlite3_bind_int64(st, 5, duration);
		for (int b = 0; b < TALLY_BUCKETS; b++)
			sqlite3_bind_int64(st, 6 + b, bucket[b]);
		rc = sq_run(st);
	}
	return rc;
}

enum err sq_counts_write(struct sq_counts *n, struct sq_conn *c, struct error *e)
{
	int rc = write_queue(n, c);

	if (rc == SQLITE_DONE)
		rc = write_stages(n, c);
	if (rc == SQLITE_DONE)
		rc = write_tallies(n, c);
	return rc == SQLITE_DONE ? OK : sq_fail(c, e, rc, "counters");
}

/* --- reading them --------------------------------------------------------------------------------- */

static int read_stages(struct sq_conn *c, const char *execution_id, struct stage_counts *out)
{
	sqlite3_stmt *st = sq_st(c, SQ_STAGE_COUNTS);
	struct sq_id id;
	int rc;

	sq_bind_id(st, 1, execution_id, &id);
	while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
		int stage = sqlite3_column_int(st, 0);

		for (int i = 0; i < TASK_STATUS_COUNT && stage >= 0 && stage < 7; i++)
			out->n[stage][i] = sqlite3_column_int64(st, 1 + i);
	}
	sqlite3_reset(st);
	return rc;
}

enum err sq_stage_counts(struct store *base, const char *const *execution_ids, int n, struct stage_counts *out,
			 struct error *e)
{
	struct sqlite_store *s = (struct sqlite_store *)base;
	struct sq_conn *c;
	enum err err = sq_read_begin(s, &c, e);

	if (err)
		return err;
	err = sq_snapshot(c, e);
	for (int i = 0; i < n && !err; i++) {
		int rc = read_stages(c, execution_ids[i], &out[i]);

		if (rc != SQLITE_DONE)
			err = sq_fail(c, e, rc, "stage counts");
	}
	sq_read_end(s, c);
	return err;
}

static int read_depth(struct sq_conn *c, struct queue_depth *out)
{
	sqlite3_stmt *st = sq_st(c, SQ_QUEUE_COUNTS);
	int rc;

	while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
		int key = sqlite3_column_int(st, 0);
		int64_t n = sqlite3_column_int64(st, 1);

		if (key >= 0 && key < PRIO_COUNT)
			out->ready[key] = n;
		else if (key >= KEY_HELD && key < KEY_HELD + HOLD_COUNT)
			out->held[key - KEY_HELD] = n;
		else if (key == KEY_LEASED)
			out->leased = n;
	}
	sqlite3_reset(st);
	for (int p = 0; p < PRIO_COUNT && rc == SQLITE_DONE; p++) {
		st = sq_st(c, SQ_QUEUE_OLDEST);
		sqlite3_bind_int(st, 1, p);
		rc = sqlite3_step(st);
		if (rc == SQLITE_ROW) {
			out->oldest[p] = sqlite3_column_int64(st, 0);
			rc = SQLITE_DONE;
		}
		sqlite3_reset(st);
	}
	return rc;
}

enum err sq_queue_depth(struct store *base, struct queue_depth *out, struct error *e)
{
	struct sqlite_store *s = (struct sqlite_store *)base;
	struct sq_conn *c;
	enum err err = sq_read_begin(s, &c, e);

	if (err)
		return err;
	err = sq_snapshot(c, e);
	if (!err) {
		int rc = read_depth(c, out);

		if (rc != SQLITE_DONE)
			err = sq_fail(c, e, rc, "queue depth");
	}
	sq_read_end(s, c);
	return err;
}

enum err sq_tallies(struct store *base, const char *agent_id, int64_t from_hour, struct arena *a,
		    struct tally **out, int *n, struct error *e)
{
	struct sqlite_store *s = (struct sqlite_store *)base;
	struct tally *v = NULL;
	int cap = 0, rc;
	struct sq_conn *c;
	struct sq_id id;
	enum err err = sq_read_begin(s, &c, e);

	if (err)
		return err;
	sqlite3_stmt *st = sq_st(c, agent_id ? SQ_TALLIES_ONE : SQ_TALLIES_ALL);

	if (agent_id)
		sq_bind_id(st, 1, agent_id, &id);
	sqlite3_bind_int64(st, agent_id ? 2 : 1, from_hour);
	while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
		if (*n == cap) {
			struct tally *more = arena_alloc(a, (size_t)(cap = cap ? cap * 2 : 16) * sizeof(*v));

			if (*n)
				memcpy(more, v, (size_t)*n * sizeof(*v));
			v = more;
		}
		struct tally *t = &v[(*n)++];

		sq_col_id(st, 0, t->agent_id);
		t->hour = sqlite3_column_int64(st, 1);
		t->completed = sqlite3_column_int64(st, 2);
		t->failed = sqlite3_column_int64(st, 3);
		t->duration_ms = sqlite3_column_int64(st, 4);
		for (int b = 0; b < TALLY_BUCKETS; b++)
			t->bucket[b] = sqlite3_column_int64(st, 5 + b);
	}
	if (rc != SQLITE_DONE)
		err = sq_fail(c, e, rc, "tallies");
	sqlite3_reset(st);
	sq_read_end(s, c);
	*out = v;
	return err;
}
