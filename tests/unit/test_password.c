// SPDX-License-Identifier: MIT
/* lib/auth/password: bcrypt and its queue, the password policy, API keys. */
#include <CUnit/Basic.h>
#include <pthread.h>
#include <stdatomic.h>

#include "lib/auth/password.h"
#include "lib/base/clock.h"
#include "lib/base/limits.h"

#define PEPPER "a pepper of enough bytes, really"

void suite_password(void);

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

static struct passwords *passwords_with(int cost, int parallel, int queue)
{
	struct password_options o = { .pepper = PEPPER, .cost = cost, .parallel = parallel, .queue = queue };
	struct passwords *p = NULL;

	CU_ASSERT_EQUAL_FATAL(passwords_new(&o, &p, &error), OK);
	return p;
}

static void test_password_round_trip(void)
{
	struct passwords *p = passwords_with(4, 0, 0);
	char hash[PASSWORD_HASH_TEXT];
	char again[PASSWORD_HASH_TEXT];
	char long_a[201];
	char long_b[201];

	CU_ASSERT_EQUAL(password_hash(p, "a good pass phrase", hash, &error), OK);
	CU_ASSERT(!strncmp(hash, "$2b$04$", 7) && strlen(hash) == 60);
	CU_ASSERT_EQUAL(password_hash(p, "a good pass phrase", again, &error), OK);
	CU_ASSERT_STRING_NOT_EQUAL(hash, again);
	CU_ASSERT_EQUAL(password_verify(p, "a good pass phrase", hash, &error), OK);
	CU_ASSERT_EQUAL(password_verify(p, "a good pass phrasE", hash, &error), ERR_UNAUTHENTICATED);
	CU_ASSERT_EQUAL(password_verify(p, "", hash, &error), ERR_UNAUTHENTICATED);
	/* Past bcrypt's 72 bytes every byte still counts. */
	memset(long_a, 'x', 200);
	memset(long_b, 'x', 200);
	long_a[200] = long_b[200] = '\0';
	long_b[199] = 'y';
	CU_ASSERT_EQUAL(password_hash(p, long_a, hash, &error), OK);
	CU_ASSERT_EQUAL(password_verify(p, long_a, hash, &error), OK);
	CU_ASSERT_EQUAL(password_verify(p, long_b, hash, &error), ERR_UNAUTHENTICATED);
	passwords_free(p);
}

static void test_password_bad_hashes(void)
{
	static const char *const bad[] = {
		"", "*0", "*1", "x", "$2b$04$", "$2b$31$abcdefghijklmnopqrstuuOOOOOOOOOOOOOOOOOOOOOOOOOOOOOOO",
		"$2a$04$abcdefghijklmnopqrstuuOOOOOOOOOOOOOOOOOOOOOOOOOOOOOOO",
		"$2b$ 4$abcdefghijklmnopqrstuuOOOOOOOOOOOOOOOOOOOOOOOOOOOOOOO",
		"$2b$04$abcdefghijklmnopqrstuuOOOOOOOOOOOOOOOOOOOOOOOOOOOOOO:",
		"$6$salt$hashhashhashhashhashhashhashhashhashhashhashhashhash",
	};
	struct passwords *p = passwords_with(4, 0, 0);
	struct password_options o = { .pepper = PEPPER, .cost = 3 };
	struct passwords *none = NULL;

	CU_ASSERT_EQUAL(password_verify(p, "anything", NULL, &error), ERR_UNAUTHENTICATED);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		CU_ASSERT_EQUAL(password_verify(p, "anything", bad[i], &error), ERR_UNAUTHENTICATED);
		CU_ASSERT(password_outdated(p, bad[i]));
	}
	CU_ASSERT_EQUAL(passwords_new(&o, &none, &error), ERR_VALIDATION);
	o.cost = 17;
	CU_ASSERT_EQUAL(passwords_new(&o, &none, &error), ERR_VALIDATION);
	o.cost = 10;
	o.pepper = "short";
	CU_ASSERT_EQUAL(passwords_new(&o, &none, &error), ERR_VALIDATION);
	passwords_free(p);
	passwords_free(NULL);
}

/* What this thread has worked: others on the machine do not count. */
static int64_t worked_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static int64_t time_verify(struct passwords *p, const char *hash)
{
	int64_t best = INT64_MAX;

	for (int i = 0; i < 5; i++) {
		int64_t start = worked_us();

		if (password_verify(p, "wrong", hash, &error) == OK)
			return -1;
		int64_t took = worked_us() - start;

		best = took < best ? took : best;
	}
	return best;
}

/* Nobody learns from the time whether a user exists. */
static void test_password_same_time(void)
{
	struct passwords *p = passwords_with(8, 0, 0);
	struct passwords *dearer = passwords_with(9, 0, 0);
	char hash[PASSWORD_HASH_TEXT];

	CU_ASSERT_EQUAL(password_hash(p, "right", hash, &error), OK);
	CU_ASSERT_FALSE(password_outdated(p, hash));
	CU_ASSERT(password_outdated(dearer, hash));
	int64_t known = time_verify(p, hash);
	int64_t unknown = time_verify(p, NULL);

	CU_ASSERT(known > 1000 && unknown > 1000);
	CU_ASSERT(known < unknown * 2 && unknown < known * 2);
	passwords_free(p);
	passwords_free(dearer);
}

