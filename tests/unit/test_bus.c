// SPDX-License-Identifier: MIT
/* lib/bus with a Redis that is well: what every function does. Faults are in test_bus_faults.c. */
#include <CUnit/Basic.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/json.h"
#include "lib/base/log.h"
#include "lib/bus/bus.h"
#include "lib/bus/bus_internal.h"
#include "redis_fixture.h"

void suite_bus(void);

static struct redis redis;
static struct bus *bus;
static char proc[ID_TEXT];
static struct arena arena;
static struct error error;

static int setup(void)
{
	arena_init(&arena);
	error_init(&error, &arena);
	log_set_level(LOG_ERROR);
	id_new(proc);
	if (!redis_init(&redis) || !redis_start(&redis, NULL))
		return 1;
	struct bus_options o = { .url = redis.url, .proc_id = proc };

	return bus_open(&o, &bus, &error) != OK || !bus_up(bus);
}

static int teardown(void)
{
	bus_close(bus);
	log_set_level(LOG_INFO);
	redis_release(&redis);
	arena_release(&arena);
	return 0;
}

/* Every test begins with an empty, warm Redis. */
static void fresh(void)
{
	CU_ASSERT_STRING_EQUAL(redis_text(&redis, "FLUSHALL"), "OK");
	CU_ASSERT_EQUAL(bus_queue_clear(bus), OK);
	CU_ASSERT_EQUAL(bus_set_warm(bus), OK);
	arena_reset(&arena);
	error_init(&error, &arena);
}

static const char *keyed(const char *fmt, const char *id)
{
	static char text[512];
	const char *at = strstr(fmt, "%s");

	snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - fmt), fmt, id, at + 2);
	return text;
}

/* --- URL -------------------------------------------------------------------------------------- */

static void good_url(const char *url, const char *host, int port, const char *path, const char *user,
		     const char *pass, int db)
{
	struct bus_url u;

	CU_ASSERT_EQUAL_FATAL(bus_url_parse(url, &u, &error), OK);
	CU_ASSERT(host ? u.host && !strcmp(u.host, host) : !u.host);
	CU_ASSERT(path ? u.path && !strcmp(u.path, path) : !u.path);
	CU_ASSERT(user ? u.user && !strcmp(u.user, user) : !u.user);
	CU_ASSERT(pass ? u.pass && !strcmp(u.pass, pass) : !u.pass);
	CU_ASSERT_EQUAL(u.db, db);
	if (host)
		CU_ASSERT_EQUAL(u.port, port);
	bus_url_release(&u);
}

static void test_url(void)
{
	static const char *const bad[] = {
		"", "redis:/x", "http://127.0.0.1", "127.0.0.1:6379", "redis://h:0", "redis://h:99999", "redis://h:x",
		"redis://h/x", "redis://h/1/2", "redis://h?x=1", "redis://h?db=", "redis://user@h", "redis://:@h",
		"redis://a:b%2@h", "redis://a:b%00@h", "redis://[::1", "redis://[::1]x", "unix://", "unix:///",
		"unix://relative/path", "unix:///a?db=-1", "redis://h/99999999999",
	};
	char path[300];

	good_url("redis://127.0.0.1:6379/0", "127.0.0.1", 6379, NULL, NULL, NULL, 0);
	good_url("redis://", "127.0.0.1", 6379, NULL, NULL, NULL, 0);
	good_url("REDIS://db.example", "db.example", 6379, NULL, NULL, NULL, 0);
	good_url("redis://:s3cret@h:7000/3", "h", 7000, NULL, NULL, "s3cret", 3);
	good_url("redis://me:p%40ss%2fw:x@h?db=2", "h", 6379, NULL, "me", "p@ss/w:x", 2);
	good_url("redis://:a@b@[::1]:7001", "::1", 7001, NULL, NULL, "a@b", 0);
	good_url("unix:///run/redis.sock", NULL, 0, "/run/redis.sock", NULL, NULL, 0);
	good_url("redis+unix:///run/my%20redis.sock?db=4", NULL, 0, "/run/my redis.sock", NULL, NULL, 4);
	good_url("unix://u:p@/run/r.sock", NULL, 0, "/run/r.sock", "u", "p", 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct bus_url u;

		error_init(&error, &arena);
		if (bus_url_parse(bad[i], &u, &error) != ERR_VALIDATION || !error.message[0])
			CU_FAIL(bad[i]);
	}
	memset(path, 'a', sizeof(path));
	memcpy(path, "unix:///", 8);
	path[200] = '\0';
	struct bus_url u;

	CU_ASSERT_EQUAL(bus_url_parse(path, &u, &error), ERR_VALIDATION);
	CU_ASSERT_EQUAL(bus_url_parse("rediss://:hush@h:6380", &u, &error), ERR_VALIDATION);
	CU_ASSERT_PTR_NOT_NULL(strstr(error.message, "stunnel"));
	CU_ASSERT_PTR_NULL(strstr(error.message, "hush"));
	struct bus_options o = { .url = "rediss://h", .proc_id = proc };
	struct bus *none;
	struct bus_listen *no_listener;

	CU_ASSERT_EQUAL(bus_open(&o, &none, &error), ERR_VALIDATION);
	CU_ASSERT_PTR_NULL(none);
	CU_ASSERT_EQUAL(bus_listen(&o, NULL, NULL, &no_listener, &error), ERR_VALIDATION);
	bus_close(NULL);
	bus_listen_stop(NULL);
}

