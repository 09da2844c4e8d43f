// SPDX-License-Identifier: MIT
/* Opening and closing the MongoDB store, clients, and what the driver's errors mean. */
#include "store_mongo_int.h"

#include <sys/mman.h>
#include <unistd.h>
#include "../base/clock.h"
#include "../base/log.h"

#define DEFAULT_TIMEOUT_MS 5000
#define WIRE_VERSION_5_0 13

enum err mg_error(struct error *e, enum err code, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	if (!e)
		return code;
	va_start(ap, fmt);
	if (vsnprintf(text, sizeof(text), fmt, ap) < 0)
		text[0] = '\0';
	va_end(ap);
	return error_set(e, code, "%s", text);
}

/* --- what errors mean ----------------------------------------------------------------------------- */

/* The server gave up the role or is going down: codes of the driver specifications. */
static bool state_change(uint32_t code)
{
	return code == 10107 || code == 13435 || code == 13436 || code == 10058 || code == 11600 ||
	       code == 11602 || code == 189 || code == 91;
}

/* No connection was made, so nothing was sent. */
static bool never_sent(const bson_error_t *be)
{
	if (be->domain == MONGOC_ERROR_SERVER_SELECTION)
		return true;
	return be->domain == MONGOC_ERROR_STREAM &&
	       (be->code == MONGOC_ERROR_STREAM_CONNECT || be->code == MONGOC_ERROR_STREAM_NAME_RESOLUTION ||
		be->code == MONGOC_ERROR_STREAM_NOT_ESTABLISHED);
}

static bool disk_full(uint32_t code, const char *message)
{
	return code == 14031 || strstr(message, "No space left on device");
}

enum err mg_code_failed(int32_t code, const char *message)
{
	if (code == 11000 || code == 11001)
		return ERR_EXISTS;
	if (code == 10334 || code == 17419 || code == 17420 || code == 2920)
		return ERR_TOO_LARGE;
	if (disk_full((uint32_t)code, message))
		return ERR_DISK_FULL;
	if (state_change((uint32_t)code))
		return ERR_UNCERTAIN;
	return ERR_INTERNAL;
}

enum err mg_write_failed(const bson_error_t *be, const bson_t *reply)
{
	if (never_sent(be))
		return ERR_UNAVAILABLE;
	if (be->domain == MONGOC_ERROR_BSON)
		return strstr(be->message, "too large") ? ERR_TOO_LARGE : ERR_INTERNAL;
	if (disk_full(be->code, be->message))
		return ERR_DISK_FULL;
	if (be->domain == MONGOC_ERROR_STREAM || be->domain == MONGOC_ERROR_WRITE_CONCERN ||
	    be->domain == MONGOC_ERROR_PROTOCOL || state_change(be->code) ||
	    (reply && mg_unconfirmed(reply)))
		return ERR_UNCERTAIN;
	if (be->domain == MONGOC_ERROR_CLIENT && be->code == MONGOC_ERROR_CLIENT_AUTHENTICATE)
		return ERR_UNAVAILABLE;
	return mg_code_failed((int32_t)be->code, be->message);
}

enum err mg_read_failed(const bson_error_t *be)
{
	if (be->code == MONGOC_ERROR_MAX_TIME_MS_EXPIRED && be->domain != MONGOC_ERROR_STREAM)
		return ERR_TIMEOUT;
	if (never_sent(be) || be->domain == MONGOC_ERROR_STREAM || state_change(be->code) ||
	    (be->domain == MONGOC_ERROR_CLIENT && be->code == MONGOC_ERROR_CLIENT_AUTHENTICATE))
		return ERR_UNAVAILABLE;
	return ERR_INTERNAL;
}

bool mg_unconfirmed(const bson_t *reply)
{
	bson_iter_t it, arr;

	if (bson_iter_init_find(&it, reply, "writeConcernError"))
		return true;
	return bson_iter_init_find(&it, reply, "writeConcernErrors") && BSON_ITER_HOLDS_ARRAY(&it) &&
	       bson_iter_recurse(&it, &arr) && bson_iter_next(&arr);
}

