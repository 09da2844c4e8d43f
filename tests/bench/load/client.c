// SPDX-License-Identifier: MIT
#include "client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_STEP ((size_t)64 * 1024)

bool client_init(struct client *c, const char *url)
{
	char host[64];
	unsigned port = 80;

	*c = (struct client){ .epoll = -1, .prefix = "/api/v1" };
	if (sscanf(url, "http://%63[^:/]:%u", host, &port) < 1 || port > 65535)
		return false;
	if (!strcmp(host, "localhost"))
		snprintf(host, sizeof(host), "127.0.0.1");
	c->address = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	/* Load goes to this machine only, whatever one types. */
	if (inet_pton(AF_INET, host, &c->address.sin_addr) != 1 || strncmp(host, "127.", 4) != 0)
		return false;
	snprintf(c->host, sizeof(c->host), "%.40s:%u", host, port);
	c->epoll = epoll_create1(EPOLL_CLOEXEC);
	return c->epoll >= 0;
}

void client_release(struct client *c)
{
	if (c->epoll >= 0)
		close(c->epoll);
	c->epoll = -1;
}

void conn_init(struct conn *c, struct client *client, void *arg)
{
	*c = (struct conn){ .client = client, .arg = arg, .fd = -1 };
	buf_init(&c->out);
	buf_init(&c->in);
	buf_init(&c->body);
}

static void disconnect(struct conn *c)
{
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
}

void conn_release(struct conn *c)
{
	disconnect(c);
	buf_release(&c->out);
	buf_release(&c->in);
	buf_release(&c->body);
}

static bool do_connect(struct conn *c)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = c };
	int one = 1;

	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	c->client->reconnects++;
	/* Blocking: on loopback the kernel answers at once. */
	if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&c->client->address, sizeof(c->client->address)) ||
	    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) || fcntl(c->fd, F_SETFL, O_NONBLOCK) ||
	    epoll_ctl(c->client->epoll, EPOLL_CTL_ADD, c->fd, &ev)) {
		disconnect(c);
		return false;
	}
	c->want_write = false;
	return true;
}

static void finish(struct conn *c, int status, const char *body, size_t n)
{
	conn_done *done = c->done;

	if (status == 0 || c->close_after)
		disconnect(c);
	c->done = NULL;
	done(c, status, body, n);
}

static void set_events(struct conn *c, bool want_write)
{
	struct epoll_event ev = { .events = EPOLLIN | (want_write ? EPOLLOUT : 0), .data.ptr = c };

	if (want_write != c->want_write && !epoll_ctl(c->client->epoll, EPOLL_CTL_MOD, c->fd, &ev))
		c->want_write = want_write;
}

/* False when the connection is broken. */
static bool push(struct conn *c)
{
	while (c->out_done < c->out.n) {
		ssize_t n = send(c->fd, c->out.p + c->out_done, c->out.n - c->out_done, MSG_NOSIGNAL);

		if (n < 0 && errno == EAGAIN) {
			set_events(c, true);
			return true;
		}
		if (n < 0)
			return false;
		c->out_done += (size_t)n;
	}
	set_events(c, false);
	return true;
}

void conn_call(struct conn *c, const char *method, const char *path, const char *token, const char *body, size_t n,
	       conn_done *done)
{
	c->done = done;
	c->client->calls++;
	buf_reset(&c->out);
	buf_reset(&c->in);
	buf_reset(&c->body);
	c->out_done = c->head_len = c->at = 0;
	c->close_after = false;
	buf_addf(&c->out, "%s %s%s HTTP/1.1\r\nHost: %s\r\n", method, c->client->prefix, path, c->client->host);
	if (token) {
		buf_adds(&c->out, "Authorization: Bearer ");
		buf_adds(&c->out, token);
		buf_adds(&c->out, "\r\n");
	}
	if (body)
		buf_addf(&c->out, "Content-Type: application/json\r\nContent-Length: %zu\r\n", n);
	buf_adds(&c->out, "\r\n");
	if (body)
		buf_add(&c->out, body, n);
	if ((c->fd < 0 && !do_connect(c)) || !push(c)) {
		/* The callback never runs inside this call: its caller is not ready for it. */
		disconnect(c);
		c->failed_next = c->client->failed;
		c->client->failed = c;
	}
}

