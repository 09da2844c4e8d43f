// SPDX-License-Identifier: MIT
/*
 * Executions: runs of a pipeline. The record holds the definition it was started with, the state of each
 * stage and no payloads: a stage's output stays with its tasks and is read from there.
 *
 *   created → running → completed | failed | cancelled        (running ⇄ paused)
 *
 * execution_advance() is the one place that moves a run on. It counts the stage's tasks in the store, decides,
 * and applies one compare-and-set on the record's revision together with the next stage's tasks; so it may be
 * called by anyone at any time (the request that completes a task, the scheduler's sweep), twice or not
 * at all: the next call finds the same truth.
 */
#ifndef DOMAIN_EXECUTION_H
#define DOMAIN_EXECUTION_H

#include "pipeline.h"

enum execution_status { EXEC_CREATED, EXEC_RUNNING, EXEC_PAUSED, EXEC_COMPLETED, EXEC_FAILED, EXEC_CANCELLED };
enum stage_status { STAGE_PENDING, STAGE_RUNNING, STAGE_COMPLETED, STAGE_FAILED, STAGE_CANCELLED, STAGE_SKIPPED };

struct stage_state {
	enum stage_status status;
	int64_t tasks;			/* how many it has; set when it starts */
	int64_t started_at, completed_at;
	const char *error;		/* JSON */
};

struct execution {
	char id[ID_TEXT], pipeline_id[ID_TEXT];
	int64_t rev;
	const char *name;		/* the pipeline's */
	enum execution_status status;
	struct stage stages[LIMIT_STAGES + 1];
	struct stage_state state[LIMIT_STAGES + 1];
	int n_stages;
	const char *parameters;		/* JSON object */
	int64_t batch_size, parallel_workers;
	const char *webhook, *email;
	const char *created_by, *error;
	int64_t created_at, updated_at, started_at, completed_at;
	struct stage_counts counts;
	bool counted;
};

struct notification_in {
	uint64_t present;
	const char *webhook, *email;
};
struct execute_in {
	uint64_t present;
	const char *input_data, *parameters;
	struct notification_in *notification;
	/* P6 only */
	int template;
	const char *pipeline_id;
	/* P4 only */
	const char *execution_id;
};
extern const struct schema execute_schema, agent_execute_schema, stage_execute_schema;

/* Start a run of p; only_stage > 0: just that one. Durable, first stage's tasks queued. */
enum err execution_start(struct op *op, const struct pipeline *p, const struct execute_in *in, int only_stage,
			 struct execution **out) MUST_CHECK;
enum err execution_load(struct op *op, const char *id, struct execution **out) MUST_CHECK;
/* Fill counts from the store (once). */
enum err execution_count(struct op *op, struct execution *ex) MUST_CHECK;
/* A page of them, counted. */
enum err executions_list(struct op *op, const char *pipeline_id, uint32_t status, const char *cursor, int limit,
			 struct execution ***out, int *n, const char **next) MUST_CHECK;

enum err execution_advance(struct op *op, const char *id) MUST_CHECK;
/* Does a result meet its stage's validation? ERR_VALIDATION with the places when not. */
enum err execution_check_result(struct op *op, const struct task *t, const char *result) MUST_CHECK;

/*
 * For the scheduler: do again what should have followed a change of the run and may not have, because the process that
 * made it died: fill stages, cancel what is live in stages that are over, move on. crashed: some process is known to
 * have died, so also look whether tasks are held as a pause asks.
 */
enum err execution_heal(struct op *op, struct execution *ex, bool crashed) MUST_CHECK;

enum err execution_pause(struct op *op, const char *id, struct execution **out) MUST_CHECK;
enum err execution_resume(struct op *op, const char *id, struct execution **out) MUST_CHECK;
enum err execution_cancel(struct op *op, const char *id, struct execution **out) MUST_CHECK;
/* From the failed stage on; what succeeded stays. */
enum err execution_retry(struct op *op, const char *id, struct execution **out) MUST_CHECK;
/* Run one stage of a run (again). */
enum err execution_run_stage(struct op *op, const char *id, int stage, struct execution **out) MUST_CHECK;

