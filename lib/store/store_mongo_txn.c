// SPDX-License-Identifier: MIT
/*
 * Transactions, and units of several ops as such. Ops of one kind stand together
 * (mg_plan), so that a unit costs a round trip or two a kind and one for the commit.
 *
 * A transaction that lost against another (TransientTransactionError) has changed nothing and is
 * tried again, with a little more patience each time. A commit that was sent and not answered is
 * sent again; if that tells nothing either, the answer is ERR_UNCERTAIN.
 *
 * A refused unit is aborted. What its caller reads from the refused rows must be durable though
 * (store_mongo_int.h), and an aborted transaction's reads are not; so those rows are read again, linearizably.
 */
#include "store_mongo_int.h"

#include <time.h>
#include "../base/clock.h"

static mongoc_client_session_t *session_new(struct mongo_store *s, mongoc_client_t *c, bson_error_t *be)
{
	mongoc_transaction_opt_t *to = mongoc_transaction_opts_new();
	mongoc_session_opt_t *so = mongoc_session_opts_new();
	mongoc_read_concern_t *rc = mongoc_read_concern_new();
	mongoc_write_concern_t *wc = mongoc_write_concern_new();

	mongoc_read_concern_set_level(rc, MONGOC_READ_CONCERN_LEVEL_SNAPSHOT);
	mongoc_write_concern_set_wmajority(wc, s->timeout_ms);
	mongoc_write_concern_set_journal(wc, true);
	mongoc_transaction_opts_set_read_concern(to, rc);
	mongoc_transaction_opts_set_write_concern(to, wc);
	mongoc_session_opts_set_default_transaction_opts(so, to);
	mongoc_client_session_t *session = mongoc_client_start_session(c, so, be);

	mongoc_write_concern_destroy(wc);
	mongoc_read_concern_destroy(rc);
	mongoc_session_opts_destroy(so);
	mongoc_transaction_opts_destroy(to);
	return session;
}

/* --- one try ------------------------------------------------------------------------------------------------- */

static void forget_results(struct mg_plan *p)
{
	for (int i = 0; i < p->n; i++) {
		struct mg_job *j = p->order[i];

		j->err = OK;
		j->seen = false;
		j->ended.agent_id[0] = '\0';
		j->op->result = SOP_SKIPPED;
		j->op->row = NULL;
		j->op->rev = 0;
	}
}

/* Do the ops until one fails; that one, or NULL. */
static const struct mg_job *run_ops(struct mg_batch *b, struct mg_plan *p)
{
	size_t bytes;

	for (int i = 0; i < p->n;) {
		const struct mg_job *first = p->order[i];
		int wave = p->wave[i];

		mg_batch_clear(b);
		for (bytes = 0; i < p->n && b->n < MG_BULK_OPS && p->order[i]->queue == first->queue; i++) {
			bytes += p->order[i]->bytes;
			if (p->wave[i] != wave || (b->n && bytes > MG_BULK_BYTES) || !mg_batch_add(b, p->order[i]))
				break;
		}
		mg_run(b);
		for (int k = 0; k < b->n; k++)
			if (b->jobs[k]->err)
				return b->jobs[k];
	}
	return NULL;
}

/* OK: committed. *again: certainly not committed, and the whole may be tried again. */
static enum err commit(struct mg_batch *b, bool *again, struct error *e)
{
	int64_t end = mono_us() + (int64_t)b->s->timeout_ms * 1000;
	enum err err;
	bson_t reply;
	bson_error_t be;

	for (;;) {
		if (mongoc_client_session_commit_transaction(b->session, &reply, &be)) {
			bson_destroy(&reply);
			return OK;
		}
		bool unknown = mongoc_error_has_label(&reply, "UnknownTransactionCommitResult");

		*again = mongoc_error_has_label(&reply, "TransientTransactionError");
		err = *again ? ERR_UNAVAILABLE : unknown || mg_unconfirmed(&reply) ? ERR_UNCERTAIN :
		      mg_write_failed(&be, &reply);
		bson_destroy(&reply);
		/* The driver has tried a second time by itself; a lost connection gets until the time limit. */
		if (*again || !unknown || be.domain == MONGOC_ERROR_WRITE_CONCERN || mono_us() >= end)
			break;
	}
	return mg_error(e, err == ERR_UNAVAILABLE && !*again ? ERR_UNCERTAIN : err, "commit: %s", be.message);
}

