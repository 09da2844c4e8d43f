// SPDX-License-Identifier: MIT
/* Units of work: all of it or nothing, and many at once. */
#include "contract.h"

static struct store_unit unit(struct store_op *ops, size_t n)
{
	return (struct store_unit){ .ops = ops, .n = n, .arena = &T.a, .error = &T.e };
}

static struct record *a_record(enum record_kind kind, const char *id, const char *s1)
{
	struct record *r = arena_new(&T.a, struct record);

	*r = (struct record){ .kind = kind, .id = id, .s1 = s1, .s2 = "", .s3 = "", .body = "{}" };
	return r;
}

static bool has_record(enum record_kind kind, const char *id)
{
	struct record *r;

	OKAY(store_rec_get(T.s, kind, id, &T.a, &r, &T.e));
	return r != NULL;
}

static void all_of_it(void)
{
	struct task a = a_task(), b = a_task();
	struct task_change c = a_change(a.id, TF_STATUS);
	struct store_op ops[5] = {
		{ .kind = SOP_TASK_INSERT, .task = &a },
		{ .kind = SOP_TASK_INSERT, .task = &b },
		{ .kind = SOP_TASK_CHANGE, .change = &c, .want_row = true },
		{ .kind = SOP_REC_PUT, .rec = a_record(REC_OUTBOX, "o1", "webhook"), .expect_rev = REV_ABSENT },
		{ .kind = SOP_REC_PUT, .rec = a_record(REC_SETTING, "k", ""), .expect_rev = REV_ANY },
	};
	struct store_unit u = unit(ops, 5);

	c.set.status = TASK_ASSIGNED;
	OKAY(store_apply(T.s, &u));
	for (int i = 0; i < 5; i++)
		EQ(ops[i].result, SOP_DONE);
	EQ(ops[2].row->status, TASK_ASSIGNED);
	EQ(ops[3].rev, 1);
	EQ(get(T.s, a.id)->status, TASK_ASSIGNED);
	CU_ASSERT_PTR_NOT_NULL(get(T.s, b.id));
	CU_ASSERT_TRUE(has_record(REC_OUTBOX, "o1"));
	CU_ASSERT_TRUE(has_record(REC_SETTING, "k"));
}

/* Whichever op is refused, and wherever it stands, nothing of the unit happens. */
static void or_nothing(void)
{
	struct task old = a_task();
	struct record *rec = a_record(REC_AGENT, "agent", "worker");
	char ex[ID_TEXT];

	id_new(ex);
	set_id(old.execution_id, ex);
	old.stage = 1;
	OKAY(insert(T.s, &old));
	OKAY(put(T.s, rec, REV_ABSENT, NULL, NULL));
	for (int bad = 0; bad < 5; bad++) {
		for (int at = 0; at < 4; at++) {
			struct task n = a_task();
			struct task_change ok = a_change(old.id, TF_STATUS | TF_FENCE_BUMP), no = ok;
			struct store_op ops[4] = {
				{ .kind = SOP_TASK_INSERT, .task = &n },
				{ .kind = SOP_TASK_CHANGE, .change = &ok, .want_row = true },
				{ .kind = SOP_REC_PUT, .rec = a_record(REC_OUTBOX, "out", ""), .expect_rev = REV_ABSENT },
				{ .kind = SOP_REC_PUT, .rec = a_record(REC_AGENT, "agent", "changed"), .expect_rev = 1 },
			};
			enum store_op_result want = SOP_REFUSED;
			struct store_unit u = unit(ops, 4);
			int64_t counts[7][TASK_STATUS_COUNT];
			struct record *r;

			set_id(n.execution_id, ex);
			n.stage = 1;
			ok.set.status = TASK_RUNNING;
			no.if_fence = 77;
			if (bad == 0) {
				ops[at] = (struct store_op){ .kind = SOP_TASK_CHANGE, .change = &no };
			} else if (bad == 1) {
				ops[at] = (struct store_op){ .kind = SOP_TASK_INSERT, .task = &old };
				want = SOP_EXISTS;
			} else if (bad == 2) {
				ops[at] = (struct store_op){ .kind = SOP_REC_PUT, .rec = a_record(REC_AGENT, "agent", ""),
							     .expect_rev = 9 };
			} else if (bad == 3) {
				ops[at] = (struct store_op){ .kind = SOP_REC_DELETE, .rec = a_record(REC_AGENT, "none", ""),
							     .expect_rev = REV_ANY };
				want = SOP_MISSING;
			} else {
				ops[at] = (struct store_op){ .kind = SOP_REC_PUT, .rec = a_record(REC_AGENT, "agent", ""),
							     .expect_rev = REV_ABSENT };
				want = SOP_EXISTS;
			}
			EXPECT(store_apply(T.s, &u), ERR_CONFLICT);
			for (int i = 0; i < 4; i++) {
				EQ(ops[i].result, i == at ? want : SOP_SKIPPED);
				CU_ASSERT_PTR_NULL(ops[i].row);
			}
			CU_ASSERT_PTR_NULL(get(T.s, n.id));
			EQ(get(T.s, old.id)->status, TASK_PENDING);
			EQ(get(T.s, old.id)->fence, 0);
			CU_ASSERT_FALSE(has_record(REC_OUTBOX, "out"));
			OKAY(store_rec_get(T.s, REC_AGENT, "agent", &T.a, &r, &T.e));
			STR(r->s1, "worker");
			EQ(r->rev, 1);
			OKAY(count_stages(ex, counts));
			EQ(counts[1][TASK_PENDING], 1);
			EQ(counts[1][TASK_RUNNING], 0);
		}
	}
}