/* --- gate --------------------------------------------------------------------------------------- */

static void test_gate(void)
{
	struct gate g = { .jti = "token-1", .subject = "agent-1" };

	fresh();
	CU_ASSERT_EQUAL(bus_gate(bus, &g), OK);
	CU_ASSERT(g.warm && !g.revoked && !g.limited);
	CU_ASSERT_EQUAL(g.cutoff, 0);
	CU_ASSERT_EQUAL(g.subject_rev, 0);
	CU_ASSERT_EQUAL(bus_revoke(bus, "token-1", 100), OK);
	CU_ASSERT_EQUAL(bus_revoke(bus, "token-2", 0), OK);
	CU_ASSERT_EQUAL(bus_subject(bus, "agent-1", 1700000000, 7), OK);
	CU_ASSERT_EQUAL(bus_gate(bus, &g), OK);
	CU_ASSERT(g.warm && g.revoked);
	CU_ASSERT_EQUAL(g.cutoff, 1700000000);
	CU_ASSERT_EQUAL(g.subject_rev, 7);
	CU_ASSERT(redis_int(&redis, "TTL {mcp}:revoked:token-1") > 90);
	CU_ASSERT_EQUAL(redis_int(&redis, "EXISTS {mcp}:revoked:token-2"), 0);
	/* What is known is never taken back by news that come late. */
	CU_ASSERT_EQUAL(bus_subject(bus, "agent-1", 0, 6), OK);
	CU_ASSERT_EQUAL(bus_subject(bus, "agent-1", 1600000000, 9), OK);
	CU_ASSERT_EQUAL(bus_gate(bus, &g), OK);
	CU_ASSERT_EQUAL(g.cutoff, 1700000000);
	CU_ASSERT_EQUAL(g.subject_rev, 9);
	/* All that may be left out. */
	g = (struct gate){ .subject = "agent-1" };
	CU_ASSERT_EQUAL(bus_gate(bus, &g), OK);
	CU_ASSERT(g.warm && !g.revoked && g.subject_rev == 9);
	g = (struct gate){ .rate_key = "api:x", .limit = 5, .cost = 1, .jti = "token-1", .subject = "agent-1" };
	CU_ASSERT_EQUAL(bus_gate(bus, &g), OK);
	CU_ASSERT(g.warm && g.revoked && g.subject_rev == 9 && g.remaining == 4);
	g = (struct gate){ .rate_key = "api:x", .limit = 0, .cost = 1 };
	CU_ASSERT_EQUAL(bus_gate(bus, &g), OK);
	CU_ASSERT(g.warm && !g.limited);
}

/* A rate key whose window lasts for some seconds yet, so that no test meets the window's end. */
static const char *calm_key(const char *name)
{
	static char key[64];
	int64_t count;
	int reset;

	for (int i = 0;; i++) {
		snprintf(key, sizeof(key), "api:%s-%d", name, i);
		CU_ASSERT_EQUAL_FATAL(bus_peek(bus, key, &count, &reset), OK);
		if (reset > 30)
			return key;
	}
}

