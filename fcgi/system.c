// SPDX-License-Identifier: MIT
/* Health, readiness, figures: what operators and probes ask. */
#include <stdio.h>
#include <sys/statvfs.h>
#include <sys/sysinfo.h>

#include "../lib/base/clock.h"
#include "../lib/base/limits.h"
#include "../lib/base/metrics.h"
#include "../lib/base/version.h"
#include "../lib/domain/agent.h"
#include "../lib/domain/execution.h"
#include "../lib/net/probe.h"
#include "handlers.h"
#include "queries.h"
#include "worker.h"

struct state {
	bool store, bus, relay, resources;
	int64_t store_us, bus_us, relay_us, relay_clients;
	double disk_free, memory_free;	/* shares */
};

static void look(struct req *r, struct state *s)
{
	struct statvfs fs;
	struct sysinfo info;
	struct error e;
	int64_t t = mono_us();

	error_init(&e, r->op.arena);
	s->store = store_ping(r->op.app->store, &e) == OK;
	s->store_us = mono_us() - t;
	s->bus = bus_ping(r->op.app->bus, &s->bus_us) == OK;
	s->relay = relay_answers(r->op.app->cfg, &s->relay_us, &s->relay_clients);
	s->disk_free = statvfs(*r->op.app->cfg->home ? r->op.app->cfg->home : "/", &fs) == 0 && fs.f_blocks
			       ? (double)fs.f_bavail / (double)fs.f_blocks : 1;
	s->memory_free = 1;
	if (sysinfo(&info) == 0 && info.totalram)
		s->memory_free = (double)(info.freeram + info.bufferram) / (double)info.totalram;
	s->resources = s->disk_free > 0.02;
}

static const char *overall(const struct state *s)
{
	return !s->store ? "unhealthy" : !s->bus || !s->relay || !s->resources ? "degraded" : "healthy";
}

static void check(struct jw *w, const char *name, const char *status, int64_t us)
{
	jw_key(w, name);
	jw_obj(w);
	jw_kstr(w, "status", status);
	if (us >= 0)
		jw_kdouble(w, "latency_ms", (double)us / 1000);
	jw_end_obj(w);
}

static void write_checks(struct req *r, const struct state *s, struct jw *w)
{
	struct bus_stats stats;

	bus_stats(r->op.app->bus, &stats);
	jw_key(w, "checks");
	jw_obj(w);
	check(w, "database", s->store ? "healthy" : "unhealthy", s->store_us);
	check(w, "redis", s->bus ? "healthy" : "unhealthy", s->bus_us);
	check(w, "relay", s->relay ? "healthy" : "unhealthy", s->relay_us);
	/* None is configured yet that the panel itself depends on. */
	check(w, "external_services", "healthy", -1);
	jw_key(w, "system_resources");
	jw_obj(w);
	jw_kstr(w, "status", s->resources ? "healthy" : "degraded");
	jw_kdouble(w, "disk_free", s->disk_free);
	jw_kdouble(w, "memory_free", s->memory_free);
	jw_end_obj(w);
	jw_end_obj(w);
	jw_kstr(w, "store", store_name(r->op.app->store));
	jw_kint(w, "events_waiting", stats.backlog);
	jw_kint(w, "events_dropped", stats.dropped);
	jw_kstr(w, "version", mcp_version);
	jw_kstr(w, "revision", mcp_revision);
}

enum err h_health(struct req *r, struct resp *p)
{
	struct state s = { 0 };

	look(r, &s);
	jw_obj(&p->w);
	jw_kstr(&p->w, "service", "mcp");
	jw_kstr(&p->w, "status", overall(&s));
	jw_ktime(&p->w, "timestamp", r->op.now);
	if (caller_may(&r->caller, PERM_SYSTEM_HEALTH))
		write_checks(r, &s, &p->w);
	jw_end_obj(&p->w);
	p->status = s.store ? 200 : 503;
	return OK;
}

enum err h_ready(struct req *r, struct resp *p)
{
	struct error e;

