// SPDX-License-Identifier: MIT
/*
 * Does the event relay answer? Asked at its port (the relay may run without Redis, and Redis may remember one that
 * is gone), at most once a second for the whole process, and for no longer than a quarter of a second.
 */
#ifndef NET_PROBE_H
#define NET_PROBE_H

#include "../base/config.h"

/*
 * True when GET /health there answered 200. *took_us: how long that took when it was last asked; *clients: how many it has,
 * 0 when it does not answer. Thread-safe.
 */
bool relay_answers(const struct config *cfg, int64_t *took_us, int64_t *clients);
/* Where it is: "http://host:port", at most RELAY_ADDRESS bytes with the NUL. */
#define RELAY_ADDRESS 300
void relay_address(const struct config *cfg, char out[RELAY_ADDRESS]);

#endif
