// SPDX-License-Identifier: MIT
/* Sweeps and retention. */
#include "contract.h"

static void sweep_an_execution(void)
{
	char ex[ID_TEXT], other[ID_TEXT];
	struct task_change c = a_change("", TF_STATUS | TF_FENCE_BUMP | TF_COMPLETED | TF_HOLD);
	int64_t counts[7][TASK_STATUS_COUNT];
	struct task **v;
	int n, total = 0, live = 0;

	id_new(ex);
	id_new(other);
	for (int i = 0; i < 140; i++) {
		struct task t = a_task();

		set_id(t.execution_id, i % 7 == 6 ? other : ex);
		t.stage = 1;
		t.status = (enum task_status)(i % TASK_STATUS_COUNT);
		t.hold = i % 3 ? HOLD_NONE : HOLD_PAUSE;
		t.fence = 5;
		t.parameters = "{\"big\":1}";
		OKAY(insert(T.s, &t));
		live += i % 7 != 6 && ST(t.status) & ST_LIVE;
	}
	c.if_status = ST_LIVE;
	c.set.status = TASK_CANCELLED;
	c.set.completed_at = 12345;
	do {
		OKAY(store_tasks_sweep(T.s, ex, NULL, &c, 13, &T.a, &v, &n, &T.e));
		CU_ASSERT_TRUE_FATAL(n <= 13);
		for (int i = 0; i < n; i++) {
			STR(v[i]->execution_id, ex);
			EQ(v[i]->status, TASK_CANCELLED);
			EQ(v[i]->fence, 6);
			EQ(v[i]->hold, HOLD_NONE);
			EQ(v[i]->completed_at, 12345);
			CU_ASSERT_PTR_NULL(v[i]->parameters);
			EQ(get(T.s, v[i]->id)->status, TASK_CANCELLED);
			STR(get(T.s, v[i]->id)->parameters, "{\"big\":1}");
		}
		total += n;
	} while (n);
	EQ(total, live);
	OKAY(count_stages(ex, counts));
	for (int i = 0; i < TASK_STATUS_COUNT; i++)
		if (ST(i) & ST_LIVE)
			EQ(counts[1][i], 0);
	EQ(counts[1][TASK_CANCELLED], live);
	OKAY(count_stages(other, counts));
	EQ(counts[1][TASK_CANCELLED], 20);	/* i % 7 == 6 is cancelled from the start */
}

/* Pause and resume move by hold; only what is in if_hold moves. */
static void sweep_by_hold(void)
{
	char ex[ID_TEXT], agent[ID_TEXT];
	struct task_change c = a_change("", TF_HOLD);
	struct task **v, *out[50];
	int n;

	id_new(ex);
	id_new(agent);
	for (int i = 0; i < 30; i++) {
		struct task t = a_task();

		set_id(t.execution_id, ex);
		t.hold = (enum hold)(i % 3);
		OKAY(insert(T.s, &t));
	}
	c.if_status = ST_QUEUED;
	c.if_hold = 1U << HOLD_NONE;
	c.set.hold = HOLD_PAUSE;
	OKAY(store_tasks_sweep(T.s, ex, NULL, &c, 500, &T.a, &v, &n, &T.e));
	EQ(n, 10);
	struct claim cl = a_claim(agent, 50);

	OKAY(store_tasks_claim(T.s, &cl, &T.a, out, &n, &T.e));
	EQ(n, 0);
	c.if_hold = 1U << HOLD_PAUSE;
	c.set.hold = HOLD_NONE;
	OKAY(store_tasks_sweep(T.s, ex, NULL, &c, 500, &T.a, &v, &n, &T.e));
	EQ(n, 10);
	OKAY(store_tasks_claim(T.s, &cl, &T.a, out, &n, &T.e));
	EQ(n, 10);
}

static void sweep_an_agent(void)
{
	char agent[2][ID_TEXT], none[ID_TEXT];
	struct task_change c = a_change("", TF_STATUS | TF_AGENT | TF_LEASE);
	struct task **v;
	int n, total = 0;

	id_new(none);
	for (int a = 0; a < 2; a++) {
		id_new(agent[a]);
		for (int i = 0; i < 70; i++) {
			struct task t = a_task();

			t.status = (enum task_status)(i % TASK_STATUS_COUNT);
			set_id(t.agent_id, agent[a]);
			OKAY(insert(T.s, &t));
		}
	}
	c.if_status = ST_LEASED;
	c.set.status = TASK_PENDING;
	do {
		OKAY(store_tasks_sweep(T.s, NULL, agent[0], &c, 8, &T.a, &v, &n, &T.e));
		for (int i = 0; i < n; i++) {
			EQ(v[i]->status, TASK_PENDING);
			STR(v[i]->agent_id, "");
		}
		total += n;
	} while (n);
	EQ(total, 20);
	OKAY(store_tasks_sweep(T.s, NULL, none, &c, 8, &T.a, &v, &n, &T.e));
	EQ(n, 0);
	OKAY(store_tasks_sweep(T.s, "no id", NULL, &c, 8, &T.a, &v, &n, &T.e));
	EQ(n, 0);
	OKAY(store_tasks_sweep(T.s, NULL, agent[1], &c, 500, &T.a, &v, &n, &T.e));
	EQ(n, 20);

	struct queue_depth d;

	OKAY(store_queue_depth(T.s, &d, &T.e));
	EQ(d.leased, 0);
}

