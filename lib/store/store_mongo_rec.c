// SPDX-License-Identifier: MIT
/*
 * Records: one collection per kind, the indexed values under the names that RECORD_KINDS declares, the
 * body as a string. rev is counted up by every change; a change is found again by its token, and since each
 * change adds one token and one to rev, the revision it made is known even when others followed.
 */
#include "store_mongo_int.h"

const struct mg_kind *mg_kind(enum record_kind kind)
{
	/* A value whose name is not declared is kept under the plain name, and only when it is set. */
#define NAME(name, plain) (sizeof(name) > 1 ? (name) : (plain))
#define DECLARED(name) (sizeof(name) > 1)
#define X(k, table, uniq, a, b, c, d, e) [k] = { \
	.coll = table, .unique = uniq, \
	.s = { NAME(a, "s1"), NAME(b, "s2"), NAME(c, "s3") }, .n = { NAME(d, "n1"), NAME(e, "n2") }, \
	.declared_s = { DECLARED(a), DECLARED(b), DECLARED(c) }, .declared_n = { DECLARED(d), DECLARED(e) } },
	static const struct mg_kind kinds[REC_KIND_COUNT] = { RECORD_KINDS(X) };
#undef X

	return &kinds[kind];
}

/* Strings that are "" are left out, so that a unique index does not hold them; numbers are always there. */
static void put_values(const struct record *r, bson_t *doc, bson_t *unset)
{
	const struct mg_kind *k = mg_kind(r->kind);
	const char *s[3] = { r->s1, r->s2, r->s3 };
	int64_t n[2] = { r->n1, r->n2 };

	for (int i = 0; i < 3; i++) {
		if (s[i] && *s[i])
			BSON_APPEND_UTF8(doc, k->s[i], s[i]);
		else if (unset)
			BSON_APPEND_INT32(unset, k->s[i], 1);
	}
	for (int i = 0; i < 2; i++) {
		if (n[i] || k->declared_n[i])
			BSON_APPEND_INT64(doc, k->n[i], n[i]);
		else if (unset)
			BSON_APPEND_INT32(unset, k->n[i], 1);
	}
	if (r->body)
		BSON_APPEND_UTF8(doc, "body", r->body);
	else if (unset)
		BSON_APPEND_INT32(unset, "body", 1);
}

void mg_rec_encode(const struct record *r, int64_t rev, bson_t *doc)
{
	BSON_APPEND_UTF8(doc, "_id", r->id);
	BSON_APPEND_INT64(doc, "rev", rev);
	put_values(r, doc, NULL);
}

void mg_rec_update(const struct record *r, int64_t token, bson_t *update)
{
	bson_t set, inc, unset = BSON_INITIALIZER;

	BSON_APPEND_DOCUMENT_BEGIN(update, "$set", &set);
	put_values(r, &set, &unset);
	bson_append_document_end(update, &set);
	if (!bson_empty(&unset))
		BSON_APPEND_DOCUMENT(update, "$unset", &unset);
	bson_destroy(&unset);
	BSON_APPEND_DOCUMENT_BEGIN(update, "$inc", &inc);
	BSON_APPEND_INT64(&inc, "rev", 1);
	bson_append_document_end(update, &inc);
	mg_push_token(update, token);
}

struct record *mg_rec_decode(enum record_kind kind, const bson_t *doc, struct arena *a)
{
	const struct mg_kind *k = mg_kind(kind);
	struct record *r = arena_new(a, struct record);
	const char **s[3] = { &r->s1, &r->s2, &r->s3 };
	int64_t *n[2] = { &r->n1, &r->n2 };
	bson_iter_t it;

