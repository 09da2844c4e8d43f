// SPDX-License-Identifier: MIT
/*
 * Waiting, in the slow pool: claims that wait for a task, and runs that wait for their end. A waiter sleeps on its
 * own condition; the bus' wake channel says which lane got tasks, and the fittest waiters for it are woken, as many as
 * there are tasks. A wake-up is a hint: the claim itself is decided by the store, and a waiter looks by itself
 * every second in case a hint was lost.
 *
 * At most seven eighths of the threads may wait, so that log-ins always find one; who finds no place does not wait.
 */
#ifndef FCGI_PARK_H
#define FCGI_PARK_H

#include "../lib/domain/task.h"

struct app;

enum err park_start(struct app *app, int threads, struct error *e) MUST_CHECK;
/* Everybody stops waiting. */
void park_stop(void);

/*
 * Claim, waiting up to wait_s seconds for a first task. client_fd is the connection the answer goes to: when it is closed
 * meanwhile nothing is claimed, since nobody would get it.
 */
enum err park_claim(struct op *op, const char *agent_id, const struct claim_in *in, int64_t wait_s, int client_fd,
		    struct task ***out, int *n) MUST_CHECK;
/* Wait until the execution has ended, at most wait_s seconds. False: not ended, or no place to wait. */
bool park_execution(struct op *op, const char *execution_id, int64_t wait_s);

#endif
