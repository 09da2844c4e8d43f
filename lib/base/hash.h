// SPDX-License-Identifier: MIT
/*
 * FNV-1a, 64 bits: for tables in memory. Not against an adversary, and the last bytes reach few of the high
 * bits: whoever takes some bits only takes low ones, or spreads them first.
 */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

#define HASH_START 14695981039346656037U

/* h: HASH_START, or the hash of what comes before. */
static inline uint64_t hash_add(uint64_t h, const void *p, size_t n)
{
	for (const unsigned char *b = p; n; n--, b++)
		h = (h ^ *b) * 1099511628211U;
	return h;
}

#endif
