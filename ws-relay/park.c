// SPDX-License-Identifier: MIT
#include "park.h"

#include <libwebsockets.h>

#include "../lib/base/clock.h"
#include "../lib/base/limits.h"
#include "../lib/base/log.h"
#include "../lib/base/schema.h"
#include "client.h"
#include "seek.h"

struct waiter {
	struct seeker k;
	struct waiter *next, *prev;
	struct conn *c;			/* NULL: it has gone, but a claim is under way */
	char path[80];
	char *authorization, *body, *request_id;
	char address[IP_TEXT];
	struct arena arena;		/* the types */
	int64_t until_us;
	bool seeking, ended;		/* ended: answer with what there is */
	struct buf last;		/* headers and body of the last claim, which brought nothing */
	size_t last_head;
};

static struct {
	struct waiter *head;
	int n;
	bool stopping;
} park;

static void waiter_free(struct waiter *w)
{
	if (w->seeking)
		seek_remove(&w->k);
	if (w->prev)
		w->prev->next = w->next;
	else
		park.head = w->next;
	if (w->next)
		w->next->prev = w->prev;
	park.n--;
	if (w->c) {
		w->c->waiter = NULL;
		w->c->kind = CONN_HTTP;
	}
	explicit_bzero(w->authorization, strlen(w->authorization));
	free(w->authorization);
	free(w->body);
	free(w->request_id);
	arena_release(&w->arena);
	buf_release(&w->last);
	free(w);
}

/* mcp-api's answer as the caller's. Its Content-Length is ours to write. */
static void pass_on(struct waiter *w, int status, const char *head, size_t head_len, const char *body, size_t n)
{
	struct conn *c = w->c;
	char *extra = xmalloc(head_len + 1);

	memcpy(extra, head, head_len);
	extra[head_len] = '\0';
	waiter_free(w);
	http_answer(c, status, extra, NULL, body, n);
	free(extra);
}

/* What the last claim said, which was nothing; or that none could be made. */
static void answer_empty(struct waiter *w)
{
	struct buf last = w->last;

	if (!last.n) {
		struct conn *c = w->c;

		waiter_free(w);
		http_error(c, ERR_UNAVAILABLE, "The API cannot be reached; nothing was claimed.");
		return;
	}
	w->last = (struct buf){ 0 };
	buf_init(&w->last);
	pass_on(w, 200, last.p, w->last_head, last.p + w->last_head, last.n - w->last_head);
	buf_release(&last);
}

/* --- claims ------------------------------------------------------------------------------------------------------------- */

static void on_released(void *arg, const struct api_answer *a)
{
	(void)arg;
	if (a->status != 200)
		log_warn("a task could not be given back (%d); its lease will run out", a->status);
}

void park_give_back(const struct api_answer *a, const char *authorization, const char *address)
{
	struct arena arena;
	struct jv *data;

	arena_init(&arena);
	if (answer_data(a, &arena, &data, 4)) {
		const struct jv *tasks = jv_get(data, "tasks");

		for (const struct jv *t = tasks ? tasks->child : NULL; t; t = t->next) {
			char *path = arena_printf(&arena, "/api/v1/tasks/%s/release", jv_str(t, "task_id"));
			char *body = arena_printf(&arena, "{\"fence\":%lld}", (long long)jv_int_or(t, "fence", 0));
			struct api_request r = { .method = "POST", .path = path, .authorization = authorization,
						 .address = address, .body = body, .body_len = strlen(body) };

			api_ask(&r, on_released, NULL);
		}
	}
	arena_release(&arena);
}

static void stop_seeking(struct waiter *w)
{
	if (w->seeking)
		seek_remove(&w->k);
	w->seeking = false;
}

static bool over_now(const struct waiter *w)
{
	return w->ended || park.stopping || mono_us() >= w->until_us || seek_drains(w->k.agent_id);
}

static void on_claim(void *arg, const struct api_answer *a)
{
	struct waiter *w = arg;
	enum outcome how = seek_outcome(a);
	bool nothing = how == SEEK_EMPTY || how == SEEK_FULL;
	/* An API that is started anew is back in no time: whoever waits anyway can wait for that. */
	bool stays = w->c && w->seeking && (nothing || !a->status) && !over_now(w);

	if (w->c && nothing) {
		buf_reset(&w->last);
		buf_add(&w->last, a->head, a->head_len);
		w->last_head = a->head_len;
		buf_add(&w->last, a->body, a->body_len);
	}
	if (!stays)
		stop_seeking(w);
	seek_ended(&w->k, how);
	if (stays)
		return;
	if (!w->c) {
		park_give_back(a, w->authorization, w->address);
		waiter_free(w);
	} else if (nothing || !a->status) {
		answer_empty(w);
	} else {
		relay.count.claims++;
		pass_on(w, a->status, a->head, a->head_len, a->body, a->body_len);
	}
}

static void claim(struct seeker *k)
{
	struct waiter *w = (struct waiter *)((char *)k - offsetof(struct waiter, k));
	struct api_request r = { .method = "POST", .path = w->path, .authorization = w->authorization,
				 .request_id = w->request_id, .address = w->address, .body = w->body,
				 .body_len = strlen(w->body) };

	seek_begins(k);
	api_ask(&r, on_claim, w);
}

