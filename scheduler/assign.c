// SPDX-License-Identifier: MIT
/*
 * Tasks to agents that are pushed to. Ids come from the queue in Redis, in its order, or from the store while the
 * queue cannot be relied on; now and then the store is asked anyway, for what the queue may have missed. Among the
 * agents that fit and have room the fittest for what it already holds gets the task. What nobody can have goes back.
 *
 * While no agent gave endpoints.task there is nothing to do at all, and nothing is done.
 */
#include "sched.h"

#include "../lib/base/clock.h"
#include "../lib/base/limits.h"
#include "../lib/base/log.h"

#define HOUR_MS		3600000
#define FRESH_MS	1000	/* what is known of the fleet is believed so long */
#define FULL_MS		200	/* … and so long when nobody has room */
#define LOOK_SHARE	20	/* looking takes at most this part of the time */
#define IDLE_MS		1000
#define STORE_MS	2000	/* between looks into the store while the queue works */
#define ALONE_MS	250	/* … and while it does not */
#define BATCH		256
#define ROUNDS		16
#define UNSLOTTED	64	/* most at once for an agent that names no slots */
#define BREAK_AFTER	5	/* pushes in a row that went wrong: the agent is left alone … */
#define BREAK_MS	60000	/* … for so long, or until it is heard of, … */
#define HALF_OPEN	3	/* … and then gets so few at once until one is answered */
#define NOTE_US		1000000

/* A push agent between scans. */
struct entry {
	char id[ID_TEXT];
	int failures;
	int64_t failed_ms;	/* wall clock: compared with heartbeats */
	int64_t noted_us;	/* its answer was last noted as a sign of life */
	int ended;		/* pushes that ended since the fleet was looked at */
};

/* What is known of one that can be given work. Lives in the fleet's arena until the next look. */
struct member {
	char id[ID_TEXT];
	const char *url;
	struct fit fit;
	double fitness;
	int64_t held, room;
};

struct fleet {
	pthread_mutex_t lock;	/* entries */
	struct entry *entries;
	_Atomic int n_entries;
	_Atomic bool news;
	/* the assigner's own */
	struct arena arena;
	struct member *members;
	int n_members;
	int64_t looked_us, look_took_us, store_us;
	int64_t cap;		/* what MAX_CONCURRENT_TASKS leaves for all of them */
};

struct fleet *fleet_new(void)
{
	struct fleet *f = xcalloc(1, sizeof(*f));

	pthread_mutex_init(&f->lock, NULL);
	arena_init(&f->arena);
	return f;
}

void fleet_free(struct fleet *f)
{
	if (!f)
		return;
	arena_release(&f->arena);
	pthread_mutex_destroy(&f->lock);
	free(f->entries);
	free(f);
}

bool fleet_any(const struct fleet *f)
{
	return f->n_entries > 0;
}

static struct entry *entry_find(struct entry *list, int n, const char *id)
{
	for (int i = 0; i < n; i++) {
		if (strcmp(list[i].id, id) == 0)
			return &list[i];
	}
	return NULL;
}

void fleet_set(struct sched *s, struct agent *const *agents, int n)
{
	struct fleet *f = s->fleet;
	struct entry *list = xcalloc((size_t)n + 1, sizeof(*list));
	int count = 0;

	pthread_mutex_lock(&f->lock);
	for (int i = 0; i < n; i++) {
		if (!agents[i]->ep_task || !*agents[i]->ep_task || !agents[i]->enabled)
			continue;
		const struct entry *old = entry_find(f->entries, f->n_entries, agents[i]->id);

		if (old)
			list[count] = *old;
		memcpy(list[count++].id, agents[i]->id, ID_TEXT);
	}
	free(f->entries);
	f->entries = list;
	f->n_entries = count;
	pthread_mutex_unlock(&f->lock);
	if (count) {
		f->news = true;
		duty_wake(&s->duties[DUTY_ASSIGN], WAKE_OWN);
	}
}

