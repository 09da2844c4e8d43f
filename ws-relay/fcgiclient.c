// SPDX-License-Identifier: MIT
#include "fcgiclient.h"

#include "../lib/base/buf.h"
#include "../lib/base/clock.h"
#include "../lib/base/limits.h"
#include "../lib/base/log.h"

#define CONNECTIONS 12
#define IDLE_US 1000000
#define CHUNK 65535
#define DEFAULT_TIMEOUT_S 15

enum { FCGI_BEGIN = 1, FCGI_END = 3, FCGI_PARAMS = 4, FCGI_STDIN = 5, FCGI_STDOUT = 6 };

struct api_call {
	struct api_call *next;
	api_done *done;
	void *arg;
	struct buf request;		/* records, ready to send */
	struct buf answer;		/* what came on stdout */
	int64_t until_us;
	bool forgotten, again;		/* again: it was sent twice already */
};

struct link {
	uv_pipe_t pipe;
	uv_connect_t connecting;
	uv_write_t writing;
	struct api_call *call;
	struct buf in;			/* bytes of a record that is not whole yet */
	int64_t idle_us;
	bool open, used, closing, up;	/* open: the handle exists; up: connected; used: had an answer */
	bool sending;			/* the request is not all written yet */
};

static struct {
	uv_loop_t *loop;
	const char *path;
	struct link links[CONNECTIONS];
	struct api_call *head, **tail;	/* waiting for a connection */
	int waiting, busy;
	struct api_call *failed;	/* to be told so from the loop */
	uv_timer_t soon;
	bool stopping;
} api;

static void pump(void);

static void call_free(struct api_call *c)
{
	explicit_bzero(c->request.p, c->request.n);
	explicit_bzero(c->answer.p, c->answer.n);
	buf_release(&c->request);
	buf_release(&c->answer);
	free(c);
}

/* --- writing a request --------------------------------------------------------------------------------------------- */

static void record(struct buf *b, int type, const void *data, size_t n)
{
	const unsigned char head[8] = { 1, (unsigned char)type, 0, 1, (unsigned char)(n >> 8), (unsigned char)n, 0, 0 };

	buf_add(b, head, sizeof(head));
	if (n)
		buf_add(b, data, n);
}

static void length(struct buf *b, size_t n)
{
	if (n < 128) {
		buf_addc(b, (char)n);
		return;
	}
	const unsigned char four[4] = { (unsigned char)(n >> 24 | 0x80), (unsigned char)(n >> 16), (unsigned char)(n >> 8),
					(unsigned char)n };

	buf_add(b, four, 4);
}

static void param(struct buf *b, const char *name, const char *value)
{
	if (!value)
		return;
	length(b, strlen(name));
	length(b, strlen(value));
	buf_adds(b, name);
	buf_adds(b, value);
}

static void write_request(struct buf *out, const struct api_request *r)
{
	static const unsigned char begin[8] = { 0, 1, 1 };	/* responder; keep the connection */
	struct buf p;
	char uri[2300];
	char size[24];

	buf_init(&p);
	snprintf(uri, sizeof(uri), "%s%s%s", r->path, r->query ? "?" : "", r->query ? r->query : "");
	snprintf(size, sizeof(size), "%zu", r->body_len);
	param(&p, "REQUEST_METHOD", r->method);
	param(&p, "REQUEST_URI", uri);
	param(&p, "QUERY_STRING", r->query ? r->query : "");
	param(&p, "SERVER_PROTOCOL", "HTTP/1.1");
	param(&p, "REMOTE_ADDR", r->address && *r->address ? r->address : "127.0.0.1");
	param(&p, "HTTP_AUTHORIZATION", r->authorization);
	param(&p, "HTTP_X_REQUEST_ID", r->request_id);
	if (r->body) {
		param(&p, "CONTENT_TYPE", "application/json");
		param(&p, "CONTENT_LENGTH", size);
	}
	record(out, FCGI_BEGIN, begin, sizeof(begin));
	for (size_t at = 0; at < p.n; at += CHUNK)
		record(out, FCGI_PARAMS, p.p + at, p.n - at < CHUNK ? p.n - at : CHUNK);
	record(out, FCGI_PARAMS, NULL, 0);
	for (size_t at = 0; r->body && at < r->body_len; at += CHUNK)
		record(out, FCGI_STDIN, r->body + at, r->body_len - at < CHUNK ? r->body_len - at : CHUNK);
	record(out, FCGI_STDIN, NULL, 0);
	explicit_bzero(p.p, p.n);
	buf_release(&p);
}