	error_init(&e, r->op.arena);
	bool ready = store_ping(r->op.app->store, &e) == OK;

	jw_obj(&p->w);
	jw_kbool(&p->w, "ready", ready);
	jw_end_obj(&p->w);
	p->status = ready ? 200 : 503;
	return OK;
}

enum err h_live(struct req *r, struct resp *p)
{
	(void)r;
	jw_obj(&p->w);
	jw_kbool(&p->w, "live", true);
	jw_end_obj(&p->w);
	return OK;
}

static void service(struct jw *w, const char *name, const char *kind, const char *state, const char *address)
{
	jw_obj(w);
	jw_kstr(w, "name", name);
	jw_kstr(w, "kind", kind);
	jw_kstr(w, "state", state);
	jw_kstr(w, "address", address);
	jw_end_obj(w);
}

/* Is there a leader, by its lease in the store? */
static const char *scheduler_state(struct req *r)
{
	struct record *rec;
	struct error e;

	error_init(&e, r->op.arena);
	if (store_rec_get(r->op.app->store, REC_LEASE, "scheduler", r->op.arena, &rec, &e))
		return "unknown";
	return rec && rec->n1 > r->op.now ? "healthy" : "unhealthy";
}

enum err h_services(struct req *r, struct resp *p)
{
	const struct config *cfg = r->op.app->cfg;
	char relay[RELAY_ADDRESS];
	struct state s = { 0 };

	look(r, &s);
	relay_address(cfg, relay);
	jw_arr(&p->w);
	/* Addresses only: a URI may hold a password. */
	service(&p->w, "api", "fastcgi", "healthy", cfg->api_socket);
	service(&p->w, "api-slow", "fastcgi", "healthy", cfg->api_slow_socket);
	service(&p->w, "scheduler", "daemon", scheduler_state(r), NULL);
	service(&p->w, "store", store_name(r->op.app->store), s.store ? "healthy" : "unhealthy", NULL);
	service(&p->w, "redis", "redis", s.bus ? "healthy" : "unhealthy", NULL);
	service(&p->w, "relay", "websocket", s.relay ? "healthy" : "unhealthy", relay);
	if (*cfg->flask_api_url)
		service(&p->w, "flask", "http", "unknown", cfg->flask_api_url);
	jw_end_arr(&p->w);
	p->count = *cfg->flask_api_url ? 7 : 6;
	p->list = true;
	return OK;
}

/* Agents of one type by status. */
struct fleet_part {
	const char *type;
	int64_t counts[4];
};

#define FLEET_TYPES 32		/* more types than that are counted as "other" */

static struct fleet_part *part_of(struct fleet_part parts[FLEET_TYPES + 1], int *n, const char *type)
{
	for (int i = 0; i < *n; i++) {
		if (strcmp(parts[i].type, type) == 0)
			return &parts[i];
	}
	if (*n < FLEET_TYPES) {
		parts[*n].type = type;
		return &parts[(*n)++];
	}
	parts[FLEET_TYPES].type = "other";
	return &parts[FLEET_TYPES];
}

/* The fleet is small enough to count. parts may be NULL. */
static enum err count_agents(struct req *r, int64_t counts[4], struct fleet_part *parts, int *n_parts)
{
	struct agent_criteria c = { .limit = LIMIT_PAGE, .max_load = 1 };

	do {
		struct agent **list;
		int n;
		enum err err = agents_list(&r->op, &c, &list, &n, &c.cursor);

		if (err)
			return err;
		for (int i = 0; i < n; i++) {
			counts[list[i]->status]++;
			if (parts)
				part_of(parts, n_parts, list[i]->type)->counts[list[i]->status]++;
		}
	} while (c.cursor);
	return OK;
}

#define RUNS_SHOWN 100

/* Stages of the runs that are under way. */
static enum err running_stages(struct req *r, struct buf *out)
{
	struct execution **list;
	const char *next;
	int n;
	enum err err = executions_list(&r->op, NULL, 1u << EXEC_RUNNING, NULL, RUNS_SHOWN, &list, &n, &next);

