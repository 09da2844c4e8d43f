// SPDX-License-Identifier: MIT
/*
 * The outbox: every call to the outside is a row here first, written in the unit of the change that causes
 * it, and sent by the one sender beside the scheduler. A crash loses none; a receiver may get one twice and
 * tells by its id.
 */
#ifndef DOMAIN_OUTBOX_H
#define DOMAIN_OUTBOX_H

#include "domain.h"

#define OUTBOX_TRIES 8		/* then the row's state is "dead" and it stays for the operator */

/* Each fills *o with a row; the caller puts it into its unit and posts a wake ("s") afterwards. */

/* POST {task, fence} to the agent's task endpoint. */
void outbox_push_task(struct op *op, struct store_op *o, const struct task *t, int64_t fence, const char *agent_id,
		      const char *url);
/* POST payload (JSON) to url; event names what happened. */
void outbox_webhook(struct op *op, struct store_op *o, const char *url, const char *event, const char *payload);
void outbox_email(struct op *op, struct store_op *o, const char *to, const char *subject, const char *text);

/* What the sender works on. */
struct outbox_item {
	const char *id, *kind;		/* "push", "webhook", "email" */
	int64_t rev;
	const char *target;		/* URL or address */
	const char *event, *payload;	/* webhook */
	const char *subject, *text;	/* email */
	const char *task_id, *agent_id;	/* push */
	int64_t fence;
	int64_t tries;
};
/* Due rows, oldest first, at most limit. */
enum err outbox_due(struct op *op, int limit, struct outbox_item **out, int *n) MUST_CHECK;
/* Sent (or pointless): the row goes. */
enum err outbox_done(struct op *op, const struct outbox_item *item) MUST_CHECK;
/* Not sent: again later with backoff, or dead after OUTBOX_TRIES. reason is kept with it. */
enum err outbox_failed(struct op *op, const struct outbox_item *item, const char *reason) MUST_CHECK;

#endif
