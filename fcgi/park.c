// SPDX-License-Identifier: MIT
#include "park.h"

#include <errno.h>
#include <pthread.h>
#include <sys/socket.h>

#include "../lib/base/clock.h"
#include "../lib/base/log.h"
#include "../lib/domain/agent.h"
#include "../lib/domain/execution.h"

#define LOOK_AGAIN_MS 1000

struct waiter {
	struct waiter *next, *prev;
	pthread_cond_t cond;
	bool woken, over;		/* over: waiting is pointless */
	const char *agent_id;		/* claims */
	struct fit fit;
	double fitness;
	const char *execution_id;	/* runs; NULL for claims */
};

static struct {
	pthread_mutex_t lock;
	struct waiter *head;
	int waiting, limit;
	bool on, stopping;
	struct app *app;
	struct bus_listen *listen;
	/* signatures of lanes, learnt from the bus when a wake names one that is not known */
	struct arena lanes_arena;
	struct bus_lane *lanes;
	int n_lanes;
} park = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void wake(struct waiter *w)
{
	w->woken = true;
	pthread_cond_signal(&w->cond);
}

static void wake_all(void)
{
	for (struct waiter *w = park.head; w; w = w->next)
		wake(w);
}

static const char *lane_sig(int64_t lane)
{
	for (int i = 0; i < park.n_lanes; i++) {
		if (park.lanes[i].lane == lane)
			return park.lanes[i].sig;
	}
	return NULL;
}

/* Only the listener's thread calls this, without the lock held. */
static void learn_lanes(void)
{
	struct arena fresh;
	struct bus_lane *lanes;
	int n;

	arena_init(&fresh);
	if (bus_lanes(park.app->bus, &fresh, &lanes, &n)) {
		arena_release(&fresh);
		return;
	}
	pthread_mutex_lock(&park.lock);
	arena_release(&park.lanes_arena);
	park.lanes_arena = fresh;
	park.lanes = lanes;
	park.n_lanes = n;
	pthread_mutex_unlock(&park.lock);
}

/* The fittest waiters of a lane, as many as it got tasks. */
static void wake_lane(int64_t lane, long count)
{
	const char *sig = lane_sig(lane);

	for (; count > 0; count--) {
		struct waiter *best = NULL;

		for (struct waiter *w = park.head; w; w = w->next) {
			if (w->execution_id || w->woken || (best && best->fitness >= w->fitness))
				continue;
			if (!sig || lane_fits(&w->fit, lane, sig))
				best = w;
		}
		if (!best)
			return;
		wake(best);
	}
}

static void wake_execution(const char *id)
{
	for (struct waiter *w = park.head; w; w = w->next) {
		if (w->execution_id && strcmp(w->execution_id, id) == 0)
			wake(w);
	}
}

static void end_claims(const char *agent_id)
{
	for (struct waiter *w = park.head; w; w = w->next) {
		if (w->agent_id && strcmp(w->agent_id, agent_id) == 0) {
			w->over = true;
			wake(w);
		}
	}
}

static void on_message(void *arg, const char *message)
{
	long long lane;
	long count;

	(void)arg;
	if (sscanf(message, "t %lld %ld", &lane, &count) == 2) {
		if (!lane_sig(lane))
			learn_lanes();
		pthread_mutex_lock(&park.lock);
		wake_lane(lane, count);
	} else if (strncmp(message, "x ", 2) == 0) {
		pthread_mutex_lock(&park.lock);
		wake_execution(message + 2);
	} else if (strncmp(message, "d ", 2) == 0) {
		pthread_mutex_lock(&park.lock);
		end_claims(message + 2);
	} else if (strcmp(message, "up") == 0) {
		/* What happened while the connection was away is not known. */
		pthread_mutex_lock(&park.lock);
		wake_all();
	} else {
		return;
	}
	pthread_mutex_unlock(&park.lock);
}

enum err park_start(struct app *app, int threads, struct error *e)
{
	struct bus_options bo = { .url = app->cfg->redis_url, .proc_id = app->proc_id };

	park.app = app;
	park.limit = threads - threads / 8 - 1;
	park.on = true;
	arena_init(&park.lanes_arena);
	return bus_listen(&bo, on_message, NULL, &park.listen, e);
}

