// SPDX-License-Identifier: MIT
/*
 * Who leads. One record in the store is the lease: its holder writes it anew every second, and whoever sees it unchanged
 * for LEASE_MS takes it by compare-and-set, with a higher epoch. A thread of its own does that, so that no amount of
 * work delays it.
 *
 * Nobody's clock is believed to agree with another's: a standby measures on its own monotonic clock how long the
 * record has not changed. (The expiry in the record is for a scheduler that has just started and for people who
 * look.) The holder counts its lease from before it asked for it, and stops acting MARGIN_MS before it ends or as soon
 * as a renewal fails.
 */
#ifndef SCHEDULER_LEADER_H
#define SCHEDULER_LEADER_H

#include "../lib/domain/domain.h"

#define LEASE_MS	3000
#define RENEW_MS	1000
#define LOOK_MS		400	/* between two looks of a standby */
#define MARGIN_MS	500
#define SKEW_MS		1000	/* clocks of two machines may differ by that much */
#define LEASE_ID	"scheduler"

struct leader;

/* led runs on the leader's thread each time this process begins to lead. Nothing happens before leader_start(). */
struct leader *leader_new(struct app *app, void (*led)(void *arg), void *arg);
enum err leader_start(struct leader *l, struct error *e) MUST_CHECK;
/* May this process act now? Cheap, from any thread; to be asked again before every batch. */
bool leader_leads(const struct leader *l);
int64_t leader_epoch(const struct leader *l);
/* Hand the lease over, so that a standby takes it at its next look. NULL is fine. */
void leader_free(struct leader *l);

#endif
