// SPDX-License-Identifier: MIT
/*
 * Putting right what a crash has left. Redis first: when it is not warm (it came back empty or with its last writes
 * lost) the queue, the revocations and the indexes are made anew from the store, and only then is it called warm. A
 * process that dies between the store's write and Redis' leaves tasks nobody was told of: when one is found dead, all
 * that changed since it was last heard of is told again. And every few seconds live runs and concurrency keys are
 * looked at for steps that were not taken.
 */
#include "sched.h"

#include "../lib/base/clock.h"
#include "../lib/base/limits.h"
#include "../lib/base/log.h"
#include "../lib/domain/execution.h"
#include "../lib/domain/session.h"

#define WARM_MS		1000	/* between looks at Redis */
#define AWAY_MS		250	/* … while it is away */
#define RUNS_MS		2000	/* between walks over live runs */
#define RUNS_SHARE_US	100000	/* one walk takes at most so long, and the next goes on from there */
#define SLOTS_SHARE_US	100000
#define STALE_MS	2000	/* a run nobody has touched for so long is looked at */
#define SLOTS_MS	5000
#define PROC_DEAD_MS	3000	/* six signs of life missed */
#define WINDOW_MS	10000	/* before the last one: what it may have done and not told */
#define RECENT_MS	600000	/* runs that ended so long ago are looked at after a rebuild */
#define DRAIN_MS	2000

struct healer {
	int64_t warm_us, runs_us, slots_us;
	char runs_after[ID_TEXT];	/* where the walk over live runs goes on */
	char slots_after[257];		/* … and that over concurrency keys */
	bool announced;			/* that Redis is away */
	int64_t tell_from;		/* what changed since then is to be told again; 0: nothing */
};

struct healer *healer_new(void)
{
	return xcalloc(1, sizeof(struct healer));
}

void healer_free(struct healer *h)
{
	free(h);
}

/* --- the queue in Redis ------------------------------------------------------------------------------------- */

/* One page after the other to visit(); the pages' memory goes with each. */
static enum err each_task(struct sched *s, struct op *op, struct task_filter f,
			  enum err (*visit)(struct op *op, struct task_page *page))
{
	char after[ID_TEXT];
	struct arena *outer = op->arena;
	struct arena page_arena;
	enum err err = OK;
	bool more = true;

	arena_init(&page_arena);
	while (more && !err) {
		struct task_page page;

		if (!leads(s)) {
			err = error_set(op->err, ERR_BUSY, "the lead was lost");
			break;
		}
		op->arena = &page_arena;
		err = store_tasks_list(op->app->store, &f, op->arena, &page, op->err);
		if (!err)
			err = visit(op, &page);
		more = !err && page.more;
		if (more) {
			memcpy(after, page.last, sizeof(after));
			f.after = after;
		}
		op->arena = outer;
		arena_reset(&page_arena);
	}
	arena_release(&page_arena);
	return err;
}

static enum err fill_page(struct op *op, struct task_page *page)
{
	struct bus_queue_item *items = arena_calloc(op->arena, (size_t)page->n + 1, sizeof(*items));

	for (int i = 0; i < page->n; i++) {
		memcpy(items[i].id, page->items[i]->id, ID_TEXT);
		items[i].lane = page->items[i]->lane;
		items[i].lane_sig = page->items[i]->lane_sig;
		items[i].order_key = page->items[i]->order_key;
	}
	return bus_queue_fill(op->app->bus, items, page->n);
}

static enum err post_page(struct op *op, struct task_page *page)
{
	for (int i = 0; i < page->n; i++)
		task_told_again(op, page->items[i], NULL);
	return bus_drain(op->app->bus, DRAIN_MS) ? OK : ERR_UNAVAILABLE;
}

static enum err index_agents(struct op *op)
{
	struct agent_criteria all = { .max_load = 1, .limit = LIMIT_PAGE };

	do {
		struct agent **page;
		int n;
		enum err err = agents_list(op, &all, &page, &n, &all.cursor);

		for (int i = 0; i < n && !err; i++)
			err = bus_agent_index(op->app->bus, page[i]->id, NULL, 0, page[i]->capabilities.v,
					      page[i]->capabilities.n);
		if (err)
			return err;
	} while (all.cursor);
	return OK;
}

/* Runs that changed since then, also ended ones: what should have followed. */
static enum err heal_recent_runs(struct op *op, int64_t from, bool tell)
{
	static const char *const events[] = { NULL, NULL, NULL, "pipeline.completed", "pipeline.failed",
					      "pipeline.cancelled" };
	struct rec_filter f = { .kind = REC_EXECUTION, .descending = true, .limit = LIMIT_PAGE };
	struct rec_page page;
	enum err err = store_recs_list(op->app->store, &f, op->arena, &page, op->err);

