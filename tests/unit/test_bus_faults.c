// SPDX-License-Identifier: MIT
/* lib/bus with a Redis that is away, dies, hangs, restarts, is emptied, is full, or has become a replica. */
#include <CUnit/Basic.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/bus/bus.h"
#include "lib/bus/bus_internal.h"
#include "redis_fixture.h"

void suite_bus_faults(void);

#define TIMEOUT_MS 400
#define SLACK_MS 400	/* for a busy machine */

static const char *const durable[] = { "--appendonly", "yes", "--appendfsync", "always", NULL };

static struct redis redis;
static struct bus *bus;
static char proc[ID_TEXT];
static struct arena arena;
static struct error error;

static int setup(void)
{
	arena_init(&arena);
	error_init(&error, &arena);
	log_set_level(LOG_ERROR);	/* that Redis goes and comes is no news here */
	return 0;
}

static int teardown(void)
{
	log_set_level(LOG_INFO);
	arena_release(&arena);
	return 0;
}

/* Each test has its own Redis and bus. */
static void begin(bool running, const char *const *options)
{
	id_new(proc);
	error_init(&error, &arena);
	CU_ASSERT_FATAL(redis_init(&redis));
	if (running)
		CU_ASSERT_FATAL(redis_start(&redis, options));
	struct bus_options o = { .url = redis.url, .proc_id = proc, .timeout_ms = TIMEOUT_MS };

	CU_ASSERT_EQUAL_FATAL(bus_open(&o, &bus, &error), OK);
	CU_ASSERT_EQUAL(bus_up(bus), running);
}

static void end(void)
{
	bus_close(bus);
	redis_release(&redis);
	arena_reset(&arena);
}

static bool becomes(bool up, int ms)
{
	for (int64_t until = mono_us() + ms * 1000; mono_us() < until; usleep(2000)) {
		if (bus_up(bus) == up)
			return true;
	}
	return false;
}

static void post_event(int i)
{
	char data[32];

	snprintf(data, sizeof(data), "{\"i\":%d}", i);
	bus_post(bus, &(struct bus_post){ .type = "t", .data = data }, 1);
}

/* The stream holds the events from..from+n) and nothing else, each once, in order. */
static bool stream_is(int from, int n)
{
	struct bus_event *events;
	char expect[48];
	int got;

	if (bus_events(bus, "0", n + 1000, &arena, &events, &got) || got != n)
		return false;
	for (int i = 0; i < n; i++) {
		snprintf(expect, sizeof(expect), "\"data\":{\"i\":%d}}", from + i);
		if (!strstr(events[i].envelope, expect))
			return false;
	}
	return true;
}

/* Longest call in µs, over calls that must all fail. */
static int64_t longest_refusal(int calls)
{
	int64_t longest = 0;

	for (int i = 0; i < calls; i++) {
		struct gate g = { .jti = "j", .rate_key = "api:x", .limit = 10, .cost = 1 };
		int64_t from = mono_us();

		CU_ASSERT_EQUAL(bus_gate(bus, &g), ERR_UNAVAILABLE);
		CU_ASSERT(!g.warm);
		int64_t took = mono_us() - from;

		if (took > longest)
			longest = took;
	}
	return longest;
}

static void test_absent(void)
{
	struct bus_lane *lanes;
	char trouble[BUS_TROUBLE];
	char ids[1][ID_TEXT];
	const int64_t lane = 1;
	bool warm;
	int n;

	begin(false, NULL);
	int64_t from = mono_us();

	longest_refusal(1000);
	CU_ASSERT(mono_us() - from < 100000);	/* 100 µs each, and that is generous */
	CU_ASSERT_EQUAL(bus_is_warm(bus, &warm), ERR_UNAVAILABLE);
	CU_ASSERT(!warm);
	CU_ASSERT_EQUAL(bus_lanes(bus, &arena, &lanes, &n), ERR_UNAVAILABLE);
	CU_ASSERT_EQUAL(bus_queue_take(bus, &lane, 1, 1, ids, &n), ERR_UNAVAILABLE);
	bus_trouble(bus, trouble);
	CU_ASSERT_PTR_NOT_NULL(strstr(trouble, "connect"));
	for (int i = 0; i < 1000; i++)
		post_event(i);
	CU_ASSERT(!bus_drain(bus, 50));
	CU_ASSERT_FATAL(redis_start(&redis, NULL));
	CU_ASSERT(becomes(true, 1000));
	CU_ASSERT(bus_drain(bus, 2000));
	CU_ASSERT(stream_is(0, 1000));
	CU_ASSERT_EQUAL(bus_is_warm(bus, &warm), OK);
	CU_ASSERT(!warm);
	end();
}

