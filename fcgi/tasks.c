// SPDX-License-Identifier: MIT
#include "../lib/domain/task.h"

#include "../lib/base/limits.h"
#include "../lib/base/window.h"
#include "handlers.h"
#include "queries.h"
#include "routes.h"

static enum err show(struct req *r, struct resp *p, enum err err, const struct task *t, enum task_view view)
{
	if (!err)
		task_json(&r->op, t, view, &p->w);
	return err;
}

static void short_form(const struct task *t, struct jw *w)
{
	jw_kstr(w, "task_id", t->id);
	jw_kstr(w, "status", task_status_names[t->status]);
	jw_kdouble(w, "progress", t->progress);
	jw_kint(w, "attempt", t->attempt);
	jw_kint(w, "fence", t->fence);
	jw_kstr(w, "assigned_agent_id", *t->agent_id ? t->agent_id : NULL);
	jw_kstr(w, "message", t->message && *t->message ? t->message : NULL);
	jw_kraw(w, "error", t->error);
	jw_ktime(w, "lease_expires_at", ST(t->status) & ST_LEASED ? t->lease_expires_at : 0);
	jw_ktime(w, "updated_at", t->updated_at);
}

static enum err show_short(struct resp *p, enum err err, const struct task *t)
{
	if (err)
		return err;
	jw_obj(&p->w);
	short_form(t, &p->w);
	jw_end_obj(&p->w);
	return OK;
}

/* --- submitting ----------------------------------------------------------------------------------------------------- */

enum err h_task_create(struct req *r, struct resp *p)
{
	struct task *t;
	enum err err = task_submit(&r->op, r->in, &t);

	if (!err)
		p->location = arena_printf(r->op.arena, "/api/v1/tasks/%s", t->id);
	return show(r, p, err, t, VIEW_FULL);
}

/* The `tasks` array of a batch body, which is checked item by item. */
static enum err batch_items(struct req *r, const struct jv **items)
{
	const struct jv *body = r->body;

	*items = NULL;
	if (body->type != J_OBJECT)
		return error_field(r->op.err, "$", "bad_type", "must be an object");
	for (const struct jv *m = body->child; m; m = m->next) {
		if (strcmp(m->key, "tasks") == 0)
			*items = m;
		else
			error_field(r->op.err, arena_printf(r->op.arena, "$.%.64s", m->key), "unknown_field",
				    "is not a field of this request");
	}
	if (!*items)
		error_field(r->op.err, "$.tasks", "required", "is required");
	else if ((*items)->type != J_ARRAY)
		error_field(r->op.err, "$.tasks", "bad_type", "must be an array");
	else if ((*items)->n < 1 || (*items)->n > LIMIT_BATCH)
		error_field(r->op.err, "$.tasks", "bad_count", "must have 1 to %d items; it has %u", LIMIT_BATCH, (*items)->n);
	return r->op.err->code;
}

/* A batch counts as many submissions as it has tasks; the request itself was counted as one. */
static enum err count_batch(struct req *r, int64_t n)
{
	struct gate g = { .rate_key = r->gate.rate_key, .limit = r->gate.limit, .cost = (int)n - 1 };

	if (r->caller.kind != CALLER_USER || !g.rate_key || n < 2)
		return OK;
	if (bus_gate(r->op.app->bus, &g))
		g.limited = !window_take(g.rate_key, g.limit, g.cost, &g.remaining, &g.reset_s);
	r->gate.remaining = g.remaining;
	if (!g.limited)
		return OK;
	return error_public(r->op.err, ERR_RATE, "The batch has %lld tasks; only %lld more may be submitted in %d s.",
			    (long long)n, (long long)g.remaining + 1, g.reset_s);
}

enum err h_task_batch(struct req *r, struct resp *p)
{
	const struct jv *items;
	const char *answer;
	bool any_failed;
	enum err err = batch_items(r, &items);

	if (!err)
		err = count_batch(r, items->n);
	if (!err)
		err = task_submit_batch(&r->op, items, &answer, &any_failed);
	if (err)
		return err;
	jw_raw(&p->w, answer);
	p->count = items->n;
	p->status = any_failed ? 207 : 200;
	return OK;
}

/* --- reading ----------------------------------------------------------------------------------------------------------- */

