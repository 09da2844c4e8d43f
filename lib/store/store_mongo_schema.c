// SPDX-License-Identifier: MIT
/*
 * Collections, their validators and indexes. Everything here may run in several processes at once and any
 * number of times: what exists stays. A change of a validator raises SCHEMA_VERSION, and the first
 * process that starts with it changes the validators in place; a change of an index gets a new name.
 *
 * Indexes of tasks. Lists are in the order of _id, so each index ends in it; a filter that leaves out a
 * leading field with few values names them all ({ $in: … }) and the server merges the few ranges. So one index serves
 * status, hold and priority, alone or together. What only some tasks need is in partial indexes: an ordinary task
 * is in five at insert.
 */
#include "store_mongo_int.h"

#include "../base/log.h"

#define SCHEMA_VERSION 1

/* --- validators ---------------------------------------------------------------------------------------------- */

static const char tasks_schema[] =
	"{\"$jsonSchema\":{\"bsonType\":\"object\",\"required\":[\"_id\",\"type\",\"status\",\"phase\",\"priority\","
	"\"classification\",\"hold\",\"lane\",\"order_key\",\"stage\",\"attempt\",\"fence\",\"progress\",\"timeout\","
	"\"max_retries\",\"retry\",\"created_at\",\"updated_at\"],\"properties\":{"
	"\"_id\":{\"bsonType\":\"string\",\"minLength\":1},\"type\":{\"bsonType\":\"string\"},"
	"\"status\":{\"enum\":[\"pending\",\"assigned\",\"running\",\"retrying\",\"completed\",\"failed\",\"cancelled\"]},"
	"\"phase\":{\"enum\":[\"queued\",\"leased\",\"ended\"]},"
	"\"priority\":{\"enum\":[\"critical\",\"high\",\"medium\",\"low\"]},"
	"\"classification\":{\"enum\":[\"public\",\"internal\",\"confidential\",\"restricted\",\"phi\"]},"
	"\"hold\":{\"enum\":[\"none\",\"time\",\"dependencies\",\"slot\",\"pause\"]},"
	"\"lane\":{\"bsonType\":\"long\"},\"order_key\":{\"bsonType\":\"long\"},"
	"\"stage\":{\"bsonType\":\"int\",\"minimum\":0,\"maximum\":6},"
	"\"attempt\":{\"bsonType\":\"long\"},\"fence\":{\"bsonType\":\"long\"},"
	"\"progress\":{\"bsonType\":\"double\"},\"timeout\":{\"bsonType\":\"long\"},"
	"\"max_retries\":{\"bsonType\":\"long\"},\"retry\":{\"bsonType\":\"object\"},"
	"\"parameters\":{\"bsonType\":\"string\"},\"result\":{\"bsonType\":\"string\"},"
	"\"error\":{\"bsonType\":\"string\"},\"attempts\":{\"bsonType\":\"string\"},"
	"\"assigned_agent_id\":{\"bsonType\":\"string\"},\"execution_id\":{\"bsonType\":\"string\"},"
	"\"pipeline_id\":{\"bsonType\":\"string\"},\"lease_expires_at\":{\"bsonType\":\"date\"},"
	"\"due_at\":{\"bsonType\":\"date\"},\"deadline\":{\"bsonType\":\"date\"},"
	"\"created_at\":{\"bsonType\":\"date\"},\"updated_at\":{\"bsonType\":\"date\"},"
	"\"started_at\":{\"bsonType\":\"date\"},\"completed_at\":{\"bsonType\":\"date\"}}}}";

static const char tallies_schema[] =
	"{\"$jsonSchema\":{\"bsonType\":\"object\",\"required\":[\"agent_id\",\"hour\"],\"properties\":{"
	"\"agent_id\":{\"bsonType\":\"string\"},\"hour\":{\"bsonType\":\"long\"}}}}";

static void rec_schema(const struct mg_kind *k, bson_t *out)
{
	bson_t schema, props, one, required;

	BSON_APPEND_DOCUMENT_BEGIN(out, "$jsonSchema", &schema);
	BSON_APPEND_UTF8(&schema, "bsonType", "object");
	BSON_APPEND_ARRAY_BEGIN(&schema, "required", &required);
	BSON_APPEND_UTF8(&required, "0", "_id");
	BSON_APPEND_UTF8(&required, "1", "rev");
	bson_append_array_end(&schema, &required);
	BSON_APPEND_DOCUMENT_BEGIN(&schema, "properties", &props);
	const struct { const char *name, *type; } v[] = {
		{ "_id", "string" }, { "rev", "long" }, { "body", "string" }, { k->s[0], "string" },
		{ k->s[1], "string" }, { k->s[2], "string" }, { k->n[0], "long" }, { k->n[1], "long" },
	};

	for (size_t i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
		BSON_APPEND_DOCUMENT_BEGIN(&props, v[i].name, &one);
		BSON_APPEND_UTF8(&one, "bsonType", v[i].type);
		bson_append_document_end(&props, &one);
	}
	bson_append_document_end(&schema, &props);
	bson_append_document_end(out, &schema);
}

