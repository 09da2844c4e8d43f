// SPDX-License-Identifier: MIT
/* The life of a job: from the claim to the acknowledged outcome. */
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <sysexits.h>

#include "runner.h"
#include "util.h"

#define LINGER	  1.0  /* seconds a pipe may stay open (held by a grandchild) after the command ended */
#define ERROR_MAX 1000 /* bytes of an error message */

struct job *job_find(struct runner *r, const char *task_id)
{
	for (struct job *j = r->jobs; j; j = j->next)
		if (!strcmp(j->task_id, task_id))
			return j;
	return NULL;
}

static char *copy_or_null(const char *s)
{
	return s ? xstrdup(s) : NULL;
}

/* A job with the task's particulars; NULL when the task has no id or fence. */
static struct job *job_new(struct runner *r, const struct jv *task)
{
	const char *id = jv_str(task, "task_id");
	int64_t fence = jv_int_or(task, "fence", -1);
	struct job *j;

	if (!id || strlen(id) >= ID_TEXT || fence < 0) {
		say(r, "error", NULL, "the panel gave a task without id or fence; its lease will run out");
		return NULL;
	}
	j = xcalloc(1, sizeof(*j));
	snprintf(j->task_id, sizeof(j->task_id), "%s", id);
	j->fence = fence;
	j->attempt = jv_int_or(task, "attempt", 1);
	j->stage = jv_int_or(task, "stage", 0);
	j->type = copy_or_null(jv_str(task, "type"));
	j->execution_id = copy_or_null(jv_str(task, "execution_id"));
	j->pipeline_id = copy_or_null(jv_str(task, "pipeline_id"));
	j->in = j->out = j->err = j->say = -1;
	buf_init(&j->to_in);
	buf_init(&j->from_out);
	buf_init(&j->err_line);
	buf_init(&j->say_line);
	buf_init(&j->logs);
	j->next = r->jobs;
	r->jobs = j;
	r->njobs++;
	r->last_work = mono_now();
	return j;
}

void job_free(struct runner *r, struct job *j)
{
	struct job **p = &r->jobs;

	while (*p && *p != j)
		p = &(*p)->next;
	if (*p)
		*p = j->next;
	r->njobs--;
	r->last_work = mono_now();
	call_cancel(r, j->progress_call);
	call_cancel(r, j->logs_call);
	call_cancel(r, j->report_call);
	call_cancel(r, j->feed.call);
	child_close(j);
	buf_release(&j->to_in);
	buf_release(&j->from_out);
	buf_release(&j->err_line);
	buf_release(&j->say_line);
	buf_release(&j->logs);
	free(j->type);
	free(j->execution_id);
	free(j->pipeline_id);
	free(j->last_error);
	free(j->message);
	feed_release(&j->feed);
	free(j->report_path);
	free(j->report_body);
	free(j->why);
	free(j);
}

/* Sets the outcome to report; body is taken over. */
static void set_report(struct job *j, const char *verb, char *body, const char *verdict)
{
	free(j->report_path);
	free(j->report_body);
	j->report_path = xasprintf("/tasks/%s/%s", j->task_id, verb);
	j->report_body = body;
	j->verdict = verdict;
}

static void report_release(struct job *j)
{
	set_report(j, "release", xasprintf("{\"fence\":%lld", (long long)j->fence), "released");
}

static void report_failure(struct job *j, const char *type, const char *code, const char *message, bool retryable)
{
	struct buf b;
	struct jw w;

	buf_init(&b);
	jw_init(&w, &b);
	jw_obj(&w);
	jw_kint(&w, "fence", j->fence);
	jw_key(&w, "error");
	jw_obj(&w);
	jw_kstr(&w, "type", type);
	jw_kstr(&w, "code", code);
	jw_key(&w, "message");
	jw_strn(&w, message, strnlen(message, ERROR_MAX));
	jw_end_obj(&w);
	jw_kbool(&w, "retryable", retryable);
	free(j->why);
	j->why = xasprintf("%s: %s%s", code, message, retryable ? " (may be tried again)" : "");
	/* left open: send_report() adds the claim and the brace */
	set_report(j, "fail", b.p, "failed");
}

