// SPDX-License-Identifier: MIT
/* ws-relay's pure parts: frames and queues, Engine.IO and Socket.IO packets, events and how they are said. */
#include <CUnit/Basic.h>

#include "lib/base/limits.h"
#include "ws-relay/dialects.h"
#include "ws-relay/eio_packet.h"
#include "ws-relay/sio_packet.h"
#include "ws-relay/strangers.h"

/* One address at its limit: of its neighbours only the few that share its cell have no room. */
static void test_strangers(void)
{
	char address[32];
	int shut = 0;

	for (int i = 0; i < LIMIT_WS_STRANGERS; i++) {
		CU_ASSERT_TRUE(strangers_room("10.0.3.7"));
		strangers_add("10.0.3.7");
	}
	CU_ASSERT_FALSE(strangers_room("10.0.3.7"));
	for (int i = 0; i < 8192; i++) {
		snprintf(address, sizeof(address), "10.0.%d.%d", i / 256, i % 256);
		shut += !strangers_room(address);
		snprintf(address, sizeof(address), "2001:db8:0:%x::7", i);
		shut += !strangers_room(address);
	}
	CU_ASSERT_TRUE(shut >= 1 && shut < 40);
	strangers_remove("10.0.3.7");
	CU_ASSERT_TRUE(strangers_room("10.0.3.7"));
	for (int i = 1; i < LIMIT_WS_STRANGERS; i++)
		strangers_remove("10.0.3.7");
	/* an IPv6 network of one site is one */
	for (int i = 0; i < LIMIT_WS_STRANGERS; i++)
		strangers_add("2001:db8:1:2::1");
	CU_ASSERT_FALSE(strangers_room("2001:db8:1:2:ffff::"));
	for (int i = 0; i < LIMIT_WS_STRANGERS; i++)
		strangers_remove("2001:db8:1:2::1");
}

void suite_relay(void);

static struct arena arena;

static int setup(void)
{
	arena_init(&arena);
	return 0;
}

static int teardown(void)
{
	arena_release(&arena);
	return 0;
}

/* --- messages ------------------------------------------------------------------------------------------------------ */

static void test_frames(void)
{
	static const struct { size_t n; unsigned char head[10]; unsigned len; } cases[] = {
		{ 0, { 0x81, 0 }, 2 },
		{ 125, { 0x81, 125 }, 2 },
		{ 126, { 0x81, 126, 0, 126 }, 4 },
		{ 65535, { 0x81, 126, 0xff, 0xff }, 4 },
		{ 65536, { 0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0 }, 10 },
	};
	char *text = calloc(1, 65536);

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct msg *m = msg_new(text, cases[i].n, false);

		CU_ASSERT_EQUAL(m->head, cases[i].len);
		CU_ASSERT_EQUAL(memcmp(msg_wire(m), cases[i].head, cases[i].len), 0);
		CU_ASSERT_EQUAL(msg_wire_len(m), cases[i].n + cases[i].len);
		msg_unref(m);
	}
	struct msg *m = msg_close(4431, "slow");

	CU_ASSERT_EQUAL(memcmp(msg_wire(m), "\x88\x06\x11\x4fslow", 8), 0);
	msg_unref(m);
	m = msg_new("\1\2", 2, true);
	CU_ASSERT_EQUAL((unsigned char)msg_wire(m)[0], 0x82);
	msg_unref(m);
	free(text);
}

static void test_queue(void)
{
	struct queue q = { 0 };

	for (int round = 0; round < 5; round++) {
		for (unsigned char i = 0; i < 100; i++)
			queue_add(&q, msg_new(&i, 1, false));
		CU_ASSERT_EQUAL(q.n, 100u + (unsigned)round * 40);
		CU_ASSERT_EQUAL(q.bytes, q.n);
		queue_pop(&q, 60);
	}
	/* First in, first out, through growth and wrapping. */
	for (uint32_t i = 0; i < q.n; i++)
		CU_ASSERT_EQUAL((unsigned char)*msg_text(queue_at(&q, i)), i % 100);
	queue_pop(&q, q.n);
	CU_ASSERT_PTR_NULL(q.ring);
	queue_add(&q, msg_new("x", 1, false));
	queue_clear(&q);
	CU_ASSERT_EQUAL(q.n, 0);
}

/* --- Engine.IO -------------------------------------------------------------------------------------------------------- */