bool fleet_ended(struct sched *s, const char *agent_id, enum push_end how)
{
	struct fleet *f = s->fleet;
	bool well = how == PUSH_ANSWERED || how == PUSH_ACCEPTED;
	bool note = well;

	pthread_mutex_lock(&f->lock);
	struct entry *e = entry_find(f->entries, f->n_entries, agent_id);

	if (e) {
		e->ended += how != PUSH_ACCEPTED;
		if (well)
			e->failures = 0;
		if (how == PUSH_WENT_WRONG && ++e->failures == BREAK_AFTER)
			log_warn("agent %s: %d pushes in a row went wrong; no more for %d s or until it is heard of", agent_id,
				 BREAK_AFTER, BREAK_MS / 1000);
		if (how == PUSH_WENT_WRONG)
			e->failed_ms = now_ms();
		note = note && mono_us() - e->noted_us > NOTE_US;
		if (note)
			e->noted_us = mono_us();
	}
	pthread_mutex_unlock(&f->lock);
	duty_wake(&s->duties[DUTY_ASSIGN], WAKE_OWN);
	return note;
}

/* --- the fleet as it is ------------------------------------------------------------------------------------- */

/* How many may go to an agent whose pushes went wrong lately. */
static int64_t broken_room(const struct entry *e, const struct agent *a, int64_t now)
{
	if (e->failures < BREAK_AFTER || a->last_heartbeat > e->failed_ms)
		return UNSLOTTED;
	return now - e->failed_ms < BREAK_MS ? 0 : HALF_OPEN;
}

static struct strs copy_strs(struct arena *a, const struct strs *from)
{
	struct strs to = { .v = arena_calloc(a, (size_t)from->n + 1, sizeof(*to.v)), .n = from->n };

	for (int i = 0; i < from->n; i++)
		to.v[i] = arena_strdup(a, from->v[i]);
	return to;
}

static enum err look_at(struct op *op, const struct entry *e, struct fleet *f)
{
	struct task_filter held = { .status = ST_LEASED, .agent_id = e->id, .cols = TASK_COLS_BRIEF, .limit = LIMIT_PAGE };
	struct agent_figures fig;
	struct task_page page;
	struct agent *a;
	enum err err = agent_load(op, e->id, &a);

	if (err == ERR_NOT_FOUND) {
		error_init(op->err, op->arena);
		return OK;
	}
	if (err || a->status != AGENT_ACTIVE || !a->enabled || a->draining || !a->ep_task || !*a->ep_task)
		return err;
	int64_t most = broken_room(e, a, op->now);
	int64_t room = a->slots ? a->slots : most;

	err = agent_room(op, a, &room);
	if (!err)
		err = store_tasks_list(op->app->store, &held, op->arena, &page, op->err);
	if (!err)
		err = agent_figures(op, a->id, op->now / HOUR_MS - 24, &fig);
	if (err)
		return err;
	if (!a->slots)
		room = most - page.n < room ? most - page.n : room;
	if (room > most)
		room = most;
	struct member *m = &f->members[f->n_members++];

	*m = (struct member){ .url = arena_strdup(&f->arena, a->ep_task), .held = page.n, .room = room > 0 ? room : 0,
			      .fit = { .capabilities = copy_strs(&f->arena, &a->capabilities), .clearance = a->clearance },
			      .fitness = agent_fitness(a->load, fig.success_rate, fig.avg_ms) };
	memcpy(m->id, a->id, ID_TEXT);
	return OK;
}

static int64_t total_room(const struct fleet *f)
{
	int64_t room = 0;

	for (int i = 0; i < f->n_members; i++)
		room += f->members[i].room;
	return room < f->cap ? room : f->cap;
}

static enum err read_cap(struct op *op, struct fleet *f)
{
	struct queue_depth depth;
	int64_t all = op->app->cfg->max_concurrent_tasks;
	enum err err = all ? store_queue_depth(op->app->store, &depth, op->err) : OK;

	f->cap = !all || err ? INT64_MAX : all > depth.leased ? all - depth.leased : 0;
	return err;
}

/* Pushes that ended make room again without a new look. */
static void take_returns(struct fleet *f)
{
	pthread_mutex_lock(&f->lock);
	for (int i = 0; i < f->n_members; i++) {
		struct entry *e = entry_find(f->entries, f->n_entries, f->members[i].id);
		struct member *m = &f->members[i];

		if (!e || !e->ended)
			continue;
		m->held = m->held > e->ended ? m->held - e->ended : 0;
		if (e->failures < BREAK_AFTER)
			m->room += e->ended;
		else
			m->room = 0;
		e->ended = 0;
	}
	pthread_mutex_unlock(&f->lock);
}

