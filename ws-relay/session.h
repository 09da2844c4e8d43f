// SPDX-License-Identifier: MIT
/*
 * A session is one peer's line to the relay, whatever it travels over: a WebSocket, an Engine.IO session (long polling,
 * WebSocket, or first one and then the other), or a stream of server-sent events. It owns the queue of what goes out.
 *
 * A queue is bounded (limits.h). When it is full the peer is too slow: what waits is dropped, the peer is told so with
 * close code 4431, and nobody else notices. Queues that got something are emptied at the end of the loop's turn, so
 * that what arrived together leaves together. When a crowd gets events faster than every CROWD_GAP, the next round
 * waits until the gap is over: the system call a client costs far more than the bytes it carries. Answers never wait.
 *
 * A client is who speaks over a session: one on a plain socket or an event stream, one a namespace on Socket.IO. It has the
 * identity, the subscriptions and, if it is an agent, the tasks.
 */
#ifndef RELAY_SESSION_H
#define RELAY_SESSION_H

#include "../lib/base/id.h"
#include "../lib/net/netmatch.h"
#include "auth.h"
#include "msg.h"
#include "relay.h"

struct lws;
struct conn;
struct eio;
struct sub;
struct job;
struct hands;

enum session_kind { SESSION_PLAIN, SESSION_EIO, SESSION_SSE };
enum nsp { NSP_ROOT, NSP_AGENTS, NSP_MCP, NSP_COUNT, NSP_NONE = NSP_COUNT };	/* NSP_NONE: not Socket.IO */

#define TOLD_DIALECTS 3	/* events.h's DIALECTS */

struct session {
	struct session *next, *prev;
	enum session_kind kind;
	struct conn *conn;		/* takes what we say now; NULL: an Engine.IO session between two polls */
	struct eio *eio;		/* SESSION_EIO */
	struct client *clients;
	struct queue q;
	struct session *next_dirty, *next_crowd;
	bool dirty, in_crowd, choked, closing, dead, served;	/* served: had its first authentication */
	int64_t auth_by_us;		/* 0: somebody has been let in */
	int64_t ping_us, heard_us;	/* next ping; last sign of life */
	int64_t close_by_us;		/* closing: the connection is cut then */
	double tokens;			/* messages it may still send at once */
	int64_t tokens_us;
	struct buf in;			/* a message that is not whole yet */
	char address[IP_TEXT];
};

struct client {
	struct client *next;		/* of the session */
	struct session *s;
	enum nsp nsp;
	char id[ID_TEXT];		/* of the session, as clients are told */
	struct identity *who;		/* NULL: not authenticated yet */
	struct client *next_same, *prev_same;	/* of the identity */
	struct sub *subs;
	int n_subs;
	struct job *jobs;		/* requests under way */
	int n_jobs;
	struct hands *hands;		/* takes tasks */
	bool asking;			/* a credential is being looked at */
	uint64_t told[TOLD_DIALECTS];		/* number of the last event handed over, by dialect: none comes twice */
	char *channel;			/* path channel to subscribe to once authenticated; NULL: none */
	char *channel_task;
	int slots;			/* tasks an agent takes at once; 0: not said */
	bool idle;			/* an agent that does not want tasks */
	struct buf early;		/* plain messages that came before it was let in, each with its length before it */
};

/* strangers_room(address) was asked before. */
struct session *session_new(enum session_kind kind, const char *address);
/* The last word: unlinks it, its clients and its queue. conn must be detached. */
void session_free(struct session *s);

/* Queue a message; takes over the reference. */
void session_send(struct session *s, struct msg *m);
/* The same for an event that many get: it may wait a few milliseconds for the next one to go along with. */
void session_send_event(struct session *s, struct msg *m);
/* Say goodbye after what is queued. */
void session_close(struct session *s, int code, const char *reason);
/* Cut the line at once. */
void session_kill(struct session *s);
/* The socket takes more; called from libwebsockets' callback. Nonzero: close it now. */
int session_writable(struct session *s);
/* Count an incoming message; false: too many, the session is being closed. */
bool session_may_speak(struct session *s);
/* The largest message it may send: little before it is known who it is. Bytes. */
size_t session_largest(const struct session *s);
/* Somebody has been let in; or nobody is left, and a few seconds are given once more. */
void session_known(struct session *s);
void session_unknown(struct session *s);
/* A sign of life. */
void session_heard(struct session *s);
/* To flush at the end of the turn. */
void session_mark(struct session *s);
void sessions_flush(void);
void sessions_tick(void);
void sessions_stop(void);
void sessions_each(void (*fn)(struct session *s, void *arg), void *arg);
int sessions_count(void);

/* A client of this session; it is freed with it. */
struct client *client_new(struct session *s, enum nsp nsp);
void client_free(struct client *c);

#endif
