// SPDX-License-Identifier: MIT
/*
 * Those who wait for tasks: parked claims and agents on sockets, in one list. A word on the wake channel says that a lane
 * got tasks; the fittest who fit it are woken, as many as there are tasks, and claim. A wake-up is a hint, the claim is
 * decided by the store; whoever got nothing waits on.
 *
 * What an agent fits (capabilities, clearance) is read from GET /agents/{id} as that agent, and kept for a while.
 * Until it is known a seeker is taken to fit everything, which costs a claim at worst.
 */
#ifndef RELAY_SEEK_H
#define RELAY_SEEK_H

#include "../lib/domain/domain.h"

struct facts;

struct seeker {
	struct seeker *next, *prev;
	struct seeker *next_same;	/* same place in the table by agent */
	char agent_id[ID_TEXT];
	struct strs types;		/* only these; owned by who made it */
	bool claiming;			/* a claim is under way */
	bool deaf;			/* not to be nudged: it asks for the next task when it reports one */
	bool full;			/* has no room: woken only when nobody else can be */
	bool again;			/* woken meanwhile: claim once more */
	bool woken;			/* by a word about this lane, and not claimed yet */
	int64_t lane;
	int64_t look_us;		/* look by itself then */
	/* Start a claim; set claiming. */
	void (*claim)(struct seeker *k);
	/* The agent drains or has gone: waiting is pointless. */
	void (*over)(struct seeker *k);
};

void seek_add(struct seeker *k, const char *authorization, const char *address);
void seek_remove(struct seeker *k);
/* The claim brought nothing. */
void seek_empty(struct seeker *k);
/* The claim was refused, and the seeker is out of the list: the task it was woken for is another's. */
void seek_pass(struct seeker *k);

void seek_wake(const char *word);
/* Everybody looks, spread over a moment: what happened is not known. */
void seek_wake_all(void);
/* A task of this agent ended: a claim that found it full may succeed now. */
void seek_nudge(const char *agent_id);
/* What is known of the agent changed. */
void seek_forget(const char *agent_id);
/* Known to be draining? */
bool seek_drains(const char *agent_id);
void seek_tick(void);
void seek_stop(void);

#endif
