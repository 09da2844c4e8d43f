// SPDX-License-Identifier: MIT
#include "engineio.h"

#include <libwebsockets.h>

#include "../lib/base/clock.h"
#include "../lib/base/limits.h"
#include "../lib/base/secret.h"
#include "client.h"
#include "commands.h"
#include "eio_packet.h"
#include "eio_session.h"
#include "socketio.h"
#include "strangers.h"

#define TABLE 8192	/* a power of two */
#define SID_BYTES 15

enum refusal { R_TRANSPORT, R_SID, R_METHOD, R_REQUEST, R_FORBIDDEN, R_VERSION, R_FULL, R_STRANGERS };

static struct eio *table[TABLE];

static int64_t interval_us(void)
{
	return relay.conformance ? 300000 : LIMIT_WS_PING_S * 1000000LL;
}

static int64_t timeout_us(void)
{
	return relay.conformance ? 200000 : LIMIT_WS_PING_S * 1000000LL;
}

static int64_t max_payload(void)
{
	return relay.conformance ? 1000000 : relay.cfg.ws_max_message;
}

/* --- sessions by sid ------------------------------------------------------------------------------------------------------ */

static struct eio **place(const char *sid)
{
	uint32_t h = 2166136261u;

	for (const char *p = sid; *p; p++)
		h = (h ^ (unsigned char)*p) * 16777619u;
	struct eio **e = &table[h & (TABLE - 1)];

	while (*e && strcmp((*e)->sid, sid) != 0)
		e = &(*e)->next;
	return e;
}

static bool too_late(const struct eio *e, int64_t now)
{
	return e->pong_by_us ? now >= e->pong_by_us : now >= e->s->ping_us + timeout_us();
}

static struct eio *find(const char *sid)
{
	struct eio *e = sid ? *place(sid) : NULL;

	if (e && !e->s->dead && !e->s->closing && too_late(e, mono_us()))
		session_kill(e->s);
	return e && !e->s->dead ? e : NULL;
}

static struct eio *open_session(struct conn *c)
{
	struct eio *e = xcalloc(1, sizeof(*e));
	char credential[LIMIT_CREDENTIAL];
	uint8_t bits[SID_BYTES];

	random_bytes(bits, sizeof(bits));
	b64url_encode(bits, sizeof(bits), e->sid);
	e->s = session_new(SESSION_EIO, c->address);
	e->s->eio = e;
	e->s->ping_us = mono_us() + interval_us();
	if (http_credential(c, credential, sizeof(credential)) > 0)
		e->authorization = xstrdup(credential);
	explicit_bzero(credential, sizeof(credential));
	*place(e->sid) = e;
	return e;
}

static void write_open(const struct eio *e, bool may_upgrade, struct buf *b)
{
	struct jw w;

	buf_init(b);
	buf_addc(b, '0');
	jw_init(&w, b);
	jw_obj(&w);
	jw_kstr(&w, "sid", e->sid);
	jw_kraw(&w, "upgrades", may_upgrade ? "[\"websocket\"]" : "[]");
	jw_kint(&w, "pingInterval", interval_us() / 1000);
	jw_kint(&w, "pingTimeout", timeout_us() / 1000);
	jw_kint(&w, "maxPayload", max_payload());
	jw_end_obj(&w);
}

static void answer_text(struct conn *c, const char *text, size_t n)
{
	c->s = NULL;
	c->kind = CONN_HTTP;
	http_answer(c, 200, "", "text/plain; charset=UTF-8", text, n);
}

static void refuse(struct conn *c, enum refusal why)
{
	static const char *const words[] = { "Transport unknown", "Session ID unknown", "Bad handshake method", "Bad request",
					     "Forbidden", "Unsupported protocol version", "Too many sessions",
					     "Too many sessions of this address have not authenticated" };
	/* Codes of the protocol end with its version's. */
	enum refusal code = why > R_VERSION ? R_FORBIDDEN : why;
	int status = why == R_FORBIDDEN ? 403 : why == R_FULL ? 503 : why == R_STRANGERS ? 429 : 400;
	char body[96];
	int n = snprintf(body, sizeof(body), "{\"code\":%d,\"message\":\"%s\"}", (int)code, words[why]);

	c->s = NULL;
	c->kind = CONN_HTTP;
	relay.count.bad++;
	http_answer(c, status, status == 429 || status == 503 ? "Retry-After: 1\r\n" : "", "application/json", body, (size_t)n);
}

static void destroy(struct eio *e)
{
	struct session *s = e->s;

	*place(e->sid) = e->next;
	if (e->poll)
		refuse(e->poll, R_SID);
	if (e->probe) {
		e->probe->s = NULL;
		conn_cut(e->probe);
	}
	if (s->conn) {
		s->conn->s = NULL;
		conn_cut(s->conn);
		s->conn = NULL;
	}
	sio_gone(s);
	if (e->authorization)
		secret_free(e->authorization);
	session_free(s);
	free(e);
}

/* --- out -------------------------------------------------------------------------------------------------------------------- */

