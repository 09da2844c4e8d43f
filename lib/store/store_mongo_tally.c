// SPDX-License-Identifier: MIT
/*
 * Tallies: how many attempts an agent completed and failed in an hour. They are added up in memory and
 * written as one bulk of upserts with $inc, FLUSH_MS after the first: thousands of completions a second cost
 * a few upserts. They are figures, not state: a process that is killed loses what it has not yet written,
 * at most FLUSH_MS of them; while mongod is away they are kept. store_tallies() and closing write them first.
 */
#include "store_mongo_int.h"

#include <time.h>
#include "../base/clock.h"
#include "../base/log.h"

#define FLUSH_MS	200
#define PENDING_MAX	1024

struct mg_tallies {
	struct mongo_store *s;
	pthread_mutex_t lock;
	pthread_cond_t work;
	struct tally *pending;		/* PENDING_MAX of them */
	int n;
	pthread_mutex_t flushing;	/* one at a time, so that a reader's flush has seen all before it */
	bool stop;
	bool started;
	pthread_t thread;
};

static int bucket_of(int64_t ms)
{
	for (int i = 0; i < TALLY_BUCKETS - 1; i++)
		if (ms < (int64_t)1 << i)
			return i;
	return TALLY_BUCKETS - 1;
}

static void append_upsert(mongoc_bulk_operation_t *bulk, const struct tally *t)
{
	bson_t filter = BSON_INITIALIZER, update = BSON_INITIALIZER, opts = BSON_INITIALIZER, inc;
	bson_error_t be;
	char key[64];

	BSON_APPEND_UTF8(&filter, "agent_id", t->agent_id);
	BSON_APPEND_INT64(&filter, "hour", t->hour);
	BSON_APPEND_DOCUMENT_BEGIN(&update, "$inc", &inc);
	BSON_APPEND_INT64(&inc, "completed", t->completed);
	BSON_APPEND_INT64(&inc, "failed", t->failed);
	BSON_APPEND_INT64(&inc, "duration_ms", t->duration_ms);
	for (int i = 0; i < TALLY_BUCKETS; i++) {
		if (!t->bucket[i] || snprintf(key, sizeof(key), "bucket.%d", i) < 0)
			continue;
		BSON_APPEND_INT64(&inc, key, t->bucket[i]);
	}
	bson_append_document_end(&update, &inc);
	BSON_APPEND_BOOL(&opts, "upsert", true);
	if (!mongoc_bulk_operation_update_one_with_opts(bulk, &filter, &update, &opts, &be))
		log_warn("tally of agent %s: %s", t->agent_id, be.message);
	bson_destroy(&filter);
	bson_destroy(&update);
	bson_destroy(&opts);
}

/* wait: for the journal, so that a read with majority sees it. */
static enum err write_tallies(struct mongo_store *s, const struct tally *v, int n, bool wait)
{
	bson_t opts = BSON_INITIALIZER, reply;
	bson_error_t be;
	mongoc_write_concern_t *wc = mongoc_write_concern_new();
	mongoc_client_t *c = mg_client(s, NULL);
	enum err err = c ? OK : ERR_UNAVAILABLE;

	if (wait) {
		mongoc_write_concern_set_wmajority(wc, s->timeout_ms);
		mongoc_write_concern_set_journal(wc, true);
	} else {
		mongoc_write_concern_set_w(wc, 1);
	}
	BSON_APPEND_BOOL(&opts, "ordered", false);
	mongoc_write_concern_append(wc, &opts);
	if (c) {
		mongoc_collection_t *coll = mg_coll(s, c, "tallies");
		mongoc_bulk_operation_t *bulk = mongoc_collection_create_bulk_operation_with_opts(coll, &opts);

		for (int i = 0; i < n; i++)
			append_upsert(bulk, &v[i]);
		if (!mongoc_bulk_operation_execute(bulk, &reply, &be))
			err = mg_write_failed(&be, &reply);
		bson_destroy(&reply);
		mongoc_bulk_operation_destroy(bulk);
		mongoc_collection_destroy(coll);
		mg_client_back(s, c);
	}
	mongoc_write_concern_destroy(wc);
	bson_destroy(&opts);
	return err;
}

