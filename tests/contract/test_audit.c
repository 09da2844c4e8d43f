// SPDX-License-Identifier: MIT
/* The audit log on a store: with the change or not at all, one chain without gaps whoever writes, and what was touched shows. */
#include "contract.h"

#include <stdatomic.h>
#include <unistd.h>

#include "lib/domain/audit.h"

#define WRITERS 12
#define EACH 20

static struct config cfg = { .password_pepper = (char *)"0123456789abcdef0123456789abcdef", .phi_retention_days = 2190 };
static const struct caller somebody = { .kind = CALLER_USER, .id = "u1", .name = "u1", .role = ROLE_ADMIN, .address = "192.0.2.7",
					.user_agent = "test \"x\"" };

struct desk {
	struct app app;
	struct arena arena;
	struct error error;
	struct op op;
};

static void sit(struct desk *d)
{
	memset(d, 0, sizeof(*d));
	d->app = (struct app){ .cfg = &cfg, .store = T.s, .proc_id = "p" };
	arena_init(&d->arena);
	error_init(&d->error, &d->arena);
	d->op = (struct op){ .app = &d->app, .arena = &d->arena, .err = &d->error, .caller = &somebody, .request_id = "r1", .now = now_ms() };
}

static enum err put_user(struct op *op, const char *id, int64_t expect)
{
	struct record r = { .kind = REC_USER, .id = id, .s1 = id, .s2 = "", .s3 = "", .body = "{}" };
	struct store_op o = { .kind = SOP_REC_PUT, .rec = &r, .expect_rev = expect };
	struct store_unit u = { .ops = &o, .n = 1, .arena = op->arena, .error = op->err };
	enum err err = op_apply(op, &u);

	if (!err) {
		EQ(o.rev, expect + 1);
	} else {
		CU_ASSERT(o.result == SOP_EXISTS || o.result == SOP_REFUSED || o.result == SOP_MISSING);
	}
	return err;
}

struct found {
	bool verified;
	int64_t records, chains, problems;
};

static struct found verify(struct op *op, int64_t from)
{
	struct found f = { 0 };
	struct buf b;
	struct jw w;
	struct jv *v;

	buf_init(&b);
	jw_init(&w, &b);
	EXPECT(audit_verify(op, from, NULL, 100000, &w), OK);
	EXPECT(json_parse(op->arena, b.p, b.n, JSON_BUILD_ALL, &v, op->err), OK);
	f.verified = jv_bool_or(v, "verified", false);
	f.records = jv_int_or(v, "records", -1);
	f.chains = jv_int_or(v, "chains", -1);
	f.problems = jv_int_or(v, "problem_count", -1);
	buf_release(&b);
	return f;
}

/* How many records a filter finds, page by page. */
static int count(struct op *op, struct audit_filter f)
{
	int all = 0;
	const char *next;

	do {
		struct buf b;
		struct jw w;
		int n;

		buf_init(&b);
		jw_init(&w, &b);
		jw_arr(&w);
		EXPECT(audit_list(op, &f, &w, &n, &next), OK);
		jw_end_arr(&w);
		CU_ASSERT(n <= f.limit);
		all += n;
		f.cursor = next;
		buf_release(&b);
	} while (next);
	return all;
}

static void with_the_change(void)
{
	struct desk d;

	sit(&d);
	d.op.audit = &(struct audit){ .kind = "config", .action = "user.create", .resource_type = "user", .made = true };
	EXPECT(put_user(&d.op, "a", REV_ABSENT), OK);
	CU_ASSERT(d.op.audit->written);
	EQ(count(&d.op, (struct audit_filter){ .resource_id = "a", .limit = 10 }), 1);
	/* Refused: neither the change nor a record, and the number is free again. */
	d.op.audit = &(struct audit){ .kind = "config", .action = "user.create", .resource_type = "user", .made = true };
	EXPECT(put_user(&d.op, "a", REV_ABSENT), ERR_CONFLICT);
	CU_ASSERT(!d.op.audit->written);
	EXPECT(put_user(&d.op, "b", REV_ABSENT), OK);
	/* The second unit of an operation is not told again. */
	EXPECT(put_user(&d.op, "c", REV_ABSENT), OK);
	d.op.audit = NULL;
	EXPECT(put_user(&d.op, "c", 1), OK);
	struct found f = verify(&d.op, 0);

	CU_ASSERT(f.verified);
	EQ(f.records, 2);
	EQ(f.chains, 1);
	arena_release(&d.arena);
}

struct writer {
	pthread_t thread;
	int nr;
	atomic_int *wrong;
};

