// SPDX-License-Identifier: MIT
/* The last hour, minute by minute (lib/base/metrics.h). */
#include <CUnit/CUnit.h>
#include <unistd.h>

#include "../../lib/base/clock.h"
#include "../../lib/base/metrics.h"

#define MINUTE 60000

void suite_minutes(void);

static char path[] = "/tmp/mcp-minutes.XXXXXX";

static int64_t shifted;

static void later(int64_t ms)
{
	clock_shift(ms);
	shifted += ms;
}

static int setup(void)
{
	struct error e;
	int fd = mkstemp(path);

	error_init(&e, NULL);
	if (fd < 0)
		return 1;
	close(fd);
	/* Shortly after the turn of a minute, so that no test runs across one. */
	later(MINUTE - now_ms() % MINUTE + 1000);
	return metrics_open(path, &e);
}

static int teardown(void)
{
	unlink(path);
	later(-shifted);
	return 0;
}

static void test_counts(void)
{
	struct minute_view m[MINUTES_SHOWN];

	minute_add(MINUTE_CREATED, 3);
	minute_add(MINUTE_FAILED, 1);
	later(MINUTE);
	minute_add(MINUTE_CREATED, 2);
	minutes_read(2, m);
	CU_ASSERT_EQUAL(m[0].count[MINUTE_CREATED], 3);
	CU_ASSERT_EQUAL(m[0].count[MINUTE_FAILED], 1);
	CU_ASSERT_EQUAL(m[1].count[MINUTE_CREATED], 2);
	CU_ASSERT_EQUAL(m[1].count[MINUTE_FAILED], 0);
	CU_ASSERT_EQUAL(m[1].at - m[0].at, MINUTE);
	CU_ASSERT_EQUAL(m[1].at, now_ms() / MINUTE * MINUTE);
	minutes_read(MINUTES_SHOWN, m);
	CU_ASSERT_EQUAL(m[MINUTES_SHOWN - 2].count[MINUTE_CREATED], 3);
	CU_ASSERT_EQUAL(m[0].count[MINUTE_CREATED], 0);
}

static void test_quantiles(void)
{
	struct minute_view m;

	later(MINUTE);
	minutes_read(1, &m);
	CU_ASSERT(m.p50_ms[MINUTE_REQUEST] < 0 && m.p95_ms[MINUTE_TASK] < 0);
	/* Ninety in the bucket from 1 to 2.5 ms, ten in the one from 50 to 100 ms. */
	for (int i = 0; i < 100; i++)
		minute_observe(MINUTE_REQUEST, i < 90 ? 2000 : 80000);
	minutes_read(1, &m);
	CU_ASSERT(m.p50_ms[MINUTE_REQUEST] > 1 && m.p50_ms[MINUTE_REQUEST] < 2.5);
	CU_ASSERT(m.p95_ms[MINUTE_REQUEST] > 50 && m.p95_ms[MINUTE_REQUEST] <= 100);
	CU_ASSERT(m.p95_ms[MINUTE_TASK] < 0);
	/* What is longer than every bound reads as the last of them. */
	minute_observe(MINUTE_TASK, 3600LL * 1000000);
	minutes_read(1, &m);
	CU_ASSERT_EQUAL(m.p50_ms[MINUTE_TASK], 600000);
}

/* A place in the ring is used again 64 minutes later: nothing of the old minute may be left in it. */
static void test_ring(void)
{
	struct minute_view m;

	later(MINUTE);
	minute_add(MINUTE_COMPLETED, 9);
	minute_observe(MINUTE_ASSIGNMENT, 500);
	later(64 * MINUTE);
	minutes_read(1, &m);
	CU_ASSERT_EQUAL(m.count[MINUTE_COMPLETED], 0);
	minute_add(MINUTE_COMPLETED, 1);
	minutes_read(1, &m);
	CU_ASSERT_EQUAL(m.count[MINUTE_COMPLETED], 1);
	CU_ASSERT(m.p50_ms[MINUTE_ASSIGNMENT] < 0);
}

/* The file is what a restarted process finds again. */
static void test_reopened(void)
{
	struct minute_view m;
	struct error e;

	error_init(&e, NULL);
	later(MINUTE);
	minute_add(MINUTE_REQUESTS, 7);
	CU_ASSERT_EQUAL(metrics_open(path, &e), OK);
	minutes_read(1, &m);
	CU_ASSERT_EQUAL(m.count[MINUTE_REQUESTS], 7);
}

void suite_minutes(void)
{
	CU_pSuite s = CU_add_suite("minutes", setup, teardown);

	CU_add_test(s, "counts", test_counts);
	CU_add_test(s, "quantiles", test_quantiles);
	CU_add_test(s, "the ring turns", test_ring);
	CU_add_test(s, "kept in the file", test_reopened);
}
