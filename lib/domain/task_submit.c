// SPDX-License-Identifier: MIT
#include "task.h"

#include <math.h>

#include "../base/clock.h"
#include "../base/limits.h"
#include "idem.h"

static const struct field requirement_fields[] = {
	{ "capabilities", F_SLUGS, .offset = offsetof(struct requirements_in, capabilities), .max = LIMIT_CAPABILITIES,
	  .help = "All of these an agent must have." },
};
static SCHEMA(requirements_schema, struct requirements_in, "Requirements", requirement_fields,
	      "What an agent must have to get the task.");

static const struct field task_fields[] = {
	{ "type", F_SLUG, true, offsetof(struct task_in, type), .alias = "task_type", .help = "Kind of work." },
	{ "parameters", F_JSON, .offset = offsetof(struct task_in, parameters), .max = 0, .alias = "payload",
	  .help = "What the agent gets, passed on byte for byte." },
	{ "priority", F_ENUM, .offset = offsetof(struct task_in, priority), .names = priority_names,
	  .dflt = PRIO_MEDIUM, .help = "critical: real-time, high: user-facing, medium: background, low: batch." },
	{ "classification", F_ENUM, .offset = offsetof(struct task_in, classification), .names = class_names,
	  .dflt = CLASS_INTERNAL, .help = "Data class of parameters and result." },
	{ "requirements", F_OBJ, .offset = offsetof(struct task_in, requirements), .sub = &requirements_schema },
	{ "pipeline_id", F_UUID, .offset = offsetof(struct task_in, pipeline_id), .help = "Pipeline it belongs to." },
	{ "stage", F_INT, .offset = offsetof(struct task_in, stage), .min = 1, .max = LIMIT_STAGES, .dflt = 0,
	  .help = "Stage of that pipeline." },
	{ "dependencies", F_UUIDS, .offset = offsetof(struct task_in, dependencies), .max = LIMIT_DEPENDENCIES,
	  .help = "Tasks that must complete first." },
	{ "concurrency_key", F_STR, .offset = offsetof(struct task_in, concurrency_key), .min = 1, .max = LIMIT_NAME,
	  .help = "At most concurrency_limit tasks of one key run at once." },
	{ "concurrency_limit", F_INT, .offset = offsetof(struct task_in, concurrency_limit), .min = 1,
	  .max = LIMIT_CONCURRENCY, .dflt = 1, .help = "Limit of concurrency_key; 1 by default." },
	{ "run_at", F_TIME, .offset = offsetof(struct task_in, run_at), .help = "Not before this time." },
	{ "deadline", F_TIME, .offset = offsetof(struct task_in, deadline), .help = "Fails when not done by then." },
	{ "timeout", F_INT, .offset = offsetof(struct task_in, timeout), .min = 1, .max = LIMIT_TIMEOUT_S, .dflt = 0,
	  .help = "Seconds one attempt may take; TASK_TIMEOUT by default." },
	{ "max_retries", F_INT, .offset = offsetof(struct task_in, max_retries), .min = 0, .max = LIMIT_RETRIES,
	  .dflt = -1, .alias = "retry_count", .help = "Tries after the first one." },
	{ "retry", F_OBJ, .offset = offsetof(struct task_in, retry), .sub = &retry_schema },
};
SCHEMA(task_schema, struct task_in, "TaskCreate", task_fields, "A task to be done.");

static const struct field claim_fields[] = {
	{ "max", F_INT, .offset = offsetof(struct claim_in, max), .min = 1, .max = LIMIT_CLAIM, .dflt = 1,
	  .help = "Most tasks to take." },
	{ "types", F_SLUGS, .offset = offsetof(struct claim_in, types), .max = LIMIT_CAPABILITIES,
	  .help = "Only tasks of these types." },
};
SCHEMA(claim_schema, struct claim_in, "Claim", claim_fields, "What an agent wants to take.");

static const char *capabilities_json(struct arena *a, const struct strs *caps)
{
	struct buf b;
	struct jw w;

	buf_init(&b);
	jw_init(&w, &b);
	jw_obj(&w);
	jw_key(&w, "capabilities");
	jw_arr(&w);
	for (int i = 0; i < caps->n; i++)
		jw_str(&w, caps->v[i]);
	jw_end_arr(&w);
	jw_end_obj(&w);
	const char *text = arena_strndup(a, b.p, b.n);

	buf_release(&b);
	return text;
}

void task_place(struct op *op, struct task *t, struct strs *capabilities)
{
	t->lane_sig = lane_signature(op->arena, t->type, capabilities, t->classification, &t->lane);
	t->requirements = capabilities_json(op->arena, capabilities);
	t->order_key = order_key(t->priority, t->run_at > t->created_at ? t->run_at : t->created_at);
}

