// SPDX-License-Identifier: MIT
/*
 * Claims. Those that wait at the same time are served together, in rounds: look for candidates, give each
 * claim its own (smallest order_key first, no task to two claims), make all of them running with one bulk of
 * compare-and-sets. Which of them were won is found as for any change. Whoever lost a candidate to
 * another process looks again, a little further down the queue each round, so that many processes do
 * not fight for the same heads.
 *
 * Ids from the queue in Redis need no search (claim_all); only when there are more than may be taken are they
 * looked up first.
 *
 * The store's own order: one loose scan of the index "claim" gives the lanes that have claimable tasks and
 * their signatures; then the heads of all fitting lanes come in one find that merges the lanes by order_key.
 */
#include "store_mongo_int.h"

#include "../base/clock.h"

#include "../base/limits.h"

#define ROUNDS		8
#define LANES_AT_ONCE	100	/* ranges that the server merges by itself: 200 at most */

struct lane {
	int64_t lane;
	char *sig;
};

struct candidate {
	char id[ID_TEXT];
	int64_t order_key;
};

struct mg_claim {
	const char (*ids)[ID_TEXT];
	int n_ids;
	const struct claim *c;
	struct task **out;
	int n;
	bool *fits;		/* by lane found */
	struct mg_list candidates;
	int next;		/* candidate to try */
	bool more;		/* there may be others than these */
	bool lost;		/* a candidate, in the last round */
};

/* --- candidates -------------------------------------------------------------------------------------------- */

static int by_order(const void *a, const void *b)
{
	const struct candidate *x = *(struct candidate *const *)a, *y = *(struct candidate *const *)b;

	if (x->order_key != y->order_key)
		return x->order_key < y->order_key ? -1 : 1;
	return strcmp(x->id, y->id);
}

static struct candidate *candidate_new(struct arena *a, const char *id, int64_t order_key)
{
	struct candidate *d = arena_new(a, struct candidate);

	if (snprintf(d->id, sizeof(d->id), "%s", id) < 0)
		d->id[0] = '\0';
	d->order_key = order_key;
	return d;
}

static void claimable(bson_t *filter)
{
	BSON_APPEND_UTF8(filter, "status", mg_status_names[TASK_PENDING]);
	BSON_APPEND_UTF8(filter, "hold", mg_hold_names[HOLD_NONE]);
}

/* Which of the ids may be taken. */
static enum err lookup_ids(struct mg_batch *b, struct mg_claim *m, struct error *e)
{
	const char **ids = arena_alloc(&b->scratch, sizeof(*ids) * (size_t)m->n_ids);
	bson_t filter = BSON_INITIALIZER, opts = BSON_INITIALIZER, sub;
	struct mg_cursor c;
	const bson_t *doc;

	for (int i = 0; i < m->n_ids; i++)
		ids[i] = m->ids[i];
	mg_ids(&filter, "_id", ids, m->n_ids);
	claimable(&filter);
	BSON_APPEND_DOCUMENT_BEGIN(&opts, "projection", &sub);
	BSON_APPEND_INT32(&sub, "lane", 1);
	BSON_APPEND_INT32(&sub, "lane_sig", 1);
	BSON_APPEND_INT32(&sub, "order_key", 1);
	bson_append_document_end(&opts, &sub);
	BSON_APPEND_UTF8(&opts, "hint", "_id_");
	enum err err = mg_find(b->s, b->client, "tasks", &filter, &opts, MG_LOCAL, &c, e);

	if (!err) {
		while ((doc = mg_next(&c))) {
			if (m->c->fits && !m->c->fits(m->c->arg, mg_doc_int(doc, "lane"), mg_doc_str(doc, "lane_sig")))
				continue;
			mg_list_add(&m->candidates, &b->scratch,
				    candidate_new(&b->scratch, mg_doc_id(doc), mg_doc_int(doc, "order_key")));
		}
		err = mg_end(&c, e);
	}
	if (m->candidates.n > 1)
		qsort(m->candidates.v, (size_t)m->candidates.n, sizeof(void *), by_order);
	bson_destroy(&filter);
	bson_destroy(&opts);
	return err;
}

