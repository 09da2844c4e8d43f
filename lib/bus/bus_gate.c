// SPDX-License-Identifier: MIT
#include "bus_internal.h"

#include <inttypes.h>

#include "../base/clock.h"
#include "../base/hash.h"

#define WINDOW_S 60

/*
 * The key of the window that runs now, and how long it still does. Windows start at fixed times, another one for
 * each caller so that not all end in the same second; so neither Redis nor the script has to ask for an expiry,
 * and processes count together as far as their clocks agree.
 */
static int window(const char *rate_key, char *out, size_t room)
{
	int64_t now = now_ms() / 1000;
	uint32_t h = 2166136261U;

	for (const char *p = rate_key; *p; p++)
		h = (h ^ (unsigned char)*p) * 16777619U;
	now += h % WINDOW_S;
	int n = snprintf(out, room, "%s:%" PRId64, rate_key, now / WINDOW_S);

	if (n < 0 || (size_t)n >= room) {
		/* Longer than any caller's id should be: its hash is key enough. */
		snprintf(out, room, "#%08x%08x:%" PRId64, h, (unsigned)strlen(rate_key), now / WINDOW_S);
	}
	return WINDOW_S - (int)(now % WINDOW_S);
}

bool bus_reply_warm(const struct bus *b, const redisReply *r)
{
	return r->type == REDIS_REPLY_STRING && strtoull(r->str, NULL, 16) == b->run;
}

/*
 * Has this process made that window's counter already? Only a memory of the newest ones, by hash: what it has
 * forgotten costs one more command, no more.
 */
static bool window_known(struct bus *b, const char *key)
{
	uint64_t h = hash_add(HASH_START, key, strlen(key));
	_Atomic uint64_t *slot = &b->windows[(h ^ h >> 32) % BUS_WINDOWS];

	if (atomic_load_explicit(slot, memory_order_relaxed) == h)
		return true;
	atomic_store_explicit(slot, h, memory_order_relaxed);
	return false;
}

/* Make the counter with its end; what is there stays. */
static void make_window(struct cmd *c, const char *key)
{
	cmd_begin(c, 6, "SET");
	cmd_key(c, "rate:", key);
	cmd_int(c, 0);
	cmd_arg(c, "EX");
	cmd_int(c, WINDOW_S);
	cmd_arg(c, "NX");
}

/* The facts, by one MGET: warm, revoked, subject as far as asked for. */
static void ask_facts(struct cmd *c, const struct gate *g)
{
	cmd_begin(c, 2 + (g->jti != NULL) + (g->subject != NULL), "MGET");
	cmd_key(c, "warm", "");
	if (g->jti)
		cmd_key(c, "revoked:", g->jti);
	if (g->subject)
		cmd_key(c, "subject:", g->subject);
}

static enum err read_facts(const struct bus *b, struct gate *g, const redisReply *r)
{
	redisReply *const *v = r->element;

	if (r->type != REDIS_REPLY_ARRAY || r->elements != 1U + (g->jti != NULL) + (g->subject != NULL))
		return ERR_UNAVAILABLE;
	g->warm = bus_reply_warm(b, *v++) && !b->unsure;
	if (g->jti)
		g->revoked = (*v++)->type == REDIS_REPLY_STRING;
	if (g->subject && (*v)->type == REDIS_REPLY_STRING)
		(void)!sscanf((*v)->str, "%" SCNd64 " %" SCNd64, &g->cutoff, &g->subject_rev);
	return OK;
}

static void read_rate(struct gate *g, int64_t count)
{
	if (g->cost > 1) {
		/* The script's answer: the count, or -1 - count when the request did not fit. */
		g->limited = count < 0;
		if (g->limited)
			count = -1 - count;
	} else {
		g->limited = count > g->limit;
	}
	g->remaining = count < g->limit ? g->limit - count : 0;
}

/*
 * A counter that was emptied away while this process remembered it has been begun anew, without an end. It is
 * given one; should that fail too, a counter of a window long past stays behind, which nobody reads.
 */
static void end_window(struct bus *b, const char *key)
{
	struct cmd c;

	cmd_init(&c);
	cmd_begin(&c, 3, "EXPIRE");
	cmd_key(&c, "rate:", key);
	cmd_int(&c, WINDOW_S);
	(void)!bus_call_ok(b, &c);
}

