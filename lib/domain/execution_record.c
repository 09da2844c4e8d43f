// SPDX-License-Identifier: MIT
/* Executions between record, struct and answer. */
#include "execution.h"

#include "task.h"

static const char *const stage_status_names[] = { "pending", "running", "completed", "failed", "cancelled", "skipped",
						  NULL };

struct record *execution_to_record(struct op *op, const struct execution *ex)
{
	struct record *rec = arena_new(op->arena, struct record);
	struct pipeline def = { .n_stages = ex->n_stages };
	struct buf b;
	struct jw w;
	bool live = ex->status == EXEC_CREATED || ex->status == EXEC_RUNNING || ex->status == EXEC_PAUSED;

	memcpy(def.stages, ex->stages, sizeof(def.stages));
	buf_init(&b);
	jw_init(&w, &b);
	jw_obj(&w);
	jw_kstr(&w, "name", ex->name);
	jw_key(&w, "stages");
	stages_json(&def, &w);
	jw_key(&w, "state");
	jw_arr(&w);
	for (int s = 1; s <= ex->n_stages; s++) {
		jw_obj(&w);
		jw_kstr(&w, "status", stage_status_names[ex->state[s].status]);
		jw_kint(&w, "tasks", ex->state[s].tasks);
		jw_kint(&w, "started_at", ex->state[s].started_at);
		jw_kint(&w, "completed_at", ex->state[s].completed_at);
		jw_kraw(&w, "error", ex->state[s].error);
		jw_end_obj(&w);
	}
	jw_end_arr(&w);
	jw_kraw(&w, "parameters", ex->parameters);
	jw_kint(&w, "batch_size", ex->batch_size);
	jw_kint(&w, "parallel_workers", ex->parallel_workers);
	jw_kstr(&w, "webhook", ex->webhook);
	jw_kstr(&w, "email", ex->email);
	jw_kraw(&w, "error", ex->error);
	jw_kint(&w, "updated_at", ex->updated_at);
	jw_kint(&w, "started_at", ex->started_at);
	jw_kint(&w, "completed_at", ex->completed_at);
	jw_end_obj(&w);
	*rec = (struct record){ .kind = REC_EXECUTION, .id = arena_strdup(op->arena, ex->id),
				.s1 = arena_strdup(op->arena, ex->pipeline_id), .s2 = execution_status_names[ex->status],
				.s3 = ex->created_by ? ex->created_by : "", .n1 = ex->created_at, .n2 = live,
				.body = arena_strndup(op->arena, b.p, b.n) };
	buf_release(&b);
	return rec;
}

enum err execution_from_record(struct op *op, const struct record *rec, struct execution **out)
{
	struct execution *ex = arena_new(op->arena, struct execution);
	struct jv *v;
	int status = name_index(execution_status_names, rec->s2);

	if (strlen(rec->id) != ID_LEN || strlen(rec->s1) != ID_LEN || status < 0 ||
	    json_parse(op->arena, rec->body, strlen(rec->body), 5, &v, op->err))
		return error_set(op->err, ERR_INTERNAL, "execution record %s does not parse", rec->id);
	memcpy(ex->id, rec->id, ID_TEXT);
	memcpy(ex->pipeline_id, rec->s1, ID_TEXT);
	ex->rev = rec->rev;
	ex->status = (enum execution_status)status;
	ex->name = jv_str(v, "name");
	ex->parameters = jv_text(op->arena, jv_get(v, "parameters"));
	ex->batch_size = jv_int_or(v, "batch_size", 100);
	ex->parallel_workers = jv_int_or(v, "parallel_workers", 8);
	ex->webhook = jv_str(v, "webhook");
	ex->email = jv_str(v, "email");
	ex->created_by = rec->s3;
	ex->created_at = rec->n1;
	ex->updated_at = jv_int_or(v, "updated_at", 0);
	ex->started_at = jv_int_or(v, "started_at", 0);
	ex->completed_at = jv_int_or(v, "completed_at", 0);
	const struct jv *error = jv_get(v, "error");

	ex->error = error && error->type == J_OBJECT ? jv_text(op->arena, error) : NULL;
	enum err err = stages_read(op, jv_get(v, "stages"), ex->stages, &ex->n_stages);
	const struct jv *state = jv_get(v, "state");
	int s = 0;

