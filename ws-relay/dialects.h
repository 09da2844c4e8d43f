// SPDX-License-Identifier: MIT
/*
 * How an event is said: the envelope, the older documents' names (task_update, agent_update, pipeline_progress, error), or
 * the names their subscriptions answer with (task_progress_update, …). One table; each form is written at most once an
 * event and shared by all who get it.
 *
 * What a reader is not cleared for is left out: of an event about data of a higher class only ids, states and numbers
 * stay. Of phi nothing else ever leaves.
 */
#ifndef RELAY_DIALECTS_H
#define RELAY_DIALECTS_H

#include "events.h"
#include "msg.h"

/* The message, borrowed from the event; NULL: this dialect has no word for it. */
struct msg *event_said(struct event *e, enum dialect d, enum outlet o, enum data_class clearance);

/* "4" "2" "/ns," of an outlet's Socket.IO event packet; for others "". */
const char *outlet_prefix(enum outlet o);

/*
 * task:delegate, as agents get it: the task's members in snake case, and a payload with them in both. whole: also the task as a
 * claim answers it. task: as the API answers it.
 */
void write_delegate(struct jw *w, const struct jv *task, bool whole);

#endif
