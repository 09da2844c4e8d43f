// SPDX-License-Identifier: MIT
/* What has been kept long enough goes: by class, in small steps, once an hour. */
#include "sched.h"

#include "../lib/base/log.h"
#include "../lib/domain/execution.h"

#define FIRST_MS	60000
#define EVERY_MS	3600000
#define DAY_MS		86400000LL
#define STEP		200	/* rows in one go: other writers wait that long */
#define PAUSE_MS	20	/* between two goes */
#define RUNS_STEP	20	/* an input may be megabytes */

struct keeper {
	int64_t since_ms;	/* this process leads, or the last clean-up was */
	bool first;
	int64_t removed;
	int at;			/* which kind is being cleaned up; -1: none */
};

struct keeper *keeper_new(void)
{
	struct keeper *k = xcalloc(1, sizeof(*k));

	k->at = -1;
	return k;
}

void keeper_free(struct keeper *k)
{
	free(k);
}

static int64_t cutoff(const struct op *op, int64_t days)
{
	return op->now - days * DAY_MS;
}

/* Each removes at most a step; *n of what it removed. */
typedef enum err clean_step(struct sched *s, struct op *op, int *n);

static enum err clean_tasks(struct sched *s, struct op *op, int *n)
{
	uint32_t others = ((1u << CLASS_COUNT) - 1) & ~(1u << CLASS_PHI);

	return store_tasks_purge(s->app.store, cutoff(op, s->cfg.retention_days), others, STEP, n, op->err);
}

static enum err clean_phi_tasks(struct sched *s, struct op *op, int *n)
{
	return store_tasks_purge(s->app.store, cutoff(op, s->cfg.phi_retention_days), 1u << CLASS_PHI, STEP, n, op->err);
}

static enum err clean_idempotency(struct sched *s, struct op *op, int *n)
{
	return store_recs_purge(s->app.store, REC_IDEMPOTENCY, op->now, STEP, n, op->err);
}

static enum err clean_sessions(struct sched *s, struct op *op, int *n)
{
	return store_recs_purge(s->app.store, REC_SESSION, op->now, STEP, n, op->err);
}

static enum err clean_revocations(struct sched *s, struct op *op, int *n)
{
	return store_recs_purge(s->app.store, REC_REVOCATION, op->now, STEP, n, op->err);
}

static enum err delete_rows(struct op *op, struct store_op *ops, int n_ops)
{
	struct store_unit u = { .ops = ops, .n = (size_t)n_ops, .arena = op->arena, .error = op->err };

	return n_ops ? store_apply_each(op->app->store, &u) : OK;
}

/* Ended runs with their inputs, a retention after they ended. */
static enum err clean_runs(struct sched *s, struct op *op, int *n)
{
	int64_t before = cutoff(op, s->cfg.retention_days);
	struct rec_filter f = { .kind = REC_EXECUTION, .has_n2 = true, .n2 = 0, .has_n1_max = true, .n1_max = before,
				.by_n1 = true, .limit = STEP };
	struct store_op ops[2 * STEP];
	struct rec_page page;
	int n_ops = 0;
	enum err err = store_recs_list(s->app.store, &f, op->arena, &page, op->err);

	for (int i = 0; i < page.n && !err; i++) {
		struct execution *ex;

		err = execution_from_record(op, page.items[i], &ex);
		if (err || ex->completed_at > before)
			continue;
		struct record *blob = arena_new(op->arena, struct record);

		*blob = (struct record){ .kind = REC_BLOB, .id = page.items[i]->id };
		ops[n_ops++] = (struct store_op){ .kind = SOP_REC_DELETE, .rec = blob, .expect_rev = REV_ANY };
		ops[n_ops++] = (struct store_op){ .kind = SOP_REC_DELETE, .rec = page.items[i],
						  .expect_rev = page.items[i]->rev };
	}
	if (!err)
		err = delete_rows(op, ops, n_ops);
	*n = err ? 0 : n_ops / 2;
	return err;
}

/* Inputs of runs that were never made. */
static enum err clean_blobs(struct sched *s, struct op *op, int *n)
{
	struct rec_filter f = { .kind = REC_BLOB, .has_n1_max = true, .n1_max = cutoff(op, s->cfg.retention_days),
				.by_n1 = true, .limit = RUNS_STEP };
	struct store_op ops[RUNS_STEP];
	struct rec_page page;
	int n_ops = 0;
	enum err err = store_recs_list(s->app.store, &f, op->arena, &page, op->err);

	for (int i = 0; i < page.n && !err; i++) {
		struct record *run;

		err = store_rec_get(s->app.store, REC_EXECUTION, page.items[i]->s1, op->arena, &run, op->err);
		if (!err && !run)
			ops[n_ops++] = (struct store_op){ .kind = SOP_REC_DELETE, .rec = page.items[i], .expect_rev = REV_ANY };
	}
	if (!err)
		err = delete_rows(op, ops, n_ops);
	*n = err ? 0 : n_ops;
	return err;
}

/* Messages that were given up. */
static enum err clean_outbox(struct sched *s, struct op *op, int *n)
{
	struct rec_filter f = { .kind = REC_OUTBOX, .s2 = "dead", .has_n1_max = true,
				.n1_max = cutoff(op, s->cfg.retention_days), .by_n1 = true, .limit = STEP };
	struct store_op ops[STEP];
	struct rec_page page;
	enum err err = store_recs_list(s->app.store, &f, op->arena, &page, op->err);

	for (int i = 0; i < page.n && !err; i++)
		ops[i] = (struct store_op){ .kind = SOP_REC_DELETE, .rec = page.items[i], .expect_rev = REV_ANY };
	if (!err)
		err = delete_rows(op, ops, page.n);
	*n = err ? 0 : page.n;
	return err;
}

/* The audit log is kept as long as phi is. */
static enum err clean_audit(struct sched *s, struct op *op, int *n)
{
	return store_recs_purge(s->app.store, REC_AUDIT, cutoff(op, s->cfg.phi_retention_days), STEP, n, op->err);
}

/* Alerts that are over; those that still hold have no end. */
static enum err clean_alerts(struct sched *s, struct op *op, int *n)
{
	return store_recs_purge(s->app.store, REC_ALERT, cutoff(op, s->cfg.retention_days), STEP, n, op->err);
}

static clean_step *const steps[] = { clean_tasks, clean_phi_tasks, clean_idempotency, clean_sessions, clean_revocations,
				     clean_runs, clean_blobs, clean_outbox, clean_audit, clean_alerts };
#define N_STEPS ((int)(sizeof(steps) / sizeof(*steps)))

enum err retention_run(struct sched *s, struct op *op, unsigned why, int64_t *next)
{
	struct keeper *k = s->keeper;
	int64_t wait_ms = k->first ? FIRST_MS : EVERY_MS;
	int n = 0;

	if (why & WAKE_LED) {
		k->since_ms = op->now;
		k->first = true;
		k->at = -1;
		*next = FIRST_MS;
		return OK;
	}
	if (k->at < 0) {
		*next = wait_ms - (op->now - k->since_ms);
		if (*next > 0)
			return OK;
		k->at = 0;
		k->removed = 0;
	}
	enum err err = steps[k->at](s, op, &n);

	/* A kind that fails does not keep the others from being cleaned up. */
	k->removed += n;
	if (err || n == 0)
		k->at++;
	*next = PAUSE_MS;
	if (k->at < N_STEPS)
		return err;
	if (k->removed)
		log_info("retention: %lld rows removed", (long long)k->removed);
	k->at = -1;
	k->first = false;
	k->since_ms = op->now;
	*next = EVERY_MS;
	return err;
}
