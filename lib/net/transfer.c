// SPDX-License-Identifier: MIT
#include "transfer.h"

#include <pthread.h>
#include <strings.h>
#include <sys/socket.h>

#include "../base/clock.h"
#include "../base/limits.h"

#define IN_FLIGHT_DEFAULT	256
#define IN_MAX_DEFAULT		((size_t)1024 * 1024)
#define CONNECT_DEFAULT_MS	3000
#define TOTAL_DEFAULT_MS	30000

struct http_pool {
	CURLM *multi;
	struct transfer *first;
	int in_flight, max;
	uint64_t last_id;
	char *user_agent, *ca_file;
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static CURLcode global_state;

static void global_init(void)
{
	global_state = curl_global_init(CURL_GLOBAL_DEFAULT);
}

enum err http_pool_new(const struct http_pool_options *o, struct http_pool **out, struct error *e)
{
	*out = NULL;
	pthread_once(&once, global_init);
	if (global_state != CURLE_OK)
		return error_set(e, ERR_INTERNAL, "curl: %s", curl_easy_strerror(global_state));
	struct http_pool *p = xcalloc(1, sizeof(*p));

	p->max = o->max_in_flight > 0 ? o->max_in_flight : IN_FLIGHT_DEFAULT;
	p->user_agent = xstrdup(o->user_agent ? o->user_agent : "mcp-panel");
	p->ca_file = o->ca_file ? xstrdup(o->ca_file) : NULL;
	p->multi = curl_multi_init();
	/* As many connections as calls: curl must never queue one, whose time would run while it waits. */
	if (!p->multi || curl_multi_setopt(p->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, 0L) ||
	    curl_multi_setopt(p->multi, CURLMOPT_MAXCONNECTS, (long)p->max)) {
		http_pool_free(p);
		return error_set(e, ERR_INTERNAL, "curl: no multi handle");
	}
	*out = p;
	return OK;
}

int http_in_flight(const struct http_pool *p)
{
	return p->in_flight;
}

void http_wake(struct http_pool *p)
{
	/* Fails only when the pipe is full, and then the wake-up is there already. */
	(void)curl_multi_wakeup(p->multi);
}

/* --- what curl calls back ----------------------------------------------------------------------- */

/* The one place where a socket is made: after name resolution, before connect. */
static curl_socket_t open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *a)
{
	struct transfer *t = arg;
	struct ip ip;

	if (purpose != CURLSOCKTYPE_IPCXN || !ip_from_sockaddr(&a->addr, &ip) || !netset_allows(&t->allow, &ip)) {
		t->refused++;
		return CURL_SOCKET_BAD;
	}
	t->allowed++;
	return socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);
}

/* Connected, nothing sent yet. A kept connection comes here without open_socket(). */
static int before_request(void *arg, char *remote, char *local, int remote_port, int local_port)
{
	struct transfer *t = arg;
	struct ip ip;

	(void)local, (void)remote_port, (void)local_port;
	if (remote && ip_parse(remote, &ip) && netset_allows(&t->allow, &ip)) {
		t->allowed++;
		return CURL_PREREQFUNC_OK;
	}
	t->refused++;
	t->allowed = 0;
	return CURL_PREREQFUNC_ABORT;
}

static size_t take_body(char *data, size_t size, size_t count, void *arg)
{
	struct transfer *t = arg;
	size_t n = size * count;

	if (n > t->in_max - t->in.n) {
		t->too_large = true;
		return 0;
	}
	buf_add(&t->in, data, n);
	return n;
}

static size_t give_body(char *data, size_t size, size_t count, void *arg)
{
	struct transfer *t = arg;
	size_t n = size * count;

	if (n > t->out.n - t->out_done)
		n = t->out.n - t->out_done;
	memcpy(data, t->out.p + t->out_done, n);
	t->out_done += n;
	return n;
}

/* --- one transfer -------------------------------------------------------------------------------- */

