// SPDX-License-Identifier: MIT
#include "../lib/domain/pipeline.h"

#include <fcgiapp.h>

#include "../lib/domain/execution.h"
#include "../lib/domain/task.h"
#include "handlers.h"
#include "park.h"
#include "queries.h"

static enum err show(struct req *r, struct resp *p, enum err err, const struct pipeline *pl)
{
	if (err)
		return err;
	jw_obj(&p->w);
	pipeline_json(pl, &p->w);
	err = pipeline_run_json(&r->op, pl->id, &p->w);
	jw_end_obj(&p->w);
	return err;
}

enum err h_pipeline_create(struct req *r, struct resp *p)
{
	struct pipeline *pl;
	enum err err = pipeline_create(&r->op, r->in, &pl);

	if (!err)
		p->location = arena_printf(r->op.arena, "/api/v1/pipelines/%s", pl->id);
	return show(r, p, err, pl);
}

enum err h_pipelines_list(struct req *r, struct resp *p)
{
	const struct page_q *q = r->q;
	struct pipeline **list;
	int n;
	enum err err = pipelines_list(&r->op, q->name, q->cursor, (int)q->limit, &list, &n, &p->next_cursor);

	if (err)
		return err;
	jw_arr(&p->w);
	for (int i = 0; i < n; i++) {
		jw_obj(&p->w);
		pipeline_json(list[i], &p->w);
		jw_end_obj(&p->w);
	}
	jw_end_arr(&p->w);
	p->count = n;
	p->list = true;
	return OK;
}

enum err h_pipeline_get(struct req *r, struct resp *p)
{
	struct pipeline *pl;
	enum err err = pipeline_load(&r->op, r->arg[0], &pl);

	return show(r, p, err, pl);
}

enum err h_pipeline_update(struct req *r, struct resp *p)
{
	struct pipeline *pl;
	enum err err = pipeline_update(&r->op, r->arg[0], r->in, &pl);

	return show(r, p, err, pl);
}

enum err h_pipeline_delete(struct req *r, struct resp *p)
{
	enum err err = pipeline_delete(&r->op, r->arg[0]);

	if (err)
		return err;
	jw_obj(&p->w);
	jw_kbool(&p->w, "deleted", true);
	jw_end_obj(&p->w);
	return OK;
}

/* --- running -------------------------------------------------------------------------------------------------------- */

static enum err show_run(struct req *r, struct resp *p, enum err err, struct execution *ex, bool full)
{
	return err ? err : execution_json(&r->op, ex, full, &p->w);
}

enum err h_pipeline_execute(struct req *r, struct resp *p)
{
	struct pipeline *pl;
	struct execution *ex = NULL;
	enum err err = pipeline_load(&r->op, r->arg[0], &pl);

	if (!err)
		err = execution_start(&r->op, pl, r->in, 0, &ex);
	if (!err)
		p->location = arena_printf(r->op.arena, "/api/v1/executions/%s", ex->id);
	return show_run(r, p, err, ex, false);
}

static enum err stage_number(struct req *r, const char *text, int *out)
{
	if (strlen(text) != 1 || *text < '1' || *text > '0' + LIMIT_STAGES)
		return error_field(r->op.err, "path.stage", "out_of_range", "must be a whole number from 1 to %d",
				   LIMIT_STAGES);
	*out = *text - '0';
	return OK;
}

enum err h_stage_execute(struct req *r, struct resp *p)
{
	const struct execute_in *in = r->in;
	const char *id = in->execution_id;
	struct pipeline *pl;
	struct execution *ex;
	int stage = 0;
	enum err err = stage_number(r, r->arg[1], &stage);

