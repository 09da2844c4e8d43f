// SPDX-License-Identifier: MIT
/* lib/bus: posts, the queue, events and the wake channel, with a Redis that is well. */
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

void suite_bus_queue(void);

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

static void fresh(void)
{
	CU_ASSERT_STRING_EQUAL(redis_text(&redis, "FLUSHALL"), "OK");
	CU_ASSERT_EQUAL(bus_queue_clear(bus), OK);
	CU_ASSERT_EQUAL(bus_set_warm(bus), OK);
	arena_reset(&arena);
	error_init(&error, &arena);
}

static const char *task(int i)
{
	static char id[16][ID_TEXT];
	static int slot;
	char *out = id[slot++ % 16];

	snprintf(out, ID_TEXT, "00000000-0000-7000-8000-%012d", i);
	return out;
}

static void post(const struct bus_post *p)
{
	bus_post(bus, p, 1);
}

static int64_t ask(const char *command, const char *id)
{
	char text[256];

	snprintf(text, sizeof(text), "%s %s", command, id);
	return redis_int(&redis, text);
}

#define NONE (-1000)	/* what redis_int() gives for nil */

/* --- posts ------------------------------------------------------------------------------------- */

static void test_one_task(void)
{
	const char *t = task(1);

	fresh();
	post(&(struct bus_post){ .op = BQ_ADD, .task_id = t, .lane = -5, .lane_sig = "{\"type\":\"x\"}", .order_key = 77 });
	CU_ASSERT(bus_drain(bus, 2000));
	CU_ASSERT_EQUAL(ask("ZSCORE {mcp}:tasks:pending:-5", t), 77);
	CU_ASSERT_STRING_EQUAL(redis_text(&redis, "HGET {mcp}:tasks:lanes -5"), "{\"type\":\"x\"}");
	post(&(struct bus_post){ .op = BQ_LEASE, .task_id = t, .lane = -5, .agent_id = "a", .lease_until = 9000 });
	CU_ASSERT(bus_drain(bus, 2000));
	CU_ASSERT_EQUAL(ask("ZSCORE {mcp}:tasks:pending:-5", t), NONE);
	CU_ASSERT_EQUAL(ask("ZSCORE {mcp}:tasks:running", t), 9000);
	CU_ASSERT_EQUAL(ask("SISMEMBER {mcp}:tasks:assigned:a", t), 1);
	post(&(struct bus_post){ .op = BQ_END, .task_id = t, .lane = -5, .agent_id = "a" });
	CU_ASSERT(bus_drain(bus, 2000));
	CU_ASSERT_EQUAL(ask("ZSCORE {mcp}:tasks:running", t), NONE);
	CU_ASSERT_EQUAL(ask("SISMEMBER {mcp}:tasks:assigned:a", t), 0);
	/* Back into the queue after a lease, out of it again. */
	post(&(struct bus_post){ .op = BQ_LEASE, .task_id = t, .lane = -5, .agent_id = "a", .lease_until = 9000 });
	post(&(struct bus_post){ .op = BQ_ADD, .task_id = t, .lane = -5, .agent_id = "a", .order_key = 78 });
	CU_ASSERT(bus_drain(bus, 2000));
	CU_ASSERT_EQUAL(ask("ZSCORE {mcp}:tasks:pending:-5", t), 78);
	CU_ASSERT_EQUAL(ask("ZSCORE {mcp}:tasks:running", t), NONE);
	CU_ASSERT_EQUAL(ask("SISMEMBER {mcp}:tasks:assigned:a", t), 0);
	post(&(struct bus_post){ .op = BQ_REMOVE, .task_id = t, .lane = -5 });
	CU_ASSERT(bus_drain(bus, 2000));
	CU_ASSERT_EQUAL(ask("ZSCORE {mcp}:tasks:pending:-5", t), NONE);
}

#define MODEL_TASKS 40

struct model {
	int64_t pending[MODEL_TASKS], running[MODEL_TASKS];	/* NONE: not in */
	bool assigned[MODEL_TASKS][3];
};

