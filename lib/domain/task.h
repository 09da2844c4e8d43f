// SPDX-License-Identifier: MIT
/*
 * Tasks: their life from submission to the end. All rules of the state machine stand in lib/domain/task_*.c:
 *
 *   pending ─claim→ running ─→ completed | failed | cancelled
 *      │  └assign→ assigned ─first report→ running
 *      └── retrying (waits for its backoff) ←── a failed attempt that may be tried again
 *
 * Every step is one compare-and-set in the store; a report carries the fencing token of its lease, and one
 * with an older token changes nothing (ERR_STALE_FENCE). Events are posted after the store has it.
 */
#ifndef DOMAIN_TASK_H
#define DOMAIN_TASK_H

#include "domain.h"
#include "retry.h"

/* --- submitting --------------------------------------------------------------------------------- */

struct requirements_in {
	uint64_t present;
	struct strs capabilities;
};

struct task_in {
	uint64_t present;
	const char *type, *parameters, *pipeline_id, *concurrency_key;
	int priority, classification;
	int64_t timeout, max_retries, deadline, run_at, stage, concurrency_limit;
	struct strs dependencies;
	struct requirements_in *requirements;
	struct retry_in *retry;
};
extern const struct schema task_schema;

struct tasks_in {
	uint64_t present;
	struct objs tasks;	/* struct task_in; filled item by item by the batch verb */
};

/*
 * Submit one task. Durable when it returns. Errors: ERR_VALIDATION (unknown dependency or pipeline, times in
 * the past, secrets in URIs), ERR_ENCRYPTION (phi or restricted), ERR_BUSINESS (a dependency failed), ERR_LIMIT.
 */
enum err task_submit(struct op *op, const struct task_in *in, struct task **out) MUST_CHECK;

struct batch_item {
	const char *task_id;	/* NULL when refused */
	enum task_status status;
	struct error *error;	/* NULL when taken */
};
/*
 * Submit many: items is the request's array; each stands or falls by itself. A whole-batch error means that
 * nothing, or an unknown part (ERR_UNCERTAIN), was taken. *answer is the data of the response (JSON).
 */
enum err task_submit_batch(struct op *op, const struct jv *items, const char **answer, bool *any_failed) MUST_CHECK;

/* Fill a task from a checked request: the part submission and pipelines share. Posts nothing. */
enum err task_prepare(struct op *op, const struct task_in *in, struct task *t) MUST_CHECK;
/* Set the lane and claim order of a task that is complete otherwise. */
void task_place(struct op *op, struct task *t, struct strs *capabilities);

/* --- reading -------------------------------------------------------------------------------------- */

/*
 * One task the caller may see. A worker without task:manage sees only tasks it holds, held last or submitted;
 * others look like ERR_NOT_FOUND.
 */
enum err task_get(struct op *op, const char *id, struct task **out) MUST_CHECK;
/* A page; a worker's is narrowed to its own. */
enum err task_list(struct op *op, struct task_filter *f, const char *cursor, struct task_page *out,
		   const char **next_cursor) MUST_CHECK;
bool task_visible(const struct caller *c, const struct task *t);

enum task_view { VIEW_BRIEF, VIEW_FULL };
void task_json(struct op *op, const struct task *t, enum task_view view, struct jw *w);
/* The same as text in the arena. */
const char *task_text(struct op *op, const struct task *t, enum task_view view);
/* Data of an event about the task: ids and states, never payloads. */
const char *task_event_json(struct op *op, const struct task *t);

/* --- running: for the holder of a lease ------------------------------------------------------------ */

struct claim_in {
	uint64_t present;
	int64_t max;
	struct strs types;
};
extern const struct schema claim_schema;

/* Take up to max fitting tasks for an agent that may have work. *n may be 0; *out is NULL when the agent has no room. */
enum err task_claim(struct op *op, const char *agent_id, const struct claim_in *in, struct task ***out, int *n)
	MUST_CHECK;

/* Progress 0–1 (-1: unchanged) and message (NULL: unchanged); renews the lease; assigned becomes running. */
enum err task_progress(struct op *op, const char *id, int64_t fence, double progress, const char *message,
		       struct task **out) MUST_CHECK;
/* result: JSON text. A repeat with the winning fence gets OK again. */
enum err task_complete(struct op *op, const char *id, int64_t fence, const char *result, struct task **out) MUST_CHECK;

/* How an attempt went wrong, as reported or as found by the scheduler. */
struct task_fault {
	const char *type, *code, *message, *details;	/* details: JSON or NULL */
	int retryable;					/* 1 yes, 0 no, -1 as the type says */
	const char *outcome;				/* attempt outcome: failed, lease_expired, timeout, … */
};
enum err task_fail(struct op *op, const char *id, int64_t fence, const struct task_fault *f, struct task **out)
	MUST_CHECK;
/* Give it back unharmed: pending again, the attempt is not counted. */
enum err task_release(struct op *op, const char *id, int64_t fence, struct task **out) MUST_CHECK;