static void *write_many(void *arg)
{
	struct writer *w = arg;

	for (int i = 0; i < EACH; i++) {
		struct desk d;
		struct audit a = { .kind = "authorization", .action = "x", .outcome = "denied", .resource_id = "r" };
		char id[40];

		sit(&d);
		snprintf(id, sizeof(id), "w%d-%d", w->nr, i % 5 == 4 ? 0 : i);
		if (i % 2) {
			if (audit_write(&d.op, &a) || !a.written)
				atomic_fetch_add(w->wrong, 1);
		} else {
			struct record r = { .kind = REC_USER, .id = id, .s1 = id, .s2 = "", .s3 = "", .body = "{}" };
			struct store_op o = { .kind = SOP_REC_PUT, .rec = &r, .expect_rev = REV_ABSENT };
			struct store_unit u = { .ops = &o, .n = 1, .arena = &d.arena, .error = &d.error };

			a.outcome = NULL;
			d.op.audit = &a;
			/* Every fifth is refused: it is there already. */
			enum err err = op_apply(&d.op, &u);

			if (err != (i % 5 == 4 ? ERR_CONFLICT : OK))
				atomic_fetch_add(w->wrong, 1);
		}
		arena_release(&d.arena);
	}
	return NULL;
}

static void many_writers(void)
{
	struct writer w[WRITERS];
	atomic_int wrong = 0;
	struct desk d;
	int refused = 0;

	for (int i = 0; i < EACH; i += 2)
		refused += i % 5 == 4;
	for (int i = 0; i < WRITERS; i++) {
		w[i] = (struct writer){ .nr = i, .wrong = &wrong };
		EQ(pthread_create(&w[i].thread, NULL, write_many, &w[i]), 0);
	}
	for (int i = 0; i < WRITERS; i++)
		pthread_join(w[i].thread, NULL);
	EQ(wrong, 0);
	sit(&d);
	struct found f = verify(&d.op, 0);

	CU_ASSERT(f.verified);
	EQ(f.chains, 1);
	EQ(f.records, WRITERS * (EACH - refused));
	EQ(count(&d.op, (struct audit_filter){ .outcome = "denied", .limit = 7 }), WRITERS * EACH / 2);
	EQ(count(&d.op, (struct audit_filter){ .actor = "u1", .resource_id = "r", .limit = 500 }), f.records);
	EQ(count(&d.op, (struct audit_filter){ .actor = "nobody", .limit = 500 }), 0);
	EQ(count(&d.op, (struct audit_filter){ .from = now_ms() + 60000, .limit = 500 }), 0);
	EQ(count(&d.op, (struct audit_filter){ .to = now_ms() - 60000, .limit = 500 }), 0);
	arena_release(&d.arena);
}

static void write_one(struct op *op)
{
	struct audit a = { .kind = "key", .action = "api_key.create" };

	EXPECT(audit_write(op, &a), OK);
}

/* Put another body, or other values, in the place of record nr (from 0). */
static void tamper(int nr, void (*how)(struct record *r))
{
	struct rec_filter f = { .kind = REC_AUDIT, .limit = 100 };
	struct rec_page page;

	OKAY(store_recs_list(T.s, &f, &T.a, &page, &T.e));
	struct record r = *page.items[nr];

	how(&r);
	OKAY(put(T.s, &r, REV_ANY, NULL, NULL));
}

static void other_text(struct record *r)
{
	char *body = arena_strdup(&T.a, r->body);

	memcpy(strstr(body, "api_key.create"), "api_key.delete", 14);
	r->body = body;
}

static void other_actor(struct record *r)
{
	r->s2 = "somebody else";
}

static void no_text(struct record *r)
{
	r->body = "{}";
}

static void touched(void)
{
	struct rec_filter list = { .kind = REC_AUDIT, .limit = 100 };
	struct rec_page page;
	struct desk d;

	sit(&d);
	for (int i = 0; i < 12; i++)
		write_one(&d.op);
	CU_ASSERT(verify(&d.op, 0).verified);
	tamper(2, other_text);
	EQ(verify(&d.op, 0).problems, 1);
	tamper(4, other_actor);
	EQ(verify(&d.op, 0).problems, 2);
	tamper(6, no_text);
	/* itself, and the one behind it cannot be joined on to it */
	CU_ASSERT(verify(&d.op, 0).problems >= 3);
	int64_t before = verify(&d.op, 0).problems;

	OKAY(store_recs_list(T.s, &list, &T.a, &page, &T.e));
	OKAY(rec_delete(T.s, REC_AUDIT, page.items[9]->id, REV_ANY, NULL));
	EQ(verify(&d.op, 0).problems, before + 1);
	OKAY(rec_delete(T.s, REC_AUDIT, page.items[0]->id, REV_ANY, NULL));
	EQ(verify(&d.op, 0).problems, before + 2);
	CU_ASSERT(!verify(&d.op, 0).verified);
	EQ(verify(&d.op, now_ms() + 60000).records, 0);
	arena_release(&d.arena);
}

/* Another store, as another process has, is another chain. */
static void chains(void)
{
	struct desk d;

	sit(&d);
	write_one(&d.op);
	write_one(&d.op);
	contract_reopen();
	struct store *other = contract_open();

	d.app.store = other;
	write_one(&d.op);
	struct found f = verify(&d.op, 0);

	CU_ASSERT(f.verified);
	EQ(f.records, 3);
	CU_ASSERT(f.chains >= 2);
	store_close(other);
	arena_release(&d.arena);
}

const struct contract_case cases_audit[] = {
	{ "a record with its change", with_the_change },
	{ "many write one chain", many_writers },
	{ "what was touched shows", touched },
	{ "chains", chains },
	{ NULL, NULL },
};