	if (err || (err = pipeline_load(&r->op, r->arg[0], &pl)))
		return err;
	if (stage > pl->n_stages)
		return error_field(r->op.err, "path.stage", "out_of_range", "the pipeline has %d stages", pl->n_stages);
	if (!id && (err = pipeline_latest(&r->op, pl->id, &id)))
		return err;
	if (id) {
		err = execution_load(&r->op, id, &ex);
		if (!err && strcmp(ex->pipeline_id, pl->id) != 0)
			return error_field(r->op.err, "$.execution_id", "not_found", "is no run of this pipeline");
		if (!err)
			err = execution_run_stage(&r->op, id, stage, &ex);
	} else {
		err = execution_start(&r->op, pl, in, stage, &ex);
	}
	return show_run(r, p, err, ex, false);
}

enum err h_pipeline_progress(struct req *r, struct resp *p)
{
	const struct run_q *q = r->q;
	const char *id = q->execution_id;
	struct pipeline *pl;
	struct execution *ex;
	enum err err = pipeline_load(&r->op, r->arg[0], &pl);

	if (!err && !id)
		err = pipeline_latest(&r->op, pl->id, &id);
	if (err)
		return err;
	if (!id)
		return error_public(r->op.err, ERR_NOT_FOUND, "The pipeline has not run yet.");
	err = execution_load(&r->op, id, &ex);
	if (!err && strcmp(ex->pipeline_id, pl->id) != 0)
		return error_public(r->op.err, ERR_NOT_FOUND, "There is no such run of this pipeline.");
	return err ? err : execution_progress_json(&r->op, ex, false, &p->w);
}

/* {execution_id, status, results, metrics} */
static enum err agent_executed(struct req *r, struct resp *p, struct execution *ex)
{
	struct jv *v;
	struct buf whole;
	struct jw w;
	bool ended = ex->status == EXEC_COMPLETED;

	buf_init(&whole);
	jw_init(&w, &whole);
	ex->counted = false;
	enum err err = execution_json(&r->op, ex, true, &w);

	if (!err)
		err = json_parse(r->op.arena, whole.p, whole.n, 1, &v, r->op.err);
	if (!err) {
		jw_obj(&p->w);
		jw_kstr(&p->w, "execution_id", ex->id);
		jw_kstr(&p->w, "pipeline_id", ex->pipeline_id);
		jw_kstr(&p->w, "status", execution_status_names[ex->status]);
		jw_kraw(&p->w, "results", ended ? jv_text(r->op.arena, jv_get(v, "output_data")) : NULL);
		jw_kraw(&p->w, "stages", jv_text(r->op.arena, jv_get(v, "stages")));
		jw_kraw(&p->w, "metrics", jv_text(r->op.arena, jv_get(v, "metrics")));
		jw_kraw(&p->w, "error", ex->error);
		jw_end_obj(&p->w);
	}
	buf_release(&whole);
	p->execution_id = arena_strdup(r->op.arena, ex->id);
	p->status = ended ? 200 : 202;
	return err;
}

/* The run that the first request with this Idempotency-Key has started. */
static enum err replayed_run(struct req *r, struct execution **ex)
{
	struct jv *v;
	enum err err = json_parse(r->op.arena, r->replay, strlen(r->replay), 1, &v, r->op.err);
	const char *id = err ? NULL : jv_str(v, "execution_id");

	return id ? execution_load(&r->op, id, ex) : error_set(r->op.err, ERR_INTERNAL, "a kept answer has no run");
}

enum err h_agent_execute(struct req *r, struct resp *p)
{
	const struct wait_q *q = r->q;
	const struct execute_in *in = r->in;
	struct pipeline *pl;
	struct execution *ex;
	enum err err;

	if (r->replay) {
		err = replayed_run(r, &ex);
	} else {
		err = in->pipeline_id ? pipeline_load(&r->op, in->pipeline_id, &pl)
				      : pipeline_template(&r->op, in->template, &pl);
		if (!err)
			err = execution_start(&r->op, pl, in, 0, &ex);
	}
	if (!err && q->wait && r->slow)
		park_execution(&r->op, ex->id, q->wait);
	if (!err)
		err = execution_load(&r->op, arena_strdup(r->op.arena, ex->id), &ex);
	return err ? err : agent_executed(r, p, ex);
}

enum err h_agent_progress(struct req *r, struct resp *p)
{
	struct execution *ex;
	enum err err = execution_load(&r->op, r->arg[0], &ex);

