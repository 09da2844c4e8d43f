// SPDX-License-Identifier: MIT
/*
 * The store: the one truth. Two implementations (store_sqlite.c, store_mongo.c) behind one small set
 * of operations; only they know sqlite3 or mongoc. Rules stand in lib/domain; the store compares,
 * sets, counts and lists.
 *
 * Durability. store_apply() and the claims return OK only when the change is durable (SQLite: WAL,
 * synchronous=FULL, one fsync for all units that were waiting; MongoDB: w:majority, j:true). A unit
 * whose ops are all `lazy` (lease renewals, progress, tallies) may be acknowledged before the fsync.
 * When it is not known whether a change was made the answer is ERR_UNCERTAIN, never OK and never
 * ERR_UNAVAILABLE; repeating the same unit is then safe, since every op carries its precondition.
 *
 * Grouping. Calls block; many threads call at once, and the implementation groups what is waiting:
 * SQLite in one transaction with a savepoint a unit, MongoDB in bulk writes.
 *
 * Memory. Everything returned lives in the arena given. A caller's arena may be used by the store's
 * own thread while the caller waits.
 *
 * Errors common to all: ERR_UNAVAILABLE (cannot reach the store; nothing changed), ERR_DISK_FULL
 * (nothing changed), ERR_UNCERTAIN, ERR_TIMEOUT (a read took too long), ERR_INTERNAL. struct error
 * gets the detail for the log.
 */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include "../base/error.h"
#include "records.h"

struct store;

/* --- a unit of work: all of its ops happen, or none ----------------------------------------- */

enum store_op_kind {
	SOP_TASK_INSERT,	/* .task; its lane is made known too. A second insert of the same id: conflict */
	SOP_TASK_CHANGE,	/* .change */
	SOP_REC_PUT,		/* .rec with .expect_rev */
	SOP_REC_DELETE,		/* .rec->kind, ->id with .expect_rev */
};

/* Which fields of change.set are written; updated_at always is (from set.updated_at). */
enum task_field {
	TF_STATUS	= 1 << 0,
	TF_HOLD		= 1 << 1,	/* hold, due_at */
	TF_ORDER	= 1 << 2,	/* priority, order_key */
	TF_LEASE	= 1 << 3,	/* lease_expires_at */
	TF_AGENT	= 1 << 4,	/* agent_id, assigned_at */
	TF_FENCE_BUMP	= 1 << 5,	/* fence = fence + 1 */
	TF_ATTEMPT_BUMP	= 1 << 6,	/* attempt = attempt + 1 */
	TF_PROGRESS	= 1 << 7,	/* progress, message (NULL message: keep the old one) */
	TF_RESULT	= 1 << 8,
	TF_ERROR	= 1 << 9,
	TF_ATTEMPTS	= 1 << 10,
	TF_STARTED	= 1 << 11,	/* started_at */
	TF_COMPLETED	= 1 << 12,	/* completed_at */
	TF_LIMITS	= 1 << 13,	/* timeout_s, max_retries, deadline, run_at */
	TF_MAX_RETRIES	= 1 << 14,	/* max_retries alone */
	TF_ATTEMPT_SET	= 1 << 15,	/* attempt = set.attempt (a release gives one back, a retry starts anew) */
};

/* Compare-and-set of one task. Every condition must hold, else the unit is refused. */
struct task_change {
	char id[ID_TEXT];
	uint32_t if_status;		/* bit mask ST(...), 0: any */
	int64_t if_fence;		/* -1: any */
	uint32_t if_hold;		/* bit mask (1u << hold), 0: any */
	const char *if_agent;		/* NULL: any */
	bool if_unguarded;		/* refuse when task.guarded */
	uint32_t fields;		/* enum task_field */
	struct task set;
	/*
	 * Count this end of an attempt for its agent (the row's agent_id): +1 completed or failed, and for
	 * completed the row's started_at (set's with TF_STARTED) → set.completed_at as duration. May be written lazily, in the
	 * same commit or a later one.
	 */
	enum { TALLY_NONE, TALLY_COMPLETED, TALLY_FAILED } tally;
};

enum store_op_result {
	SOP_DONE,
	SOP_SKIPPED,		/* not tried, because another op of the unit was refused */
	SOP_MISSING,		/* no such task or record */
	SOP_REFUSED,		/* a condition did not hold: see row */
	SOP_EXISTS,		/* insert of an id (or unique s1) that is there already */
};

