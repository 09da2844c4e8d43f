// SPDX-License-Identifier: MIT
/*
 * Tasks to and from BSON. Field names are the contract's. Enums are stored as their words and times as
 * BSON dates, because operators read these documents; a value that is not set is left out. JSON payloads
 * are strings: their text comes back byte for byte, whatever keys and numbers are in it.
 */
#include "store_mongo_int.h"

#include <stddef.h>

const char *const mg_status_names[TASK_STATUS_COUNT] = {
	[TASK_PENDING] = "pending", [TASK_ASSIGNED] = "assigned", [TASK_RUNNING] = "running",
	[TASK_RETRYING] = "retrying", [TASK_COMPLETED] = "completed", [TASK_FAILED] = "failed",
	[TASK_CANCELLED] = "cancelled",
};
const char *const mg_priority_names[PRIO_COUNT] = { "critical", "high", "medium", "low" };
const char *const mg_class_names[CLASS_COUNT] = { "public", "internal", "confidential", "restricted", "phi" };
const char *const mg_hold_names[HOLD_COUNT] = {
	[HOLD_NONE] = "none", [HOLD_TIME] = "time", [HOLD_DEPS] = "dependencies", [HOLD_SLOT] = "slot",
	[HOLD_PAUSE] = "pause",
};
static const char *const strategy_names[] = { "exponential", "linear", "fixed" };

int mg_enum_of(const char *const *names, int count, const char *name)
{
	for (int i = 0; i < count; i++)
		if (!strcmp(names[i], name))
			return i;
	return 0;
}

const char *mg_phase(enum task_status s)
{
	if (ST(s) & ST_LEASED)
		return "leased";
	return ST(s) & ST_QUEUED ? "queued" : "ended";
}

/* --- the fields of a task ------------------------------------------------------------------------- */

enum shape { F_TEXT, F_ID, F_DATE, F_LONG, F_INT, F_DOUBLE, F_BOOL, F_STATUS, F_PRIORITY, F_CLASS, F_HOLD, F_RETRY };

static const struct field {
	const char *name;
	enum shape shape;
	size_t at;
	bool always;		/* written when zero too */
	uint32_t tf;		/* fields of a change that write it */
} fields[] = {
#define F(name, shape, member, always, tf) { name, shape, offsetof(struct task, member), always, tf }
	F("_id", F_ID, id, true, 0),
	F("type", F_TEXT, type, true, 0),
	F("status", F_STATUS, status, true, TF_STATUS),
	F("priority", F_PRIORITY, priority, true, TF_ORDER),
	F("classification", F_CLASS, classification, true, 0),
	F("hold", F_HOLD, hold, true, TF_HOLD),
	F("due_at", F_DATE, due_at, false, TF_HOLD),
	F("lane", F_LONG, lane, true, 0),
	F("lane_sig", F_TEXT, lane_sig, false, 0),
	F("order_key", F_LONG, order_key, true, TF_ORDER),
	F("parameters", F_TEXT, parameters, false, 0),
	F("requirements", F_TEXT, requirements, false, 0),
	F("pipeline_id", F_ID, pipeline_id, false, 0),
	F("execution_id", F_ID, execution_id, false, 0),
	F("stage", F_INT, stage, true, 0),
	F("stage_seq", F_LONG, stage_seq, true, 0),
	F("dependencies", F_TEXT, dependencies, false, 0),
	F("concurrency_key", F_TEXT, concurrency_key, false, 0),
	F("concurrency_limit", F_LONG, concurrency_limit, false, 0),
	F("run_at", F_DATE, run_at, false, TF_LIMITS),
	F("deadline", F_DATE, deadline, false, TF_LIMITS),
	F("timeout", F_LONG, timeout_s, true, TF_LIMITS),
	F("max_retries", F_LONG, max_retries, true, TF_LIMITS | TF_MAX_RETRIES),
	F("retry", F_RETRY, retry, true, 0),
	F("attempt", F_LONG, attempt, true, TF_ATTEMPT_SET),
	F("fence", F_LONG, fence, true, 0),
	F("lease_expires_at", F_DATE, lease_expires_at, false, TF_LEASE),
	F("assigned_agent_id", F_ID, agent_id, false, TF_AGENT),
	F("progress", F_DOUBLE, progress, true, TF_PROGRESS),
	F("message", F_TEXT, message, false, TF_PROGRESS),
	F("result", F_TEXT, result, false, TF_RESULT),
	F("error", F_TEXT, error, false, TF_ERROR),
	F("attempts", F_TEXT, attempts, false, TF_ATTEMPTS),
	F("guarded", F_BOOL, guarded, false, 0),
	F("created_by", F_TEXT, created_by, false, 0),
	F("created_at", F_DATE, created_at, true, 0),
	F("updated_at", F_DATE, updated_at, true, ~0U),
	F("assigned_at", F_DATE, assigned_at, false, TF_AGENT),
	F("started_at", F_DATE, started_at, false, TF_STARTED),
	F("completed_at", F_DATE, completed_at, false, TF_COMPLETED),
#undef F
};
#define N_FIELDS (sizeof(fields) / sizeof(fields[0]))

