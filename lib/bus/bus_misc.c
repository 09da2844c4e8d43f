// SPDX-License-Identifier: MIT
/* Events read back, cache, processes. */
#include "bus_internal.h"

enum err bus_cache_get(struct bus *b, const char *key, struct arena *a, const char **value)
{
	struct cmd c;
	redisReply *r;

	*value = NULL;
	cmd_init(&c);
	cmd_begin(&c, 2, "GET");
	cmd_key(&c, key, "");
	enum err err = bus_call(b, &c, &r);

	cmd_release(&c);
	if (err)
		return err;
	if (r->type == REDIS_REPLY_STRING)
		*value = arena_strndup(a, r->str, r->len);
	freeReplyObject(r);
	return OK;
}

enum err bus_cache_set(struct bus *b, const char *key, const char *value, int ttl_s)
{
	struct cmd c;

	if (ttl_s <= 0)
		return bus_cache_del(b, key);
	cmd_init(&c);
	cmd_begin(&c, 5, "SET");
	cmd_key(&c, key, "");
	cmd_arg(&c, value);
	cmd_arg(&c, "EX");
	cmd_int(&c, ttl_s);
	return bus_call_ok(b, &c);
}

enum err bus_cache_del(struct bus *b, const char *key)
{
	struct cmd c;

	cmd_init(&c);
	cmd_begin(&c, 2, "DEL");
	cmd_key(&c, key, "");
	return bus_call_ok(b, &c);
}

enum err bus_procs_dead(struct bus *b, int64_t older_ms, struct arena *a, struct bus_proc **out, int *n)
{
	struct cmd c;
	redisReply *r;

	*out = NULL;
	*n = 0;
	cmd_init(&c);
	cmd_script(&c, BS_DEAD, 1, 1);
	cmd_key(&c, "procs", "");
	cmd_int(&c, older_ms);
	enum err err = bus_call(b, &c, &r);

	cmd_release(&c);
	if (err)
		return err;
	*out = arena_calloc(a, r->elements / 2, sizeof(**out));
	for (size_t i = 0; i + 1 < r->elements; i += 2) {
		struct bus_proc *p = &(*out)[*n];

		if (r->element[i]->len >= ID_TEXT)
			continue;
		memcpy(p->id, r->element[i]->str, r->element[i]->len + 1);
		p->last_seen = (int64_t)strtod(r->element[i + 1]->str, NULL);
		(*n)++;
	}
	freeReplyObject(r);
	return OK;
}

/* --- events -------------------------------------------------------------------------------------- */

/* A stream id, "milliseconds-sequence" or milliseconds alone. */
static bool stream_id(const char *s)
{
	size_t ms = strspn(s, "0123456789");
	size_t seq = s[ms] == '-' ? strspn(s + ms + 1, "0123456789") : 0;

	if (ms == 0 || ms > 19 || seq > 19)
		return false;
	return s[ms] == '\0' || (seq > 0 && s[ms + 1 + seq] == '\0');
}

/* One entry of XRANGE: [id, ["e", the event from behind its id]] */
static bool read_event(struct arena *a, const redisReply *r, struct bus_event *out)
{
	const redisReply *fields = r->type == REDIS_REPLY_ARRAY && r->elements == 2 ? r->element[1] : NULL;

	if (!fields || fields->type != REDIS_REPLY_ARRAY || fields->elements < 2)
		return false;
	const redisReply *id = r->element[0];
	const redisReply *rest = fields->element[1];
	char *p = arena_alloc(a, 7 + id->len + rest->len + 1);

	out->id = arena_strndup(a, id->str, id->len);
	out->envelope = p;
	memcpy(p, "{\"id\":\"", 7);
	memcpy(p + 7, id->str, id->len);
	memcpy(p + 7 + id->len, rest->str, rest->len + 1);
	return true;
}

enum err bus_events(struct bus *b, const char *after, int limit, struct arena *a, struct bus_event **out, int *n)
{
	struct cmd c;
	redisReply *r;

	*out = NULL;
	*n = 0;
	if (after && !stream_id(after))
		return ERR_VALIDATION;
	cmd_init(&c);
	cmd_begin(&c, 6, after ? "XRANGE" : "XREVRANGE");
	cmd_key(&c, "events", "");
	if (after) {
		char from[48];

		snprintf(from, sizeof(from), "(%s", after);
		cmd_arg(&c, from);
	}
	cmd_arg(&c, "+");
	if (!after)
		cmd_arg(&c, "-");
	cmd_arg(&c, "COUNT");
	cmd_int(&c, limit);
	enum err err = bus_call(b, &c, &r);

	cmd_release(&c);
	if (err)
		return err;
	*out = arena_calloc(a, r->elements, sizeof(**out));
	for (size_t i = 0; i < r->elements; i++) {
		size_t at = after ? i : r->elements - 1 - i;

		if (read_event(a, r->element[at], &(*out)[*n]))
			(*n)++;
	}
	freeReplyObject(r);
	return OK;
}

enum err bus_events_before(struct bus *b, const char *before, int limit, struct arena *a, struct bus_event **out, int *n)
{
	struct cmd c;
	redisReply *r;
	char to[48] = "+";

	*out = NULL;
	*n = 0;
	if (before && !stream_id(before))
		return ERR_VALIDATION;
	/* Nothing comes before the very first id, and Redis takes that for an error. */
	if (before && before[strspn(before, "0-")] == '\0')
		return OK;
	if (before)
		snprintf(to, sizeof(to), "(%s", before);
	cmd_init(&c);
	cmd_begin(&c, 6, "XREVRANGE");
	cmd_key(&c, "events", "");
	cmd_arg(&c, to);
	cmd_arg(&c, "-");
	cmd_arg(&c, "COUNT");
	cmd_int(&c, limit);
	enum err err = bus_call(b, &c, &r);

	cmd_release(&c);
	if (err)
		return err;
	*out = arena_calloc(a, r->elements + 1, sizeof(**out));
	for (size_t i = 0; i < r->elements; i++) {
		if (read_event(a, r->element[i], &(*out)[*n]))
			(*n)++;
	}
	freeReplyObject(r);
	return OK;
}
