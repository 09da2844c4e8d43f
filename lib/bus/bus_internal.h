// SPDX-License-Identifier: MIT
/*
 * What the files of lib/bus share; nobody else includes this.
 *
 * From below to above:
 *   bus_url.c      REDIS_URL to its parts
 *   bus_script.c   the Lua scripts that are built in, and their SHA-1
 *   bus_cmd.c      one or several commands as RESP bytes
 *   bus_link.c     one connection: dial, log in, load the scripts, send, read
 *   bus_call.c     the shared connections: many callers, one pipeline each (flat combining); the circuit
 *   bus_post.c     the backlog and the publisher thread, which also re-dials what broke
 *   bus_batch.c    a batch of posts as one script call
 *   bus_gate.c bus_queue.c bus_agents.c bus_misc.c   the functions of bus.h over bus_call()
 *   bus_listen.c   the subscriber's thread
 *   bus.c          open and close
 */
#ifndef BUS_BUS_INTERNAL_H
#define BUS_BUS_INTERNAL_H

#include <hiredis/hiredis.h>
#include <pthread.h>
#include <stdatomic.h>

#include "bus.h"
#include "bus_url.h"
#include "../base/buf.h"

#define BUS_PREFIX "{mcp}:"
#define BUS_RETRY_MS 200		/* between two tries to reach Redis */
#define BUS_ALIVE_MS 500		/* between two signs of life */
#define BUS_BATCH 256			/* posts in one script call */
#define BUS_BATCH_BYTES ((size_t)1 << 20)	/* …and about this much, so that Redis is never held long */
#define BUS_BACKLOG_BYTES ((size_t)64 << 20)	/* memory the backlog may take */
#define BUS_URGENT_BYTES ((size_t)1 << 20)	/* revocations kept while Redis is away */
#define BUS_TIMEOUT_MS 1000
#define BUS_WINDOWS 4096		/* rate windows a process remembers having made */
#define BUS_SCRIPT_REPLIES 4		/* most commands in one call that begins with a script */
#define BUS_LOG_US 5000000		/* between two log lines of the same trouble */
#define BUS_WHY BUS_TROUBLE

/* --- scripts --------------------------------------------------------------------------------- */

enum bus_script { BS_NONE = -1, BS_RATE, BS_PUBLISH, BS_TAKE, BS_CLEAR, BS_WARM, BS_SUBJECT, BS_ALIVE, BS_DEAD, BS_COUNT };

const char *bus_script_source(enum bus_script s, size_t *n);
const char *bus_script_sha(enum bus_script s);	/* 40 hex digits */

/* --- commands -------------------------------------------------------------------------------- */

/* Commands as they go over the wire. Small ones live in `first` and cost no allocation. */
struct cmd {
	char *p;
	size_t n, cap;
	int replies;		/* commands begun: that many answers come */
	enum bus_script script;	/* the script called, for NOSCRIPT: it comes first, and what follows only reads */
	char first[1000];
};
void cmd_init(struct cmd *c);
void cmd_release(struct cmd *c);
/* Start a command of argc words, name included; then exactly argc words follow. */
void cmd_begin(struct cmd *c, int argc, const char *name);
/* Start EVALSHA with that many keys and further arguments, which follow. */
void cmd_script(struct cmd *c, enum bus_script s, int keys, int args);
void cmd_argn(struct cmd *c, const void *p, size_t n);
void cmd_arg(struct cmd *c, const char *s);
void cmd_int(struct cmd *c, int64_t v);
/* "{mcp}:" + name + rest; and with a decimal number at the end */
void cmd_key(struct cmd *c, const char *name, const char *rest);
void cmd_key_int(struct cmd *c, const char *name, int64_t rest);
/* Raw bytes (commands built elsewhere). */
void cmd_raw(struct cmd *c, const void *p, size_t n);
/* Decimal text of v into out (no NUL); returns its length. */
size_t bus_dec(char out[24], int64_t v);

/* --- one connection ---------------------------------------------------------------------------- */

struct bus_link {
	redisContext *ctx;	/* NULL: closed */
	int timeout_ms;
	uint64_t run;		/* names this run of the Redis server (from its run_id) */
};
/* Dial, AUTH, SELECT, ask run_id; with_scripts: load them all. False: why tells, without secrets. */
bool link_open(struct bus_link *l, const struct bus_url *u, int timeout_ms, bool with_scripts, char why[BUS_WHY]);
void link_close(struct bus_link *l);
bool link_send(struct bus_link *l, const char *p, size_t n, char why[BUS_WHY]);
/* The next reply (the caller frees it) or NULL: broken, or deadline (mono_us) passed. */
redisReply *link_read(struct bus_link *l, int64_t deadline_us, char why[BUS_WHY]);
bool link_load_scripts(struct bus_link *l, char why[BUS_WHY]);
/* For a connection on which nothing is under way: false when the other end has gone. */
bool link_idle_ok(const struct bus_link *l);
int64_t link_deadline(const struct bus_link *l);

/* --- the bus ----------------------------------------------------------------------------------- */

