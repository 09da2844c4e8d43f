// SPDX-License-Identifier: MIT
#include "http.h"

#include <libwebsockets.h>
#include <sys/socket.h>

#include "../lib/base/clock.h"
#include "../lib/base/limits.h"
#include "../lib/base/version.h"
#include "channels.h"
#include "engineio.h"
#include "fcgiclient.h"
#include "park.h"
#include "plain.h"
#include "redis.h"
#include "request.h"
#include "sse.h"
#include "strangers.h"


#define ANSWER_S 60

struct conn *conn_get(struct lws *wsi)
{
	struct conn *c = lws_get_opaque_user_data(wsi);

	if (!c) {
		c = xcalloc(1, sizeof(*c));
		c->wsi = wsi;
		lws_set_opaque_user_data(wsi, c);
	}
	return c;
}

void conn_forget_request(struct conn *c)
{
	if (c->has_arena)
		arena_release(&c->arena);
	c->has_arena = false;
	c->authorization = c->origin = c->request_id = c->last_event_id = NULL;
	c->path = "/";
	c->n_args = 0;
	if (c->body.p)
		buf_release(&c->body);
	c->body = (struct buf){ 0 };
	if (c->out.p)
		buf_release(&c->out);
	c->out = (struct buf){ 0 };
}

void conn_gone(struct conn *c)
{
	if (c->kind == CONN_CLAIM)
		park_gone(c);
	else if (c->kind == CONN_POLL || c->kind == CONN_PROBE || (c->kind == CONN_WS && c->s && c->s->kind == SESSION_EIO))
		eio_conn_gone(c);
	else if (c->s)
		session_free(c->s);
	conn_forget_request(c);
	lws_set_opaque_user_data(c->wsi, NULL);
	free(c);
}

/*
 * libwebsockets' own way to end a connection from outside its callbacks is a timeout, which its libuv side looks at only
 * when something else happens. A socket that is shut down is readable at once.
 */
void conn_cut(struct conn *c)
{
	shutdown(lws_get_socket_fd(c->wsi), SHUT_RDWR);
}

/* --- answers ---------------------------------------------------------------------------------------------------------- */

static const char *status_text(int status)
{
	switch (status) {
	case 200: return "OK";
	case 204: return "No Content";
	case 400: return "Bad Request";
	case 401: return "Unauthorized";
	case 403: return "Forbidden";
	case 404: return "Not Found";
	case 405: return "Method Not Allowed";
	case 411: return "Length Required";
	case 413: return "Payload Too Large";
	case 426: return "Upgrade Required";
	case 429: return "Too Many Requests";
	case 503: return "Service Unavailable";
	default: return "Answer";
	}
}

void http_answer(struct conn *c, int status, const char *extra, const char *type, const char *body, size_t n)
{
	buf_init(&c->out);
	buf_addf(&c->out, "HTTP/1.1 %d %s\r\nContent-Length: %zu\r\n%s", status, status_text(status), n, extra);
	if (type)
		buf_addf(&c->out, "Content-Type: %s\r\n", type);
	if (!strstr(extra, "Cache-Control:"))
		buf_adds(&c->out, "Cache-Control: no-store\r\n");
	if (!strstr(extra, "X-Content-Type-Options:"))
		buf_adds(&c->out, "X-Content-Type-Options: nosniff\r\n");
	if (c->origin && c->origin_allowed && !strstr(extra, "Access-Control-Allow-Origin:") && !strpbrk(c->origin, "\r\n"))
		buf_addf(&c->out, "Access-Control-Allow-Origin: %s\r\nVary: Origin\r\nAccess-Control-Allow-Credentials: true\r\n",
			 c->origin);
	if (relay.draining)
		c->close_after = true;
	if (c->close_after)
		buf_adds(&c->out, "Connection: close\r\n");
	buf_adds(&c->out, "\r\n");
	if (c->method != M_HEAD)
		buf_add(&c->out, body, n);
	c->answered = c->taken = true;
	/* Who does not read holds the answer's memory no longer than that. */
	lws_set_timeout(c->wsi, PENDING_TIMEOUT_HTTP_CONTENT, ANSWER_S);
	lws_callback_on_writable(c->wsi);
}

