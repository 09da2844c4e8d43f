// SPDX-License-Identifier: MIT
/*
 * Inside the MongoDB store; nobody but lib/store/store_mongo*.c includes this.
 *
 * Durability. Every write waits for w:majority with j:true, so an acknowledged change survives a
 * power cut and a failover. `lazy` ops take the same way: they ride in the same bulk, and a bulk waits
 * once however many ops it has. Only tallies are written with w:1.
 *
 * Reads go to the primary with read concern majority: what a read shows cannot be rolled back. That
 * matters because callers answer from what they read (a repeated "complete" is told 200 when the row says
 * completed), and it costs nothing: an own write is acknowledged when it is in the majority snapshot, so
 * reads see it. Only the search for claim candidates reads with `local`: there the freshest state
 * is wanted and the compare-and-set that follows decides.
 *
 * Grouping (store_mongo_queue.c). mongod does 1,700 single durable writes a second for one client and a
 * hundred times that in bulks. So single-op units of all threads go into queues, one per
 * collection and kind, and a few committer threads each take all of one queue and write it as one
 * unordered bulk. A bulk update tells only how many documents it changed; which ones is found by a
 * token: each update pushes its own random number onto the array `w` of the document (the last MG_TOKENS
 * are kept), and one find by _id with the same session reads the documents back. That find also serves
 * the rows that callers want, and tells why an op was refused. When all were made and nobody wants a
 * row, it is left out. A group of one is a findAndModify: one round trip.
 *
 * Changes of many tasks are one update statement (store_mongo_update.c), since mongod spends more on a
 * statement than on the change itself.
 *
 * Units of several ops are transactions, run by the calling thread (store_mongo_txn.c).
 *
 * Outcomes. A command that was never sent (no server to be had) is ERR_UNAVAILABLE. One that was sent and
 * not answered, or answered with a write concern error, is ERR_UNCERTAIN: the driver has then retried it
 * once by itself.
 */
#ifndef STORE_STORE_MONGO_INT_H
#define STORE_STORE_MONGO_INT_H

#include <mongoc/mongoc.h>
#include <pthread.h>
#include "store_mongo.h"

#define MG_TOKENS	4		/* tokens kept in a document */
#define MG_BULK_OPS	1000		/* ops in one bulk … */
#define MG_BULK_BYTES	(8 << 20)	/* … and their size: one statement, a document, holds their table */
#define MG_DOC_MAX	((16 << 20) - (16 << 10))	/* a document's size, with room for what updates add */
#define MG_COMMITTERS	2		/* one waits for the journal while the other gathers; more make smaller groups */

/* --- the store ------------------------------------------------------------------------------------- */

struct mg_queue;
struct mg_tallies;
struct mg_orphans;
struct mg_lanes;
struct mg_units;

struct mongo_store {
	struct store base;	/* first */
	mongoc_client_pool_t *pool;
	char *db;
	char *appname;
	int timeout_ms;
	struct mg_queue *queue;
	struct mg_tallies *tallies;
	struct mg_orphans *orphans;
	struct mg_lanes *lanes;
	struct mg_units *units;
	struct mg_gets *gets;
	struct {
		pthread_mutex_t lock;
		struct queue_depth value;
		int64_t valid_until;	/* mono_us() */
	} depth;
};

static inline struct mongo_store *mg_of(struct store *s)
{
	return (struct mongo_store *)s;
}

