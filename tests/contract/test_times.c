// SPDX-License-Identifier: MIT
/* Due times, waiters, counters. */
#include "contract.h"

#include <unistd.h>

static struct task **due(enum due_kind kind, int64_t now, int limit, int *n)
{
	struct task **out;

	OKAY(store_tasks_due(T.s, kind, now, limit, &T.a, &out, n, &T.e));
	return out;
}

static int count_due(enum due_kind kind, int64_t now)
{
	int n;

	due(kind, now, 1000, &n);
	return n;
}

static int64_t next_due(void)
{
	int64_t at;

	OKAY(store_next_due(T.s, &at, &T.e));
	return at;
}

static void nothing_is_due(void)
{
	struct task t = a_task();

	EQ(next_due(), INT64_MAX);
	for (int k = DUE_HOLD; k <= DUE_TIMEOUT; k++)
		EQ(count_due((enum due_kind)k, INT64_MAX), 0);
	OKAY(insert(T.s, &t));
	EQ(next_due(), INT64_MAX);
	for (int k = DUE_HOLD; k <= DUE_TIMEOUT; k++)
		EQ(count_due((enum due_kind)k, INT64_MAX), 0);
}

static void holds(void)
{
	struct task retrying = a_task(), timed = a_task(), other = a_task();
	struct task_change c;

	retrying.status = TASK_RETRYING;
	retrying.hold = timed.hold = HOLD_TIME;
	retrying.due_at = 2000;
	timed.due_at = 3000;
	other.hold = HOLD_DEPS;
	other.due_at = 1000;
	OKAY(insert(T.s, &retrying));
	OKAY(insert(T.s, &timed));
	OKAY(insert(T.s, &other));
	EQ(next_due(), 2000);
	EQ(count_due(DUE_HOLD, 1999), 0);
	EQ(count_due(DUE_HOLD, 2000), 1);
	EQ(count_due(DUE_HOLD, 3000), 2);
	EQ(count_due(DUE_LEASE, 3000), 0);

	int n;
	struct task **v = due(DUE_HOLD, 5000, 1, &n);

	EQ(n, 1);
	STR(v[0]->id, retrying.id);
	EQ(v[0]->status, TASK_RETRYING);
	CU_ASSERT_PTR_NULL(v[0]->parameters);
	c = a_change(retrying.id, TF_STATUS | TF_HOLD);
	c.set.status = TASK_PENDING;
	OKAY(change(T.s, &c, NULL, NULL));
	EQ(count_due(DUE_HOLD, 3000), 1);
	EQ(next_due(), 3000);
}

static void leases_and_timeouts(void)
{
	struct task run = a_task(), lease = a_task(), assigned = a_task(), endless = a_task();
	struct task_change c;
	int n;

	run.status = lease.status = endless.status = TASK_RUNNING;
	run.started_at = 10000;
	run.timeout_s = 5;
	run.lease_expires_at = 60000;
	lease.started_at = 10000;
	lease.timeout_s = 100;
	lease.lease_expires_at = 20000;
	assigned.status = TASK_ASSIGNED;
	assigned.started_at = 10000;	/* of an earlier attempt: time runs only while running */
	assigned.timeout_s = 1;
	assigned.lease_expires_at = 30000;
	endless.started_at = 1;
	endless.timeout_s = 0;		/* none */
	endless.lease_expires_at = 90000;
	OKAY(insert(T.s, &run));
	OKAY(insert(T.s, &lease));
	OKAY(insert(T.s, &assigned));
	OKAY(insert(T.s, &endless));
	EQ(next_due(), 15000);
	EQ(count_due(DUE_TIMEOUT, 14999), 0);
	EQ(count_due(DUE_TIMEOUT, 15000), 1);
	EQ(count_due(DUE_LEASE, 19999), 0);
	EQ(count_due(DUE_LEASE, 20000), 1);
	STR(due(DUE_LEASE, 20000, 10, &n)[0]->id, lease.id);
	EQ(count_due(DUE_LEASE, 30000), 2);
	EQ(count_due(DUE_LEASE, 90000), 4);
	EQ(count_due(DUE_TIMEOUT, 109999), 1);
	EQ(count_due(DUE_TIMEOUT, 110000), 2);
	EQ(count_due(DUE_TIMEOUT, INT64_MAX), 2);
	/* a renewed lease, then the end */
	c = a_change(run.id, TF_LEASE);
	c.set.lease_expires_at = 14000;
	OKAY(change(T.s, &c, NULL, NULL));
	EQ(next_due(), 14000);
	c.set.lease_expires_at = 80000;
	OKAY(change(T.s, &c, NULL, NULL));
	EQ(next_due(), 15000);
	c = a_change(run.id, TF_STATUS);
	c.set.status = TASK_COMPLETED;
	OKAY(change(T.s, &c, NULL, NULL));
	EQ(next_due(), 20000);
	EQ(count_due(DUE_TIMEOUT, 50000), 0);
	c = a_change(lease.id, TF_LIMITS);
	c.set.timeout_s = 2;
	OKAY(change(T.s, &c, NULL, NULL));
	EQ(next_due(), 12000);
	EQ(count_due(DUE_TIMEOUT, 12000), 1);
}

