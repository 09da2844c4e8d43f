// SPDX-License-Identifier: MIT
/*
 * Engine.IO 4, the transport under Socket.IO: a session that begins by long polling or by WebSocket, and may move from the
 * first to the second. Packets and their encodings stand in eio_packet.h; this file is the sessions.
 *
 * A polling session answers a GET with what is queued, or holds it until there is something. The move: a WebSocket with
 * the session's sid sends "2probe", gets "3probe", the GET that waits is let go with a noop, and "5" makes the WebSocket the
 * session's line. While a probe is open events still go by polling.
 */
#ifndef RELAY_ENGINEIO_H
#define RELAY_ENGINEIO_H

#include "http.h"

/* HTTP under /socket.io/. Answers. */
void eio_request(struct conn *c);
/* The largest body a request under /socket.io/ may bring; bytes. */
int64_t eio_largest(const struct conn *c);
/* WebSocket under /socket.io/: 0 go on, else the HTTP status of the refusal. */
int eio_upgrade(struct conn *c);
int eio_established(struct conn *c);
void eio_frame(struct conn *c, const char *data, size_t n, bool binary);
/* A connection of a session has gone: the polling GET, the probe or the WebSocket. */
void eio_conn_gone(struct conn *c);
/* Send what is queued by polling. True: there is nothing for the socket to do (or the session is freed). */
bool eio_flush(struct session *s);
/* Pings, answers that did not come, sockets without a namespace. */
void eio_tick(struct session *s, int64_t now_us);
/* The session ends: tell the peer the Engine.IO way before the line closes. */
void eio_goodbye(struct session *s);
/* Queue an Engine.IO message packet; text is a Socket.IO packet. */
void eio_send(struct session *s, const char *text, size_t n);
void eio_send_binary(struct session *s, const char *data, size_t n);

#endif
