// SPDX-License-Identifier: MIT
/*
 * What only MongoDB can be asked: a server that is no replica set, one that dies or hangs in the middle of
 * writes, a disk that is full. Each test runs a mongod of its own: MONGOD names the program, else
 * `tests/mongod find` does.
 */
#include "contract.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <mongoc/mongoc.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct server {
	char bin[256], dir[64], uri[128];
	int port;
	pid_t pid;
	bool set;	/* start it as a member of a replica set */
};

/* --- a mongod ------------------------------------------------------------------------------------------------ */

static bool find_mongod(char *out, size_t n)
{
	const char *given = getenv("MONGOD");

	if (given && *given)
		return snprintf(out, n, "%s", given) > 0 && access(out, X_OK) == 0;
	FILE *p = popen("env -u MONGODB_URI tests/mongod find 2>/dev/null", "r");
	bool good = p && fgets(out, (int)n, p);

	if (p)
		pclose(p);
	if (good)
		out[strcspn(out, "\n")] = '\0';
	return good && access(out, X_OK) == 0;
}

static int free_port(void)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(sin);
	int fd = socket(AF_INET, SOCK_STREAM, 0), port = 0;

	if (bind(fd, (struct sockaddr *)&sin, sizeof(sin)) == 0 && getsockname(fd, (struct sockaddr *)&sin, &len) == 0)
		port = ntohs(sin.sin_port);
	close(fd);
	return port;
}

static void server_start(struct server *s)
{
	char port[16], log[96];

	snprintf(port, sizeof(port), "%d", s->port);
	snprintf(log, sizeof(log), "%s.log", s->dir);
	s->pid = fork();
	if (s->pid)
		return;
	int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);

	prctl(PR_SET_PDEATHSIG, SIGKILL);	/* a test that gives up leaves none behind */
	dup2(fd, STDOUT_FILENO);
	dup2(fd, STDERR_FILENO);
	execl(s->bin, "mongod", "--dbpath", s->dir, "--port", port, "--bind_ip", "127.0.0.1", "--nounixsocket",
	      "--oplogSize", "64", "--wiredTigerCacheSizeGB", "0.25", "--setParameter",
	      "diagnosticDataCollectionEnabled=false", s->set ? "--replSet" : NULL, "rs0", NULL);
	_exit(127);
}

