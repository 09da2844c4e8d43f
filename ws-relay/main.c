// SPDX-License-Identifier: MIT
/*
 * mcp-relay --config FILE: the loop and its signals. TERM drains: clients are told 1001, parked claims are answered, and
 * the process ends when all have gone, or after DRAIN_US. HUP reads the configuration again.
 */
#include <signal.h>
#include <sys/resource.h>

#include "../lib/base/clock.h"
#include "../lib/base/log.h"
#include "../lib/base/version.h"
#include "agents.h"
#include "auth.h"
#include "channels.h"
#include "events.h"
#include "fcgiclient.h"
#include "park.h"
#include "redis.h"
#include "relay.h"
#include "seek.h"
#include "serve.h"
#include "session.h"

#define TICK_MS 100
#define TICK_CONFORMANCE_MS 20
#define DRAIN_US 3000000

struct relay relay;

static struct {
	uv_timer_t tick;
	uv_prepare_t before;
	uv_check_t after;
	uv_signal_t term, intr, hup;
	const char *file;
	int64_t drain_until;
	bool ended;
} loop;

static void on_turn(uv_prepare_t *h)
{
	(void)h;
	sessions_flush();
}

static void on_turned(uv_check_t *h)
{
	(void)h;
	sessions_flush();
}

static void close_handle(void *h)
{
	if (!uv_is_closing(h))
		uv_close(h, NULL);
}

/* Nothing is left to do but to let the loop run out. */
static void end(void)
{
	if (loop.ended)
		return;
	loop.ended = true;
	serve_stop();
	sessions_stop();
	seek_stop();
	events_stop();
	redis_stop();
	api_stop();
	close_handle(&loop.tick);
	close_handle(&loop.before);
	close_handle(&loop.after);
	close_handle(&loop.term);
	close_handle(&loop.intr);
	close_handle(&loop.hup);
}

/*
 * Everybody has gone and heard what they asked: also the answers of claims that were under way, whose tasks would else
 * wait for their leases to run out. What is answered leaves in the turn after, so this must hold a few ticks long.
 */
static bool drained(void)
{
	static int quiet;

	quiet = sessions_count() || park_count() || api_load() ? 0 : quiet + 1;
	return quiet > 3;
}

static void on_tick(uv_timer_t *t)
{
	static int64_t second;
	int64_t now = mono_us();

	(void)t;
	park_tick();
	seek_tick();
	channels_tick();
	if (relay.conformance)
		sessions_tick();
	if (now - second >= 900000) {
		second = now;
		auth_tick();
		api_tick();
		sessions_tick();
		agents_tick();
	}
	if (relay.draining && (drained() || now > loop.drain_until))
		end();
}

static void say_goodbye(struct session *s, void *arg)
{
	(void)arg;
	session_close(s, CLOSE_GOING_AWAY, "the relay is going away");
}

static void on_term(uv_signal_t *h, int sig)
{
	(void)h;
	(void)sig;
	if (relay.draining)
		return;
	relay.draining = true;
	loop.drain_until = mono_us() + DRAIN_US;
	log_info("draining: %d sessions, %d parked claims", sessions_count(), park_count());
	park_stop();
	sessions_each(say_goodbye, NULL);
	uv_timer_start(&loop.tick, on_tick, 20, 20);
}

static void on_hup(uv_signal_t *h, int sig)
{
	struct buf problems;
	enum log_level level;

	(void)h;
	(void)sig;
	buf_init(&problems);
	if (config_reload(&relay.cfg, loop.file, &problems)) {
		if (log_level_parse(relay.cfg.log_level, &level))
			log_set_level(level);
		log_info("configuration is reloaded");
	} else {
		log_at(LOG_ERROR, "the configuration stays as it was: %s", problems.p);
	}
	buf_release(&problems);
}

/* As many descriptors as connections are allowed, and some for ourselves. */
static void raise_limits(void)
{
	struct rlimit r;
	rlim_t want = (rlim_t)relay.cfg.max_connections + 256;

	if (getrlimit(RLIMIT_NOFILE, &r) || r.rlim_cur >= want)
		return;
	r.rlim_cur = r.rlim_max == RLIM_INFINITY || r.rlim_max >= want ? want : r.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &r) || r.rlim_cur < want) {
		log_warn("only %llu descriptors are allowed: MAX_CONNECTIONS is lowered to fit", (unsigned long long)r.rlim_cur);
		relay.cfg.max_connections = (int64_t)r.rlim_cur - 256;
	}
}

