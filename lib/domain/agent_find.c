// SPDX-License-Identifier: MIT
/* Finding agents, judging them, and their figures. */
#include "agent.h"

#include <math.h>

#include "../base/limits.h"
#include "task.h"

#define HOUR_MS 3600000

extern const char *const role_names[];

#define CRITERIA_FIELDS \
	{ "capabilities", F_SLUGS, .offset = offsetof(struct agent_criteria, capabilities), .max = LIMIT_CAPABILITIES, \
	  .help = "All of these." }, \
	{ "any_capabilities", F_SLUGS, .offset = offsetof(struct agent_criteria, any_capabilities), \
	  .max = LIMIT_CAPABILITIES, .help = "At least one of these." }, \
	{ "type", F_SLUG, .offset = offsetof(struct agent_criteria, type) }, \
	{ "max_load", F_NUM, .offset = offsetof(struct agent_criteria, max_load), .min = 0, .max = 1, .dflt = 1 }, \
	{ "min_success_rate", F_NUM, .offset = offsetof(struct agent_criteria, min_success_rate), .min = 0, .max = 1 }

static const struct field list_fields[] = {
	{ "status", F_ENUMS, .offset = offsetof(struct agent_criteria, status), .names = agent_status_names },
	{ "type", F_SLUG, .offset = offsetof(struct agent_criteria, type) },
	{ "capability", F_SLUGS, .offset = offsetof(struct agent_criteria, capabilities), .max = LIMIT_CAPABILITIES,
	  .help = "All of these." },
	{ "role", F_ENUMS, .offset = offsetof(struct agent_criteria, roles), .names = role_names },
	{ "limit", F_INT, .offset = offsetof(struct agent_criteria, limit), .min = 1, .max = LIMIT_PAGE,
	  .dflt = LIMIT_PAGE_DEFAULT },
	{ "cursor", F_STR, .offset = offsetof(struct agent_criteria, cursor), .min = 1, .max = 64,
	  .pattern = CURSOR_PATTERN("a") },
};
SCHEMA(agent_list_query, struct agent_criteria, "AgentListQuery", list_fields, "");

static const struct field discover_fields[] = {
	CRITERIA_FIELDS,
	{ "status", F_ENUMS, .offset = offsetof(struct agent_criteria, status), .names = agent_status_names },
	{ "limit", F_INT, .offset = offsetof(struct agent_criteria, limit), .min = 1, .max = LIMIT_PAGE,
	  .dflt = LIMIT_PAGE_DEFAULT },
};
SCHEMA(discover_query, struct agent_criteria, "DiscoverQuery", discover_fields, "");

static const struct field assign_fields[] = { CRITERIA_FIELDS };
SCHEMA(assign_schema, struct agent_criteria, "AgentCriteria", assign_fields, "Whom the task may go to.");

static bool has(const struct agent *a, const char *capability)
{
	for (int i = 0; i < a->capabilities.n; i++) {
		if (strcmp(a->capabilities.v[i], capability) == 0)
			return true;
	}
	return false;
}

static bool matches(const struct agent_criteria *c, const struct agent *a)
{
	bool any = c->any_capabilities.n == 0;

	for (int i = 0; i < c->capabilities.n; i++) {
		if (!has(a, c->capabilities.v[i]))
			return false;
	}
	for (int i = 0; i < c->any_capabilities.n && !any; i++)
		any = has(a, c->any_capabilities.v[i]);
	if (!any || (c->status && !(c->status >> a->status & 1)) || (c->roles && !(c->roles >> a->role & 1)))
		return false;
	return !c->type || strcmp(c->type, a->type) == 0;
}

/* One page of records as agents with liveness; *more and *last say how to go on. */
static enum err load_page(struct op *op, struct rec_filter *f, struct agent ***out, int *n, bool *more,
			  const char **last)
{
	struct rec_page page;
	enum err err = store_recs_list(op->app->store, f, op->arena, &page, op->err);

	*n = 0;
	if (err)
		return err;
	*out = arena_calloc(op->arena, (size_t)page.n + 1, sizeof(**out));
	for (int i = 0; i < page.n && !err; i++)
		err = agent_from_record(op, page.items[i], &(*out)[(*n)++]);
	if (!err)
		agents_liveness(op, *out, *n);
	*more = page.more;
	*last = page.last;
	return err;
}

enum err agents_list(struct op *op, const struct agent_criteria *c, struct agent ***out, int *n, const char **next)
{
	struct rec_filter f = { .kind = REC_AGENT, .s1 = c->type, .has_n2 = true, .limit = LIMIT_PAGE };
	enum err err = cursor_decode_id(op, "a", c->cursor, &f.after);

