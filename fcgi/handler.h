// SPDX-License-Identifier: MIT
/*
 * What a handler gets and gives. It parses nothing and writes no header: the dispatcher has matched the route,
 * authenticated and authorised the caller, applied limits and checked the body against the route's schema
 * before it is called; it calls one domain verb and fills the response's data.
 */
#ifndef FCGI_HANDLER_H
#define FCGI_HANDLER_H

#include "../lib/domain/domain.h"

struct route;
struct FCGX_Request;
struct FCGX_Stream;

struct req {
	struct op op;
	struct caller caller;
	const struct route *route;
	const char *method, *path, *query, *remote;
	const char *arg[3];		/* path parameters, in order */
	const char *body_text;		/* "" when there is none */
	size_t body_len;
	const char *replay;		/* ROUTE_REPLAYS: the first answer to this Idempotency-Key */
	const struct jv *body;		/* parsed; an empty body is {} */
	void *in;			/* body read by route->body, unless the route takes it raw */
	void *q;			/* query read by route->query */
	const char *credential;		/* what was shown to be known by; then the Authorization it comes to. NULL: none */
	const char *origin, *host, *cookie, *user_agent;
	const char *authorization;	/* the header as it came; NULL: none */
	bool form;			/* the body is a form: an OAuth 2 client asks (oauth.h) */
	const char *oauth_error;	/* RFC 6749 section 5.2, where the status alone does not say it */
	bool slow;			/* served by the slow pool: may wait */
	struct gate gate;
	struct FCGX_Stream *out;	/* for routes that stream their answer */
};

struct resp {
	int status;			/* 0: the route's */
	struct buf data;		/* JSON of `data`, or the whole body when content_type is set */
	struct jw w;			/* writes into data */
	const char *content_type;	/* NULL: the JSON envelope */
	const char *message;
	int64_t count;			/* -1: none */
	const char *next_cursor;
	const char *execution_id;	/* at top level too (P6) */
	const char *top;		/* more top-level members, as JSON text: "k":v,"k":v */
	const char *set_cookie, *location, *allow;
	bool list;			/* next_cursor is written even when it is null */
	bool streamed;			/* headers and body are out already */
	bool replayed;			/* answer to a repeated Idempotency-Key */
	int retry_after;
};

typedef enum err handler(struct req *r, struct resp *p);

/* Is origin one of those in the list, which spaces separate? A part of one is none. */
bool origin_listed(const char *list, const char *origin);
/* Send the headers of a streamed answer; the handler then writes to r->out. */
void resp_begin_stream(struct req *r, struct resp *p, const char *content_type);

#endif