/* --- answers --------------------------------------------------------------------------------------------- */

/* 0–1 over all stages; needs counts. */
double execution_progress(const struct execution *ex);
/* Whole resource; full adds input_data, parameters and definition. */
enum err execution_json(struct op *op, struct execution *ex, bool full, struct jw *w) MUST_CHECK;
/* Without its payloads, as text in the arena; counts must be there. */
const char *execution_text(struct op *op, struct execution *ex);
/* P5; with_agents: P7. */
enum err execution_progress_json(struct op *op, struct execution *ex, bool with_agents, struct jw *w) MUST_CHECK;
/* Members status and latest_execution of a pipeline's answer. */
enum err pipeline_run_json(struct op *op, const char *pipeline_id, struct jw *w) MUST_CHECK;
int execution_current_stage(const struct execution *ex);
/* Stage whose output is the run's: the last one that completed; 0 when none has. */
int execution_last_stage(const struct execution *ex);

/* --- outputs ---------------------------------------------------------------------------------------------- */

/* One item (or a whole result when it holds no items); return false to stop. */
typedef bool output_visitor(void *arg, const char *text, size_t n, int64_t stage_seq, int64_t index);
struct output_shape {
	bool items;		/* every result is {"items":[…]} */
	int64_t count, bytes, results;
};
/* What a stage's output looks like; stage 0 is the run's input. */
enum err output_shape(struct op *op, const char *execution_id, int stage, struct output_shape *out) MUST_CHECK;
/* Visit in order from (seq, index) on. as_items: items of each result, else whole results. */
enum err output_walk(struct op *op, const char *execution_id, int stage, bool as_items, int64_t seq, int64_t index,
		     output_visitor *visit, void *arg) MUST_CHECK;
/* A page for P9 (JSON). limit items. */
enum err execution_output_json(struct op *op, const char *execution_id, int stage, const char *cursor, int limit,
			       struct jw *w, int *count, const char **next) MUST_CHECK;

/* --- between execution_*.c ---------------------------------------------------------------------------------- */

struct record *execution_to_record(struct op *op, const struct execution *ex);
enum err execution_from_record(struct op *op, const struct record *rec, struct execution **out) MUST_CHECK;
void execution_post(struct op *op, const struct execution *ex, const char *event, int stage);
/* A unit with room for a run's record (its first op), its tasks and its notifications. */
struct store_unit execution_unit(struct op *op);
/* Add to u the notifications of a run that has just ended. */
void execution_notify(struct op *op, const struct execution *ex, struct store_unit *u);
/* Write ex as the unit's first op, refused when its revision is another one by now. */
void execution_put(struct op *op, struct execution *ex, struct store_unit *u);
/* Completed, left out, or failed where that does not matter. */
bool stage_over(const struct execution *ex, int s);
/*
 * The tasks of stage s, made from the outputs it depends on. Small sets go into *u (room for `room` more ops) so that
 * they commit with the record; when there are too many *deferred is set and execution_fill() adds them after.
 * Sets state[s].tasks. ERR_BUSINESS: the input does not fit the stage (the stage fails; message in op->err).
 */
enum err stage_prepare(struct op *op, struct execution *ex, int s, struct store_unit *u, size_t room, bool *deferred)
	MUST_CHECK;
enum err execution_fill(struct op *op, struct execution *ex, int s) MUST_CHECK;
/* Let the first tasks of a stage with limited parallelism in, and tell the bus of those that are claimable. */
enum err stage_announce(struct op *op, struct execution *ex, int s, const struct store_unit *u) MUST_CHECK;
/*
 * Move the run's claimable tasks between claimable and paused. A keyed one keeps its slot meanwhile, and those that
 * wait for a slot go on waiting.
 */
enum err execution_hold_tasks(struct op *op, const struct execution *ex, bool pause) MUST_CHECK;
/* Cancel what is live in a stage (0: all stages). */
enum err stage_cancel_tasks(struct op *op, const char *execution_id, int stage) MUST_CHECK;

#endif
