// SPDX-License-Identifier: MIT
/* The loop of an agent: what is due, wait, what happened. */
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "print.h"
#include "runner.h"
#include "util.h"

#define WAIT_MOST 1.0 /* seconds between two looks at the clock */

void say(struct runner *r, const char *level, const struct job *j, const char *fmt, ...)
{
	char text[2048], at[TIME_TEXT];
	struct buf b;
	struct jw w;
	va_list ap;

	if (r->cli->quiet && (!strcmp(level, "info") || !strcmp(level, "stderr")))
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	time_format(now_ms(), at);
	if (r->cli->json) {
		buf_init(&b);
		jw_init(&w, &b);
		jw_obj(&w);
		jw_kstr(&w, "timestamp", at);
		jw_kstr(&w, "level", level);
		jw_kstr(&w, "component", "agent");
		if (j)
			jw_kstr(&w, "task_id", j->task_id);
		jw_kstr(&w, "message", text);
		jw_end_obj(&w);
		fprintf(stderr, "%s\n", b.p);
		buf_release(&b);
		return;
	}
	fprintf(stderr, "%.8s ", at + 11);
	if (strcmp(level, "info"))
		fprintf(stderr, "%s: ", level);
	if (j)
		fprintf(stderr, "%s ", j->task_id);
	print_clean(stderr, text, 0);
	fputc('\n', stderr);
}

static void open_signals(struct runner *r)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	r->signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (r->signals < 0)
		die(EXIT_FAILED, "cannot wait for signals: %s", strerror(errno));
}

static void take_signals(struct runner *r)
{
	struct signalfd_siginfo info;

	while (read(r->signals, &info, sizeof(info)) == (ssize_t)sizeof(info))
		if (info.ssi_signo != SIGCHLD)
			stop_ask(r, strsignal((int)info.ssi_signo));
}

/* Signals of several children come as one, so every job is looked at. */
static void reap_children(struct runner *r)
{
	for (struct job *j = r->jobs; j; j = j->next) {
		int status;

		if (j->pid <= 0 || waitpid(j->pid, &status, WNOHANG) != j->pid)
			continue;
		child_io(r, j); /* what it wrote last */
		child_signal(j, SIGKILL); /* what it left behind in its group */
		j->pid = 0;
		j->wait_status = status;
		j->ended = mono_now();
	}
}

static void wait_for_something(struct runner *r, double seconds)
{
	struct curl_waitfd *fds = xcalloc((size_t)r->njobs * CHILD_FDS + 2, sizeof(*fds));
	unsigned n = 0;

	fds[n++] = (struct curl_waitfd){.fd = r->signals, .events = CURL_WAIT_POLLIN};
	n += ws_poll(&r->ws, fds + n);
	for (struct job *j = r->jobs; j; j = j->next)
		n += (unsigned)child_poll(j, fds + n);
	if (seconds < 0)
		seconds = 0;
	if (seconds > WAIT_MOST)
		seconds = WAIT_MOST;
	curl_multi_poll(r->multi, fds, n, (int)ceil(seconds * 1000), NULL);
	free(fds);
}

/* Does what is due; returns the moment of the next thing that will be. */
static double tick(struct runner *r, double now)
{
	double next = NEVER;

	for (struct job *j = r->jobs, *after; j; j = after) {
		after = j->next;
		next = fmin(next, job_tick(r, j, now));
		if (j->state == JOB_DONE) {
			job_free(r, j);
			next = now;
		}
	}
	if (r->stop == STOP_NOT && r->max_tasks && r->started >= r->max_tasks && !r->njobs)
		stop_ask(r, "all tasks are done");
	if (r->stop == STOP_NOT && r->idle_exit > 0 && !r->njobs && now - r->last_work >= r->idle_exit)
		stop_ask(r, "idle");
	next = fmin(next, login_tick(r, now));
	next = fmin(next, heartbeat_tick(r, now));
	next = fmin(next, sweep_tick(r, now));
	next = fmin(next, socket_tick(r, now));
	next = fmin(next, claim_tick(r, now));
	return fmin(next, stop_tick(r, now));
}

/* A last word, so that the list of agents is right at once. */
static void say_goodbye(struct runner *r)
{
	char *path = xasprintf("/agents/%s/heartbeat", r->id.agent_id);
	int running = 1;

	call_cancel(r, r->beat);
	r->beat = NULL;
	calls_release(r);
	if (r->access && !r->away && r->exit_code != EXIT_AUTH) {
		call_start(r, "POST", path, "{\"status\":\"inactive\",\"current_load\":0}", 2, NULL, NULL);
		while (running && curl_multi_perform(r->multi, &running) == CURLM_OK && running)
			curl_multi_poll(r->multi, NULL, 0, 200, NULL);
		calls_release(r);
	}
	free(path);
}

int run_loop(struct runner *r)
{
	int running;

	open_signals(r);
	r->last_work = mono_now();
	while (r->stop != STOP_DONE) {
		double now = mono_now(), next = tick(r, now);

		if (r->stop == STOP_DONE)
			break;
		if (curl_multi_perform(r->multi, &running) != CURLM_OK)
			die(EXIT_FAILED, "the HTTP client is broken");
		wait_for_something(r, next - mono_now());
		take_signals(r);
		for (struct job *j = r->jobs; j; j = j->next)
			if (j->state == JOB_RUN)
				child_io(r, j);
		reap_children(r);
		ws_io(&r->ws);
		curl_multi_perform(r->multi, &running);
		calls_reap(r);
	}
	say_goodbye(r);
	close(r->signals);
	say(r, "info", NULL, "stopped: %ld completed, %ld failed, %ld given back", r->completed, r->failed,
	    r->given_back);
	return r->exit_code;
}