static void test_rate(void)
{
	fresh();
	struct gate g = { .rate_key = calm_key("rate"), .limit = 10, .cost = 4 };
	int64_t count;
	int reset;

	CU_ASSERT_EQUAL(bus_gate(bus, &g), OK);
	CU_ASSERT(!g.limited && g.remaining == 6 && g.reset_s > 25 && g.reset_s <= 60);
	CU_ASSERT_EQUAL(bus_gate(bus, &g), OK);
	CU_ASSERT(!g.limited && g.remaining == 2);
	CU_ASSERT_EQUAL(bus_gate(bus, &g), OK);
	CU_ASSERT(g.limited && g.remaining == 2);	/* nothing was counted … */
	g.cost = 1;
	CU_ASSERT_EQUAL(bus_gate(bus, &g), OK);
	CU_ASSERT(!g.limited && g.remaining == 1);	/* … so a smaller one still fits */
	CU_ASSERT_EQUAL(bus_gate(bus, &g), OK);
	CU_ASSERT(!g.limited && g.remaining == 0);
	CU_ASSERT_EQUAL(bus_gate(bus, &g), OK);
	CU_ASSERT(g.limited && g.remaining == 0);
	g.cost = 2;
	CU_ASSERT_EQUAL(bus_gate(bus, &g), OK);
	CU_ASSERT(g.limited && g.remaining == 0);
	CU_ASSERT_EQUAL(bus_peek(bus, g.rate_key, &count, &reset), OK);
	CU_ASSERT(count >= 10);
	g.cost = 1;
	/* The next window begins at zero. */
	clock_shift((int64_t)g.reset_s * 1000);
	CU_ASSERT_EQUAL(bus_gate(bus, &g), OK);
	clock_shift(-(int64_t)g.reset_s * 1000);
	CU_ASSERT(!g.limited && g.remaining == 9);
	/* Emptied within the window: it begins anew. */
	redis_text(&redis, "FLUSHALL");
	CU_ASSERT_EQUAL(bus_gate(bus, &g), OK);
	CU_ASSERT(!g.limited && g.remaining == 9 && !g.warm);
	/* No counter without an end. */
	char keys[512];

	snprintf(keys, sizeof(keys), "%s", redis_text(&redis, keyed("KEYS {mcp}:rate:%s:*", g.rate_key)));
	for (char *p = keys, *key; (key = strsep(&p, " "));)
		CU_ASSERT(redis_int(&redis, keyed("TTL %s", key)) > 0);
}

static void test_count(void)
{
	fresh();
	const char *key = calm_key("count");
	int64_t count = 9;
	int reset;

	CU_ASSERT_EQUAL(bus_peek(bus, key, &count, &reset), OK);
	CU_ASSERT_EQUAL(count, 0);
	for (int i = 1; i <= 3; i++) {
		CU_ASSERT_EQUAL(bus_count(bus, key, &count, &reset), OK);
		CU_ASSERT_EQUAL(count, i);
	}
	CU_ASSERT(reset > 0 && reset <= 60);
	CU_ASSERT_EQUAL(bus_peek(bus, key, &count, &reset), OK);
	CU_ASSERT_EQUAL(count, 3);
	char name[128];

	snprintf(name, sizeof(name), "TTL %s", redis_text(&redis, keyed("KEYS {mcp}:rate:%s:*", key)));
	CU_ASSERT(redis_int(&redis, name) > 0);
	/* A caller's id of any length has its own counter. */
	char longer[500];

	memset(longer, 'k', sizeof(longer));
	longer[499] = '\0';
	CU_ASSERT_EQUAL(bus_count(bus, longer, &count, &reset), OK);
	CU_ASSERT_EQUAL(bus_count(bus, longer, &count, &reset), OK);
	CU_ASSERT(count == 2 || reset == 60);
}

struct hammer {
	const char *key;
	int calls, limit, cost;
	_Atomic int allowed, limited, failed;
};

static void *hammer(void *arg)
{
	struct hammer *h = arg;

	for (int i = 0; i < h->calls; i++) {
		struct gate g = { .jti = "j", .subject = "s", .rate_key = h->key, .limit = h->limit, .cost = h->cost };

		if (bus_gate(bus, &g) || !g.warm || g.subject_rev != 3)
			h->failed++;
		else if (g.limited)
			h->limited++;
		else
			h->allowed++;
	}
	return NULL;
}

