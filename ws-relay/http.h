// SPDX-License-Identifier: MIT
/*
 * One connection as libwebsockets has it: an HTTP request in hand, an event stream, a parked claim, or a WebSocket.
 *
 * What a request brings is read from libwebsockets once, when it is complete, and kept with the connection until it is
 * answered. An answer is written when the socket takes it; the connection then waits for the next request.
 */
#ifndef RELAY_HTTP_H
#define RELAY_HTTP_H

#include "session.h"

struct waiter;
struct api_call;

enum conn_kind { CONN_IDLE, CONN_HTTP, CONN_POLL, CONN_SSE, CONN_CLAIM, CONN_WS, CONN_PROBE };
enum method { M_OTHER, M_GET, M_HEAD, M_POST, M_OPTIONS };

struct arg {
	const char *name, *value;
};

#define ARGS_MAX 32

struct conn {
	struct lws *wsi;
	enum conn_kind kind;
	struct session *s;		/* CONN_WS, CONN_SSE, CONN_POLL, CONN_PROBE */
	/* the request */
	struct arena arena;
	enum method method;
	const char *path;
	struct arg args[ARGS_MAX];
	int n_args;
	const char *authorization, *origin, *request_id, *last_event_id;	/* NULL: none */
	char address[IP_TEXT];
	bool origin_allowed, has_arena, taken;	/* taken: handled, what of its body still comes is dropped */
	int64_t want;			/* bytes of its body */
	struct buf body;
	/* the answer */
	struct buf out;
	bool answered, close_after;
	struct waiter *waiter;		/* CONN_CLAIM: where it waits */
	struct api_call *call;		/* CONN_CLAIM: mcp-api is asked */
};

const char *conn_arg(const struct conn *c, const char *name);	/* NULL: none */

/* Answer the request in hand. extra: more header lines, each with its end, or "". */
void http_answer(struct conn *c, int status, const char *extra, const char *type, const char *body, size_t n);
/* In the API's envelope. */
void http_error(struct conn *c, enum err code, const char *message);

/* The credential a request came with, as a header value, into out. 0: none, -1: there is a ticket instead, 1: got it. */
int http_credential(const struct conn *c, char *out, size_t size);

/* The event stream's client is let in, or not. */
void http_stream_begins(struct session *s);
void http_stream_refused(struct session *s, int code, const char *text);

/* End a connection from anywhere: libwebsockets hears of it from the loop, which closes and frees. */
void conn_cut(struct conn *c);

/* serve.c gives it what libwebsockets says. Nonzero: close the connection. */
struct conn *conn_get(struct lws *wsi);		/* makes it */
void conn_gone(struct conn *c);			/* frees it */
int http_request(struct conn *c);
int http_body(struct conn *c, const void *data, size_t n);
int http_body_complete(struct conn *c);
int http_writable(struct conn *c);
/* Upgrade to WebSocket: 0 go on, else the HTTP status to refuse it with. */
int http_upgrade(struct conn *c);
/* The upgrade is done. */
int http_established(struct conn *c);
void conn_forget_request(struct conn *c);

#endif
