// SPDX-License-Identifier: MIT
/* What there is to look at: requests and tasks, services, agents, refusals. Thresholds come from the configuration. */
#include "guard.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "../lib/base/clock.h"
#include "../lib/base/limits.h"
#include "../lib/net/probe.h"

#define SAMPLES_MIN	20	/* fewer requests or tasks in the window say nothing */
#define TALLIES_MS	30000	/* between readings of how attempts ended */
#define GONE_MS		3600000	/* an agent silent for longer is taken for gone for good */
#define ATTEMPTS_MIN	10	/* of an agent, to be judged by */
#define AUDIT_ROWS	2000	/* the newest that are looked at */
#define HOUR_MS		3600000LL
#define COUNTERS_MAX	256

/* --- requests and tasks ---------------------------------------------------------------------------------------- */

/* Those that wait on purpose, for a task or for bcrypt, are not slow. */
static bool waits_on_purpose(const char *labels)
{
	static const char *const endpoints[] = { "endpoint=\"/auth/", "endpoint=\"/users", "endpoint=\"/agents/register\"",
						 "/claim\"", "endpoint=\"/pipeline/agent-execute\"" };

	for (size_t i = 0; i < sizeof(endpoints) / sizeof(*endpoints); i++) {
		if (strstr(labels, endpoints[i]))
			return true;
	}
	return false;
}

static void count_requests(void *arg, const char *labels, uint64_t count, const uint64_t *bucket)
{
	struct snapshot *s = arg;
	uint64_t within = 0;

	s->requests += count;
	if (strstr(labels, "status=\"5"))
		s->errors += count;
	if (waits_on_purpose(labels))
		return;
	for (int i = 0; i < METRIC_BUCKETS; i++) {
		s->bucket[i] += bucket[i];
		within += bucket[i];
	}
	s->quick += count;
	s->over += count > within ? count - within : 0;
}

static void count_tasks(void *arg, const char *labels, uint64_t count, const uint64_t *bucket)
{
	struct snapshot *s = arg;

	(void)bucket;
	if (strstr(labels, "status=\"completed\""))
		s->completed += count;
	else if (strstr(labels, "status=\"failed\""))
		s->failed += count;
}

static struct snapshot take_snapshot(void)
{
	struct snapshot s = { .at_us = mono_us() };

	metrics_each(M_REQUEST_DURATION, count_requests, &s);
	metrics_each(M_TASKS_COMPLETED, count_tasks, &s);
	return s;
}

/*
 * The counters as they were at the beginning of the window. The ring is kept as old as that needs, thinned out to fit: one
 * for each 64th part of the window.
 */
static const struct snapshot *since(struct guard *g, const struct snapshot *now, int64_t window_s)
{
	int64_t from = now->at_us - window_s * 1000000;
	int64_t step = window_s * 1000000 / (SNAPSHOTS - 2);
	int old = 0;

	while (old + 1 < g->n_ring && g->ring[old + 1].at_us <= from)
		old++;
	if (old) {
		g->n_ring -= old;
		memmove(g->ring, g->ring + old, (size_t)g->n_ring * sizeof(*g->ring));
	}
	if (!g->n_ring || (g->n_ring < SNAPSHOTS && now->at_us - g->ring[g->n_ring - 1].at_us >= step))
		g->ring[g->n_ring++] = *now;
	return &g->ring[0];
}

/* ms under which 95 of 100 requests stayed, within their bucket by proportion. */
static double p95(const struct snapshot *from, const struct snapshot *to)
{
	double wanted = 0.95 * (double)(to->quick - from->quick);
	double below = 0;

	for (int i = 0; i < METRIC_BUCKETS; i++) {
		double in = (double)(to->bucket[i] - from->bucket[i]);
		double low = i ? metric_bounds[i - 1] : 0;

		if (in > 0 && below + in >= wanted)
			return 1000 * (low + (metric_bounds[i] - low) * (wanted - below) / in);
		below += in;
	}
	return 1000 * metric_bounds[METRIC_BUCKETS - 1];
}