static void set_common(struct transfer *t, const struct transfer_options *o)
{
	TRANSFER_SET(t, CURLOPT_PRIVATE, (void *)t);
	TRANSFER_SET(t, CURLOPT_ERRORBUFFER, t->error);
	TRANSFER_SET(t, CURLOPT_CURLU, t->url);
	TRANSFER_SET(t, CURLOPT_PROTOCOLS_STR, o->schemes);
	TRANSFER_SET(t, CURLOPT_REDIR_PROTOCOLS_STR, o->schemes);
	TRANSFER_SET(t, CURLOPT_FOLLOWLOCATION, 0L);
	TRANSFER_SET(t, CURLOPT_PROXY, "");
	TRANSFER_SET(t, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
	TRANSFER_SET(t, CURLOPT_NOSIGNAL, 1L);
	/* Else the end of a call that is still resolving a name waits for the resolver, and all others with it. */
	TRANSFER_SET(t, CURLOPT_QUICK_EXIT, 1L);
	TRANSFER_SET(t, CURLOPT_SSL_VERIFYPEER, 1L);
	TRANSFER_SET(t, CURLOPT_SSL_VERIFYHOST, 2L);
	TRANSFER_SET(t, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	if (t->pool->ca_file)
		TRANSFER_SET(t, CURLOPT_CAINFO, t->pool->ca_file);
	TRANSFER_SET(t, CURLOPT_OPENSOCKETFUNCTION, open_socket);
	TRANSFER_SET(t, CURLOPT_OPENSOCKETDATA, t);
	TRANSFER_SET(t, CURLOPT_PREREQFUNCTION, before_request);
	TRANSFER_SET(t, CURLOPT_PREREQDATA, t);
	TRANSFER_SET(t, CURLOPT_CONNECTTIMEOUT_MS,
		     (long)(o->connect_timeout_ms > 0 ? o->connect_timeout_ms : CONNECT_DEFAULT_MS));
	TRANSFER_SET(t, CURLOPT_TIMEOUT_MS, (long)(o->timeout_ms > 0 ? o->timeout_ms : TOTAL_DEFAULT_MS));
	TRANSFER_SET(t, CURLOPT_WRITEFUNCTION, take_body);
	TRANSFER_SET(t, CURLOPT_WRITEDATA, t);
	TRANSFER_SET(t, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)t->in_max);
	TRANSFER_SET(t, CURLOPT_READFUNCTION, give_body);
	TRANSFER_SET(t, CURLOPT_READDATA, t);
	TRANSFER_SET(t, CURLOPT_USERAGENT, t->pool->user_agent);
	TRANSFER_SET(t, CURLOPT_BUFFERSIZE, 16384L);
}

enum err transfer_new(struct http_pool *p, CURLU *url, const struct transfer_options *o, struct transfer **out,
		      struct error *e)
{
	*out = NULL;
	if (p->in_flight >= p->max) {
		curl_url_cleanup(url);
		return error_set(e, ERR_BUSY, "%d outbound calls are in flight", p->in_flight);
	}
	struct transfer *t = xcalloc(1, sizeof(*t));

	t->pool = p;
	t->url = url;
	t->done = o->done;
	t->arg = o->arg;
	t->in_max = o->in_max ? o->in_max : IN_MAX_DEFAULT;
	if (o->allow)
		t->allow = *o->allow;
	buf_init(&t->in);
	buf_init(&t->out);
	t->easy = curl_easy_init();
	if (!t->easy) {
		transfer_free(t);
		return error_set(e, ERR_INTERNAL, "curl: no handle");
	}
	set_common(t, o);
	*out = t;
	return OK;
}

void transfer_append(struct transfer *t, struct curl_slist **list, const char *line)
{
	struct curl_slist *longer = curl_slist_append(*list, line);

	if (longer)
		*list = longer;
	else if (t->setup == CURLE_OK)
		t->setup = CURLE_OUT_OF_MEMORY;
}

enum err transfer_start(struct transfer *t, uint64_t *id, struct error *e)
{
	struct http_pool *p = t->pool;

	if (t->headers)
		TRANSFER_SET(t, CURLOPT_HTTPHEADER, t->headers);
	if (t->recipients)
		TRANSFER_SET(t, CURLOPT_MAIL_RCPT, t->recipients);
	t->started = mono_us();
	if (t->setup != CURLE_OK || curl_multi_add_handle(p->multi, t->easy) != CURLM_OK) {
		enum err err = error_set(e, ERR_INTERNAL, "curl: %s", curl_easy_strerror(t->setup));

		transfer_free(t);
		return err;
	}
	t->id = ++p->last_id;
	t->next = p->first;
	if (t->next)
		t->next->prev = t;
	p->first = t;
	p->in_flight++;
	if (id)
		*id = t->id;
	return OK;
}

void transfer_free(struct transfer *t)
{
	if (!t)
		return;
	if (t->easy)
		curl_easy_cleanup(t->easy);
	curl_url_cleanup(t->url);
	curl_slist_free_all(t->headers);
	curl_slist_free_all(t->recipients);
	buf_release(&t->in);
	buf_release(&t->out);
	free(t);
}

/* --- the end of a transfer ------------------------------------------------------------------------- */

static const char *const outcome_names[] = {
	[NET_OK] = "ok", [NET_NETWORK] = "network", [NET_TIMEOUT] = "timeout", [NET_EXTERNAL] = "external_service",
	[NET_REFUSED] = "refused", [NET_CANCELLED] = "cancelled",
};

const char *net_outcome_name(enum net_outcome o)
{
	return (unsigned)o < sizeof(outcome_names) / sizeof(outcome_names[0]) ? outcome_names[o] : "";
}

static enum net_outcome classify(const struct transfer *t, CURLcode code, long status)
{
	if (t->refused && !t->allowed)
		return NET_REFUSED;
	switch (code) {
	case CURLE_OK:
		return status >= 200 && status < 300 ? NET_OK : NET_EXTERNAL;
	case CURLE_OPERATION_TIMEDOUT:
		return NET_TIMEOUT;
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_COULDNT_CONNECT:
	case CURLE_SEND_ERROR:
	case CURLE_RECV_ERROR:
	case CURLE_GOT_NOTHING:
	case CURLE_PARTIAL_FILE:
	case CURLE_SSL_CONNECT_ERROR:
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CERTPROBLEM:
	case CURLE_SSL_CIPHER:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_SSL_SHUTDOWN_FAILED:
	case CURLE_USE_SSL_FAILED:
		/* A mail server's 4xx or 5xx reaches us as "send error": it did answer. */
		return status >= 400 ? NET_EXTERNAL : NET_NETWORK;
	default:
		return NET_EXTERNAL;
	}
}

static const char *reason_for(const struct transfer *t, enum net_outcome outcome, CURLcode code)
{
	switch (outcome) {
	case NET_OK:
		return "";
	case NET_REFUSED:
		return "the address is not in an allowed network";
	case NET_CANCELLED:
		return "cancelled";
	default:
		if (t->too_large || code == CURLE_FILESIZE_EXCEEDED)
			return "the answer is larger than allowed";
		if (code == CURLE_OK)
			return "the answer's status is not a success";
		return t->error[0] ? t->error : curl_easy_strerror(code);
	}
}

static void finish(struct transfer *t, CURLcode code, bool cancelled)
{
	struct http_pool *p = t->pool;
	struct net_result r = { .body = t->in.p, .body_len = t->in.n };
	long status = 0;
	curl_off_t retry_after = 0;
	char *type = NULL;

	if (!cancelled) {
		(void)curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
		(void)curl_easy_getinfo(t->easy, CURLINFO_RETRY_AFTER, &retry_after);
		(void)curl_easy_getinfo(t->easy, CURLINFO_CONTENT_TYPE, &type);
	}
	r.outcome = cancelled ? NET_CANCELLED : classify(t, code, status);
	r.status = (int)status;
	r.content_type = type;
	r.retry_after_s = retry_after;
	r.took_us = mono_us() - t->started;
	r.reason = reason_for(t, r.outcome, code);
	(void)curl_multi_remove_handle(p->multi, t->easy);
	if (t->prev)
		t->prev->next = t->next;
	else
		p->first = t->next;
	if (t->next)
		t->next->prev = t->prev;
	p->in_flight--;
	/* It is out of the pool already: the callback may submit, poll-free, and even find the pool empty. */
	t->done(t->arg, &r);
	transfer_free(t);
}

static int collect(struct http_pool *p)
{
	CURLMsg *msg;
	int left;
	int finished = 0;

	while ((msg = curl_multi_info_read(p->multi, &left))) {
		struct transfer *t = NULL;
		CURLcode code = msg->data.result;

		if (msg->msg != CURLMSG_DONE)
			continue;
		if (curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, (char **)&t) != CURLE_OK || !t)
			continue;
		finish(t, code, false);
		finished++;
	}
	return finished;
}

