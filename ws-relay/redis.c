// SPDX-License-Identifier: MIT
#include "redis.h"

#include <errno.h>
#include <hiredis/async.h>
#include <sys/ioctl.h>

#include "../lib/base/clock.h"
#include "../lib/base/log.h"
#include "../lib/bus/bus_url.h"

#define RETRY_MS 200
#define READS 16
#define LOG_US 5000000
#define EVENTS "{mcp}:events"
#define WAKE "{mcp}:wake"

/* hiredis' events on a uv_poll handle. The adapter that comes with hiredis leaves a refused connection hanging. */
struct pollster {
	uv_poll_t handle;
	redisAsyncContext *ac;
	int events;
};

struct line {
	redisAsyncContext *ac;
	bool up, listens;
};

struct question {
	redis_done *done;
	void *arg;
};

static struct {
	uv_loop_t *loop;
	struct bus_url url;
	const struct redis_ears *ears;
	struct line ear, mouth;
	uv_timer_t retry;
	int64_t logged_us;
	bool stopping, told_up, subscribed;
} redis;

/* --- hiredis on libuv -------------------------------------------------------------------------------------------- */

static void on_poll(uv_poll_t *h, int status, int events)
{
	struct pollster *p = h->data;

	/* An error shows when hiredis reads or writes. */
	if (status < 0)
		events = UV_READABLE | UV_WRITABLE;
	if (p->ac && events & UV_WRITABLE)
		redisAsyncHandleWrite(p->ac);
	/* hiredis takes 16 KiB at a time: what came together is told together. */
	for (int i = 0; p->ac && events & UV_READABLE && i < READS; i++) {
		int more = 0;
		int fd = p->ac->c.fd;

		redisAsyncHandleRead(p->ac);
		if (!p->ac || ioctl(fd, FIONREAD, &more) || more == 0)
			break;
	}
}

static void watch(struct pollster *p, int events)
{
	if (events == p->events)
		return;
	p->events = events;
	if (events)
		uv_poll_start(&p->handle, events, on_poll);
	else
		uv_poll_stop(&p->handle);
}

static void add_read(void *d)
{
	watch(d, ((struct pollster *)d)->events | UV_READABLE);
}

static void del_read(void *d)
{
	watch(d, ((struct pollster *)d)->events & ~UV_READABLE);
}

static void add_write(void *d)
{
	watch(d, ((struct pollster *)d)->events | UV_WRITABLE);
}

static void del_write(void *d)
{
	watch(d, ((struct pollster *)d)->events & ~UV_WRITABLE);
}

static void on_poll_closed(uv_handle_t *h)
{
	free(h->data);
}

static void cleanup(void *d)
{
	struct pollster *p = d;

	p->ac = NULL;
	uv_close((uv_handle_t *)&p->handle, on_poll_closed);
}

static bool attach(redisAsyncContext *ac)
{
	struct pollster *p = xcalloc(1, sizeof(*p));

	if (uv_poll_init(redis.loop, &p->handle, ac->c.fd)) {
		free(p);
		return false;
	}
	p->handle.data = p;
	p->ac = ac;
	ac->ev.data = p;
	ac->ev.addRead = add_read;
	ac->ev.delRead = del_read;
	ac->ev.addWrite = add_write;
	ac->ev.delWrite = del_write;
	ac->ev.cleanup = cleanup;
	return true;
}

/* --- connections ------------------------------------------------------------------------------------------------- */

static void dial(struct line *l);

static void on_retry(uv_timer_t *t)
{
	(void)t;
	if (!redis.ear.ac)
		dial(&redis.ear);
	if (!redis.mouth.ac)
		dial(&redis.mouth);
}

static void try_later(void)
{
	if (!redis.stopping && !uv_is_active((uv_handle_t *)&redis.retry))
		uv_timer_start(&redis.retry, on_retry, RETRY_MS, 0);
}

static void lost(struct line *l, const char *why)
{
	int64_t now = mono_us();

	l->ac = NULL;
	l->up = false;
	if (redis.stopping)
		return;
	if (now - redis.logged_us > LOG_US) {
		redis.logged_us = now;
		log_warn("Redis cannot be reached (%s); trying again", why);
	}
	if (l->listens) {
		redis.subscribed = false;
		if (redis.told_up) {
			redis.told_up = false;
			redis.ears->down();
		}
	}
	try_later();
}

