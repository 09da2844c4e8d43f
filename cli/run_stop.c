// SPDX-License-Identifier: MIT
/*
 * Stopping without losing anybody's work.
 *
 *   STOP_DRAIN  a claim is parked at the panel: ask it to give this agent
 *               nothing new, and wait a moment for what the claim may bring
 *   STOP_WORK   let the work in hand end; past the deadline, or at once when
 *               asked twice, end the commands and give the tasks back
 *   STOP_SWEEP  give back what the panel leased to us without our hearing of it
 *   STOP_DONE   leave
 *
 * The draining is undone by the next start of the same agent.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runner.h"
#include "util.h"

#define DRAIN_FOR  3.0  /* seconds the panel gets to answer to the draining */
#define ARRIVE	   0.3
#define REPORT_FOR 10.0 /* seconds outcomes get to be acknowledged after the deadline */
#define SWEEP_TRIES 4

static void drain_done(struct runner *r, struct call *c)
{
	r->stop_call = NULL;
	/* the claim can bring no more than what was decided before; that has this long to arrive */
	r->drain_by = mono_now() + ARRIVE;
	if (c->status != 200)
		say(r, "warning", NULL, "the panel could not be asked to give this agent nothing new: %s", call_why(c));
}

static void end_commands(struct runner *r)
{
	for (struct job *j = r->jobs; j; j = j->next)
		if (j->state == JOB_RUN)
			job_end_command(r, j, END_STOP);
}

void stop_ask(struct runner *r, const char *why)
{
	double now = mono_now();
	char *path;

	if (r->stop != STOP_NOT) {
		if (r->hard)
			return;
		say(r, "info", NULL, "stopping at once: giving %d tasks back", r->njobs);
		r->hard = true;
		r->stop_by = now;
		r->drain_by = fmin(r->drain_by, now + 0.5);
		end_commands(r);
		return;
	}
	say(r, "info", NULL, "stopping (%s): %d tasks in hand", why, r->njobs);
	r->stop = STOP_DRAIN;
	r->stop_by = now + r->stop_after;
	r->drain_by = now;
	if (!r->claim || !r->access)
		return;
	r->drain_by = now + DRAIN_FOR;
	r->id.drained = true;
	identity_keep(r); /* before it is done: whatever happens now, the next start undoes it */
	path = xasprintf("/agents/%s/drain", r->id.agent_id);
	r->stop_call = call_start(r, "POST", path, "{}", DRAIN_FOR, NULL, drain_done);
	free(path);
}

/* ---- sweeping ---- */

static void sweep_done(struct runner *r, struct call *c)
{
	const struct jv *tasks = call_data(c);
	int n = 0;

	r->sweep = NULL;
	if (call_transient(c) && (r->stop == STOP_NOT || ++r->sweep_tries < SWEEP_TRIES)) {
		r->sweep_at = mono_now() + backoff(r->sweep_tries, 0.25, 5, c);
		return;
	}
	r->swept = true;
	if (tasks && tasks->type == J_OBJECT)
		tasks = jv_get(tasks, "items");
	if (c->status != 200 || !tasks || tasks->type != J_ARRAY)
		return;
	for (const struct jv *t = tasks->child; t; t = t->next) {
		const char *agent = jv_str(t, "assigned_agent_id"), *id = jv_str(t, "task_id");
		struct job *j = id ? job_find(r, id) : NULL;

		if (!agent || strcmp(agent, r->id.agent_id) || (j && j->fence == jv_int_or(t, "fence", -1)))
			continue;
		job_give_back(r, t);
		n++;
	}
	if (n)
		say(r, "info", NULL, "giving back %d tasks leased to this agent and not in hand", n);
}

void sweep_after(struct runner *r, const struct call *c)
{
	if (!c->reserved || (c->status && c->status < 500))
		return;
	r->swept = false;
	r->sweep_tries = 0;
}

double sweep_tick(struct runner *r, double now)
{
	char *path;

	/* an answer that is still to come may bring tasks which would look as if they were nobody's */
	if (r->swept || r->sweep || !r->access || r->reserved)
		return NEVER;
	if (now < r->sweep_at)
		return r->sweep_at;
	path = xasprintf("/tasks?agent_id=%s&status=assigned,running&limit=500", r->id.agent_id);
	r->sweep = call_start(r, "GET", path, NULL, 15, NULL, sweep_done);
	free(path);
	return NEVER;
}

/* ---- stopping ---- */

static double tick_drain(struct runner *r, double now)
{
	if ((r->claim || r->stop_call) && now < r->drain_by)
		return r->drain_by;
	/* a claim that is cut off may still be answered with tasks: the sweep finds them */
	r->swept = r->swept && !r->claim && !r->id.drained;
	r->sweep_tries = 0;
	r->sweep_at = 0;
	call_cancel(r, r->claim);
	call_cancel(r, r->stop_call);
	r->claim = r->stop_call = NULL;
	r->stop = STOP_WORK;
	return now;
}

static double tick_work(struct runner *r, double now)
{
	bool running = false;

	for (struct job *j = r->jobs; j; j = j->next)
		running |= j->state == JOB_RUN;
	if (!r->njobs) {
		if (r->ws.state != WS_CLOSED)
			ws_close(&r->ws, 1000);
		r->stop = STOP_SWEEP;
		return now;
	}
	if (now < r->stop_by)
		return r->stop_by;
	if (running) {
		end_commands(r);
		r->report_by = now + REPORT_FOR;
		return NEVER;
	}
	if (r->report_by == 0)
		r->report_by = now + REPORT_FOR;
	if (r->exit_code == EXIT_AUTH && !r->access)
		r->report_by = now; /* nobody listens to us any more */
	if (now < r->report_by)
		return r->report_by;
	say(r, "error", NULL, "%d outcomes were not acknowledged; their leases will run out", r->njobs);
	if (!r->exit_code)
		r->exit_code = EXIT_UNREACHABLE;
	while (r->jobs)
		job_free(r, r->jobs);
	r->stop = STOP_DONE;
	return now;
}

double stop_tick(struct runner *r, double now)
{
	switch (r->stop) {
	case STOP_DRAIN:
		return tick_drain(r, now);
	case STOP_WORK:
		return tick_work(r, now);
	case STOP_SWEEP:
		if (!r->access || (r->swept && !r->njobs)) {
			r->stop = STOP_DONE;
			return now;
		}
		if (r->sweep_by == 0)
			r->sweep_by = now + REPORT_FOR;
		if (now >= r->sweep_by)
			r->stop = STOP_DONE;
		return r->sweep_by;
	default:
		return NEVER;
	}
}
