// SPDX-License-Identifier: MIT
/*
 * Watching over agents. Redis tells each second who has been silent for two intervals. Every ten seconds all records
 * are read once, and that one reading serves four ends: heartbeats are written into the records in groups, agents that
 * Redis does not know of are judged by their records, and the lists of agents to push to and to probe are made.
 *
 * What Redis says of silence counts only when it has known the heartbeats for two intervals: after it came back,
 * empty or not, nobody is declared dead for that long.
 */
#include "sched.h"

#include "../lib/base/clock.h"
#include "../lib/base/limits.h"
#include "../lib/base/log.h"

#define TICK_MS 1000
#define SCAN_MS 10000
#define SCAN_PER_MS 5		/* scans that changes cause read at most so many records in a ms, on the average */
#define SILENT_BATCH 100

struct target {
	char id[ID_TEXT];
	char *url;
	bool status;			/* endpoints.status: asked each interval, heartbeats or not */
	int64_t heard_ms, asked_ms;
};

struct watch {
	_Atomic int64_t quiet_until_ms;
	int64_t scanned_us, scan_took_us;
	int n_scanned;
	bool changed;			/* some agent has, since the last scan */
	struct target *targets;
	int n_targets;
};

struct watch *watch_new(void)
{
	return xcalloc(1, sizeof(struct watch));
}

static void targets_free(struct target *t, int n)
{
	for (int i = 0; i < n; i++)
		free(t[i].url);
	free(t);
}

void watch_free(struct watch *w)
{
	if (!w)
		return;
	targets_free(w->targets, w->n_targets);
	free(w);
}

void watch_quiet(struct sched *s)
{
	s->watch->quiet_until_ms = now_ms() + 2 * s->cfg.heartbeat_interval * 1000;
}

bool watch_is_quiet(const struct sched *s)
{
	return now_ms() < s->watch->quiet_until_ms;
}

/* --- silence ------------------------------------------------------------------------------------------------ */

static enum err lose(struct op *op, const char *id)
{
	int n;
	enum err err = agent_lost(op, id, &n);

	if (!err && n >= 0)
		log_info("agent %s has been silent for two intervals: inactive, %d of its tasks given back", id, n);
	return err;
}

struct silent {
	struct beat *beats;
};

static enum err judge_silent(struct op *op, void *arg, int i)
{
	struct silent *s = arg;
	const char *id = s->beats[i].agent_id;
	struct agent *a;
	enum err err = agent_load(op, id, &a);

	/* The record may know of a heartbeat that Redis missed. */
	if (!err && a->enabled && a->status != AGENT_INACTIVE) {
		struct beat known = { .at = a->last_heartbeat, .load = -1 };

		memcpy(known.agent_id, a->id, ID_TEXT);
		return bus_beat(op->app->bus, &known, NULL, NULL) == ERR_VALIDATION ? ERR_INTERNAL : OK;
	}
	if (err && err != ERR_NOT_FOUND)
		return err;
	error_init(op->err, op->arena);
	return lose(op, id);
}

static enum err look_for_silent(struct sched *s, struct op *op)
{
	struct silent silent;
	int n;

	if (now_ms() < s->watch->quiet_until_ms)
		return OK;
	/* Redis is away: the records will tell, when it has been back for long enough. */
	if (bus_beats_stale(op->app->bus, op->now - 2 * s->cfg.heartbeat_interval * 1000, SILENT_BATCH, op->arena, &silent.beats, &n))
		return OK;
	return crew_each(s->crew, op, n, judge_silent, &silent, NULL);
}

/* --- the scan ------------------------------------------------------------------------------------------------ */

struct scan {
	struct agent **agents;
	int n, cap;
};

static void collect(struct op *op, struct scan *sc, struct agent **page, int n)
{
	if (sc->n + n > sc->cap) {
		int cap = 2 * (sc->n + n);
		struct agent **more = arena_calloc(op->arena, (size_t)cap, sizeof(*more));

		if (sc->n)
			memcpy(more, sc->agents, (size_t)sc->n * sizeof(*more));
		sc->agents = more;
		sc->cap = cap;
	}
	if (n)
		memcpy(sc->agents + sc->n, page, (size_t)n * sizeof(*page));
	sc->n += n;
}

static enum err read_all(struct op *op, struct scan *sc)
{
	struct agent_criteria all = { .max_load = 1, .limit = LIMIT_PAGE };

	do {
		struct agent **page;
		int n;
		enum err err = agents_list(op, &all, &page, &n, &all.cursor);

		if (err)
			return err;
		collect(op, sc, page, n);
	} while (all.cursor);
	return OK;
}