/* What a post does to one task, written down a second time and one by one. */
static void model_apply(struct model *m, int i, int agent, const struct bus_post *p)
{
	m->pending[i] = p->op == BQ_ADD ? p->order_key : NONE;
	if (p->op == BQ_REMOVE)
		return;
	m->running[i] = p->op == BQ_LEASE ? p->lease_until : NONE;
	if (p->agent_id)
		m->assigned[i][agent] = p->op == BQ_LEASE;
}

/* However posts fall into batches, the sets end as if each had been carried out alone. */
static void test_batches_equal_single_steps(void)
{
	static const char *const agents[] = { "a0", "a1", "a2" };
	struct model m;
	unsigned seed = 7;
	char command[128];

	fresh();
	memset(&m, 0, sizeof(m));
	for (int i = 0; i < MODEL_TASKS; i++)
		m.pending[i] = m.running[i] = NONE;
	for (int step = 0; step < 4000; step++) {
		int i = rand_r(&seed) % MODEL_TASKS;
		int agent = rand_r(&seed) % 3;
		struct bus_post p = {
			.op = (enum bus_queue_op)(BQ_ADD + rand_r(&seed) % 4), .task_id = task(i), .lane = i % 4,
			.lane_sig = "s", .order_key = step, .lease_until = 100000 + step,
		};

		if (p.op == BQ_LEASE || (p.op != BQ_REMOVE && rand_r(&seed) % 2))
			p.agent_id = agents[agent];
		model_apply(&m, i, agent, &p);
		post(&p);
	}
	CU_ASSERT(bus_drain(bus, 5000));
	for (int i = 0; i < MODEL_TASKS; i++) {
		snprintf(command, sizeof(command), "ZSCORE {mcp}:tasks:pending:%d", i % 4);
		CU_ASSERT_EQUAL(ask(command, task(i)), m.pending[i]);
		CU_ASSERT_EQUAL(ask("ZSCORE {mcp}:tasks:running", task(i)), m.running[i]);
		for (int agent = 0; agent < 3; agent++) {
			snprintf(command, sizeof(command), "SISMEMBER {mcp}:tasks:assigned:a%d", agent);
			CU_ASSERT_EQUAL(ask(command, task(i)), m.assigned[i][agent]);
		}
	}
}

