// SPDX-License-Identifier: MIT
/* Between sender.c, which knows when, and call.c, which knows what: one outbound call from row to outcome. */
#ifndef SCHEDULER_SENDER_H
#define SCHEDULER_SENDER_H

#include "../lib/net/http.h"
#include "sched.h"

#define SENDER_IN_FLIGHT	512
#define SENDER_MESSAGES		128	/* of these at most so many webhooks and mails: they may be slow */
#define SENDER_PUSHES		384	/* so many are taken on at once from the assigner */
#define SENDER_INBOX		4096

enum call_kind { CALL_PUSH, CALL_WEBHOOK, CALL_EMAIL, CALL_PROBE };

struct call {
	struct call *next;
	struct sender *sender;
	enum call_kind kind;
	char *id;			/* of the row; a probe's is the agent's */
	int64_t rev, tries, fence;
	char *target, *event, *payload, *subject, *text;
	char task_id[ID_TEXT], agent_id[ID_TEXT];
	/* how it went */
	bool given;			/* by the assigner: counted in n_given */
	bool pointless;			/* there was nothing to do: the row goes */
	enum net_outcome outcome;
	int status;
	char *body;
	size_t body_len;
	char reason[256];
	bool told, settled;		/* the task has its outcome; the row has gone too */
};

struct sender {
	struct sched *sched;
	struct http_pool *pool;
	pthread_mutex_t lock;		/* the inbox */
	struct call *inbox, **inbox_tail;
	int n_inbox;
	_Atomic int n_given;
	/* the duty's own */
	struct call *waiting, *in_flight, *done, **done_tail;
	int n_waiting, n_in_flight, n_done, n_messages;
	int64_t polled_us, again_us;
	bool look;			/* there may be due rows we do not know of */
	bool troubled;
	/* what the configuration says, read again when its text changes */
	const char *outbound_text, *webhook_text;
	struct netset outbound, webhooks;
};

struct outbox_item call_item(const struct call *c);
void call_ended(struct sender *x, struct call *c);

/*
 * Start it. *started: done will be called. Else OK means that it is decided without a call (pointless, or outcome
 * and reason are set), ERR_BUSY that the pool is full; other errors are the store's.
 */
enum err call_start(struct sender *x, struct op *op, struct call *c, net_done *done, bool *started) MUST_CHECK;
/* Put its outcome into the store. An error: not done, to be tried again. On any thread. */
enum err call_settle(struct sched *s, struct op *op, struct call *c) MUST_CHECK;

#endif
