// SPDX-License-Identifier: MIT
/*
 * mcp-relay: everything that holds a connection open. One process, one libuv loop, no thread of its own: WebSocket,
 * Socket.IO, server-sent events and parked claims by libwebsockets, Redis by hiredis, mcp-api by a FastCGI client.
 *
 * How an event travels: Redis publishes its envelope (redis.c); it is read once (events.c), matched against the
 * subscriptions (channels.c), written once for each dialect that somebody wants (dialects.c) and handed by reference to
 * the queues of all who get it (session.c). Queues are emptied at the end of the loop's turn, as many messages in one
 * system call as there are.
 *
 * Who somebody is and what they may do is mcp-api's word (auth.c, fcgiclient.c). The files, from below to above:
 *   fcgiclient.c redis.c msg.c     the ways in and out
 *   auth.c events.c dialects.c     who, and what
 *   session.c client.c channels.c  who gets what, and their queues
 *   commands.c state.c agents.c    what clients say
 *   engineio.c socketio.c sse.c park.c plain.c   how they say it
 *   http.c serve.c main.c          libwebsockets, the loop
 */
#ifndef RELAY_RELAY_H
#define RELAY_RELAY_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>
#include "../lib/base/config.h"

struct lws_context;

struct relay {
	struct config cfg;
	uv_loop_t loop;
	struct lws_context *lws;
	bool conformance;		/* --conformance: echo without authentication, for the protocols' test suites */
	bool draining;
	int port;			/* listened on */
	int64_t started_us;
	struct {
		int64_t accepted, events, deliveries, delivered_bytes, slow, refused, bad, delegated, claims, parked, resyncs, woken;
	} count;
	int connections;		/* libwebsockets' connections, idle HTTP ones too */
};

extern struct relay relay;

/* Close codes beyond RFC 6455's, told to clients in docs/api/websocket.md. */
enum close_code {
	CLOSE_NORMAL = 1000, CLOSE_GOING_AWAY = 1001, CLOSE_PROTOCOL = 1002, CLOSE_INVALID_DATA = 1007,
	CLOSE_RESTART = 1012, CLOSE_TRY_LATER = 1013, CLOSE_UNAUTHENTICATED = 4401, CLOSE_FORBIDDEN = 4403,
	CLOSE_EXPIRED = 4408, CLOSE_REPLACED = 4409, CLOSE_TOO_LARGE = 4413, CLOSE_TOO_MANY = 4429, CLOSE_TOO_SLOW = 4431,
};

#endif
