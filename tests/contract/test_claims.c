// SPDX-License-Identifier: MIT
/* Claims: order, lanes, conditions, and that nothing is claimed twice. */
#include "contract.h"

#include <unistd.h>

static char agent[ID_TEXT];

static struct task lane_task(int64_t lane, int64_t order_key)
{
	struct task t = a_task();

	t.lane = lane;
	t.lane_sig = arena_printf(&T.a, "{\"lane\":%lld}", (long long)lane);
	t.order_key = order_key;
	return t;
}

static void what_a_claim_changes(void)
{
	struct task t = a_task();
	struct task *out[8], *row;
	struct claim c;
	int n;

	id_new(agent);
	t.message = "kept";
	t.error = "{\"code\":\"kept\"}";
	t.result = "[\"kept\"]";
	t.progress = 0.5;
	t.attempt = 2;
	t.fence = 6;
	t.parameters = "{\"p\":1}";
	t.dependencies = "[]";
	OKAY(insert(T.s, &t));
	c = a_claim(agent, 8);
	c.lease_until = 61000;
	int64_t before = now_ms();

	OKAY(store_tasks_claim(T.s, &c, &T.a, out, &n, &T.e));
	EQ(n, 1);
	row = get(T.s, t.id);
	for (int i = 0; i < 2; i++, row = out[0]) {
		STR(row->id, t.id);
		EQ(row->status, TASK_RUNNING);
		EQ(row->hold, HOLD_NONE);
		EQ(row->fence, 7);
		EQ(row->attempt, 3);
		STR(row->agent_id, agent);
		CU_ASSERT(row->assigned_at >= before && row->assigned_at <= now_ms());
		EQ(row->started_at, row->assigned_at);
		EQ(row->updated_at, row->assigned_at);
		EQ(row->lease_expires_at, 61000);
		CU_ASSERT_EQUAL(row->progress, 0);
		STR(row->message, "kept");
		STR(row->error, t.error);
		STR(row->result, t.result);
		STR(row->parameters, t.parameters);
		STR(row->dependencies, "[]");
		STR(row->type, "work");
		EQ(row->created_at, t.created_at);
	}
	OKAY(store_tasks_claim(T.s, &c, &T.a, out, &n, &T.e));
	EQ(n, 0);
}

static void only_claimable(void)
{
	char good[ID_TEXT] = "";
	struct task *out[100];
	int n;

	id_new(agent);
	for (int st = 0; st < TASK_STATUS_COUNT; st++) {
		for (int hold = 0; hold < HOLD_COUNT; hold++) {
			struct task t = a_task();

			t.status = (enum task_status)st;
			t.hold = (enum hold)hold;
			t.due_at = 1;
			OKAY(insert(T.s, &t));
			if (st == TASK_PENDING && hold == HOLD_NONE)
				set_id(good, t.id);
		}
	}
	struct claim c = a_claim(agent, 100);

	OKAY(store_tasks_claim(T.s, &c, &T.a, out, &n, &T.e));
	EQ(n, 1);
	STR(out[0]->id, good);
}

static void order_over_lanes(void)
{
	struct task *out[200];
	int64_t last = INT64_MIN;
	unsigned seed = 7;
	int n, total = 0;

	id_new(agent);
	for (int i = 0; i < 300; i++) {
		struct task t = lane_task(rand_r(&seed) % 9 - 4, (int64_t)rand_r(&seed) % 100000 - 50000);

		OKAY(insert(T.s, &t));
	}
	for (;;) {
		struct claim c = a_claim(agent, 1 + rand_r(&seed) % 50);

		OKAY(store_tasks_claim(T.s, &c, &T.a, out, &n, &T.e));
		if (!n)
			break;
		CU_ASSERT_TRUE_FATAL(n <= c.max);
		if (total + n < 300)
			EQ(n, c.max);
		for (int i = 0; i < n; i++) {
			CU_ASSERT_TRUE_FATAL(out[i]->order_key >= last);
			last = out[i]->order_key;
		}
		total += n;
	}
	EQ(total, 300);
}