/* Lanes with claimable tasks: the server skips from lane to lane in the index. */
static enum err find_lanes(struct mg_batch *b, struct mg_list *lanes, struct error *e)
{
	bson_t opts = BSON_INITIALIZER;
	bson_t *pipeline = BCON_NEW("pipeline", "[",
		"{", "$match", "{", "status", BCON_UTF8(mg_status_names[TASK_PENDING]),
		"hold", BCON_UTF8(mg_hold_names[HOLD_NONE]), "}", "}",
		"{", "$sort", "{", "lane", BCON_INT32(1), "order_key", BCON_INT32(1), "}", "}",
		"{", "$group", "{", "_id", BCON_UTF8("$lane"),
		"sig", "{", "$first", BCON_UTF8("$lane_sig"), "}", "}", "}", "]");
	struct mg_cursor c;
	const bson_t *doc;

	BSON_APPEND_UTF8(&opts, "hint", "claim");
	enum err err = mg_aggregate(b->s, b->client, "tasks", pipeline, &opts, MG_LOCAL, &c, e);

	if (!err) {
		while ((doc = mg_next(&c))) {
			struct lane *l = arena_new(&b->scratch, struct lane);

			l->lane = mg_doc_int(doc, "_id");
			l->sig = arena_strdup(&b->scratch, mg_doc_str(doc, "sig"));
			mg_list_add(lanes, &b->scratch, l);
		}
		err = mg_end(&c, e);
	}
	bson_destroy(pipeline);
	bson_destroy(&opts);
	return err;
}

/* The first `limit` claimable tasks of up to LANES_AT_ONCE lanes. */
static enum err heads(struct mg_batch *b, const int64_t *lanes, int n, int limit, struct mg_list *out, struct error *e)
{
	bson_t filter = BSON_INITIALIZER, opts = BSON_INITIALIZER, sub, arr;
	struct mg_cursor c;
	const bson_t *doc;
	const char *idx;
	char buf[16];

	claimable(&filter);
	BSON_APPEND_DOCUMENT_BEGIN(&filter, "lane", &sub);
	BSON_APPEND_ARRAY_BEGIN(&sub, "$in", &arr);
	for (int i = 0; i < n; i++) {
		bson_uint32_to_string((uint32_t)i, &idx, buf, sizeof(buf));
		BSON_APPEND_INT64(&arr, idx, lanes[i]);
	}
	bson_append_array_end(&sub, &arr);
	bson_append_document_end(&filter, &sub);
	BSON_APPEND_DOCUMENT_BEGIN(&opts, "sort", &sub);
	BSON_APPEND_INT32(&sub, "order_key", 1);
	BSON_APPEND_INT32(&sub, "_id", 1);
	bson_append_document_end(&opts, &sub);
	BSON_APPEND_DOCUMENT_BEGIN(&opts, "projection", &sub);
	BSON_APPEND_INT32(&sub, "order_key", 1);
	bson_append_document_end(&opts, &sub);
	BSON_APPEND_INT64(&opts, "limit", limit);
	BSON_APPEND_UTF8(&opts, "hint", "claim");
	enum err err = mg_find(b->s, b->client, "tasks", &filter, &opts, MG_LOCAL, &c, e);

	if (!err) {
		while ((doc = mg_next(&c)))
			mg_list_add(out, &b->scratch,
				    candidate_new(&b->scratch, mg_doc_id(doc), mg_doc_int(doc, "order_key")));
		err = mg_end(&c, e);
	}
	bson_destroy(&filter);
	bson_destroy(&opts);
	return err;
}

static int missing(const struct mg_claim *m)
{
	return m->c->max - m->n;
}

/* Candidates for all own-order claims to which the same lanes fit as to jobs[at]. */
static enum err find_heads(struct mg_batch *b, int at, const struct mg_list *lanes, int round, struct error *e)
{
	const bool *fits = b->jobs[at]->claim->fits;
	int64_t *some = arena_alloc(&b->scratch, sizeof(*some) * LANES_AT_ONCE);
	struct mg_list found = { 0 };
	int want = 0, n = 0, skip = 0, taken = 0;
	enum err err = OK;
	uint32_t r;

