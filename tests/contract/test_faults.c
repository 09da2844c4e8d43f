// SPDX-License-Identifier: MIT
/*
 * The file store when system calls fail, and when processes compete for it.
 *
 * Faults are made by a VFS below the store's own: in a process of its own it becomes SQLite's default
 * before the store is opened, and fails calls on the log as it is told.
 */
#include "contract.h"

#include <signal.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- a VFS that fails ------------------------------------------------------------------------------------- */

enum fault { NO_FAULT, FAIL_SYNC, FAIL_WRITE, FAIL_FULL, FAIL_READ, FAIL_OPEN, FAULTS };

static atomic_int fault;		/* what fails now */
static atomic_int failed;		/* how often it did */

struct file {
	sqlite3_file base;
	sqlite3_file real[];
};

static sqlite3_vfs faulty, *below;

static sqlite3_file *real_of(sqlite3_file *f)
{
	return ((struct file *)f)->real;
}

static bool fails(enum fault kind)
{
	if (fault != (int)kind)
		return false;
	failed++;
	return true;
}

static int f_close(sqlite3_file *f)
{
	return real_of(f)->pMethods->xClose(real_of(f));
}

static int f_read(sqlite3_file *f, void *p, int n, sqlite3_int64 at)
{
	return fails(FAIL_READ) ? SQLITE_IOERR_READ : real_of(f)->pMethods->xRead(real_of(f), p, n, at);
}

/* Half of what should be written arrives, as when a disk goes. */
static int f_write(sqlite3_file *f, const void *p, int n, sqlite3_int64 at)
{
	if (fault == FAIL_WRITE || fault == FAIL_FULL) {
		failed++;
		real_of(f)->pMethods->xWrite(real_of(f), p, n / 2, at);
		return fault == FAIL_FULL ? SQLITE_FULL : SQLITE_IOERR_WRITE;
	}
	return real_of(f)->pMethods->xWrite(real_of(f), p, n, at);
}

static int f_truncate(sqlite3_file *f, sqlite3_int64 size)
{
	return real_of(f)->pMethods->xTruncate(real_of(f), size);
}

static int f_sync(sqlite3_file *f, int flags)
{
	return fails(FAIL_SYNC) ? SQLITE_IOERR_FSYNC : real_of(f)->pMethods->xSync(real_of(f), flags);
}

static int f_size(sqlite3_file *f, sqlite3_int64 *size)
{
	return real_of(f)->pMethods->xFileSize(real_of(f), size);
}

static int f_lock(sqlite3_file *f, int level)
{
	return real_of(f)->pMethods->xLock(real_of(f), level);
}

static int f_unlock(sqlite3_file *f, int level)
{
	return real_of(f)->pMethods->xUnlock(real_of(f), level);
}

static int f_reserved(sqlite3_file *f, int *out)
{
	return real_of(f)->pMethods->xCheckReservedLock(real_of(f), out);
}

static int f_control(sqlite3_file *f, int op, void *arg)
{
	return real_of(f)->pMethods->xFileControl(real_of(f), op, arg);
}

static int f_sector(sqlite3_file *f)
{
	return real_of(f)->pMethods->xSectorSize(real_of(f));
}

static int f_traits(sqlite3_file *f)
{
	return real_of(f)->pMethods->xDeviceCharacteristics(real_of(f));
}

static const sqlite3_io_methods methods = {
	1, f_close, f_read, f_write, f_truncate, f_sync, f_size, f_lock, f_unlock, f_reserved, f_control, f_sector,
	f_traits, NULL, NULL, NULL, NULL, NULL, NULL,
};

static int v_open(sqlite3_vfs *v, sqlite3_filename name, sqlite3_file *f, int flags, int *out)
{
	struct file *w = (struct file *)f;

	(void)v;
	if (!(flags & SQLITE_OPEN_WAL))
		return below->xOpen(below, name, f, flags, out);
	w->base.pMethods = NULL;
	w->real->pMethods = NULL;
	if (fails(FAIL_OPEN))
		return SQLITE_CANTOPEN;
	int rc = below->xOpen(below, name, w->real, flags, out);

	if (w->real->pMethods)
		w->base.pMethods = &methods;
	return rc;
}

static void register_faulty(void)
{
	below = sqlite3_vfs_find(NULL);
	faulty = *below;
	faulty.zName = "faulty";
	faulty.pNext = NULL;
	faulty.szOsFile = (int)sizeof(struct file) + below->szOsFile;
	faulty.xOpen = v_open;
	sqlite3_vfs_register(&faulty, 1);
}

/* --- work while it fails -------------------------------------------------------------------------------------- */

#define WRITERS 4
#define PER_WRITER 600

enum outcome { UNTRIED, ACKNOWLEDGED, REFUSED, UNCERTAIN };

struct attempt {
	char id[ID_TEXT];
	enum outcome outcome;
};

static struct attempt attempts[WRITERS][PER_WRITER];
static struct store *store;
static atomic_int writing, wrong;

static void *write_under_faults(void *arg)
{
	struct attempt *mine = arg;
	struct arena a;
	struct error e;

	arena_init(&a);
	error_init(&e, &a);
	for (int i = 0; i < PER_WRITER; i++) {
		struct task t = a_task();
		struct record r = { .kind = REC_TASK_LOG, .id = t.id, .s1 = t.id, .s2 = "", .s3 = "", .body = "{}" };
		struct store_op ops[2] = { { .kind = SOP_TASK_INSERT, .task = &t },
					   { .kind = SOP_REC_PUT, .rec = &r, .expect_rev = REV_ABSENT } };
		struct store_unit u = { .ops = ops, .n = 2, .arena = &a, .error = &e };

		t.lane = i % 3;
		set_id(mine[i].id, t.id);
		switch (store_apply(store, &u)) {
		case OK: mine[i].outcome = ACKNOWLEDGED; break;
		case ERR_UNCERTAIN: mine[i].outcome = UNCERTAIN; break;
		case ERR_UNAVAILABLE:
		case ERR_DISK_FULL: mine[i].outcome = REFUSED; break;
		default:
			wrong++;
			fprintf(stderr, "%s\n", e.detail);
		}
		if (mine[i].outcome != ACKNOWLEDGED)
			usleep(300);
		arena_reset(&a);
	}
	arena_release(&a);
	writing--;
	return NULL;
}