/* Refused rows, as everybody will go on seeing them. */
static void reread(struct mongo_store *s, mongoc_client_t *c, struct mg_job *j)
{
	bson_t filter = BSON_INITIALIZER, opts = BSON_INITIALIZER, rc;
	mongoc_collection_t *coll = mg_coll(s, c, "tasks");
	const bson_t *doc;

	BSON_APPEND_UTF8(&filter, "_id", j->key);
	BSON_APPEND_INT64(&opts, "limit", 1);
	BSON_APPEND_INT64(&opts, "maxTimeMS", s->timeout_ms);
	BSON_APPEND_DOCUMENT_BEGIN(&opts, "readConcern", &rc);
	BSON_APPEND_UTF8(&rc, "level", "linearizable");
	bson_append_document_end(&opts, &rc);
	mongoc_cursor_t *cur = mongoc_collection_find_with_opts(coll, &filter, &opts, NULL);

	j->op->row = mongoc_cursor_next(cur, &doc) ? mg_task_decode(doc, j->arena) : NULL;
	mongoc_cursor_destroy(cur);
	mongoc_collection_destroy(coll);
	bson_destroy(&filter);
	bson_destroy(&opts);
}

static void show_refusals(struct mongo_store *s, struct mg_plan *p)
{
	mongoc_client_t *c = mg_client(s, NULL);

	for (int i = 0; i < p->n; i++) {
		struct mg_job *j = p->order[i];

		if (j->op->result == SOP_DONE) {
			j->op->result = SOP_SKIPPED;
			j->op->row = NULL;
			j->op->rev = 0;
		} else if (j->op->result == SOP_REFUSED && j->op->kind == SOP_TASK_CHANGE && j->op->want_row) {
			j->op->row = NULL;
			if (c)
				reread(s, c, j);
		}
	}
	mg_client_back(s, c);
}

/* --- transactions ------------------------------------------------------------------------------------------------ */

typedef enum err body_fn(struct mg_batch *b, void *arg, struct error *e);

static enum err try_once(struct mg_batch *b, body_fn *body, void *arg, bool *again, struct error *e)
{
	bson_error_t be, ignored;
	enum err err;

	*again = b->transient = false;
	if (!mongoc_client_session_start_transaction(b->session, NULL, &be))
		return mg_error(e, mg_write_failed(&be, NULL), "transaction: %s", be.message);
	err = body(b, arg, e);
	if (!err)
		return commit(b, again, e);
	*again = b->transient;
	mongoc_client_session_abort_transaction(b->session, &ignored);
	/* Not committed, so nothing has changed, whatever became of a single command. */
	return err == ERR_UNCERTAIN || b->transient ? ERR_UNAVAILABLE : err;
}

static void pause_a_little(int tries)
{
	uint32_t r;

	random_bytes(&r, sizeof(r));
	struct timespec t = { .tv_nsec = (long)(r % (500u << (tries < 6 ? tries : 6))) * 1000 };

	nanosleep(&t, NULL);
}

enum err mg_txn(struct mongo_store *s, body_fn *body, void *arg, struct error *e)
{
	int64_t end = mono_us() + (int64_t)s->timeout_ms * 1000;
	struct mg_batch *b = xcalloc(1, sizeof(*b));
	enum err err = ERR_UNAVAILABLE;
	bson_error_t be;
	bool again;

	b->s = s;
	b->in_txn = true;
	arena_init(&b->scratch);
	b->client = mg_client(s, e);
	if (b->client) {
		b->session = session_new(s, b->client, &be);
		if (!b->session)
			err = mg_error(e, mg_write_failed(&be, NULL), "session: %s", be.message);
		for (int tries = 0; b->session; tries++) {
			err = try_once(b, body, arg, &again, e);
			if (!again || mono_us() >= end)
				break;
			arena_reset(&b->scratch);
			pause_a_little(tries);
		}
		if (b->session)
			mongoc_client_session_destroy(b->session);
		mg_client_back(s, b->client);
	}
	arena_release(&b->scratch);
	free(b);
	return err;
}

static enum err unit_body(struct mg_batch *b, void *arg, struct error *e)
{
	struct mg_plan *p = arg;

	forget_results(p);
	const struct mg_job *bad = run_ops(b, p);

	return bad ? mg_error(e, bad->err, "%s", bad->detail) : OK;
}

enum err mg_units_together(struct mongo_store *s, struct mg_plan *p, struct error *e)
{
	enum err err = mg_txn(s, unit_body, p, e);

	if (err)
		forget_results(p);
	for (int i = 0; !err && i < p->n; i++)
		if (p->order[i]->ended.agent_id[0])
			mg_tally(s, p->order[i]);
	return err;
}

enum err mg_unit_alone(struct mongo_store *s, struct mg_plan *p, struct error *e)
{
	enum err err = mg_txn(s, unit_body, p, e);

	if (err == ERR_CONFLICT)
		show_refusals(s, p);
	else if (err)
		forget_results(p);
	for (int i = 0; !err && i < p->n; i++)
		if (p->order[i]->ended.agent_id[0])
			mg_tally(s, p->order[i]);
	return err;
}
