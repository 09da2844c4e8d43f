// SPDX-License-Identifier: MIT
/* Records: compare and set by revision, uniqueness, lists, purge. */
#include "contract.h"

static struct record rec(enum record_kind kind, const char *id)
{
	return (struct record){ .kind = kind, .id = id, .s1 = "", .s2 = "", .s3 = "", .body = "{}" };
}

static struct record *rget(enum record_kind kind, const char *id)
{
	struct record *r;

	OKAY(store_rec_get(T.s, kind, id, &T.a, &r, &T.e));
	return r;
}

static void round_trip(void)
{
	char long_id[257];

	memset(long_id, 'i', 256);
	long_id[256] = '\0';
	for (int kind = 0; kind < REC_KIND_COUNT; kind++) {
		const char *ids[] = { "a", long_id, "ключ/'\"$.", "with space" };

		for (int i = 0; i < 4; i++) {
			struct record r = { .kind = (enum record_kind)kind, .id = ids[i], .n1 = INT64_MIN, .n2 = INT64_MAX,
					    .s1 = ids[i], .s2 = "s2 'x'", .s3 = "", .body = "{\"a\":[1,2.50,\"\\u0041\"]}" };
			struct record *got;
			int64_t rev;

			OKAY(put(T.s, &r, REV_ABSENT, &rev, NULL));
			EQ(rev, 1);
			got = rget(r.kind, ids[i]);
			CU_ASSERT_PTR_NOT_NULL_FATAL(got);
			EQ(got->kind, kind);
			EQ(got->rev, 1);
			STR(got->id, ids[i]);
			STR(got->s1, r.s1);
			STR(got->s2, r.s2);
			STR(got->s3, "");
			EQ(got->n1, INT64_MIN);
			EQ(got->n2, INT64_MAX);
			STR(got->body, r.body);	/* byte for byte */
		}
		CU_ASSERT_PTR_NULL(rget((enum record_kind)kind, "none"));
	}
}

static void revisions(void)
{
	struct record r = rec(REC_AGENT, "a1");
	enum store_op_result res;
	int64_t rev;

	EXPECT(put(T.s, &r, 1, &rev, &res), ERR_CONFLICT);
	EQ(res, SOP_MISSING);
	OKAY(put(T.s, &r, REV_ABSENT, &rev, &res));
	EQ(rev, 1);
	EXPECT(put(T.s, &r, REV_ABSENT, &rev, &res), ERR_CONFLICT);
	EQ(res, SOP_EXISTS);
	r.body = "{\"v\":2}";
	OKAY(put(T.s, &r, 1, &rev, &res));
	EQ(rev, 2);
	r.body = "{\"v\":3}";
	EXPECT(put(T.s, &r, 1, &rev, &res), ERR_CONFLICT);
	EQ(res, SOP_REFUSED);
	STR(rget(REC_AGENT, "a1")->body, "{\"v\":2}");
	OKAY(put(T.s, &r, REV_ANY, &rev, &res));
	EQ(rev, 3);
	EQ(rget(REC_AGENT, "a1")->rev, 3);
	EXPECT(rec_delete(T.s, REC_AGENT, "a1", 2, &res), ERR_CONFLICT);
	EQ(res, SOP_REFUSED);
	OKAY(rec_delete(T.s, REC_AGENT, "a1", 3, &res));
	CU_ASSERT_PTR_NULL(rget(REC_AGENT, "a1"));
	EXPECT(rec_delete(T.s, REC_AGENT, "a1", REV_ANY, &res), ERR_CONFLICT);
	EQ(res, SOP_MISSING);
	OKAY(put(T.s, &r, REV_ANY, &rev, &res));
	EQ(rev, 1);
	OKAY(rec_delete(T.s, REC_AGENT, "a1", REV_ANY, &res));
}