	*next = NULL;
	*n = 0;
	*out = arena_calloc(op->arena, (size_t)c->limit + 1, sizeof(**out));
	for (bool more = !err; more && !err;) {
		struct agent **page;
		int got;

		err = load_page(op, &f, &page, &got, &more, &f.after);
		for (int i = 0; i < got && !err; i++) {
			if (!matches(c, page[i]))
				continue;
			if (*n == c->limit) {
				*next = cursor_encode(op->arena, "a", (*out)[*n - 1]->id);
				return OK;
			}
			(*out)[(*n)++] = page[i];
		}
	}
	return err;
}

/* 1 for what takes no time, a half for ten seconds. */
static double speed(double avg_duration_ms)
{
	return 1 / (1 + avg_duration_ms / 10000);
}

double agent_fitness(double load, double success_rate, double avg_duration_ms)
{
	return (1 - load) * (0.6 + 0.3 * success_rate + 0.1 * speed(avg_duration_ms));
}

static int by_fitness(const void *x, const void *y)
{
	const struct candidate *a = x;
	const struct candidate *b = y;

	if (a->fitness != b->fitness)
		return a->fitness < b->fitness ? 1 : -1;
	return strcmp(a->agent->id, b->agent->id);
}

/* Sum tallies (ordered as the store likes) into one figure. */
static void sum_up(const struct tally *t, int n, struct agent_figures *out)
{
	int64_t buckets[TALLY_BUCKETS] = { 0 };
	int64_t duration = 0;

	*out = (struct agent_figures){ .success_rate = 1 };
	for (int i = 0; i < n; i++) {
		out->completed += t[i].completed;
		out->failed += t[i].failed;
		duration += t[i].duration_ms;
		for (int k = 0; k < TALLY_BUCKETS; k++)
			buckets[k] += t[i].bucket[k];
	}
	if (out->completed + out->failed)
		out->success_rate = (double)out->completed / (double)(out->completed + out->failed);
	if (!out->completed)
		return;
	out->avg_ms = (double)duration / (double)out->completed;
	const double at[2] = { 0.50, 0.95 };
	double *const to[2] = { &out->p50_ms, &out->p95_ms };

	for (int q = 0; q < 2; q++) {
		double want = at[q] * (double)out->completed;
		double seen = 0;

		for (int k = 0; k < TALLY_BUCKETS; k++) {
			if (buckets[k] && seen + (double)buckets[k] >= want) {
				/* linear inside the bucket [2^(k-1), 2^k) */
				double low = k ? ldexp(1, k - 1) : 0;

				*to[q] = low + (ldexp(1, k) - low) * (want - seen) / (double)buckets[k];
				break;
			}
			seen += (double)buckets[k];
		}
	}
}

enum err agent_figures(struct op *op, const char *id, int64_t from_hour, struct agent_figures *out)
{
	struct tally *t;
	int n;
	enum err err = store_tallies(op->app->store, id, from_hour, op->arena, &t, &n, op->err);

	if (!err)
		sum_up(t, n, out);
	return err;
}

enum err agents_discover(struct op *op, const struct agent_criteria *c, struct candidate **out, int *n)
{
	struct rec_filter f = { .kind = REC_AGENT, .s1 = c->type, .has_n2 = true, .limit = LIMIT_PAGE };
	size_t cap = 64;
	struct candidate *list = arena_calloc(op->arena, cap, sizeof(*list));
	enum err err = OK;

	*n = 0;
	for (bool more = true; more && !err;) {
		struct agent **page;
		int got;

		err = load_page(op, &f, &page, &got, &more, &f.after);
		for (int i = 0; i < got && !err; i++) {
			struct agent *a = page[i];
			struct agent_figures fig;

			/* Unless asked for, one that is not there is no candidate. */
			if (!matches(c, a) || a->load > c->max_load || (!c->status && a->status == AGENT_INACTIVE))
				continue;
			err = agent_figures(op, a->id, op->now / HOUR_MS - 24, &fig);
			if (err || fig.success_rate < c->min_success_rate)
				continue;
			if ((size_t)*n == cap) {
				struct candidate *bigger = arena_calloc(op->arena, 2 * cap, sizeof(*bigger));

				memcpy(bigger, list, cap * sizeof(*list));
				list = bigger;
				cap *= 2;
			}
			list[(*n)++] = (struct candidate){ .agent = a, .success_rate = fig.success_rate,
							   .avg_duration_ms = fig.avg_ms, .ended = fig.completed + fig.failed,
							   .fitness = agent_fitness(a->load, fig.success_rate, fig.avg_ms) };
		}
	}
	if (*n > 1)
		qsort(list, (size_t)*n, sizeof(*list), by_fitness);
	if (*n > c->limit && c->limit)
		*n = (int)c->limit;
	*out = list;
	return err;
}