static void server_end(struct server *s, int sig)
{
	if (s->pid > 0) {
		kill(s->pid, sig);
		waitpid(s->pid, NULL, 0);
	}
	s->pid = 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static void server_remove(struct server *s)
{
	char log[96];

	server_end(s, SIGKILL);
	snprintf(log, sizeof(log), "%s.log", s->dir);
	unlink(log);
	nftw(s->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* Run one command until it succeeds and the answer has the field, for at most a minute. */
static bool ask(const struct server *s, const char *json, const char *field)
{
	char *uri = bson_strdup_printf("mongodb://127.0.0.1:%d/?directConnection=true&serverSelectionTimeoutMS=500", s->port);
	mongoc_client_t *c = mongoc_client_new(uri);
	bson_t *cmd = bson_new_from_json((const uint8_t *)json, -1, NULL), reply;
	bool good = false;

	for (int i = 0; i < 600 && !good; i++) {
		bson_iter_t it;

		good = mongoc_client_command_simple(c, "admin", cmd, NULL, &reply, NULL) &&
		       (!field || (bson_iter_init_find(&it, &reply, field) && bson_iter_as_bool(&it)));
		bson_destroy(&reply);
		if (!good)
			usleep(100000);
	}
	bson_destroy(cmd);
	mongoc_client_destroy(c);
	bson_free(uri);
	return good;
}

static bool server_primary(const struct server *s)
{
	return ask(s, "{\"hello\":1}", "isWritablePrimary");
}

static bool server_new(struct server *s, bool set)
{
	*s = (struct server){ .set = set };
	if (!find_mongod(s->bin, sizeof(s->bin)))
		return false;
	const char *tmp = getenv("TMPDIR");

	snprintf(s->dir, sizeof(s->dir), "%.40s/mcp-mongod.XXXXXX", tmp && *tmp ? tmp : "/tmp");
	s->port = free_port();
	snprintf(s->uri, sizeof(s->uri), "mongodb://127.0.0.1:%d/faults", s->port);
	return mkdtemp(s->dir) != NULL;
}

static bool server_initiate(const struct server *s)
{
	char *json = bson_strdup_printf("{\"replSetInitiate\":{\"_id\":\"rs0\",\"members\":[{\"_id\":0,"
					"\"host\":\"127.0.0.1:%d\"}]}}", s->port);
	bool good = ask(s, "{\"hello\":1}", NULL) && ask(s, json, NULL) && server_primary(s);

	bson_free(json);
	return good;
}

static enum err open_at(const struct server *s, int timeout_ms, struct store **out)
{
	struct store_options o = { .uri = s->uri, .readers = 8, .timeout_ms = timeout_ms };

	error_init(&T.e, &T.a);
	return store_open(&o, out, &T.e);
}

/* --- what is refused at the door ------------------------------------------------------------------------------- */

static void no_replica_set(void)
{
	struct server s;
	struct store *store;

	if (!server_new(&s, false))
		SKIP("no mongod");
	server_start(&s);
	CU_ASSERT_TRUE(ask(&s, "{\"hello\":1}", NULL));
	CU_ASSERT_EQUAL(open_at(&s, 1000, &store), ERR_VALIDATION);
	CU_ASSERT_PTR_NULL(store);
	CU_ASSERT_PTR_NOT_NULL(strstr(T.e.message, "rs.initiate()"));
	server_end(&s, SIGKILL);
	/* a member of a set that has not been initiated */
	s.set = true;
	server_start(&s);
	CU_ASSERT_TRUE(ask(&s, "{\"hello\":1}", NULL));
	CU_ASSERT_EQUAL(open_at(&s, 1000, &store), ERR_VALIDATION);
	CU_ASSERT_PTR_NOT_NULL(strstr(T.e.message, "rs.initiate()"));
	server_end(&s, SIGKILL);
	/* nobody there */
	CU_ASSERT_EQUAL(open_at(&s, 500, &store), ERR_UNAVAILABLE);
	CU_ASSERT_PTR_NOT_NULL(strstr(T.e.message, "127.0.0.1"));
	server_remove(&s);
}

/* --- a server that dies or hangs ------------------------------------------------------------------------------- */

enum fate { ACKNOWLEDGED, UNTOUCHED, UNKNOWN };

struct note {
	char id[ID_TEXT];
	bool pair;		/* a unit of two ops */
	enum fate inserted, completed;
};

struct worker {
	pthread_t thread;
	struct store *s;
	struct note *notes;
	int n, max;
	int64_t longest;	/* ms that one call took */
	int odd;		/* answers that must not be */
	_Atomic bool *stop;
	_Atomic int *done;	/* acknowledged by all */
};

static enum fate fate_of(struct worker *w, enum err err)
{
	if (err == OK)
		++*w->done;
	else if (err != ERR_UNAVAILABLE && err != ERR_UNCERTAIN && err != ERR_DISK_FULL)
		w->odd++;
	return err == OK ? ACKNOWLEDGED : err == ERR_UNCERTAIN ? UNKNOWN : UNTOUCHED;
}

static enum err timed(struct worker *w, struct store_unit *u)
{
	int64_t from = mono_us();
	enum err err = store_apply(w->s, u);
	int64_t took = (mono_us() - from) / 1000;

	if (took > w->longest)
		w->longest = took;
	return err;
}

static void one_note(struct worker *w, struct arena *a, bool pair)
{
	struct note *note = &w->notes[w->n++];
	struct error e;
	struct task t = a_task();
	struct record r = { .kind = REC_TASK_LOG, .id = t.id, .s1 = t.id, .s2 = "", .s3 = "", .body = "{}" };
	struct task_change c = a_change(t.id, TF_STATUS | TF_RESULT);
	struct store_op ops[2] = {
		{ .kind = SOP_TASK_INSERT, .task = &t },
		{ .kind = SOP_REC_PUT, .rec = &r, .expect_rev = REV_ABSENT },
	};
	struct store_op done = { .kind = SOP_TASK_CHANGE, .change = &c };
	struct store_unit u = { .ops = ops, .n = pair ? 2 : 1, .arena = a, .error = &e };

	error_init(&e, a);
	set_id(note->id, t.id);
	note->pair = pair;
	note->inserted = fate_of(w, timed(w, &u));
	note->completed = UNTOUCHED;
	if (note->inserted != ACKNOWLEDGED)
		return;
	c.if_status = ST(TASK_PENDING);
	c.set.status = TASK_COMPLETED;
	c.set.result = "{\"ok\":true}";
	u = (struct store_unit){ .ops = &done, .n = 1, .arena = a, .error = &e };
	note->completed = fate_of(w, timed(w, &u));
}

static void *work(void *arg)
{
	struct worker *w = arg;
	struct arena a;

	arena_init(&a);
	while (!*w->stop && w->n < w->max) {
		one_note(w, &a, w->n % 3 == 0);
		arena_reset(&a);
	}
	arena_release(&a);
	return NULL;
}

#define WORKERS 8
#define NOTES 20000

struct crew {
	struct worker w[WORKERS];
	_Atomic bool stop;
	_Atomic int done;
};

static void crew_start(struct crew *c, struct store *s)
{
	c->stop = false;
	c->done = 0;
	for (int i = 0; i < WORKERS; i++) {
		c->w[i] = (struct worker){ .s = s, .max = NOTES, .stop = &c->stop, .done = &c->done };
		c->w[i].notes = arena_calloc(&T.a, NOTES, sizeof(struct note));
		pthread_create(&c->w[i].thread, NULL, work, &c->w[i]);
	}
}

static void crew_end(struct crew *c)
{
	c->stop = true;
	for (int i = 0; i < WORKERS; i++)
		pthread_join(c->w[i].thread, NULL);
}

/* Wait until that many more are acknowledged. */
static bool crew_moves(struct crew *c, int more, int seconds)
{
	int from = c->done;

	for (int i = 0; i < seconds * 100; i++) {
		if (c->done >= from + more)
			return true;
		usleep(10000);
	}
	return false;
}

/* Acknowledged is there, untouched is not, and of a unit of two there are both or none. */
static void check_notes(struct store *s, const struct crew *c, int unknown[1])
{
	int lost = 0, ghosts = 0, halves = 0, undone = 0;

	*unknown = 0;
	for (int i = 0; i < WORKERS; i++) {
		CU_ASSERT_EQUAL(c->w[i].odd, 0);
		for (int k = 0; k < c->w[i].n; k++) {
			const struct note *n = &c->w[i].notes[k];
			struct task *t = get(s, n->id);
			struct record *r = NULL;

			*unknown += (n->inserted == UNKNOWN) + (n->completed == UNKNOWN);
			lost += !t && n->inserted == ACKNOWLEDGED;
			ghosts += t && n->inserted == UNTOUCHED;
			if (n->pair) {
				OKAY(store_rec_get(s, REC_TASK_LOG, n->id, &T.a, &r, &T.e));
				halves += !t != !r;
			}
			if (!t)
				continue;
			undone += n->completed == ACKNOWLEDGED && t->status != TASK_COMPLETED;
			ghosts += n->completed == UNTOUCHED && t->status == TASK_COMPLETED;
			/* the two fields of one change go together */
			halves += (t->status == TASK_COMPLETED) != (t->result != NULL);
		}
	}
	CU_ASSERT_EQUAL(lost, 0);
	CU_ASSERT_EQUAL(undone, 0);
	CU_ASSERT_EQUAL(ghosts, 0);
	CU_ASSERT_EQUAL(halves, 0);
}

static void report(const struct crew *c, int unknown)
{
	int64_t longest = 0;

	for (int i = 0; i < WORKERS; i++)
		if (c->w[i].longest > longest)
			longest = c->w[i].longest;
	printf("(%d acknowledged, %d unknown, longest call %lld ms) ", c->done, unknown, (long long)longest);
}

static void killed_and_restarted(void)
{
	struct crew *c = arena_new(&T.a, struct crew);
	struct server s;
	struct store *store;
	int unknown;

	if (!server_new(&s, true))
		SKIP("no mongod");
	server_start(&s);
	CU_ASSERT_TRUE_FATAL(server_initiate(&s));
	OKAY(open_at(&s, 1500, &store));
	crew_start(c, store);
	for (int round = 0; round < 3; round++) {
		CU_ASSERT_TRUE(crew_moves(c, 300, 60));
		server_end(&s, SIGKILL);
		usleep(300000u + 700000u * (unsigned)round);
		server_start(&s);
		/* by itself: nobody opens the store again */
		CU_ASSERT_TRUE(crew_moves(c, 1, 60));
	}
	CU_ASSERT_TRUE(crew_moves(c, 300, 60));
	crew_end(c);
	CU_ASSERT_EQUAL(store_ping(store, &T.e), OK);
	check_notes(store, c, &unknown);
	report(c, unknown);
	store_close(store);
	server_remove(&s);
}

static void hung_server(void)
{
	struct crew *c = arena_new(&T.a, struct crew);
	struct server s;
	struct store *store;
	int unknown;

	if (!server_new(&s, true))
		SKIP("no mongod");
	server_start(&s);
	CU_ASSERT_TRUE_FATAL(server_initiate(&s));
	OKAY(open_at(&s, 1000, &store));
	crew_start(c, store);
	CU_ASSERT_TRUE(crew_moves(c, 100, 60));
	kill(s.pid, SIGSTOP);
	usleep(6000000);
	kill(s.pid, SIGCONT);
	CU_ASSERT_TRUE(crew_moves(c, 300, 60));
	crew_end(c);
	check_notes(store, c, &unknown);
	report(c, unknown);
	for (int i = 0; i < WORKERS; i++)
		CU_ASSERT_TRUE(c->w[i].longest < 15000);
	store_close(store);
	server_remove(&s);
}

/* A server that is shut down in order tells so: nothing is unknown that need not be. */
static void orderly_restart(void)
{
	struct crew *c = arena_new(&T.a, struct crew);
	struct server s;
	struct store *store;
	int unknown;

	if (!server_new(&s, true))
		SKIP("no mongod");
	server_start(&s);
	CU_ASSERT_TRUE_FATAL(server_initiate(&s));
	OKAY(open_at(&s, 1500, &store));
	crew_start(c, store);
	CU_ASSERT_TRUE(crew_moves(c, 200, 60));
	server_end(&s, SIGTERM);
	server_start(&s);
	CU_ASSERT_TRUE(crew_moves(c, 200, 60));
	crew_end(c);
	check_notes(store, c, &unknown);
	report(c, unknown);
	store_close(store);
	server_remove(&s);
}

/* --- a full disk ------------------------------------------------------------------------------------------------- */

static bool small_disk(const char *dir)
{
	return unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
	       mount("mcp", dir, "tmpfs", 0, "size=400m") == 0;
}

static void leave_room(const char *path, long long bytes)
{
	int fd = open(path, O_WRONLY | O_CREAT, 0600);
	static char block[1 << 16];
	struct stat st;

	while (fd >= 0 && write(fd, block, sizeof(block)) > 0)
		;
	if (fd >= 0 && fstat(fd, &st) == 0 && ftruncate(fd, st.st_size > bytes ? st.st_size - bytes : 0))
		printf("(cannot leave room) ");
	close(fd);
}

/* mongod ends itself when its journal finds no room; what it had said yes to must be there afterwards. */
static void full_disk(void)
{
	struct crew *c = arena_new(&T.a, struct crew);
	struct server s;
	struct store *store;
	char filler[96];
	int unknown, failed = 0;

	if (!server_new(&s, true))
		SKIP("no mongod");
	if (!small_disk(s.dir)) {
		server_remove(&s);
		SKIP("no right to mount a small disk");
	}
	server_start(&s);
	CU_ASSERT_TRUE_FATAL(server_initiate(&s));
	OKAY(open_at(&s, 1000, &store));
	crew_start(c, store);
	CU_ASSERT_TRUE(crew_moves(c, 300, 60));
	snprintf(filler, sizeof(filler), "%s/filler", s.dir);
	leave_room(filler, 1 << 20);
	struct task t = a_task();

	t.parameters = memset(arena_zalloc(&T.a, 1 << 20), '1', (1 << 20) - 1);
	for (int i = 0; i < 200 && !failed; i++) {
		id_new(t.id);
		enum err err = insert(store, &t);

		failed = err;
	}
	CU_ASSERT_TRUE(failed == ERR_DISK_FULL || failed == ERR_UNCERTAIN || failed == ERR_UNAVAILABLE);
	unlink(filler);
	server_end(&s, SIGKILL);
	server_start(&s);
	CU_ASSERT_TRUE(crew_moves(c, 100, 60));
	crew_end(c);
	check_notes(store, c, &unknown);
	printf("(first error: %s) ", err_name((enum err)failed));
	report(c, unknown);
	store_close(store);
	server_end(&s, SIGKILL);
	umount2(s.dir, MNT_DETACH);
	server_remove(&s);
}

/* --- what is in the database ------------------------------------------------------------------------------------- */

/* The validators refuse what no code of ours would write. */
static void validators(void)
{
	static const char *const bad[] = {
		"{\"update\":\"tasks\",\"updates\":[{\"q\":{},\"u\":{\"$set\":{\"status\":\"lost\"}}}]}",
		"{\"update\":\"tasks\",\"updates\":[{\"q\":{},\"u\":{\"$set\":{\"priority\":2}}}]}",
		"{\"update\":\"tasks\",\"updates\":[{\"q\":{},\"u\":{\"$unset\":{\"fence\":1}}}]}",
		"{\"update\":\"tasks\",\"updates\":[{\"q\":{},\"u\":{\"$set\":{\"created_at\":\"today\"}}}]}",
		"{\"update\":\"users\",\"updates\":[{\"q\":{},\"u\":{\"$set\":{\"rev\":\"1\"}}}]}",
		"{\"update\":\"users\",\"updates\":[{\"q\":{},\"u\":{\"$set\":{\"username\":7}}}]}",
	};
	mongoc_uri_t *uri = mongoc_uri_new(T.uri);
	mongoc_client_t *c = mongoc_client_new_from_uri(uri);
	struct record r = { .kind = REC_USER, .id = "u1", .s1 = "ann", .s2 = "", .s3 = "", .body = "{}" };
	struct task t = a_task();

	OKAY(insert(T.s, &t));
	OKAY(put(T.s, &r, REV_ABSENT, NULL, NULL));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		bson_t *cmd = bson_new_from_json((const uint8_t *)bad[i], -1, NULL), reply;

		CU_ASSERT_PTR_NOT_NULL_FATAL(cmd);
		CU_ASSERT_TRUE(mongoc_client_command_simple(c, mongoc_uri_get_database(uri), cmd, NULL, &reply, NULL));
		CU_ASSERT_TRUE(bson_has_field(&reply, "writeErrors.0.code"));
		bson_destroy(&reply);
		bson_destroy(cmd);
	}
	mongoc_client_destroy(c);
	mongoc_uri_destroy(uri);
}

/* One document holds 16 MB: more is refused before anything is sent, and the rest of a batch is not harmed. */
static void too_large(void)
{
	struct task t = a_task(), small = a_task();
	struct store_op ops[2] = { { .kind = SOP_TASK_INSERT, .task = &small }, { .kind = SOP_TASK_INSERT, .task = &t } };
	struct store_unit u = { .ops = ops, .n = 2, .arena = &T.a, .error = &T.e };

	t.parameters = memset(arena_zalloc(&T.a, 17 << 20), '1', (17 << 20) - 1);
	EXPECT(insert(T.s, &t), ERR_TOO_LARGE);
	EXPECT(store_apply(T.s, &u), ERR_TOO_LARGE);
	CU_ASSERT_PTR_NOT_NULL(strstr(T.e.detail, "16 MB"));
	CU_ASSERT_PTR_NULL(get(T.s, small.id));
	/* grown too large by a change: the server says so */
	t.parameters = memset(arena_zalloc(&T.a, 10 << 20), '1', (10 << 20) - 1);
	OKAY(insert(T.s, &t));
	OKAY(insert(T.s, &small));
	struct task_change c = a_change(t.id, TF_RESULT), fine = a_change(small.id, TF_RESULT);

	c.set.result = t.parameters;
	fine.set.result = "{}";
	EXPECT(change(T.s, &c, NULL, NULL), ERR_TOO_LARGE);
	struct store_op both[2] = { { .kind = SOP_TASK_CHANGE, .change = &c }, { .kind = SOP_TASK_CHANGE, .change = &fine } };

	u = (struct store_unit){ .ops = both, .n = 2, .arena = &T.a, .error = &T.e };
	EXPECT(store_apply_each(T.s, &u), ERR_UNCERTAIN);
	CU_ASSERT_EQUAL(both[1].result, SOP_DONE);
	STR(get(T.s, small.id)->result, "{}");
	EXPECT(store_apply(T.s, &u), ERR_TOO_LARGE);
}

/* --- units that share a transaction ------------------------------------------------------------------------------- */

#define RACERS 16
#define PRIZES 40

struct racer {
	pthread_t thread;
	int wins, odd;
	char task[PRIZES][ID_TEXT];
	bool won[PRIZES];
};

/* A task and a record that only one can make: units of many threads at once, most of them refused. */
static void *race(void *arg)
{
	struct racer *r = arg;
	struct arena a;
	struct error e;

	arena_init(&a);
	for (int i = 0; i < PRIZES; i++) {
		char prize[24], own[ID_TEXT];
		struct task t = a_task();
		struct record rec = { .kind = REC_SETTING, .id = prize, .s1 = "", .s2 = "", .s3 = "", .body = "{}" };
		struct record mine = { .kind = REC_BLOB, .id = own, .s1 = "", .s2 = "", .s3 = "", .body = "{}" };
		struct store_op ops[3] = {
			{ .kind = SOP_TASK_INSERT, .task = &t },
			{ .kind = SOP_REC_PUT, .rec = &rec, .expect_rev = REV_ABSENT },
			{ .kind = SOP_REC_PUT, .rec = &mine, .expect_rev = REV_ANY },
		};
		struct store_unit u = { .ops = ops, .n = 3, .arena = &a, .error = &e };

		error_init(&e, &a);
		snprintf(prize, sizeof(prize), "prize%d", i);
		id_new(own);
		set_id(r->task[i], t.id);
		enum err err = store_apply(T.s, &u);

		r->won[i] = err == OK;
		r->wins += err == OK;
		r->odd += err == OK ? ops[2].rev != 1 : err != ERR_CONFLICT || ops[1].result != SOP_EXISTS;
		arena_reset(&a);
	}
	arena_release(&a);
	return NULL;
}

static void shared_transactions(void)
{
	struct racer *r = arena_calloc(&T.a, RACERS, sizeof(*r));
	int wins = 0;

	for (int i = 0; i < RACERS; i++)
		pthread_create(&r[i].thread, NULL, race, &r[i]);
	for (int i = 0; i < RACERS; i++) {
		pthread_join(r[i].thread, NULL);
		wins += r[i].wins;
		CU_ASSERT_EQUAL(r[i].odd, 0);
		for (int k = 0; k < PRIZES; k++)
			CU_ASSERT_EQUAL(get(T.s, r[i].task[k]) != NULL, r[i].won[k]);
	}
	CU_ASSERT_EQUAL(wins, PRIZES);
}

/* The queue's word on a lane is not taken: a task of a lane that does not fit stays, seen before or not. */
static bool fits_seven(void *arg, int64_t lane, const char *sig)
{
	(void)arg;
	return lane == 7 && sig && strstr(sig, "seven");
}

static void lanes_of_claims(void)
{
	struct claim c = a_claim("a-7", 3);
	struct task t[3], *out[3];
	char ids[3][ID_TEXT], agent[ID_TEXT];
	int n;

	id_new(agent);
	c.agent_id = agent;
	c.fits = fits_seven;
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < 3; i++) {
			t[i] = a_task();
			t[i].lane = i == 1 ? 8 + round : 7;
			t[i].lane_sig = i == 1 ? "{\"type\":\"eight\"}" : "{\"type\":\"seven\"}";
			OKAY(insert(T.s, &t[i]));
			set_id(ids[i], t[i].id);
		}
		OKAY(store_tasks_claim_ids(T.s, (const char (*)[ID_TEXT])ids, 3, &c, &T.a, out, &n, &T.e));
		EQ(n, 2);
		EQ(get(T.s, t[0].id)->status, TASK_RUNNING);
		EQ(get(T.s, t[1].id)->status, TASK_PENDING);
		EQ(get(T.s, t[2].id)->status, TASK_RUNNING);
	}
}

const struct contract_case cases_mongo[] = {
	{ "units in one transaction", shared_transactions },
	{ "lanes of claims by id", lanes_of_claims },
	{ "no replica set, no server", no_replica_set },
	{ "validators", validators },
	{ "too large for a document", too_large },
	{ "mongod killed in the middle of writes", killed_and_restarted },
	{ "mongod hangs in the middle of writes", hung_server },
	{ "mongod restarted in the middle of writes", orderly_restart },
	{ "mongod's disk is full", full_disk },
	{ NULL, NULL },
};
