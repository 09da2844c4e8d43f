// SPDX-License-Identifier: MIT
/*
 * A duty: one thing the leading scheduler looks after, on a thread of its own, so that a long rebuild never delays a
 * lease that runs out. It runs when its time has come or when a wake it listens to arrives, and only while this process
 * leads. What it does is safe to do twice and at any time, since the store compares before it sets; leading only keeps
 * two schedulers from doing everything twice.
 *
 * A duty that fails says so once, is tried again with growing pauses, and says when it works again.
 */
#ifndef SCHEDULER_DUTY_H
#define SCHEDULER_DUTY_H

#include <pthread.h>

#include "../lib/domain/domain.h"

struct sched;

/* Why a duty runs; 0: its time has come. */
enum {
	WAKE_LED	= 1 << 0,	/* this process has just become the leader */
	WAKE_LOOK	= 1 << 1,	/* "s": something is held, retried or to be sent */
	WAKE_TASKS	= 1 << 2,	/* "t": tasks became claimable */
	WAKE_AGENTS	= 1 << 3,	/* "a": agents came, went or changed */
	WAKE_BUS	= 1 << 4,	/* Redis is back */
	WAKE_OWN	= 1 << 5,	/* from another duty */
};

/* One run. *next: ms after which it wants to run again at the latest (preset: a minute). */
typedef enum err duty_run(struct sched *s, struct op *op, unsigned why, int64_t *next);

struct duty {
	const char *name;
	duty_run *run;
	unsigned wakes;			/* those it listens to, beside WAKE_LED */
	int gap_ms;			/* least time between the starts of two runs */
	bool lingers;			/* runs without the lease too: it finishes what it has begun */
	void (*poke)(struct sched *s);	/* end a wait inside run(); NULL: it never waits */
	void (*finish)(struct sched *s, struct op *op);	/* on the duty's thread, at the end; may be NULL */
	/* private */
	struct sched *sched;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	unsigned pending;
	int64_t due_us, ran_us;		/* mono */
	int failures;
	bool stop, started;
};

enum err duty_start(struct sched *s, struct duty *d, struct error *e) MUST_CHECK;
/* Wake it if it listens to any of these. Thread-safe. */
void duty_wake(struct duty *d, unsigned why);
/* Ask it to end (duty_stop) and wait until the run in hand is over (duty_join). */
void duty_stop(struct duty *d);
void duty_join(struct duty *d);

#endif
