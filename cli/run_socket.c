// SPDX-License-Identifier: MIT
/*
 * Work over a socket to the event relay. While it stands, tasks come by themselves as fast as they are made, and outcomes
 * go back the same way; no claim is parked. It says how many tasks it takes at the moment ("ready"), and again when that
 * changes. Everything else (heartbeats, progress, logs) stays with the REST API, and so does all of it when there is no
 * socket to be had: then claims go on as if there were none, and the socket is tried again now and then.
 *
 * An outcome that was not acknowledged over the socket is reported by REST; the panel counts it once.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runner.h"
#include "util.h"

#define OPEN_FOR   10.0 /* seconds to connect and be let in */
#define SILENT_FOR 50.0 /* the relay pings every 20 */
#define RETRY_MOST 60.0
#define RETRY_REFUSED 300.0 /* there is no relay, or it does not want us */
#define REFUSED	   4403 /* as the relay would close it */
#define ACK_FOR	   10.0
#define OUTCOME_MAX ((size_t)1 << 20)

static void retry_later(struct runner *r)
{
	bool refused = r->ws.close_code == 404 || r->ws.close_code == REFUSED;

	r->ws_at = mono_now() + (refused ? RETRY_REFUSED : backoff(r->ws_tries++, 0.25, RETRY_MOST, NULL));
}

/* What was sent over it and not acknowledged goes by REST. */
static void forget_acks(struct runner *r)
{
	for (struct job *j = r->jobs; j; j = j->next) {
		if (j->ack_by > 0)
			j->report_at = 0;
		j->ack_by = 0;
	}
}

static void on_close(void *arg)
{
	struct runner *r = arg;

	if (r->ws_ready) {
		if (r->stop == STOP_NOT)
			say(r, "info", NULL, "the socket is closed (%d); asking for work by REST", r->ws.close_code);
		/* it may have taken tasks for us which did not arrive */
		r->swept = false;
		r->sweep_tries = 0;
		r->sweep_at = mono_now() + (r->stop == STOP_NOT ? 0.5 : 0.05);
	}
	r->ws_ready = false;
	r->ws_max = -1;
	forget_acks(r);
	retry_later(r);
}

static void on_open(void *arg)
{
	(void)arg; /* auth.ok follows */
}

/* A task may come again while its last outcome is still under way, so an outcome is named by its fence too. */
static void outcome_name(const struct job *j, char name[ID_TEXT + 24])
{
	snprintf(name, ID_TEXT + 24, "%s/%lld", j->task_id, (long long)j->fence);
}

static struct job *acked(struct runner *r, const struct jv *message)
{
	const char *ref = jv_str(message, "ref");
	char name[ID_TEXT + 24];

	for (struct job *j = r->jobs; ref && j; j = j->next) {
		outcome_name(j, name);
		if (j->ack_by > 0 && !strcmp(name, ref))
			return j;
	}
	return NULL;
}

/*
 * Room for one more? The relay counts a slot as free as soon as the panel has counted the outcome, which may be before
 * we have heard of it.
 */
static bool room(const struct runner *r)
{
	int n = free_slots(r);

	for (const struct job *j = r->jobs; j; j = j->next)
		n += j->state == JOB_DONE || j->ack_by > 0;
	return r->stop == STOP_NOT && n > 0 && (!r->max_tasks || r->started < r->max_tasks);
}

static void delegated(struct runner *r, const struct jv *task)
{
	const char *id = jv_str(task, "task_id");
	struct job *j = id ? job_find(r, id) : NULL;

	if (!id || (j && j->fence == jv_int_or(task, "fence", -1)))
		return; /* told twice */
	/* had before, and given back or lost: this is a new lease */
	if (j && j->state == JOB_RUN)
		job_lost(r, j, "it came again");
	if (!room(r))
		job_give_back(r, task);
	else
		job_start(r, task);
	j = job_find(r, id);
	if (j)
		j->over_socket = true;
}

/* The next heartbeat would say so too. */
static void cancelled(struct runner *r, const struct jv *data)
{
	const char *id = jv_str(data, "task_id"), *reason = jv_str(data, "reason");
	struct job *j = id ? job_find(r, id) : NULL;

	if (!j || j->state != JOB_RUN || j->end != END_NONE || !reason || strcmp(reason, "cancelled"))
		return;
	say(r, "info", j, "cancelled");
	job_end_command(r, j, END_CANCEL);
}

