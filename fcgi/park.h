// SPDX-License-Identifier: MIT
/*
 * Waiting in the slow pool for the end of a run. (A claim that waits is parked in the relay.) A waiter sleeps on its own
 * condition; the bus' wake channel says which run has ended. A wake-up is a hint: the store has the word, and a waiter
 * looks by itself every second in case a hint was lost.
 *
 * At most seven eighths of the threads may wait, so that log-ins always find one; who finds no place does not wait.
 */
#ifndef FCGI_PARK_H
#define FCGI_PARK_H

#include "../lib/domain/domain.h"

enum err park_start(struct app *app, int threads, struct error *e) MUST_CHECK;
/* Everybody stops waiting. */
void park_stop(void);

/* Wait until the execution has ended, at most wait_s seconds. False: not ended, or no place to wait. */
bool park_execution(struct op *op, const char *execution_id, int64_t wait_s);

#endif