static void hammer_with(const char *name, int cost)
{
	pthread_t threads[32];
	struct hammer h = { .key = calm_key(name), .calls = 300, .limit = 5000, .cost = cost };
	int64_t count;
	int reset;

	for (int i = 0; i < 32; i++)
		CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, hammer, &h), 0);
	for (int i = 0; i < 32; i++)
		pthread_join(threads[i], NULL);
	CU_ASSERT_EQUAL(h.failed, 0);
	CU_ASSERT_EQUAL(h.allowed, 5000 / cost);
	CU_ASSERT_EQUAL(h.limited, 32 * 300 - 5000 / cost);
	CU_ASSERT_EQUAL(bus_peek(bus, h.key, &count, &reset), OK);
	CU_ASSERT(count >= 5000 / cost * cost);
}

/* 32 threads over two connections: each gets its own answer, and the limit is exact. */
static void test_gate_threads(void)
{
	fresh();
	CU_ASSERT_EQUAL(bus_subject(bus, "s", 0, 3), OK);
	hammer_with("ones", 1);
	hammer_with("threes", 3);
}

/* --- agents ----------------------------------------------------------------------------------------- */

static void test_beats(void)
{
	struct beat a = { .at = 1000, .status = "busy", .load = 0.25, .resources = "{\"cpu\":4}", .metrics = "{\"x\":1}" };
	struct beat b = { .at = 2000, .load = -1 };
	struct beat *list;
	struct beat out[3];
	int n;

	fresh();
	id_new(a.agent_id);
	id_new(b.agent_id);
	char c[ID_TEXT];

	id_new(c);
	CU_ASSERT_EQUAL(bus_beat(bus, &a, NULL, NULL), OK);
	CU_ASSERT_EQUAL(bus_beat(bus, &b, NULL, NULL), OK);
	const char *const ids[] = { b.agent_id, c, a.agent_id };

	CU_ASSERT_EQUAL(bus_beats(bus, ids, 3, &arena, out), OK);
	CU_ASSERT(out[0].at == 2000 && !out[0].status && out[0].load < 0 && !out[0].metrics);
	CU_ASSERT_STRING_EQUAL(out[0].agent_id, b.agent_id);
	CU_ASSERT(out[1].at == 0 && !out[1].status);
	CU_ASSERT(out[2].at == 1000 && out[2].load > 0.249 && out[2].load < 0.251);
	CU_ASSERT_STRING_EQUAL(out[2].status, "busy");
	CU_ASSERT_STRING_EQUAL(out[2].resources, "{\"cpu\":4}");
	/* What a beat does not say stays as it was said before. */
	struct beat again = { .at = 1500, .load = 0.5 };

	memcpy(again.agent_id, a.agent_id, ID_TEXT);
	CU_ASSERT_EQUAL(bus_beat(bus, &again, NULL, NULL), OK);
	CU_ASSERT_EQUAL(bus_beats_stale(bus, 2000, 10, &arena, &list, &n), OK);
	CU_ASSERT_EQUAL_FATAL(n, 1);
	CU_ASSERT_STRING_EQUAL(list[0].agent_id, a.agent_id);
	CU_ASSERT(list[0].at == 1500 && list[0].load > 0.4);
	CU_ASSERT_STRING_EQUAL(list[0].status, "busy");
	CU_ASSERT_EQUAL(bus_beats_since(bus, 1500, 10, &arena, &list, &n), OK);
	CU_ASSERT_EQUAL_FATAL(n, 1);
	CU_ASSERT_STRING_EQUAL(list[0].agent_id, b.agent_id);
	CU_ASSERT_EQUAL(bus_beats_since(bus, 0, 1, &arena, &list, &n), OK);
	CU_ASSERT_EQUAL(n, 1);
	CU_ASSERT_EQUAL(bus_agent_forget(bus, a.agent_id), OK);
	CU_ASSERT_EQUAL(bus_beats_stale(bus, 9000, 10, &arena, &list, &n), OK);
	CU_ASSERT_EQUAL(n, 1);
	CU_ASSERT_EQUAL(redis_int(&redis, keyed("EXISTS {mcp}:agents:status:%s", a.agent_id)), 0);
	/* More than one round trip's worth. */
	static char many[600][ID_TEXT];
	static const char *many_ids[600];
	static struct beat many_out[600];

	for (int i = 0; i < 600; i++) {
		id_new(many[i]);
		many_ids[i] = many[i];
	}
	memcpy(b.agent_id, many[599], ID_TEXT);
	CU_ASSERT_EQUAL(bus_beat(bus, &b, NULL, NULL), OK);
	CU_ASSERT_EQUAL(bus_beats(bus, many_ids, 600, &arena, many_out), OK);
	CU_ASSERT(many_out[0].at == 0 && many_out[599].at == 2000);
	CU_ASSERT_EQUAL(bus_beats(bus, NULL, 0, &arena, NULL), OK);
}