static enum err check_times(struct op *op, const struct task_in *in)
{
	if (in->deadline && in->deadline <= op->now)
		error_field(op->err, "$.deadline", "in_the_past", "must lie in the future");
	if (in->deadline && in->run_at && in->run_at >= in->deadline)
		error_field(op->err, "$.run_at", "out_of_range", "must lie before the deadline");
	if (in->classification >= CLASS_RESTRICTED)
		return error_set(op->err, ERR_ENCRYPTION, "class %s", class_names[in->classification]);
	return op->err->code;
}

/* All dependencies must be known; *open says whether any is still to be done. */
static enum err check_dependencies(struct op *op, const struct strs *deps, bool *open)
{
	struct task **found = arena_calloc(op->arena, (size_t)deps->n + 1, sizeof(*found));
	enum err err = store_tasks_get(op->app->store, (const char *const *)deps->v, deps->n, TASK_COLS_BRIEF, op->arena,
				       found, op->err);

	if (err)
		return err;
	for (int i = 0; i < deps->n; i++) {
		if (!found[i])
			error_field(op->err, arena_printf(op->arena, "$.dependencies[%d]", i), "not_found",
				    "there is no such task");
		else if (found[i]->status == TASK_FAILED || found[i]->status == TASK_CANCELLED)
			return error_public(op->err, ERR_BUSINESS, "Dependency %s has %s; the task could never run.",
					    deps->v[i], task_status_names[found[i]->status]);
		else
			*open |= found[i]->status != TASK_COMPLETED;
	}
	return op->err->code;
}

static const char *ids_json(struct arena *a, const struct strs *ids)
{
	struct buf b;
	struct jw w;

	if (!ids->n)
		return NULL;
	buf_init(&b);
	jw_init(&w, &b);
	jw_arr(&w);
	for (int i = 0; i < ids->n; i++)
		jw_str(&w, ids->v[i]);
	jw_end_arr(&w);
	const char *text = arena_strndup(a, b.p, b.n);

	buf_release(&b);
	return text;
}

enum err task_prepare(struct op *op, const struct task_in *in, struct task *t)
{
	struct strs none = { 0 };
	bool open = false;
	enum err err = check_times(op, in);

	if (err)
		return err;
	refuse_uri_secrets(op, in->parameters, "$.parameters");
	if (in->dependencies.n && (err = check_dependencies(op, &in->dependencies, &open)))
		return err;
	if (in->pipeline_id) {
		struct record *rec;

		err = store_rec_get(op->app->store, REC_PIPELINE, in->pipeline_id, op->arena, &rec, op->err);
		if (err)
			return err;
		if (!rec || rec->n2)
			error_field(op->err, "$.pipeline_id", "not_found", "there is no such pipeline");
	}
	if (op->err->code)
		return op->err->code;
	*t = (struct task){
		.type = in->type, .status = TASK_PENDING, .priority = (enum priority)in->priority,
		.classification = (enum data_class)in->classification,
		.parameters = in->parameters ? in->parameters : "{}", .stage = (int)in->stage,
		.dependencies = ids_json(op->arena, &in->dependencies), .concurrency_key = in->concurrency_key,
		.concurrency_limit = in->concurrency_key ? in->concurrency_limit : 0, .run_at = in->run_at,
		.deadline = in->deadline, .timeout_s = in->timeout ? in->timeout : op->app->cfg->task_timeout,
		.max_retries = in->max_retries >= 0 ? in->max_retries : op->app->cfg->task_max_retries,
		.retry = retry_policy(in->retry), .created_by = op->caller->id, .created_at = op->now,
		.updated_at = op->now,
	};
	id_new(t->id);
	if (in->pipeline_id)
		memcpy(t->pipeline_id, in->pipeline_id, ID_TEXT);
	task_place(op, t, in->requirements ? &in->requirements->capabilities : &none);
	if (open) {
		t->hold = HOLD_DEPS;
	} else if (t->run_at > op->now) {
		t->hold = HOLD_TIME;
		t->due_at = t->run_at;
	} else if (t->concurrency_key) {
		t->hold = HOLD_SLOT;
	}
	return OK;
}

/* A keyed task may go straight to the queue when its key has a free slot. */
static enum err admit(struct op *op, struct task *t)
{
	bool taken;

	if (t->hold != HOLD_SLOT)
		return OK;
	enum err err = slot_take(op, t->concurrency_key, t->concurrency_limit, t->id, &taken);

