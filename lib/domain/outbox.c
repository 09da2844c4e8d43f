// SPDX-License-Identifier: MIT
#include "outbox.h"

#define FIRST_WAIT_MS 1000
#define MAX_WAIT_MS 300000

struct member {
	const char *key, *value;	/* value NULL: left out */
	bool raw;
};

static const char *body_json(struct op *op, const struct member *m, int n, int64_t fence, int64_t tries,
			     const char *reason)
{
	struct buf b;
	struct jw w;

	buf_init(&b);
	jw_init(&w, &b);
	jw_obj(&w);
	for (int i = 0; i < n; i++) {
		if (!m[i].value)
			continue;
		if (m[i].raw)
			jw_kraw(&w, m[i].key, m[i].value);
		else
			jw_kstr(&w, m[i].key, m[i].value);
	}
	if (fence)
		jw_kint(&w, "fence", fence);
	jw_kint(&w, "tries", tries);
	if (reason)
		jw_kstr(&w, "last_error", reason);
	jw_end_obj(&w);
	const char *text = arena_strndup(op->arena, b.p, b.n);

	buf_release(&b);
	return text;
}

static const char *item_body(struct op *op, const struct outbox_item *it, const char *reason)
{
	const struct member m[] = {
		{ "target", it->target, false }, { "event", it->event, false }, { "payload", it->payload, true },
		{ "subject", it->subject, false }, { "text", it->text, false }, { "task_id", it->task_id, false },
		{ "agent_id", it->agent_id, false },
	};

	return body_json(op, m, (int)(sizeof(m) / sizeof(*m)), it->fence, it->tries, reason);
}

static void put(struct op *op, struct store_op *o, const char *id, const struct outbox_item *it)
{
	struct record *rec = arena_new(op->arena, struct record);

	*rec = (struct record){ .kind = REC_OUTBOX, .id = id, .s1 = it->kind, .s2 = "pending", .s3 = "", .n1 = op->now,
				.body = item_body(op, it, NULL) };
	*o = (struct store_op){ .kind = SOP_REC_PUT, .rec = rec, .expect_rev = REV_ABSENT };
}

static const char *fresh_id(struct op *op)
{
	char *id = arena_alloc(op->arena, ID_TEXT);

	id_new(id);
	return id;
}

void outbox_push_task(struct op *op, struct store_op *o, const struct task *t, int64_t fence, const char *agent_id,
		      const char *url)
{
	struct outbox_item it = { .kind = "push", .target = url, .task_id = t->id, .agent_id = agent_id, .fence = fence };

	put(op, o, arena_printf(op->arena, "%s:%lld", t->id, (long long)fence), &it);
}

void outbox_webhook(struct op *op, struct store_op *o, const char *url, const char *event, const char *payload)
{
	struct outbox_item it = { .kind = "webhook", .target = url, .event = event, .payload = payload };

	put(op, o, fresh_id(op), &it);
}

void outbox_email(struct op *op, struct store_op *o, const char *to, const char *subject, const char *text)
{
	struct outbox_item it = { .kind = "email", .target = to, .subject = subject, .text = text };

	put(op, o, fresh_id(op), &it);
}

enum err outbox_due(struct op *op, int limit, struct outbox_item **out, int *n)
{
	struct rec_filter f = { .kind = REC_OUTBOX, .s2 = "pending", .has_n1_max = true, .n1_max = op->now, .by_n1 = true,
				.limit = limit };
	struct rec_page page;
	enum err err = store_recs_list(op->app->store, &f, op->arena, &page, op->err);

	*n = 0;
	if (err)
		return err;
	*out = arena_calloc(op->arena, (size_t)page.n + 1, sizeof(**out));
	for (int i = 0; i < page.n; i++) {
		struct record *rec = page.items[i];
		struct outbox_item *it = &(*out)[*n];
		struct jv *v;

		if (json_parse(op->arena, rec->body, strlen(rec->body), 1, &v, op->err))
			return error_set(op->err, ERR_INTERNAL, "outbox row %s does not parse", rec->id);
		*it = (struct outbox_item){
			.id = rec->id, .kind = rec->s1, .rev = rec->rev, .target = jv_str(v, "target"),
			.event = jv_str(v, "event"), .payload = jv_text(op->arena, jv_get(v, "payload")),
			.subject = jv_str(v, "subject"), .text = jv_str(v, "text"), .task_id = jv_str(v, "task_id"),
			.agent_id = jv_str(v, "agent_id"), .fence = jv_int_or(v, "fence", 0),
			.tries = jv_int_or(v, "tries", 0),
		};
		(*n)++;
	}
	return OK;
}

static enum err apply(struct op *op, enum store_op_kind kind, const struct record *rec, int64_t rev)
{
	struct store_op o = { .kind = kind, .rec = rec, .expect_rev = rev };
	struct store_unit u = { .ops = &o, .n = 1, .arena = op->arena, .error = op->err };
	enum err err = store_apply(op->app->store, &u);

	/* Another sender (a former leader) was faster: fine. */
	return err == ERR_CONFLICT ? OK : err;
}

enum err outbox_done(struct op *op, const struct outbox_item *item)
{
	struct record rec = { .kind = REC_OUTBOX, .id = item->id };

	return apply(op, SOP_REC_DELETE, &rec, REV_ANY);
}

enum err outbox_failed(struct op *op, const struct outbox_item *item, const char *reason)
{
	struct outbox_item next = *item;
	int64_t wait = FIRST_WAIT_MS;

	next.tries++;
	for (int64_t i = 1; i < next.tries && wait < MAX_WAIT_MS; i++)
		wait *= 2;
	struct record rec = { .kind = REC_OUTBOX, .id = item->id, .s1 = item->kind, .s3 = "",
			      .s2 = next.tries >= OUTBOX_TRIES ? "dead" : "pending", .n1 = op->now + wait,
			      .body = item_body(op, &next, reason) };

	return apply(op, SOP_REC_PUT, &rec, item->rev);
}