static void test_events(void)
{
	char data[64];
	struct bus_event *events;
	struct jv *root;
	char last[64] = "0";
	int n;
	int seen = 0;

	fresh();
	for (int i = 0; i < 3000; i++) {
		snprintf(data, sizeof(data), "{\"i\":%d,\"text\":\"\\u00e4 \\\"q\\\"\"}", i);
		post(&(struct bus_post){ .type = "task.created", .data = data, .at = 1700000000123 });
	}
	CU_ASSERT(bus_drain(bus, 5000));
	do {
		CU_ASSERT_EQUAL_FATAL(bus_events(bus, last, 700, &arena, &events, &n), OK);
		for (int i = 0; i < n; i++, seen++) {
			CU_ASSERT_EQUAL_FATAL(json_parse(&arena, events[i].envelope, strlen(events[i].envelope),
							 JSON_BUILD_ALL, &root, &error), OK);
			CU_ASSERT_EQUAL(root->n, 4);
			CU_ASSERT_STRING_EQUAL(jv_str(root, "id"), events[i].id);
			CU_ASSERT_STRING_EQUAL(jv_str(root, "type"), "task.created");
			CU_ASSERT_STRING_EQUAL(jv_str(root, "timestamp"), "2023-11-14T22:13:20.123Z");
			CU_ASSERT_EQUAL(jv_int_or(jv_get(root, "data"), "i", -1), seen);
			snprintf(last, sizeof(last), "%s", events[i].id);
		}
	} while (n);
	CU_ASSERT_EQUAL(seen, 3000);
	CU_ASSERT_EQUAL(bus_events(bus, NULL, 2, &arena, &events, &n), OK);
	CU_ASSERT_EQUAL_FATAL(n, 2);
	CU_ASSERT_STRING_EQUAL(events[1].id, last);
	CU_ASSERT_PTR_NOT_NULL(strstr(events[0].envelope, "\"i\":2998,"));
	CU_ASSERT_EQUAL(bus_events(bus, last, 2, &arena, &events, &n), OK);
	CU_ASSERT_EQUAL(n, 0);
	CU_ASSERT_EQUAL(bus_events(bus, "1-x", 2, &arena, &events, &n), ERR_VALIDATION);
	CU_ASSERT_EQUAL(bus_events(bus, "", 2, &arena, &events, &n), ERR_VALIDATION);
	CU_ASSERT_EQUAL(bus_events(bus, "5-", 2, &arena, &events, &n), ERR_VALIDATION);
	CU_ASSERT_EQUAL(bus_events(bus, "0-0) +", 2, &arena, &events, &n), ERR_VALIDATION);
	/* The other way round, from the newest to the first. */
	const char *before = NULL;

	seen = 0;
	do {
		CU_ASSERT_EQUAL_FATAL(bus_events_before(bus, before, 700, &arena, &events, &n), OK);
		for (int i = 0; i < n; i++, seen++) {
			CU_ASSERT_EQUAL_FATAL(json_parse(&arena, events[i].envelope, strlen(events[i].envelope),
							 JSON_BUILD_ALL, &root, &error), OK);
			CU_ASSERT_EQUAL(jv_int_or(jv_get(root, "data"), "i", -1), 2999 - seen);
			before = events[i].id;
		}
	} while (n);
	CU_ASSERT_EQUAL(seen, 3000);
	CU_ASSERT_EQUAL(bus_events_before(bus, "0-0", 2, &arena, &events, &n), OK);
	CU_ASSERT_EQUAL(n, 0);
	CU_ASSERT_EQUAL(bus_events_before(bus, "x", 2, &arena, &events, &n), ERR_VALIDATION);
	/* An event of no data, and of its own time. */
	post(&(struct bus_post){ .type = "system.health" });
	CU_ASSERT(bus_drain(bus, 2000));
	CU_ASSERT_EQUAL(bus_events(bus, NULL, 1, &arena, &events, &n), OK);
	CU_ASSERT_PTR_NOT_NULL(strstr(events[0].envelope, "\"data\":{}}"));
}

/* Who subscribes gets the very text that the stream gives back. */
static void test_events_published(void)
{
	redisContext *c = redisConnectUnix(redis.sock);
	struct bus_event *events;
	void *r = NULL;
	int n;

	fresh();
	CU_ASSERT_PTR_NOT_NULL_FATAL(c);
	freeReplyObject(redisCommand(c, "SUBSCRIBE {mcp}:events"));
	post(&(struct bus_post){ .type = "agent.registered", .data = "{\"agent_id\":\"x\"}" });
	CU_ASSERT_EQUAL_FATAL(redisGetReply(c, &r), REDIS_OK);
	CU_ASSERT_EQUAL(bus_events(bus, NULL, 1, &arena, &events, &n), OK);
	CU_ASSERT_EQUAL_FATAL(n, 1);
	CU_ASSERT_STRING_EQUAL(((redisReply *)r)->element[2]->str, events[0].envelope);
	freeReplyObject(r);
	redisFree(c);
}

struct poster {
	int who, posts;
};

static void *poster(void *arg)
{
	const struct poster *p = arg;
	char data[64];

	for (int i = 0; i < p->posts; i += 2) {
		struct bus_post two[2] = { { .type = "t", .data = data }, { .type = "u" } };

		snprintf(data, sizeof(data), "{\"who\":%d,\"i\":%d}", p->who, i);
		bus_post(bus, two, 2);
	}
	return NULL;
}