void look_at_requests(struct sched *s, struct op *op)
{
	struct guard *g = s->guard;
	struct snapshot now = take_snapshot();
	const struct snapshot *from = since(g, &now, s->cfg.alert_window);
	double requests = (double)(now.requests - from->requests);
	double tasks = (double)(now.completed - from->completed + now.failed - from->failed);

	g->looked[K_ERROR_RATE] = g->looked[K_RESPONSE_TIME] = g->looked[K_EFFICIENCY] = true;
	/* The counters began anew. */
	if (now.requests < from->requests || now.quick < from->quick || now.completed < from->completed) {
		g->n_ring = 0;
		return;
	}
	double rate = requests ? (double)(now.errors - from->errors) / requests : 0;
	double most = strtod(s->cfg.alert_error_rate, NULL);

	if (requests >= SAMPLES_MIN && rate > most)
		guard_find(g, K_ERROR_RATE, "", rate, most, arena_printf(op->arena, "%.1f %% of %.0f requests failed.", 100 * rate, requests));
	double slow = p95(from, &now);

	if (now.quick - from->quick >= SAMPLES_MIN && slow > (double)s->cfg.alert_response_ms)
		guard_find(g, K_RESPONSE_TIME, "", slow, (double)s->cfg.alert_response_ms,
		     arena_printf(op->arena, "One request of twenty takes longer than %.0f ms.", slow));
	double share = tasks ? (double)(now.completed - from->completed) / tasks : 1;
	double least = strtod(s->cfg.alert_efficiency, NULL);

	if (tasks >= SAMPLES_MIN && share < least)
		guard_find(g, K_EFFICIENCY, "", share, least,
		     arena_printf(op->arena, "Only %.0f %% of %.0f tasks that ended completed.", 100 * share, tasks));
}

/* --- services --------------------------------------------------------------------------------------------------- */

static bool api_there(const struct config *cfg)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	int fd;

	if (!*cfg->api_socket || strlen(cfg->api_socket) >= sizeof(to.sun_path))
		return false;
	memcpy(to.sun_path, cfg->api_socket, strlen(cfg->api_socket));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return false;
	/* A queue that is full (EAGAIN) has somebody at its end. */
	bool there = connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0 || errno == EAGAIN;

	close(fd);
	return there;
}

static const char *const service_names[SERVICE_COUNT] = { "redis", "api", "relay" };

/* Only what was once seen here can go down: the others may run elsewhere, or not at all. */
void look_at_services(struct sched *s, struct op *op)
{
	struct guard *g = s->guard;
	int64_t took;
	int64_t clients;
	const bool up[SERVICE_COUNT] = { bus_ping(op->app->bus, &took) == OK, api_there(&s->cfg),
					 relay_answers(&s->cfg, &took, &clients) };

	g->looked[K_SERVICE_DOWN] = true;
	for (int i = 0; i < SERVICE_COUNT; i++) {
		if (up[i]) {
			g->service[i].seen_up = true;
			g->service[i].down_since = 0;
			continue;
		}
		if (!g->service[i].seen_up && i != SERVICE_REDIS)
			continue;
		if (!g->service[i].down_since)
			g->service[i].down_since = op->now;
		guard_find(g, K_SERVICE_DOWN, service_names[i], (double)(op->now - g->service[i].down_since) / 1000, 0,
		     arena_printf(op->arena, "%s does not answer.", service_names[i]));
	}
}

/* --- agents ------------------------------------------------------------------------------------------------------- */

struct record_of {
	char id[ID_TEXT];
	int64_t completed, failed;
};

static int by_id(const void *a, const void *b)
{
	return strcmp(((const struct record_of *)a)->id, ((const struct record_of *)b)->id);
}

/* How the agents' attempts of this hour and the last ended, sorted by agent. */
static enum err read_tallies(struct op *op, struct record_of **out, int *n)
{
	struct tally *rows;
	int n_rows;
	enum err err = store_tallies(op->app->store, NULL, op->now / HOUR_MS - 1, op->arena, &rows, &n_rows, op->err);

