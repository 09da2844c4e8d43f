// SPDX-License-Identifier: MIT
/*
 * Claiming by the queue in Redis: it gives ids, the store decides. An id that is not claimable any more (it was
 * cancelled, or another claim was faster) is passed over, so a wrong queue costs time, never truth.
 */
#include "agent.h"

#define ROUNDS 4

enum err claim_from_queue(struct op *op, struct claim *c, struct fit *fit, struct task **out, int *n)
{
	struct bus_lane *lanes;
	int n_lanes;
	int max = c->max;

	*n = 0;
	if (bus_lanes(op->app->bus, op->arena, &lanes, &n_lanes) || n_lanes == 0)
		return OK;
	int64_t *fitting = arena_calloc(op->arena, (size_t)n_lanes, sizeof(*fitting));
	int n_fitting = 0;

	for (int i = 0; i < n_lanes; i++) {
		if (lane_fits(fit, lanes[i].lane, lanes[i].sig))
			fitting[n_fitting++] = lanes[i].lane;
	}
	char(*ids)[ID_TEXT] = arena_calloc(op->arena, (size_t)max, sizeof(*ids));

	for (int round = 0; n_fitting && *n < max && round < ROUNDS; round++) {
		int got = 0;
		int won = 0;

		if (bus_queue_take(op->app->bus, fitting, n_fitting, max - *n, ids, &got) || got == 0)
			break;
		c->max = got;
		enum err err = store_tasks_claim_ids(op->app->store, (const char(*)[ID_TEXT])ids, got, c, op->arena,
						     out + *n, &won, op->err);

		if (err)
			return *n ? OK : err;
		*n += won;
	}
	return OK;
}
