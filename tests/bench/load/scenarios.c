// SPDX-License-Identifier: MIT
/* What is measured; the table is at the end. Scenarios with agents that wait for work are in waiting.c. */
#include "load.h"
#include "scenarios.h"

#include <inttypes.h>

#define CLAIM_MAX 500		/* the panel's limit for one claim */

/* --- reading and writing single tasks --------------------------------------------------------------------- */

static void end_one(struct op *op, int status, const struct jv *data)
{
	(void)status, (void)data;
	op_end(op, 1);
}

/* Tasks to read: nobody has the capability they ask for, so they stay as they are. */
static bool prepare_get(struct load *l)
{
	struct buf b;
	int made = 0;

	l->tasks = xcalloc((size_t)l->n_tasks, sizeof(*l->tasks));
	buf_init(&b);
	while (made < l->n_tasks) {
		int n = l->n_tasks - made < 500 ? l->n_tasks - made : 500;

		buf_reset(&b);
		buf_adds(&b, "{\"tasks\":[");
		for (int i = 0; i < n; i++) {
			if (i)
				buf_addc(&b, ',');
			task_body(&b, l, l->label, made + i);
		}
		buf_adds(&b, "]}");
		const struct jv *items = jv_get(load_request(l, "POST", "/tasks/batch", l->admin, b.p, WANT(200) | WANT(201)),
						"items");

		for (const struct jv *i = items ? items->child : NULL; i && made < l->n_tasks; i = i->next) {
			const char *id = jv_str(i, "task_id");

			if (id)
				snprintf(l->tasks[made++], ID_TEXT, "%s", id);
		}
		if (!items || !items->child)
			return false;
	}
	buf_release(&b);
	return true;
}

static void start_get(struct op *op)
{
	struct load *l = op->load;
	/* Spread over all of them, in no order a cache would like. */
	size_t i = (size_t)(op->serial * 2654435761u % (uint32_t)l->n_tasks);

	op_call(op, 0, "GET", l->admin, NULL, 0, WANT(200), end_one, "/tasks/%s", l->tasks[i]);
}

static bool prepare_post(struct load *l)
{
	(void)l;
	return true;
}

static void start_post(struct op *op)
{
	struct load *l = op->load;

	buf_reset(&op->text);
	task_body(&op->text, l, l->label, op->serial);
	op_call(op, 0, "POST", l->admin, op->text.p, op->text.n, WANT(201), end_one, "/tasks");
}

/* --- a task's life, each step a call of its own -------------------------------------------------------------- */

enum { LIFE_SUBMIT, LIFE_CLAIM, LIFE_COMPLETE };

static bool prepare_agents(struct load *l)
{
	load_register_agents(l, l->n_agents ? l->n_agents : l->connections);
	return true;
}

static const struct agent *agent_of(const struct op *op)
{
	return &op->load->agents[op->index % op->load->n_agents];
}

static void life_claim(struct op *op);

static void life_claimed(struct op *op, int status, const struct jv *data)
{
	const struct jv *tasks = jv_get(data, "tasks");
	const struct jv *task = tasks ? tasks->child : NULL;
	const char *id = jv_str(task, "task_id");

	if (!id) {
		/* What was acknowledged must be there for the claim; now and then another one was quicker. */
		op->load->empty_claims++;
		if (++op->tries < 20) {
			life_claim(op);
			return;
		}
		load_failed(op->load, "nothing to claim", status, "");
		op_end(op, 0);
		return;
	}
	buf_reset(&op->text);
	buf_addf(&op->text, "{\"fence\":%" PRId64 ",\"result\":{\"ok\":true,\"value\":42}}", jv_int_or(task, "fence", -1));
	op_call(op, LIFE_COMPLETE, "POST", agent_of(op)->token, op->text.p, op->text.n, WANT(200), end_one,
		"/tasks/%s/complete", id);
}

static void life_claim(struct op *op)
{
	static const char body[] = "{\"max\":1}";

	op_call(op, LIFE_CLAIM, "POST", agent_of(op)->token, body, sizeof(body) - 1, WANT(200), life_claimed,
		"/agents/%s/claim", agent_of(op)->id);
}

static void life_submitted(struct op *op, int status, const struct jv *data)
{
	(void)status, (void)data;
	life_claim(op);
}

static void start_life(struct op *op)
{
	struct load *l = op->load;

	buf_reset(&op->text);
	task_body(&op->text, l, l->label, op->serial);
	op_call(op, LIFE_SUBMIT, "POST", l->admin, op->text.p, op->text.n, WANT(201), life_submitted, "/tasks");
}

/* --- the same in batches ---------------------------------------------------------------------------------------- */

static void batch_claim(struct op *op);

