// SPDX-License-Identifier: MIT
/* Plain sockets: JSON objects, one a message, on /ws and the channels' own paths. */
#ifndef RELAY_PLAIN_H
#define RELAY_PLAIN_H

#include "http.h"

/* Is it a path of plain sockets? channel: subscribed to at once ("" none); task: its task_id ("" none). May be NULL. */
bool plain_path(const char *path, const char **channel, const char **task);
/* A socket stands; c still holds its request. Nonzero: close. */
int plain_established(struct conn *c);
void plain_message(struct session *s, const char *text, size_t n, bool binary);

/* Let in: what it said meanwhile is heard now. */
void plain_welcomed(struct client *c);

#endif
