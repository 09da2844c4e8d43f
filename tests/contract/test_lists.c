// SPDX-License-Identifier: MIT
/* Lists of tasks: every filter against a model, cursors, bounds. */
#include "contract.h"

#include <stdatomic.h>

#define N 400
#define KINDS 3

static char execution[KINDS][ID_TEXT], pipeline[KINDS][ID_TEXT], agent[KINDS][ID_TEXT];
static const char *const types[KINDS] = { "ingest", "clean", "export" };
static const char *const creators[KINDS] = { "alice", "bob", "x:'\"" };

static void make_ids(void)
{
	for (int i = 0; i < KINDS; i++) {
		id_new(execution[i]);
		id_new(pipeline[i]);
		id_new(agent[i]);
	}
}

/* Spread over four seconds, so that many tasks share a millisecond's neighbourhood. */
static struct task random_task(int64_t base, unsigned *seed)
{
	struct task t = a_task();
	int k = rand_r(seed) % KINDS;

	t.created_at = base + rand_r(seed) % 4000;
	t.updated_at = t.created_at + rand_r(seed) % 1000;
	id_of_time(t.created_at, t.id);
	t.type = types[rand_r(seed) % KINDS];
	t.created_by = creators[rand_r(seed) % KINDS];
	t.status = (enum task_status)(rand_r(seed) % TASK_STATUS_COUNT);
	t.priority = (enum priority)(rand_r(seed) % PRIO_COUNT);
	if (ST(t.status) & ST_QUEUED)
		t.hold = (enum hold)(rand_r(seed) % HOLD_COUNT);
	if (rand_r(seed) % 2) {
		set_id(t.execution_id, execution[k]);
		set_id(t.pipeline_id, pipeline[k]);
		t.stage = 1 + rand_r(seed) % 3;
		t.stage_seq = rand_r(seed) % 50;
	}
	if (rand_r(seed) % 2)
		set_id(t.agent_id, agent[rand_r(seed) % KINDS]);
	return t;
}

static bool matches(const struct task_filter *f, const struct task *t)
{
	return (!f->status || f->status & ST(t->status)) && (!f->priority || f->priority & 1U << t->priority) &&
	       (!f->type || !strcmp(f->type, t->type)) &&
	       (!f->pipeline_id || !strcmp(f->pipeline_id, t->pipeline_id)) &&
	       (!f->execution_id || !strcmp(f->execution_id, t->execution_id)) &&
	       (!f->agent_id || !strcmp(f->agent_id, t->agent_id)) &&
	       (!f->created_by || !strcmp(f->created_by, t->created_by)) && (!f->stage || f->stage == t->stage) &&
	       (!f->created_from || t->created_at >= f->created_from) &&
	       (!f->created_to || t->created_at < f->created_to) &&
	       (!f->updated_from || t->updated_at >= f->updated_from) && (!f->hold || f->hold & 1U << t->hold);
}

static int by_id(const void *a, const void *b)
{
	return strcmp(((const struct task *)a)->id, ((const struct task *)b)->id);
}

static int by_seq(const void *a, const void *b)
{
	const struct task *x = a, *y = b;

	return x->stage_seq != y->stage_seq ? (x->stage_seq > y->stage_seq) - (x->stage_seq < y->stage_seq) : by_id(a, b);
}

/* Follow the pages to their end; every task that matches comes once, in order. */
static void compare(struct task_filter f, const struct task *m, int n)
{
	bool up = f.ascending || f.by_stage_seq;
	int at = up ? 0 : n - 1, step = up ? 1 : -1, rounds = 0;
	struct task_page page;

	do {
		OKAY(store_tasks_list(T.s, &f, &T.a, &page, &T.e));
		CU_ASSERT_TRUE_FATAL(page.n <= f.limit);
		for (int i = 0; i < page.n; i++, at += step) {
			while (at >= 0 && at < n && !matches(&f, &m[at]))
				at += step;
			CU_ASSERT_TRUE_FATAL(at >= 0 && at < n);
			STR(page.items[i]->id, m[at].id);
			EQ(page.items[i]->status, m[at].status);
			CU_ASSERT_EQUAL(page.items[i]->parameters != NULL, f.cols == TASK_COLS_ALL);
			f.after_seq = page.items[i]->stage_seq;
		}
		if (page.n == f.limit)
			STR(page.last, page.items[page.n - 1]->id);
		CU_ASSERT_TRUE_FATAL(!page.more || page.last[0]);
		f.after = page.last;
		CU_ASSERT_TRUE_FATAL(++rounds < 2 * n);
	} while (page.more);
	while (at >= 0 && at < n && !matches(&f, &m[at]))
		at += step;
	CU_ASSERT_TRUE_FATAL(at < 0 || at >= n);
}

