// SPDX-License-Identifier: MIT
#include "strangers.h"

#include <string.h>

#include "../lib/base/hash.h"
#include "../lib/base/id.h"
#include "../lib/base/limits.h"
#include "../lib/net/netmatch.h"

#define CELLS 4096	/* a power of two */

static unsigned *cell_of(const char *address)
{
	static unsigned cells[CELLS];
	static uint64_t seed;
	struct ip ip = { { 0 } };

	if (!seed)
		random_bytes(&seed, sizeof(seed));
	/* What is no address (a UNIX socket's peer) is all one. */
	if (ip_parse(address, &ip) && !ip_is_v4(&ip))
		memset(ip.b + 8, 0, 8);
	uint64_t h = hash_add(seed, ip.b, sizeof(ip.b));

	/* The last byte, in which neighbours differ, is in few bits: spread it (the end of MurmurHash3). */
	h ^= h >> 33;
	h *= 0xff51afd7ed558ccdU;
	return &cells[(h ^ h >> 33) & (CELLS - 1)];
}

bool strangers_room(const char *address)
{
	return *cell_of(address) < LIMIT_WS_STRANGERS;
}

void strangers_add(const char *address)
{
	++*cell_of(address);
}

void strangers_remove(const char *address)
{
	--*cell_of(address);
}
