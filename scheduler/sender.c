// SPDX-License-Identifier: MIT
/*
 * The one sender. Rows of the outbox become calls on one pool; what comes back is settled by the crew, so that
 * durable writes are grouped. A row goes only when its outcome is in the store; until then it may be sent again
 * by the next leader, and a pushed task is told apart by its fence, a webhook by X-MCP-Delivery.
 *
 * What is under way is kept in memory by row id, so no row is sent twice at once. A push that lost its lease
 * meanwhile is dropped before it is sent.
 */
#include "sender.h"

#include "../lib/base/clock.h"
#include "../lib/base/log.h"
#include "../lib/base/metrics.h"

#define POLL_MS		1000	/* between searches for rows nobody told us of */
#define POLL_GAP_MS	5
#define WAIT_MS		500	/* one wait for answers */
#define AGAIN_MS	250	/* before an outcome that the store did not take is tried again */
#define PARTING_MS	4000	/* for answers still to come when we end */
#define DUE_BATCH	128

enum err sender_new(struct sched *s, struct sender **out, struct error *e)
{
	struct sender *x = xcalloc(1, sizeof(*x));
	struct http_pool_options o = { .max_in_flight = SENDER_IN_FLIGHT };
	enum err err = http_pool_new(&o, &x->pool, e);

	if (err) {
		free(x);
		return err;
	}
	x->sched = s;
	pthread_mutex_init(&x->lock, NULL);
	x->inbox_tail = &x->inbox;
	x->done_tail = &x->done;
	*out = x;
	return OK;
}

static void call_free(struct sender *x, struct call *c)
{
	if (c->given)
		x->n_given--;
	free(c->id);
	free(c->target);
	free(c->event);
	free(c->payload);
	free(c->subject);
	free(c->text);
	free(c->body);
	free(c);
}

static void free_list(struct sender *x, struct call *c)
{
	for (struct call *next; c; c = next) {
		next = c->next;
		call_free(x, c);
	}
}

void sender_free(struct sender *x)
{
	if (!x)
		return;
	http_pool_free(x->pool);
	free_list(x, x->inbox);
	free_list(x, x->waiting);
	free_list(x, x->done);
	free_list(x, x->in_flight);
	pthread_mutex_destroy(&x->lock);
	free(x);
}

void sender_poke(struct sched *s)
{
	http_wake(s->sender->pool);
}

/* --- what is to be sent --------------------------------------------------------------------------------------- */

static char *dup_or_null(const char *s)
{
	return s ? xstrdup(s) : NULL;
}

static struct call *call_new(const struct outbox_item *item)
{
	struct call *c = xcalloc(1, sizeof(*c));

	c->kind = !strcmp(item->kind, "push") ? CALL_PUSH : !strcmp(item->kind, "webhook") ? CALL_WEBHOOK : CALL_EMAIL;
	c->id = xstrdup(item->id);
	c->rev = item->rev;
	c->tries = item->tries;
	c->fence = item->fence;
	c->target = dup_or_null(item->target);
	c->event = dup_or_null(item->event);
	c->payload = dup_or_null(item->payload);
	c->subject = dup_or_null(item->subject);
	c->text = dup_or_null(item->text);
	snprintf(c->task_id, sizeof(c->task_id), "%s", item->task_id ? item->task_id : "");
	snprintf(c->agent_id, sizeof(c->agent_id), "%s", item->agent_id ? item->agent_id : "");
	return c;
}

/* The row as the domain knows it, to say what became of it. */
struct outbox_item call_item(const struct call *c)
{
	static const char *const kinds[] = { "push", "webhook", "email", "probe" };

	return (struct outbox_item){ .id = c->id, .kind = kinds[c->kind], .rev = c->rev, .target = c->target,
				     .event = c->event, .payload = c->payload, .subject = c->subject, .text = c->text,
				     .task_id = *c->task_id ? c->task_id : NULL,
				     .agent_id = *c->agent_id ? c->agent_id : NULL, .fence = c->fence, .tries = c->tries };
}

static bool put_in_inbox(struct sched *s, struct call *c)
{
	struct sender *x = s->sender;

	pthread_mutex_lock(&x->lock);
	bool room = x->n_inbox < SENDER_INBOX;

	if (room) {
		x->n_inbox++;
		*x->inbox_tail = c;
		x->inbox_tail = &c->next;
	}
	pthread_mutex_unlock(&x->lock);
	if (room)
		duty_wake(&s->duties[DUTY_SENDER], WAKE_OWN);
	else
		call_free(x, c);
	return room;
}