/* retry.retryable holds one bit per error type; its meaning is lib/domain's. */
static void put_retry(bson_t *doc, const char *name, const struct retry *r)
{
	bson_t sub;

	BSON_APPEND_DOCUMENT_BEGIN(doc, name, &sub);
	BSON_APPEND_UTF8(&sub, "strategy", strategy_names[r->strategy >= 0 && r->strategy < 3 ? r->strategy : 0]);
	BSON_APPEND_INT64(&sub, "initial_delay_ms", r->initial_delay_ms);
	BSON_APPEND_INT64(&sub, "max_delay_ms", r->max_delay_ms);
	BSON_APPEND_DOUBLE(&sub, "factor", r->factor);
	BSON_APPEND_BOOL(&sub, "jitter", r->jitter);
	BSON_APPEND_INT64(&sub, "retryable", r->retryable);
	bson_append_document_end(doc, &sub);
}

static void get_retry(const bson_iter_t *it, struct retry *r)
{
	bson_iter_t sub;

	if (!BSON_ITER_HOLDS_DOCUMENT(it) || !bson_iter_recurse(it, &sub))
		return;
	while (bson_iter_next(&sub)) {
		const char *key = bson_iter_key(&sub);

		if (!strcmp(key, "strategy") && BSON_ITER_HOLDS_UTF8(&sub))
			r->strategy = mg_enum_of(strategy_names, 3, bson_iter_utf8(&sub, NULL));
		else if (!strcmp(key, "initial_delay_ms"))
			r->initial_delay_ms = bson_iter_as_int64(&sub);
		else if (!strcmp(key, "max_delay_ms"))
			r->max_delay_ms = bson_iter_as_int64(&sub);
		else if (!strcmp(key, "factor"))
			r->factor = bson_iter_as_double(&sub);
		else if (!strcmp(key, "jitter"))
			r->jitter = bson_iter_as_bool(&sub);
		else if (!strcmp(key, "retryable"))
			r->retryable = (uint32_t)bson_iter_as_int64(&sub);
	}
}

/* Append the field unless it is unset; true when it was appended. */
static bool put_field(bson_t *doc, const struct field *f, const struct task *t)
{
	const void *at = (const char *)t + f->at;
	const char *text = f->shape == F_TEXT ? *(const char *const *)at : at;
	int64_t n;

	switch (f->shape) {
	case F_TEXT:
	case F_ID:
		if (!text || (f->shape == F_ID && !*text))
			return false;
		return BSON_APPEND_UTF8(doc, f->name, text);
	case F_DATE:
		n = *(const int64_t *)at;
		return (n || f->always) && BSON_APPEND_DATE_TIME(doc, f->name, n);
	case F_LONG:
		n = *(const int64_t *)at;
		return (n || f->always) && BSON_APPEND_INT64(doc, f->name, n);
	case F_INT:
		return BSON_APPEND_INT32(doc, f->name, *(const int *)at);
	case F_DOUBLE:
		return BSON_APPEND_DOUBLE(doc, f->name, *(const double *)at);
	case F_BOOL:
		return *(const bool *)at && BSON_APPEND_BOOL(doc, f->name, true);
	case F_STATUS:
		return BSON_APPEND_UTF8(doc, f->name, mg_status_names[t->status]);
	case F_PRIORITY:
		return BSON_APPEND_UTF8(doc, f->name, mg_priority_names[t->priority]);
	case F_CLASS:
		return BSON_APPEND_UTF8(doc, f->name, mg_class_names[t->classification]);
	case F_HOLD:
		return BSON_APPEND_UTF8(doc, f->name, mg_hold_names[t->hold]);
	case F_RETRY:
		put_retry(doc, f->name, at);
		return true;
	}
	return false;
}

static const char *text_of(const bson_iter_t *it, uint32_t *len)
{
	if (BSON_ITER_HOLDS_UTF8(it))
		return bson_iter_utf8(it, len);
	*len = 0;
	return "";
}

