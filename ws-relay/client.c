// SPDX-License-Identifier: MIT
#include "client.h"

#include "../lib/base/clock.h"
#include "../lib/base/limits.h"
#include "../lib/base/secret.h"
#include "agents.h"
#include "channels.h"
#include "engineio.h"
#include "http.h"
#include "park.h"
#include "plain.h"
#include "socketio.h"

_Static_assert(TOLD_DIALECTS == DIALECTS, "each dialect remembers what it told");

static const struct reply no_reply = { .ack = -1 };

enum outlet client_outlet(const struct client *c)
{
	if (c->s->kind == SESSION_SSE)
		return OUT_SSE;
	return c->nsp == NSP_NONE ? OUT_PLAIN : (enum outlet)(OUT_NSP + c->nsp);
}

static void send_buf(struct client *c, struct buf *b)
{
	session_send(c->s, msg_new(b->p, b->n, false));
	buf_release(b);
}

static void send_plain(struct client *c, const char *type, const char *ref, const char *json, size_t n)
{
	struct buf b;
	struct jw w;

	buf_init(&b);
	jw_init(&w, &b);
	jw_obj(&w);
	jw_kstr(&w, "type", type);
	if (ref && *ref)
		jw_kraw(&w, "ref", ref);
	if (json) {
		jw_key(&w, "data");
		jw_rawn(&w, json, n);
	}
	jw_end_obj(&w);
	send_buf(c, &b);
}

static void send_event(struct client *c, const char *name, const char *json, size_t n)
{
	struct buf b;

	buf_init(&b);
	buf_addf(&b, "%s[\"%s\"", outlet_prefix(client_outlet(c)), name);
	if (json) {
		buf_addc(&b, ',');
		buf_add(&b, json, n);
	}
	buf_addc(&b, ']');
	send_buf(c, &b);
}

/* An event stream carries events alone; what else there is to say becomes one without an id. */
static void send_stream(struct client *c, const char *name, const char *json, size_t n)
{
	struct buf b;

	buf_init(&b);
	/* "error" is EventSource's own. */
	buf_addf(&b, "event: %s\ndata: ", strcmp(name, "error") == 0 ? "relay_error" : name);
	for (size_t i = 0; i < n; i++)
		buf_addc(&b, json[i] == '\n' || json[i] == '\r' ? ' ' : json[i]);
	buf_adds(&b, json ? "\n\n" : "null\n\n");
	send_buf(c, &b);
}

void client_emit(struct client *c, const char *name, const char *json, size_t n)
{
	if (c->s->kind == SESSION_SSE)
		send_stream(c, name, json, n);
	else if (c->nsp == NSP_NONE)
		send_plain(c, name, NULL, json, n);
	else
		send_event(c, name, json, n);
}

void client_say_object(struct client *c, const char *name, const char *json, size_t n)
{
	if (c->s->kind == SESSION_PLAIN)
		session_send(c->s, msg_new(json, n, false));
	else
		client_emit(c, name, json, n);
}

void client_answer(struct client *c, const struct reply *r, const char *type, const char *json, size_t n)
{
	struct buf b;

	if (c->nsp == NSP_NONE) {
		send_plain(c, type, r->ref, json, n);
		return;
	}
	if (r->ack < 0) {
		send_event(c, type, json, n);
		return;
	}
	buf_init(&b);
	buf_addf(&b, "43%s%lld[{\"success\":true,\"data\":", outlet_prefix(client_outlet(c)) + 2, (long long)r->ack);
	if (json)
		buf_add(&b, json, n);
	else
		buf_adds(&b, "null");
	buf_adds(&b, "}]");
	send_buf(c, &b);
}

static void write_error(struct jw *w, const char *code, const char *message)
{
	jw_kstr(w, "code", code);
	jw_kstr(w, "message", message);
}

void client_error(struct client *c, const struct reply *r, const char *code, const char *message)
{
	struct buf b;
	struct jw w;

	if (!r)
		r = &no_reply;
	buf_init(&b);
	jw_init(&w, &b);
	if (c->nsp != NSP_NONE && r->ack >= 0) {
		buf_addf(&b, "43%s%lld[", outlet_prefix(client_outlet(c)) + 2, (long long)r->ack);
		jw_obj(&w);
		jw_kbool(&w, "success", false);
		jw_key(&w, "error");
		jw_obj(&w);
		write_error(&w, code, message);
		jw_end_obj(&w);
		jw_end_obj(&w);
		buf_addc(&b, ']');
		send_buf(c, &b);
		return;
	}
	jw_obj(&w);
	if (c->nsp == NSP_NONE)
		jw_kstr(&w, "type", "error");
	write_error(&w, code, message);
	if (*r->ref)
		jw_kraw(&w, "ref", r->ref);
	jw_end_obj(&w);
	client_say_object(c, "error", b.p, b.n);
	buf_release(&b);
}

void client_refuse_from(struct client *c, const struct reply *r, const struct api_answer *a)
{
	struct arena arena;
	struct error err;
	struct jv *root;

	arena_init(&arena);
	error_init(&err, &arena);
	if (!a->status) {
		client_error(c, r, "unavailable", "The API cannot be reached; try again.");
	} else if (json_parse(&arena, a->body, a->body_len, 2, &root, &err)) {
		client_error(c, r, "internal_error", "The API's answer cannot be read.");
	} else {
		const struct jv *e = jv_get(root, "error");
		const char *code = jv_str(e, "code");
		const char *message = jv_str(e, "message");

		client_error(c, r, code ? code : "internal_error", message ? message : "The request was refused.");
	}
	arena_release(&arena);
}

