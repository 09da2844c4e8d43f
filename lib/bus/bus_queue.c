// SPDX-License-Identifier: MIT
#include "bus_internal.h"

#define FILL_CHUNK 1000		/* items in one round trip: other callers share the connection */

enum err bus_lanes(struct bus *b, struct arena *a, struct bus_lane **out, int *n)
{
	struct cmd c;
	redisReply *r;

	*out = NULL;
	*n = 0;
	cmd_init(&c);
	cmd_begin(&c, 2, "HGETALL");
	cmd_key(&c, "tasks:lanes", "");
	enum err err = bus_call(b, &c, &r);

	cmd_release(&c);
	if (err)
		return err;
	*out = arena_calloc(a, r->elements / 2, sizeof(**out));
	for (size_t i = 0; i + 1 < r->elements; i += 2) {
		struct bus_lane *lane = &(*out)[(*n)++];

		lane->lane = reply_int(r->element[i]);
		lane->sig = arena_strndup(a, r->element[i + 1]->str, r->element[i + 1]->len);
	}
	freeReplyObject(r);
	return OK;
}

enum err bus_queue_take(struct bus *b, const int64_t *lanes, int n_lanes, int max, char (*ids)[ID_TEXT], int *n)
{
	struct cmd c;
	redisReply *r;
	char run[17];

	*n = 0;
	if (n_lanes <= 0 || max <= 0)
		return OK;
	bus_run_text(b->run, run);
	cmd_init(&c);
	cmd_script(&c, BS_TAKE, 2, 3 + n_lanes);
	cmd_key(&c, "warm", "");
	cmd_key(&c, "tasks:lanes", "");
	cmd_int(&c, max);
	cmd_arg(&c, run);
	cmd_key(&c, "tasks:pending:", "");
	for (int i = 0; i < n_lanes; i++)
		cmd_int(&c, lanes[i]);
	enum err err = bus_call(b, &c, &r);

	cmd_release(&c);
	if (err)
		return err;
	if (r->type != REDIS_REPLY_ARRAY)
		err = ERR_UNAVAILABLE;	/* not warm */
	for (size_t i = 0; !err && i < r->elements && *n < max; i++) {
		if (r->element[i]->len == ID_LEN)
			memcpy(ids[(*n)++], r->element[i]->str, ID_TEXT);
	}
	freeReplyObject(r);
	return err;
}

static int by_lane(const void *a, const void *b)
{
	const struct bus_queue_item *const *x = a;
	const struct bus_queue_item *const *y = b;

	return ((*x)->lane > (*y)->lane) - ((*x)->lane < (*y)->lane);
}

/* One lane's items, items[0..n) */
static void fill_lane(struct cmd *c, const struct bus_queue_item *const *items, int n)
{
	cmd_begin(c, 2 + 2 * n, "ZADD");
	cmd_key_int(c, "tasks:pending:", items[0]->lane);
	for (int i = 0; i < n; i++) {
		cmd_int(c, items[i]->order_key);
		cmd_arg(c, items[i]->id);
	}
	cmd_begin(c, 4, "HSET");
	cmd_key(c, "tasks:lanes", "");
	cmd_int(c, items[0]->lane);
	cmd_arg(c, items[0]->lane_sig ? items[0]->lane_sig : "");
}

static enum err fill_some(struct bus *b, const struct bus_queue_item *const *items, int n)
{
	redisReply *replies[2 * FILL_CHUNK];
	struct cmd c;

	cmd_init(&c);
	for (int i = 0, to; i < n; i = to) {
		for (to = i + 1; to < n && items[to]->lane == items[i]->lane; to++)
			;
		fill_lane(&c, items + i, to - i);
	}
	int sent = c.replies;
	enum err err = bus_call(b, &c, replies);

	if (!err)
		replies_free(replies, sent);
	cmd_release(&c);
	return err;
}

enum err bus_queue_fill(struct bus *b, const struct bus_queue_item *items, int n)
{
	enum err err = OK;

	if (n <= 0)
		return OK;
	const struct bus_queue_item **sorted = xcalloc((size_t)n, sizeof(*sorted));

	for (int i = 0; i < n; i++)
		sorted[i] = &items[i];
	qsort(sorted, (size_t)n, sizeof(*sorted), by_lane);
	for (int i = 0; i < n && !err; i += FILL_CHUNK)
		err = fill_some(b, sorted + i, n - i < FILL_CHUNK ? n - i : FILL_CHUNK);
	free(sorted);
	return err;
}

enum err bus_queue_clear(struct bus *b)
{
	struct cmd c;
	uint8_t raw[16];
	char mark[33];

	random_bytes(raw, sizeof(raw));
	hex_encode(raw, sizeof(raw), mark);
	pthread_mutex_lock(&b->state_lock);
	memcpy(b->mark, mark, sizeof(mark));
	b->mark_run = b->run;
	pthread_mutex_unlock(&b->state_lock);
	cmd_init(&c);
	cmd_script(&c, BS_CLEAR, 5, 3);
	cmd_key(&c, "warm", "");
	cmd_key(&c, "rebuild", "");
	cmd_key(&c, "tasks:lanes", "");
	cmd_key(&c, "tasks:running", "");
	cmd_key(&c, "agents:active", "");
	cmd_arg(&c, mark);
	cmd_key(&c, "tasks:pending:", "");
	cmd_key(&c, "tasks:assigned:", "");
	return bus_call_ok(b, &c);
}

enum err bus_is_warm(struct bus *b, bool *warm)
{
	struct cmd c;
	redisReply *r;

	*warm = false;
	cmd_init(&c);
	cmd_begin(&c, 2, "GET");
	cmd_key(&c, "warm", "");
	enum err err = bus_call(b, &c, &r);

	cmd_release(&c);
	if (err)
		return err;
	*warm = bus_reply_warm(b, r);
	freeReplyObject(r);
	return OK;
}

enum err bus_set_warm(struct bus *b)
{
	struct cmd c;
	redisReply *r;
	char run[17];
	char mark[33];

	/* The run in which the rebuild began: had Redis restarted since, its new run must not count as warm. */
	pthread_mutex_lock(&b->state_lock);
	memcpy(mark, b->mark, sizeof(mark));
	uint64_t of_run = mark[0] ? b->mark_run : b->run;

	b->mark[0] = '\0';
	pthread_mutex_unlock(&b->state_lock);
	if (of_run != b->run)
		return ERR_CONFLICT;
	bus_run_text(of_run, run);
	cmd_init(&c);
	cmd_script(&c, BS_WARM, 2, 2);
	cmd_key(&c, "warm", "");
	cmd_key(&c, "rebuild", "");
	cmd_arg(&c, run);
	cmd_arg(&c, mark);
	enum err err = bus_call(b, &c, &r);

	cmd_release(&c);
	if (err)
		return err;
	bool done = reply_int(r) == 1;

	freeReplyObject(r);
	return done ? OK : ERR_CONFLICT;
}
