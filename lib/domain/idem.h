// SPDX-License-Identifier: MIT
/*
 * Idempotency keys. A key lives in the store, per caller and route, and is written in the same unit as
 * the change it protects: after a crash either both are there or none. A repeat within 24 hours gets the
 * first answer; the same key with another body is refused.
 */
#ifndef DOMAIN_IDEM_H
#define DOMAIN_IDEM_H

#include "domain.h"

#define IDEM_TTL_MS (24 * 3600 * 1000LL)

struct idem {
	const char *id;			/* record id: hash of caller, route and key */
	const char *body_hash;
	int status;			/* of the route's success; set by the dispatcher */
	int64_t rev;			/* of an expired record that is replaced, else 0 */
};

/*
 * Look the request's key up. Not known: *replay is NULL, and op->idem is set, so that the verb carries it.
 * Known: *replay is the first answer's data (JSON) and *status its HTTP status; ERR_IDEM_MISMATCH when the
 * body differs.
 */
enum err idem_begin(struct op *op, const char *route, const char *key, const char *body, size_t n,
		    const char **replay, int *status) MUST_CHECK;
/*
 * Add the key to a unit; data is the answer to repeat (without secrets). Does nothing when the request has no
 * key. ops must have room for one more; *n grows.
 */
void idem_add(struct op *op, struct store_op *ops, size_t *n, int status, const char *data);
/* Did a refused unit fail because another request with this key was faster? Sets ERR_IDEM_BUSY then. */
bool idem_lost(struct op *op, const struct store_op *ops, size_t n);

#endif
