// SPDX-License-Identifier: MIT
/* lib/net with a network: the pool against real servers on this machine (peer.c), well and badly behaved. */
#include <CUnit/Basic.h>
#include <pthread.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/net/http.h"
#include "lib/net/sign.h"
#include "lib/net/smtp.h"
#include "peer.h"

void suite_http(void);

static struct arena arena;
static struct error error;
static struct peer *web;
static struct http_pool *pool;
static struct netset local, public_only;

static struct http_pool *new_pool(int max, const char *ca)
{
	struct http_pool_options o = { .max_in_flight = max, .user_agent = "mcp-test/1", .ca_file = ca };
	struct http_pool *p = NULL;

	CU_ASSERT_EQUAL_FATAL(http_pool_new(&o, &p, &error), OK);
	return p;
}

static int setup(void)
{
	arena_init(&arena);
	error_init(&error, &arena);
	web = peer_start(PEER_HTTP);
	struct http_pool_options o = { .max_in_flight = 32, .user_agent = "mcp-test/1" };

	if (!web || http_pool_new(&o, &pool, &error) != OK || netset_parse("loopback", &local, &error) != OK ||
	    netset_parse("public", &public_only, &error) != OK)
		return 1;
	return 0;
}

static int teardown(void)
{
	http_pool_free(pool);
	peer_stop(web);
	arena_release(&arena);
	return 0;
}

/* What a callback saw, copied. */
struct seen {
	int calls;
	enum net_outcome outcome;
	int status;
	size_t body_len;
	int64_t retry_after_s, took_us;
	const char *body, *type, *reason;
};

static void on_done(void *arg, const struct net_result *r)
{
	struct seen *s = arg;

	s->calls++;
	s->outcome = r->outcome;
	s->status = r->status;
	s->body_len = r->body_len;
	s->retry_after_s = r->retry_after_s;
	s->took_us = r->took_us;
	s->body = arena_strndup(&arena, r->body, r->body_len);
	s->type = arena_strdup(&arena, r->content_type);
	s->reason = arena_strdup(&arena, r->reason);
}

/* Poll until the call came back; at most ten seconds. */
static void run(struct http_pool *p, const struct seen *s)
{
	int64_t end = mono_us() + 10000000;

	while (!s->calls && mono_us() < end)
		http_poll(p, 100);
	CU_ASSERT_EQUAL(s->calls, 1);
}

static const char *url(const struct peer *p, const char *scheme, const char *host, const char *path)
{
	return arena_printf(&arena, "%s://%s:%d%s", scheme, host, peer_port(p), path);
}

static struct seen call(struct http_request r)
{
	struct seen s = { 0 };

	if (!r.timeout_ms)
		r.timeout_ms = 5000;
	CU_ASSERT_EQUAL_FATAL(http_submit(pool, &r, on_done, &s, NULL, &error), OK);
	run(pool, &s);
	return s;
}

static struct seen get(const char *path)
{
	return call((struct http_request){ .url = url(web, "http", "127.0.0.1", path), .allow = &local });
}

static void test_get(void)
{
	struct seen s = get("/ok?x=1");

	CU_ASSERT_EQUAL(s.outcome, NET_OK);
	CU_ASSERT_EQUAL(s.status, 200);
	CU_ASSERT_STRING_EQUAL(s.type, "text/plain");
	CU_ASSERT(!strncmp(s.body, "GET /ok?x=1 HTTP/1.1\r\n", 22));
	CU_ASSERT_PTR_NOT_NULL(strstr(s.body, "\r\nUser-Agent: mcp-test/1\r\n"));
	CU_ASSERT(s.took_us > 0);
	CU_ASSERT_EQUAL(http_in_flight(pool), 0);
}

