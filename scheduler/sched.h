// SPDX-License-Identifier: MIT
/*
 * The scheduler: what happens by itself. It holds the lead (leader.h) and fulfils its duties (duty.h):
 *
 *   timers        backoffs, run_at, leases, time limits and deadlines that have come
 *   dependencies  tasks that wait for others
 *   agents        heartbeats into the records; agents that fell silent; health probes
 *   assign        tasks to agents that are pushed to
 *   sender        the one way out: pushes, probes, webhooks, mail
 *   heal          the queue in Redis from the store; what a crash has left half done
 *   retention     what is too old goes
 *   alerts        what is wrong is said, and that it no longer is
 *
 * Each calls the verbs of lib/domain; none of them decides a rule by itself.
 */
#ifndef SCHEDULER_SCHED_H
#define SCHEDULER_SCHED_H

#include "../lib/domain/agent.h"
#include "../lib/domain/outbox.h"
#include "../lib/domain/task.h"
#include "crew.h"
#include "duty.h"
#include "leader.h"

enum { DUTY_TIMERS, DUTY_DEPENDENCIES, DUTY_AGENTS, DUTY_ASSIGN, DUTY_SENDER, DUTY_HEAL, DUTY_RETENTION, DUTY_ALERTS,
       DUTY_COUNT };

/* Parts that their files alone know. */
struct watch;		/* agents.c */
struct fleet;		/* assign.c */
struct sender;		/* sender.c */
struct healer;		/* heal.c */
struct keeper;		/* retention.c */
struct guard;		/* alerts.c, guard.h */

struct sched {
	struct config cfg;
	pthread_rwlock_t reloading;	/* read: a duty runs; write: the configuration changes */
	struct app app;
	char proc_id[ID_TEXT];
	struct leader *leader;
	struct crew *crew;
	struct duty duties[DUTY_COUNT];
	struct bus_listen *listen;
	_Atomic bool ending;		/* TERM came: what is long may stop in the middle */
	_Atomic bool bus_was_down;	/* set and read on the listener's thread */
	char deps_after[ID_TEXT];	/* where the walk over waiting tasks goes on */
	int64_t deps_ms;		/* between two walks */
	struct watch *watch;
	struct fleet *fleet;
	struct sender *sender;
	struct healer *healer;
	struct keeper *keeper;
	struct guard *guard;
};

/* To be asked before every batch: may this process go on acting? */
static inline bool leads(const struct sched *s)
{
	return !s->ending && leader_leads(s->leader);
}

duty_run timers_run, dependencies_run, agents_run, assign_run, sender_run, heal_run, retention_run, alerts_run;

struct watch *watch_new(void);
void watch_free(struct watch *w);
/* Nobody is declared dead for two intervals from now on: Redis may not know the heartbeats. */
void watch_quiet(struct sched *s);
bool watch_is_quiet(const struct sched *s);
struct healer *healer_new(void);
void healer_free(struct healer *h);
struct keeper *keeper_new(void);
void keeper_free(struct keeper *k);
struct guard *guard_new(void);
/* All agents, just read with their liveness: for the alerts' duty to judge by. */
void guard_agents(struct sched *s, struct agent *const *agents, int n, int64_t now);
void guard_free(struct guard *g);

/* --- the fleet: agents that tasks are pushed to (assign.c) ---------------------------------------------- */

struct fleet *fleet_new(void);
void fleet_free(struct fleet *f);
/* The registered push agents, as the agents' duty has just read them; wakes the assigner when there is news. */
void fleet_set(struct sched *s, struct agent *const *agents, int n);
/* Is there any? Read on the wake channel's thread, so that the many "t" cost nothing while there is none. */
bool fleet_any(const struct fleet *f);
/*
 * A push has ended: the agent has room again, and how it went counts for whether it is pushed to soon. True: it answered,
 * and that has not been noted as a sign of life for a second.
 */
enum push_end { PUSH_ANSWERED, PUSH_ACCEPTED, PUSH_WENT_WRONG, PUSH_NOT_SENT };	/* accepted: the agent still holds the task */
bool fleet_ended(struct sched *s, const char *agent_id, enum push_end how);

/* --- the sender (sender.c) -------------------------------------------------------------------------------- */

enum err sender_new(struct sched *s, struct sender **out, struct error *e) MUST_CHECK;
void sender_free(struct sender *s);
/* duty hooks */
void sender_poke(struct sched *s);
void sender_finish(struct sched *s, struct op *op);
/* Hand over a row that was just written, so that it need not be searched for. False: too busy, it is found later. */
bool sender_give(struct sched *s, const struct outbox_item *item);
/* How many more pushes it can be given now. */
int sender_room(const struct sched *s);
/* Ask an agent's health (or status) endpoint; the answer counts as a heartbeat. */
void sender_probe(struct sched *s, const char *agent_id, const char *url, bool status);

#endif
