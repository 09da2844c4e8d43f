// SPDX-License-Identifier: MIT
/*
 * Tokens: JSON Web Tokens (RFC 7519) signed with HS256, issued and verified here.
 *
 * A token is looked at in the order in which it can do least harm: its length, its alphabet (strict
 * base64url, no padding, no stray bits), its header (`alg` must be HS256: the signature is not even
 * computed for anything else), its signature, and only then its claims. Every refusal is
 * ERR_UNAUTHENTICATED with the reason as log detail; the token itself is never logged.
 *
 * Verified access tokens are remembered per process in a direct-mapped table, since the hot path
 * sees the same token again and again: a hit compares the whole token in constant time and checks
 * the times again, and costs no cryptography. Revocation is not decided here (lib/domain asks the
 * store or Redis).
 *
 * Secrets rotate: verification takes the present secret and a previous one, issuing uses the present.
 */
#ifndef AUTH_JWT_H
#define AUTH_JWT_H

#include <stdbool.h>
#include <stdint.h>
#include "../base/error.h"
#include "../base/id.h"
#include "roles.h"

#define TOKEN_MAX		8192	/* bytes of a token */
#define TOKEN_SUBJECT_MAX	128
#define TOKEN_ISSUER_MAX	64
#define TOKEN_SECRET_MIN	32	/* bytes; RFC 7518 section 3.2 */
#define TOKEN_IAT_LEEWAY	30	/* s that `iat` and `nbf` may lie ahead of our clock */

enum token_type { TOKEN_ACCESS, TOKEN_REFRESH };
enum subject_kind { SUBJECT_AGENT, SUBJECT_USER, SUBJECT_KEY, SUBJECT_KIND_COUNT };

struct claims {
	enum token_type type;
	enum subject_kind kind;
	enum role role;
	perms_t permissions;			/* all the subject holds: the role's and extra grants */
	int64_t iat, exp;			/* s since the epoch */
	char jti[ID_TEXT];
	char family[ID_TEXT];			/* refresh tokens of one log-in share it; "" when none */
	char sub[TOKEN_SUBJECT_MAX + 1];
};

struct tokens;

struct token_options {
	const char *secret;			/* JWT_SECRET */
	const char *previous_secret;		/* still accepted; NULL or "" when there is none */
	const char *issuer;			/* `iss` written and demanded; NULL or "": neither */
};

/* Copies the secrets. ERR_VALIDATION when one is too short or the issuer too long. */
enum err tokens_new(const struct token_options *o, struct tokens **out, struct error *e) MUST_CHECK;
void tokens_free(struct tokens *t);
/* Change the secrets while others verify (reload). What was remembered is forgotten. */
enum err tokens_reload(struct tokens *t, const struct token_options *o, struct error *e) MUST_CHECK;

/*
 * Sign a token that lives for ttl_s seconds. Reads type, kind, role, permissions, sub and family of c;
 * fills in iat, exp and, when it is "", jti. *out is in the arena.
 */
enum err token_issue(struct tokens *t, struct claims *c, int64_t ttl_s, struct arena *a, const char **out,
		     struct error *e) MUST_CHECK;

/*
 * Check token[0..n) and read its claims. A refresh token is refused where an access token is wanted and
 * the other way round. ERR_UNAUTHENTICATED for all that is wrong with it.
 */
enum err token_verify(struct tokens *t, const char *token, size_t n, enum token_type want, struct claims *out,
		      struct error *e) MUST_CHECK;

const char *subject_kind_name(enum subject_kind k);
bool subject_kind_parse(const char *text, enum subject_kind *out);

struct token_stats {
	int64_t hits, misses;
};
void tokens_stats(const struct tokens *t, struct token_stats *out);

#endif