static void deadlines(void)
{
	static const enum task_status live[] = { TASK_PENDING, TASK_ASSIGNED, TASK_RUNNING, TASK_RETRYING };
	char first[ID_TEXT] = "";

	for (int i = 0; i < 4; i++) {
		struct task t = a_task();

		t.status = live[i];
		t.deadline = 1000 * (i + 1);
		t.lease_expires_at = 1000000;
		if (!i)
			set_id(first, t.id);
		OKAY(insert(T.s, &t));
	}
	struct task ended = a_task(), never = a_task();

	ended.status = TASK_FAILED;
	ended.deadline = 500;
	OKAY(insert(T.s, &ended));
	OKAY(insert(T.s, &never));
	EQ(next_due(), 1000);
	EQ(count_due(DUE_DEADLINE, 999), 0);
	EQ(count_due(DUE_DEADLINE, 1000), 1);
	EQ(count_due(DUE_DEADLINE, 100000), 4);
	struct task_change c = a_change(first, TF_STATUS);

	c.set.status = TASK_CANCELLED;
	OKAY(change(T.s, &c, NULL, NULL));
	EQ(next_due(), 2000);
	EQ(count_due(DUE_DEADLINE, 100000), 3);
}

static void slot_waiters(void)
{
	struct task **v, t[12];
	int n;

	for (int i = 0; i < 12; i++) {
		t[i] = a_task();
		t[i].concurrency_key = i % 3 == 0 ? "a" : i % 3 == 1 ? "b'\"" : NULL;
		t[i].concurrency_limit = 1;
		t[i].hold = i < 9 ? HOLD_SLOT : HOLD_NONE;
		t[i].order_key = 100 - i;
		OKAY(insert(T.s, &t[i]));
	}
	OKAY(store_tasks_slot_waiters(T.s, "a", 10, &T.a, &v, &n, &T.e));
	EQ(n, 3);
	STR(v[0]->id, t[6].id);
	STR(v[1]->id, t[3].id);
	STR(v[2]->id, t[0].id);
	OKAY(store_tasks_slot_waiters(T.s, "b'\"", 2, &T.a, &v, &n, &T.e));
	EQ(n, 2);
	STR(v[0]->id, t[7].id);
	OKAY(store_tasks_slot_waiters(T.s, "c", 2, &T.a, &v, &n, &T.e));
	EQ(n, 0);
	OKAY(store_tasks_slot_waiters(T.s, NULL, 100, &T.a, &v, &n, &T.e));
	EQ(n, 9);
	for (int i = 0; i < 9; i++)
		STR(v[i]->id, t[8 - i].id);
	struct task_change c = a_change(t[6].id, TF_HOLD);

	OKAY(change(T.s, &c, NULL, NULL));
	OKAY(store_tasks_slot_waiters(T.s, "a", 10, &T.a, &v, &n, &T.e));
	EQ(n, 2);
}