static void unique_names(void)
{
	static const enum record_kind kinds[] = { REC_USER, REC_API_KEY };
	enum store_op_result res;
	struct record *got;

	for (int i = 0; i < 2; i++) {
		struct record a = rec(kinds[i], "a"), b = rec(kinds[i], "b"), none1 = rec(kinds[i], "n1"),
			      none2 = rec(kinds[i], "n2");

		a.s1 = "alice";
		b.s1 = "bob";
		OKAY(put(T.s, &a, REV_ABSENT, NULL, NULL));
		OKAY(put(T.s, &b, REV_ABSENT, NULL, NULL));
		OKAY(put(T.s, &none1, REV_ABSENT, NULL, NULL));
		OKAY(put(T.s, &none2, REV_ABSENT, NULL, NULL));	/* the empty one may be there twice */
		OKAY(store_rec_by_s1(T.s, kinds[i], "bob", &T.a, &got, &T.e));
		STR(got->id, "b");
		OKAY(store_rec_by_s1(T.s, kinds[i], "carol", &T.a, &got, &T.e));
		CU_ASSERT_PTR_NULL(got);
		OKAY(store_rec_by_s1(T.s, kinds[i], "Bob", &T.a, &got, &T.e));
		CU_ASSERT_PTR_NULL(got);

		struct record c = rec(kinds[i], "c");

		c.s1 = "alice";
		EXPECT(put(T.s, &c, REV_ABSENT, NULL, &res), ERR_CONFLICT);
		EQ(res, SOP_EXISTS);
		EXPECT(put(T.s, &c, REV_ANY, NULL, &res), ERR_CONFLICT);
		EQ(res, SOP_EXISTS);
		b.s1 = "alice";
		EXPECT(put(T.s, &b, 1, NULL, &res), ERR_CONFLICT);	/* a change of name into a taken one */
		EQ(res, SOP_EXISTS);
		OKAY(store_rec_by_s1(T.s, kinds[i], "bob", &T.a, &got, &T.e));
		STR(got->id, "b");
		OKAY(rec_delete(T.s, kinds[i], "a", REV_ANY, NULL));
		OKAY(put(T.s, &b, 1, NULL, NULL));	/* free again */
	}
	/* kinds that are not unique take the same s1 twice */
	struct record x = rec(REC_PIPELINE, "x"), y = rec(REC_PIPELINE, "y");

	x.s1 = y.s1 = "same";
	OKAY(put(T.s, &x, REV_ABSENT, NULL, NULL));
	OKAY(put(T.s, &y, REV_ABSENT, NULL, NULL));
}

/* Two requests for one new name at the same time: one wins. */
static void *claim_name(void *arg)
{
	int *wins = arg;
	struct arena a;
	struct error e;
	char id[ID_TEXT];

	arena_init(&a);
	for (int i = 0; i < 30; i++) {
		struct record r = rec(REC_USER, id);
		struct store_op op = { .kind = SOP_REC_PUT, .rec = &r, .expect_rev = REV_ABSENT };
		struct store_unit u = { .ops = &op, .n = 1, .arena = &a, .error = &e };
		char name[16];

		error_init(&e, &a);
		id_new(id);
		snprintf(name, sizeof(name), "user%d", i);
		r.s1 = name;
		enum err err = store_apply(T.s, &u);

		if (err == OK)
			++*wins;
		else if (err != ERR_CONFLICT || op.result != SOP_EXISTS)
			*wins += 1000000;
	}
	arena_release(&a);
	return NULL;
}

static void unique_under_race(void)
{
	pthread_t t[8];
	int wins[8] = { 0 }, sum = 0;

	for (int i = 0; i < 8; i++)
		pthread_create(&t[i], NULL, claim_name, &wins[i]);
	for (int i = 0; i < 8; i++) {
		pthread_join(t[i], NULL);
		sum += wins[i];
	}
	EQ(sum, 30);
}

/* --- lists --------------------------------------------------------------------------------------------------- */

#define N 300

struct model {
	char id[24], s1[8], s2[8], s3[8];
	int64_t n1, n2;
};

static bool matches(const struct rec_filter *f, const struct model *m)
{
	return (!f->s1 || !strcmp(f->s1, m->s1)) && (!f->s2 || !strcmp(f->s2, m->s2)) &&
	       (!f->s3 || !strcmp(f->s3, m->s3)) && (!f->has_n1_max || m->n1 <= f->n1_max) &&
	       (!f->has_n2 || m->n2 == f->n2);
}

static int by_id(const void *a, const void *b)
{
	return strcmp(((const struct model *)a)->id, ((const struct model *)b)->id);
}