static void test_eio_packets(void)
{
	static const struct { const char *text; bool good; int type; bool binary; const char *data; } cases[] = {
		{ "4hello", true, EIO_MESSAGE, false, "hello" },
		{ "4", true, EIO_MESSAGE, false, "" },
		{ "2probe", true, EIO_PING, false, "probe" },
		{ "5", true, EIO_UPGRADE, false, "" },
		{ "bAQIDBA==", true, EIO_MESSAGE, true, "\1\2\3\4" },
		{ "bAQIDBA", true, EIO_MESSAGE, true, "\1\2\3\4" },
		{ "", false, 0, false, NULL },
		{ "7", false, 0, false, NULL },
		{ "abc", false, 0, false, NULL },
		{ "b*", false, 0, false, NULL },
		{ "bAAAAA", false, 0, false, NULL },
		{ "4\xff", false, 0, false, NULL },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct eio_packet p;
		bool good = eio_packet_read(cases[i].text, strlen(cases[i].text), &arena, &p);

		CU_ASSERT_EQUAL(good, cases[i].good);
		if (!good || !cases[i].good)
			continue;
		CU_ASSERT_EQUAL((int)p.type, cases[i].type);
		CU_ASSERT_EQUAL(p.binary, cases[i].binary);
		CU_ASSERT_EQUAL(p.n, strlen(cases[i].data));
		CU_ASSERT_EQUAL(memcmp(p.data, cases[i].data, p.n), 0);
	}
}

static void test_eio_payload(void)
{
	static const char text[] = "4a\x1e\x1e" "4bc";
	static const char *const parts[] = { "4a", "", "4bc" };
	const char *part;
	size_t at = 0;
	size_t n;
	int i = 0;

	while (eio_payload_next(text, sizeof(text) - 1, &at, &part, &n)) {
		CU_ASSERT_FATAL(i < 3);
		CU_ASSERT_EQUAL(n, strlen(parts[i]));
		CU_ASSERT_EQUAL(memcmp(part, parts[i], n), 0);
		i++;
	}
	CU_ASSERT_EQUAL(i, 3);
	at = 0;
	CU_ASSERT_FALSE(eio_payload_next("", 0, &at, &part, &n));
}

