// SPDX-License-Identifier: MIT
#include "session.h"

#include <libwebsockets.h>
#include <sys/socket.h>

#include "../lib/base/clock.h"
#include "../lib/base/limits.h"
#include "../lib/base/log.h"
#include "agents.h"
#include "channels.h"
#include "client.h"
#include "engineio.h"
#include "http.h"
#include "strangers.h"

#define CROWD 64			/* clients that make a crowd */
#define CROWD_GAP_US 8000	/* between two rounds of a crowd */
#define SCRATCH 65536
#define SHARE 262144		/* bytes one session may send in a turn */
#define CLOSE_GRACE_US 3000000

static struct {
	struct session *head, *dirty, *crowd;
	int n, n_crowd;
	int64_t crowd_us;		/* when the last crowd was served */
	uv_timer_t later;
	bool has_timer;
	unsigned char scratch[LWS_PRE + SCRATCH];
} all;

void session_known(struct session *s)
{
	if (s->auth_by_us)
		strangers_remove(s->address);
	s->auth_by_us = 0;
}

void session_unknown(struct session *s)
{
	if (s->auth_by_us)
		return;
	s->auth_by_us = mono_us() + LIMIT_WS_AUTH_S * 1000000LL;
	strangers_add(s->address);
}

struct session *session_new(enum session_kind kind, const char *address)
{
	struct session *s = xcalloc(1, sizeof(*s));
	int64_t now = mono_us();

	s->kind = kind;
	s->ping_us = now + LIMIT_WS_PING_S * 1000000LL;
	s->heard_us = s->tokens_us = now;
	s->tokens = (double)relay.cfg.ws_message_rate / 10;
	snprintf(s->address, sizeof(s->address), "%s", address);
	session_unknown(s);
	s->next = all.head;
	if (all.head)
		all.head->prev = s;
	all.head = s;
	all.n++;
	relay.count.accepted++;
	return s;
}

void session_free(struct session *s)
{
	while (s->clients)
		client_free(s->clients);
	session_known(s);
	if (s->prev)
		s->prev->next = s->next;
	else
		all.head = s->next;
	if (s->next)
		s->next->prev = s->prev;
	for (struct session **p = &all.dirty; s->dirty && *p; p = &(*p)->next_dirty) {
		if (*p == s) {
			*p = s->next_dirty;
			break;
		}
	}
	for (struct session **p = &all.crowd; s->in_crowd && *p; p = &(*p)->next_crowd) {
		if (*p == s) {
			*p = s->next_crowd;
			all.n_crowd--;
			break;
		}
	}
	all.n--;
	queue_clear(&s->q);
	if (s->in.p)
		buf_release(&s->in);
	free(s);
}

struct client *client_new(struct session *s, enum nsp nsp)
{
	struct client *c = xcalloc(1, sizeof(*c));

	c->s = s;
	c->nsp = nsp;
	id_new(c->id);
	c->next = s->clients;
	s->clients = c;
	return c;
}

void client_free(struct client *c)
{
	for (struct client **p = &c->s->clients; *p; p = &(*p)->next) {
		if (*p == c) {
			*p = c->next;
			break;
		}
	}
	jobs_drop(c);
	agents_leave(c);
	channels_leave(c);
	auth_leave(c);
	if (c->early.p)
		buf_release(&c->early);
	free(c->channel);
	free(c->channel_task);
	free(c);
}

/* --- going out ----------------------------------------------------------------------------------------------------- */

void session_mark(struct session *s)
{
	if (s->dirty)
		return;
	s->dirty = true;
	s->next_dirty = all.dirty;
	all.dirty = s;
}

static void too_slow(struct session *s)
{
	static const char word[] = "{\"type\":\"error\",\"code\":\"too_slow\",\"message\":\"Events came faster than this "
				   "connection takes them; some are lost. Connect again with the last event id.\"}";

	relay.count.slow++;
	log_info("a client at %s is too slow and is dropped: %u messages wait", s->address, s->q.n);
	queue_clear(&s->q);
	if (s->kind == SESSION_PLAIN)
		queue_add(&s->q, msg_new(word, sizeof(word) - 1, false));
	session_close(s, CLOSE_TOO_SLOW, "too slow: the queue is full");
}

static bool enqueue(struct session *s, struct msg *m)
{
	if (s->closing || s->dead) {
		msg_unref(m);
		return false;
	}
	if (s->q.n >= LIMIT_WS_QUEUE || s->q.bytes + m->n > LIMIT_WS_QUEUE_BYTES) {
		msg_unref(m);
		too_slow(s);
		return false;
	}
	queue_add(&s->q, m);
	return true;
}

