// SPDX-License-Identifier: MIT
/*
 * Who is asking: log-ins, tokens, API keys, revocation.
 *
 * A log-in starts a session (a refresh-token family). Each refresh rotates the token; an old one that comes back
 * after the 30 s that a second browser tab may need means it was stolen, and ends the session. Revoked access
 * tokens and "all tokens of this subject issued until now" live in the store, with a copy in Redis that the
 * request gate reads; the store decides whenever Redis is away or not warm.
 */
#ifndef DOMAIN_SESSION_H
#define DOMAIN_SESSION_H

#include "../auth/jwt.h"
#include "domain.h"

struct token_in {
	uint64_t present;
	const char *agent_id, *auth_token;		/* agents */
	const char *username, *password, *totp;		/* people */
};
extern const struct schema token_schema, login_schema, refresh_schema, logout_schema;

struct refresh_in {
	uint64_t present;
	const char *refresh_token;
};

struct token_pair {
	const char *access, *refresh;
	int64_t expires_in;
};

struct agent;

/* Is this the agent's auth token? *out: the agent. Refusals as those of a log-in, and counted like them. */
enum err session_agent_check(struct op *op, const char *agent_id, const char *auth_token, struct agent **out) MUST_CHECK;
/* Agents by id and auth token. All refusals read and time the same: ERR_UNAUTHENTICATED; ERR_RATE when failing a lot. */
enum err session_agent_login(struct op *op, const char *agent_id, const char *auth_token, struct token_pair *out)
	MUST_CHECK;
enum err session_user_login(struct op *op, const char *username, const char *password, struct token_pair *out)
	MUST_CHECK;
enum err session_refresh(struct op *op, const char *refresh_token, struct token_pair *out) MUST_CHECK;
/* Ends the caller's session: its access token is revoked, and the family of refresh_token (may be NULL) ends. */
enum err session_logout(struct op *op, const char *refresh_token) MUST_CHECK;

#define SESSION_TICKET_S 30
/*
 * A ticket that stands once, and for SESSION_TICKET_S, for the credential the caller came with (authorization: the
 * value an Authorization header would have). It lies in Redis as {mcp}:ticket:<hex SHA-256 of the ticket>, a JSON
 * object {authorization, subject}; the relay takes it from there. ERR_REDIS.
 */
enum err session_ticket(struct op *op, const char *authorization, const char **ticket) MUST_CHECK;

/* Every token of the subject issued until now is dead, its sessions too. */
enum err session_cut_off(struct op *op, const char *subject) MUST_CHECK;
/* The store's word on a token, for when Redis cannot be asked. */
enum err session_revoked(struct op *op, const char *jti, const char *subject, int64_t iat, bool *revoked) MUST_CHECK;
/* Tell Redis of everything that is revoked (it came back, or may have missed something). */
enum err session_resync(struct op *op) MUST_CHECK;

/*
 * Who the Authorization header's access token, or the API key, belongs to. *c is in the arena; iat is for the
 * revocation check that the caller makes (0 for keys). ERR_UNAUTHENTICATED.
 */
enum err session_by_token(struct op *op, const char *token, size_t n, struct caller *c, int64_t *iat) MUST_CHECK;
enum err session_by_key(struct op *op, const char *key, struct caller *c) MUST_CHECK;

#endif