static void test_index(void)
{
	const char *const first[] = { "nlp", "vision" };
	const char *const second[] = { "vision", "speech" };

	fresh();
	CU_ASSERT_EQUAL(bus_agent_index(bus, "a1", NULL, 0, first, 2), OK);
	CU_ASSERT_EQUAL(redis_int(&redis, "SISMEMBER {mcp}:agents:capabilities:nlp a1"), 1);
	CU_ASSERT_EQUAL(bus_agent_index(bus, "a1", first, 2, second, 2), OK);
	CU_ASSERT_EQUAL(redis_int(&redis, "EXISTS {mcp}:agents:capabilities:nlp"), 0);
	CU_ASSERT_EQUAL(redis_int(&redis, "SISMEMBER {mcp}:agents:capabilities:vision a1"), 1);
	CU_ASSERT_EQUAL(redis_int(&redis, "SISMEMBER {mcp}:agents:capabilities:speech a1"), 1);
	CU_ASSERT_EQUAL(bus_agent_index(bus, "a1", second, 2, NULL, 0), OK);
	CU_ASSERT_STRING_EQUAL(redis_text(&redis, "KEYS {mcp}:agents:capabilities:*"), "");
	CU_ASSERT_EQUAL(bus_agent_index(bus, "a1", NULL, 0, NULL, 0), OK);
}

/* --- the small ones --------------------------------------------------------------------------------- */

static void post_run(const char *status, double progress, int stage, bool over)
{
	struct bus_post p = { .run = { "e1", status, progress, stage, over } };

	bus_post(bus, &p, 1);
	CU_ASSERT(bus_drain(bus, 2000));
}

static void test_run_progress(void)
{
	post_run("running", 0.5, 3, false);
	CU_ASSERT_STRING_EQUAL(redis_text(&redis, "HMGET {mcp}:pipeline:e1:progress status progress current_stage"),
			       "running 0.5 3");
	CU_ASSERT_EQUAL(redis_int(&redis, "TTL {mcp}:pipeline:e1:progress"), -1);
	post_run("failed", 0.6, 4, true);
	CU_ASSERT(redis_int(&redis, "TTL {mcp}:pipeline:e1:progress") > 86000);
	post_run("running", 0.6, 4, false);
	CU_ASSERT_EQUAL(redis_int(&redis, "TTL {mcp}:pipeline:e1:progress"), -1);
}

static void test_cache(void)
{
	const char *value = "";

	fresh();
	CU_ASSERT_EQUAL(bus_cache_get(bus, "flask:1", &arena, &value), OK);
	CU_ASSERT_PTR_NULL(value);
	CU_ASSERT_EQUAL(bus_cache_set(bus, "flask:1", "a\r\nb", 300), OK);
	CU_ASSERT_EQUAL(bus_cache_get(bus, "flask:1", &arena, &value), OK);
	CU_ASSERT_STRING_EQUAL(value, "a\r\nb");
	CU_ASSERT(redis_int(&redis, "TTL {mcp}:flask:1") > 290);
	CU_ASSERT_EQUAL(bus_cache_del(bus, "flask:1"), OK);
	CU_ASSERT_EQUAL(redis_int(&redis, "EXISTS {mcp}:flask:1"), 0);
	CU_ASSERT_EQUAL(bus_cache_set(bus, "flask:2", "x", 0), OK);
	CU_ASSERT_EQUAL(redis_int(&redis, "EXISTS {mcp}:flask:2"), 0);

	int64_t us = 0;

	CU_ASSERT_EQUAL(bus_ping(bus, &us), OK);
	CU_ASSERT(us > 0 && us < 1000000);
}

static bool on_list(const char *id)
{
	char command[128];

	snprintf(command, sizeof(command), "ZSCORE {mcp}:procs %s", id);
	return redis_int(&redis, command) > 0;
}