void http_error(struct conn *c, enum err code, const char *message)
{
	char id[ID_TEXT];
	char extra[256];
	struct buf b;
	struct jw w;

	id_new(id);
	buf_init(&b);
	jw_init(&w, &b);
	jw_obj(&w);
	jw_kbool(&w, "success", false);
	jw_key(&w, "error");
	jw_obj(&w);
	jw_kstr(&w, "type", err_type(code));
	jw_kstr(&w, "code", err_text(code));
	jw_kstr(&w, "message", message ? message : err_message(code));
	jw_kraw(&w, "details", "[]");
	jw_ktime(&w, "timestamp", now_ms());
	jw_kstr(&w, "request_id", c->request_id ? c->request_id : id);
	jw_end_obj(&w);
	jw_end_obj(&w);
	snprintf(extra, sizeof(extra), "X-Request-ID: %s\r\n%s%s", c->request_id ? c->request_id : id,
		 code == ERR_UNAUTHENTICATED ? "WWW-Authenticate: Bearer realm=\"mcp\"\r\n" : "",
		 err_status(code) == 503 || err_status(code) == 429 ? "Retry-After: 1\r\n" : "");
	http_answer(c, err_status(code), extra, "application/json", b.p, b.n);
	buf_release(&b);
}

int http_writable(struct conn *c)
{
	if (c->kind == CONN_SSE && c->s && c->s->served)
		return session_writable(c->s);
	if (!c->answered || !c->out.n)
		return 0;
	int n = lws_write(c->wsi, (unsigned char *)c->out.p, c->out.n, LWS_WRITE_HTTP);
	bool last = c->close_after;

	conn_forget_request(c);
	c->answered = false;
	c->kind = CONN_IDLE;
	if (n < 0)
		return -1;
	if (last) {
		/* What libwebsockets could not send yet goes first. */
		if (!lws_partial_buffered(c->wsi))
			return -1;
		lws_set_timeout(c->wsi, PENDING_TIMEOUT_USER_OK, 5);
		return 0;
	}
	return lws_http_transaction_completed(c->wsi) ? -1 : 0;
}

/* --- routes -------------------------------------------------------------------------------------------------------------- */

static int health(struct conn *c)
{
	struct buf b;
	struct jw w;

	buf_init(&b);
	jw_init(&w, &b);
	jw_obj(&w);
	jw_kstr(&w, "service", "mcp-relay");
	jw_kstr(&w, "status", relay.draining ? "unhealthy" : redis_up() ? "healthy" : "degraded");
	jw_ktime(&w, "timestamp", now_ms());
	jw_kstr(&w, "version", mcp_version);
	jw_kint(&w, "uptime_s", (mono_us() - relay.started_us) / 1000000);
	jw_kstr(&w, "redis", redis_up() ? "up" : "down");
	jw_kint(&w, "connections", relay.connections);
	jw_kint(&w, "clients", sessions_count());
	jw_kint(&w, "subscriptions", channels_count());
	jw_kint(&w, "identities", identities_count());
	jw_kint(&w, "parked_claims", park_count());
	jw_kint(&w, "api_requests", api_load());
	jw_kint(&w, "events", relay.count.events);
	jw_kint(&w, "deliveries", relay.count.deliveries);
	jw_kint(&w, "delivered_bytes", relay.count.delivered_bytes);
	jw_kint(&w, "accepted", relay.count.accepted);
	jw_kint(&w, "refused", relay.count.refused);
	jw_kint(&w, "dropped_slow", relay.count.slow);
	jw_kint(&w, "bad_messages", relay.count.bad);
	jw_kint(&w, "delegated", relay.count.delegated);
	jw_kint(&w, "woken", relay.count.woken);
	jw_kint(&w, "resyncs", relay.count.resyncs);
	jw_end_obj(&w);
	http_answer(c, relay.draining ? 503 : 200, "", "application/json", b.p, b.n);
	buf_release(&b);
	return 0;
}

