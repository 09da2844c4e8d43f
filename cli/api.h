// SPDX-License-Identifier: MIT
/*
 * Asking the panel something and waiting for the answer.
 *
 * Every request carries a request id, the session's credentials, and, when it
 * creates or starts something, an Idempotency-Key: so it can be repeated when
 * the answer got lost, and the thing is still done once.
 */
#ifndef CLI_API_H
#define CLI_API_H

#include <curl/curl.h>
#include <json-c/json.h>
#include <stdio.h>
#include "cli.h"
#include "util.h"

#define API_PREFIX "/api/v1"

struct answer {
	long status;		  /* HTTP status; 0: no answer came */
	struct json_object *body; /* the envelope, NULL when the answer was not JSON */
	struct buf text;	  /* the answer as it came */
	double retry_after;	  /* seconds the panel asks to wait; 0: nothing said */
	CURLcode code;		  /* why no answer came */
	FILE *sink;		  /* where a good body goes instead of text; NULL: nowhere else */
	bool sunk;		  /* some of it went there */
	CURL *easy;		  /* the transfer under way */
	int login;		  /* exit status of a login that failed before; it has been complained about */
	char error[CURL_ERROR_SIZE];
};

void answer_release(struct answer *a);
/* "data" of a success envelope, owned by the answer; NULL when there is none. */
struct json_object *answer_data(const struct answer *a);

/*
 * One request to API_PREFIX + path (or to path itself when it starts with
 * "//", without one slash: "//health"). body may be NULL and stays the
 * caller's. Answers with any status fill `a` (release it in every case).
 * Returns true when the panel answered 2xx.
 */
bool api_try(struct cli *cli, const char *method, const char *path, struct json_object *body, struct answer *a);
/* The same without credentials, and once only: for logging in. */
bool api_once(struct cli *cli, const char *method, const char *path, struct json_object *body, struct answer *a);
/* As api_try, but says on stderr what went wrong; returns an exit status. */
int api_call(struct cli *cli, const char *method, const char *path, struct json_object *body, struct answer *a);
/*
 * As api_call for a GET whose answer may be of any size: a 2xx body goes to
 * `to` as it comes, and the time limit is on silence, not on the whole.
 */
int api_stream(struct cli *cli, const char *path, FILE *to);
/* The Idempotency-Key of the next POST, instead of one made up; NULL unsets. Not copied. */
void api_idempotency_key(const char *key);

/* Says on stderr why `a` is not a success: the panel's message, every bad field, and a hint. */
void answer_complain(struct cli *cli, const struct answer *a);
/* The exit status for an answer. */
int answer_exit(const struct answer *a);

/* What every request here sets: address, method, body, timeouts, protocols, certificates. */
void http_prepare(CURL *easy, const struct session *s, const char *method, const char *path, const char *body,
		  double timeout);
/* The full address of a path, for the caller to free. */
char *http_url(const struct session *s, const char *path);
/* text with what may not stand in a path segment or query value escaped; the caller frees. */
char *url_escape(const char *text);
/* Seconds of a Retry-After header line; 0 when `line` is another header. */
double http_retry_after(const char *line, size_t len);

#endif