	buf_adds(out, "# HELP mcp_pipeline_progress Share of a running stage's tasks that are done.\n"
		      "# TYPE mcp_pipeline_progress gauge\n");
	for (int i = 0; i < n && !err; i++) {
		for (int s = 1; s <= list[i]->n_stages; s++) {
			const struct stage_state *st = &list[i]->state[s];

			if (st->status == STAGE_RUNNING && st->tasks)
				buf_addf(out, "mcp_pipeline_progress{pipeline_id=\"%s\",execution_id=\"%s\",stage=\"%d\"} %.4f\n",
					 list[i]->pipeline_id, list[i]->id, s,
					 (double)list[i]->counts.n[s][TASK_COMPLETED] / (double)st->tasks);
		}
	}
	return err;
}

enum err h_metrics(struct req *r, struct resp *p)
{
	struct queue_depth depth;
	int64_t agents[4] = { 0 };
	struct fleet_part parts[FLEET_TYPES + 1] = { 0 };
	int n_parts = 0;
	enum err err;

	if (!r->op.app->cfg->metrics_enabled)
		return error_public(r->op.err, ERR_NOT_FOUND, "METRICS_ENABLED is false.");
	err = store_queue_depth(r->op.app->store, &depth, r->op.err);
	if (err || (err = count_agents(r, agents, parts, &n_parts)))
		return err;
	metrics_write(&p->data);
	buf_adds(&p->data, "# HELP mcp_queue_depth Claimable tasks.\n# TYPE mcp_queue_depth gauge\n");
	for (int i = 0; i < PRIO_COUNT; i++)
		buf_addf(&p->data, "mcp_queue_depth{priority=\"%s\"} %lld\n", priority_names[i], (long long)depth.ready[i]);
	buf_adds(&p->data, "# HELP mcp_queue_age_seconds Age of the oldest claimable task.\n"
			   "# TYPE mcp_queue_age_seconds gauge\n");
	for (int i = 0; i < PRIO_COUNT; i++)
		buf_addf(&p->data, "mcp_queue_age_seconds{priority=\"%s\"} %.3f\n", priority_names[i],
			 depth.oldest[i] ? (double)(r->op.now - depth.oldest[i]) / 1000 : 0);
	buf_adds(&p->data, "# HELP mcp_agents_active Agents by status.\n# TYPE mcp_agents_active gauge\n");
	for (int k = 0; k <= FLEET_TYPES; k++) {
		for (int i = 0; parts[k].type && agent_status_names[i]; i++)
			buf_addf(&p->data, "mcp_agents_active{agent_type=\"%s\",status=\"%s\"} %lld\n", parts[k].type,
				 agent_status_names[i], (long long)parts[k].counts[i]);
	}
	int64_t clients;
	int64_t took;

	(void)relay_answers(r->op.app->cfg, &took, &clients);
	buf_addf(&p->data, "# HELP mcp_websocket_clients Clients of the event relay.\n# TYPE mcp_websocket_clients gauge\n"
			   "mcp_websocket_clients %lld\n", (long long)clients);
	if (r->op.app->cfg->detailed_metrics && (err = running_stages(r, &p->data)))
		return err;
	buf_addf(&p->data, "# HELP mcp_build_info Which build this is.\n# TYPE mcp_build_info gauge\n"
			   "mcp_build_info{version=\"%s\",revision=\"%s\",store=\"%s\"} 1\n",
		 mcp_version, mcp_revision, store_name(r->op.app->store));
	p->content_type = "text/plain; version=0.0.4; charset=utf-8";
	return OK;
}

static void write_queue(struct jw *w, const struct queue_depth *depth, int64_t now)
{
	int64_t held = 0;

	jw_key(w, "queue");
	jw_arr(w);
	for (int i = 0; i < PRIO_COUNT; i++) {
		jw_obj(w);
		jw_kstr(w, "priority", priority_names[i]);
		jw_kint(w, "depth", depth->ready[i]);
		jw_kdouble(w, "oldest_s", depth->oldest[i] ? (double)(now - depth->oldest[i]) / 1000 : 0);
		jw_end_obj(w);
	}
	jw_end_arr(w);
	for (int i = 0; i < HOLD_COUNT; i++)
		held += depth->held[i];
	jw_kint(w, "waiting_tasks", held);
}

