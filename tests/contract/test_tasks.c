// SPDX-License-Identifier: MIT
/* One task: insert, read, compare and set. */
#include "contract.h"

static void same_task(const struct task *x, const struct task *y, bool brief)
{
	STR(x->id, y->id);
	STR(x->type, y->type);
	EQ(x->status, y->status);
	EQ(x->priority, y->priority);
	EQ(x->classification, y->classification);
	EQ(x->hold, y->hold);
	EQ(x->due_at, y->due_at);
	EQ(x->lane, y->lane);
	EQ(x->order_key, y->order_key);
	STR(x->pipeline_id, y->pipeline_id);
	STR(x->execution_id, y->execution_id);
	EQ(x->stage, y->stage);
	EQ(x->stage_seq, y->stage_seq);
	STR(x->concurrency_key, y->concurrency_key);
	EQ(x->concurrency_limit, y->concurrency_limit);
	EQ(x->run_at, y->run_at);
	EQ(x->deadline, y->deadline);
	EQ(x->timeout_s, y->timeout_s);
	EQ(x->max_retries, y->max_retries);
	EQ(x->retry.strategy, y->retry.strategy);
	EQ(x->retry.initial_delay_ms, y->retry.initial_delay_ms);
	EQ(x->retry.max_delay_ms, y->retry.max_delay_ms);
	CU_ASSERT_EQUAL_FATAL(x->retry.factor, y->retry.factor);
	EQ(x->retry.jitter, y->retry.jitter);
	EQ(x->retry.retryable, y->retry.retryable);
	EQ(x->attempt, y->attempt);
	EQ(x->fence, y->fence);
	EQ(x->lease_expires_at, y->lease_expires_at);
	STR(x->agent_id, y->agent_id);
	CU_ASSERT_EQUAL_FATAL(x->progress, y->progress);
	STR(x->message, y->message);
	STR(x->error, y->error);
	EQ(x->guarded, y->guarded);
	STR(x->created_by, y->created_by);
	EQ(x->created_at, y->created_at);
	EQ(x->updated_at, y->updated_at);
	EQ(x->assigned_at, y->assigned_at);
	EQ(x->started_at, y->started_at);
	EQ(x->completed_at, y->completed_at);
	if (brief)
		return;
	STR(x->parameters, y->parameters);
	STR(x->requirements, y->requirements);
	STR(x->dependencies, y->dependencies);
	STR(x->result, y->result);
	STR(x->attempts, y->attempts);
}

/* Every field with a value of its own. */
static struct task full_task(void)
{
	struct task t = a_task();

	t.status = TASK_RETRYING;
	t.priority = PRIO_LOW;
	t.classification = CLASS_CONFIDENTIAL;
	t.hold = HOLD_TIME;
	t.due_at = 1234567890123;
	t.lane = INT64_MIN + 7;
	t.order_key = INT64_MAX - 7;
	id_new(t.pipeline_id);
	id_new(t.execution_id);
	t.stage = 6;
	t.stage_seq = 9999;
	t.dependencies = "[\"018f0000-0000-7000-8000-000000000000\"]";
	t.concurrency_key = "patient:42";
	t.concurrency_limit = 3;
	t.run_at = 11;
	t.deadline = 12;
	t.timeout_s = 13;
	t.max_retries = 14;
	t.retry = (struct retry){ .strategy = 2, .initial_delay_ms = 15, .max_delay_ms = 16, .factor = 1.7,
				  .jitter = true, .retryable = 0xffffffff };
	t.attempt = 17;
	t.fence = (int64_t)1 << 40;
	t.lease_expires_at = 18;
	id_new(t.agent_id);
	t.progress = 0.1 + 0.2;
	t.message = "half way";
	t.result = "{\"n\":1.10}";
	t.error = "{\"code\":\"x\"}";
	t.attempts = "[{\"attempt\":1}]";
	t.guarded = true;
	t.assigned_at = 19;
	t.started_at = 20;
	t.completed_at = 21;
	return t;
}

