// SPDX-License-Identifier: MIT
#include "agents.h"

#include "../lib/base/clock.h"
#include "../lib/base/limits.h"
#include "../lib/base/log.h"
#include "commands.h"
#include "hands.h"
#include "park.h"

#define TABLE 4096	/* a power of two */
#define HEARD_US 65000000	/* three pings: who answered none is not vouched for */

static struct {
	struct held *by_task[TABLE];
	struct hands *head;
} all;

/* --- tasks in hand ---------------------------------------------------------------------------------------------------- */

static struct held **place(const char *task_id)
{
	uint32_t h = 2166136261u;

	for (const char *p = task_id; *p; p++)
		h = (h ^ (unsigned char)*p) * 16777619u;
	return &all.by_task[h & (TABLE - 1)];
}

struct held *held_find(const struct hands *h, const char *task_id)
{
	if (!task_id)
		return NULL;
	for (struct held *t = *place(task_id); t; t = t->next_here) {
		if (strcmp(t->task_id, task_id) == 0 && t->h == h)
			return t;
	}
	return NULL;
}

void held_drop(struct held *t)
{
	for (struct held **p = place(t->task_id); *p; p = &(*p)->next_here) {
		if (*p == t) {
			*p = t->next_here;
			break;
		}
	}
	for (struct held **p = &t->h->held; *p; p = &(*p)->next) {
		if (*p == t) {
			*p = t->next;
			t->h->n--;
			break;
		}
	}
	t->h->k.full = t->h->n >= t->h->slots;
	free(t);
}

static void send_delegate(struct hands *h, struct held *t, const struct jv *task)
{
	struct client *c = h->c;
	struct buf b;
	struct jw w;

	buf_init(&b);
	jw_init(&w, &b);
	if (c->nsp != NSP_NONE)
		buf_addf(&b, "%s%lld[\"task:delegate\",", outlet_prefix(client_outlet(c)), (long long)t->ack);
	write_delegate(&w, task, h->whole);
	if (c->nsp != NSP_NONE)
		buf_addc(&b, ']');
	session_send(c->s, msg_new(b.p, b.n, false));
	buf_release(&b);
}

void hand_over(struct hands *h, const struct jv *task)
{
	const char *id = jv_str(task, "task_id");
	struct held *t;

	if (!id || strlen(id) != ID_LEN || held_find(h, id))
		return;
	t = xcalloc(1, sizeof(*t));
	memcpy(t->task_id, id, ID_TEXT);
	t->fence = jv_int_or(task, "fence", 0);
	t->attempt = jv_int_or(task, "attempt", 0);
	t->ack = h->next_ack++;
	t->h = h;
	t->next = h->held;
	h->held = t;
	h->n++;
	h->k.full = h->n >= h->slots;
	t->next_here = *place(id);
	*place(id) = t;
	relay.count.delegated++;
	send_delegate(h, t, task);
}

/* How many of the answer's tasks were handed over; -1: it was no claim's answer. */
int hand_over_all(struct hands *h, const struct api_answer *a)
{
	struct arena arena;
	struct jv *data;
	int n = -1;

	arena_init_wiped(&arena);
	if (answer_data(a, &arena, &data, 4)) {
		const struct jv *tasks = jv_get(data, "tasks");

		n = tasks ? (int)tasks->n : 0;
		for (const struct jv *t = tasks ? tasks->child : NULL; t; t = t->next)
			hand_over(h, t);
	}
	arena_release(&arena);
	return n;
}

static void tell_lost(struct held *t, const char *why)
{
	struct hands *h = t->h;
	char json[128];
	int n = snprintf(json, sizeof(json), "{\"task_id\":\"%s\",\"reason\":\"%s\"}", t->task_id, why);

	held_drop(t);
	client_emit(h->c, "task:cancelled", json, (size_t)n);
	hands_claim(h);
}

/* --- claiming ------------------------------------------------------------------------------------------------------------ */