static void send_packet(struct session *s, char type, const char *text, size_t n)
{
	session_send(s, msg_join(&type, 1, text, n));
}

void eio_send(struct session *s, const char *text, size_t n)
{
	send_packet(s, '4', text, n);
}

void eio_send_binary(struct session *s, const char *data, size_t n)
{
	session_send(s, msg_new(data, n, true));
}

static void let_go(struct eio *e, const char *packet)
{
	struct conn *c = e->poll;

	e->poll = NULL;
	if (c)
		answer_text(c, packet, strlen(packet));
}

/* All that fits into one payload, for the GET that waits. */
static void answer_poll(struct eio *e)
{
	struct queue *q = &e->s->q;
	struct conn *c = e->poll;
	struct buf b;
	uint32_t took = 0;

	buf_init(&b);
	for (; took < q->n; took++) {
		const struct msg *m = queue_at(q, took);

		if (took && b.n + m->n * 4 / 3 + 8 > (size_t)max_payload())
			break;
		if (took)
			buf_addc(&b, '\x1e');
		if (m->binary) {
			buf_addc(&b, 'b');
			base64_add(&b, msg_text(m), m->n);
		} else {
			buf_add(&b, msg_text(m), m->n);
		}
	}
	queue_pop(q, took);
	relay.count.deliveries += took;
	relay.count.delivered_bytes += (int64_t)b.n;
	e->poll = NULL;
	answer_text(c, b.p, b.n);
	buf_release(&b);
}

bool eio_flush(struct session *s)
{
	struct eio *e = s->eio;

	if (s->dead) {
		destroy(e);
		return true;
	}
	if (e->on_socket)
		return false;
	if (e->poll && s->q.n)
		answer_poll(e);
	if (s->closing && !s->q.n)
		destroy(e);
	return true;
}

void eio_goodbye(struct session *s)
{
	if (!s->eio->on_socket)
		queue_add(&s->q, msg_new("1", 1, false));
}

void eio_tick(struct session *s, int64_t now)
{
	struct eio *e = s->eio;

	if (too_late(e, now)) {
		session_kill(s);
	} else if (!e->pong_by_us && now >= s->ping_us) {
		e->pong_by_us = s->ping_us + timeout_us();
		if (e->pong_by_us < now + timeout_us() / 2)
			e->pong_by_us = now + timeout_us() / 2;
		send_packet(s, '2', "", 0);
	}
}

/* --- in --------------------------------------------------------------------------------------------------------------------- */

/* A packet of the session's own line. False: it is of no good and the session ends. */
static bool take(struct eio *e, const struct eio_packet *p)
{
	struct session *s = e->s;

	if (s->closing)
		return true;
	switch (p->type) {
	case EIO_PONG:
		e->pong_by_us = 0;
		s->heard_us = mono_us();
		s->ping_us = s->heard_us + interval_us();
		return true;
	case EIO_CLOSE:
		let_go(e, "6");
		session_kill(s);
		return true;
	case EIO_MESSAGE:
		if (relay.conformance && e->echo) {
			if (p->binary)
				eio_send_binary(s, p->data, p->n);
			else
				eio_send(s, p->data, p->n);
		} else if (p->binary) {
			sio_attachment(s, p->data, p->n);
		} else {
			sio_message(s, p->data, p->n);
		}
		return true;
	case EIO_NOOP:
	case EIO_PING:
		return true;
	default:
		return false;
	}
}

static bool take_payload(struct eio *e, const char *text, size_t n)
{
	struct arena arena;
	const char *part;
	size_t at = 0;
	size_t len;
	bool good = n > 0;

	arena_init_wiped(&arena);
	while (good && !e->s->dead && eio_payload_next(text, n, &at, &part, &len)) {
		struct eio_packet p;

		good = eio_packet_read(part, len, &arena, &p) && session_may_speak(e->s) && take(e, &p);
		arena_reset(&arena);
	}
	arena_release(&arena);
	return good;
}

static void poll_get(struct conn *c, struct eio *e)
{
	if (e->poll) {
		let_go(e, "1");
		session_kill(e->s);
		refuse(c, R_REQUEST);
		return;
	}
	c->kind = CONN_POLL;
	c->s = e->s;
	e->poll = c;
	lws_set_timeout(c->wsi, NO_PENDING_TIMEOUT, 0);
	if (e->probed && !e->s->q.n)
		let_go(e, "6");
	else
		session_mark(e->s);
}

static void poll_post(struct conn *c, struct eio *e)
{
	if (take_payload(e, c->body.p ? c->body.p : "", c->body.p ? c->body.n : 0)) {
		http_answer(c, 200, "", "text/html", "ok", 2);
	} else {
		relay.count.bad++;
		session_kill(e->s);
		refuse(c, R_REQUEST);
	}
}

/* What is wrong with the query, or -1. */
static int check_query(const struct conn *c, const char *transport)
{
	const char *given = conn_arg(c, "transport");
	const char *version = conn_arg(c, "EIO");

	if (!given || strcmp(given, transport) != 0)
		return R_TRANSPORT;
	if (!version || strcmp(version, "4") != 0)
		return R_VERSION;
	return c->origin_allowed || relay.conformance ? -1 : R_FORBIDDEN;
}