/* --- clients and cursors --------------------------------------------------------------------------- */

mongoc_client_t *mg_client(struct mongo_store *s, struct error *e)
{
	mongoc_client_t *c = mongoc_client_pool_pop(s->pool);

	if (!c)
		mg_error(e, ERR_UNAVAILABLE, "no MongoDB connection got free within %d ms", s->timeout_ms);
	return c;
}

void mg_client_back(struct mongo_store *s, mongoc_client_t *c)
{
	if (c)
		mongoc_client_pool_push(s->pool, c);
}

mongoc_collection_t *mg_coll(struct mongo_store *s, mongoc_client_t *c, const char *name)
{
	return mongoc_client_get_collection(c, s->db, name);
}

static enum err cursor_start(struct mongo_store *s, mongoc_client_t *client, const char *coll, bson_t *opts,
			     enum mg_read how, struct mg_cursor *c, struct error *e)
{
	bson_t rc;

	*c = (struct mg_cursor){ .s = s };
	if (!client) {
		c->client = client = mg_client(s, e);
		if (!client)
			return ERR_UNAVAILABLE;
	}
	c->coll = mg_coll(s, client, coll);
	BSON_APPEND_INT64(opts, "maxTimeMS", s->timeout_ms);
	if (how != MG_IN_TXN) {
		BSON_APPEND_DOCUMENT_BEGIN(opts, "readConcern", &rc);
		BSON_APPEND_UTF8(&rc, "level", how == MG_LOCAL ? "local" : "majority");
		bson_append_document_end(opts, &rc);
	}
	return OK;
}

enum err mg_find(struct mongo_store *s, mongoc_client_t *client, const char *coll, const bson_t *filter,
		 bson_t *opts, enum mg_read how, struct mg_cursor *c, struct error *e)
{
	enum err err = cursor_start(s, client, coll, opts, how, c, e);

	if (!err)
		c->cur = mongoc_collection_find_with_opts(c->coll, filter, opts, NULL);
	return err;
}

enum err mg_aggregate(struct mongo_store *s, mongoc_client_t *client, const char *coll, const bson_t *pipeline, bson_t *opts,
		      enum mg_read how, struct mg_cursor *c, struct error *e)
{
	enum err err = cursor_start(s, client, coll, opts, how, c, e);

	if (!err)
		c->cur = mongoc_collection_aggregate(c->coll, MONGOC_QUERY_NONE, pipeline, opts, NULL);
	return err;
}

const bson_t *mg_next(struct mg_cursor *c)
{
	const bson_t *doc;

	return mongoc_cursor_next(c->cur, &doc) ? doc : NULL;
}

enum err mg_end(struct mg_cursor *c, struct error *e)
{
	bson_error_t be;
	const bson_t *reply;
	enum err err = OK;

	if (mongoc_cursor_error_document(c->cur, &be, &reply)) {
		err = mg_error(e, mg_read_failed(&be), "MongoDB: %s", be.message);
		c->transient = reply && mongoc_error_has_label(reply, "TransientTransactionError");
	}
	mongoc_cursor_destroy(c->cur);
	mongoc_collection_destroy(c->coll);
	mg_client_back(c->s, c->client);
	return err;
}

/* --- opening ---------------------------------------------------------------------------------------- */

static void driver_log(mongoc_log_level_t level, const char *domain, const char *message, void *arg)
{
	(void)arg;
	/* Its warnings are about what the calls return anyway. */
	if (level <= MONGOC_LOG_LEVEL_CRITICAL)
		log_warn("MongoDB driver, %s: %s", domain, message);
	else if (level <= MONGOC_LOG_LEVEL_WARNING)
		log_debug("MongoDB driver, %s: %s", domain, message);
}

