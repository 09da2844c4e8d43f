// SPDX-License-Identifier: MIT
#include "watch.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "api.h"
#include "commands.h"
#include "jsonx.h"
#include "lib/base/clock.h"
#include "print.h"
#include "util.h"

#define PATIENCE 120.0 /* seconds a silent panel is waited for */
#define BAR	 30

static bool on_terminal(void)
{
	const char *term = getenv("TERM");

	return isatty(STDERR_FILENO) && term && strcmp(term, "dumb");
}

static int terminal_columns(void)
{
	struct winsize w;

	return ioctl(STDERR_FILENO, TIOCGWINSZ, &w) || !w.ws_col ? 80 : w.ws_col;
}

static void nap(double s)
{
	struct timespec ts = {.tv_sec = (time_t)s, .tv_nsec = (long)((s - floor(s)) * 1e9)};

	nanosleep(&ts, NULL);
}

static bool is_final(const char *status)
{
	return status && (!strcmp(status, "completed") || !strcmp(status, "failed") || !strcmp(status, "cancelled"));
}

static int outcome(const char *status)
{
	return status && !strcmp(status, "completed") ? EXIT_OK : EXIT_FAILED;
}

/* Colours on stderr are decided apart from those on stdout. */
static struct cli stderr_cli(const struct cli *cli)
{
	struct cli c = *cli;

	c.color = on_terminal() && is_empty(getenv("NO_COLOR"));
	return c;
}

/*
 * GET path, again and again while the panel is away. Returns an exit status;
 * everything but EXIT_OK has been complained about.
 */
static int get_patiently(struct cli *cli, const char *path, struct answer *a)
{
	double since = mono_now(), wait = 0.5;
	bool said = false;

	while (!api_try(cli, "GET", path, NULL, a)) {
		bool away = (a->status == 0 && a->code != CURLE_OK) || a->status >= 500 || a->status == 429;

		if (!away || mono_now() - since > PATIENCE) {
			answer_complain(cli, a);
			return answer_exit(a);
		}
		if (!said)
			warn("the panel does not answer; waiting for it");
		said = true;
		wait = a->retry_after > wait ? a->retry_after : wait;
		answer_release(a);
		nap(wait * (0.5 + jitter()));
		wait = wait < 8 ? wait * 2 : 8;
	}
	return EXIT_OK;
}

static void draw_bar(FILE *to, const struct cli *c, double progress, const char *status)
{
	int full = (int)(progress * BAR + 1e-9);

	fprintf(to, "%s", color_for_status(c, status));
	for (int i = 0; i < BAR; i++)
		fputs(i < full ? "█" : "░", to);
	fprintf(to, "%s %3.0f%%", color_off(c), floor(progress * 100 + 1e-9));
}

static double seconds_between(const char *from, const char *to)
{
	int64_t a, b;

	if (!from || !time_parse(from, &a))
		return -1;
	if (!to)
		b = now_ms();
	else if (!time_parse(to, &b))
		return -1;
	return (double)(b - a) / 1000;
}

/* ---- runs ---- */

static const char *stage_mark(const char *status)
{
	if (!status)
		return "·";
	if (!strcmp(status, "completed"))
		return "✓";
	if (!strcmp(status, "failed"))
		return "✗";
	if (!strcmp(status, "running"))
		return "▶";
	return !strcmp(status, "skipped") ? "–" : "·";
}

/* "40/120 tasks" from a stage's task_counts; empty when it has none yet. */
static void stage_counts(struct json_object *stage, char *out, size_t size)
{
	struct json_object *counts = jx_get(stage, "task_counts");
	double done = jx_num(counts, "completed", 0), total = jx_num(counts, "total", -1);
	double failed = jx_num(counts, "failed", 0), retrying = jx_num(counts, "retrying", 0);

	out[0] = '\0';
	if (total < 0 && json_object_is_type(counts, json_type_object)) {
		total = 0;
		json_object_object_foreach(counts, key, value)
		{
			(void)key;
			total += json_object_get_double(value);
		}
	}
	if (total <= 0)
		return;
	snprintf(out, size, "%.0f/%.0f tasks", done, total);
	if (retrying > 0)
		snprintf(out + strlen(out), size - strlen(out), ", %.0f retrying", retrying);
	if (failed > 0)
		snprintf(out + strlen(out), size - strlen(out), ", %.0f failed", failed);
}

static void draw_stage(FILE *to, const struct cli *c, struct json_object *stage, int width)
{
	const char *status = jx_str(stage, "status"), *name = jx_str(stage, "name");
	const char *error = jx_str(stage, "error.message");
	double took = seconds_between(jx_str(stage, "started_at"), jx_str(stage, "completed_at"));
	char counts[96], span[32] = "";

	stage_counts(stage, counts, sizeof(counts));
	if (took >= 0)
		format_seconds(span, sizeof(span), took);
	fprintf(to, " %s%s %1.0f ", color_for_status(c, status), stage_mark(status), jx_num(stage, "stage", 0));
	print_clean(to, name ? name : "-", 22);
	fprintf(to, "%s%*s %-10s %-26s %10s", color_off(c), name && strlen(name) < 20 ? (int)(20 - strlen(name)) : 0,
		"", status ? status : "-", counts, span);
	if (error) {
		fputs("  ", to);
		print_clean(to, error, width > 90 ? width - 78 : 0);
	}
	fputc('\n', to);
}

