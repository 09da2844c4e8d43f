// SPDX-License-Identifier: MIT
#include "socketio.h"

#include "agents.h"
#include "commands.h"
#include "eio_session.h"
#include "engineio.h"

static const char *const nsp_names[NSP_COUNT] = { "/", "/agents", "/mcp/ws" };

static void broken(struct session *s)
{
	relay.count.bad++;
	session_close(s, CLOSE_PROTOCOL, "not a Socket.IO packet");
}

static enum nsp nsp_of(const struct sio_packet *k)
{
	for (int i = 0; i < NSP_COUNT; i++) {
		if (strlen(nsp_names[i]) == k->nsp_len && memcmp(nsp_names[i], k->nsp, k->nsp_len) == 0)
			return (enum nsp)i;
	}
	return NSP_NONE;
}

static struct client *client_in(struct session *s, enum nsp nsp)
{
	for (struct client *c = s->clients; c; c = c->next) {
		if (c->nsp == nsp)
			return c;
	}
	return NULL;
}

/* "<type>/nsp," and an object. */
static void send_to_nsp(struct session *s, char type, const char *nsp, size_t nsp_len, const char *json)
{
	struct buf b;

	buf_init(&b);
	buf_addc(&b, type);
	if (nsp_len > 1) {
		buf_add(&b, nsp, nsp_len);
		buf_addc(&b, ',');
	}
	buf_adds(&b, json);
	eio_send(s, b.p, b.n);
	buf_release(&b);
}

/* --- coming in --------------------------------------------------------------------------------------------------------- */

void sio_welcome(struct client *c)
{
	char json[64];
	const char *nsp = nsp_names[c->nsp];

	snprintf(json, sizeof(json), "{\"sid\":\"%s\"}", c->id);
	send_to_nsp(c->s, '0', nsp, strlen(nsp), json);
	agents_connected(c);
}

static void refuse(struct session *s, const char *nsp, size_t nsp_len, const char *message, int code)
{
	struct buf b;
	struct jw w;

	buf_init(&b);
	jw_init(&w, &b);
	jw_obj(&w);
	jw_kstr(&w, "message", message);
	if (code) {
		jw_key(&w, "data");
		jw_obj(&w);
		jw_kint(&w, "code", code);
		jw_end_obj(&w);
	}
	jw_end_obj(&w);
	send_to_nsp(s, '4', nsp, nsp_len, b.p);
	buf_release(&b);
}

/* A client without a namespace has a few seconds to find one. */
static void leave_nsp(struct client *c)
{
	struct session *s = c->s;

	client_free(c);
	/* A refusal gives no more time than there was. */
	if (!s->clients)
		session_unknown(s);
}

void sio_refuse(struct client *c, int code, const char *text)
{
	const char *nsp = nsp_names[c->nsp];

	refuse(c->s, nsp, strlen(nsp), text, code);
	leave_nsp(c);
}

void sio_expel(struct client *c)
{
	const char *nsp = nsp_names[c->nsp];

	send_to_nsp(c->s, '1', nsp, strlen(nsp), "");
	leave_nsp(c);
}

static void do_connect(struct session *s, const struct sio_packet *k)
{
	const char *token = jv_str(k->body, "token");
	const char *ticket = jv_str(k->body, "ticket");
	const char *key = jv_str(k->body, "api_key");
	char header[LIMIT_CREDENTIAL] = "";
	enum nsp nsp = nsp_of(k);

	if (nsp == NSP_NONE) {
		refuse(s, k->nsp, k->nsp_len, "Invalid namespace", 0);
		return;
	}
	if (client_in(s, nsp)) {
		refuse(s, k->nsp, k->nsp_len, "already connected", 0);
		return;
	}
	struct client *c = client_new(s, nsp);

	c->slots = (int)jv_int_or(k->body, "slots", 0);
	c->idle = !jv_bool_or(k->body, "ready", true);
	if (ticket)
		auth_ticket(c, ticket);
	else if (token ? auth_header(token, header, sizeof(header))
		       : key && (size_t)snprintf(header, sizeof(header), "ApiKey %s", key) < sizeof(header))
		auth_begin(c, header);
	else if (!token && !key && s->eio->authorization)
		auth_begin(c, s->eio->authorization);
	else
		client_refused(c, CLOSE_UNAUTHENTICATED, "authentication failed");
	explicit_bzero(header, sizeof(header));
}

/* --- the suites' echo ---------------------------------------------------------------------------------------------------- */

static void echo_connect(struct session *s, const struct sio_packet *k)
{
	bool custom = k->nsp_len == 7 && memcmp(k->nsp, "/custom", 7) == 0;
	char id[ID_TEXT];
	char json[64];
	struct buf b;

	if (!custom && k->nsp_len != 1) {
		refuse(s, k->nsp, k->nsp_len, "Invalid namespace", 0);
		return;
	}
	session_known(s);
	id_new(id);
	snprintf(json, sizeof(json), "{\"sid\":\"%s\"}", id);
	send_to_nsp(s, '0', k->nsp, k->nsp_len, json);
	buf_init(&b);
	buf_adds(&b, "[\"auth\",");
	if (k->n)
		buf_add(&b, k->data, k->n);
	else
		buf_adds(&b, "{}");
	buf_addc(&b, ']');
	send_to_nsp(s, '2', k->nsp, k->nsp_len, b.p);
	buf_release(&b);
}

