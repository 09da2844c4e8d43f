// SPDX-License-Identifier: MIT
/* Watching over agents: what the scheduler does with heartbeats, with silence and with answers. */
#include "agent.h"

#include "../base/limits.h"
#include "../base/log.h"
#include "task.h"

#define FLUSH_GROUP 250

static enum err flush_group(struct op *op, struct agent **agents, int n, int *written)
{
	struct store_op ops[FLUSH_GROUP];
	struct store_unit u = { .ops = ops, .n = (size_t)n, .arena = op->arena, .error = op->err };

	for (int i = 0; i < n; i++)
		ops[i] = (struct store_op){ .kind = SOP_REC_PUT, .rec = agent_to_record(op, agents[i]),
					    .expect_rev = agents[i]->rev, .lazy = true };
	enum err err = n ? store_apply_each(op->app->store, &u) : OK;

	/* Whoever changed one meanwhile has loaded it with its liveness, and so has written the heartbeat too. */
	for (int i = 0; i < n && !err; i++)
		*written += ops[i].result == SOP_DONE;
	return err;
}

enum err agents_flush(struct op *op, struct agent **agents, int n_agents, int64_t behind_ms, int *n)
{
	struct agent *group[FLUSH_GROUP];
	int in_group = 0;
	enum err err = OK;

	*n = 0;
	for (int i = 0; i < n_agents && !err; i++) {
		if (agents[i]->last_heartbeat - agents[i]->recorded_heartbeat < behind_ms)
			continue;
		group[in_group++] = agents[i];
		if (in_group == FLUSH_GROUP) {
			err = flush_group(op, group, in_group, n);
			in_group = 0;
		}
	}
	return err ? err : flush_group(op, group, in_group, n);
}

enum err agent_lost(struct op *op, const char *id, int *n)
{
	struct agent *a;
	enum err err = agent_load(op, id, &a);
	int flushed;
	bool gone = err == ERR_NOT_FOUND;

	*n = -1;
	if (gone)
		error_init(op->err, op->arena);
	else if (err || (a->enabled && a->status != AGENT_INACTIVE))
		return err;
	/* Last heard of goes into the record before Redis forgets it. */
	if (!gone && (err = agents_flush(op, &a, 1, 1, &flushed)))
		return err;
	err = task_requeue_agent(op, id, "agent_lost", n);
	if (err)
		return err;
	if (bus_agent_forget(op->app->bus, id))
		log_debug("agent %s stays in the index until Redis is back", id);
	if (gone)
		*n = -1;
	else
		agent_post(op, a, "agent.status_updated");
	return OK;
}

/* Redis is away: the record has to carry it. */
static enum err edit_heard(struct op *op, struct agent *a, void *arg)
{
	(void)arg;
	a->last_heartbeat = op->now;
	return OK;
}

static const char *object_text(struct op *op, const struct jv *v)
{
	return v && v->type == J_OBJECT && v->raw_len <= LIMIT_METADATA ? jv_text(op->arena, v) : NULL;
}

/* Status, load, resources and metrics, when the answer is JSON that tells them as a heartbeat does. */
static void read_answer(struct op *op, const char *body, struct beat *b)
{
	struct error scrap;
	struct jv *v;
	double load;

	error_init(&scrap, op->arena);
	if (!body || json_parse(op->arena, body, strlen(body), 1, &v, &scrap) || v->type != J_OBJECT)
		return;
	const char *status = jv_str(v, "status");
	const struct jv *l = jv_get(v, "current_load");

	if (status && name_index(agent_status_names, status) >= 0)
		b->status = status;
	if (l && jv_double(l, &load) && load >= 0 && load <= 1)
		b->load = load;
	b->resources = object_text(op, jv_get(v, "resources"));
	b->metrics = object_text(op, jv_get(v, "metrics"));
}

enum err agent_answered(struct op *op, const char *id, const char *body)
{
	struct agent *a;
	struct beat b = { .at = op->now, .load = -1 };
	enum err err = agent_load(op, id, &a);

	if (err)
		return err;
	enum agent_status before = a->status;

	memcpy(b.agent_id, a->id, ID_TEXT);
	b.status = before == AGENT_INACTIVE ? agent_status_names[AGENT_ACTIVE] : NULL;
	read_answer(op, body, &b);
	if (bus_beat(op->app->bus, &b, NULL, NULL) && op->now - a->recorded_heartbeat > op->app->cfg->heartbeat_interval * 500) {
		err = agent_change(op, id, edit_heard, NULL, &a);
		if (err)
			return err;
	}
	if (before == AGENT_INACTIVE && a->enabled) {
		a->status = AGENT_ACTIVE;
		agent_post(op, a, "agent.status_updated");
	}
	return OK;
}