	return err ? err : execution_progress_json(&r->op, ex, true, &p->w);
}

enum err h_executions_list(struct req *r, struct resp *p)
{
	const struct execution_list_q *q = r->q;
	struct execution **list;
	int n;
	enum err err = executions_list(&r->op, q->pipeline_id, q->status, q->cursor, (int)q->limit, &list, &n, &p->next_cursor);

	if (err)
		return err;
	jw_arr(&p->w);
	for (int i = 0; i < n && !err; i++)
		err = execution_json(&r->op, list[i], false, &p->w);
	jw_end_arr(&p->w);
	p->count = n;
	p->list = true;
	return err;
}

enum err h_execution_get(struct req *r, struct resp *p)
{
	struct execution *ex;
	enum err err = execution_load(&r->op, r->arg[0], &ex);

	return show_run(r, p, err, ex, true);
}

enum err h_execution_pause(struct req *r, struct resp *p)
{
	struct execution *ex;
	enum err err = execution_pause(&r->op, r->arg[0], &ex);

	return show_run(r, p, err, ex, false);
}

enum err h_execution_resume(struct req *r, struct resp *p)
{
	struct execution *ex;
	enum err err = execution_resume(&r->op, r->arg[0], &ex);

	return show_run(r, p, err, ex, false);
}

enum err h_execution_cancel(struct req *r, struct resp *p)
{
	struct execution *ex;
	enum err err = execution_cancel(&r->op, r->arg[0], &ex);

	return show_run(r, p, err, ex, false);
}

enum err h_execution_retry(struct req *r, struct resp *p)
{
	struct execution *ex;
	enum err err = execution_retry(&r->op, r->arg[0], &ex);

	return show_run(r, p, err, ex, false);
}

/* --- outputs --------------------------------------------------------------------------------------------------------- */

/* pipeline:read, or an agent that holds a task of the run: its lease is permission enough. */
static enum err may_read(struct req *r, const char *execution_id)
{
	struct task_filter f = { .execution_id = execution_id, .agent_id = r->caller.id, .status = ST_LEASED, .limit = 1,
				 .cols = TASK_COLS_BRIEF };
	struct task_page page;

	if (caller_may(&r->caller, PERM_PIPELINE_READ))
		return OK;
	if (r->caller.kind != CALLER_AGENT)
		return error_public(r->op.err, ERR_FORBIDDEN, "This needs the permission pipeline:read.");
	enum err err = store_tasks_list(r->op.app->store, &f, r->op.arena, &page, r->op.err);

	if (!err && page.n == 0)
		return error_public(r->op.err, ERR_FORBIDDEN, "This needs pipeline:read, or a lease on a task of the run.");
	return err;
}

/* Streaming: items go out as they are read, so an output of any size takes little memory. */
struct stream {
	struct req *r;
	struct buf line;
	const struct jv *columns;	/* CSV: members of the first item */
	bool begun, bad;
};

static bool put_line(struct stream *s)
{
	bool good = FCGX_PutStr(s->line.p, (int)s->line.n, s->r->out) >= 0;

	buf_reset(&s->line);
	return good;
}

static bool stream_ndjson(void *arg, const char *text, size_t n, int64_t seq, int64_t index)
{
	struct stream *s = arg;

	(void)seq;
	(void)index;
	/* One line an item: line breaks between tokens go, those in strings are escapes already. */
	for (size_t i = 0; i < n; i++) {
		if (text[i] != '\n' && text[i] != '\r')
			buf_addc(&s->line, text[i]);
	}
	buf_addc(&s->line, '\n');
	return put_line(s);
}

