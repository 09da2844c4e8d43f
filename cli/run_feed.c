// SPDX-License-Identifier: MIT
/*
 * A task's input that is too large to lie inside it: parameters.input_ref
 * {href, items, bytes}. It is read page by page, one page ahead of the
 * command at most, and written to it one JSON line an item.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "api.h"
#include "runner.h"
#include "util.h"

#define AHEAD	  ((size_t)256 * 1024) /* bytes waiting for the command that stop the reading */
#define TRIES_MAX 8

void feed_init(struct job *j, const struct jv *task)
{
	const char *href = jv_str(jv_get(jv_get(task, "parameters"), "input_ref"), "href");

	j->feed.done = !href;
	j->feed.href = href ? xstrdup(href) : NULL;
}

/* The path of href below API_PREFIX, or NULL when it leads to somewhere else: our token is not for others. */
static char *feed_path(const struct runner *r, const struct feed *f)
{
	const char *url = r->cli->session.url, *p = f->href;
	size_t n = strlen(url), prefix = sizeof(API_PREFIX) - 1;
	char *cursor, *path;

	if (!strncasecmp(p, url, n) && p[n] == '/')
		p += n;
	if (strncmp(p, API_PREFIX "/", prefix + 1))
		return NULL;
	p += prefix;
	if (!f->cursor)
		return xstrdup(p);
	cursor = url_escape(f->cursor);
	path = xasprintf("%s%ccursor=%s", p, strchr(p, '?') ? '&' : '?', cursor);
	free(cursor);
	return path;
}

/* Appends v as one line; JSON text holds no line ends but between its tokens. */
static void add_line(struct buf *b, const struct jv *v)
{
	size_t from = b->n;

	buf_add(b, v->raw, v->raw_len);
	for (size_t i = from; i < b->n; i++)
		if (b->p[i] == '\n' || b->p[i] == '\r')
			b->p[i] = ' ';
	buf_addc(b, '\n');
}

static void feed_fail(struct runner *r, struct job *j, const char *why)
{
	j->feed.done = true;
	say(r, "error", j, "its input cannot be read: %s", why);
	job_end_command(r, j, END_INPUT);
}

static void page_done(struct runner *r, struct call *c)
{
	struct job *j = c->job;
	struct feed *f = &j->feed;
	const struct jv *data = call_data(c), *items = data && data->type == J_OBJECT ? jv_get(data, "items") : data;
	const char *next = jv_str(c->root, "next_cursor");

	f->call = NULL;
	if (c->status == 409) {
		job_lost(r, j, call_why(c));
		return;
	}
	if (call_transient(c) && ++f->tries < TRIES_MAX) {
		f->next_at = mono_now() + backoff(f->tries, 0.25, 10, c);
		return;
	}
	if (c->status != 200 || !items || items->type != J_ARRAY) {
		feed_fail(r, j, c->status == 200 ? "the page holds no items" : call_why(c));
		return;
	}
	f->tries = 0;
	for (const struct jv *v = items->child; v; v = v->next)
		add_line(&j->to_in, v);
	free(f->cursor);
	f->cursor = next ? xstrdup(next) : NULL;
	f->done = !next;
	child_io(r, j); /* closes the pipe when that was all */
}

double feed_tick(struct runner *r, struct job *j, double now)
{
	struct feed *f = &j->feed;
	char *path;

	if (f->done || f->call || j->end != END_NONE || !r->access || j->to_in.n > AHEAD)
		return NEVER;
	if (now < f->next_at)
		return f->next_at;
	path = feed_path(r, f);
	if (!path) {
		feed_fail(r, j, "its address is not the panel's");
		return now;
	}
	f->call = call_start(r, "GET", path, NULL, 60, j, page_done);
	free(path);
	return NEVER;
}
