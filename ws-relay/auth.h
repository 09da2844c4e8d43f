// SPDX-License-Identifier: MIT
/*
 * Who a client is. mcp-api knows: GET /auth/me with the client's own Authorization. Clients that come with the same
 * credential share one identity, which is looked at again every LIMIT_WS_CHECK_S seconds: so a log-out, a change of
 * role or a removed agent ends its sessions soon, at the price of one small request a credential.
 */
#ifndef RELAY_AUTH_H
#define RELAY_AUTH_H

#include <stdbool.h>
#include <stdint.h>
#include "../lib/auth/roles.h"
#include "../lib/base/json.h"
#include "../lib/store/records.h"

struct client;
struct api_call;

enum caller_sort { SORT_USER, SORT_AGENT, SORT_KEY, SORT_SYSTEM };

struct identity {
	struct identity *next;		/* same place in the table */
	uint8_t mark[32];		/* SHA-256 of the credential */
	char *authorization;		/* header value; wiped when it goes */
	char *id, *name;
	enum caller_sort sort;
	enum role role;
	perms_t perms;
	enum data_class clearance;
	bool own_only;			/* sees its own tasks only */
	int64_t expires_ms;		/* 0: never */
	int64_t check_us;
	struct api_call *checking;
	struct client *clients;
};

/*
 * Look at a credential (the value of an Authorization header). Ends, later, in client_welcome() or client_refused().
 * The text is copied and wiped.
 */
void auth_begin(struct client *c, const char *authorization);
/* The same with a one-time ticket. */
void auth_ticket(struct client *c, const char *ticket);
/* The header value for a bare token: a JWT is a bearer token, anything else an API key. Into out, false: too long. */
bool auth_header(const char *token, char *out, size_t size);
/* The client goes: take it off its identity. */
void auth_leave(struct client *c);
/* Every second: expiry and looks that are due. */
void auth_tick(void);
int identities_count(void);

#endif
