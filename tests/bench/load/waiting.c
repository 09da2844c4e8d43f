// SPDX-License-Identifier: MIT
/*
 * Scenarios in which agents wait for work: each has a connection of its own with a claim parked on it,
 * completes what it gets, and parks again. What is measured is when the work reached them.
 */
#include "scenarios.h"

#include <inttypes.h>

#include "lib/base/clock.h"

#define WAIT_S		"20"
#define STAGES		6
#define ENDED_KEPT	1024	/* executions whose last stage was completed before their start was answered */
#define STARTS		65536	/* submissions in flight, by serial */

struct waiter {
	struct load *load;
	const struct agent *agent;
	struct conn conn;
	struct buf text;
	char ended[64][ID_TEXT];	/* executions whose last stage is in the completion under way */
	int n_ended;
	void (*got)(struct waiter *w, const struct jv *tasks, int64_t now);
};

static void park(struct waiter *w);
static void on_completed(struct conn *c, int status, const char *body, size_t n);

/* --- the agents' side -------------------------------------------------------------------------------------- */

static void on_claimed(struct conn *c, int status, const char *body, size_t n)
{
	struct waiter *w = c->arg;
	struct load *l = w->load;
	int64_t now = mono_us();

	if (l->stopping)
		return;
	const struct jv *data = status == 200 ? answer_data(l, body, n) : NULL;
	const struct jv *tasks = jv_get(data, "tasks");

	if (!tasks) {
		load_failed(l, "waiting claim", status, body);
		if (status != 0)
			park(w);
		return;
	}
	w->n_ended = 0;
	if (!tasks->child) {
		park(w);
		return;
	}
	w->got(w, tasks, now);
	if (completion_body(&w->text, tasks) > 1) {
		conn_call(c, "POST", "/tasks/complete", w->agent->token, w->text.p, w->text.n, on_completed);
		return;
	}
	char path[128];

	const char *id = jv_str(tasks->child, "task_id");

	snprintf(path, sizeof(path), "/tasks/%s/complete", id ? id : "none");
	buf_reset(&w->text);
	buf_addf(&w->text, "{\"fence\":%" PRId64 ",\"result\":{\"ok\":true}}", jv_int_or(tasks->child, "fence", -1));
	conn_call(c, "POST", path, w->agent->token, w->text.p, w->text.n, on_completed);
}

static void park(struct waiter *w)
{
	static const char body[] = "{\"max\":64}";
	char path[128];

	snprintf(path, sizeof(path), "/agents/%s/claim?wait=" WAIT_S, w->agent->id);
	conn_call(&w->conn, "POST", path, w->agent->token, body, sizeof(body) - 1, on_claimed);
}

static void start_waiters(struct load *l, int n, void (*got)(struct waiter *, const struct jv *, int64_t))
{
	load_register_agents(l, n);
	l->n_waiters = n;
	l->waiters = xcalloc((size_t)n, sizeof(*l->waiters));
	for (int i = 0; i < n; i++) {
		struct waiter *w = &l->waiters[i];

		w->load = l;
		w->agent = &l->agents[i];
		w->got = got;
		conn_init(&w->conn, &l->client, w);
		buf_init(&w->text);
		park(w);
	}
}

/* --- assign --------------------------------------------------------------------------------------------------- */

/* Planned start of a submission, by serial; 0 when it has arrived. */
static int64_t starts[STARTS];

static void got_assigned(struct waiter *w, const struct jv *tasks, int64_t now)
{
	struct load *l = w->load;

	for (const struct jv *t = tasks->child; t; t = t->next) {
		int64_t serial = jv_int_or(jv_get(t, "parameters"), "serial", -1);
		int64_t *start = &starts[(uint64_t)serial % STARTS];

		if (serial < 0 || !*start)
			continue;
		if (*start >= l->measure_from)
			samples_add(&l->step[1], now - *start);
		*start = 0;
	}
}

bool prepare_assign(struct load *l)
{
	start_waiters(l, l->n_agents ? l->n_agents : 8, got_assigned);
	return true;
}

static void submitted(struct op *op, int status, const struct jv *data)
{
	(void)status, (void)data;
	op_end(op, 1);
}

void start_assign(struct op *op)
{
	struct load *l = op->load;

	/* From the plan, as for everything at a fixed rate: the agent may have the task before we are answered. */
	starts[(uint64_t)op->serial % STARTS] = op->planned;
	buf_reset(&op->text);
	task_body(&op->text, l, l->label, op->serial);
	op_call(op, 0, "POST", l->admin, op->text.p, op->text.n, WANT(201), submitted, "/tasks");
}