static struct task_filter filter_of(const struct task_list_q *q)
{
	struct task_filter f = { .status = q->status, .priority = q->priority, .type = q->type, .pipeline_id = q->pipeline_id,
				 .execution_id = q->execution_id, .agent_id = q->agent_id, .created_by = q->created_by,
				 .stage = (int)q->stage, .created_from = q->created_from, .created_to = q->created_to,
				 .limit = (int)q->limit, .cols = TASK_COLS_BRIEF };

	/* The older spelling "retry" stands behind the real states. */
	if (f.status >> TASK_STATUS_COUNT & 1)
		f.status = (f.status & ~(1u << TASK_STATUS_COUNT)) | ST(TASK_RETRYING);
	return f;
}

static enum err list(struct req *r, struct resp *p, struct task_filter *f, const char *cursor)
{
	struct task_page page;
	enum err err = task_list(&r->op, f, cursor, &page, &p->next_cursor);

	if (err)
		return err;
	jw_arr(&p->w);
	for (int i = 0; i < page.n; i++)
		task_json(&r->op, page.items[i], VIEW_BRIEF, &p->w);
	jw_end_arr(&p->w);
	p->count = page.n;
	p->list = true;
	return OK;
}

enum err h_tasks_list(struct req *r, struct resp *p)
{
	const struct task_list_q *q = r->q;
	struct task_filter f = filter_of(q);

	return list(r, p, &f, q->cursor);
}

enum err h_dead_letters(struct req *r, struct resp *p)
{
	const struct task_list_q *q = r->q;
	struct task_filter f = filter_of(q);

	f.status = ST(TASK_FAILED);
	return list(r, p, &f, q->cursor);
}

enum err h_task_get(struct req *r, struct resp *p)
{
	struct task *t;
	struct buf one;
	struct jw w;
	enum err err = task_get(&r->op, r->arg[0], &t);

	if (err)
		return err;
	/* the task with its log lines as one more member */
	buf_init(&one);
	jw_init(&w, &one);
	task_json(&r->op, t, VIEW_FULL, &w);
	one.n--;
	buf_adds(&one, ",\"logs\":");
	jw_init(&w, &one);
	err = task_logs_tail(&r->op, t, &w);
	buf_addc(&one, '}');
	if (!err)
		jw_rawn(&p->w, one.p, one.n);
	buf_release(&one);
	return err;
}

enum err h_task_status(struct req *r, struct resp *p)
{
	struct task *t;
	enum err err = task_get(&r->op, r->arg[0], &t);

	return show_short(p, err, t);
}

enum err h_task_metrics(struct req *r, struct resp *p)
{
	struct task *t;
	enum err err = task_get(&r->op, r->arg[0], &t);

	if (err)
		return err;
	int64_t end = t->completed_at ? t->completed_at : t->started_at ? r->op.now : 0;
	double ran = t->started_at ? (double)(end - t->started_at) / 1000 : 0;
	double lived = (double)((end ? end : r->op.now) - t->created_at) / 1000;

	jw_obj(&p->w);
	jw_kstr(&p->w, "task_id", t->id);
	jw_kdouble(&p->w, "execution_time", ran);
	jw_kdouble(&p->w, "queue_time", t->started_at ? (double)(t->started_at - t->created_at) / 1000 : lived);
	jw_kint(&p->w, "attempts", t->attempt);
	/* share of its allowed time that the attempt used */
	jw_kdouble(&p->w, "agent_utilization", t->timeout_s ? ran / (double)t->timeout_s : 0);
	jw_key(&p->w, "resource_consumption");
	jw_obj(&p->w);
	jw_kint(&p->w, "parameters_bytes", t->parameters ? (int64_t)strlen(t->parameters) : 0);
	jw_kint(&p->w, "result_bytes", t->result ? (int64_t)strlen(t->result) : 0);
	jw_end_obj(&p->w);
	/* time at work over time alive, less for each attempt that was wasted */
	jw_kdouble(&p->w, "efficiency_score", lived > 0 && t->attempt ? ran / lived / (double)t->attempt : 0);
	jw_end_obj(&p->w);
	return OK;
}

enum err h_task_logs(struct req *r, struct resp *p)
{
	const struct page_q *q = r->q;
	struct task *t;
	int count;
	enum err err = task_get(&r->op, r->arg[0], &t);

	if (!err)
		err = task_logs_page(&r->op, t->id, q->cursor, (int)q->limit, &p->w, &count, &p->next_cursor);
	if (err)
		return err;
	p->count = count;
	p->list = true;
	return OK;
}

/* --- for the holder of a lease -------------------------------------------------------------------------------------------- */