static void dep_waiters(void)
{
	struct task **v, t[30];
	char last[ID_TEXT] = "";
	int n, total = 0;

	for (int i = 0; i < 30; i++) {
		t[i] = a_task();
		t[i].hold = i % 3 ? HOLD_DEPS : HOLD_NONE;
		t[i].dependencies = arena_printf(&T.a, "[\"%s\"]", t[0].id);
		if (i == 29)
			t[i].status = TASK_CANCELLED;
		OKAY(insert(T.s, &t[i]));
	}
	do {
		OKAY(store_tasks_dep_waiters(T.s, last[0] ? last : NULL, 7, &T.a, &v, &n, &T.e));
		for (int i = 0; i < n; i++) {
			CU_ASSERT_TRUE(strcmp(v[i]->id, last) > 0);
			set_id(last, v[i]->id);
			EQ(v[i]->hold, HOLD_DEPS);
			EQ(v[i]->status, TASK_PENDING);
			STR(v[i]->dependencies, t[1].dependencies);
		}
		total += n;
	} while (n);
	EQ(total, 19);
}

/* --- counters ---------------------------------------------------------------------------------------------- */

static void depth_of_the_queue(void)
{
	struct queue_depth d, want = { 0 };
	unsigned seed = 5;
	int64_t base = now_ms() - 100000;
	struct task t[200];

	OKAY(store_queue_depth(T.s, &d, &T.e));
	CU_ASSERT_EQUAL(memcmp(&d, &want, sizeof(d)), 0);
	for (int i = 0; i < 200; i++) {
		t[i] = a_task();
		t[i].created_at = base + i;
		id_of_time(t[i].created_at, t[i].id);
		t[i].status = (enum task_status)(rand_r(&seed) % TASK_STATUS_COUNT);
		t[i].priority = (enum priority)(rand_r(&seed) % PRIO_COUNT);
		if (ST(t[i].status) & ST_QUEUED)
			t[i].hold = (enum hold)(rand_r(&seed) % HOLD_COUNT);
		OKAY(insert(T.s, &t[i]));
	}
	for (int round = 0; round < 3; round++) {
		memset(&want, 0, sizeof(want));
		for (int i = 0; i < 200; i++) {
			if (t[i].status == TASK_PENDING && t[i].hold == HOLD_NONE) {
				want.ready[t[i].priority]++;
				if (!want.oldest[t[i].priority])
					want.oldest[t[i].priority] = t[i].created_at;
			}
			if (ST(t[i].status) & ST_QUEUED)
				want.held[t[i].hold]++;
			want.leased += (ST(t[i].status) & ST_LEASED) != 0;
		}
		OKAY(store_queue_depth(T.s, &d, &T.e));
		for (int i = 0; i < PRIO_COUNT; i++) {
			EQ(d.ready[i], want.ready[i]);
			EQ(d.oldest[i], want.oldest[i]);
		}
		for (int i = 0; i < HOLD_COUNT; i++)
			EQ(d.held[i], want.held[i]);
		EQ(d.leased, want.leased);
		for (int i = 0; i < 200; i += 2) {
			struct task_change c = a_change(t[i].id, TF_STATUS | TF_HOLD | TF_ORDER);

			t[i].status = c.set.status = (enum task_status)(rand_r(&seed) % TASK_STATUS_COUNT);
			t[i].hold = c.set.hold = ST(t[i].status) & ST_QUEUED ? (enum hold)(rand_r(&seed) % HOLD_COUNT) : HOLD_NONE;
			t[i].priority = c.set.priority = (enum priority)(rand_r(&seed) % PRIO_COUNT);
			OKAY(change(T.s, &c, NULL, NULL));
		}
	}
}

