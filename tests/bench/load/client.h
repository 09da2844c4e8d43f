// SPDX-License-Identifier: MIT
/*
 * HTTP/1.1 for a load generator: many kept-alive connections to one server on this machine, one request at a
 * time on each (no pipelining), all in one thread over epoll. It does no more work than it must, since it runs
 * on the cores it measures.
 */
#ifndef BENCH_CLIENT_H
#define BENCH_CLIENT_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include "lib/base/buf.h"

struct conn;
/* status 0: the connection failed; body is NUL-terminated and valid until the callback returns or calls on. */
typedef void conn_done(struct conn *c, int status, const char *body, size_t n);

struct client {
	int epoll;
	struct sockaddr_in address;
	char host[64];			/* as the Host header has it */
	char prefix[64];		/* before every path: "/api/v1" */
	int64_t calls, reconnects;
	struct conn *failed;		/* calls that could not be sent: told of by the next poll */
};

struct conn {
	struct client *client;
	void *arg;
	conn_done *done;		/* NULL: idle */
	int fd;				/* -1: not connected */
	bool want_write, close_after;
	struct conn *failed_next;
	struct buf out, in, body;
	size_t out_done;
	/* the answer being read */
	int status;
	size_t head_len;		/* 0: not complete yet */
	int64_t length;			/* -1: chunked */
	size_t at;			/* chunked: bytes of `in` looked at */
};

/* url: http://127.0.0.1:PORT. False when it is not that. */
bool client_init(struct client *c, const char *url);
void client_release(struct client *c);
/* Handle what has arrived; waits for at most timeout_ms (-1: for ever). extra_fd is ready: *extra set. */
void client_poll(struct client *c, int timeout_ms, int extra_fd, bool *extra);

void conn_init(struct conn *c, struct client *client, void *arg);
void conn_release(struct conn *c);
/* Send a request; token and body may be NULL. The callback comes from client_poll(). */
void conn_call(struct conn *c, const char *method, const char *path, const char *token, const char *body,
	       size_t n, conn_done *done);

#endif