	r->kind = kind;
	r->id = r->s1 = r->s2 = r->s3 = "";
	if (!bson_iter_init(&it, doc))
		return r;
	while (bson_iter_next(&it)) {
		const char *key = bson_iter_key(&it);
		uint32_t len = 0;
		const char *text = BSON_ITER_HOLDS_UTF8(&it) ? bson_iter_utf8(&it, &len) : NULL;

		if (!strcmp(key, "_id") && text)
			r->id = arena_strndup(a, text, len);
		else if (!strcmp(key, "rev"))
			r->rev = bson_iter_as_int64(&it);
		else if (!strcmp(key, "body") && text)
			r->body = arena_strndup(a, text, len);
		for (int i = 0; text && i < 3; i++)
			if (!strcmp(key, k->s[i]))
				*s[i] = arena_strndup(a, text, len);
		for (int i = 0; !text && i < 2; i++)
			if (!strcmp(key, k->n[i]))
				*n[i] = bson_iter_as_int64(&it);
	}
	return r;
}

/* --- writing ---------------------------------------------------------------------------------------------- */

static const char *coll_of(const struct mg_job *j)
{
	return mg_kind(j->op->rec->kind)->coll;
}

static void settle(struct mg_job *j, enum store_op_result result, int64_t rev)
{
	j->op->result = result;
	if (result == SOP_DONE)
		j->op->rev = rev;
	else
		mg_job_fail(j, ERR_CONFLICT, "%s %s: %s", coll_of(j), j->key,
			    result == SOP_MISSING ? "missing" : result == SOP_EXISTS ? "exists" : "refused");
}

/* Inserted, or a duplicate. */
static void settle_insert(struct mg_job *j)
{
	if (!j->err)
		settle(j, SOP_DONE, 1);
	else if (j->err == ERR_EXISTS)
		settle(j, SOP_EXISTS, 0);
}

static int64_t own_rev(const bson_t *doc, const struct mg_job *j)
{
	int age = mg_token_age(doc, j->token);

	return mg_doc_int(doc, "rev") - (age > 0 ? age : 0);
}

static void append_rev_fields(bson_t *fields)
{
	BSON_APPEND_INT32(fields, "rev", 1);
	BSON_APPEND_INT32(fields, "w", 1);
}

/* Read revisions back: of all updates, or when all matched only of those whose revision is not known. */
static void read_revs(struct mg_batch *b, struct mg_job **jobs, int n, bool all)
{
	const char **ids = arena_alloc(&b->scratch, sizeof(*ids) * (size_t)n);
	bson_t filter = BSON_INITIALIZER, opts = BSON_INITIALIZER, in;
	struct mg_cursor c;
	struct error e;
	const bson_t *doc;
	int asked = 0;

	error_init(&e, &b->scratch);
	for (int i = 0; i < n; i++) {
		if (jobs[i]->err)
			continue;
		if (all && jobs[i]->op->expect_rev != REV_ANY) {
			settle(jobs[i], SOP_DONE, jobs[i]->op->expect_rev + 1);
			jobs[i]->seen = true;
			continue;
		}
		ids[asked++] = jobs[i]->key;
	}
	mg_ids(&filter, "_id", ids, asked);
	BSON_APPEND_DOCUMENT_BEGIN(&opts, "projection", &in);
	append_rev_fields(&in);
	bson_append_document_end(&opts, &in);
	enum err err = asked ? mg_batch_read(b, coll_of(b->jobs[0]), &filter, &opts, &c, &e) : OK;

	if (asked && !err) {
		while ((doc = mg_next(&c))) {
			struct mg_job *j = mg_batch_find(b, mg_doc_id(doc));

			if (!j || j->err)
				continue;
			j->seen = true;
			if (all || mg_token_age(doc, j->token) >= 0)
				settle(j, SOP_DONE, own_rev(doc, j));
			else
				settle(j, SOP_REFUSED, 0);
		}
		err = mg_end(&c, &e);
		b->transient |= c.transient;
	}
	for (int i = 0; asked && i < n; i++) {
		if (jobs[i]->seen || jobs[i]->err)
			continue;
		if (err)
			mg_job_fail(jobs[i], b->in_txn ? err : ERR_UNCERTAIN, "reading back: %s", e.detail);
		else
			settle(jobs[i], SOP_MISSING, 0);
	}
	bson_destroy(&filter);
	bson_destroy(&opts);
}