/* ms for which what was found is good. */
static int64_t good_for(const struct fleet *f)
{
	int64_t least = f->look_took_us / 1000 * LOOK_SHARE;
	int64_t ms = total_room(f) ? FRESH_MS : FULL_MS;

	return ms > least ? ms : least;
}

static enum err look(struct op *op, struct fleet *f)
{
	int64_t begun = mono_us();
	enum err err = OK;

	take_returns(f);
	if (f->looked_us && !f->news && (begun - f->looked_us) / 1000 < good_for(f))
		return OK;
	f->news = false;
	pthread_mutex_lock(&f->lock);
	int n = f->n_entries;
	struct entry *list = arena_calloc(op->arena, (size_t)n + 1, sizeof(*list));

	for (int i = 0; i < n; i++) {
		f->entries[i].ended = 0;
		list[i] = f->entries[i];
	}
	pthread_mutex_unlock(&f->lock);
	arena_reset(&f->arena);
	f->members = arena_calloc(&f->arena, (size_t)n + 1, sizeof(*f->members));
	f->n_members = 0;
	err = read_cap(op, f);
	for (int i = 0; i < n && !err; i++)
		err = look_at(op, &list[i], f);
	f->looked_us = err ? 0 : mono_us();
	f->look_took_us = mono_us() - begun;
	return err;
}

/* --- choosing ------------------------------------------------------------------------------------------------- */

static struct member *choose(struct fleet *f, int64_t lane, const char *lane_sig)
{
	struct member *best = NULL;
	double best_score = -1;

	for (int i = 0; i < f->n_members; i++) {
		struct member *m = &f->members[i];
		double score = m->fitness / (double)(1 + m->held);

		if (m->room > 0 && score > best_score && lane_fits(&m->fit, lane, lane_sig)) {
			best = m;
			best_score = score;
		}
	}
	return best;
}

/* What can be pushed just now: what the agents can take, and the sender. */
static int64_t room_now(const struct sched *s)
{
	int64_t room = total_room(s->fleet);
	int64_t sender = sender_room(s);

	return room < sender ? room : sender;
}

struct push {
	struct sched *s;
	struct task *task;
	struct member *to;
	enum { PUSH_DONE, PUSH_LOST, PUSH_FAILED } result;
};

static enum err push_one(struct op *op, void *arg, int i)
{
	struct push *p = &((struct push *)arg)[i];
	enum err err = task_push(op, p->task, p->to->id, p->to->url);

	if (!err) {
		struct outbox_item item = { .kind = "push", .target = p->to->url, .task_id = p->task->id,
					    .agent_id = p->to->id, .fence = p->task->fence + 1, .rev = 1 };

		item.id = arena_printf(op->arena, "%s:%lld", p->task->id, (long long)item.fence);
		p->result = PUSH_DONE;
		sender_give(p->s, &item);
		return OK;
	}
	/* Claimed, cancelled, held: it is not ours to give any more. */
	p->result = err_status(err) == 409 || err == ERR_NOT_FOUND ? PUSH_LOST : PUSH_FAILED;
	return p->result == PUSH_LOST ? OK : err;
}

static enum err give_back(struct op *op, const struct push *pushes, int n, struct task *const *left, int n_left)
{
	struct bus_queue_item *items = arena_calloc(op->arena, (size_t)(n + n_left) + 1, sizeof(*items));
	int k = 0;

	for (int i = 0; i < n + n_left; i++) {
		const struct task *t = i < n ? pushes[i].task : left[i - n];

		if (i < n && pushes[i].result != PUSH_FAILED)
			continue;
		memcpy(items[k].id, t->id, ID_TEXT);
		items[k].lane = t->lane;
		items[k].lane_sig = t->lane_sig;
		items[k++].order_key = t->order_key;
	}
	/* Redis away: there is no queue to give back to, and the rebuild finds them. */
	return k && bus_queue_fill(op->app->bus, items, k) == ERR_VALIDATION ? ERR_INTERNAL : OK;
}

/* Push what can be pushed of these; *given of them. */
static enum err distribute(struct sched *s, struct op *op, struct task **tasks, int n, bool from_queue, int *given)
{
	int64_t room = room_now(s);
	struct push *pushes = arena_calloc(op->arena, (size_t)n + 1, sizeof(*pushes));
	struct task **left = arena_calloc(op->arena, (size_t)n + 1, sizeof(*left));
	int n_push = 0;
	int n_left = 0;

