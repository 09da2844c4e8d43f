// SPDX-License-Identifier: MIT
/* One Engine.IO session, for engineio.c and socketio.c. */
#ifndef RELAY_EIO_SESSION_H
#define RELAY_EIO_SESSION_H

#include "../lib/base/limits.h"
#include "sio_packet.h"
#include "session.h"

/* A Socket.IO packet that waits for its binary parts. */
struct sio_pending {
	char *text;
	size_t n;
	int want, got;
	struct sio_part parts[LIMIT_WS_ATTACHMENTS];
	size_t bytes;
};

struct eio {
	struct eio *next;		/* same place in the table */
	struct session *s;
	char sid[24];
	struct conn *poll;		/* the GET that waits */
	struct conn *probe;		/* a WebSocket that wants to take over */
	bool probed;			/* …and has said so */
	bool on_socket;			/* the WebSocket is the line: session.conn */
	bool echo;			/* the conformance suite's /engine.io/ */
	int64_t pong_by_us;		/* a ping waits for its answer until then; 0: none is out */
	char *authorization;		/* came with the handshake; NULL: none */
	struct sio_pending pending;
	int64_t next_ack;		/* number of our next event that wants an answer */
};

#endif
