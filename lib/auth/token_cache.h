// SPDX-License-Identifier: MIT
/*
 * What was verified already: token text → claims, direct-mapped, one slot a token.
 *
 * Only tokens whose signature held are ever put in, so nobody outside can fill it at will. A slot is
 * chosen by bits of the signature (uniform, since it is a MAC) and holds the last token that fell
 * there. Slots are guarded by striped mutexes: an uncontended lock costs less than the compare.
 * `epoch` is the secrets' generation: entries of an older one are not found any more.
 */
#ifndef AUTH_TOKEN_CACHE_H
#define AUTH_TOKEN_CACHE_H

#include "jwt.h"

#define TOKEN_CACHE_SLOTS	4096	/* a power of two */
#define TOKEN_CACHE_TEXT_MAX	2048	/* longer tokens are verified each time: bounds the memory */

struct token_cache;

struct token_cache *token_cache_new(void);
void token_cache_free(struct token_cache *c);
/* True and the claims when this very token was put in under this epoch. Times are not looked at. */
bool token_cache_get(struct token_cache *c, const char *token, size_t n, uint64_t epoch, struct claims *out);
void token_cache_put(struct token_cache *c, const char *token, size_t n, uint64_t epoch,
		     const struct claims *claims);

#endif
