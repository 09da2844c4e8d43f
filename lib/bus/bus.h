// SPDX-License-Identifier: MIT
/*
 * The bus: everything that is fast and may vanish. Redis holds the priority queue, indexes, heartbeats,
 * rate-limit counters, the event stream and pub/sub; all of it can be rebuilt from the store.
 *
 * How it thinks:
 *  - One struct bus a process. Threads share a few connections; whoever calls while a round trip is under
 *    way has its command sent in the next pipeline, so many callers cost few system calls.
 *  - After the store's write the domain calls bus_post(): events and queue changes are handed to a publisher
 *    thread that sends them in batches (one script call each), in order, and keeps them until Redis has
 *    taken them (bounded: then the oldest events are dropped and counted; queue changes are healed by the
 *    sweep). bus_post() never blocks on the network.
 *  - When Redis is down calls return ERR_UNAVAILABLE at once (a circuit that tries again every 200 ms in
 *    the background), so that callers take their fallback without waiting.
 *  - Multi-step changes are Lua scripts in lib/bus/lua/, loaded by SHA; NOSCRIPT reloads by itself. Every key
 *    starts "{mcp}:" and so lies in one slot.
 *  - "Warm": the key {mcp}:warm holds the run of the Redis server that runs now (the start of its run_id). A
 *    Redis that came back empty has no such key; one that restarted or was failed over has another run, and may
 *    have lost its last writes, AOF or not. Then queue answers and the list of revocations mean nothing until the
 *    scheduler has rebuilt them and set the key (bus_set_warm).
 *  - A revocation that Redis does not take is kept and sent before anything else when it is back; until then the
 *    gate of this process says "not warm".
 *
 * Keys (after the documents' names):
 *   {mcp}:tasks:lanes                 hash lane (decimal) -> lane signature: lanes that may have queued tasks
 *   {mcp}:tasks:pending:<lane>        zset task id by order_key: the claim queue of a lane
 *   {mcp}:tasks:running               zset task id by lease expiry
 *   {mcp}:tasks:assigned:<agent>      set of task ids
 *   {mcp}:agents:active               zset agent id by last heartbeat (ms)
 *   {mcp}:agents:capabilities:<cap>   set of agent ids
 *   {mcp}:agents:status:<agent>       hash: beat, status, load, resources, metrics
 *   {mcp}:pipeline:<execution>:progress   hash: status, progress, current_stage; 1 day after the end it expires
 *   {mcp}:subject:<id>                string "<cutoff> <rev>": cutoff (s; tokens issued before are dead), rev (of
 *                                     its record). A string, so that the gate reads all its keys by one MGET
 *   {mcp}:revoked:<jti>               string with expiry
 *   {mcp}:rate:<class>:<caller>:<w>   counter of 60 s window w; expires
 *   {mcp}:events                      stream, capped at about BUS_STREAM_MAX; its one field e holds the envelope
 *                                     from behind the id
 *   {mcp}:procs                       zset process id by last sign of life (ms)
 *   {mcp}:pub:<process>               number of its last batch of posts: one that is sent twice counts once
 *   {mcp}:rebuild                     mark of the rebuild under way
 *   {mcp}:warm                        string
 * Channels: {mcp}:events (envelope JSON), {mcp}:wake (see bus_listen).
 */
#ifndef BUS_BUS_H
#define BUS_BUS_H

#include <stdbool.h>
#include <stdint.h>
#include "../base/error.h"
#include "../base/id.h"

#define BUS_STREAM_MAX 100000
#define BUS_BACKLOG_MAX 200000	/* posts kept while Redis is away */

struct bus;

struct bus_options {
	const char *url;		/* redis://[user:pass@]host:port/db, unix:///path[?db=N], redis+unix:// */
	const char *proc_id;		/* unique id of this process run (UUID) */
	int connections;		/* shared request connections; 0: 2 */
	int timeout_ms;			/* a call gives up after this; 0: 1,000 */
};

/* Never fails for Redis being away (it connects in the background). ERR_VALIDATION: bad URL; `rediss` is
 * refused with a message that says to use stunnel. Call after fork. */
enum err bus_open(const struct bus_options *o, struct bus **out, struct error *e) MUST_CHECK;
/* Sends what is posted (up to 2 s), then closes. NULL is fine. */
void bus_close(struct bus *b);
bool bus_up(const struct bus *b);	/* as of the last try */
#define BUS_TROUBLE 160
/* The last thing that went wrong, for logs and /health details; "" when nothing ever did. No secrets in it. */
void bus_trouble(struct bus *b, char out[BUS_TROUBLE]);
enum err bus_ping(struct bus *b, int64_t *latency_us) MUST_CHECK;