static void insert_and_read(void)
{
	struct task plain = a_task(), full = full_task();
	struct task *out[3];
	char none[ID_TEXT];

	OKAY(insert(T.s, &plain));
	OKAY(insert(T.s, &full));
	same_task(get(T.s, plain.id), &plain, false);
	same_task(get(T.s, full.id), &full, false);
	contract_reopen();
	same_task(get(T.s, full.id), &full, false);
	id_new(none);
	CU_ASSERT_PTR_NULL(get(T.s, none));

	const char *ids[] = { full.id, none, plain.id };

	OKAY(store_tasks_get(T.s, ids, 3, TASK_COLS_BRIEF, &T.a, out, &T.e));
	CU_ASSERT_PTR_NULL_FATAL(out[1]);
	same_task(out[0], &full, true);
	same_task(out[2], &plain, true);
	CU_ASSERT_PTR_NULL(out[0]->parameters);
	CU_ASSERT_PTR_NULL(out[0]->result);
	OKAY(store_tasks_get(T.s, ids, 3, TASK_COLS_ALL, &T.a, out, &T.e));
	CU_ASSERT_PTR_NULL_FATAL(out[1]);
	same_task(out[0], &full, false);
	OKAY(store_tasks_get(T.s, ids, 0, TASK_COLS_ALL, &T.a, out, &T.e));
}

static void insert_twice(void)
{
	struct task t = a_task(), again;
	struct store_op op = { .kind = SOP_TASK_INSERT, .task = &t };
	struct store_unit u = { .ops = &op, .n = 1, .arena = &T.a, .error = &T.e };

	OKAY(store_apply(T.s, &u));
	EQ(op.result, SOP_DONE);
	again = t;
	again.type = "other";
	op.task = &again;
	EXPECT(store_apply(T.s, &u), ERR_CONFLICT);
	EQ(op.result, SOP_EXISTS);
	STR(get(T.s, t.id)->type, "work");
}

/* Each field bit writes its own fields and leaves all others alone. */
static void each_field(void)
{
	struct task other = full_task();

	other.status = TASK_FAILED;
	other.hold = HOLD_PAUSE;
	other.due_at = 101;
	other.priority = PRIO_CRITICAL;
	other.order_key = 102;
	other.lease_expires_at = 103;
	other.assigned_at = 104;
	other.progress = 0.75;
	other.message = "new";
	other.result = "[1]";
	other.error = "{\"code\":\"y\"}";
	other.attempts = "[2]";
	other.started_at = 105;
	other.completed_at = 106;
	other.timeout_s = 107;
	other.max_retries = 108;
	other.deadline = 109;
	other.run_at = 110;
	other.attempt = 111;
	for (int bit = 0; bit < 16; bit++) {
		struct task t = full_task(), want;
		uint32_t f = 1U << bit;
		struct task_change c = a_change(t.id, f);
		struct task *row;

		OKAY(insert(T.s, &t));
		c.set = other;
		c.set.updated_at = 5000 + bit;
		want = t;
		want.updated_at = 5000 + bit;
		switch (f) {
		case TF_STATUS: want.status = other.status; break;
		case TF_HOLD: want.hold = other.hold; want.due_at = other.due_at; break;
		case TF_ORDER: want.priority = other.priority; want.order_key = other.order_key; break;
		case TF_LEASE: want.lease_expires_at = other.lease_expires_at; break;
		case TF_AGENT: set_id(want.agent_id, other.agent_id); want.assigned_at = other.assigned_at; break;
		case TF_FENCE_BUMP: want.fence++; break;
		case TF_ATTEMPT_BUMP: want.attempt++; break;
		case TF_PROGRESS: want.progress = other.progress; want.message = other.message; break;
		case TF_RESULT: want.result = other.result; break;
		case TF_ERROR: want.error = other.error; break;
		case TF_ATTEMPTS: want.attempts = other.attempts; break;
		case TF_STARTED: want.started_at = other.started_at; break;
		case TF_COMPLETED: want.completed_at = other.completed_at; break;
		case TF_LIMITS:
			want.timeout_s = other.timeout_s;
			want.max_retries = other.max_retries;
			want.deadline = other.deadline;
			want.run_at = other.run_at;
			break;
		case TF_MAX_RETRIES: want.max_retries = other.max_retries; break;
		case TF_ATTEMPT_SET: want.attempt = other.attempt; break;
		}
		OKAY(change(T.s, &c, &row, NULL));
		same_task(row, &want, false);
		same_task(get(T.s, t.id), &want, false);
	}
}

