// SPDX-License-Identifier: MIT
/* lib/net without a network: kinds of addresses, network lists, signatures, URLs, mail messages. */
#include <CUnit/Basic.h>
#include <arpa/inet.h>
#include <netinet/in.h>

#include "lib/base/clock.h"
#include "lib/base/utf8.h"
#include "lib/net/http.h"
#include "lib/net/netmatch.h"
#include "lib/net/sign.h"
#include "lib/net/smtp.h"

void suite_net(void);

static struct arena arena;
static struct error error;

static int setup(void)
{
	arena_init(&arena);
	error_init(&error, &arena);
	return 0;
}

static int teardown(void)
{
	arena_release(&arena);
	return 0;
}

/* --- addresses ---------------------------------------------------------------------------------------- */

static void test_classes(void)
{
	static const struct { const char *text; enum ip_class class; } cases[] = {
		{ "127.0.0.1", IP_LOOPBACK }, { "127.255.255.254", IP_LOOPBACK }, { "::1", IP_LOOPBACK },
		{ "::ffff:127.0.0.1", IP_LOOPBACK }, { "64:ff9b::7f00:1", IP_LOOPBACK },
		{ "10.1.2.3", IP_PRIVATE }, { "172.16.0.1", IP_PRIVATE }, { "172.31.255.255", IP_PRIVATE },
		{ "192.168.1.1", IP_PRIVATE }, { "100.64.0.1", IP_PRIVATE }, { "fd12:3456::1", IP_PRIVATE },
		{ "fc00::1", IP_PRIVATE }, { "::ffff:10.0.0.1", IP_PRIVATE },
		{ "8.8.8.8", IP_PUBLIC }, { "172.32.0.1", IP_PUBLIC }, { "172.15.255.255", IP_PUBLIC },
		{ "100.128.0.1", IP_PUBLIC }, { "2606:4700::1111", IP_PUBLIC }, { "11.0.0.0", IP_PUBLIC },
		{ "64:ff9b::808:808", IP_PUBLIC },
		{ "169.254.169.254", IP_FORBIDDEN }, { "169.254.0.1", IP_FORBIDDEN },
		{ "::ffff:169.254.169.254", IP_FORBIDDEN }, { "64:ff9b::a9fe:a9fe", IP_FORBIDDEN },
		{ "fe80::1", IP_FORBIDDEN }, { "febf::1", IP_FORBIDDEN }, { "fd00:ec2::254", IP_FORBIDDEN },
		{ "fd20:ce::254", IP_FORBIDDEN }, { "100.100.100.200", IP_FORBIDDEN }, { "168.63.129.16", IP_FORBIDDEN },
		{ "192.0.0.192", IP_FORBIDDEN }, { "0.0.0.0", IP_FORBIDDEN }, { "0.1.2.3", IP_FORBIDDEN },
		{ "::", IP_FORBIDDEN }, { "224.0.0.1", IP_FORBIDDEN }, { "255.255.255.255", IP_FORBIDDEN },
		{ "240.0.0.1", IP_FORBIDDEN }, { "ff02::1", IP_FORBIDDEN },
		{ "192.0.2.1", IP_SPECIAL }, { "198.18.0.1", IP_SPECIAL }, { "203.0.113.9", IP_SPECIAL },
		{ "2001:db8::1", IP_SPECIAL }, { "2001::1", IP_SPECIAL }, { "2002:a9fe:a9fe::1", IP_SPECIAL },
		{ "::127.0.0.1", IP_SPECIAL }, { "fec0::1", IP_SPECIAL }, { "4000::1", IP_SPECIAL },
		{ "64:ff9b:1::1", IP_SPECIAL },
	};
	struct ip ip;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		CU_ASSERT_FATAL(ip_parse(cases[i].text, &ip));
		if (ip_classify(&ip) != cases[i].class)
			printf("\n  %s is of class %d\n", cases[i].text, ip_classify(&ip));
		CU_ASSERT_EQUAL(ip_classify(&ip), cases[i].class);
		CU_ASSERT_FALSE(netset_allows(&netset_any, &ip) != (cases[i].class != IP_FORBIDDEN));
	}
}

