// SPDX-License-Identifier: MIT
/*
 * Outbound calls: one pool, one thread, many requests in flight (curl's multi interface).
 *
 * Rules that hold for every call, and that no caller can switch off:
 *  - http and https only, no redirects, no proxies from the environment, no .netrc, no cookies;
 *  - the address is checked against the caller's netset after name resolution, when the socket is about
 *    to be made, and again before a kept connection is used for another call; a name that
 *    changes its address between the check and the call ("DNS rebinding") gains nothing;
 *  - time, the size of the answer and the number of calls in flight are bounded;
 *  - TLS certificates are verified.
 *
 * The callback runs exactly once for every submitted call, inside http_poll(), http_cancel() or
 * http_pool_free(), on the pool's thread; it may submit further calls. A pool belongs to one thread;
 * only http_wake() may be called from others. Programs that use it ignore SIGPIPE.
 */
#ifndef NET_HTTP_H
#define NET_HTTP_H

#include <stdint.h>
#include "../base/error.h"
#include "netmatch.h"

struct http_pool;

struct http_pool_options {
	int max_in_flight;		/* 0: 256; one more is ERR_BUSY */
	const char *user_agent;		/* NULL: "mcp-panel" */
	const char *ca_file;		/* PEM of further authorities to trust instead of the system's; NULL */
};

enum err http_pool_new(const struct http_pool_options *o, struct http_pool **out, struct error *e) MUST_CHECK;
/* Calls still in flight end as NET_CANCELLED. NULL is fine. */
void http_pool_free(struct http_pool *p);

enum net_outcome {
	NET_OK,			/* a 2xx answer; mail: accepted by the server */
	NET_NETWORK,		/* no connection, no such name, TLS failed, the connection broke */
	NET_TIMEOUT,
	NET_EXTERNAL,		/* an answer came and it is no success, or is no HTTP, or is too large */
	NET_REFUSED,		/* the address is not one this call may go to */
	NET_CANCELLED,
};
/* As tasks' error types have it: "ok", "network", "timeout", "external_service", "refused", "cancelled". */
const char *net_outcome_name(enum net_outcome o);

/* Valid inside the callback only. */
struct net_result {
	enum net_outcome outcome;
	int status;			/* the answer's status, 0 when there was none */
	const char *body;		/* NUL-terminated; what came, also of an error answer */
	size_t body_len;
	const char *content_type;	/* NULL when the answer had none */
	int64_t retry_after_s;		/* from Retry-After; 0: none */
	int64_t took_us;
	const char *reason;		/* for the log, when not NET_OK; never holds headers or bodies */
};
typedef void net_done(void *arg, const struct net_result *r);

struct http_header {
	const char *name, *value;
};

/* Everything is copied; nothing needs to outlive http_submit(). */
struct http_request {
	const char *method;		/* NULL: POST with a body, else GET */
	const char *url;
	const struct netset *allow;	/* where it may go; NULL: nowhere */
	const struct http_header *headers;
	int n_headers;
	const void *body;		/* NULL: none */
	size_t body_len;
	const char *content_type;	/* of body; NULL: application/json */
	const char *request_id;		/* sent as X-Request-ID; NULL: none */
	int connect_timeout_ms;		/* 0: 3,000 */
	int timeout_ms;			/* of the whole call; 0: 30,000 */
	size_t max_response;		/* bytes of the answer's body; 0: 1 MiB */
};

/*
 * Start a call. *id (may be NULL) names it for http_cancel(). ERR_VALIDATION: the URL, a header or the
 * method is not one we send (public message). ERR_BUSY: the pool is full. Then the callback is not called.
 */
enum err http_submit(struct http_pool *p, const struct http_request *r, net_done *done, void *arg, uint64_t *id,
		     struct error *e) MUST_CHECK;
/* Break the call off; its callback gets NET_CANCELLED before this returns. Unknown ids are passed over. */
void http_cancel(struct http_pool *p, uint64_t id);
/* Work for at most timeout_ms or until something finished; returns the number of calls that did. */
int http_poll(struct http_pool *p, int timeout_ms);
/* End a running or the next http_poll() early; from any thread. */
void http_wake(struct http_pool *p);
int http_in_flight(const struct http_pool *p);

/*
 * Is this a URL http_submit() would take (absolute, http or https, no user info, at most LIMIT_URL bytes)? When
 * its host is an address and allow is given, also whether that may be called. ERR_VALIDATION with a public
 * message that fits behind a field name.
 */
enum err http_url_check(const char *url, const struct netset *allow, struct error *e) MUST_CHECK;

#endif
