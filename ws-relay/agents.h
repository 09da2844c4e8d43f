// SPDX-License-Identifier: MIT
/*
 * Agents on a socket. One that says it is ready gets tasks as they come: the relay claims for it through mcp-api, with the
 * agent's own Authorization and for as many slots as it has free, and passes what it reports to the task's routes. Rules,
 * leases and fencing are the API's; the relay remembers only which tasks it handed to which socket.
 *
 * While the socket lives and answers pings the relay also sends the agent's heartbeats, with the tasks it holds, so
 * that a plain client needs to do nothing to keep its leases. When the socket goes, its tasks stay under their leases: an
 * agent that comes back may still report them.
 */
#ifndef RELAY_AGENTS_H
#define RELAY_AGENTS_H

#include "client.h"

/* Rows of commands.c's table. */
void agents_ready(struct client *c, const struct jv *body, const struct reply *r);
void agents_register(struct client *c, const struct jv *body, const struct reply *r);
void agents_heartbeat(struct client *c, const struct jv *body, const struct reply *r);
void agents_drain(struct client *c, const struct jv *body, const struct reply *r);
void agents_progress(struct client *c, const struct jv *body, const struct reply *r);
void agents_log(struct client *c, const struct jv *body, const struct reply *r);
void agents_result(struct client *c, const struct jv *body, const struct reply *r);
void agents_release(struct client *c, const struct jv *body, const struct reply *r);

/* A Socket.IO client of an agent is let in: it is ready at once, unless it said not to be. */
void agents_connected(struct client *c);
/* It acknowledged one of our events: an acknowledged task:delegate may bring the result. arg may be NULL. */
void agents_acknowledged(struct client *c, int64_t ack, const struct jv *arg);
/* The client goes. */
void agents_leave(struct client *c);
/* An event was heard: a task in an agent's hands may be another's now, or one was delegated. */
void agents_event(const struct event *e);
/* Heartbeats that are due. */
void agents_tick(void);

#endif
