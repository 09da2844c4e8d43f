// SPDX-License-Identifier: MIT
/* Units of work: jobs, bulks of them, and inserts and changes of tasks. */
#include "store_mongo_int.h"

#include "../base/clock.h"

int64_t mg_token(void)
{
	static _Atomic uint64_t counter;
	static _Atomic uint64_t seed;
	uint64_t x = seed;

	if (!x) {
		random_bytes(&x, sizeof(x));
		x |= 1;
		seed = x;
	}
	/* splitmix64: numbers that do not come back, different in each process. */
	x += ++counter * 0x9e3779b97f4a7c15u;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return (int64_t)(x ^ x >> 31);
}

void mg_list_add(struct mg_list *l, struct arena *a, void *item)
{
	if (l->n == l->cap) {
		int cap = l->cap ? l->cap * 2 : 16;
		void **v = arena_alloc(a, (size_t)cap * sizeof(*v));

		if (l->n)
			memcpy(v, l->v, (size_t)l->n * sizeof(*v));
		l->v = v;
		l->cap = cap;
	}
	l->v[l->n++] = item;
}

/* --- jobs ------------------------------------------------------------------------------------------------ */

static void init_rec(struct mg_job *j, const struct store_op *op)
{
	const struct record *r = op->rec;

	j->queue = MGQ_REC + (int)r->kind;
	j->key = r->id;
	if (op->kind == SOP_REC_PUT && op->expect_rev == REV_ABSENT) {
		mg_rec_encode(r, 1, &j->doc);
		return;
	}
	BSON_APPEND_UTF8(&j->doc, "_id", r->id);
	if (op->expect_rev != REV_ANY)
		BSON_APPEND_INT64(&j->doc, "rev", op->expect_rev);
	if (op->kind == SOP_REC_PUT)
		mg_rec_update(r, j->token, &j->update);
}

struct mg_job *mg_jobs(struct arena *a, int n)
{
	/* bson_t wants to be aligned to more than an arena does. */
	uintptr_t p = (uintptr_t)arena_calloc(a, (size_t)n + 1, sizeof(struct mg_job));

	return (struct mg_job *)((p + _Alignof(struct mg_job) - 1) & ~(uintptr_t)(_Alignof(struct mg_job) - 1));
}

enum err mg_job_init(struct mg_job *j, struct store_op *op, struct arena *a, struct error *e)
{
	*j = (struct mg_job){ .op = op, .arena = a, .token = mg_token() };
	bson_init(&j->doc);
	bson_init(&j->update);
	switch (op->kind) {
	case SOP_TASK_INSERT:
		j->queue = MGQ_INSERT;
		j->key = op->task->id;
		mg_task_encode(op->task, &j->doc);
		break;
	case SOP_TASK_CHANGE:
		j->queue = MGQ_CHANGE;
		j->key = op->change->id;
		BSON_APPEND_UTF8(&j->doc, "_id", j->key);
		mg_change_filter(op->change, &j->doc);
		mg_change_update(op->change, j->token, &j->update);
		break;
	case SOP_REC_PUT:
	case SOP_REC_DELETE:
		init_rec(j, op);
		break;
	}
	j->bytes = (size_t)j->doc.len + j->update.len;
	if (j->bytes > MG_DOC_MAX)
		return mg_error(e, ERR_TOO_LARGE, "%s %s would take %zu bytes; a MongoDB document holds 16 MB",
				j->queue < MGQ_REC ? "task" : mg_kind((enum record_kind)(j->queue - MGQ_REC))->coll,
				j->key, j->bytes);
	return OK;
}

void mg_job_lanes(struct mg_job *j, const int64_t *lanes, int n)
{
	bson_t in, arr;
	const char *idx;
	char buf[16];

	j->lanes = lanes;
	j->n_lanes = n;
	BSON_APPEND_DOCUMENT_BEGIN(&j->doc, "lane", &in);
	BSON_APPEND_ARRAY_BEGIN(&in, "$in", &arr);
	for (int i = 0; i < n; i++) {
		bson_uint32_to_string((uint32_t)i, &idx, buf, sizeof(buf));
		BSON_APPEND_INT64(&arr, idx, lanes[i]);
	}
	bson_append_array_end(&in, &arr);
	bson_append_document_end(&j->doc, &in);
}

void mg_job_release(struct mg_job *j)
{
	bson_destroy(&j->doc);
	bson_destroy(&j->update);
}

/* --- units ------------------------------------------------------------------------------------------------- */

static int store_of(const struct mg_job *j)
{
	return j->queue < MGQ_REC ? 0 : j->queue;
}

static int by_document(const void *a, const void *b)
{
	const struct mg_job *x = *(struct mg_job *const *)a, *y = *(struct mg_job *const *)b;
	int d = store_of(x) - store_of(y);

	if (!d)
		d = strcmp(x->key, y->key);
	return d ? d : (x > y) - (x < y);
}

/* seq is the queue's; until then it carries the wave. */
static int by_wave(const void *a, const void *b)
{
	const struct mg_job *x = *(struct mg_job *const *)a, *y = *(struct mg_job *const *)b;

	if (x->seq != y->seq)
		return x->seq < y->seq ? -1 : 1;
	return x->queue != y->queue ? x->queue - y->queue : (x > y) - (x < y);
}