static void test_post(void)
{
	static const char body[] = "{\"task\":\"\0x\"}";
	char signature[SIGNATURE_TEXT];
	struct http_header headers[] = { { SIGNATURE_HEADER, signature }, { "X-Empty", "" } };

	sign_message("secret", 1767225600, body, sizeof(body) - 1, signature);
	struct seen s = call((struct http_request){
		.url = url(web, "http", "127.0.0.1", "/ok"), .allow = &local, .body = body, .body_len = sizeof(body) - 1,
		.headers = headers, .n_headers = 2, .request_id = "req-7",
	});

	CU_ASSERT_EQUAL_FATAL(s.outcome, NET_OK);
	CU_ASSERT(!strncmp(s.body, "POST /ok ", 9));
	CU_ASSERT_PTR_NOT_NULL(strstr(s.body, "\r\nContent-Type: application/json\r\n"));
	CU_ASSERT_PTR_NOT_NULL(strstr(s.body, "\r\nX-Request-ID: req-7\r\n"));
	CU_ASSERT_PTR_NOT_NULL(strstr(s.body, signature));
	CU_ASSERT_PTR_NOT_NULL(strstr(s.body, "\r\nX-Empty:\r\n"));
	CU_ASSERT_PTR_NULL(strstr(s.body, "Expect"));
	CU_ASSERT(s.body_len > sizeof(body) && !memcmp(s.body + s.body_len - (sizeof(body) - 1), body, sizeof(body) - 1));
	s = call((struct http_request){ .url = url(web, "http", "127.0.0.1", "/ok"), .allow = &local, .method = "POST" });
	CU_ASSERT_PTR_NOT_NULL(strstr(s.body, "\r\nContent-Length: 0\r\n"));
	s = call((struct http_request){ .url = url(web, "http", "127.0.0.1", "/ok"), .allow = &local, .method = "PUT",
					.body = "x", .body_len = 1, .content_type = "text/plain" });
	CU_ASSERT(!strncmp(s.body, "PUT /ok ", 8));
}

static void test_statuses(void)
{
	static const int status[] = { 200, 202, 204, 299, 300, 304, 400, 401, 404, 409, 429, 500, 503 };

	for (size_t i = 0; i < sizeof(status) / sizeof(status[0]); i++) {
		struct seen s = get(arena_printf(&arena, "/status/%d", status[i]));

		CU_ASSERT_EQUAL(s.status, status[i]);
		CU_ASSERT_EQUAL(s.outcome, status[i] < 300 ? NET_OK : NET_EXTERNAL);
		CU_ASSERT(status[i] == 204 || status[i] == 304 || !strcmp(s.body, "body"));
	}
	CU_ASSERT_EQUAL(get("/retry").retry_after_s, 7);
}

static void test_no_redirects(void)
{
	struct seen s = get("/redirect");

	CU_ASSERT_EQUAL(s.outcome, NET_EXTERNAL);
	CU_ASSERT_EQUAL(s.status, 302);
	CU_ASSERT_EQUAL(s.body_len, 0);
}

static void test_bad_servers(void)
{
	static const struct { const char *path; enum net_outcome outcome; } cases[] = {
		{ "/garbage", NET_EXTERNAL }, { "/hangup", NET_NETWORK }, { "/lie", NET_NETWORK },
		{ "/big", NET_EXTERNAL }, { "/endless", NET_EXTERNAL }, { "/silent", NET_TIMEOUT }, { "/drip", NET_TIMEOUT },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct seen s = call((struct http_request){
			.url = url(web, "http", "127.0.0.1", cases[i].path), .allow = &local, .timeout_ms = 400,
		});

		if (s.outcome != cases[i].outcome)
			printf("\n  %s: %s, %s\n", cases[i].path, net_outcome_name(s.outcome), s.reason);
		CU_ASSERT_EQUAL(s.outcome, cases[i].outcome);
		CU_ASSERT(s.reason[0] != '\0');
		CU_ASSERT(s.took_us < 3000000);
	}
}

static void test_size_limit(void)
{
	struct http_request r = {
		.url = url(web, "http", "127.0.0.1", "/big"), .allow = &local, .max_response = 4 * 1024 * 1024,
	};

	CU_ASSERT_EQUAL(call(r).body_len, 3 * 1024 * 1024);
	r.url = url(web, "http", "127.0.0.1", "/endless");
	r.max_response = 1000;
	struct seen s = call(r);

	CU_ASSERT(s.body_len <= 1000);
	CU_ASSERT_STRING_EQUAL(s.reason, "the answer is larger than allowed");
}

static void test_no_listener(void)
{
	struct peer *gone = peer_start(PEER_HTTP);
	const char *there = url(gone, "http", "127.0.0.1", "/ok");

	peer_stop(gone);
	CU_ASSERT_EQUAL(call((struct http_request){ .url = there, .allow = &local }).outcome, NET_NETWORK);
	/* Where no name server answers at all, the time runs out instead. */
	struct seen s = call((struct http_request){ .url = "http://no-such-name.invalid/", .allow = &local });

	CU_ASSERT(s.outcome == NET_NETWORK || s.outcome == NET_TIMEOUT);
}

