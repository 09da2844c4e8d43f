// SPDX-License-Identifier: MIT
#include "bus_internal.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include "../base/clock.h"

void link_close(struct bus_link *l)
{
	if (l->ctx)
		redisFree(l->ctx);
	l->ctx = NULL;
}

int64_t link_deadline(const struct bus_link *l)
{
	return mono_us() + (int64_t)l->timeout_ms * 1000;
}

static bool fail(char why[BUS_WHY], const char *what, const char *detail)
{
	/* Redis' error texts may quote arguments; its first line's start is enough and holds no secret. */
	if (snprintf(why, BUS_WHY, "%s: %.100s", what, detail) < 0)
		why[0] = '\0';
	return false;
}

/* By hand, because hiredis writes without MSG_NOSIGNAL: a Redis that went away would kill us by SIGPIPE. */
bool link_send(struct bus_link *l, const char *p, size_t n, char why[BUS_WHY])
{
	while (n) {
		ssize_t sent = send(l->ctx->fd, p, n, MSG_NOSIGNAL);

		if (sent < 0) {
			if (errno == EINTR)
				continue;
			return fail(why, "send", errno == EAGAIN ? "timeout" : strerrordesc_np(errno));
		}
		p += sent;
		n -= (size_t)sent;
	}
	return true;
}

redisReply *link_read(struct bus_link *l, int64_t deadline_us, char why[BUS_WHY])
{
	void *r = NULL;

	for (;;) {
		if (redisGetReplyFromReader(l->ctx, &r) != REDIS_OK) {
			fail(why, "read", l->ctx->errstr);
			return NULL;
		}
		if (r)
			return r;
		if (mono_us() > deadline_us) {
			fail(why, "read", "timeout");
			return NULL;
		}
		errno = 0;
		if (redisBufferRead(l->ctx) != REDIS_OK) {
			fail(why, "read", errno == EAGAIN ? "timeout" : l->ctx->errstr);
			return NULL;
		}
	}
}

/* Read n replies that must not be errors. */
static bool read_ok(struct bus_link *l, int n, const char *what, char why[BUS_WHY])
{
	int64_t deadline = link_deadline(l);

	for (int i = 0; i < n; i++) {
		redisReply *r = link_read(l, deadline, why);

		if (!r)
			return false;
		if (r->type == REDIS_REPLY_ERROR) {
			fail(why, what, r->str);
			freeReplyObject(r);
			return false;
		}
		freeReplyObject(r);
	}
	return true;
}

bool link_load_scripts(struct bus_link *l, char why[BUS_WHY])
{
	struct cmd c;

	cmd_init(&c);
	for (int i = 0; i < BS_COUNT; i++) {
		size_t n;
		const char *text = bus_script_source((enum bus_script)i, &n);

		cmd_begin(&c, 3, "SCRIPT");
		cmd_arg(&c, "LOAD");
		cmd_argn(&c, text, n);
	}
	bool ok = link_send(l, c.p, c.n, why) && read_ok(l, c.replies, "SCRIPT LOAD", why);

	cmd_release(&c);
	return ok;
}

static bool log_in(struct bus_link *l, const struct bus_url *u, char why[BUS_WHY])
{
	struct cmd c;
	bool ok = true;

	cmd_init(&c);
	if (u->pass) {
		cmd_begin(&c, u->user ? 3 : 2, "AUTH");
		if (u->user)
			cmd_arg(&c, u->user);
		cmd_arg(&c, u->pass);
		ok = link_send(l, c.p, c.n, why) && read_ok(l, 1, "AUTH", why);
		explicit_bzero(c.p, c.n);
	}
	if (ok && u->db) {
		cmd_release(&c);
		cmd_begin(&c, 2, "SELECT");
		cmd_int(&c, u->db);
		ok = link_send(l, c.p, c.n, why) && read_ok(l, 1, "SELECT", why);
	}
	cmd_release(&c);
	return ok;
}

/*
 * Each run of a Redis server has another run_id. What Redis holds is known to be complete only within one run:
 * a restart or a failover may have lost the newest writes, also with AOF. A Redis user that may not ask (INFO
 * is "dangerous" to ACLs) gets the name 1 for every run, and loses only that knowledge.
 */
static bool ask_run(struct bus_link *l, char why[BUS_WHY])
{
	struct cmd c;
	char digits[17] = "";

	cmd_init(&c);
	cmd_begin(&c, 2, "INFO");
	cmd_arg(&c, "server");
	bool ok = link_send(l, c.p, c.n, why);
	redisReply *r = ok ? link_read(l, link_deadline(l), why) : NULL;

	cmd_release(&c);
	if (!r)
		return false;
	if (r->type == REDIS_REPLY_ERROR && strncmp(r->str, "NOPERM", 6) != 0) {
		fail(why, "INFO", r->str);
		freeReplyObject(r);
		return false;
	}
	const char *id = r->type == REDIS_REPLY_STRING ? strstr(r->str, "run_id:") : NULL;

	l->run = id && sscanf(id + 7, "%16[0-9a-f]", digits) == 1 ? strtoull(digits, NULL, 16) : 1;
	freeReplyObject(r);
	return true;
}

bool link_open(struct bus_link *l, const struct bus_url *u, int timeout_ms, bool with_scripts, char why[BUS_WHY])
{
	struct timeval tv = { .tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000 };

	*l = (struct bus_link){ .timeout_ms = timeout_ms };
	l->ctx = u->path ? redisConnectUnixWithTimeout(u->path, tv) : redisConnectWithTimeout(u->host, u->port, tv);
	if (!l->ctx)
		return fail(why, "connect", "out of memory");
	if (l->ctx->err)
		fail(why, "connect", l->ctx->errstr);
	else if (redisSetTimeout(l->ctx, tv) != REDIS_OK || (!u->path && redisEnableKeepAlive(l->ctx) != REDIS_OK))
		fail(why, "connect", l->ctx->errstr);
	else if (log_in(l, u, why) && ask_run(l, why) && (!with_scripts || link_load_scripts(l, why)))
		return true;
	link_close(l);
	return false;
}

bool link_idle_ok(const struct bus_link *l)
{
	char c;

	if (!l->ctx)
		return false;
	/* Anything to read where no answer is due is the end of the connection, or bytes that belong to nobody. */
	return recv(l->ctx->fd, &c, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && (errno == EAGAIN || errno == EINTR);
}
