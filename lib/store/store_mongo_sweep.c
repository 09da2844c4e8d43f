// SPDX-License-Identifier: MIT
/* Changes of many tasks by what they have in common, and retention. */
#include "store_mongo_int.h"

#define PURGE_AT_ONCE	100	/* tasks in one transaction, with their logs */
#define SWEEP_TRIES	5

/* --- sweep --------------------------------------------------------------------------------------------------- */

struct sweep {
	const char *execution_id, *agent_id;
	const struct task_change *c;
	int limit;
	struct mg_list ids;
	struct mg_list rows;
};

/* Ids of tasks that fulfil the conditions now. */
static enum err find_ids(struct mongo_store *s, struct sweep *w, struct arena *a, struct error *e)
{
	bson_t filter = BSON_INITIALIZER, opts = BSON_INITIALIZER, sub;
	struct mg_cursor c;
	const bson_t *doc;

	if (w->execution_id)
		BSON_APPEND_UTF8(&filter, "execution_id", w->execution_id);
	if (w->agent_id && (!w->c->if_agent || strcmp(w->c->if_agent, w->agent_id) != 0))
		BSON_APPEND_UTF8(&filter, "assigned_agent_id", w->agent_id);
	mg_change_filter(w->c, &filter);
	BSON_APPEND_INT64(&opts, "limit", w->limit);
	BSON_APPEND_UTF8(&opts, "hint", w->execution_id ? "execution" : "agent");
	BSON_APPEND_DOCUMENT_BEGIN(&opts, "projection", &sub);
	BSON_APPEND_INT32(&sub, "_id", 1);
	bson_append_document_end(&opts, &sub);
	w->ids.n = 0;
	enum err err = mg_find(s, NULL, "tasks", &filter, &opts, MG_LOCAL, &c, e);

	if (!err) {
		while ((doc = mg_next(&c)))
			mg_list_add(&w->ids, a, arena_strdup(a, mg_doc_id(doc)));
		err = mg_end(&c, e);
	}
	bson_destroy(&filter);
	bson_destroy(&opts);
	return err;
}

/* The changes of up to a bulk's worth of the ids. */
static enum err change_some(struct mg_batch *b, struct sweep *w, int from, struct arena *a, struct error *e)
{
	enum err err = OK;

	mg_batch_clear(b);
	for (int i = from; i < w->ids.n && b->n < MG_BULK_OPS && !err; i++) {
		struct task_change *c = arena_new(&b->scratch, struct task_change);
		struct store_op *op = arena_new(&b->scratch, struct store_op);
		struct mg_job *j = mg_jobs(&b->scratch, 1);

		*c = *w->c;
		if (!c->if_agent)
			c->if_agent = w->agent_id;
		if (snprintf(c->id, sizeof(c->id), "%s", (const char *)w->ids.v[i]) < 0)
			c->id[0] = '\0';
		*op = (struct store_op){ .kind = SOP_TASK_CHANGE, .change = c, .want_row = true };
		err = mg_job_init(j, op, a, e);
		j->brief = true;
		if (err || !mg_batch_add(b, j))
			mg_job_release(j);
	}
	if (b->n && !err)
		mg_run_changes(b);
	for (int i = 0; i < b->n; i++) {
		struct mg_job *j = b->jobs[i];

		if (!j->err && j->op->row)
			mg_list_add(&w->rows, a, j->op->row);
		else if (j->err && j->err != ERR_CONFLICT && !err)
			err = mg_error(e, j->err, "%s", j->detail);
		mg_job_release(j);
	}
	return err;
}

