// SPDX-License-Identifier: MIT
/* Counts of a run's tasks, and of the queue. */
#include "store_mongo_int.h"

#include "../base/clock.h"

static const char *sub_str(const bson_t *doc, const char *key)
{
	bson_iter_t it, found;

	if (bson_iter_init(&it, doc) && bson_iter_find_descendant(&it, key, &found) && BSON_ITER_HOLDS_UTF8(&found))
		return bson_iter_utf8(&found, NULL);
	return "";
}

static int64_t sub_int(const bson_t *doc, const char *key)
{
	bson_iter_t it, found;

	if (bson_iter_init(&it, doc) && bson_iter_find_descendant(&it, key, &found))
		return bson_iter_as_int64(&found);
	return 0;
}

struct counted {
	const char *id;
	struct stage_counts *counts;
};

static int by_id(const void *a, const void *b)
{
	return strcmp(((const struct counted *)a)->id, ((const struct counted *)b)->id);
}

/* One group of an answer, into the counts of its execution. */
static void add_stage(const struct counted *list, int n, const bson_t *doc)
{
	struct counted key = { .id = sub_str(doc, "_id.execution") };
	const struct counted *at = bsearch(&key, list, (size_t)n, sizeof(*list), by_id);
	int64_t stage = sub_int(doc, "_id.stage");
	int status = mg_enum_of(mg_status_names, TASK_STATUS_COUNT, sub_str(doc, "_id.status"));

	if (at && stage >= 0 && stage <= 6)
		at->counts->n[stage][status] += mg_doc_int(doc, "n");
}

enum err mg_stage_counts(struct store *base, const char *const *execution_ids, int n, struct stage_counts *out,
			 struct error *e)
{
	struct counted *list = xcalloc((size_t)n, sizeof(*list));
	bson_t match = BSON_INITIALIZER, opts = BSON_INITIALIZER;
	struct mg_cursor c;
	const bson_t *doc;

	for (int i = 0; i < n; i++)
		list[i] = (struct counted){ execution_ids[i], &out[i] };
	qsort(list, (size_t)n, sizeof(*list), by_id);
	mg_ids(&match, "execution_id", execution_ids, n);
	bson_t *pipeline = BCON_NEW("pipeline", "[", "{", "$match", BCON_DOCUMENT(&match), "}",
		"{", "$group", "{", "_id", "{", "execution", BCON_UTF8("$execution_id"), "stage", BCON_UTF8("$stage"),
		"status", BCON_UTF8("$status"), "}", "n", "{", "$sum", BCON_INT64(1), "}", "}", "}", "]");

	BSON_APPEND_UTF8(&opts, "hint", "execution");
	enum err err = mg_aggregate(mg_of(base), NULL, "tasks", pipeline, &opts, MG_MAJORITY, &c, e);

	if (!err) {
		while ((doc = mg_next(&c)))
			add_stage(list, n, doc);
		err = mg_end(&c, e);
	}
	bson_destroy(pipeline);
	bson_destroy(&opts);
	bson_destroy(&match);
	free(list);
	return err;
}

static void add_depth(struct queue_depth *d, const bson_t *doc)
{
	int status = mg_enum_of(mg_status_names, TASK_STATUS_COUNT, sub_str(doc, "_id.status"));
	int hold = mg_enum_of(mg_hold_names, HOLD_COUNT, sub_str(doc, "_id.hold"));
	int prio = mg_enum_of(mg_priority_names, PRIO_COUNT, sub_str(doc, "_id.priority"));
	int64_t n = mg_doc_int(doc, "n");

	if (ST(status) & ST_LEASED)
		d->leased += n;
	else
		d->held[hold] += n;
	if (status == TASK_PENDING && hold == HOLD_NONE)
		d->ready[prio] += n;
}

/* All combinations in one walk: one round trip, a microsecond a task. */
static enum err count_by_walk(struct mongo_store *s, struct queue_depth *d, struct error *e)
{
	bson_t opts = BSON_INITIALIZER, match = BSON_INITIALIZER;

	mg_mask(&match, "status", ST_LIVE, mg_status_names, TASK_STATUS_COUNT);
	bson_t *pipeline = BCON_NEW("pipeline", "[", "{", "$match", BCON_DOCUMENT(&match), "}",
		"{", "$group", "{", "_id", "{", "status", BCON_UTF8("$status"), "hold", BCON_UTF8("$hold"),
		"priority", BCON_UTF8("$priority"), "}", "n", "{", "$sum", BCON_INT64(1), "}", "}", "}", "]");
	struct mg_cursor c;
	const bson_t *doc;

	BSON_APPEND_UTF8(&opts, "hint", "state");
	enum err err = mg_aggregate(s, NULL, "tasks", pipeline, &opts, MG_MAJORITY, &c, e);

	if (!err) {
		while ((doc = mg_next(&c)))
			add_depth(d, doc);
		err = mg_end(&c, e);
	}
	bson_destroy(pipeline);
	bson_destroy(&match);
	bson_destroy(&opts);
	return err;
}

