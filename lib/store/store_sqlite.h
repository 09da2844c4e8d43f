// SPDX-License-Identifier: MIT
/*
 * Inside the SQLite store; nobody but lib/store/store_sqlite_*.c includes this.
 *
 * Reads: each call borrows a connection from a pool (store_sqlite_conn.c). Statements stay prepared
 * with their connection.
 *
 * Writes: every change is a job. Jobs from many threads are put into groups; a group is one
 * transaction with one fsync (store_sqlite_writer.c). Whoever finds nobody at work runs the next
 * group itself; under load a thread of the store does. All of `struct sq_group` belongs to the one
 * who runs the group, so that none of it needs a lock of its own.
 *
 * Counters (tallies, counts by stage, depth of the queue) are noted in memory while the jobs of a
 * group run and are written once before its COMMIT (store_sqlite_count.c).
 */
#ifndef STORE_STORE_SQLITE_H
#define STORE_STORE_SQLITE_H

#include <pthread.h>
#include <semaphore.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include "store.h"

/* --- statements with a fixed text: store_sqlite.def --------------------------------------------- */

enum sq_stmt {
#define X(name, sql) name,
#include "store_sqlite.def"
#undef X
	SQ_COUNT
};

/* Statements that exist once for each kind of record; texts in store_sqlite_conn.c. */
enum sq_rec_stmt {
	SQR_GET, SQR_BY_S1, SQR_REV, SQR_INSERT, SQR_UPDATE, SQR_DELETE, SQR_PURGE,
	SQR_COUNT
};

/* Columns of tasks in the order in which sq_task_row() and the insert take them. */
#define SQ_BRIEF_COLS \
	"id,type,status,priority,classification,hold,due_at,lane,order_key,pipeline_id,execution_id,stage," \
	"stage_seq,concurrency_key,concurrency_limit,run_at,deadline,timeout_s,max_retries,retry_strategy," \
	"retry_initial_ms,retry_max_ms,retry_factor,retry_jitter,retryable,attempt,fence,lease_expires_at," \
	"agent_id,progress,message,error,guarded,created_by,created_at,updated_at,assigned_at,started_at," \
	"completed_at,parts"
#define SQ_ALL_COLS SQ_BRIEF_COLS ",parameters,requirements,dependencies,result,attempts"
#define SQ_N_COLS 45
#define SQ_DEPS_COL 42
#define SQ_HOT_COLS \
	"status,priority,hold,lane,order_key,execution_id,stage,agent_id,fence,attempt,guarded,started_at,parts"

/* --- connections -------------------------------------------------------------------------------- */

#define SQ_CACHED 96	/* statements whose text is put together at run time, per connection */
#define SQ_UPDATES 48	/* UPDATE statements by field mask */

struct sq_conn {
	sqlite3 *db;
	sqlite3_stmt *fixed[SQ_COUNT];
	sqlite3_stmt *rec[REC_KIND_COUNT][SQR_COUNT];
	struct { char *sql; sqlite3_stmt *st; uint64_t hash, used; } cached[SQ_CACHED];
	struct { uint32_t mask; sqlite3_stmt *st; } update[SQ_UPDATES];
	uint64_t clock;		/* ages cached[] */
	int64_t deadline;	/* mono_us() at which a running statement is interrupted; 0: never */
	int prepare_rc;		/* why the last prepare failed */
	bool broken;		/* close it, open another */
	struct sq_conn *next;
};

struct sqlite_store {
	struct store base;	/* first */
	char *path;
	int timeout_ms;
	struct {
		pthread_mutex_t lock;
		pthread_cond_t freed;
		struct sq_conn *idle;
		int open, max;
	} pool;
	struct sq_writer *writer;
};

enum sq_role { SQ_READER, SQ_WRITER, SQ_CHECKPOINTER };

/* Open one connection with the pragmas of its role. On failure *out is NULL. */
enum err sq_conn_open(const char *path, enum sq_role role, int timeout_ms, struct sq_conn **out,
		      struct error *e) MUST_CHECK;
void sq_conn_close(struct sq_conn *c);

/* The prepared statement, reset. NULL when it cannot be prepared: stepping NULL then fails, see sq_fail(). */
sqlite3_stmt *sq_st(struct sq_conn *c, enum sq_stmt which);
sqlite3_stmt *sq_rec_st(struct sq_conn *c, enum record_kind kind, enum sq_rec_stmt which);
sqlite3_stmt *sq_cached(struct sq_conn *c, const char *sql);
const char *sq_rec_table(enum record_kind kind);

/* Run a statement that returns no rows; the result code is SQLITE_DONE when it went well. */
int sq_run(sqlite3_stmt *st);