/*
 * The driver makes a file of counters in /dev/shm as soon as it is loaded, and a process that is killed leaves
 * it behind. Nobody here reads them: the name goes at once.
 */
static void __attribute__((constructor)) drop_counters(void)
{
	char name[32];

	if (snprintf(name, sizeof(name), "/mongoc-%d", (int)getpid()) > 0)
		shm_unlink(name);
}

static void driver_start(void)
{
	mongoc_log_set_handler(driver_log, NULL);
	mongoc_init();
}

/* hello, to whatever server can be had. True with the reply's facts. */
struct hello {
	bool answered;
	bool member;		/* of a replica set, or a mongos of a sharded cluster */
	bool old, denied;
	char message[256];
};

static struct hello say_hello(mongoc_client_t *c)
{
	mongoc_read_prefs_t *any = mongoc_read_prefs_new(MONGOC_READ_NEAREST);
	struct hello h = { 0 };
	bson_t cmd = BSON_INITIALIZER, reply;
	bson_error_t be;

	BSON_APPEND_INT32(&cmd, "hello", 1);
	h.answered = mongoc_client_command_simple(c, "admin", &cmd, any, &reply, &be);
	if (h.answered) {
		h.old = mg_doc_int(&reply, "maxWireVersion") < WIRE_VERSION_5_0;
		h.member = bson_has_field(&reply, "setName") || !strcmp(mg_doc_str(&reply, "msg"), "isdbgrid");
	} else if (be.domain == MONGOC_ERROR_CLIENT && be.code == MONGOC_ERROR_CLIENT_AUTHENTICATE) {
		h.denied = true;
	} else if (snprintf(h.message, sizeof(h.message), "%s", be.message) < 0) {
		h.message[0] = '\0';
	}
	bson_destroy(&reply);
	bson_destroy(&cmd);
	mongoc_read_prefs_destroy(any);
	return h;
}

/* The same of the URI's first host alone, whatever set it belongs to. */
static struct hello hello_direct(const mongoc_uri_t *uri, int timeout_ms)
{
	const mongoc_host_list_t *host = mongoc_uri_get_hosts(uri);
	struct hello h = { 0 };
	mongoc_uri_t *one = host ? mongoc_uri_new_for_host_port(host->host, host->port) : NULL;

	if (!one)
		return h;
	mongoc_uri_set_option_as_bool(one, MONGOC_URI_DIRECTCONNECTION, true);
	mongoc_uri_set_option_as_int32(one, MONGOC_URI_SERVERSELECTIONTIMEOUTMS, timeout_ms);
	if (mongoc_uri_get_tls(uri)) {
		const char *ca = mongoc_uri_get_option_as_utf8(uri, MONGOC_URI_TLSCAFILE, NULL);

		mongoc_uri_set_option_as_bool(one, MONGOC_URI_TLS, true);
		if (ca)
			mongoc_uri_set_option_as_utf8(one, MONGOC_URI_TLSCAFILE, ca);
	}
	mongoc_client_t *c = mongoc_client_new_from_uri(one);

	if (c) {
		h = say_hello(c);
		mongoc_client_destroy(c);
	}
	mongoc_uri_destroy(one);
	return h;
}

static enum err check_server(struct mongo_store *s, const mongoc_uri_t *uri, struct error *e)
{
	const mongoc_host_list_t *host = mongoc_uri_get_hosts(uri);
	const char *where = host ? host->host_and_port : "the address given";
	mongoc_client_t *c = mg_client(s, e);

	if (!c)
		return ERR_UNAVAILABLE;
	struct hello h = say_hello(c);

	mg_client_back(s, c);
	if (h.answered && h.old)
		return error_public(e, ERR_VALIDATION, "MongoDB at %s is too old: 5.0 or newer is needed.", where);
	if (h.answered && h.member)
		return OK;
	if (h.denied || strstr(h.message, "uthentication failed"))
		return error_public(e, ERR_VALIDATION, "MongoDB at %s refuses the user or the password of STORE_URI.", where);
	struct hello direct = h.answered ? h : hello_direct(uri, s->timeout_ms < 2000 ? s->timeout_ms : 2000);

