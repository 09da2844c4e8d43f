// SPDX-License-Identifier: MIT
/* The scheduler's frame: who leads, how duties run, how a crew shares work, and what retention removes. */
#include <CUnit/Basic.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/domain/execution.h"
#include "scheduler/sched.h"

#define DAY_MS 86400000LL

/* A store of the test's own and what works on it. Redis is not there at all. */
static struct fixture {
	char dir[64];
	struct sched s;
	struct arena arena;
	struct error e;
	struct op op;
} f;

static struct app app_of(char proc_id[ID_TEXT])
{
	id_new(proc_id);
	return (struct app){ .cfg = &f.s.cfg, .store = f.s.app.store, .bus = f.s.app.bus, .proc_id = proc_id };
}

static int set_up(void)
{
	char uri[128];
	struct buf problems;

	memset(&f, 0, sizeof(f));
	snprintf(f.dir, sizeof(f.dir), "/tmp/mcp-sched.XXXXXX");
	if (!mkdtemp(f.dir))
		return 1;
	snprintf(uri, sizeof(uri), "sqlite://%s/t.db", f.dir);
	setenv("MCP_HOME", f.dir, 1);
	setenv("ENVIRONMENT", "test", 1);
	setenv("JWT_SECRET", "0123456789abcdef0123456789abcdef", 1);
	setenv("PASSWORD_PEPPER", "0123456789abcdef0123456789abcdef", 1);
	setenv("WEBHOOK_SECRET", "0123456789abcdef0123456789abcdef", 1);
	buf_init(&problems);
	bool good = config_load(&f.s.cfg, NULL, &problems);

	if (!good)
		fputs(problems.p, stderr);
	buf_release(&problems);
	arena_init(&f.arena);
	error_init(&f.e, &f.arena);
	struct store_options so = { .uri = uri };
	struct bus_options bo = { .url = "unix:///nowhere/redis.sock", .proc_id = f.s.proc_id };

	id_new(f.s.proc_id);
	if (!good || store_open(&so, &f.s.app.store, &f.e) || bus_open(&bo, &f.s.app.bus, &f.e))
		return 1;
	f.s.app.cfg = &f.s.cfg;
	f.s.app.proc_id = f.s.proc_id;
	log_set_level(LOG_CRITICAL);
	op_init(&f.op, &f.s.app, &f.arena, &f.e, &system_caller, NULL);
	return 0;
}

static int tear_down(void)
{
	char path[128];

	log_set_level(LOG_INFO);
	bus_close(f.s.app.bus);
	store_close(f.s.app.store);
	config_release(&f.s.cfg);
	arena_release(&f.arena);
	for (const char *const *name = (const char *const[]){ "t.db", "t.db-wal", "t.db-shm", "t.db-turn", NULL }; *name; name++) {
		snprintf(path, sizeof(path), "%s/%s", f.dir, *name);
		unlink(path);
	}
	rmdir(f.dir);
	unsetenv("MCP_HOME");
	unsetenv("ENVIRONMENT");
	unsetenv("JWT_SECRET");
	unsetenv("PASSWORD_PEPPER");
	unsetenv("WEBHOOK_SECRET");
	return 0;
}

static void count_led(void *arg)
{
	++*(_Atomic int *)arg;
}

/* ms until it leads; -1: not within that time */
static int64_t wait_for_lead(const struct leader *l, int64_t most_ms)
{
	int64_t begun = mono_us();

	while (!leader_leads(l)) {
		if (mono_us() - begun > most_ms * 1000)
			return -1;
		usleep(2000);
	}
	return (mono_us() - begun) / 1000;
}

static struct record *lease(void)
{
	struct record *rec;

	CU_ASSERT_FATAL(store_rec_get(f.s.app.store, REC_LEASE, LEASE_ID, &f.arena, &rec, &f.e) == OK);
	return rec;
}

static void set_lease(const char *holder, int64_t expires_at, int64_t epoch)
{
	struct record rec = { .kind = REC_LEASE, .id = LEASE_ID, .s1 = holder, .s2 = "", .s3 = "", .n1 = expires_at,
			      .n2 = epoch, .body = "{}" };
	struct store_op o = { .kind = SOP_REC_PUT, .rec = &rec, .expect_rev = REV_ANY };
	struct store_unit u = { .ops = &o, .n = 1, .arena = &f.arena, .error = &f.e };

	CU_ASSERT_FATAL(store_apply(f.s.app.store, &u) == OK);
}