static enum err check_size(struct req *r, const char *result, const char *path)
{
	int64_t max = r->op.app->cfg->max_result;

	if (result && (int64_t)strlen(result) > max)
		return error_public(r->op.err, ERR_TOO_LARGE, "%s has %zu bytes; MAX_RESULT is %lld.", path, strlen(result),
				    (long long)max);
	return OK;
}

static struct task_fault fault_of(const struct report_in *in)
{
	const struct fault_in *e = in->error;
	struct task_fault f = { .type = e->type, .code = e->code ? e->code : "agent_error",
				.message = e->message ? e->message : "", .details = e->details, .retryable = -1,
				.outcome = "failed" };

	if (schema_has(&fault_schema, e, "retryable"))
		f.retryable = e->retryable;
	return f;
}

/* The answer of a report, with the tasks it claimed. */
static enum err reported(struct req *r, struct resp *p, const struct task *t, const struct claim_in *claim)
{
	struct task **next = NULL;
	int n = 0;

	/* The report is durable: a claim that fails now must not make it look undone. */
	if (claim && r->caller.kind == CALLER_AGENT && task_claim(&r->op, r->caller.id, claim, &next, &n))
		error_init(r->op.err, r->op.arena);
	jw_obj(&p->w);
	short_form(t, &p->w);
	if (claim) {
		jw_key(&p->w, "tasks");
		jw_arr(&p->w);
		for (int i = 0; i < n; i++)
			task_json(&r->op, next[i], VIEW_FULL, &p->w);
		jw_end_arr(&p->w);
	}
	jw_end_obj(&p->w);
	return OK;
}

enum err h_task_complete(struct req *r, struct resp *p)
{
	const struct report_in *in = r->in;
	struct task *t;
	enum err err = check_size(r, in->result, "$.result");

	if (!err)
		err = task_complete(&r->op, r->arg[0], in->fence, in->result ? in->result : "null", &t);
	return err ? err : reported(r, p, t, in->claim);
}

enum err h_task_fail(struct req *r, struct resp *p)
{
	const struct report_in *in = r->in;
	struct task_fault f = fault_of(in);
	struct task *t;

	if (schema_has(r->route->body, in, "retryable"))
		f.retryable = in->retryable;
	enum err err = task_fail(&r->op, r->arg[0], in->fence, &f, &t);

	return err ? err : reported(r, p, t, in->claim);
}

/* One item of a batch report; bad ones get their own error. */
static bool read_report(struct req *r, const struct jv *v, struct report_item *item, struct error *e)
{
	void *obj;

	error_init(e, r->op.arena);
	if (schema_read(&report_item_schema, v, r->op.arena, &obj, e))
		return false;
	const struct report_in *in = obj;
	bool has_result = schema_has(&report_item_schema, in, "result");

	if (has_result == (in->error != NULL)) {
		error_field(e, "$", "conflict", "must have result or error, one of them");
		return false;
	}
	if (in->result && (int64_t)strlen(in->result) > r->op.app->cfg->max_result) {
		error_set(e, ERR_TOO_LARGE, "result");
		return false;
	}
	*item = (struct report_item){ .task_id = in->task_id, .fence = in->fence, .result = in->result };
	if (in->error) {
		struct task_fault *f = arena_new(r->op.arena, struct task_fault);

		*f = fault_of(in);
		if (schema_has(&report_item_schema, in, "retryable"))
			f->retryable = in->retryable;
		item->fault = f;
	}
	return true;
}

static void report_answer(struct jw *w, int index, const char *task_id, enum err err, const char *status, const char *message)
{
	jw_obj(w);
	jw_kint(w, "index", index);
	jw_kstr(w, "task_id", task_id);
	jw_kstr(w, "status", err ? "rejected" : status);
	if (err) {
		jw_key(w, "error");
		jw_obj(w);
		jw_kstr(w, "type", err_type(err));
		jw_kstr(w, "code", err_text(err));
		jw_kstr(w, "message", message && *message ? message : err_message(err));
		jw_end_obj(w);
	}
	jw_end_obj(w);
}

enum err h_task_report_batch(struct req *r, struct resp *p)
{
	const struct jv *list_in;
	enum err err = batch_items(r, &list_in);
	bool any_failed = false;
	int n = 0;
	int i = 0;