/* Each thread's posts keep their order, and those of one call stay together. */
static void test_post_threads(void)
{
	struct poster posters[8];
	pthread_t threads[8];
	int next[8] = { 0 };
	struct bus_event *events;
	struct bus_stats before;
	struct bus_stats after;
	struct jv *root;
	int n;

	fresh();
	bus_stats(bus, &before);
	for (int i = 0; i < 8; i++) {
		posters[i] = (struct poster){ .who = i, .posts = 1000 };
		CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, poster, &posters[i]), 0);
	}
	for (int i = 0; i < 8; i++)
		pthread_join(threads[i], NULL);
	CU_ASSERT(bus_drain(bus, 5000));
	bus_stats(bus, &after);
	CU_ASSERT_EQUAL(after.posted - before.posted, 8000);
	CU_ASSERT_EQUAL(after.backlog, 0);
	CU_ASSERT_EQUAL(after.dropped, 0);
	CU_ASSERT_EQUAL_FATAL(bus_events(bus, "0", 9000, &arena, &events, &n), OK);
	CU_ASSERT_EQUAL_FATAL(n, 8000);
	for (int i = 0; i < n; i += 2) {
		CU_ASSERT_EQUAL_FATAL(json_parse(&arena, events[i].envelope, strlen(events[i].envelope), JSON_BUILD_ALL,
						 &root, &error), OK);
		int who = (int)jv_int_or(jv_get(root, "data"), "who", -1);

		CU_ASSERT_FATAL(who >= 0 && who < 8);
		CU_ASSERT_EQUAL(jv_int_or(jv_get(root, "data"), "i", -1), next[who]);
		next[who] += 2;
		CU_ASSERT_PTR_NOT_NULL(strstr(events[i + 1].envelope, "\"type\":\"u\""));
	}
}

/* --- the queue ------------------------------------------------------------------------------------ */

static struct bus_queue_item items[5000];

static void fill(int n, int lanes)
{
	for (int i = 0; i < n; i++) {
		struct bus_queue_item *it = &items[i];

		*it = (struct bus_queue_item){ .lane = i % lanes, .order_key = (int64_t)i * 7919 % n, .lane_sig = "sig" };
		memcpy(it->id, task(i), ID_TEXT);
	}
	CU_ASSERT_EQUAL_FATAL(bus_queue_fill(bus, items, n), OK);
}

static void test_take(void)
{
	static char ids[500][ID_TEXT];
	const int64_t lanes[] = { 4, 0, 3, 9, 1, 2 };
	struct bus_lane *known;
	int n;
	int64_t expect = 0;

	fresh();
	fill(3000, 5);
	CU_ASSERT_EQUAL(bus_lanes(bus, &arena, &known, &n), OK);
	CU_ASSERT_EQUAL(n, 5);
	CU_ASSERT_STRING_EQUAL(known[0].sig, "sig");
	/* Takes of all sizes: over all of them the order is that of the keys, without a gap. */
	for (int round = 0; expect < 3000; round++) {
		int max = (int[]){ 1, 2, 500, 7, 33, 250 }[round % 6];

		CU_ASSERT_EQUAL_FATAL(bus_queue_take(bus, lanes, 6, max, ids, &n), OK);
		CU_ASSERT_FATAL(n > 0 && n <= max);
		CU_ASSERT(n == max || expect + n == 3000);
		for (int i = 0; i < n; i++, expect++) {
			int at = atol(ids[i] + 24);

			CU_ASSERT_EQUAL(items[at].order_key, expect);
		}
	}
	CU_ASSERT_EQUAL(bus_queue_take(bus, lanes, 6, 10, ids, &n), OK);
	CU_ASSERT_EQUAL(n, 0);
	CU_ASSERT_EQUAL(bus_lanes(bus, &arena, &known, &n), OK);
	CU_ASSERT_EQUAL(n, 0);
	/* One lane is another path. */
	fill(10, 2);
	CU_ASSERT_EQUAL(bus_queue_take(bus, lanes + 4, 1, 3, ids, &n), OK);
	CU_ASSERT_EQUAL(n, 3);
	for (int i = 1; i < n; i++)
		CU_ASSERT(items[atol(ids[i - 1] + 24)].order_key < items[atol(ids[i] + 24)].order_key);
	CU_ASSERT_EQUAL(bus_queue_take(bus, lanes + 4, 1, 3, ids, &n), OK);
	CU_ASSERT_EQUAL(n, 2);
	CU_ASSERT_EQUAL(bus_lanes(bus, &arena, &known, &n), OK);
	CU_ASSERT_EQUAL(n, 1);
	CU_ASSERT_EQUAL(bus_queue_take(bus, lanes, 0, 3, ids, &n), OK);
	CU_ASSERT_EQUAL(bus_queue_take(bus, lanes, 1, 0, ids, &n), OK);
	CU_ASSERT_EQUAL(n, 0);
}

