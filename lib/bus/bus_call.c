// SPDX-License-Identifier: MIT
#include "bus_internal.h"

#include <linux/futex.h>
#include <limits.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../base/clock.h"
#include "../base/log.h"

/* --- sleeping until a batch is done ------------------------------------------------------------- */

/*
 * All that wait for batch n, its callers and the leader of n + 1, sleep on one word with one bit of the mask, so
 * one system call wakes exactly them; with a condition variable each would queue for the mutex again.
 */
static void wait_done(struct pipe *p, uint32_t n)
{
	uint32_t done;

	while ((int32_t)((done = atomic_load_explicit(&p->done, memory_order_acquire)) - n) < 0)
		syscall(SYS_futex, (uint32_t *)&p->done, FUTEX_WAIT_BITSET_PRIVATE, done, NULL, NULL, 1U << (n & 31));
}

static void wake_done(struct pipe *p, uint32_t n)
{
	syscall(SYS_futex, (uint32_t *)&p->done, FUTEX_WAKE_BITSET_PRIVATE, INT_MAX, NULL, NULL, 1U << (n & 31));
}

/* --- the circuit --------------------------------------------------------------------------------- */

/* One line of a kind in BUS_LOG_US, however often it happens. The state lock is held. */
static bool worth_a_line(int64_t *logged_us)
{
	int64_t now = mono_us();

	if (*logged_us && now - *logged_us < BUS_LOG_US)
		return false;
	*logged_us = now;
	return true;
}

void bus_down(struct bus *b, const char *why)
{
	bool changed = atomic_exchange(&b->up, false);

	pthread_mutex_lock(&b->state_lock);
	snprintf(b->why, sizeof(b->why), "%s", why);
	bool line = (changed || !b->away_logged_us) && worth_a_line(&b->away_logged_us);

	pthread_mutex_unlock(&b->state_lock);
	if (line)
		log_warn("Redis is away (%s); going on without it", why);
}

void bus_refused(struct bus *b, const char *why)
{
	pthread_mutex_lock(&b->state_lock);
	snprintf(b->why, sizeof(b->why), "%.100s", why);
	bool line = worth_a_line(&b->refusal_logged_us);

	pthread_mutex_unlock(&b->state_lock);
	if (line)
		log_warn("Redis refuses a command (%.100s)", why);
}

static void bus_back(struct bus *b)
{
	if (atomic_exchange(&b->up, true))
		return;
	pthread_mutex_lock(&b->state_lock);
	bool line = worth_a_line(&b->back_logged_us);

	pthread_mutex_unlock(&b->state_lock);
	if (line)
		log_info("Redis is there");
}

void pipe_init(struct pipe *p)
{
	*p = (struct pipe){ .gathering = 1 };
	if (pthread_mutex_init(&p->lock, NULL))
		abort();
	p->tail = &p->head;
	cmd_init(&p->out);
}

void pipe_release(struct pipe *p)
{
	link_close(&p->link);
	cmd_release(&p->out);
	pthread_mutex_destroy(&p->lock);
}

/* Look after one connection; only the publisher thread does, so nobody else dials. */
static bool pipe_keep(struct bus *b, struct pipe *p)
{
	struct bus_link fresh;
	char why[BUS_WHY] = "closed by the other end";

	pthread_mutex_lock(&p->lock);
	if (!p->head && p->done == p->gathering - 1 && p->up && !link_idle_ok(&p->link)) {
		link_close(&p->link);
		p->up = false;
	}
	bool up = p->up;

	pthread_mutex_unlock(&p->lock);
	if (up)
		return true;
	if (!link_open(&fresh, &b->url, b->timeout_ms, true, why)) {
		bus_down(b, why);
		return false;
	}
	/* Before anyone can read what this server says: answers of an unknown run must not count as warm. */
	b->run = fresh.run;
	pthread_mutex_lock(&p->lock);
	p->link = fresh;
	p->up = true;
	pthread_mutex_unlock(&p->lock);
	return true;
}

bool pipes_keep(struct bus *b)
{
	for (int i = 0; i < b->n_pipes; i++) {
		if (!pipe_keep(b, &b->pipes[i]))
			return false;
	}
	bus_back(b);
	return true;
}

/* --- many callers, one pipeline ------------------------------------------------------------------- */

/* These answers mean that this server, or this login, is of no use now: dial again. */
bool reply_fatal(const redisReply *r)
{
	return reply_error_is(r, "READONLY") || reply_error_is(r, "NOAUTH") || reply_error_is(r, "LOADING") ||
	       reply_error_is(r, "MASTERDOWN");
}

/* Older servers wrap a script's error, so the code may stand anywhere in the text. */
bool reply_error_is(const redisReply *r, const char *code)
{
	return r->type == REDIS_REPLY_ERROR && strstr(r->str, code);
}

static bool send_all(struct pipe *p, const struct call *calls, char why[BUS_WHY])
{
	if (!calls->next)
		return link_send(&p->link, calls->cmd->p, calls->cmd->n, why);
	p->out.n = 0;
	for (const struct call *c = calls; c; c = c->next)
		cmd_raw(&p->out, c->cmd->p, c->cmd->n);
	bool ok = link_send(&p->link, p->out.p, p->out.n, why);

	if (p->out.cap > BUS_BATCH_BYTES)
		cmd_release(&p->out);
	return ok;
}

/*
 * One round trip for a batch. False: the connection is of no more use; *useless: because the server said so, and
 * dialling it again at once would only bring the same.
 */
