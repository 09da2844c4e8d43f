// SPDX-License-Identifier: MIT
#include "worker.h"

#include <errno.h>
#include <fcgiapp.h>
#include <malloc.h>
#include <pthread.h>
#include <unistd.h>

#include "../lib/auth/jwt.h"
#include "../lib/auth/password.h"
#include "../lib/auth/seal.h"
#include "../lib/base/log.h"
#include "../lib/base/metrics.h"
#include "../lib/domain/user.h"
#include "park.h"

#define HEAPS 4
#define STACK_BYTES ((size_t)1024 * 1024)

volatile sig_atomic_t worker_stop, worker_reload;

struct pool {
	struct app *app;
	int fd;
	bool slow;
	_Atomic int running;
};

static void on_term(int sig)
{
	(void)sig;
	worker_stop = 1;
}

static void on_hup(int sig)
{
	(void)sig;
	worker_reload = 1;
}

static void on_wake(int sig)
{
	(void)sig;	/* only to end a blocking accept(2) */
}

static void handle(int sig, void (*fn)(int))
{
	struct sigaction sa = { .sa_handler = fn };

	sigemptyset(&sa.sa_mask);
	if (sigaction(sig, &sa, NULL))
		abort();
}

/*
 * libfcgi ends a connection by shutdown(2) and then waits for up to two seconds until the other side has closed
 * too, lest a reset overtakes the answer while the request is still being sent. A request that was read to its end
 * needs no such care, and its thread is free at once.
 */
static void finish(FCGX_Request *request, bool whole)
{
	if (whole && FCGX_GetChar(request->in) == EOF)
		FCGX_Detach(request);
	FCGX_Finish_r(request);
}

static void *serve(void *arg)
{
	struct pool *pool = arg;
	struct arena arena;
	FCGX_Request request;

	arena_init_wiped(&arena);
	if (FCGX_InitRequest(&request, pool->fd, FCGI_FAIL_ACCEPT_ON_INTR)) {
		log_at(LOG_CRITICAL, "FCGX_InitRequest failed");
		worker_stop = 1;
	}
	while (!worker_stop) {
		if (FCGX_Accept_r(&request) < 0)
			continue;	/* interrupted, or the web server went away: look whether to stop */
		finish(&request, dispatch(pool->app, &request, &arena, pool->slow));
		arena_reset(&arena);
	}
	FCGX_Free(&request, 1);
	arena_release(&arena);
	pool->running--;
	return NULL;
}

/* The connections and secrets of this process; made after the fork. */
static enum err open_parts(struct app *app, const struct worker_options *o, struct error *e)
{
	const struct config *cfg = o->cfg;
	struct store_options so = { .uri = cfg->store_uri, .readers = o->threads };
	struct bus_options bo = { .url = cfg->redis_url, .proc_id = app->proc_id };
	struct token_options to = { .secret = cfg->jwt_secret, .previous_secret = cfg->jwt_secret_previous };
	struct password_options po = { .pepper = cfg->password_pepper, .cost = (int)cfg->bcrypt_cost };
	enum err err = store_open(&so, &app->store, e);

	if (!err)
		err = bus_open(&bo, &app->bus, e);
	if (!err)
		err = tokens_new(&to, &app->tokens, e);
	if (!err)
		err = passwords_new(&po, &app->passwords, e);
	if (!err)
		err = seal_new(cfg->encryption_key, cfg->encryption_key_backup, &app->seal, e);
	return err;
}

static void close_parts(struct app *app)
{
	seal_free(app->seal);
	passwords_free(app->passwords);
	tokens_free(app->tokens);
	bus_close(app->bus);
	store_close(app->store);
}

static enum err first_start(struct app *app)
{
	struct arena arena;
	struct error e;
	struct op op;

	arena_init_wiped(&arena);
	op_init(&op, app, &arena, &e, &system_caller, NULL);
	enum err err = users_bootstrap(&op);

	if (err)
		log_error(LOG_ERROR, &e, "first start: no administrator could be made");
	arena_release(&arena);
	return err;
}

static void reload(const struct worker_options *o)
{
	struct buf problems;
	enum log_level level;

	worker_reload = 0;
	buf_init(&problems);
	if (config_reload(o->cfg, o->config_file, &problems)) {
		if (log_level_parse(o->cfg->log_level, &level))
			log_set_level(level);
		log_info("configuration is reloaded");
	} else {
		log_at(LOG_ERROR, "the configuration stays as it was: %s", problems.p);
	}
	buf_release(&problems);
}

static bool start_threads(struct pool *pool, pthread_t *threads, int n)
{
	pthread_attr_t attr;
	sigset_t all;
	sigset_t old;
	bool good = true;

	/* Signals go to the main thread, so that a request is never interrupted by one. */
	sigfillset(&all);
	sigdelset(&all, SIGUSR1);
	sigdelset(&all, SIGSEGV);
	sigdelset(&all, SIGABRT);
	if (pthread_attr_init(&attr) || pthread_attr_setstacksize(&attr, STACK_BYTES) ||
	    pthread_sigmask(SIG_SETMASK, &all, &old))
		return false;
	for (int i = 0; i < n && good; i++) {
		pool->running++;
		good = pthread_create(&threads[i], &attr, serve, pool) == 0;
	}
	pthread_attr_destroy(&attr);
	return good && pthread_sigmask(SIG_SETMASK, &old, NULL) == 0;
}

int worker_run(const struct worker_options *o)
{
	char proc_id[ID_TEXT];
	struct arena arena;
	struct error e;
	struct app app = { .cfg = o->cfg, .proc_id = proc_id };
	struct pool pool = { .app = &app, .fd = o->listen_fd, .slow = o->slow };
	pthread_t *threads = xcalloc((size_t)o->threads, sizeof(*threads));

	/* Hundreds of threads with a heap each would hold on to memory none of them uses. */
	mallopt(M_ARENA_MAX, HEAPS);
	id_new(proc_id);
	arena_init(&arena);
	error_init(&e, &arena);
	handle(SIGTERM, on_term);
	handle(SIGINT, on_term);
	handle(SIGHUP, on_hup);
	handle(SIGUSR1, on_wake);
	handle(SIGPIPE, SIG_IGN);
	FCGX_Init();
	if (open_parts(&app, o, &e) || first_start(&app) || (o->slow && park_start(&app, o->threads, &e))) {
		log_error(LOG_CRITICAL, &e, "the worker cannot start: %s", e.message);
		return 1;
	}
	if (!start_threads(&pool, threads, o->threads)) {
		log_at(LOG_CRITICAL, "threads cannot be started: %s", strerror(errno));
		return 1;
	}
	while (!worker_stop) {
		pause();
		if (worker_reload)
			reload(o);
	}
	FCGX_ShutdownPending();
	park_stop();
	/* Those in accept() are woken until all have seen it; those at work finish their request. */
	for (int i = 0; pool.running > 0 && i < 35000; i++) {
		for (int t = 0; t < o->threads && i % 10 == 0; t++)
			pthread_kill(threads[t], SIGUSR1);
		usleep(1000);
	}
	for (int t = 0; t < o->threads; t++)
		pthread_join(threads[t], NULL);
	close_parts(&app);
	free(threads);
	arena_release(&arena);
	return 0;
}