static void fill(struct task *m, int n, int64_t base, unsigned *seed)
{
	struct store_op *ops = arena_calloc(&T.a, (size_t)n, sizeof(*ops));
	struct store_unit u = { .ops = ops, .n = (size_t)n, .arena = &T.a, .error = &T.e };

	make_ids();
	for (int i = 0; i < n; i++) {
		m[i] = random_task(base, seed);
		ops[i] = (struct store_op){ .kind = SOP_TASK_INSERT, .task = &m[i] };
	}
	OKAY(store_apply_each(T.s, &u));
	qsort(m, (size_t)n, sizeof(*m), by_id);
}

static void one_filter_at_a_time(void)
{
	struct task *m = arena_calloc(&T.a, N, sizeof(*m));
	int64_t base = now_ms() - 100000;
	unsigned seed = 1;

	fill(m, N, base, &seed);
	for (int up = 0; up < 2; up++) {
		struct task_filter all = { .limit = 37, .ascending = up, .cols = up ? TASK_COLS_ALL : TASK_COLS_BRIEF }, f;

		compare(all, m, N);
		for (int i = 0; i < TASK_STATUS_COUNT; i++) {
			f = all;
			f.status = ST(i);
			compare(f, m, N);
		}
		for (int i = 0; i < HOLD_COUNT; i++) {
			f = all;
			f.hold = 1U << i;
			compare(f, m, N);
			f.priority = 1U << (i % PRIO_COUNT);
			compare(f, m, N);
			f.hold = 0;
			compare(f, m, N);
		}
		for (int i = 0; i < KINDS; i++) {
			f = all;
			f.type = types[i];
			compare(f, m, N);
			f = all;
			f.created_by = creators[i];
			compare(f, m, N);
			f = all;
			f.pipeline_id = pipeline[i];
			compare(f, m, N);
			f = all;
			f.execution_id = execution[i];
			compare(f, m, N);
			f.stage = 1 + i;
			compare(f, m, N);
			f = all;
			f.agent_id = agent[i];
			compare(f, m, N);
			f = all;
			f.created_from = base + 1000 * i;
			compare(f, m, N);
			f.created_to = base + 1000 * i + 500;
			compare(f, m, N);
			f.created_from = 0;
			compare(f, m, N);
			f = all;
			f.updated_from = base + 2000;
			compare(f, m, N);
		}
		f = all;
		f.type = "no such type";
		compare(f, m, N);
		f = all;
		f.agent_id = m[0].id;
		compare(f, m, N);
		f.agent_id = "not an id";
		compare(f, m, N);
	}
}