int http_poll(struct http_pool *p, int timeout_ms)
{
	int running;
	int finished;

	(void)curl_multi_perform(p->multi, &running);
	finished = collect(p);
	if (finished || timeout_ms <= 0)
		return finished;
	(void)curl_multi_poll(p->multi, NULL, 0, timeout_ms, NULL);
	(void)curl_multi_perform(p->multi, &running);
	return collect(p);
}

void http_cancel(struct http_pool *p, uint64_t id)
{
	for (struct transfer *t = p->first; t; t = t->next) {
		if (t->id == id) {
			finish(t, CURLE_OK, true);
			return;
		}
	}
}

void http_pool_free(struct http_pool *p)
{
	if (!p)
		return;
	/* A callback that submits again now gets ERR_BUSY, so this ends. */
	p->max = 0;
	while (p->first)
		finish(p->first, CURLE_OK, true);
	if (p->multi)
		(void)curl_multi_cleanup(p->multi);
	free(p->user_agent);
	free(p->ca_file);
	free(p);
}

/* --- URLs ------------------------------------------------------------------------------------------ */

static bool has_part(CURLU *u, CURLUPart part)
{
	char *text = NULL;
	bool there = curl_url_get(u, part, &text, 0) == CURLUE_OK;

	curl_free(text);
	return there;
}

