// SPDX-License-Identifier: MIT
/* What the agent itself asks the panel: a token, work, and whether its leases still hold. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runner.h"
#include "util.h"

#define CLAIM_MAX     500  /* what the panel gives in one claim */
#define BUSY_BEAT     5.0  /* seconds between heartbeats while tasks are in hand, at most: cancels come with them */
#define LOGIN_EARLY   0.9  /* of a token's life, after which it is replaced */
#define ECHO_WAIT     3.0  /* seconds a claim waits while an earlier run's may wait too; then comes a sweep */
#define BEAT_TASKS    1000 /* what one heartbeat takes */

static double machine_load(void)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	double load;

	return getloadavg(&load, 1) == 1 ? load / (double)(cores > 0 ? cores : 1) : 0;
}

int free_slots(const struct runner *r)
{
	int n = r->concurrency - r->njobs - r->reserved;

	if (r->max_tasks && r->max_tasks - r->started - r->reserved < n)
		n = r->max_tasks - r->started - r->reserved;
	return n < CLAIM_MAX ? n : CLAIM_MAX;
}

bool may_claim(const struct runner *r)
{
	/* the slot of the job that reports is about to be free, so none needs to be free now */
	bool room = !r->max_tasks || r->started + r->reserved < r->max_tasks;

	return r->stop == STOP_NOT && !r->drained && r->swept && room && r->njobs + r->reserved <= r->concurrency &&
	       (r->max_load <= 0 || machine_load() <= r->max_load);
}

void take_tasks(struct runner *r, const struct jv *tasks)
{
	if (!tasks || tasks->type != J_ARRAY)
		return;
	for (const struct jv *t = tasks->child; t; t = t->next) {
		if (r->stop != STOP_NOT)
			job_give_back(r, t);
		else
			job_start(r, t);
	}
}

static void note_answer(struct runner *r, const struct call *c)
{
	if (call_transient(c) && c->status != 401 && c->status != 429) {
		if (!r->away)
			say(r, "warning", NULL, "the panel does not answer (%s); trying again", call_why(c));
		r->away = true;
	} else {
		if (r->away)
			say(r, "info", NULL, "the panel answers again");
		r->away = false;
	}
}

/* ---- claims ---- */

static void claim_done(struct runner *r, struct call *c)
{
	const struct jv *tasks = jv_get(call_data(c), "tasks");
	double now = mono_now(), took = now - c->started;

	r->claim = NULL;
	note_answer(r, c);
	if (c->status == 200) {
		r->claim_tries = 0;
		r->claim_at = now;
		r->swept = now >= r->echo_until;
		/* nothing, and sooner than asked for: the panel cannot wait just now, so wait here */
		if (!tasks || !tasks->n)
			r->claim_at = now + (took < r->claim_asked * 0.8 ? backoff(2, 0.25, 1, c) : 0);
		take_tasks(r, tasks);
		return;
	}
	sweep_after(r, c);
	if (!call_transient(c) && !r->claim_tries)
		say(r, "error", NULL, "cannot claim tasks: %s", call_why(c));
	r->claim_at = now + backoff(r->claim_tries++, 0.2, 15, c);
}

double claim_tick(struct runner *r, double now)
{
	double wait = now < r->echo_until ? fmin(r->claim_wait, ECHO_WAIT) : r->claim_wait;
	int n = free_slots(r);
	char *path;
	struct buf b;

	if (r->claim || r->stop != STOP_NOT || r->drained || !r->swept || !r->access || n <= 0 || socket_ready(r))
		return NEVER;
	if (now < r->claim_at)
		return r->claim_at;
	if (r->max_load > 0 && machine_load() > r->max_load) {
		r->claim_at = now + 1;
		return r->claim_at;
	}
	if (wait > 0)
		path = xasprintf("/agents/%s/claim?wait=%.0f", r->id.agent_id, wait);
	else
		path = xasprintf("/agents/%s/claim", r->id.agent_id);
	buf_init(&b);
	buf_addf(&b, "{\"max\":%d%s%s}", n, r->types.n ? ",\"types\":" : "", r->types.n ? r->types.p : "");
	r->claim = call_start(r, "POST", path, b.p, wait + 15, NULL, claim_done);
	r->claim_asked = wait;
	r->claim->reserved = n;
	r->reserved += n;
	buf_release(&b);
	free(path);
	return NEVER;
}

/* ---- heartbeats ---- */

/* The job for a task named in the answer to a heartbeat, if it was begun before that was sent. */
static struct job *named_job(struct runner *r, const struct call *c, const char *task_id)
{
	for (struct job *j = r->jobs; task_id && j; j = j->next)
		if (!strcmp(j->task_id, task_id) && j->state != JOB_REPORT && j->started < c->started)
			return j;
	return NULL;
}

static void obey(struct runner *r, const struct call *c, const struct jv *command)
{
	const char *what = jv_str(command, "command");
	struct job *j = named_job(r, c, jv_str(command, "task_id"));

	if (!what)
		return;
	if (!strcmp(what, "drain")) {
		if (!r->drained)
			say(r, "info", NULL, "the panel wants this agent to take nothing new");
		r->drained = true;
	} else if (!strcmp(what, "cancel_task") && j && j->end != END_CANCEL) {
		say(r, "info", j, "cancelled");
		if (j->state == JOB_RUN)
			job_end_command(r, j, END_CANCEL);
		else
			j->state = JOB_DONE;
	}
}

