// SPDX-License-Identifier: MIT
#include "state.h"

#include "../lib/base/clock.h"

#define FIRST_PAGE "100"

/* Which resource shows the state of what is subscribed to. False: none. */
static bool resource(const struct sub *s, char *path, size_t path_size, char *query, size_t query_size)
{
	*query = '\0';
	switch (s->channel) {
	case CH_TASKS:
		if (*s->task_id) {
			snprintf(path, path_size, "/api/v1/tasks/%s/status", s->task_id);
			return true;
		}
		snprintf(path, path_size, "/api/v1/tasks");
		snprintf(query, query_size, "limit=" FIRST_PAGE "%s%s%s%s%s%s", *s->execution_id ? "&execution_id=" : "",
			 s->execution_id, *s->pipeline_id ? "&pipeline_id=" : "", s->pipeline_id,
			 *s->agent_id ? "&agent_id=" : "", s->agent_id);
		return true;
	case CH_AGENTS:
		if (s->criteria) {
			snprintf(path, path_size, "/api/v1/agents/discover");
			snprintf(query, query_size, "%s", s->criteria);
		} else if (*s->agent_id) {
			snprintf(path, path_size, "/api/v1/agents/%s", s->agent_id);
		} else {
			snprintf(path, path_size, "/api/v1/agents");
			snprintf(query, query_size, "limit=500");
		}
		return true;
	case CH_PIPELINES:
		if (*s->execution_id) {
			snprintf(path, path_size, "/api/v1/executions/%s", s->execution_id);
		} else if (*s->pipeline_id) {
			snprintf(path, path_size, "/api/v1/pipelines/%s", s->pipeline_id);
		} else {
			snprintf(path, path_size, "/api/v1/executions");
			snprintf(query, query_size, "limit=" FIRST_PAGE);
		}
		return true;
	case CH_SYSTEM:
		snprintf(path, path_size, "/api/v1/system/metrics");
		return true;
	default:
		return false;
	}
}

/* A subscription to something the caller may not see, or that is not there, is refused. */
static void on_state(struct job *j, const struct api_answer *a)
{
	struct sub *s = j->sub;
	struct arena arena;
	struct jv *data;

	if (!s)
		return;
	if (a->status == 403 || a->status == 404 || a->status == 400) {
		client_refuse_from(s->c, &s->reply, a);
		channels_drop(s);
		return;
	}
	arena_init(&arena);
	if (answer_data(a, &arena, &data, 1))
		channels_state(s, data->raw, data->raw_len);
	else
		channels_state(s, NULL, 0);
	arena_release(&arena);
}

bool state_ask(struct sub *s)
{
	char path[128];
	char query[1024];

	if (!resource(s, path, sizeof(path), query, sizeof(query)))
		return false;
	struct job *j = client_ask(s->c, "GET", path, *query ? query : NULL, NULL, 0, &s->reply, on_state);

	if (j)
		j->sub = s;
	return j != NULL;
}

static void copy_members(struct jw *w, const struct jv *o)
{
	for (const struct jv *m = o && o->type == J_OBJECT ? o->child : NULL; m; m = m->next) {
		if (strcmp(m->key, "type") == 0)
			continue;
		jw_key(w, m->key);
		jw_rawn(w, m->raw, m->raw_len);
	}
}

/* The older subscriptions answer with a named object instead of an envelope around the state. */
static void tell_named(struct sub *s, const char *json, size_t n)
{
	static const char *const names[CHANNELS] = { [CH_TASKS] = "task_progress_update", [CH_AGENTS] = "agent_status_update",
						     [CH_PIPELINES] = "pipeline_status_update" };
	const char *name = s->dialect == SAY_OLDER && s->channel == CH_TASKS ? "task_update" : names[s->channel];
	char now[TIME_TEXT];
	struct arena arena;
	struct error err;
	struct jv *state = NULL;
	struct buf b;
	struct jw w;

	arena_init(&arena);
	error_init(&err, &arena);
	if (json && json_parse(&arena, json, n, 1, &state, &err))
		state = NULL;
	buf_init(&b);
	jw_init(&w, &b);
	jw_obj(&w);
	jw_kstr(&w, "type", name);
	if (s->channel == CH_AGENTS) {
		jw_key(&w, "agents");
		if (state && state->type == J_OBJECT) {
			jw_arr(&w);
			jw_rawn(&w, json, n);
			jw_end_arr(&w);
		} else {
			jw_rawn(&w, json ? json : "[]", json ? n : 2);
		}
	} else {
		copy_members(&w, state);
	}
	time_format(now_ms(), now);
	jw_kstr(&w, "timestamp", now);
	jw_end_obj(&w);
	if (name)
		client_say_object(s->c, name, b.p, b.n);
	buf_release(&b);
	arena_release(&arena);
}

void state_tell(struct sub *s, const char *json, size_t n)
{
	struct buf b;
	struct jw w;

	if (s->c->s->kind == SESSION_SSE)
		return;
	if (s->dialect != SAY_ENVELOPE) {
		tell_named(s, json, n);
		return;
	}
	buf_init(&b);
	jw_init(&w, &b);
	if (s->c->nsp != NSP_NONE && s->reply.ack >= 0)
		buf_addf(&b, "43%s%lld[", outlet_prefix(client_outlet(s->c)) + 2, (long long)s->reply.ack);
	jw_obj(&w);
	if (s->c->nsp == NSP_NONE)
		jw_kstr(&w, "type", "subscribed");
	else if (s->reply.ack >= 0)
		jw_kbool(&w, "success", true);
	if (*s->ref)
		jw_kraw(&w, "id", s->ref);
	jw_kstr(&w, "channel", channel_name(s->channel));
	jw_key(&w, "data");
	if (json)
		jw_rawn(&w, json, n);
	else
		jw_null(&w);
	jw_kstr(&w, "last_event_id", events_last());
	jw_end_obj(&w);
	if (s->c->nsp != NSP_NONE && s->reply.ack >= 0) {
		buf_addc(&b, ']');
		session_send(s->c->s, msg_new(b.p, b.n, false));
	} else {
		client_say_object(s->c, "subscribed", b.p, b.n);
	}
	buf_release(&b);
}