static void hands_free(struct hands *h)
{
	while (h->held)
		held_drop(h->held);
	if (h->seeking)
		seek_remove(&h->k);
	if (h->prev)
		h->prev->next = h->next;
	else
		all.head = h->next;
	if (h->next)
		h->next->prev = h->prev;
	if (h->c)
		h->c->hands = NULL;
	explicit_bzero(h->authorization, strlen(h->authorization));
	free(h->authorization);
	arena_release(&h->arena);
	free(h);
}

void stop_seeking(struct hands *h)
{
	if (h->seeking)
		seek_remove(&h->k);
	h->seeking = false;
}

static void on_claim(void *arg, const struct api_answer *a)
{
	struct hands *h = arg;

	enum outcome how = seek_outcome(a);
	bool refused = a->status == 401 || a->status == 403 || a->status == 404;

	/* Nothing more goes out on a line that is being closed, though its client is still there. */
	if (!h->c || h->c->s->closing) {
		stop_seeking(h);
		park_give_back(a, h->authorization, h->address);
	} else if (refused) {
		stop_seeking(h);
		client_refuse_from(h->c, NULL, a);
	} else {
		hand_over_all(h, a);
	}
	seek_ended(&h->k, how);
	if (h->c && how == SEEK_GOT)
		hands_claim(h);
	else if (!h->c && !h->beating)
		hands_free(h);
}

void write_claim(const struct hands *h, struct jw *w, int max)
{
	jw_obj(w);
	jw_kint(w, "max", max);
	if (h->types_json)
		jw_kraw(w, "types", h->types_json);
	jw_end_obj(w);
}

void hands_claim(struct hands *h)
{
	int room = h->slots - h->n;
	char path[80];
	struct buf b;
	struct jw w;

	if (h->seeking && (relay.draining || h->c->s->closing))
		stop_seeking(h);
	if (room <= 0 || h->k.claiming || !h->seeking)
		return;
	buf_init(&b);
	jw_init(&w, &b);
	write_claim(h, &w, room);
	snprintf(path, sizeof(path), "/api/v1/agents/%s/claim", h->k.agent_id);
	struct api_request r = { .method = "POST", .path = path, .authorization = h->authorization, .address = h->address,
				 .body = b.p, .body_len = b.n };

	seek_begins(&h->k);
	api_ask(&r, on_claim, h);
	buf_release(&b);
}

static void claim(struct seeker *k)
{
	hands_claim((struct hands *)((char *)k - offsetof(struct hands, k)));
}

static void over(struct seeker *k)
{
	static const char json[] = "{\"command\":\"drain\"}";
	struct hands *h = (struct hands *)((char *)k - offsetof(struct hands, k));

	stop_seeking(h);
	client_emit(h->c, "agent:command", json, sizeof(json) - 1);
}

/* --- delegated by name ------------------------------------------------------------------------------------------------------- */

static void on_task(struct job *j, const struct api_answer *a)
{
	struct hands *h = j->c->hands;
	struct arena arena;
	struct jv *task;

	arena_init_wiped(&arena);
	if (h && !j->c->s->closing && answer_data(a, &arena, &task, 3)) {
		const char *status = jv_str(task, "status");
		const char *agent = jv_str(task, "assigned_agent_id");

		if (status && agent && strcmp(status, "assigned") == 0 && strcmp(agent, h->k.agent_id) == 0)
			hand_over(h, task);
	}
	arena_release(&arena);
}

static void fetch(struct client *c, const char *task_id)
{
	char path[80];

	if (strlen(task_id) != ID_LEN || held_find(c->hands, task_id))
		return;
	snprintf(path, sizeof(path), "/api/v1/tasks/%s", task_id);
	client_ask(c, "GET", path, NULL, NULL, 0, NULL, on_task);
}

