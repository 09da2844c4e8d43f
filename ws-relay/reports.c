// SPDX-License-Identifier: MIT
/* What agents say over their sockets, passed to the routes it belongs to. */
#include "agents.h"
#include "commands.h"
#include "hands.h"
#include "park.h"

/* Only an agent has slots and reports; whoever manages tasks uses the API. */
static bool is_agent(struct client *c, const struct reply *r)
{
	if (c->who->sort == SORT_AGENT)
		return true;
	client_error(c, r, "permission_denied", "This is for a connection that is authenticated as an agent.");
	return false;
}

/* --- taking tasks ------------------------------------------------------------------------------------------------------- */

static void tell_ready(struct client *c, const struct reply *r, const char *type)
{
	char json[96];
	int n = snprintf(json, sizeof(json), "{\"agent_id\":\"%s\",\"slots\":%d}", c->who->id, c->hands->slots);

	client_answer(c, r, type, json, (size_t)n);
}

void agents_ready(struct client *c, const struct jv *body, const struct reply *r)
{
	const struct jv *slots = body_get(body, "slots", NULL);
	int64_t n = c->slots ? c->slots : 1;

	if (!is_agent(c, r))
		return;
	if (slots && (!jv_int(slots, &n) || n < 0)) {
		client_error(c, r, "validation_failed", "slots is a whole number, 0 to be given nothing for now.");
		return;
	}
	hands_ready(c, n, body_get(body, "types", NULL));
	c->hands->whole = jv_bool_or(body, "whole", c->hands->whole);
	tell_ready(c, r, "ready.ok");
}

void agents_connected(struct client *c)
{
	if (c->who->sort == SORT_AGENT && !c->idle)
		hands_ready(c, c->slots ? c->slots : 1, NULL);
}

static void on_capabilities(struct job *j, const struct api_answer *a)
{
	if (a->status != 200) {
		client_refuse_from(j->c, &j->reply, a);
		return;
	}
	seek_forget(j->c->who->id);
	hands_ready(j->c, j->number, NULL);
	tell_ready(j->c, &j->reply, "agent:registered");
}

/* payload{agentId,agentType,capabilities,metadata}: the agent is registered already; this says it is here. */
void agents_register(struct client *c, const struct jv *body, const struct reply *r)
{
	const char *id = body_str(body, "agent_id", "agentId");
	const struct jv *caps = body_get(body, "capabilities", NULL);
	const struct jv *slots = body_get(body, "slots", NULL);
	int64_t n = c->slots ? c->slots : 1;
	char path[96];
	struct buf b;

	if (!is_agent(c, r))
		return;
	if ((id && strcmp(id, c->who->id) != 0) || (slots && (!jv_int(slots, &n) || n < 1))) {
		client_error(c, r, "validation_failed", "agentId is another agent's, or slots is no whole number from 1.");
		return;
	}
	if (!caps || caps->type != J_ARRAY) {
		hands_ready(c, n, NULL);
		tell_ready(c, r, "agent:registered");
		return;
	}
	buf_init(&b);
	buf_adds(&b, "{\"replace\":");
	buf_add(&b, caps->raw, caps->raw_len);
	buf_addc(&b, '}');
	snprintf(path, sizeof(path), "/api/v1/agents/%s/capabilities", c->who->id);
	struct job *j = client_ask(c, "POST", path, NULL, b.p, b.n, r, on_capabilities);

	if (j)
		j->number = n;
	buf_release(&b);
}

static void on_passed(struct job *j, const struct api_answer *a)
{
	struct arena arena;
	struct jv *data;

	arena_init_wiped(&arena);
	if (answer_data(a, &arena, &data, 1))
		client_answer(j->c, &j->reply, "ack", data->raw, data->raw_len);
	else
		client_refuse_from(j->c, &j->reply, a);
	arena_release(&arena);
}

static void copy_member(struct jw *w, const struct jv *body, const char *name, const char *camel)
{
	const struct jv *v = body_get(body, name, camel);

	if (v && v->type != J_NULL) {
		jw_key(w, name);
		jw_rawn(w, v->raw, v->raw_len);
	}
}

