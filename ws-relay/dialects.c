// SPDX-License-Identifier: MIT
#include "dialects.h"

#include "../lib/base/schema.h"

/* Members that may hold what somebody typed or measured. */
static const char *const content[] = {
	"result", "parameters", "payload", "input", "input_data", "output", "output_data", "error", "message", "logs", "metadata",
	"details", "data", "text", "context", "reason", "notification", NULL
};

static bool stays(const struct jv *m, bool bare)
{
	return !bare || name_index(content, m->key) < 0;
}

/* Would leaving things out change anything? */
static bool has_content(struct event *e)
{
	if (!e->bare) {
		e->bare = -1;
		for (const struct jv *m = e->data->child; m; m = m->next) {
			if (!stays(m, true))
				e->bare = 1;
		}
	}
	return e->bare > 0;
}

/* --- bodies ------------------------------------------------------------------------------------------------------------ */

static void copy(struct jw *w, const struct event *e, const char *key)
{
	const struct jv *v = jv_get(e->data, key);

	jw_key(w, key);
	if (v)
		jw_rawn(w, v->raw, v->raw_len);
	else
		jw_null(w);
}

static void write_data(struct jw *w, const struct event *e, bool bare)
{
	jw_obj(w);
	for (const struct jv *m = e->data->child; m; m = m->next) {
		if (stays(m, bare)) {
			jw_key(w, m->key);
			jw_rawn(w, m->raw, m->raw_len);
		}
	}
	jw_end_obj(w);
}

static void body_envelope(struct jw *w, const struct event *e, const char *name, bool bare)
{
	(void)name;
	jw_obj(w);
	jw_kstr(w, "id", e->id_text);
	jw_kstr(w, "type", e->type);
	jw_kstr(w, "timestamp", e->timestamp);
	jw_key(w, "data");
	write_data(w, e, bare);
	jw_end_obj(w);
}

static void body_task(struct jw *w, const struct event *e, const char *name, bool bare)
{
	(void)bare;
	jw_obj(w);
	jw_kstr(w, "type", name);
	copy(w, e, "task_id");
	copy(w, e, "status");
	copy(w, e, "progress");
	jw_kstr(w, "timestamp", e->timestamp);
	jw_end_obj(w);
}

static void body_agent(struct jw *w, const struct event *e, const char *name, bool bare)
{
	(void)bare;
	jw_obj(w);
	jw_kstr(w, "type", name);
	copy(w, e, "agent_id");
	if (strcmp(e->type, "agent.removed") == 0)
		jw_kstr(w, "status", "removed");
	else
		copy(w, e, "status");
	copy(w, e, "current_load");
	jw_kstr(w, "timestamp", e->timestamp);
	jw_end_obj(w);
}

/* A list, as the first answer is one. */
static void body_agents(struct jw *w, const struct event *e, const char *name, bool bare)
{
	jw_obj(w);
	jw_kstr(w, "type", name);
	jw_key(w, "agents");
	jw_arr(w);
	write_data(w, e, bare);
	jw_end_arr(w);
	jw_kstr(w, "timestamp", e->timestamp);
	jw_end_obj(w);
}

/* Stages are counted from 0 in this dialect. */
static void body_pipeline(struct jw *w, const struct event *e, const char *name, bool bare)
{
	const struct jv *done = jv_get(e->data, "completed_stages");
	int64_t stage = jv_int_or(e->data, "current_stage", 1);
	struct arena a;
	struct jv *list = NULL;
	struct error err;

	(void)bare;
	jw_obj(w);
	jw_kstr(w, "type", name);
	copy(w, e, "pipeline_id");
	copy(w, e, "execution_id");
	copy(w, e, "status");
	jw_kint(w, "current_stage", stage > 0 ? stage - 1 : 0);
	jw_key(w, "completed_stages");
	jw_arr(w);
	arena_init(&a);
	error_init(&err, &a);
	if (done && !json_parse(&a, done->raw, done->raw_len, 1, &list, &err)) {
		int64_t n;

		for (const struct jv *v = list->child; v; v = v->next) {
			if (jv_int(v, &n))
				jw_int(w, n - 1);
		}
	}
	arena_release(&a);
	jw_end_arr(w);
	copy(w, e, "progress");
	jw_kstr(w, "timestamp", e->timestamp);
	jw_end_obj(w);
}

/* progress:update, as agents of the older documents send and get it. */
static void body_progress(struct jw *w, const struct event *e, const char *name, bool bare)
{
	static const char *const from[] = { "task_id", "pipeline_id", "stage", "progress", "status", "message" };
	static const char *const to[] = { "taskId", "pipelineId", "stage", "progress", "status", "message" };

	jw_obj(w);
	jw_kstr(w, "type", name);
	jw_key(w, "payload");
	jw_obj(w);
	for (int i = 0; i < (bare ? 5 : 6); i++) {
		const struct jv *v = jv_get(e->data, from[i]);

		if (v) {
			jw_key(w, to[i]);
			jw_rawn(w, v->raw, v->raw_len);
		}
	}
	jw_end_obj(w);
	jw_kstr(w, "timestamp", e->timestamp);
	jw_end_obj(w);
}