	if (err)
		return err;
	struct report_item *items = arena_calloc(r->op.arena, list_in->n, sizeof(*items));
	struct error *errors = arena_calloc(r->op.arena, list_in->n, sizeof(*errors));
	int *at = arena_calloc(r->op.arena, list_in->n, sizeof(*at));

	for (const struct jv *v = list_in->child; v; v = v->next, i++)
		at[i] = read_report(r, v, &items[n], &errors[i]) ? n++ : -1;
	err = n ? task_report_batch(&r->op, items, n) : OK;
	if (err)
		return err;
	jw_obj(&p->w);
	jw_key(&p->w, "items");
	jw_arr(&p->w);
	for (i = 0; i < (int)list_in->n; i++) {
		const struct report_item *it = at[i] < 0 ? NULL : &items[at[i]];
		enum err item_err = it ? it->err : errors[i].code;
		const char *why = errors[i].fields ? arena_printf(r->op.arena, "%s %s", errors[i].fields->path,
								  errors[i].fields->message) : errors[i].message;

		any_failed |= item_err != OK;
		report_answer(&p->w, i, it ? it->task_id : NULL, item_err, it ? task_status_names[it->status] : NULL, why);
	}
	jw_end_arr(&p->w);
	jw_end_obj(&p->w);
	p->count = list_in->n;
	p->status = any_failed ? 207 : 200;
	return OK;
}

enum err h_task_progress(struct req *r, struct resp *p)
{
	const struct progress_in *in = r->in;
	struct task *t;
	enum err err = task_progress(&r->op, r->arg[0], in->fence, in->progress, in->message, &t);

	return show_short(p, err, t);
}

enum err h_task_log(struct req *r, struct resp *p)
{
	const struct logs_in *in = r->in;
	enum err err = task_log(&r->op, r->arg[0], in->fence, in->logs.v, in->logs.n);

	if (err)
		return err;
	jw_obj(&p->w);
	jw_kint(&p->w, "appended", in->logs.n);
	jw_end_obj(&p->w);
	return OK;
}

enum err h_task_release(struct req *r, struct resp *p)
{
	const struct fence_in *in = r->in;
	struct task *t;
	enum err err = task_release(&r->op, r->arg[0], in->fence, &t);

	return show_short(p, err, t);
}

/* --- steering ------------------------------------------------------------------------------------------------------------- */

enum err h_task_update(struct req *r, struct resp *p)
{
	struct task *t;
	enum err err = task_update(&r->op, r->arg[0], r->in, &t);

	return show(r, p, err, t, VIEW_FULL);
}

enum err h_task_cancel(struct req *r, struct resp *p)
{
	struct task *t;
	enum err err = task_cancel(&r->op, r->arg[0], &t);

	return show(r, p, err, t, VIEW_BRIEF);
}

enum err h_task_retry(struct req *r, struct resp *p)
{
	struct task *t;
	enum err err = task_retry(&r->op, r->arg[0], &t);

	return show(r, p, err, t, VIEW_BRIEF);
}

enum err h_task_delegate(struct req *r, struct resp *p)
{
	const struct delegate_in *in = r->in;
	struct task *t;
	enum err err = task_delegate(&r->op, r->arg[0], in->agent_id, &t);

	return show(r, p, err, t, VIEW_BRIEF);
}

enum err h_task_assign(struct req *r, struct resp *p)
{
	const struct assign_in *in = r->in;
	struct task *t;
	enum err err = task_assign(&r->op, r->arg[0], in->criteria, &t);

	return show(r, p, err, t, VIEW_BRIEF);
}

enum err h_dead_letters_retry(struct req *r, struct resp *p)
{
	const struct dead_retry_in *in = r->in;
	struct task_filter f = { 0 };
	int n;

	if (in->filter) {
		f.type = in->filter->type;
		f.agent_id = in->filter->agent_id;
		f.priority = in->filter->priority >= 0 ? 1u << in->filter->priority : 0;
		f.created_from = in->filter->created_from;
		f.created_to = in->filter->created_to;
	}
	if (in->ids.n && in->filter)
		return error_field(r->op.err, "$.filter", "conflict", "give ids or a filter, not both");
	if (!in->ids.n && !in->filter)
		return error_field(r->op.err, "$.ids", "required", "give ids or a filter");
	enum err err = task_retry_dead(&r->op, &in->ids, &f, (int)in->limit, &n);

	if (err)
		return err;
	jw_obj(&p->w);
	jw_kint(&p->w, "retried", n);
	jw_end_obj(&p->w);
	return OK;
}
