// SPDX-License-Identifier: MIT
/*
 * A crew: a few helper threads for work that comes in batches. Every change of a task is a durable write that its
 * caller waits for, and the store groups those that wait together; so a batch of five hundred is done by
 * several at once, not one after the other. The caller works along, so a batch of one costs nothing extra.
 */
#ifndef SCHEDULER_CREW_H
#define SCHEDULER_CREW_H

#include "../lib/domain/domain.h"

struct crew;

/* Item i of the batch, with an op and an arena of its own. */
typedef enum err crew_work(struct op *op, void *arg, int i);

enum err crew_new(struct app *app, int helpers, struct crew **out, struct error *e) MUST_CHECK;
/* No batch may be under way. NULL is fine. */
void crew_free(struct crew *c);
/*
 * Do items 0 to n - 1; returns when all are done. Several threads may call at once. Answers the first error, with
 * its detail in op->err; the other items are done all the same. *failed (may be NULL): how many.
 */
enum err crew_each(struct crew *c, struct op *op, int n, crew_work *work, void *arg, int *failed) MUST_CHECK;

#endif
