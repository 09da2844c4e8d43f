// SPDX-License-Identifier: MIT
#include "execution.h"

#include "../base/jsonschema.h"
#include "../base/log.h"
#include "idem.h"
#include "meter.h"
#include "outbox.h"
#include "task.h"

#define TRIES 16
#define UNIT_OPS 160		/* record, first tasks, idempotency key, notifications */

static const struct field notification_fields[] = {
	{ "webhook", F_URL, .offset = offsetof(struct notification_in, webhook), .help = "Told when the run ends." },
	{ "email", F_EMAIL, .offset = offsetof(struct notification_in, email) },
};
static SCHEMA(notification_schema, struct notification_in, "Notification", notification_fields, "Who is told of the end.");

#define EXECUTE_FIELDS \
	{ "input_data", F_JSON, .offset = offsetof(struct execute_in, input_data), .help = "Input of the first stages." }, \
	{ "parameters", F_JSON_OBJ, .offset = offsetof(struct execute_in, parameters), .max = LIMIT_METADATA, \
	  .help = "Handed to every task; batch_size and parallel_workers steer fan-out." }, \
	{ "notification", F_OBJ, .offset = offsetof(struct execute_in, notification), .sub = &notification_schema }

static const struct field execute_fields[] = { EXECUTE_FIELDS };
static const struct field agent_execute_fields[] = {
	EXECUTE_FIELDS,
	{ "template", F_ENUM, .offset = offsetof(struct execute_in, template), .names = template_names,
	  .help = "standard, or data for the second template." },
	{ "pipeline_id", F_UUID, .offset = offsetof(struct execute_in, pipeline_id), .help = "Run this one instead." },
};
static const struct field stage_execute_fields[] = {
	EXECUTE_FIELDS,
	{ "execution_id", F_UUID, .offset = offsetof(struct execute_in, execution_id), .help = "Default: the latest run." },
};
SCHEMA(execute_schema, struct execute_in, "PipelineExecute", execute_fields, "A run of a pipeline.");
SCHEMA(agent_execute_schema, struct execute_in, "AgentExecute", agent_execute_fields, "A run of a six-stage template.");
SCHEMA(stage_execute_schema, struct execute_in, "StageExecute", stage_execute_fields,
       "One stage; without any run yet a run of only that stage is started.");

/* --- moving on --------------------------------------------------------------------------------------------- */

bool stage_over(const struct execution *ex, int s)
{
	enum stage_status st = ex->state[s].status;

	return st == STAGE_COMPLETED || st == STAGE_SKIPPED || (st == STAGE_FAILED && !ex->stages[s].required);
}

static const char *stage_error(struct op *op, const char *code, const char *message)
{
	struct buf b;
	struct jw w;

	buf_init(&b);
	jw_init(&w, &b);
	jw_obj(&w);
	jw_kstr(&w, "type", "business_logic");
	jw_kstr(&w, "code", code);
	jw_kstr(&w, "message", message);
	jw_end_obj(&w);
	const char *text = arena_strndup(op->arena, b.p, b.n);

	buf_release(&b);
	return text;
}

/* What one pass over a run found and did. */
struct pass {
	uint32_t completed, failed, started, deferred;	/* bits of stages */
	bool changed, ended;
};

/* The error of the first failed task is the stage's. */
static const char *failed_task_error(struct op *op, const struct execution *ex, int s)
{
	struct task_filter f = { .execution_id = ex->id, .stage = s, .status = ST(TASK_FAILED), .limit = 1 };
	struct task_page page;

	if (store_tasks_list(op->app->store, &f, op->arena, &page, op->err) || page.n == 0 || !page.items[0]->error)
		return stage_error(op, "task_cancelled", "A task of the stage was cancelled.");
	return page.items[0]->error;
}

static void stage_ends(struct op *op, struct execution *ex, int s, enum stage_status status, const char *error,
		       struct pass *p)
{
	ex->state[s].status = status;
	ex->state[s].completed_at = op->now;
	ex->state[s].error = error;
	p->changed = true;
	if (status == STAGE_COMPLETED)
		p->completed |= 1u << s;
	else
		p->failed |= 1u << s;
}

/* Which running stages are done. */
static void settle_stages(struct op *op, struct execution *ex, struct pass *p)
{
	for (int s = 1; s <= ex->n_stages; s++) {
		const int64_t *c = ex->counts.n[s];

		if (ex->state[s].status != STAGE_RUNNING)
			continue;
		if (c[TASK_FAILED] || c[TASK_CANCELLED])
			stage_ends(op, ex, s, STAGE_FAILED, failed_task_error(op, ex, s), p);
		else if (c[TASK_COMPLETED] == ex->state[s].tasks)
			stage_ends(op, ex, s, STAGE_COMPLETED, NULL, p);
	}
}

