// SPDX-License-Identifier: MIT
#include "serve.h"

#include <errno.h>
#include <libwebsockets.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../lib/base/limits.h"
#include "../lib/base/log.h"
#include "engineio.h"
#include "http.h"
#include "plain.h"

#define SNDBUF 131072		/* what waits in the kernel for one slow client */
#define SPARE_FDS 128

/* Our own pings know each session's time; libwebsockets' are off. */
static const lws_retry_bo_t no_idle_policy = { .secs_since_valid_hangup = 0 };

static void on_log(int level, const char *line)
{
	log_at(level & LLL_ERR ? LOG_ERROR : LOG_WARN, "libwebsockets: %.*s", (int)strcspn(line, "\n"), line);
}

static int on_upgrade(struct lws *wsi, const char *protocol)
{
	if (strcmp(protocol, "websocket") != 0)
		return -1;
	int status = http_upgrade(conn_get(wsi));

	if (!status)
		return 0;
	relay.count.refused++;
	conn_forget_request(conn_get(wsi));
	return lws_return_http_status(wsi, (unsigned)status, NULL) < 0 ? -1 : 1;
}

static int on_established(struct lws *wsi)
{
	struct conn *c = conn_get(wsi);
	int size = SNDBUF;

	setsockopt(lws_get_socket_fd(wsi), SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	return http_established(c);
}

static int on_receive(struct lws *wsi, const void *data, size_t n)
{
	struct conn *c = conn_get(wsi);
	struct session *s = c->s;

	if (!s || s->dead)
		return -1;
	if (s->closing)
		return 0;
	struct buf *in = &s->in;

	if (!in->p)
		buf_init(in);
	if (in->n + n + lws_remaining_packet_payload(wsi) > session_largest(s)) {
		relay.count.bad++;
		buf_reset(in);
		session_close(s, CLOSE_TOO_LARGE, "message too large");
		return 0;
	}
	buf_add(in, data, n);
	if (lws_remaining_packet_payload(wsi) || !lws_is_final_fragment(wsi))
		return 0;
	bool binary = lws_frame_is_binary(wsi) != 0;

	/* Taken out first: what handles it may end the session. */
	struct buf whole = *in;

	*in = (struct buf){ 0 };
	if (session_may_speak(s)) {
		if (s->kind == SESSION_EIO)
			eio_frame(c, whole.p, whole.n, binary);
		else
			plain_message(s, whole.p, whole.n, binary);
	}
	buf_release(&whole);
	return 0;
}

static int on_peer_closes(struct conn *c)
{
	bool answered;

	if (!c || !c->s || c->kind != CONN_WS)
		return 0;
	/* Nothing may follow the answer to a close frame; it answers ours, or libwebsockets answers it. */
	answered = c->s->closing;
	c->s->closing = c->s->dead = true;
	queue_clear(&c->s->q);
	return answered ? -1 : 0;
}

static int callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t len)
{
	struct conn *c;

	(void)user;
	switch (reason) {
	case LWS_CALLBACK_FILTER_NETWORK_CONNECTION:
		return relay.connections >= relay.cfg.max_connections || relay.draining;
	case LWS_CALLBACK_WSI_CREATE:
		relay.connections++;
		return 0;
	case LWS_CALLBACK_WSI_DESTROY:
		relay.connections--;
		if ((c = lws_get_opaque_user_data(wsi)))
			conn_gone(c);
		return 0;
	case LWS_CALLBACK_CLOSED:
	case LWS_CALLBACK_CLOSED_HTTP:
		if ((c = lws_get_opaque_user_data(wsi)))
			conn_gone(c);
		return 0;
	case LWS_CALLBACK_HTTP:
		return http_request(conn_get(wsi));
	case LWS_CALLBACK_HTTP_BODY:
		return http_body(conn_get(wsi), in, len);
	case LWS_CALLBACK_HTTP_BODY_COMPLETION:
		return http_body_complete(conn_get(wsi));
	case LWS_CALLBACK_HTTP_WRITEABLE:
		return http_writable(conn_get(wsi));
	case LWS_CALLBACK_HTTP_CONFIRM_UPGRADE:
		return on_upgrade(wsi, in);
	case LWS_CALLBACK_ESTABLISHED:
		return on_established(wsi);
	case LWS_CALLBACK_RECEIVE:
		return on_receive(wsi, in, len);
	case LWS_CALLBACK_RECEIVE_PONG:
		c = conn_get(wsi);
		if (c->s)
			session_heard(c->s);
		return 0;
	case LWS_CALLBACK_SERVER_WRITEABLE:
		c = conn_get(wsi);
		return c->s ? session_writable(c->s) : -1;
	case LWS_CALLBACK_WS_PEER_INITIATED_CLOSE:
		return on_peer_closes(lws_get_opaque_user_data(wsi));
	default:
		return 0;
	}
}