	*n = 0;
	if (err)
		return err;
	struct record_of *list = arena_calloc(op->arena, (size_t)n_rows + 1, sizeof(*list));

	for (int i = 0; i < n_rows; i++) {
		list[i] = (struct record_of){ .completed = rows[i].completed, .failed = rows[i].failed };
		memcpy(list[i].id, rows[i].agent_id, ID_TEXT);
	}
	qsort(list, (size_t)n_rows, sizeof(*list), by_id);
	for (int i = 0; i < n_rows; i++) {
		if (*n && by_id(&list[*n - 1], &list[i]) == 0) {
			list[*n - 1].completed += list[i].completed;
			list[*n - 1].failed += list[i].failed;
		} else {
			list[(*n)++] = list[i];
		}
	}
	*out = list;
	return OK;
}

/* On the agents' duty's thread, which has just read them all: who is gone, and who says that something is wrong. */
void guard_agents(struct sched *s, struct agent *const *agents, int n, int64_t now)
{
	struct guard *g = s->guard;

	pthread_mutex_lock(&g->lock);
	g->n_scanned = 0;
	g->scanned = true;
	for (int i = 0; i < n && g->n_scanned < AGENTS_MAX; i++) {
		const struct agent *a = agents[i];
		int64_t silent = now - a->last_heartbeat;
		struct suspect *x = &g->suspects[g->n_scanned];

		if (!a->enabled || (a->status != AGENT_INACTIVE && a->status != AGENT_ERROR))
			continue;
		if (a->status == AGENT_INACTIVE && (!a->last_heartbeat || silent >= GONE_MS))
			continue;
		x->kind = a->status == AGENT_ERROR ? K_AGENT_ANOMALY : K_AGENT_GONE;
		x->value = (double)a->last_heartbeat;
		memcpy(x->id, a->id, ID_TEXT);
		g->n_scanned++;
	}
	pthread_mutex_unlock(&g->lock);
}

/* Those whose attempts fail, kept until the next reading. */
static enum err read_failing(struct sched *s, struct op *op)
{
	struct guard *g = s->guard;
	struct record_of *list;
	int64_t every = s->cfg.heartbeat_interval * 500 < TALLIES_MS ? s->cfg.heartbeat_interval * 500 : TALLIES_MS;
	double least = strtod(s->cfg.alert_efficiency, NULL);
	int n;

	if (g->tallied_us && (mono_us() - g->tallied_us) / 1000 < every)
		return OK;
	enum err err = read_tallies(op, &list, &n);

	g->n_failing = 0;
	for (int i = 0; i < n && !err && g->n_failing < AGENTS_MAX; i++) {
		double all = (double)(list[i].completed + list[i].failed);
		struct agent *a;

		if (all < ATTEMPTS_MIN || (double)list[i].completed / all >= least)
			continue;
		err = agent_find(op, list[i].id, &a);
		if (err || !a || !a->enabled || a->deleted_at)
			continue;
		struct suspect *x = &g->failing[g->n_failing++];

		x->value = (double)list[i].completed / all;
		memcpy(x->id, list[i].id, ID_TEXT);
	}
	g->tallied_us = err ? 0 : mono_us();
	return err;
}

enum err look_at_agents(struct sched *s, struct op *op)
{
	struct guard *g = s->guard;
	enum err err = read_failing(s, op);

