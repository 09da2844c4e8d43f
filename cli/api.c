// SPDX-License-Identifier: MIT
#include "api.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "jsonx.h"
#include "lib/base/id.h"

#define TRIES	   4
#define WAIT_MOST  10.0 /* a longer Retry-After is the caller's to hear about */
#define ANSWER_MAX ((size_t)256 << 20)

static const char *idempotency_key;

static void answer_init(struct answer *a)
{
	*a = (struct answer){0};
	buf_init(&a->text);
}

void answer_release(struct answer *a)
{
	json_object_put(a->body);
	buf_release(&a->text);
	*a = (struct answer){0};
}

struct json_object *answer_data(const struct answer *a)
{
	return jx_get(a->body, "data");
}

char *url_escape(const char *text)
{
	struct buf b;

	buf_init(&b);
	for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
		if (isalnum(*p) || strchr("-._~:", *p))
			buf_addc(&b, (char)*p);
		else
			buf_addf(&b, "%%%02X", *p);
	}
	return b.p;
}

char *http_url(const struct session *s, const char *path)
{
	if (!strncmp(path, "//", 2))
		return xasprintf("%s%s", s->url, path + 1);
	return xasprintf("%s" API_PREFIX "%s", s->url, path);
}

double http_retry_after(const char *line, size_t len)
{
	static const char name[] = "retry-after:";
	char value[32];

	if (len < sizeof(name) || strncasecmp(line, name, sizeof(name) - 1))
		return 0;
	snprintf(value, sizeof(value), "%.*s", (int)(len - sizeof(name) + 1), line + sizeof(name) - 1);
	return strtod(value, NULL);
}

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
	struct answer *a = arg;
	long status = 0;

	if (a->sink)
		curl_easy_getinfo(a->easy, CURLINFO_RESPONSE_CODE, &status);
	if (status >= 200 && status < 300) {
		a->sunk = true;
		return fwrite(data, size, n, a->sink) * size;
	}
	if (a->text.n + size * n > ANSWER_MAX)
		return 0;
	buf_add(&a->text, data, size * n);
	return size * n;
}

static size_t on_header(char *line, size_t size, size_t n, void *arg)
{
	struct answer *a = arg;
	double s = http_retry_after(line, size * n);

	if (s > 0)
		a->retry_after = s;
	return size * n;
}

void http_prepare(CURL *easy, const struct session *s, const char *method, const char *path, const char *body,
		  double timeout)
{
	char *url = http_url(s, path);

	curl_easy_setopt(easy, CURLOPT_URL, url); /* copied by curl */
	free(url);
	curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method);
	if (body) {
		curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)strlen(body));
		curl_easy_setopt(easy, CURLOPT_COPYPOSTFIELDS, body);
	}
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L); /* credentials go to the panel, nowhere else */
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, 5000L);
	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)(timeout * 1000));
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "");
	curl_easy_setopt(easy, CURLOPT_USERAGENT, "mcpctl");
	if (s->cacert)
		curl_easy_setopt(easy, CURLOPT_CAINFO, s->cacert);
}

/* The header that says who asks, or NULL. */
static char *credentials(const struct session *s)
{
	if (s->api_key)
		return xasprintf("Authorization: ApiKey %s", s->api_key); /* the other header may have another name */
	if (s->access)
		return xasprintf("Authorization: Bearer %s", s->access);
	return NULL;
}

static struct curl_slist *add_header(struct curl_slist *list, const char *line)
{
	struct curl_slist *longer = curl_slist_append(list, line);

	if (!longer)
		die(EXIT_FAILED, "out of memory");
	return longer;
}

static struct curl_slist *make_headers(const struct session *s, const char *body, const char *key, bool anonymous)
{
	struct curl_slist *list = NULL;
	char *cred = anonymous ? NULL : credentials(s);
	char *idem = key ? xasprintf("Idempotency-Key: %s", key) : NULL;

	list = add_header(list, "Accept: application/json");
	list = add_header(list, "Expect:");
	if (body)
		list = add_header(list, "Content-Type: application/json");
	if (idem)
		list = add_header(list, idem);
	if (cred)
		list = add_header(list, cred);
	free(idem);
	free_secret(cred);
	return list;
}