/* All of an execution but one chunk's worth: more rows than any implementation reads at once. */
static void sweep_many(void)
{
	enum { N = 1000 };
	struct task *t = arena_calloc(&T.a, N, sizeof(*t));
	struct store_op *ops = arena_calloc(&T.a, N, sizeof(*ops));
	struct store_unit u = { .ops = ops, .n = N, .arena = &T.a, .error = &T.e };
	struct task_change c = a_change("", TF_STATUS);
	char ex[ID_TEXT];
	struct task **v;
	int n;

	id_new(ex);
	for (int i = 0; i < N; i++) {
		t[i] = a_task();
		set_id(t[i].execution_id, ex);
		ops[i] = (struct store_op){ .kind = SOP_TASK_INSERT, .task = &t[i] };
	}
	OKAY(store_apply_each(T.s, &u));
	c.if_status = ST(TASK_PENDING);
	c.set.status = TASK_CANCELLED;
	OKAY(store_tasks_sweep(T.s, ex, NULL, &c, 700, &T.a, &v, &n, &T.e));
	EQ(n, 700);
	OKAY(store_tasks_sweep(T.s, ex, NULL, &c, 700, &T.a, &v, &n, &T.e));
	EQ(n, 300);
}

/* --- retention ------------------------------------------------------------------------------------------------- */

static struct task ended_task(enum task_status status, enum data_class class, int64_t completed_at)
{
	struct task t = a_task();

	t.status = status;
	t.classification = class;
	t.completed_at = completed_at;
	return t;
}

static void purge(void)
{
	static const enum task_status st[] = { TASK_COMPLETED, TASK_FAILED, TASK_CANCELLED, TASK_PENDING, TASK_RUNNING };
	char *big = arena_alloc(&T.a, 5001), ex[ID_TEXT], gone[ID_TEXT] = "", kept[ID_TEXT] = "";
	int64_t counts[7][TASK_STATUS_COUNT];
	struct record *r;
	int n, total = 0;

	id_new(ex);
	memset(big, '1', 5000);
	big[5000] = '\0';
	for (int i = 0; i < 100; i++) {
		struct task t = ended_task(st[i % 5], (enum data_class)(i % 3), 1000 + i);
		struct record log = { .kind = REC_TASK_LOG, .id = arena_printf(&T.a, "log%d", i), .s1 = t.id, .s2 = "", .s3 = "",
				      .body = "{}" };

		set_id(t.execution_id, ex);
		t.stage = 2;
		t.parameters = big;
		OKAY(insert(T.s, &t));
		OKAY(put(T.s, &log, REV_ABSENT, NULL, NULL));
		if (i == 0)
			set_id(gone, t.id);
		if (i == 51)	/* class 0, but after the time */
			set_id(kept, t.id);
	}
	/* class 0, ended before 1050: i = 0, 6, 12, 15, 21, 27, 30, 36, 42, 45 */
	do {
		OKAY(store_tasks_purge(T.s, 1050, 1U << 0, 3, &n, &T.e));
		CU_ASSERT_TRUE_FATAL(n <= 3);
		total += n;
	} while (n);
	EQ(total, 10);
	CU_ASSERT_PTR_NULL(get(T.s, gone));
	CU_ASSERT_PTR_NOT_NULL(get(T.s, kept));
	OKAY(store_rec_get(T.s, REC_TASK_LOG, "log0", &T.a, &r, &T.e));
	CU_ASSERT_PTR_NULL(r);
	OKAY(store_rec_get(T.s, REC_TASK_LOG, "log51", &T.a, &r, &T.e));
	CU_ASSERT_PTR_NOT_NULL(r);
	OKAY(count_stages(ex, counts));
	EQ(counts[2][TASK_COMPLETED] + counts[2][TASK_FAILED] + counts[2][TASK_CANCELLED], 50);
	EQ(counts[2][TASK_PENDING], 20);
	/* several classes at once; live tasks stay whatever completed_at says */
	OKAY(store_tasks_purge(T.s, 5000, 1U << 1 | 1U << 2, 500, &n, &T.e));
	EQ(n, 40);
	OKAY(store_tasks_purge(T.s, 5000, 0, 500, &n, &T.e));
	EQ(n, 0);
	OKAY(store_tasks_purge(T.s, 5000, 0x1f, 500, &n, &T.e));
	EQ(n, 10);
	OKAY(count_stages(ex, counts));
	EQ(counts[2][TASK_PENDING], 20);
	EQ(counts[2][TASK_RUNNING], 20);
	EQ(counts[2][TASK_COMPLETED], 0);
}

/* More than any implementation deletes in one go. */
static void purge_many(void)
{
	enum { N = 1200 };
	struct task *t = arena_calloc(&T.a, N, sizeof(*t));
	struct store_op *ops = arena_calloc(&T.a, N, sizeof(*ops));
	struct store_unit u = { .ops = ops, .n = N, .arena = &T.a, .error = &T.e };
	struct queue_depth d;
	int n;

	for (int i = 0; i < N; i++) {
		t[i] = ended_task(i % 2 ? TASK_COMPLETED : TASK_FAILED, (enum data_class)(i % 3), 1000);
		ops[i] = (struct store_op){ .kind = SOP_TASK_INSERT, .task = &t[i] };
	}
	OKAY(store_apply_each(T.s, &u));
	OKAY(store_tasks_purge(T.s, 2000, 0x1f, 700, &n, &T.e));
	EQ(n, 700);
	OKAY(store_tasks_purge(T.s, 2000, 0x1f, 700, &n, &T.e));
	EQ(n, 500);
	OKAY(store_queue_depth(T.s, &d, &T.e));
	EQ(d.leased, 0);
}

const struct contract_case cases_bulk[] = {
	{ "sweep of an execution", sweep_an_execution },
	{ "sweep by hold", sweep_by_hold },
	{ "sweep of an agent", sweep_an_agent },
	{ "sweep of many", sweep_many },
	{ "purge of ended tasks", purge },
	{ "purge of many", purge_many },
	{ NULL, NULL },
};