/* --- reading answers ------------------------------------------------------------------------------------ */

/* The head is complete at in.p[0..end): status, length, whether the connection stays. */
static bool read_head(struct conn *c, size_t end)
{
	bool has_length = false;

	if (c->in.n < 12 || strncmp(c->in.p, "HTTP/1.", 7) != 0)
		return false;
	c->status = (int)strtol(c->in.p + 9, NULL, 10);
	c->length = 0;
	c->head_len = end;
	c->at = end;
	for (char *line = strstr(c->in.p, "\r\n") + 2; line < c->in.p + end - 2; line = strstr(line, "\r\n") + 2) {
		if (!strncasecmp(line, "content-length:", 15)) {
			c->length = strtoll(line + 15, NULL, 10);
			has_length = true;
		} else if (!strncasecmp(line, "transfer-encoding: chunked", 26)) {
			c->length = -1;
			has_length = true;
		} else if (!strncasecmp(line, "connection: close", 17)) {
			c->close_after = true;
		}
	}
	return has_length || c->status == 204 || c->status == 304;
}

/* 1: the last chunk is in; 0: more must come; -1: not chunks. */
static int read_chunks(struct conn *c)
{
	for (;;) {
		char *line = c->in.p + c->at;
		char *end = memmem(line, c->in.n - c->at, "\r\n", 2);

		if (!end)
			return 0;
		char *stop = NULL;
		unsigned long n = strtoul(line, &stop, 16);
		size_t data = (size_t)(end + 2 - c->in.p);

		if (stop == line || n > 1ul << 30)
			return -1;
		if (c->in.n < data + n + 2)
			return 0;
		buf_add(&c->body, c->in.p + data, n);
		c->at = data + n + 2;
		if (n == 0)
			return 1;
	}
}

/* Look at what has come; calls the callback when the answer is whole. False: the server talks no HTTP. */
static bool advance(struct conn *c)
{
	if (!c->head_len) {
		char *end = memmem(c->in.p, c->in.n, "\r\n\r\n", 4);

		if (!end)
			return c->in.n < READ_STEP;
		if (!read_head(c, (size_t)(end + 4 - c->in.p)))
			return false;
	}
	if (c->length >= 0) {
		if (c->in.n - c->head_len >= (size_t)c->length)
			finish(c, c->status, c->in.p + c->head_len, (size_t)c->length);
		return true;
	}
	int whole = read_chunks(c);

	if (whole > 0)
		finish(c, c->status, c->body.p, c->body.n);
	return whole >= 0;
}

static void on_readable(struct conn *c)
{
	buf_grow(&c->in, READ_STEP);
	ssize_t n = recv(c->fd, c->in.p + c->in.n, c->in.cap - c->in.n - 1, 0);

	if (n < 0 && errno == EAGAIN)
		return;
	if (n > 0) {
		c->in.n += (size_t)n;
		c->in.p[c->in.n] = '\0';
		if (!c->done || advance(c))
			return;
	}
	disconnect(c);	/* ended, or broken, in an answer or between two */
	if (c->done)
		finish(c, 0, "", 0);
}

void client_poll(struct client *client, int timeout_ms, int extra_fd, bool *extra)
{
	struct epoll_event ev[256];
	struct conn *failed = client->failed;

	client->failed = NULL;
	if (failed)
		timeout_ms = 0;
	for (struct conn *next; failed; failed = next) {
		next = failed->failed_next;
		finish(failed, 0, "", 0);
	}
	int n = epoll_wait(client->epoll, ev, 256, timeout_ms);

	for (int i = 0; i < n; i++) {
		struct conn *c = ev[i].data.ptr;

		if (!c) {
			uint64_t ticks;

			*extra = read(extra_fd, &ticks, sizeof(ticks)) > 0;
			continue;
		}
		if (c->fd >= 0 && ev[i].events & EPOLLOUT && !push(c))
			ev[i].events |= EPOLLIN;
		if (c->fd >= 0 && ev[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
			on_readable(c);
	}
}