void park_stop(void)
{
	if (!park.on)
		return;
	pthread_mutex_lock(&park.lock);
	park.stopping = true;
	wake_all();
	pthread_mutex_unlock(&park.lock);
	bus_listen_stop(park.listen);
	arena_release(&park.lanes_arena);
	park.n_lanes = 0;
}

static bool enter(struct waiter *w)
{
	pthread_condattr_t attr;
	bool room;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&w->cond, &attr);
	pthread_condattr_destroy(&attr);
	pthread_mutex_lock(&park.lock);
	room = park.on && !park.stopping && park.waiting < park.limit;
	if (room) {
		park.waiting++;
		w->next = park.head;
		w->prev = NULL;
		if (park.head)
			park.head->prev = w;
		park.head = w;
	}
	pthread_mutex_unlock(&park.lock);
	if (!room)
		pthread_cond_destroy(&w->cond);
	return room;
}

static void leave(struct waiter *w)
{
	pthread_mutex_lock(&park.lock);
	park.waiting--;
	if (w->prev)
		w->prev->next = w->next;
	else
		park.head = w->next;
	if (w->next)
		w->next->prev = w->prev;
	pthread_mutex_unlock(&park.lock);
	pthread_cond_destroy(&w->cond);
}

/* Sleep until woken, the time for a look, or the end. False when it is over. */
static bool doze(struct waiter *w, int64_t until_us)
{
	int64_t now = mono_us();
	int64_t wake_at = now + LOOK_AGAIN_MS * 1000;

	if (wake_at > until_us)
		wake_at = until_us;
	struct timespec ts = { .tv_sec = wake_at / 1000000, .tv_nsec = wake_at % 1000000 * 1000 };

	pthread_mutex_lock(&park.lock);
	while (!w->woken && !w->over && !park.stopping) {
		if (pthread_cond_timedwait(&w->cond, &park.lock, &ts) == ETIMEDOUT)
			break;
	}
	w->woken = false;
	bool go_on = !park.stopping && !w->over;

	pthread_mutex_unlock(&park.lock);
	return go_on && mono_us() < until_us;
}

/* The web server closes the connection when the agent that waits has gone. */
static bool client_gone(int fd)
{
	char byte;

	return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

enum err park_claim(struct op *op, const char *agent_id, const struct claim_in *in, int64_t wait_s, int client_fd,
		    struct task ***out, int *n)
{
	int64_t until = mono_us() + wait_s * 1000000;
	struct agent *agent;
	struct agent_figures figures = { .success_rate = 1 };
	enum err err = agent_load(op, agent_id, &agent);

	if (err || (err = agent_figures(op, agent_id, op->now / 3600000 - 23, &figures)))
		return err;
	struct waiter w = { .agent_id = agent->id, .over = agent->draining, .fit = { .capabilities = agent->capabilities, .clearance = agent->clearance, .types = in->types },
			    .fitness = agent_fitness(agent->load, figures.success_rate, figures.avg_ms) };

	if (!enter(&w))
		return task_claim(op, agent_id, in, out, n);
	/* On the list first, then look: what comes between is not missed. */
	do {
		if (client_gone(client_fd))
			break;
		op->now = now_ms();
		err = task_claim(op, agent_id, in, out, n);
	} while (!err && *n == 0 && doze(&w, until));
	leave(&w);
	return err;
}

static bool ended(struct op *op, const char *execution_id)
{
	struct execution *ex;

	if (execution_load(op, execution_id, &ex))
		return false;
	return ex->status == EXEC_COMPLETED || ex->status == EXEC_FAILED || ex->status == EXEC_CANCELLED;
}

bool park_execution(struct op *op, const char *execution_id, int64_t wait_s)
{
	int64_t until = mono_us() + wait_s * 1000000;
	struct waiter w = { .execution_id = execution_id };
	bool over;

	if (!enter(&w))
		return ended(op, execution_id);
	do
		over = ended(op, execution_id);
	while (!over && doze(&w, until));
	leave(&w);
	return over || ended(op, execution_id);
}