static void test_ip_texts(void)
{
	static const char *const bad[] = {
		"", "1", "127.1", "0x7f.0.0.1", "0177.0.0.1", "2130706433", "127.0.0.1.", "127.0.0.1/8", "[::1]", "::g",
		"fe80::1%eth0", "1.2.3.256", " 1.2.3.4",
	};
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(0x0a000001) };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 };
	struct sockaddr other = { .sa_family = AF_UNIX };
	struct ip ip;
	char text[IP_TEXT];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CU_ASSERT_FALSE(ip_parse(bad[i], &ip));
	CU_ASSERT(ip_from_sockaddr((struct sockaddr *)&v4, &ip));
	ip_format(&ip, text);
	CU_ASSERT_STRING_EQUAL(text, "10.0.0.1");
	CU_ASSERT_EQUAL(inet_pton(AF_INET6, "2606:4700::1", &v6.sin6_addr), 1);
	CU_ASSERT(ip_from_sockaddr((struct sockaddr *)&v6, &ip));
	ip_format(&ip, text);
	CU_ASSERT_STRING_EQUAL(text, "2606:4700::1");
	CU_ASSERT_FALSE(ip_from_sockaddr(&other, &ip));
}

static bool allows(const char *set, const char *address)
{
	struct netset s;
	struct ip ip;

	CU_ASSERT_EQUAL_FATAL(netset_parse(set, &s, &error), OK);
	CU_ASSERT_FATAL(ip_parse(address, &ip));
	return netset_allows(&s, &ip);
}

static void test_netsets(void)
{
	CU_ASSERT(allows("loopback private", "127.0.0.1"));
	CU_ASSERT(allows("loopback,private", "::1"));
	CU_ASSERT(allows(" loopback ,\tprivate,", "10.9.8.7"));
	CU_ASSERT_FALSE(allows("loopback private", "8.8.8.8"));
	CU_ASSERT_FALSE(allows("public", "10.0.0.1"));
	CU_ASSERT_FALSE(allows("public", "127.0.0.1"));
	CU_ASSERT_FALSE(allows("", "127.0.0.1"));
	CU_ASSERT(allows("10.0.0.0/8", "10.255.0.1"));
	CU_ASSERT(allows("10.0.0.0/8", "::ffff:10.255.0.1"));
	CU_ASSERT_FALSE(allows("10.0.0.0/8", "11.0.0.1"));
	CU_ASSERT(allows("192.0.2.128/25", "192.0.2.129"));
	CU_ASSERT_FALSE(allows("192.0.2.128/25", "192.0.2.127"));
	CU_ASSERT(allows("192.0.2.7", "192.0.2.7"));
	CU_ASSERT_FALSE(allows("192.0.2.7", "192.0.2.6"));
	CU_ASSERT(allows("2001:db8::/33", "2001:db8:7fff::1"));
	CU_ASSERT_FALSE(allows("2001:db8::/33", "2001:db8:8000::1"));
	CU_ASSERT(allows("0.0.0.0/0", "8.8.8.8"));
	CU_ASSERT_FALSE(allows("0.0.0.0/0", "2606:4700::1"));
	/* Whatever is configured. */
	CU_ASSERT_FALSE(allows("169.254.0.0/16 0.0.0.0/0 ::/0 loopback private public", "169.254.169.254"));
	CU_ASSERT_FALSE(allows("fe80::/10", "fe80::1"));
	CU_ASSERT_FALSE(allows("private", "fd00:ec2::254"));
	CU_ASSERT_FALSE(allows("private", "100.100.100.200"));
}