static void test_procs(void)
{
	struct bus_options o = { .url = redis.url, .proc_id = "11111111-1111-4111-8111-111111111111", .connections = 1 };
	struct bus *other;
	struct bus_proc *dead;
	int n;

	fresh();
	CU_ASSERT_EQUAL_FATAL(bus_open(&o, &other, &error), OK);
	for (int i = 0; i < 100 && !(on_list(proc) && on_list(o.proc_id)); i++)
		usleep(20000);
	CU_ASSERT(on_list(proc));
	CU_ASSERT(on_list(o.proc_id));
	CU_ASSERT_EQUAL(bus_procs_dead(bus, 5000, &arena, &dead, &n), OK);
	CU_ASSERT_EQUAL(n, 0);
	/* One that was killed leaves its last sign behind; it is found once. */
	redis_text(&redis, "ZADD {mcp}:procs 1700000000000 22222222-2222-4222-8222-222222222222");
	CU_ASSERT_EQUAL(bus_procs_dead(bus, 5000, &arena, &dead, &n), OK);
	CU_ASSERT_EQUAL_FATAL(n, 1);
	CU_ASSERT_STRING_EQUAL(dead[0].id, "22222222-2222-4222-8222-222222222222");
	CU_ASSERT_EQUAL(dead[0].last_seen, 1700000000000);
	CU_ASSERT_EQUAL(bus_procs_dead(bus, 5000, &arena, &dead, &n), OK);
	CU_ASSERT_EQUAL(n, 0);
	bus_close(other);
	CU_ASSERT(!on_list("11111111-1111-4111-8111-111111111111"));
}

/* --- logins ------------------------------------------------------------------------------------------ */

static bool opens(const char *url, char trouble[BUS_TROUBLE])
{
	struct bus_options o = { .url = url, .proc_id = proc, .connections = 1 };
	struct bus *b;
	int64_t us;

	CU_ASSERT_EQUAL_FATAL(bus_open(&o, &b, &error), OK);
	bool up = bus_up(b);

	CU_ASSERT_EQUAL(bus_ping(b, &us), up ? OK : ERR_UNAVAILABLE);
	bus_trouble(b, trouble);
	bus_close(b);
	return up;
}

static void test_login(void)
{
	const char *const options[] = {
		"--requirepass", "right-one", "--user", "panel", "on", ">pan-el", "~{mcp}:*", "&{mcp}:*",
		"+@all", "-@dangerous", NULL,
	};
	struct redis locked;
	char url[200];
	char trouble[BUS_TROUBLE];

	CU_ASSERT_FATAL(redis_init(&locked));
	locked.password = "right-one";
	locked.port = free_port();
	CU_ASSERT_FATAL(redis_start(&locked, options));
	snprintf(url, sizeof(url), "redis://127.0.0.1:%d/0", locked.port);
	CU_ASSERT(!opens(url, trouble));
	CU_ASSERT_PTR_NOT_NULL(strstr(trouble, "NOAUTH"));
	snprintf(url, sizeof(url), "redis://:wrong-one@127.0.0.1:%d/0", locked.port);
	CU_ASSERT(!opens(url, trouble));
	CU_ASSERT_PTR_NOT_NULL(strstr(trouble, "WRONGPASS"));
	CU_ASSERT_PTR_NULL(strstr(trouble, "wrong-one"));
	snprintf(url, sizeof(url), "redis://:right-one@localhost:%d/2", locked.port);
	CU_ASSERT(opens(url, trouble));
	snprintf(url, sizeof(url), "redis://panel:pan-el@127.0.0.1:%d", locked.port);
	CU_ASSERT(opens(url, trouble));
	snprintf(url, sizeof(url), "unix://:right-one@%s?db=3", locked.sock);
	CU_ASSERT(opens(url, trouble));
	snprintf(url, sizeof(url), "unix://:right-one@%s?db=99", locked.sock);
	CU_ASSERT(!opens(url, trouble));
	CU_ASSERT_PTR_NOT_NULL(strstr(trouble, "SELECT"));
	redis_release(&locked);
}

void suite_bus(void)
{
	CU_pSuite s = CU_add_suite("bus", setup, teardown);

	CU_add_test(s, "URLs", test_url);
	CU_add_test(s, "gate", test_gate);
	CU_add_test(s, "rate", test_rate);
	CU_add_test(s, "count", test_count);
	CU_add_test(s, "gate by 32 threads", test_gate_threads);
	CU_add_test(s, "heartbeats", test_beats);
	CU_add_test(s, "capability index", test_index);
	CU_add_test(s, "cache, ping", test_cache);
	CU_add_test(s, "progress of executions", test_run_progress);
	CU_add_test(s, "processes", test_procs);
	CU_add_test(s, "logins", test_login);
}
