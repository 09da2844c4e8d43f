// SPDX-License-Identifier: MIT
/*
 * Those who wait for tasks: parked claims and agents on sockets, in one list. A word on the wake channel says that a lane
 * got tasks; the fittest who fit it are woken, as many as there are tasks, and claim. A wake-up is a hint, the claim is
 * decided by the store; whoever got nothing waits on.
 *
 * A word must not end with somebody who could do nothing with it while another could. Who has no room, is refused, or
 * goes away with a word in hand hands it on; who just found nothing does so too, but such a word goes on only a few
 * times: most likely another relay's agent took the task, and the whole crowd would look for it in vain.
 *
 * What an agent fits (capabilities, clearance) is read from GET /agents/{id} as that agent, and again when it changes.
 * Words that come before it is known make the agent look once when it is.
 */
#ifndef RELAY_SEEK_H
#define RELAY_SEEK_H

#include "../lib/domain/domain.h"

struct api_answer;

/* That a lane has a task more. */
struct word {
	int64_t lane;
	uint64_t serial;		/* 0: none */
	int passes;			/* it may still be handed on after finding nothing */
};

/* How a claim ended. FULL: the agent has no room, nothing was looked for. UNREACHED: no answer, or the API's fault. */
enum outcome { SEEK_GOT, SEEK_EMPTY, SEEK_FULL, SEEK_REFUSED, SEEK_UNREACHED };

struct seeker {
	struct seeker *next, *prev;
	struct seeker *next_same;	/* same place in the table by agent */
	char agent_id[ID_TEXT];
	struct strs types;		/* only these; owned by who made it */
	const char *authorization, *address;	/* whose it is; owned by who made it */
	bool listed;
	bool claiming;			/* a claim is under way */
	bool deaf;			/* not to be nudged: it asks for the next task when it reports one */
	bool full;			/* has no room: woken only when nobody else can be */
	bool again;			/* woken meanwhile: claim once more */
	struct word now, later;		/* what the claim under way is for; what it was woken for meanwhile */
	int64_t look_us;		/* look by itself then */
	/* Start a claim, with seek_begins(); or leave the list when none can be made any more. */
	void (*claim)(struct seeker *k);
	/* The agent drains or has gone: waiting is pointless. */
	void (*over)(struct seeker *k);
};

void seek_add(struct seeker *k);
/* A claim may still be under way: its seek_ended() has to come. */
void seek_remove(struct seeker *k);
void seek_begins(struct seeker *k);
/* Its claim is over. It may begin another at once, unless it is out of the list. */
void seek_ended(struct seeker *k, enum outcome how);
/* What mcp-api's answer to a claim says. */
enum outcome seek_outcome(const struct api_answer *a);

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