	for (const struct jv *m = state ? state->child : NULL; m && s < ex->n_stages; m = m->next) {
		struct stage_state *st = &ex->state[++s];
		const char *name = jv_str(m, "status");
		const struct jv *why = jv_get(m, "error");
		int i = name ? name_index(stage_status_names, name) : -1;

		st->status = i < 0 ? STAGE_PENDING : (enum stage_status)i;
		st->tasks = jv_int_or(m, "tasks", 0);
		st->started_at = jv_int_or(m, "started_at", 0);
		st->completed_at = jv_int_or(m, "completed_at", 0);
		st->error = why && why->type == J_OBJECT ? jv_text(op->arena, why) : NULL;
	}
	*out = ex;
	return err;
}

enum err execution_load(struct op *op, const char *id, struct execution **out)
{
	struct record *rec;
	enum err err = store_rec_get(op->app->store, REC_EXECUTION, id, op->arena, &rec, op->err);

	if (err)
		return err;
	if (!rec)
		return error_public(op->err, ERR_NOT_FOUND, "There is no execution %s.", id);
	return execution_from_record(op, rec, out);
}

static enum err count_all(struct op *op, struct execution **list, int n)
{
	const char **ids = arena_calloc(op->arena, (size_t)n + 1, sizeof(*ids));
	struct stage_counts *counts = arena_calloc(op->arena, (size_t)n + 1, sizeof(*counts));

	for (int i = 0; i < n; i++)
		ids[i] = list[i]->id;
	enum err err = store_stage_counts(op->app->store, ids, n, counts, op->err);

	for (int i = 0; i < n && !err; i++) {
		list[i]->counts = counts[i];
		list[i]->counted = true;
	}
	return err;
}

enum err execution_count(struct op *op, struct execution *ex)
{
	return ex->counted ? OK : count_all(op, &ex, 1);
}

enum err executions_list(struct op *op, const char *pipeline_id, uint32_t status, const char *cursor, int limit,
			 struct execution ***out, int *n, const char **next)
{
	struct rec_filter f = { .kind = REC_EXECUTION, .s1 = pipeline_id, .descending = true, .limit = limit };
	struct rec_page page;

	/* One status is an index; several are sieved below, page by page. */
	if (status && (status & (status - 1)) == 0)
		f.s2 = execution_status_names[__builtin_ctz(status)];
	enum err err = records_page(op, &f, "e", cursor, &page, next);

	*n = 0;
	if (err)
		return err;
	*out = arena_calloc(op->arena, (size_t)page.n + 1, sizeof(**out));
	for (int i = 0; i < page.n && !err; i++) {
		struct execution *ex;

		err = execution_from_record(op, page.items[i], &ex);
		if (!err && (!status || status >> ex->status & 1))
			(*out)[(*n)++] = ex;
	}
	return err ? err : count_all(op, *out, *n);
}

double execution_progress(const struct execution *ex)
{
	double sum = 0;
	int of = 0;

	for (int s = 1; s <= ex->n_stages; s++) {
		const struct stage_state *st = &ex->state[s];

		if (st->status == STAGE_SKIPPED)
			continue;
		of++;
		if (st->status == STAGE_COMPLETED || (st->status == STAGE_FAILED && !ex->stages[s].required))
			sum += 1;
		else if (st->tasks > 0)
			sum += (double)ex->counts.n[s][TASK_COMPLETED] / (double)st->tasks;
	}
	return of ? sum / of : 1;
}

int execution_current_stage(const struct execution *ex)
{
	for (int s = 1; s <= ex->n_stages; s++) {
		enum stage_status st = ex->state[s].status;

		if (st == STAGE_RUNNING || st == STAGE_FAILED || st == STAGE_CANCELLED) {
			if (st != STAGE_FAILED || ex->stages[s].required)
				return s;
		}
	}
	for (int s = 1; s <= ex->n_stages; s++) {
		if (ex->state[s].status == STAGE_PENDING)
			return s;
	}
	return ex->n_stages;
}

int execution_last_stage(const struct execution *ex)
{
	for (int s = ex->n_stages; s >= 1; s--) {
		if (ex->state[s].status == STAGE_COMPLETED)
			return s;
	}
	return 0;
}