	if (direct.answered && !direct.member)
		return error_public(e, ERR_VALIDATION,
				    "MongoDB at %s is not a member of a replica set, which transactions need. Start "
				    "mongod with --replSet rs0 and run once: mongosh --host %s --eval 'rs.initiate()'",
				    where, where);
	error_set(e, ERR_UNAVAILABLE, "%s", h.message);
	return error_public(e, ERR_UNAVAILABLE, "MongoDB at %s cannot be reached%s.", where,
			    direct.answered ? " as the replica set that STORE_URI names, or it has no primary" : "");
}

/* Durability, time limits and pool size are ours; the rest of the URI is the operator's. */
static bool configure(mongoc_uri_t *uri, const struct mongo_store *s, int readers)
{
	mongoc_write_concern_t *wc = mongoc_write_concern_new();
	const bson_t *given = mongoc_uri_get_options(uri);
	bool good = true;

	mongoc_write_concern_set_wmajority(wc, s->timeout_ms);
	mongoc_write_concern_set_journal(wc, true);
	mongoc_uri_set_write_concern(uri, wc);
	mongoc_write_concern_destroy(wc);
	good &= mongoc_uri_set_option_as_bool(uri, MONGOC_URI_RETRYWRITES, true);
	good &= mongoc_uri_set_option_as_bool(uri, MONGOC_URI_RETRYREADS, true);
	good &= mongoc_uri_set_option_as_int32(uri, MONGOC_URI_SERVERSELECTIONTIMEOUTMS, s->timeout_ms);
	good &= mongoc_uri_set_option_as_bool(uri, MONGOC_URI_SERVERSELECTIONTRYONCE, false);
	good &= mongoc_uri_set_option_as_int32(uri, MONGOC_URI_CONNECTTIMEOUTMS, s->timeout_ms);
	/* Past wtimeout and maxTimeMS, so that the server's own answer comes first. */
	good &= mongoc_uri_set_option_as_int32(uri, MONGOC_URI_SOCKETTIMEOUTMS, s->timeout_ms + 2000);
	good &= mongoc_uri_set_option_as_int32(uri, MONGOC_URI_WAITQUEUETIMEOUTMS, s->timeout_ms);
	good &= mongoc_uri_set_option_as_int32(uri, MONGOC_URI_MAXPOOLSIZE, readers + MG_COMMITTERS + 3);
	/* Find the other members by itself, as every newer driver does. */
	if (!bson_has_field(given, MONGOC_URI_DIRECTCONNECTION) && !mongoc_uri_get_replica_set(uri))
		good &= mongoc_uri_set_option_as_bool(uri, MONGOC_URI_DIRECTCONNECTION, false);
	return good;
}

static const struct store_ops ops;

static enum err start(struct mongo_store *s, const mongoc_uri_t *uri, struct error *e)
{
	bson_error_t be;
	enum err err;

	s->pool = mongoc_client_pool_new_with_error(uri, &be);
	if (!s->pool)
		return error_public(e, ERR_VALIDATION, "STORE_URI: %.200s", be.message);
	mongoc_client_pool_set_error_api(s->pool, MONGOC_ERROR_API_VERSION_2);
	const char *name = mongoc_uri_get_appname(uri);

	s->appname = xstrdup(name ? name : "mcp");
	if (!name)
		mongoc_client_pool_set_appname(s->pool, s->appname);
	err = check_server(s, uri, e);
	if (!err)
		err = mg_schema(s, e);
	if (!err) {
		s->tallies = mg_tallies_new(s);
		s->orphans = mg_orphans_new(s);
		s->lanes = mg_lanes_new();
		s->units = mg_units_new();
		s->gets = mg_gets_new();
		err = mg_queue_new(s, &s->queue, e);
	}
	return err;
}