/* A client from the pool; NULL with ERR_UNAVAILABLE in e when none got free in time. */
mongoc_client_t *mg_client(struct mongo_store *s, struct error *e);
void mg_client_back(struct mongo_store *s, mongoc_client_t *c);
mongoc_collection_t *mg_coll(struct mongo_store *s, mongoc_client_t *c, const char *name);
/* error_set() that takes a NULL e. */
enum err mg_error(struct error *e, enum err code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* What a failed write or read means. reply may be NULL. */
enum err mg_write_failed(const bson_error_t *be, const bson_t *reply);
enum err mg_read_failed(const bson_error_t *be);
/* The same for one entry of writeErrors by its server code: ERR_EXISTS for a duplicate key. */
enum err mg_code_failed(int32_t code, const char *message);
/* True when the reply says that the write concern was not met. */
bool mg_unconfirmed(const bson_t *reply);

/* --- cursors --------------------------------------------------------------------------------------- */

struct mg_cursor {
	struct mongo_store *s;
	mongoc_client_t *client;	/* taken from the pool, NULL when the caller's is used */
	mongoc_collection_t *coll;
	mongoc_cursor_t *cur;
	bool transient;		/* set by mg_end(): a transaction failed in a way that asks for another try */
};

/*
 * Start a find or (pipeline) an aggregate. opts is added to: maxTimeMS. client NULL: one from the
 * pool. With MG_LOCAL the read concern is local instead of majority; in a transaction neither is given.
 */
enum mg_read { MG_MAJORITY, MG_LOCAL, MG_IN_TXN };
enum err mg_find(struct mongo_store *s, mongoc_client_t *client, const char *coll, const bson_t *filter,
		 bson_t *opts, enum mg_read how, struct mg_cursor *c, struct error *e) MUST_CHECK;
enum err mg_aggregate(struct mongo_store *s, mongoc_client_t *client, const char *coll, const bson_t *pipeline, bson_t *opts,
		      enum mg_read how, struct mg_cursor *c, struct error *e) MUST_CHECK;
/* The next document, valid until the next call; NULL at the end and on an error, which mg_end() tells. */
const bson_t *mg_next(struct mg_cursor *c);
enum err mg_end(struct mg_cursor *c, struct error *e) MUST_CHECK;

/* --- documents (store_mongo_bson.c) ---------------------------------------------------------------- */

extern const char *const mg_status_names[TASK_STATUS_COUNT];
extern const char *const mg_priority_names[PRIO_COUNT];
extern const char *const mg_class_names[CLASS_COUNT];
extern const char *const mg_hold_names[HOLD_COUNT];
int mg_enum_of(const char *const *names, int count, const char *name);	/* 0 when unknown */

/*
 * Where a task stands, as one word for partial indexes; kept in step with status by every write.
 * "ended" sorts before the two others, so that { $gt: "ended" } means live.
 */
const char *mg_phase(enum task_status s);

void mg_task_encode(const struct task *t, bson_t *doc);
struct task *mg_task_decode(const bson_t *doc, struct arena *a);
void mg_task_brief(bson_t *opts);			/* append the projection of brief columns */
void mg_task_cols(bson_t *opts, enum task_cols cols);	/* brief or all */

/* The condition of a change without the id, and the update it makes; token is pushed onto w. */
void mg_change_filter(const struct task_change *c, bson_t *filter);
void mg_change_update(const struct task_change *c, int64_t token, bson_t *update);
/* key: { $in: ids } */
void mg_ids(bson_t *filter, const char *key, const char *const *ids, int n);
/* key: { $in: names of the bits in mask }, or equality for one bit. */
void mg_mask(bson_t *filter, const char *key, uint32_t mask, const char *const *names, int count);
void mg_push_token(bson_t *update, int64_t token);
/* Position of token counted from the newest (0), -1 when it is not there. */
int mg_token_age(const bson_t *doc, int64_t token);
const char *mg_doc_id(const bson_t *doc);		/* _id as text, "" when it has none */
int64_t mg_doc_int(const bson_t *doc, const char *key);	/* a number or a date; 0 when absent */
const char *mg_doc_str(const bson_t *doc, const char *key);	/* "" when absent */

struct mg_kind {
	const char *coll;
	bool unique;
	const char *s[3], *n[2];	/* names under which s1–s3, n1–n2 are stored */
	bool declared_s[3], declared_n[2];
};
const struct mg_kind *mg_kind(enum record_kind kind);
void mg_rec_encode(const struct record *r, int64_t rev, bson_t *doc);
void mg_rec_update(const struct record *r, int64_t token, bson_t *update);
struct record *mg_rec_decode(enum record_kind kind, const bson_t *doc, struct arena *a);

int64_t mg_token(void);		/* a random number that no other op has */

/* A growing list of pointers in an arena. */
struct mg_list {
	void **v;
	int n, cap;
};
void mg_list_add(struct mg_list *l, struct arena *a, void *item);

/* --- schema (store_mongo_schema.c) ----------------------------------------------------------------- */

/* Collections, validators, indexes: makes what is missing. Safe when several start at once. */
enum err mg_schema(struct mongo_store *s, struct error *e) MUST_CHECK;

/* --- queues and committers (store_mongo_queue.c) --------------------------------------------------- */

/* One queue per way of writing; records have one per kind after MGQ_REC. */
enum { MGQ_INSERT, MGQ_CHANGE, MGQ_CLAIM, MGQ_REC, MGQ_COUNT = MGQ_REC + REC_KIND_COUNT };

struct mg_wait;

struct mg_job {
	int queue;
	const char *key;	/* document id; at most one job for a document in a bulk. NULL: does not matter */
	size_t bytes;
	struct arena *arena;	/* the caller's */
	/* a single op */
	struct store_op *op;
	bson_t doc;		/* insert: the document; else the filter with _id */
	bson_t update;
	int64_t token;
	const int64_t *lanes;	/* of a claim: the task must be in one of these; NULL: in any */
	int n_lanes;
	bool brief;		/* of a wanted row the brief columns are enough */
	bool seen;		/* its document has been read back */
	struct { char agent_id[ID_TEXT]; int64_t started_at; } ended;	/* of a change with a tally */
	/* a claim */
	struct mg_claim *claim;	/* store_mongo_claim.c */
	/* result */
	enum err err;
	char detail[160];
	/* the queue's */
	enum { MGJ_QUEUED, MGJ_TAKEN, MGJ_DONE } state;
	struct mg_wait *wait;
	struct mg_job *next;
	uint64_t seq;		/* before that: the wave, see struct mg_plan */
	uint32_t hash;		/* of key; store_mongo_unit.c */
};

/* What a committer works with. */
struct mg_batch {
	struct mongo_store *s;
	mongoc_client_t *client;
	mongoc_client_session_t *session;	/* of this batch: what is read back is what was written */
	bool in_txn;
	bool transient;				/* in_txn: the transaction failed in a way that asks for another try */
	struct arena scratch;			/* until the end of the batch */
	struct mg_job *jobs[MG_BULK_OPS];
	int n;
	/* jobs by key */
	uint16_t slots[2048];			/* 1 + index into jobs */
};

/* Run the jobs in groups; returns when each has its outcome. ERR_UNAVAILABLE: some were never tried. */
void mg_submit(struct mongo_store *s, struct mg_job *const *jobs, int n);
enum err mg_queue_new(struct mongo_store *s, struct mg_queue **out, struct error *e) MUST_CHECK;
void mg_queue_free(struct mg_queue *q);		/* does what is queued, then ends the threads */
void mg_batch_clear(struct mg_batch *b);
/* False when it holds a job for the same key already. */
bool mg_batch_add(struct mg_batch *b, struct mg_job *j) MUST_CHECK;
struct mg_job *mg_batch_find(struct mg_batch *b, const char *key);
void mg_job_row(struct mg_job *j, const bson_t *doc);	/* the row for its op */
void mg_job_fail(struct mg_job *j, enum err err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void mg_fail_all(struct mg_batch *b, enum err err, const char *message);

/* --- writing (store_mongo_write.c, store_mongo_rec.c, store_mongo_txn.c, store_mongo_claim.c) --------- */

enum err mg_apply(struct store *s, struct store_unit *u, bool each) MUST_CHECK;
struct mg_job *mg_jobs(struct arena *a, int n);	/* zeroed */
/* Fill in doc, update, token, key, queue; ERR_TOO_LARGE when it cannot be stored. */
enum err mg_job_init(struct mg_job *j, struct store_op *op, struct arena *a, struct error *e) MUST_CHECK;
void mg_job_release(struct mg_job *j);
void mg_job_lanes(struct mg_job *j, const int64_t *lanes, int n);	/* demand one of these of the task */
/* Jobs of a unit in an order in which those of one queue stand together and those of one document in turn. */
struct mg_plan {
	struct mg_job *jobs;
	struct mg_job **order;
	int *wave;		/* by place in order; no document twice in a wave */
	int n;
};
/*
 * Run body in a transaction, again when it lost against another one; OK: committed. body may run several times
 * and returns OK to commit. ERR_CONFLICT from body aborts and is passed on.
 */
enum err mg_txn(struct mongo_store *s, enum err (*body)(struct mg_batch *b, void *arg, struct error *e), void *arg,
		struct error *e) MUST_CHECK;
/* Set order and wave of the plan from the jobs' places in order. */
void mg_plan_sort(struct mg_plan *p);
/* The unit in a transaction of its own; or with those of others, when there are (store_mongo_unit.c). */
enum err mg_unit_alone(struct mongo_store *s, struct mg_plan *p, struct error *e) MUST_CHECK;
enum err mg_unit_run(struct mongo_store *s, struct mg_plan *p, struct error *e) MUST_CHECK;
/* Several units' plan, all or nothing; ERR_CONFLICT: one of them is refused, nothing has changed. */
enum err mg_units_together(struct mongo_store *s, struct mg_plan *p, struct error *e) MUST_CHECK;
struct mg_units *mg_units_new(void);
void mg_units_free(struct mg_units *q);

/* Do the batch's jobs, which are all of one queue, and set err and op->result of each. */
void mg_run(struct mg_batch *b);
/*
 * Send the batch's task changes as few statements (store_mongo_update.c). modified: how many documents were
 * changed by the last try; partly: a document was refused, and what became of the others is not known. An error
 * has been given to all jobs.
 */
enum err mg_update_many(struct mg_batch *b, int64_t *modified, bool *partly) MUST_CHECK;
void mg_run_inserts(struct mg_batch *b);
void mg_run_changes(struct mg_batch *b);
void mg_run_recs(struct mg_batch *b);
void mg_run_claims(struct mg_batch *b);

/* A bulk of some of a batch's jobs. */
struct mg_bulk {
	struct mg_batch *b;
	mongoc_collection_t *coll;
	mongoc_bulk_operation_t *op;
	struct mg_job **sent;
	int n;
	enum err err;		/* of the whole; its jobs have it too */
	int64_t matched;	/* ops that found a document, upserts included */
	int good;		/* jobs without an error */
};
void mg_bulk_start(struct mg_bulk *k, struct mg_batch *b, const char *coll);
void mg_bulk_insert(struct mg_bulk *k, struct mg_job *j);
void mg_bulk_update(struct mg_bulk *k, struct mg_job *j, bool upsert);
/* Execute and free it; errors of single ops go into their jobs. */
void mg_bulk_end(struct mg_bulk *k);

/*
 * findAndModify of one job: *doc is the document after the change (when removed: before), empty when the
 * filter found none; the caller destroys it in any case.
 */
enum err mg_modify(struct mg_batch *b, const char *coll, struct mg_job *j, mongoc_find_and_modify_flags_t flags,
		   const bson_t *fields, bson_t *doc) MUST_CHECK;
/* A find in the batch's session: in its transaction, or after its writes. opts is added to. */
enum err mg_batch_read(struct mg_batch *b, const char *coll, const bson_t *filter, bson_t *opts,
		       struct mg_cursor *c, struct error *e) MUST_CHECK;

/* --- reads by _id, grouped (store_mongo_get.c) --------------------------------------------------------- */

struct mg_gets *mg_gets_new(void);
void mg_gets_free(struct mg_gets *g);

/* --- pages (store_mongo_walk.c) ------------------------------------------------------------------------ */

struct mg_walk {
	const char *coll, *hint;
	bson_t match;		/* answered by the index */
	bson_t rest;		/* looked at one by one */
	const char *after;	/* exclusive */
	char from[ID_TEXT], to[ID_TEXT];	/* [from, to), "" when open */
	char until[300];	/* inclusive bound of the walk, "" when open */
	bool descending, brief;
	int limit;
	/* what to do with a document */
	void (*take)(struct mg_walk *w, const bson_t *doc);
	enum record_kind kind;
	struct arena *a;
	struct mg_list found;
	bool more;
};
void mg_walk_init(struct mg_walk *w, struct arena *a);
void mg_walk_release(struct mg_walk *w);
/* Fill found and more; until is set when the walk stopped early: go on from there. */
enum err mg_walk_page(struct mongo_store *s, struct mg_walk *w, struct error *e) MUST_CHECK;

/* --- lanes (store_mongo_lane.c) ------------------------------------------------------------------------- */

struct mg_lanes *mg_lanes_new(void);
void mg_lanes_free(struct mg_lanes *l);
void mg_lanes_learn(struct mg_lanes *l, int64_t lane, const char *sig);
bool mg_lanes_too_many(struct mg_lanes *l);	/* to remember: look the tasks up instead */
/* Those of the lanes seen that fit the claim; how many. */
int mg_lanes_fitting(struct mg_lanes *l, const struct claim *c, struct arena *a, int64_t **lanes);

/* --- tallies (store_mongo_tally.c) ------------------------------------------------------------------- */

struct mg_tallies *mg_tallies_new(struct mongo_store *s);
void mg_tallies_free(struct mg_tallies *t);	/* writes what is left */
/* Count the end of an attempt that the job's change made. */
void mg_tally(struct mongo_store *s, const struct mg_job *j);

/* --- abandoned transactions (store_mongo_orphan.c) ----------------------------------------------------- */

struct mg_orphans *mg_orphans_new(struct mongo_store *s);
void mg_orphans_free(struct mg_orphans *o);

/* --- operations --------------------------------------------------------------------------------------- */

enum err mg_claim_op(struct store *s, const char (*ids)[ID_TEXT], int n_ids, const struct claim *c,
		     struct arena *a, struct task **out, int *n, struct error *e) MUST_CHECK;
enum err mg_tasks_get(struct store *s, const char *const *ids, int n, enum task_cols cols, struct arena *a,
		      struct task **out, struct error *e) MUST_CHECK;
enum err mg_tasks_list(struct store *s, const struct task_filter *f, struct arena *a, struct task_page *out,
		       struct error *e) MUST_CHECK;
enum err mg_stage_counts(struct store *s, const char *const *execution_ids, int n, struct stage_counts *out,
			 struct error *e) MUST_CHECK;
enum err mg_queue_depth(struct store *s, struct queue_depth *out, struct error *e) MUST_CHECK;
enum err mg_tasks_due(struct store *s, enum due_kind kind, int64_t now, int limit, struct arena *a,
		      struct task ***out, int *n, struct error *e) MUST_CHECK;
enum err mg_next_due(struct store *s, int64_t *at, struct error *e) MUST_CHECK;
enum err mg_slot_waiters(struct store *s, const char *key, int limit, struct arena *a, struct task ***out,
			 int *n, struct error *e) MUST_CHECK;
enum err mg_dep_waiters(struct store *s, const char *after, int limit, struct arena *a, struct task ***out,
			int *n, struct error *e) MUST_CHECK;
enum err mg_tasks_sweep(struct store *s, const char *execution_id, const char *agent_id,
			const struct task_change *c, int limit, struct arena *a, struct task ***out, int *n,
			struct error *e) MUST_CHECK;
enum err mg_tasks_purge(struct store *s, int64_t before, uint32_t class_mask, int limit, int *n,
			struct error *e) MUST_CHECK;
enum err mg_rec_get(struct store *s, enum record_kind kind, const char *id, bool by_s1, struct arena *a,
		    struct record **out, struct error *e) MUST_CHECK;
enum err mg_recs_list(struct store *s, const struct rec_filter *f, struct arena *a, struct rec_page *out,
		      struct error *e) MUST_CHECK;
enum err mg_recs_purge(struct store *s, enum record_kind kind, int64_t before, int limit, int *n,
		       struct error *e) MUST_CHECK;
enum err mg_tallies_op(struct store *s, const char *agent_id, int64_t from_hour, struct arena *a,
		       struct tally **out, int *n, struct error *e) MUST_CHECK;

#endif