static void write_quantile(struct jw *w, const char *key, double ms)
{
	if (ms < 0)
		jw_knull(w, key);
	else
		jw_kdouble(w, key, ms);
}

static void write_series(struct jw *w, int n)
{
	static const char *const counts[] = { [MINUTE_CREATED] = "created", [MINUTE_COMPLETED] = "completed",
					      [MINUTE_FAILED] = "failed", [MINUTE_CANCELLED] = "cancelled",
					      [MINUTE_REQUESTS] = "requests", [MINUTE_ERRORS] = "errors" };
	static const char *const p50[] = { [MINUTE_REQUEST] = "request_p50_ms", [MINUTE_ASSIGNMENT] = "assignment_p50_ms",
					   [MINUTE_TASK] = "task_p50_ms" };
	static const char *const p95[] = { [MINUTE_REQUEST] = "request_p95_ms", [MINUTE_ASSIGNMENT] = "assignment_p95_ms",
					   [MINUTE_TASK] = "task_p95_ms" };
	struct minute_view minutes[MINUTES_SHOWN];

	minutes_read(n, minutes);
	jw_key(w, "series");
	jw_arr(w);
	for (int i = 0; i < n; i++) {
		jw_obj(w);
		jw_ktime(w, "at", minutes[i].at);
		for (int c = 0; c < MINUTE_COUNTS; c++)
			jw_kint(w, counts[c], (int64_t)minutes[i].count[c]);
		for (int t = 0; t < MINUTE_TIMES; t++) {
			write_quantile(w, p50[t], minutes[i].p50_ms[t]);
			write_quantile(w, p95[t], minutes[i].p95_ms[t]);
		}
		jw_end_obj(w);
	}
	jw_end_arr(w);
}

enum err h_system_metrics(struct req *r, struct resp *p)
{
	const struct series_q *q = r->q;
	struct queue_depth depth;
	struct request_totals totals;
	struct state s = { 0 };
	int64_t agents[4] = { 0 };
	int64_t queued = 0;
	enum err err = store_queue_depth(r->op.app->store, &depth, r->op.err);

	if (err || (err = count_agents(r, agents, NULL, NULL)))
		return err;
	look(r, &s);
	metrics_requests(&totals);
	for (int i = 0; i < PRIO_COUNT; i++)
		queued += depth.ready[i];
	for (int i = 0; i < HOLD_COUNT; i++)
		queued += depth.held[i];
	jw_obj(&p->w);
	jw_kstr(&p->w, "overall_health", overall(&s));
	jw_kint(&p->w, "active_agents", agents[AGENT_ACTIVE] + agents[AGENT_BUSY]);
	jw_kint(&p->w, "queued_tasks", queued);
	jw_kint(&p->w, "running_tasks", depth.leased);
	jw_kdouble(&p->w, "average_response_time_ms",
		   totals.requests ? totals.seconds * 1000 / (double)totals.requests : 0);
	jw_kdouble(&p->w, "error_rate", totals.requests ? (double)totals.errors / (double)totals.requests : 0);
	write_queue(&p->w, &depth, r->op.now);
	write_series(&p->w, !q->present ? 0 : q->series == SERIES_HOUR ? MINUTES_SHOWN : 2);
	jw_end_obj(&p->w);
	return OK;
}

enum err h_openapi(struct req *r, struct resp *p)
{
	(void)r;
	buf_adds(&p->data, openapi_text());
	p->content_type = "application/json";
	return OK;
}

enum err h_docs(struct req *r, struct resp *p)
{
	(void)r;
	buf_adds(&p->data, docs_page());
	p->content_type = "text/html; charset=utf-8";
	return OK;
}