static bool scheme_ok(const char *text, const char *const *schemes)
{
	for (; *schemes; schemes++) {
		size_t n = strlen(*schemes);

		/* curl also takes one or three slashes; others read such URLs otherwise. */
		if (!strncasecmp(text, *schemes, n) && !strncmp(text + n, "://", 3) && text[n + 3] && text[n + 3] != '/')
			return true;
	}
	return false;
}

CURLU *url_parse(const char *text, const char *const *schemes, struct error *e)
{
	const char *wrong = NULL;
	CURLU *u;

	if (!text || !*text)
		wrong = "The URL is empty.";
	else if (strnlen(text, LIMIT_URL + 1) > LIMIT_URL)
		wrong = "The URL is longer than 2048 bytes.";
	for (const char *s = text; !wrong && *s; s++) {
		if (*s <= ' ' || *s >= 0x7f || *s == '\\')
			wrong = "The URL holds a character that must be percent-encoded.";
	}
	if (!wrong && !scheme_ok(text, schemes))
		wrong = "The URL must be absolute and of an allowed scheme.";
	u = wrong ? NULL : curl_url();
	if (!wrong && (!u || curl_url_set(u, CURLUPART_URL, text, 0) != CURLUE_OK || !has_part(u, CURLUPART_HOST)))
		wrong = "The URL cannot be parsed.";
	if (!wrong && (has_part(u, CURLUPART_USER) || has_part(u, CURLUPART_PASSWORD)))
		wrong = "The URL must not hold a user name or password.";
	if (!wrong)
		return u;
	curl_url_cleanup(u);
	(void)error_public(e, ERR_VALIDATION, "%s", wrong);
	return NULL;
}