/* The agent drains: one last look is under way already, or what the last one said is the answer. */
static void over(struct seeker *k)
{
	struct waiter *w = (struct waiter *)((char *)k - offsetof(struct waiter, k));

	w->ended = true;
	if (!k->claiming)
		answer_empty(w);
}

/* --- coming and going -------------------------------------------------------------------------------------------------------- */

/* 0 to LIMIT_WAIT_S seconds, and nothing else in the query; else mcp-api has something to say about it. */
static int wait_of(const struct conn *c)
{
	const char *text = conn_arg(c, "wait");
	char *end;

	if (c->n_args != 1 || !text || !*text || strlen(text) > 2 || strspn(text, "0123456789") != strlen(text))
		return -1;
	long n = strtol(text, &end, 10);

	return n <= LIMIT_WAIT_S ? (int)n : -1;
}

static void read_types(struct waiter *w)
{
	struct error err;
	struct jv *root;
	int n = 0;

	error_init(&err, &w->arena);
	if (json_parse(&w->arena, w->body, strlen(w->body), 3, &root, &err))
		return;
	const struct jv *types = jv_get(root, "types");

	if (!types || types->type != J_ARRAY)
		return;
	w->k.types.v = arena_calloc(&w->arena, types->n + 1u, sizeof(char *));
	for (const struct jv *t = types->child; t; t = t->next) {
		if (t->type == J_STRING)
			w->k.types.v[n++] = t->str;
	}
	w->k.types.n = n;
}

static void to_query(struct buf *b, const char *text)
{
	for (; *text; text++) {
		if (strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~", *text))
			buf_addc(b, *text);
		else
			buf_addf(b, "%%%02X", (unsigned char)*text);
	}
}

static void on_passed(void *arg, const struct api_answer *a)
{
	struct waiter *w = arg;

	w->k.claiming = false;
	if (!w->c)
		waiter_free(w);
	else if (a->status)
		pass_on(w, a->status, a->head, a->head_len, a->body, a->body_len);
	else
		on_claim(w, a);
}

/* Not a claim that waits: the request as it is, with what is wrong with it. */
static void pass_request(struct waiter *w, const struct conn *c)
{
	struct buf q;

	buf_init(&q);
	for (int i = 0; i < c->n_args && q.n < 1500; i++) {
		if (i)
			buf_addc(&q, '&');
		to_query(&q, c->args[i].name);
		buf_addc(&q, '=');
		to_query(&q, c->args[i].value);
	}
	struct api_request r = { .method = "POST", .path = w->path, .query = q.n ? q.p : NULL, .authorization = w->authorization,
				 .request_id = w->request_id, .address = w->address, .body = w->body, .body_len = strlen(w->body) };

	w->k.claiming = true;
	api_ask(&r, on_passed, w);
	buf_release(&q);
}

void park_request(struct conn *c)
{
	struct waiter *w = xcalloc(1, sizeof(*w));
	int wait = wait_of(c);
	size_t n = c->body.p ? c->body.n : 0;

	if (sessions_count() + park.n >= relay.cfg.max_connections) {
		free(w);
		http_error(c, ERR_BUSY, "The relay holds as many connections as it may; try again.");
		return;
	}
	snprintf(w->path, sizeof(w->path), "%s", c->path);
	snprintf(w->k.agent_id, sizeof(w->k.agent_id), "%.36s", c->path + 15);
	snprintf(w->address, sizeof(w->address), "%s", c->address);
	w->authorization = xstrdup(c->authorization ? c->authorization : "");
	w->request_id = c->request_id ? xstrdup(c->request_id) : NULL;
	w->body = xmalloc(n + 1);
	memcpy(w->body, c->body.p ? c->body.p : "", n);
	w->body[n] = '\0';
	w->c = c;
	w->k.authorization = w->authorization;
	w->k.address = w->address;
	w->k.claim = claim;
	w->k.over = over;
	w->until_us = mono_us() + wait * 1000000LL;
	arena_init(&w->arena);
	buf_init(&w->last);
	w->next = park.head;
	if (park.head)
		park.head->prev = w;
	park.head = w;
	park.n++;
	c->kind = CONN_CLAIM;
	c->waiter = w;
	lws_set_timeout(c->wsi, NO_PENDING_TIMEOUT, 0);
	if (wait < 0 || !*w->authorization || !id_valid(w->k.agent_id) || strlen(w->body) != n) {
		pass_request(w, c);
		return;
	}
	read_types(w);
	relay.count.parked++;
	/* In the list first, then look: what comes between is not missed. */
	if (wait > 0) {
		w->seeking = true;
		seek_add(&w->k);
	}
	claim(&w->k);
}

void park_gone(struct conn *c)
{
	struct waiter *w = c->waiter;

	if (!w)
		return;
	c->waiter = NULL;
	w->c = NULL;
	if (!w->k.claiming) {
		waiter_free(w);
	} else {
		stop_seeking(w);
	}
}

void park_tick(void)
{
	int64_t now = mono_us();

	for (struct waiter *w = park.head, *next; w; w = next) {
		next = w->next;
		if (now >= w->until_us && w->c && !w->k.claiming)
			answer_empty(w);
	}
}

void park_stop(void)
{
	park.stopping = true;
	for (struct waiter *w = park.head, *next; w; w = next) {
		next = w->next;
		if (w->c && !w->k.claiming)
			answer_empty(w);
	}
}

int park_count(void)
{
	return park.n;
}