static bool start(struct error *e)
{
	static const struct redis_ears ears = { events_heard, seek_wake, events_up, events_down };

	uv_loop_init(&relay.loop);
	uv_timer_init(&relay.loop, &loop.tick);
	uv_prepare_init(&relay.loop, &loop.before);
	uv_check_init(&relay.loop, &loop.after);
	uv_signal_init(&relay.loop, &loop.term);
	uv_signal_init(&relay.loop, &loop.intr);
	uv_signal_init(&relay.loop, &loop.hup);
	uv_prepare_start(&loop.before, on_turn);
	uv_check_start(&loop.after, on_turned);
	uv_signal_start(&loop.term, on_term, SIGTERM);
	uv_signal_start(&loop.intr, on_term, SIGINT);
	uv_signal_start(&loop.hup, on_hup, SIGHUP);
	int ms = relay.conformance ? TICK_CONFORMANCE_MS : TICK_MS;

	uv_timer_start(&loop.tick, on_tick, (uint64_t)ms, (uint64_t)ms);
	raise_limits();
	api_start(&relay.loop, relay.cfg.api_socket);
	return !redis_start(&relay.loop, relay.cfg.redis_url, &ears, e) && !serve_start(e);
}

static int serve(void)
{
	struct arena arena;
	struct error e;

	signal(SIGPIPE, SIG_IGN);
	relay.started_us = mono_us();
	arena_init(&arena);
	error_init(&e, &arena);
	if (!start(&e)) {
		log_error(LOG_CRITICAL, &e, "mcp-relay cannot start: %s", e.message);
		return 1;
	}
	arena_release(&arena);
	log_info("mcp-relay %s (%s) listens on port %d%s", mcp_version, mcp_revision, relay.port,
		 relay.conformance ? ", echoing for the conformance suites" : "");
	uv_run(&relay.loop, UV_RUN_DEFAULT);
	serve_finish();
	uv_run(&relay.loop, UV_RUN_DEFAULT);
	int open = uv_loop_close(&relay.loop);

	log_info("mcp-relay stopped%s", open ? " with handles open" : "");
	return 0;
}

static int usage(FILE *out)
{
	fputs("usage: mcp-relay [--config FILE] [--check] [--conformance]\n"
	      "       mcp-relay --version\n"
	      "\n"
	      "  --config FILE   KEY = value lines; the environment overrides them\n"
	      "  --check         look at the configuration and exit\n"
	      "  --conformance   for tests only: echo to anybody, as the Engine.IO and Socket.IO suites expect\n",
	      out);
	return out == stderr ? 2 : 0;
}

int main(int argc, char **argv)
{
	bool check = false;
	struct buf problems;
	enum log_level level = LOG_INFO;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--config") == 0 && i + 1 < argc)
			loop.file = argv[++i];
		else if (strcmp(argv[i], "--check") == 0)
			check = true;
		else if (strcmp(argv[i], "--conformance") == 0)
			relay.conformance = true;
		else if (strcmp(argv[i], "--version") == 0)
			return printf("mcp-relay %s (%s)\n", mcp_version, mcp_revision) < 0;
		else
			return usage(strcmp(argv[i], "--help") == 0 ? stdout : stderr);
	}
	buf_init(&problems);
	bool good = config_load(&relay.cfg, loop.file, &problems);

	if (!good)
		fputs(problems.p, stderr);
	buf_release(&problems);
	if (!good)
		return 2;
	if (relay.conformance && strcmp(relay.cfg.environment, "production") == 0) {
		fputs("mcp-relay: --conformance is not for production\n", stderr);
		return 2;
	}
	if (log_level_parse(relay.cfg.log_level, &level))
		log_init("mcp-relay", level);
	int rc = check ? 0 : serve();

	config_release(&relay.cfg);
	return rc;
}
