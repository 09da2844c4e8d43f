// SPDX-License-Identifier: MIT
/*
 * Transactions whose process was killed. mongod keeps an open transaction, and with it the documents that it has
 * written, for transactionLifetimeLimitSeconds: a minute, in which nobody can change them. So a thread of
 * each store looks once a second for transactions of this program that nothing has been heard of
 * for IDLE_MS, and ends their sessions. Should the process be alive and only slow, its commit fails in
 * the way that makes it try the whole again: nothing is lost.
 */
#include "store_mongo_int.h"

#include <time.h>
#include "../base/log.h"

#define LOOK_EVERY_MS	1000
#define IDLE_MS		1500

struct mg_orphans {
	struct mongo_store *s;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool stop;
	bool started;
	pthread_t thread;
};

static void find_orphans(const struct mongo_store *s, mongoc_database_t *admin, bson_t *sessions, int *n)
{
	bson_t *pipeline = BCON_NEW("pipeline", "[",
		"{", "$currentOp", "{", "idleSessions", BCON_BOOL(true), "allUsers", BCON_BOOL(false), "}", "}",
		"{", "$match", "{", "type", BCON_UTF8("idleSession"), "appName", BCON_UTF8(s->appname),
		"transaction.timeInactiveMicros", "{", "$gt", BCON_INT64(IDLE_MS * 1000), "}", "}", "}",
		"{", "$project", "{", "lsid.id", BCON_INT32(1), "}", "}", "]");
	mongoc_cursor_t *cur = mongoc_database_aggregate(admin, pipeline, NULL, NULL);
	const bson_t *doc;
	bson_iter_t it, id;
	const char *idx;
	char buf[16];
	bson_t one;

	while (mongoc_cursor_next(cur, &doc)) {
		if (!bson_iter_init(&it, doc) || !bson_iter_find_descendant(&it, "lsid.id", &id))
			continue;
		bson_uint32_to_string((uint32_t)(*n)++, &idx, buf, sizeof(buf));
		BSON_APPEND_DOCUMENT_BEGIN(sessions, idx, &one);
		BSON_APPEND_VALUE(&one, "id", bson_iter_value(&id));
		bson_append_document_end(sessions, &one);
	}
	mongoc_cursor_destroy(cur);
	bson_destroy(pipeline);
}

static void end_orphans(struct mongo_store *s)
{
	mongoc_client_t *c = mg_client(s, NULL);
	bson_t cmd = BSON_INITIALIZER, sessions = BSON_INITIALIZER;
	bson_error_t be;
	int n = 0;

	if (c) {
		mongoc_database_t *admin = mongoc_client_get_database(c, "admin");

		find_orphans(s, admin, &sessions, &n);
		BSON_APPEND_ARRAY(&cmd, "killSessions", &sessions);
		if (n && mongoc_database_command_simple(admin, &cmd, NULL, NULL, &be))
			log_info("ended %d transactions that a dead process had left open", n);
		else if (n)
			log_warn("cannot end %d abandoned transactions: %s", n, be.message);
		mongoc_database_destroy(admin);
		mg_client_back(s, c);
	}
	bson_destroy(&cmd);
	bson_destroy(&sessions);
}

static void *keeper(void *arg)
{
	struct mg_orphans *o = arg;
	struct timespec until;

	pthread_mutex_lock(&o->lock);
	while (!o->stop) {
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_sec += LOOK_EVERY_MS / 1000;
		if (pthread_cond_timedwait(&o->wake, &o->lock, &until) == 0)
			continue;
		pthread_mutex_unlock(&o->lock);
		end_orphans(o->s);
		pthread_mutex_lock(&o->lock);
	}
	pthread_mutex_unlock(&o->lock);
	return NULL;
}

struct mg_orphans *mg_orphans_new(struct mongo_store *s)
{
	struct mg_orphans *o = xcalloc(1, sizeof(*o));
	pthread_condattr_t mono;

	o->s = s;
	pthread_mutex_init(&o->lock, NULL);
	pthread_condattr_init(&mono);
	pthread_condattr_setclock(&mono, CLOCK_MONOTONIC);
	pthread_cond_init(&o->wake, &mono);
	pthread_condattr_destroy(&mono);
	o->started = !pthread_create(&o->thread, NULL, keeper, o);
	if (!o->started)
		log_warn("no thread to look for abandoned transactions");
	return o;
}

void mg_orphans_free(struct mg_orphans *o)
{
	if (!o)
		return;
	pthread_mutex_lock(&o->lock);
	o->stop = true;
	pthread_cond_signal(&o->wake);
	pthread_mutex_unlock(&o->lock);
	if (o->started)
		pthread_join(o->thread, NULL);
	pthread_cond_destroy(&o->wake);
	pthread_mutex_destroy(&o->lock);
	free(o);
}