struct rush {
	struct passwords *p;
	_Atomic int ok, busy, other;
};

static void *rush_member(void *arg)
{
	struct rush *r = arg;
	struct arena mine;
	struct error e;
	char hash[PASSWORD_HASH_TEXT];

	arena_init(&mine);
	error_init(&e, &mine);
	enum err err = password_hash(r->p, "a good pass phrase", hash, &e);

	if (err == OK)
		r->ok++;
	else if (err == ERR_BUSY)
		r->busy++;
	else
		r->other++;
	arena_release(&mine);
	return NULL;
}

/* One place and a queue of two: of 16 at once at least 3 get through, the rest are told at once. */
static void test_password_queue(void)
{
	struct rush r = { .p = passwords_with(9, 1, 2) };
	pthread_t thread[16];

	for (int i = 0; i < 16; i++)
		pthread_create(&thread[i], NULL, rush_member, &r);
	for (int i = 0; i < 16; i++)
		pthread_join(thread[i], NULL);
	CU_ASSERT_EQUAL(r.other, 0);
	CU_ASSERT_EQUAL(r.ok + r.busy, 16);
	CU_ASSERT(r.ok >= 3);
	CU_ASSERT(r.busy >= 1);
	CU_ASSERT_EQUAL(password_hash(r.p, "x", (char[PASSWORD_HASH_TEXT]){ 0 }, &error), OK);
	passwords_free(r.p);
}

static void test_password_policy(void)
{
	char text[LIMIT_PASSWORD_MAX * 2 + 3];

	CU_ASSERT_PTR_NULL(password_weakness("violet-anchor-9", "admin"));
	CU_ASSERT_PTR_NULL(password_weakness("žluťoučký kůň", NULL));
	CU_ASSERT_PTR_NOT_NULL(password_weakness("short-one-1", "admin"));
	CU_ASSERT_PTR_NOT_NULL(password_weakness("Administrator", NULL));
	CU_ASSERT_PTR_NOT_NULL(password_weakness("PASSWORD1234", NULL));
	CU_ASSERT_PTR_NOT_NULL(password_weakness("Jane.Doe.Person", "jane.doe.person"));
	CU_ASSERT_PTR_NOT_NULL(password_weakness("ababababababab", NULL));
	CU_ASSERT_PTR_NOT_NULL(password_weakness("bad utf-8 \xff\xfe here", NULL));
	for (int i = 0; i <= LIMIT_PASSWORD_MAX; i++)
		memcpy(text + 2 * i, i % 7 ? "é" : (char[]){ (char)('a' + i % 26), 'z', '\0' }, 2);
	text[2 * 200] = '\0';
	CU_ASSERT_PTR_NULL(password_weakness(text, NULL));
	text[2 * 200] = '\xc3';
	text[2 * (LIMIT_PASSWORD_MAX + 1)] = '\0';
	CU_ASSERT_PTR_NOT_NULL(password_weakness(text, NULL));
}

static void test_api_keys(void)
{
	struct passwords *p = passwords_with(4, 0, 0);
	char key[RANDOM_SECRET_TEXT];
	char other[RANDOM_SECRET_TEXT];
	char hash[API_KEY_HASH_TEXT];
	char again[API_KEY_HASH_TEXT];

	random_secret(API_KEY_PREFIX, key);
	random_secret(API_KEY_PREFIX, other);
	CU_ASSERT(!strncmp(key, "mcp_", 4) && strlen(key) == 47);
	CU_ASSERT_STRING_NOT_EQUAL(key, other);
	api_key_hash(p, key, hash);
	api_key_hash(p, key, again);
	CU_ASSERT_STRING_EQUAL(hash, again);
	CU_ASSERT_EQUAL(strlen(hash), 64);
	CU_ASSERT_EQUAL(strspn(hash, "0123456789abcdef"), 64);
	api_key_hash(p, other, again);
	CU_ASSERT_STRING_NOT_EQUAL(hash, again);
	api_key_hash(p, "", hash);
	CU_ASSERT_EQUAL(strlen(hash), 64);
	passwords_free(p);
}

void suite_password(void)
{
	CU_pSuite s = CU_add_suite("password", setup, teardown);

	CU_add_test(s, "password round trip", test_password_round_trip);
	CU_add_test(s, "broken hashes", test_password_bad_hashes);
	CU_add_test(s, "same time for unknown users", test_password_same_time);
	CU_add_test(s, "bcrypt queue", test_password_queue);
	CU_add_test(s, "password policy", test_password_policy);
	CU_add_test(s, "api keys", test_api_keys);
}
