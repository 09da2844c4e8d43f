// SPDX-License-Identifier: MIT
/*
 * mcp-scheduler: what happens by itself (sched.h). Runs in the foreground and logs JSON lines to stderr. TERM and INT
 * finish the work in hand, hand the lead over and exit 0; HUP reads the configuration again.
 */
#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <unistd.h>

#include "../lib/base/clock.h"
#include "../lib/base/log.h"
#include "../lib/base/metrics.h"
#include "../lib/base/version.h"
#include "sched.h"

#define CREW_SQLITE	3	/* one file, one writer: a few waiting together are enough */
#define CREW_MONGO	11	/* each waits for a round trip and a journal write */
#define STORE_WAIT_MAX	5	/* s between tries to open it */
#define BUS_WAIT_MS	300	/* for the first connection, so that a start does not look like an outage */

static const struct duty duty_table[DUTY_COUNT] = {
	[DUTY_TIMERS] = { .name = "timers", .run = timers_run, .wakes = WAKE_LOOK | WAKE_BUS, .gap_ms = 2 },
	[DUTY_DEPENDENCIES] = { .name = "dependencies", .run = dependencies_run, .wakes = WAKE_LOOK, .gap_ms = 20 },
	[DUTY_AGENTS] = { .name = "agents", .run = agents_run, .wakes = WAKE_AGENTS | WAKE_BUS, .gap_ms = 10 },
	[DUTY_ASSIGN] = { .name = "assign", .run = assign_run, .wakes = WAKE_TASKS | WAKE_OWN | WAKE_BUS, .gap_ms = 1 },
	[DUTY_SENDER] = { .name = "sender", .run = sender_run, .wakes = WAKE_LOOK | WAKE_OWN, .lingers = true,
			  .poke = sender_poke, .finish = sender_finish },
	[DUTY_HEAL] = { .name = "heal", .run = heal_run, .wakes = WAKE_BUS, .gap_ms = 50 },
	[DUTY_RETENTION] = { .name = "retention", .run = retention_run },
	[DUTY_ALERTS] = { .name = "alerts", .run = alerts_run, .wakes = WAKE_BUS, .gap_ms = 500 },
};

static void wake(struct sched *s, unsigned why)
{
	for (int i = 0; i < DUTY_COUNT; i++)
		duty_wake(&s->duties[i], why);
}

static void led(void *arg)
{
	wake(arg, WAKE_LED);
}

/* On the listener's thread: many thousand "t" a second may come by here. */
static void heard(void *arg, const char *message)
{
	struct sched *s = arg;

	switch (message[0]) {
	case 't':
		if (fleet_any(s->fleet) && leads(s))
			duty_wake(&s->duties[DUTY_ASSIGN], WAKE_TASKS);
		break;
	case 's':
		if (leads(s))
			wake(s, WAKE_LOOK);
		break;
	case 'a':
		if (leads(s))
			wake(s, WAKE_AGENTS);
		break;
	case 'd':
		s->bus_was_down = true;
		break;
	case 'u':
		if (s->bus_was_down)
			wake(s, WAKE_BUS);
		s->bus_was_down = false;
		break;
	default:
		break;
	}
}

/* --- start and end -------------------------------------------------------------------------------------------- */

static bool configure(struct sched *s, const char *file)
{
	struct buf problems;
	enum log_level level = LOG_INFO;

	buf_init(&problems);
	bool good = config_load(&s->cfg, file, &problems);

	if (!good)
		fprintf(stderr, "mcp-scheduler: the configuration is not good:\n%s", problems.p);
	buf_release(&problems);
	if (good && log_level_parse(s->cfg.log_level, &level))
		log_set_level(level);
	return good;
}

static void reload(struct sched *s, const char *file)
{
	struct buf problems;
	enum log_level level;

	buf_init(&problems);
	pthread_rwlock_wrlock(&s->reloading);
	bool good = config_reload(&s->cfg, file, &problems);

	pthread_rwlock_unlock(&s->reloading);
	if (!good) {
		log_at(LOG_ERROR, "the new configuration is not good, the old one stays: %s", problems.p);
	} else {
		if (log_level_parse(s->cfg.log_level, &level))
			log_set_level(level);
		log_info("the configuration was read again");
		wake(s, WAKE_AGENTS);
	}
	buf_release(&problems);
}

/* A signal that asks us to end, waited for at most s seconds. */
static bool told_to_end(const sigset_t *signals, int seconds)
{
	struct timespec wait = { .tv_sec = seconds };
	int sig;

	do {
		sig = sigtimedwait(signals, NULL, &wait);
	} while ((sig < 0 && errno == EINTR) || sig == SIGHUP);
	return sig == SIGTERM || sig == SIGINT;
}

