// SPDX-License-Identifier: MIT
/* Lists: which index answers which filter; and reading by id. */
#include "store_mongo_int.h"

#define CLOCK_SLACK_MS 1000	/* an id may be this much older or younger than its created_at */

/* --- tasks ------------------------------------------------------------------------------------------------- */

static void take_task(struct mg_walk *w, const bson_t *doc)
{
	mg_list_add(&w->found, w->a, mg_task_decode(doc, w->a));
}

static void in_set(bson_t *doc, const char *key, uint32_t mask, const char *const *names, int count, bool always)
{
	if (mask || always)
		mg_mask(doc, key, mask ? mask : ~0u, names, count);
}

static void equals(bson_t *doc, const char *key, const char *value)
{
	if (value)
		BSON_APPEND_UTF8(doc, key, value);
}

static void stages(bson_t *doc, int stage)
{
	bson_t in, arr;
	const char *idx;
	char buf[16];

	if (stage) {
		BSON_APPEND_INT32(doc, "stage", stage);
		return;
	}
	BSON_APPEND_DOCUMENT_BEGIN(doc, "stage", &in);
	BSON_APPEND_ARRAY_BEGIN(&in, "$in", &arr);
	for (uint32_t i = 0; i <= 6; i++) {
		bson_uint32_to_string(i, &idx, buf, sizeof(buf));
		BSON_APPEND_INT32(&arr, idx, (int)i);
	}
	bson_append_array_end(&in, &arr);
	bson_append_document_end(doc, &in);
}

enum along { BY_ID, BY_STATE, BY_TYPE, BY_CREATOR, BY_AGENT, BY_PIPELINE, BY_EXECUTION };

/*
 * The index to walk along: the one that leaves least to look at. Live statuses and holds are rare among
 * many stored tasks, so they come before type and creator; ended ones after.
 */
static enum along choose(const struct task_filter *f)
{
	if (f->execution_id)
		return BY_EXECUTION;
	if (f->agent_id)
		return BY_AGENT;
	if (f->pipeline_id)
		return BY_PIPELINE;
	if ((f->status && !(f->status & ST_ENDED)) || (f->hold && !(f->hold & 1U << HOLD_NONE)))
		return BY_STATE;
	if (f->type)
		return BY_TYPE;
	if (f->created_by)
		return BY_CREATOR;
	return f->status || f->priority || f->hold ? BY_STATE : BY_ID;
}

static void plan_tasks(struct mg_walk *w, const struct task_filter *f)
{
	static const char *const names[] = {
		[BY_ID] = "_id_", [BY_STATE] = "state", [BY_TYPE] = "type", [BY_CREATOR] = "creator",
		[BY_AGENT] = "agent", [BY_PIPELINE] = "pipeline", [BY_EXECUTION] = "execution",
	};
	enum along by = choose(f);
	bool state = by == BY_STATE, status = state || by == BY_EXECUTION || by == BY_AGENT;
	bson_t sub;

	w->hint = names[by];
	equals(by == BY_EXECUTION ? &w->match : &w->rest, "execution_id", f->execution_id);
	equals(by == BY_AGENT ? &w->match : &w->rest, "assigned_agent_id", f->agent_id);
	equals(by == BY_PIPELINE ? &w->match : &w->rest, "pipeline_id", f->pipeline_id);
	equals(by == BY_TYPE ? &w->match : &w->rest, "type", f->type);
	equals(by == BY_CREATOR ? &w->match : &w->rest, "created_by", f->created_by);
	if (by == BY_EXECUTION || f->stage)
		stages(by == BY_EXECUTION ? &w->match : &w->rest, f->stage);
	in_set(status ? &w->match : &w->rest, "status", f->status, mg_status_names, TASK_STATUS_COUNT, status);
	in_set(state ? &w->match : &w->rest, "hold", f->hold, mg_hold_names, HOLD_COUNT, state);
	in_set(state ? &w->match : &w->rest, "priority", f->priority, mg_priority_names, PRIO_COUNT, state);
	if (f->created_from > 0 || f->created_to > 0) {
		BSON_APPEND_DOCUMENT_BEGIN(&w->rest, "created_at", &sub);
		if (f->created_from > 0)
			BSON_APPEND_DATE_TIME(&sub, "$gte", f->created_from);
		if (f->created_to > 0)
			BSON_APPEND_DATE_TIME(&sub, "$lt", f->created_to);
		bson_append_document_end(&w->rest, &sub);
	}
	if (f->updated_from) {
		BSON_APPEND_DOCUMENT_BEGIN(&w->rest, "updated_at", &sub);
		BSON_APPEND_DATE_TIME(&sub, "$gte", f->updated_from);
		bson_append_document_end(&w->rest, &sub);
	}
}