static void filters_together(void)
{
	struct task *m = arena_calloc(&T.a, N, sizeof(*m));
	int64_t base = now_ms() - 100000;
	unsigned seed = 2;

	fill(m, N, base, &seed);
	for (int i = 0; i < 400; i++) {
		struct task_filter f = { .limit = 1 + rand_r(&seed) % 60, .ascending = rand_r(&seed) % 2,
					 .cols = TASK_COLS_BRIEF };
		int k = rand_r(&seed) % KINDS;

		if (rand_r(&seed) % 2)
			f.status = (uint32_t)rand_r(&seed) % (1U << TASK_STATUS_COUNT);
		if (rand_r(&seed) % 3 == 0)
			f.priority = (uint32_t)rand_r(&seed) % (1U << PRIO_COUNT);
		if (rand_r(&seed) % 4 == 0)
			f.hold = (uint32_t)rand_r(&seed) % (1U << HOLD_COUNT);
		if (rand_r(&seed) % 3 == 0)
			f.type = types[rand_r(&seed) % KINDS];
		if (rand_r(&seed) % 4 == 0)
			f.created_by = creators[rand_r(&seed) % KINDS];
		if (rand_r(&seed) % 4 == 0)
			f.agent_id = agent[rand_r(&seed) % KINDS];
		if (rand_r(&seed) % 4 == 0)
			f.pipeline_id = pipeline[k];
		if (rand_r(&seed) % 4 == 0)
			f.execution_id = execution[k];
		if (rand_r(&seed) % 4 == 0)
			f.stage = 1 + rand_r(&seed) % 3;
		if (rand_r(&seed) % 4 == 0)
			f.created_from = base + rand_r(&seed) % 4000;
		if (rand_r(&seed) % 4 == 0)
			f.created_to = base + rand_r(&seed) % 4000;
		if (rand_r(&seed) % 8 == 0)
			f.updated_from = base + rand_r(&seed) % 4000;
		compare(f, m, N);
	}
}

static void in_the_order_of_the_fan_out(void)
{
	struct task *m = arena_calloc(&T.a, N, sizeof(*m));
	unsigned seed = 3;

	fill(m, N, now_ms() - 100000, &seed);
	qsort(m, N, sizeof(*m), by_seq);
	for (int limit = 1; limit < 100; limit += 13) {
		for (int i = 0; i < KINDS; i++) {
			for (int stage = 1; stage <= 3; stage++) {
				struct task_filter f = { .execution_id = execution[i], .stage = stage, .by_stage_seq = true,
							 .after_seq = -1, .limit = limit };

				compare(f, m, N);
				f.status = ST_ENDED;
				compare(f, m, N);
			}
		}
	}
}

/* Pages while others insert: what was there at the start comes exactly once. */
struct busy {
	pthread_t thread;
	atomic_bool stop;
	int inserted, errors;
};

static void *keep_inserting(void *arg)
{
	struct busy *b = arg;
	struct arena a;
	struct error e;

	arena_init(&a);
	error_init(&e, &a);
	while (!b->stop && b->inserted < 20000) {
		struct task t = a_task();
		struct store_op op = { .kind = SOP_TASK_INSERT, .task = &t };
		struct store_unit u = { .ops = &op, .n = 1, .arena = &a, .error = &e };

		b->errors += store_apply(T.s, &u) != OK;
		b->inserted++;
		arena_reset(&a);
	}
	arena_release(&a);
	return NULL;
}

static int by_text(const void *a, const void *b)
{
	return memcmp(a, b, ID_TEXT);
}

static void cursors_under_inserts(void)
{
	static char ids[1000][ID_TEXT];
	static bool seen[1000];

	for (int i = 0; i < 1000; i++) {
		struct task t = a_task();

		set_id(ids[i], t.id);
		OKAY(insert(T.s, &t));
	}
	for (int up = 0; up < 2; up++) {
		for (int by_status = 0; by_status < 2; by_status++) {
			struct task_filter f = { .limit = 7, .ascending = up, .cols = TASK_COLS_BRIEF,
						 .status = by_status ? ST(TASK_PENDING) : 0 };
			struct busy b = { .inserted = 0 };
			struct task_page page;
			char last[ID_TEXT] = "";
			int found = 0;

			memset(seen, 0, sizeof(seen));
			pthread_create(&b.thread, NULL, keep_inserting, &b);
			do {
				OKAY(store_tasks_list(T.s, &f, &T.a, &page, &T.e));
				for (int i = 0; i < page.n; i++) {
					char (*p)[ID_TEXT] = bsearch(page.items[i]->id, ids, 1000, ID_TEXT, by_text);

					if (last[0])	/* strictly onward: never twice */
						CU_ASSERT_TRUE(up ? strcmp(page.items[i]->id, last) > 0 :
								    strcmp(page.items[i]->id, last) < 0);
					set_id(last, page.items[i]->id);
					if (p && !seen[p - ids]) {
						seen[p - ids] = true;
						found++;
					}
				}
				f.after = page.last;
			} while (page.more && found < 1000);
			b.stop = true;
			pthread_join(b.thread, NULL);
			EQ(found, 1000);
			EQ(b.errors, 0);
		}
	}
}

