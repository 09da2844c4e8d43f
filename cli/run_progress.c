// SPDX-License-Identifier: MIT
/*
 * What a command says while it runs: JSON lines {"progress":0.5,"message":"…"}
 * and {"log":"…","level":"info"} on its progress descriptor; any other line is
 * a log line. Progress is sent at most every PROGRESS_EVERY, the newest only;
 * log lines are collected and sent together.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runner.h"
#include "util.h"

#define PROGRESS_EVERY 0.25
#define LOGS_EVERY     0.5
#define LOG_LINES_MAX  500  /* what one call takes; more are counted and dropped */
#define LOG_LINE_MAX   4000 /* bytes of one line */

void progress_log(struct job *j, const char *level, const char *text, size_t len)
{
	struct jw w;

	while (len && (text[len - 1] == '\r' || text[len - 1] == ' '))
		len--;
	if (!len)
		return;
	if (j->nlogs >= LOG_LINES_MAX) {
		j->dropped++;
		return;
	}
	if (len > LOG_LINE_MAX)
		len = LOG_LINE_MAX;
	if (j->nlogs++)
		buf_addc(&j->logs, ',');
	jw_init(&w, &j->logs);
	jw_obj(&w);
	jw_kstr(&w, "level", level);
	jw_key(&w, "message");
	jw_strn(&w, text, len);
	jw_end_obj(&w);
}

static const char *known_level(const char *level)
{
	static const char *const levels[] = {"debug", "info", "warn", "error", "critical"};

	for (size_t i = 0; level && i < sizeof(levels) / sizeof(levels[0]); i++)
		if (!strcmp(level, levels[i]))
			return levels[i];
	return level && !strcmp(level, "warning") ? "warn" : "info";
}

/* Takes a JSON line; false when it is none of ours. */
static bool take_json(struct job *j, const struct jv *o)
{
	const char *log = jv_str(o, "log"), *message = jv_str(o, "message");
	double p;

	if (log) {
		progress_log(j, known_level(jv_str(o, "level")), log, strlen(log));
		return true;
	}
	if (!jv_double(jv_get(o, "progress"), &p))
		return false;
	j->progress = fmin(fmax(p, 0), 1);
	j->progress_dirty = true;
	if (message) {
		free(j->message);
		j->message = xstrndup(message, strnlen(message, LOG_LINE_MAX));
	}
	return true;
}

void progress_line(struct runner *r, struct job *j, const char *line, size_t len)
{
	struct arena a;
	struct error e;
	struct jv *root;

	(void)r;
	arena_init(&a);
	error_init(&e, &a);
	if (!len || line[0] != '{' || json_parse(&a, line, len, 2, &root, &e) != OK || !take_json(j, root))
		progress_log(j, "info", line, len);
	arena_release(&a);
}

static void progress_done(struct runner *r, struct call *c)
{
	struct job *j = c->job;

	j->progress_call = NULL;
	j->progress_at = mono_now() + PROGRESS_EVERY;
	if (c->status == 409 || c->status == 404)
		job_lost(r, j, call_why(c));
	else if (call_transient(c)) {
		j->progress_dirty = true; /* unless a newer one comes, this one again */
		j->progress_at = mono_now() + backoff(2, 0.5, 10, c);
	}
}

static void send_progress(struct runner *r, struct job *j)
{
	char *path = xasprintf("/tasks/%s/progress", j->task_id);
	struct buf b;
	struct jw w;

	buf_init(&b);
	jw_init(&w, &b);
	jw_obj(&w);
	jw_kint(&w, "fence", j->fence);
	jw_kdouble(&w, "progress", j->progress);
	if (j->message)
		jw_kstr(&w, "message", j->message);
	jw_end_obj(&w);
	j->progress_dirty = false;
	j->progress_call = call_start(r, "POST", path, b.p, 15, j, progress_done);
	buf_release(&b);
	free(path);
}

static void logs_done(struct runner *r, struct call *c)
{
	struct job *j = c->job;

	j->logs_call = NULL;
	j->logs_at = mono_now() + LOGS_EVERY;
	if (c->status == 409 || c->status == 404)
		job_lost(r, j, call_why(c));
	else if (c->status < 200 || c->status > 299)
		say(r, "warning", j, "log lines were lost: %s", call_why(c));
}

static void send_logs(struct runner *r, struct job *j)
{
	char *path = xasprintf("/tasks/%s/logs", j->task_id), *note;
	struct buf b;

	if (j->dropped) {
		note = xasprintf("%d log lines were dropped: more came than are taken", j->dropped);
		j->dropped = 0;
		j->nlogs--; /* room for it */
		progress_log(j, "warn", note, strlen(note));
		free(note);
	}
	buf_init(&b);
	buf_addf(&b, "{\"fence\":%lld,\"logs\":[%s]}", (long long)j->fence, j->logs.p);
	buf_reset(&j->logs);
	j->nlogs = 0;
	j->logs_call = call_start(r, "POST", path, b.p, 15, j, logs_done);
	buf_release(&b);
	free(path);
}

bool progress_idle(const struct job *j)
{
	return !j->nlogs && !j->logs_call;
}

double progress_tick(struct runner *r, struct job *j, double now)
{
	double next = NEVER;

	if (!r->access || j->end == END_CANCEL || j->end == END_LOST)
		return NEVER;
	if (j->progress_dirty && !j->progress_call && j->state == JOB_RUN) {
		if (now >= j->progress_at)
			send_progress(r, j);
		else
			next = fmin(next, j->progress_at);
	}
	if (j->nlogs && !j->logs_call) {
		/* the command has ended: what it said must be there before the outcome closes the task */
		if (now >= j->logs_at || j->state == JOB_FLUSH)
			send_logs(r, j);
		else
			next = fmin(next, j->logs_at);
	}
	return next;
}
