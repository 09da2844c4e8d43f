// SPDX-License-Identifier: MIT
/* What time has come for, and who waits for what. */
#include "store_mongo_int.h"

static enum err collect(struct mongo_store *s, const bson_t *filter, bson_t *opts, struct arena *a,
			struct mg_list *l, struct error *e)
{
	struct mg_cursor c;
	const bson_t *doc;
	enum err err = mg_find(s, NULL, "tasks", filter, opts, MG_MAJORITY, &c, e);

	if (err)
		return err;
	while ((doc = mg_next(&c)))
		mg_list_add(l, a, mg_task_decode(doc, a));
	return mg_end(&c, e);
}

static enum err hand_out(enum err err, const struct mg_list *l, struct task ***out, int *n)
{
	if (!err) {
		*out = (struct task **)l->v;
		*n = l->n;
	}
	return err;
}

/* --- due ----------------------------------------------------------------------------------------------------- */

/* The three kinds that an index answers by a date: its condition, index and date. */
struct wake { const char *index, *date, *phase, *hold; };

static const struct wake wakes[] = {
	[DUE_HOLD] = { "due", "due_at", "queued", "time" },
	[DUE_LEASE] = { "lease", "lease_expires_at", "leased", NULL },
	[DUE_DEADLINE] = { "deadline", "deadline", NULL, NULL },
};

static void wake_filter(const struct wake *k, int64_t now, bson_t *filter, bson_t *opts, int limit)
{
	bson_t sub;

	if (k->phase) {
		BSON_APPEND_UTF8(filter, "phase", k->phase);
	} else {
		BSON_APPEND_DOCUMENT_BEGIN(filter, "phase", &sub);
		BSON_APPEND_UTF8(&sub, "$gt", "ended");
		bson_append_document_end(filter, &sub);
	}
	if (k->hold)
		BSON_APPEND_UTF8(filter, "hold", k->hold);
	BSON_APPEND_DOCUMENT_BEGIN(filter, k->date, &sub);
	BSON_APPEND_DATE_TIME(&sub, "$gt", 0);
	BSON_APPEND_DATE_TIME(&sub, "$lte", now);
	bson_append_document_end(filter, &sub);
	BSON_APPEND_DOCUMENT_BEGIN(opts, "sort", &sub);
	BSON_APPEND_INT32(&sub, k->date, 1);
	bson_append_document_end(opts, &sub);
	BSON_APPEND_INT64(opts, "limit", limit);
	BSON_APPEND_UTF8(opts, "hint", k->index);
}

/*
 * Running tasks have as many time limits as there are different values of timeout, and those are few: the
 * server skips through the index from one to the next and gives the earliest start of each.
 */
struct limit { int64_t timeout_s, started_at; };

static enum err running_limits(struct mongo_store *s, struct arena *a, struct mg_list *l, struct error *e)
{
	bson_t opts = BSON_INITIALIZER;
	bson_t *pipeline = BCON_NEW("pipeline", "[",
		"{", "$match", "{", "status", BCON_UTF8(mg_status_names[TASK_RUNNING]),
		"timeout", "{", "$gt", BCON_INT64(0), "}", "started_at", "{", "$gt", BCON_DATE_TIME(0), "}", "}", "}",
		"{", "$sort", "{", "timeout", BCON_INT32(1), "started_at", BCON_INT32(1), "}", "}",
		"{", "$group", "{", "_id", BCON_UTF8("$timeout"),
		"at", "{", "$first", BCON_UTF8("$started_at"), "}", "}", "}", "]");
	struct mg_cursor c;
	const bson_t *doc;

	BSON_APPEND_UTF8(&opts, "hint", "timeout");
	enum err err = mg_aggregate(s, NULL, "tasks", pipeline, &opts, MG_MAJORITY, &c, e);

