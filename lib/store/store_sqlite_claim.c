// SPDX-License-Identifier: MIT
/*
 * Claims. Tasks of one lane fit the same agents, so a claim asks `fits` once a lane, and takes the
 * smallest order_key among the heads of the lanes that fit. Lanes with something to claim are found
 * by skipping from lane to lane in the index tasks_claim: the cost grows with their number, not with
 * the number of tasks that wait.
 */
#include "store_sqlite.h"

/* --- signatures of lanes ------------------------------------------------------------------------- */

#define BOOK_BUCKETS 1024	/* power of two */
#define BOOK_MAX 65536		/* lanes remembered; more are asked for again */

struct lane_sig {
	struct lane_sig *next;
	int64_t lane;
	bool fresh;		/* written by the transaction that is running */
	char sig[];
};

struct sq_book {
	struct lane_sig *bucket[BOOK_BUCKETS];
	int n, fresh;
};

struct sq_book *sq_book_new(void)
{
	return xcalloc(1, sizeof(struct sq_book));
}

static void forget(struct sq_book *b, bool fresh_only)
{
	for (int i = 0; i < BOOK_BUCKETS; i++) {
		struct lane_sig **p = &b->bucket[i], *l;

		while ((l = *p)) {
			if (fresh_only && !l->fresh) {
				p = &l->next;
				continue;
			}
			*p = l->next;
			free(l);
			b->n--;
		}
	}
	b->fresh = 0;
}

void sq_book_free(struct sq_book *b)
{
	if (!b)
		return;
	forget(b, false);
	free(b);
}

static struct lane_sig **bucket_of(struct sq_book *b, int64_t lane)
{
	uint64_t h = (uint64_t)lane * 0x9e3779b97f4a7c15U;

	return &b->bucket[h >> 32 & (BOOK_BUCKETS - 1)];
}

static struct lane_sig *find(struct sq_book *b, int64_t lane)
{
	for (struct lane_sig *l = *bucket_of(b, lane); l; l = l->next)
		if (l->lane == lane)
			return l;
	return NULL;
}

static struct lane_sig *remember(struct sq_book *b, int64_t lane, const char *sig, size_t n, bool fresh)
{
	struct lane_sig *l = xmalloc(sizeof(*l) + n + 1), **head = bucket_of(b, lane);

	*l = (struct lane_sig){ .next = *head, .lane = lane, .fresh = fresh };
	memcpy(l->sig, sig, n);
	l->sig[n] = '\0';
	*head = l;
	b->n++;
	b->fresh += fresh;
	return l;
}

void sq_book_end(struct sq_book *b, bool committed)
{
	if (!committed)
		forget(b, true);
	if (b->n > BOOK_MAX) {
		forget(b, false);
	} else if (b->fresh) {
		for (int i = 0; i < BOOK_BUCKETS; i++)
			for (struct lane_sig *l = b->bucket[i]; l; l = l->next)
				l->fresh = false;
		b->fresh = 0;
	}
}

void sq_book_undo(struct sq_book *b)
{
	if (b->fresh)
		forget(b, true);
}

enum err sq_book_lane(struct sq_group *g, int64_t lane, const char *sig, struct error *e)
{
	sqlite3_stmt *st;
	int rc;

	if (!sig || find(g->book, lane))
		return OK;
	st = sq_st(g->c, SQ_LANE_PUT);
	sqlite3_bind_int64(st, 1, lane);
	sq_bind_text(st, 2, sig);
	rc = sq_run(st);
	if (rc != SQLITE_DONE)
		return sq_fail(g->c, e, rc, "lane");
	remember(g->book, lane, sig, strlen(sig), true);
	return OK;
}

static int signature(struct sq_group *g, int64_t lane, const char **sig)
{
	struct lane_sig *l = find(g->book, lane);

	if (!l) {
		sqlite3_stmt *st = sq_st(g->c, SQ_LANE_SIG);

		sqlite3_bind_int64(st, 1, lane);
		int rc = sqlite3_step(st);
		const char *text = rc == SQLITE_ROW ? (const char *)sqlite3_column_text(st, 0) : "";

		if (rc == SQLITE_ROW || rc == SQLITE_DONE)
			l = remember(g->book, lane, text ? text : "", text ? strlen(text) : 0, false);
		sqlite3_reset(st);
		if (!l)
			return rc;
	}
	*sig = l->sig;
	return SQLITE_DONE;
}

/* --- the store's own order ------------------------------------------------------------------------- */

#define AHEAD 32	/* heads of a lane that are read at once */

struct head {
	int64_t key;
	struct sq_id id;
};

struct lane {
	int64_t lane;
	struct head ahead[AHEAD];
	int n, pos;
	bool end;		/* the lane has no more than what is in ahead */
	struct lane *next;
};

struct claim_job {
	const char (*ids)[ID_TEXT];
	int n_ids;
	const struct claim *c;
	struct arena *a;
	struct task **out;
	int n;
};

