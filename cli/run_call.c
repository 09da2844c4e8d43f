// SPDX-License-Identifier: MIT
/* Requests that do not block. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api.h"
#include "runner.h"
#include "util.h"

#define BUILD_DEPTH 7 /* data.tasks[].parameters.input.x_ref.href: deeper values stay text */
#define ANSWER_MAX  ((size_t)64 << 20)

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
	struct call *c = arg;

	if (c->text.n + size * n > ANSWER_MAX)
		return 0;
	buf_add(&c->text, data, size * n);
	return size * n;
}

static size_t on_header(char *line, size_t size, size_t n, void *arg)
{
	struct call *c = arg;
	double s = http_retry_after(line, size * n);

	if (s > 0)
		c->retry_after = s;
	return size * n;
}

static void add_header(struct call *c, const char *line)
{
	struct curl_slist *longer = curl_slist_append(c->headers, line);

	if (!longer)
		die(EXIT_FAILED, "out of memory");
	c->headers = longer;
}

static void call_free(struct call *c)
{
	curl_easy_cleanup(c->easy);
	curl_slist_free_all(c->headers);
	arena_release(&c->arena);
	buf_release(&c->text);
	free_secret(c->token);
	free(c);
}

struct call *call_start(struct runner *r, const char *method, const char *path, const char *body, double timeout,
			struct job *job, call_done done)
{
	struct call *c = xcalloc(1, sizeof(*c));
	char *auth;

	c->easy = curl_easy_init();
	if (!c->easy)
		die(EXIT_FAILED, "out of memory");
	arena_init(&c->arena);
	buf_init(&c->text);
	c->done = done;
	c->job = job;
	c->started = mono_now();
	http_prepare(c->easy, &r->cli->session, method, path, body, timeout);
	add_header(c, "Accept: application/json");
	add_header(c, "Expect:");
	if (body)
		add_header(c, "Content-Type: application/json");
	if (r->access) {
		c->token = xstrdup(r->access);
		auth = xasprintf("Authorization: Bearer %s", r->access);
		add_header(c, auth);
		free_secret(auth);
	}
	curl_easy_setopt(c->easy, CURLOPT_HTTPHEADER, c->headers);
	curl_easy_setopt(c->easy, CURLOPT_ERRORBUFFER, c->error);
	curl_easy_setopt(c->easy, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(c->easy, CURLOPT_WRITEDATA, c);
	curl_easy_setopt(c->easy, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(c->easy, CURLOPT_HEADERDATA, c);
	curl_easy_setopt(c->easy, CURLOPT_PRIVATE, c);
	if (curl_multi_add_handle(r->multi, c->easy) != CURLM_OK)
		die(EXIT_FAILED, "the HTTP client refuses a request");
	if (r->cli->verbose)
		say(r, "debug", job, "%s %s", method, path);
	c->next = r->calls;
	r->calls = c;
	return c;
}

static void unlink_call(struct runner *r, struct call *c)
{
	struct call **p = &r->calls;

	while (*p && *p != c)
		p = &(*p)->next;
	if (*p)
		*p = c->next;
	curl_multi_remove_handle(r->multi, c->easy);
}

void call_cancel(struct runner *r, struct call *c)
{
	if (!c)
		return;
	unlink_call(r, c);
	r->reserved -= c->reserved;
	call_free(c);
}

void calls_release(struct runner *r)
{
	while (r->calls)
		call_cancel(r, r->calls);
}

const struct jv *call_data(const struct call *c)
{
	return jv_get(c->root, "data");
}

const char *call_why(const struct call *c)
{
	static char why[512];
	const char *m = jv_str(jv_get(c->root, "error"), "message");

	if (m)
		snprintf(why, sizeof(why), "%ld %s", c->status, m);
	else if (c->status)
		snprintf(why, sizeof(why), "status %ld", c->status);
	else
		snprintf(why, sizeof(why), "%s", c->error);
	return why;
}

bool call_transient(const struct call *c)
{
	/* 401: the token ended; the loop gets another, and the call is made again with it */
	return !c->status || c->status >= 500 || c->status == 401 || c->status == 408 || c->status == 425 ||
	       c->status == 429;
}

double backoff(int n, double first, double most, const struct call *c)
{
	double s = first * (double)(1u << (n < 16 ? n : 16));

	if (s > most)
		s = most;
	s *= 0.5 + 0.5 * jitter();
	if (c && c->retry_after > s)
		s = c->retry_after + jitter();
	return s;
}

static void parse_answer(struct call *c)
{
	struct error e;

	error_init(&e, &c->arena);
	if (c->text.n && json_parse(&c->arena, c->text.p, c->text.n, BUILD_DEPTH, &c->root, &e) != OK)
		c->root = NULL;
	/* whatever answered 2xx without JSON is not the panel */
	if (!c->root && c->status >= 200 && c->status < 300) {
		c->status = 0;
		snprintf(c->error, sizeof(c->error), "the answer is not JSON");
	}
}

/* The token it was sent with is of no use any more, unless there is a newer one already. */
static void note_refusal(struct runner *r, const struct call *c)
{
	if (c->status != 401 || !c->token || !r->access || strcmp(c->token, r->access))
		return;
	free_secret(r->access);
	r->access = NULL;
	r->login_at = 0;
}

void calls_reap(struct runner *r)
{
	CURLMsg *m;
	int left;

	while ((m = curl_multi_info_read(r->multi, &left))) {
		struct call *c;
		CURLcode code;

		if (m->msg != CURLMSG_DONE)
			continue;
		code = m->data.result; /* m dies with the next line that touches the handle */
		curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&c);
		if (!c) {
			ws_connected(&r->ws, code);
			continue;
		}
		if (code == CURLE_OK)
			curl_easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &c->status);
		else if (!c->error[0])
			snprintf(c->error, sizeof(c->error), "%s", curl_easy_strerror(code));
		parse_answer(c);
		unlink_call(r, c);
		r->reserved -= c->reserved;
		note_refusal(r, c);
		if (c->done)
			c->done(r, c);
		call_free(c);
	}
}