/* --- events ------------------------------------------------------------------------------------------------------------ */

bool client_may_see(const struct client *c, const struct event *e)
{
	const struct identity *who = c->who;

	if (!who || (who->perms & e->need) != e->need)
		return false;
	return !e->task || !who->own_only || (e->agent_id && strcmp(e->agent_id, who->id) == 0);
}

void client_tell(struct client *c, struct event *e, enum dialect d)
{
	if (!client_may_see(c, e))
		return;
	if (e->seq && c->told[d] == e->seq)
		return;
	struct msg *m = event_said(e, d, client_outlet(c), c->who->clearance);

	if (!m)
		return;
	c->told[d] = e->seq;
	session_send_event(c->s, msg_ref(m));
}

/* --- the door ----------------------------------------------------------------------------------------------------------- */

static void write_welcome(struct client *c, struct buf *b)
{
	struct jw w;
	char expires[TIME_TEXT];

	buf_init(b);
	jw_init(&w, b);
	jw_obj(&w);
	jw_kstr(&w, "subject", c->who->id);
	jw_kstr(&w, "role", role_name(c->who->role));
	jw_key(&w, "permissions");
	perms_write(&w, c->who->perms);
	time_format(c->who->expires_ms, expires);
	jw_kstr(&w, "expires_at", c->who->expires_ms ? expires : NULL);
	jw_kstr(&w, "session", c->id);
	jw_kstr(&w, "last_event_id", events_last());
	jw_end_obj(&w);
}

void client_welcome(struct client *c)
{
	struct buf b;

	c->asking = false;
	session_known(c->s);
	if (c->s->kind == SESSION_EIO) {
		sio_welcome(c);
	} else if (c->s->kind == SESSION_PLAIN) {
		write_welcome(c, &b);
		client_emit(c, "auth.ok", b.p, b.n);
		buf_release(&b);
	} else {
		http_stream_begins(c->s);
	}
	channels_open(c);
	if (c->s->kind == SESSION_PLAIN)
		plain_welcomed(c);
}

void client_refused(struct client *c, int code, const char *text)
{
	c->asking = false;
	relay.count.refused++;
	if (c->s->kind == SESSION_EIO)
		sio_refuse(c, code, text);
	else if (c->s->kind == SESSION_SSE)
		http_stream_refused(c->s, code, text);
	else
		session_close(c->s, code, text);
}

void client_expelled(struct client *c, int code, const char *text)
{
	client_error(c, NULL, code == CLOSE_EXPIRED ? "token_expired" : "authentication_failed", text);
	if (c->s->kind == SESSION_EIO)
		sio_expel(c);
	else
		session_close(c->s, code, text);
}

/* --- asking the API ------------------------------------------------------------------------------------------------------- */

/* Those that count though their client has gone. */
static struct job *left;

static void job_unlink(struct job *j)
{
	for (struct job **p = j->c ? &j->c->jobs : &left; *p; p = &(*p)->next) {
		if (*p == j) {
			*p = j->next;
			break;
		}
	}
	if (j->c)
		j->c->n_jobs--;
}

static void on_answer(void *arg, const struct api_answer *a)
{
	struct job *j = arg;

	job_unlink(j);
	if (j->c) {
		j->done(j, a);
	} else {
		park_give_back(a, j->authorization, j->address);
		secret_free(j->authorization);
	}
	free(j);
}

/* The client goes: the job goes on for itself. */
static void leave_behind(struct job *j)
{
	j->authorization = xstrdup(j->c->who->authorization);
	snprintf(j->address, sizeof(j->address), "%s", j->c->s->address);
	j->c = NULL;
	j->sub = NULL;
	j->next = left;
	left = j;
}

struct job *client_ask(struct client *c, const char *method, const char *path, const char *query, const char *body,
		       size_t n, const struct reply *r, job_done *done)
{
	struct api_request q = { .method = method, .path = path, .query = query, .authorization = c->who->authorization,
				 .address = c->s->address, .body = body, .body_len = n };

	if (c->n_jobs >= LIMIT_WS_JOBS) {
		client_error(c, r, "overloaded", "Too many requests of this connection are under way; wait for answers.");
		return NULL;
	}
	struct job *j = xcalloc(1, sizeof(*j));

	j->c = c;
	j->done = done;
	j->reply = r ? *r : no_reply;
	j->next = c->jobs;
	c->jobs = j;
	c->n_jobs++;
	j->call = api_ask(&q, on_answer, j);
	return j;
}

void jobs_drop(struct client *c)
{
	while (c->jobs) {
		struct job *j = c->jobs;

		c->jobs = j->next;
		if (j->counts) {
			leave_behind(j);
		} else {
			api_forget(j->call);
			free(j);
		}
	}
	c->n_jobs = 0;
}

bool answer_data(const struct api_answer *a, struct arena *arena, struct jv **data, int depth)
{
	struct error err;
	struct jv *root;

	error_init(&err, arena);
	if (a->status < 200 || a->status > 299 || json_parse(arena, a->body, a->body_len, depth + 1, &root, &err))
		return false;
	*data = (struct jv *)(uintptr_t)jv_get(root, "data");
	return *data != NULL;
}