static int by_n1(const void *a, const void *b)
{
	const struct model *x = a, *y = b;

	return x->n1 != y->n1 ? (x->n1 > y->n1) - (x->n1 < y->n1) : by_id(a, b);
}

static void compare_list(struct rec_filter f, const struct model *m)
{
	int at = f.descending ? N - 1 : 0, step = f.descending ? -1 : 1, rounds = 0;
	struct rec_page page;

	do {
		OKAY(store_recs_list(T.s, &f, &T.a, &page, &T.e));
		CU_ASSERT_TRUE_FATAL(page.n <= f.limit);
		for (int i = 0; i < page.n; i++, at += step) {
			while (at >= 0 && at < N && !matches(&f, &m[at]))
				at += step;
			CU_ASSERT_TRUE_FATAL(at >= 0 && at < N);
			STR(page.items[i]->id, m[at].id);
			EQ(page.items[i]->n1, m[at].n1);
			STR(page.items[i]->body, "{\"b\":1}");
		}
		if (page.n)
			CU_ASSERT_PTR_NOT_NULL_FATAL(page.last);
		f.after = page.last;
		if (f.by_n1)
			break;
		CU_ASSERT_TRUE_FATAL(++rounds < 2 * N);
	} while (page.more);
	while (at >= 0 && at < N && !matches(&f, &m[at]))
		at += step;
	if (!f.by_n1 || !page.more)
		CU_ASSERT_TRUE(at < 0 || at >= N);
	if (f.by_n1 && page.n < f.limit)
		CU_ASSERT_FALSE(page.more);
}

static struct rec_filter random_filter(enum record_kind kind, unsigned *seed)
{
	static const char *const words[] = { "a", "b", "c", "" };
	struct rec_filter f = { .kind = kind, .limit = 1 + rand_r(seed) % 120 };

	if (rand_r(seed) % 3 == 0)
		f.s1 = words[rand_r(seed) % 4];
	if (rand_r(seed) % 3 == 0)
		f.s2 = words[rand_r(seed) % 4];
	if (rand_r(seed) % 3 == 0)
		f.s3 = words[rand_r(seed) % 4];
	if ((f.has_n1_max = rand_r(seed) % 3 == 0))
		f.n1_max = rand_r(seed) % 50 - 5;
	if ((f.has_n2 = rand_r(seed) % 3 == 0))
		f.n2 = rand_r(seed) % 3;
	if (rand_r(seed) % 3 == 0)
		f.by_n1 = true;
	else
		f.descending = rand_r(seed) % 2;
	return f;
}

static void lists(void)
{
	static const char *const words[] = { "a", "b", "c", "" };
	static const enum record_kind kinds[] = { REC_AGENT, REC_EXECUTION, REC_OUTBOX, REC_SETTING, REC_IDEMPOTENCY };
	struct model *m = arena_calloc(&T.a, N, sizeof(*m));
	struct store_op *ops = arena_calloc(&T.a, N, sizeof(*ops));
	struct store_unit u = { .ops = ops, .n = N, .arena = &T.a, .error = &T.e };
	unsigned seed = 42;

	for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
		for (int i = 0; i < N; i++) {
			struct record *r = arena_new(&T.a, struct record);

			snprintf(m[i].id, sizeof(m[i].id), "%08x-%d", (unsigned)rand_r(&seed), i);
			snprintf(m[i].s1, sizeof(m[i].s1), "%s", words[rand_r(&seed) % 4]);
			snprintf(m[i].s2, sizeof(m[i].s2), "%s", words[rand_r(&seed) % 4]);
			snprintf(m[i].s3, sizeof(m[i].s3), "%s", words[rand_r(&seed) % 4]);
			m[i].n1 = rand_r(&seed) % 40;
			m[i].n2 = rand_r(&seed) % 3;
			*r = (struct record){ .kind = kinds[k], .id = arena_strdup(&T.a, m[i].id), .n1 = m[i].n1, .n2 = m[i].n2,
					      .s1 = arena_strdup(&T.a, m[i].s1), .s2 = arena_strdup(&T.a, m[i].s2),
					      .s3 = arena_strdup(&T.a, m[i].s3), .body = "{\"b\":1}" };
			ops[i] = (struct store_op){ .kind = SOP_REC_PUT, .rec = r, .expect_rev = REV_ABSENT };
		}
		OKAY(store_apply_each(T.s, &u));
		for (int i = 0; i < 120; i++) {
			struct rec_filter f = random_filter(kinds[k], &seed);

			qsort(m, N, sizeof(*m), f.by_n1 ? by_n1 : by_id);
			compare_list(f, m);
		}
	}
}