static void all_fields_at_once(void)
{
	struct task t = a_task(), other = full_task();
	struct task_change c = a_change(t.id, (1U << 15) - 1);
	struct task *row;

	OKAY(insert(T.s, &t));
	c.set = other;
	OKAY(change(T.s, &c, &row, NULL));
	EQ(row->fence, 1);
	EQ(row->attempt, 1);
	EQ(row->max_retries, 14);
	EQ(row->timeout_s, 13);
	STR(row->result, other.result);
	STR(row->type, "work");
	same_task(get(T.s, t.id), row, false);
}

static void clearing(void)
{
	struct task t = full_task();
	struct task_change c = a_change(t.id, TF_AGENT | TF_RESULT | TF_ERROR | TF_ATTEMPTS | TF_PROGRESS);
	struct task *row;

	OKAY(insert(T.s, &t));
	OKAY(change(T.s, &c, &row, NULL));
	STR(row->agent_id, "");
	STR(row->result, NULL);
	STR(row->error, NULL);
	STR(row->attempts, NULL);
	CU_ASSERT_EQUAL(row->progress, 0);
	STR(row->message, "half way");	/* NULL keeps the old one */
	row = get(T.s, t.id);
	STR(row->message, "half way");
	STR(row->agent_id, "");
	STR(row->error, NULL);
}

static void refused(struct task_change c, const struct task *t)
{
	enum store_op_result res;
	struct task *row;

	c.set.error = "{\"code\":\"wrong\"}";
	EXPECT(change(T.s, &c, &row, &res), ERR_CONFLICT);
	EQ(res, SOP_REFUSED);
	CU_ASSERT_PTR_NOT_NULL_FATAL(row);
	same_task(row, t, false);	/* as it stands */
	EXPECT(change(T.s, &c, NULL, &res), ERR_CONFLICT);
	EQ(res, SOP_REFUSED);
	same_task(get(T.s, t->id), t, false);
}

static void conditions(void)
{
	struct task t = full_task();
	struct task_change any = a_change(t.id, TF_ERROR), c;
	char stranger[ID_TEXT];
	enum store_op_result res;
	struct task *row;

	OKAY(insert(T.s, &t));
	id_new(stranger);
	c = any;
	c.if_status = ST_ENDED | ST_LEASED | ST(TASK_PENDING);
	refused(c, &t);
	c = any;
	c.if_fence = t.fence - 1;
	refused(c, &t);
	c.if_fence = 0;
	refused(c, &t);
	c = any;
	c.if_hold = 1U << HOLD_NONE | 1U << HOLD_DEPS | 1U << HOLD_SLOT | 1U << HOLD_PAUSE;
	refused(c, &t);
	c = any;
	c.if_agent = stranger;
	refused(c, &t);
	c.if_agent = "";
	refused(c, &t);
	c = any;
	c.if_unguarded = true;
	refused(c, &t);
	/* one of many is enough to refuse */
	c = any;
	c.if_status = ST(TASK_RETRYING);
	c.if_fence = t.fence;
	c.if_hold = 1U << HOLD_TIME;
	c.if_agent = stranger;
	refused(c, &t);
	/* and all of them hold */
	c.if_agent = t.agent_id;
	OKAY(change(T.s, &c, &row, &res));
	EQ(res, SOP_DONE);
	id_new(c.id);
	EXPECT(change(T.s, &c, &row, &res), ERR_CONFLICT);
	EQ(res, SOP_MISSING);
	CU_ASSERT_PTR_NULL(row);
}

static void agent_condition_without_agent(void)
{
	struct task t = a_task();
	struct task_change c = a_change(t.id, TF_ERROR);

	OKAY(insert(T.s, &t));
	c.if_agent = "";
	c.if_unguarded = true;
	OKAY(change(T.s, &c, NULL, NULL));
}