/* --- the request gate: one round trip ----------------------------------------------------------- */

struct gate {
	/* in */
	const char *jti;		/* NULL: no token (API key, anonymous) */
	const char *subject;		/* id of agent, user or key; NULL: none */
	const char *rate_key;		/* "<class>:<caller>" or NULL: not limited */
	int64_t limit;			/* requests in 60 s; 0: not limited */
	int cost;			/* how much this request counts, ≥ 1 (batch: number of tasks) */
	/* out */
	bool warm;			/* revocations are known to be complete; when false ask the store */
	bool revoked;			/* the jti is on the list */
	int64_t cutoff;			/* s since the epoch, 0: none */
	int64_t subject_rev;		/* 0: not known */
	bool limited;			/* over the limit; a cost above 1 was not counted at all */
	int64_t remaining;		/* in this window */
	int reset_s;			/* seconds until the window ends */
};
enum err bus_gate(struct bus *b, struct gate *g) MUST_CHECK;
/* Count a failure (auth by address/account) and tell the count within the 60 s window. */
enum err bus_count(struct bus *b, const char *rate_key, int64_t *count, int *reset_s) MUST_CHECK;
enum err bus_peek(struct bus *b, const char *rate_key, int64_t *count, int *reset_s) MUST_CHECK;

/*
 * Make revocations and subject facts known; called after the store's write. ttl in seconds. ERR_UNAVAILABLE: Redis
 * does not have it yet; it is sent as soon as Redis is back, so there is nothing for the caller to do.
 */
enum err bus_revoke(struct bus *b, const char *jti, int64_t ttl_s) MUST_CHECK;
enum err bus_subject(struct bus *b, const char *subject, int64_t cutoff, int64_t rev) MUST_CHECK;

/* --- posting: after the store's write --------------------------------------------------------- */

enum bus_queue_op { BQ_NONE, BQ_ADD, BQ_REMOVE, BQ_LEASE, BQ_END };

struct bus_post {
	/* event; type NULL: none */
	const char *type;		/* "task.created" */
	const char *data;		/* JSON object text */
	int64_t at;			/* ms */
	/* queue */
	enum bus_queue_op op;		/* ADD: pending+wake · REMOVE: out of pending · LEASE: out of pending, into
					   running and assigned:<agent> · END: out of all */
	const char *task_id;
	int64_t lane;
	const char *lane_sig;		/* with ADD */
	int64_t order_key;		/* with ADD */
	const char *agent_id;		/* with LEASE, END; with ADD after a lease: whose it was */
	int64_t lease_until;		/* with LEASE */
	/* a word on the wake channel beside ADD's own: "x <execution>" ended, "s" scheduler look, … NULL: none */
	const char *wake;
	/* an execution's progress, to be read from the cache; id NULL: none */
	struct {
		const char *id, *status;
		double progress;	/* 0–1 */
		int current_stage;
		bool over;		/* it is forgotten a day later */
	} run;
};
/* Copies what it needs. n posts keep their order. Thread-safe; never blocks on the network. */
void bus_post(struct bus *b, const struct bus_post *posts, int n);
/* Wait until everything posted so far is sent (or timeout_ms). False: not all. */
bool bus_drain(struct bus *b, int timeout_ms);
/* For /health and metrics. */
struct bus_stats {
	int64_t backlog, dropped, posted;	/* waiting now; given up and handed in since the start */
};
void bus_stats(const struct bus *b, struct bus_stats *out);

/* --- queue -------------------------------------------------------------------------------------- */

/* Lanes that may have queued tasks. */
struct bus_lane {
	int64_t lane;
	const char *sig;
};
enum err bus_lanes(struct bus *b, struct arena *a, struct bus_lane **out, int *n) MUST_CHECK;
/*
 * Take up to max ids from these lanes, smallest order_key first over all of them; they are removed from the
 * queue. ERR_UNAVAILABLE also when not warm. What is taken and not claimed in the store (a crash between)
 * is found again by the store's own ordered claim, which callers ask whenever the queue gives too few.
 */
enum err bus_queue_take(struct bus *b, const int64_t *lanes, int n_lanes, int max, char (*ids)[ID_TEXT], int *n)
	MUST_CHECK;
