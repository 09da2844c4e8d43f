// SPDX-License-Identifier: MIT
/* What only the file store can be asked: the file itself, a full disk, another process in the way. */
#include "contract.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/store/store_sqlite.h"

static const char *db_path(void)
{
	return T.uri + strlen("sqlite://");
}

static int sql(const char *path, const char *text)
{
	sqlite3 *db;
	int rc = sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL);

	if (rc == SQLITE_OK)
		rc = sqlite3_exec(db, text, NULL, NULL, NULL);
	sqlite3_close(db);
	return rc;
}

static void modes(void)
{
	static const char *const suffix[] = { "", "-wal", "-shm", "-turn" };
	struct task t = a_task();
	struct stat st;

	OKAY(insert(T.s, &t));
	for (int i = 0; i < 4; i++) {
		EQ(stat(arena_printf(&T.a, "%s%s", db_path(), suffix[i]), &st), 0);
		EQ(st.st_mode & 0777, 0600);
	}
	EQ(stat(arena_printf(&T.a, "%s/state", T.dir), &st), 0);
	EQ(st.st_mode & 0777, 0700);
}

static void newer_schema(void)
{
	struct store_options o = { .uri = T.uri };
	struct store *s;

	store_close(T.s);
	T.s = NULL;
	EQ(sql(db_path(), "PRAGMA user_version=999"), SQLITE_OK);
	EXPECT(store_open(&o, &s, &T.e), ERR_VALIDATION);
	CU_ASSERT_PTR_NULL(s);
	CU_ASSERT_PTR_NOT_NULL(strstr(T.e.message, "999"));
	CU_ASSERT_PTR_NOT_NULL(strstr(T.e.message, "newer"));
}

static void foreign_files(void)
{
	struct store_options o = { .uri = T.uri };
	char *path = arena_printf(&T.a, "%s/other.db", T.dir);
	struct store *s;
	FILE *f;

	EQ(sql(path, "CREATE TABLE precious(x)"), SQLITE_OK);
	o.uri = arena_printf(&T.a, "sqlite://%s", path);
	EXPECT(store_open(&o, &s, &T.e), ERR_VALIDATION);
	EQ(sql(path, "SELECT x FROM precious"), SQLITE_OK);

	path = arena_printf(&T.a, "%s/text", T.dir);
	f = fopen(path, "w");
	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	for (int i = 0; i < 1000; i++)
		fputs("this is not a database\n", f);
	fclose(f);
	o.uri = arena_printf(&T.a, "sqlite://%s", path);
	error_init(&T.e, &T.a);
	EXPECT(store_open(&o, &s, &T.e), ERR_UNAVAILABLE);
	CU_ASSERT_TRUE(T.e.message[0] != '\0');

	o.uri = arena_printf(&T.a, "sqlite://%s/no/such/folder/x.db", T.dir);
	error_init(&T.e, &T.a);
	EXPECT(store_open(&o, &s, &T.e), ERR_UNAVAILABLE);
	CU_ASSERT_TRUE(T.e.message[0] != '\0');
}

/* --- the plans of the statements: nothing walks the whole table or sorts ------------------------------------------ */

static int check_plan(void *arg, int n, char **value, char **name)
{
	(void)n;
	(void)name;
	/* Walking a partial index that holds nothing else is what it is for. */
	if ((!strncmp(value[3], "SCAN tasks", 10) && !strstr(value[3], "USING INDEX tasks_slot_any")) ||
	    strstr(value[3], "TEMP B-TREE")) {
		printf("\n    %s: %s", (const char *)arg, value[3]);
		return 1;
	}
	return 0;
}