void mg_plan_sort(struct mg_plan *p)
{
	qsort(p->order, (size_t)p->n, sizeof(*p->order), by_wave);
	for (int i = 0; i < p->n; i++)
		p->wave[i] = (int)p->order[i]->seq;
}

static void plan(struct mg_plan *p, struct arena *a)
{
	p->order = arena_alloc(a, (size_t)p->n * sizeof(*p->order));
	p->wave = arena_calloc(a, (size_t)p->n, sizeof(*p->wave));
	for (int i = 0; i < p->n; i++)
		p->order[i] = &p->jobs[i];
	if (p->n == 1)
		return;
	qsort(p->order, (size_t)p->n, sizeof(*p->order), by_document);
	for (int i = 1; i < p->n; i++) {
		struct mg_job *x = p->order[i - 1], *y = p->order[i];

		if (store_of(x) == store_of(y) && !strcmp(x->key, y->key))
			y->seq = x->seq + 1;
	}
	mg_plan_sort(p);
}

static void submit_waves(struct mongo_store *s, const struct mg_plan *p)
{
	for (int i = 0, end; i < p->n; i = end) {
		for (end = i + 1; end < p->n && p->wave[end] == p->wave[i];)
			end++;
		mg_submit(s, p->order + i, end - i);
	}
}

/* One answer for all ops of apply_each. */
static enum err sum_up(const struct mg_plan *p, struct error *e)
{
	const struct mg_job *bad = NULL;
	bool some = false;

	for (int i = 0; i < p->n; i++) {
		const struct mg_job *j = &p->jobs[i];

		if (!j->err)
			some = true;
		else if (j->err != ERR_CONFLICT && (!bad || j->err == ERR_UNCERTAIN))
			bad = j;
	}
	if (!bad)
		return OK;
	return mg_error(e, some ? ERR_UNCERTAIN : bad->err, "%s", bad->detail);
}

enum err mg_apply(struct store *base, struct store_unit *u, bool each)
{
	struct mongo_store *s = mg_of(base);
	struct mg_plan p = { .n = (int)u->n };
	enum err err = OK;
	int made = 0;

	p.jobs = mg_jobs(u->arena, p.n);
	while (made < p.n && !err) {
		err = mg_job_init(&p.jobs[made], &u->ops[made], u->arena, u->error);
		made++;
	}
	if (!err) {
		plan(&p, u->arena);
		if (u->n == 1 || each)
			submit_waves(s, &p);
		if (u->n == 1 && !each) {
			err = p.jobs[0].err;
			if (err)
				mg_error(u->error, err, "%s", p.jobs[0].detail);
		} else {
			err = each ? sum_up(&p, u->error) : mg_unit_run(s, &p, u->error);
		}
	}
	while (made)
		mg_job_release(&p.jobs[--made]);
	return err;
}

void mg_run(struct mg_batch *b)
{
	switch (b->jobs[0]->queue) {
	case MGQ_INSERT:
		mg_run_inserts(b);
		break;
	case MGQ_CHANGE:
		mg_run_changes(b);
		break;
	case MGQ_CLAIM:
		mg_run_claims(b);
		break;
	default:
		mg_run_recs(b);
	}
}

/* --- bulks --------------------------------------------------------------------------------------------------- */

void mg_bulk_start(struct mg_bulk *k, struct mg_batch *b, const char *coll)
{
	bson_t opts = BSON_INITIALIZER;
	bson_error_t be;

	*k = (struct mg_bulk){ .b = b };
	k->sent = arena_alloc(&b->scratch, sizeof(*k->sent) * MG_BULK_OPS);
	k->coll = mg_coll(b->s, b->client, coll);
	BSON_APPEND_BOOL(&opts, "ordered", false);
	if (!mongoc_client_session_append(b->session, &opts, &be))
		k->err = ERR_INTERNAL;
	k->op = mongoc_collection_create_bulk_operation_with_opts(k->coll, &opts);
	bson_destroy(&opts);
}

void mg_bulk_insert(struct mg_bulk *k, struct mg_job *j)
{
	bson_error_t be;

	if (mongoc_bulk_operation_insert_with_opts(k->op, &j->doc, NULL, &be))
		k->sent[k->n++] = j;
	else
		mg_job_fail(j, ERR_INTERNAL, "document refused: %s", be.message);
}

void mg_bulk_update(struct mg_bulk *k, struct mg_job *j, bool upsert)
{
	bson_t opts = BSON_INITIALIZER;
	bson_error_t be;

	if (upsert)
		BSON_APPEND_BOOL(&opts, "upsert", true);
	if (mongoc_bulk_operation_update_one_with_opts(k->op, &j->doc, &j->update, &opts, &be))
		k->sent[k->n++] = j;
	else
		mg_job_fail(j, ERR_INTERNAL, "update refused: %s", be.message);
	bson_destroy(&opts);
}