/* New, smaller keys go first; a task that is given back or moved takes its new place. */
static void order_changes(void)
{
	struct task a = lane_task(1, 100), b = lane_task(2, 200), c = lane_task(1, 300), d = lane_task(3, 50);
	struct task_change later = a_change(a.id, TF_ORDER), back = a_change("", TF_STATUS | TF_AGENT | TF_LEASE);
	struct task *out[4];
	struct claim cl;
	int n;

	id_new(agent);
	cl = a_claim(agent, 1);
	OKAY(insert(T.s, &a));
	OKAY(insert(T.s, &b));
	OKAY(insert(T.s, &c));
	later.set.order_key = 250;
	later.set.priority = PRIO_LOW;
	OKAY(change(T.s, &later, NULL, NULL));
	OKAY(store_tasks_claim(T.s, &cl, &T.a, out, &n, &T.e));
	EQ(n, 1);
	STR(out[0]->id, b.id);
	OKAY(insert(T.s, &d));
	OKAY(store_tasks_claim(T.s, &cl, &T.a, out, &n, &T.e));
	STR(out[0]->id, d.id);
	set_id(back.id, b.id);
	OKAY(change(T.s, &back, NULL, NULL));
	OKAY(store_tasks_claim(T.s, &cl, &T.a, out, &n, &T.e));
	STR(out[0]->id, b.id);
	EQ(out[0]->fence, 2);
	OKAY(store_tasks_claim(T.s, &cl, &T.a, out, &n, &T.e));
	STR(out[0]->id, a.id);
	OKAY(store_tasks_claim(T.s, &cl, &T.a, out, &n, &T.e));
	STR(out[0]->id, c.id);
	OKAY(store_tasks_claim(T.s, &cl, &T.a, out, &n, &T.e));
	EQ(n, 0);
}

/* Cancelled, held or taken by id: what leaves the queue is not claimed, what comes back is. */
static void leaving_and_coming_back(void)
{
	struct task t[6], *out[8];
	struct task_change c;
	struct claim cl;
	int n;

	id_new(agent);
	cl = a_claim(agent, 8);
	for (int i = 0; i < 6; i++) {
		t[i] = lane_task(1, i);
		OKAY(insert(T.s, &t[i]));
	}
	c = a_change(t[0].id, TF_STATUS);
	c.set.status = TASK_CANCELLED;
	OKAY(change(T.s, &c, NULL, NULL));
	c = a_change(t[1].id, TF_HOLD);
	c.set.hold = HOLD_PAUSE;
	OKAY(change(T.s, &c, NULL, NULL));
	OKAY(store_tasks_claim_ids(T.s, (const char (*)[ID_TEXT])&t[2].id, 1, &cl, &T.a, out, &n, &T.e));
	EQ(n, 1);
	cl.max = 2;
	OKAY(store_tasks_claim(T.s, &cl, &T.a, out, &n, &T.e));
	EQ(n, 2);
	STR(out[0]->id, t[3].id);
	STR(out[1]->id, t[4].id);
	c.set.hold = HOLD_NONE;
	OKAY(change(T.s, &c, NULL, NULL));
	OKAY(store_tasks_claim(T.s, &cl, &T.a, out, &n, &T.e));
	EQ(n, 2);
	STR(out[0]->id, t[1].id);
	STR(out[1]->id, t[5].id);
}

struct fit {
	int64_t lane;
	int calls, bad;
};

static bool fits_one(void *arg, int64_t lane, const char *sig)
{
	struct fit *f = arg;
	char want[64];

	snprintf(want, sizeof(want), "{\"lane\":%lld}", (long long)lane);
	f->calls++;
	f->bad += !sig || strcmp(sig, want);
	return lane == f->lane;
}

static bool fits_none(void *arg, int64_t lane, const char *sig)
{
	(void)lane;
	(void)sig;
	++*(int *)arg;
	return false;
}