static void on_assigned(struct job *j, const struct api_answer *a)
{
	struct arena arena;
	struct jv *list;

	arena_init(&arena);
	if (j->c->hands && answer_data(a, &arena, &list, 2)) {
		for (const struct jv *t = list->child; t; t = t->next) {
			if (jv_str(t, "task_id"))
				fetch(j->c, jv_str(t, "task_id"));
		}
	}
	arena_release(&arena);
}

/* --- being ready ---------------------------------------------------------------------------------------------------------------- */

static void set_types(struct hands *h, const struct jv *types)
{
	int n = 0;

	arena_reset(&h->arena);
	h->k.types = (struct strs){ 0 };
	h->types_json = NULL;
	if (!types || types->type != J_ARRAY || !types->n)
		return;
	h->types_json = arena_strndup(&h->arena, types->raw, types->raw_len);
	h->k.types.v = arena_calloc(&h->arena, types->n, sizeof(char *));
	for (const struct jv *t = types->child; t; t = t->next) {
		if (t->type == J_STRING)
			h->k.types.v[n++] = arena_strdup(&h->arena, t->str);
	}
	h->k.types.n = n;
}

static struct hands *hands_new(struct client *c)
{
	struct hands *h = xcalloc(1, sizeof(*h));

	h->c = c;
	c->hands = h;
	h->k.claim = claim;
	h->k.over = over;
	h->k.deaf = true;
	snprintf(h->k.agent_id, sizeof(h->k.agent_id), "%s", c->who->id);
	h->authorization = xstrdup(c->who->authorization);
	snprintf(h->address, sizeof(h->address), "%s", c->s->address);
	h->k.authorization = h->authorization;
	h->k.address = h->address;
	arena_init(&h->arena);
	h->beat_us = mono_us();
	h->next = all.head;
	if (all.head)
		all.head->prev = h;
	all.head = h;
	return h;
}

void hands_ready(struct client *c, int64_t slots, const struct jv *types)
{
	struct hands *h = c->hands ? c->hands : hands_new(c);
	char query[96];

	stop_seeking(h);
	/* A claim that is under way asks for what was wanted before. */
	h->k.again = h->k.claiming;
	h->slots = (int)(slots < 0 ? 0 : slots > LIMIT_WS_SLOTS ? LIMIT_WS_SLOTS : slots);
	h->k.full = h->n >= h->slots;
	set_types(h, types);
	if (!h->slots)
		return;
	h->seeking = true;
	seek_add(&h->k);
	/* Alive at once: an agent that was taken for dead is given nothing. */
	hands_beat(h);
	hands_claim(h);
	snprintf(query, sizeof(query), "agent_id=%s&status=assigned&limit=100", h->k.agent_id);
	client_ask(c, "GET", "/api/v1/tasks", query, NULL, 0, NULL, on_assigned);
}

void agents_leave(struct client *c)
{
	struct hands *h = c->hands;

	if (!h)
		return;
	c->hands = NULL;
	while (h->held)
		held_drop(h->held);
	stop_seeking(h);
	h->c = NULL;
	if (!h->k.claiming && !h->beating)
		hands_free(h);
}

/* --- events ------------------------------------------------------------------------------------------------------------------------ */

static bool ends(const char *type)
{
	return strcmp(type, "task.completed") == 0 || strcmp(type, "task.failed") == 0 || strcmp(type, "task.retrying") == 0 ||
	       strcmp(type, "task.cancelled") == 0;
}

/* Delegated by name: assigned, and not begun. */
static void delegated(const struct event *e)
{
	struct hands *next;

	if (!e->status || strcmp(e->status, "assigned") != 0)
		return;
	for (struct hands *h = all.head; h; h = next) {
		next = h->next;
		if (h->c && !h->c->s->closing && strcmp(h->k.agent_id, e->agent_id) == 0) {
			fetch(h->c, e->task_id);
			return;
		}
	}
}

