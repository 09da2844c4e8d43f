// SPDX-License-Identifier: MIT
#include "../lib/domain/agent.h"

#include "../lib/base/limits.h"
#include "../lib/domain/task.h"
#include "handlers.h"
#include "queries.h"

enum err h_agent_register(struct req *r, struct resp *p)
{
	struct agent *a;
	const char *token;
	enum err err = agent_register(&r->op, r->in, &a, &token);

	if (err)
		return err;
	jw_obj(&p->w);
	jw_kstr(&p->w, "agent_id", a->id);
	jw_kstr(&p->w, "auth_token", token);
	jw_key(&p->w, "agent");
	agent_json(a, &p->w);
	jw_end_obj(&p->w);
	p->message = "Keep auth_token: it is not shown again.";
	p->location = arena_printf(r->op.arena, "/api/v1/agents/%s", a->id);
	return OK;
}

enum err h_agents_list(struct req *r, struct resp *p)
{
	struct agent **list;
	int n;
	enum err err = agents_list(&r->op, r->q, &list, &n, &p->next_cursor);

	if (err)
		return err;
	jw_arr(&p->w);
	for (int i = 0; i < n; i++)
		agent_json(list[i], &p->w);
	jw_end_arr(&p->w);
	p->count = n;
	p->list = true;
	return OK;
}

enum err h_agents_discover(struct req *r, struct resp *p)
{
	struct candidate *list;
	int n;
	enum err err = agents_discover(&r->op, r->q, &list, &n);

	if (err)
		return err;
	jw_arr(&p->w);
	for (int i = 0; i < n; i++) {
		struct buf one;
		struct jw w;

		/* an agent with three members more */
		buf_init(&one);
		jw_init(&w, &one);
		agent_json(list[i].agent, &w);
		one.n--;
		buf_addf(&one, ",\"fitness\":%.6f,\"success_rate\":%.6f,\"ended\":%lld}", list[i].fitness,
			 list[i].success_rate, (long long)list[i].ended);
		jw_rawn(&p->w, one.p, one.n);
		buf_release(&one);
	}
	jw_end_arr(&p->w);
	p->count = n;
	p->list = true;
	return OK;
}

static enum err show(struct req *r, struct resp *p, enum err err, const struct agent *a)
{
	(void)r;
	if (!err)
		agent_json(a, &p->w);
	return err;
}

enum err h_agent_get(struct req *r, struct resp *p)
{
	struct agent *a;
	enum err err = agent_load(&r->op, r->arg[0], &a);

	return show(r, p, err, a);
}

enum err h_agent_update(struct req *r, struct resp *p)
{
	struct agent *a;
	enum err err = agent_update(&r->op, r->arg[0], r->in, &a);

	return show(r, p, err, a);
}

enum err h_agent_delete(struct req *r, struct resp *p)
{
	enum err err = agent_delete(&r->op, r->arg[0]);

	if (err)
		return err;
	jw_obj(&p->w);
	jw_kbool(&p->w, "deleted", true);
	jw_end_obj(&p->w);
	return OK;
}

enum err h_agent_heartbeat(struct req *r, struct resp *p)
{
	return agent_heartbeat(&r->op, r->arg[0], r->in, &p->w);
}

enum err h_agent_health(struct req *r, struct resp *p)
{
	return agent_health_json(&r->op, r->arg[0], &p->w);
}

enum err h_agent_metrics(struct req *r, struct resp *p)
{
	return agent_metrics_json(&r->op, r->arg[0], &p->w);
}

enum err h_agent_capabilities(struct req *r, struct resp *p)
{
	struct agent *a;
	enum err err = agent_capabilities(&r->op, r->arg[0], r->in, &a);

	return show(r, p, err, a);
}

enum err h_agent_allocate(struct req *r, struct resp *p)
{
	struct agent *a;
	enum err err = agent_allocate(&r->op, r->arg[0], r->in, &a);

	return show(r, p, err, a);
}

enum err h_agent_drain(struct req *r, struct resp *p)
{
	struct agent *a;
	enum err err = agent_drain(&r->op, r->arg[0], true, &a);

	return show(r, p, err, a);
}

enum err h_agent_undrain(struct req *r, struct resp *p)
{
	struct agent *a;
	enum err err = agent_drain(&r->op, r->arg[0], false, &a);

	return show(r, p, err, a);
}

enum err h_agent_claim(struct req *r, struct resp *p)
{
	/* ?wait= is the relay's: it asks here, without it, when there may be something to take. */
	struct task **tasks;
	int n;
	enum err err = task_claim(&r->op, r->arg[0], r->in, &tasks, &n);

	if (err)
		return err;
	jw_obj(&p->w);
	jw_key(&p->w, "tasks");
	jw_arr(&p->w);
	for (int i = 0; i < n; i++)
		task_json(&r->op, tasks[i], VIEW_FULL, &p->w);
	jw_end_arr(&p->w);
	jw_kbool(&p->w, "full", !tasks);
	jw_end_obj(&p->w);
	p->count = n;
	return OK;
}