#define REV_ANY		(-1)	/* put: insert or replace whatever is there; delete: whatever rev */
#define REV_ABSENT	0	/* put: insert only */

struct store_op {
	enum store_op_kind kind;
	union {
		const struct task *task;
		const struct task_change *change;
		struct { const struct record *rec; int64_t expect_rev; };
	};
	bool lazy;		/* may be lost in a power cut (never in a kill -9) */
	bool want_row;		/* SOP_TASK_CHANGE: return the row */
	/* out */
	enum store_op_result result;
	struct task *row;	/* after the change; when refused: as it stands. Only with want_row */
	int64_t rev;		/* SOP_REC_PUT: the new revision */
};

struct store_unit {
	struct store_op *ops;
	size_t n;
	struct arena *arena;	/* for rows */
	struct error *error;	/* detail for the log */
};

/*
 * Apply the unit atomically. OK: all ops are SOP_DONE. ERR_CONFLICT: nothing changed, at least one op is
 * MISSING, REFUSED or EXISTS (op.result tells). MongoDB: a unit of more than one op runs in a transaction.
 */
enum err store_apply(struct store *s, struct store_unit *u) MUST_CHECK;

/*
 * Many independent single changes in one go (batch submit, batch complete): each op is a unit of its own
 * but they share round trips and the fsync. Returns OK when every op has a result (look at each); an error
 * means none or an unknown part was done (ERR_UNCERTAIN).
 */
enum err store_apply_each(struct store *s, struct store_unit *u) MUST_CHECK;

/* --- claims ------------------------------------------------------------------------------------ */

struct claim {
	/* which lanes fit: called with the lane's signature, result cached per call by lane */
	bool (*fits)(void *arg, int64_t lane, const char *lane_sig);
	void *arg;
	const char *agent_id;
	int64_t lease_until;
	int max;			/* ≤ LIMIT_CLAIM */
};

/*
 * Take up to c->max claimable tasks (pending, HOLD_NONE) of fitting lanes, smallest order_key first:
 * each becomes running with fence + 1, attempt + 1, agent_id, assigned_at = started_at = the time at which it was
 * taken (so never before the change that made it claimable), progress 0, lease_expires_at = lease_until, and is
 * returned whole (message, error and result as they were).
 * Durable before it returns. *n may be 0.
 */
enum err store_tasks_claim(struct store *s, const struct claim *c, struct arena *a, struct task **out, int *n,
			   struct error *e) MUST_CHECK;
/* The same for these ids only (from the queue in Redis); ids that are no longer claimable are passed over. */
enum err store_tasks_claim_ids(struct store *s, const char (*ids)[ID_TEXT], int n_ids, const struct claim *c,
			       struct arena *a, struct task **out, int *n, struct error *e) MUST_CHECK;

/* --- reading tasks ----------------------------------------------------------------------------- */

/* One task, NULL in *out when there is none. */
enum err store_task_get(struct store *s, const char *id, struct arena *a, struct task **out, struct error *e)
	MUST_CHECK;
/* Several by id; out[i] is NULL where there is none. Brief or whole. */
enum err store_tasks_get(struct store *s, const char *const *ids, int n, enum task_cols cols, struct arena *a,
			 struct task **out, struct error *e) MUST_CHECK;

struct task_filter {
	uint32_t status;		/* mask, 0: any */
	uint32_t priority;		/* mask (1u << priority), 0: any */
	const char *type, *pipeline_id, *execution_id, *agent_id, *created_by;	/* NULL: any */
	int stage;			/* 0: any */
	int64_t created_from, created_to;	/* ms, [from, to); 0: open */
	int64_t updated_from;		/* ms, 0: open; unindexed (a full scan: healing after a crash only) */
	uint32_t hold;			/* mask, 0: any */
	/* paging: ids are time-ordered; newest first unless ascending */
	const char *after;		/* id of the last item of the previous page, NULL: start */
	bool ascending;
	bool by_stage_seq;		/* ascending by (stage_seq, id) instead; needs execution_id and stage; then
					   after_seq is the last stage_seq seen, -1 to start */
	int64_t after_seq;
	int limit;
	enum task_cols cols;
};

/*
 * A page of tasks. Stable under concurrent inserts: an item is never shown twice nor left out.
 * Every filter answers from an index; when a rare combination would make it walk more than
 * STORE_SCAN_MAX rows it stops early with *more = true, and the page may be short or empty:
 * *last is where to go on from (an id), also when items are fewer than limit.
 */