/* One caller's place in a pipeline; lives on the caller's stack. */
struct call {
	struct call *next;
	const struct cmd *cmd;
	redisReply **replies;
	int got;
};

/*
 * A shared connection. Callers join the batch being gathered; its first caller leads it: waits until the
 * batch before is done, closes the gathering, sends all of it with one write, reads all replies, and wakes
 * the others. Batches are numbered from 1; `done` is the last one finished and is what callers sleep on.
 */
struct pipe {
	pthread_mutex_t lock;
	struct call *head, **tail;	/* the batch being gathered */
	uint32_t gathering;		/* its number */
	_Atomic uint32_t done;
	_Atomic bool busy;		/* a batch is under way: a hint */
	_Atomic bool up;
	struct bus_link link;		/* belongs to the leader under way, else to the lock's holder */
	struct cmd out;			/* the leader's: several callers' bytes together */
};

struct post;

struct publisher {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t work;		/* for the thread */
	pthread_cond_t sent;		/* for bus_drain() and bus_open() */
	bool asleep, kick, stop, tried;	/* tried: the first attempt to connect is over */
	int64_t stop_by_us;
	struct post *head, **tail;	/* waiting, oldest first */
	struct post *flight;		/* taken by the thread, not yet acknowledged; the thread's, but see oldest */
	int64_t oldest;			/* seq of the oldest in flight, 0: none */
	size_t bytes;
	int64_t seq, n_waiting, n_flight, dropped;
	struct buf urgent;		/* revocations that Redis has not taken yet, as commands */
	int n_urgent;
	int64_t lost, lost_told;	/* urgent overflowed so often; Redis was made "not warm" for so many of them */
	/* the thread's own: */
	struct bus_link link;
	struct cmd out;
	int64_t batch_no, last_alive_us, last_try_us, next_try_us, pause_us;
	int tries, refusals;		/* of the batch in flight */
};

struct bus {
	struct bus_url url;
	int timeout_ms, n_pipes;
	char proc_id[ID_TEXT];
	_Atomic bool up;
	_Atomic bool unsure;		/* a revocation waits to be sent: this process must not trust Redis' list */
	_Atomic uint64_t run;		/* run of the Redis server as last dialled, 0: none yet */
	pthread_mutex_t state_lock;
	char why[BUS_WHY];		/* of the last failure */
	int64_t away_logged_us, back_logged_us, refusal_logged_us;
	char mark[33];			/* of the rebuild under way (bus_queue_clear), "": none; */
	uint64_t mark_run;		/* and the server's run in which it began */
	_Atomic uint64_t windows[BUS_WINDOWS];	/* hashes; see bus_gate.c */
	struct publisher pub;
	struct pipe *pipes;
};

/*
 * Send c and put its replies (c->replies of them, none an error reply) into replies, to be freed by
 * replies_free(). ERR_UNAVAILABLE: Redis away, broken on the way, or it answered with an error; nothing to free.
 */
enum err bus_call(struct bus *b, struct cmd *c, redisReply **replies) MUST_CHECK;
/* For commands with one reply that says nothing but OK. */
enum err bus_call_ok(struct bus *b, struct cmd *c) MUST_CHECK;
void replies_free(redisReply **replies, int n);
int64_t reply_int(const redisReply *r);	/* integers, and strings that are one; else 0 */
bool reply_error_is(const redisReply *r, const char *code);
/* An error that means that this server, or this login, is of no use now: dial again. */
bool reply_fatal(const redisReply *r);

void pipe_init(struct pipe *p);
void pipe_release(struct pipe *p);
/* Re-dial what is broken, of the shared connections; true: all are up. */
bool pipes_keep(struct bus *b);
/* Remember why, open the circuit, log the change (a flapping server: now and then). */
void bus_down(struct bus *b, const char *why);
/* Remember and log, now and then, that Redis answers with an error. */
void bus_refused(struct bus *b, const char *why);
void bus_run_text(uint64_t run, char out[17]);
bool bus_reply_warm(const struct bus *b, const redisReply *r);	/* r: the value of {mcp}:warm */

/* Publisher */
bool publisher_start(struct bus *b);
void publisher_stop(struct bus *b);	/* sends what is left, up to 2 s */
void publisher_kick(struct bus *b);
/* Keep these commands until Redis has taken them (they must stand being repeated). */
void publisher_urgent(struct bus *b, const struct cmd *c);

/* A post as it is kept; texts follow it in the same allocation. */
struct post {
	struct post *next;
	int64_t seq;
	size_t bytes;
	int64_t lane, order_key, lease_until;
	const char *event, *task_id, *lane_sig, *agent_id, *wake, *run, *run_status;	/* NULL when none */
	size_t event_n;
	double run_progress;
	int run_stage;
	bool run_over;
	enum bus_queue_op op;
};
struct post *post_new(const struct bus_post *p);
/* The script call for a list of at most BUS_BATCH posts. */
void batch_build(struct cmd *out, const struct post *posts, const char *proc_id, int64_t batch_no, bool again);

#endif