bool job_start(struct runner *r, const struct jv *task)
{
	struct job *j = job_new(r, task);
	double timeout = jv_double_or(task, "timeout", 0);

	if (!j)
		return false;
	r->started++;
	buf_add(&j->to_in, task->raw, task->raw_len);
	for (size_t i = 0; i < j->to_in.n; i++)
		if (j->to_in.p[i] == '\n' || j->to_in.p[i] == '\r')
			j->to_in.p[i] = ' ';
	buf_addc(&j->to_in, '\n');
	feed_init(j, task);
	if (r->task_timeout > 0 && (timeout <= 0 || r->task_timeout < timeout))
		timeout = r->task_timeout;
	if (!child_start(r, j)) {
		report_release(j); /* another agent may have the memory for it */
		j->state = JOB_REPORT;
		r->claim_at = mono_now() + backoff(3, 0.5, 10, NULL);
		return true;
	}
	if (timeout > 0)
		j->timeout_at = j->started + timeout;
	say(r, "info", j, "started (%s, attempt %lld)", j->type ? j->type : "task", (long long)j->attempt);
	child_io(r, j);
	return true;
}

void job_give_back(struct runner *r, const struct jv *task)
{
	struct job *j = job_new(r, task);

	if (!j)
		return;
	report_release(j);
	j->state = JOB_REPORT;
}

void job_end_command(struct runner *r, struct job *j, enum job_end why)
{
	bool kill_now = why == END_STOP && r->hard;

	/* losing the lease outweighs every other reason: nothing is reported then */
	if (j->end == END_NONE || why == END_CANCEL || why == END_LOST)
		j->end = why;
	if (!j->pid)
		return;
	if (kill_now) {
		child_signal(j, SIGKILL);
	} else if (!j->kill_at) {
		child_signal(j, SIGTERM);
		child_signal(j, SIGCONT); /* one that is stopped could not end */
		j->kill_at = mono_now() + r->grace;
	}
}

void job_lost(struct runner *r, struct job *j, const char *why)
{
	/* one that is done was counted, and the answer was written before or after that */
	if (j->end == END_CANCEL || j->end == END_LOST || j->state == JOB_DONE)
		return;
	say(r, "warning", j, "the lease is lost (%s); dropping it", why);
	if (j->state != JOB_RUN) {
		j->state = JOB_DONE;
		return;
	}
	job_end_command(r, j, END_LOST);
}

/* ---- the outcome ---- */

/* The last line on stderr as {"type","message","retryable"}; false when it is not one. */
static bool report_own_error(struct job *j, const char *code)
{
	const char *line = j->last_error ? j->last_error : "", *message, *type;
	struct arena a;
	struct error e;
	struct jv *root = NULL;
	bool ok;

	arena_init(&a);
	error_init(&e, &a);
	ok = line[0] == '{' && json_parse(&a, line, strlen(line), 2, &root, &e) == OK;
	message = jv_str(root, "message");
	type = jv_str(root, "type");
	ok = ok && (message || type);
	if (ok)
		report_failure(j, type ? type : "system", jv_str(root, "code") ? jv_str(root, "code") : code,
			       message ? message : type, jv_bool_or(root, "retryable", false));
	arena_release(&a);
	return ok;
}

static void report_bad_exit(struct job *j)
{
	char code[32], text[128];
	int status;

	if (WIFSIGNALED(j->wait_status)) {
		int sig = WTERMSIG(j->wait_status);
		const char *name = strsignal(sig);

		snprintf(code, sizeof(code), "signal_%d", sig);
		snprintf(text, sizeof(text), "the command was killed by signal %d (%s)", sig, name ? name : "unknown");
		report_failure(j, "system", code, text, true);
		return;
	}
	status = WEXITSTATUS(j->wait_status);
	snprintf(code, sizeof(code), "exit_%d", status);
	if (report_own_error(j, code))
		return;
	snprintf(text, sizeof(text), "the command ended with status %d", status);
	report_failure(j, "system", code, j->last_error ? j->last_error : text, status == EX_TEMPFAIL);
}