/* RFC 4180, and no cell that a spreadsheet would run as a formula (OWASP: CSV injection). */
static void csv_cell(struct buf *b, const struct jv *v)
{
	if (!v || v->type == J_NULL)
		return;
	bool text = v->type == J_STRING;
	const char *p = text ? v->str : v->raw;
	size_t n = text ? v->str_len : v->raw_len;
	bool formula = text && n && strchr("=+-@\t\r", p[0]);
	bool quote = formula || v->type == J_OBJECT || v->type == J_ARRAY;

	for (size_t i = 0; i < n && !quote; i++)
		quote = p[i] == ',' || p[i] == '"' || p[i] == '\n' || p[i] == '\r';
	if (quote)
		buf_addc(b, '"');
	if (formula)
		buf_addc(b, '\'');
	for (size_t i = 0; i < n; i++) {
		if (p[i] == '"')
			buf_addc(b, '"');
		buf_addc(b, p[i]);
	}
	if (quote)
		buf_addc(b, '"');
}

static bool stream_csv(void *arg, const char *text, size_t n, int64_t seq, int64_t index)
{
	struct stream *s = arg;
	struct arena scratch;
	struct error e;
	struct jv *item;

	(void)seq;
	(void)index;
	arena_init(&scratch);
	error_init(&e, &scratch);
	struct arena *a = s->columns ? &scratch : s->r->op.arena;

	if (json_parse(a, s->columns ? text : arena_strndup(a, text, n), n, 1, &item, &e) || item->type != J_OBJECT) {
		s->bad = true;
		arena_release(&scratch);
		return false;
	}
	if (!s->columns) {
		s->columns = item;
		for (const struct jv *c = item->child; c; c = c->next) {
			struct jv name = { .type = J_STRING, .str = c->key, .str_len = strlen(c->key) };

			csv_cell(&s->line, &name);
			buf_adds(&s->line, c->next ? "," : "\r\n");
		}
	}
	for (const struct jv *c = s->columns->child; c; c = c->next) {
		csv_cell(&s->line, jv_get(item, c->key));
		buf_adds(&s->line, c->next ? "," : "\r\n");
	}
	arena_release(&scratch);
	return put_line(s);
}

static bool first_is_object(void *arg, const char *text, size_t n, int64_t seq, int64_t index)
{
	(void)n;
	(void)seq;
	(void)index;
	*(bool *)arg = *text == '{';
	return false;
}

static enum err stream_output(struct req *r, struct resp *p, int stage, enum output_format format)
{
	struct stream s = { .r = r };
	struct output_shape shape;
	bool rows = true;
	enum err err = output_shape(&r->op, r->arg[0], stage, &shape);

	if (!err && format == FORMAT_CSV)
		err = output_walk(&r->op, r->arg[0], stage, shape.items, 0, 0, first_is_object, &rows);
	if (err)
		return err;
	if (!rows)
		return error_public(r->op.err, ERR_BUSINESS, "CSV needs items that are objects; use json or ndjson.");
	resp_begin_stream(r, p, format == FORMAT_CSV ? "text/csv; charset=utf-8" : "application/x-ndjson");
	if (strcmp(r->method, "HEAD") == 0)
		return OK;
	buf_init(&s.line);
	err = output_walk(&r->op, r->arg[0], stage, shape.items, 0, 0, format == FORMAT_CSV ? stream_csv : stream_ndjson, &s);
	buf_release(&s.line);
	return err;
}

enum err h_execution_output(struct req *r, struct resp *p)
{
	const struct output_q *q = r->q;
	struct execution *ex;
	int count;
	enum err err = execution_load(&r->op, r->arg[0], &ex);

	if (err || (err = may_read(r, ex->id)))
		return err;
	int stage = q->stage >= 0 ? (int)q->stage : execution_last_stage(ex);

	if (q->stage < 0 && !stage)
		return error_public(r->op.err, ERR_NOT_FOUND, "No stage of the run has completed yet.");
	if (stage > ex->n_stages)
		return error_field(r->op.err, "query.stage", "out_of_range", "the run has %d stages", ex->n_stages);
	if (q->format != FORMAT_JSON)
		return stream_output(r, p, stage, (enum output_format)q->format);
	err = execution_output_json(&r->op, ex->id, stage, q->cursor, (int)q->limit, &p->w, &count, &p->next_cursor);
	p->count = count;
	p->list = true;
	return err;
}
