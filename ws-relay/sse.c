// SPDX-License-Identifier: MIT
#include "sse.h"

#include <libwebsockets.h>

#include "client.h"
#include "channels.h"
#include "commands.h"
#include "strangers.h"

void sse_request(struct conn *c)
{
	char credential[LIMIT_CREDENTIAL];
	int got = http_credential(c, credential, sizeof(credential));
	enum channel ch;

	if (conn_arg(c, "channel") && !channel_parse(conn_arg(c, "channel"), &ch)) {
		http_error(c, ERR_VALIDATION, "channel is one of tasks, agents, pipelines, system, all.");
		return;
	}
	if (!got) {
		http_error(c, ERR_UNAUTHENTICATED, NULL);
		return;
	}
	if (!strangers_room(c->address)) {
		http_error(c, ERR_RATE, "Too many connections of this address have not authenticated yet; try again.");
		return;
	}
	struct session *s = session_new(SESSION_SSE, c->address);
	struct client *client = client_new(s, NSP_NONE);

	c->kind = CONN_SSE;
	c->s = s;
	s->conn = c;
	s->choked = true;	/* nothing goes out before the head */
	lws_set_timeout(c->wsi, NO_PENDING_TIMEOUT, 0);
	if (got > 0)
		auth_begin(client, credential);
	else
		auth_ticket(client, conn_arg(c, "ticket"));
	explicit_bzero(credential, sizeof(credential));
}

/* "a,b,c" as a JSON array. */
static const struct jv *list_of_types(struct arena *a, const char *text)
{
	struct buf b;
	struct jw w;
	struct jv *v = NULL;
	struct error err;

	if (!text)
		return NULL;
	error_init(&err, a);
	buf_init(&b);
	jw_init(&w, &b);
	jw_arr(&w);
	for (size_t n; *text; text += n + (text[n] == ',')) {
		n = strcspn(text, ",");
		jw_strn(&w, text, n);
	}
	jw_end_arr(&w);
	if (json_parse(a, arena_strndup(a, b.p, b.n), b.n, 2, &v, &err))
		v = NULL;
	buf_release(&b);
	return v;
}

void http_stream_begins(struct session *s)
{
	struct conn *c = s->conn;
	struct reply r = { .ack = -1 };
	struct buf head;
	struct sub_wish w = { .channel = CH_ALL, .task_id = conn_arg(c, "task_id"), .execution_id = conn_arg(c, "execution_id"),
			      .pipeline_id = conn_arg(c, "pipeline_id"), .agent_id = conn_arg(c, "agent_id"),
			      .after = c->last_event_id ? c->last_event_id : conn_arg(c, "after") };

	if (conn_arg(c, "channel"))
		(void)channel_parse(conn_arg(c, "channel"), &w.channel);
	w.types = list_of_types(&c->arena, conn_arg(c, "types"));
	buf_init(&head);
	buf_adds(&head, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-store\r\n"
			"X-Accel-Buffering: no\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n");
	if (c->origin && !strpbrk(c->origin, "\r\n"))
		buf_addf(&head, "Access-Control-Allow-Origin: %s\r\nVary: Origin\r\nAccess-Control-Allow-Credentials: true\r\n",
			 c->origin);
	buf_adds(&head, "\r\nretry: 1000\n\n");
	session_send(s, msg_new(head.p, head.n, false));
	buf_release(&head);
	s->served = true;
	s->choked = false;
	session_mark(s);
	channels_subscribe(s->clients, &w, &r);
	conn_forget_request(c);
	lws_http_headers_detach(c->wsi);
}

void http_stream_refused(struct session *s, int code, const char *text)
{
	struct conn *c = s->conn;

	c->s = NULL;
	c->kind = CONN_HTTP;
	session_free(s);
	http_error(c, code == CLOSE_TRY_LATER ? ERR_BUSY : ERR_UNAUTHENTICATED, text);
}