static void test_base64(void)
{
	static const char *const plain[] = { "", "f", "fo", "foo", "foob", "fooba", "foobar" };
	static const char *const coded[] = { "", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy" };	/* RFC 4648 §10 */

	for (int i = 0; i < 7; i++) {
		struct buf b;
		size_t n;

		buf_init(&b);
		base64_add(&b, plain[i], strlen(plain[i]));
		CU_ASSERT_STRING_EQUAL(b.p, coded[i]);
		const char *back = base64_read(&arena, b.p, b.n, &n);

		CU_ASSERT_PTR_NOT_NULL_FATAL(back);
		CU_ASSERT_EQUAL(n, strlen(plain[i]));
		CU_ASSERT_STRING_EQUAL(back, plain[i]);
		buf_release(&b);
	}
}

/* --- Socket.IO -------------------------------------------------------------------------------------------------------- */

static void test_sio_good(void)
{
	static const struct { const char *text; int type; const char *nsp; int64_t ack; int parts; const char *data; } cases[] = {
		{ "0", SIO_CONNECT, "/", -1, 0, "" },
		{ "0{\"token\":\"1\"}", SIO_CONNECT, "/", -1, 0, "{\"token\":\"1\"}" },
		{ "0/agents,", SIO_CONNECT, "/agents", -1, 0, "" },
		{ "0/agents", SIO_CONNECT, "/agents", -1, 0, "" },
		{ "0/mcp/ws?x=1,{}", SIO_CONNECT, "/mcp/ws", -1, 0, "{}" },
		{ "1/agents,", SIO_DISCONNECT, "/agents", -1, 0, "" },
		{ "2[\"a\",1]", SIO_EVENT, "/", -1, 0, "[\"a\",1]" },
		{ "2/agents,12[\"a\"]", SIO_EVENT, "/agents", 12, 0, "[\"a\"]" },
		{ "37[]", SIO_ACK, "/", 7, 0, "[]" },
		{ "52-[\"a\",{\"_placeholder\":true,\"num\":0}]", SIO_BINARY_EVENT, "/", -1, 2, NULL },
		{ "61-/agents,3[1]", SIO_BINARY_ACK, "/agents", 3, 1, "[1]" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct sio_packet p;

		CU_ASSERT_TRUE_FATAL(sio_packet_read(cases[i].text, strlen(cases[i].text), &arena, &p));
		CU_ASSERT_EQUAL((int)p.type, cases[i].type);
		CU_ASSERT_EQUAL(p.nsp_len, strlen(cases[i].nsp));
		CU_ASSERT_EQUAL(memcmp(p.nsp, cases[i].nsp, p.nsp_len), 0);
		CU_ASSERT_EQUAL(p.ack, cases[i].ack);
		CU_ASSERT_EQUAL(p.attachments, cases[i].parts);
		if (cases[i].data) {
			CU_ASSERT_EQUAL(p.n, strlen(cases[i].data));
			CU_ASSERT_EQUAL(memcmp(p.data, cases[i].data, p.n), 0);
		}
	}
}

static void test_sio_bad(void)
{
	static const char *const cases[] = {
		"", "abc", "7[]", "0[]", "01", "1{}", "2", "2{}", "2[]", "2[1]", "2abc[\"a\"]", "2[\"a\"", "3[]", "3{}", "4{}",
		"5[\"a\"]", "5-[\"a\"]", "599-[\"a\"]", "51", "6[]", "61-[]", "2[\"a\\u0000b\"]", "29999999999999999[\"a\"]",
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct sio_packet p;

		CU_ASSERT_FALSE(sio_packet_read(cases[i], strlen(cases[i]), &arena, &p));
	}
}

static void test_sio_fill(void)
{
	static const struct sio_part parts[] = { { "foo", 3 }, { "f", 1 } };
	static const char text[] = "{\"a\":[{\"_placeholder\":true,\"num\":1},2.50],\"b\":{\"num\":0,\"_placeholder\":true},\"c\":\"\\u00e9\"}";
	static const char over[] = "[{\"_placeholder\":true,\"num\":2}]";
	size_t n;
	const char *out = sio_fill(&arena, text, sizeof(text) - 1, parts, 2, &n);

	CU_ASSERT_PTR_NOT_NULL_FATAL(out);
	CU_ASSERT_STRING_EQUAL(out, "{\"a\":[\"Zg==\",2.50],\"b\":\"Zm9v\",\"c\":\"\\u00e9\"}");
	CU_ASSERT_PTR_NULL(sio_fill(&arena, over, sizeof(over) - 1, parts, 2, &n));
}

/* --- events ------------------------------------------------------------------------------------------------------------ */

#define TASK "01a1feec-cbf2-731a-895a-5ae8a0cdecae"
#define AGENT "01a1feec-c89b-7204-9900-2d2dcd14e113"

static struct event *event_of(const char *type, const char *data)
{
	struct buf b;

	buf_init(&b);
	buf_addf(&b, "{\"id\":\"1700000000000-3\",\"type\":\"%s\",\"timestamp\":\"2026-01-01T00:00:00.000Z\",\"data\":%s}", type, data);
	struct event *e = event_read(b.p, b.n);

	buf_release(&b);
	return e;
}

static void test_event_ids(void)
{
	struct event_id a;
	struct event_id b;

	CU_ASSERT_TRUE(event_id_parse("12-3", &a) && a.ms == 12 && a.n == 3);
	CU_ASSERT_TRUE(event_id_parse("12", &b) && b.ms == 12 && b.n == 0);
	CU_ASSERT_TRUE(event_id_cmp(a, b) > 0 && event_id_cmp(b, a) < 0 && event_id_cmp(a, a) == 0);
	static const char *const bad[] = { "", "-1", "12-", "a-1", "12-3x", " 1", "1-2-3" };

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		CU_ASSERT_FALSE(event_id_parse(bad[i], &a));
	CU_ASSERT_FALSE(event_id_parse(NULL, &a));
}

/* Who may see an event, and on which channels it is told. */
static void test_event_places(void)
{
	static const struct { const char *type; unsigned channels; perms_t need; bool task; } cases[] = {
		{ "task.created", 1u << CH_TASKS, PERM_TASK_READ, true },
		{ "agent.registered", 1u << CH_AGENTS, PERM_AGENT_READ, false },
		{ "stage.started", 1u << CH_PIPELINES, PERM_PIPELINE_READ, false },
		{ "pipeline.failed", 1u << CH_PIPELINES, PERM_PIPELINE_READ, false },
		{ "system.health", 1u << CH_SYSTEM, PERM_SYSTEM_HEALTH, false },
		{ "system.config_updated", 1u << CH_SYSTEM, PERM_SYSTEM_CONFIG, false },
		{ "error.occurred", 1u << CH_TASKS | 1u << CH_SYSTEM, PERM_TASK_READ, true },
		{ "what.ever", 1u << CH_SYSTEM, PERM_SYSTEM_HEALTH, false },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct event *e = event_of(cases[i].type, "{\"task_id\":\"" TASK "\",\"agent_id\":\"" AGENT "\"}");

		CU_ASSERT_PTR_NOT_NULL_FATAL(e);
		CU_ASSERT_EQUAL(e->channels, cases[i].channels);
		CU_ASSERT_EQUAL(e->need, cases[i].need);
		CU_ASSERT_EQUAL(e->task, cases[i].task);
		CU_ASSERT_STRING_EQUAL(e->agent_id, AGENT);
		event_unref(e);
	}
	struct event *e = event_of("error.occurred", "{\"execution_id\":\"" TASK "\"}");

	CU_ASSERT_EQUAL(e->need, PERM_PIPELINE_READ);
	event_unref(e);
	CU_ASSERT_PTR_NULL(event_of("task.created", "[]"));
	CU_ASSERT_PTR_NULL(event_read("{}", 2));
	CU_ASSERT_PTR_NULL(event_read("", 0));
}

static const char *said(struct event *e, enum dialect d, enum outlet o, enum data_class c)
{
	struct msg *m = event_said(e, d, o, c);

	return m ? arena_strndup(&arena, msg_text(m), m->n) : "";
}

static void test_clearance(void)
{
	struct event *e = event_of("task.failed", "{\"task_id\":\"" TASK "\",\"classification\":\"confidential\",\"error\":{\"message\":\"secret\"}}");

	CU_ASSERT_PTR_NOT_NULL(strstr(said(e, SAY_ENVELOPE, OUT_PLAIN, CLASS_CONFIDENTIAL), "secret"));
	CU_ASSERT_PTR_NULL(strstr(said(e, SAY_ENVELOPE, OUT_PLAIN, CLASS_INTERNAL), "secret"));
	CU_ASSERT_PTR_NOT_NULL(strstr(said(e, SAY_ENVELOPE, OUT_PLAIN, CLASS_INTERNAL), TASK));
	CU_ASSERT_PTR_NULL(strstr(said(e, SAY_ENVELOPE, OUT_SSE, CLASS_PUBLIC), "secret"));
	/* One message each, shared by all who get it. */
	CU_ASSERT_PTR_EQUAL(event_said(e, SAY_ENVELOPE, OUT_PLAIN, CLASS_PHI), event_said(e, SAY_ENVELOPE, OUT_PLAIN, CLASS_CONFIDENTIAL));
	event_unref(e);
	/* Of phi nothing leaves, whoever asks; a class nobody knows counts as phi. */
	static const char *const classes[] = { "phi", "brandnew" };

	for (int i = 0; i < 2; i++) {
		e = event_of("task.failed", arena_printf(&arena, "{\"classification\":\"%s\",\"message\":\"secret\",\"result\":\"secret\"}", classes[i]));
		for (int o = 0; o < OUTLETS; o++)
			CU_ASSERT_PTR_NULL(strstr(said(e, SAY_ENVELOPE, (enum outlet)o, CLASS_PHI), "secret"));
		event_unref(e);
	}
}

static void test_dialects(void)
{
	struct event *e = event_of("task.progress", "{\"task_id\":\"" TASK "\",\"status\":\"running\",\"progress\":0.5,\"stage\":2}");

	CU_ASSERT_STRING_EQUAL(said(e, SAY_OLDER, OUT_PLAIN, CLASS_PHI),
			       "{\"type\":\"task_update\",\"task_id\":\"" TASK "\",\"status\":\"running\",\"progress\":0.5,"
			       "\"timestamp\":\"2026-01-01T00:00:00.000Z\"}");
	CU_ASSERT_EQUAL(strncmp(said(e, SAY_OLDER, OUT_NSP, CLASS_PHI), "42[\"progress:update\",", 21), 0);
	CU_ASSERT_PTR_NOT_NULL(strstr(said(e, SAY_OLDER, OUT_NSP, CLASS_PHI), "\"payload\":{\"taskId\":\"" TASK "\""));
	CU_ASSERT_EQUAL(strncmp(said(e, SAY_NAMED, OUT_NSP + 1, CLASS_PHI), "42/agents,[\"task_progress_update\",", 34), 0);
	CU_ASSERT_EQUAL(strncmp(said(e, SAY_ENVELOPE, OUT_NSP + 2, CLASS_PHI), "42/mcp/ws,[\"task.progress\",{\"id\":", 33), 0);
	CU_ASSERT_EQUAL(strncmp(said(e, SAY_ENVELOPE, OUT_SSE, CLASS_PHI), "id: 1700000000000-3\nevent: task.progress\ndata: {", 48), 0);
	event_unref(e);
	/* Stages are counted from 0 in the older dialect. */
	e = event_of("stage.completed", "{\"pipeline_id\":\"" TASK "\",\"current_stage\":3,\"completed_stages\":[1,2],\"progress\":0.33}");
	const char *text = said(e, SAY_OLDER, OUT_PLAIN, CLASS_PHI);

	CU_ASSERT_PTR_NOT_NULL(strstr(text, "\"type\":\"pipeline_progress\""));
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "\"current_stage\":2,\"completed_stages\":[0,1],\"progress\":0.33"));
	event_unref(e);
	e = event_of("system.health", "{}");
	CU_ASSERT_PTR_NULL(event_said(e, SAY_OLDER, OUT_PLAIN, CLASS_PHI));
	event_unref(e);
}