static const struct lws_protocols protocols[] = {
	{ .name = "mcp", .callback = callback, .rx_buffer_size = 1024, .tx_packet_size = 1 << 30 },
	{ 0 },
};

static struct lws_vhost *vhost;

/* libwebsockets says that it could not listen, not why: try once more, for the reason. */
static const char *why_not(const char *host)
{
	struct addrinfo hints = { .ai_flags = AI_PASSIVE | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM }, *found;
	char port[8];
	int on = 1;

	snprintf(port, sizeof(port), "%d", (int)relay.cfg.ws_port);
	int rc = getaddrinfo(host, port, &hints, &found);

	if (rc)
		return gai_strerror(rc);
	int fd = socket(found->ai_family, found->ai_socktype | SOCK_CLOEXEC, 0);
	bool bound = fd >= 0 && !setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) &&
		     !bind(fd, found->ai_addr, found->ai_addrlen);
	const char *why = bound ? "it works now" : strerrordesc_np(errno);

	freeaddrinfo(found);
	if (fd >= 0)
		close(fd);
	return why;
}

enum err serve_start(struct error *e)
{
	struct lws_context_creation_info info = { 0 };
	void *loops[] = { &relay.loop };
	const char *host = *relay.cfg.ws_host ? relay.cfg.ws_host : relay.cfg.host;

	lws_set_log_level(LLL_ERR | LLL_WARN, on_log);
	info.options = LWS_SERVER_OPTION_LIBUV | LWS_SERVER_OPTION_EXPLICIT_VHOSTS | LWS_SERVER_OPTION_FAIL_UPON_UNABLE_TO_BIND;
	if (!strchr(host, ':'))
		info.options |= LWS_SERVER_OPTION_DISABLE_IPV6;
	info.foreign_loops = loops;
	info.protocols = protocols;
	info.port = (int)relay.cfg.ws_port;
	info.iface = strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0 ? NULL : strcmp(host, "localhost") == 0 ? "127.0.0.1" : host;
	info.fd_limit_per_thread = (unsigned)relay.cfg.max_connections + SPARE_FDS;
	info.max_http_header_data = LIMIT_WS_HEADER;
	info.max_http_header_pool = (unsigned short)(relay.cfg.max_connections < 65000 ? relay.cfg.max_connections : 65000);
	info.pt_serv_buf_size = 16384;
	info.keepalive_timeout = LIMIT_WS_IDLE_S;
	info.timeout_secs = 10;
	info.retry_and_idle_policy = &no_idle_policy;
	info.vhost_name = "relay";
	info.pcontext = &relay.lws;
	relay.lws = lws_create_context(&info);
	if (!relay.lws)
		return error_public(e, ERR_UNAVAILABLE, "libwebsockets does not start; is libwebsockets-evlib-uv installed?");
	vhost = lws_create_vhost(relay.lws, &info);
	if (!vhost)
		return error_public(e, ERR_UNAVAILABLE, "WS_HOST %s, WS_PORT %lld cannot be listened on: %s", host,
				    (long long)relay.cfg.ws_port, why_not(host));
	relay.port = lws_get_vhost_listen_port(vhost);
	return OK;
}

void serve_stop(void)
{
	if (relay.lws)
		lws_context_destroy(relay.lws);
}

void serve_finish(void)
{
	if (relay.lws)
		lws_context_destroy(relay.lws);
}