/* One try; fills a. */
static void perform(struct cli *cli, const char *method, const char *path, const char *body, const char *key,
		    bool anonymous, struct answer *a)
{
	static CURL *easy; /* one for the whole run: it keeps the connection */
	struct curl_slist *headers = make_headers(&cli->session, body, key, anonymous);
	double start = mono_now();

	json_object_put(a->body);
	buf_reset(&a->text);
	a->body = NULL;
	a->status = 0;
	a->retry_after = 0;
	a->error[0] = '\0';
	if (!easy)
		easy = curl_easy_init();
	if (!easy)
		die(EXIT_FAILED, "cannot start the HTTP client");
	curl_easy_reset(easy);
	http_prepare(easy, &cli->session, method, path, body, a->sink ? 0 : cli->timeout);
	if (a->sink) {
		curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
		curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, (long)cli->timeout + 1);
	}
	a->easy = easy;
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, a->error);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, a);
	curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(easy, CURLOPT_HEADERDATA, a);
	a->code = curl_easy_perform(easy);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, NULL); /* a does not live as long as the handle */
	curl_slist_free_all(headers);
	if (a->code == CURLE_OK) {
		curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &a->status);
		a->body = jx_parse(a->text.p, a->text.n);
	} else if (!a->error[0]) {
		snprintf(a->error, sizeof(a->error), "%s", curl_easy_strerror(a->code));
	}
	if (cli->verbose)
		warn("%s %s -> %ld %s (%zu bytes, %.0f ms)", method, path, a->status, a->error, a->text.n,
		     (mono_now() - start) * 1000);
}

/* Whether the same request, sent again, may well succeed. */
static bool worth_repeating(const struct answer *a)
{
	if (a->sunk)
		return false;
	if (a->status == 429 || a->status == 503)
		return a->retry_after <= WAIT_MOST;
	if (a->status)
		return a->status == 502 || a->status == 504;
	return a->code == CURLE_GOT_NOTHING || a->code == CURLE_RECV_ERROR || a->code == CURLE_SEND_ERROR ||
	       a->code == CURLE_PARTIAL_FILE || a->code == CURLE_OPERATION_TIMEDOUT;
}

static void pause_before(int attempt, double asked)
{
	double s = 0.2 * (1 << attempt) * (0.5 + jitter());
	struct timespec ts;

	if (asked > s)
		s = asked;
	ts.tv_sec = (time_t)s;
	ts.tv_nsec = (long)((s - (double)ts.tv_sec) * 1e9);
	nanosleep(&ts, NULL);
}

void api_idempotency_key(const char *key)
{
	idempotency_key = key;
}

bool api_once(struct cli *cli, const char *method, const char *path, struct json_object *body, struct answer *a)
{
	answer_init(a);
	perform(cli, method, path, body ? jx_text(body) : NULL, NULL, true, a);
	return a->status >= 200 && a->status < 300;
}

static bool try_all(struct cli *cli, const char *method, const char *path, struct json_object *body, struct answer *a)
{
	bool post = !strcmp(method, "POST"), renewed = false;
	const char *text = body ? jx_text(body) : post ? "{}" : NULL;
	char key[ID_TEXT];

	id_new(key);
	a->login = session_ready(cli);
	if (a->login != EXIT_OK)
		return false;
	for (int attempt = 0;; attempt++) {
		perform(cli, method, path, text, post ? (idempotency_key ? idempotency_key : key) : NULL, false,
			a);
		if (a->status >= 200 && a->status < 300)
			return true;
		if (a->status == 401 && !renewed) {
			renewed = true;
			if (session_renew(cli) == EXIT_OK)
				continue;
			return false;
		}
		if (attempt + 1 >= TRIES || !worth_repeating(a))
			return false;
		pause_before(attempt, a->retry_after);
	}
}

bool api_try(struct cli *cli, const char *method, const char *path, struct json_object *body, struct answer *a)
{
	answer_init(a);
	return try_all(cli, method, path, body, a);
}

int api_stream(struct cli *cli, const char *path, FILE *to)
{
	struct answer a;
	int rc = EXIT_OK;

	answer_init(&a);
	a.sink = to;
	/* an answer that breaks off in the middle is not one, whatever its status */
	if (!try_all(cli, "GET", path, NULL, &a) || a.code != CURLE_OK) {
		answer_complain(cli, &a);
		rc = a.code == CURLE_OK ? answer_exit(&a) : EXIT_UNREACHABLE;
	}
	answer_release(&a);
	return rc;
}

int api_call(struct cli *cli, const char *method, const char *path, struct json_object *body, struct answer *a)
{
	if (api_try(cli, method, path, body, a))
		return EXIT_OK;
	answer_complain(cli, a);
	return answer_exit(a);
}
