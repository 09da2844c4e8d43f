// SPDX-License-Identifier: MIT
/* lib/base: arena, buffers and the JSON writer, time, ids, errors, log lines. */
#include <CUnit/Basic.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/arena.h"
#include "lib/base/buf.h"
#include "lib/base/clock.h"
#include "lib/base/error.h"
#include "lib/base/id.h"
#include "lib/base/json.h"
#include "lib/base/log.h"
#include "lib/base/place.h"
#include "lib/base/utf8.h"

void suite_base(void);

static struct arena arena;
static struct error error;
static struct buf buf;

static int setup(void)
{
	arena_init(&arena);
	buf_init(&buf);
	return 0;
}

static int teardown(void)
{
	arena_release(&arena);
	buf_release(&buf);
	return 0;
}

/* --- arena ---------------------------------------------------------------------------------------------- */

static void test_arena_alloc(void)
{
	struct arena a;
	unsigned char *p[600];
	size_t sum = 0;

	arena_init(&a);
	for (size_t i = 0; i < 600; i++) {
		/* Mostly small, some larger than a chunk. */
		size_t n = i % 50 == 49 ? 20000 + i : i;

		p[i] = arena_alloc(&a, n);
		CU_ASSERT_EQUAL((uintptr_t)p[i] % _Alignof(max_align_t), 0);
		memset(p[i], (int)(i & 0xff), n);
		sum += n;
	}
	CU_ASSERT(a.used >= sum);
	for (size_t i = 0; i < 600; i++) {
		size_t n = i % 50 == 49 ? 20000 + i : i;

		for (size_t k = 0; k < n; k++) {
			if (p[i][k] != (i & 0xff)) {
				CU_FAIL("two allocations overlap");
				break;
			}
		}
	}
	arena_reset(&a);
	CU_ASSERT_EQUAL(a.used, 0);
	unsigned char *zero = arena_zalloc(&a, 1000);

	for (size_t i = 0; i < 1000; i++)
		CU_ASSERT_EQUAL_FATAL(zero[i], 0);
	arena_release(&a);
	arena_release(&a);
}

/* A loan of a megabyte is returned at the reset; the first chunk stays. */
static void test_arena_reset(void)
{
	struct arena a;

	arena_init(&a);
	char *small = arena_alloc(&a, 10);
	char *big = arena_alloc(&a, 1 << 20);

	memset(big, 1, 1 << 20);
	/* What was left of the chunk is still used after a large one-off. */
	CU_ASSERT_PTR_EQUAL(arena_alloc(&a, 16), small + 16);
	arena_reset(&a);
	CU_ASSERT_PTR_EQUAL(arena_alloc(&a, 10), small);
	arena_reset(&a);
	/* Only large ones: nothing to keep. */
	arena_release(&a);
	arena_init(&a);
	memset(arena_alloc(&a, 50000), 1, 50000);
	arena_reset(&a);
	CU_ASSERT_PTR_NULL(a.head);
	CU_ASSERT_PTR_NOT_NULL(arena_alloc(&a, 0));
	arena_release(&a);
}

static void test_arena_wipe(void)
{
	struct arena a;

	arena_init_wiped(&a);
	char *secret = arena_strdup(&a, "correct horse battery staple");

	arena_reset(&a);
	/* The chunk is kept, so its bytes may be looked at. */
	for (size_t i = 0; i < 28; i++)
		CU_ASSERT_EQUAL(secret[i], 0);
	CU_ASSERT(a.wipe);
	arena_release(&a);
}

static void test_arena_strings(void)
{
	CU_ASSERT_PTR_NULL(arena_strdup(&arena, NULL));
	CU_ASSERT_STRING_EQUAL(arena_strdup(&arena, ""), "");
	CU_ASSERT_STRING_EQUAL(arena_strndup(&arena, "abcdef", 3), "abc");
	CU_ASSERT_STRING_EQUAL(arena_printf(&arena, "%d-%s", 7, "x"), "7-x");
	char *wide = arena_printf(&arena, "%040000d", 5);

	CU_ASSERT_EQUAL(strlen(wide), 40000);
	CU_ASSERT_EQUAL(wide[39999], '5');
	char *copy = xstrdup("x");

	copy = xrealloc(copy, 0);
	free(copy);
	free(xmalloc(0));
	free(xcalloc(0, 8));
}

/* --- buffers and the writer -------------------------------------------------------------------------------- */