static int refill(struct sq_group *g, struct lane *l, int want)
{
	static const struct sq_id zero;
	int64_t key = l->n ? l->ahead[l->n - 1].key : INT64_MIN;
	struct sq_id after = l->n ? l->ahead[l->n - 1].id : zero;
	sqlite3_stmt *st = sq_st(g->c, SQ_LANE_HEAD);
	int rc;

	if (want > AHEAD)
		want = AHEAD;
	sqlite3_bind_int64(st, 1, l->lane);
	sqlite3_bind_int64(st, 2, key);
	sqlite3_bind_blob(st, 3, after.b, 16, SQLITE_STATIC);
	sqlite3_bind_int(st, 4, want);
	l->n = l->pos = 0;
	while ((rc = sqlite3_step(st)) == SQLITE_ROW && l->n < want) {
		struct head *h = &l->ahead[l->n++];

		h->key = sqlite3_column_int64(st, 0);
		memcpy(h->id.b, sqlite3_column_blob(st, 1), 16);
	}
	sqlite3_reset(st);
	l->end = l->n < want;
	return rc == SQLITE_ROW ? SQLITE_DONE : rc;
}

/* All lanes that have claimable tasks and fit. */
static int fitting_lanes(struct sq_group *g, const struct claim *c, struct lane **out)
{
	int64_t from = INT64_MIN;

	*out = NULL;
	for (;;) {
		sqlite3_stmt *st = sq_st(g->c, SQ_LANE_NEXT);
		const char *sig = NULL;

		sqlite3_bind_int64(st, 1, from);
		int rc = sqlite3_step(st);
		int64_t lane = rc == SQLITE_ROW ? sqlite3_column_int64(st, 0) : 0;

		sqlite3_reset(st);
		if (rc == SQLITE_ROW)
			rc = signature(g, lane, &sig);
		else
			return rc;
		if (rc != SQLITE_DONE)
			return rc;
		if (!c->fits || c->fits(c->arg, lane, sig)) {
			struct lane *l = arena_new(&g->scratch, struct lane);

			l->lane = lane;
			l->next = *out;
			*out = l;
			rc = refill(g, l, c->max);
			if (rc != SQLITE_DONE)
				return rc;
		}
		if (lane == INT64_MAX)
			return SQLITE_DONE;
		from = lane + 1;
	}
}

static bool before(const struct head *x, const struct head *y)
{
	return x->key != y->key ? x->key < y->key : memcmp(x->id.b, y->id.b, 16) < 0;
}

static struct lane *smallest(struct lane *lanes)
{
	struct lane *best = NULL;

	for (struct lane *l = lanes; l; l = l->next)
		if (l->pos < l->n && (!best || before(&l->ahead[l->pos], &best->ahead[best->pos])))
			best = l;
	return best;
}

/* --- taking one task ------------------------------------------------------------------------------- */

#define CLAIM_FIELDS (TF_STATUS | TF_LEASE | TF_AGENT | TF_FENCE_BUMP | TF_ATTEMPT_BUMP | TF_PROGRESS | TF_STARTED)

/* t is claimable; make it the agent's. */
static enum err take(struct sq_group *g, struct claim_job *j, struct task *t, struct error *e)
{
	struct task was = *t;

	t->status = TASK_RUNNING;
	t->fence++;
	t->attempt++;
	snprintf(t->agent_id, sizeof(t->agent_id), "%s", j->c->agent_id);
	t->assigned_at = t->started_at = t->updated_at = j->c->now;
	t->progress = 0;
	t->lease_expires_at = j->c->lease_until;
	enum err err = sq_task_update(g, t, CLAIM_FIELDS, 0, e);

	if (err)
		return err;
	sq_count_move(g->counts, &was, t);
	j->out[j->n++] = t;
	return OK;
}

static enum err claim_in_order(struct sq_group *g, struct claim_job *j, struct error *e)
{
	struct lane *lanes, *l;
	int rc = fitting_lanes(g, j->c, &lanes);

	while (rc == SQLITE_DONE && j->n < j->c->max && (l = smallest(lanes))) {
		struct task *t;

		rc = sq_task_fetch(g->c, l->ahead[l->pos++].id.b, TASK_COLS_ALL, j->a, &t);
		if (rc != SQLITE_ROW)
			break;
		enum err err = take(g, j, t, e);

		if (err)
			return err;
		rc = SQLITE_DONE;
		if (l->pos == l->n && !l->end)
			rc = refill(g, l, j->c->max - j->n);
	}
	return rc == SQLITE_DONE ? OK : sq_fail(g->c, e, rc, "claim");
}

static enum err claim_ids(struct sq_group *g, struct claim_job *j, struct error *e)
{
	for (int i = 0; i < j->n_ids && j->n < j->c->max; i++) {
		const char *sig = "";
		struct sq_id id;
		struct task *t;

		if (!id_to_bytes(j->ids[i], id.b))
			continue;
		int rc = sq_task_fetch(g->c, id.b, TASK_COLS_ALL, j->a, &t);

		if (rc == SQLITE_ROW && (t->status != TASK_PENDING || t->hold != HOLD_NONE))
			continue;
		if (rc == SQLITE_ROW) {
			int sig_rc = signature(g, t->lane, &sig);

			rc = sig_rc == SQLITE_DONE ? rc : sig_rc;
		}
		if (rc == SQLITE_DONE)
			continue;
		if (rc != SQLITE_ROW)
			return sq_fail(g->c, e, rc, "claim");
		if (j->c->fits && !j->c->fits(j->c->arg, t->lane, sig))
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