/*
 * Who holds the task whose end this tells. Events may be told late, when the task was claimed anew: what another agent's
 * try, or an earlier one, came to takes nothing away.
 */
static struct held *ended(const struct event *e)
{
	int64_t attempt = jv_int_or(e->data, "attempt", INT64_MAX);

	for (struct held *t = *place(e->task_id); t; t = t->next_here) {
		if (strcmp(t->task_id, e->task_id) == 0 && !t->reporting && attempt >= t->attempt &&
		    (!e->agent_id || strcmp(e->agent_id, t->h->k.agent_id) == 0))
			return t;
	}
	return NULL;
}

void agents_event(const struct event *e)
{
	if (!e->task_id) {
		if (strncmp(e->type, "agent.", 6) == 0)
			seek_forget(e->agent_id);
		return;
	}
	if (ends(e->type)) {
		struct held *t = ended(e);

		if (t)
			tell_lost(t, e->type + 5);
		if (e->agent_id)
			seek_nudge(e->agent_id);
	} else if (e->agent_id && strcmp(e->type, "task.assigned") == 0) {
		delegated(e);
	}
}

/* --- heartbeats ---------------------------------------------------------------------------------------------------------------------- */

static int64_t beat_every_us(void)
{
	int64_t s = relay.cfg.heartbeat_interval < relay.cfg.task_lease / 2 ? relay.cfg.heartbeat_interval
									     : relay.cfg.task_lease / 2;

	return (s > 1 ? s : 1) * 800000;
}

static void tell_commands(struct hands *h, const struct jv *data)
{
	const struct jv *lost = jv_get(data, "lost");
	const struct jv *commands = jv_get(data, "commands");

	for (const struct jv *v = lost ? lost->child : NULL; v; v = v->next) {
		struct held *t = v->type == J_STRING ? held_find(h, v->str) : NULL;

		if (t && !t->reporting)
			tell_lost(t, "lease_lost");
	}
	for (const struct jv *v = commands ? commands->child : NULL; v; v = v->next)
		client_emit(h->c, "agent:command", v->raw, v->raw_len);
}

static void on_beat(void *arg, const struct api_answer *a)
{
	struct hands *h = arg;
	struct arena arena;
	struct jv *data;

	h->beating = false;
	if (!h->c) {
		if (!h->k.claiming)
			hands_free(h);
		return;
	}
	arena_init(&arena);
	if (answer_data(a, &arena, &data, 3)) {
		tell_commands(h, data);
		hands_claim(h);
	}
	arena_release(&arena);
}

void write_held(const struct hands *h, struct jw *w)
{
	jw_key(w, "tasks");
	jw_arr(w);
	for (const struct held *t = h->held; t; t = t->next) {
		jw_obj(w);
		jw_kstr(w, "task_id", t->task_id);
		jw_kint(w, "fence", t->fence);
		jw_end_obj(w);
	}
	jw_end_arr(w);
}

void hands_beat(struct hands *h)
{
	char path[80];
	struct buf b;
	struct jw w;

	h->beat_us = mono_us() + beat_every_us();
	if (h->beating)
		return;
	buf_init(&b);
	jw_init(&w, &b);
	jw_obj(&w);
	jw_kdouble(&w, "current_load", h->n < h->slots ? (double)h->n / h->slots : 1);
	write_held(h, &w);
	jw_end_obj(&w);
	snprintf(path, sizeof(path), "/api/v1/agents/%s/heartbeat", h->k.agent_id);
	struct api_request r = { .method = "POST", .path = path, .authorization = h->authorization, .address = h->address,
				 .body = b.p, .body_len = b.n };

	h->beating = true;
	api_ask(&r, on_beat, h);
	buf_release(&b);
}

void agents_tick(void)
{
	int64_t now = mono_us();

	for (struct hands *h = all.head; h; h = h->next) {
		if (h->c && now >= h->beat_us && now - h->c->s->heard_us < HEARD_US)
			hands_beat(h);
	}
}