struct load {
	_Atomic bool stop;
	_Atomic int64_t calls, failed, longest_us;
	_Atomic int events;
};

static void *caller(void *arg)
{
	struct load *load = arg;

	while (!load->stop) {
		struct gate g = { .jti = "j", .subject = "s", .rate_key = "api:x", .limit = 1 << 30, .cost = 1 };
		int64_t from = mono_us();
		bool failed = bus_gate(bus, &g) != OK;
		int64_t took = mono_us() - from;

		load->calls++;
		load->failed += failed;
		if (took > load->longest_us)
			load->longest_us = took;
		if (failed)
			usleep(500);
	}
	return NULL;
}

static void *event_poster(void *arg)
{
	struct load *load = arg;

	/* Fewer than the stream keeps, however long a busy machine makes this last. */
	while (!load->stop && load->events < BUS_STREAM_MAX / 2) {
		post_event(load->events++);
		if (load->events % 8 == 0)
			usleep(200);
	}
	return NULL;
}

/* kill -9 under load, twice: calls fail at once, nothing hangs, every event arrives once and in order. */
static void test_killed(void)
{
	struct load load = { 0 };
	pthread_t threads[9];

	begin(true, durable);
	for (int i = 0; i < 8; i++)
		CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, caller, &load), 0);
	CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[8], NULL, event_poster, &load), 0);
	for (int round = 0; round < 2; round++) {
		usleep(150000);
		redis_kill(&redis, SIGKILL);
		CU_ASSERT(becomes(false, 500));
		usleep(100000);
		CU_ASSERT_FATAL(redis_start(&redis, durable));
		CU_ASSERT(becomes(true, 1000));
	}
	usleep(100000);
	load.stop = true;
	for (int i = 0; i < 9; i++)
		pthread_join(threads[i], NULL);
	CU_ASSERT(load.failed > 0 && load.failed < load.calls);
	CU_ASSERT(load.longest_us < (2 * TIMEOUT_MS + SLACK_MS) * 1000);
	CU_ASSERT(bus_drain(bus, 3000));
	CU_ASSERT(stream_is(0, load.events));
	end();
}

/* A server that hangs: one timeout for those who are in it, then the circuit is open; what was posted counts once. */
static void test_hung(void)
{
	struct load load = { 0 };
	pthread_t threads[4];

	begin(true, NULL);
	post_event(0);
	CU_ASSERT(bus_drain(bus, 1000));
	kill(redis.pid, SIGSTOP);
	post_event(1);
	int64_t from = mono_us();

	CU_ASSERT(longest_refusal(1) < (TIMEOUT_MS + SLACK_MS) * 1000);
	CU_ASSERT(mono_us() - from > 200000);
	usleep(20000);
	CU_ASSERT(longest_refusal(200) < 50000);
	for (int i = 0; i < 4; i++)
		CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, caller, &load), 0);
	for (int i = 2; i < 600; i++)
		post_event(i);
	usleep(300000);
	kill(redis.pid, SIGCONT);
	CU_ASSERT(becomes(true, TIMEOUT_MS + 1000));
	load.stop = true;
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	CU_ASSERT(bus_drain(bus, 2000));
	/* The hung server may have carried out the batch whose answer we did not wait for: it is there once. */
	CU_ASSERT(stream_is(0, 600));
	end();
}

