// SPDX-License-Identifier: MIT
/*
 * Pages of lists. A page is a walk along one index in the order of _id. The part of the filter that the index answers
 * exactly costs nothing; the rest is looked at document by document, and so is bounded: the server is told to
 * stop after MG_WALK_MAX of them ($limit before the second $match). When that leaves the page short, the id
 * at which the bound lies is asked for, and the page is read once more exactly up to there, so that `last` never
 * passes a document that was not looked at, whatever changes meanwhile.
 */
#include "store_mongo_int.h"

/* Documents looked at for a page: what the server does in some 10 ms, and fewer than STORE_SCAN_MAX. */
#define MG_WALK_MAX 3000

void mg_walk_init(struct mg_walk *w, struct arena *a)
{
	*w = (struct mg_walk){ .a = a };
	bson_init(&w->match);
	bson_init(&w->rest);
}

void mg_walk_release(struct mg_walk *w)
{
	bson_destroy(&w->match);
	bson_destroy(&w->rest);
}

/* The tighter bounds of all that are given. */
static void append_range(const struct mg_walk *w, bson_t *filter)
{
	const char *low = w->from[0] ? w->from : NULL, *high = w->to[0] ? w->to : NULL;
	const char *low_op = "$gte", *high_op = "$lt";
	bson_t sub;

	if (w->after && w->descending && (!high || strcmp(w->after, high) < 0))
		high = w->after;
	if (w->after && !w->descending && (!low || strcmp(w->after, low) >= 0)) {
		low = w->after;
		low_op = "$gt";
	}
	if (w->until[0] && w->descending) {
		low = w->until;
		low_op = "$gte";
	} else if (w->until[0]) {
		high = w->until;
		high_op = "$lte";
	}
	if (!low && !high)
		return;
	BSON_APPEND_DOCUMENT_BEGIN(filter, "_id", &sub);
	if (low)
		BSON_APPEND_UTF8(&sub, low_op, low);
	if (high)
		BSON_APPEND_UTF8(&sub, high_op, high);
	bson_append_document_end(filter, &sub);
}

static void append_sort(const struct mg_walk *w, bson_t *doc)
{
	bson_t sub;

	BSON_APPEND_DOCUMENT_BEGIN(doc, "sort", &sub);
	BSON_APPEND_INT32(&sub, "_id", w->descending ? -1 : 1);
	bson_append_document_end(doc, &sub);
}

static void append_stage(bson_t *arr, int *n, const char *name, const bson_t *body)
{
	const char *idx;
	char buf[16];
	bson_t stage;

	bson_uint32_to_string((uint32_t)(*n)++, &idx, buf, sizeof(buf));
	BSON_APPEND_DOCUMENT_BEGIN(arr, idx, &stage);
	BSON_APPEND_DOCUMENT(&stage, name, body);
	bson_append_document_end(arr, &stage);
}

static void append_limit(bson_t *arr, int *n, int64_t limit)
{
	const char *idx;
	char buf[16];
	bson_t stage;

	bson_uint32_to_string((uint32_t)(*n)++, &idx, buf, sizeof(buf));
	BSON_APPEND_DOCUMENT_BEGIN(arr, idx, &stage);
	BSON_APPEND_INT64(&stage, "$limit", limit);
	bson_append_document_end(arr, &stage);
}