enum err bus_gate(struct bus *b, struct gate *g)
{
	struct cmd c;
	redisReply *r[3];
	char key[256];
	bool rated = g->rate_key && g->limit > 0;
	bool make = false;

	g->warm = g->revoked = g->limited = false;
	g->cutoff = g->subject_rev = g->remaining = 0;
	g->reset_s = rated ? window(g->rate_key, key, sizeof(key)) : 0;
	if (!bus_up(b))
		return ERR_UNAVAILABLE;
	cmd_init(&c);
	/*
	 * A request that counts one is simply counted: when that was one too many, the limit was reached before and
	 * counting on changes nothing. One that counts more may be too much where a smaller one is not, so it takes
	 * the script. (Both cost Redis one write; the script costs it three times as much besides.)
	 */
	if (rated && g->cost > 1) {
		cmd_script(&c, BS_RATE, 1, 2);
		cmd_key(&c, "rate:", key);
		cmd_int(&c, g->cost);
		cmd_int(&c, g->limit);
	} else if (rated) {
		make = !window_known(b, key);
		if (make)
			make_window(&c, key);
		cmd_begin(&c, 2, "INCR");
		cmd_key(&c, "rate:", key);
	}
	ask_facts(&c, g);
	int n = c.replies;
	enum err err = bus_call(b, &c, r);

	cmd_release(&c);
	if (err)
		return err;
	if (rated)
		read_rate(g, reply_int(r[n - 2]));
	err = read_facts(b, g, r[n - 1]);
	if (rated && !make && g->cost <= 1 && r[n - 2]->integer == 1)
		end_window(b, key);
	replies_free(r, n);
	return err;
}

enum err bus_count(struct bus *b, const char *rate_key, int64_t *count, int *reset_s)
{
	struct cmd c;
	redisReply *r[2];
	char key[256];

	*count = 0;
	*reset_s = window(rate_key, key, sizeof(key));
	cmd_init(&c);
	/* The key is made with its end, and only then counted: no counter can be left without one. */
	make_window(&c, key);
	cmd_begin(&c, 2, "INCR");
	cmd_key(&c, "rate:", key);
	enum err err = bus_call(b, &c, r);

	cmd_release(&c);
	if (err)
		return err;
	*count = reply_int(r[1]);
	replies_free(r, 2);
	return OK;
}

enum err bus_peek(struct bus *b, const char *rate_key, int64_t *count, int *reset_s)
{
	struct cmd c;
	redisReply *r;
	char key[256];

	*count = 0;
	*reset_s = window(rate_key, key, sizeof(key));
	cmd_init(&c);
	cmd_begin(&c, 2, "GET");
	cmd_key(&c, "rate:", key);
	enum err err = bus_call(b, &c, &r);

	cmd_release(&c);
	if (err)
		return err;
	*count = reply_int(r);
	freeReplyObject(r);
	return OK;
}

/* Security facts that Redis did not take now are kept and sent before anything else when it is back. */
static enum err must_arrive(struct bus *b, struct cmd *c)
{
	redisReply *r;
	enum err err = bus_call(b, c, &r);

	if (err)
		publisher_urgent(b, c);
	else
		freeReplyObject(r);
	cmd_release(c);
	return err;
}

enum err bus_revoke(struct bus *b, const char *jti, int64_t ttl_s)
{
	struct cmd c;

	if (ttl_s <= 0)
		return OK;
	cmd_init(&c);
	cmd_begin(&c, 5, "SET");
	cmd_key(&c, "revoked:", jti);
	cmd_int(&c, 1);
	cmd_arg(&c, "EX");
	cmd_int(&c, ttl_s);
	return must_arrive(b, &c);
}

enum err bus_subject(struct bus *b, const char *subject, int64_t cutoff, int64_t rev)
{
	struct cmd c;

	cmd_init(&c);
	cmd_script(&c, BS_SUBJECT, 1, 2);
	cmd_key(&c, "subject:", subject);
	cmd_int(&c, cutoff);
	cmd_int(&c, rev);
	return must_arrive(b, &c);
}