/* Names and spellings of this machine, under a rule that allows only public addresses, and under none. */
static void test_refused(void)
{
	static const char *const hosts[] = { "127.0.0.1", "localhost", "x.localhost", "0x7f.1", "2130706433", "[::1]",
					     "[::ffff:127.0.0.1]", "0.0.0.0", "169.254.169.254" };
	int before = peer_connections(web);

	for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
		const char *there = url(web, "http", hosts[i], "/ok");

		CU_ASSERT_EQUAL(call((struct http_request){ .url = there, .allow = &public_only }).outcome, NET_REFUSED);
		CU_ASSERT_EQUAL(call((struct http_request){ .url = there }).outcome, NET_REFUSED);
	}
	CU_ASSERT_EQUAL(call((struct http_request){ .url = url(web, "http", "169.254.169.254", "/"),
						    .allow = &netset_any }).outcome, NET_REFUSED);
	CU_ASSERT_EQUAL(peer_connections(web), before);
}

/* A connection kept open for a call that was allowed must not carry one that is not. */
static void test_refused_on_kept_connection(void)
{
	struct http_request r = { .url = url(web, "http", "localhost", "/ok"), .allow = &local };

	CU_ASSERT_EQUAL(call(r).outcome, NET_OK);
	int before = peer_connections(web);

	CU_ASSERT_EQUAL(call(r).outcome, NET_OK);
	CU_ASSERT_EQUAL(peer_connections(web), before);	/* it is kept */
	char *request = peer_seen(web);

	r.allow = &public_only;
	r.url = url(web, "http", "localhost", "/ok/not-this-one");
	CU_ASSERT_EQUAL(call(r).outcome, NET_REFUSED);
	char *still = peer_seen(web);

	CU_ASSERT_STRING_EQUAL(request, still);
	free(request);
	free(still);
}

static void test_environment_ignored(void)
{
	setenv("http_proxy", "http://127.0.0.1:9", 1);
	setenv("ALL_PROXY", "http://127.0.0.1:9", 1);
	CU_ASSERT_EQUAL(get("/ok").outcome, NET_OK);
	unsetenv("http_proxy");
	unsetenv("ALL_PROXY");
}

static void test_bad_requests(void)
{
	struct http_header bad_headers[] = {
		{ "X-A", "b\r\nX-Evil: 1" }, { "X-A\r\nX-Evil", "1" }, { "X A", "1" }, { "", "1" }, { "X-A:", "1" },
		{ "Host", "evil" }, { "content-length", "0" }, { "Transfer-Encoding", "chunked" }, { "X-A", "\x01" },
	};
	struct http_request r = { .url = url(web, "http", "127.0.0.1", "/ok"), .allow = &local, .n_headers = 1 };
	struct seen s = { 0 };

	for (size_t i = 0; i < sizeof(bad_headers) / sizeof(bad_headers[0]); i++) {
		r.headers = &bad_headers[i];
		CU_ASSERT_EQUAL(http_submit(pool, &r, on_done, &s, NULL, &error), ERR_VALIDATION);
	}
	r.n_headers = 0;
	r.request_id = "a\r\nb: c";
	CU_ASSERT_EQUAL(http_submit(pool, &r, on_done, &s, NULL, &error), ERR_VALIDATION);
	r.request_id = NULL;
	r.method = "GET / HTTP/1.1\r\nX: y";
	CU_ASSERT_EQUAL(http_submit(pool, &r, on_done, &s, NULL, &error), ERR_VALIDATION);
	r.method = NULL;
	r.url = "file:///etc/passwd";
	CU_ASSERT_EQUAL(http_submit(pool, &r, on_done, &s, NULL, &error), ERR_VALIDATION);
	CU_ASSERT_EQUAL(s.calls, 0);
	CU_ASSERT_EQUAL(http_in_flight(pool), 0);
}

static void test_many_at_once(void)
{
	struct seen s[33] = { 0 };
	struct http_request r = { .url = url(web, "http", "127.0.0.1", "/ok"), .allow = &local, .timeout_ms = 10000 };
	int done = 0;

	for (int i = 0; i < 32; i++)
		CU_ASSERT_EQUAL(http_submit(pool, &r, on_done, &s[i], NULL, &error), OK);
	CU_ASSERT_EQUAL(http_submit(pool, &r, on_done, &s[32], NULL, &error), ERR_BUSY);
	for (int64_t end = mono_us() + 10000000; done < 32 && mono_us() < end;)
		done += http_poll(pool, 100);
	CU_ASSERT_EQUAL(done, 32);
	for (int i = 0; i < 32; i++)
		CU_ASSERT(s[i].calls == 1 && s[i].outcome == NET_OK);
	CU_ASSERT_EQUAL(s[32].calls, 0);
}

