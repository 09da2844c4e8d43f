// SPDX-License-Identifier: MIT
/*
 * Sealing small secrets for storage: AES-256-GCM (NIST SP 800-38D) with a random 96-bit nonce and the
 * record's name as associated data, so that a sealed value cannot be moved to another place. The text form is
 * "v1:<key id>:<base64 of nonce, ciphertext, tag>"; the key id is the start of the key's SHA-256.
 */
#ifndef AUTH_SEAL_H
#define AUTH_SEAL_H

#include <stdbool.h>
#include "../base/error.h"

struct seal;

/*
 * Key: 64 hexadecimal digits are the key itself; anything else is a pass phrase and goes through
 * PBKDF2-HMAC-SHA-256 with 600,000 rounds (OWASP). backup opens what it sealed, and seals nothing. Empty or
 * NULL key: *out is NULL, and nothing can be sealed.
 */
enum err seal_new(const char *key, const char *backup, struct seal **out, struct error *e) MUST_CHECK;
void seal_free(struct seal *s);	/* wipes */

enum err seal_close(struct seal *s, const char *plain, const char *name, struct arena *a, const char **sealed,
		    struct error *e) MUST_CHECK;
/* ERR_ENCRYPTION: unknown key, wrong name, or tampered with. */
enum err seal_open(struct seal *s, const char *sealed, const char *name, struct arena *a, const char **plain,
		   struct error *e) MUST_CHECK;

#endif