static void get_field(const bson_iter_t *it, const struct field *f, struct task *t, struct arena *a)
{
	void *at = (char *)t + f->at;
	uint32_t len = 0;
	const char *s;

	switch (f->shape) {
	case F_TEXT:
		if (BSON_ITER_HOLDS_UTF8(it)) {
			s = bson_iter_utf8(it, &len);
			*(const char **)at = arena_strndup(a, s, len);
		}
		break;
	case F_ID:
		s = text_of(it, &len);
		if (len < ID_TEXT)
			memcpy(at, s, len + 1);
		break;
	case F_DATE:
		*(int64_t *)at = BSON_ITER_HOLDS_DATE_TIME(it) ? bson_iter_date_time(it) : 0;
		break;
	case F_LONG:
		*(int64_t *)at = bson_iter_as_int64(it);
		break;
	case F_INT:
		*(int *)at = (int)bson_iter_as_int64(it);
		break;
	case F_DOUBLE:
		*(double *)at = bson_iter_as_double(it);
		break;
	case F_BOOL:
		*(bool *)at = bson_iter_as_bool(it);
		break;
	case F_STATUS:
		t->status = (enum task_status)mg_enum_of(mg_status_names, TASK_STATUS_COUNT, text_of(it, &len));
		break;
	case F_PRIORITY:
		t->priority = (enum priority)mg_enum_of(mg_priority_names, PRIO_COUNT, text_of(it, &len));
		break;
	case F_CLASS:
		t->classification = (enum data_class)mg_enum_of(mg_class_names, CLASS_COUNT, text_of(it, &len));
		break;
	case F_HOLD:
		t->hold = (enum hold)mg_enum_of(mg_hold_names, HOLD_COUNT, text_of(it, &len));
		break;
	case F_RETRY:
		get_retry(it, at);
		break;
	}
}

void mg_task_encode(const struct task *t, bson_t *doc)
{
	for (size_t i = 0; i < N_FIELDS; i++)
		put_field(doc, &fields[i], t);
	BSON_APPEND_UTF8(doc, "phase", mg_phase(t->status));
	if (t->agent_id[0])
		BSON_APPEND_UTF8(doc, "last_agent_id", t->agent_id);
}

struct task *mg_task_decode(const bson_t *doc, struct arena *a)
{
	struct task *t = arena_new(a, struct task);
	bson_iter_t it;
	size_t at = 0;

	if (!bson_iter_init(&it, doc))
		return t;
	while (bson_iter_next(&it)) {
		const char *key = bson_iter_key(&it);

		/* Keys come mostly in the table's order: look from where the last one was found. */
		for (size_t i = 0; i < N_FIELDS; i++) {
			size_t k = at + i < N_FIELDS ? at + i : at + i - N_FIELDS;

			if (!strcmp(fields[k].name, key)) {
				get_field(&it, &fields[k], t, a);
				at = k + 1;
				break;
			}
		}
	}
	return t;
}

static const char *const wide[] = { "parameters", "requirements", "dependencies", "result", "attempts" };

void mg_task_brief(bson_t *opts)
{
	bson_t sub;

	BSON_APPEND_DOCUMENT_BEGIN(opts, "projection", &sub);
	for (size_t i = 0; i < sizeof(wide) / sizeof(wide[0]); i++)
		BSON_APPEND_INT32(&sub, wide[i], 0);
	bson_append_document_end(opts, &sub);
}

void mg_task_cols(bson_t *opts, enum task_cols cols)
{
	if (cols == TASK_COLS_BRIEF)
		mg_task_brief(opts);
}

/* --- changes ---------------------------------------------------------------------------------------- */

void mg_mask(bson_t *filter, const char *key, uint32_t mask, const char *const *names, int count)
{
	bson_t in, arr;
	char idx[16];
	const char *name;
	uint32_t n = 0;

	mask &= (1U << count) - 1;
	if (mask && !(mask & (mask - 1))) {
		BSON_APPEND_UTF8(filter, key, names[__builtin_ctz(mask)]);
		return;
	}
	BSON_APPEND_DOCUMENT_BEGIN(filter, key, &in);
	BSON_APPEND_ARRAY_BEGIN(&in, "$in", &arr);
	for (int i = 0; i < count; i++) {
		if (!(mask & 1U << i))
			continue;
		bson_uint32_to_string(n++, &name, idx, sizeof(idx));
		BSON_APPEND_UTF8(&arr, name, names[i]);
	}
	bson_append_array_end(&in, &arr);
	bson_append_document_end(filter, &in);
}

void mg_ids(bson_t *filter, const char *key, const char *const *ids, int n)
{
	bson_t in, arr;
	char idx[16];
	const char *name;

	BSON_APPEND_DOCUMENT_BEGIN(filter, key, &in);
	BSON_APPEND_ARRAY_BEGIN(&in, "$in", &arr);
	for (int i = 0; i < n; i++) {
		bson_uint32_to_string((uint32_t)i, &name, idx, sizeof(idx));
		BSON_APPEND_UTF8(&arr, name, ids[i]);
	}
	bson_append_array_end(&in, &arr);
	bson_append_document_end(filter, &in);
}