static void test_netset_errors(void)
{
	static const char *const bad[] = {
		"localhost", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/-1", "10.0.0.0/8x", "10.0.0.1/8", "::/129", "Public",
		"10.0.0.0 / 8", "2001:db8::1/64", "10.0.0/8", "10.0.0.0/ 8",
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
	};
	struct netset s;
	struct buf many;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		error.message[0] = '\0';
		CU_ASSERT_EQUAL(netset_parse(bad[i], &s, &error), ERR_VALIDATION);
		CU_ASSERT(error.message[0] == '"');
	}
	buf_init(&many);
	for (int i = 0; i <= NETSET_MAX; i++) {
		CU_ASSERT_EQUAL(netset_parse(many.p, &s, &error), OK);
		buf_addf(&many, "10.0.0.%d ", i);
	}
	CU_ASSERT_EQUAL(netset_parse(many.p, &s, &error), ERR_VALIDATION);
	buf_release(&many);
}

/* --- signatures ------------------------------------------------------------------------------------- */

#define WEBHOOK_SECRET "a webhook secret of enough bytes"

static void test_sign(void)
{
	static const char body[] = "{\"event\":\"task.completed\"}";
	size_t n = sizeof(body) - 1;
	int64_t t = 1767225600;
	char header[SIGNATURE_TEXT];
	char two[3 * SIGNATURE_TEXT];

	sign_message(WEBHOOK_SECRET, t, body, n, header);
	CU_ASSERT_STRING_EQUAL(header,
			       "t=1767225600,v1=fb3a069c683f74088a796b407392552d77028b7680f35805c7354f4aeff851f7");
	CU_ASSERT(sign_verify(WEBHOOK_SECRET, header, body, n, t, 300));
	CU_ASSERT(sign_verify(WEBHOOK_SECRET, header, body, n, t + 300, 300));
	CU_ASSERT_FALSE(sign_verify(WEBHOOK_SECRET, header, body, n, t + 301, 300));
	CU_ASSERT_FALSE(sign_verify(WEBHOOK_SECRET, header, body, n, t - 301, 300));
	CU_ASSERT_FALSE(sign_verify(WEBHOOK_SECRET, header, body, n - 1, t, 300));
	CU_ASSERT_FALSE(sign_verify("another secret", header, body, n, t, 300));
	snprintf(two, sizeof(two), "t=1767225600,v0=00,v1=%064d,%s", 0, strchr(header, ',') + 1);
	CU_ASSERT(sign_verify(WEBHOOK_SECRET, two, body, n, t, 300));
	sign_message(WEBHOOK_SECRET, t, NULL, 0, header);
	CU_ASSERT(sign_verify(WEBHOOK_SECRET, header, "", 0, t, 300));
	for (size_t i = 0; header[i]; i++) {
		header[i] ^= 1;
		CU_ASSERT_FALSE(sign_verify(WEBHOOK_SECRET, header, "", 0, t, 300));
		header[i] ^= 1;
	}
}

static void test_sign_hostile(void)
{
	static const char *const bad[] = {
		"", ",", "t=", "t=1767225600", "t=1767225600,", "t=1767225600,v1=", "v1=00,t=1767225600", "t=-1,v1=00",
		"t=99999999999999999999999999,v1=00", "t=1767225600 ,v1=00", "t=1767225600,v1=zz", ",,,,,,,",
	};
	char *big = arena_alloc(&arena, 100001);

	memset(big, ',', 100000);
	big[100000] = '\0';
	CU_ASSERT_FALSE(sign_verify(WEBHOOK_SECRET, big, "", 0, 1767225600, 300));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CU_ASSERT_FALSE(sign_verify(WEBHOOK_SECRET, bad[i], "", 0, 1767225600, 300));
}

/* --- URLs --------------------------------------------------------------------------------------------- */