static struct tally *slot_for(struct mg_tallies *t, const char *agent_id, int64_t hour)
{
	for (int i = 0; i < t->n; i++)
		if (t->pending[i].hour == hour && !strcmp(t->pending[i].agent_id, agent_id))
			return &t->pending[i];
	if (t->n == PENDING_MAX)
		return NULL;
	struct tally *y = &t->pending[t->n++];

	*y = (struct tally){ .hour = hour };
	memcpy(y->agent_id, agent_id, ID_TEXT);
	if (t->n == 1)
		pthread_cond_signal(&t->work);
	return y;
}

/* Nothing was sent: add them to what has come since. The lock is held. */
static int put_back(struct mg_tallies *t, const struct tally *v, int n)
{
	int lost = 0;

	for (int i = 0; i < n; i++) {
		struct tally *y = slot_for(t, v[i].agent_id, v[i].hour);

		if (!y) {
			lost++;
			continue;
		}
		y->completed += v[i].completed;
		y->failed += v[i].failed;
		y->duration_ms += v[i].duration_ms;
		for (int k = 0; k < TALLY_BUCKETS; k++)
			y->bucket[k] += v[i].bucket[k];
	}
	return lost;
}

static void flush(struct mg_tallies *t, bool wait)
{
	struct tally *v = xcalloc(PENDING_MAX, sizeof(*v)), *full;
	enum err err = OK;
	int n;

	pthread_mutex_lock(&t->flushing);
	pthread_mutex_lock(&t->lock);
	full = t->pending;
	n = t->n;
	t->pending = v;
	t->n = 0;
	pthread_mutex_unlock(&t->lock);
	if (n)
		err = write_tallies(t->s, full, n, wait);
	if (err == ERR_UNAVAILABLE) {
		pthread_mutex_lock(&t->lock);
		n = put_back(t, full, n);
		pthread_mutex_unlock(&t->lock);
	}
	if (err && n)
		log_warn("%d tallies are lost: %s", n, err_name(err));
	pthread_mutex_unlock(&t->flushing);
	free(full);
}

static void *flusher(void *arg)
{
	struct mg_tallies *t = arg;
	struct timespec nap = { .tv_nsec = FLUSH_MS * 1000000L };

	pthread_mutex_lock(&t->lock);
	while (!t->stop) {
		if (!t->n) {
			pthread_cond_wait(&t->work, &t->lock);
			continue;
		}
		pthread_mutex_unlock(&t->lock);
		nanosleep(&nap, NULL);
		flush(t, false);
		pthread_mutex_lock(&t->lock);
	}
	pthread_mutex_unlock(&t->lock);
	flush(t, true);
	return NULL;
}

void mg_tally(struct mongo_store *s, const struct mg_job *j)
{
	const struct task_change *c = j->op->change;
	int64_t end = c->set.completed_at ? c->set.completed_at : c->set.updated_at;
	struct mg_tallies *t = s->tallies;
	struct tally *y;

	if (!j->ended.agent_id[0])
		return;
	pthread_mutex_lock(&t->lock);
	y = slot_for(t, j->ended.agent_id, end / 3600000);
	if (!y) {
		pthread_mutex_unlock(&t->lock);
		flush(t, false);
		pthread_mutex_lock(&t->lock);
		y = slot_for(t, j->ended.agent_id, end / 3600000);
	}
	if (!y) {
		log_warn("a tally is lost: the store cannot be reached");
		pthread_mutex_unlock(&t->lock);
		return;
	}
	if (c->tally == TALLY_COMPLETED) {
		int64_t took = j->ended.started_at && end > j->ended.started_at ? end - j->ended.started_at : 0;

		y->completed++;
		y->duration_ms += took;
		y->bucket[bucket_of(took)]++;
	} else {
		y->failed++;
	}
	pthread_mutex_unlock(&t->lock);
}