static void test_cancel(void)
{
	struct http_pool *p = new_pool(8, NULL);
	struct http_request r = { .url = url(web, "http", "127.0.0.1", "/silent"), .allow = &local, .timeout_ms = 60000 };
	struct seen s[3] = { 0 };
	uint64_t id[3];

	for (int i = 0; i < 3; i++)
		CU_ASSERT_EQUAL_FATAL(http_submit(p, &r, on_done, &s[i], &id[i], &error), OK);
	http_poll(p, 50);
	http_cancel(p, id[1]);
	http_cancel(p, id[1]);
	http_cancel(p, 999);
	CU_ASSERT(s[1].calls == 1 && s[1].outcome == NET_CANCELLED && !s[0].calls && !s[2].calls);
	CU_ASSERT_EQUAL(http_in_flight(p), 2);
	http_pool_free(p);
	CU_ASSERT(s[0].calls == 1 && s[0].outcome == NET_CANCELLED && s[2].calls == 1);
	http_pool_free(NULL);
}

/* A callback that goes on with the next call, as the sender does. */
struct chain {
	struct http_pool *pool;
	struct http_request request;
	int left, ok;
};

static void on_link(void *arg, const struct net_result *r)
{
	struct chain *c = arg;

	c->ok += r->outcome == NET_OK;
	if (--c->left > 0)
		CU_ASSERT_EQUAL(http_submit(c->pool, &c->request, on_link, c, NULL, &error), OK);
}

static void test_chain(void)
{
	struct chain c = { .pool = pool, .left = 20 };

	c.request = (struct http_request){ .url = url(web, "http", "127.0.0.1", "/ok"), .allow = &local };
	CU_ASSERT_EQUAL_FATAL(http_submit(pool, &c.request, on_link, &c, NULL, &error), OK);
	for (int64_t end = mono_us() + 10000000; c.left > 0 && mono_us() < end;)
		http_poll(pool, 100);
	CU_ASSERT_EQUAL(c.ok, 20);
}

static void *wake_later(void *arg)
{
	usleep(50000);
	http_wake(arg);
	return NULL;
}

static void test_wake(void)
{
	pthread_t thread;
	int64_t start = mono_us();

	pthread_create(&thread, NULL, wake_later, pool);
	http_poll(pool, 5000);
	pthread_join(thread, NULL);
	CU_ASSERT(mono_us() - start < 4000000);
}

static void test_tls(void)
{
	struct peer *secure = peer_start(PEER_HTTPS);

	CU_ASSERT_PTR_NOT_NULL_FATAL(secure);
	const char *there = url(secure, "https", "127.0.0.1", "/ok");
	struct http_pool *trusting = new_pool(4, peer_ca(secure));
	struct http_request r = { .url = there, .allow = &local, .timeout_ms = 5000 };
	struct seen s = { 0 };

	/* The system's authorities do not know this certificate. */
	CU_ASSERT_EQUAL(call((struct http_request){ .url = there, .allow = &local }).outcome, NET_NETWORK);
	CU_ASSERT_EQUAL(http_submit(trusting, &r, on_done, &s, NULL, &error), OK);
	run(trusting, &s);
	CU_ASSERT_EQUAL(s.outcome, NET_OK);
	/* Trusted, but for another name. */
	s = (struct seen){ 0 };
	r.url = url(secure, "https", "x.localhost", "/ok");
	CU_ASSERT_EQUAL(http_submit(trusting, &r, on_done, &s, NULL, &error), OK);
	run(trusting, &s);
	CU_ASSERT_EQUAL(s.outcome, NET_NETWORK);
	http_pool_free(trusting);
	peer_stop(secure);
}

/* --- mail ---------------------------------------------------------------------------------------------- */

static struct seen send_mail(struct http_pool *p, const struct smtp_server *server, const char *to, const char *text)
{
	struct mail m = { .to = &to, .n_to = 1, .subject = "Prüfung", .text = text };
	struct seen s = { 0 };

	CU_ASSERT_EQUAL_FATAL(mail_submit(p, server, &m, on_done, &s, NULL, &error), OK);
	run(p, &s);
	return s;
}

