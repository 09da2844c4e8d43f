// SPDX-License-Identifier: MIT
/* An agent's socket and the tasks it was given, for agents.c and reports.c. */
#ifndef RELAY_HANDS_H
#define RELAY_HANDS_H

#include "client.h"
#include "seek.h"

/* A task that was handed over and not reported yet. */
struct held {
	struct held *next;		/* of the hands */
	struct held *next_here;		/* same place in the table by task */
	struct hands *h;
	char task_id[ID_TEXT];
	int64_t fence;
	int64_t attempt;
	int64_t ack;			/* number of the task:delegate event */
	bool reporting;			/* its result is on its way to the API */
};

struct hands {
	struct seeker k;
	struct hands *next, *prev;
	struct client *c;		/* NULL: it has gone, but a request is under way */
	char *authorization;
	char address[IP_TEXT];
	int slots;
	struct held *held;
	int n;
	int64_t next_ack;
	bool seeking;			/* wants tasks */
	bool whole;			/* wants each task as a claim answers it, too */
	struct arena arena;		/* the types */
	const char *types_json;		/* NULL: any */
	int64_t beat_us;		/* next heartbeat */
	bool beating;
};

/* Take tasks, slots at once (0: none for now), of these types (NULL: any). */
void hands_ready(struct client *c, int64_t slots, const struct jv *types);
/* Claim for the free slots, if there are any. */
void hands_claim(struct hands *h);
void hands_beat(struct hands *h);
void stop_seeking(struct hands *h);
struct held *held_find(const struct hands *h, const char *task_id);
void held_drop(struct held *t);
void hand_over(struct hands *h, const struct jv *task);
int hand_over_all(struct hands *h, const struct api_answer *a);
/* {"max":…,"types":…}; and "tasks":[{task_id,fence}…] */
void write_claim(const struct hands *h, struct jw *w, int max);
void write_held(const struct hands *h, struct jw *w);

#endif
