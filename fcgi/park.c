// SPDX-License-Identifier: MIT
#include "park.h"

#include <errno.h>
#include <pthread.h>

#include "../lib/base/clock.h"
#include "../lib/domain/execution.h"

#define LOOK_AGAIN_MS 1000

struct waiter {
	struct waiter *next, *prev;
	pthread_cond_t cond;
	bool woken;
	const char *execution_id;
};

static struct {
	pthread_mutex_t lock;
	struct waiter *head;
	int waiting, limit;
	bool on, stopping;
	struct bus_listen *listen;
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

static void wake_execution(const char *id)
{
	for (struct waiter *w = park.head; w; w = w->next) {
		if (strcmp(w->execution_id, id) == 0)
			wake(w);
	}
}

static void on_message(void *arg, const char *message)
{
	(void)arg;
	pthread_mutex_lock(&park.lock);
	if (strncmp(message, "x ", 2) == 0)
		wake_execution(message + 2);
	else if (strcmp(message, "up") == 0)
		wake_all();	/* what happened while the connection was away is not known */
	pthread_mutex_unlock(&park.lock);
}

enum err park_start(struct app *app, int threads, struct error *e)
{
	struct bus_options bo = { .url = app->cfg->redis_url, .proc_id = app->proc_id };

	park.limit = threads - threads / 8 - 1;
	park.on = true;
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
	while (!w->woken && !park.stopping) {
		if (pthread_cond_timedwait(&w->cond, &park.lock, &ts) == ETIMEDOUT)
			break;
	}
	w->woken = false;
	bool go_on = !park.stopping;

	pthread_mutex_unlock(&park.lock);
	return go_on && mono_us() < until_us;
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
