// SPDX-License-Identifier: MIT
#include "plain.h"

#include "client.h"
#include "commands.h"

#define EARLY_MAX 65536

bool plain_path(const char *path, const char **channel, const char **task)
{
	static const struct {
		const char *path, *channel;
	} paths[] = {
		{ "/ws", "" }, { "/ws/", "" }, { "/ws/agents/status", "agents" }, { "/ws/tasks/progress", "tasks" },
		{ "/ws/pipeline/updates", "pipelines" }, { "/ws/system/events", "system" },
	};

	for (size_t i = 0; i < sizeof(paths) / sizeof(*paths); i++) {
		if (strcmp(path, paths[i].path) == 0) {
			if (channel)
				*channel = paths[i].channel;
			if (task)
				*task = "";
			return true;
		}
	}
	if (strncmp(path, "/ws/tasks/", 10) != 0 || !id_valid(path + 10))
		return false;
	if (channel)
		*channel = "tasks";
	if (task)
		*task = path + 10;
	return true;
}

int plain_established(struct conn *c)
{
	struct session *s = session_new(SESSION_PLAIN, c->address);
	struct client *client = client_new(s, NSP_NONE);
	const char *channel = "";
	const char *task = "";
	char credential[LIMIT_CREDENTIAL];

	s->conn = c;
	c->s = s;
	c->kind = CONN_WS;
	(void)plain_path(c->path, &channel, &task);
	if (*channel)
		client->channel = xstrdup(channel);
	if (*task)
		client->channel_task = xstrdup(task);
	int got = http_credential(c, credential, sizeof(credential));

	if (got > 0)
		auth_begin(client, credential);
	else if (got < 0)
		auth_ticket(client, conn_arg(c, "ticket"));
	explicit_bzero(credential, sizeof(credential));
	return 0;
}

/* Sent before anything else; whatever else comes first ends the session. */
static void first_message(struct client *c, const struct jv *body)
{
	char header[LIMIT_CREDENTIAL];
	const char *token = jv_str(body, "token");
	const char *ticket = jv_str(body, "ticket");
	const char *type = jv_str(body, "type");

	if (!type || strcmp(type, "auth") != 0 || (!token && !ticket))
		session_close(c->s, CLOSE_UNAUTHENTICATED, "the first message must be auth, with a token or a ticket");
	else if (c->asking)
		session_close(c->s, CLOSE_PROTOCOL, "authentication is under way");
	else if (ticket)
		auth_ticket(c, ticket);
	else if (auth_header(token, header, sizeof(header)))
		auth_begin(c, header);
	else
		session_close(c->s, CLOSE_UNAUTHENTICATED, "authentication failed");
	explicit_bzero(header, sizeof(header));
}

/* A client that brought its credential with the handshake need not wait for our word before it speaks. */
static void keep(struct client *c, const char *text, size_t n)
{
	if (!c->early.p)
		buf_init(&c->early);
	if (c->early.n + n > EARLY_MAX) {
		session_close(c->s, CLOSE_TOO_MANY, "too many messages before auth.ok");
		return;
	}
	buf_add(&c->early, &n, sizeof(n));
	buf_add(&c->early, text, n);
}

void plain_welcomed(struct client *c)
{
	struct buf early = c->early;
	size_t n;

	c->early = (struct buf){ 0 };
	for (size_t at = 0; early.p && at < early.n; at += n) {
		memcpy(&n, early.p + at, sizeof(n));
		at += sizeof(n);
		plain_message(c->s, early.p + at, n, false);
	}
	if (early.p)
		buf_release(&early);
}

void plain_message(struct session *s, const char *text, size_t n, bool binary)
{
	struct client *c = s->clients;
	struct arena arena;
	struct error err;
	struct jv *body;

	arena_init_wiped(&arena);
	error_init(&err, &arena);
	if (binary || json_parse(&arena, text, n, 4, &body, &err) || body->type != J_OBJECT) {
		relay.count.bad++;
		session_close(s, CLOSE_INVALID_DATA, "a message must be one JSON object, as text");
	} else if (c->who) {
		command_plain(c, body);
	} else if (c->asking && !jv_get(body, "token") && !jv_get(body, "ticket")) {
		keep(c, text, n);
	} else {
		first_message(c, body);
	}
	arena_release(&arena);
}