	for (int i = at; i < b->n; i++)
		if (b->jobs[i]->claim->fits && !memcmp(b->jobs[i]->claim->fits, fits, (size_t)lanes->n))
			want += missing(b->jobs[i]->claim);
	int slack = round ? 32 << round : 0;

	for (int i = 0; i < lanes->n && !err; i++) {
		if (fits[i])
			some[n++] = ((struct lane *)lanes->v[i])->lane;
		if (n == LANES_AT_ONCE || (n && i == lanes->n - 1)) {
			err = heads(b, some, n, want + slack, &found, e);
			n = 0;
		}
	}
	if (found.n > 1)
		qsort(found.v, (size_t)found.n, sizeof(void *), by_order);
	if (found.n > want && round) {
		random_bytes(&r, sizeof(r));
		skip = (int)(r % (uint32_t)(found.n - want + 1));
	}
	for (int i = at; i < b->n; i++) {
		struct mg_claim *m = b->jobs[i]->claim;

		if (!m->fits || memcmp(m->fits, fits, (size_t)lanes->n))
			continue;
		m->more = found.n >= want + slack;
		m->candidates = (struct mg_list){ 0 };
		m->next = 0;
		for (int k = missing(m); k > 0 && skip + taken < found.n; k--)
			mg_list_add(&m->candidates, &b->scratch, found.v[skip + taken++]);
		if (m != b->jobs[at]->claim)
			m->fits = NULL;		/* served; set again in the next round */
	}
	return err;
}

static bool open_claim(const struct mg_job *j, int round)
{
	const struct mg_claim *m = j->claim;

	return !j->err && missing(m) > 0 && (!round || m->lost || m->more);
}

static enum err find_own(struct mg_batch *b, struct mg_list *lanes, int round, struct error *e)
{
	enum err err = OK;

	if (!lanes->n)
		err = find_lanes(b, lanes, e);
	for (int i = 0; i < b->n && !err; i++) {
		struct mg_claim *m = b->jobs[i]->claim;

		m->fits = NULL;
		if (m->ids || !open_claim(b->jobs[i], round))
			continue;
		m->fits = arena_calloc(&b->scratch, (size_t)lanes->n + 1, sizeof(bool));
		for (int k = 0; k < lanes->n; k++) {
			const struct lane *l = lanes->v[k];

			m->fits[k] = !m->c->fits || m->c->fits(m->c->arg, l->lane, l->sig);
		}
	}
	for (int i = 0; i < b->n && !err; i++)
		if (b->jobs[i]->claim->fits)
			err = find_heads(b, i, lanes, round, e);
	return err;
}

/* --- taking -------------------------------------------------------------------------------------------------- */

static void claim_change(struct task_change *c, const struct claim *k, const char *id)
{
	*c = (struct task_change){ .if_status = ST(TASK_PENDING), .if_hold = 1U << HOLD_NONE, .if_fence = -1 };
	memcpy(c->id, id, sizeof(c->id));
	c->fields = TF_STATUS | TF_LEASE | TF_AGENT | TF_FENCE_BUMP | TF_ATTEMPT_BUMP | TF_PROGRESS | TF_STARTED;
	c->set.status = TASK_RUNNING;
	c->set.lease_expires_at = k->lease_until;
	c->set.assigned_at = c->set.started_at = c->set.updated_at = now_ms();
	if (snprintf(c->set.agent_id, sizeof(c->set.agent_id), "%s", k->agent_id) < 0)
		c->set.agent_id[0] = '\0';
}