static void test_restarted(void)
{
	struct gate g = { .jti = "j" };
	bool warm = true;

	/* Empty: nothing is known. */
	begin(true, NULL);
	CU_ASSERT_EQUAL(bus_set_warm(bus), OK);
	redis_kill(&redis, SIGTERM);
	CU_ASSERT(becomes(false, 1000));
	CU_ASSERT_FATAL(redis_start(&redis, NULL));
	CU_ASSERT(becomes(true, 1000));
	CU_ASSERT_EQUAL(bus_gate(bus, &g), OK);
	CU_ASSERT(!g.warm);
	end();

	/* With its data: the last writes may be missing, so that is not enough either. */
	begin(true, durable);
	CU_ASSERT_EQUAL(bus_queue_clear(bus), OK);
	CU_ASSERT_EQUAL(bus_set_warm(bus), OK);
	CU_ASSERT_EQUAL(bus_queue_clear(bus), OK);
	redis_kill(&redis, SIGKILL);
	CU_ASSERT(becomes(false, 1000));
	CU_ASSERT_FATAL(redis_start(&redis, durable));
	CU_ASSERT(becomes(true, 1000));
	CU_ASSERT_EQUAL(bus_is_warm(bus, &warm), OK);
	CU_ASSERT(!warm);
	/* A rebuild that began before the restart is no rebuild. */
	CU_ASSERT_EQUAL(bus_set_warm(bus), ERR_CONFLICT);
	CU_ASSERT_EQUAL(bus_queue_clear(bus), OK);
	CU_ASSERT_EQUAL(bus_set_warm(bus), OK);
	CU_ASSERT_EQUAL(bus_gate(bus, &g), OK);
	CU_ASSERT(g.warm);
	/* Emptied at runtime. */
	redis_text(&redis, "FLUSHALL");
	CU_ASSERT_EQUAL(bus_gate(bus, &g), OK);
	CU_ASSERT(!g.warm);
	end();
}

/* What must not be let in stays out: revocations made while Redis is away are there before it is trusted. */
static void test_revoked_meanwhile(void)
{
	struct gate g = { .jti = "bad", .subject = "s" };

	begin(true, durable);
	CU_ASSERT_EQUAL(bus_set_warm(bus), OK);
	redis_kill(&redis, SIGKILL);
	CU_ASSERT(becomes(false, 1000));
	CU_ASSERT_EQUAL(bus_revoke(bus, "bad", 100), ERR_UNAVAILABLE);
	CU_ASSERT_EQUAL(bus_subject(bus, "s", 55, 2), ERR_UNAVAILABLE);
	for (int i = 0; i < 100; i++)
		post_event(i);
	CU_ASSERT_FATAL(redis_start(&redis, durable));
	CU_ASSERT(becomes(true, 1000));
	CU_ASSERT(bus_drain(bus, 1000));
	CU_ASSERT_EQUAL(bus_gate(bus, &g), OK);
	CU_ASSERT(g.revoked && g.cutoff == 55 && g.subject_rev == 2);
	/* More of them than are kept: then Redis must not count as complete at all. */
	CU_ASSERT_EQUAL(bus_set_warm(bus), OK);
	CU_ASSERT_EQUAL(bus_gate(bus, &g), OK);
	CU_ASSERT(g.warm);
	kill(redis.pid, SIGSTOP);
	CU_ASSERT_EQUAL(bus_revoke(bus, "bad-too", 100), ERR_UNAVAILABLE);
	for (int i = 0; i < 30000; i++)
		CU_ASSERT_EQUAL(bus_revoke(bus, "bad-many-of-them", 100), ERR_UNAVAILABLE);
	kill(redis.pid, SIGCONT);
	CU_ASSERT(becomes(true, TIMEOUT_MS + 1000));
	post_event(100);
	CU_ASSERT(bus_drain(bus, 2000));
	g.jti = "bad-too";
	CU_ASSERT_EQUAL(bus_gate(bus, &g), OK);
	CU_ASSERT(g.revoked && !g.warm);
	CU_ASSERT_EQUAL(redis_int(&redis, "EXISTS {mcp}:warm"), 0);
	end();
}

struct heard {
	_Atomic int up, down, wakes;
};