/* Tasks of that state; hold and priority −1: of any. */
static enum err count_state(struct mongo_store *s, mongoc_client_t *c, enum task_status status, int hold, int prio,
			    int64_t *n, struct error *e)
{
	bson_t *cmd = BCON_NEW("count", "tasks", "hint", "state", "readConcern", "{", "level", "majority", "}",
			       "maxTimeMS", BCON_INT64(s->timeout_ms));
	bson_t query, reply;
	bson_error_t be;
	enum err err = OK;

	BSON_APPEND_DOCUMENT_BEGIN(cmd, "query", &query);
	BSON_APPEND_UTF8(&query, "status", mg_status_names[status]);
	if (hold >= 0)
		BSON_APPEND_UTF8(&query, "hold", mg_hold_names[hold]);
	if (prio >= 0)
		BSON_APPEND_UTF8(&query, "priority", mg_priority_names[prio]);
	bson_append_document_end(cmd, &query);
	if (mongoc_client_read_command_with_opts(c, s->db, cmd, NULL, NULL, &reply, &be))
		*n += mg_doc_int(&reply, "n");
	else
		err = mg_error(e, mg_read_failed(&be), "MongoDB: %s", be.message);
	bson_destroy(&reply);
	bson_destroy(cmd);
	return err;
}

/* State by state: fifteen round trips, but the server only counts keys, four in a microsecond. */
static enum err count_by_state(struct mongo_store *s, struct queue_depth *d, struct error *e)
{
	mongoc_client_t *c = mg_client(s, e);
	enum err err = OK;

	if (!c)
		return ERR_UNAVAILABLE;
	for (int p = 0; p < PRIO_COUNT && !err; p++) {
		err = count_state(s, c, TASK_PENDING, HOLD_NONE, p, &d->ready[p], e);
		d->held[HOLD_NONE] += d->ready[p];
	}
	for (int h = 0; h < HOLD_COUNT && !err; h++) {
		if (h != HOLD_NONE)
			err = count_state(s, c, TASK_PENDING, h, -1, &d->held[h], e);
		if (!err)
			err = count_state(s, c, TASK_RETRYING, h, -1, &d->held[h], e);
	}
	if (!err)
		err = count_state(s, c, TASK_ASSIGNED, -1, -1, &d->leased, e);
	if (!err)
		err = count_state(s, c, TASK_RUNNING, -1, -1, &d->leased, e);
	mg_client_back(s, c);
	return err;
}

static int64_t total(const struct queue_depth *d)
{
	int64_t n = d->leased;

	for (int h = 0; h < HOLD_COUNT; h++)
		n += d->held[h];
	return n;
}

static enum err oldest(struct mongo_store *s, int prio, int64_t *at, struct error *e)
{
	bson_t filter = BSON_INITIALIZER, opts = BSON_INITIALIZER, sub;
	struct mg_cursor c;
	const bson_t *doc;

	BSON_APPEND_UTF8(&filter, "status", mg_status_names[TASK_PENDING]);
	BSON_APPEND_UTF8(&filter, "hold", mg_hold_names[HOLD_NONE]);
	BSON_APPEND_UTF8(&filter, "priority", mg_priority_names[prio]);
	BSON_APPEND_DOCUMENT_BEGIN(&opts, "sort", &sub);
	BSON_APPEND_INT32(&sub, "_id", 1);
	bson_append_document_end(&opts, &sub);
	BSON_APPEND_DOCUMENT_BEGIN(&opts, "projection", &sub);
	BSON_APPEND_INT32(&sub, "created_at", 1);
	bson_append_document_end(&opts, &sub);
	BSON_APPEND_INT64(&opts, "limit", 1);
	BSON_APPEND_UTF8(&opts, "hint", "state");
	enum err err = mg_find(s, NULL, "tasks", &filter, &opts, MG_MAJORITY, &c, e);

	if (!err) {
		doc = mg_next(&c);
		if (doc)
			*at = mg_doc_int(doc, "created_at");
		err = mg_end(&c, e);
	}
	bson_destroy(&filter);
	bson_destroy(&opts);
	return err;
}

#define DEPTH_MANY	4000	/* live tasks from which counting state by state is faster */
#define DEPTH_SLOW_US	20000	/* a count that takes longer … */
#define DEPTH_REST	10	/* … is not made again for this many times as long */

/*
 * Counting walks the index over all live tasks. With a backlog of hundreds of thousands that takes a while, so
 * the answer then is used again, up to ten times as long as it took: counting never takes more than a tenth of a core.
 */
enum err mg_queue_depth(struct store *base, struct queue_depth *out, struct error *e)
{
	struct mongo_store *s = mg_of(base);
	struct queue_depth d = { 0 };
	int64_t from = mono_us();
	bool cached, many;

	pthread_mutex_lock(&s->depth.lock);
	cached = from < s->depth.valid_until;
	many = total(&s->depth.value) > DEPTH_MANY;
	if (cached)
		*out = s->depth.value;
	pthread_mutex_unlock(&s->depth.lock);
	if (cached)
		return OK;
	enum err err = many ? count_by_state(s, &d, e) : count_by_walk(s, &d, e);

	for (int i = 0; i < PRIO_COUNT && !err; i++)
		if (d.ready[i])
			err = oldest(s, i, &d.oldest[i], e);
	if (err)
		return err;
	int64_t now = mono_us(), took = now - from;

	pthread_mutex_lock(&s->depth.lock);
	s->depth.value = d;
	s->depth.valid_until = took > DEPTH_SLOW_US ? now + took * DEPTH_REST : 0;
	pthread_mutex_unlock(&s->depth.lock);
	*out = d;
	return OK;
}