static void mongo_close(struct store *base)
{
	struct mongo_store *s = mg_of(base);

	mg_queue_free(s->queue);
	mg_tallies_free(s->tallies);
	mg_orphans_free(s->orphans);
	mg_lanes_free(s->lanes);
	mg_units_free(s->units);
	mg_gets_free(s->gets);
	if (s->pool)
		mongoc_client_pool_destroy(s->pool);
	pthread_mutex_destroy(&s->depth.lock);
	free(s->db);
	free(s->appname);
	free(s);
}

enum err store_mongo_open(const struct store_options *o, struct store **out, struct error *e)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	bson_error_t be;
	enum err err = ERR_INTERNAL;

	*out = NULL;
	pthread_once(&once, driver_start);
	mongoc_uri_t *uri = mongoc_uri_new_with_error(o->uri, &be);

	if (!uri)
		return error_public(e, ERR_VALIDATION, "STORE_URI is not a MongoDB address: %.180s", be.message);
	struct mongo_store *s = xcalloc(1, sizeof(*s));
	const char *db = mongoc_uri_get_database(uri);

	s->base.ops = &ops;
	s->timeout_ms = o->timeout_ms > 0 ? o->timeout_ms : DEFAULT_TIMEOUT_MS;
	s->db = xstrdup(db && *db ? db : "mcp");
	pthread_mutex_init(&s->depth.lock, NULL);
	if (configure(uri, s, o->readers > 0 ? o->readers : 8))
		err = start(s, uri, e);
	else
		error_set(e, err, "options of the MongoDB address were not taken");
	mongoc_uri_destroy(uri);
	if (err)
		mongo_close(&s->base);
	else
		*out = &s->base;
	return err;
}

static enum err mongo_ping(struct store *base, struct error *e)
{
	struct mongo_store *s = mg_of(base);
	bson_t filter = BSON_INITIALIZER, opts = BSON_INITIALIZER;
	struct mg_cursor c;

	BSON_APPEND_INT64(&opts, "limit", 1);
	BSON_APPEND_UTF8(&filter, "_id", "schema");
	enum err err = mg_find(s, NULL, "meta", &filter, &opts, MG_MAJORITY, &c, e);

	if (!err) {
		(void)mg_next(&c);
		err = mg_end(&c, e);
	}
	bson_destroy(&filter);
	bson_destroy(&opts);
	return err;
}

enum err store_mongo_drop(struct store *base)
{
	struct mongo_store *s = mg_of(base);
	mongoc_client_t *c = mg_client(s, NULL);
	bson_error_t be;

	if (!c)
		return ERR_UNAVAILABLE;
	mongoc_database_t *db = mongoc_client_get_database(c, s->db);
	bool good = mongoc_database_drop(db, &be);

	mongoc_database_destroy(db);
	mg_client_back(s, c);
	return good ? OK : mg_write_failed(&be, NULL);
}

static const struct store_ops ops = {
	.name = "mongodb",
	.prefers_queue = true,
	.close = mongo_close,
	.ping = mongo_ping,
	.apply = mg_apply,
	.claim = mg_claim_op,
	.tasks_get = mg_tasks_get,
	.tasks_list = mg_tasks_list,
	.stage_counts = mg_stage_counts,
	.queue_depth = mg_queue_depth,
	.tasks_due = mg_tasks_due,
	.next_due = mg_next_due,
	.slot_waiters = mg_slot_waiters,
	.dep_waiters = mg_dep_waiters,
	.tasks_sweep = mg_tasks_sweep,
	.tasks_purge = mg_tasks_purge,
	.rec_get = mg_rec_get,
	.recs_list = mg_recs_list,
	.recs_purge = mg_recs_purge,
	.tallies = mg_tallies_op,
};
