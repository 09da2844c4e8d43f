// SPDX-License-Identifier: MIT
/* What scenarios need before they run: a log-in, agents with tokens, requests that are waited for. */
#include "load.h"

#define ALL_2XX UINT32_MAX

struct waited {
	struct load *load;
	bool done;
	int status;
	const struct jv *data;
	char text[301];
};

static void on_waited(struct conn *c, int status, const char *body, size_t n)
{
	struct waited *w = c->arg;

	w->done = true;
	w->status = status;
	snprintf(w->text, sizeof(w->text), "%s", body);
	w->data = answer_data(w->load, body, n);
}

const struct jv *load_request(struct load *l, const char *method, const char *path, const char *token,
			      const char *body, uint32_t want)
{
	static struct conn conn;
	struct waited w = { .load = l };
	bool ignored;

	if (!conn.client)
		conn_init(&conn, &l->client, NULL);
	conn.arg = &w;
	conn_call(&conn, method, path, token, body, body ? strlen(body) : 0, on_waited);
	while (!w.done)
		client_poll(&l->client, 1000, -1, &ignored);
	if (w.status < 200 || w.status >= 232 || !(want & WANT(w.status)) || !w.data)
		die("%s %s: status %d: %s", method, path, w.status, w.text);
	return w.data;
}

static void take_token(const struct jv *data, char out[TOKEN_TEXT])
{
	const char *token = jv_str(data, "access_token");

	if (!token || strlen(token) >= TOKEN_TEXT)
		die("the answer to a log-in has no access_token");
	snprintf(out, TOKEN_TEXT, "%s", token);
}

void load_login(struct load *l, const char *user, const char *password)
{
	struct buf b;
	struct jw w;

	buf_init(&b);
	jw_init(&w, &b);
	jw_obj(&w);
	jw_kstr(&w, "username", user);
	jw_kstr(&w, "password", password);
	jw_end_obj(&w);
	take_token(load_request(l, "POST", "/auth/login", NULL, b.p, WANT(200)), l->admin);
	buf_release(&b);
}

void load_register_agents(struct load *l, int n)
{
	struct buf b;

	l->n_agents = n;
	l->agents = xcalloc((size_t)n, sizeof(*l->agents));
	buf_init(&b);
	for (int i = 0; i < n; i++) {
		struct agent *a = &l->agents[i];

		buf_reset(&b);
		buf_addf(&b, "{\"name\":\"%s-%d\",\"type\":\"worker\",\"capabilities\":[\"%s\"]}", l->label, i, l->label);
		const struct jv *data = load_request(l, "POST", "/agents/register", l->admin, b.p, ALL_2XX);
		const char *id = jv_str(data, "agent_id");
		const char *secret = jv_str(data, "auth_token");

		if (!id || strlen(id) != ID_LEN || !secret)
			die("the answer to a registration has no agent_id or auth_token");
		snprintf(a->id, sizeof(a->id), "%s", id);
		buf_reset(&b);
		buf_addf(&b, "{\"agent_id\":\"%s\",\"auth_token\":\"%s\"}", id, secret);
		take_token(load_request(l, "POST", "/auth/token", NULL, b.p, WANT(200)), a->token);
	}
	buf_release(&b);
}

/* About 300 bytes, like a small real task. */
void task_body(struct buf *b, const struct load *l, const char *capability, int64_t serial)
{
	(void)l;
	buf_addf(b, "{\"type\":\"bench-task\",\"priority\":\"medium\",\"parameters\":{\"serial\":%lld,\"text\":"
		 "\"A parameter of ordinary length, as callers send them\",\"values\":[1,2,3.5,true,null]},"
		 "\"requirements\":{\"capabilities\":[\"%s\"]}}", (long long)serial, capability);
}