/* --- indexes --------------------------------------------------------------------------------------------------- */

/* X(name, key, partialFilterExpression or NULL) */
#define TASK_INDEXES(X) \
	X("state", "{\"status\":1,\"hold\":1,\"priority\":1,\"_id\":1}", NULL) \
	X("type", "{\"type\":1,\"_id\":1}", NULL) \
	X("creator", "{\"created_by\":1,\"_id\":1}", "{\"created_by\":{\"$exists\":true}}") \
	X("agent", "{\"assigned_agent_id\":1,\"status\":1,\"_id\":1}", "{\"assigned_agent_id\":{\"$exists\":true}}") \
	X("pipeline", "{\"pipeline_id\":1,\"_id\":1}", "{\"pipeline_id\":{\"$exists\":true}}") \
	X("execution", "{\"execution_id\":1,\"stage\":1,\"status\":1,\"_id\":1}", \
	  "{\"execution_id\":{\"$exists\":true}}") \
	X("stage", "{\"execution_id\":1,\"stage\":1,\"stage_seq\":1,\"_id\":1}", \
	  "{\"execution_id\":{\"$exists\":true}}") \
	X("claim", "{\"status\":1,\"hold\":1,\"lane\":1,\"order_key\":1,\"_id\":1}", \
	  "{\"status\":\"pending\",\"hold\":\"none\"}") \
	X("due", "{\"due_at\":1}", "{\"phase\":\"queued\",\"hold\":\"time\"}") \
	X("lease", "{\"lease_expires_at\":1}", "{\"phase\":\"leased\"}") \
	X("timeout", "{\"status\":1,\"timeout\":1,\"started_at\":1}", "{\"status\":\"running\"}") \
	X("deadline", "{\"deadline\":1}", "{\"phase\":{\"$gt\":\"ended\"},\"deadline\":{\"$exists\":true}}") \
	X("slot", "{\"concurrency_key\":1,\"order_key\":1,\"_id\":1}", "{\"phase\":\"queued\",\"hold\":\"slot\"}") \
	X("slot_any", "{\"order_key\":1,\"_id\":1}", "{\"phase\":\"queued\",\"hold\":\"slot\"}") \
	X("ended", "{\"classification\":1,\"completed_at\":1}", "{\"phase\":\"ended\"}")

struct index { const char *coll, *name, *key, *partial; bool unique; };

static const struct index indexes[] = {
#define X(name, key, partial) { "tasks", name, key, partial, false },
	TASK_INDEXES(X)
#undef X
	{ "tallies", "agent", "{\"agent_id\":1,\"hour\":1}", NULL, true },
	{ "tallies", "hour", "{\"hour\":1}", NULL, false },
	{ "agents", "type", "{\"type\":1,\"_id\":1}", NULL, false },
	{ "agents", "role", "{\"role\":1,\"_id\":1}", NULL, false },
	{ "agents", "name", "{\"name\":1,\"_id\":1}", NULL, false },
	{ "pipelines", "name", "{\"name\":1,\"_id\":1}", NULL, false },
	{ "executions", "pipeline", "{\"pipeline_id\":1,\"_id\":1}", NULL, false },
	{ "executions", "status", "{\"status\":1,\"_id\":1}", NULL, false },
	{ "executions", "creator", "{\"created_by\":1,\"_id\":1}", NULL, false },
	{ "executions", "created", "{\"created_at\":1,\"_id\":1}", NULL, false },
	{ "executions", "live", "{\"live\":1,\"_id\":1}", "{\"live\":{\"$gt\":0}}", false },
	{ "blobs", "owner", "{\"owner\":1,\"_id\":1}", NULL, false },
	{ "blobs", "created", "{\"created_at\":1,\"_id\":1}", NULL, false },
	{ "task_logs", "task", "{\"task_id\":1,\"_id\":1}", NULL, false },
	{ "users", "username", "{\"username\":1}", "{\"username\":{\"$exists\":true}}", true },
	{ "users", "role", "{\"role\":1,\"_id\":1}", NULL, false },
	{ "api_keys", "hash", "{\"key_hash\":1}", "{\"key_hash\":{\"$exists\":true}}", true },
	{ "api_keys", "owner", "{\"owner\":1,\"_id\":1}", NULL, false },
	{ "sessions", "subject", "{\"subject\":1,\"_id\":1}", NULL, false },
	{ "sessions", "expires", "{\"expires_at\":1,\"_id\":1}", NULL, false },
	{ "revocations", "subject", "{\"subject\":1,\"_id\":1}", NULL, false },
	{ "revocations", "expires", "{\"expires_at\":1,\"_id\":1}", NULL, false },
	{ "idempotency", "expires", "{\"expires_at\":1,\"_id\":1}", NULL, false },
	{ "outbox", "state", "{\"state\":1,\"due_at\":1,\"_id\":1}", NULL, false },
	{ "outbox", "kind", "{\"kind\":1,\"_id\":1}", NULL, false },
	{ "outbox", "target", "{\"target\":1,\"_id\":1}", NULL, false },
	{ "outbox", "due", "{\"due_at\":1,\"_id\":1}", NULL, false },
	{ "audit", "chain", "{\"chain_id\":1,\"_id\":1}", NULL, false },
	{ "audit", "actor", "{\"actor\":1,\"_id\":1}", NULL, false },
	{ "audit", "resource", "{\"resource_id\":1,\"_id\":1}", NULL, false },
	{ "audit", "time", "{\"time\":1,\"_id\":1}", NULL, false },
	{ "alerts", "kind", "{\"kind\":1,\"_id\":1}", NULL, false },
	{ "alerts", "status", "{\"status\":1,\"_id\":1}", NULL, false },
	{ "alerts", "resolved", "{\"resolved_at\":1,\"_id\":1}", NULL, false },
	{ "leases", "expires", "{\"expires_at\":1,\"_id\":1}", NULL, false },
};
#define N_INDEXES (sizeof(indexes) / sizeof(indexes[0]))