static void stage_json(const struct execution *ex, int s, struct jw *w)
{
	const struct stage_state *st = &ex->state[s];

	jw_obj(w);
	jw_kint(w, "stage", s);
	jw_kstr(w, "name", ex->stages[s].name);
	jw_kstr(w, "status", stage_status_names[st->status]);
	jw_kbool(w, "required", ex->stages[s].required);
	jw_kint(w, "tasks", st->tasks);
	jw_key(w, "task_counts");
	jw_obj(w);
	for (int i = 0; i < TASK_STATUS_COUNT; i++)
		jw_kint(w, task_status_names[i], ex->counts.n[s][i]);
	jw_end_obj(w);
	jw_key(w, "depends_on");
	jw_arr(w);
	for (int d = 1; d <= ex->n_stages; d++) {
		if (ex->stages[s].deps >> d & 1)
			jw_int(w, d);
	}
	jw_end_arr(w);
	jw_ktime(w, "started_at", st->started_at);
	jw_ktime(w, "completed_at", st->completed_at);
	jw_kraw(w, "error", st->error);
	jw_end_obj(w);
}

static void state_json(const struct execution *ex, struct jw *w)
{
	double progress = execution_progress(ex);

	jw_kstr(w, "execution_id", ex->id);
	jw_kstr(w, "pipeline_id", ex->pipeline_id);
	jw_kstr(w, "status", execution_status_names[ex->status]);
	jw_kint(w, "current_stage", execution_current_stage(ex));
	jw_key(w, "completed_stages");
	jw_arr(w);
	for (int s = 1; s <= ex->n_stages; s++) {
		if (ex->state[s].status == STAGE_COMPLETED)
			jw_int(w, s);
	}
	jw_end_arr(w);
	jw_kdouble(w, "progress", progress);
	jw_kdouble(w, "progress_percentage", (double)(int64_t)(progress * 10000 + 0.5) / 100);
	jw_key(w, "stages");
	jw_arr(w);
	for (int s = 1; s <= ex->n_stages; s++)
		stage_json(ex, s, w);
	jw_end_arr(w);
	jw_kraw(w, "error", ex->error);
	jw_ktime(w, "created_at", ex->created_at);
	jw_ktime(w, "updated_at", ex->updated_at);
	jw_ktime(w, "started_at", ex->started_at);
	jw_ktime(w, "completed_at", ex->completed_at);
}

static void metrics_json(const struct op *op, const struct execution *ex, struct jw *w)
{
	int64_t tasks = 0;
	int64_t done = 0;
	int64_t end = ex->completed_at ? ex->completed_at : op->now;

	for (int s = 1; s <= ex->n_stages; s++) {
		for (int i = 0; i < TASK_STATUS_COUNT; i++)
			tasks += ex->counts.n[s][i];
		done += ex->counts.n[s][TASK_COMPLETED];
	}
	jw_key(w, "metrics");
	jw_obj(w);
	jw_kint(w, "tasks", tasks);
	jw_kint(w, "tasks_completed", done);
	jw_kint(w, "duration_ms", ex->started_at ? end - ex->started_at : 0);
	jw_end_obj(w);
}

/* The input, and the output when it is one result of modest size; bigger ones are read through P9. */
static enum err payloads_json(struct op *op, const struct execution *ex, struct jw *w)
{
	struct record *blob;
	enum err err = store_rec_get(op->app->store, REC_BLOB, ex->id, op->arena, &blob, op->err);

	if (err)
		return err;
	jw_kraw(w, "input_data", blob ? blob->body : NULL);
	int last = ex->status == EXEC_COMPLETED ? execution_last_stage(ex) : 0;

	jw_key(w, "output_data");
	if (!last || ex->state[last].tasks != 1) {
		jw_null(w);
		return OK;
	}
	struct task_filter f = { .execution_id = ex->id, .stage = last, .by_stage_seq = true, .after_seq = -1, .limit = 1 };
	struct task_page page;

	err = store_tasks_list(op->app->store, &f, op->arena, &page, op->err);
	jw_raw(w, !err && page.n ? page.items[0]->result : NULL);
	return err;
}

enum err execution_json(struct op *op, struct execution *ex, bool full, struct jw *w)
{
	enum err err = execution_count(op, ex);

