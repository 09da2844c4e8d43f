// SPDX-License-Identifier: MIT
#include "bus_internal.h"

#include "../base/clock.h"

#define BEATS_CHUNK 250		/* agents in one round trip */

static void field(struct cmd *c, const char *name, const char *value)
{
	cmd_arg(c, name);
	cmd_arg(c, value);
}

static const char *text_of(struct arena *a, const redisReply *r)
{
	return r->type == REDIS_REPLY_STRING ? arena_strndup(a, r->str, r->len) : NULL;
}

static void read_beat(struct arena *a, const redisReply *r, struct beat *out)
{
	if (r->type != REDIS_REPLY_ARRAY || r->elements != 5)
		return;
	out->at = reply_int(r->element[0]);
	out->status = text_of(a, r->element[1]);
	if (r->element[2]->type == REDIS_REPLY_STRING)
		out->load = strtod(r->element[2]->str, NULL);
	out->resources = text_of(a, r->element[3]);
	out->metrics = text_of(a, r->element[4]);
}

static void ask_beat(struct cmd *c, const char *agent_id)
{
	static const char *const fields[] = { "beat", "status", "load", "resources", "metrics" };

	cmd_begin(c, 7, "HMGET");
	cmd_key(c, "agents:status:", agent_id);
	for (int f = 0; f < 5; f++)
		cmd_arg(c, fields[f]);
}

enum err bus_beat(struct bus *b, const struct beat *beat, struct arena *a, struct beat *before)
{
	struct cmd c;
	redisReply *r[3];
	int64_t at = beat->at ? beat->at : now_ms();
	int fields = 1 + (beat->status != NULL) + (beat->load >= 0) + (beat->resources != NULL) +
		     (beat->metrics != NULL);

	cmd_init(&c);
	if (before)
		ask_beat(&c, beat->agent_id);
	cmd_begin(&c, 4, "ZADD");
	cmd_key(&c, "agents:active", "");
	cmd_int(&c, at);
	cmd_arg(&c, beat->agent_id);
	cmd_begin(&c, 2 + 2 * fields, "HSET");
	cmd_key(&c, "agents:status:", beat->agent_id);
	cmd_arg(&c, "beat");
	cmd_int(&c, at);
	if (beat->status)
		field(&c, "status", beat->status);
	if (beat->load >= 0) {
		char text[32];

		snprintf(text, sizeof(text), "%.6g", beat->load);
		field(&c, "load", text);
	}
	if (beat->resources)
		field(&c, "resources", beat->resources);
	if (beat->metrics)
		field(&c, "metrics", beat->metrics);
	int n = c.replies;
	enum err err = bus_call(b, &c, r);

	cmd_release(&c);
	if (err)
		return err;
	if (before) {
		*before = (struct beat){ .load = -1 };
		read_beat(a, r[0], before);
	}
	replies_free(r, n);
	return OK;
}

/* out[i].agent_id is set; fill in the rest. */
static enum err fetch(struct bus *b, struct arena *a, struct beat *out, int n)
{
	redisReply *replies[BEATS_CHUNK];
	struct cmd c;

	cmd_init(&c);
	for (int i = 0; i < n; i++)
		ask_beat(&c, out[i].agent_id);
	enum err err = bus_call(b, &c, replies);

	cmd_release(&c);
	if (err)
		return err;
	for (int i = 0; i < n; i++)
		read_beat(a, replies[i], &out[i]);
	replies_free(replies, n);
	return OK;
}

static enum err fetch_all(struct bus *b, struct arena *a, struct beat *out, int n)
{
	enum err err = OK;

	for (int i = 0; i < n && !err; i += BEATS_CHUNK)
		err = fetch(b, a, out + i, n - i < BEATS_CHUNK ? n - i : BEATS_CHUNK);
	return err;
}

static bool put_id(char out[ID_TEXT], const char *id, size_t n)
{
	if (n >= ID_TEXT)
		return false;
	memcpy(out, id, n);
	out[n] = '\0';
	return true;
}