static void lanes_that_fit(void)
{
	struct fit f = { .lane = 13 };
	struct task *out[50];
	struct claim c;
	int n, calls = 0;

	id_new(agent);
	for (int i = 0; i < 200; i++) {
		struct task t = lane_task(i % 20, i);

		OKAY(insert(T.s, &t));
	}
	for (int again = 0; again < 2; again++) {
		c = a_claim(agent, 5);
		c.fits = fits_one;
		c.arg = &f;
		f.calls = 0;
		OKAY(store_tasks_claim(T.s, &c, &T.a, out, &n, &T.e));
		EQ(n, 5);
		for (int i = 0; i < n; i++) {
			EQ(out[i]->lane, 13);
			EQ(out[i]->order_key, 13 + 20 * (i + 5 * again));
		}
		CU_ASSERT_TRUE(f.calls <= 20);	/* once a lane at most */
		EQ(f.bad, 0);
		contract_reopen();		/* what is remembered of lanes must be in the store */
	}
	OKAY(store_tasks_claim(T.s, &c, &T.a, out, &n, &T.e));
	EQ(n, 0);
	c.fits = fits_none;
	c.arg = &calls;
	OKAY(store_tasks_claim(T.s, &c, &T.a, out, &n, &T.e));
	EQ(n, 0);
	CU_ASSERT_TRUE(calls == 19 || calls == 20);	/* the empty lane may be asked about */
}

static void claims_by_id(void)
{
	char ids[7][ID_TEXT];
	struct task *out[7];
	struct fit f = { .lane = 2 };
	struct claim c;
	int n;

	id_new(agent);
	for (int i = 0; i < 6; i++) {
		struct task t = lane_task(1 + i % 2, 100 - i);

		if (i == 4)
			t.hold = HOLD_SLOT;
		OKAY(insert(T.s, &t));
		set_id(ids[i], t.id);
	}
	id_new(ids[6]);
	c = a_claim(agent, 7);
	c.fits = fits_one;
	c.arg = &f;
	OKAY(store_tasks_claim_ids(T.s, ids, 7, &c, &T.a, out, &n, &T.e));
	EQ(n, 3);
	for (int i = 0; i < n; i++)
		EQ(out[i]->lane, 2);
	EQ(f.bad, 0);
	c.fits = fits_all;
	c.max = 1;
	OKAY(store_tasks_claim_ids(T.s, ids, 7, &c, &T.a, out, &n, &T.e));
	EQ(n, 1);
	EQ(out[0]->fence, 1);

	bool first = !strcmp(out[0]->id, ids[0]);

	CU_ASSERT_TRUE(first || !strcmp(out[0]->id, ids[2]));
	c.max = 7;
	OKAY(store_tasks_claim_ids(T.s, ids, 7, &c, &T.a, out, &n, &T.e));
	EQ(n, 1);
	STR(out[0]->id, ids[first ? 2 : 0]);
	OKAY(store_tasks_claim_ids(T.s, ids, 7, &c, &T.a, out, &n, &T.e));
	EQ(n, 0);
	OKAY(store_tasks_claim_ids(T.s, ids, 0, &c, &T.a, out, &n, &T.e));
	c.max = 0;
	OKAY(store_tasks_claim(T.s, &c, &T.a, out, &n, &T.e));
}

/* --- at the same time -------------------------------------------------------------------------------------------- */

#define TASKS 1600
#define WORKERS 8

/* Claim until nothing has come for a while; one line for each task claimed. */
static int claim_all(const char *uri, int max)
{
	struct store_options o = { .uri = uri, .readers = 2 };
	int none = 0, result = 0;
	char me[ID_TEXT];
	struct store *s;
	struct arena a;
	struct error e;

	arena_init(&a);
	error_init(&e, &a);
	id_new(me);
	if (store_open(&o, &s, &e)) {
		printf("open: %s %s\n", e.message, e.detail);
		return 1;
	}
	while (none < 20 && !result) {
		struct task *out[50];
		struct claim c = a_claim(me, max);
		int n;

		if (store_tasks_claim(s, &c, &a, out, &n, &e)) {
			printf("claim: %s\n", e.detail);
			result = 1;
			break;
		}
		for (int i = 0; i < n; i++)
			printf("%s %lld\n", out[i]->id, (long long)out[i]->fence);
		none = n ? 0 : none + 1;
		if (!n)
			usleep(20000);
		arena_reset(&a);
	}
	store_close(s);
	arena_release(&a);
	return result;
}