/* A filter that hardly anything meets ends early, and goes on where it stopped. */
static void scan_bound(void)
{
	enum { MANY = STORE_SCAN_MAX + 6000, BATCH = 2000 };
	struct store_op *ops = arena_calloc(&T.a, BATCH, sizeof(*ops));
	struct record *r = arena_calloc(&T.a, BATCH, sizeof(*r));
	struct rec_filter f = { .kind = REC_SETTING, .s3 = "needle", .limit = 10 };
	struct rec_page page;
	int found = 0, rounds = 0;

	for (int done = 0; done < MANY; done += BATCH) {
		struct store_unit u = { .ops = ops, .n = BATCH, .arena = &T.a, .error = &T.e };

		for (int i = 0; i < BATCH; i++) {
			r[i] = rec(REC_SETTING, arena_printf(&T.a, "%08d", done + i));
			if (done + i == MANY - 5)
				r[i].s3 = "needle";
			ops[i] = (struct store_op){ .kind = SOP_REC_PUT, .rec = &r[i], .expect_rev = REV_ABSENT };
		}
		OKAY(store_apply_each(T.s, &u));
	}
	do {
		OKAY(store_recs_list(T.s, &f, &T.a, &page, &T.e));
		found += page.n;
		f.after = page.last;
		CU_ASSERT_TRUE_FATAL(!page.more || page.last);
		CU_ASSERT_TRUE_FATAL(++rounds < 1000);
	} while (page.more);
	EQ(found, 1);
}

static void purge(void)
{
	int n, total = 0;

	for (int i = 0; i < 100; i++) {
		struct record r = rec(REC_IDEMPOTENCY, arena_printf(&T.a, "k%02d", i));

		r.n1 = i;	/* the first is 0: it never expires */
		OKAY(put(T.s, &r, REV_ABSENT, NULL, NULL));
	}
	OKAY(store_recs_purge(T.s, REC_IDEMPOTENCY, 50, 20, &n, &T.e));
	EQ(n, 20);
	total = n;
	do {
		OKAY(store_recs_purge(T.s, REC_IDEMPOTENCY, 50, 20, &n, &T.e));
		total += n;
	} while (n);
	EQ(total, 49);
	CU_ASSERT_PTR_NOT_NULL(rget(REC_IDEMPOTENCY, "k00"));
	CU_ASSERT_PTR_NULL(rget(REC_IDEMPOTENCY, "k49"));
	CU_ASSERT_PTR_NOT_NULL(rget(REC_IDEMPOTENCY, "k50"));
	OKAY(store_recs_purge(T.s, REC_SESSION, 50, 20, &n, &T.e));
	EQ(n, 0);
}

static void big_bodies(void)
{
	static const size_t sizes[] = { 900, 1100, 4000, 4090, 70000, 4 << 20 };

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		char *body = arena_alloc(&T.a, sizes[i] + 1);
		static const enum record_kind kinds[] = { REC_BLOB, REC_EXECUTION, REC_OUTBOX };

		memset(body, 'b', sizes[i]);
		memcpy(body, "{\"b\":\"", 6);
		memcpy(body + sizes[i] - 2, "\"}", 3);
		for (int k = 0; k < 3; k++) {
			struct record r = rec(kinds[k], arena_printf(&T.a, "blob%zu", i));

			r.body = body;
			OKAY(put(T.s, &r, REV_ABSENT, NULL, NULL));
			STR(rget(kinds[k], r.id)->body, body);
		}
	}
}

const struct contract_case cases_records[] = {
	{ "records of every kind", round_trip },
	{ "revisions", revisions },
	{ "unique names", unique_names },
	{ "unique names raced", unique_under_race },
	{ "lists of records against a model", lists },
	{ "scan bound of records", scan_bound },
	{ "purge of records", purge },
	{ "big bodies", big_bodies },
	{ NULL, NULL },
};