	for (int i = 0; i < page.n && !err; i++) {
		struct execution *ex;

		err = execution_from_record(op, page.items[i], &ex);
		if (err || ex->updated_at < from)
			continue;
		err = execution_heal(op, ex, true);
		if (!err && tell && events[ex->status])
			execution_post(op, ex, events[ex->status], 0);
	}
	return err;
}

static enum err rebuild(struct sched *s, struct op *op)
{
	const struct task_filter claimable = { .status = ST(TASK_PENDING), .hold = 1u << HOLD_NONE, .ascending = true,
					       .cols = TASK_COLS_BRIEF, .limit = LIMIT_PAGE };
	const struct task_filter leased = { .status = ST_LEASED, .ascending = true, .cols = TASK_COLS_BRIEF,
					    .limit = LIMIT_PAGE };
	int64_t begun = mono_us();

	watch_quiet(s);
	enum err err = bus_queue_clear(op->app->bus);

	if (!err)
		err = each_task(s, op, claimable, fill_page);
	if (!err)
		err = each_task(s, op, leased, post_page);
	if (!err)
		err = session_resync(op);
	if (!err)
		err = index_agents(op);
	if (!err)
		err = bus_set_warm(op->app->bus);
	if (err)
		return err;
	log_timed(LOG_INFO, mono_us() - begun, "Redis was not warm: queue, revocations and indexes are made anew");
	/* Whoever waits for a task has heard nothing of these. */
	bus_post(op->app->bus, &(struct bus_post){ .wake = "s" }, 1);
	return heal_recent_runs(op, op->now - RECENT_MS, false);
}

/* --- dead processes -------------------------------------------------------------------------------------------- */

static const char *event_of(const struct task *t)
{
	static const char *const events[TASK_STATUS_COUNT] = {
		[TASK_ASSIGNED] = "task.assigned", [TASK_RUNNING] = "task.assigned", [TASK_RETRYING] = "task.retrying",
		[TASK_COMPLETED] = "task.completed", [TASK_FAILED] = "task.failed", [TASK_CANCELLED] = "task.cancelled",
	};

	return t->status == TASK_PENDING && t->created_at == t->updated_at ? "task.created" : events[t->status];
}

/* The end of a task moves its run on. (And frees its slot: the sweep sees to that.) */
static enum err move_run_on(struct op *op, const char *id)
{
	struct execution *ex;
	enum err err = execution_load(op, id, &ex);

	if (!err)
		return execution_heal(op, ex, true);
	if (err == ERR_NOT_FOUND)
		error_init(op->err, op->arena);
	return err == ERR_NOT_FOUND ? OK : err;
}

static enum err tell_page(struct op *op, struct task_page *page)
{
	const char *run = "";
	enum err err = OK;

	for (int i = 0; i < page->n && !err; i++) {
		const struct task *t = page->items[i];

		task_told_again(op, t, event_of(t));
		/* Tasks of a stage stand together. */
		if (*t->execution_id && ST(t->status) & ST_ENDED && strcmp(run, t->execution_id) != 0) {
			run = t->execution_id;
			err = move_run_on(op, run);
		}
	}
	return err;
}

static enum err look_for_dead(struct sched *s, struct op *op)
{
	struct healer *h = s->healer;
	struct bus_proc *dead;
	int n = 0;

	if (bus_procs_dead(op->app->bus, PROC_DEAD_MS, op->arena, &dead, &n))
		n = 0;
	for (int i = 0; i < n; i++) {
		/* One that died while nobody led cannot have left more than this. */
		int64_t from = dead[i].last_seen > op->now - RECENT_MS ? dead[i].last_seen : op->now - RECENT_MS;

		log_info("process %s has died: telling again what changed since it was last heard of", dead[i].id);
		if (!h->tell_from || from - WINDOW_MS < h->tell_from)
			h->tell_from = from - WINDOW_MS;
	}
	if (!h->tell_from)
		return OK;
	const struct task_filter f = { .updated_from = h->tell_from, .ascending = true, .cols = TASK_COLS_BRIEF,
				       .limit = LIMIT_PAGE };
	enum err err = each_task(s, op, f, tell_page);

	if (!err)
		err = heal_recent_runs(op, h->tell_from, true);
	/* Redis has dropped them from its list: until it is done it is remembered here. */
	if (!err)
		h->tell_from = 0;
	return err;
}

/* --- runs and keys ------------------------------------------------------------------------------------------------ */