bool sender_give(struct sched *s, const struct outbox_item *item)
{
	struct call *c = call_new(item);

	c->given = true;
	s->sender->n_given++;
	return put_in_inbox(s, c);
}

int sender_room(const struct sched *s)
{
	int given = s->sender->n_given;

	return given < SENDER_PUSHES ? SENDER_PUSHES - given : 0;
}

void sender_probe(struct sched *s, const char *agent_id, const char *url, bool status)
{
	struct call *c = xcalloc(1, sizeof(*c));
	char id[ID_TEXT + 8];

	c->kind = CALL_PROBE;
	snprintf(id, sizeof(id), "%s%s", status ? "status:" : "", agent_id);
	c->id = xstrdup(id);
	c->target = xstrdup(url);
	snprintf(c->agent_id, sizeof(c->agent_id), "%s", agent_id);
	put_in_inbox(s, c);
}

static bool listed(const struct call *c, const char *id)
{
	for (; c; c = c->next) {
		if (strcmp(c->id, id) == 0)
			return true;
	}
	return false;
}

static bool known(const struct sender *x, const char *id)
{
	return listed(x->in_flight, id) || listed(x->waiting, id) || listed(x->done, id);
}

static void enqueue(struct sender *x, struct call *c)
{
	if (known(x, c->id)) {
		call_free(x, c);
		return;
	}
	struct call **tail = &x->waiting;

	while (*tail)
		tail = &(*tail)->next;
	c->next = NULL;
	*tail = c;
	x->n_waiting++;
}

static void take_inbox(struct sender *x)
{
	pthread_mutex_lock(&x->lock);
	struct call *c = x->inbox;

	x->inbox = NULL;
	x->inbox_tail = &x->inbox;
	x->n_inbox = 0;
	pthread_mutex_unlock(&x->lock);
	for (struct call *next; c; c = next) {
		next = c->next;
		enqueue(x, c);
	}
}

/* Rows in the store that are due: those of other processes, of a former leader, and those to be tried again. */
static enum err take_due(struct sender *x, struct op *op)
{
	int64_t since_ms = (mono_us() - x->polled_us) / 1000;
	struct outbox_item *items;
	int n;

	if (x->n_waiting >= DUE_BATCH || since_ms < (x->look ? POLL_GAP_MS : POLL_MS))
		return OK;
	int limit = x->n_in_flight + x->n_waiting + x->n_done + DUE_BATCH;

	x->polled_us = mono_us();
	op->now = now_ms();
	enum err err = outbox_due(op, limit, &items, &n);

	if (err)
		return err;
	x->look = n == limit;
	for (int i = 0; i < n; i++) {
		if (!known(x, items[i].id))
			enqueue(x, call_new(&items[i]));
	}
	return OK;
}

/* --- under way ------------------------------------------------------------------------------------------------- */

void call_ended(struct sender *x, struct call *c)
{
	c->next = NULL;
	*x->done_tail = c;
	x->done_tail = &c->next;
	x->n_done++;
}

static bool is_message(const struct call *c)
{
	return c->kind == CALL_WEBHOOK || c->kind == CALL_EMAIL;
}

static void into_flight(struct sender *x, struct call *c)
{
	c->sender = x;
	c->next = x->in_flight;
	x->in_flight = c;
	x->n_in_flight++;
	x->n_messages += is_message(c);
}

static void out_of_flight(struct sender *x, struct call *c)
{
	for (struct call **p = &x->in_flight; *p; p = &(*p)->next) {
		if (*p == c) {
			*p = c->next;
			x->n_in_flight--;
			x->n_messages -= is_message(c);
			return;
		}
	}
}

static void answered(void *arg, const struct net_result *r)
{
	static const char *const services[] = { "agent", "webhook", "mail", "agent" };
	static const char *const operations[] = { "push", "notify", "notify", "probe" };
	struct call *c = arg;
	char labels[96];

	snprintf(labels, sizeof(labels), "service_name=\"%s\",operation=\"%s\"", services[c->kind], operations[c->kind]);
	metric_observe(M_EXTERNAL_DURATION, labels, r->took_us);
	out_of_flight(c->sender, c);
	c->outcome = r->outcome;
	c->status = r->status;
	snprintf(c->reason, sizeof(c->reason), "%s", r->reason ? r->reason : "");
	c->body = xmalloc(r->body_len + 1);
	if (r->body_len)
		memcpy(c->body, r->body, r->body_len);
	c->body[r->body_len] = '\0';
	c->body_len = r->body_len;
	call_ended(c->sender, c);
}