int role_claimer(const char *uri, const char *arg)
{
	return claim_all(uri, (int)strtol(arg, NULL, 10));
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void insert_many(int from, int to)
{
	enum { BATCH = 100 };

	for (int i = from; i < to; i += BATCH) {
		struct task t[BATCH];
		struct store_op ops[BATCH];
		struct store_unit u = { .ops = ops, .n = BATCH, .arena = &T.a, .error = &T.e };

		for (int k = 0; k < BATCH; k++) {
			t[k] = lane_task((i + k) % 5, i + k);
			ops[k] = (struct store_op){ .kind = SOP_TASK_INSERT, .task = &t[k] };
		}
		OKAY(store_apply_each(T.s, &u));
	}
}

/* Eight processes claim while tasks still come in: each task goes to exactly one of them. */
static void eight_processes(void)
{
	static const char *const sizes[WORKERS] = { "1", "1", "2", "3", "7", "7", "20", "50" };
	struct child child[WORKERS];
	char *lines[2 * TASKS];
	int n = 0, busy = 0;

	insert_many(0, TASKS / 2);
	for (int i = 0; i < WORKERS; i++)
		child[i] = child_start("claimer", sizes[i]);
	insert_many(TASKS / 2, TASKS);
	for (int i = 0; i < WORKERS; i++) {
		int status, had = n;
		char *save = NULL, *text = child_finish(&child[i], &status);

		EQ(status, 0);
		for (char *l = strtok_r(text, "\n", &save); l && n < 2 * TASKS; l = strtok_r(NULL, "\n", &save))
			lines[n++] = l;
		busy += n > had;
	}
	EQ(n, TASKS);
	qsort(lines, (size_t)n, sizeof(*lines), by_text);
	for (int i = 0; i < n; i++) {
		STR(lines[i] + ID_LEN, " 1");
		if (i)
			CU_ASSERT_TRUE_FATAL(strcmp(lines[i], lines[i - 1]) != 0);
	}
	CU_ASSERT_TRUE(busy > 1);

	struct queue_depth d;

	OKAY(store_queue_depth(T.s, &d, &T.e));
	EQ(d.leased, TASKS);
	EQ(d.ready[PRIO_MEDIUM], 0);
}

struct worker {
	pthread_t thread;
	char (*ids)[ID_TEXT];
	int n, errors;
};

static void *claim_thread(void *arg)
{
	struct worker *w = arg;
	char me[ID_TEXT];
	struct arena a;
	struct error e;

	arena_init(&a);
	error_init(&e, &a);
	id_new(me);
	for (int none = 0; none < 3;) {
		struct task *out[10];
		struct claim c = a_claim(me, 10);
		int n;

		if (store_tasks_claim(T.s, &c, &a, out, &n, &e)) {
			w->errors++;
			break;
		}
		for (int i = 0; i < n; i++)
			set_id(w->ids[w->n++], out[i]->id);
		none = n ? 0 : none + 1;
		arena_reset(&a);
	}
	arena_release(&a);
	return NULL;
}

static int by_id(const void *a, const void *b)
{
	return memcmp(a, b, ID_TEXT);
}

static void sixteen_threads(void)
{
	char (*all)[ID_TEXT] = arena_calloc(&T.a, TASKS, ID_TEXT);
	struct worker w[16];
	int n = 0;

	insert_many(0, TASKS);
	for (int i = 0; i < 16; i++) {
		w[i] = (struct worker){ .ids = arena_calloc(&T.a, TASKS, ID_TEXT) };
		pthread_create(&w[i].thread, NULL, claim_thread, &w[i]);
	}
	for (int i = 0; i < 16; i++) {
		pthread_join(w[i].thread, NULL);
		EQ(w[i].errors, 0);
		CU_ASSERT_TRUE_FATAL(n + w[i].n <= TASKS);
		memcpy(all[n], w[i].ids, (size_t)w[i].n * ID_TEXT);
		n += w[i].n;
	}
	EQ(n, TASKS);
	qsort(all, TASKS, ID_TEXT, by_id);
	for (int i = 1; i < n; i++)
		CU_ASSERT_TRUE_FATAL(strcmp(all[i], all[i - 1]) != 0);
}

const struct contract_case cases_claims[] = {
	{ "what a claim changes", what_a_claim_changes },
	{ "only claimable tasks", only_claimable },
	{ "order over lanes", order_over_lanes },
	{ "order of changed tasks", order_changes },
	{ "leaving the queue and coming back", leaving_and_coming_back },
	{ "lanes that fit", lanes_that_fit },
	{ "claims by id", claims_by_id },
	{ "sixteen threads claim", sixteen_threads },
	{ "eight processes claim", eight_processes },
	{ NULL, NULL },
};