/* The store may come up after us: wait for it. False: we are to end, or it will never do. */
static bool open_store(struct sched *s, const sigset_t *signals, int *status)
{
	bool sqlite = strncmp(s->cfg.store_uri, "sqlite:", 7) == 0;
	struct store_options o = { .uri = s->cfg.store_uri,
				   .readers = DUTY_COUNT + 1 + (sqlite ? CREW_SQLITE : CREW_MONGO) };
	int wait = 1;

	for (bool said = false;; said = true) {
		struct error e;

		error_init(&e, NULL);
		enum err err = store_open(&o, &s->app.store, &e);

		if (!err)
			return true;
		*status = 1;
		if (err == ERR_VALIDATION) {
			log_error(LOG_CRITICAL, &e, "%s", e.message[0] ? e.message : "the store cannot be used");
			return false;
		}
		if (!said)
			log_error(LOG_WARN, &e, "the store cannot be opened (%s); waiting for it",
				  e.message[0] ? e.message : err_text(err));
		if (told_to_end(signals, wait)) {
			*status = 0;
			return false;
		}
		wait = wait < STORE_WAIT_MAX ? wait + 1 : wait;
	}
}

/* The counters of this machine's processes are one file. */
static void open_metrics(struct sched *s)
{
	char path[4200];
	struct arena arena;
	struct error e;

	arena_init(&arena);
	error_init(&e, &arena);
	snprintf(path, sizeof(path), "%s/run/metrics", s->cfg.home);
	if (metrics_open(*s->cfg.home ? path : NULL, &e))
		log_error(LOG_WARN, &e, "what the scheduler counts is not shown");
	arena_release(&arena);
}

static enum err begin(struct sched *s, struct error *e)
{
	struct bus_options o = { .url = s->cfg.redis_url, .proc_id = s->proc_id };
	bool sqlite = strcmp(store_name(s->app.store), "sqlite") == 0;

	open_metrics(s);
	memcpy(s->duties, duty_table, sizeof(s->duties));
	s->watch = watch_new();
	s->fleet = fleet_new();
	s->healer = healer_new();
	s->keeper = keeper_new();
	s->guard = guard_new();
	s->leader = leader_new(&s->app, led, s);
	enum err err = bus_open(&o, &s->app.bus, e);

	for (int i = 0; i < BUS_WAIT_MS / 5 && !err && !bus_up(s->app.bus); i++)
		usleep(5000);
	if (!err)
		err = crew_new(&s->app, sqlite ? CREW_SQLITE : CREW_MONGO, &s->crew, e);
	if (!err)
		err = sender_new(s, &s->sender, e);
	for (int i = 0; i < DUTY_COUNT && !err; i++)
		err = duty_start(s, &s->duties[i], e);
	/* Last, what wakes them. */
	if (!err)
		err = bus_listen(&o, heard, s, &s->listen, e);
	return err ? err : leader_start(s->leader, e);
}

static void end(struct sched *s)
{
	s->ending = true;
	for (int i = 0; i < DUTY_COUNT; i++)
		duty_stop(&s->duties[i]);
	for (int i = 0; i < DUTY_COUNT; i++)
		duty_join(&s->duties[i]);
	bus_listen_stop(s->listen);
	leader_free(s->leader);
	sender_free(s->sender);
	crew_free(s->crew);
	watch_free(s->watch);
	fleet_free(s->fleet);
	healer_free(s->healer);
	keeper_free(s->keeper);
	guard_free(s->guard);
	bus_close(s->app.bus);
	store_close(s->app.store);
	config_release(&s->cfg);
}

static int serve(struct sched *s, const char *file, const sigset_t *signals)
{
	struct error e;
	int status = 0;
	int sig;

	error_init(&e, NULL);
	if (!open_store(s, signals, &status))
		return status;
	if (begin(s, &e)) {
		log_error(LOG_CRITICAL, &e, "%s", e.message[0] ? e.message : "the scheduler cannot start");
		return 1;
	}
	log_info("mcp-scheduler %s is up, process %s", mcp_version, s->proc_id);
	while ((sig = sigwaitinfo(signals, NULL)) != SIGTERM && sig != SIGINT) {
		if (sig == SIGHUP)
			reload(s, file);
	}
	log_info("ending: the work in hand is finished first");
	return 0;
}

int main(int argc, char **argv)
{
	static struct sched s;
	pthread_rwlockattr_t prefer_reload;
	sigset_t signals;

	log_init("mcp-scheduler", LOG_INFO);
	if (argc == 2 && strcmp(argv[1], "--version") == 0) {
		printf("mcp-scheduler %s (%s)\n", mcp_version, mcp_revision);
		return 0;
	}
	if (argc != 3 || strcmp(argv[1], "--config") != 0) {
		fprintf(stderr, "usage: mcp-scheduler --config FILE\n       mcp-scheduler --version\n");
		return 2;
	}
	if (!configure(&s, argv[2]))
		return 1;
	/* Threads come and go; their memory need not be kept apart. */
	mallopt(M_ARENA_MAX, 2);
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGHUP);
	/* Before any thread is made, so that only sigwaitinfo() sees them. */
	pthread_sigmask(SIG_BLOCK, &signals, NULL);
	pthread_rwlockattr_init(&prefer_reload);
	pthread_rwlockattr_setkind_np(&prefer_reload, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&s.reloading, &prefer_reload);
	id_new(s.proc_id);
	s.app = (struct app){ .cfg = &s.cfg, .proc_id = s.proc_id };
	int status = serve(&s, argv[2], &signals);

	end(&s);
	return status;
}