/* What stands in the way of stdout being a result, or NULL. Static storage. */
static const char *result_fault(struct runner *r, const struct job *j)
{
	static char fault[320];
	struct arena a;
	struct error e;
	struct jv *root = NULL;

	if (!j->from_out.p[strspn(j->from_out.p, " \t\r\n")])
		return "the command wrote no result to its standard output";
	if (j->from_out.n > r->max_result)
		return "the command's result is too large";
	arena_init(&a);
	error_init(&e, &a);
	fault[0] = '\0';
	if (json_parse(&a, j->from_out.p, j->from_out.n, 0, &root, &e) != OK)
		snprintf(fault, sizeof(fault), "the command's standard output is not a JSON result: %s", e.message);
	arena_release(&a);
	return fault[0] ? fault : NULL;
}

static void report_result(struct runner *r, struct job *j)
{
	const char *fault = r->output == OUTPUT_JSON ? result_fault(r, j) : NULL;
	struct buf b;

	if (fault) {
		report_failure(j, "validation", "bad_result", fault, false);
		return;
	}
	buf_init(&b);
	buf_addf(&b, "{\"fence\":%lld,\"result\":", (long long)j->fence);
	if (r->output == OUTPUT_JSON) {
		buf_add(&b, j->from_out.p, j->from_out.n);
	} else if (r->output == OUTPUT_TEXT) {
		buf_adds(&b, "{\"output\":\"");
		buf_add_json_escaped(&b, j->from_out.p, j->from_out.n);
		buf_adds(&b, "\"}");
	} else {
		buf_adds(&b, "{}");
	}
	set_report(j, "complete", b.p, "completed");
}

/* The command has ended: what to tell the panel. */
static void decide(struct runner *r, struct job *j)
{
	bool good = WIFEXITED(j->wait_status) && WEXITSTATUS(j->wait_status) == 0;
	char text[128];

	switch (j->end) {
	case END_CANCEL:
	case END_LOST:
		j->state = JOB_DONE;
		return;
	case END_STOP:
		/* one that used its grace to finish has finished */
		if (good && (r->output != OUTPUT_JSON || !result_fault(r, j)))
			report_result(r, j);
		else
			report_release(j);
		break;
	case END_TIMEOUT:
		snprintf(text, sizeof(text), "the command took longer than %.0f s", j->timeout_at - j->started);
		report_failure(j, "timeout", "timeout", text, true);
		break;
	case END_OUTPUT:
		snprintf(text, sizeof(text), "the command's result is larger than %zu bytes", r->max_result);
		report_failure(j, "payload_too_large", "result_too_large", text, false);
		break;
	case END_INPUT:
		report_failure(j, "network", "input_unreadable", "the task's input could not be read", true);
		break;
	case END_NONE:
		if (good)
			report_result(r, j);
		else
			report_bad_exit(j);
		break;
	}
	j->state = JOB_FLUSH;
}

/* ---- reporting it ---- */

static void count(struct runner *r, const struct job *j)
{
	if (!strcmp(j->verdict, "completed"))
		r->completed++;
	else if (!strcmp(j->verdict, "failed"))
		r->failed++;
	else
		r->given_back++;
}

/* The panel does not take the outcome as it is: say so in the simplest form there is. */
static void report_refused(struct runner *r, struct job *j, const struct call *c)
{
	char *text;

	if (j->plain_error || !strcmp(j->verdict, "released")) {
		say(r, "error", j, "the panel refuses its outcome (%s); its lease will run out", call_why(c));
		j->state = JOB_DONE;
		return;
	}
	say(r, "warning", j, "the panel refuses its outcome (%s)", call_why(c));
	text = !strcmp(j->verdict, "completed") ? xasprintf("the panel refused the result: %s", call_why(c))
						: xstrdup("the command failed");
	j->plain_error = true;
	report_failure(j, "system", "bad_result", text, false);
	free(text);
}