/* The first that may start now, taken out of the waiting ones; NULL: none. */
static struct call *next_to_start(struct sender *x)
{
	if (x->n_in_flight >= SENDER_IN_FLIGHT)
		return NULL;
	for (struct call **p = &x->waiting; *p; p = &(*p)->next) {
		struct call *c = *p;

		if (is_message(c) && x->n_messages >= SENDER_MESSAGES)
			continue;
		*p = c->next;
		x->n_waiting--;
		return c;
	}
	return NULL;
}

static enum err start_waiting(struct sender *x, struct op *op)
{
	struct call *c;

	while ((c = next_to_start(x))) {
		bool started = false;

		into_flight(x, c);
		op->now = now_ms();
		enum err err = call_start(x, op, c, answered, &started);

		if (started)
			continue;
		out_of_flight(x, c);
		if (err == OK) {
			/* There was nothing to send, or it cannot be sent: settle it at once. */
			call_ended(x, c);
			continue;
		}
		c->next = x->waiting;
		x->waiting = c;
		x->n_waiting++;
		return err == ERR_BUSY ? OK : err;
	}
	return OK;
}

/* --- settling --------------------------------------------------------------------------------------------------- */

struct settling {
	struct sender *x;
	struct call **calls;
};

static enum err settle_one(struct op *op, void *arg, int i)
{
	struct settling *st = arg;
	struct call *c = st->calls[i];
	enum err err = call_settle(st->x->sched, op, c);

	c->settled = err == OK;
	return err;
}

static enum err settle(struct sender *x, struct op *op)
{
	struct settling st = { .x = x, .calls = arena_calloc(op->arena, (size_t)x->n_done + 1, sizeof(*st.calls)) };
	int n = 0;

	for (struct call *c = x->done; c; c = c->next)
		st.calls[n++] = c;
	enum err err = crew_each(x->sched->crew, op, n, settle_one, &st, NULL);

	x->done = NULL;
	x->done_tail = &x->done;
	x->n_done = 0;
	for (int i = 0; i < n; i++) {
		if (st.calls[i]->settled)
			call_free(x, st.calls[i]);
		else
			call_ended(x, st.calls[i]);
	}
	x->again_us = err ? mono_us() + AGAIN_MS * 1000 : 0;
	return err;
}

/* ms until outcomes that the store did not take are tried again; most when there are none. */
static int64_t until_again(const struct sender *x, int64_t most)
{
	int64_t ms = (x->again_us - mono_us()) / 1000;

	if (!x->done)
		return most;
	return ms < 0 ? 0 : ms < most ? ms : most;
}

enum err sender_run(struct sched *s, struct op *op, unsigned why, int64_t *next)
{
	struct sender *x = s->sender;
	enum err err = OK;

	x->look |= (why & (WAKE_LED | WAKE_LOOK)) != 0;
	take_inbox(x);
	if (leads(s)) {
		err = take_due(x, op);
		if (!err)
			err = start_waiting(x, op);
	}
	if (x->n_in_flight)
		http_poll(x->pool, (int)until_again(x, x->look ? POLL_GAP_MS : WAIT_MS));
	if (x->done && until_again(x, 1) == 0) {
		enum err settled = settle(x, op);

		err = err ? err : settled;
	}
	*next = x->n_in_flight ? 0 : until_again(x, x->look && leads(s) ? POLL_GAP_MS : POLL_MS);
	if (!err || !x->n_in_flight) {
		x->troubled = false;
		return err;
	}
	/* Answers must go on being read, so this is no failure of the whole duty. */
	if (!x->troubled)
		log_error(LOG_WARN, op->err, "sender: the store does not answer; going on with what is under way");
	x->troubled = true;
	return OK;
}

void sender_finish(struct sched *s, struct op *op)
{
	struct sender *x = s->sender;
	int64_t until = mono_us() + PARTING_MS * 1000LL;

	while (x->n_in_flight && mono_us() < until)
		http_poll(x->pool, 100);
	if (x->done && settle(x, op))
		log_warn("sender: some outcomes are left to the next leader");
	if (x->n_in_flight)
		log_warn("sender: %d calls are broken off; their rows are sent again", x->n_in_flight);
}