void session_send(struct session *s, struct msg *m)
{
	if (enqueue(s, m))
		session_mark(s);
}

void session_send_event(struct session *s, struct msg *m)
{
	if (!enqueue(s, m) || s->in_crowd || s->choked)
		return;
	s->in_crowd = true;
	s->next_crowd = all.crowd;
	all.crowd = s;
	all.n_crowd++;
}

void session_kill(struct session *s)
{
	if (s->dead)
		return;
	s->dead = s->closing = true;
	queue_clear(&s->q);
	if (s->conn)
		conn_cut(s->conn);
	if (s->kind == SESSION_EIO)
		session_mark(s);	/* swept at the end of the turn */
}

void session_close(struct session *s, int code, const char *reason)
{
	if (s->closing)
		return;
	s->close_by_us = mono_us() + CLOSE_GRACE_US;
	if (s->kind == SESSION_EIO)
		eio_goodbye(s);
	/* The close frame is ours like all others: libwebsockets' own would overtake what waits. */
	if (s->conn && s->conn->kind == CONN_WS)
		queue_add(&s->q, msg_close(code, reason));
	s->closing = true;
	session_mark(s);
	if (s->kind == SESSION_SSE && s->conn)
		lws_callback_on_writable(s->conn->wsi);
}

/* As many messages as fit, back to back: one system call. Returns how many, *n their bytes. */
static uint32_t gather(struct session *s, unsigned char *to, size_t room, size_t *n)
{
	uint32_t took = 0;

	*n = 0;
	for (; took < s->q.n && !(took && relay.conformance); took++) {
		const struct msg *m = queue_at(&s->q, took);
		bool wire = s->kind != SESSION_SSE;
		size_t len = wire ? msg_wire_len(m) : m->n;

		if (*n + len > room)
			break;
		memcpy(to + *n, wire ? msg_wire(m) : msg_text(m), len);
		*n += len;
	}
	return took;
}

/*
 * Bytes that are framed already go out as they are, on every kind of connection: straight to the socket, which saves a
 * twentieth of a delivery's cost. What the socket does not take now is libwebsockets', as for HTTP: it keeps the rest and
 * calls when it has gone. While it keeps anything (a ping, say), all goes through it.
 */
