// SPDX-License-Identifier: MIT
/*
 * One call in flight, of whatever protocol: what http.c and smtp.c share. Private to lib/net.
 *
 * A transfer is made with the rules of http.h already set on its curl handle; the protocol's file
 * adds its own options with TRANSFER_SET, then starts it or frees it. Options that curl refuses are
 * remembered, so that one check at the start is enough.
 */
#ifndef NET_TRANSFER_H
#define NET_TRANSFER_H

#include <curl/curl.h>
#include "../base/buf.h"
#include "http.h"

struct transfer {
	uint64_t id;
	struct http_pool *pool;
	struct transfer *prev, *next;
	CURL *easy;
	CURLU *url;
	CURLcode setup;			/* first option that failed */
	struct curl_slist *headers, *recipients;
	struct netset allow;
	int allowed, refused;		/* addresses that were tried or turned down */
	struct buf in, out;		/* the answer's body; what is uploaded */
	size_t out_done, in_max;
	bool too_large;
	int64_t started;		/* mono_us() */
	net_done *done;
	void *arg;
	char error[CURL_ERROR_SIZE];
};

#define TRANSFER_SET(t, option, value) do { \
	CURLcode code_ = curl_easy_setopt((t)->easy, (option), (value)); \
	if ((t)->setup == CURLE_OK) \
		(t)->setup = code_; \
} while (0)

struct transfer_options {
	const struct netset *allow;
	const char *schemes;		/* for curl: "http,https" */
	int connect_timeout_ms, timeout_ms;
	size_t in_max;
	net_done *done;
	void *arg;
};

/* Takes over url (a parsed URL), also on failure. ERR_BUSY when the pool is full. */
enum err transfer_new(struct http_pool *p, CURLU *url, const struct transfer_options *o, struct transfer **out,
		      struct error *e) MUST_CHECK;
/* Hand it to curl. On failure it is freed and its callback is not called. */
enum err transfer_start(struct transfer *t, uint64_t *id, struct error *e) MUST_CHECK;
void transfer_free(struct transfer *t);
/* Add a line to a list; out of memory is remembered as a failed option. */
void transfer_append(struct transfer *t, struct curl_slist **list, const char *line);

/* Parse text strictly; schemes is a NULL-terminated list. NULL and a public message when it is not one. */
CURLU *url_parse(const char *text, const char *const *schemes, struct error *e);

#endif