/* Put each claim's candidates into the batch of changes; the claim they are for, by place. */
static void pick(struct mg_batch *b, struct mg_batch *changes, struct mg_job **of, int round)
{
	struct error e;

	error_init(&e, &b->scratch);
	for (int i = 0; i < b->n; i++) {
		struct mg_claim *m = b->jobs[i]->claim;
		int need = open_claim(b->jobs[i], round) ? missing(m) : 0;

		m->lost = false;
		while (need > 0 && m->next < m->candidates.n && changes->n < MG_BULK_OPS) {
			const struct candidate *d = m->candidates.v[m->next++];
			struct task_change *c = arena_new(&b->scratch, struct task_change);
			struct store_op *op = arena_new(&b->scratch, struct store_op);
			struct mg_job *j = mg_jobs(&b->scratch, 1);

			claim_change(c, m->c, d->id);
			*op = (struct store_op){ .kind = SOP_TASK_CHANGE, .change = c, .want_row = true };
			if (mg_job_init(j, op, b->jobs[i]->arena, &e) || !mg_batch_add(changes, j)) {
				mg_job_release(j);
				continue;
			}
			of[changes->n - 1] = b->jobs[i];
			need--;
		}
	}
}

/* The row is ours unless somebody has taken the task away again in between. */
static bool ours(const struct mg_claim *m, const struct task *row)
{
	return row && row->status == TASK_RUNNING && !strcmp(row->agent_id, m->c->agent_id);
}

static void collect(struct mg_batch *changes, struct mg_job **of)
{
	for (int i = 0; i < changes->n; i++) {
		struct mg_job *j = changes->jobs[i];
		struct mg_claim *m = of[i]->claim;

		if (!j->err && ours(m, j->op->row)) {
			m->out[m->n++] = j->op->row;
		} else {
			m->lost = true;
			if (j->err && j->err != ERR_CONFLICT)
				mg_job_fail(of[i], j->err, "%s", j->detail);
		}
		mg_job_release(j);
	}
}

static int rows_by_order(const void *a, const void *b)
{
	const struct task *x = *(struct task *const *)a, *y = *(struct task *const *)b;

	if (x->order_key != y->order_key)
		return x->order_key < y->order_key ? -1 : 1;
	return strcmp(x->id, y->id);
}

static enum err search(struct mg_batch *b, struct mg_list *lanes, int round, struct error *e)
{
	bool own = false;
	enum err err = OK;

	for (int i = 0; i < b->n && !err; i++) {
		struct mg_claim *m = b->jobs[i]->claim;

		if (!open_claim(b->jobs[i], round))
			continue;
		if (!m->ids)
			own = true;
		else if (!round)
			err = lookup_ids(b, m, e);
		m->more = m->ids && m->next < m->candidates.n;
	}
	return !err && own ? find_own(b, lanes, round, e) : err;
}

void mg_run_claims(struct mg_batch *b)
{
	struct mg_batch *changes = arena_new(&b->scratch, struct mg_batch);
	struct mg_job **of = arena_alloc(&b->scratch, sizeof(*of) * MG_BULK_OPS);
	struct mg_list lanes = { 0 };
	struct error e;
	enum err err = OK;

	error_init(&e, &b->scratch);
	changes->s = b->s;
	changes->client = b->client;
	changes->session = b->session;
	arena_init(&changes->scratch);
	for (int round = 0; round < ROUNDS && !err; round++) {
		err = search(b, &lanes, round, &e);
		mg_batch_clear(changes);
		if (!err)
			pick(b, changes, of, round);
		if (!changes->n)
			break;
		mg_run_changes(changes);
		collect(changes, of);
		arena_reset(&changes->scratch);
	}
	arena_release(&changes->scratch);
	for (int i = 0; i < b->n; i++) {
		struct mg_job *j = b->jobs[i];
		struct mg_claim *m = j->claim;

		if (err && !j->err)
			mg_job_fail(j, err, "%s", e.detail);
		/* What was won is durable: it must reach its agent. */
		if (m->n)
			j->err = OK;
		if (m->n > 1)
			qsort(m->out, (size_t)m->n, sizeof(*m->out), rows_by_order);
	}
}

