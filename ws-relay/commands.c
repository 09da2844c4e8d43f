// SPDX-License-Identifier: MIT
#include "commands.h"

#include "../lib/base/schema.h"
#include "agents.h"
#include "channels.h"

typedef void command(struct client *c, const struct jv *body, const struct reply *r);

const struct jv *body_get(const struct jv *body, const char *snake, const char *camel)
{
	const struct jv *places[] = { body, jv_get(body, "payload"), jv_get(body, "data") };

	for (int i = 0; i < 3; i++) {
		const struct jv *v = snake ? jv_get(places[i], snake) : NULL;

		if (!v && camel)
			v = jv_get(places[i], camel);
		if (v)
			return v;
	}
	return NULL;
}

const char *body_str(const struct jv *body, const char *snake, const char *camel)
{
	const struct jv *v = body_get(body, snake, camel);

	return v && v->type == J_STRING && !v->has_nul ? v->str : NULL;
}

/* --- subscriptions ---------------------------------------------------------------------------------------------------------- */

/* Members nobody knows, and ids that are no text, are mistakes, not filters that let everything through. */
static bool filter_is_good(const struct jv *f)
{
	static const char *const ids[] = { "task_id", "execution_id", "pipeline_id", "agent_id", NULL };

	if (!f || f->type == J_NULL)
		return true;
	for (const struct jv *m = f->child; m; m = m->next) {
		if (f->type != J_OBJECT || m->type != (name_index(ids, m->key) >= 0 ? J_STRING : J_ARRAY) ||
		    (m->type == J_ARRAY && strcmp(m->key, "types") != 0))
			return false;
	}
	return f->type == J_OBJECT;
}

static void do_subscribe(struct client *c, const struct jv *body, const struct reply *r)
{
	static const char *const dialects[] = { "envelope", "older", "named", NULL };
	const struct jv *f = jv_get(body, "filter");
	const char *dialect = jv_str(body, "dialect");
	struct sub_wish w = { .task_id = jv_str(f, "task_id"), .execution_id = jv_str(f, "execution_id"),
			      .pipeline_id = jv_str(f, "pipeline_id"), .agent_id = jv_str(f, "agent_id"),
			      .types = jv_get(f, "types"), .after = jv_str(body, "after") };

	static const char *const ids[] = { "task_id", "execution_id", "pipeline_id", "agent_id" };
	bool readable = !f || f->type == J_OBJECT || f->type == J_NULL;

	/* A filter that is not understood must not mean "everything". */
	for (int i = 0; i < 4; i++) {
		const struct jv *v = jv_get(f, ids[i]);

		readable = readable && (!v || v->type == J_STRING || v->type == J_NULL);
	}
	if (!readable) {
		client_error(c, r, "validation_failed", "filter is an object; its ids are UUIDs, its types a list of event names.");
		return;
	}
	if (!channel_parse(jv_str(body, "channel"), &w.channel)) {
		client_error(c, r, "validation_failed", "channel is one of tasks, agents, pipelines, system, all.");
		return;
	}
	if (!filter_is_good(f)) {
		client_error(c, r, "validation_failed", "filter has task_id, execution_id, pipeline_id, agent_id, and a list of types.");
		return;
	}
	int d = dialect ? name_index(dialects, dialect) : SAY_ENVELOPE;

	if (d < 0) {
		client_error(c, r, "validation_failed", "dialect is envelope, older or named.");
		return;
	}
	w.dialect = (enum dialect)d;
	channels_subscribe(c, &w, r);
}

static void do_unsubscribe(struct client *c, const struct jv *body, const struct reply *r)
{
	const struct jv *id = jv_get(body, "id");
	char ref[REF_MAX] = "";

	if (id && id->raw_len < sizeof(ref)) {
		memcpy(ref, id->raw, id->raw_len);
		ref[id->raw_len] = '\0';
	}
	if (channels_unsubscribe(c, ref))
		client_answer(c, r, "unsubscribed", NULL, 0);
	else
		client_error(c, r, "not_found", "There is no such subscription.");
}

static void do_ping(struct client *c, const struct jv *body, const struct reply *r)
{
	(void)body;
	client_answer(c, r, "pong", NULL, 0);
}

static void do_auth(struct client *c, const struct jv *body, const struct reply *r)
{
	(void)body;
	client_error(c, r, "already_authenticated", "This connection is authenticated; open another for another identity.");
}

/* --- the older names ---------------------------------------------------------------------------------------------------------- */