	if (!err && taken)
		t->hold = HOLD_NONE;
	return err;
}

enum err task_submit(struct op *op, const struct task_in *in, struct task **out)
{
	struct task *t = arena_new(op->arena, struct task);
	enum err err = task_prepare(op, in, t);

	if (err || (err = admit(op, t)))
		return err;
	struct store_op ops[2] = { { .kind = SOP_TASK_INSERT, .task = t } };
	struct store_unit u = { .ops = ops, .n = 1, .arena = op->arena, .error = op->err };

	if (op->idem)
		idem_add(op, ops, &u.n, 201, task_text(op, t, VIEW_FULL));
	err = store_apply(op->app->store, &u);
	if (err) {
		if (err == ERR_CONFLICT && idem_lost(op, ops, u.n))
			err = ERR_IDEM_BUSY;
		return err;
	}
	task_posted(op, t, "task.created");
	*out = t;
	return OK;
}

/* --- batch ------------------------------------------------------------------------------------------ */

static void batch_item_json(struct jw *w, int index, const struct task *t, struct error *e)
{
	jw_obj(w);
	jw_kint(w, "index", index);
	jw_kstr(w, "task_id", t ? t->id : NULL);
	jw_kstr(w, "status", t ? task_status_names[t->status] : "rejected");
	if (!t) {
		jw_key(w, "error");
		jw_obj(w);
		jw_kstr(w, "type", err_type(e->code));
		jw_kstr(w, "code", err_text(e->code));
		jw_kstr(w, "message", e->message[0] ? e->message : err_message(e->code));
		jw_key(w, "details");
		error_fields_json(e, w);
		jw_end_obj(w);
	}
	jw_end_obj(w);
}

static enum err prepare_item(struct op *op, const struct jv *item, struct task *t, struct error *e)
{
	struct op one = *op;
	void *in;

	error_init(e, op->arena);
	one.err = e;
	one.idem = NULL;
	enum err err = schema_read(&task_schema, item, op->arena, &in, e);

	if (!err)
		err = task_prepare(&one, in, t);
	if (!err)
		err = admit(&one, t);
	if (err && !e->code)
		e->code = err;
	return err;
}

static const char *batch_answer(struct op *op, struct task *const *tasks, struct error *errors, int n)
{
	struct buf b;
	struct jw w;

	buf_init(&b);
	jw_init(&w, &b);
	jw_obj(&w);
	jw_key(&w, "items");
	jw_arr(&w);
	for (int i = 0; i < n; i++)
		batch_item_json(&w, i, tasks[i], &errors[i]);
	jw_end_arr(&w);
	jw_end_obj(&w);
	const char *text = arena_strndup(op->arena, b.p, b.n);

	buf_release(&b);
	return text;
}

enum err task_submit_batch(struct op *op, const struct jv *items, const char **answer, bool *any_failed)
{
	size_t n = items->n;
	struct task **tasks = arena_calloc(op->arena, n, sizeof(*tasks));
	struct error *errors = arena_calloc(op->arena, n, sizeof(*errors));
	struct store_op *ops = arena_calloc(op->arena, n + 1, sizeof(*ops));
	struct store_unit u = { .ops = ops, .arena = op->arena, .error = op->err };
	size_t i = 0;

	*any_failed = false;
	for (const struct jv *item = items->child; item; item = item->next, i++) {
		struct task *t = arena_new(op->arena, struct task);
		enum err err = prepare_item(op, item, t, &errors[i]);

		/* An item the store could not be asked about says nothing about the item. */
		if (err == ERR_UNAVAILABLE || err == ERR_TIMEOUT || err == ERR_INTERNAL)
			return error_set(op->err, err, "%s", errors[i].detail);
		if (err) {
			*any_failed = true;
			continue;
		}
		tasks[i] = t;
		ops[u.n++] = (struct store_op){ .kind = SOP_TASK_INSERT, .task = t };
	}
	*answer = batch_answer(op, tasks, errors, (int)n);
	if (u.n == 0)
		return OK;
	/* With an Idempotency-Key the items and the key are one unit; without one they share the round trip. */
	idem_add(op, ops, &u.n, *any_failed ? 207 : 200, *answer);
	enum err err = op->idem ? store_apply(op->app->store, &u) : store_apply_each(op->app->store, &u);

	if (err) {
		if (err == ERR_CONFLICT && idem_lost(op, ops, u.n))
			err = ERR_IDEM_BUSY;
		return err;
	}
	for (i = 0; i < n; i++) {
		if (tasks[i])
			task_posted(op, tasks[i], "task.created");
	}
	return OK;
}