	if (!err) {
		while ((doc = mg_next(&c))) {
			struct limit *one = arena_new(a, struct limit);

			one->timeout_s = mg_doc_int(doc, "_id");
			one->started_at = mg_doc_int(doc, "at");
			mg_list_add(l, a, one);
		}
		err = mg_end(&c, e);
	}
	bson_destroy(pipeline);
	bson_destroy(&opts);
	return err;
}

static int by_time_limit(const void *a, const void *b)
{
	const struct task *x = *(struct task *const *)a, *y = *(struct task *const *)b;
	int64_t p = x->started_at + x->timeout_s * 1000, q = y->started_at + y->timeout_s * 1000;

	return p != q ? (p < q ? -1 : 1) : strcmp(x->id, y->id);
}

static enum err due_timeouts(struct mongo_store *s, int64_t now, int limit, struct arena *a, struct mg_list *out,
			     struct error *e)
{
	struct mg_list limits = { 0 };
	enum err err = running_limits(s, a, &limits, e);

	for (int i = 0; i < limits.n && !err; i++) {
		const struct limit *k = limits.v[i];
		int64_t latest = now - k->timeout_s * 1000;
		bson_t filter = BSON_INITIALIZER, opts = BSON_INITIALIZER, sub;

		if (k->started_at <= latest) {
			BSON_APPEND_UTF8(&filter, "status", mg_status_names[TASK_RUNNING]);
			BSON_APPEND_INT64(&filter, "timeout", k->timeout_s);
			BSON_APPEND_DOCUMENT_BEGIN(&filter, "started_at", &sub);
			BSON_APPEND_DATE_TIME(&sub, "$gt", 0);
			BSON_APPEND_DATE_TIME(&sub, "$lte", latest);
			bson_append_document_end(&filter, &sub);
			BSON_APPEND_DOCUMENT_BEGIN(&opts, "sort", &sub);
			BSON_APPEND_INT32(&sub, "started_at", 1);
			bson_append_document_end(&opts, &sub);
			BSON_APPEND_INT64(&opts, "limit", limit);
			BSON_APPEND_UTF8(&opts, "hint", "timeout");
			mg_task_cols(&opts, TASK_COLS_BRIEF);
			err = collect(s, &filter, &opts, a, out, e);
		}
		bson_destroy(&filter);
		bson_destroy(&opts);
	}
	if (out->n > 1)
		qsort(out->v, (size_t)out->n, sizeof(void *), by_time_limit);
	if (out->n > limit)
		out->n = limit;
	return err;
}

enum err mg_tasks_due(struct store *base, enum due_kind kind, int64_t now, int limit, struct arena *a,
		      struct task ***out, int *n, struct error *e)
{
	struct mongo_store *s = mg_of(base);
	struct mg_list l = { 0 };
	bson_t filter = BSON_INITIALIZER, opts = BSON_INITIALIZER;
	enum err err;

	if (kind == DUE_TIMEOUT) {
		err = due_timeouts(s, now, limit, a, &l, e);
	} else {
		wake_filter(&wakes[kind], now, &filter, &opts, limit);
		mg_task_cols(&opts, TASK_COLS_BRIEF);
		err = collect(s, &filter, &opts, a, &l, e);
	}
	bson_destroy(&filter);
	bson_destroy(&opts);
	return hand_out(err, &l, out, n);
}

static enum err earliest(struct mongo_store *s, const struct wake *k, int64_t *at, struct error *e)
{
	bson_t filter = BSON_INITIALIZER, opts = BSON_INITIALIZER, sub;
	struct mg_cursor c;
	const bson_t *doc;

	wake_filter(k, INT64_MAX, &filter, &opts, 1);
	BSON_APPEND_DOCUMENT_BEGIN(&opts, "projection", &sub);
	BSON_APPEND_INT32(&sub, k->date, 1);
	bson_append_document_end(&opts, &sub);
	enum err err = mg_find(s, NULL, "tasks", &filter, &opts, MG_MAJORITY, &c, e);

	if (!err) {
		doc = mg_next(&c);
		if (doc && mg_doc_int(doc, k->date) < *at)
			*at = mg_doc_int(doc, k->date);
		err = mg_end(&c, e);
	}
	bson_destroy(&filter);
	bson_destroy(&opts);
	return err;
}