void agents_heartbeat(struct client *c, const struct jv *body, const struct reply *r)
{
	char path[96];
	struct buf b;
	struct jw w;

	if (!is_agent(c, r))
		return;
	buf_init(&b);
	jw_init(&w, &b);
	jw_obj(&w);
	copy_member(&w, body, "status", NULL);
	copy_member(&w, body, "current_load", "currentLoad");
	copy_member(&w, body, "resources", NULL);
	copy_member(&w, body, "metrics", NULL);
	if (body_get(body, "tasks", NULL))
		copy_member(&w, body, "tasks", NULL);
	else if (c->hands)
		write_held(c->hands, &w);
	jw_end_obj(&w);
	snprintf(path, sizeof(path), "/api/v1/agents/%s/heartbeat", c->who->id);
	client_ask(c, "POST", path, NULL, b.p, b.n, r, on_passed);
	buf_release(&b);
}

void agents_drain(struct client *c, const struct jv *body, const struct reply *r)
{
	char path[96];

	(void)body;
	if (!is_agent(c, r))
		return;
	if (c->hands)
		stop_seeking(c->hands);
	snprintf(path, sizeof(path), "/api/v1/agents/%s/drain", c->who->id);
	client_ask(c, "POST", path, NULL, NULL, 0, r, on_passed);
}

/* --- reports -------------------------------------------------------------------------------------------------------------- */

/* The task a message is about, and its fence: given, or the one it was handed over with. */
static bool about(struct client *c, const struct jv *body, const struct reply *r, const char **task_id, int64_t *fence,
		  struct held **t)
{
	const struct jv *given = body_get(body, "fence", NULL);

	*task_id = body_str(body, "task_id", "taskId");
	*t = c->hands ? held_find(c->hands, *task_id) : NULL;
	if (!*task_id || !id_valid(*task_id)) {
		client_error(c, r, "validation_failed", "task_id is missing, or is no id.");
		return false;
	}
	if (given && given->type != J_NULL && jv_int(given, fence))
		return true;
	if (*t) {
		*fence = (*t)->fence;
		return true;
	}
	client_error(c, r, "stale_fence", "This connection does not hold the task: say its fence.");
	return false;
}

static void post(struct client *c, const char *task_id, const char *verb, const struct buf *b, const struct reply *r,
		 job_done *done)
{
	char path[96];

	snprintf(path, sizeof(path), "/api/v1/tasks/%s/%s", task_id, verb);
	struct job *j = client_ask(c, "POST", path, NULL, b->p, b->n, r, done);

	if (j)
		memcpy(j->task_id, task_id, ID_TEXT);
}

/* The fence and these members of the body, to that route of the task. */
static void pass_report(struct client *c, const struct jv *body, const struct reply *r, const char *verb,
			const char *const *members)
{
	const char *task_id;
	struct held *t;
	int64_t fence;
	struct buf b;
	struct jw w;

	if (!about(c, body, r, &task_id, &fence, &t))
		return;
	buf_init(&b);
	jw_init(&w, &b);
	jw_obj(&w);
	jw_kint(&w, "fence", fence);
	for (; *members; members++)
		copy_member(&w, body, *members, NULL);
	jw_end_obj(&w);
	post(c, task_id, verb, &b, r, on_passed);
	buf_release(&b);
}

void agents_progress(struct client *c, const struct jv *body, const struct reply *r)
{
	pass_report(c, body, r, "progress", (const char *const[]){ "progress", "message", NULL });
}

void agents_log(struct client *c, const struct jv *body, const struct reply *r)
{
	pass_report(c, body, r, "logs", (const char *const[]){ "logs", NULL });
}

/* Our members of a status answer; the tasks claimed along with it went another way. */
static void acknowledge(struct job *j, const struct api_answer *a)
{
	struct arena arena;
	struct jv *data;
	struct buf b;
	struct jw w;

	arena_init_wiped(&arena);
	if (!answer_data(a, &arena, &data, 2)) {
		client_refuse_from(j->c, &j->reply, a);
		arena_release(&arena);
		return;
	}
	buf_init(&b);
	jw_init(&w, &b);
	jw_obj(&w);
	for (const struct jv *m = data->child; m; m = m->next) {
		if (strcmp(m->key, "tasks") != 0) {
			jw_key(&w, m->key);
			jw_rawn(&w, m->raw, m->raw_len);
		}
	}
	jw_end_obj(&w);
	client_answer(j->c, &j->reply, "ack", b.p, b.n);
	buf_release(&b);
	arena_release(&arena);
}

