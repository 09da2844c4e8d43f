// SPDX-License-Identifier: MIT
/*
 * Secrets that people and agents bring: passwords, agents' auth tokens, API keys.
 *
 * Passwords and auth tokens are stored as bcrypt(base64(HMAC-SHA-256(pepper, secret))), "$2b$": the MAC
 * takes secrets of any length past bcrypt's 72 bytes, and without the pepper, which is not in the
 * store, a stolen store is of no use. API keys are 256 random bits, which no one can guess, so they
 * are stored as an HMAC only and cost no bcrypt per request.
 *
 * bcrypt is meant to be slow (about 50 ms at cost 10). At most `parallel` run at once and at most `queue`
 * callers wait for their turn; one more gets ERR_BUSY at once, so that a flood of log-ins cannot eat
 * the machine. A log-in for a user that does not exist takes the same time: password_verify() with a
 * NULL hash does the work and says no.
 */
#ifndef AUTH_PASSWORD_H
#define AUTH_PASSWORD_H

#include <stdbool.h>
#include "../base/error.h"
#include "../base/secret.h"

#define PASSWORD_HASH_TEXT	64	/* "$2b$10$…" has 60 characters and a NUL */
#define PASSWORD_PEPPER_MIN	16	/* bytes */
#define BCRYPT_COST_MIN		4
#define BCRYPT_COST_MAX		16
#define API_KEY_PREFIX		"mcp_"
#define AGENT_TOKEN_PREFIX	"mcpa_"
#define RANDOM_SECRET_TEXT	64	/* prefix (at most 16 bytes), 43 characters for 256 bits, NUL */
#define API_KEY_HASH_TEXT	MAC_HEX

struct passwords;

struct password_options {
	const char *pepper;		/* PASSWORD_PEPPER */
	int cost;			/* BCRYPT_COST */
	int parallel;			/* 0: the number of cores */
	int queue;			/* callers that may wait; 0: 64 */
};

/* Copies the pepper. ERR_VALIDATION when it is too short or the cost out of range. */
enum err passwords_new(const struct password_options *o, struct passwords **out, struct error *e) MUST_CHECK;
/* Nobody may be waiting. */
void passwords_free(struct passwords *p);

/* The text to store. ERR_BUSY: the queue is full. */
enum err password_hash(struct passwords *p, const char *secret, char out[PASSWORD_HASH_TEXT], struct error *e)
	MUST_CHECK;
/*
 * OK when secret belongs to hash. ERR_UNAUTHENTICATED when not, or when hash is NULL or broken, after the
 * same time. ERR_BUSY: the queue is full.
 */
enum err password_verify(struct passwords *p, const char *secret, const char *hash, struct error *e) MUST_CHECK;
/* The hash was made with another cost: make it anew at the next successful log-in. */
bool password_outdated(const struct passwords *p, const char *hash);

/*
 * NULL when the password may be used, else a message that says what to change. LIMIT_PASSWORD_MIN to
 * LIMIT_PASSWORD_MAX characters of UTF-8, not the user name, not one everybody tries first.
 */
const char *password_weakness(const char *password, const char *username);

/* 256 random bits as prefix + base64url. */
void random_secret(const char *prefix, char out[RANDOM_SECRET_TEXT]);
/* What is stored of an API key, and looked up by: HMAC-SHA-256(pepper, key) in hex. Fast; never queues. */
void api_key_hash(const struct passwords *p, const char *key, char out[API_KEY_HASH_TEXT]);

#endif