/* {"tasks":[{task_id,fence,result}…]} of what was claimed; returns how many. */
int completion_body(struct buf *b, const struct jv *tasks)
{
	int n = 0;

	buf_reset(b);
	buf_adds(b, "{\"tasks\":[");
	for (const struct jv *t = tasks ? tasks->child : NULL; t; t = t->next) {
		const char *id = jv_str(t, "task_id");

		if (id)
			buf_addf(b, "%s{\"task_id\":\"%s\",\"fence\":%" PRId64 ",\"result\":{\"ok\":true,\"value\":42}}",
				 n++ ? "," : "", id, jv_int_or(t, "fence", -1));
	}
	buf_adds(b, "]}");
	return n;
}

/* How many items were not carried out; says of the first why. */
int failed_items(struct load *l, int status, const struct jv *data)
{
	const struct jv *items = jv_get(data, "items");
	int bad = 0;

	for (const struct jv *i = items ? items->child : NULL; i; i = i->next) {
		if (!jv_get(i, "error") || jv_get(i, "error")->type == J_NULL)
			continue;
		if (bad++ == 0)
			load_failed(l, "an item of a batch", status, jv_text(&l->arena, i));
	}
	return bad;
}

static void batch_completed(struct op *op, int status, const struct jv *data)
{
	if (failed_items(op->load, status, data)) {
		op_end(op, 0);
		return;
	}
	op->left -= op->taken;
	if (op->left > 0)
		batch_claim(op);
	else
		op_end(op, op->load->batch);
}

static void batch_claimed(struct op *op, int status, const struct jv *data)
{
	op->taken = completion_body(&op->text, jv_get(data, "tasks"));
	if (op->taken == 0) {
		op->load->empty_claims++;
		if (++op->tries < 20) {
			batch_claim(op);
			return;
		}
		load_failed(op->load, "nothing to claim", status, "");
		op_end(op, 0);
		return;
	}
	op_call(op, LIFE_COMPLETE, "POST", agent_of(op)->token, op->text.p, op->text.n, WANT(200) | WANT(207),
		batch_completed, "/tasks/complete");
}

static void batch_claim(struct op *op)
{
	char body[64];
	int n = snprintf(body, sizeof(body), "{\"max\":%d}", op->left < CLAIM_MAX ? op->left : CLAIM_MAX);

	op_call(op, LIFE_CLAIM, "POST", agent_of(op)->token, body, (size_t)n, WANT(200), batch_claimed,
		"/agents/%s/claim", agent_of(op)->id);
}

static void batch_submitted(struct op *op, int status, const struct jv *data)
{
	if (failed_items(op->load, status, data)) {
		op_end(op, 0);
		return;
	}
	batch_claim(op);
}

static void start_batch(struct op *op)
{
	struct load *l = op->load;

	op->left = l->batch;
	buf_reset(&op->text);
	buf_adds(&op->text, "{\"tasks\":[");
	for (int i = 0; i < l->batch; i++) {
		if (i)
			buf_addc(&op->text, ',');
		task_body(&op->text, l, l->label, op->serial * l->batch + i);
	}
	buf_adds(&op->text, "]}");
	op_call(op, LIFE_SUBMIT, "POST", l->admin, op->text.p, op->text.n, WANT(200) | WANT(201) | WANT(207),
		batch_submitted, "/tasks/batch");
}

/* --- heartbeats --------------------------------------------------------------------------------------------------- */

static bool prepare_heartbeats(struct load *l)
{
	load_register_agents(l, l->n_agents ? l->n_agents : 1000);
	return true;
}

static void start_heartbeat(struct op *op)
{
	static const char body[] = "{\"status\":\"active\",\"current_load\":0.25,\"resources\":{\"cpu\":4,\"memory\":8192}}";
	const struct agent *a = &op->load->agents[op->serial % op->load->n_agents];

	op_call(op, 0, "POST", a->token, body, sizeof(body) - 1, WANT(200), end_one, "/agents/%s/heartbeat", a->id);
}

const struct scenario scenarios[] = {
	{ "get", "GET /tasks/{id} of random tasks", "requests", { "get" }, prepare_get, start_get, NULL },
	{ "post", "POST /tasks", "tasks", { "submit" }, prepare_post, start_post, NULL },
	{ "lifecycle-single", "submit, claim, complete: a call each", "tasks", { "submit", "claim", "complete" },
	  prepare_agents, start_life, NULL },
	{ "lifecycle-batch", "the same in batches (--batch)", "tasks", { "submit", "claim", "complete" }, prepare_agents,
	  start_batch, NULL },
	{ "assign", "submit until a waiting agent has the task", "tasks", { "submit", "assigned" }, prepare_assign,
	  start_assign, NULL },
	{ "pipeline", "six no-op stages, from execute until completed (-c: runs in flight)", "runs",
	  { "execute", "stages", "look" }, prepare_pipeline, start_pipeline, tick_pipeline },
	{ "heartbeats", "heartbeats of --agents in turn", "heartbeats", { "heartbeat" }, prepare_heartbeats,
	  start_heartbeat, NULL },
};
const int n_scenarios = sizeof(scenarios) / sizeof(scenarios[0]);