/* --- leading ------------------------------------------------------------------------------------------------- */

static void test_hand_over(void)
{
	char id_a[ID_TEXT];
	char id_b[ID_TEXT];
	_Atomic int led_a = 0;
	_Atomic int led_b = 0;
	struct app a = app_of(id_a);
	struct app b = app_of(id_b);
	struct leader *x = leader_new(&a, count_led, (void *)&led_a);
	struct leader *y = leader_new(&b, count_led, (void *)&led_b);

	set_lease("", 0, 7);
	CU_ASSERT(leader_start(x, &f.e) == OK);
	CU_ASSERT(wait_for_lead(x, 500) >= 0);
	CU_ASSERT(leader_start(y, &f.e) == OK);
	CU_ASSERT(wait_for_lead(y, 1500) == -1);
	CU_ASSERT(leader_leads(x));
	CU_ASSERT_EQUAL(leader_epoch(x), 8);
	leader_free(x);
	int64_t took = wait_for_lead(y, 2000);

	CU_ASSERT(took >= 0 && took < 2 * LOOK_MS);
	CU_ASSERT_EQUAL(leader_epoch(y), 9);
	CU_ASSERT_EQUAL(led_a, 1);
	CU_ASSERT_EQUAL(led_b, 1);
	leader_free(y);
	CU_ASSERT_EQUAL(lease()->n1, 0);
	leader_free(NULL);
}

static void test_dead_leader_is_waited_out(void)
{
	char id[ID_TEXT];
	_Atomic int led = 0;
	struct app a = app_of(id);
	struct leader *x = leader_new(&a, count_led, (void *)&led);

	/* A holder that will not renew; its clock is an hour ahead of ours. */
	set_lease("somebody", now_ms() + 3600000, 3);
	CU_ASSERT(leader_start(x, &f.e) == OK);
	int64_t took = wait_for_lead(x, 6000);

	CU_ASSERT(took >= LEASE_MS - 100 && took <= 5000);
	CU_ASSERT_EQUAL(leader_epoch(x), 4);
	CU_ASSERT_STRING_EQUAL(lease()->s1, id);
	leader_free(x);
}

static void test_stolen_lease_is_given_up(void)
{
	char id[ID_TEXT];
	_Atomic int led = 0;
	struct app a = app_of(id);
	struct leader *x = leader_new(&a, count_led, (void *)&led);

	set_lease("", 0, 1);
	CU_ASSERT(leader_start(x, &f.e) == OK);
	CU_ASSERT(wait_for_lead(x, 500) >= 0);
	set_lease("thief", now_ms() + LEASE_MS, 5);
	usleep((RENEW_MS + 200) * 1000);
	CU_ASSERT(!leader_leads(x));
	CU_ASSERT_STRING_EQUAL(lease()->s1, "thief");
	leader_free(x);
	/* Not ours to hand over. */
	CU_ASSERT_STRING_EQUAL(lease()->s1, "thief");
	CU_ASSERT_EQUAL(led, 1);
}

/* --- crew ----------------------------------------------------------------------------------------------------- */

struct tally_work {
	_Atomic int done[500];
	_Atomic int sum;
};

static enum err tally(struct op *op, void *arg, int i)
{
	struct tally_work *w = arg;

	w->done[i]++;
	w->sum++;
	if (i % 100 == 99)
		return error_set(op->err, ERR_BUSY, "item %d", i);
	return OK;
}

static void test_crew(void)
{
	struct tally_work w = { 0 };
	struct crew *c;
	int failed;

	CU_ASSERT_FATAL(crew_new(&f.s.app, 3, &c, &f.e) == OK);
	CU_ASSERT(crew_each(c, &f.op, 500, tally, &w, &failed) == ERR_BUSY);
	CU_ASSERT_EQUAL(failed, 5);
	CU_ASSERT_EQUAL(w.sum, 500);
	for (int i = 0; i < 500; i++)
		CU_ASSERT_EQUAL(w.done[i], 1);
	CU_ASSERT(strncmp(f.e.detail, "item ", 5) == 0);
	CU_ASSERT(f.e.arena == &f.arena);
	error_init(&f.e, &f.arena);
	CU_ASSERT(crew_each(c, &f.op, 0, tally, &w, &failed) == OK);
	CU_ASSERT(crew_each(c, &f.op, 1, tally, &w, NULL) == OK);
	crew_free(c);
	crew_free(NULL);
}