/* --- pipeline --------------------------------------------------------------------------------------------------- */

static char ended[ENDED_KEPT][ID_TEXT];
static unsigned n_ended;

static void look(struct op *op);

/* The run's last stage is completed, as far as its agent was told: see whether the run is. */
static void run_ended(struct load *l, const char *execution)
{
	for (int i = 0; i < l->connections; i++) {
		struct op *op = &l->ops[i];

		if (!op->busy || strcmp(op->id, execution) != 0)
			continue;
		op->told = true;
		if (op->waiting)
			look(op);
		return;
	}
	memcpy(ended[n_ended++ % ENDED_KEPT], execution, ID_TEXT);
}

static void on_completed(struct conn *c, int status, const char *body, size_t n)
{
	struct waiter *w = c->arg;

	if (w->load->stopping)
		return;
	if (status != 200 && status != 207)
		load_failed(w->load, "completion by a waiting agent", status, body);
	else
		(void)failed_items(w->load, status, answer_data(w->load, body, n));
	for (int i = 0; i < w->n_ended; i++)
		run_ended(w->load, w->ended[i]);
	w->n_ended = 0;
	if (status != 0)
		park(w);
}

static void got_stages(struct waiter *w, const struct jv *tasks, int64_t now)
{
	(void)now;
	for (const struct jv *t = tasks->child; t; t = t->next) {
		const char *execution = jv_str(t, "execution_id");

		if (execution && jv_int_or(t, "stage", 0) == STAGES && w->n_ended < 64)
			snprintf(w->ended[w->n_ended++], ID_TEXT, "%s", execution);
	}
}

bool prepare_pipeline(struct load *l)
{
	struct buf b;

	buf_init(&b);
	buf_addf(&b, "{\"name\":\"%s\",\"stages\":[", l->label);
	for (int i = 1; i <= STAGES; i++)
		buf_addf(&b, "%s{\"name\":\"stage-%d\",\"type\":\"bench-stage\",\"capabilities\":[\"%s\"]}", i > 1 ? "," : "", i,
			 l->label);
	buf_adds(&b, "]}");
	const char *id = jv_str(load_request(l, "POST", "/pipelines", l->admin, b.p, WANT(201)), "pipeline_id");

	if (!id)
		return false;
	snprintf(l->pipeline, sizeof(l->pipeline), "%s", id);
	buf_release(&b);
	start_waiters(l, l->n_agents ? l->n_agents : l->connections < 16 ? 1 : 16, got_stages);
	return true;
}

/* Told of its last stage, and not over: somebody else ends it, in a moment. Else the word may have been missed. */
static void wait_on(struct op *op)
{
	op->waiting = true;
	op->look_at = mono_us() + (op->told ? 1000 : 2000000);
}

static void looked(struct op *op, int status, const struct jv *data)
{
	const char *state = jv_str(data, "status");

	if (state && !strcmp(state, "completed")) {
		op_end(op, 1);
		return;
	}
	if (!state || strcmp(state, "running") != 0) {
		load_failed(op->load, state ? state : "no status", status, "");
		op_end(op, 0);
		return;
	}
	wait_on(op);
}

static void look(struct op *op)
{
	op->waiting = false;
	if (op->told && op->tries++ == 0)
		op_measure(op, 1, mono_us() - op->step_began);
	op_call(op, 2, "GET", op->load->admin, NULL, 0, WANT(200), looked, "/executions/%s", op->id);
}

static void executed(struct op *op, int status, const struct jv *data)
{
	const char *id = jv_str(data, "execution_id");

	if (!id) {
		load_failed(op->load, "no execution_id", status, "");
		op_end(op, 0);
		return;
	}
	snprintf(op->id, sizeof(op->id), "%s", id);
	op->step_began = mono_us();
	for (unsigned i = 0; i < ENDED_KEPT; i++) {
		if (!strcmp(ended[i], id)) {
			op->told = true;
			look(op);
			return;
		}
	}
	wait_on(op);
}

void start_pipeline(struct op *op)
{
	static const char body[] = "{\"input_data\":{\"items\":[1,2,3]},\"parameters\":{}}";

	op->id[0] = '\0';
	op->told = false;
	op_call(op, 0, "POST", op->load->admin, body, sizeof(body) - 1, WANT(200) | WANT(201) | WANT(202), executed,
		"/pipelines/%s/execute", op->load->pipeline);
}

void tick_pipeline(struct load *l, int64_t now)
{
	for (int i = 0; i < l->connections; i++) {
		struct op *op = &l->ops[i];

		if (op->busy && op->waiting && now >= op->look_at)
			look(op);
	}
}