static void stage_counts(void)
{
	int64_t n[7][TASK_STATUS_COUNT], want[7][TASK_STATUS_COUNT] = { { 0 } };
	char ex[ID_TEXT], other[ID_TEXT];
	struct task t[60];

	id_new(ex);
	id_new(other);
	OKAY(count_stages(ex, n));
	CU_ASSERT_EQUAL(memcmp(n, want, sizeof(n)), 0);
	for (int i = 0; i < 60; i++) {
		t[i] = a_task();
		set_id(t[i].execution_id, i % 10 == 9 ? other : ex);
		t[i].stage = 1 + i % 6;
		OKAY(insert(T.s, &t[i]));
		want[t[i].stage][TASK_PENDING] += i % 10 != 9;
	}
	OKAY(count_stages(ex, n));
	CU_ASSERT_EQUAL(memcmp(n, want, sizeof(n)), 0);
	for (int i = 0; i < 60; i++) {
		struct task_change c = a_change(t[i].id, TF_STATUS);

		c.set.status = (enum task_status)(i % TASK_STATUS_COUNT);
		OKAY(change(T.s, &c, NULL, NULL));
		if (i % 10 != 9) {
			want[t[i].stage][TASK_PENDING]--;
			want[t[i].stage][i % TASK_STATUS_COUNT]++;
		}
	}
	OKAY(count_stages(ex, n));
	CU_ASSERT_EQUAL(memcmp(n, want, sizeof(n)), 0);

	/* claims count too */
	struct task *out[60];
	char agent[ID_TEXT];
	int got;

	id_new(agent);
	struct claim c = a_claim(agent, 60);

	OKAY(store_tasks_claim(T.s, &c, &T.a, out, &got, &T.e));
	for (int i = 0; i < got; i++) {
		if (strcmp(out[i]->execution_id, ex))
			continue;
		want[out[i]->stage][TASK_PENDING]--;
		want[out[i]->stage][TASK_RUNNING]++;
	}
	CU_ASSERT_TRUE(got > 0);
	OKAY(count_stages(ex, n));
	CU_ASSERT_EQUAL(memcmp(n, want, sizeof(n)), 0);

	/* several in one question, in the order asked for */
	char nobody[ID_TEXT];
	struct stage_counts both[3];
	int64_t others = 0;

	id_new(nobody);
	OKAY(store_stage_counts(T.s, (const char *const[]){ other, nobody, ex }, 3, both, &T.e));
	CU_ASSERT_EQUAL(memcmp(both[2].n, want, sizeof(want)), 0);
	for (int i = 0; i < 7 * TASK_STATUS_COUNT; i++) {
		others += both[0].n[i / TASK_STATUS_COUNT][i % TASK_STATUS_COUNT];
		EQ(both[1].n[i / TASK_STATUS_COUNT][i % TASK_STATUS_COUNT], 0);
	}
	EQ(others, 6);
	OKAY(store_stage_counts(T.s, NULL, 0, NULL, &T.e));
}

static void finish(const char *agent, int64_t started, int64_t at, bool completed)
{
	struct task t = a_task();
	struct task_change c;

	t.status = TASK_RUNNING;
	set_id(t.agent_id, agent);
	t.started_at = started;
	OKAY(insert(T.s, &t));
	c = a_change(t.id, TF_STATUS | TF_COMPLETED | TF_AGENT);
	c.if_status = ST(TASK_RUNNING);
	c.set.status = completed ? TASK_COMPLETED : TASK_FAILED;
	c.set.completed_at = c.set.updated_at = at;
	set_id(c.set.agent_id, completed ? agent : "");	/* counted for who had it before */
	c.tally = completed ? TALLY_COMPLETED : TALLY_FAILED;
	OKAY(change(T.s, &c, NULL, NULL));
	EXPECT(change(T.s, &c, NULL, NULL), ERR_CONFLICT);	/* refused: not counted again */
}

/* Tallies may be written a moment after the change: wait until so many attempts are in them. */
static struct tally *read_tallies(const char *agent, int64_t from_hour, int attempts, int *n)
{
	struct tally *v;

	for (int tries = 0; ; tries++) {
		int64_t sum = 0;

		OKAY(store_tallies(T.s, agent, from_hour, &T.a, &v, n, &T.e));
		for (int i = 0; i < *n; i++)
			sum += v[i].completed + v[i].failed;
		if (sum >= attempts || tries == 500) {
			EQ(sum, attempts);
			return v;
		}
		usleep(10000);
	}
}