static void *share(void *arg)
{
	struct tally_work w = { 0 };
	struct arena a;
	struct error e;
	struct op op;

	arena_init(&a);
	op_init(&op, &f.s.app, &a, &e, &system_caller, NULL);
	for (int i = 0; i < 20; i++)
		CU_ASSERT(crew_each(arg, &op, 90, tally, &w, NULL) == OK);
	CU_ASSERT_EQUAL(w.sum, 20 * 90);
	arena_release(&a);
	return NULL;
}

static void test_crew_is_shared(void)
{
	pthread_t threads[4];
	struct crew *c;

	CU_ASSERT_FATAL(crew_new(&f.s.app, 2, &c, &f.e) == OK);
	for (int i = 0; i < 4; i++)
		CU_ASSERT_FATAL(pthread_create(&threads[i], NULL, share, c) == 0);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	crew_free(c);
}

/* --- duties --------------------------------------------------------------------------------------------------- */

static _Atomic int runs, finished, fail;
static _Atomic unsigned last_why;
static _Atomic int64_t wish_ms = 60000;

static enum err run(struct sched *s, struct op *op, unsigned why, int64_t *next)
{
	(void)s;
	runs++;
	last_why = why;
	*next = wish_ms;
	return fail ? error_set(op->err, ERR_UNAVAILABLE, "as told") : OK;
}

static void finish(struct sched *s, struct op *op)
{
	(void)s;
	(void)op;
	finished++;
}

static bool runs_reach(int n, int ms)
{
	for (int i = 0; i < ms && runs < n; i++)
		usleep(1000);
	return runs >= n;
}

static void test_duty(void)
{
	struct duty d = { .name = "test", .run = run, .wakes = WAKE_LOOK, .gap_ms = 30, .finish = finish };
	_Atomic int led = 0;

	pthread_rwlock_init(&f.s.reloading, NULL);
	set_lease("", 0, 1);
	f.s.leader = leader_new(&f.s.app, count_led, (void *)&led);
	runs = finished = fail = 0;
	CU_ASSERT_FATAL(duty_start(&f.s, &d, &f.e) == OK);
	duty_wake(&d, WAKE_LOOK);
	usleep(50000);
	CU_ASSERT_EQUAL(runs, 0);	/* nobody leads */
	CU_ASSERT(leader_start(f.s.leader, &f.e) == OK);
	CU_ASSERT(wait_for_lead(f.s.leader, 500) >= 0);
	duty_wake(&d, WAKE_LED);
	CU_ASSERT(runs_reach(1, 1000));
	CU_ASSERT_EQUAL(last_why, WAKE_LED | WAKE_LOOK);
	duty_wake(&d, WAKE_TASKS);	/* it does not listen to these */
	usleep(50000);
	CU_ASSERT_EQUAL(runs, 1);
	/* Wakes that come together are one run, and runs keep their distance. */
	int64_t begun = mono_us();

	for (int i = 0; i < 3; i++) {
		duty_wake(&d, WAKE_LOOK);
		CU_ASSERT(runs_reach(2 + i, 1000));
	}
	CU_ASSERT(mono_us() - begun >= 2 * 30000 - 5000);
	/* A failure is tried again after a pause, which wakes do not shorten. */
	fail = 1;
	duty_wake(&d, WAKE_LOOK);
	CU_ASSERT(runs_reach(5, 1000));
	duty_wake(&d, WAKE_LOOK);
	usleep(60000);
	CU_ASSERT_EQUAL(runs, 5);
	CU_ASSERT(runs_reach(6, 1000));
	fail = 0;
	CU_ASSERT(runs_reach(7, 1000));
	/* Its own wish. */
	wish_ms = 1;
	duty_wake(&d, WAKE_LOOK);
	CU_ASSERT(runs_reach(11, 1000));
	wish_ms = 60000;
	duty_stop(&d);
	duty_join(&d);
	CU_ASSERT_EQUAL(finished, 1);
	leader_free(f.s.leader);
	f.s.leader = NULL;
	pthread_rwlock_destroy(&f.s.reloading);
}

/* --- retention -------------------------------------------------------------------------------------------------- */