#define STORE_SCAN_MAX 20000
struct task_page {
	struct task **items;
	int n;
	bool more;
	char last[ID_TEXT];
};
enum err store_tasks_list(struct store *s, const struct task_filter *f, struct arena *a, struct task_page *out,
			  struct error *e) MUST_CHECK;

/* How many tasks of an execution have which status, by stage; stage 0 unused. */
struct stage_counts {
	int64_t n[7][TASK_STATUS_COUNT];
};
/* Of n executions, different ones, into out[0 … n - 1]; one question however many they are. */
enum err store_stage_counts(struct store *s, const char *const *execution_ids, int n, struct stage_counts *out,
			    struct error *e) MUST_CHECK;
/* Claimable tasks by priority, and the oldest's created_at (0: none). */
struct queue_depth {
	int64_t ready[PRIO_COUNT], oldest[PRIO_COUNT];
	int64_t held[HOLD_COUNT];	/* pending or retrying, by hold */
	int64_t leased;			/* assigned or running */
};
enum err store_queue_depth(struct store *s, struct queue_depth *out, struct error *e) MUST_CHECK;

/* What time has come for: at most limit, brief. */
enum due_kind {
	DUE_HOLD,	/* hold = HOLD_TIME and due_at <= now */
	DUE_LEASE,	/* leased and lease_expires_at <= now */
	DUE_DEADLINE,	/* live and 0 < deadline <= now */
	DUE_TIMEOUT,	/* running and started_at + timeout_s*1000 <= now */
};
enum err store_tasks_due(struct store *s, enum due_kind kind, int64_t now, int limit, struct arena *a,
			 struct task ***out, int *n, struct error *e) MUST_CHECK;
/* Earliest time any of the four becomes due; INT64_MAX when nothing waits. */
enum err store_next_due(struct store *s, int64_t *at, struct error *e) MUST_CHECK;
/* Held tasks of a concurrency key, smallest order_key first; key NULL: of any key. */
enum err store_tasks_slot_waiters(struct store *s, const char *key, int limit, struct arena *a,
				  struct task ***out, int *n, struct error *e) MUST_CHECK;
/* Pending tasks that wait for dependencies, id ascending from after (NULL: start); with dependencies. */
enum err store_tasks_dep_waiters(struct store *s, const char *after, int limit, struct arena *a,
				 struct task ***out, int *n, struct error *e) MUST_CHECK;

/*
 * Bulk move inside an execution (or an agent's tasks when execution_id is NULL): every task in
 * if_status/if_hold gets the fields of set. At most limit per call; *n changed (call until 0). Rows are returned
 * brief, so that events can be told. Atomic a task, not over all.
 */
enum err store_tasks_sweep(struct store *s, const char *execution_id, const char *agent_id,
			   const struct task_change *c, int limit, struct arena *a, struct task ***out, int *n,
			   struct error *e) MUST_CHECK;

/* Delete ended tasks (and their logs) with completed_at < before; at most limit; *n deleted. Retention. */
enum err store_tasks_purge(struct store *s, int64_t before, uint32_t class_mask, int limit, int *n,
			   struct error *e) MUST_CHECK;

/* --- records ------------------------------------------------------------------------------------ */

/* *out is NULL when there is none. */
enum err store_rec_get(struct store *s, enum record_kind kind, const char *id, struct arena *a,
		       struct record **out, struct error *e) MUST_CHECK;
/* By s1 of a unique kind. */
enum err store_rec_by_s1(struct store *s, enum record_kind kind, const char *s1, struct arena *a,
			 struct record **out, struct error *e) MUST_CHECK;
struct rec_filter {
	enum record_kind kind;
	const char *s1, *s2, *s3;		/* NULL: any */
	bool has_n1_max, has_n2;		/* n1 <= n1_max; n2 == n2 */
	int64_t n1_max, n2;
	const char *after;			/* id of the last item seen */
	bool descending;			/* by id; default ascending */
	bool by_n1;				/* ascending by (n1, id) instead; no cursor then */
	int limit;
};
struct rec_page {
	struct record **items;
	int n;
	bool more;
	const char *last;			/* as in task_page */
};
enum err store_recs_list(struct store *s, const struct rec_filter *f, struct arena *a, struct rec_page *out,
			 struct error *e) MUST_CHECK;
