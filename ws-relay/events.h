// SPDX-License-Identifier: MIT
/*
 * Events as they come from Redis: read once, numbered in the order of arrival, and kept for a while, so that a
 * subscription which waits for its first state misses nothing that happens meanwhile.
 *
 * When the connection to Redis was lost, what was published meanwhile is read from the stream and told late. When the
 * stream does not reach back that far (Redis came back empty), clients are told to fetch their state again: "resync".
 */
#ifndef RELAY_EVENTS_H
#define RELAY_EVENTS_H

#include <stdbool.h>
#include <stdint.h>
#include "../lib/auth/roles.h"
#include "../lib/base/json.h"
#include "../lib/store/records.h"

enum channel { CH_TASKS, CH_AGENTS, CH_PIPELINES, CH_SYSTEM, CH_ALL, CHANNELS };
enum dialect { SAY_ENVELOPE, SAY_OLDER, SAY_NAMED, DIALECTS };
/* Where a message goes: a plain socket, an event stream, or a Socket.IO namespace. */
enum outlet { OUT_PLAIN, OUT_SSE, OUT_NSP, OUTLETS = OUT_NSP + 3 };

struct event_id {
	uint64_t ms, n;
};

struct event {
	uint32_t refs;
	uint64_t seq;			/* order of arrival, from 1; 0: read from the stream for one client */
	struct event_id id;
	unsigned channels;		/* bits of enum channel */
	perms_t need;			/* who does not hold this never sees it */
	enum data_class class;
	bool task;			/* about a task: who sees only their own gets it if agent_id is theirs */
	signed char bare;		/* stripped differs from whole: 1, -1 no, 0 not known yet */
	const char *id_text, *type, *timestamp;
	const char *task_id, *execution_id, *pipeline_id, *agent_id, *status;	/* NULL: none */
	const struct jv *data;
	const char *text;		/* the envelope */
	size_t text_len;
	struct arena arena;
	struct msg *said[DIALECTS][OUTLETS][2];
};

/* From an envelope; NULL when it is none. One reference. */
struct event *event_read(const char *envelope, size_t n);
/* From the stream's id and what stands behind it. */
struct event *event_from_stream(const char *id, const char *rest, size_t n);
void event_unref(struct event *e);

bool event_id_parse(const char *text, struct event_id *out);	/* "ms-n" or "ms" */
int event_id_cmp(struct event_id a, struct event_id b);

/* Number the next event will have. */
uint64_t events_next(void);
/* Kept events by number; NULL: gone already, or not there yet. */
struct event *events_kept(uint64_t seq);
/* Id of the last event known, "0-0" when none is. */
const char *events_last(void);

/* redis.h's ears */
void events_heard(const char *envelope, size_t n);
void events_up(void);
void events_down(void);
void events_stop(void);

/*
 * Read the stream behind `after`, at most `limit` events. fn is called once: with the events (its to unref), or with n < 0
 * when Redis was not reached. *first is the oldest id that is kept, in page 1; cookie is passed through.
 */
struct stream_page {
	struct event **events;
	int n;
	bool has_first;			/* the stream's oldest id was asked for, and is: */
	struct event_id first;
};
typedef void stream_done(void *cookie, struct stream_page *page);
void events_read_stream(struct event_id after, int limit, bool want_first, stream_done *fn, void *cookie);

#endif