static void plans(void)
{
	static const struct { const char *name, *text; } stmts[] = {
#define X(name, text) { #name, text },
#include "lib/store/store_sqlite.def"
#undef X
	};
	sqlite3 *db;
	int bad = 0;

	EQ(sqlite3_open(db_path(), &db), SQLITE_OK);
	for (size_t i = 0; i < sizeof(stmts) / sizeof(stmts[0]); i++) {
		/* Skipping through an index from its beginning is a scan in name only: it ends after a row. */
		if (strncmp(stmts[i].text, "SELECT", 6) || strstr(stmts[i].text, "LIMIT 1"))
			continue;
		char *q = sqlite3_mprintf("EXPLAIN QUERY PLAN %s", stmts[i].text);

		bad += sqlite3_exec(db, q, check_plan, (void *)stmts[i].name, NULL) != SQLITE_OK;
		sqlite3_free(q);
	}
	sqlite3_close(db);
	EQ(bad, 0);
}

/* --- a full disk ------------------------------------------------------------------------------------------------------ */

#define FULL_TASKS 4000

static bool room(const char *dir, bool own_fs, bool more)
{
	struct rlimit lim;

	if (own_fs)
		return !mount("none", dir, NULL, MS_REMOUNT, more ? "size=64m" : "size=3m");
	if (getrlimit(RLIMIT_FSIZE, &lim))
		return false;
	lim.rlim_cur = more ? lim.rlim_max : 3 << 20;
	return !setrlimit(RLIMIT_FSIZE, &lim);
}

static bool there(struct store *s, const char *id)
{
	struct task *t;

	return store_task_get(s, id, &T.a, &t, &T.e) == OK && t;
}

static int full(const char *why)
{
	printf("%s\n", why);
	return 1;
}

/*
 * On a file system of 3 MB (or, where none can be mounted, with a limit on the size of files): what was
 * acknowledged is there, what was refused is not, reading goes on, and writing too once there is room.
 */
static int fill_disk(struct store *s, const char *dir, bool own_fs)
{
	static char (*ids)[ID_TEXT];
	char text[9000];
	struct task t;
	int n = 0, refused = 0;

	ids = xcalloc(FULL_TASKS, ID_TEXT);
	memset(text, '7', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	/* One refusal may make room, when it has the log copied; three in a row mean that it is full. */
	while (n < FULL_TASKS && refused < 3) {
		t = a_task();
		t.parameters = text;
		enum err err = insert(s, &t);

		if (err && err != ERR_DISK_FULL)
			return full(arena_printf(&T.a, "after %d: %s %s", n, err_name(err), T.e.detail));
		if (!err)
			set_id(ids[n++], t.id);
		refused = err ? refused + 1 : 0;
	}
	if (refused < 3)
		return full("it never was full");
	if (n < 20 || there(s, t.id))
		return full("the refused task is there");
	for (int i = 0; i < n; i++)
		if (!there(s, ids[i]))
			return full("an acknowledged task is gone");
	if (!room(dir, own_fs, true))
		return full("cannot make room");
	if (insert(s, &t) != OK || !there(s, t.id))
		return full(arena_printf(&T.a, "after room was made: %s", T.e.detail));
	for (int i = 0; i < n; i++)
		if (!there(s, ids[i]))
			return full("an acknowledged task is gone at the end");
	printf("%d tasks, %s\n", n, own_fs ? "own file system" : "size limit");
	return 0;
}

int role_fulldisk(const char *uri, const char *arg)
{
	const char *dir = strstr(uri, "://") + 3;
	struct store_options o = { .readers = 2 };
	struct store *s;
	char own[600];

	arena_init(&T.a);
	error_init(&T.e, &T.a);
	snprintf(own, sizeof(own), "%.*s", (int)(strrchr(dir, '/') - dir), dir);
	signal(SIGXFSZ, SIG_IGN);
	bool own_fs = !strcmp(arg, "mount") && !unshare(CLONE_NEWNS) &&
		      !mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) &&
		      !mount("none", own, "tmpfs", 0, "size=3m,mode=0700");

	if (!strcmp(arg, "mount") && !own_fs)
		return 77;
	if (!own_fs && !room(own, false, false))
		return 77;
	o.uri = uri;
	if (store_open(&o, &s, &T.e))
		return full(T.e.detail);
	int status = fill_disk(s, own, own_fs);

	store_close(s);
	return status;
}