static void test_mail(void)
{
	struct peer *post = peer_start(PEER_SMTP);

	CU_ASSERT_PTR_NOT_NULL_FATAL(post);
	struct smtp_server server = { .url = url(post, "smtp", "127.0.0.1", ""), .from = "Panel <panel@example.org>" };
	struct seen s = send_mail(pool, &server, "one@example.org", "first\n.\n..second\n");
	char *got = peer_seen(post);

	CU_ASSERT_EQUAL(s.outcome, NET_OK);
	CU_ASSERT_EQUAL(s.status, 250);
	CU_ASSERT_PTR_NOT_NULL(strstr(got, "C:MAIL FROM:<panel@example.org>"));
	CU_ASSERT_PTR_NOT_NULL(strstr(got, "C:RCPT TO:<one@example.org>\r\n"));
	CU_ASSERT_PTR_NOT_NULL(strstr(got, "C:Subject: =?UTF-8?B?UHLDvGZ1bmc=?=\r\n"));
	/* Dots at the start of a line are doubled, so the text did not end the message. */
	CU_ASSERT_PTR_NOT_NULL(strstr(got, "C:first\r\nC:..\r\nC:...second\r\n"));
	free(got);
	s = send_mail(pool, &server, "refuse@example.org", "text");
	CU_ASSERT(s.outcome == NET_EXTERNAL && s.status == 550);
	s = send_mail(pool, &server, "later@example.org", "text");
	CU_ASSERT(s.outcome == NET_EXTERNAL && s.status == 451);
	peer_stop(post);
	CU_ASSERT_EQUAL(send_mail(pool, &server, "one@example.org", "text").outcome, NET_NETWORK);
}

static void test_mail_tls(void)
{
	struct peer *post = peer_start(PEER_SMTP_STARTTLS);

	CU_ASSERT_PTR_NOT_NULL_FATAL(post);
	struct smtp_server server = {
		.url = url(post, "smtp", "127.0.0.1", ""), .from = "panel@example.org", .user = "me", .password = "geheim",
	};
	struct http_pool *trusting = new_pool(4, peer_ca(post));
	struct seen s = send_mail(trusting, &server, "one@example.org", "text");
	char *got = peer_seen(post);

	CU_ASSERT_EQUAL(s.outcome, NET_OK);
	CU_ASSERT_PTR_NOT_NULL(strstr(got, "C:STARTTLS"));
	CU_ASSERT_PTR_NOT_NULL(strstr(got, "S:AUTH"));
	CU_ASSERT_PTR_NULL(strstr(got, "C:AUTH"));
	CU_ASSERT_PTR_NOT_NULL(strstr(got, "S:RCPT TO:<one@example.org>"));
	CU_ASSERT_PTR_NULL(strstr(got, "C:RCPT"));
	free(got);
	/* Offered, with a certificate nobody vouches for: nothing is sent. */
	CU_ASSERT_EQUAL(send_mail(pool, &server, "one@example.org", "text").outcome, NET_NETWORK);
	http_pool_free(trusting);
	peer_stop(post);
}

/* No TLS at the other end: a password goes there only when it is this machine. */
static void test_mail_password(void)
{
	struct peer *post = peer_start(PEER_SMTP);

	CU_ASSERT_PTR_NOT_NULL_FATAL(post);
	struct smtp_server server = {
		.url = url(post, "smtp", "127.0.0.1", ""), .from = "panel@example.org", .user = "me", .password = "geheim",
	};

	CU_ASSERT_EQUAL(send_mail(pool, &server, "one@example.org", "text").outcome, NET_OK);
	char *got = peer_seen(post);

	CU_ASSERT_PTR_NOT_NULL(strstr(got, "C:AUTH"));
	free(got);
	server.url = url(post, "smtp", "elsewhere.localhost", "");
	CU_ASSERT_NOT_EQUAL(send_mail(pool, &server, "one@example.org", "text").outcome, NET_OK);
	got = peer_seen(post);
	CU_ASSERT_PTR_NULL(strstr(got, "C:AUTH"));
	free(got);
	peer_stop(post);
}

void suite_http(void)
{
	CU_pSuite s = CU_add_suite("http", setup, teardown);

	CU_add_test(s, "get", test_get);
	CU_add_test(s, "post", test_post);
	CU_add_test(s, "statuses", test_statuses);
	CU_add_test(s, "no redirects", test_no_redirects);
	CU_add_test(s, "badly behaved servers", test_bad_servers);
	CU_add_test(s, "size limit", test_size_limit);
	CU_add_test(s, "no listener", test_no_listener);
	CU_add_test(s, "refused addresses", test_refused);
	CU_add_test(s, "refused on a kept connection", test_refused_on_kept_connection);
	CU_add_test(s, "environment ignored", test_environment_ignored);
	CU_add_test(s, "bad requests", test_bad_requests);
	CU_add_test(s, "many at once", test_many_at_once);
	CU_add_test(s, "cancel", test_cancel);
	CU_add_test(s, "chain", test_chain);
	CU_add_test(s, "wake", test_wake);
	CU_add_test(s, "TLS", test_tls);
	CU_add_test(s, "mail", test_mail);
	CU_add_test(s, "mail with STARTTLS", test_mail_tls);
	CU_add_test(s, "mail with a password", test_mail_password);
}