/* A late report with an old fence changes nothing; the same change repeated does not apply twice. */
static void fencing(void)
{
	struct task t = a_task();
	struct task_change claim = a_change(t.id, TF_STATUS | TF_FENCE_BUMP | TF_LEASE), done;
	enum store_op_result res;
	struct task *row;

	OKAY(insert(T.s, &t));
	claim.if_status = ST(TASK_PENDING);
	claim.set.status = TASK_RUNNING;
	OKAY(change(T.s, &claim, &row, NULL));
	EQ(row->fence, 1);
	EXPECT(change(T.s, &claim, &row, &res), ERR_CONFLICT);
	EQ(row->fence, 1);
	done = a_change(t.id, TF_STATUS | TF_RESULT);
	done.if_status = ST_LEASED;
	done.if_fence = 0;
	done.set.status = TASK_COMPLETED;
	done.set.result = "{}";
	EXPECT(change(T.s, &done, &row, &res), ERR_CONFLICT);
	done.if_fence = 1;
	OKAY(change(T.s, &done, &row, &res));
	EQ(row->status, TASK_COMPLETED);
	EXPECT(change(T.s, &done, &row, &res), ERR_CONFLICT);
	EQ(row->status, TASK_COMPLETED);
	STR(row->result, "{}");
}

/* A waiting task comes with its lane's signature, however it was read and however it came to wait. */
static void signatures(void)
{
	struct task t = a_task();
	struct task_change c = a_change(t.id, TF_STATUS);
	struct task_filter f = { .limit = 5, .cols = TASK_COLS_BRIEF };
	struct task_page page;
	struct task *row, **v;
	char ex[ID_TEXT];
	int n;

	id_new(ex);
	set_id(t.execution_id, ex);
	t.lane = 99;
	t.lane_sig = "{\"type\":\"signed\"}";
	OKAY(insert(T.s, &t));
	contract_reopen();
	STR(get(T.s, t.id)->lane_sig, t.lane_sig);
	OKAY(store_tasks_list(T.s, &f, &T.a, &page, &T.e));
	STR(page.items[0]->lane_sig, t.lane_sig);
	c.set.status = TASK_RUNNING;
	OKAY(change(T.s, &c, &row, NULL));
	c.set.status = TASK_PENDING;
	OKAY(change(T.s, &c, &row, NULL));
	STR(row->lane_sig, t.lane_sig);
	c.set.status = TASK_RETRYING;
	OKAY(change(T.s, &c, &row, NULL));
	c.set.status = TASK_PENDING;
	OKAY(store_tasks_sweep(T.s, ex, NULL, &c, 5, &T.a, &v, &n, &T.e));
	EQ(n, 1);
	STR(v[0]->lane_sig, t.lane_sig);
}

/* {"x":"aaaa…"} of n bytes. */
static char *big_json(size_t n, char fill)
{
	char *p = arena_alloc(&T.a, n + 1);

	memset(p, fill, n);
	memcpy(p, "{\"x\":\"", 6);
	memcpy(p + n - 2, "\"}", 3);
	return p;
}

static void big_values(void)
{
	static const size_t sizes[] = { 100, 390, 399, 400, 401, 1000, 4000, 4096, 5000, 70000, 4 << 20 };

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct task t = a_task(), want;
		struct task_change c = a_change(t.id, TF_RESULT | TF_ATTEMPTS);
		struct task *row;

		t.parameters = big_json(sizes[i], 'p');
		t.requirements = big_json(sizes[i] > 65536 ? 65536 : sizes[i], 'r');
		OKAY(insert(T.s, &t));
		same_task(get(T.s, t.id), &t, false);
		want = t;
		want.result = c.set.result = big_json(sizes[i] > 1 << 20 ? 1 << 20 : sizes[i], 's');
		want.attempts = c.set.attempts = big_json(sizes[i] > 65536 ? 65536 : sizes[i], 't');
		want.updated_at = c.set.updated_at;
		OKAY(change(T.s, &c, &row, NULL));
		same_task(row, &want, false);
		same_task(get(T.s, t.id), &want, false);
		/* a second result of another size replaces the first */
		want.result = c.set.result = big_json(sizes[i] / 2 + 20, 'u');
		want.attempts = c.set.attempts = NULL;
		OKAY(change(T.s, &c, &row, NULL));
		same_task(get(T.s, t.id), &want, false);
	}
}