enum err mg_next_due(struct store *base, int64_t *at, struct error *e)
{
	struct mongo_store *s = mg_of(base);
	struct mg_list limits = { 0 };
	struct arena a;
	enum err err;

	arena_init(&a);
	err = earliest(s, &wakes[DUE_HOLD], at, e);
	if (!err)
		err = earliest(s, &wakes[DUE_LEASE], at, e);
	if (!err)
		err = earliest(s, &wakes[DUE_DEADLINE], at, e);
	if (!err)
		err = running_limits(s, &a, &limits, e);
	for (int i = 0; i < limits.n && !err; i++) {
		const struct limit *k = limits.v[i];

		if (k->started_at + k->timeout_s * 1000 < *at)
			*at = k->started_at + k->timeout_s * 1000;
	}
	arena_release(&a);
	return err;
}

/* --- waiters ---------------------------------------------------------------------------------------------------- */

enum err mg_slot_waiters(struct store *base, const char *key, int limit, struct arena *a, struct task ***out,
			 int *n, struct error *e)
{
	bson_t filter = BSON_INITIALIZER, opts = BSON_INITIALIZER, sub;
	struct mg_list l = { 0 };

	BSON_APPEND_UTF8(&filter, "phase", "queued");
	BSON_APPEND_UTF8(&filter, "hold", mg_hold_names[HOLD_SLOT]);
	if (key)
		BSON_APPEND_UTF8(&filter, "concurrency_key", key);
	BSON_APPEND_DOCUMENT_BEGIN(&opts, "sort", &sub);
	BSON_APPEND_INT32(&sub, "order_key", 1);
	BSON_APPEND_INT32(&sub, "_id", 1);
	bson_append_document_end(&opts, &sub);
	BSON_APPEND_INT64(&opts, "limit", limit);
	BSON_APPEND_UTF8(&opts, "hint", key ? "slot" : "slot_any");
	mg_task_cols(&opts, TASK_COLS_BRIEF);
	enum err err = collect(mg_of(base), &filter, &opts, a, &l, e);

	bson_destroy(&filter);
	bson_destroy(&opts);
	return hand_out(err, &l, out, n);
}

enum err mg_dep_waiters(struct store *base, const char *after, int limit, struct arena *a, struct task ***out,
			int *n, struct error *e)
{
	bson_t filter = BSON_INITIALIZER, opts = BSON_INITIALIZER, sub;
	struct mg_list l = { 0 };

	BSON_APPEND_UTF8(&filter, "status", mg_status_names[TASK_PENDING]);
	BSON_APPEND_UTF8(&filter, "hold", mg_hold_names[HOLD_DEPS]);
	mg_mask(&filter, "priority", ~0u, mg_priority_names, PRIO_COUNT);
	if (after && *after) {
		BSON_APPEND_DOCUMENT_BEGIN(&filter, "_id", &sub);
		BSON_APPEND_UTF8(&sub, "$gt", after);
		bson_append_document_end(&filter, &sub);
	}
	BSON_APPEND_DOCUMENT_BEGIN(&opts, "sort", &sub);
	BSON_APPEND_INT32(&sub, "_id", 1);
	bson_append_document_end(&opts, &sub);
	BSON_APPEND_DOCUMENT_BEGIN(&opts, "projection", &sub);
	BSON_APPEND_INT32(&sub, "parameters", 0);
	BSON_APPEND_INT32(&sub, "result", 0);
	BSON_APPEND_INT32(&sub, "attempts", 0);
	bson_append_document_end(&opts, &sub);
	BSON_APPEND_INT64(&opts, "limit", limit);
	BSON_APPEND_UTF8(&opts, "hint", "state");
	enum err err = collect(mg_of(base), &filter, &opts, a, &l, e);

	bson_destroy(&filter);
	bson_destroy(&opts);
	return hand_out(err, &l, out, n);
}
