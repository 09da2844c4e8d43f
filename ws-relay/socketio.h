// SPDX-License-Identifier: MIT
/*
 * Socket.IO 5 over Engine.IO 4: namespaces that are entered one by one, each with a credential of its own; events with
 * acknowledgements both ways; binary attachments. Packets stand in sio_packet.h.
 */
#ifndef RELAY_SOCKETIO_H
#define RELAY_SOCKETIO_H

#include "client.h"

/* A message of the session's peer. Malformed ones end the session. */
void sio_message(struct session *s, const char *text, size_t n);
void sio_attachment(struct session *s, const char *data, size_t n);
/* The client of a namespace is let in: CONNECT; or not: CONNECT_ERROR. */
void sio_welcome(struct client *c);
void sio_refuse(struct client *c, int code, const char *text);
/* Its credential does not hold any more: DISCONNECT. */
void sio_expel(struct client *c);
/* The session goes. */
void sio_gone(struct session *s);

#endif