/* It is settled, one way or another, unless the API could not be asked. */
static void on_reported(struct job *j, const struct api_answer *a)
{
	struct client *c = j->c;
	struct hands *h = c->hands;
	struct held *t = h ? held_find(h, j->task_id) : NULL;
	bool settled = a->status == 200 || a->status == 404 || a->status == 409;

	if (t && settled)
		held_drop(t);
	else if (t)
		t->reporting = false;
	acknowledge(j, a);
	if (!h)
		return;
	bool claimed = a->status == 200 && j->number;

	/* Nothing more goes out on a line that is being closed, though its client is still there. */
	if (claimed && c->s->closing)
		park_give_back(a, h->authorization, h->address);
	else if (claimed)
		hand_over_all(h, a);
	/* What came while the report was on its way may have been missed by the claim in it. */
	if (settled && (!claimed || h->k.again))
		hands_claim(h);
}

/* The API's shape of an error; a plain text is one too. */
static void write_fault(struct jw *w, const struct jv *error)
{
	static const char *const names[] = { "code", "message", "details", "retryable" };
	const char *type = jv_str(error, "type");

	jw_obj(w);
	jw_kstr(w, "type", type ? type : "execution");
	if (error->type == J_STRING) {
		jw_key(w, "message");
		jw_rawn(w, error->raw, error->raw_len);
	}
	for (int i = 0; i < 4; i++) {
		const struct jv *v = jv_get(error, names[i]);

		if (v && v->type != J_NULL) {
			jw_key(w, names[i]);
			jw_rawn(w, v->raw, v->raw_len);
		}
	}
	jw_end_obj(w);
}

static void report(struct client *c, const char *task_id, int64_t fence, struct held *t, const struct jv *body,
		   const struct reply *r)
{
	const struct jv *error = body_get(body, "error", NULL);
	const struct jv *result = body_get(body, "result", NULL);
	bool failed = error && error->type != J_NULL;
	struct hands *h = c->hands;
	/* A slot becomes free: its next task may come with the answer. */
	bool next = h && h->seeking && t && h->n <= h->slots && !relay.draining;
	char path[96];
	struct buf b;
	struct jw w;

	buf_init(&b);
	jw_init(&w, &b);
	jw_obj(&w);
	jw_kint(&w, "fence", fence);
	if (failed) {
		jw_key(&w, "error");
		write_fault(&w, error);
		copy_member(&w, body, "retryable", NULL);
	} else if (result) {
		jw_key(&w, "result");
		jw_rawn(&w, result->raw, result->raw_len);
	}
	if (next) {
		jw_key(&w, "claim");
		write_claim(h, &w, 1);
	}
	jw_end_obj(&w);
	snprintf(path, sizeof(path), "/api/v1/tasks/%s/%s", task_id, failed ? "fail" : "complete");
	struct job *j = client_ask(c, "POST", path, NULL, b.p, b.n, r, on_reported);

	buf_release(&b);
	if (!j)
		return;
	memcpy(j->task_id, task_id, ID_TEXT);
	j->counts = true;
	j->number = next;
	if (next)
		h->k.again = h->k.claiming && h->k.again;
	if (t)
		t->reporting = true;
}

void agents_result(struct client *c, const struct jv *body, const struct reply *r)
{
	const char *task_id;
	struct held *t;
	int64_t fence;

	if (about(c, body, r, &task_id, &fence, &t))
		report(c, task_id, fence, t, body, r);
}

void agents_release(struct client *c, const struct jv *body, const struct reply *r)
{
	const char *task_id;
	struct held *t;
	int64_t fence;
	char path[96];
	char json[48];
	int n;

	if (!about(c, body, r, &task_id, &fence, &t))
		return;
	n = snprintf(json, sizeof(json), "{\"fence\":%lld}", (long long)fence);
	snprintf(path, sizeof(path), "/api/v1/tasks/%s/release", task_id);
	struct job *j = client_ask(c, "POST", path, NULL, json, (size_t)n, r, on_reported);

	if (!j)
		return;
	memcpy(j->task_id, task_id, ID_TEXT);
	j->counts = true;
	if (t)
		t->reporting = true;
}

void agents_acknowledged(struct client *c, int64_t ack, const struct jv *arg)
{
	struct reply none = { .ack = -1 };

	for (struct held *t = c->hands ? c->hands->held : NULL; t; t = t->next) {
		if (t->ack != ack)
			continue;
		if (!t->reporting && arg && (jv_get(arg, "result") || jv_get(arg, "error")))
			report(c, t->task_id, t->fence, t, arg, &none);
		return;
	}
}