/* --- telling ------------------------------------------------------------------------------------------------------- */

static void tell(struct api_call *c, const struct api_answer *a)
{
	if (!c->forgotten)
		c->done(c->arg, a);
	call_free(c);
}

static void tell_unreached(struct api_call *c)
{
	tell(c, &(struct api_answer){ .head = "", .body = "" });
}

/* "Status: 200 OK", other lines, an empty line, the body. */
static void tell_answer(struct api_call *c)
{
	struct api_answer a = { .status = 200, .head = c->answer.p };
	char *end = memmem(c->answer.p, c->answer.n, "\r\n\r\n", 4);

	if (!end) {
		tell_unreached(c);
		return;
	}
	a.head_len = (size_t)(end + 2 - c->answer.p);
	a.body = end + 4;
	a.body_len = c->answer.n - (size_t)(a.body - c->answer.p);
	if (strncasecmp(a.head, "Status:", 7) == 0) {
		const char *line = memchr(a.head, '\n', a.head_len);

		a.status = (int)strtol(a.head + 7, NULL, 10);
		a.head_len -= (size_t)(line + 1 - a.head);
		a.head = line + 1;
	}
	tell(c, &a);
}

static void tell_failed(uv_timer_t *t)
{
	(void)t;
	while (api.failed) {
		struct api_call *c = api.failed;

		api.failed = c->next;
		tell_unreached(c);
	}
}

static void fail(struct api_call *c)
{
	c->next = api.failed;
	api.failed = c;
	if (!api.stopping)
		uv_timer_start(&api.soon, tell_failed, 0, 0);
}

/* --- a connection --------------------------------------------------------------------------------------------------- */

static void on_closed(uv_handle_t *h)
{
	struct link *l = h->data;

	l->open = l->closing = l->up = false;
	buf_release(&l->in);
	if (!api.stopping)
		pump();
}

static void close_link(struct link *l)
{
	if (!l->open || l->closing)
		return;
	l->closing = true;
	uv_close((uv_handle_t *)&l->pipe, on_closed);
}

static void queue_front(struct api_call *c)
{
	c->next = api.head;
	if (!api.head)
		api.tail = &c->next;
	api.head = c;
	api.waiting++;
}

/* The connection is of no use any more. A request that met a dead one goes once more, on another. */
static void broken(struct link *l)
{
	struct api_call *c = l->call;

	l->call = NULL;
	if (c) {
		api.busy--;
		if (l->used && !c->again && !c->answer.n && !c->forgotten) {
			c->again = true;
			queue_front(c);
		} else {
			fail(c);
		}
	}
	close_link(l);
}

static void finished(struct link *l)
{
	struct api_call *c = l->call;

	l->call = NULL;
	l->used = true;
	l->idle_us = mono_us();
	api.busy--;
	/* Answered before all of it was read (a body too large, say): what is still being written must not be freed. */
	if (l->sending)
		close_link(l);
	tell_answer(c);
	pump();
}

/* One whole record. False: the peer talks nonsense. */
static bool take_record(struct link *l, int type, const char *data, size_t n)
{
	if (!l->call)
		return false;
	if (type == FCGI_STDOUT && n) {
		if (l->call->answer.n + n > LIMIT_API_ANSWER)
			return false;
		buf_add(&l->call->answer, data, n);
	}
	return true;
}

/* True: the answer is whole. */
static bool take_records(struct link *l, bool *bad)
{
	size_t at = 0;
	bool end = false;

	*bad = false;
	while (!end && !*bad && l->in.n - at >= 8) {
		const unsigned char *h = (const unsigned char *)l->in.p + at;
		size_t n = (size_t)h[4] << 8 | h[5];
		size_t whole = 8 + n + h[6];

		if (h[0] != 1) {
			*bad = true;
			break;
		}
		if (l->in.n - at < whole)
			break;
		end = h[1] == FCGI_END;
		*bad = !take_record(l, h[1], l->in.p + at + 8, n);
		at += whole;
	}
	memmove(l->in.p, l->in.p + at, l->in.n - at);
	l->in.n -= at;
	return end;
}

static void on_alloc(uv_handle_t *h, size_t hint, uv_buf_t *out)
{
	struct link *l = h->data;

	(void)hint;
	buf_grow(&l->in, CHUNK);
	*out = uv_buf_init(l->in.p + l->in.n, CHUNK);
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *b)
{
	struct link *l = s->data;
	bool bad;

	(void)b;
	if (n == 0)
		return;
	if (n < 0) {
		broken(l);
		return;
	}
	l->in.n += (size_t)n;
	if (take_records(l, &bad))
		finished(l);
	else if (bad)
		broken(l);
}