void report_acknowledged(struct runner *r, struct job *j)
{
	char span[40] = "";

	count(r, j);
	if (j->started > 0)
		snprintf(span, sizeof(span), " after %.3f s", j->ended - j->started);
	say(r, "info", j, "%s%s%s%s", j->verdict, span, j->why ? ", " : "", j->why ? j->why : "");
	j->state = JOB_DONE;
}

static void report_done(struct runner *r, struct call *c)
{
	struct job *j = c->job;
	double now = mono_now();

	j->report_call = NULL;
	if (c->status >= 200 && c->status < 300) {
		report_acknowledged(r, j);
		/* its slot is free now, and the answer may bring the next task */
		take_tasks(r, jv_get(call_data(c), "tasks"));
	} else if (c->status == 409 && !strcmp(j->verdict, "released")) {
		j->state = JOB_DONE; /* it was not ours any more, which is just as well */
	} else if (c->status == 409 || c->status == 404 || c->status == 403) {
		job_lost(r, j, call_why(c));
	} else if (call_transient(c)) {
		sweep_after(r, c);
		if (!j->report_tries++)
			say(r, "warning", j, "its outcome is not acknowledged yet (%s); trying again", call_why(c));
		j->report_at = now + backoff(j->report_tries, 0.1, 10, c);
	} else {
		report_refused(r, j, c);
	}
}

static void send_report(struct runner *r, struct job *j)
{
	/* the slot this job leaves can be filled in the same call */
	bool more = strcmp(j->verdict, "released") && may_claim(r) && !socket_ready(r);
	char *body;

	j->ack_by = 0;
	if (socket_report(r, j, j->report_body))
		return;
	body = xasprintf("%s%s}", j->report_body, more ? ",\"claim\":{\"max\":1}" : "");

	j->report_call = call_start(r, "POST", j->report_path, body, 30, j, report_done);
	if (more) {
		j->report_call->reserved = 1;
		r->reserved++;
	}
	free(body);
}

/* ---- time ---- */

static double tick_command(struct runner *r, struct job *j, double now)
{
	bool open = j->out >= 0 || j->err >= 0 || j->say >= 0;
	double next = NEVER;

	if (!j->pid) {
		if (open && now < j->ended + LINGER)
			return j->ended + LINGER;
		child_io(r, j);
		child_close(j);
		decide(r, j);
		return now;
	}
	if (j->timeout_at && now >= j->timeout_at && j->end == END_NONE) {
		say(r, "warning", j, "took longer than %.0f s; ending it", j->timeout_at - j->started);
		job_end_command(r, j, END_TIMEOUT);
	}
	if (j->kill_at && now >= j->kill_at) {
		say(r, "warning", j, "does not end; killing it");
		child_signal(j, SIGKILL);
		j->kill_at = now + r->grace;
	}
	if (j->timeout_at && j->end == END_NONE)
		next = j->timeout_at;
	if (j->kill_at)
		next = fmin(next, j->kill_at);
	return fmin(next, feed_tick(r, j, now));
}

double job_tick(struct runner *r, struct job *j, double now)
{
	double next = NEVER;

	if (j->state == JOB_RUN)
		next = tick_command(r, j, now);
	if (j->state == JOB_RUN || j->state == JOB_FLUSH)
		next = fmin(next, progress_tick(r, j, now));
	if (j->state == JOB_FLUSH && (progress_idle(j) || !r->access)) {
		j->state = JOB_REPORT;
		call_cancel(r, j->progress_call); /* the outcome says more */
		j->progress_call = NULL;
	}
	if (j->state == JOB_REPORT && !j->report_call && r->access) {
		if (now >= j->report_at)
			send_report(r, j);
		else
			next = fmin(next, j->report_at);
	}
	return next;
}
