// SPDX-License-Identifier: MIT
#include "http.h"

#include <strings.h>

#include "transfer.h"

#define HEADERS_COUNT_MAX	32
#define HEADER_VALUE_MAX	4096

static const char *const schemes[] = { "http", "https", NULL };

/* RFC 9110 section 5.6.2: what names of methods and headers are made of. */
static bool is_token(const char *s)
{
	if (!*s)
		return false;
	return !s[strspn(s, "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")];
}

/* No control characters: a line break here would be a header of somebody else's making. */
static bool is_field_value(const char *s)
{
	size_t n = 0;

	for (; *s; s++, n++) {
		if (((unsigned char)*s < ' ' && *s != '\t') || *s == 0x7f)
			return false;
	}
	return n <= HEADER_VALUE_MAX;
}

/* Headers that say where a message goes or how long it is are curl's to write. */
static bool is_reserved(const char *name)
{
	static const char *const reserved[] = {
		"Host", "Content-Length", "Transfer-Encoding", "Connection", "Expect", "Upgrade", "TE", "Trailer",
		"Keep-Alive", "Proxy-Connection", "Proxy-Authorization",
	};

	for (size_t i = 0; i < sizeof(reserved) / sizeof(reserved[0]); i++) {
		if (!strcasecmp(name, reserved[i]))
			return true;
	}
	return false;
}

static enum err check_request(const struct http_request *r, struct error *e)
{
	if (r->method && (!is_token(r->method) || strlen(r->method) > 16 || !strcasecmp(r->method, "CONNECT")))
		return error_public(e, ERR_VALIDATION, "The method is not one that is sent.");
	if (r->n_headers > HEADERS_COUNT_MAX)
		return error_public(e, ERR_VALIDATION, "At most %d headers are sent.", HEADERS_COUNT_MAX);
	for (int i = 0; i < r->n_headers; i++) {
		const struct http_header *h = &r->headers[i];

		if (!is_token(h->name) || is_reserved(h->name) || !is_field_value(h->value))
			return error_public(e, ERR_VALIDATION, "A header's name or value is not one that is sent.");
	}
	if ((r->content_type && !is_field_value(r->content_type)) || (r->request_id && !is_field_value(r->request_id)))
		return error_public(e, ERR_VALIDATION, "A header's value is not one that is sent.");
	return OK;
}

static void add_header(struct transfer *t, const char *name, const char *value)
{
	struct buf line;

	buf_init(&line);
	/* "Name;" is how curl is told to send an empty value. */
	buf_addf(&line, *value ? "%s: %s" : "%s;", name, value);
	transfer_append(t, &t->headers, line.p);
	buf_release(&line);
}

static void set_body(struct transfer *t, const struct http_request *r)
{
	/* The size first: without it curl would take the body for a string. */
	TRANSFER_SET(t, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->body_len);
	TRANSFER_SET(t, CURLOPT_COPYPOSTFIELDS, r->body_len ? (const char *)r->body : "");
	if (r->body)
		add_header(t, "Content-Type", r->content_type ? r->content_type : "application/json");
	else
		transfer_append(t, &t->headers, "Content-Type:");
	/* Else curl waits a second for "100 Continue" before it sends a large body. */
	transfer_append(t, &t->headers, "Expect:");
}

static void set_request(struct transfer *t, const struct http_request *r)
{
	const char *method = r->method ? r->method : r->body ? "POST" : "GET";
	bool sends = r->body || !strcmp(method, "POST");

	TRANSFER_SET(t, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	TRANSFER_SET(t, CURLOPT_HTTP09_ALLOWED, 0L);
	TRANSFER_SET(t, CURLOPT_TCP_NODELAY, 1L);
	if (sends)
		set_body(t, r);
	if (!strcmp(method, "HEAD"))
		TRANSFER_SET(t, CURLOPT_NOBODY, 1L);
	else if (strcmp(method, sends ? "POST" : "GET"))
		TRANSFER_SET(t, CURLOPT_CUSTOMREQUEST, method);
	for (int i = 0; i < r->n_headers; i++)
		add_header(t, r->headers[i].name, r->headers[i].value);
	if (r->request_id)
		add_header(t, "X-Request-ID", r->request_id);
}

enum err http_submit(struct http_pool *p, const struct http_request *r, net_done *done, void *arg, uint64_t *id,
		     struct error *e)
{
	struct transfer_options o = {
		.allow = r->allow, .schemes = "http,https", .connect_timeout_ms = r->connect_timeout_ms,
		.timeout_ms = r->timeout_ms, .in_max = r->max_response, .done = done, .arg = arg,
	};
	struct transfer *t;
	enum err err = check_request(r, e);

	if (err)
		return err;
	CURLU *url = url_parse(r->url, schemes, e);

	if (!url)
		return ERR_VALIDATION;
	err = transfer_new(p, url, &o, &t, e);
	if (err)
		return err;
	set_request(t, r);
	return transfer_start(t, id, e);
}

enum err http_url_check(const char *url, const struct netset *allow, struct error *e)
{
	CURLU *u = url_parse(url, schemes, e);
	char *host = NULL;
	struct ip ip;
	enum err err = OK;

	if (!u)
		return ERR_VALIDATION;
	if (allow && curl_url_get(u, CURLUPART_HOST, &host, 0) == CURLUE_OK) {
		size_t n = strlen(host);

		/* "[::1]" without its brackets; curl has made "0x7f.1" and the like dotted already. */
		if (n > 2 && host[0] == '[' && host[n - 1] == ']') {
			host[n - 1] = '\0';
			memmove(host, host + 1, n - 1);
		}
		if (ip_parse(host, &ip) && !netset_allows(allow, &ip))
			err = error_public(e, ERR_VALIDATION, "The URL's address is not in an allowed network.");
	}
	curl_free(host);
	curl_url_cleanup(u);
	return err;
}