static void *taker(void *arg)
{
	static const int64_t lanes[] = { 0, 1, 2 };
	_Atomic int *taken = arg;
	char ids[8][ID_TEXT];
	int n;

	do {
		if (bus_queue_take(bus, lanes, 3, 8, ids, &n))
			return NULL;
		for (int i = 0; i < n; i++)
			taken[atol(ids[i] + 24)]++;
	} while (n);
	return NULL;
}

static void test_take_threads(void)
{
	static _Atomic int taken[5000];
	pthread_t threads[16];
	int wrong = 0;

	fresh();
	fill(5000, 3);
	for (int i = 0; i < 16; i++)
		CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, taker, taken), 0);
	for (int i = 0; i < 16; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < 5000; i++)
		wrong += taken[i] != 1;
	CU_ASSERT_EQUAL(wrong, 0);
}

static void test_warm(void)
{
	char ids[4][ID_TEXT];
	const int64_t lane = 0;
	struct gate g = { 0 };
	bool warm;
	int n;

	fresh();
	post(&(struct bus_post){ .op = BQ_LEASE, .task_id = task(3), .agent_id = "a", .lease_until = 1 });
	fill(4, 1);
	CU_ASSERT_EQUAL(bus_queue_take(bus, &lane, 1, 1, ids, &n), OK);
	CU_ASSERT(bus_drain(bus, 2000));
	struct beat beat = { .agent_id = "a", .load = -1 };

	CU_ASSERT_EQUAL(bus_beat(bus, &beat, NULL, NULL), OK);
	CU_ASSERT_EQUAL(bus_queue_clear(bus), OK);
	CU_ASSERT_EQUAL(bus_is_warm(bus, &warm), OK);
	CU_ASSERT(!warm);
	CU_ASSERT_EQUAL(bus_gate(bus, &g), OK);
	CU_ASSERT(!g.warm);
	CU_ASSERT_STRING_EQUAL(redis_text(&redis, "KEYS {mcp}:tasks:*"), "");
	fill(4, 1);
	CU_ASSERT_EQUAL(bus_queue_take(bus, &lane, 1, 1, ids, &n), ERR_UNAVAILABLE);
	CU_ASSERT_EQUAL(n, 0);
	CU_ASSERT_EQUAL(bus_set_warm(bus), OK);
	CU_ASSERT_EQUAL(bus_is_warm(bus, &warm), OK);
	CU_ASSERT(warm);
	CU_ASSERT_EQUAL(bus_queue_take(bus, &lane, 1, 4, ids, &n), OK);
	CU_ASSERT_EQUAL(n, 4);
	/* Emptied while it was being rebuilt: not complete, and said so. */
	CU_ASSERT_EQUAL(bus_queue_clear(bus), OK);
	redis_text(&redis, "FLUSHALL");
	CU_ASSERT_EQUAL(bus_set_warm(bus), ERR_CONFLICT);
	CU_ASSERT_EQUAL(bus_is_warm(bus, &warm), OK);
	CU_ASSERT(!warm);
	CU_ASSERT_EQUAL(bus_queue_fill(bus, items, 0), OK);
}

/* --- the wake channel --------------------------------------------------------------------------------- */

struct heard {
	pthread_mutex_t lock;
	char log[4096];
};

static void hear(void *arg, const char *message)
{
	struct heard *h = arg;

	pthread_mutex_lock(&h->lock);
	size_t n = strlen(h->log);

	snprintf(h->log + n, sizeof(h->log) - n, "%s;", message);
	pthread_mutex_unlock(&h->lock);
}