static bool put_out(struct lws *wsi, unsigned char *from, size_t n)
{
	ssize_t sent = lws_partial_buffered(wsi) ? 0 : send(lws_get_socket_fd(wsi), from, n, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (sent < 0)
		sent = 0;	/* whatever it is, libwebsockets meets it too */
	return (size_t)sent == n || lws_write(wsi, from + sent, n - (size_t)sent, LWS_WRITE_HTTP) >= 0;
}

/* False: the connection is broken. */
static bool write_some(struct session *s, size_t *sent)
{
	struct lws *wsi = s->conn->wsi;
	unsigned char *from = all.scratch + LWS_PRE;
	size_t n;
	uint32_t took = gather(s, from, SCRATCH, &n);

	if (!took) {
		struct msg *m = queue_at(&s->q, 0);

		took = 1;
		from = (unsigned char *)(uintptr_t)(s->kind == SESSION_SSE ? msg_text(m) : msg_wire(m));
		n = s->kind == SESSION_SSE ? m->n : msg_wire_len(m);
	}
	if (!put_out(wsi, from, n))
		return false;
	relay.count.deliveries += took;
	relay.count.delivered_bytes += (int64_t)n;
	queue_pop(&s->q, took);
	*sent += n;
	/* The suites listen for one message at a time and miss what comes along with it. */
	if (relay.conformance)
		s->choked = true;
	if (lws_partial_buffered(wsi))
		s->choked = true;	/* the callback comes when the rest has gone */
	return true;
}

static bool push_out(struct session *s)
{
	size_t sent = 0;

	while (s->q.n && !s->choked) {
		if (!write_some(s, &sent))
			return false;
		if (sent >= SHARE && s->q.n && !s->choked) {
			s->choked = true;
			lws_callback_on_writable(s->conn->wsi);
		}
	}
	return true;
}

static void flush_one(struct session *s)
{
	if (s->kind == SESSION_EIO && eio_flush(s))
		return;
	if (s->conn && !s->choked && !s->dead && !push_out(s))
		session_kill(s);
}

static void on_later(uv_timer_t *t)
{
	(void)t;	/* the turn that follows flushes */
}

/* Is it time for the crowd? When it is not, the loop is woken when it will be. */
static bool crowd_may_go(void)
{
	int64_t wait = all.crowd_us + CROWD_GAP_US - mono_us();

	if (all.n_crowd < CROWD || wait <= 0 || relay.draining)
		return true;
	if (!all.has_timer) {
		all.has_timer = true;
		uv_timer_init(&relay.loop, &all.later);
	}
	if (!uv_is_active((uv_handle_t *)&all.later))
		uv_timer_start(&all.later, on_later, (uint64_t)(wait + 999) / 1000, 0);
	return false;
}

static void flush_crowd(void)
{
	bool many = all.n_crowd >= CROWD;

	while (all.crowd) {
		struct session *s = all.crowd;

		all.crowd = s->next_crowd;
		s->in_crowd = false;
		all.n_crowd--;
		flush_one(s);
	}
	if (many)
		all.crowd_us = mono_us();
}

void sessions_stop(void)
{
	if (all.has_timer && !uv_is_closing((uv_handle_t *)&all.later))
		uv_close((uv_handle_t *)&all.later, NULL);
}

void sessions_flush(void)
{
	if (all.crowd && crowd_may_go())
		flush_crowd();
	while (all.dirty) {
		struct session *s = all.dirty;

		all.dirty = s->next_dirty;
		s->dirty = false;
		flush_one(s);
	}
}

int session_writable(struct session *s)
{
	if (s->dead)
		return -1;
	s->choked = false;
	if (!push_out(s))
		return -1;
	/* A socket's peer answers the close frame; a stream just ends. */
	return s->kind == SESSION_SSE && s->closing && !s->q.n && !s->choked ? -1 : 0;
}

/* --- limits and time ------------------------------------------------------------------------------------------------ */

bool session_may_speak(struct session *s)
{
	double rate = (double)relay.cfg.ws_message_rate;
	int64_t now = mono_us();

	s->heard_us = now;
	if (rate <= 0)
		return !s->closing;
	s->tokens += (double)(now - s->tokens_us) * rate / 60e6;
	if (s->tokens > rate / 10 + 1)
		s->tokens = rate / 10 + 1;
	s->tokens_us = now;
	if (s->tokens >= 1) {
		s->tokens--;
		return !s->closing;
	}
	relay.count.bad++;
	session_close(s, CLOSE_TOO_MANY, "too many messages");
	return false;
}

size_t session_largest(const struct session *s)
{
	size_t most = (size_t)relay.cfg.ws_max_message;

	for (const struct client *c = s->clients; c; c = c->next) {
		if (c->who)
			return most;
	}
	return relay.conformance || most < LIMIT_WS_STRANGER ? most : LIMIT_WS_STRANGER;
}

static void keep_alive(struct session *s, int64_t now)
{
	static const char comment[] = ":\n\n";

	if (now < s->ping_us)
		return;
	s->ping_us = now + LIMIT_WS_PING_S * 1000000LL;
	if (s->kind == SESSION_SSE) {
		if (!s->q.n)
			session_send(s, msg_new(comment, sizeof(comment) - 1, false));
		return;
	}
	/* A frame of its own, straight to the socket; while that is choked there is life enough to come. */
	unsigned char ping[LWS_PRE + 2];

	ping[LWS_PRE] = 0x89;
	ping[LWS_PRE + 1] = 0;
	if (!s->choked && lws_write(s->conn->wsi, ping + LWS_PRE, 2, LWS_WRITE_HTTP) < 0)
		session_kill(s);
}

static void look_at(struct session *s, int64_t now)
{
	if (s->closing) {
		if (now > s->close_by_us)
			session_kill(s);
		return;
	}
	if (s->auth_by_us && now > s->auth_by_us) {
		relay.count.refused++;
		session_close(s, CLOSE_UNAUTHENTICATED, "not authenticated in time");
	} else if (s->kind == SESSION_EIO) {
		eio_tick(s, now);
	} else {
		int64_t silent = relay.cfg.connection_timeout < 2 * LIMIT_WS_PING_S ? 2 * LIMIT_WS_PING_S + 5
										    : relay.cfg.connection_timeout;

		if (s->kind == SESSION_PLAIN && now - s->heard_us > silent * 1000000)
			session_kill(s);
		else if (s->conn)
			keep_alive(s, now);
	}
}

void sessions_tick(void)
{
	int64_t now = mono_us();

	for (struct session *s = all.head, *next; s; s = next) {
		next = s->next;
		if (relay.conformance && s->q.n) {
			s->choked = false;
			session_mark(s);
		}
		look_at(s, now);
	}
}

void sessions_each(void (*fn)(struct session *s, void *arg), void *arg)
{
	for (struct session *s = all.head, *next; s; s = next) {
		next = s->next;
		fn(s, arg);
	}
}

int sessions_count(void)
{
	return all.n;
}

void session_heard(struct session *s)
{
	s->heard_us = mono_us();
}