static void test_urls(void)
{
	static const char *const good[] = {
		"http://example.org", "https://example.org:8443/a/b?c=d#e", "HTTP://127.0.0.1:1/", "http://[::1]:80/x",
		"http://xn--bcher-kva.example/%20",
	};
	static const char *const bad[] = {
		"", "example.org", "//example.org/", "/path", "ftp://example.org/", "file:///etc/passwd", "gopher://x/",
		"http:/example.org", "http:///example.org", "http://", "http:example.org", "http://u:p@example.org/",
		"http://u@example.org/", "http://example.org:99999/", "http://example.org:x/", "http://exa mple.org/",
		"http://example.org/\r\nX: y", "http://example.org\\@evil/", "http://example.org/\x7f", "javascript:alert(1)",
		"http://[::1/", "http://bücher.example/", "https:\\\\example.org", "dict://x/", "smtp://x/",
	};
	char *big = arena_alloc(&arena, 4001);

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		CU_ASSERT_EQUAL(http_url_check(good[i], NULL, &error), OK);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (http_url_check(bad[i], NULL, &error) != ERR_VALIDATION)
			printf("\n  accepted: %s\n", bad[i]);
		CU_ASSERT_EQUAL(http_url_check(bad[i], NULL, &error), ERR_VALIDATION);
	}
	CU_ASSERT_EQUAL(http_url_check(NULL, NULL, &error), ERR_VALIDATION);
	memset(big, 'a', 4000);
	big[4000] = '\0';
	memcpy(big, "http://", 7);
	CU_ASSERT_EQUAL(http_url_check(big, NULL, &error), ERR_VALIDATION);
}

static void test_url_addresses(void)
{
	struct netset agents;
	struct netset webhooks;

	CU_ASSERT_EQUAL_FATAL(netset_parse("loopback private", &agents, &error), OK);
	CU_ASSERT_EQUAL_FATAL(netset_parse("public", &webhooks, &error), OK);
	CU_ASSERT_EQUAL(http_url_check("http://127.0.0.1/", &agents, &error), OK);
	CU_ASSERT_EQUAL(http_url_check("http://[::1]/", &agents, &error), OK);
	CU_ASSERT_EQUAL(http_url_check("http://some.name/", &webhooks, &error), OK);
	CU_ASSERT_EQUAL(http_url_check("http://8.8.8.8/", &agents, &error), ERR_VALIDATION);
	CU_ASSERT_EQUAL(http_url_check("http://127.0.0.1/", &webhooks, &error), ERR_VALIDATION);
	CU_ASSERT_EQUAL(http_url_check("http://169.254.169.254/latest/meta-data/", &agents, &error), ERR_VALIDATION);
	/* Other spellings of 127.0.0.1. */
	CU_ASSERT_EQUAL(http_url_check("http://0x7f.1/", &webhooks, &error), ERR_VALIDATION);
	CU_ASSERT_EQUAL(http_url_check("http://2130706433/", &webhooks, &error), ERR_VALIDATION);
	CU_ASSERT_EQUAL(http_url_check("http://[::ffff:127.0.0.1]/", &webhooks, &error), ERR_VALIDATION);
}

/* --- mail --------------------------------------------------------------------------------------------- */

static void test_mail_addresses(void)
{
	static const char *const good[] = { "a@b", "first.last+tag@mail.example.org", "o'neill@ex-ample.org" };
	static const char *const bad[] = {
		"", "@", "a@", "@b", "a b@c", "a@b c", "a@b\r\nRCPT TO:<x@y>", "<a@b>", "a@b>", "\"a b\"@c", "a@-b", "a@b-",
		"a@b..c", ".a@b", "a.@b", "a..b@c", "a@b@c@", "a,b@c", "a@b,c", "a@[127.0.0.1]", "\xc3\xa4@b", "a@b\n", "a@b.",
	};
	char longer[300];

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		CU_ASSERT(mail_address_ok(good[i]));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CU_ASSERT_FALSE(mail_address_ok(bad[i]));
	CU_ASSERT_FALSE(mail_address_ok(NULL));
	memset(longer, 'a', sizeof(longer));
	memcpy(longer + sizeof(longer) - 3, "@b", 3);
	CU_ASSERT_FALSE(mail_address_ok(longer));
}