/* Inactive by its record, unknown to Redis, and still holding tasks. */
static enum err judge_unheard(struct op *op, void *arg, int i)
{
	const struct agent *a = ((struct agent **)arg)[i];
	struct task_filter f = { .status = ST_LEASED, .agent_id = a->id, .cols = TASK_COLS_BRIEF, .limit = 1 };
	struct task_page page;

	/* One that never sent a heartbeat but claims lives by its leases. */
	if (a->status != AGENT_INACTIVE || !a->last_heartbeat)
		return OK;
	enum err err = store_tasks_list(op->app->store, &f, op->arena, &page, op->err);

	return err || !page.n ? err : lose(op, a->id);
}

/* Whom to probe; when one was asked last is carried over. */
static void set_targets(struct watch *w, const struct scan *sc)
{
	struct target *list = xcalloc(2 * (size_t)sc->n + 1, sizeof(*list));
	int n = 0;

	for (int i = 0; i < 2 * sc->n; i++) {
		const struct agent *a = sc->agents[i / 2];
		bool status = i % 2;
		const char *url = status ? a->ep_status : a->ep_health;

		if (!url || !*url || !a->enabled)
			continue;
		struct target *t = &list[n++];

		memcpy(t->id, a->id, ID_TEXT);
		t->url = xstrdup(url);
		t->status = status;
		t->heard_ms = a->last_heartbeat ? a->last_heartbeat : a->registered_at;
		for (int k = 0; k < w->n_targets; k++) {
			if (w->targets[k].status == status && strcmp(w->targets[k].id, a->id) == 0)
				t->asked_ms = w->targets[k].asked_ms;
		}
	}
	targets_free(w->targets, w->n_targets);
	w->targets = list;
	w->n_targets = n;
}

/* What the reading is for. */
static enum err use_scan(struct sched *s, struct op *op, const struct scan *sc)
{
	struct watch *w = s->watch;
	int flushed;

	fleet_set(s, sc->agents, sc->n);
	guard_agents(s, sc->agents, sc->n, op->now);
	set_targets(w, sc);
	/* Half an interval behind is as good as a heartbeat that has just been missed. */
	enum err err = agents_flush(op, sc->agents, sc->n, s->cfg.heartbeat_interval * 500, &flushed);

	if (err || now_ms() < w->quiet_until_ms || !bus_up(op->app->bus))
		return err;
	return crew_each(s->crew, op, sc->n, judge_unheard, sc->agents, NULL);
}

static enum err scan(struct sched *s, struct op *op)
{
	struct watch *w = s->watch;
	struct scan sc = { 0 };
	int64_t begun = mono_us();

	enum err err = read_all(op, &sc);

	if (err)
		return err;
	w->changed = false;
	err = use_scan(s, op, &sc);
	w->n_scanned = sc.n;
	w->scanned_us = mono_us();
	w->scan_took_us = w->scanned_us - begun;
	return err;
}

static void probe(struct sched *s, int64_t now)
{
	int64_t every = s->cfg.probe_interval * 1000;

	for (int i = 0; i < s->watch->n_targets; i++) {
		struct target *t = &s->watch->targets[i];
		int64_t last = t->heard_ms > t->asked_ms && !t->status ? t->heard_ms : t->asked_ms;

		/* A tick early rather than a tick late: the interval may be as short as what makes it silent. */
		if (now - last < every - TICK_MS / 2)
			continue;
		t->asked_ms = now;
		sender_probe(s, t->id, t->url, t->status);
	}
}

/*
 * ms until the next scan; 0: now. A new agent is to be known at once, and at most half of the time is spent so. That a
 * scan took long says little where the fleet is small: the store was slow just then.
 */
static int64_t until_scan(const struct watch *w)
{
	int64_t since_ms = (mono_us() - w->scanned_us) / 1000;
	int64_t took_ms = w->scan_took_us / 1000;
	int64_t read_ms = w->n_scanned / SCAN_PER_MS;
	int64_t least_ms = took_ms > read_ms ? took_ms : read_ms;
	int64_t wait_ms = (w->changed && least_ms < SCAN_MS ? least_ms : SCAN_MS) - since_ms;

	return !w->scanned_us || wait_ms < 0 ? 0 : wait_ms;
}

enum err agents_run(struct sched *s, struct op *op, unsigned why, int64_t *next)
{
	struct watch *w = s->watch;
	bool warm = false;
	enum err err = OK;

	w->changed |= (why & WAKE_AGENTS) != 0;
	if (why & WAKE_LED)
		w->scanned_us = 0;
	if (why & WAKE_BUS || bus_is_warm(op->app->bus, &warm) || !warm)
		watch_quiet(s);
	if (until_scan(w) == 0)
		err = scan(s, op);
	if (err)
		return err;
	probe(s, op->now);
	*next = until_scan(w) < TICK_MS ? until_scan(w) : TICK_MS;
	return look_for_silent(s, op);
}
