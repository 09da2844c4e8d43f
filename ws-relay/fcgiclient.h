// SPDX-License-Identifier: MIT
/*
 * The relay's way to the API: FastCGI requests to mcp-api's sockets, on the event loop.
 *
 * The relay knows no rule of the panel. Who somebody is, what they may read, which task they get: it asks mcp-api
 * as that caller, with their own Authorization, and passes the answer on. So rules stand once.
 *
 * mcp-api serves one request a connection at a time, with a thread that stays with a kept connection. So few
 * connections are held, each for one request after another, and an idle one is given back after a second. What finds
 * none free waits in a bounded queue. A request that meets a connection which mcp-api has just closed is sent once
 * more: every request the relay makes may be repeated.
 */
#ifndef RELAY_FCGICLIENT_H
#define RELAY_FCGICLIENT_H

#include <stddef.h>
#include <stdint.h>
#include <uv.h>
#include "../lib/base/banned.h"

struct api_request {
	const char *method, *path;	/* path without the query */
	const char *query;		/* NULL: none */
	const char *authorization;	/* value of the header; NULL: none */
	const char *request_id;		/* NULL: mcp-api makes one */
	const char *address;		/* of the client */
	const char *body;		/* JSON; NULL: none */
	size_t body_len;
	int timeout_s;			/* 0: 15 */
};

struct api_answer {
	int status;			/* 0: mcp-api was not reached, or did not answer in time */
	const char *head;		/* header lines as they came, without Status and the empty line */
	size_t head_len;
	const char *body;		/* NUL-terminated */
	size_t body_len;
};

/* Runs once, from the loop, never from within api_ask(). The answer lives until it returns. */
typedef void api_done(void *arg, const struct api_answer *answer);
struct api_call;

void api_start(uv_loop_t *loop, const char *socket_path);
/* Copies the request. Never NULL. */
struct api_call *api_ask(const struct api_request *r, api_done *done, void *arg);
/* Nobody wants the answer any more; done is not called. NULL is fine. */
void api_forget(struct api_call *call);
/* Every second: requests that took too long, connections that idle. */
void api_tick(void);
/* Forgets every call and closes; the loop must run on for the handles to go. */
void api_stop(void);
/* Requests under way and waiting. */
int api_load(void);

#endif