static void test_buf(void)
{
	struct buf b;

	buf_init(&b);
	CU_ASSERT_STRING_EQUAL(b.p, "");
	for (int i = 0; i < 10000; i++) {
		buf_addf(&b, "%d,", i % 10);
		CU_ASSERT_EQUAL_FATAL(b.p[b.n], '\0');
	}
	CU_ASSERT_EQUAL(b.n, 20000);
	buf_addf(&b, "%s", "");
	buf_addf(&b, "%0300d", 1);
	CU_ASSERT_EQUAL(b.n, 20300);
	buf_reset(&b);
	CU_ASSERT_EQUAL(b.n, 0);
	CU_ASSERT(b.cap >= 20300);
	buf_grow(&b, 100000);
	buf_reset(&b);
	CU_ASSERT(b.cap < 100000);
	buf_add(&b, "a\0b", 3);
	buf_addc(&b, 'c');
	buf_adds(&b, "d");
	CU_ASSERT_EQUAL(memcmp(b.p, "a\0bcd", 6), 0);
	buf_release(&b);
	buf_release(&b);
}

static void test_escapes(void)
{
	static const struct { const char *in; size_t n; const char *out; } cases[] = {
		{ "plain", 5, "plain" }, { "\"\\/", 3, "\\\"\\\\/" }, { "\n\r\t\b\f", 5, "\\n\\r\\t\\u0008\\u000c" },
		{ "\0\x1f\x7f", 3, "\\u0000\\u001f\\u007f" }, { "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", 9, "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80" },
		{ "a\xff""b", 3, "a\\ufffdb" }, { "\xc3", 1, "\\ufffd" }, { "\xed\xa0\x80", 3, "\\ufffd\\ufffd\\ufffd" },
		{ "\xf0\x9f\x98", 3, "\\ufffd\\ufffd\\ufffd" }, { "\xc0\x80", 2, "\\ufffd\\ufffd" }, { "", 0, "" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		buf_reset(&buf);
		buf_add_json_escaped(&buf, cases[i].in, cases[i].n);
		CU_ASSERT_STRING_EQUAL(buf.p, cases[i].out);
	}
	/* Every byte, alone and between others, makes a string that the reader takes. */
	for (int c = 0; c < 256; c++) {
		char text[3] = { 'x', (char)c, 'y' };
		struct jv *v;

		buf_reset(&buf);
		buf_addc(&buf, '"');
		buf_add_json_escaped(&buf, text, 3);
		buf_addc(&buf, '"');
		error_init(&error, &arena);
		CU_ASSERT_EQUAL_FATAL(json_parse(&arena, buf.p, buf.n, 0, &v, &error), OK);
		CU_ASSERT(c >= 0x80 ? v->str_len == 5 : v->str_len == 3 && v->str[1] == (char)c);
	}
}

static void test_writer(void)
{
	struct jw w;

	buf_reset(&buf);
	jw_init(&w, &buf);
	jw_obj(&w);
	jw_kstr(&w, "s", "a\"b");
	jw_kstr(&w, "none", NULL);
	jw_kint(&w, "min", INT64_MIN);
	jw_kdouble(&w, "d", 0.5);
	jw_kbool(&w, "b", false);
	jw_knull(&w, "z");
	jw_kraw(&w, "raw", "[1, 2]");
	jw_kraw(&w, "raw0", NULL);
	jw_kraw(&w, "raw1", "");
	jw_ktime(&w, "t", 1767225600123);
	jw_ktime(&w, "t0", 0);
	jw_key(&w, "k\n");
	jw_arr(&w);
	jw_arr(&w);
	jw_end_arr(&w);
	jw_obj(&w);
	jw_end_obj(&w);
	jw_bool(&w, true);
	jw_strn(&w, "xyz", 2);
	jw_int(&w, -1);
	jw_end_arr(&w);
	jw_kint(&w, "last", 1);
	jw_end_obj(&w);
	CU_ASSERT_STRING_EQUAL(buf.p, "{\"s\":\"a\\\"b\",\"none\":null,\"min\":-9223372036854775808,\"d\":0.5,\"b\":false,"
			       "\"z\":null,\"raw\":[1, 2],\"raw0\":null,\"raw1\":null,\"t\":\"2026-01-01T00:00:00.123Z\","
			       "\"t0\":null,\"k\\n\":[[],{},true,\"xy\",-1],\"last\":1}");
	CU_ASSERT_EQUAL(w.depth, 0);
	error_init(&error, &arena);
	CU_ASSERT_EQUAL(json_parse(&arena, buf.p, buf.n, JSON_BUILD_ALL, NULL, &error), OK);
}

static void test_doubles(void)
{
	static const struct { double v; const char *text; } cases[] = {
		{ 0, "0" }, { 1, "1" }, { -1.5, "-1.5" }, { 0.1, "0.1" }, { 0.2, "0.2" }, { 0.1 + 0.2, "0.30000000000000004" },
		{ 1e21, "1e+21" }, { 1e-7, "1e-07" }, { 123456789, "123456789" }, { NAN, "null" }, { INFINITY, "null" },
		{ -INFINITY, "null" }, { 1.0 / 3, "0.3333333333333333" }, { 1.7976931348623157e308, "1.7976931348623157e+308" },
		{ 5e-324, "4.94066e-324" }, { 100, "100" },
	};
	struct jw w;
	uint64_t bits = 88172645463325252u;

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		buf_reset(&buf);
		jw_init(&w, &buf);
		jw_double(&w, cases[i].v);
		CU_ASSERT_STRING_EQUAL(buf.p, cases[i].text);
	}
	/* Any double reads back as itself. */
	for (int i = 0; i < 20000; i++) {
		double v;

		bits ^= bits << 13;
		bits ^= bits >> 7;
		bits ^= bits << 17;
		memcpy(&v, &bits, sizeof(v));
		if (!isfinite(v))
			continue;
		buf_reset(&buf);
		jw_init(&w, &buf);
		jw_double(&w, v);
		CU_ASSERT_FATAL(strtod(buf.p, NULL) == v);
	}
}