static void run_full(const char *how)
{
	struct child c;
	int status;

	store_close(T.s);
	T.s = NULL;
	mkdir(arena_printf(&T.a, "%s/small", T.dir), 0700);
	snprintf(T.uri, sizeof(T.uri), "sqlite://%s/small/mcp.db", T.dir);
	c = child_start("fulldisk", how);
	char *text = child_finish(&c, &status);

	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		SKIP("no file system may be mounted here");
	if (status)
		printf("\n    %s", text);
	EQ(status, 0);
}

static void full_disk(void)
{
	run_full("mount");
}

static void size_limit(void)
{
	run_full("limit");
}

/* --- another process in the way ------------------------------------------------------------------------------------------ */

/* Keep SQLite's write lock until killed. */
int role_holder(const char *uri, const char *arg)
{
	sqlite3 *db;

	(void)arg;
	if (sqlite3_open_v2(uri + strlen("sqlite://"), &db, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK ||
	    sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL) != SQLITE_OK)
		return 1;
	if (write(STDOUT_FILENO, "held\n", 5) != 5)
		return 1;
	sleep(60);
	return 0;
}

static void *insert_one(void *arg)
{
	enum err *out = arg;
	struct arena a;
	struct error e;
	struct task t = a_task();
	struct store_op op = { .kind = SOP_TASK_INSERT, .task = &t };
	struct store_unit u = { .ops = &op, .n = 1, .arena = &a, .error = &e };

	arena_init(&a);
	error_init(&e, &a);
	*out = store_apply(T.s, &u);
	arena_release(&a);
	return NULL;
}

/* Somebody else holds the lock too long: callers get a clear answer in time, reads go on, writes recover. */
static void locked_out(void)
{
	struct store_options o = { .uri = T.uri, .readers = 2, .timeout_ms = 400 };
	pthread_t thread[4];
	enum err err[4];
	struct task t = a_task();
	char line[8];
	int status;

	OKAY(insert(T.s, &t));
	store_close(T.s);
	OKAY(store_open(&o, &T.s, &T.e));
	struct child c = child_start("holder", "");

	EQ(read(c.out, line, 5), 5);
	int64_t begun = mono_us();

	for (int i = 0; i < 4; i++)
		pthread_create(&thread[i], NULL, insert_one, &err[i]);
	for (int i = 0; i < 4; i++) {
		pthread_join(thread[i], NULL);
		EQ(err[i], ERR_UNAVAILABLE);
	}
	CU_ASSERT_TRUE(mono_us() - begun < 3000000);
	CU_ASSERT_PTR_NOT_NULL(get(T.s, t.id));
	kill(c.pid, SIGKILL);
	child_finish(&c, &status);
	t = a_task();
	OKAY(insert(T.s, &t));
	CU_ASSERT_PTR_NOT_NULL(get(T.s, t.id));
}

/* A process that stops while it holds the turn (a debugger, say) does not hang those who close. */
static void stopped_in_its_turn(void)
{
	struct store_options o = { .uri = T.uri, .readers = 2, .timeout_ms = 300 };
	struct flock fl = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 2 };
	int fd = open(arena_printf(&T.a, "%s-turn", db_path()), O_RDWR);
	struct task t = a_task();

	store_close(T.s);
	OKAY(store_open(&o, &T.s, &T.e));
	EQ(fcntl(fd, F_OFD_SETLK, &fl), 0);
	EXPECT(insert(T.s, &t), ERR_UNAVAILABLE);
	CU_ASSERT_PTR_NULL(get(T.s, t.id));
	store_close(T.s);
	close(fd);
	T.s = contract_open();
	CU_ASSERT_PTR_NOT_NULL_FATAL(T.s);
	OKAY(insert(T.s, &t));
}