/* One page of live runs; *more: there are others behind it. */
static enum err heal_some_runs(struct sched *s, struct op *op, bool *more)
{
	struct healer *h = s->healer;
	struct rec_filter f = { .kind = REC_EXECUTION, .has_n2 = true, .n2 = 1, .limit = 100,
				.after = *h->runs_after ? h->runs_after : NULL };
	struct rec_page page;
	enum err err = store_recs_list(op->app->store, &f, op->arena, &page, op->err);
	enum err first = OK;

	h->runs_after[0] = '\0';
	*more = !err && page.more && strlen(page.last) == ID_LEN;
	if (err)
		return err;
	if (*more)
		memcpy(h->runs_after, page.last, ID_TEXT);
	for (int i = 0; i < page.n && leads(s); i++) {
		struct execution *ex;

		err = execution_from_record(op, page.items[i], &ex);
		if (!err && op->now - ex->updated_at >= STALE_MS)
			err = execution_heal(op, ex, false);
		first = first ? first : err;
	}
	return first;
}

static enum err heal_runs(struct sched *s, struct op *op)
{
	int64_t begun = mono_us();
	bool more = true;
	enum err err = OK;

	while (more && !err && leads(s) && mono_us() - begun < RUNS_SHARE_US)
		err = heal_some_runs(s, op, &more);
	return err;
}

/* Waiters whose key has no record any more. */
static enum err heal_lone_waiters(struct sched *s, struct op *op)
{
	struct task **waiting;
	int n;
	const char *last = "";
	enum err err = store_tasks_slot_waiters(op->app->store, NULL, LIMIT_PAGE, op->arena, &waiting, &n, op->err);

	for (int i = 0; !err && i < n && leads(s); i++) {
		struct record *rec;

		if (!waiting[i]->concurrency_key || strcmp(last, waiting[i]->concurrency_key) == 0)
			continue;
		last = waiting[i]->concurrency_key;
		err = store_rec_get(op->app->store, REC_SLOT, last, op->arena, &rec, op->err);
		if (!err && !rec)
			err = slot_heal(op, last);
	}
	return err;
}

static enum err heal_slots(struct sched *s, struct op *op)
{
	struct healer *h = s->healer;
	struct rec_filter f = { .kind = REC_SLOT, .limit = 100 };
	struct rec_page page = { .more = true };
	int64_t begun = mono_us();
	enum err err = OK;

	while (page.more && !err && leads(s) && mono_us() - begun < SLOTS_SHARE_US) {
		f.after = *h->slots_after ? h->slots_after : NULL;
		err = store_recs_list(op->app->store, &f, op->arena, &page, op->err);
		h->slots_after[0] = '\0';
		if (!err && page.more)
			snprintf(h->slots_after, sizeof(h->slots_after), "%s", page.last);
		for (int i = 0; i < page.n && !err && leads(s); i++)
			err = slot_heal(op, page.items[i]->id);
	}
	return err ? err : heal_lone_waiters(s, op);
}

/* --- the duty ------------------------------------------------------------------------------------------------------ */

static bool due(int64_t *last_us, int64_t every_ms)
{
	if (*last_us && mono_us() - *last_us < every_ms * 1000)
		return false;
	*last_us = mono_us();
	return true;
}

static enum err look_at_redis(struct sched *s, struct op *op, int64_t *next)
{
	struct healer *h = s->healer;
	bool warm;

	if (bus_is_warm(op->app->bus, &warm)) {
		if (!h->announced)
			log_warn("Redis is away; going on with the store alone");
		h->announced = true;
		*next = AWAY_MS;
		return OK;
	}
	if (h->announced)
		log_info("Redis is back");
	h->announced = false;
	enum err err = warm ? OK : rebuild(s, op);

	/* It went away or was emptied again while we were at it: begin again soon. */
	if (err == ERR_CONFLICT || !leads(s) || (err == ERR_UNAVAILABLE && !bus_up(op->app->bus))) {
		error_init(op->err, op->arena);
		*next = AWAY_MS;
		return OK;
	}
	return err ? err : look_for_dead(s, op);
}

enum err heal_run(struct sched *s, struct op *op, unsigned why, int64_t *next)
{
	struct healer *h = s->healer;
	enum err first = OK;
	enum err err;

	*next = WARM_MS;
	if (why & (WAKE_LED | WAKE_BUS))
		h->warm_us = 0;
	if (due(&h->warm_us, h->announced ? AWAY_MS : WARM_MS)) {
		first = look_at_redis(s, op, next);
		op->now = now_ms();
	}
	if (due(&h->runs_us, RUNS_MS)) {
		err = heal_runs(s, op);
		first = first ? first : err;
	}
	if (due(&h->slots_us, SLOTS_MS)) {
		err = heal_slots(s, op);
		first = first ? first : err;
	}
	return first;
}