/* Why findAndModify found nothing: the record is not there, or has another revision. */
static void explain(struct mg_batch *b, struct mg_job *j)
{
	j->seen = false;
	read_revs(b, &j, 1, false);
	/* A delete leaves no token; so what was seen was refused. */
}

static void modify_one(struct mg_batch *b, struct mg_job *j)
{
	bool remove = j->op->kind == SOP_REC_DELETE;
	bool any = j->op->expect_rev == REV_ANY;
	mongoc_find_and_modify_flags_t flags = remove ? MONGOC_FIND_AND_MODIFY_REMOVE : MONGOC_FIND_AND_MODIFY_RETURN_NEW;
	bson_t fields = BSON_INITIALIZER, doc;

	if (any && !remove)
		flags |= MONGOC_FIND_AND_MODIFY_UPSERT;
	append_rev_fields(&fields);
	/* Two upserts of a new record at once: one of them finds it inserted and has only to try again. */
	for (int tries = 0; tries < 3; tries++) {
		enum err err = mg_modify(b, coll_of(j), j, flags, &fields, &doc);

		if (!err && !bson_empty(&doc))
			settle(j, SOP_DONE, remove ? 0 : own_rev(&doc, j));
		else if (!err)
			explain(b, j);
		bson_destroy(&doc);
		if (err != ERR_EXISTS || !any || b->in_txn || !strstr(j->detail, "_id_"))
			break;
	}
	if (j->err == ERR_EXISTS)
		settle(j, SOP_EXISTS, 0);
	bson_destroy(&fields);
}

static bool is_insert(const struct mg_job *j)
{
	return j->op->kind == SOP_REC_PUT && j->op->expect_rev == REV_ABSENT;
}

static void run_inserts(struct mg_batch *b, int n)
{
	struct mg_bulk k;

	if (!n)
		return;
	mg_bulk_start(&k, b, coll_of(b->jobs[0]));
	for (int i = 0; i < b->n; i++)
		if (is_insert(b->jobs[i]))
			mg_bulk_insert(&k, b->jobs[i]);
	mg_bulk_end(&k);
	for (int i = 0; i < b->n; i++)
		if (is_insert(b->jobs[i]))
			settle_insert(b->jobs[i]);
}

static void run_updates(struct mg_batch *b, struct mg_job **jobs, int n)
{
	struct mg_bulk k;

	if (n == 1)
		modify_one(b, jobs[0]);
	if (n < 2)
		return;
	mg_bulk_start(&k, b, coll_of(b->jobs[0]));
	for (int i = 0; i < n; i++)
		mg_bulk_update(&k, jobs[i], jobs[i]->op->expect_rev == REV_ANY);
	mg_bulk_end(&k);
	if (k.good)
		read_revs(b, jobs, n, k.matched == k.good);
	for (int i = 0; i < n; i++)
		if (jobs[i]->err == ERR_EXISTS)
			modify_one(b, jobs[i]);
}

void mg_run_recs(struct mg_batch *b)
{
	struct mg_job **updates = arena_alloc(&b->scratch, sizeof(*updates) * (size_t)b->n);
	int inserts = 0, n = 0;

	for (int i = 0; i < b->n; i++) {
		if (is_insert(b->jobs[i]))
			inserts++;
		else if (b->jobs[i]->op->kind == SOP_REC_PUT)
			updates[n++] = b->jobs[i];
	}
	run_inserts(b, inserts);
	run_updates(b, updates, n);
	/* Only findAndModify tells which deletes found something: a one-time ticket is used up once. */
	for (int i = 0; i < b->n; i++)
		if (b->jobs[i]->op->kind == SOP_REC_DELETE)
			modify_one(b, b->jobs[i]);
}