static int say(const char *what, const char *detail)
{
	printf("%s %s\n", what, detail);
	return 1;
}

/* Each task is there or not as its writer was told, with its record; all that are there can be claimed once. */
static int check_outcomes(void)
{
	int n[UNCERTAIN + 1] = { 0 }, there = 0, claimed = 0, got;
	char agent[ID_TEXT];

	for (int i = 0; i < WRITERS * PER_WRITER; i++) {
		struct attempt *x = &attempts[i / PER_WRITER][i % PER_WRITER];
		struct task *t;
		struct record *r;

		if (store_task_get(store, x->id, &T.a, &t, &T.e) ||
		    store_rec_get(store, REC_TASK_LOG, x->id, &T.a, &r, &T.e))
			return say("cannot read:", T.e.detail);
		n[x->outcome]++;
		if (!t != !r)
			return say("half a unit:", x->id);
		if (!t && x->outcome == ACKNOWLEDGED)
			return say("acknowledged, and gone:", x->id);
		if (t && x->outcome == REFUSED)
			return say("refused, and there:", x->id);
		there += t != NULL;
	}
	id_new(agent);
	do {
		struct claim c = a_claim(agent, 100);
		struct task *out[100];

		if (store_tasks_claim(store, &c, &T.a, out, &got, &T.e))
			return say("claim:", T.e.detail);
		claimed += got;
	} while (got);
	printf("%d acknowledged, %d refused, %d uncertain; %d faults\n", n[ACKNOWLEDGED], n[REFUSED], n[UNCERTAIN],
	       (int)failed);
	if (claimed != there)
		return say("claimed are not those that are there", arena_printf(&T.a, "%d %d", claimed, there));
	if (n[REFUSED] < 10 || n[ACKNOWLEDGED] < 10 || n[UNCERTAIN] < 1)
		return say("hardly anything", "failed");
	return 0;
}

int role_faults(const char *uri, const char *arg)
{
	struct store_options o = { .uri = uri, .readers = 4, .timeout_ms = 2000 };
	pthread_t thread[WRITERS];
	unsigned seed = 11;

	(void)arg;
	arena_init(&T.a);
	error_init(&T.e, &T.a);
	register_faulty();
	if (store_open(&o, &store, &T.e))
		return say("open:", T.e.detail);
	writing = WRITERS;
	for (int i = 0; i < WRITERS; i++)
		pthread_create(&thread[i], NULL, write_under_faults, attempts[i]);
	for (int round = 0; writing; round++) {
		fault = NO_FAULT;
		usleep((useconds_t)(rand_r(&seed) % 4000));
		fault = round % FAULTS;
		usleep((useconds_t)(rand_r(&seed) % 2000));
	}
	fault = NO_FAULT;
	for (int i = 0; i < WRITERS; i++)
		pthread_join(thread[i], NULL);
	if (wrong)
		return say("an error that is none of the expected", "");
	int status = check_outcomes();

	store_close(store);
	/* and once more after a start from what is on the disk; an uncertain one may come up now */
	if (!status && store_open(&o, &store, &T.e))
		return say("open again:", T.e.detail);
	for (int i = 0; !status && i < WRITERS * PER_WRITER; i++) {
		struct attempt *x = &attempts[i / PER_WRITER][i % PER_WRITER];
		struct task *t;

		if (store_task_get(store, x->id, &T.a, &t, &T.e))
			return say("cannot read:", T.e.detail);
		if (!t && x->outcome == ACKNOWLEDGED)
			return say("acknowledged, and gone at last:", x->id);
		if (t && x->outcome == REFUSED)
			return say("refused, and there at last:", x->id);
	}
	store_close(store);
	return status;
}

static void failing_calls(void)
{
	int status;

	store_close(T.s);
	T.s = NULL;
	snprintf(T.uri, sizeof(T.uri), "sqlite://%s/state/faulty.db", T.dir);
	struct child c = child_start("faults", "");
	char *text = child_finish(&c, &status);

	if (status)
		printf("\n    %s", text);
	EQ(status, 0);
}

/* --- turns between processes -------------------------------------------------------------------------------------- */

/* A process that writes all the time from many threads does not keep others from writing. */
static void a_busy_neighbour(void)
{
	struct child c = child_start("writer", "quiet");
	int64_t worst = 0;
	char line[ID_TEXT];
	int status;

	EQ(read(c.out, line, ID_TEXT), ID_TEXT);	/* it has begun */
	for (int i = 0; i < 200; i++) {
		struct task t = a_task();
		int64_t begun = mono_us();

		OKAY(insert(T.s, &t));
		if (mono_us() - begun > worst)
			worst = mono_us() - begun;
	}
	kill(c.pid, SIGKILL);
	child_finish(&c, &status);
	CU_ASSERT_TRUE(worst < 1000000);
}

const struct contract_case cases_faults[] = {
	{ "system calls that fail", failing_calls },
	{ "a busy neighbour", a_busy_neighbour },
	{ NULL, NULL },
};