static void odd_strings(void)
{
	static const char *const odd[] = {
		"", " ", "'", "\"", "\\", "'; DROP TABLE tasks; --", "%s%n", "$where", "a.b", "?1",
		"\x01\x1f\x7f", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xef\xbf\xbf", "\xd7\xa9\xd7\x9c", "\n\r\t",
		"e\xcc\x81", "NULL", "true", "-1e309",
	};

	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
		struct task t = a_task();
		struct task_filter f = { .limit = 500 };
		struct task_page page;

		t.type = arena_printf(&T.a, "t%s", odd[i]);
		t.created_by = arena_printf(&T.a, "u%s", odd[i]);
		t.concurrency_key = odd[i];
		t.message = odd[i];
		t.lane = 1000 + (int64_t)i;
		t.lane_sig = odd[i];
		OKAY(insert(T.s, &t));
		same_task(get(T.s, t.id), &t, false);
		f.type = t.type;
		OKAY(store_tasks_list(T.s, &f, &T.a, &page, &T.e));
		EQ(page.n, 1);
		f.type = NULL;
		f.created_by = t.created_by;
		OKAY(store_tasks_list(T.s, &f, &T.a, &page, &T.e));
		EQ(page.n, 1);
		STR(page.items[0]->id, t.id);
	}
}

/* What is read back is a copy: the store keeps nothing of the caller's, and gives nothing it keeps. */
static void memory_is_the_callers(void)
{
	struct task t = a_task();
	struct task_change c = a_change(t.id, TF_PROGRESS | TF_RESULT);
	char message[16], result[16];
	struct task *row;

	OKAY(insert(T.s, &t));
	snprintf(message, sizeof(message), "first");
	snprintf(result, sizeof(result), "[1]");
	c.set.message = message;
	c.set.result = result;
	OKAY(change(T.s, &c, &row, NULL));
	snprintf(message, sizeof(message), "other");
	snprintf(result, sizeof(result), "[2]");
	STR(row->message, "first");
	STR(row->result, "[1]");
	STR(get(T.s, t.id)->message, "first");
}

static void life_of_the_store(void)
{
	OKAY(store_ping(T.s, &T.e));
	STR(store_name(T.s), T.mongo ? "mongodb" : "sqlite");
	(void)store_prefers_queue(T.s);
	store_close(NULL);
	for (int i = 0; i < 5; i++)
		contract_reopen();
	OKAY(store_ping(T.s, &T.e));
}

static void bad_uris(void)
{
	static const char *const bad[] = { "", "sqlite", "sqlite:x.db", "sqlite://relative.db", "sqlite:///",
					   "postgres://x/y", "/a/path", "sqlite:///tmp/x.db?mode=ro" };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct store_options o = { .uri = bad[i] };
		struct store *s = T.s;

		error_init(&T.e, &T.a);
		EXPECT(store_open(&o, &s, &T.e), ERR_VALIDATION);
		CU_ASSERT_PTR_NULL(s);
		CU_ASSERT_TRUE(T.e.message[0] != '\0');
	}
	struct store_options o = { 0 };
	struct store *s;

	EXPECT(store_open(&o, &s, &T.e), ERR_VALIDATION);
}

const struct contract_case cases_tasks[] = {
	{ "insert and read, whole and brief", insert_and_read },
	{ "a second insert of an id", insert_twice },
	{ "each field alone", each_field },
	{ "all fields at once", all_fields_at_once },
	{ "clearing fields", clearing },
	{ "every condition refuses", conditions },
	{ "a task without agent", agent_condition_without_agent },
	{ "fencing", fencing },
	{ "signatures of lanes", signatures },
	{ "big values", big_values },
	{ "odd strings", odd_strings },
	{ "memory is the caller's", memory_is_the_callers },
	{ "open, ping, close", life_of_the_store },
	{ "bad URIs", bad_uris },
	{ NULL, NULL },
};