static bool json_into(bson_t *doc, const char *key, const char *json)
{
	bson_t sub;
	bson_error_t be;

	if (!bson_init_from_json(&sub, json, -1, &be)) {
		log_warn("schema: %s: %s", be.message, json);
		return false;
	}
	bool good = BSON_APPEND_DOCUMENT(doc, key, &sub);

	bson_destroy(&sub);
	return good;
}

/* --- applying ------------------------------------------------------------------------------------------------------ */

struct maker {
	struct mongo_store *s;
	mongoc_client_t *client;
	bson_t have;		/* names of the collections there are */
	bool revise;		/* validators are of an older version */
	struct error *e;
};

static enum err run(struct maker *m, const bson_t *cmd, int32_t fine)
{
	bson_t reply, opts = BSON_INITIALIZER;
	bson_error_t be;
	mongoc_write_concern_t *wc = mongoc_write_concern_new();

	mongoc_write_concern_set_wmajority(wc, m->s->timeout_ms);
	mongoc_write_concern_append(wc, &opts);
	bool good = mongoc_client_write_command_with_opts(m->client, m->s->db, cmd, &opts, &reply, &be) ||
		    (fine && (int32_t)be.code == fine);

	mongoc_write_concern_destroy(wc);
	bson_destroy(&opts);
	bson_destroy(&reply);
	return good ? OK : mg_error(m->e, mg_write_failed(&be, NULL), "schema: %s", be.message);
}

static enum err make_collection(struct maker *m, const char *name, const bson_t *validator)
{
	bson_t cmd = BSON_INITIALIZER;
	bool there = bson_has_field(&m->have, name);
	enum err err = OK;

	if (!there || m->revise) {
		BSON_APPEND_UTF8(&cmd, there ? "collMod" : "create", name);
		BSON_APPEND_DOCUMENT(&cmd, "validator", validator);
		err = run(m, &cmd, 48);		/* NamespaceExists: another process was faster */
	}
	bson_destroy(&cmd);
	return err;
}

static enum err make_indexes(struct maker *m, const char *coll)
{
	bson_t cmd = BSON_INITIALIZER, arr, one;
	uint32_t n = 0;
	bool good = true;
	const char *idx;
	char buf[16];
	enum err err = OK;

	BSON_APPEND_UTF8(&cmd, "createIndexes", coll);
	BSON_APPEND_ARRAY_BEGIN(&cmd, "indexes", &arr);
	for (size_t i = 0; i < N_INDEXES; i++) {
		const struct index *x = &indexes[i];

		if (strcmp(x->coll, coll))
			continue;
		bson_uint32_to_string(n++, &idx, buf, sizeof(buf));
		BSON_APPEND_DOCUMENT_BEGIN(&arr, idx, &one);
		good &= json_into(&one, "key", x->key);
		BSON_APPEND_UTF8(&one, "name", x->name);
		if (x->partial)
			good &= json_into(&one, "partialFilterExpression", x->partial);
		if (x->unique)
			BSON_APPEND_BOOL(&one, "unique", true);
		bson_append_document_end(&arr, &one);
	}
	bson_append_array_end(&cmd, &arr);
	if (!good)
		err = mg_error(m->e, ERR_INTERNAL, "schema: index text of %s", coll);
	else if (n)
		err = run(m, &cmd, 0);
	bson_destroy(&cmd);
	return err;
}

