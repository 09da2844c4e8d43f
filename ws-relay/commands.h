// SPDX-License-Identifier: MIT
/*
 * What clients say, by name, in one table: our own words, the older plain names and the Socket.IO events are rows of it.
 * A message's body is an object; what the older forms put into "payload", "data" or "filter" is looked up there too.
 */
#ifndef RELAY_COMMANDS_H
#define RELAY_COMMANDS_H

#include "client.h"

#define LIMIT_CREDENTIAL 8192

/* {"type":name,…} of an authenticated plain client. */
void command_plain(struct client *c, const struct jv *body);
/* An event of a Socket.IO client. body: its first argument, NULL none. */
void command_event(struct client *c, const char *name, const struct jv *body, int64_t ack);

/* A member by either of its names, in the body or in its payload/data. Any name may be NULL. */
const struct jv *body_get(const struct jv *body, const char *snake, const char *camel);
const char *body_str(const struct jv *body, const char *snake, const char *camel);

#endif