static void tallies(void)
{
	const int64_t hour = 3600000, h = 500000;
	char agent[2][ID_TEXT];
	struct tally *v;
	int n;

	id_new(agent[0]);
	id_new(agent[1]);
	OKAY(store_tallies(T.s, NULL, 0, &T.a, &v, &n, &T.e));
	EQ(n, 0);
	finish(agent[0], h * hour + 1000, h * hour + 1000, true);		/* 0 ms */
	finish(agent[0], h * hour + 1000, h * hour + 1003, true);		/* 3 ms: < 4, bucket 2 */
	finish(agent[0], h * hour + 1000, h * hour + 1004, true);		/* 4 ms: bucket 3 */
	finish(agent[0], (h - 3) * hour, h * hour + 5, true);			/* longer than all: the last */
	finish(agent[0], h * hour, h * hour + 70, false);
	finish(agent[0], (h + 1) * hour, (h + 1) * hour + 1, true);		/* the next hour; bucket 1 */
	finish(agent[1], h * hour, h * hour + 100, false);
	v = read_tallies(agent[0], 0, 6, &n);
	EQ(n, 2);
	STR(v[0].agent_id, agent[0]);
	EQ(v[0].hour, h);
	EQ(v[0].completed, 4);
	EQ(v[0].failed, 1);
	EQ(v[0].duration_ms, 3 + 4 + 3 * hour + 5);
	for (int i = 0; i < TALLY_BUCKETS; i++)
		EQ(v[0].bucket[i], i == 0 || i == 2 || i == 3 || i == TALLY_BUCKETS - 1);
	EQ(v[1].hour, h + 1);
	EQ(v[1].completed, 1);
	EQ(v[1].bucket[1], 1);
	OKAY(store_tallies(T.s, agent[0], h + 1, &T.a, &v, &n, &T.e));
	EQ(n, 1);
	EQ(v[0].hour, h + 1);
	v = read_tallies(NULL, h, 7, &n);
	EQ(n, 3);
	EQ(v[2].hour, h + 1);
	OKAY(store_tallies(T.s, NULL, h + 2, &T.a, &v, &n, &T.e));
	EQ(n, 0);
}

/* A hundred completions in one call add up. */
static void tallies_in_bulk(void)
{
	enum { N = 100 };
	struct task t[N];
	struct task_change c[N];
	struct store_op ops[N];
	struct store_unit u = { .ops = ops, .n = N, .arena = &T.a, .error = &T.e };
	char agent[4][ID_TEXT];
	int64_t now = now_ms() / 3600000 * 3600000 + 1000;
	struct tally *v;
	int n, completed = 0;

	for (int i = 0; i < 4; i++)
		id_new(agent[i]);
	for (int i = 0; i < N; i++) {
		t[i] = a_task();
		t[i].status = TASK_RUNNING;
		t[i].started_at = now;
		set_id(t[i].agent_id, agent[i % 4]);
		ops[i] = (struct store_op){ .kind = SOP_TASK_INSERT, .task = &t[i] };
	}
	OKAY(store_apply_each(T.s, &u));
	for (int i = 0; i < N; i++) {
		c[i] = a_change(t[i].id, TF_STATUS | TF_COMPLETED);
		c[i].set.status = TASK_COMPLETED;
		c[i].set.completed_at = now + 10;
		c[i].tally = TALLY_COMPLETED;
		ops[i] = (struct store_op){ .kind = SOP_TASK_CHANGE, .change = &c[i] };
	}
	OKAY(store_apply_each(T.s, &u));
	v = read_tallies(NULL, 0, N, &n);
	EQ(n, 4);
	for (int i = 0; i < n; i++) {
		completed += (int)v[i].completed;
		EQ(v[i].completed, 25);
		EQ(v[i].duration_ms, 250);
		EQ(v[i].bucket[4], 25);
	}
	EQ(completed, N);
}

const struct contract_case cases_times[] = {
	{ "nothing is due", nothing_is_due },
	{ "holds", holds },
	{ "leases and timeouts", leases_and_timeouts },
	{ "deadlines", deadlines },
	{ "waiting for a slot", slot_waiters },
	{ "waiting for dependencies", dep_waiters },
	{ "depth of the queue", depth_of_the_queue },
	{ "counts by stage", stage_counts },
	{ "tallies", tallies },
	{ "tallies in bulk", tallies_in_bulk },
	{ NULL, NULL },
};
