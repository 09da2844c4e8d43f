// SPDX-License-Identifier: MIT
/*
 * Input that is too large to lie inside a task: in its place stands a
 * reference {href, items, bytes}, as parameters.input_ref, or, for a stage
 * with several sources, as parameters.input.<stage>_ref. References are read
 * one after the other, page by page, one page ahead of the command at most,
 * and written to it one JSON line an item.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "api.h"
#include "runner.h"
#include "util.h"

#define AHEAD	  ((size_t)256 * 1024) /* bytes waiting for the command that stop the reading */
#define PAGE	  500
#define TRIES_MAX 8

static void add_ref(struct feed *f, const struct jv *ref)
{
	const char *href = jv_str(ref, "href");

	if (!href)
		return;
	f->hrefs = xrealloc(f->hrefs, sizeof(*f->hrefs) * (size_t)(f->n + 1));
	f->hrefs[f->n++] = xstrdup(href);
}

static bool is_ref(const char *key)
{
	size_t n = strlen(key);

	return n > 4 && !strcmp(key + n - 4, "_ref");
}

void feed_init(struct job *j, const struct jv *task)
{
	const struct jv *parameters = jv_get(task, "parameters"), *input = jv_get(parameters, "input");

	add_ref(&j->feed, jv_get(parameters, "input_ref"));
	if (input && input->type == J_OBJECT)
		for (const struct jv *m = input->child; m; m = m->next)
			if (is_ref(m->key))
				add_ref(&j->feed, m);
	j->feed.done = !j->feed.n;
}

void feed_release(struct feed *f)
{
	for (int i = 0; i < f->n; i++)
		free(f->hrefs[i]);
	free(f->hrefs);
	free(f->cursor);
	*f = (struct feed){.done = true};
}

/* The path of the next page below API_PREFIX, or NULL when it leads elsewhere: our token is not for others. */
static char *feed_path(const struct runner *r, const struct feed *f)
{
	const char *url = r->cli->session.url, *p = f->hrefs[f->at];
	size_t n = strlen(url), prefix = sizeof(API_PREFIX) - 1;
	char *cursor, *limit, *path;

	if (!strncasecmp(p, url, n) && p[n] == '/')
		p += n;
	if (strncmp(p, API_PREFIX "/", prefix + 1))
		return NULL;
	p += prefix;
	limit = strstr(p, "limit=") ? xstrdup("") : xasprintf("%climit=%d", strchr(p, '?') ? '&' : '?', PAGE);
	cursor = f->cursor ? url_escape(f->cursor) : NULL;
	path = xasprintf("%s%s%s%s", p, limit, cursor ? "&cursor=" : "", cursor ? cursor : "");
	free(cursor);
	free(limit);
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

/* Hands the page's items to the command; false when it holds none of what a page holds. */
static bool take_page(struct job *j, const struct jv *data)
{
	const struct jv *items = data && data->type == J_OBJECT ? jv_get(data, "items") : data;
	const struct jv *whole = jv_get(data, "output");

	if (whole) { /* one result that is not made of items */
		add_line(&j->to_in, whole);
		return true;
	}
	if (!items || items->type != J_ARRAY)
		return false;
	for (const struct jv *v = items->child; v; v = v->next)
		add_line(&j->to_in, v);
	return true;
}

static void page_done(struct runner *r, struct call *c)
{
	struct job *j = c->job;
	struct feed *f = &j->feed;
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
	if (c->status != 200 || !take_page(j, call_data(c))) {
		feed_fail(r, j, c->status == 200 ? "the page holds no items" : call_why(c));
		return;
	}
	f->tries = 0;
	free(f->cursor);
	f->cursor = next ? xstrdup(next) : NULL;
	if (!next && ++f->at == f->n)
		f->done = true;
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
