// SPDX-License-Identifier: MIT
/* Reading one event. */
#include "events.h"

#include "../lib/base/schema.h"
#include "../lib/domain/domain.h"
#include "msg.h"

bool event_id_parse(const char *text, struct event_id *out)
{
	char *end;

	if (!text || *text < '0' || *text > '9' || strlen(text) > 41)
		return false;
	out->ms = strtoull(text, &end, 10);
	out->n = 0;
	if (*end == '-' && end[1] >= '0' && end[1] <= '9')
		out->n = strtoull(end + 1, &end, 10);
	return *end == '\0';
}

int event_id_cmp(struct event_id a, struct event_id b)
{
	if (a.ms != b.ms)
		return a.ms < b.ms ? -1 : 1;
	return a.n == b.n ? 0 : a.n < b.n ? -1 : 1;
}

/* What kind of thing an event is about decides who may see it and where it is told. */
static void place(struct event *e)
{
	static const struct {
		const char *prefix;
		unsigned channels;
		perms_t need;
	} places[] = {
		{ "task.", 1u << CH_TASKS, PERM_TASK_READ },
		{ "agent.", 1u << CH_AGENTS, PERM_AGENT_READ },
		{ "pipeline.", 1u << CH_PIPELINES, PERM_PIPELINE_READ },
		{ "stage.", 1u << CH_PIPELINES, PERM_PIPELINE_READ },
		{ "error.", 1u << CH_PIPELINES | 1u << CH_SYSTEM, PERM_PIPELINE_READ },
		{ "system.config", 1u << CH_SYSTEM, PERM_SYSTEM_CONFIG },
	};

	e->channels = 1u << CH_SYSTEM;
	e->need = PERM_SYSTEM_HEALTH;
	for (size_t i = 0; i < sizeof(places) / sizeof(*places); i++) {
		if (strncmp(e->type, places[i].prefix, strlen(places[i].prefix)) == 0) {
			e->channels = places[i].channels;
			e->need = places[i].need;
		}
	}
	/* An error about a single task is its owner's too. */
	if (strncmp(e->type, "error.", 6) == 0 && e->task_id && !e->execution_id) {
		e->channels = 1u << CH_TASKS | 1u << CH_SYSTEM;
		e->need = PERM_TASK_READ;
	}
	e->task = e->task_id && e->need == PERM_TASK_READ;
}

static struct event *read_text(struct event *e, const char *text, size_t n)
{
	struct jv *root;
	struct error err;

	error_init(&err, &e->arena);
	if (json_parse(&e->arena, text, n, 2, &root, &err))
		goto bad;
	e->text = text;
	e->text_len = n;
	e->id_text = jv_str(root, "id");
	e->type = jv_str(root, "type");
	e->timestamp = jv_str(root, "timestamp");
	e->data = jv_get(root, "data");
	if (!e->type || !e->timestamp || !e->data || e->data->type != J_OBJECT || !event_id_parse(e->id_text, &e->id))
		goto bad;
	e->task_id = jv_str(e->data, "task_id");
	e->execution_id = jv_str(e->data, "execution_id");
	e->pipeline_id = jv_str(e->data, "pipeline_id");
	e->agent_id = jv_str(e->data, "agent_id");
	if (!e->agent_id)
		e->agent_id = jv_str(e->data, "assigned_agent_id");
	e->status = jv_str(e->data, "status");
	const char *class = jv_str(e->data, "classification");
	int c = class ? name_index(class_names, class) : CLASS_INTERNAL;

	/* A class nobody here knows is treated as the strictest. */
	e->class = c < 0 ? CLASS_PHI : (enum data_class)c;
	place(e);
	return e;
bad:
	event_unref(e);
	return NULL;
}

static struct event *blank(void)
{
	struct event *e = xcalloc(1, sizeof(*e));

	e->refs = 1;
	arena_init(&e->arena);
	return e;
}

struct event *event_read(const char *envelope, size_t n)
{
	struct event *e = blank();

	return read_text(e, arena_strndup(&e->arena, envelope, n), n);
}

struct event *event_from_stream(const char *id, const char *rest, size_t n)
{
	struct event *e = blank();
	size_t head = strlen(id) + 7;
	char *text = arena_alloc(&e->arena, head + n + 1);

	snprintf(text, head + 1, "{\"id\":\"%s", id);
	memcpy(text + head, rest, n);
	text[head + n] = '\0';
	return read_text(e, text, head + n);
}

void event_unref(struct event *e)
{
	if (!e || --e->refs)
		return;
	for (int d = 0; d < DIALECTS; d++) {
		for (int o = 0; o < OUTLETS; o++) {
			for (int bare = 0; bare < 2; bare++)
				msg_unref(e->said[d][o][bare]);
		}
	}
	arena_release(&e->arena);
	free(e);
}