static const char *composed(const char *from, const char *subject, const char *text)
{
	const char *to[] = { "one@example.org", "two@example.org" };
	struct smtp_server server = { .from = from };
	struct mail mail = { .to = to, .n_to = 2, .subject = subject, .text = text };
	struct buf b;

	buf_init(&b);
	CU_ASSERT_EQUAL(mail_compose(&server, &mail, &b, &error), OK);
	const char *copy = arena_strndup(&arena, b.p, b.n);

	buf_release(&b);
	return copy;
}

/* What RFC 5322 asks of every line, and that there is no header but ours. */
static void check_lines(const char *message)
{
	static const char *const headers[] = {
		"Date: ", "From: ", "To: ", "Subject: ", "Message-ID: ", "MIME-Version: ", "Content-Type: ",
		"Content-Transfer-Encoding: ", "Auto-Submitted: ",
	};
	bool in_headers = true;
	size_t header = 0;

	for (const char *line = message; *line;) {
		const char *end = strstr(line, "\r\n");

		CU_ASSERT_PTR_NOT_NULL_FATAL(end);
		CU_ASSERT(end - line <= 78);
		CU_ASSERT_PTR_NULL(memchr(line, '\n', (size_t)(end - line)));
		CU_ASSERT_PTR_NULL(memchr(line, '\r', (size_t)(end - line)));
		for (const char *s = line; s < end; s++)
			CU_ASSERT((*s >= ' ' && *s < 0x7f) || *s == '\t');
		if (in_headers && end == line) {
			in_headers = false;
		} else if (in_headers && *line != ' ') {
			CU_ASSERT_FATAL(header < sizeof(headers) / sizeof(headers[0]));
			CU_ASSERT(!strncmp(line, headers[header], strlen(headers[header])));
			header++;
		}
		line = end + 2;
	}
	CU_ASSERT_EQUAL(header, sizeof(headers) / sizeof(headers[0]));
}

static void test_mail_plain(void)
{
	const char *m = composed("panel@example.org", "Run finished", "All six stages are done.\nNo errors.");

	check_lines(m);
	CU_ASSERT_PTR_NOT_NULL(strstr(m, "From: <panel@example.org>\r\n"));
	CU_ASSERT_PTR_NOT_NULL(strstr(m, "To: <one@example.org>,\r\n <two@example.org>\r\n"));
	CU_ASSERT_PTR_NOT_NULL(strstr(m, "Subject: Run finished\r\n"));
	CU_ASSERT_PTR_NOT_NULL(strstr(m, "@example.org>\r\nMIME-Version: 1.0\r\n"));
	CU_ASSERT_PTR_NOT_NULL(strstr(m, "\r\n\r\nAll six stages are done.\r\nNo errors.\r\n"));
	CU_ASSERT(!strncmp(m, "Date: ", 6) && !strncmp(strstr(m, "\r\n") - 6, " +0000", 6));
}

static void test_mail_unicode(void)
{
	const char *m = composed("Übersicht <panel@example.org>",
				 "Lauf beendet: ✓ žluťoučký kůň pěl ďábelské ódy und noch viel mehr Text dahinter",
				 "Größe: 3 ≤ 4\r\nEnde = gut \n.\n..x\rlone");

	check_lines(m);
	CU_ASSERT_PTR_NOT_NULL(strstr(m, "From: =?UTF-8?B?w5xiZXJzaWNodA==?= <panel@example.org>\r\n"));
	CU_ASSERT_PTR_NOT_NULL(strstr(m, "Subject: =?UTF-8?B?"));
	CU_ASSERT_PTR_NOT_NULL(strstr(m, "Gr=C3=B6=C3=9Fe: 3 =E2=89=A4 4\r\nEnde =3D gut=20\r\n.\r\n..x=0Dlone\r\n"));
}