	if (err)
		return err;
	jw_obj(w);
	state_json(ex, w);
	jw_kstr(w, "pipeline_name", ex->name);
	jw_kstr(w, "created_by", ex->created_by);
	metrics_json(op, ex, w);
	jw_key(w, "notification");
	jw_obj(w);
	jw_kstr(w, "webhook", ex->webhook);
	jw_kstr(w, "email", ex->email);
	jw_end_obj(w);
	jw_kraw(w, "parameters", ex->parameters);
	if (full)
		err = payloads_json(op, ex, w);
	jw_end_obj(w);
	return err;
}

/* The agents at work on a run, with what they hold. */
static enum err agents_json(struct op *op, const struct execution *ex, struct jw *w)
{
	struct task_filter f = { .execution_id = ex->id, .status = ST_LEASED, .limit = LIMIT_PAGE,
				 .cols = TASK_COLS_BRIEF, .ascending = true };
	struct task_page page;
	enum err err = store_tasks_list(op->app->store, &f, op->arena, &page, op->err);

	if (err)
		return err;
	jw_key(w, "agents");
	jw_arr(w);
	for (int i = 0; i < page.n; i++) {
		jw_obj(w);
		jw_kstr(w, "agent_id", page.items[i]->agent_id);
		jw_kstr(w, "task_id", page.items[i]->id);
		jw_kint(w, "stage", page.items[i]->stage);
		jw_kstr(w, "status", task_status_names[page.items[i]->status]);
		jw_kdouble(w, "progress", page.items[i]->progress);
		jw_ktime(w, "started_at", page.items[i]->started_at);
		jw_end_obj(w);
	}
	jw_end_arr(w);
	return OK;
}

enum err execution_progress_json(struct op *op, struct execution *ex, bool with_agents, struct jw *w)
{
	enum err err = execution_count(op, ex);

	if (err)
		return err;
	jw_obj(w);
	state_json(ex, w);
	if (with_agents)
		err = agents_json(op, ex, w);
	jw_end_obj(w);
	return err;
}

enum err pipeline_run_json(struct op *op, const char *pipeline_id, struct jw *w)
{
	const char *latest;
	struct execution *ex;
	enum err err = pipeline_latest(op, pipeline_id, &latest);

	if (err || !latest) {
		jw_knull(w, "status");
		jw_knull(w, "latest_execution");
		return err;
	}
	err = execution_load(op, latest, &ex);
	if (err)
		return err;
	jw_kstr(w, "status", execution_status_names[ex->status]);
	jw_key(w, "latest_execution");
	return execution_progress_json(op, ex, false, w);
}

void execution_post(struct op *op, const struct execution *ex, const char *event, int stage)
{
	struct bus_post p = { .type = event, .at = op->now };
	struct buf b;
	struct jw w;
	bool ended = ex->status == EXEC_COMPLETED || ex->status == EXEC_FAILED || ex->status == EXEC_CANCELLED;

	buf_init(&b);
	jw_init(&w, &b);
	jw_obj(&w);
	jw_kstr(&w, "execution_id", ex->id);
	jw_kstr(&w, "pipeline_id", ex->pipeline_id);
	jw_kstr(&w, "status", execution_status_names[ex->status]);
	if (stage) {
		jw_kint(&w, "stage", stage);
		jw_kstr(&w, "stage_name", ex->stages[stage].name);
		jw_kstr(&w, "stage_status", stage_status_names[ex->state[stage].status]);
	}
	jw_kint(&w, "current_stage", execution_current_stage(ex));
	jw_key(&w, "completed_stages");
	jw_arr(&w);
	for (int s = 1; s <= ex->n_stages; s++) {
		if (ex->state[s].status == STAGE_COMPLETED)
			jw_int(&w, s);
	}
	jw_end_arr(&w);
	jw_kdouble(&w, "progress", execution_progress(ex));
	jw_kstr(&w, "created_by", ex->created_by);
	jw_end_obj(&w);
	p.data = b.p;
	if (stage == 0) {
		p.run.id = ex->id;
		p.run.status = execution_status_names[ex->status];
		p.run.progress = execution_progress(ex);
		p.run.current_stage = execution_current_stage(ex);
		p.run.over = ended;
	}
	if (ended && stage == 0)
		p.wake = arena_printf(op->arena, "x %s", ex->id);
	bus_post(op->app->bus, &p, 1);
	buf_release(&b);
}