static enum err make_from_json(struct maker *m, const char *name, const char *json)
{
	bson_t validator;
	bson_error_t be;

	if (!bson_init_from_json(&validator, json, -1, &be))
		return mg_error(m->e, ERR_INTERNAL, "schema of %s: %s", name, be.message);
	enum err err = make_collection(m, name, &validator);

	bson_destroy(&validator);
	return err ? err : make_indexes(m, name);
}

static enum err list_collections(struct maker *m)
{
	mongoc_database_t *db = mongoc_client_get_database(m->client, m->s->db);
	bson_error_t be;
	char **names = mongoc_database_get_collection_names_with_opts(db, NULL, &be);
	enum err err = OK;

	if (!names)
		err = mg_error(m->e, mg_read_failed(&be), "schema: %s", be.message);
	for (char **p = names; p && *p; p++)
		BSON_APPEND_BOOL(&m->have, *p, true);
	bson_strfreev(names);
	mongoc_database_destroy(db);
	return err;
}

static enum err read_version(struct maker *m, int64_t *version)
{
	bson_t filter = BSON_INITIALIZER, opts = BSON_INITIALIZER;
	struct mg_cursor c;
	const bson_t *doc;

	*version = 0;
	BSON_APPEND_UTF8(&filter, "_id", "schema");
	enum err err = mg_find(m->s, m->client, "meta", &filter, &opts, MG_MAJORITY, &c, m->e);

	if (!err) {
		doc = mg_next(&c);
		if (doc)
			*version = mg_doc_int(doc, "version");
		err = mg_end(&c, m->e);
	}
	bson_destroy(&filter);
	bson_destroy(&opts);
	return err;
}

static enum err write_version(struct maker *m)
{
	bson_t filter = BSON_INITIALIZER, update = BSON_INITIALIZER, opts = BSON_INITIALIZER, max;
	mongoc_collection_t *meta = mg_coll(m->s, m->client, "meta");
	bson_error_t be;
	bool good = false;

	BSON_APPEND_UTF8(&filter, "_id", "schema");
	BSON_APPEND_DOCUMENT_BEGIN(&update, "$max", &max);
	BSON_APPEND_INT64(&max, "version", SCHEMA_VERSION);
	bson_append_document_end(&update, &max);
	BSON_APPEND_BOOL(&opts, "upsert", true);
	/* Two upserts at once: one may find the other's document. */
	for (int tries = 0; tries < 3 && !good; tries++) {
		good = mongoc_collection_update_one(meta, &filter, &update, &opts, NULL, &be);
		if (!good && be.code != 11000)
			break;
	}
	mongoc_collection_destroy(meta);
	bson_destroy(&filter);
	bson_destroy(&update);
	bson_destroy(&opts);
	return good ? OK : mg_error(m->e, mg_write_failed(&be, NULL), "schema: %s", be.message);
}

static enum err make_all(struct maker *m)
{
	enum err err = make_from_json(m, "tasks", tasks_schema);

	if (!err)
		err = make_from_json(m, "tallies", tallies_schema);
	for (int i = 0; i < REC_KIND_COUNT && !err; i++) {
		const struct mg_kind *k = mg_kind((enum record_kind)i);
		bson_t validator = BSON_INITIALIZER;

		rec_schema(k, &validator);
		err = make_collection(m, k->coll, &validator);
		bson_destroy(&validator);
		if (!err)
			err = make_indexes(m, k->coll);
	}
	return err;
}

enum err mg_schema(struct mongo_store *s, struct error *e)
{
	struct maker m = { .s = s, .e = e, .have = BSON_INITIALIZER };
	int64_t version = 0;
	enum err err = ERR_UNAVAILABLE;

	m.client = mg_client(s, e);
	if (m.client)
		err = list_collections(&m);
	if (!err)
		err = read_version(&m, &version);
	if (!err && version > SCHEMA_VERSION)
		err = error_public(e, ERR_VALIDATION, "The database %s was made by a newer version (schema %lld, this one "
				   "knows %d).", s->db, (long long)version, SCHEMA_VERSION);
	m.revise = version < SCHEMA_VERSION;
	if (!err)
		err = make_all(&m);
	if (!err && m.revise)
		err = write_version(&m);
	mg_client_back(s, m.client);
	bson_destroy(&m.have);
	return err;
}