static void test_mail_hostile(void)
{
	const char *to[] = { "one@example.org" };
	struct smtp_server server = { .from = "panel@example.org" };
	struct mail mail = { .to = to, .n_to = 1, .subject = "s", .text = "t" };
	static const char *const senders[] = {
		"", "x", "a@b\r\nBcc: c@d", "Name <a@b", "Name a@b>", "Name <a@b>\r\nBcc: c@d", "Name <>", "\xff <a@b>", NULL,
	};
	struct buf b;
	const char *m = composed("\"Panel\\ \"x\" \r\nBcc: evil@example.org\" <panel@example.org>",
				 "done\r\nBcc: evil@example.org\r\n\r\nbody =?UTF-8?Q?x?=", "t\r\n.\r\nMAIL FROM:<x@y>\r\n");

	check_lines(m);
	CU_ASSERT_PTR_NULL(strstr(m, "\nBcc"));
	buf_init(&b);
	for (size_t i = 0; i < sizeof(senders) / sizeof(senders[0]); i++) {
		server.from = senders[i];
		CU_ASSERT_EQUAL(mail_compose(&server, &mail, &b, &error), ERR_VALIDATION);
	}
	server.from = "panel@example.org";
	mail.n_to = 0;
	CU_ASSERT_EQUAL(mail_compose(&server, &mail, &b, &error), ERR_VALIDATION);
	mail.n_to = 1;
	to[0] = "one@example.org\r\nBcc: evil@example.org";
	CU_ASSERT_EQUAL(mail_compose(&server, &mail, &b, &error), ERR_VALIDATION);
	to[0] = "one@example.org";
	mail.text = "\xff";
	CU_ASSERT_EQUAL(mail_compose(&server, &mail, &b, &error), ERR_VALIDATION);
	mail.text = "t";
	mail.subject = "\xc3";
	CU_ASSERT_EQUAL(mail_compose(&server, &mail, &b, &error), ERR_VALIDATION);
	buf_release(&b);
}

/* Random UTF-8 in subject, name and text: the message stays within its lines. */
static void test_mail_fuzz(void)
{
	unsigned seed = 4711;

	for (int round = 0; round < 300; round++) {
		char text[3][161];

		for (int k = 0; k < 3; k++) {
			size_t n = 0;

			while (n < 150) {
				static const uint32_t pick[] = { '\r', '\n', ' ', '=', '"', '.', '\t', 0xe9, 0x20ac, 0x1f600 };
				uint32_t cp = rand_r(&seed) % 2 ? pick[rand_r(&seed) % 10] : 1 + (uint32_t)rand_r(&seed) % 126;

				n += utf8_encode(cp, text[k] + n);
				if (rand_r(&seed) % 60 == 0)
					break;
			}
			text[k][n] = '\0';
		}
		check_lines(composed(arena_printf(&arena, "%s <a@b>", text[0]), text[1], text[2]));
		arena_reset(&arena);
	}
}

void suite_net(void)
{
	CU_pSuite s = CU_add_suite("net", setup, teardown);

	CU_add_test(s, "kinds of addresses", test_classes);
	CU_add_test(s, "texts of addresses", test_ip_texts);
	CU_add_test(s, "network lists", test_netsets);
	CU_add_test(s, "bad network lists", test_netset_errors);
	CU_add_test(s, "signatures", test_sign);
	CU_add_test(s, "hostile signatures", test_sign_hostile);
	CU_add_test(s, "URLs", test_urls);
	CU_add_test(s, "URLs of addresses", test_url_addresses);
	CU_add_test(s, "mail addresses", test_mail_addresses);
	CU_add_test(s, "plain mail", test_mail_plain);
	CU_add_test(s, "mail beyond ASCII", test_mail_unicode);
	CU_add_test(s, "hostile mail", test_mail_hostile);
	CU_add_test(s, "random mail", test_mail_fuzz);
}
