// SPDX-License-Identifier: MIT
/* Several processes on one store, and processes that die. */
#include "contract.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static struct store *open_quietly(const char *uri, struct error *e)
{
	struct store_options o = { .uri = uri, .readers = 2 };
	struct store *s;

	if (store_open(&o, &s, e)) {
		printf("open: %s %s\n", e->message, e->detail);
		return NULL;
	}
	return s;
}

/* --- compare and set between processes --------------------------------------------------------------------- */

#define STEPS 60

/* Bump the fence from each i to i + 1 unless somebody else did; print what was won. */
int role_racer(const char *uri, const char *arg)
{
	struct arena a;
	struct error e;

	arena_init(&a);
	error_init(&e, &a);
	struct store *s = open_quietly(uri, &e);

	if (!s)
		return 1;
	for (int i = 0; i < STEPS; i++) {
		struct task_change c = { .if_fence = i, .fields = TF_FENCE_BUMP, .set = { .updated_at = now_ms() } };
		struct store_op op = { .kind = SOP_TASK_CHANGE, .change = &c, .want_row = true };
		struct store_unit u = { .ops = &op, .n = 1, .arena = &a, .error = &e };

		set_id(c.id, arg);
		for (;;) {
			enum err err = store_apply(s, &u);

			if (err == OK)
				printf("%d\n", i);
			if (err == OK || (err == ERR_CONFLICT && op.result == SOP_REFUSED && op.row->fence > i))
				break;
			if (err != ERR_CONFLICT) {
				printf("%s\n", e.detail);
				return 1;
			}
		}
		arena_reset(&a);
	}
	store_close(s);
	arena_release(&a);
	return 0;
}

static void raced_by_processes(void)
{
	struct task t = a_task();
	struct child child[4];
	int won[STEPS] = { 0 };

	OKAY(insert(T.s, &t));
	for (int i = 0; i < 4; i++)
		child[i] = child_start("racer", t.id);
	for (int i = 0; i < 4; i++) {
		int status;
		char *save = NULL, *text = child_finish(&child[i], &status);

		EQ(status, 0);
		for (char *l = strtok_r(text, "\n", &save); l; l = strtok_r(NULL, "\n", &save))
			won[strtol(l, NULL, 10)]++;
	}
	for (int i = 0; i < STEPS; i++)
		EQ(won[i], 1);
	EQ(get(T.s, t.id)->fence, STEPS);
}

/* --- killed in the middle --------------------------------------------------------------------------------------- */

struct writer {
	pthread_t thread;
	struct store *s;
	bool lazy, quiet;	/* quiet: tells of the first one only */
};

/* Task and record in one unit, over and over; what was acknowledged is told at once. */
static void *write_on(void *arg)
{
	struct writer *w = arg;
	struct arena a;
	struct error e;

	arena_init(&a);
	error_init(&e, &a);
	for (int n = 0;; n++) {
		struct task t = a_task();
		struct record r = { .kind = REC_TASK_LOG, .id = t.id, .s1 = t.id, .s2 = "", .s3 = "", .body = "{}" };
		struct store_op ops[2] = {
			{ .kind = SOP_TASK_INSERT, .task = &t, .lazy = w->lazy },
			{ .kind = SOP_REC_PUT, .rec = &r, .expect_rev = REV_ABSENT, .lazy = w->lazy },
		};
		struct store_unit u = { .ops = ops, .n = 2, .arena = &a, .error = &e };

		if (store_apply(w->s, &u) == OK && (!w->quiet || n == 0)) {
			char line[ID_TEXT + 1];

			snprintf(line, sizeof(line), "%s\n", t.id);
			if (write(STDOUT_FILENO, line, ID_TEXT) != ID_TEXT)
				break;
		}
		arena_reset(&a);
	}
	return NULL;
}

int role_writer(const char *uri, const char *arg)
{
	struct writer w[4];
	struct arena a;
	struct error e;

	arena_init(&a);
	error_init(&e, &a);
	struct store *s = open_quietly(uri, &e);

	if (!s)
		return 1;
	for (int i = 0; i < 4; i++) {
		w[i] = (struct writer){ .s = s, .lazy = !strcmp(arg, "lazy"), .quiet = !strcmp(arg, "quiet") };
		pthread_create(&w[i].thread, NULL, write_on, &w[i]);
	}
	for (int i = 0; i < 4; i++)
		pthread_join(w[i].thread, NULL);
	return 0;
}