static void test_utf8(void)
{
	/* What is written is read, over every code point; surrogates are not characters. */
	for (uint32_t cp = 1; cp <= 0x10ffff; cp += cp < 0x11000 ? 1 : 257) {
		char text[5] = "";
		size_t n = utf8_encode(cp, text);
		bool surrogate = cp >= 0xd800 && cp <= 0xdfff;

		text[n] = '\0';
		CU_ASSERT_EQUAL_FATAL(utf8_char_len(text, n), surrogate ? 0 : n);
		if (n > 1)
			CU_ASSERT_EQUAL_FATAL(utf8_char_len(text, n - 1), 0);
		if (!surrogate)
			CU_ASSERT_EQUAL_FATAL(utf8_count(text), 1);
	}
	CU_ASSERT(utf8_valid("", 0));
	CU_ASSERT(utf8_valid("a\xc3\xa9", 3));
	CU_ASSERT_FALSE(utf8_valid("a\xc3\xa9", 2));
	CU_ASSERT_EQUAL(utf8_count("a\xc3\xa9\xf0\x9f\x98\x80z"), 4);
}

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
		"", "2026", "2026-01-31", "2026-01-31T12:00Z", "2026-01-31T12:00:00", "2026-01-31T12:00:00.Z", "26-01-31T12:00:00Z",
		"2026-1-31T12:00:00Z", "2026-01-31T12:00:00.1234567890Z", "2026-01-31T24:00:00Z", "2026-01-31T12:60:00Z",
		"2026-01-31T12:00:61Z", "2026-00-31T12:00:00Z", "2026-13-31T12:00:00Z", "2026-01-00T12:00:00Z",
		"2026-01-32T12:00:00Z", "2026-04-31T12:00:00Z", "2026-02-29T12:00:00Z", "2100-02-29T12:00:00Z",
		"1969-12-31T23:59:59Z", "1970-01-01T00:00:00+00:01", "9999-12-31T23:59:59-00:01", "9999-12-31T23:59:60Z",
		"2026-01-31T12:00:00+24:00", "2026-01-31T12:00:00+05:60", "2026-01-31T12:00:00+0530", "2026-01-31T12:00:00+5:30",
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

	id_new(id);
	CU_ASSERT_EQUAL(strlen(id), ID_LEN);
	CU_ASSERT(id_valid(id));
	CU_ASSERT_EQUAL(id[14], '7');
	CU_ASSERT_PTR_NOT_NULL(strchr("89ab", id[19]));
	CU_ASSERT(id_to_bytes(id, bytes));
	int64_t ms = 0;

	for (int i = 0; i < 6; i++)
		ms = ms << 8 | bytes[i];
	CU_ASSERT(ms >= before && ms <= now_ms() + 1);
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
		"01234567-89AB-7000-8000-000000000000", "0123456789ab-7000-8000-000000000000-", "01234567-89ab-7000-8000-00000000000g",
		"01234567+89ab-7000-8000-000000000000", "{01234567-89ab-7000-8000-00000000000}", "0123456789ab70008000000000000000",
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