/* Delete records with 0 < n1 < before; *n deleted, at most limit. */
enum err store_recs_purge(struct store *s, enum record_kind kind, int64_t before, int limit, int *n,
			  struct error *e) MUST_CHECK;

/* Tallies of an agent from that hour on, oldest first; agent_id NULL: of all agents. */
enum err store_tallies(struct store *s, const char *agent_id, int64_t from_hour, struct arena *a,
		       struct tally **out, int *n, struct error *e) MUST_CHECK;

/* --- the store itself ---------------------------------------------------------------------------- */

struct store_options {
	const char *uri;		/* sqlite:///absolute/path, mongodb://… */
	int readers;			/* threads that will read at once: size of connection pools */
	int timeout_ms;			/* after which a blocked call gives up; 0: 5,000 */
};

/*
 * Open, create and migrate. Runs in the process that uses it (after fork). On failure *out is NULL and the
 * message says what to do. Errors: ERR_VALIDATION (bad URI, no replica set), ERR_UNAVAILABLE.
 */
enum err store_open(const struct store_options *o, struct store **out, struct error *e) MUST_CHECK;
/* Waits for writes in hand, then closes. NULL is fine. */
void store_close(struct store *s);
/* OK when a read works now. */
enum err store_ping(struct store *s, struct error *e) MUST_CHECK;
const char *store_name(const struct store *s);		/* "sqlite" or "mongodb" */
/* Counts the stores this process has opened, from 1: unlike an address, never that of an earlier one. */
uint64_t store_number(const struct store *s);
/* True where claiming by ids from the queue beats the store's own ordered claim. */
bool store_prefers_queue(const struct store *s);

/* --- for implementations -------------------------------------------------------------------------- */

struct store_ops {
	const char *name;
	bool prefers_queue;
	void (*close)(struct store *s);
	enum err (*ping)(struct store *s, struct error *e);
	enum err (*apply)(struct store *s, struct store_unit *u, bool each);
	/* ids NULL: the store's own order */
	enum err (*claim)(struct store *s, const char (*ids)[ID_TEXT], int n_ids, const struct claim *c,
			  struct arena *a, struct task **out, int *n, struct error *e);
	enum err (*tasks_get)(struct store *s, const char *const *ids, int n, enum task_cols cols,
			      struct arena *a, struct task **out, struct error *e);
	enum err (*tasks_list)(struct store *s, const struct task_filter *f, struct arena *a,
			       struct task_page *out, struct error *e);
	enum err (*stage_counts)(struct store *s, const char *const *execution_ids, int n, struct stage_counts *out,
				 struct error *e);
	enum err (*queue_depth)(struct store *s, struct queue_depth *out, struct error *e);
	enum err (*tasks_due)(struct store *s, enum due_kind kind, int64_t now, int limit, struct arena *a,
			      struct task ***out, int *n, struct error *e);
	enum err (*next_due)(struct store *s, int64_t *at, struct error *e);
	enum err (*slot_waiters)(struct store *s, const char *key, int limit, struct arena *a,
				 struct task ***out, int *n, struct error *e);
	enum err (*dep_waiters)(struct store *s, const char *after, int limit, struct arena *a,
				struct task ***out, int *n, struct error *e);
	enum err (*tasks_sweep)(struct store *s, const char *execution_id, const char *agent_id,
				const struct task_change *c, int limit, struct arena *a, struct task ***out,
				int *n, struct error *e);
	enum err (*tasks_purge)(struct store *s, int64_t before, uint32_t class_mask, int limit, int *n,
				struct error *e);
	enum err (*rec_get)(struct store *s, enum record_kind kind, const char *id, bool by_s1,
			    struct arena *a, struct record **out, struct error *e);
	enum err (*recs_list)(struct store *s, const struct rec_filter *f, struct arena *a,
			      struct rec_page *out, struct error *e);
	enum err (*recs_purge)(struct store *s, enum record_kind kind, int64_t before, int limit, int *n,
			       struct error *e);
	enum err (*tallies)(struct store *s, const char *agent_id, int64_t from_hour, struct arena *a,
			    struct tally **out, int *n, struct error *e);
};

/* First member of every implementation's own struct. */
struct store {
	const struct store_ops *ops;
	uint64_t number;
};

enum err store_sqlite_open(const struct store_options *o, struct store **out, struct error *e) MUST_CHECK;
enum err store_mongo_open(const struct store_options *o, struct store **out, struct error *e) MUST_CHECK;

#endif