/* Letters that need no escape in a query string; others are left out of the older criteria. */
static void add_query(struct buf *b, const char *name, const struct jv *v)
{
	const struct jv *first = v && v->type == J_ARRAY ? v->child : v;
	bool any = false;

	for (const struct jv *i = first; i; i = v->type == J_ARRAY ? i->next : NULL) {
		if (i->type != J_STRING && i->type != J_NUMBER)
			continue;
		const char *text = i->type == J_STRING ? i->str : i->raw;
		size_t n = i->type == J_STRING ? i->str_len : i->raw_len;

		if (strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789._-") < n || b->n + n > 900)
			continue;
		if (any)
			buf_addc(b, ',');
		else
			buf_addf(b, "%s%s=", b->n ? "&" : "", name);
		buf_add(b, text, n);
		any = true;
	}
}

static void do_agent_status(struct client *c, const struct jv *body, const struct reply *r)
{
	static const char *const names[] = { "capabilities", "any_capabilities", "type", "status", "max_load", "min_success_rate" };
	const struct jv *criteria = body_get(body, "criteria", NULL);
	struct sub_wish w = { .channel = CH_AGENTS, .dialect = SAY_NAMED };
	struct buf b;

	buf_init(&b);
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		add_query(&b, names[i], jv_get(criteria, names[i]));
	if (b.n) {
		buf_adds(&b, "&limit=500");
		w.criteria = b.p;
	}
	channels_subscribe(c, &w, r);
	buf_release(&b);
}

static void do_task_progress(struct client *c, const struct jv *body, const struct reply *r)
{
	struct sub_wish w = { .channel = CH_TASKS, .dialect = SAY_NAMED, .task_id = body_str(body, "task_id", "taskId") };

	if (w.task_id)
		channels_subscribe(c, &w, r);
	else
		client_error(c, r, "validation_failed", "task_id is missing.");
}

static void do_pipeline_updates(struct client *c, const struct jv *body, const struct reply *r)
{
	struct sub_wish w = { .channel = CH_PIPELINES, .dialect = SAY_NAMED,
			      .execution_id = body_str(body, "execution_id", "executionId") };

	if (w.execution_id)
		channels_subscribe(c, &w, r);
	else
		client_error(c, r, "validation_failed", "execution_id is missing.");
}

/* {"task_id":…,"action":"subscribe"}: a message without a type. */
static void do_action(struct client *c, const struct jv *body, const struct reply *r)
{
	const char *action = jv_str(body, "action");
	struct sub_wish w = { .channel = CH_TASKS, .dialect = SAY_OLDER, .task_id = jv_str(body, "task_id"),
			      .execution_id = jv_str(body, "execution_id"), .agent_id = jv_str(body, "agent_id") };
	struct reply own = *r;

	if (w.agent_id)
		w.channel = CH_AGENTS;
	else if (w.execution_id)
		w.channel = CH_PIPELINES;
	const char *id = w.task_id ? w.task_id : w.execution_id ? w.execution_id : w.agent_id;

	if (!id || !action || strlen(id) != ID_LEN) {
		client_error(c, r, "validation_failed", "A message without a type is {\"task_id\":…,\"action\":\"subscribe\"}.");
		return;
	}
	if (!*own.ref)
		snprintf(own.ref, sizeof(own.ref), "\"%s\"", id);
	if (strcmp(action, "subscribe") == 0)
		channels_subscribe(c, &w, &own);
	else if (strcmp(action, "unsubscribe") == 0 && channels_unsubscribe(c, own.ref))
		client_answer(c, r, "unsubscribed", NULL, 0);
	else
		client_error(c, r, "validation_failed", "action is subscribe or unsubscribe.");
}

/* --- the table -------------------------------------------------------------------------------------------------------------------- */

static const struct {
	const char *name;
	command *run;
} commands[] = {
	{ "subscribe", do_subscribe },
	{ "unsubscribe", do_unsubscribe },
	{ "ping", do_ping },
	{ "auth", do_auth },
	/* agents */
	{ "ready", agents_ready },
	{ "agent:register", agents_register },
	{ "agent:heartbeat", agents_heartbeat },
	{ "agent:drain", agents_drain },
	{ "progress:update", agents_progress },
	{ "task:log", agents_log },
	{ "task:result", agents_result },
	{ "task:release", agents_release },
	/* the older documents' subscriptions */
	{ "agent_status_subscribe", do_agent_status },
	{ "task_progress_subscribe", do_task_progress },
	{ "pipeline_updates_subscribe", do_pipeline_updates },
};

static void run(struct client *c, const char *name, const struct jv *body, const struct reply *r)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++) {
		if (strcmp(commands[i].name, name) == 0) {
			commands[i].run(c, body, r);
			return;
		}
	}
	relay.count.bad++;
	client_error(c, r, "unknown_type", "This type of message is not known.");
}

static void take_ref(struct reply *r, const struct jv *id)
{
	if (id && (id->type == J_STRING || id->type == J_NUMBER) && id->raw_len < sizeof(r->ref)) {
		memcpy(r->ref, id->raw, id->raw_len);
		r->ref[id->raw_len] = '\0';
	}
}

void command_plain(struct client *c, const struct jv *body)
{
	const char *type = jv_str(body, "type");
	struct reply r = { .ack = -1 };

	take_ref(&r, jv_get(body, "id"));
	if (type)
		run(c, type, body, &r);
	else
		do_action(c, body, &r);
}

void command_event(struct client *c, const char *name, const struct jv *body, int64_t ack)
{
	struct reply r = { .ack = ack };

	take_ref(&r, jv_get(body, "id"));
	run(c, name, body, &r);
}