static void add_branch(const struct task_filter *f, bson_t *or, const char *idx, bool same, const bson_t *rest)
{
	bson_t one, sub;

	BSON_APPEND_DOCUMENT_BEGIN(or, idx, &one);
	BSON_APPEND_UTF8(&one, "execution_id", f->execution_id);
	BSON_APPEND_INT32(&one, "stage", f->stage);
	if (same) {
		BSON_APPEND_INT64(&one, "stage_seq", f->after_seq);
		BSON_APPEND_DOCUMENT_BEGIN(&one, "_id", &sub);
		BSON_APPEND_UTF8(&sub, "$gt", f->after);
	} else {
		BSON_APPEND_DOCUMENT_BEGIN(&one, "stage_seq", &sub);
		BSON_APPEND_INT64(&sub, "$gt", f->after_seq);
	}
	bson_append_document_end(&one, &sub);
	bson_concat(&one, rest);
	bson_append_document_end(or, &one);
}

/* A stage's tasks in the order of its fan-out. */
static enum err list_by_seq(struct mongo_store *s, const struct task_filter *f, struct mg_walk *w, struct error *e)
{
	bson_t filter = BSON_INITIALIZER, opts = BSON_INITIALIZER, rest = BSON_INITIALIZER, sub;
	struct mg_cursor c;
	const bson_t *doc;

	equals(&rest, "assigned_agent_id", f->agent_id);
	equals(&rest, "type", f->type);
	equals(&rest, "created_by", f->created_by);
	in_set(&rest, "status", f->status, mg_status_names, TASK_STATUS_COUNT, false);
	in_set(&rest, "hold", f->hold, mg_hold_names, HOLD_COUNT, false);
	in_set(&rest, "priority", f->priority, mg_priority_names, PRIO_COUNT, false);
	BSON_APPEND_ARRAY_BEGIN(&filter, "$or", &sub);
	add_branch(f, &sub, "0", false, &rest);
	if (f->after)
		add_branch(f, &sub, "1", true, &rest);
	bson_append_array_end(&filter, &sub);
	BSON_APPEND_DOCUMENT_BEGIN(&opts, "sort", &sub);
	BSON_APPEND_INT32(&sub, "stage_seq", 1);
	BSON_APPEND_INT32(&sub, "_id", 1);
	bson_append_document_end(&opts, &sub);
	BSON_APPEND_INT64(&opts, "limit", f->limit + 1);
	BSON_APPEND_UTF8(&opts, "hint", "stage");
	mg_task_cols(&opts, f->cols);
	enum err err = mg_find(s, NULL, "tasks", &filter, &opts, MG_MAJORITY, &c, e);

	if (!err) {
		while ((doc = mg_next(&c))) {
			if (w->found.n == f->limit)
				w->more = true;
			else
				take_task(w, doc);
		}
		err = mg_end(&c, e);
	}
	bson_destroy(&filter);
	bson_destroy(&opts);
	bson_destroy(&rest);
	return err;
}

enum err mg_tasks_list(struct store *base, const struct task_filter *f, struct arena *a, struct task_page *out,
		       struct error *e)
{
	struct mg_walk w;
	enum err err;

	if (f->limit <= 0)
		return OK;
	mg_walk_init(&w, a);
	w.coll = "tasks";
	w.take = take_task;
	w.after = f->after && *f->after ? f->after : NULL;
	w.descending = !f->ascending;
	w.brief = f->cols == TASK_COLS_BRIEF;
	w.limit = f->limit;
	if (f->created_from > 0)
		id_at(f->created_from > CLOCK_SLACK_MS ? f->created_from - CLOCK_SLACK_MS : 0, w.from);
	if (f->created_to > 0)
		id_at(f->created_to + CLOCK_SLACK_MS, w.to);
	if (f->by_stage_seq && f->execution_id && f->stage) {
		err = list_by_seq(mg_of(base), f, &w, e);
	} else {
		plan_tasks(&w, f);
		err = mg_walk_page(mg_of(base), &w, e);
	}
	if (!err) {
		out->items = (struct task **)w.found.v;
		out->n = w.found.n;
		out->more = w.more || w.until[0];
		const char *last = w.more || !w.until[0] ? out->n ? out->items[out->n - 1]->id : "" : w.until;

		if (snprintf(out->last, sizeof(out->last), "%s", last) < 0)
			out->last[0] = '\0';
	}
	mg_walk_release(&w);
	return err;
}