static void put_record(enum record_kind kind, const char *id, const char *s2, int64_t n1)
{
	struct record rec = { .kind = kind, .id = id, .s1 = id, .s2 = s2, .s3 = "", .n1 = n1, .body = "{}" };
	struct store_op o = { .kind = SOP_REC_PUT, .rec = &rec, .expect_rev = REV_ANY };
	struct store_unit u = { .ops = &o, .n = 1, .arena = &f.arena, .error = &f.e };

	CU_ASSERT_FATAL(store_apply(f.s.app.store, &u) == OK);
}

static bool has_record(enum record_kind kind, const char *id)
{
	struct record *rec;

	CU_ASSERT_FATAL(store_rec_get(f.s.app.store, kind, id, &f.arena, &rec, &f.e) == OK);
	return rec != NULL;
}

static void put_task(char id[ID_TEXT], enum data_class c, enum task_status status)
{
	struct task t = { .type = "old", .status = status, .classification = c, .parameters = "{}", .requirements = "{}",
			  .lane_sig = "{}", .created_at = now_ms(), .updated_at = now_ms(),
			  .completed_at = ST(status) & ST_ENDED ? now_ms() : 0, .timeout_s = 300, .message = "" };
	struct store_op o = { .kind = SOP_TASK_INSERT, .task = &t };
	struct store_unit u = { .ops = &o, .n = 1, .arena = &f.arena, .error = &f.e };

	id_new(id);
	memcpy(t.id, id, ID_TEXT);
	CU_ASSERT_FATAL(store_apply(f.s.app.store, &u) == OK);
}

static bool has_task(const char *id)
{
	struct task *t;

	CU_ASSERT_FATAL(store_task_get(f.s.app.store, id, &f.arena, &t, &f.e) == OK);
	return t != NULL;
}

static void put_run(char id[ID_TEXT], enum execution_status status)
{
	struct execution ex = { .status = status, .name = "r", .n_stages = 1, .created_at = now_ms(),
				.completed_at = status == EXEC_COMPLETED ? now_ms() : 0 };

	ex.stages[1] = (struct stage){ .name = "a", .type = "a", .required = true, .timeout = 1 };
	id_new(ex.id);
	id_new(ex.pipeline_id);
	memcpy(id, ex.id, ID_TEXT);
	struct store_op o = { .kind = SOP_REC_PUT, .rec = execution_to_record(&f.op, &ex), .expect_rev = REV_ABSENT };
	struct store_unit u = { .ops = &o, .n = 1, .arena = &f.arena, .error = &f.e };

	CU_ASSERT_FATAL(store_apply(f.s.app.store, &u) == OK);
	put_record(REC_BLOB, id, "", now_ms());
}

/* Run the duty until it wants to rest for long. */
static void clean_up(void)
{
	int64_t next;

	for (int i = 0; i < 200; i++) {
		op_init(&f.op, &f.s.app, &f.arena, &f.e, &system_caller, NULL);
		next = 60000;
		CU_ASSERT(retention_run(&f.s, &f.op, 0, &next) == OK);
		if (next > 1000)
			return;
	}
	CU_FAIL("it never ends");
}