static void on_text(void *arg, const char *text, size_t len)
{
	struct runner *r = arg;
	struct arena a;
	struct error e;
	struct jv *m;
	const char *type;

	arena_init(&a);
	error_init(&e, &a);
	if (json_parse(&a, text, len, 7, &m, &e) != OK || !(type = jv_str(m, "type"))) {
		say(r, "warning", NULL, "the relay sent something that makes no sense");
	} else if (!strcmp(type, "auth.ok")) {
		r->ws_ready = true;
		r->ws_max = -1; /* it was told nothing yet */
		r->ws_tries = 0;
		if (r->cli->verbose)
			say(r, "debug", NULL, "tasks come over the socket");
	} else if (!strcmp(type, "task:delegate")) {
		delegated(r, jv_get(m, "task"));
	} else if (!strcmp(type, "task:cancelled")) {
		cancelled(r, jv_get(m, "data"));
	} else if (!strcmp(type, "error") && jv_str(m, "ref") && !strcmp(jv_str(m, "ref"), "ready")) {
		say(r, "warning", NULL, "the relay gives no tasks: %s", jv_str(m, "message") ? jv_str(m, "message") : "?");
		ws_close(&r->ws, REFUSED);
	} else {
		struct job *j = acked(r, m);

		if (j) {
			j->ack_by = 0;
			if (!strcmp(type, "error"))
				j->report_at = 0; /* REST says it in a way we can act on */
			else
				report_acknowledged(r, j);
		}
	}
	arena_release(&a);
}

bool socket_ready(const struct runner *r)
{
	return r->ws_ready;
}

/* How many tasks it would have at once: those that came over the socket, and what is free. 0: nothing new. */
static int wanted(struct runner *r)
{
	int n = free_slots(r);

	if (!may_claim(r))
		return 0;
	for (struct job *j = r->jobs; j; j = j->next)
		n += j->over_socket && j->state != JOB_DONE;
	return n > 0 ? n : 0;
}

static void say_ready(struct runner *r, int n)
{
	struct buf b;

	buf_init(&b);
	buf_addf(&b, "{\"type\":\"ready\",\"id\":\"ready\",\"slots\":%d,\"whole\":true%s%s}", n, r->types.n ? ",\"types\":" : "",
		 r->types.n ? r->types.p : "");
	ws_send(&r->ws, b.p, b.n);
	buf_release(&b);
	r->ws_max = n;
}

bool socket_report(struct runner *r, struct job *j, const char *body)
{
	char name[ID_TEXT + 24];
	struct buf b;

	if (!r->ws_ready || j->report_tries || strlen(body) > OUTCOME_MAX)
		return false;
	outcome_name(j, name);
	buf_init(&b);
	/* body is {"fence":…,"result":…} or {"fence":…,"error":…}, still without its last brace */
	buf_addf(&b, "{\"type\":\"task:%s\",\"id\":\"%s\",\"task_id\":\"%s\",%s}",
		 strcmp(j->verdict, "released") ? "result" : "release", name, j->task_id, body + 1);
	ws_send(&r->ws, b.p, b.n);
	buf_release(&b);
	if (!r->ws_ready)
		return false;
	j->report_tries++;
	j->ack_by = mono_now() + ACK_FOR;
	j->report_at = j->ack_by;
	return true;
}

double socket_tick(struct runner *r, double now)
{
	int n;

	if (r->rest_only || !r->access)
		return NEVER;
	if (r->ws.state == WS_CLOSED) {
		if (r->stop != STOP_NOT)
			return NEVER;
		if (now < r->ws_at)
			return r->ws_at;
		r->ws.arg = r;
		r->ws.on_text = on_text;
		r->ws.on_open = on_open;
		r->ws.on_close = on_close;
		r->ws_opened = now;
		ws_open(&r->ws, r->multi, &r->cli->session, "//ws", r->access);
		return now + OPEN_FOR;
	}
	if ((!r->ws_ready && now - r->ws_opened > OPEN_FOR) || now - r->ws.heard > SILENT_FOR) {
		ws_close(&r->ws, 1001);
		return now;
	}
	n = r->ws_ready ? wanted(r) : 0;
	if (r->ws_ready && n != r->ws_max && (n || r->ws_max > 0))
		say_ready(r, n);
	return r->ws_ready ? r->ws.heard + SILENT_FOR + 0.1 : r->ws_opened + OPEN_FOR + 0.1;
}
