// SPDX-License-Identifier: MIT
/* The first state of a subscription: the resource it is about, as mcp-api answers it to this client. */
#ifndef RELAY_STATE_H
#define RELAY_STATE_H

#include "channels.h"

#define SUB_TYPES 32
#define SUB_TYPE 48

struct sub {
	struct sub *next;			/* of the client */
	struct sub *next_here, *prev_here;	/* of its list in channels.c */
	struct client *c;
	struct reply reply;			/* of the message that asked for it */
	char ref[REF_MAX];			/* its name */
	enum channel channel;
	enum dialect dialect;
	char key[ID_TEXT];			/* the id it is found by; "" none */
	char task_id[ID_TEXT], execution_id[ID_TEXT], pipeline_id[ID_TEXT], agent_id[ID_TEXT];
	char (*types)[SUB_TYPE];		/* allocated when there are any */
	int n_types;
	char *criteria;
	bool live, gone, paused;
	bool wants_page;			/* the next page of a resume waits until the queue is shorter */
	int readings, replayed;			/* reads of the stream under way; events it told */
	uint64_t from;				/* events kept from this number on are to be told */
	struct event_id after;
};

/* Ask for the state; channels_state() gets it. False: this subscription has none. */
bool state_ask(struct sub *s);
/* Say that the subscription stands, with its state (NULL: none). */
void state_tell(struct sub *s, const char *json, size_t n);
/* channels.c: it is refused; and the state is there. */
void channels_drop(struct sub *s);
void channels_state(struct sub *s, const char *json, size_t n);

#endif
