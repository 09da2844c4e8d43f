// SPDX-License-Identifier: MIT
#include "bus_internal.h"

#include <inttypes.h>

#include "../base/clock.h"

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

static int gate_command(struct cmd *c, const struct gate *g, const char *rate)
{
	int keys = 1 + (rate != NULL) + (g->jti != NULL) + (g->subject != NULL);

	if (rate)
		cmd_script(c, BS_GATE, keys, 2);
	else
		cmd_begin(c, keys + 1, "MGET");
	cmd_key(c, "warm", "");
	if (rate)
		cmd_key(c, "rate:", rate);
	if (g->jti)
		cmd_key(c, "revoked:", g->jti);
	if (g->subject)
		cmd_key(c, "subject:", g->subject);
	if (rate) {
		cmd_int(c, g->cost > 0 ? g->cost : 1);
		cmd_int(c, g->limit);
	}
	return keys;
}

bool bus_reply_warm(const struct bus *b, const redisReply *r)
{
	return r->type == REDIS_REPLY_STRING && strtoull(r->str, NULL, 16) == b->run;
}

static void read_gate(const struct bus *b, struct gate *g, redisReply *const *v, bool rated)
{
	g->warm = bus_reply_warm(b, *v++) && !b->unsure;
	if (rated) {
		int64_t count = reply_int(*v++);

		g->limited = count < 0;
		if (g->limited)
			count = -1 - count;
		g->remaining = count < g->limit ? g->limit - count : 0;
	}
	if (g->jti)
		g->revoked = (*v++)->type == REDIS_REPLY_STRING;
	if (g->subject && (*v)->type == REDIS_REPLY_STRING)
		(void)!sscanf((*v)->str, "%" SCNd64 " %" SCNd64, &g->cutoff, &g->subject_rev);
}

enum err bus_gate(struct bus *b, struct gate *g)
{
	struct cmd c;
	redisReply *r;
	char key[256];
	bool rated = g->rate_key && g->limit > 0;

	g->warm = g->revoked = g->limited = false;
	g->cutoff = g->subject_rev = g->remaining = 0;
	g->reset_s = rated ? window(g->rate_key, key, sizeof(key)) : 0;
	if (!bus_up(b))
		return ERR_UNAVAILABLE;
	cmd_init(&c);
	size_t keys = (size_t)gate_command(&c, g, rated ? key : NULL);
	enum err err = bus_call(b, &c, &r);

	cmd_release(&c);
	if (err)
		return err;
	if (r->type == REDIS_REPLY_ARRAY && r->elements == keys)
		read_gate(b, g, r->element, rated);
	else
		err = ERR_UNAVAILABLE;
	freeReplyObject(r);
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
	/* The key is made with its expiry, and only then counted: no counter can be left without one. */
	cmd_begin(&c, 6, "SET");
	cmd_key(&c, "rate:", key);
	cmd_int(&c, 0);
	cmd_arg(&c, "EX");
	cmd_int(&c, WINDOW_S);
	cmd_arg(&c, "NX");
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