/* Put many back in one go (rebuild); does not wake. */
struct bus_queue_item {
	char id[ID_TEXT];
	int64_t lane, order_key;
	const char *lane_sig;
};
enum err bus_queue_fill(struct bus *b, const struct bus_queue_item *items, int n) MUST_CHECK;
/* Empties the queue and takes "warm" away: a rebuild is clear, fill…, revocations and subjects, set_warm. */
enum err bus_queue_clear(struct bus *b) MUST_CHECK;
enum err bus_is_warm(struct bus *b, bool *warm) MUST_CHECK;
/* ERR_CONFLICT: Redis was restarted, emptied or cleared by another since bus_queue_clear(): begin again. */
enum err bus_set_warm(struct bus *b) MUST_CHECK;

/* --- agents ------------------------------------------------------------------------------------- */

struct beat {
	char agent_id[ID_TEXT];
	int64_t at;			/* ms, 0: none known */
	const char *status;		/* as the agent said: active, busy, error, … NULL */
	double load;			/* 0–1, -1 unknown */
	const char *resources, *metrics;	/* JSON or NULL */
};
/* before: what was known until now, in a's memory; NULL: does not matter. One round trip. */
enum err bus_beat(struct bus *b, const struct beat *beat, struct arena *a, struct beat *before) MUST_CHECK;
/* out[i] matches ids[i]; at = 0 where none is known. */
enum err bus_beats(struct bus *b, const char *const *ids, int n, struct arena *a, struct beat *out) MUST_CHECK;
/* Agents whose last beat is older than before_ms / newer than since_ms; at most limit. */
enum err bus_beats_stale(struct bus *b, int64_t before_ms, int limit, struct arena *a, struct beat **out, int *n)
	MUST_CHECK;
enum err bus_beats_since(struct bus *b, int64_t since_ms, int limit, struct arena *a, struct beat **out, int *n)
	MUST_CHECK;
enum err bus_agent_forget(struct bus *b, const char *agent_id) MUST_CHECK;
/* Replace the agent's membership in the capability index. */
enum err bus_agent_index(struct bus *b, const char *agent_id, const char *const *old_caps, int n_old,
			 const char *const *caps, int n) MUST_CHECK;

/* --- cache, presence ------------------------------------------------------------------------------- */

/* *value NULL when absent. Keys are given without the {mcp}: prefix. */
enum err bus_cache_get(struct bus *b, const char *key, struct arena *a, const char **value) MUST_CHECK;
enum err bus_cache_set(struct bus *b, const char *key, const char *value, int ttl_s) MUST_CHECK;
enum err bus_cache_del(struct bus *b, const char *key) MUST_CHECK;

/* Sign of life of this process, sent by the publisher thread every 500 ms while Redis is up. */
/* Processes whose sign is older than older_ms, with when it was last seen; removes them from the list. */
struct bus_proc {
	char id[ID_TEXT];
	int64_t last_seen;
};
enum err bus_procs_dead(struct bus *b, int64_t older_ms, struct arena *a, struct bus_proc **out, int *n)
	MUST_CHECK;
/* A clean exit takes the process off the list (bus_close does it). */

/* --- events -------------------------------------------------------------------------------------- */

struct bus_event {
	const char *id;			/* stream id, "1700000000000-0" */
	const char *envelope;		/* JSON {"id","type","timestamp","data"} */
};
/* Events after that id (NULL: the last `limit` ones), oldest first. */
enum err bus_events(struct bus *b, const char *after, int limit, struct arena *a, struct bus_event **out, int *n)
	MUST_CHECK;

/*
 * Listen to {mcp}:wake on a connection and thread of its own. cb runs on that thread, with the message:
 *   "t <lane> <count>"  tasks became claimable in that lane
 *   "x <execution_id>"  the execution ended
 *   "d <agent_id>"      the agent drains: its waiting claims end
 *   "s"                 the scheduler should look
 *   "a"                 an agent came, went or changed
 *   "up" / "down"       (not from Redis) the connection came back / was lost: what happened between is unknown
 * bus_listen_stop joins the thread.
 */
typedef void bus_listener(void *arg, const char *message);
struct bus_listen;
enum err bus_listen(const struct bus_options *o, bus_listener *cb, void *arg, struct bus_listen **out,
		    struct error *e) MUST_CHECK;
void bus_listen_stop(struct bus_listen *l);

#endif