/* A lane that came with a unit that was undone is still made known by the next task of that lane. */
static bool sig_is(void *arg, int64_t lane, const char *sig)
{
	(void)lane;
	return sig && !strcmp(sig, arg);
}

static void lanes_of_undone_units(void)
{
	struct task a = a_task(), b = a_task();
	struct task_change no = a_change(a.id, TF_STATUS);
	struct store_op ops[2] = { { .kind = SOP_TASK_INSERT, .task = &a }, { .kind = SOP_TASK_CHANGE, .change = &no } };
	struct store_unit u = unit(ops, 2);
	char agent[ID_TEXT];
	struct task *out[4];
	int n;

	a.lane = b.lane = 4711;
	a.lane_sig = b.lane_sig = "{\"type\":\"rare\"}";
	no.if_fence = 5;
	EXPECT(store_apply(T.s, &u), ERR_CONFLICT);
	OKAY(insert(T.s, &b));
	contract_reopen();
	id_new(agent);

	struct claim c = a_claim(agent, 4);
	char want[] = "{\"type\":\"rare\"}";

	c.fits = sig_is;
	c.arg = want;
	OKAY(store_tasks_claim(T.s, &c, &T.a, out, &n, &T.e));
	EQ(n, 1);
	STR(out[0]->id, b.id);
}

static void each_on_its_own(void)
{
	struct task t[20], missing = a_task();
	struct task_change c[20];
	struct store_op ops[41];
	struct store_unit u = unit(ops, 20);

	for (int i = 0; i < 20; i++) {
		t[i] = a_task();
		ops[i] = (struct store_op){ .kind = SOP_TASK_INSERT, .task = &t[i] };
	}
	ops[7].task = &t[3];	/* the same id twice in one call */
	OKAY(store_apply_each(T.s, &u));
	for (int i = 0; i < 20; i++)
		EQ(ops[i].result, i == 7 ? SOP_EXISTS : SOP_DONE);
	for (int i = 0; i < 20; i++) {
		c[i] = a_change(i == 11 ? missing.id : t[i].id, TF_STATUS | TF_FENCE_BUMP);
		c[i].set.status = TASK_RUNNING;
		c[i].if_fence = i % 5 ? 0 : 3;
		ops[i] = (struct store_op){ .kind = SOP_TASK_CHANGE, .change = &c[i], .want_row = i % 2 };
	}
	for (int i = 20; i < 40; i++)
		ops[i] = (struct store_op){ .kind = SOP_REC_PUT, .expect_rev = REV_ABSENT,
					    .rec = a_record(REC_SLOT, i < 30 ? "same" : arena_printf(&T.a, "s%d", i), "") };
	ops[40] = (struct store_op){ .kind = SOP_REC_DELETE, .rec = a_record(REC_SLOT, "same", ""), .expect_rev = 1 };
	u.n = 41;
	OKAY(store_apply_each(T.s, &u));
	for (int i = 0; i < 20; i++) {
		bool gone = i == 11 || i == 7;

		EQ(ops[i].result, gone ? SOP_MISSING : i % 5 ? SOP_DONE : SOP_REFUSED);
		CU_ASSERT_EQUAL(ops[i].row != NULL, i % 2 && !gone);
		if (!gone)
			EQ(get(T.s, t[i].id)->status, i % 5 ? TASK_RUNNING : TASK_PENDING);
	}
	EQ(ops[20].result, SOP_DONE);
	for (int i = 21; i < 30; i++)
		EQ(ops[i].result, SOP_EXISTS);
	for (int i = 30; i < 41; i++)
		EQ(ops[i].result, SOP_DONE);
	CU_ASSERT_FALSE(has_record(REC_SLOT, "same"));
}

/* A thousand at once, as batch submit and batch complete do. */
static void a_thousand(void)
{
	enum { N = 1000 };
	struct task *t = arena_calloc(&T.a, N, sizeof(*t));
	struct task_change *c = arena_calloc(&T.a, N, sizeof(*c));
	struct store_op *ops = arena_calloc(&T.a, N, sizeof(*ops));
	struct store_unit u = unit(ops, N);
	struct queue_depth depth;

	for (int i = 0; i < N; i++) {
		t[i] = a_task();
		ops[i] = (struct store_op){ .kind = SOP_TASK_INSERT, .task = &t[i] };
	}
	OKAY(store_apply_each(T.s, &u));
	OKAY(store_queue_depth(T.s, &depth, &T.e));
	EQ(depth.ready[PRIO_MEDIUM], N);
	for (int i = 0; i < N; i++) {
		c[i] = a_change(t[i].id, TF_STATUS | TF_RESULT | TF_COMPLETED);
		c[i].set.status = TASK_COMPLETED;
		c[i].set.result = "{\"ok\":true}";
		c[i].set.completed_at = now_ms();
		ops[i] = (struct store_op){ .kind = SOP_TASK_CHANGE, .change = &c[i], .want_row = true };
	}
	OKAY(store_apply_each(T.s, &u));
	for (int i = 0; i < N; i++) {
		EQ(ops[i].result, SOP_DONE);
		EQ(ops[i].row->status, TASK_COMPLETED);
	}
	OKAY(store_queue_depth(T.s, &depth, &T.e));
	EQ(depth.ready[PRIO_MEDIUM], 0);
}