/* Who is told "up" asks what was missed: both lines have to stand. */
static void maybe_up(void)
{
	if (!redis.subscribed || !redis.mouth.up || redis.told_up)
		return;
	redis.told_up = true;
	log_info("listening to Redis");
	redis.ears->up();
}

static void on_disconnect(const redisAsyncContext *ac, int status)
{
	lost(ac->data, status == REDIS_OK ? "closed" : ac->errstr);
}

static void on_message(redisAsyncContext *ac, void *reply, void *arg)
{
	const redisReply *r = reply;

	(void)ac;
	(void)arg;
	if (!r)
		return;
	if (r->type == REDIS_REPLY_ERROR) {
		log_warn("Redis does not let the relay listen: %s", r->str);
		return;
	}
	if (r->type != REDIS_REPLY_ARRAY || r->elements != 3)
		return;
	if (strcmp(r->element[0]->str, "subscribe") == 0) {
		redis.subscribed = r->element[2]->integer == 2;
		maybe_up();
		return;
	}
	if (!r->element[2]->str)
		return;
	if (strcmp(r->element[1]->str, EVENTS) == 0)
		redis.ears->event(r->element[2]->str, r->element[2]->len);
	else
		redis.ears->wake(r->element[2]->str);
}

static void on_login(redisAsyncContext *ac, void *reply, void *arg)
{
	const redisReply *r = reply;

	(void)arg;
	if (r && r->type == REDIS_REPLY_ERROR) {
		log_warn("Redis refuses: %s", r->str);
		redisAsyncDisconnect(ac);
	}
}

static void on_connect(const redisAsyncContext *ac, int status)
{
	struct line *l = ac->data;

	if (status != REDIS_OK) {
		lost(l, ac->errstr);
		return;
	}
	l->up = true;
	maybe_up();
}

static void dial(struct line *l)
{
	const struct bus_url *u = &redis.url;
	redisAsyncContext *ac = u->path ? redisAsyncConnectUnix(u->path) : redisAsyncConnect(u->host, u->port);

	if (!ac || ac->err || !attach(ac)) {
		if (ac) {
			ac->onDisconnect = NULL;
			redisAsyncFree(ac);
		}
		lost(l, "no connection");
		return;
	}
	l->ac = ac;
	ac->data = l;
	redisAsyncSetConnectCallback(ac, on_connect);
	redisAsyncSetDisconnectCallback(ac, on_disconnect);
	if (u->pass && u->user)
		redisAsyncCommand(ac, on_login, NULL, "AUTH %s %s", u->user, u->pass);
	else if (u->pass)
		redisAsyncCommand(ac, on_login, NULL, "AUTH %s", u->pass);
	if (u->db)
		redisAsyncCommand(ac, on_login, NULL, "SELECT %d", u->db);
	if (l->listens)
		redisAsyncCommand(ac, on_message, NULL, "SUBSCRIBE " EVENTS " " WAKE);
}

/* --- for the others ------------------------------------------------------------------------------------------------ */

enum err redis_start(uv_loop_t *loop, const char *url, const struct redis_ears *ears, struct error *e)
{
	enum err err = bus_url_parse(url, &redis.url, e);

	if (err)
		return err;
	redis.loop = loop;
	redis.ears = ears;
	redis.ear.listens = true;
	uv_timer_init(loop, &redis.retry);
	dial(&redis.ear);
	dial(&redis.mouth);
	return OK;
}

bool redis_up(void)
{
	return redis.told_up;
}

static void on_reply(redisAsyncContext *ac, void *reply, void *arg)
{
	struct question *q = arg;

	(void)ac;
	q->done(q->arg, reply);
	free(q);
}

void redis_ask(redis_done *done, void *arg, int argc, const char **argv)
{
	struct question *q = xmalloc(sizeof(*q));

	*q = (struct question){ done, arg };
	if (!redis.mouth.up || redisAsyncCommandArgv(redis.mouth.ac, on_reply, q, argc, argv, NULL) != REDIS_OK) {
		free(q);
		done(arg, NULL);
	}
}

void redis_stop(void)
{
	redis.stopping = true;
	if (redis.ear.ac)
		redisAsyncFree(redis.ear.ac);
	if (redis.mouth.ac)
		redisAsyncFree(redis.mouth.ac);
	uv_close((uv_handle_t *)&redis.retry, NULL);
	bus_url_release(&redis.url);
}