/* Every acknowledged unit is there, and of every other one all or nothing. */
static int check_writers(const char *acknowledged)
{
	struct task_filter f = { .limit = 500, .cols = TASK_COLS_BRIEF };
	struct task_page page;
	int n = 0;

	for (const char *p = acknowledged; strlen(p) >= ID_TEXT; p += ID_TEXT, n++) {
		char id[ID_TEXT];

		memcpy(id, p, ID_LEN);
		id[ID_LEN] = '\0';
		CU_ASSERT_PTR_NOT_NULL_FATAL(get(T.s, id));
	}
	do {
		OKAY(store_tasks_list(T.s, &f, &T.a, &page, &T.e));
		for (int i = 0; i < page.n; i++) {
			struct record *r;

			OKAY(store_rec_get(T.s, REC_TASK_LOG, page.items[i]->id, &T.a, &r, &T.e));
			CU_ASSERT_PTR_NOT_NULL_FATAL(r);
		}
		f.after = page.last;
	} while (page.more);
	return n;
}

static void kill_writer(const char *mode, int after_ms)
{
	struct child c = child_start("writer", mode);
	char *text;
	int status;

	usleep((useconds_t)after_ms * 1000);
	kill(c.pid, SIGKILL);
	text = child_finish(&c, &status);
	CU_ASSERT_TRUE(WIFSIGNALED(status));
	/* the others go on at once: no lock is left behind */
	struct task t = a_task();

	OKAY(insert(T.s, &t));
	struct record r = { .kind = REC_TASK_LOG, .id = t.id, .s1 = t.id, .s2 = "", .s3 = "", .body = "{}" };

	OKAY(put(T.s, &r, REV_ABSENT, NULL, NULL));
	CU_ASSERT_TRUE(check_writers(text) > 0 || after_ms < 500);
}

static void killed_in_the_middle(void)
{
	static const int after_ms[] = { 500, 133, 277, 421, 700 };

	for (int i = 0; i < 5; i++)
		kill_writer("durable", after_ms[i]);
	contract_reopen();
	check_writers("");
}

static void lazy_survives_a_kill(void)
{
	kill_writer("lazy", 500);
	kill_writer("lazy", 311);
}

/* --- opened by many at once ---------------------------------------------------------------------------------------- */

int role_opener(const char *uri, const char *arg)
{
	struct arena a;
	struct error e;

	(void)arg;
	arena_init(&a);
	error_init(&e, &a);
	struct store *s = open_quietly(uri, &e);

	if (!s)
		return 1;
	T.a = a;
	T.e = e;
	struct task t = a_task();
	enum err err = insert(s, &t);

	printf("%s %s\n", t.id, err ? T.e.detail : "");
	store_close(s);
	return err != OK;
}

static void opened_by_many(void)
{
	struct child child[6];

	/* The test's own store is there already; a second one is not. */
	store_close(T.s);
	T.s = NULL;
	if (!T.mongo)
		snprintf(T.uri, sizeof(T.uri), "sqlite://%s/state/second.db", T.dir);
	for (int i = 0; i < 6; i++)
		child[i] = child_start("opener", "");
	for (int i = 0; i < 6; i++) {
		int status;
		char *text = child_finish(&child[i], &status);

		if (status)
			printf("\n    %s", text);
		EQ(status, 0);
	}
	T.s = contract_open();
	CU_ASSERT_PTR_NOT_NULL_FATAL(T.s);
	struct task_filter f = { .limit = 10 };
	struct task_page page;

	OKAY(store_tasks_list(T.s, &f, &T.a, &page, &T.e));
	EQ(page.n, 6);
}

/* Two stores in one process, one of them closed, and another process that opens and closes meanwhile. */
static void opened_twice(void)
{
	struct store *other = contract_open();
	struct task_filter f = { .limit = 20 };
	struct task_page page;
	int status;

	CU_ASSERT_PTR_NOT_NULL_FATAL(other);
	for (int i = 0; i < 4; i++) {
		struct task t = a_task();

		OKAY(insert(i % 2 ? other : T.s, &t));
		CU_ASSERT_PTR_NOT_NULL(get(i % 2 ? T.s : other, t.id));
	}
	store_close(other);
	for (int i = 0; i < 3; i++) {
		struct child c = child_start("opener", "");
		struct task t = a_task();

		OKAY(insert(T.s, &t));
		child_finish(&c, &status);
		EQ(status, 0);
	}
	contract_reopen();
	OKAY(store_tasks_list(T.s, &f, &T.a, &page, &T.e));
	EQ(page.n, 10);
}

const struct contract_case cases_processes[] = {
	{ "compare and set raced by processes", raced_by_processes },
	{ "killed in the middle", killed_in_the_middle },
	{ "lazy ops survive a kill", lazy_survives_a_kill },
	{ "opened by many at once", opened_by_many },
	{ "opened twice", opened_twice },
	{ NULL, NULL },
};