static void hear(void *arg, const char *message)
{
	struct heard *h = arg;

	h->up += !strcmp(message, "up");
	h->down += !strcmp(message, "down");
	h->wakes += !strcmp(message, "s");
}

static bool reaches(_Atomic int *v, int n, int ms)
{
	for (int64_t until = mono_us() + ms * 1000; *v < n && mono_us() < until;)
		usleep(2000);
	return *v == n;
}

static void test_listener(void)
{
	struct heard h = { 0 };
	struct bus_listen *l;

	begin(false, NULL);
	struct bus_options o = { .url = redis.url, .proc_id = proc, .timeout_ms = TIMEOUT_MS };

	CU_ASSERT_EQUAL_FATAL(bus_listen(&o, hear, &h, &l, &error), OK);
	usleep(50000);
	CU_ASSERT(h.up == 0 && h.down == 0);
	CU_ASSERT_FATAL(redis_start(&redis, NULL));
	CU_ASSERT(reaches(&h.up, 1, 1000));
	bus_post(bus, &(struct bus_post){ .wake = "s" }, 1);
	CU_ASSERT(reaches(&h.wakes, 1, 1000));
	redis_kill(&redis, SIGKILL);
	CU_ASSERT(reaches(&h.down, 1, 1000));
	CU_ASSERT_FATAL(redis_start(&redis, NULL));
	CU_ASSERT(reaches(&h.up, 2, 1000));
	bus_post(bus, &(struct bus_post){ .wake = "s" }, 1);
	CU_ASSERT(reaches(&h.wakes, 2, 1000));
	/* Silence alone is no reason … */
	usleep(1500000);
	CU_ASSERT(h.down == 1);
	/* … but no answer is. */
	kill(redis.pid, SIGSTOP);
	CU_ASSERT(reaches(&h.down, 2, 1000 + TIMEOUT_MS + SLACK_MS));
	kill(redis.pid, SIGCONT);
	CU_ASSERT(reaches(&h.up, 3, 2000));
	bus_listen_stop(l);
	CU_ASSERT(h.down == 2);
	end();
}

static void test_backlog_bound(void)
{
	struct bus_stats st;
	static struct bus_post posts[1000];
	static char big[100001];

	begin(false, NULL);
	for (int i = 0; i < 1000; i++)
		posts[i] = (struct bus_post){ .type = "t" };
	for (int i = 0; i < BUS_BACKLOG_MAX / 1000; i++)
		bus_post(bus, posts, 1000);
	post_event(1);
	post_event(2);
	bus_stats(bus, &st);
	CU_ASSERT_EQUAL(st.backlog, BUS_BACKLOG_MAX);
	CU_ASSERT_EQUAL(st.dropped, 2);
	CU_ASSERT_EQUAL(st.posted, BUS_BACKLOG_MAX + 2);
	/* Large ones are bounded by their bytes. */
	memset(big, 'x', sizeof(big) - 1);
	big[0] = big[sizeof(big) - 2] = '"';
	for (int i = 0; i < 700; i++)
		bus_post(bus, &(struct bus_post){ .type = "t", .data = big }, 1);
	bus_stats(bus, &st);
	CU_ASSERT(st.backlog > 600 && st.backlog < 700);
	CU_ASSERT_EQUAL(st.backlog + st.dropped, st.posted);
	CU_ASSERT_FATAL(redis_start(&redis, NULL));
	CU_ASSERT(becomes(true, 1000));
	CU_ASSERT(bus_drain(bus, 5000));
	CU_ASSERT_EQUAL(redis_int(&redis, "XLEN {mcp}:events"), st.backlog);
	end();
}

/* Full: reads go on, posts wait until there is room. */
static void test_full(void)
{
	struct gate g = { .jti = "j", .rate_key = "api:x", .limit = 10, .cost = 1 };

	begin(true, NULL);
	CU_ASSERT_STRING_EQUAL(redis_text(&redis, "CONFIG SET maxmemory 1"), "OK");
	CU_ASSERT_EQUAL(bus_gate(bus, &g), ERR_UNAVAILABLE);	/* it could not count */
	CU_ASSERT(bus_up(bus));
	for (int i = 0; i < 300; i++)
		post_event(i);
	CU_ASSERT(!bus_drain(bus, 500));
	CU_ASSERT_STRING_EQUAL(redis_text(&redis, "CONFIG SET maxmemory 0"), "OK");
	CU_ASSERT(bus_drain(bus, 2000));
	CU_ASSERT_EQUAL(bus_gate(bus, &g), OK);
	CU_ASSERT(stream_is(0, 300));
	end();
}