static void on_written(uv_write_t *w, int status)
{
	struct link *l = w->data;

	l->sending = false;
	if (status < 0 && !l->closing)
		broken(l);
}

static void send_call(struct link *l)
{
	uv_buf_t b = uv_buf_init(l->call->request.p, (unsigned)l->call->request.n);

	l->writing.data = l;
	if (uv_write(&l->writing, (uv_stream_t *)&l->pipe, &b, 1, on_written))
		broken(l);
	else
		l->sending = true;
}

static void on_connected(uv_connect_t *c, int status)
{
	struct link *l = c->data;

	if (l->closing)
		return;
	if (status < 0 || uv_read_start((uv_stream_t *)&l->pipe, on_alloc, on_read)) {
		broken(l);
		return;
	}
	l->up = true;
	if (l->call)
		send_call(l);
}

static void open_link(struct link *l)
{
	uv_pipe_init(api.loop, &l->pipe, 0);
	l->pipe.data = l->connecting.data = l;
	l->open = true;
	l->used = l->up = l->closing = l->sending = false;
	buf_init(&l->in);
	uv_pipe_connect(&l->connecting, &l->pipe, api.path, on_connected);
}

/* An idle connection, or a place for a new one. */
static struct link *free_link(void)
{
	struct link *place = NULL;

	for (int i = 0; i < CONNECTIONS; i++) {
		struct link *l = &api.links[i];

		if (l->open && !l->call && !l->closing)
			return l;
		if (!l->open && !place)
			place = l;
	}
	return place;
}

static struct api_call *next_call(void)
{
	while (api.head) {
		struct api_call *c = api.head;

		api.head = c->next;
		if (!api.head)
			api.tail = &api.head;
		api.waiting--;
		if (!c->forgotten)
			return c;
		call_free(c);
	}
	return NULL;
}

static void pump(void)
{
	struct link *l;

	while (api.head && (l = free_link())) {
		struct api_call *c = next_call();

		if (!c)
			return;
		l->call = c;
		api.busy++;
		if (!l->open)
			open_link(l);
		else if (l->up)
			send_call(l);
	}
}

/* --- for the others --------------------------------------------------------------------------------------------------- */

void api_start(uv_loop_t *loop, const char *socket_path)
{
	api.loop = loop;
	api.path = socket_path;
	api.tail = &api.head;
	uv_timer_init(loop, &api.soon);
}

struct api_call *api_ask(const struct api_request *r, api_done *done, void *arg)
{
	struct api_call *c = xcalloc(1, sizeof(*c));

	c->done = done;
	c->arg = arg;
	c->until_us = mono_us() + (r->timeout_s ? r->timeout_s : DEFAULT_TIMEOUT_S) * 1000000LL;
	buf_init(&c->request);
	buf_init(&c->answer);
	if (api.stopping || api.waiting >= LIMIT_API_QUEUE) {
		fail(c);
		return c;
	}
	write_request(&c->request, r);
	*api.tail = c;
	api.tail = &c->next;
	api.waiting++;
	pump();
	return c;
}

void api_forget(struct api_call *call)
{
	if (call)
		call->forgotten = true;
}

void api_tick(void)
{
	int64_t now = mono_us();

	for (int i = 0; i < CONNECTIONS; i++) {
		struct link *l = &api.links[i];

		if (!l->open || l->closing)
			continue;
		if (!l->call && now - l->idle_us > IDLE_US) {
			close_link(l);
		} else if (l->call && now > l->call->until_us) {
			log_warn("mcp-api took too long for a request of the relay");
			l->call->again = true;
			broken(l);
		}
	}
	while (api.head && (api.head->forgotten || now > api.head->until_us)) {
		struct api_call *c = next_call();

		if (c && now > c->until_us) {
			fail(c);
		} else if (c) {
			queue_front(c);
			break;
		}
	}
}

void api_stop(void)
{
	struct api_call *c;

	api.stopping = true;
	for (int i = 0; i < CONNECTIONS; i++) {
		struct link *l = &api.links[i];

		if (l->call) {
			call_free(l->call);
			l->call = NULL;
		}
		close_link(l);
	}
	while ((c = next_call()))
		call_free(c);
	while ((c = api.failed)) {
		api.failed = c->next;
		call_free(c);
	}
	uv_close((uv_handle_t *)&api.soon, NULL);
}

int api_load(void)
{
	return api.busy + api.waiting;
}