static bool heard(struct heard *h, const char *text)
{
	for (int i = 0; i < 200; i++) {
		pthread_mutex_lock(&h->lock);
		bool yes = strstr(h->log, text) != NULL;

		pthread_mutex_unlock(&h->lock);
		if (yes)
			return true;
		usleep(10000);
	}
	return false;
}

static void test_wakes(void)
{
	struct bus_options o = { .url = redis.url, .proc_id = proc };
	struct heard h = { .lock = PTHREAD_MUTEX_INITIALIZER };
	struct bus_post posts[12];
	struct bus_listen *l;

	fresh();
	CU_ASSERT_EQUAL_FATAL(bus_listen(&o, hear, &h, &l, &error), OK);
	CU_ASSERT(heard(&h, "up;"));
	/* One call's posts make one batch: its wakes are one a lane, and each word once. */
	for (int i = 0; i < 12; i++)
		posts[i] = (struct bus_post){ .op = BQ_ADD, .task_id = task(i), .lane = i % 2, .lane_sig = "s",
					      .wake = i % 3 ? "s" : "x 0198" };
	bus_post(bus, posts, 12);
	CU_ASSERT(heard(&h, "t 0 6;t 1 6;x 0198;s;"));
	post(&(struct bus_post){ .wake = "s" });
	CU_ASSERT(heard(&h, "x 0198;s;s;"));
	/* Nothing is woken for what was added and taken out again. */
	struct bus_post pair[2] = {
		{ .op = BQ_ADD, .task_id = task(50), .lane = 7, .lane_sig = "s" },
		{ .op = BQ_REMOVE, .task_id = task(50), .lane = 7, .wake = "end" },
	};

	bus_post(bus, pair, 2);
	CU_ASSERT(heard(&h, "end;"));
	CU_ASSERT_PTR_NULL(strstr(h.log, "t 7"));
	bus_post(bus, pair, 0);
	bus_listen_stop(l);
}

/* --- scripts forgotten ---------------------------------------------------------------------------------- */

static void *flusher(void *arg)
{
	_Atomic bool *stop = arg;

	while (!*stop) {
		redis_text(&redis, "SCRIPT FLUSH");
		usleep(1000);
	}
	return NULL;
}

/* SCRIPT FLUSH at any time costs a round trip, never an answer. */
static void test_script_flush(void)
{
	_Atomic bool stop = false;
	pthread_t thread;
	struct bus_event *events;
	const int64_t lanes[] = { 0, 1 };
	char ids[1][ID_TEXT];
	int failed = 0;
	int n;

	fresh();
	CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, flusher, &stop), 0);
	fill(500, 2);
	for (int i = 0; i < 500; i++) {
		struct gate g = { .rate_key = "api:flush", .limit = 100000, .cost = 2 };

		failed += bus_gate(bus, &g) != OK || !g.warm;
		failed += bus_subject(bus, "s", i, i) != OK;
		failed += bus_queue_take(bus, lanes, 2, 1, ids, &n) != OK || n != 1;
		post(&(struct bus_post){ .type = "t" });
	}
	CU_ASSERT(bus_drain(bus, 5000));
	stop = true;
	pthread_join(thread, NULL);
	CU_ASSERT_EQUAL(failed, 0);
	CU_ASSERT_EQUAL(bus_events(bus, "0", 1000, &arena, &events, &n), OK);
	CU_ASSERT_EQUAL(n, 500);
}

void suite_bus_queue(void)
{
	CU_pSuite s = CU_add_suite("bus_queue", setup, teardown);

	CU_add_test(s, "a task's way", test_one_task);
	CU_add_test(s, "batches equal single steps", test_batches_equal_single_steps);
	CU_add_test(s, "events", test_events);
	CU_add_test(s, "events are published", test_events_published);
	CU_add_test(s, "posts by 8 threads", test_post_threads);
	CU_add_test(s, "take", test_take);
	CU_add_test(s, "take by 16 threads", test_take_threads);
	CU_add_test(s, "warm", test_warm);
	CU_add_test(s, "wakes", test_wakes);
	CU_add_test(s, "scripts forgotten", test_script_flush);
}
