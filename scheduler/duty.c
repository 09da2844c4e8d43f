// SPDX-License-Identifier: MIT
#include "duty.h"

#include <signal.h>

#include "../lib/base/clock.h"
#include "../lib/base/log.h"
#include "leader.h"
#include "sched.h"

#define IDLE_MS 60000
#define NOT_LEADING_MS 1000
#define FIRST_PAUSE_MS 100
#define MAX_PAUSE_MS 5000

static struct timespec at_us(int64_t us)
{
	return (struct timespec){ .tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000 };
}

/* Until it is to run. False: stop. */
static bool duty_wait(struct duty *d, unsigned *why)
{
	pthread_mutex_lock(&d->lock);
	while (!d->stop) {
		int64_t now = mono_us();
		int64_t until = d->due_us;

		/* Failures are not hurried by wakes, nor are runs closer together than the gap. */
		if (d->pending && !d->failures && until > now)
			until = now;
		if (until < d->ran_us + (int64_t)d->gap_ms * 1000)
			until = d->ran_us + (int64_t)d->gap_ms * 1000;
		if (!d->lingers && !leader_leads(d->sched->leader))
			until = now + NOT_LEADING_MS * 1000LL;
		else if (until <= now)
			break;
		struct timespec ts = at_us(until);

		pthread_cond_timedwait(&d->cond, &d->lock, &ts);
	}
	bool stop = d->stop;

	*why = d->pending;
	d->pending = 0;
	d->ran_us = mono_us();
	pthread_mutex_unlock(&d->lock);
	return !stop;
}

/* Say it once, not with every try. */
static void judge(struct duty *d, enum err err, const struct error *e, int64_t *next)
{
	if (!err) {
		if (d->failures)
			log_info("%s: works again", d->name);
		d->failures = 0;
		return;
	}
	if (d->failures == 0)
		log_error(LOG_WARN, e, "%s: failed (%s); trying again", d->name, err_text(err));
	int64_t pause = FIRST_PAUSE_MS;

	for (int i = 0; i < d->failures && pause < MAX_PAUSE_MS; i++)
		pause *= 2;
	d->failures++;
	*next = pause < MAX_PAUSE_MS ? pause : MAX_PAUSE_MS;
}

static void *duty_main(void *arg)
{
	struct duty *d = arg;
	struct arena arena;
	struct error e;
	struct op op;
	unsigned why;

	pthread_setname_np(pthread_self(), d->name);
	arena_init(&arena);
	while (duty_wait(d, &why)) {
		int64_t next = IDLE_MS;

		/* The configuration is not changed under a run. */
		pthread_rwlock_rdlock(&d->sched->reloading);
		op_init(&op, &d->sched->app, &arena, &e, &system_caller, NULL);
		enum err err = d->run(d->sched, &op, why, &next);

		pthread_rwlock_unlock(&d->sched->reloading);
		judge(d, err, &e, &next);
		arena_reset(&arena);
		pthread_mutex_lock(&d->lock);
		d->due_us = mono_us() + next * 1000;
		pthread_mutex_unlock(&d->lock);
	}
	if (d->finish) {
		op_init(&op, &d->sched->app, &arena, &e, &system_caller, NULL);
		d->finish(d->sched, &op);
	}
	arena_release(&arena);
	return NULL;
}

enum err duty_start(struct sched *s, struct duty *d, struct error *e)
{
	pthread_condattr_t monotonic;

	d->sched = s;
	pthread_mutex_init(&d->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&d->cond, &monotonic);
	pthread_condattr_destroy(&monotonic);
	if (pthread_create(&d->thread, NULL, duty_main, d))
		return error_set(e, ERR_INTERNAL, "no thread for %s", d->name);
	d->started = true;
	return OK;
}

void duty_wake(struct duty *d, unsigned why)
{
	if (!d->started || !(why & (d->wakes | WAKE_LED)))
		return;
	pthread_mutex_lock(&d->lock);
	d->pending |= why & (d->wakes | WAKE_LED);
	pthread_cond_signal(&d->cond);
	pthread_mutex_unlock(&d->lock);
	if (d->poke)
		d->poke(d->sched);
}

void duty_stop(struct duty *d)
{
	if (!d->started)
		return;
	pthread_mutex_lock(&d->lock);
	d->stop = true;
	pthread_cond_signal(&d->cond);
	pthread_mutex_unlock(&d->lock);
	if (d->poke)
		d->poke(d->sched);
}

void duty_join(struct duty *d)
{
	if (!d->started)
		return;
	pthread_join(d->thread, NULL);
	pthread_cond_destroy(&d->cond);
	pthread_mutex_destroy(&d->lock);
	d->started = false;
}