/* A line break between two tokens would end an event stream's field. */
static void test_stream_lines(void)
{
	struct event *e = event_of("task.failed", "{\"task_id\":\"" TASK "\",\n\r\"error\":{\n\"a\":1}}");
	const char *text = said(e, SAY_ENVELOPE, OUT_SSE, CLASS_PHI);
	const char *data = strstr(text, "data: ");

	CU_ASSERT_PTR_NOT_NULL_FATAL(data);
	CU_ASSERT_EQUAL(strcspn(data, "\r\n"), strlen(data) - 2);
	event_unref(e);
}

static void test_delegate(void)
{
	static const char text[] = "{\"task_id\":\"t\",\"assigned_agent_id\":\"a\",\"type\":\"echo\",\"parameters\":{\"x\":1.50},\"deadline\":null,\"fence\":4}";
	struct error err;
	struct jv *task;
	struct buf b;
	struct jw w;

	error_init(&err, &arena);
	CU_ASSERT_EQUAL_FATAL(json_parse(&arena, text, sizeof(text) - 1, 2, &task, &err), OK);
	buf_init(&b);
	jw_init(&w, &b);
	write_delegate(&w, task, false);
	CU_ASSERT_STRING_EQUAL(b.p, "{\"type\":\"task:delegate\",\"task_id\":\"t\",\"agent_id\":\"a\",\"task_type\":\"echo\",\"parameters\":{\"x\":1.50},"
				    "\"fence\":4,\"payload\":{\"task_id\":\"t\",\"taskId\":\"t\",\"agent_id\":\"a\",\"agentId\":\"a\","
				    "\"task_type\":\"echo\",\"taskType\":\"echo\",\"parameters\":{\"x\":1.50},\"fence\":4}}");
	buf_release(&b);
}

void suite_relay(void)
{
	CU_pSuite s = CU_add_suite("relay", setup, teardown);

	CU_add_test(s, "frames", test_frames);
	CU_add_test(s, "queue", test_queue);
	CU_add_test(s, "Engine.IO packets", test_eio_packets);
	CU_add_test(s, "Engine.IO payloads", test_eio_payload);
	CU_add_test(s, "base64", test_base64);
	CU_add_test(s, "Socket.IO packets", test_sio_good);
	CU_add_test(s, "Socket.IO: malformed packets", test_sio_bad);
	CU_add_test(s, "Socket.IO: attachments", test_sio_fill);
	CU_add_test(s, "event ids", test_event_ids);
	CU_add_test(s, "events: who and where", test_event_places);
	CU_add_test(s, "events: clearance", test_clearance);
	CU_add_test(s, "events: dialects", test_dialects);
	CU_add_test(s, "events: lines of a stream", test_stream_lines);
	CU_add_test(s, "task:delegate", test_delegate);
	CU_add_test(s, "strangers by address", test_strangers);
}
