// SPDX-License-Identifier: MIT
#include "events.h"

#include "../lib/base/clock.h"
#include "../lib/base/limits.h"
#include "../lib/base/log.h"
#include "agents.h"
#include "channels.h"
#include "msg.h"
#include "redis.h"
#include "relay.h"
#include "seek.h"

#define STREAM "{mcp}:events"
#define PAGE 500

static struct {
	struct event *ring[LIMIT_WS_RECENT];
	uint64_t next;			/* number of the next event, from 1 */
	struct event_id last;
	char last_text[48];
	bool known;			/* last is a real id */
	bool was_up;
	bool catching;			/* reading what was missed */
	int pages;
	struct event **held;		/* heard while catching up */
	int n_held, room;
} ev = { .next = 1, .last_text = "0-0" };

/* --- the order of arrival ------------------------------------------------------------------------------------------- */

uint64_t events_next(void)
{
	return ev.next;
}

struct event *events_kept(uint64_t seq)
{
	struct event *e = seq ? ev.ring[seq % LIMIT_WS_RECENT] : NULL;

	return e && e->seq == seq ? e : NULL;
}

const char *events_last(void)
{
	return ev.last_text;
}

static void remember(struct event_id id)
{
	ev.last = id;
	ev.known = true;
	snprintf(ev.last_text, sizeof(ev.last_text), "%llu-%llu", (unsigned long long)id.ms, (unsigned long long)id.n);
}

/* Takes over the reference. */
static void dispatch(struct event *e)
{
	struct event **place = &ev.ring[ev.next % LIMIT_WS_RECENT];

	e->seq = ev.next++;
	event_unref(*place);
	*place = e;
	remember(e->id);
	relay.count.events++;
	channels_tell(e);
	agents_event(e);
}

static void caught_up(bool whole);

/* Somebody else writes to our channel, or a program of another version. */
static void unreadable(void)
{
	static int64_t logged_us;
	int64_t now = mono_us();

	if (now - logged_us > 5000000 || !logged_us) {
		logged_us = now;
		log_warn("an event from Redis cannot be read and is passed over");
	}
}

void events_heard(const char *envelope, size_t n)
{
	struct event *e = event_read(envelope, n);

	if (!e) {
		unreadable();
		return;
	}
	if (!ev.catching) {
		dispatch(e);
		return;
	}
	if (ev.n_held == ev.room) {
		ev.room = ev.room ? ev.room * 2 : 64;
		ev.held = xrealloc(ev.held, (size_t)ev.room * sizeof(*ev.held));
	}
	ev.held[ev.n_held++] = e;
	if (ev.n_held >= LIMIT_WS_RECENT)
		caught_up(false);	/* the answer is too long in coming */
}

static void drop_held(void)
{
	for (int i = 0; i < ev.n_held; i++)
		event_unref(ev.held[i]);
	ev.n_held = 0;
}

/* --- the stream ------------------------------------------------------------------------------------------------------ */

struct reading {
	stream_done *fn;
	void *cookie;
	struct stream_page page;
	struct event_id after;
	int limit;
};

static void read_events(struct reading *r, const redisReply *reply)
{
	r->page.events = xcalloc(reply->elements + 1, sizeof(*r->page.events));
	for (size_t i = 0; i < reply->elements; i++) {
		const redisReply *item = reply->element[i];

		if (item->type != REDIS_REPLY_ARRAY || item->elements != 2 || item->element[1]->elements != 2)
			continue;
		struct event *e = event_from_stream(item->element[0]->str, item->element[1]->element[1]->str,
						    item->element[1]->element[1]->len);

		if (e)
			r->page.events[r->page.n++] = e;
		else
			unreadable();
	}
}

static void on_page(void *arg, const redisReply *reply)
{
	struct reading *r = arg;

	if (!reply || reply->type != REDIS_REPLY_ARRAY)
		r->page.n = -1;
	else
		read_events(r, reply);
	r->fn(r->cookie, &r->page);
	free(r->page.events);
	free(r);
}

