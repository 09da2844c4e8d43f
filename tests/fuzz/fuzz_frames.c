// SPDX-License-Identifier: MIT
/*
 * The relay's readers: Engine.IO packets and payloads, Socket.IO packets with attachments, events. Whatever comes in, what
 * they accept stays inside the input and reads the same when it is written again.
 */
#include "fuzz.h"
#include "ws-relay/dialects.h"
#include "ws-relay/eio_packet.h"
#include "ws-relay/sio_packet.h"

static const char *const seeds[] = {
	"0", "40{\"token\":\"a.b.c\"}", "40/agents,{\"token\":\"a.b.c\"}", "42/mcp/ws,17[\"task:result\",{\"task_id\":\"x\",\"result\":{}}]",
	"451-[\"m\",{\"_placeholder\":true,\"num\":0}]", "462-/agents,3[{\"_placeholder\":true,\"num\":0},{\"_placeholder\":true,\"num\":1}]",
	"43/agents,7[]", "41/agents,", "2probe", "3probe", "5", "bAQIDBA==", "4a\x1e" "bAQID\x1e" "4b", "b", "4\x1e\x1e",
	"{\"id\":\"1700000000000-0\",\"type\":\"task.failed\",\"timestamp\":\"2026-01-01T00:00:00.000Z\",\"data\":{\"task_id\":\"x\","
	"\"status\":\"failed\",\"classification\":\"phi\",\"error\":{\"message\":\"m\"},\"progress\":0.5}}",
	"{\"id\":\"1-1\",\"type\":\"stage.completed\",\"timestamp\":\"t\",\"data\":{\"current_stage\":2,\"completed_stages\":[1,2,null],"
	"\"progress\":1e400}}",
};
static const char *const tokens[] = {
	"0", "1", "2", "3", "4", "5", "6", "b", "-", ",", "/", "/agents,", "/mcp/ws,", "?", "\x1e", "[", "]", "{", "}", "\"", "[\"a\"",
	"{\"_placeholder\":true,\"num\":0}", "9999999999", "=", "==", "\"id\":", "\"data\":{", "\"type\":\"agent.", "phi", "\\u0000",
	"\"completed_stages\":", "\n", "null", "-1",
};

static bool inside(const char *p, size_t n, const char *text, size_t size)
{
	return p >= text && p + n <= text + size;
}

static void check_sio(struct arena *a, const char *text, size_t size)
{
	static const struct sio_part parts[2] = { { "foo", 3 }, { "", 0 } };
	struct sio_packet p;
	struct error e;
	struct jv *v;

	if (!sio_packet_read(text, size, a, &p))
		return;
	HOLDS(p.type <= SIO_BINARY_ACK && p.attachments >= 0 && p.attachments <= 10 && p.ack >= -1);
	HOLDS(p.nsp_len >= 1 && p.nsp_len <= 64 && p.nsp[0] == '/');
	HOLDS(inside(p.data, p.n, text, size));
	if (!p.n)
		return;
	size_t n = 0;
	const char *filled = sio_fill(a, p.data, p.n, parts, 2, &n);

	error_init(&e, a);
	HOLDS(!filled || json_parse(a, filled, n, JSON_BUILD_ALL, &v, &e) == OK);
}

static void check_eio(struct arena *a, const char *text, size_t size)
{
	const char *part;
	size_t at = 0;
	size_t n;
	size_t sum = 0;

	while (eio_payload_next(text, size, &at, &part, &n)) {
		struct eio_packet p;
		struct buf b;
		size_t len;

		HOLDS(inside(part, n, text, size));
		sum += n + 1;
		if (!eio_packet_read(part, n, a, &p))
			continue;
		HOLDS(p.type <= EIO_NOOP && (p.binary || inside(p.data, p.n, part, n)));
		if (!p.binary) {
			check_sio(a, p.data, p.n);
			continue;
		}
		buf_init(&b);
		base64_add(&b, p.data, p.n);
		const char *again = base64_read(a, b.p, b.n, &len);

		HOLDS(again && len == p.n && memcmp(again, p.data, len) == 0);
		buf_release(&b);
	}
	HOLDS(size == 0 || sum == size + 1);
}

static void check_event(struct arena *a, const char *text, size_t size)
{
	struct event *e = event_read(text, size);
	struct error err;
	struct jv *v;

	if (!e)
		return;
	for (int d = 0; d < DIALECTS; d++) {
		for (int c = CLASS_PUBLIC; c <= CLASS_PHI; c += CLASS_PHI) {
			struct msg *m = event_said(e, (enum dialect)d, OUT_PLAIN, (enum data_class)c);
			struct msg *stream = event_said(e, (enum dialect)d, OUT_SSE, (enum data_class)c);

			HOLDS(!m == !stream);
			if (!m)
				continue;
			error_init(&err, a);
			HOLDS(json_parse(a, msg_text(m), m->n, 1, &v, &err) == OK && v->type == J_OBJECT);
			const char *data = memmem(msg_text(stream), stream->n, "\ndata: ", 7);

			/* The field ends where the event does. */
			HOLDS(data && memchr(data + 1, '\n', stream->n) == msg_text(stream) + stream->n - 2);
		}
	}
	event_unref(e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena a;

	arena_init(&a);
	check_eio(&a, (const char *)data, size);
	check_sio(&a, (const char *)data, size);
	check_event(&a, (const char *)data, size);
	arena_release(&a);
	return 0;
}

FUZZ_MAIN(200000)