static bool exchange(struct pipe *p, struct call *calls, bool *useless, char why[BUS_WHY])
{
	bool ok = send_all(p, calls, why);
	int64_t deadline = link_deadline(&p->link);

	for (struct call *c = calls; ok && c; c = c->next) {
		while (c->got < c->cmd->replies) {
			redisReply *r = link_read(&p->link, deadline, why);

			if (!r)
				return false;
			c->replies[c->got++] = r;
			if (reply_fatal(r)) {
				snprintf(why, BUS_WHY, "answer: %.100s", r->str);
				*useless = true;
				ok = false;
			}
		}
	}
	return ok;
}

/* Wait for this batch's turn, then send it. */
static void lead(struct bus *b, struct pipe *p, uint32_t n)
{
	char why[BUS_WHY] = "";
	bool ok = false;
	bool useless = false;

	wait_done(p, n - 1);
	pthread_mutex_lock(&p->lock);
	struct call *calls = p->head;
	bool alone = !calls->next;
	bool open = p->up;

	p->head = NULL;
	p->tail = &p->head;
	p->gathering++;
	p->busy = true;
	pthread_mutex_unlock(&p->lock);
	if (open)
		ok = exchange(p, calls, &useless, why);

	pthread_mutex_lock(&p->lock);
	if (open && !ok) {
		link_close(&p->link);
		p->up = false;
	}
	p->busy = false;
	/* Under the lock: who comes later as the next leader sees it, who came before is in p->head. */
	atomic_store_explicit(&p->done, n, memory_order_release);
	bool wake = !alone || p->head;

	pthread_mutex_unlock(&p->lock);
	if (wake)
		wake_done(p, n);
	if (open && !ok) {
		bus_down(b, why);
		if (!useless)
			publisher_kick(b);
	}
}

static struct pipe *pick(struct bus *b)
{
	static _Atomic unsigned next_home;
	static _Thread_local unsigned home;

	if (!home)
		home = ++next_home;
	for (int i = 0; i < b->n_pipes; i++) {
		struct pipe *p = &b->pipes[(home + (unsigned)i) % (unsigned)b->n_pipes];

		if (!atomic_load_explicit(&p->busy, memory_order_relaxed) && p->up)
			return p;
	}
	return &b->pipes[home % (unsigned)b->n_pipes];
}

/* True: all replies came. Else none is kept. */
static bool round_trip(struct bus *b, const struct cmd *cmd, redisReply **replies)
{
	struct call call = { .cmd = cmd, .replies = replies };

	if (!atomic_load_explicit(&b->up, memory_order_acquire))
		return false;
	struct pipe *p = pick(b);

	pthread_mutex_lock(&p->lock);
	if (!p->up) {
		pthread_mutex_unlock(&p->lock);
		return false;
	}
	bool first = !p->head;
	uint32_t n = p->gathering;

	*p->tail = &call;
	p->tail = &call.next;
	pthread_mutex_unlock(&p->lock);
	if (first)
		lead(b, p, n);
	else
		wait_done(p, n);
	if (call.got == cmd->replies)
		return true;
	replies_free(replies, call.got);
	return false;
}

void replies_free(redisReply **replies, int n)
{
	for (int i = 0; i < n; i++)
		freeReplyObject(replies[i]);
}

int64_t reply_int(const redisReply *r)
{
	if (r->type == REDIS_REPLY_INTEGER)
		return r->integer;
	return r->type == REDIS_REPLY_STRING ? strtoll(r->str, NULL, 10) : 0;
}

/* The same commands with the script before them, for a server that has forgotten it. */
static bool with_source(struct bus *b, const struct cmd *c, redisReply **replies)
{
	redisReply *all[1 + BUS_SCRIPT_REPLIES];
	struct cmd again;
	size_t n;
	const char *text = bus_script_source(c->script, &n);

	if (c->replies > BUS_SCRIPT_REPLIES)
		abort();
	replies_free(replies, c->replies);
	cmd_init(&again);
	cmd_begin(&again, 3, "SCRIPT");
	cmd_arg(&again, "LOAD");
	cmd_argn(&again, text, n);
	cmd_raw(&again, c->p, c->n);
	again.replies += c->replies;
	bool ok = round_trip(b, &again, all);

	cmd_release(&again);
	if (!ok)
		return false;
	freeReplyObject(all[0]);
	memcpy(replies, all + 1, (size_t)c->replies * sizeof(*replies));
	return true;
}

enum err bus_call(struct bus *b, struct cmd *c, redisReply **replies)
{
	if (!round_trip(b, c, replies))
		return ERR_UNAVAILABLE;
	if (c->script != BS_NONE && reply_error_is(replies[0], "NOSCRIPT") && !with_source(b, c, replies))
		return ERR_UNAVAILABLE;
	for (int i = 0; i < c->replies; i++) {
		if (replies[i]->type != REDIS_REPLY_ERROR)
			continue;
		bus_refused(b, replies[i]->str);
		replies_free(replies, c->replies);
		return ERR_UNAVAILABLE;
	}
	return OK;
}

enum err bus_call_ok(struct bus *b, struct cmd *c)
{
	redisReply *r;
	enum err err = bus_call(b, c, &r);

	if (!err)
		freeReplyObject(r);
	cmd_release(c);
	return err;
}

void bus_run_text(uint64_t run, char out[17])
{
	uint8_t bytes[8];

	for (int i = 7; i >= 0; i--, run >>= 8)
		bytes[i] = (uint8_t)run;
	hex_encode(bytes, 8, out);
}