static enum err start_stages(struct op *op, struct execution *ex, struct store_unit *u, struct pass *p)
{
	for (int s = 1; s <= ex->n_stages; s++) {
		bool ready = ex->state[s].status == STAGE_PENDING;
		bool deferred;

		for (int d = 1; d <= ex->n_stages && ready; d++)
			ready = !(ex->stages[s].deps >> d & 1) || stage_over(ex, d);
		if (!ready)
			continue;
		ex->state[s].status = STAGE_RUNNING;
		ex->state[s].started_at = op->now;
		ex->state[s].completed_at = 0;
		ex->state[s].error = NULL;
		p->changed = true;
		enum err err = stage_prepare(op, ex, s, u, UNIT_OPS - 10 - u->n, &deferred);

		if (err == ERR_BUSINESS) {
			stage_ends(op, ex, s, STAGE_FAILED, stage_error(op, "bad_input", op->err->message), p);
			error_init(op->err, op->arena);
			return OK;	/* the next round judges it */
		}
		if (err)
			return err;
		p->started |= 1u << s;
		if (deferred)
			p->deferred |= 1u << s;
		/* Nothing to do is done: go round again. */
		if (ex->state[s].tasks == 0) {
			stage_ends(op, ex, s, STAGE_COMPLETED, NULL, p);
			s = 0;
		}
	}
	return OK;
}

void execution_notify(struct op *op, const struct execution *ex, struct store_unit *u)
{
	const char *state = execution_status_names[ex->status];
	struct buf b;
	struct jw w;

	if (ex->webhook) {
		buf_init(&b);
		jw_init(&w, &b);
		jw_obj(&w);
		jw_kstr(&w, "execution_id", ex->id);
		jw_kstr(&w, "pipeline_id", ex->pipeline_id);
		jw_kstr(&w, "pipeline_name", ex->name);
		jw_kstr(&w, "status", state);
		jw_kraw(&w, "error", ex->error);
		jw_ktime(&w, "started_at", ex->started_at);
		jw_ktime(&w, "completed_at", ex->completed_at);
		jw_end_obj(&w);
		outbox_webhook(op, &u->ops[u->n++], ex->webhook, arena_printf(op->arena, "pipeline.%s", state),
			       arena_strndup(op->arena, b.p, b.n));
		buf_release(&b);
	}
	if (ex->email)
		outbox_email(op, &u->ops[u->n++], ex->email, arena_printf(op->arena, "Pipeline %s: %s", ex->name, state),
			     arena_printf(op->arena, "Execution %s of pipeline \"%s\" has %s after %lld s.\n", ex->id, ex->name,
					  state, (long long)(ex->completed_at - ex->started_at) / 1000));
}

static void end_run(struct op *op, struct execution *ex, enum execution_status status, struct store_unit *u,
		    struct pass *p)
{
	ex->status = status;
	ex->completed_at = op->now;
	p->changed = p->ended = true;
	for (int s = 1; s <= ex->n_stages && status != EXEC_COMPLETED; s++) {
		if (ex->state[s].status == STAGE_RUNNING) {
			ex->state[s].status = STAGE_CANCELLED;
			ex->state[s].completed_at = op->now;
		}
	}
	execution_notify(op, ex, u);
}

/* Does a required stage stand failed? Then the run has failed. */
static int failed_required(const struct execution *ex)
{
	for (int s = 1; s <= ex->n_stages; s++) {
		if (ex->state[s].status == STAGE_FAILED && ex->stages[s].required)
			return s;
	}
	return 0;
}

static bool all_over(const struct execution *ex)
{
	for (int s = 1; s <= ex->n_stages; s++) {
		if (!stage_over(ex, s))
			return false;
	}
	return true;
}

/* Decide the run's next step into ex, u and p; nothing is written yet. */
static enum err decide(struct op *op, struct execution *ex, struct store_unit *u, struct pass *p)
{
	int bad;

	settle_stages(op, ex, p);
	bad = failed_required(ex);
	if (!bad && ex->status == EXEC_RUNNING) {
		uint32_t failed;

		do {
			failed = p->failed;
			enum err err = start_stages(op, ex, u, p);

			if (err)
				return err;
			bad = failed_required(ex);
		} while (!bad && p->failed != failed);
	}
	if (bad && ex->status != EXEC_CANCELLED) {
		ex->error = ex->state[bad].error;
		/* Tasks of stages that just started must not be made for a run that ends. */
		size_t keep = 1;	/* the first is the record's, which is put last */

		for (size_t i = 1; i < u->n; i++) {
			if (u->ops[i].kind != SOP_TASK_INSERT)
				u->ops[keep++] = u->ops[i];
		}
		u->n = keep;
		p->started = p->deferred = 0;
		end_run(op, ex, EXEC_FAILED, u, p);
	} else if (all_over(ex) && ex->status == EXEC_RUNNING) {
		end_run(op, ex, EXEC_COMPLETED, u, p);
	}
	return OK;
}

