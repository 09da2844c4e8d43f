// SPDX-License-Identifier: MIT
/*
 * The whole API in one table (routes.c). Dispatch, OpenAPI, docs/api and the permission tests read it.
 */
#ifndef FCGI_ROUTES_H
#define FCGI_ROUTES_H

#include "handler.h"

enum access {
	ACCESS_NOBODY_ASKED,	/* open */
	ACCESS_ANY,		/* any authenticated caller */
	ACCESS_PERM,		/* perm */
	ACCESS_OWN_AGENT,	/* the agent {0} itself, or agent:manage */
	ACCESS_OWN_AGENT_ONLY,	/* perm, and the caller is the agent {0}; people with agent:manage may stand in */
	ACCESS_METRICS,		/* system:health, loopback, or METRICS_TOKEN */
};

enum rate_class { RATE_API, RATE_SUBMIT, RATE_HEARTBEAT, RATE_NONE };

enum route_flags {
	ROUTE_IDEMPOTENT = 1,	/* takes Idempotency-Key */
	ROUTE_RAW_BODY = 2,	/* the handler reads the body by itself; the schema is for the documents */
	ROUTE_FORM = 4,		/* also application/x-www-form-urlencoded */
	ROUTE_ALIAS = 8,	/* stands at the root too, without the prefix */
	ROUTE_LIST = 16,	/* answers with count and next_cursor */
	ROUTE_REPLAYS = 32,	/* the handler itself answers a repeated Idempotency-Key */
};

struct route {
	const char *id;			/* mission.md's name: "A1" */
	const char *method, *path;	/* below /api/v1; {name} is a parameter (all but {stage} are UUIDs) */
	handler *handle;
	const struct schema *body, *query;
	enum access access;
	perms_t perm;
	enum rate_class rate;
	unsigned flags;
	int status;			/* of success */
	const char *answer;		/* response type, see responses.c */
	const char *tag, *summary;
};

extern const struct route routes[];
extern const size_t n_routes;

#define API_PREFIX "/api/v1"

/*
 * Find the route. Fills arg. NULL with *err ERR_NO_ROUTE, or ERR_METHOD with *allow the methods there are.
 */
const struct route *route_match(struct arena *a, const char *method, const char *path, const char *arg[3],
				enum err *err, const char **allow);
/* How deep a body for s must be parsed. */
int schema_depth(const struct schema *s);

/* Types of answers: name, and fields as "name:type" (responses.c). */
struct answer_field {
	const char *name, *type, *help;
};
struct answer_type {
	const char *name;
	const struct answer_field *fields;
	const char *help;
};
extern const struct answer_type answer_types[];

/* The OpenAPI 3.1 document, and docs/api/<tag>.md into a folder. */
void openapi_write(struct buf *out);
enum err docs_write(const char *folder, struct error *e) MUST_CHECK;

#endif
