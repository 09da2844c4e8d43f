// SPDX-License-Identifier: MIT
/* lib/auth: roles and tokens, forged ones above all; lib/base/secret. */
#include <CUnit/Basic.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "lib/auth/jwt.h"
#include "lib/auth/roles.h"
#include "lib/base/clock.h"
#include "lib/base/secret.h"

#define SECRET		"0123456789abcdef0123456789abcdef-present"
#define OLD_SECRET	"fedcba9876543210fedcba9876543210-previous"

void suite_auth(void);

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

/* --- secrets ---------------------------------------------------------------------------------------- */

static void test_secret_equal(void)
{
	char a[100];
	char b[100];

	memset(a, 'x', sizeof(a));
	memset(b, 'x', sizeof(b));
	for (size_t n = 0; n <= sizeof(a); n++)
		CU_ASSERT(secret_equal(a, b, n));
	for (size_t i = 0; i < sizeof(a); i++) {
		b[i] ^= 1;
		CU_ASSERT_FALSE(secret_equal(a, b, sizeof(a)));
		CU_ASSERT(secret_equal(a, b, i));
		b[i] ^= 1;
	}
	CU_ASSERT(secret_str_equal("abc", "abc"));
	CU_ASSERT_FALSE(secret_str_equal("abc", "abcd"));
}

static void test_b64url(void)
{
	static const struct { const char *text; ptrdiff_t n; } cases[] = {
		{ "", 0 }, { "AA", 1 }, { "AAA", 2 }, { "AAAA", 3 }, { "-_-_", 3 },
		{ "A", -1 }, { "AAAAA", -1 },			/* impossible lengths */
		{ "AB", -1 }, { "AAB", -1 },			/* stray bits */
		{ "AA==", -1 }, { "AA=", -1 }, { "+/+/", -1 },	/* padding, the other alphabet */
		{ "AA\nA", -1 }, { "AA A", -1 }, { "A\x80" "AA", -1 },
	};
	uint8_t out[64];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		CU_ASSERT_EQUAL(b64url_decode(cases[i].text, strlen(cases[i].text), out), cases[i].n);
	for (size_t n = 0; n < 48; n++) {
		uint8_t in[48];
		char text[65];

		random_bytes(in, n);
		b64url_encode(in, n, text);
		CU_ASSERT_EQUAL(strlen(text), B64URL_LEN(n));
		CU_ASSERT_EQUAL(b64url_decode(text, strlen(text), out), (ptrdiff_t)n);
		CU_ASSERT(!memcmp(in, out, n));
	}
}