	*given = 0;
	for (int i = 0; i < n; i++) {
		struct task *t = tasks[i];

		if (!t || t->status != TASK_PENDING || t->hold != HOLD_NONE)
			continue;
		struct member *m = n_push < room ? choose(s->fleet, t->lane, t->lane_sig) : NULL;

		if (!m) {
			left[n_left++] = t;
			continue;
		}
		m->held++;
		m->room--;
		pushes[n_push++] = (struct push){ .s = s, .task = t, .to = m, .result = PUSH_FAILED };
	}
	enum err err = crew_each(s->crew, op, n_push, push_one, pushes, NULL);

	for (int i = 0; i < n_push; i++) {
		*given += pushes[i].result == PUSH_DONE;
		if (pushes[i].result != PUSH_DONE) {
			pushes[i].to->held--;
			pushes[i].to->room++;
		} else if (s->fleet->cap != INT64_MAX) {
			s->fleet->cap--;
		}
	}
	enum err back = from_queue ? give_back(op, pushes, n_push, left, n_left) : OK;

	return err ? err : back;
}

/* From the queue in Redis. *usable: it could be asked. */
static enum err from_queue(struct sched *s, struct op *op, bool *usable, int *given)
{
	struct bus_lane *lanes;
	char ids[BATCH][ID_TEXT];
	const char *list[BATCH];
	struct task *tasks[BATCH];
	int n_lanes;
	int n = 0;
	int fitting = 0;
	int64_t room = room_now(s);

	*given = 0;
	*usable = !bus_lanes(op->app->bus, op->arena, &lanes, &n_lanes);
	if (!*usable || !n_lanes)
		return OK;
	int64_t *take = arena_calloc(op->arena, (size_t)n_lanes, sizeof(*take));

	for (int i = 0; i < n_lanes; i++) {
		if (choose(s->fleet, lanes[i].lane, lanes[i].sig))
			take[fitting++] = lanes[i].lane;
	}
	if (bus_queue_take(op->app->bus, take, fitting, room < BATCH ? (int)room : BATCH, ids, &n)) {
		*usable = false;
		return OK;
	}
	for (int i = 0; i < n; i++)
		list[i] = ids[i];
	enum err err = n ? store_tasks_get(op->app->store, list, n, TASK_COLS_BRIEF, op->arena, tasks, op->err) : OK;

	/* Taken from the queue and lost with this error: the store's own order finds them. */
	return err || !n ? err : distribute(s, op, tasks, n, true, given);
}

static int by_order(const void *a, const void *b)
{
	const struct task *x = *(struct task *const *)a;
	const struct task *y = *(struct task *const *)b;

	return (x->order_key > y->order_key) - (x->order_key < y->order_key);
}

static enum err from_store(struct sched *s, struct op *op, int *given)
{
	struct task_filter f = { .status = ST(TASK_PENDING), .hold = 1u << HOLD_NONE, .ascending = true,
				 .cols = TASK_COLS_BRIEF, .limit = LIMIT_PAGE };
	struct task_page page;
	enum err err = store_tasks_list(op->app->store, &f, op->arena, &page, op->err);

	*given = 0;
	s->fleet->store_us = mono_us();
	if (err || !page.n)
		return err;
	qsort(page.items, (size_t)page.n, sizeof(*page.items), by_order);
	return distribute(s, op, page.items, page.n, false, given);
}

enum err assign_run(struct sched *s, struct op *op, unsigned why, int64_t *next)
{
	struct fleet *f = s->fleet;
	bool usable = true;
	int given = 1;
	enum err err = OK;

	(void)why;
	if (!fleet_any(f))
		return OK;
	for (int round = 0; round < ROUNDS && given && !err && leads(s); round++) {
		err = look(op, f);
		if (err || room_now(s) <= 0)
			break;
		err = from_queue(s, op, &usable, &given);
		int64_t every = usable ? STORE_MS : ALONE_MS;

		if (!err && !given && mono_us() - f->store_us >= every * 1000)
			err = from_store(s, op, &given);
	}
	*next = room_now(s) <= 0 ? good_for(f) : usable ? IDLE_MS : ALONE_MS;
	return err;
}