/* match, sort, bound, rest, limit, columns. */
static void build_pipeline(const struct mg_walk *w, const bson_t *match, int bound, bson_t *pipeline)
{
	bson_t arr, sort = BSON_INITIALIZER, opts = BSON_INITIALIZER, project;
	bson_iter_t it;
	const uint8_t *data;
	uint32_t len;
	int n = 0;

	BSON_APPEND_ARRAY_BEGIN(pipeline, "pipeline", &arr);
	append_stage(&arr, &n, "$match", match);
	BSON_APPEND_INT32(&sort, "_id", w->descending ? -1 : 1);
	append_stage(&arr, &n, "$sort", &sort);
	if (bound)
		append_limit(&arr, &n, bound);
	append_stage(&arr, &n, "$match", &w->rest);
	append_limit(&arr, &n, w->limit + 1);
	mg_task_cols(&opts, w->brief ? TASK_COLS_BRIEF : TASK_COLS_ALL);
	if (bson_iter_init_find(&it, &opts, "projection")) {
		bson_iter_document(&it, &len, &data);
		if (bson_init_static(&project, data, len))
			append_stage(&arr, &n, "$project", &project);
	}
	bson_append_array_end(pipeline, &arr);
	bson_destroy(&sort);
	bson_destroy(&opts);
}

static enum err fetch(struct mongo_store *s, struct mg_walk *w, int bound, struct error *e)
{
	bson_t match = BSON_INITIALIZER, opts = BSON_INITIALIZER, pipeline = BSON_INITIALIZER;
	struct mg_cursor c;
	const bson_t *doc;
	enum err err;

	w->found.n = 0;
	w->more = false;
	bson_concat(&match, &w->match);
	append_range(w, &match);
	if (w->hint)
		BSON_APPEND_UTF8(&opts, "hint", w->hint);
	if (bson_empty(&w->rest)) {
		append_sort(w, &opts);
		BSON_APPEND_INT64(&opts, "limit", w->limit + 1);
		mg_task_cols(&opts, w->brief ? TASK_COLS_BRIEF : TASK_COLS_ALL);
		err = mg_find(s, NULL, w->coll, &match, &opts, MG_MAJORITY, &c, e);
	} else {
		build_pipeline(w, &match, bound, &pipeline);
		err = mg_aggregate(s, NULL, w->coll, &pipeline, &opts, MG_MAJORITY, &c, e);
	}
	if (!err) {
		while ((doc = mg_next(&c))) {
			if (w->found.n == w->limit)
				w->more = true;
			else
				w->take(w, doc);
		}
		err = mg_end(&c, e);
	}
	bson_destroy(&match);
	bson_destroy(&opts);
	bson_destroy(&pipeline);
	return err;
}

/* The id of the last document that a bounded walk looks at; "" when it comes to the end. */
static enum err find_bound(struct mongo_store *s, struct mg_walk *w, struct error *e)
{
	bson_t match = BSON_INITIALIZER, opts = BSON_INITIALIZER, sub;
	struct mg_cursor c;
	const bson_t *doc;

	bson_concat(&match, &w->match);
	append_range(w, &match);
	append_sort(w, &opts);
	if (w->hint)
		BSON_APPEND_UTF8(&opts, "hint", w->hint);
	BSON_APPEND_INT64(&opts, "skip", MG_WALK_MAX - 1);
	BSON_APPEND_INT64(&opts, "limit", 1);
	BSON_APPEND_DOCUMENT_BEGIN(&opts, "projection", &sub);
	BSON_APPEND_INT32(&sub, "_id", 1);
	bson_append_document_end(&opts, &sub);
	enum err err = mg_find(s, NULL, w->coll, &match, &opts, MG_MAJORITY, &c, e);

	if (!err) {
		doc = mg_next(&c);
		if (doc && snprintf(w->until, sizeof(w->until), "%s", mg_doc_id(doc)) < 0)
			w->until[0] = '\0';
		err = mg_end(&c, e);
	}
	bson_destroy(&match);
	bson_destroy(&opts);
	return err;
}

enum err mg_walk_page(struct mongo_store *s, struct mg_walk *w, struct error *e)
{
	enum err err = fetch(s, w, MG_WALK_MAX, e);

	if (err || bson_empty(&w->rest) || w->more)
		return err;
	err = find_bound(s, w, e);
	/* A walk that came to the end has seen all there is. */
	if (!err && w->until[0])
		err = fetch(s, w, 0, e);
	return err;
}