static void body_error(struct jw *w, const struct event *e, const char *name, bool bare)
{
	const struct jv *error = bare ? NULL : jv_get(e->data, "error");
	const char *stage = jv_str(e->data, "stage_name");

	jw_obj(w);
	jw_kstr(w, "type", name);
	copy(w, e, "task_id");
	copy(w, e, "execution_id");
	jw_key(w, "error");
	if (error && error->type == J_STRING)
		jw_rawn(w, error->raw, error->raw_len);
	else
		jw_str(w, stage ? "a stage failed" : e->type);
	jw_key(w, "details");
	jw_obj(w);
	jw_kstr(w, "code", e->type);
	jw_kstr(w, "message", stage);
	jw_end_obj(w);
	jw_kstr(w, "timestamp", e->timestamp);
	jw_end_obj(w);
}

/* --- the table ----------------------------------------------------------------------------------------------------------- */

typedef void write_body(struct jw *w, const struct event *e, const char *name, bool bare);

static const struct form {
	const char *prefix;		/* of the event's type */
	const char *older;		/* the documents' name; NULL: they have none */
	write_body *older_body;
	const char *named;		/* what the older subscriptions answer with */
	write_body *named_body;
} forms[] = {
	{ "task.",	"task_update",	     body_task,	    "task_progress_update",   body_task },
	{ "agent.",	"agent_update",	     body_agent,    "agent_status_update",    body_agents },
	{ "pipeline.",	"pipeline_progress", body_pipeline, "pipeline_status_update", body_pipeline },
	{ "stage.",	"pipeline_progress", body_pipeline, "pipeline_status_update", body_pipeline },
	{ "error.",	"error",	     body_error,    "error",		      body_error },
};

static const char *const prefixes[OUTLETS] = { "", "", "42", "42/agents,", "42/mcp/ws," };

const char *outlet_prefix(enum outlet o)
{
	return prefixes[o];
}

static struct msg *write_event(const struct event *e, const char *name, write_body *body, enum outlet o, bool bare)
{
	struct buf b;
	struct jw w;

	buf_init(&b);
	jw_init(&w, &b);
	if (o == OUT_SSE)
		buf_addf(&b, "id: %s\nevent: %s\ndata: ", e->id_text, name);
	else if (o >= OUT_NSP)
		buf_addf(&b, "%s[\"%s\",", prefixes[o], name);
	size_t from = b.n;

	body(&w, e, name, bare);
	/* A line break between two JSON tokens would end the field. */
	for (size_t i = from; o == OUT_SSE && i < b.n; i++) {
		if (b.p[i] == '\n' || b.p[i] == '\r')
			b.p[i] = ' ';
	}
	if (o == OUT_SSE)
		buf_adds(&b, "\n\n");
	else if (o >= OUT_NSP)
		buf_addc(&b, ']');
	struct msg *m = msg_new(b.p, b.n, false);

	buf_release(&b);
	return m;
}

struct msg *event_said(struct event *e, enum dialect d, enum outlet o, enum data_class clearance)
{
	bool bare = (e->class > clearance || e->class == CLASS_PHI) && has_content(e);
	struct msg **said = &e->said[d][o][bare];

	if (*said)
		return *said;
	if (d == SAY_ENVELOPE) {
		/* The usual case goes out as it came. */
		*said = o == OUT_PLAIN && !bare ? msg_new(e->text, e->text_len, false)
						: write_event(e, e->type, body_envelope, o, bare);
		return *said;
	}
	if (d == SAY_OLDER && o >= OUT_NSP && strcmp(e->type, "task.progress") == 0) {
		*said = write_event(e, "progress:update", body_progress, o, bare);
		return *said;
	}
	for (size_t i = 0; i < sizeof(forms) / sizeof(*forms); i++) {
		const struct form *f = &forms[i];

		if (strncmp(e->type, f->prefix, strlen(f->prefix)) == 0)
			*said = d == SAY_OLDER ? write_event(e, f->older, f->older_body, o, bare)
					       : write_event(e, f->named, f->named_body, o, bare);
	}
	return *said;
}

/* --- tasks for agents ----------------------------------------------------------------------------------------------------- */

/* In snake case, or in camel case with the snake case names beside where they differ. */
static void members(struct jw *w, const struct jv *task, bool camel)
{
	static const struct {
		const char *from, *camel, *snake;
	} names[] = {
		{ "task_id", "taskId", "task_id" }, { "assigned_agent_id", "agentId", "agent_id" },
		{ "type", "taskType", "task_type" }, { "parameters", "parameters", "parameters" },
		{ "deadline", "deadline", "deadline" }, { "fence", "fence", "fence" },
		{ "lease_expires_at", "leaseExpiresAt", "lease_expires_at" }, { "priority", "priority", "priority" },
		{ "classification", "classification", "classification" }, { "attempt", "attempt", "attempt" },
		{ "timeout", "timeout", "timeout" }, { "pipeline_id", "pipelineId", "pipeline_id" },
		{ "execution_id", "executionId", "execution_id" }, { "stage", "stage", "stage" },
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		const struct jv *v = jv_get(task, names[i].from);

		if (!v || v->type == J_NULL)
			continue;
		jw_key(w, names[i].snake);
		jw_rawn(w, v->raw, v->raw_len);
		if (camel && strcmp(names[i].camel, names[i].snake) != 0) {
			jw_key(w, names[i].camel);
			jw_rawn(w, v->raw, v->raw_len);
		}
	}
}

void write_delegate(struct jw *w, const struct jv *task, bool whole)
{
	jw_obj(w);
	jw_kstr(w, "type", "task:delegate");
	members(w, task, false);
	jw_key(w, "payload");
	jw_obj(w);
	members(w, task, true);
	jw_end_obj(w);
	if (whole) {
		jw_key(w, "task");
		jw_rawn(w, task->raw, task->raw_len);
	}
	jw_end_obj(w);
}