/* --- errors ---------------------------------------------------------------------------------------------------------- */

static void test_error_table(void)
{
	for (int code = OK; code < ERR_COUNT; code++) {
		int status = err_status((enum err)code);

		CU_ASSERT(status == 200 || (status >= 400 && status <= 504));
		CU_ASSERT(*err_type((enum err)code) && *err_text((enum err)code) && *err_name((enum err)code));
		CU_ASSERT(code == OK || *err_message((enum err)code));
		/* The text is what clients switch on: one code, one text. */
		for (int other = OK; other < code; other++)
			CU_ASSERT_STRING_NOT_EQUAL(err_text((enum err)other), err_text((enum err)code));
	}
	CU_ASSERT_EQUAL(err_status(ERR_COUNT), 500);
	CU_ASSERT_STRING_EQUAL(err_name((enum err)9999), "ERR_INTERNAL");
	CU_ASSERT_EQUAL(err_status(ERR_STALE_FENCE), 409);
	CU_ASSERT_STRING_EQUAL(err_type(ERR_VALIDATION), "validation");
}

static void test_error_fields(void)
{
	char path[ERROR_PATH_MAX + 50];
	unsigned listed = 0;

	error_init(&error, &arena);
	CU_ASSERT_EQUAL(error_set(&error, ERR_INTERNAL, "%s %d", "sqlite says", 5), ERR_INTERNAL);
	CU_ASSERT_STRING_EQUAL(error.detail, "sqlite says 5");
	CU_ASSERT_EQUAL(error_public(&error, ERR_CONFLICT, "%0300d", 1), ERR_CONFLICT);
	CU_ASSERT_EQUAL(strlen(error.message), sizeof(error.message) - 1);
	/* A code that was set stays. */
	CU_ASSERT_EQUAL(error_field(&error, "$.x", "bad", "%s", "m"), ERR_CONFLICT);
	error_init(&error, &arena);
	for (int i = 0; i < 250; i++)
		CU_ASSERT_EQUAL(error_field(&error, arena_printf(&arena, "$[%d]", i), "bad", "item %d", i), ERR_VALIDATION);
	for (const struct field_error *f = error.fields; f; f = f->next, listed++)
		CU_ASSERT_STRING_EQUAL(f->message, arena_printf(&arena, "item %u", listed));
	CU_ASSERT_EQUAL(listed, ERROR_FIELDS_MAX);
	CU_ASSERT_EQUAL(error.n_fields, 250);
	/* A path is the caller's text: cut, and never inside a character. */
	for (size_t shift = 0; shift < 3; shift++) {
		memset(path, 'x', shift);
		for (size_t i = shift; i + 3 < sizeof(path); i += 3)
			memcpy(path + i, "\xe2\x82\xac", 4);
		error_init(&error, &arena);
		error_field(&error, path, "bad", "%s", "m");
		CU_ASSERT(strlen(error.fields->path) <= ERROR_PATH_MAX + 3);
		CU_ASSERT(utf8_valid(error.fields->path, strlen(error.fields->path)));
		CU_ASSERT_STRING_EQUAL(error.fields->path + strlen(error.fields->path) - 3, "…");
	}
}

static void test_place(void)
{
	error_init(&error, &arena);
	struct place root = place_root(&arena, &error, "$");
	struct place stages = place_member(&root, "stages");
	struct place third = place_item(&stages, 2);
	struct place odd = place_member(&third, "a.b \"c\"");
	struct place none = place_member(&odd, "");

	complain(&root, "c", "%s", "m");
	complain(&third, "c", "%s", "m");
	complain(&none, "c", "%d", 7);
	CU_ASSERT_STRING_EQUAL(error.fields->path, "$");
	CU_ASSERT_STRING_EQUAL(error.fields->next->path, "$.stages[2]");
	CU_ASSERT_STRING_EQUAL(error.fields->next->next->path, "$.stages[2][\"a.b \\\"c\\\"\"][\"\"]");
	CU_ASSERT_STRING_EQUAL(error.fields->next->next->message, "7");
}

/* --- log --------------------------------------------------------------------------------------------------------------- */