static void echo_event(struct session *s, const struct sio_packet *k, const struct sio_pending *p)
{
	const struct jv *name = k->body->child;
	const char *rest = name->next ? name->next->raw : k->data + k->n - 1;
	size_t rest_len = (size_t)(k->data + k->n - rest);	/* with the bracket */
	bool with_ack = k->ack >= 0;
	struct buf b;

	buf_init(&b);
	buf_addc(&b, (char)((with_ack ? SIO_ACK : SIO_EVENT) + (k->attachments ? 3 : 0) + '0'));
	if (k->attachments)
		buf_addf(&b, "%d-", k->attachments);
	if (k->nsp_len > 1)
		buf_addf(&b, "%.*s,", (int)k->nsp_len, k->nsp);
	if (with_ack)
		buf_addf(&b, "%lld[", (long long)k->ack);
	else
		buf_addf(&b, "[\"message-back\"%s", name->next ? "," : "");
	buf_add(&b, rest, rest_len);
	eio_send(s, b.p, b.n);
	for (int i = 0; i < k->attachments; i++)
		eio_send_binary(s, p->parts[i].data, p->parts[i].n);
	buf_release(&b);
}

static void echo(struct session *s, const struct sio_packet *k, const struct sio_pending *p)
{
	if (k->type == SIO_CONNECT)
		echo_connect(s, k);
	else if (k->type == SIO_EVENT || k->type == SIO_BINARY_EVENT)
		echo_event(s, k, p);
}

/* --- packets ---------------------------------------------------------------------------------------------------------------- */

/* The first argument behind the name; with attachments put in. */
static const struct jv *argument(struct arena *a, const struct sio_packet *k, const struct sio_pending *p, bool *bad)
{
	const struct jv *arg = k->body->child;
	const char *text;
	struct jv *root;
	struct error err;
	size_t n;

	*bad = false;
	if (arg && (k->type == SIO_EVENT || k->type == SIO_BINARY_EVENT))
		arg = arg->next;
	if (!arg || !k->attachments)
		return arg;
	error_init(&err, a);
	text = sio_fill(a, arg->raw, arg->raw_len, p->parts, p->got, &n);
	*bad = !text || json_parse(a, text, n, 4, &root, &err) != OK;
	return *bad ? NULL : root;
}

static void handle(struct session *s, struct arena *a, const struct sio_packet *k, const struct sio_pending *p)
{
	struct client *c;
	bool bad;

	if (relay.conformance) {
		echo(s, k, p);
		return;
	}
	if (k->type == SIO_CONNECT) {
		do_connect(s, k);
		return;
	}
	c = client_in(s, nsp_of(k));
	if (!c)
		return;
	if (k->type == SIO_DISCONNECT) {
		leave_nsp(c);
		return;
	}
	const struct jv *arg = argument(a, k, p, &bad);

	if (bad)
		broken(s);
	else if (!c->who)
		client_error(c, NULL, "authentication_failed", "wait for the connection first");
	else if (k->type == SIO_ACK || k->type == SIO_BINARY_ACK)
		agents_acknowledged(c, k->ack, arg);
	else
		command_event(c, k->body->child->str, arg, k->ack);
}

static void pending_clear(struct sio_pending *p)
{
	for (int i = 0; i < p->got; i++)
		free((void *)(uintptr_t)p->parts[i].data);
	free(p->text);
	*p = (struct sio_pending){ 0 };
}

void sio_message(struct session *s, const char *text, size_t n)
{
	struct sio_pending *p = &s->eio->pending;
	struct sio_packet k;
	struct arena arena;

	arena_init_wiped(&arena);
	if (p->text || !sio_packet_read(text, n, &arena, &k)) {
		broken(s);
	} else if (k.attachments) {
		p->text = xmalloc(n);
		memcpy(p->text, text, n);
		p->n = n;
		p->want = k.attachments;
	} else {
		handle(s, &arena, &k, p);
	}
	arena_release(&arena);
}

void sio_attachment(struct session *s, const char *data, size_t n)
{
	struct sio_pending *p = &s->eio->pending;
	struct sio_packet k;
	struct arena arena;

	if (!p->text || p->bytes + n > session_largest(s)) {
		broken(s);
		return;
	}
	char *copy = xmalloc(n + 1);

	memcpy(copy, data, n);
	p->parts[p->got++] = (struct sio_part){ copy, n };
	p->bytes += n;
	if (p->got < p->want)
		return;
	struct sio_pending whole = *p;

	*p = (struct sio_pending){ 0 };
	arena_init_wiped(&arena);
	if (sio_packet_read(whole.text, whole.n, &arena, &k))
		handle(s, &arena, &k, &whole);
	arena_release(&arena);
	pending_clear(&whole);
}

void sio_gone(struct session *s)
{
	pending_clear(&s->eio->pending);
}
