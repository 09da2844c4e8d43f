// SPDX-License-Identifier: MIT
/* Inserts and compare-and-set changes of tasks, in bulks. */
#include "store_mongo_int.h"

void mg_run_inserts(struct mg_batch *b)
{
	struct mg_bulk k;

	mg_bulk_start(&k, b, "tasks");
	for (int i = 0; i < b->n; i++)
		mg_bulk_insert(&k, b->jobs[i]);
	mg_bulk_end(&k);
	for (int i = 0; i < b->n; i++) {
		struct mg_job *j = b->jobs[i];

		if (!j->err) {
			j->op->result = SOP_DONE;
		} else if (j->err == ERR_EXISTS) {
			j->op->result = SOP_EXISTS;
			j->err = ERR_CONFLICT;
		}
	}
}

/* --- changes ------------------------------------------------------------------------------------------------ */

static void accepted(struct mg_batch *b, struct mg_job *j, const bson_t *doc)
{
	const char *agent;

	j->op->result = SOP_DONE;
	if (!doc || !j->op->change->tally)
		return;
	agent = mg_doc_str(doc, "assigned_agent_id");
	if (!*agent)
		agent = mg_doc_str(doc, "last_agent_id");
	if (snprintf(j->ended.agent_id, sizeof(j->ended.agent_id), "%s", agent) < 0)
		j->ended.agent_id[0] = '\0';
	j->ended.started_at = j->op->change->fields & TF_STARTED ? j->op->change->set.started_at : mg_doc_int(doc, "started_at");
	if (!b->in_txn)
		mg_tally(b->s, j);
}

static void refused(struct mg_job *j, enum store_op_result why)
{
	j->op->result = why;
	mg_job_fail(j, ERR_CONFLICT, "task %s: %s", j->key, why == SOP_MISSING ? "missing" : "refused");
}

/* What is needed of a document of which no row is wanted. */
static void lean(bson_t *fields)
{
	BSON_APPEND_INT32(fields, "w", 1);
	BSON_APPEND_INT32(fields, "assigned_agent_id", 1);
	BSON_APPEND_INT32(fields, "last_agent_id", 1);
	BSON_APPEND_INT32(fields, "started_at", 1);
}

/* all: every change of the batch is known to have been made. */
static void take_doc(struct mg_batch *b, const bson_t *doc, bool all)
{
	struct mg_job *j = mg_batch_find(b, mg_doc_id(doc));

	if (!j || j->err)
		return;
	j->seen = true;
	if (all || mg_token_age(doc, j->token) >= 0)
		accepted(b, j, doc);
	else
		refused(j, SOP_REFUSED);
	if (j->op->want_row)
		mg_job_row(j, doc);
}

/*
 * Read documents back by _id: those whose row or tally is wanted, or all when not all matched. In a
 * find that failed nothing is known of those that were not seen.
 */
static void read_back(struct mg_batch *b, bool all)
{
	const char **ids = arena_alloc(&b->scratch, sizeof(*ids) * (size_t)b->n);
	bson_t filter = BSON_INITIALIZER, opts = BSON_INITIALIZER, sub;
	bool rows = false, whole = false;
	struct mg_cursor c;
	struct error e;
	const bson_t *doc;
	enum err err = OK;
	int n = 0;

	error_init(&e, &b->scratch);
	for (int i = 0; i < b->n; i++) {
		struct mg_job *j = b->jobs[i];

		if (j->err || j->seen || (all && !j->op->want_row && !j->op->change->tally))
			continue;
		rows |= j->op->want_row;
		whole |= j->op->want_row && !j->brief;
		ids[n++] = j->key;
	}
	mg_ids(&filter, "_id", ids, n);
	if (rows && !whole) {
		mg_task_cols(&opts, TASK_COLS_BRIEF);
	} else if (!rows) {
		BSON_APPEND_DOCUMENT_BEGIN(&opts, "projection", &sub);
		lean(&sub);
		bson_append_document_end(&opts, &sub);
	}
	if (n)
		err = mg_batch_read(b, "tasks", &filter, &opts, &c, &e);
	if (n && !err) {
		while ((doc = mg_next(&c)))
			take_doc(b, doc, all);
		err = mg_end(&c, &e);
		b->transient |= c.transient;
	}
	for (int i = 0; i < b->n; i++) {
		struct mg_job *j = b->jobs[i];

		if (j->seen || j->err)
			continue;
		if (all && !j->op->want_row && !j->op->change->tally)
			accepted(b, j, NULL);
		else if (err)
			mg_job_fail(j, b->in_txn ? err : ERR_UNCERTAIN, "reading back: %s", e.detail);
		else if (all)
			accepted(b, j, NULL);
		else
			refused(j, SOP_MISSING);
	}
	bson_destroy(&filter);
	bson_destroy(&opts);
}

/* A group of one: the answer has the row. Only a refusal needs a second look. */
static void change_one(struct mg_batch *b, struct mg_job *j)
{
	bson_t fields = BSON_INITIALIZER, doc;

	lean(&fields);
	if (!mg_modify(b, "tasks", j, MONGOC_FIND_AND_MODIFY_RETURN_NEW, j->op->want_row ? NULL : &fields, &doc) &&
	    !bson_empty(&doc)) {
		j->seen = true;
		accepted(b, j, &doc);
		if (j->op->want_row)
			mg_job_row(j, &doc);
	}
	bson_destroy(&doc);
	bson_destroy(&fields);
}

/*
 * The server gave up in the middle of a statement, because of one document that it refused; which ones were
 * changed before is not known. Each is tried alone, unless it has been done.
 */
static void change_each(struct mg_batch *b)
{
	for (int i = 0; i < b->n; i++) {
		struct mg_job *j = b->jobs[i];
		bson_t guard;

		BSON_APPEND_DOCUMENT_BEGIN(&j->doc, "w", &guard);
		BSON_APPEND_INT64(&guard, "$ne", j->token);
		bson_append_document_end(&j->doc, &guard);
		change_one(b, j);
		if (j->err == ERR_UNAVAILABLE)
			j->err = ERR_UNCERTAIN;
	}
}

void mg_run_changes(struct mg_batch *b)
{
	int64_t modified = 0;
	bool partly = false;
	enum err err = OK;

	if (b->n == 1) {
		change_one(b, b->jobs[0]);
		if (!b->jobs[0]->err && !b->jobs[0]->seen)
			read_back(b, false);
		return;
	}
	/* In a transaction a refused document undoes all; the caller learns of one. */
	err = mg_update_many(b, &modified, &partly);
	if (!err && partly && !b->in_txn)
		change_each(b);
	if (!err)
		read_back(b, !partly && modified == b->n);
}