/* Two filters that are common, and hardly ever met together: the walk stops in time and can go on. */
static void scan_bound(void)
{
	enum { MANY = STORE_SCAN_MAX * 3 / 2, BATCH = 1000 };
	struct task *t = arena_calloc(&T.a, BATCH, sizeof(*t));
	struct store_op *ops = arena_calloc(&T.a, BATCH, sizeof(*ops));
	struct task_filter f = { .type = "a", .created_by = "bob", .limit = 10, .cols = TASK_COLS_BRIEF };
	char rare[ID_TEXT] = "";

	for (int done = 0; done < MANY; done += BATCH) {
		struct store_unit u = { .ops = ops, .n = BATCH, .arena = &T.a, .error = &T.e };

		for (int i = 0; i < BATCH; i++) {
			t[i] = a_task();
			t[i].type = i % 2 ? "a" : "b";
			t[i].created_by = i % 2 ? "alice" : "bob";
			if (done == 0 && i == 1) {
				t[i].created_by = "bob";
				set_id(rare, t[i].id);
			}
			ops[i] = (struct store_op){ .kind = SOP_TASK_INSERT, .task = &t[i] };
		}
		OKAY(store_apply_each(T.s, &u));
	}
	for (int up = 0; up < 2; up++) {
		struct task_page page;
		int found = 0, rounds = 0;

		f.ascending = up;
		f.after = NULL;
		do {
			OKAY(store_tasks_list(T.s, &f, &T.a, &page, &T.e));
			for (int i = 0; i < page.n; i++)
				STR(page.items[i]->id, rare);
			found += page.n;
			CU_ASSERT_TRUE_FATAL(!page.more || page.last[0]);
			f.after = page.last;
			CU_ASSERT_TRUE_FATAL(++rounds < 1000);
		} while (page.more);
		EQ(found, 1);
	}
}

/* The filter and the cursor follow what a task is now. */
static void after_changes(void)
{
	struct task t[10];
	struct task_filter f = { .status = ST(TASK_RUNNING), .limit = 10 };
	struct task_page page;

	make_ids();
	for (int i = 0; i < 10; i++) {
		t[i] = a_task();
		OKAY(insert(T.s, &t[i]));
	}
	for (int i = 0; i < 10; i++) {
		struct task_change c = a_change(t[i].id, TF_STATUS | TF_AGENT | TF_ORDER);

		c.set.status = i % 2 ? TASK_RUNNING : TASK_FAILED;
		c.set.priority = PRIO_CRITICAL;
		set_id(c.set.agent_id, agent[i % 2]);
		OKAY(change(T.s, &c, NULL, NULL));
	}
	OKAY(store_tasks_list(T.s, &f, &T.a, &page, &T.e));
	EQ(page.n, 5);
	CU_ASSERT_FALSE(page.more);
	f.status = 0;
	f.agent_id = agent[0];
	OKAY(store_tasks_list(T.s, &f, &T.a, &page, &T.e));
	EQ(page.n, 5);
	STR(page.items[0]->id, t[8].id);
	f.agent_id = NULL;
	f.priority = 1U << PRIO_MEDIUM;
	OKAY(store_tasks_list(T.s, &f, &T.a, &page, &T.e));
	EQ(page.n, 0);
	f.priority = 1U << PRIO_CRITICAL;
	OKAY(store_tasks_list(T.s, &f, &T.a, &page, &T.e));
	EQ(page.n, 10);
	f.limit = 0;
	OKAY(store_tasks_list(T.s, &f, &T.a, &page, &T.e));
	EQ(page.n, 0);
}

const struct contract_case cases_lists[] = {
	{ "one filter at a time", one_filter_at_a_time },
	{ "filters together", filters_together },
	{ "in the order of the fan-out", in_the_order_of_the_fan_out },
	{ "cursors under inserts", cursors_under_inserts },
	{ "scan bound of tasks", scan_bound },
	{ "lists after changes", after_changes },
	{ NULL, NULL },
};