/* writeErrors of the reply into the jobs; how many there are. */
static int take_write_errors(struct mg_bulk *k, const bson_t *reply)
{
	bson_iter_t it, arr, one;
	int n = 0;

	if (!bson_iter_init_find(&it, reply, "writeErrors") || !BSON_ITER_HOLDS_ARRAY(&it) ||
	    !bson_iter_recurse(&it, &arr))
		return 0;
	for (; bson_iter_next(&arr); n++) {
		int64_t at = -1;
		int32_t code = 0;
		const char *message = "";

		if (!BSON_ITER_HOLDS_DOCUMENT(&arr) || !bson_iter_recurse(&arr, &one))
			continue;
		while (bson_iter_next(&one)) {
			if (!strcmp(bson_iter_key(&one), "index"))
				at = bson_iter_as_int64(&one);
			else if (!strcmp(bson_iter_key(&one), "code"))
				code = (int32_t)bson_iter_as_int64(&one);
			else if (!strcmp(bson_iter_key(&one), "errmsg") && BSON_ITER_HOLDS_UTF8(&one))
				message = bson_iter_utf8(&one, NULL);
		}
		if (at >= 0 && at < k->n)
			mg_job_fail(k->sent[at], mg_code_failed(code, message), "MongoDB: %s", message);
	}
	return n;
}

static void fail_sent(struct mg_bulk *k, enum err err, const char *message)
{
	k->err = err;
	for (int i = 0; i < k->n; i++)
		mg_job_fail(k->sent[i], err, "MongoDB: %s", message);
}

void mg_bulk_end(struct mg_bulk *k)
{
	bson_t reply;
	bson_error_t be = { 0 };

	if (k->err) {
		fail_sent(k, k->err, "session lost");
	} else if (k->n) {
		bool good = mongoc_bulk_operation_execute(k->op, &reply, &be);
		bool refused = !good && take_write_errors(k, &reply);

		if (k->b->in_txn && mongoc_error_has_label(&reply, "TransientTransactionError"))
			k->b->transient = true;
		if (mg_unconfirmed(&reply))
			fail_sent(k, ERR_UNCERTAIN, be.message[0] ? be.message : "write concern not met");
		else if (!good && !refused)
			fail_sent(k, mg_write_failed(&be, &reply), be.message);
		k->matched = mg_doc_int(&reply, "nMatched") + mg_doc_int(&reply, "nUpserted");
		bson_destroy(&reply);
	}
	for (int i = 0; i < k->n; i++)
		k->good += !k->sent[i]->err;
	mongoc_bulk_operation_destroy(k->op);
	mongoc_collection_destroy(k->coll);
}

enum err mg_modify(struct mg_batch *b, const char *coll, struct mg_job *j, mongoc_find_and_modify_flags_t flags,
		   const bson_t *fields, bson_t *doc)
{
	mongoc_find_and_modify_opts_t *opts = mongoc_find_and_modify_opts_new();
	mongoc_collection_t *c = mg_coll(b->s, b->client, coll);
	bson_t extra = BSON_INITIALIZER, reply, value;
	bson_error_t be = { 0 };
	bson_iter_t it;

	bson_init(doc);
	mongoc_find_and_modify_opts_set_flags(opts, flags);
	if (!(flags & MONGOC_FIND_AND_MODIFY_REMOVE))
		mongoc_find_and_modify_opts_set_update(opts, &j->update);
	if (fields)
		mongoc_find_and_modify_opts_set_fields(opts, fields);
	if (mongoc_client_session_append(b->session, &extra, &be))
		mongoc_find_and_modify_opts_append(opts, &extra);
	bool good = mongoc_collection_find_and_modify_with_opts(c, &j->doc, opts, &reply, &be);

	j->err = OK;
	if (b->in_txn && mongoc_error_has_label(&reply, "TransientTransactionError"))
		b->transient = true;
	if (mg_unconfirmed(&reply))
		mg_job_fail(j, ERR_UNCERTAIN, "MongoDB: %s", be.message[0] ? be.message : "write concern not met");
	else if (!good)
		mg_job_fail(j, mg_write_failed(&be, &reply), "MongoDB: %s", be.message);
	else if (bson_iter_init_find(&it, &reply, "value") && BSON_ITER_HOLDS_DOCUMENT(&it)) {
		const uint8_t *data;
		uint32_t len;

		bson_iter_document(&it, &len, &data);
		if (bson_init_static(&value, data, len)) {
			bson_destroy(doc);
			bson_copy_to(&value, doc);
		}
	}
	bson_destroy(&extra);
	bson_destroy(&reply);
	mongoc_collection_destroy(c);
	mongoc_find_and_modify_opts_destroy(opts);
	return j->err;
}

enum err mg_batch_read(struct mg_batch *b, const char *coll, const bson_t *filter, bson_t *opts,
		       struct mg_cursor *c, struct error *e)
{
	bson_error_t be;

	if (!mongoc_client_session_append(b->session, opts, &be))
		return mg_error(e, ERR_INTERNAL, "session: %s", be.message);
	return mg_find(b->s, b->client, coll, filter, opts, b->in_txn ? MG_IN_TXN : MG_MAJORITY, c, e);
}