static void append_exists(bson_t *filter, const char *key, bool exists)
{
	bson_t sub;

	BSON_APPEND_DOCUMENT_BEGIN(filter, key, &sub);
	BSON_APPEND_BOOL(&sub, "$exists", exists);
	bson_append_document_end(filter, &sub);
}

void mg_change_filter(const struct task_change *c, bson_t *filter)
{
	if (c->if_status)
		mg_mask(filter, "status", c->if_status, mg_status_names, TASK_STATUS_COUNT);
	if (c->if_fence >= 0)
		BSON_APPEND_INT64(filter, "fence", c->if_fence);
	if (c->if_hold)
		mg_mask(filter, "hold", c->if_hold, mg_hold_names, HOLD_COUNT);
	if (c->if_agent && *c->if_agent)
		BSON_APPEND_UTF8(filter, "assigned_agent_id", c->if_agent);
	else if (c->if_agent)
		append_exists(filter, "assigned_agent_id", false);
	if (c->if_unguarded)
		append_exists(filter, "guarded", false);
}

void mg_push_token(bson_t *update, int64_t token)
{
	bson_t push, w, each;

	BSON_APPEND_DOCUMENT_BEGIN(update, "$push", &push);
	BSON_APPEND_DOCUMENT_BEGIN(&push, "w", &w);
	BSON_APPEND_ARRAY_BEGIN(&w, "$each", &each);
	BSON_APPEND_INT64(&each, "0", token);
	bson_append_array_end(&w, &each);
	BSON_APPEND_INT32(&w, "$slice", -MG_TOKENS);
	bson_append_document_end(&push, &w);
	bson_append_document_end(update, &push);
}

static void append_inc(bson_t *update, uint32_t f)
{
	bson_t inc;

	if (!(f & (TF_FENCE_BUMP | TF_ATTEMPT_BUMP)))
		return;
	BSON_APPEND_DOCUMENT_BEGIN(update, "$inc", &inc);
	if (f & TF_FENCE_BUMP)
		BSON_APPEND_INT64(&inc, "fence", 1);
	if (f & TF_ATTEMPT_BUMP)
		BSON_APPEND_INT64(&inc, "attempt", 1);
	bson_append_document_end(update, &inc);
}

void mg_change_update(const struct task_change *c, int64_t token, bson_t *update)
{
	const struct task *t = &c->set;
	bson_t set, unset = BSON_INITIALIZER;

	BSON_APPEND_DOCUMENT_BEGIN(update, "$set", &set);
	for (size_t i = 0; i < N_FIELDS; i++) {
		const struct field *f = &fields[i];

		if (f->tf != ~0U && !(f->tf & c->fields))
			continue;
		/* No new message keeps the old one; anything else that is not given is taken away. */
		if (!put_field(&set, f, t) && f->at != offsetof(struct task, message))
			BSON_APPEND_INT32(&unset, f->name, 1);
	}
	if (c->fields & TF_STATUS)
		BSON_APPEND_UTF8(&set, "phase", mg_phase(t->status));
	/* Who had it last, for tallies of a change that also takes the agent away. */
	if (c->fields & TF_AGENT && t->agent_id[0])
		BSON_APPEND_UTF8(&set, "last_agent_id", t->agent_id);
	bson_append_document_end(update, &set);
	if (!bson_empty(&unset))
		BSON_APPEND_DOCUMENT(update, "$unset", &unset);
	bson_destroy(&unset);
	append_inc(update, c->fields);
	mg_push_token(update, token);
}

int mg_token_age(const bson_t *doc, int64_t token)
{
	bson_iter_t it, arr;
	int at = -1, n = 0;

	if (!bson_iter_init_find(&it, doc, "w") || !BSON_ITER_HOLDS_ARRAY(&it) || !bson_iter_recurse(&it, &arr))
		return -1;
	for (; bson_iter_next(&arr); n++)
		if (BSON_ITER_HOLDS_INT64(&arr) && bson_iter_int64(&arr) == token)
			at = n;
	return at < 0 ? -1 : n - 1 - at;
}

const char *mg_doc_str(const bson_t *doc, const char *key)
{
	bson_iter_t it;

	if (bson_iter_init_find(&it, doc, key) && BSON_ITER_HOLDS_UTF8(&it))
		return bson_iter_utf8(&it, NULL);
	return "";
}

const char *mg_doc_id(const bson_t *doc)
{
	return mg_doc_str(doc, "_id");
}

int64_t mg_doc_int(const bson_t *doc, const char *key)
{
	bson_iter_t it;

	if (!bson_iter_init_find(&it, doc, key))
		return 0;
	return BSON_ITER_HOLDS_DATE_TIME(&it) ? bson_iter_date_time(&it) : bson_iter_as_int64(&it);
}