/* May the caller report for the task, its fence being right? */
bool task_held_by_caller(const struct op *op, const struct task *t);

struct report_item {
	const char *task_id;
	int64_t fence;
	const char *result;		/* or */
	const struct task_fault *fault;
	/* out */
	enum err err;
	enum task_status status;
};
/* Many completes and fails in one round; each stands by itself. */
enum err task_report_batch(struct op *op, struct report_item *items, int n) MUST_CHECK;

struct lease_item {
	const char *task_id;
	int64_t fence;
	bool lost, cancelled;		/* out */
};
/* Renew what is past half of its lease; what is no longer held is marked lost. */
enum err task_renew(struct op *op, const char *agent_id, struct lease_item *items, int n) MUST_CHECK;

/* --- steering --------------------------------------------------------------------------------------- */

struct task_update_in {
	uint64_t present;
	int priority;
	int64_t deadline, timeout, max_retries, run_at;
};
extern const struct schema task_update_schema;

enum err task_update(struct op *op, const char *id, const struct task_update_in *in, struct task **out) MUST_CHECK;
enum err task_cancel(struct op *op, const char *id, struct task **out) MUST_CHECK;
/* From failed or cancelled, with a fresh count of attempts. */
enum err task_retry(struct op *op, const char *id, struct task **out) MUST_CHECK;
/* Assign to that agent; ERR_NO_AGENT with the reason when it cannot have it. */
enum err task_delegate(struct op *op, const char *id, const char *agent_id, struct task **out) MUST_CHECK;
/* Assign to the fittest of those that meet the criteria (struct agent_criteria of agent.h, NULL: any). */
struct agent_criteria;
enum err task_assign(struct op *op, const char *id, const struct agent_criteria *c, struct task **out) MUST_CHECK;

/* Move failed tasks back to the queue: those ids, or the first limit that match f. *n moved. */
enum err task_retry_dead(struct op *op, const struct strs *ids, struct task_filter *f, int limit, int *n) MUST_CHECK;

/* --- logs --------------------------------------------------------------------------------------------- */

struct log_in {
	uint64_t present;
	int level;
	const char *message;
	int64_t timestamp;
};
extern const struct schema log_schema;
extern const char *const task_log_levels[];

/* Append; needs the current fence (renews nothing). */
enum err task_log(struct op *op, const char *id, int64_t fence, const struct log_in *lines, int n) MUST_CHECK;
/* The newest LIMIT_LOGS_SHOWN, oldest first, as a JSON array. */
enum err task_logs_tail(struct op *op, const struct task *t, struct jw *w) MUST_CHECK;
enum err task_logs_page(struct op *op, const char *id, const char *cursor, int limit, struct jw *w, int *count,
			const char **next_cursor) MUST_CHECK;

/* --- for the scheduler and executions --------------------------------------------------------------- */

/* Tell the bus that t became claimable, was leased, or ended; event may be NULL. */
void task_posted(struct op *op, const struct task *t, const char *event);
/* The same for what may have been told before, by a process that died: it is not counted again. */
void task_told_again(struct op *op, const struct task *t, const char *event);
/* A lease ran out, an attempt ran too long, a deadline passed: t is the row as it was found. */
enum err task_expire(struct op *op, const struct task *t, enum due_kind why) MUST_CHECK;
/* A held task whose time has come (or whose dependencies are met): next gate, or the queue. */
enum err task_wake(struct op *op, const struct task *t) MUST_CHECK;
/*
 * The same for many whose time has come, in one round where nothing but the time held them. The others are moved to the
 * front, *left of them: for task_expire().
 */
enum err tasks_wake(struct op *op, struct task **tasks, int n, int *left) MUST_CHECK;
/* Look at a task that waits for dependencies: all completed → task_wake; one failed → it fails. */
enum err task_check_dependencies(struct op *op, const struct task *t, bool *moved) MUST_CHECK;
/* Assign t to a push agent: CAS to assigned, outbox row in the same unit. */
enum err task_push(struct op *op, const struct task *t, const char *agent_id, const char *url) MUST_CHECK;
/* Give back everything the agent holds (it died, or was deleted). *n tasks. */
enum err task_requeue_agent(struct op *op, const char *agent_id, const char *outcome, int *n) MUST_CHECK;

/* Is the execution the task belongs to paused? Then it waits on. */
enum err task_paused(struct op *op, const struct task *t, bool *is) MUST_CHECK;

/* Concurrency keys: a key's slot record lists the tasks that may be claimed or run now. */
enum err slot_take(struct op *op, const char *key, int64_t limit, const char *task_id, bool *taken) MUST_CHECK;
/* Free t's slot, if it has a key, and let the next waiter in. */
enum err slot_pass_on(struct op *op, const struct task *t) MUST_CHECK;
/* Drop holders that are not claimable or leased any more, admit waiters (scheduler, after a crash). */
enum err slot_heal(struct op *op, const char *key) MUST_CHECK;

#endif