/* The error for a result code that was not expected, with its detail in e (may be NULL). */
enum err sq_fail(struct sq_conn *c, struct error *e, int rc, const char *what);
/* error_set() that takes a NULL e. */
enum err sq_error(struct error *e, enum err code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Borrow a reading connection; ERR_UNAVAILABLE when there is none in time. */
enum err sq_read_begin(struct sqlite_store *s, struct sq_conn **c, struct error *e) MUST_CHECK;
void sq_read_end(struct sqlite_store *s, struct sq_conn *c);
/* One snapshot for several statements, ended by sq_read_end(). */
enum err sq_snapshot(struct sq_conn *c, struct error *e) MUST_CHECK;

/*
 * The log is written in large pieces (store_sqlite_vfs.c): call these around COMMIT. One that is not
 * durable is not synced: it survives the death of every process, but not a power cut. drop takes the
 * result of the COMMIT and returns it; or SQLITE_IOERR, when it is not known to be in the log.
 */
int sq_vfs_register(void);
const char *sq_vfs(void);
void sq_wal_hold(struct sq_conn *c, bool durable);
int sq_wal_drop(struct sq_conn *c, int rc);

/* Create or migrate the schema on a writing connection, which holds the cross-process lock. */
enum err sq_migrate(struct sq_conn *c, struct error *e) MUST_CHECK;

/* --- binding and reading values (store_sqlite_row.c) -------------------------------------------- */

struct sq_id { uint8_t b[16]; };

/* NULL and "" bind NULL. keep holds the bytes until the statement has run. False when text is no id. */
bool sq_bind_id(sqlite3_stmt *st, int i, const char *text, struct sq_id *keep);
void sq_bind_text(sqlite3_stmt *st, int i, const char *text);
const char *sq_col_text(sqlite3_stmt *st, int i, struct arena *a);	/* NULL stays NULL */
void sq_col_id(sqlite3_stmt *st, int i, char out[ID_TEXT]);

/*
 * The task in the current row of a statement that selects SQ_BRIEF_COLS or SQ_ALL_COLS. NULL when its
 * parts cannot be read: *rc tells.
 */
struct task *sq_task_row(struct sq_conn *c, sqlite3_stmt *st, enum task_cols cols, struct arena *a, int *rc);
/* The signature of a waiting task's lane: whoever gives the task to somebody asks for it. SQLITE_OK or an error. */
int sq_task_signature(struct sq_conn *c, struct task *t, struct arena *a);
/* One task by id bytes; SQLITE_ROW with *out, SQLITE_DONE when there is none, or an error. */
int sq_task_fetch(struct sq_conn *c, const uint8_t id[16], enum task_cols cols, struct arena *a,
		  struct task **out);
struct record *sq_record_row(sqlite3_stmt *st, enum record_kind kind, struct arena *a);

/* A growing list of tasks in an arena. */
struct sq_tasks {
	struct task **v;
	int n, cap;
};
void sq_tasks_add(struct sq_tasks *l, struct arena *a, struct task *t);

/* --- writing ------------------------------------------------------------------------------------ */

struct sq_counts;
struct sq_book;

/* What the one who runs a group works with. */
struct sq_group {
	struct sq_conn *c;
	struct arena scratch;		/* until the end of the group */
	struct sq_counts *counts;
	struct sq_book *book;
};

enum { SQ_JOB_QUEUED, SQ_JOB_TAKEN, SQ_JOB_TOLD };

struct sq_job {
	/*
	 * Do the work inside the group's transaction. OK: done. ERR_CONFLICT: refused, and all that was changed
	 * is undone (sq_undo_*). Anything else: the whole transaction is given up. May run more than once.
	 */
	enum err (*run)(struct sq_group *g, struct sq_job *job);
	void *arg;
	struct error *error;
	int cost;		/* rows it may change: bounds the group */
	bool lazy;		/* its caller need not wait for the fsync */
	/* the writer's own */
	atomic_int state;
	enum err result;
	sem_t done;
	struct sq_job *next;
};

/* Have the job run in a group; returns when its outcome is known (and durable). */
enum err sq_submit(struct sqlite_store *s, struct sq_job *job) MUST_CHECK;
enum err sq_writer_new(struct sqlite_store *s, struct sq_writer **out, struct error *e) MUST_CHECK;
void sq_writer_free(struct sq_writer *w);

/* A place to come back to inside the group, for a unit of several ops. */
enum err sq_undo_mark(struct sq_group *g, struct error *e) MUST_CHECK;
enum err sq_undo_back(struct sq_group *g, struct error *e) MUST_CHECK;
enum err sq_undo_release(struct sq_group *g, struct error *e) MUST_CHECK;

/* Keeps the log short (store_sqlite_copier.c). path stays the caller's and must outlive it. */
struct sq_copier;
enum err sq_copier_new(const char *path, int timeout_ms, struct sq_copier **out, struct error *e) MUST_CHECK;
void sq_copier_free(struct sq_copier *k);
/* After each group, by the writer: its connection and the length of the log in pages. */
void sq_copier_check(struct sq_copier *k, struct sq_conn *c, int wal_pages);

/* Locks between processes (store_sqlite_lock.c): see there. */
int sq_lock_open(const char *db_path);
bool sq_lock_try(int fd);
/* A signal wakes it; with *stop set it then gives up. stop may be NULL. */
bool sq_lock_wait(int fd, const atomic_bool *stop);
void sq_lock_release(int fd);
/* Of copying the log; with take it is false when another process does. */
bool sq_lock_copier(int fd, bool take);

/* Counters (store_sqlite_count.c). before NULL: inserted; after NULL: deleted. */
struct sq_counts *sq_counts_new(void);
void sq_counts_free(struct sq_counts *n);
void sq_counts_begin(struct sq_counts *n);		/* a new transaction */
void sq_counts_mark(struct sq_counts *n);
void sq_counts_back(struct sq_counts *n);
void sq_count_move(struct sq_counts *n, const struct task *before, const struct task *after);
void sq_count_attempt(struct sq_counts *n, const struct task *row, const struct task_change *c);
enum err sq_counts_write(struct sq_counts *n, struct sq_conn *c, struct error *e) MUST_CHECK;

/* Lanes (store_sqlite_book.c). */
struct sq_book *sq_book_new(void);
void sq_book_free(struct sq_book *b);
void sq_book_end(struct sq_book *b, bool committed);	/* the transaction ended */
void sq_book_undo(struct sq_book *b);			/* a unit was undone */
/* A task of that lane is about to be inserted: make the lane known. */
enum err sq_book_lane(struct sq_group *g, int64_t lane, const char *sig, struct error *e) MUST_CHECK;
/* As sq_count_move(). */
void sq_book_move(struct sq_book *b, const char *id, const struct task *before, const struct task *after);

/* Changing tasks (store_sqlite_task.c). */
enum sq_row_want { SQ_ROW_NONE, SQ_ROW_BRIEF, SQ_ROW_ALL };
enum err sq_task_insert(struct sq_group *g, const struct task *t, enum store_op_result *res,
			struct error *e) MUST_CHECK;
enum err sq_task_change(struct sq_group *g, const struct task_change *c, enum sq_row_want want, struct arena *a,
			enum store_op_result *res, struct task **row, struct error *e) MUST_CHECK;
/* Write fields of t, whose row is known to be there. parts: which values stand apart now. */
enum err sq_task_update(struct sq_group *g, const struct task *t, uint32_t fields, unsigned parts,
			struct error *e) MUST_CHECK;

/* --- operations --------------------------------------------------------------------------------- */

enum err sq_apply(struct store *s, struct store_unit *u, bool each) MUST_CHECK;
enum err sq_claim(struct store *s, const char (*ids)[ID_TEXT], int n_ids, const struct claim *c, struct arena *a,
		  struct task **out, int *n, struct error *e) MUST_CHECK;
enum err sq_tasks_list(struct store *s, const struct task_filter *f, struct arena *a, struct task_page *out,
		       struct error *e) MUST_CHECK;
enum err sq_tasks_get(struct store *s, const char *const *ids, int n, enum task_cols cols, struct arena *a,
		      struct task **out, struct error *e) MUST_CHECK;
enum err sq_stage_counts(struct store *s, const char *const *execution_ids, int n, struct stage_counts *out,
			 struct error *e) MUST_CHECK;
enum err sq_queue_depth(struct store *s, struct queue_depth *out, struct error *e) MUST_CHECK;
enum err sq_tasks_due(struct store *s, enum due_kind kind, int64_t now, int limit, struct arena *a,
		      struct task ***out, int *n, struct error *e) MUST_CHECK;
enum err sq_next_due(struct store *s, int64_t *at, struct error *e) MUST_CHECK;
enum err sq_slot_waiters(struct store *s, const char *key, int limit, struct arena *a, struct task ***out,
			 int *n, struct error *e) MUST_CHECK;
enum err sq_dep_waiters(struct store *s, const char *after, int limit, struct arena *a, struct task ***out,
			int *n, struct error *e) MUST_CHECK;
enum err sq_tasks_sweep(struct store *s, const char *execution_id, const char *agent_id,
			const struct task_change *c, int limit, struct arena *a, struct task ***out, int *n,
			struct error *e) MUST_CHECK;
enum err sq_tasks_purge(struct store *s, int64_t before, uint32_t class_mask, int limit, int *n,
			struct error *e) MUST_CHECK;
enum err sq_rec_get(struct store *s, enum record_kind kind, const char *id, bool by_s1, struct arena *a,
		    struct record **out, struct error *e) MUST_CHECK;
enum err sq_recs_list(struct store *s, const struct rec_filter *f, struct arena *a, struct rec_page *out,
		      struct error *e) MUST_CHECK;
enum err sq_recs_purge(struct store *s, enum record_kind kind, int64_t before, int limit, int *n,
		       struct error *e) MUST_CHECK;
enum err sq_rec_put(struct sq_group *g, struct store_op *op, struct error *e) MUST_CHECK;
enum err sq_rec_delete(struct sq_group *g, struct store_op *op, struct error *e) MUST_CHECK;
enum err sq_tallies(struct store *s, const char *agent_id, int64_t from_hour, struct arena *a,
		    struct tally **out, int *n, struct error *e) MUST_CHECK;

#endif