/* Draws a run; returns how many lines it took. */
static int draw_run(FILE *to, const struct cli *c, struct json_object *run, int width)
{
	const char *status = jx_str(run, "status"), *id = jx_str(run, "execution_id");
	struct json_object *stages = jx_get(run, "stages");
	const char *begun = jx_str(run, "started_at") ? jx_str(run, "started_at") : jx_str(run, "created_at");
	double took = seconds_between(begun, jx_str(run, "completed_at"));
	char span[32] = "";
	int lines = 1;

	if (took >= 0)
		format_seconds(span, sizeof(span), took);
	draw_bar(to, c, jx_num(run, "progress", 0), status);
	fprintf(to, "  %s%s%s  %s  %s%s%s\n", color_for_status(c, status), status ? status : "-", color_off(c), span,
		color_dim(c), id ? id : "", color_off(c));
	for (size_t i = 0; i < jx_len(stages, ""); i++, lines++)
		draw_stage(to, c, json_object_array_get_idx(stages, i), width);
	return lines;
}

void show_execution(struct cli *cli, struct json_object *run)
{
	struct json_object *rest = NULL;

	draw_run(stdout, cli, run, term_width());
	if (json_object_deep_copy(run, &rest, NULL))
		return;
	/* what is drawn is not told again */
	json_object_object_del(rest, "stages");
	json_object_object_del(rest, "progress_percentage");
	json_object_object_del(rest, "completed_stages");
	putchar('\n');
	print_outline(cli, rest, 0);
	json_object_put(rest);
}

/* What has to change for another line where nothing can be redrawn. */
static void run_signature(struct json_object *run, struct buf *sig)
{
	buf_reset(sig);
	buf_addf(sig, "%s %.0f", jx_str(run, "status") ? jx_str(run, "status") : "-",
		 floor(jx_num(run, "progress", 0) * 10));
	for (size_t i = 0; i < jx_len(run, "stages"); i++) {
		struct json_object *s = json_object_array_get_idx(jx_get(run, "stages"), i);

		buf_addf(sig, " %s", jx_str(s, "status") ? jx_str(s, "status") : "-");
	}
}

static void print_run_line(struct json_object *run)
{
	struct json_object *stages = jx_get(run, "stages");
	const char *status = jx_str(run, "status");
	char counts[96];

	fprintf(stderr, "%3.0f%%  %s", floor(jx_num(run, "progress", 0) * 100 + 1e-9), status ? status : "-");
	for (size_t i = 0; i < jx_len(stages, ""); i++) {
		struct json_object *s = json_object_array_get_idx(stages, i);
		const char *st = jx_str(s, "status");

		if (!st || strcmp(st, "running"))
			continue;
		stage_counts(s, counts, sizeof(counts));
		fprintf(stderr, "  stage %.0f ", jx_num(s, "stage", 0));
		print_clean(stderr, jx_str(s, "name") ? jx_str(s, "name") : "-", 40);
		fprintf(stderr, " %s", counts);
	}
	fputc('\n', stderr);
}

struct run_view {
	bool terminal;
	int lines; /* drawn last time */
	struct buf last, now;
};

static void show_progress(struct run_view *v, const struct cli *c, struct json_object *run)
{
	if (c->quiet)
		return;
	if (v->terminal) {
		int width = terminal_columns();

		/* up over what was drawn, clear to the end of the screen, draw anew; ?7l: no wrapping */
		if (v->lines)
			fprintf(stderr, "\033[%dA", v->lines);
		fputs("\r\033[J\033[?7l", stderr);
		v->lines = draw_run(stderr, c, run, width);
		fputs("\033[?7h", stderr);
		fflush(stderr);
		return;
	}
	run_signature(run, &v->now);
	if (strcmp(v->now.p, v->last.p))
		print_run_line(run);
	buf_reset(&v->last);
	buf_adds(&v->last, v->now.p);
}

int watch_execution(struct cli *cli, const char *id)
{
	char *path = fill_path("/executions/{}", (char *[]){(char *)id});
	struct run_view view = {.terminal = on_terminal()};
	struct cli c = stderr_cli(cli);
	double wait = 0.1;
	struct answer a;
	int rc;

	buf_init(&view.last);
	buf_init(&view.now);
	while ((rc = get_patiently(cli, path, &a)) == EXIT_OK) {
		struct json_object *run = answer_data(&a);
		const char *status = jx_str(run, "status");

		show_progress(&view, &c, run);
		if (is_final(status)) {
			rc = outcome(status);
			if (cli->json)
				print_json(run);
			if (rc != EXIT_OK && !cli->json)
				warn("run %s %s%s%s", id, status, jx_str(run, "error.message") ? ": " : "",
				     jx_str(run, "error.message") ? jx_str(run, "error.message") : "");
			break;
		}
		answer_release(&a);
		nap(wait);
		wait = wait < 0.8 ? wait * 1.3 : 1;
	}
	answer_release(&a);
	buf_release(&view.last);
	buf_release(&view.now);
	free(path);
	return rc;
}