/* After the commit: fill, announce, cancel, tell. */
static enum err follow_up(struct op *op, struct execution *ex, const struct store_unit *u, const struct pass *p)
{
	enum err err = OK;

	for (int s = 1; s <= ex->n_stages; s++) {
		uint32_t bit = 1u << s;

		if (p->completed & bit)
			execution_post(op, ex, "stage.completed", s);
		if ((p->completed | p->failed) & bit)
			meter_stage(ex, s);
		if (p->failed & bit)
			execution_post(op, ex, "error.occurred", s);
		if (p->failed & bit && !err)
			err = stage_cancel_tasks(op, ex->id, s);
		if (p->started & bit)
			execution_post(op, ex, "stage.started", s);
	}
	for (int s = 1; s <= ex->n_stages && !err; s++) {
		if (p->deferred >> s & 1)
			err = execution_fill(op, ex, s);
		if (!err && p->started >> s & 1)
			err = stage_announce(op, ex, s, u);
	}
	if (p->ended && ex->status == EXEC_FAILED && !err)
		err = stage_cancel_tasks(op, ex->id, 0);
	if (p->ended && (ex->webhook || ex->email))
		bus_post(op->app->bus, &(struct bus_post){ .wake = "s" }, 1);
	if (p->ended)
		meter_run(ex);
	if (p->ended)
		execution_post(op, ex, ex->status == EXEC_COMPLETED ? "pipeline.completed" : "pipeline.failed", 0);
	else
		execution_post(op, ex, "pipeline.progress", 0);
	return err;
}

struct store_unit execution_unit(struct op *op)
{
	return (struct store_unit){ .ops = arena_calloc(op->arena, UNIT_OPS, sizeof(struct store_op)), .n = 1,
				    .arena = op->arena, .error = op->err };
}

/* The record's op stands first in its unit. */
void execution_put(struct op *op, struct execution *ex, struct store_unit *u)
{
	ex->updated_at = op->now;
	u->ops[0] = (struct store_op){ .kind = SOP_REC_PUT, .rec = execution_to_record(op, ex),
				       .expect_rev = ex->rev ? ex->rev : REV_ABSENT };
}

enum err execution_advance(struct op *op, const char *id)
{
	for (int i = 0; i < TRIES; i++) {
		struct execution *ex;
		struct pass p = { 0 };
		struct store_unit u = execution_unit(op);
		enum err err = execution_load(op, id, &ex);

		if (err)
			return err;
		if (ex->status != EXEC_RUNNING && ex->status != EXEC_PAUSED)
			return OK;
		err = execution_count(op, ex);
		if (err || (err = decide(op, ex, &u, &p)))
			return err;
		if (!p.changed) {
			execution_post(op, ex, "pipeline.progress", 0);
			return OK;
		}
		execution_put(op, ex, &u);
		err = store_apply(op->app->store, &u);
		if (err == ERR_CONFLICT)
			continue;	/* someone else moved it on: look again */
		return err ? err : follow_up(op, ex, &u, &p);
	}
	return error_set(op->err, ERR_CONFLICT, "execution %s is contended", id);
}

/* --- starting ------------------------------------------------------------------------------------------------- */

static enum err read_parameters(struct op *op, const struct execute_in *in, struct execution *ex)
{
	struct jv *v = NULL;
	enum err err = in->parameters ? json_parse(op->arena, in->parameters, strlen(in->parameters), 1, &v, op->err) : OK;

	if (err)
		return err;
	ex->parameters = in->parameters ? in->parameters : "{}";
	ex->batch_size = 100;
	ex->parallel_workers = 8;
	if (jv_get(v, "batch_size") &&
	    (!jv_int(jv_get(v, "batch_size"), &ex->batch_size) || ex->batch_size < 1 || ex->batch_size > 100000))
		error_field(op->err, "$.parameters.batch_size", "out_of_range", "must be a whole number from 1 to 100000");
	if (jv_get(v, "parallel_workers") &&
	    (!jv_int(jv_get(v, "parallel_workers"), &ex->parallel_workers) || ex->parallel_workers < 1 ||
	     ex->parallel_workers > LIMIT_CONCURRENCY))
		error_field(op->err, "$.parameters.parallel_workers", "out_of_range", "must be a whole number from 1 to %d",
			    LIMIT_CONCURRENCY);
	refuse_uri_secrets(op, in->input_data, "$.input_data");
	refuse_uri_secrets(op, in->parameters, "$.parameters");
	if (in->notification && in->notification->email && !*op->app->cfg->smtp_url)
		error_field(op->err, "$.notification.email", "unavailable", "no mail is sent here: SMTP_URL is not set");
	return op->err->code;
}

