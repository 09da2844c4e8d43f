// SPDX-License-Identifier: MIT
/* How an attempt ends badly: one place decides between another try and the dead-letter list. */
#ifndef DOMAIN_ATTEMPT_H
#define DOMAIN_ATTEMPT_H

#include "task.h"

/* {"type","code","message","details","retryable"} */
const char *fault_json(struct op *op, const struct task_fault *f, bool retryable);
/* The task's history with its current attempt appended. */
const char *attempts_with(struct op *op, const struct task *t, const char *outcome, const char *error_json);
/*
 * Fill c->set and c->fields for the end of t's current attempt by fault f: retrying with its backoff when the
 * error is retryable, tries are left and the deadline allows; else failed. The caller sets the conditions.
 */
void attempt_ended(struct op *op, const struct task *t, const struct task_fault *f, struct task_change *c);
/* Apply one change of one task; *row is the row after it, or as it stands when ERR_CONFLICT or ERR_NOT_FOUND. */
enum err change_one(struct op *op, const struct task_change *c, bool lazy, struct task **row) MUST_CHECK;
/*
 * What follows the end of a task or its way back to the queue: event, queue, its key's slot, its execution.
 * Nothing here can undo the change, so errors are logged and left to the scheduler's sweep.
 */
void task_settled(struct op *op, const struct task *row, const char *event);
/* The same for many that ended alike; each execution is moved on once. */
void tasks_settled(struct op *op, struct task *const *rows, int n, const char *event);
/* Without the execution. */
void task_left(struct op *op, const struct task *row, const char *event);

#endif