/* ---- tasks ---- */

struct log_place {
	char *cursor; /* of the page that was read last; NULL: the first */
	size_t seen;  /* lines of that page that have been printed */
};

static void print_log_line(struct json_object *line)
{
	const char *level = jx_str(line, "level"), *message = jx_str(line, "message");

	fprintf(stderr, "  %s: ", level ? level : "info");
	print_clean(stderr, message ? message : "-", 0);
	fputc('\n', stderr);
}

/* Prints the log lines that came since last time. */
static void follow_logs(struct cli *cli, const char *id, struct log_place *at)
{
	struct answer a;
	bool more = true;

	while (more) {
		char *c = at->cursor ? url_escape(at->cursor) : NULL;
		char *path = xasprintf("/tasks/%s/logs?limit=200%s%s", id, c ? "&cursor=" : "", c ? c : "");
		struct json_object *items;
		const char *next;

		free(c);
		more = api_try(cli, "GET", path, NULL, &a);
		items = jx_len(answer_data(&a), "") ? answer_data(&a) : jx_get(answer_data(&a), "items");
		for (size_t i = at->seen; more && i < jx_len(items, ""); i++)
			print_log_line(json_object_array_get_idx(items, i));
		if (more)
			at->seen = jx_len(items, "");
		next = jx_str(a.body, "next_cursor");
		more = more && next;
		if (more) {
			free(at->cursor);
			at->cursor = xstrdup(next);
			at->seen = 0;
		}
		answer_release(&a);
		free(path);
	}
}

static void show_task_progress(const struct cli *c, struct json_object *task, struct buf *last)
{
	const char *status = jx_str(task, "status"), *message = jx_str(task, "message");
	struct buf now;

	if (c->quiet)
		return;
	buf_init(&now);
	buf_addf(&now, "%s %.0f %s", status ? status : "-", floor(jx_num(task, "progress", 0) * 100),
		 message ? message : "");
	if (on_terminal()) {
		fputs("\r\033[K", stderr);
		draw_bar(stderr, c, jx_num(task, "progress", 0), status);
		fprintf(stderr, "  %s  ", status ? status : "-");
		print_clean(stderr, message ? message : "", terminal_columns() - BAR - 22);
	} else if (strcmp(now.p, last->p)) {
		fprintf(stderr, "%3.0f%%  %s  ", floor(jx_num(task, "progress", 0) * 100), status ? status : "-");
		print_clean(stderr, message ? message : "", 0);
		fputc('\n', stderr);
	}
	buf_reset(last);
	buf_adds(last, now.p);
	buf_release(&now);
}

/* The end of a watched task: its result on stdout, its error on stderr. */
static int finish_task(struct cli *cli, const char *id)
{
	char *path = xasprintf("/tasks/%s", id);
	struct answer a;
	int rc = get_patiently(cli, path, &a);

	if (rc == EXIT_OK) {
		struct json_object *task = answer_data(&a), *result = jx_get(task, "result");
		const char *status = jx_str(task, "status"), *why = jx_str(task, "error.message");

		rc = outcome(status);
		if (cli->json)
			print_json(task);
		else if (rc == EXIT_OK && result)
			print_json(result);
		else if (rc != EXIT_OK)
			warn("task %s %s%s%s", id, status, why ? ": " : "", why ? why : "");
	}
	answer_release(&a);
	free(path);
	return rc;
}

int watch_task(struct cli *cli, const char *name)
{
	char *id = url_escape(name), *path = xasprintf("/tasks/%s/status", id);
	struct cli c = stderr_cli(cli);
	struct log_place at = {0};
	double wait = 0.05;
	struct buf last;
	struct answer a;
	bool done = false;
	int rc = EXIT_OK;

	buf_init(&last);
	while (!done && (rc = get_patiently(cli, path, &a)) == EXIT_OK) {
		done = is_final(jx_str(answer_data(&a), "status"));
		if (!cli->quiet) {
			if (on_terminal())
				fputs("\r\033[K", stderr);
			follow_logs(cli, id, &at);
		}
		show_task_progress(&c, answer_data(&a), &last);
		answer_release(&a);
		if (!done)
			nap(wait);
		wait = wait < 0.8 ? wait * 1.4 : 1;
	}
	if (on_terminal() && !cli->quiet)
		fputc('\n', stderr);
	if (rc == EXIT_OK)
		rc = finish_task(cli, id);
	else
		answer_release(&a);
	buf_release(&last);
	free(at.cursor);
	free(path);
	free(id);
	return rc;
}