static void nothing_to_do(void)
{
	struct store_unit u = unit(NULL, 0);

	OKAY(store_apply(T.s, &u));
	OKAY(store_apply_each(T.s, &u));
}

/* Lazy ops are seen at once, alone and together with others. */
static void lazy_ops(void)
{
	struct task t = a_task();
	struct task_change c = a_change(t.id, TF_LEASE | TF_PROGRESS);
	struct store_op op = { .kind = SOP_TASK_CHANGE, .change = &c, .lazy = true };
	struct store_unit u = unit(&op, 1);

	OKAY(insert(T.s, &t));
	for (int i = 1; i <= 20; i++) {
		struct task more = a_task();

		c.set.lease_expires_at = i;
		c.set.progress = i / 20.0;
		OKAY(store_apply(T.s, &u));
		EQ(get(T.s, t.id)->lease_expires_at, i);
		OKAY(insert(T.s, &more));
		CU_ASSERT_PTR_NOT_NULL(get(T.s, more.id));
	}
	c.if_fence = 9;
	EXPECT(store_apply(T.s, &u), ERR_CONFLICT);
	EQ(op.result, SOP_REFUSED);
	contract_reopen();
	EQ(get(T.s, t.id)->lease_expires_at, 20);
}

/* --- many threads ------------------------------------------------------------------------------------------- */

#define THREADS 16
#define ROUNDS 40

struct racer {
	pthread_t thread;
	const char *task;
	int inserted, won, lost, other;
};

/* Insert tasks of its own, and race for one that all know. */
static void *race(void *arg)
{
	struct racer *r = arg;
	struct arena a;
	struct error e;

	arena_init(&a);
	error_init(&e, &a);
	for (int i = 0; i < ROUNDS; i++) {
		struct task t = a_task();
		struct task_change c = a_change(r->task, TF_FENCE_BUMP);
		struct store_op ins = { .kind = SOP_TASK_INSERT, .task = &t };
		struct store_op inc = { .kind = SOP_TASK_CHANGE, .change = &c };
		struct store_unit u = { .ops = &ins, .n = 1, .arena = &a, .error = &e };

		r->inserted += store_apply(T.s, &u) == OK;
		c.if_fence = i;
		u.ops = &inc;
		for (;;) {
			enum err err = store_apply(T.s, &u);
			struct task *now;

			if (err == OK) {
				r->won++;
				break;
			}
			if (err != ERR_CONFLICT || store_task_get(T.s, r->task, &a, &now, &e)) {
				r->other++;
				break;
			}
			if (now->fence > i) {
				r->lost++;
				break;
			}
		}
		arena_reset(&a);
	}
	arena_release(&a);
	return NULL;
}

static void raced_by_threads(void)
{
	struct racer r[THREADS];
	struct task t = a_task();
	struct task_filter f = { .limit = 500, .cols = TASK_COLS_BRIEF };
	struct task_page page;
	int won = 0, inserted = 0, other = 0, listed = 0;

	OKAY(insert(T.s, &t));
	for (int i = 0; i < THREADS; i++) {
		r[i] = (struct racer){ .task = t.id };
		pthread_create(&r[i].thread, NULL, race, &r[i]);
	}
	for (int i = 0; i < THREADS; i++) {
		pthread_join(r[i].thread, NULL);
		won += r[i].won;
		inserted += r[i].inserted;
		other += r[i].other;
	}
	EQ(other, 0);
	EQ(won, ROUNDS);	/* each step of the fence was won by exactly one */
	EQ(inserted, THREADS * ROUNDS);
	EQ(get(T.s, t.id)->fence, ROUNDS);
	do {
		OKAY(store_tasks_list(T.s, &f, &T.a, &page, &T.e));
		listed += page.n;
		f.after = page.last;
	} while (page.more);
	EQ(listed, THREADS * ROUNDS + 1);
}

const struct contract_case cases_units[] = {
	{ "all of a unit", all_of_it },
	{ "or nothing of it", or_nothing },
	{ "lanes of undone units", lanes_of_undone_units },
	{ "each on its own", each_on_its_own },
	{ "a thousand at once", a_thousand },
	{ "empty units", nothing_to_do },
	{ "lazy ops", lazy_ops },
	{ "compare and set raced by threads", raced_by_threads },
	{ NULL, NULL },
};