/* What one call writes to stderr, as a tree. */
static const struct jv *logged(void (*call)(void))
{
	static char text[8192];
	int pipes[2];
	int keep = dup(STDERR_FILENO);
	struct jv *v = NULL;

	CU_ASSERT_FATAL(keep >= 0 && pipe(pipes) == 0);
	dup2(pipes[1], STDERR_FILENO);
	call();
	dup2(keep, STDERR_FILENO);
	close(keep);
	close(pipes[1]);
	ssize_t n = read(pipes[0], text, sizeof(text));

	close(pipes[0]);
	if (n <= 0)
		return NULL;
	/* One line, whole. */
	CU_ASSERT_PTR_EQUAL(memchr(text, '\n', (size_t)n), text + n - 1);
	error_init(&error, &arena);
	CU_ASSERT_EQUAL(json_parse(&arena, text, (size_t)n, JSON_BUILD_ALL, &v, &error), OK);
	return v;
}

static void say_info(void)
{
	log_info("hello \"%s\"\n\x01", "w\xff");
}

static void say_debug(void)
{
	log_debug("%s", "not shown");
	log_at(LOG_DEBUG, "%s", "not shown");
}

static void say_error(void)
{
	struct error e;

	error_init(&e, &arena);
	(void)error_set(&e, ERR_UNAVAILABLE, "connection refused");
	log_error(LOG_ERROR, &e, "%s", "no store");
}

static void say_timed(void)
{
	log_timed(LOG_WARN, 1500, "%0*d", 5000, 1);
}

static void test_log(void)
{
	enum log_level level = LOG_INFO;
	int64_t ms;

	log_init("unit", LOG_INFO);
	*log_context() = (struct log_context){ .request_id = "r-1", .task_id = "t-1", .user_id = "" };
	const struct jv *v = logged(say_info);

	CU_ASSERT_PTR_NOT_NULL_FATAL(v);
	CU_ASSERT_STRING_EQUAL(jv_str(v, "level"), "INFO");
	CU_ASSERT_STRING_EQUAL(jv_str(v, "component"), "unit");
	CU_ASSERT_STRING_EQUAL(jv_str(v, "message"), "hello \"w\xef\xbf\xbd\"\n\x01");
	CU_ASSERT_STRING_EQUAL(jv_str(v, "request_id"), "r-1");
	CU_ASSERT_STRING_EQUAL(jv_text(&arena, jv_get(v, "context")), "{\"task_id\":\"t-1\"}");
	CU_ASSERT(time_parse(jv_str(v, "timestamp"), &ms));
	log_context_clear();
	CU_ASSERT_PTR_NULL(logged(say_debug));
	log_set_level(LOG_DEBUG);
	CU_ASSERT(log_enabled(LOG_DEBUG));
	log_set_level(LOG_INFO);
	v = logged(say_error);
	CU_ASSERT_STRING_EQUAL(jv_str(jv_get(v, "error"), "type"), "store_unavailable");
	CU_ASSERT_STRING_EQUAL(jv_str(jv_get(v, "error"), "message"), "connection refused");
	CU_ASSERT_PTR_NULL(jv_get(v, "request_id"));
	v = logged(say_timed);
	CU_ASSERT_EQUAL(jv_double_or(v, "duration_ms", 0), 1.5);
	CU_ASSERT(strlen(jv_str(v, "message")) < 1024);
	CU_ASSERT(log_level_parse("warning", &level) && level == LOG_WARN);
	CU_ASSERT(log_level_parse("Critical", &level) && level == LOG_CRITICAL);
	CU_ASSERT_FALSE(log_level_parse("loud", &level));
	CU_ASSERT_EQUAL(level, LOG_CRITICAL);
}

void suite_base(void)
{
	CU_pSuite s = CU_add_suite("base", setup, teardown);

	CU_add_test(s, "arena: allocations do not overlap", test_arena_alloc);
	CU_add_test(s, "arena: reset", test_arena_reset);
	CU_add_test(s, "arena: secrets are wiped", test_arena_wipe);
	CU_add_test(s, "arena: strings", test_arena_strings);
	CU_add_test(s, "buf", test_buf);
	CU_add_test(s, "escapes", test_escapes);
	CU_add_test(s, "JSON writer", test_writer);
	CU_add_test(s, "doubles", test_doubles);
	CU_add_test(s, "UTF-8", test_utf8);
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
	CU_add_test(s, "error table", test_error_table);
	CU_add_test(s, "bad fields", test_error_fields);
	CU_add_test(s, "paths", test_place);
	CU_add_test(s, "log lines", test_log);
}