	if (err || !bus_up(op->app->bus) || watch_is_quiet(s))
		return err;
	pthread_mutex_lock(&g->lock);
	g->looked[K_AGENT_GONE] = g->looked[K_AGENT_ANOMALY] = g->scanned;
	for (int i = 0; i < g->n_scanned; i++) {
		const struct suspect *x = &g->suspects[i];
		double silent = ((double)op->now - x->value) / 1000;

		if (x->kind == K_AGENT_GONE)
			guard_find(g, K_AGENT_GONE, arena_strdup(op->arena, x->id), silent, (double)(2 * s->cfg.heartbeat_interval),
			     arena_printf(op->arena, "An agent has not been heard of for %.0f s.", silent));
		else
			guard_find(g, K_AGENT_ANOMALY, arena_strdup(op->arena, x->id), 0, 0, "An agent reports an error of its own.");
	}
	pthread_mutex_unlock(&g->lock);
	for (int i = 0; i < g->n_failing; i++)
		guard_find(g, K_AGENT_ANOMALY, g->failing[i].id, g->failing[i].value, strtod(s->cfg.alert_efficiency, NULL),
		     arena_printf(op->arena, "Only %.0f %% of an agent's attempts in this hour and the last succeeded.",
				  100 * g->failing[i].value));
	return OK;
}

/* --- refusals ------------------------------------------------------------------------------------------------------ */

struct counter {
	enum alert_kind kind;
	const char *subject;
	int64_t n;
};

static void count(struct counter *list, int *n, enum alert_kind kind, const char *subject)
{
	int i = 0;

	while (i < *n && (list[i].kind != kind || strcmp(list[i].subject, subject) != 0))
		i++;
	if (i == COUNTERS_MAX)
		return;
	if (i == *n)
		list[(*n)++] = (struct counter){ .kind = kind, .subject = subject };
	list[i].n++;
}

static void count_refusal(struct op *op, const struct record *rec, struct counter *list, int *n)
{
	struct error scrap;
	struct jv *v;

	error_init(&scrap, op->arena);
	if (json_parse(op->arena, rec->body, strlen(rec->body), 1, &v, &scrap))
		return;
	const char *kind = jv_str(v, "kind");
	const char *outcome = jv_str(v, "outcome");
	const char *action = jv_str(v, "action");
	const char *ip = jv_str(v, "ip");

	if (!kind || !outcome || !action || strcmp(outcome, "success") == 0)
		return;
	if (strcmp(kind, "authorization") == 0) {
		count(list, n, K_DENIALS, *rec->s2 ? rec->s2 : "anonymous");
		return;
	}
	if (strcmp(action, "login") != 0)
		return;
	/* One address that tries many accounts, and many addresses that try one account. */
	if (ip)
		count(list, n, K_FAILED_LOGINS, ip);
	if (*rec->s3)
		count(list, n, K_FAILED_LOGINS, rec->s3);
}

enum err look_at_refusals(struct sched *s, struct op *op)
{
	struct guard *g = s->guard;
	struct counter *list = arena_calloc(op->arena, COUNTERS_MAX, sizeof(*list));
	struct rec_filter f = { .kind = REC_AUDIT, .descending = true, .limit = LIMIT_PAGE };
	int64_t from = op->now - s->cfg.alert_window * 1000;
	struct rec_page page = { .more = true };
	int n = 0;

	for (int rows = 0; page.more && rows < AUDIT_ROWS; rows += LIMIT_PAGE) {
		enum err err = store_recs_list(op->app->store, &f, op->arena, &page, op->err);

		if (err)
			return err;
		for (int i = 0; i < page.n; i++) {
			page.more = page.more && page.items[i]->n1 >= from;
			if (page.items[i]->n1 >= from)
				count_refusal(op, page.items[i], list, &n);
		}
		f.after = page.last;
	}
	g->looked[K_FAILED_LOGINS] = g->looked[K_DENIALS] = true;
	for (int i = 0; i < n; i++) {
		bool logins = list[i].kind == K_FAILED_LOGINS;
		int64_t most = logins ? s->cfg.alert_failed_logins : s->cfg.alert_denials;

		if (most && list[i].n > most)
			guard_find(g, list[i].kind, list[i].subject, (double)list[i].n, (double)most,
			     arena_printf(op->arena, logins ? "%lld log-ins failed within %lld s." : "%lld requests were refused within %lld s.",
					  (long long)list[i].n, (long long)s->cfg.alert_window));
	}
	return OK;
}
