// SPDX-License-Identifier: MIT
/*
 * Sessions that nobody has been named for yet, by address: LIMIT_WS_STRANGERS at most, so that one address cannot take
 * all connections by opening them and saying nothing. Behind a web server the address is the one that it forwards.
 *
 * Counts stand in a fixed table at a hash of the address, seeded at random; addresses that share a cell share the limit.
 * Of IPv6 the first 64 bits count, which is what one site has.
 */
#ifndef RELAY_STRANGERS_H
#define RELAY_STRANGERS_H

#include <stdbool.h>

/* May one more come from there? */
bool strangers_room(const char *address);
void strangers_add(const char *address);
void strangers_remove(const char *address);

#endif