static void test_retention(void)
{
	char plain[ID_TEXT];
	char phi[ID_TEXT];
	char live[ID_TEXT];
	char young[ID_TEXT];
	char ended_run[ID_TEXT];
	char live_run[ID_TEXT];
	int64_t next;

	f.s.keeper = keeper_new();
	put_task(plain, CLASS_CONFIDENTIAL, TASK_COMPLETED);
	put_task(phi, CLASS_PHI, TASK_FAILED);
	put_task(live, CLASS_INTERNAL, TASK_PENDING);
	put_run(ended_run, EXEC_COMPLETED);
	put_run(live_run, EXEC_PAUSED);
	put_record(REC_BLOB, "orphan", "", now_ms());
	put_record(REC_OUTBOX, "dead", "dead", now_ms());
	put_record(REC_OUTBOX, "pending", "pending", now_ms());
	put_record(REC_IDEMPOTENCY, "key", "", now_ms() + DAY_MS);
	put_record(REC_SESSION, "session", "", now_ms() + DAY_MS);
	put_record(REC_REVOCATION, "token", "", now_ms() + 200 * DAY_MS);
	op_init(&f.op, &f.s.app, &f.arena, &f.e, &system_caller, NULL);
	CU_ASSERT(retention_run(&f.s, &f.op, WAKE_LED, &next) == OK);
	clean_up();
	CU_ASSERT(has_task(plain));	/* not a minute has passed */
	clock_shift(61000);
	clean_up();
	CU_ASSERT(has_task(plain) && has_record(REC_IDEMPOTENCY, "key"));
	clock_shift(91 * DAY_MS);
	put_task(young, CLASS_INTERNAL, TASK_CANCELLED);
	clean_up();
	CU_ASSERT(!has_task(plain) && has_task(phi) && has_task(live) && has_task(young));
	CU_ASSERT(!has_record(REC_EXECUTION, ended_run) && !has_record(REC_BLOB, ended_run));
	CU_ASSERT(has_record(REC_EXECUTION, live_run) && has_record(REC_BLOB, live_run));
	CU_ASSERT(!has_record(REC_BLOB, "orphan"));
	CU_ASSERT(!has_record(REC_OUTBOX, "dead") && has_record(REC_OUTBOX, "pending"));
	CU_ASSERT(!has_record(REC_IDEMPOTENCY, "key") && !has_record(REC_SESSION, "session"));
	CU_ASSERT(has_record(REC_REVOCATION, "token"));
	clock_shift(2190 * DAY_MS);
	clean_up();
	CU_ASSERT(!has_task(phi) && has_task(live) && !has_task(young));
	CU_ASSERT(!has_record(REC_REVOCATION, "token"));
	clock_shift(-2281 * DAY_MS - 61000);
	keeper_free(f.s.keeper);
	f.s.keeper = NULL;
}

/* --- order --------------------------------------------------------------------------------------------------- */

static bool only_aging(void *arg, int64_t lane, const char *lane_sig)
{
	(void)arg;
	(void)lane;
	return strstr(lane_sig, "aging") != NULL;
}

/* As if it were so many seconds later. */
static void submit(enum priority p, int64_t later_s)
{
	struct task_in in = { .type = "aging", .priority = (int)p, .classification = CLASS_INTERNAL, .timeout = 60 };
	struct task *t;

	op_init(&f.op, &f.s.app, &f.arena, &f.e, &system_caller, NULL);
	f.op.now += later_s * 1000;
	CU_ASSERT_FATAL(task_submit(&f.op, &in, &t) == OK);
}

static void expect_claimed(const enum priority *expected, int n)
{
	struct claim c = { .fits = only_aging, .agent_id = f.s.proc_id, .lease_until = now_ms() + 60000, .max = 1 };
	struct task *t[1];
	int got;

	for (int i = 0; i < n; i++) {
		CU_ASSERT_FATAL(store_tasks_claim(f.s.app.store, &c, &f.arena, t, &got, &f.e) == OK);
		CU_ASSERT_FATAL(got == 1);
		CU_ASSERT(t[0]->priority == expected[i]);
	}
}

/* Whoever waits long enough is first: 30 s for high, two minutes for medium, ten for low. */
static void test_nobody_starves(void)
{
	static const struct {
		enum priority old;
		int64_t wait_s;
	} cases[] = { { PRIO_HIGH, 30 }, { PRIO_MEDIUM, 120 }, { PRIO_LOW, 600 } };

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		enum priority old = cases[i].old;

		submit(old, 0);
		submit(PRIO_CRITICAL, cases[i].wait_s - 5);
		expect_claimed((enum priority[]){ PRIO_CRITICAL, old }, 2);
		submit(old, 0);
		submit(PRIO_CRITICAL, cases[i].wait_s + 5);
		expect_claimed((enum priority[]){ old, PRIO_CRITICAL }, 2);
	}
}

void suite_scheduler(void);
void suite_scheduler(void)
{
	CU_pSuite s = CU_add_suite("scheduler", set_up, tear_down);

	CU_add_test(s, "the lead is handed over", test_hand_over);
	CU_add_test(s, "a dead leader is waited out, whatever its clock says", test_dead_leader_is_waited_out);
	CU_add_test(s, "a lease that another took is given up", test_stolen_lease_is_given_up);
	CU_add_test(s, "a crew does every item once", test_crew);
	CU_add_test(s, "several batches share a crew", test_crew_is_shared);
	CU_add_test(s, "a duty runs when woken, when due, and only while leading", test_duty);
	CU_add_test(s, "retention", test_retention);
	CU_add_test(s, "no priority starves", test_nobody_starves);
}