static int preflight(struct conn *c)
{
	http_answer(c, 204, "Access-Control-Allow-Methods: GET, POST, OPTIONS\r\nAccess-Control-Allow-Headers: Authorization, "
		    "Content-Type, Last-Event-ID, X-API-Key, X-Request-ID\r\nAccess-Control-Max-Age: 600\r\n", NULL, "", 0);
	return 0;
}

static bool is_claim(const char *path)
{
	return strncmp(path, "/api/v1/agents/", 15) == 0 && strlen(path) == 15 + ID_LEN + 6 &&
	       strcmp(path + 15 + ID_LEN, "/claim") == 0;
}

static bool is_engine(const char *path)
{
	return strcmp(path, "/socket.io/") == 0 || strcmp(path, "/socket.io") == 0 ||
	       (relay.conformance && strncmp(path, "/engine.io/", 11) == 0);
}

/* Whatever the request is, it is whole now. */
static int handle(struct conn *c)
{
	if (is_engine(c->path)) {
		if (c->method == M_OPTIONS)
			return preflight(c);
		eio_request(c);
	} else if (!c->origin_allowed) {
		http_error(c, ERR_FORBIDDEN, "This origin may not call the relay; see CORS_ORIGINS.");
	} else if (c->method == M_OPTIONS) {
		return preflight(c);
	} else if (strcmp(c->path, "/health") == 0 || strcmp(c->path, "/live") == 0 || strcmp(c->path, "/ready") == 0) {
		if (c->method == M_GET || c->method == M_HEAD)
			return health(c);
		http_error(c, ERR_METHOD, "This route takes GET.");
	} else if (strcmp(c->path, "/api/v1/events/stream") == 0) {
		if (c->method == M_GET)
			sse_request(c);
		else
			http_error(c, ERR_METHOD, "This route takes GET.");
	} else if (is_claim(c->path)) {
		if (c->method == M_POST)
			park_request(c);
		else
			http_error(c, ERR_METHOD, "This route takes POST.");
	} else if (plain_path(c->path, NULL, NULL)) {
		http_answer(c, 426, "Upgrade: websocket\r\n", "text/plain", "WebSocket only\n", 15);
	} else {
		http_error(c, ERR_NO_ROUTE, NULL);
	}
	return 0;
}

/* Bodies are kept until they are whole, before anybody is asked who sends them: so no more than the route has use for. */
static int64_t largest_body(const struct conn *c)
{
	return is_engine(c->path) ? eio_largest(c) : LIMIT_WS_STRANGER;
}

int http_request(struct conn *c)
{
	conn_forget_request(c);
	request_read(c);
	c->kind = CONN_HTTP;
	if (relay.draining)
		c->close_after = true;
	if (c->want < 0 || c->want > largest_body(c)) {
		c->close_after = true;
		http_error(c, c->want < 0 ? ERR_BAD_REQUEST : ERR_TOO_LARGE,
			   c->want < 0 ? "The relay's own port takes bodies with a Content-Length only." : NULL);
		return 0;
	}
	if (c->want == 0 || c->method != M_POST || !(is_engine(c->path) || is_claim(c->path))) {
		c->close_after |= c->want != 0;
		c->taken = true;
		return handle(c);
	}
	buf_init(&c->body);
	return 0;
}

int http_body(struct conn *c, const void *data, size_t n)
{
	if (c->taken)
		return 0;
	if (c->body.n + n > (size_t)c->want)
		return -1;
	buf_add(&c->body, data, n);
	return 0;
}

int http_body_complete(struct conn *c)
{
	if (c->taken)
		return 0;
	c->taken = true;
	return handle(c);
}

/* --- WebSocket -------------------------------------------------------------------------------------------------------------- */

int http_upgrade(struct conn *c)
{
	conn_forget_request(c);
	request_read(c);
	if (relay.draining)
		return 503;
	if (is_engine(c->path))
		return eio_upgrade(c);
	if (!c->origin_allowed)
		return 403;
	if (relay.conformance)
		return 404;
	if (!plain_path(c->path, NULL, NULL))
		return 404;
	return strangers_room(c->address) ? 0 : 429;
}

int http_established(struct conn *c)
{
	int rc = is_engine(c->path) ? eio_established(c) : plain_established(c);

	conn_forget_request(c);
	return rc;
}