static void ask_page(struct reading *r)
{
	char from[48];
	char count[16];
	const char *argv[] = { "XRANGE", STREAM, from, "+", "COUNT", count };

	snprintf(from, sizeof(from), "(%llu-%llu", (unsigned long long)r->after.ms, (unsigned long long)r->after.n);
	snprintf(count, sizeof(count), "%d", r->limit);
	redis_ask(on_page, r, 6, argv);
}

static void on_first(void *arg, const redisReply *reply)
{
	struct reading *r = arg;

	if (!reply || reply->type != REDIS_REPLY_ARRAY) {
		on_page(r, NULL);
		return;
	}
	r->page.has_first = true;
	r->page.first = (struct event_id){ UINT64_MAX, 0 };
	if (reply->elements == 1 && reply->element[0]->elements == 2)
		event_id_parse(reply->element[0]->element[0]->str, &r->page.first);
	ask_page(r);
}

void events_read_stream(struct event_id after, int limit, bool want_first, stream_done *fn, void *cookie)
{
	static const char *first[] = { "XRANGE", STREAM, "-", "+", "COUNT", "1" };
	struct reading *r = xcalloc(1, sizeof(*r));

	*r = (struct reading){ .fn = fn, .cookie = cookie, .after = after, .limit = limit };
	if (want_first)
		redis_ask(on_first, r, 6, first);
	else
		ask_page(r);
}

/* --- after a loss ----------------------------------------------------------------------------------------------------- */

static void caught_up(bool whole)
{
	ev.catching = false;
	for (int i = 0; i < ev.n_held; i++) {
		if (!ev.known || event_id_cmp(ev.held[i]->id, ev.last) > 0)
			dispatch(ev.held[i]);
		else
			event_unref(ev.held[i]);
	}
	ev.n_held = 0;
	channels_redis(true);
	if (!whole)
		channels_resync("redis_lost");
	seek_wake_all();
}

static void on_missed(void *cookie, struct stream_page *p)
{
	(void)cookie;
	if (!ev.catching || p->n < 0) {
		for (int i = 0; i < p->n; i++)
			event_unref(p->events[i]);
		if (ev.catching && redis_up())
			caught_up(false);
		return;
	}
	bool whole = !p->has_first || event_id_cmp(p->first, ev.last) <= 0;

	for (int i = 0; i < p->n; i++)
		dispatch(p->events[i]);
	if (!whole || p->n < PAGE || ++ev.pages * PAGE > LIMIT_WS_REPLAY) {
		caught_up(whole && p->n < PAGE);
		return;
	}
	drop_held();
	events_read_stream(ev.last, PAGE, false, on_missed, NULL);
}

static void on_last(void *arg, const redisReply *reply)
{
	struct event_id id;

	(void)arg;
	if (!ev.known && reply && reply->type == REDIS_REPLY_ARRAY && reply->elements == 1 &&
	    event_id_parse(reply->element[0]->element[0]->str, &id))
		remember(id);
}

void events_up(void)
{
	static const char *last[] = { "XREVRANGE", STREAM, "+", "-", "COUNT", "1" };

	if (!ev.known) {
		/* Lost before the first event: what came meanwhile cannot be told from what was there before. */
		if (ev.was_up)
			channels_resync("redis_lost");
		ev.was_up = true;
		redis_ask(on_last, NULL, 6, last);
		channels_redis(true);
		seek_wake_all();
		return;
	}
	ev.catching = true;
	ev.pages = 0;
	events_read_stream(ev.last, PAGE, true, on_missed, NULL);
}

void events_down(void)
{
	ev.catching = false;
	drop_held();
	channels_redis(false);
}

void events_stop(void)
{
	drop_held();
	free(ev.held);
	for (int i = 0; i < LIMIT_WS_RECENT; i++) {
		event_unref(ev.ring[i]);
		ev.ring[i] = NULL;
	}
}
