// SPDX-License-Identifier: MIT
/*
 * Subscriptions. One names a channel and perhaps ids and types; it first answers with the present state, then with every
 * event that fits. Nothing is missed in between: it stands in its place before the state is asked for, and what was heard
 * since is told behind it from the events kept (events.h). With `after` it answers with what the stream has since
 * that event instead, or says "resync" when the stream does not reach back so far.
 *
 * A subscription that names an id stands in a table by that id, others in a list a channel, so that an event
 * looks only at those it may concern.
 */
#ifndef RELAY_CHANNELS_H
#define RELAY_CHANNELS_H

#include "client.h"

struct sub_wish {
	enum channel channel;
	const char *task_id, *execution_id, *pipeline_id, *agent_id;	/* NULL: any */
	const struct jv *types;		/* array of event types, or NULL */
	const char *after;		/* event id, or NULL */
	enum dialect dialect;
	const char *criteria;		/* query string for the first list of agents, or NULL */
};

bool channel_parse(const char *name, enum channel *out);
const char *channel_name(enum channel c);

/* Errors go to the client. r->ref names the subscription. */
void channels_subscribe(struct client *c, const struct sub_wish *wish, const struct reply *r);
/* False: the client has no subscription of that name. */
bool channels_unsubscribe(struct client *c, const char *ref);
/* The channel of the path it connected to, once it is authenticated. */
void channels_open(struct client *c);
void channels_leave(struct client *c);

void channels_tell(struct event *e);
/* To all: Redis is there or not; events may have been missed. */
void channels_redis(bool up);
void channels_resync(const char *reason);
/* Resumes go on where there is room again. */
void channels_tick(void);
int channels_count(void);

#endif
