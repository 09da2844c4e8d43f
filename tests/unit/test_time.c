// SPDX-License-Identifier: MIT
/* lib/base/clock and id: times as text and back, ids that grow and never repeat. */
#include <CUnit/Basic.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/id.h"

void suite_time(void);

/* --- time ------------------------------------------------------------------------------------------------------ */

static void test_time_good(void)
{
	static const struct { const char *text; int64_t ms; const char *again; } cases[] = {
		{ "1970-01-01T00:00:00Z", 0, "1970-01-01T00:00:00.000Z" },
		{ "1970-01-01T00:00:00.001Z", 1, "1970-01-01T00:00:00.001Z" },
		{ "2026-01-31T12:00:00Z", 1769860800000, "2026-01-31T12:00:00.000Z" },
		{ "2026-01-31t12:00:00z", 1769860800000, "2026-01-31T12:00:00.000Z" },
		{ "2026-01-31 12:00:00Z", 1769860800000, "2026-01-31T12:00:00.000Z" },
		{ "2026-01-31T12:00:00+00:00", 1769860800000, "2026-01-31T12:00:00.000Z" },
		{ "2026-01-31T12:00:00-00:00", 1769860800000, "2026-01-31T12:00:00.000Z" },
		{ "2026-01-31T17:30:00+05:30", 1769860800000, "2026-01-31T12:00:00.000Z" },
		{ "2026-01-30T12:01:00-23:59", 1769860800000, "2026-01-31T12:00:00.000Z" },
		{ "2026-01-31T12:00:00.5Z", 1769860800500, "2026-01-31T12:00:00.500Z" },
		{ "2026-01-31T12:00:00.05Z", 1769860800050, "2026-01-31T12:00:00.050Z" },
		{ "2026-01-31T12:00:00.999999999Z", 1769860800999, "2026-01-31T12:00:00.999Z" },
		{ "2000-02-29T00:00:00Z", 951782400000, "2000-02-29T00:00:00.000Z" },
		{ "2024-02-29T23:59:59Z", 1709251199000, "2024-02-29T23:59:59.000Z" },
		{ "2016-12-31T23:59:60Z", 1483228800000, "2017-01-01T00:00:00.000Z" },
		{ "2038-01-19T03:14:08Z", 2147483648000, "2038-01-19T03:14:08.000Z" },
		{ "9999-12-31T23:59:59.999Z", 253402300799999, "9999-12-31T23:59:59.999Z" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		int64_t ms = -1;
		char text[TIME_TEXT];

		CU_ASSERT(time_parse(cases[i].text, &ms));
		CU_ASSERT_EQUAL(ms, cases[i].ms);
		time_format(ms, text);
		CU_ASSERT_STRING_EQUAL(text, cases[i].again);
	}
}

static void test_time_bad(void)
{
	static const char *const bad[] = {
		"", "2026", "2026-01-31", "2026-01-31T12:00Z", "2026-01-31T12:00:00", "2026-01-31T12:00:00.Z",
		"26-01-31T12:00:00Z",
		"2026-1-31T12:00:00Z", "2026-01-31T12:00:00.1234567890Z", "2026-01-31T24:00:00Z",
		"2026-01-31T12:60:00Z",
		"2026-01-31T12:00:61Z", "2026-00-31T12:00:00Z", "2026-13-31T12:00:00Z", "2026-01-00T12:00:00Z",
		"2026-01-32T12:00:00Z", "2026-04-31T12:00:00Z", "2026-02-29T12:00:00Z", "2100-02-29T12:00:00Z",
		"1969-12-31T23:59:59Z", "1970-01-01T00:00:00+00:01", "9999-12-31T23:59:59-00:01",
		"9999-12-31T23:59:60Z",
		"2026-01-31T12:00:00+24:00", "2026-01-31T12:00:00+05:60", "2026-01-31T12:00:00+0530",
		"2026-01-31T12:00:00+5:30",
		"2026-01-31T12:00:00ZZ", " 2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z ", "2026-01-31T12:00:00,5Z",
		"2026-01-31T12:00:00UTC", "2026-W05-6T12:00:00Z", "+2026-01-31T12:00:00Z", "-2026-01-31T12:00:00Z",
		"2026-01-31T-2:00:00Z", "1769860800", "now", "2026-01-31T12:00:00−05:00",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		int64_t ms = -7;

		if (time_parse(bad[i], &ms)) {
			fprintf(stderr, "time_parse takes %s\n", bad[i]);
			CU_FAIL("what is not a time was taken for one");
		}
		CU_ASSERT_EQUAL(ms, -7);
	}
}

/* Every day of four centuries, and times that are not between 0 and 9999. */
static void test_time_days(void)
{
	char text[TIME_TEXT];
	int64_t ms;

	for (int64_t day = 0; day < 366 * 430; day++) {
		int64_t at = day * 86400000 + day % 86400000;

		time_format(at, text);
		CU_ASSERT_FATAL(time_parse(text, &ms) && ms == at);
	}
	time_format(-1, text);
	CU_ASSERT_STRING_EQUAL(text, "1969-12-31T23:59:59.999Z");
	time_format(-62167219200000, text);
	CU_ASSERT_STRING_EQUAL(text, "0000-01-01T00:00:00.000Z");
	time_format(-62167219200001, text);
	CU_ASSERT_STRING_EQUAL(text, "");
	time_format(253402300800000, text);
	CU_ASSERT_STRING_EQUAL(text, "");
	time_format(INT64_MIN, text);
	CU_ASSERT_STRING_EQUAL(text, "");
}

static void test_clock(void)
{
	int64_t before = now_ms();
	int64_t mono = mono_us();

	CU_ASSERT(before > 1700000000000);
	clock_shift(3600000);
	CU_ASSERT(now_ms() - before >= 3600000);
	CU_ASSERT(now_ms() - before < 3660000);
	clock_shift(-3600000);
	CU_ASSERT(now_ms() - before < 60000);
	CU_ASSERT(mono_us() >= mono);
}

/* --- ids --------------------------------------------------------------------------------------------------------- */

static void test_id_shape(void)
{
	char id[ID_TEXT];
	char low[ID_TEXT];
	uint8_t bytes[16];
	int64_t before = now_ms();
	int64_t latest;

	/* Ids never go back: a clock that another test moved forward and back may still be ahead of ours in them. */
	id_new(id);
	CU_ASSERT(id_to_bytes(id, bytes));
	int64_t last = 0;

	for (int i = 0; i < 6; i++)
		last = last << 8 | bytes[i];
	id_new(id);
	CU_ASSERT_EQUAL(strlen(id), ID_LEN);
	CU_ASSERT(id_valid(id));
	CU_ASSERT_EQUAL(id[14], '7');
	CU_ASSERT_PTR_NOT_NULL(strchr("89ab", id[19]));
	CU_ASSERT(id_to_bytes(id, bytes));
	int64_t ms = 0;

	for (int i = 0; i < 6; i++)
		ms = ms << 8 | bytes[i];
	latest = now_ms() > last ? now_ms() : last;
	CU_ASSERT(ms >= before && ms <= latest + 1);
	id_from_bytes(bytes, low);
	CU_ASSERT_STRING_EQUAL(low, id);
	id_at(ms, low);
	CU_ASSERT(strcmp(low, id) < 0);
	id_at(ms + 1, low);
	CU_ASSERT(strcmp(low, id) > 0);
	id_at(0x0123456789ab, low);
	CU_ASSERT_STRING_EQUAL(low, "01234567-89ab-7000-8000-000000000000");
}

static void test_id_valid(void)
{
	static const char *const bad[] = {
		"", "x", "01234567-89ab-7000-8000-00000000000", "01234567-89ab-7000-8000-0000000000000",
		"01234567-89AB-7000-8000-000000000000", "0123456789ab-7000-8000-000000000000-",
		"01234567-89ab-7000-8000-00000000000g",
		"01234567+89ab-7000-8000-000000000000", "{01234567-89ab-7000-8000-00000000000}",
		"0123456789ab70008000000000000000",
		"-1234567-89ab-7000-8000-000000000000", "01234567-89ab-7000-8000-0000000000 0",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		CU_ASSERT_FALSE(id_valid(bad[i]));
	CU_ASSERT_FALSE(id_valid(NULL));
	CU_ASSERT(id_valid("f47ac10b-58cc-4372-a567-0e02b2c3d479"));
}

static void test_id_order(void)
{
	char last[ID_TEXT] = "";
	char id[ID_TEXT];

	for (int i = 0; i < 100000; i++) {
		id_new(id);
		CU_ASSERT_FATAL(strcmp(last, id) < 0);
		memcpy(last, id, sizeof(id));
	}
	/* Also while the clock goes back. */
	for (int i = 0; i < 1000; i++) {
		clock_shift(-10);
		id_new(id);
		CU_ASSERT_FATAL(strcmp(last, id) < 0);
		memcpy(last, id, sizeof(id));
	}
	clock_shift(10000);
}

#define THREADS 8
#define PER_THREAD 20000

static void *make_ids(void *out)
{
	char (*ids)[ID_TEXT] = out;

	for (int i = 0; i < PER_THREAD; i++)
		id_new(ids[i]);
	return NULL;
}

static int text_cmp(const void *a, const void *b)
{
	return strcmp(a, b);
}

static void test_id_threads(void)
{
	char (*ids)[ID_TEXT] = xcalloc((size_t)THREADS * PER_THREAD, ID_TEXT);
	pthread_t threads[THREADS];

	for (int i = 0; i < THREADS; i++)
		CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, make_ids, ids + (size_t)i * PER_THREAD), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	qsort(ids, (size_t)THREADS * PER_THREAD, ID_TEXT, text_cmp);
	for (size_t i = 1; i < (size_t)THREADS * PER_THREAD; i++)
		CU_ASSERT_FATAL(strcmp(ids[i - 1], ids[i]) < 0);
	free(ids);
}

static atomic_bool stop;

static void *make_ids_for_long(void *unused)
{
	char id[ID_TEXT];

	(void)unused;
	while (!atomic_load(&stop))
		id_new(id);
	return NULL;
}

/* Children of one parent make different ids, also when another thread held the lock at the fork. */
static void test_id_fork(void)
{
	enum { CHILDREN = 40, EACH = 100 };
	static char ids[CHILDREN * EACH][ID_TEXT];
	pthread_t thread;
	int pipes[2];
	size_t n = 0;

	atomic_store(&stop, false);
	CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, make_ids_for_long, NULL), 0);
	for (int c = 0; c < CHILDREN; c++) {
		CU_ASSERT_EQUAL_FATAL(pipe(pipes), 0);
		pid_t pid = fork();

		CU_ASSERT_FATAL(pid >= 0);
		if (pid == 0) {
			char mine[EACH][ID_TEXT];

			alarm(20);
			for (int i = 0; i < EACH; i++)
				id_new(mine[i]);
			_exit(write(pipes[1], mine, sizeof(mine)) != (ssize_t)sizeof(mine));
		}
		close(pipes[1]);
		for (ssize_t got; (got = read(pipes[0], (char *)ids + n, sizeof(ids) - n)) > 0;)
			n += (size_t)got;
		close(pipes[0]);
		int status = -1;

		CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
		CU_ASSERT_EQUAL_FATAL(status, 0);
	}
	atomic_store(&stop, true);
	pthread_join(thread, NULL);
	CU_ASSERT_EQUAL_FATAL(n, sizeof(ids));
	qsort(ids, CHILDREN * EACH, ID_TEXT, text_cmp);
	for (size_t i = 1; i < CHILDREN * EACH; i++)
		CU_ASSERT_FATAL(strcmp(ids[i - 1], ids[i]) < 0);
}

static void test_random(void)
{
	uint8_t a[300] = { 0 };
	uint8_t b[300] = { 0 };
	char text[2 * 4 + 1];

	random_bytes(a, sizeof(a));
	random_bytes(b, sizeof(b));
	CU_ASSERT(memcmp(a, b, sizeof(a)) != 0);
	hex_encode((const uint8_t *)"\x00\x0f\xa5\xff", 4, text);
	CU_ASSERT_STRING_EQUAL(text, "000fa5ff");
}

void suite_time(void)
{
	CU_pSuite s = CU_add_suite("time", NULL, NULL);

	CU_add_test(s, "time: what is one", test_time_good);
	CU_add_test(s, "time: what is none", test_time_bad);
	CU_add_test(s, "time: every day there and back", test_time_days);
	CU_add_test(s, "clock", test_clock);
	CU_add_test(s, "id: shape", test_id_shape);
	CU_add_test(s, "id: what is none", test_id_valid);
	CU_add_test(s, "id: order", test_id_order);
	CU_add_test(s, "id: threads", test_id_threads);
	CU_add_test(s, "id: fork", test_id_fork);
	CU_add_test(s, "random bytes, hex", test_random);
}
