// SPDX-License-Identifier: MIT
#include "bus_internal.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "../base/clock.h"
#include "../base/log.h"

#define PING_MS 1000		/* of silence, then we ask whether anyone is there */

struct bus_listen {
	struct bus_url url;
	int timeout_ms;
	bus_listener *cb;
	void *arg;
	pthread_t thread;
	int stop_fd;
	struct bus_link link;
	bool waiting_pong;
	int64_t pinged_us;
};

/* True: stop was asked for within that time. */
static bool stopped(struct bus_listen *l, int ms)
{
	struct pollfd fd = { .fd = l->stop_fd, .events = POLLIN };

	return poll(&fd, 1, ms) > 0;
}

static bool command(struct bus_listen *l, const char *name, const char *channel, char why[BUS_WHY])
{
	struct cmd c;

	cmd_init(&c);
	cmd_begin(&c, channel ? 2 : 1, name);
	if (channel)
		cmd_key(&c, channel, "");
	bool ok = link_send(&l->link, c.p, c.n, why);

	cmd_release(&c);
	return ok;
}

static bool subscribe(struct bus_listen *l, char why[BUS_WHY])
{
	if (!link_open(&l->link, &l->url, l->timeout_ms, false, why))
		return false;
	redisReply *r = command(l, "SUBSCRIBE", "wake", why) ? link_read(&l->link, link_deadline(&l->link), why) : NULL;
	bool ok = r && r->type == REDIS_REPLY_ARRAY;

	if (r)
		freeReplyObject(r);
	if (!ok)
		link_close(&l->link);
	l->waiting_pong = false;
	return ok;
}

static void hear(struct bus_listen *l, const redisReply *r)
{
	if (r->type != REDIS_REPLY_ARRAY || r->elements < 2 || r->element[0]->type != REDIS_REPLY_STRING)
		return;
	l->waiting_pong = false;
	if (r->elements == 3 && strcmp(r->element[0]->str, "message") == 0 &&
	    r->element[2]->type == REDIS_REPLY_STRING)
		l->cb(l->arg, r->element[2]->str);
}

/* Take in what has come. False: broken. */
static bool read_some(struct bus_listen *l, char why[BUS_WHY])
{
	void *r = NULL;

	if (redisBufferRead(l->link.ctx) != REDIS_OK) {
		snprintf(why, BUS_WHY, "read: %.100s", l->link.ctx->errstr);
		return false;
	}
	for (;;) {
		if (redisGetReplyFromReader(l->link.ctx, &r) != REDIS_OK) {
			snprintf(why, BUS_WHY, "read: %.100s", l->link.ctx->errstr);
			return false;
		}
		if (!r)
			return true;
		hear(l, r);
		freeReplyObject(r);
	}
}

/* A hung server looks like a silent one, so silence is broken by a question that has a time limit. */
static bool still_there(struct bus_listen *l, char why[BUS_WHY])
{
	if (!l->waiting_pong) {
		l->waiting_pong = true;
		l->pinged_us = mono_us();
		return command(l, "PING", NULL, why);
	}
	if (mono_us() - l->pinged_us < (int64_t)l->timeout_ms * 1000)
		return true;
	snprintf(why, BUS_WHY, "no answer to PING");
	return false;
}

/* Until the connection breaks (false) or stop is asked for (true). */
static bool listen_on(struct bus_listen *l, char why[BUS_WHY])
{
	for (;;) {
		struct pollfd fds[2] = {
			{ .fd = l->link.ctx->fd, .events = POLLIN },
			{ .fd = l->stop_fd, .events = POLLIN },
		};
		int wait = l->waiting_pong ? l->timeout_ms : PING_MS;
		int n = poll(fds, 2, wait);

		if (fds[1].revents)
			return true;
		if (n == 0 && !still_there(l, why))
			return false;
		if (n > 0 && fds[0].revents && !read_some(l, why))
			return false;
	}
}

static void *listen_main(void *arg)
{
	struct bus_listen *l = arg;
	char why[BUS_WHY] = "";

	pthread_setname_np(pthread_self(), "bus-listener");
	do {
		if (!subscribe(l, why))
			continue;
		l->cb(l->arg, "up");
		bool stop = listen_on(l, why);

		link_close(&l->link);
		if (stop)
			break;
		log_warn("the wake channel is gone (%s); trying again", why);
		l->cb(l->arg, "down");
	} while (!stopped(l, BUS_RETRY_MS));
	return NULL;
}

static void listen_free(struct bus_listen *l)
{
	if (l->stop_fd >= 0)
		close(l->stop_fd);
	bus_url_release(&l->url);
	free(l);
}

enum err bus_listen(const struct bus_options *o, bus_listener *cb, void *arg, struct bus_listen **out,
		    struct error *e)
{
	struct bus_listen *l = xcalloc(1, sizeof(*l));
	sigset_t all;
	sigset_t old;
	enum err err = bus_url_parse(o->url, &l->url, e);

	*out = NULL;
	l->timeout_ms = o->timeout_ms > 0 ? o->timeout_ms : BUS_TIMEOUT_MS;
	l->cb = cb;
	l->arg = arg;
	l->stop_fd = eventfd(0, EFD_CLOEXEC);
	if (!err && l->stop_fd < 0)
		err = error_set(e, ERR_INTERNAL, "eventfd failed");
	if (err) {
		listen_free(l);
		return err;
	}
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	int failed = pthread_create(&l->thread, NULL, listen_main, l);

	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (failed) {
		listen_free(l);
		return error_set(e, ERR_INTERNAL, "no thread for the listener");
	}
	*out = l;
	return OK;
}

void bus_listen_stop(struct bus_listen *l)
{
	if (!l)
		return;
	if (eventfd_write(l->stop_fd, 1))
		abort();
	pthread_join(l->thread, NULL);
	listen_free(l);
}