/* --- records ------------------------------------------------------------------------------------------------ */

static void take_rec(struct mg_walk *w, const bson_t *doc)
{
	mg_list_add(&w->found, w->a, mg_rec_decode(w->kind, doc, w->a));
}

static void plan_recs(struct mg_walk *w, const struct rec_filter *f)
{
	const struct mg_kind *k = mg_kind(f->kind);
	const char *s[3] = { f->s1, f->s2, f->s3 };
	bson_t sub, not;

	/* The first value given is the index's, if the kind has one for it; the others are looked at. */
	for (int i = 0; i < 3; i++) {
		bson_t *to = bson_empty(&w->match) ? &w->match : &w->rest;

		if (s[i] && *s[i]) {
			BSON_APPEND_UTF8(to, k->s[i], s[i]);
		} else if (s[i]) {
			BSON_APPEND_DOCUMENT_BEGIN(&w->rest, k->s[i], &sub);
			BSON_APPEND_BOOL(&sub, "$exists", false);
			bson_append_document_end(&w->rest, &sub);
		}
	}
	if (f->has_n1_max) {
		bool absent = !k->declared_n[0] && f->n1_max >= 0;	/* 0 is left out */

		BSON_APPEND_DOCUMENT_BEGIN(&w->rest, k->n[0], &sub);
		if (absent) {
			BSON_APPEND_DOCUMENT_BEGIN(&sub, "$not", &not);
			BSON_APPEND_INT64(&not, "$gt", f->n1_max);
			bson_append_document_end(&sub, &not);
		} else {
			BSON_APPEND_INT64(&sub, "$lte", f->n1_max);
		}
		bson_append_document_end(&w->rest, &sub);
	}
	if (f->has_n2) {
		bson_t *to = bson_empty(&w->match) ? &w->match : &w->rest;

		if (f->n2 || k->declared_n[1])
			BSON_APPEND_INT64(to, k->n[1], f->n2);
		else
			BSON_APPEND_NULL(&w->rest, k->n[1]);	/* matches what is not there */
	}
}

/* In the order of n1: the server's own choice of index. */
static enum err list_by_n1(struct mongo_store *s, const struct rec_filter *f, struct mg_walk *w, struct error *e)
{
	const struct mg_kind *k = mg_kind(f->kind);
	bson_t opts = BSON_INITIALIZER, sub;
	struct mg_cursor c;
	const bson_t *doc;

	bson_concat(&w->match, &w->rest);
	BSON_APPEND_DOCUMENT_BEGIN(&opts, "sort", &sub);
	BSON_APPEND_INT32(&sub, k->n[0], 1);
	BSON_APPEND_INT32(&sub, "_id", 1);
	bson_append_document_end(&opts, &sub);
	BSON_APPEND_INT64(&opts, "limit", f->limit + 1);
	enum err err = mg_find(s, NULL, k->coll, &w->match, &opts, MG_MAJORITY, &c, e);

	if (!err) {
		while ((doc = mg_next(&c))) {
			if (w->found.n == f->limit)
				w->more = true;
			else
				take_rec(w, doc);
		}
		err = mg_end(&c, e);
	}
	bson_destroy(&opts);
	return err;
}

enum err mg_recs_list(struct store *base, const struct rec_filter *f, struct arena *a, struct rec_page *out,
		      struct error *e)
{
	struct mg_walk w;
	enum err err;

	mg_walk_init(&w, a);
	w.coll = mg_kind(f->kind)->coll;
	w.kind = f->kind;
	w.take = take_rec;
	w.after = f->after && *f->after ? f->after : NULL;
	w.descending = f->descending;
	w.limit = f->limit;
	plan_recs(&w, f);
	err = f->by_n1 ? list_by_n1(mg_of(base), f, &w, e) : mg_walk_page(mg_of(base), &w, e);
	if (!err) {
		out->items = (struct record **)w.found.v;
		out->n = w.found.n;
		out->more = w.more || w.until[0];
		if (w.until[0] && !w.more)
			out->last = arena_strdup(a, w.until);
		else
			out->last = out->n ? out->items[out->n - 1]->id : NULL;
	}
	mg_walk_release(&w);
	return err;
}