static void beat_done(struct runner *r, struct call *c)
{
	const struct jv *data = call_data(c), *commands = jv_get(data, "commands"), *lost = jv_get(data, "lost");
	bool was_drained = r->drained;

	r->beat = NULL;
	note_answer(r, c);
	if (c->status == 404 || c->status == 403) {
		say(r, "error", NULL, "the panel does not know this agent any more (%s)", call_why(c));
		r->exit_code = EXIT_AUTH;
		stop_ask(r, "it was removed");
		return;
	}
	if (c->status != 200) {
		r->beat_at = r->beat_not_before = mono_now() + backoff(2, 0.5, r->heartbeat / 2, c);
		return;
	}
	r->drained = false; /* unless it is said again */
	/* cancels first: a cancelled task is among the lost ones too */
	for (const struct jv *k = commands ? commands->child : NULL; k; k = k->next)
		obey(r, c, k);
	for (const struct jv *l = lost ? lost->child : NULL; l; l = l->next) {
		struct job *j = named_job(r, c, l->type == J_STRING ? l->str : jv_str(l, "task_id"));

		if (j)
			job_lost(r, j, "it ran out, or the task was taken back");
	}
	if (was_drained && !r->drained && r->stop == STOP_NOT)
		say(r, "info", NULL, "the panel lets this agent take work again");
}

static char *beat_body(struct runner *r)
{
	int running = 0, told = 0;
	struct buf b;
	struct jw w;

	for (struct job *j = r->jobs; j; j = j->next)
		running += j->state == JOB_RUN;
	buf_init(&b);
	jw_init(&w, &b);
	jw_obj(&w);
	jw_kstr(&w, "status", running >= r->concurrency ? "busy" : "active");
	jw_kdouble(&w, "current_load", fmin(1, (double)running / r->concurrency));
	jw_key(&w, "metrics");
	jw_obj(&w);
	jw_kdouble(&w, "machine_load", machine_load());
	jw_kint(&w, "completed", r->completed);
	jw_kint(&w, "failed", r->failed);
	jw_end_obj(&w);
	jw_key(&w, "tasks");
	jw_arr(&w);
	for (struct job *j = r->jobs; j && told < BEAT_TASKS; j = j->next) {
		if (j->state == JOB_DONE || j->end == END_LOST || j->end == END_CANCEL)
			continue;
		jw_obj(&w);
		jw_kstr(&w, "task_id", j->task_id);
		jw_kint(&w, "fence", j->fence);
		jw_end_obj(&w);
		told++;
	}
	jw_end_arr(&w);
	jw_end_obj(&w);
	return b.p;
}

double heartbeat_tick(struct runner *r, double now)
{
	double every = r->njobs ? fmin(r->heartbeat, BUSY_BEAT) : r->heartbeat;
	char *path, *body;

	if (r->beat || !r->access || r->stop == STOP_DONE)
		return NEVER;
	/* with work in hand the next beat is due sooner than was planned without */
	if (now < fmin(r->beat_at, r->beat_last + every) || now < r->beat_not_before)
		return fmax(fmin(r->beat_at, r->beat_last + every), r->beat_not_before);
	path = xasprintf("/agents/%s/heartbeat", r->id.agent_id);
	body = beat_body(r);
	r->beat_last = now;
	r->beat_at = now + every * (0.95 + 0.1 * jitter());
	r->beat = call_start(r, "POST", path, body, 15, NULL, beat_done);
	free(body);
	free(path);
	return NEVER;
}

/* ---- tokens ---- */

static void login_done(struct runner *r, struct call *c)
{
	const struct jv *data = call_data(c);
	const char *token = jv_str(data, "access_token");
	double now = mono_now(), life = jv_double_or(data, "expires_in", 3600);

	r->login = NULL;
	if (c->status == 200 && token) {
		free_secret(r->access);
		r->access = xstrdup(token);
		r->access_until = now + life * LOGIN_EARLY;
		r->login_tries = 0;
		return;
	}
	note_answer(r, c);
	if (c->status == 401 || c->status == 403) {
		say(r, "error", NULL, "the panel refuses this agent (%s)", call_why(c));
		r->exit_code = EXIT_AUTH;
		/* nothing can be reported any more */
		stop_ask(r, "it may not log in");
		stop_ask(r, "it may not log in");
	}
	r->login_at = now + backoff(r->login_tries++, 0.5, 30, c);
}

double login_tick(struct runner *r, double now)
{
	struct buf b;
	struct jw w;

	if (r->login)
		return NEVER;
	if (r->access && now < r->access_until)
		return r->access_until;
	if (now < r->login_at)
		return r->login_at;
	buf_init(&b);
	jw_init(&w, &b);
	jw_obj(&w);
	jw_kstr(&w, "agent_id", r->id.agent_id);
	jw_kstr(&w, "auth_token", r->id.auth_token);
	jw_end_obj(&w);
	r->login = call_start(r, "POST", "/auth/token", b.p, 30, NULL, login_done);
	explicit_bzero(b.p, b.n);
	buf_release(&b);
	return NEVER;
}