enum err bus_beats(struct bus *b, const char *const *ids, int n, struct arena *a, struct beat *out)
{
	for (int i = 0; i < n; i++) {
		out[i] = (struct beat){ .load = -1 };
		if (!put_id(out[i].agent_id, ids[i], strlen(ids[i])))
			return ERR_VALIDATION;
	}
	return fetch_all(b, a, out, n);
}

static enum err beats_range(struct bus *b, const char *from, const char *to, int limit, struct arena *a,
			    struct beat **out, int *n)
{
	struct cmd c;
	redisReply *r;

	*out = NULL;
	*n = 0;
	cmd_init(&c);
	cmd_begin(&c, 8, "ZRANGEBYSCORE");
	cmd_key(&c, "agents:active", "");
	cmd_arg(&c, from);
	cmd_arg(&c, to);
	cmd_arg(&c, "WITHSCORES");
	cmd_arg(&c, "LIMIT");
	cmd_int(&c, 0);
	cmd_int(&c, limit);
	enum err err = bus_call(b, &c, &r);

	cmd_release(&c);
	if (err)
		return err;
	*out = arena_calloc(a, r->elements / 2, sizeof(**out));
	for (size_t i = 0; i + 1 < r->elements; i += 2) {
		struct beat *beat = &(*out)[*n];

		if (!put_id(beat->agent_id, r->element[i]->str, r->element[i]->len))
			continue;
		/* The index is what says when; should the hash be gone, the rest stays unknown. */
		beat->at = (int64_t)strtod(r->element[i + 1]->str, NULL);
		beat->load = -1;
		(*n)++;
	}
	freeReplyObject(r);
	err = fetch_all(b, a, *out, *n);
	if (err)
		*n = 0;
	return err;
}

static void exclusive(char out[32], int64_t v)
{
	snprintf(out, 32, "(%lld", (long long)v);
}

enum err bus_beats_stale(struct bus *b, int64_t before_ms, int limit, struct arena *a, struct beat **out, int *n)
{
	char bound[32];

	exclusive(bound, before_ms);
	return beats_range(b, "-inf", bound, limit, a, out, n);
}

enum err bus_beats_since(struct bus *b, int64_t since_ms, int limit, struct arena *a, struct beat **out, int *n)
{
	char bound[32];

	exclusive(bound, since_ms);
	return beats_range(b, bound, "+inf", limit, a, out, n);
}

enum err bus_agent_forget(struct bus *b, const char *agent_id)
{
	struct cmd c;
	redisReply *r[2];

	cmd_init(&c);
	cmd_begin(&c, 3, "ZREM");
	cmd_key(&c, "agents:active", "");
	cmd_arg(&c, agent_id);
	cmd_begin(&c, 3, "UNLINK");
	cmd_key(&c, "agents:status:", agent_id);
	cmd_key(&c, "tasks:assigned:", agent_id);
	enum err err = bus_call(b, &c, r);

	if (!err)
		replies_free(r, 2);
	cmd_release(&c);
	return err;
}

static bool among(const char *s, const char *const *list, int n)
{
	for (int i = 0; i < n; i++) {
		if (strcmp(s, list[i]) == 0)
			return true;
	}
	return false;
}

enum err bus_agent_index(struct bus *b, const char *agent_id, const char *const *old_caps, int n_old,
			 const char *const *caps, int n)
{
	struct cmd c;

	if (n_old + n <= 0)
		return OK;
	redisReply **replies = xcalloc((size_t)(n_old + n), sizeof(*replies));

	cmd_init(&c);
	for (int i = 0; i < n_old; i++) {
		if (among(old_caps[i], caps, n))
			continue;
		cmd_begin(&c, 3, "SREM");
		cmd_key(&c, "agents:capabilities:", old_caps[i]);
		cmd_arg(&c, agent_id);
	}
	/* Also those it had: that is how an emptied Redis gets them back. */
	for (int i = 0; i < n; i++) {
		cmd_begin(&c, 3, "SADD");
		cmd_key(&c, "agents:capabilities:", caps[i]);
		cmd_arg(&c, agent_id);
	}
	int sent = c.replies;
	enum err err = bus_call(b, &c, replies);

	if (!err)
		replies_free(replies, sent);
	cmd_release(&c);
	free(replies);
	return err;
}