static enum err sweep_in(struct mg_batch *b, struct sweep *w, struct arena *a, struct error *e)
{
	/* What others took away in between is no end: 0 changed tells the caller that nothing is left. */
	for (int tries = 0; tries < SWEEP_TRIES && !w->rows.n; tries++) {
		enum err err = find_ids(b->s, w, a, e);

		if (err || !w->ids.n)
			return err;
		for (int from = 0; from < w->ids.n && !err; from += MG_BULK_OPS) {
			err = change_some(b, w, from, a, e);
			arena_reset(&b->scratch);
		}
		/* Rows that were changed must be told of. */
		if (err)
			return w->rows.n ? OK : err;
	}
	return OK;
}

enum err mg_tasks_sweep(struct store *base, const char *execution_id, const char *agent_id,
			const struct task_change *c, int limit, struct arena *a, struct task ***out, int *n,
			struct error *e)
{
	struct mongo_store *s = mg_of(base);
	struct sweep w = { .execution_id = execution_id, .agent_id = agent_id, .c = c, .limit = limit };
	struct mg_batch *b = xcalloc(1, sizeof(*b));
	enum err err = ERR_UNAVAILABLE;
	bson_error_t be;

	b->s = s;
	arena_init(&b->scratch);
	b->client = mg_client(s, e);
	if (b->client) {
		b->session = mongoc_client_start_session(b->client, NULL, &be);
		if (b->session) {
			err = sweep_in(b, &w, a, e);
			mongoc_client_session_destroy(b->session);
		} else {
			err = mg_error(e, mg_write_failed(&be, NULL), "session: %s", be.message);
		}
		mg_client_back(s, b->client);
	}
	arena_release(&b->scratch);
	free(b);
	if (!err) {
		*out = (struct task **)w.rows.v;
		*n = w.rows.n;
	}
	return err;
}

/* --- retention ----------------------------------------------------------------------------------------------- */

struct purge {
	int64_t before;
	uint32_t classes;
	int limit, deleted;
};

static void ended_before(const struct purge *p, bson_t *filter)
{
	bson_t sub;

	BSON_APPEND_UTF8(filter, "phase", "ended");
	mg_mask(filter, "classification", p->classes, mg_class_names, CLASS_COUNT);
	BSON_APPEND_DOCUMENT_BEGIN(filter, "completed_at", &sub);
	BSON_APPEND_DATE_TIME(&sub, "$gt", 0);
	BSON_APPEND_DATE_TIME(&sub, "$lt", p->before);
	bson_append_document_end(filter, &sub);
}

static enum err remove_all(struct mg_batch *b, const char *coll, const char *key, const struct mg_list *ids, int *n,
			   struct error *e)
{
	mongoc_collection_t *c = mg_coll(b->s, b->client, coll);
	bson_t filter = BSON_INITIALIZER, opts = BSON_INITIALIZER, reply;
	bson_error_t be;
	enum err err = OK;

	mg_ids(&filter, key, (const char *const *)ids->v, ids->n);
	if (!mongoc_client_session_append(b->session, &opts, &be))
		err = mg_error(e, ERR_INTERNAL, "session: %s", be.message);
	if (!err) {
		if (mongoc_collection_delete_many(c, &filter, &opts, &reply, &be)) {
			if (n)
				*n = (int)mg_doc_int(&reply, "deletedCount");
		} else {
			b->transient |= mongoc_error_has_label(&reply, "TransientTransactionError");
			err = mg_error(e, mg_write_failed(&be, &reply), "%s", be.message);
		}
		bson_destroy(&reply);
	}
	bson_destroy(&filter);
	bson_destroy(&opts);
	mongoc_collection_destroy(c);
	return err;
}

/* Tasks and their logs go together; a task that is retried meanwhile makes the transaction start again. */
static enum err purge_body(struct mg_batch *b, void *arg, struct error *e)
{
	struct purge *p = arg;
	bson_t filter = BSON_INITIALIZER, opts = BSON_INITIALIZER, sub;
	struct mg_list ids = { 0 };
	struct mg_cursor c;
	const bson_t *doc;