struct mg_tallies *mg_tallies_new(struct mongo_store *s)
{
	struct mg_tallies *t = xcalloc(1, sizeof(*t));

	t->s = s;
	t->pending = xcalloc(PENDING_MAX, sizeof(*t->pending));
	pthread_mutex_init(&t->lock, NULL);
	pthread_mutex_init(&t->flushing, NULL);
	pthread_cond_init(&t->work, NULL);
	t->started = !pthread_create(&t->thread, NULL, flusher, t);
	if (!t->started)
		log_warn("no thread for tallies: they are written when asked for");
	return t;
}

void mg_tallies_free(struct mg_tallies *t)
{
	if (!t)
		return;
	pthread_mutex_lock(&t->lock);
	t->stop = true;
	pthread_cond_signal(&t->work);
	pthread_mutex_unlock(&t->lock);
	if (t->started)
		pthread_join(t->thread, NULL);
	pthread_cond_destroy(&t->work);
	pthread_mutex_destroy(&t->flushing);
	pthread_mutex_destroy(&t->lock);
	free(t->pending);
	free(t);
}

static struct tally *decode(const bson_t *doc, struct arena *a)
{
	struct tally *t = arena_new(a, struct tally);
	bson_iter_t it, sub;

	if (snprintf(t->agent_id, sizeof(t->agent_id), "%s", mg_doc_str(doc, "agent_id")) < 0)
		t->agent_id[0] = '\0';
	t->hour = mg_doc_int(doc, "hour");
	t->completed = mg_doc_int(doc, "completed");
	t->failed = mg_doc_int(doc, "failed");
	t->duration_ms = mg_doc_int(doc, "duration_ms");
	if (bson_iter_init_find(&it, doc, "bucket") && BSON_ITER_HOLDS_DOCUMENT(&it) && bson_iter_recurse(&it, &sub)) {
		while (bson_iter_next(&sub)) {
			long i = strtol(bson_iter_key(&sub), NULL, 10);

			if (i >= 0 && i < TALLY_BUCKETS)
				t->bucket[i] = bson_iter_as_int64(&sub);
		}
	}
	return t;
}

enum err mg_tallies_op(struct store *base, const char *agent_id, int64_t from_hour, struct arena *a,
		       struct tally **out, int *n, struct error *e)
{
	struct mongo_store *s = mg_of(base);
	bson_t filter = BSON_INITIALIZER, opts = BSON_INITIALIZER, sub;
	struct mg_list l = { 0 };
	struct mg_cursor c;
	const bson_t *doc;

	flush(s->tallies, true);
	if (agent_id)
		BSON_APPEND_UTF8(&filter, "agent_id", agent_id);
	BSON_APPEND_DOCUMENT_BEGIN(&filter, "hour", &sub);
	BSON_APPEND_INT64(&sub, "$gte", from_hour);
	bson_append_document_end(&filter, &sub);
	BSON_APPEND_DOCUMENT_BEGIN(&opts, "sort", &sub);
	BSON_APPEND_INT32(&sub, "hour", 1);
	BSON_APPEND_INT32(&sub, "agent_id", 1);
	bson_append_document_end(&opts, &sub);
	enum err err = mg_find(s, NULL, "tallies", &filter, &opts, MG_LOCAL, &c, e);

	if (!err) {
		while ((doc = mg_next(&c)))
			mg_list_add(&l, a, decode(doc, a));
		err = mg_end(&c, e);
	}
	bson_destroy(&filter);
	bson_destroy(&opts);
	if (err)
		return err;
	*out = arena_calloc(a, (size_t)l.n, sizeof(**out));
	for (int i = 0; i < l.n; i++)
		(*out)[i] = *(struct tally *)l.v[i];
	*n = l.n;
	return OK;
}