/* --- figures ----------------------------------------------------------------------------------------------- */

static void figures_json(struct jw *w, const char *key, const struct agent_figures *f, double availability)
{
	jw_key(w, key);
	jw_obj(w);
	jw_kint(w, "completed", f->completed);
	jw_kint(w, "failed", f->failed);
	jw_kdouble(w, "success_rate", f->success_rate);
	jw_kdouble(w, "avg_duration_ms", f->avg_ms);
	jw_kdouble(w, "p50_duration_ms", f->p50_ms);
	jw_kdouble(w, "p95_duration_ms", f->p95_ms);
	jw_kdouble(w, "availability", availability);
	jw_end_obj(w);
}

/* Share of a window in which the agent can have been there, from what is known of it. */
static double availability(const struct op *op, const struct agent *a, int64_t window_ms)
{
	int64_t from = op->now - window_ms > a->registered_at ? op->now - window_ms : a->registered_at;
	int64_t until = a->status == AGENT_INACTIVE ? a->last_heartbeat : op->now;

	if (op->now <= from)
		return 1;
	return until <= from ? 0 : (double)(until - from) / (double)(op->now - from);
}

enum err agent_metrics_json(struct op *op, const char *id, struct jw *w)
{
	struct agent *a;
	struct agent_figures hour;
	struct agent_figures day;
	struct agent_figures all;
	enum err err = agent_load(op, id, &a);

	if (err || (err = agent_figures(op, id, op->now / HOUR_MS, &hour)) ||
	    (err = agent_figures(op, id, op->now / HOUR_MS - 23, &day)) || (err = agent_figures(op, id, 0, &all)))
		return err;
	jw_obj(w);
	jw_kstr(w, "agent_id", id);
	jw_kdouble(w, "current_load", a->load);
	figures_json(w, "1h", &hour, availability(op, a, HOUR_MS));
	figures_json(w, "24h", &day, availability(op, a, 24LL * HOUR_MS));
	figures_json(w, "all", &all, availability(op, a, op->now - a->registered_at));
	jw_kraw(w, "reported", a->beat_metrics);
	jw_end_obj(w);
	return OK;
}

static void anomaly(struct jw *w, const char *code, const char *message)
{
	jw_obj(w);
	jw_kstr(w, "code", code);
	jw_kstr(w, "message", message);
	jw_end_obj(w);
}

static double percent(double share)
{
	return round(share * 10000) / 100;
}

/* How well it works, 0–1. Load counts for fitness only: an agent with its hands full does what it is there for. */
static double performance(const struct agent_figures *f, double available)
{
	return f->success_rate * available * (0.9 + 0.1 * speed(f->avg_ms));
}

enum err agent_health_json(struct op *op, const char *id, struct jw *w)
{
	static const char *const health[] = { "healthy", "degraded", "unhealthy" };
	struct agent *a;
	struct agent_figures day;
	enum err err = agent_load(op, id, &a);
	int level = 0;

	if (err || (err = agent_figures(op, id, op->now / HOUR_MS - 23, &day)))
		return err;
	double available = availability(op, a, 24LL * HOUR_MS);
	bool failing = day.completed + day.failed >= 10 && day.success_rate < 0.8;
	bool slow = day.completed >= 10 && day.p95_ms > 10 * (day.p50_ms > 1 ? day.p50_ms : 1);

	if (failing || slow || a->status == AGENT_BUSY)
		level = failing || slow;
	if (a->status == AGENT_INACTIVE || a->status == AGENT_ERROR)
		level = 2;
	jw_obj(w);
	jw_kstr(w, "agent_id", id);
	jw_kstr(w, "status", agent_status_names[a->status]);
	jw_kstr(w, "overall_health", health[level]);
	jw_kdouble(w, "performance_score", percent(performance(&day, available)));
	jw_kdouble(w, "availability", percent(available));
	jw_ktime(w, "last_health_check", a->last_heartbeat);
	jw_key(w, "anomalies");
	jw_arr(w);
	if (a->status == AGENT_INACTIVE)
		anomaly(w, "no_heartbeat", "Two heartbeats or more are missing.");
	if (a->status == AGENT_ERROR)
		anomaly(w, "reported_error", "The agent reports an error.");
	if (failing)
		anomaly(w, "low_success_rate", "Less than 80 % of its attempts in 24 hours succeeded.");
	if (slow)
		anomaly(w, "long_tail", "Its slowest twentieth takes over ten times its median.");
	jw_end_arr(w);
	jw_end_obj(w);
	return OK;
}