/* Someone made a key what it must not be: the batch is given up after some tries, and the rest goes on. */
static void test_wrong_type(void)
{
	struct bus_stats st;

	begin(true, NULL);
	CU_ASSERT_STRING_EQUAL(redis_text(&redis, "SET {mcp}:tasks:pending:1 nonsense"), "OK");
	bus_post(bus, &(struct bus_post){ .op = BQ_ADD, .task_id = proc, .lane = 1, .lane_sig = "s" }, 1);
	CU_ASSERT(!bus_drain(bus, 100));
	post_event(0);
	CU_ASSERT(!bus_drain(bus, 4000));	/* not all: one was dropped */
	bus_stats(bus, &st);
	CU_ASSERT(st.backlog == 0 && st.dropped == 1);
	CU_ASSERT(stream_is(0, 1));
	end();
}

static void test_kicked(void)
{
	begin(true, NULL);
	for (int i = 0; i < 5; i++) {
		redis_text(&redis, "CLIENT KILL TYPE normal SKIPME yes");
		post_event(i);
		CU_ASSERT(bus_drain(bus, 2000));
		CU_ASSERT(becomes(true, 1000));
	}
	CU_ASSERT(stream_is(0, 5));
	end();
}

/* A failover that has left us with the replica: nothing is lost while it cannot be written. */
static void test_replica(void)
{
	char command[64];

	begin(true, NULL);
	snprintf(command, sizeof(command), "REPLICAOF 127.0.0.1 %d", free_port());
	CU_ASSERT_STRING_EQUAL(redis_text(&redis, command), "OK");
	for (int i = 0; i < 100; i++)
		post_event(i);
	CU_ASSERT(!bus_drain(bus, 500));
	CU_ASSERT_STRING_EQUAL(redis_text(&redis, "REPLICAOF NO ONE"), "OK");
	CU_ASSERT(bus_drain(bus, 2000));
	CU_ASSERT(becomes(true, 1000));
	CU_ASSERT(stream_is(0, 100));
	end();
}

static void test_close(void)
{
	int64_t from;

	/* Nothing to send: at once, Redis or not. */
	begin(false, NULL);
	from = mono_us();
	end();
	CU_ASSERT(mono_us() - from < SLACK_MS * 1000);
	/* Something to send and nobody to take it: two seconds, not more. */
	begin(false, NULL);
	post_event(0);
	from = mono_us();
	end();
	CU_ASSERT(mono_us() - from > 1900000 && mono_us() - from < (2000 + SLACK_MS) * 1000);
	/* What was posted just before the end is sent. */
	begin(true, durable);
	for (int i = 0; i < 5000; i++)
		post_event(i);
	bus_close(bus);
	CU_ASSERT_EQUAL(redis_int(&redis, "XLEN {mcp}:events"), 5000);
	redis_release(&redis);
}

void suite_bus_faults(void)
{
	CU_pSuite s = CU_add_suite("bus_faults", setup, teardown);

	CU_add_test(s, "absent, then there", test_absent);
	CU_add_test(s, "killed under load", test_killed);
	CU_add_test(s, "hung", test_hung);
	CU_add_test(s, "restarted, emptied", test_restarted);
	CU_add_test(s, "revoked meanwhile", test_revoked_meanwhile);
	CU_add_test(s, "listener", test_listener);
	CU_add_test(s, "backlog is bounded", test_backlog_bound);
	CU_add_test(s, "full", test_full);
	CU_add_test(s, "wrong type", test_wrong_type);
	CU_add_test(s, "connections killed", test_kicked);
	CU_add_test(s, "read-only replica", test_replica);
	CU_add_test(s, "close", test_close);
}