/* RFC 4231, test case 2. */
static void test_mac(void)
{
	uint8_t mac[MAC_LEN];
	char hex[MAC_HEX];

	mac_sha256("Jefe", 4, "what do ya want for nothing?", 28, mac);
	hex_encode(mac, sizeof(mac), hex);
	CU_ASSERT_STRING_EQUAL(hex, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
}

/* --- roles ------------------------------------------------------------------------------------------- */

static void test_roles(void)
{
	enum role r;

	for (int i = 0; i < ROLE_COUNT; i++) {
		CU_ASSERT(role_parse(role_name((enum role)i), &r));
		CU_ASSERT_EQUAL((int)r, i);
	}
	CU_ASSERT_FALSE(role_parse("Admin", &r));
	CU_ASSERT_FALSE(role_parse("", &r));
	CU_ASSERT_FALSE(role_parse(NULL, &r));
	CU_ASSERT_EQUAL(role_perms(ROLE_WORKER),
			PERM_TASK_EXECUTE | PERM_TASK_READ | PERM_AGENT_READ | PERM_SYSTEM_HEALTH);
	CU_ASSERT_EQUAL(role_perms(ROLE_SUPERVISOR),
			role_perms(ROLE_WORKER) | PERM_TASK_MANAGE | PERM_PIPELINE_READ);
	CU_ASSERT_EQUAL(role_perms(ROLE_ADMIN), PERMS_ALL);
	CU_ASSERT_EQUAL(role_perms(ROLE_SYSTEM), PERMS_ALL);
	CU_ASSERT_EQUAL(role_perms((enum role)99), PERMS_NONE);
	CU_ASSERT(perms_within(role_perms(ROLE_WORKER), role_perms(ROLE_SUPERVISOR)));
	CU_ASSERT_FALSE(perms_within(role_perms(ROLE_SUPERVISOR), role_perms(ROLE_WORKER)));
	CU_ASSERT(perms_within(PERMS_NONE, PERMS_NONE));
}

static void test_perm_names(void)
{
	CU_ASSERT_EQUAL(perm_parse("task:execute"), PERM_TASK_EXECUTE);
	CU_ASSERT_EQUAL(perm_parse("system:config"), PERM_SYSTEM_CONFIG);
	CU_ASSERT_EQUAL(perm_parse("agent.register"), PERM_AGENT_REGISTER);
	CU_ASSERT_EQUAL(perm_parse("agent.discover"), PERM_AGENT_READ);
	CU_ASSERT_EQUAL(perm_parse("task.create"), PERM_TASK_MANAGE);
	CU_ASSERT_EQUAL(perm_parse("task.assign"), PERM_TASK_MANAGE);
	CU_ASSERT_EQUAL(perm_parse("pipeline.execute"), PERM_PIPELINE_MANAGE);
	CU_ASSERT_EQUAL(perm_parse("task:*"), PERMS_NONE);
	CU_ASSERT_EQUAL(perm_parse(""), PERMS_NONE);
	CU_ASSERT_EQUAL(perm_parse(NULL), PERMS_NONE);
	for (int i = 0; i < PERM_COUNT; i++)
		CU_ASSERT_EQUAL(perm_parse(perm_name((perms_t)1 << i)), (perms_t)1 << i);
	CU_ASSERT_STRING_EQUAL(perm_name(PERM_TASK_READ | PERM_TASK_MANAGE), "");
}

static perms_t read_list(const char *json, bool *ok, int *bad)
{
	struct jv *v = NULL;
	perms_t p = PERMS_NONE;

	CU_ASSERT_EQUAL_FATAL(json_parse(&arena, json, strlen(json), JSON_BUILD_ALL, &v, &error), OK);
	*ok = perms_read(v, &p, bad);
	return p;
}

static void test_perm_lists(void)
{
	struct buf b;
	struct jw w;
	bool ok;
	int bad;

	CU_ASSERT_EQUAL(read_list("[\"task:read\",\"task.create\"]", &ok, &bad), PERM_TASK_READ | PERM_TASK_MANAGE);
	CU_ASSERT(ok);
	read_list("[\"task:read\",\"root\"]", &ok, &bad);
	CU_ASSERT(!ok && bad == 1);
	read_list("[\"task:read\\u0000\"]", &ok, &bad);
	CU_ASSERT(!ok && bad == 0);
	read_list("[7]", &ok, &bad);
	CU_ASSERT(!ok && bad == 0);
	read_list("{}", &ok, &bad);
	CU_ASSERT(!ok && bad == -1);
	buf_init(&b);
	jw_init(&w, &b);
	perms_write(&w, PERM_SYSTEM_HEALTH | PERM_TASK_EXECUTE);
	CU_ASSERT_STRING_EQUAL(b.p, "[\"task:execute\",\"system:health\"]");
	buf_release(&b);
}

/* --- tokens ------------------------------------------------------------------------------------------ */

static struct tokens *tokens_with(const char *secret, const char *previous, const char *issuer)
{
	struct token_options o = { .secret = secret, .previous_secret = previous, .issuer = issuer };
	struct tokens *t = NULL;

	CU_ASSERT_EQUAL_FATAL(tokens_new(&o, &t, &error), OK);
	return t;
}

static const char *issue(struct tokens *t, enum token_type type, int64_t ttl)
{
	struct claims c = {
		.type = type, .kind = SUBJECT_AGENT, .role = ROLE_WORKER,
		.permissions = role_perms(ROLE_WORKER) | PERM_TASK_MANAGE,
	};
	const char *text = NULL;

	id_new(c.sub);
	if (type == TOKEN_REFRESH)
		id_new(c.family);
	CU_ASSERT_EQUAL_FATAL(token_issue(t, &c, ttl, &arena, &text, &error), OK);
	return text;
}

static enum err verify(struct tokens *t, const char *text, enum token_type want)
{
	struct claims c;

	error.detail[0] = '\0';
	return token_verify(t, text, strlen(text), want, &c, &error);
}

static void test_token_round_trip(void)
{
	struct tokens *t = tokens_with(SECRET, NULL, "mcp-test");
	struct claims in = {
		.type = TOKEN_REFRESH, .kind = SUBJECT_USER, .role = ROLE_ADMIN, .permissions = PERMS_ALL,
		.sub = "0190a5c0-0000-7000-8000-000000000001", .family = "0190a5c0-0000-7000-8000-000000000002",
	};
	struct claims out;
	const char *text;

	CU_ASSERT_EQUAL_FATAL(token_issue(t, &in, 60, &arena, &text, &error), OK);
	CU_ASSERT(in.exp == in.iat + 60 && id_valid(in.jti));
	CU_ASSERT_EQUAL_FATAL(token_verify(t, text, strlen(text), TOKEN_REFRESH, &out, &error), OK);
	CU_ASSERT(out.type == TOKEN_REFRESH && out.kind == SUBJECT_USER && out.role == ROLE_ADMIN);
	CU_ASSERT(out.permissions == PERMS_ALL && out.iat == in.iat && out.exp == in.exp);
	CU_ASSERT_STRING_EQUAL(out.sub, in.sub);
	CU_ASSERT_STRING_EQUAL(out.jti, in.jti);
	CU_ASSERT_STRING_EQUAL(out.family, in.family);
	CU_ASSERT_EQUAL(verify(t, text, TOKEN_ACCESS), ERR_UNAUTHENTICATED);
	CU_ASSERT_EQUAL(verify(t, issue(t, TOKEN_ACCESS, 60), TOKEN_REFRESH), ERR_UNAUTHENTICATED);
	in.sub[0] = '\0';
	CU_ASSERT_EQUAL(token_issue(t, &in, 60, &arena, &text, &error), ERR_INTERNAL);
	tokens_free(t);
}

/* A JWT with any header and claims, signed as a forger who has no key, or the wrong one, or ours would. */
static const char *forge(const char *header, const char *claims, const char *key)
{
	size_t hn = strlen(header);
	size_t cn = strlen(claims);
	char *out = arena_alloc(&arena, B64URL_LEN(hn) + B64URL_LEN(cn) + 64);
	uint8_t mac[MAC_LEN];

	b64url_encode(header, hn, out);
	char *p = out + strlen(out);

	*p++ = '.';
	b64url_encode(claims, cn, p);
	p += strlen(p);
	if (key)
		mac_sha256(key, strlen(key), out, (size_t)(p - out), mac);
	*p++ = '.';
	*p = '\0';
	if (key)
		b64url_encode(mac, sizeof(mac), p);
	return out;
}

#define HS256 "{\"alg\":\"HS256\",\"typ\":\"JWT\"}"
#define JTI "\"jti\":\"0190a5c0-0000-7000-8000-000000000003\""
#define WHO "\"sub\":\"x\",\"kind\":\"agent\",\"role\":\"worker\",\"permissions\":[\"task:read\"],"
#define GOOD "{" WHO "\"type\":\"access\",\"iat\":1,\"exp\":99999999999," JTI "}"

static const struct forged {
	const char *what, *header, *claims, *key;
	bool good;
} forged[] = {
	{ "the yardstick", HS256, GOOD, SECRET, true },
	{ "no typ is fine", "{\"alg\":\"HS256\"}", GOOD, SECRET, true },
	{ "nbf in the past", HS256, "{" WHO "\"nbf\":5,\"type\":\"access\",\"iat\":1,\"exp\":99999999999," JTI "}",
	  SECRET, true },
	{ "unknown permission grants nothing", HS256,
	  "{\"sub\":\"x\",\"kind\":\"agent\",\"role\":\"worker\",\"permissions\":[\"root\"],"
	  "\"type\":\"access\",\"iat\":1,\"exp\":99999999999," JTI "}", SECRET, true },
	{ "no signature", HS256, GOOD, NULL, false },
	{ "another key", HS256, GOOD, "another secret of more than 32 bytes", false },
	{ "empty key", HS256, GOOD, "", false },
	{ "alg none", "{\"alg\":\"none\"}", GOOD, NULL, false },
	{ "alg none, signed", "{\"alg\":\"none\"}", GOOD, SECRET, false },
	{ "alg None", "{\"alg\":\"None\"}", GOOD, SECRET, false },
	{ "alg hs256", "{\"alg\":\"hs256\"}", GOOD, SECRET, false },
	{ "alg RS256 with the HMAC key", "{\"alg\":\"RS256\",\"typ\":\"JWT\"}", GOOD, SECRET, false },
	{ "alg ES256", "{\"alg\":\"ES256\"}", GOOD, SECRET, false },
	{ "alg HS512", "{\"alg\":\"HS512\"}", GOOD, SECRET, false },
	{ "alg missing", "{\"typ\":\"JWT\"}", GOOD, SECRET, false },
	{ "alg twice", "{\"alg\":\"HS256\",\"alg\":\"none\"}", GOOD, SECRET, false },
	{ "alg a list", "{\"alg\":[\"HS256\"]}", GOOD, SECRET, false },
	{ "alg with NUL", "{\"alg\":\"HS256\\u0000\"}", GOOD, SECRET, false },
	{ "crit", "{\"alg\":\"HS256\",\"crit\":[\"b64\"],\"b64\":false}", GOOD, SECRET, false },
	{ "typ JWE", "{\"alg\":\"HS256\",\"typ\":\"JWE\"}", GOOD, SECRET, false },
	{ "header no object", "\"HS256\"", GOOD, SECRET, false },
	{ "header with a tail", HS256 "x", GOOD, SECRET, false },
	{ "claims no object", HS256, "[]", SECRET, false },
	{ "claims no JSON", HS256, "sub=x", SECRET, false },
	{ "claims twice", HS256, "{" WHO "\"sub\":\"admin\",\"type\":\"access\",\"iat\":1,\"exp\":99999999999," JTI "}",
	  SECRET, false },
	{ "expired", HS256, "{" WHO "\"type\":\"access\",\"iat\":1,\"exp\":2," JTI "}", SECRET, false },
	{ "exp missing", HS256, "{" WHO "\"type\":\"access\",\"iat\":1," JTI "}", SECRET, false },
	{ "exp a string", HS256, "{" WHO "\"type\":\"access\",\"iat\":1,\"exp\":\"99999999999\"," JTI "}", SECRET, false },
	{ "exp huge", HS256, "{" WHO "\"type\":\"access\",\"iat\":1,\"exp\":1e300," JTI "}", SECRET, false },
	{ "exp fraction", HS256, "{" WHO "\"type\":\"access\",\"iat\":1,\"exp\":99999999999.5," JTI "}", SECRET, false },
	{ "iat in the future", HS256, "{" WHO "\"type\":\"access\",\"iat\":99999999990,\"exp\":99999999999," JTI "}",
	  SECRET, false },
	{ "nbf in the future", HS256, "{" WHO "\"nbf\":99999999990,\"type\":\"access\",\"iat\":1,\"exp\":99999999999," JTI
	  "}", SECRET, false },
	{ "jti missing", HS256, "{" WHO "\"type\":\"access\",\"iat\":1,\"exp\":99999999999}", SECRET, false },
	{ "jti no id", HS256, "{" WHO "\"type\":\"access\",\"iat\":1,\"exp\":99999999999,\"jti\":\"*\"}", SECRET, false },
	{ "type unknown", HS256, "{" WHO "\"type\":\"id\",\"iat\":1,\"exp\":99999999999," JTI "}", SECRET, false },
	{ "refresh for access", HS256, "{" WHO "\"type\":\"refresh\",\"iat\":1,\"exp\":99999999999," JTI "}", SECRET,
	  false },
	{ "role unknown", HS256, "{\"sub\":\"x\",\"kind\":\"agent\",\"role\":\"root\",\"permissions\":[],"
	  "\"type\":\"access\",\"iat\":1,\"exp\":99999999999," JTI "}", SECRET, false },
	{ "kind unknown", HS256, "{\"sub\":\"x\",\"kind\":\"god\",\"role\":\"worker\",\"permissions\":[],"
	  "\"type\":\"access\",\"iat\":1,\"exp\":99999999999," JTI "}", SECRET, false },
	{ "permissions a string", HS256, "{\"sub\":\"x\",\"kind\":\"agent\",\"role\":\"worker\",\"permissions\":\"all\","
	  "\"type\":\"access\",\"iat\":1,\"exp\":99999999999," JTI "}", SECRET, false },
	{ "sub empty", HS256, "{\"sub\":\"\",\"kind\":\"agent\",\"role\":\"worker\",\"permissions\":[],"
	  "\"type\":\"access\",\"iat\":1,\"exp\":99999999999," JTI "}", SECRET, false },
	{ "sub with NUL", HS256, "{\"sub\":\"x\\u0000y\",\"kind\":\"agent\",\"role\":\"worker\",\"permissions\":[],"
	  "\"type\":\"access\",\"iat\":1,\"exp\":99999999999," JTI "}", SECRET, false },
};

static void test_token_forged(void)
{
	struct tokens *t = tokens_with(SECRET, NULL, NULL);

	for (size_t i = 0; i < sizeof(forged) / sizeof(forged[0]); i++) {
		const struct forged *f = &forged[i];
		enum err err = verify(t, forge(f->header, f->claims, f->key), TOKEN_ACCESS);

		if ((err == OK) != f->good)
			printf("\n  forged token \"%s\": %s\n", f->what, err_name(err));
		CU_ASSERT_EQUAL(err, f->good ? OK : ERR_UNAUTHENTICATED);
		CU_ASSERT(f->good || !strncmp(error.detail, "token: ", 7));
	}
	tokens_free(t);
}

static void test_token_shapes(void)
{
	struct tokens *t = tokens_with(SECRET, NULL, NULL);
	const char *good = issue(t, TOKEN_ACCESS, 60);
	size_t n = strlen(good);
	char *big = arena_alloc(&arena, TOKEN_MAX + 2);

	memset(big, 'A', TOKEN_MAX + 1);
	big[TOKEN_MAX + 1] = '\0';
	CU_ASSERT_EQUAL(verify(t, big, TOKEN_ACCESS), ERR_UNAUTHENTICATED);
	for (const char *const *s = (const char *const[]){ "", ".", "..", "...", "a.b", "a.b.c.d", "Bearer", " ", NULL };
	     *s; s++)
		CU_ASSERT_EQUAL(verify(t, *s, TOKEN_ACCESS), ERR_UNAUTHENTICATED);
	CU_ASSERT_EQUAL(verify(t, good, TOKEN_ACCESS), OK);
	/* What a lax decoder reads as the same token: padding, a second spelling of the last bits, more text. */
	CU_ASSERT_EQUAL(verify(t, arena_printf(&arena, "%s=", good), TOKEN_ACCESS), ERR_UNAUTHENTICATED);
	CU_ASSERT_EQUAL(verify(t, arena_printf(&arena, "%s\n", good), TOKEN_ACCESS), ERR_UNAUTHENTICATED);
	CU_ASSERT_EQUAL(verify(t, arena_printf(&arena, " %s", good), TOKEN_ACCESS), ERR_UNAUTHENTICATED);
	CU_ASSERT_EQUAL(verify(t, arena_printf(&arena, "%s.x", good), TOKEN_ACCESS), ERR_UNAUTHENTICATED);
	char *other = arena_strndup(&arena, good, n);

	other[n - 1]++;	/* the last character's lowest two bits mean nothing to a lax decoder */
	CU_ASSERT_EQUAL(verify(t, other, TOKEN_ACCESS), ERR_UNAUTHENTICATED);
	for (size_t cut = 0; cut < n; cut++) {
		struct claims c;

		CU_ASSERT_EQUAL(token_verify(t, good, cut, TOKEN_ACCESS, &c, &error), ERR_UNAUTHENTICATED);
	}
	tokens_free(t);
}

/* Random changes of a good token: none may pass, none may crash (the sanitizers watch). */
static void test_token_fuzz(void)
{
	struct tokens *t = tokens_with(SECRET, OLD_SECRET, NULL);
	const char *good = issue(t, TOKEN_ACCESS, 60);
	size_t n = strlen(good);
	char *text = arena_alloc(&arena, n + 1);
	unsigned seed = 12345;
	int passed = 0;

	for (int round = 0; round < 5000; round++) {
		memcpy(text, good, n + 1);
		for (int k = rand_r(&seed) % 4; k >= 0; k--)
			text[rand_r(&seed) % n] = (char)(rand_r(&seed) % 3 ? 32 + rand_r(&seed) % 95
									   : rand_r(&seed) % 256);
		struct claims c;

		if (memcmp(text, good, n) && token_verify(t, text, n, TOKEN_ACCESS, &c, &error) == OK)
			passed++;
	}
	CU_ASSERT_EQUAL(passed, 0);
	tokens_free(t);
}

static void test_token_times(void)
{
	struct tokens *t = tokens_with(SECRET, NULL, NULL);
	const char *text = issue(t, TOKEN_ACCESS, 60);

	CU_ASSERT_EQUAL(verify(t, text, TOKEN_ACCESS), OK);
	/* From the cache too, the time counts. */
	clock_shift(60 * 1000);
	CU_ASSERT_EQUAL(verify(t, text, TOKEN_ACCESS), ERR_UNAUTHENTICATED);
	CU_ASSERT_STRING_EQUAL(error.detail, "token: expired");
	clock_shift(-60 * 1000);
	CU_ASSERT_EQUAL(verify(t, text, TOKEN_ACCESS), OK);
	clock_shift(-20 * 1000);	/* our clock is a little behind the issuer's */
	CU_ASSERT_EQUAL(verify(t, text, TOKEN_ACCESS), OK);
	clock_shift(-20 * 1000);
	CU_ASSERT_EQUAL(verify(t, text, TOKEN_ACCESS), ERR_UNAUTHENTICATED);
	clock_shift(40 * 1000);
	tokens_free(t);
}

static void test_token_rotation(void)
{
	struct tokens *old = tokens_with(OLD_SECRET, NULL, NULL);
	struct tokens *now = tokens_with(SECRET, OLD_SECRET, NULL);
	const char *text = issue(old, TOKEN_ACCESS, 60);
	struct token_options only = { .secret = SECRET, .previous_secret = "" };

	CU_ASSERT_EQUAL(verify(now, text, TOKEN_ACCESS), OK);
	CU_ASSERT_EQUAL(verify(old, issue(now, TOKEN_ACCESS, 60), TOKEN_ACCESS), ERR_UNAUTHENTICATED);
	/* The old secret is withdrawn: what was remembered under it goes too. */
	CU_ASSERT_EQUAL(tokens_reload(now, &only, &error), OK);
	CU_ASSERT_EQUAL(verify(now, text, TOKEN_ACCESS), ERR_UNAUTHENTICATED);
	only.secret = "short";
	CU_ASSERT_EQUAL(tokens_reload(now, &only, &error), ERR_VALIDATION);
	CU_ASSERT_EQUAL(verify(now, issue(now, TOKEN_ACCESS, 60), TOKEN_ACCESS), OK);
	tokens_free(old);
	tokens_free(now);
	tokens_free(NULL);
}

static void test_token_options(void)
{
	struct tokens *t = NULL;
	struct token_options o = { .secret = "0123456789abcdef0123456789abcde" };

	CU_ASSERT_EQUAL(tokens_new(&o, &t, &error), ERR_VALIDATION);
	o.secret = NULL;
	CU_ASSERT_EQUAL(tokens_new(&o, &t, &error), ERR_VALIDATION);
	o.secret = SECRET;
	o.previous_secret = "short";
	CU_ASSERT_EQUAL(tokens_new(&o, &t, &error), ERR_VALIDATION);
	CU_ASSERT_PTR_NULL(t);
	struct tokens *a = tokens_with(SECRET, NULL, "one");
	struct tokens *b = tokens_with(SECRET, NULL, "two");

	CU_ASSERT_EQUAL(verify(b, issue(a, TOKEN_ACCESS, 60), TOKEN_ACCESS), ERR_UNAUTHENTICATED);
	CU_ASSERT_EQUAL(verify(a, issue(a, TOKEN_ACCESS, 60), TOKEN_ACCESS), OK);
	tokens_free(a);
	tokens_free(b);
}

/* Many tokens from many threads through a table they must share, with a reload in the middle. */
#define CROWD 64
struct crowd {
	struct tokens *t;
	const char *text[CROWD];
	_Atomic int wrong;
};

static void *crowd_member(void *arg)
{
	struct crowd *c = arg;
	struct arena mine;
	struct error e;
	struct claims claims;

	arena_init(&mine);
	error_init(&e, &mine);
	for (int i = 0; i < 4000; i++) {
		const char *text = c->text[i * 7 % CROWD];

		if (token_verify(c->t, text, strlen(text), TOKEN_ACCESS, &claims, &e) != OK)
			c->wrong++;
	}
	arena_release(&mine);
	return NULL;
}

static void test_token_threads(void)
{
	struct crowd c = { .t = tokens_with(SECRET, NULL, NULL) };
	struct token_options o = { .secret = SECRET };
	struct token_stats stats;
	pthread_t thread[4];

	for (int i = 0; i < CROWD; i++)
		c.text[i] = issue(c.t, TOKEN_ACCESS, 60);
	for (int i = 0; i < 4; i++)
		pthread_create(&thread[i], NULL, crowd_member, &c);
	for (int i = 0; i < 20; i++) {
		CU_ASSERT_EQUAL(tokens_reload(c.t, &o, &error), OK);
		usleep(500);
	}
	for (int i = 0; i < 4; i++)
		pthread_join(thread[i], NULL);
	CU_ASSERT_EQUAL(c.wrong, 0);
	tokens_stats(c.t, &stats);
	CU_ASSERT_EQUAL(stats.hits + stats.misses, 4 * 4000);
	CU_ASSERT(stats.hits > stats.misses);
	tokens_free(c.t);
}

/* The hot path's cost, printed; the bound is loose because CI machines are. */
static void test_token_speed(void)
{
	struct tokens *t = tokens_with(SECRET, NULL, NULL);
	const char *text = issue(t, TOKEN_ACCESS, 60);
	size_t n = strlen(text);
	struct claims c;
	int64_t start;
	int64_t hit_ns;
	int64_t miss_ns;
	int wrong = 0;

	wrong += token_verify(t, text, n, TOKEN_ACCESS, &c, &error) != OK;
	start = mono_us();
	for (int i = 0; i < 200000; i++)
		wrong += token_verify(t, text, n, TOKEN_ACCESS, &c, &error) != OK;
	hit_ns = (mono_us() - start) * 1000 / 200000;
	text = issue(t, TOKEN_REFRESH, 60);
	n = strlen(text);
	start = mono_us();
	for (int i = 0; i < 2000; i++)
		wrong += token_verify(t, text, n, TOKEN_REFRESH, &c, &error) != OK;
	miss_ns = (mono_us() - start) * 1000 / 2000;
	printf(" [hit %lld ns, miss %lld ns] ", (long long)hit_ns, (long long)miss_ns);
	CU_ASSERT_EQUAL(wrong, 0);
	CU_ASSERT(hit_ns < 20000);
	tokens_free(t);
}

void suite_auth(void)
{
	CU_pSuite s = CU_add_suite("auth", setup, teardown);

	CU_add_test(s, "secret_equal", test_secret_equal);
	CU_add_test(s, "b64url", test_b64url);
	CU_add_test(s, "mac", test_mac);
	CU_add_test(s, "roles", test_roles);
	CU_add_test(s, "permission names", test_perm_names);
	CU_add_test(s, "permission lists", test_perm_lists);
	CU_add_test(s, "token round trip", test_token_round_trip);
	CU_add_test(s, "forged tokens", test_token_forged);
	CU_add_test(s, "token shapes", test_token_shapes);
	CU_add_test(s, "token mutations", test_token_fuzz);
	CU_add_test(s, "token times", test_token_times);
	CU_add_test(s, "secret rotation", test_token_rotation);
	CU_add_test(s, "token options", test_token_options);
	CU_add_test(s, "tokens and threads", test_token_threads);
	CU_add_test(s, "token speed", test_token_speed);
}
