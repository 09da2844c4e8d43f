// SPDX-License-Identifier: MIT
/*
 * What is wrong. Every ALERT_INTERVAL the leader takes stock: requests and ended tasks of the last ALERT_WINDOW from the
 * shared counters, the services the panel consists of, the agents (as their duty has last read them), and the audit log's
 * refusals. What it finds are findings: a rule and the subject it holds for. They are compared with the alerts that the
 * store has as active: new ones are raised, known ones seen, and those that were not found twice in a row are resolved. So
 * a leader that takes over goes on where the last one stopped.
 *
 * What could not be looked at (Redis is away, so nobody knows of heartbeats) neither raises nor resolves.
 */
#include "guard.h"

#include "../lib/base/limits.h"
#include "../lib/base/log.h"
#include "../lib/domain/alert.h"

#define SEEN_MS		30000	/* last_seen is written so often, or when the value changes much */

static const struct {
	const char *name, *severity, *unit;
} kinds[KIND_COUNT] = {
	[K_ERROR_RATE] = { "error_rate", "critical", "share" },
	[K_RESPONSE_TIME] = { "response_time", "warning", "ms" },
	[K_EFFICIENCY] = { "task_efficiency", "warning", "share" },
	[K_AGENT_GONE] = { "agent_gone", "warning", "s" },
	[K_AGENT_ANOMALY] = { "agent_anomaly", "warning", "share" },
	[K_SERVICE_DOWN] = { "service_down", "critical", "s" },
	[K_FAILED_LOGINS] = { "failed_logins", "critical", "failures" },
	[K_DENIALS] = { "permission_probes", "warning", "refusals" },
};

struct guard *guard_new(void)
{
	struct guard *g = xcalloc(1, sizeof(*g));

	pthread_mutex_init(&g->lock, NULL);
	return g;
}

void guard_free(struct guard *g)
{
	if (!g)
		return;
	pthread_mutex_destroy(&g->lock);
	free(g);
}

void guard_find(struct guard *g, enum alert_kind kind, const char *subject, double value, double threshold, const char *message)
{
	/* An agent may be suspect for two reasons: one alert says so. */
	for (int i = 0; i < g->n_found; i++) {
		if (g->found[i].kind == kind && strcmp(g->found[i].subject, subject) == 0)
			return;
	}
	if (g->n_found < FINDINGS_MAX)
		g->found[g->n_found++] = (struct finding){ .kind = kind, .subject = subject, .message = message, .value = value,
							   .threshold = threshold };
}

/* --- from findings to alerts ---------------------------------------------------------------------------------------- */

static struct finding *finding_of(struct guard *g, const struct alert *a)
{
	for (int i = 0; i < g->n_found; i++) {
		if (strcmp(kinds[g->found[i].kind].name, a->kind) == 0 && strcmp(g->found[i].subject, a->subject) == 0)
			return &g->found[i];
	}
	return NULL;
}

static bool looked_at(const struct guard *g, const struct alert *a)
{
	for (int i = 0; i < KIND_COUNT; i++) {
		if (strcmp(kinds[i].name, a->kind) == 0)
			return g->looked[i];
	}
	return true;	/* a rule that is no more */
}

/* An active alert that was not found: is it over? When it was not found the last time either. */
static bool over(struct guard *g, const struct alert *a, const char (*before)[ID_TEXT], int n)
{
	bool missed = false;

	for (int i = 0; i < n && !missed; i++)
		missed = strcmp(before[i], a->id) == 0;
	if (looked_at(g, a) && missed)
		return true;
	if ((missed || looked_at(g, a)) && g->n_missed < FINDINGS_MAX)
		memcpy(g->missed[g->n_missed++], a->id, ID_TEXT);
	return false;
}

/* Somebody else changed it: the next look sees how it stands. */
static enum err forgive(struct op *op, enum err err)
{
	if (err != ERR_CONFLICT)
		return err;
	error_init(op->err, op->arena);
	return OK;
}

static enum err update(struct op *op, struct alert *a, const struct finding *f)
{
	bool much = f->value > 1.2 * a->value || f->value < 0.8 * a->value;

	if (op->now - a->last_seen < SEEN_MS && !(much && op->now - a->last_seen > SEEN_MS / 10))
		return OK;
	a->value = f->value;
	a->threshold = f->threshold;
	a->message = f->message;
	return forgive(op, alert_seen(op, a));
}

static enum err resolve(struct op *op, struct alert *a)
{
	enum err err = alert_resolve(op, a);

	if (!err)
		log_info("alert resolved: %s %s", a->kind, a->subject);
	return forgive(op, err);
}

static enum err raise_new(struct op *op, const struct finding *f)
{
	struct alert a = { .kind = kinds[f->kind].name, .subject = f->subject, .severity = kinds[f->kind].severity,
			   .unit = kinds[f->kind].unit, .message = f->message, .value = f->value, .threshold = f->threshold };
	enum err err = alert_raise(op, &a);

	if (!err)
		log_warn("alert: %s %s: %s", a.kind, a.subject, a.message);
	return err;
}

static enum err compare(struct sched *s, struct op *op)
{
	struct guard *g = s->guard;
	struct alert_filter f = { .status = ALERTS_ACTIVE, .limit = LIMIT_PAGE };
	char before[FINDINGS_MAX][ID_TEXT];
	int n_before = g->n_missed;
	bool known[FINDINGS_MAX] = { false };
	struct alert **active;
	const char *next;
	int n;
	enum err err = alerts_list(op, &f, &active, &n, &next);

	memcpy(before, g->missed, sizeof(before));
	g->n_missed = 0;
	for (int i = 0; i < n && !err; i++) {
		struct finding *held = finding_of(g, active[i]);

		if (held && !known[held - g->found]) {
			known[held - g->found] = true;
			err = update(op, active[i], held);
		} else if (held || over(g, active[i], before, n_before)) {
			err = resolve(op, active[i]);
		}
	}
	for (int i = 0; i < g->n_found && !err; i++) {
		if (!known[i])
			err = raise_new(op, &g->found[i]);
	}
	return err;
}

enum err alerts_run(struct sched *s, struct op *op, unsigned why, int64_t *next)
{
	struct guard *g = s->guard;

	*next = s->cfg.alert_interval * 1000;
	if (why & WAKE_LED) {
		g->n_ring = g->n_missed = 0;
		g->tallied_us = 0;
		pthread_mutex_lock(&g->lock);
		g->scanned = false;
		pthread_mutex_unlock(&g->lock);
	}
	g->n_found = 0;
	memset(g->looked, 0, sizeof(g->looked));
	look_at_requests(s, op);
	look_at_services(s, op);
	enum err err = look_at_agents(s, op);

	if (!err)
		err = look_at_refusals(s, op);
	return err ? err : compare(s, op);
}