/* The log does not grow without end while everybody writes and reads. */
static void log_stays_short(void)
{
	char text[3000];
	struct stat st;

	memset(text, '3', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	for (int i = 0; i < 400; i++) {
		struct task t[50];
		struct store_op ops[50];
		struct store_unit u = { .ops = ops, .n = 50, .arena = &T.a, .error = &T.e };

		for (int k = 0; k < 50; k++) {
			t[k] = a_task();
			t[k].parameters = text;
			ops[k] = (struct store_op){ .kind = SOP_TASK_INSERT, .task = &t[k] };
		}
		OKAY(store_apply_each(T.s, &u));
		get(T.s, t[0].id);
	}
	EQ(stat(arena_printf(&T.a, "%s-wal", db_path()), &st), 0);
	CU_ASSERT_TRUE(st.st_size < 96 << 20);
	store_close(T.s);
	T.s = NULL;
	EQ(stat(arena_printf(&T.a, "%s-wal", db_path()), &st), -1);	/* the last one to close leaves one file */
}

static int first_cell(void *arg, int n, char **cells, char **names)
{
	char **out = arg;

	(void)names;
	if (n && !*out)
		*out = arena_strdup(&T.a, cells[0] ? cells[0] : "");
	return 0;
}

/* What SQLite itself says of the file: "ok". */
static const char *integrity(void)
{
	sqlite3 *db;
	char *said = NULL;

	if (sqlite3_open(db_path(), &db) != SQLITE_OK ||
	    sqlite3_exec(db, "PRAGMA integrity_check", first_cell, &said, NULL) != SQLITE_OK)
		said = arena_strdup(&T.a, sqlite3_errmsg(db));
	sqlite3_close(db);
	return said;
}

/*
 * A group that needs no fsync and changes one page, after another process wrote: nothing but the COMMIT
 * itself brings that page to the log.
 */
static void lazy_after_another(void)
{
	static const char body[] = "{\"a\":%d}";
	struct store *other = contract_open();
	struct task t = a_task();
	struct record r = { .kind = REC_SETTING, .id = t.id, .s1 = "", .s2 = "", .s3 = "", .body = "{\"a\":0}" };
	int64_t rev;

	CU_ASSERT_PTR_NOT_NULL_FATAL(other);
	OKAY(put(T.s, &r, REV_ABSENT, &rev, NULL));
	for (int i = 1; i <= 20; i++) {
		struct task u = a_task();
		struct record *got;

		OKAY(insert(other, &u));
		r.body = arena_printf(&T.a, body, i % 10);
		struct store_op op = { .kind = SOP_REC_PUT, .rec = &r, .expect_rev = rev, .lazy = true };
		struct store_unit unit = { .ops = &op, .n = 1, .arena = &T.a, .error = &T.e };

		OKAY(store_apply(T.s, &unit));
		rev = op.rev;
		OKAY(store_rec_get(other, REC_SETTING, t.id, &T.a, &got, &T.e));
		CU_ASSERT_PTR_NOT_NULL_FATAL(got);
		STR(got->body, r.body);
		STR(integrity(), "ok");
		/* with a new connection each time, and sometimes a log that starts over */
		if (i % 3 == 0)
			contract_reopen();
		if (i % 4 == 0)
			EQ(sql(db_path(), "PRAGMA wal_checkpoint(RESTART)"), SQLITE_OK);
	}
	store_close(other);
}

const struct contract_case cases_sqlite[] = {
	{ "modes of the files", modes },
	{ "a newer schema is refused", newer_schema },
	{ "files of other programs", foreign_files },
	{ "plans of the statements", plans },
	{ "full disk", full_disk },
	{ "size limit", size_limit },
	{ "locked out by another process", locked_out },
	{ "a turn that never ends", stopped_in_its_turn },
	{ "the log stays short", log_stays_short },
	{ "a lazy group after another process", lazy_after_another },
	{ NULL, NULL },
};