int64_t eio_largest(const struct conn *c)
{
	const struct eio *e = find(conn_arg(c, "sid"));

	if (relay.conformance)
		return max_payload();
	return e ? (int64_t)session_largest(e->s) : LIMIT_WS_STRANGER;
}

void eio_request(struct conn *c)
{
	const char *sid = conn_arg(c, "sid");
	int wrong = check_query(c, "polling");
	struct eio *e = find(sid);
	struct buf b;

	if (wrong >= 0) {
		refuse(c, (enum refusal)wrong);
	} else if (!sid && c->method != M_GET) {
		refuse(c, R_METHOD);
	} else if (!sid && sessions_count() >= relay.cfg.max_connections) {
		refuse(c, R_FULL);
	} else if (!sid && !strangers_room(c->address)) {
		refuse(c, R_STRANGERS);
	} else if (!sid) {
		e = open_session(c);
		e->echo = strncmp(c->path, "/engine.io", 10) == 0;
		write_open(e, true, &b);
		answer_text(c, b.p, b.n);
		buf_release(&b);
	} else if (!e || e->on_socket || (e->s->closing && !e->s->q.n)) {
		refuse(c, e && e->on_socket ? R_REQUEST : R_SID);
	} else if (c->method == M_GET) {
		poll_get(c, e);
	} else if (c->method == M_POST) {
		poll_post(c, e);
	} else {
		refuse(c, R_REQUEST);
	}
}

/* --- WebSocket -------------------------------------------------------------------------------------------------------------- */

int eio_upgrade(struct conn *c)
{
	const char *sid = conn_arg(c, "sid");
	int wrong = check_query(c, "websocket");

	if (wrong >= 0)
		return wrong == R_FORBIDDEN ? 403 : 400;
	if (sid)
		return find(sid) ? 0 : 400;
	return strangers_room(c->address) ? 0 : 429;
}

static bool write_now(struct conn *c, const char *text)
{
	struct msg *m = msg_new(text, strlen(text), false);
	int n = lws_write(c->wsi, (unsigned char *)(uintptr_t)msg_wire(m), msg_wire_len(m), LWS_WRITE_HTTP);

	msg_unref(m);
	return n >= 0;
}

static void becomes_line(struct conn *c, struct eio *e)
{
	c->kind = CONN_WS;
	c->s = e->s;
	e->s->conn = c;
	e->on_socket = true;
	session_mark(e->s);
}

int eio_established(struct conn *c)
{
	const char *sid = conn_arg(c, "sid");
	struct eio *e = find(sid);
	struct buf b;

	if (sid) {
		if (!e || e->on_socket || e->probe)
			return -1;
		c->kind = CONN_PROBE;
		c->s = e->s;
		e->probe = c;
		return 0;
	}
	e = open_session(c);
	e->echo = strncmp(c->path, "/engine.io", 10) == 0;
	becomes_line(c, e);
	write_open(e, false, &b);
	session_send(e->s, msg_new(b.p, b.n, false));
	buf_release(&b);
	return 0;
}

/* On a socket that wants to become the session's line. */
static bool probe_frame(struct conn *c, struct eio *e, const char *data, size_t n)
{
	if (n == 6 && memcmp(data, "2probe", 6) == 0) {
		e->probed = true;
		if (!e->s->q.n)
			let_go(e, "6");
		return write_now(c, "3probe");
	}
	if (n != 1 || data[0] != '5' || !e->probed)
		return false;
	e->probe = NULL;
	let_go(e, "6");
	becomes_line(c, e);
	return true;
}

void eio_frame(struct conn *c, const char *data, size_t n, bool binary)
{
	struct eio *e = c->s->eio;
	struct arena arena;
	struct eio_packet p = { .type = EIO_MESSAGE, .binary = true, .data = data, .n = n };

	if (c->kind == CONN_PROBE) {
		if (binary || !probe_frame(c, e, data, n)) {
			e->probe = NULL;
			e->probed = false;
			c->s = NULL;
			conn_cut(c);
		}
		return;
	}
	arena_init(&arena);
	if (!binary && (n == 0 || data[0] == 'b' || !eio_packet_read(data, n, &arena, &p))) {
		relay.count.bad++;
		session_close(e->s, CLOSE_PROTOCOL, "not an Engine.IO packet");
	} else if (!take(e, &p)) {
		relay.count.bad++;
		session_close(e->s, CLOSE_PROTOCOL, "this packet has no place here");
	}
	arena_release(&arena);
}

void eio_conn_gone(struct conn *c)
{
	struct eio *e = c->s ? c->s->eio : NULL;

	if (!e)
		return;
	if (e->poll == c) {
		e->poll = NULL;
	} else if (e->probe == c) {
		e->probe = NULL;
		e->probed = false;
	} else if (e->s->conn == c) {
		e->s->conn = NULL;
		e->s->dead = e->s->closing = true;
		session_mark(e->s);
	}
}