const char *execution_text(struct op *op, struct execution *ex)
{
	struct buf b;
	struct jw w;

	buf_init(&b);
	jw_init(&w, &b);
	if (execution_json(op, ex, false, &w))
		buf_reset(&b);
	const char *text = b.n ? arena_strndup(op->arena, b.p, b.n) : "null";

	buf_release(&b);
	return text;
}

/* The answer before anything is stored: what it starts with is all pending. */
static const char *started_answer(struct op *op, struct execution *ex)
{
	ex->counted = true;
	for (int s = 1; s <= ex->n_stages; s++)
		ex->counts.n[s][TASK_PENDING] = ex->state[s].tasks;
	return execution_text(op, ex);
}

enum err execution_start(struct op *op, const struct pipeline *p, const struct execute_in *in, int only_stage,
			 struct execution **out)
{
	struct execution *ex = arena_new(op->arena, struct execution);
	struct pass pass = { 0 };
	struct record *blob = arena_new(op->arena, struct record);
	enum err err = read_parameters(op, in, ex);

	if (err)
		return err;
	id_new(ex->id);
	memcpy(ex->pipeline_id, p->id, ID_TEXT);
	ex->name = p->name;
	memcpy(ex->stages, p->stages, sizeof(ex->stages));
	ex->n_stages = p->n_stages;
	ex->status = EXEC_RUNNING;
	ex->created_by = op->caller->id;
	ex->created_at = ex->started_at = op->now;
	ex->webhook = in->notification ? in->notification->webhook : NULL;
	ex->email = in->notification ? in->notification->email : NULL;
	ex->counted = true;
	for (int s = 1; s <= ex->n_stages && only_stage; s++)
		ex->state[s].status = s == only_stage ? STAGE_PENDING : STAGE_SKIPPED;
	/* The input is stored first: stages read it from the store like any output. A run that is then not made leaves a
	 * blob without a run, which retention removes. */
	*blob = (struct record){ .kind = REC_BLOB, .id = ex->id, .s1 = ex->id, .s2 = "", .s3 = "", .n1 = op->now,
				 .body = in->input_data ? in->input_data : "null" };
	struct store_op first = { .kind = SOP_REC_PUT, .rec = blob, .expect_rev = REV_ABSENT };
	struct store_unit store_input = { .ops = &first, .n = 1, .arena = op->arena, .error = op->err };

	err = store_apply(op->app->store, &store_input);
	if (err)
		return err;
	struct store_unit u = execution_unit(op);

	err = decide(op, ex, &u, &pass);
	if (err)
		return err;
	execution_put(op, ex, &u);
	idem_add(op, u.ops, &u.n, 202, op->idem ? started_answer(op, ex) : NULL);
	err = store_apply(op->app->store, &u);
	if (err)
		return err == ERR_CONFLICT && idem_lost(op, u.ops, u.n) ? ERR_IDEM_BUSY : err;
	ex->rev = 1;
	ex->counted = false;
	execution_post(op, ex, "pipeline.started", 0);
	*out = ex;
	/* From here on the run is durable: what fails now the sweep does again. */
	struct error later;
	struct error *outer = op->err;

	error_init(&later, op->arena);
	op->err = &later;
	if (follow_up(op, ex, &u, &pass))
		log_error(LOG_WARN, &later, "execution %s is left to the sweep", ex->id);
	op->err = outer;
	return OK;
}

/* --- checking results -------------------------------------------------------------------------------------------- */

enum err execution_check_result(struct op *op, const struct task *t, const char *result)
{
	struct execution *ex;
	struct jv *schema;
	struct jv *value;
	enum err err = execution_load(op, t->execution_id, &ex);

	if (err)
		return err;
	if (t->stage < 1 || t->stage > ex->n_stages || !ex->stages[t->stage].validation)
		return OK;
	const char *text = ex->stages[t->stage].validation;

	err = json_parse(op->arena, text, strlen(text), JSON_BUILD_ALL, &schema, op->err);
	if (!err)
		err = json_parse(op->arena, result, strlen(result), JSON_BUILD_ALL, &value, op->err);
	if (err)
		return error_set(op->err, ERR_INTERNAL, "validation or result does not parse");
	return jsonschema_validate(schema, value, "$.result", op->err);
}