	p->deleted = 0;
	ended_before(p, &filter);
	BSON_APPEND_INT64(&opts, "limit", p->limit < PURGE_AT_ONCE ? p->limit : PURGE_AT_ONCE);
	BSON_APPEND_UTF8(&opts, "hint", "ended");
	BSON_APPEND_DOCUMENT_BEGIN(&opts, "projection", &sub);
	BSON_APPEND_INT32(&sub, "_id", 1);
	bson_append_document_end(&opts, &sub);
	enum err err = mg_batch_read(b, "tasks", &filter, &opts, &c, e);

	if (!err) {
		while ((doc = mg_next(&c)))
			mg_list_add(&ids, &b->scratch, arena_strdup(&b->scratch, mg_doc_id(doc)));
		err = mg_end(&c, e);
		b->transient |= c.transient;
	}
	if (!err && ids.n)
		err = remove_all(b, "tasks", "_id", &ids, &p->deleted, e);
	if (!err && ids.n)
		err = remove_all(b, mg_kind(REC_TASK_LOG)->coll, mg_kind(REC_TASK_LOG)->s[0], &ids, NULL, e);
	bson_destroy(&filter);
	bson_destroy(&opts);
	return err;
}

enum err mg_tasks_purge(struct store *base, int64_t before, uint32_t class_mask, int limit, int *n, struct error *e)
{
	struct purge p = { .before = before, .classes = class_mask };
	enum err err = OK;

	do {
		p.limit = limit - *n;
		err = mg_txn(mg_of(base), purge_body, &p, e);
		if (!err)
			*n += p.deleted;
	} while (!err && p.deleted && *n < limit);
	return err;
}

enum err mg_recs_purge(struct store *base, enum record_kind kind, int64_t before, int limit, int *n, struct error *e)
{
	struct mongo_store *s = mg_of(base);
	const struct mg_kind *k = mg_kind(kind);
	bson_t filter = BSON_INITIALIZER, opts = BSON_INITIALIZER, doomed = BSON_INITIALIZER, sub;
	struct mg_list ids = { 0 };
	struct mg_cursor c;
	struct arena a;
	const bson_t *doc;
	mongoc_client_t *client;

	arena_init(&a);
	BSON_APPEND_DOCUMENT_BEGIN(&filter, k->n[0], &sub);
	BSON_APPEND_INT64(&sub, "$gt", 0);
	BSON_APPEND_INT64(&sub, "$lt", before);
	bson_append_document_end(&filter, &sub);
	BSON_APPEND_INT64(&opts, "limit", limit);
	BSON_APPEND_DOCUMENT_BEGIN(&opts, "projection", &sub);
	BSON_APPEND_INT32(&sub, "_id", 1);
	bson_append_document_end(&opts, &sub);
	enum err err = mg_find(s, NULL, k->coll, &filter, &opts, MG_LOCAL, &c, e);

	if (!err) {
		while ((doc = mg_next(&c)))
			mg_list_add(&ids, &a, arena_strdup(&a, mg_doc_id(doc)));
		err = mg_end(&c, e);
	}
	client = !err && ids.n ? mg_client(s, e) : NULL;
	if (client) {
		mongoc_collection_t *coll = mg_coll(s, client, k->coll);
		bson_error_t be;
		bson_t reply;

		/* Those whose time was put off in between stay. */
		mg_ids(&doomed, "_id", (const char *const *)ids.v, ids.n);
		bson_concat(&doomed, &filter);
		if (mongoc_collection_delete_many(coll, &doomed, NULL, &reply, &be))
			*n = (int)mg_doc_int(&reply, "deletedCount");
		else
			err = mg_error(e, mg_write_failed(&be, &reply), "%s", be.message);
		bson_destroy(&reply);
		mongoc_collection_destroy(coll);
		mg_client_back(s, client);
	} else if (ids.n && !err) {
		err = ERR_UNAVAILABLE;
	}
	arena_release(&a);
	bson_destroy(&filter);
	bson_destroy(&opts);
	bson_destroy(&doomed);
	return err;
}