/* The ids that were refused only because their lane had not been seen: keep them for another try. */
static int learn_lanes(struct mongo_store *s, const struct claim *c, const struct mg_job *jobs, const char **ids, int n)
{
	int again = 0;

	for (int i = 0; i < n; i++) {
		const struct task *row = jobs[i].err == ERR_CONFLICT ? jobs[i].op->row : NULL;
		bool seen = false;

		if (!row || row->status != TASK_PENDING || row->hold != HOLD_NONE || !jobs[i].lanes)
			continue;
		for (int k = 0; k < jobs[i].n_lanes; k++)
			seen |= jobs[i].lanes[k] == row->lane;
		if (seen)
			continue;
		mg_lanes_learn(s->lanes, row->lane, row->lane_sig);
		if (c->fits(c->arg, row->lane, row->lane_sig))
			ids[again++] = ids[i];
	}
	return again;
}

/*
 * Ids of which all may be taken need no search: they are changes like any other, and ride with those. Those
 * to try again are left in ids.
 */
static enum err claim_as_changes(struct mongo_store *s, struct mg_claim *m, const char **ids, int *n_ids,
				 struct arena *a, struct error *e)
{
	int n = *n_ids, n_lanes = 0;
	struct mg_job *jobs = mg_jobs(a, n);
	struct mg_job **order = arena_calloc(a, (size_t)n, sizeof(*order));
	struct store_op *ops = arena_calloc(a, (size_t)n, sizeof(*ops));
	struct task_change *c = arena_calloc(a, (size_t)n, sizeof(*c));
	int64_t *lanes = NULL;
	enum err err = OK;

	if (m->c->fits)
		n_lanes = mg_lanes_fitting(s->lanes, m->c, a, &lanes);
	for (int i = 0; i < n; i++) {
		claim_change(&c[i], m->c, ids[i]);
		ops[i] = (struct store_op){ .kind = SOP_TASK_CHANGE, .change = &c[i], .want_row = true };
		order[i] = &jobs[i];
		if (mg_job_init(&jobs[i], &ops[i], a, e))
			err = ERR_INTERNAL;
		if (lanes)
			mg_job_lanes(&jobs[i], lanes, n_lanes);
	}
	if (!err)
		mg_submit(s, order, n);
	for (int i = 0; i < n; i++) {
		if (!err && !jobs[i].err && ours(m, ops[i].row))
			m->out[m->n++] = ops[i].row;
		mg_job_release(&jobs[i]);
	}
	for (int i = 0; !err && !m->n && i < n; i++)
		if (jobs[i].err && jobs[i].err != ERR_CONFLICT)
			err = mg_error(e, jobs[i].err, "%s", jobs[i].detail);
	*n_ids = err ? 0 : learn_lanes(s, m->c, jobs, ids, n);
	return err;
}

static enum err claim_all(struct mongo_store *s, struct mg_claim *m, struct arena *a, struct error *e)
{
	const char **ids = arena_alloc(a, sizeof(*ids) * (size_t)m->n_ids);
	int n = m->n_ids;
	enum err err;

	for (int i = 0; i < n; i++)
		ids[i] = m->ids[i];
	err = claim_as_changes(s, m, ids, &n, a, e);
	if (!err && n)
		err = claim_as_changes(s, m, ids, &n, a, e);
	if (m->n > 1)
		qsort(m->out, (size_t)m->n, sizeof(*m->out), rows_by_order);
	/* What was won is durable: it must reach its agent. */
	return m->n ? OK : err;
}

enum err mg_claim_op(struct store *base, const char (*ids)[ID_TEXT], int n_ids, const struct claim *c,
		     struct arena *a, struct task **out, int *n, struct error *e)
{
	struct mg_claim m = { .ids = ids, .n_ids = n_ids, .c = c, .out = out };
	struct mg_job j = { .queue = MGQ_CLAIM, .arena = a, .claim = &m, .bytes = 4096 };
	struct mg_job *one = &j;

	/* All may be taken, and the lanes are few enough to be named. */
	if (ids && n_ids <= c->max && (!c->fits || !mg_lanes_too_many(mg_of(base)->lanes))) {
		enum err err = claim_all(mg_of(base), &m, a, e);

		*n = m.n;
		return err;
	}
	mg_submit(mg_of(base), &one, 1);
	*n = m.n;
	return j.err ? mg_error(e, j.err, "%s", j.detail) : OK;
}
