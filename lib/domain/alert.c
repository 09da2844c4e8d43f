// SPDX-License-Identifier: MIT
#include "alert.h"

#include "../base/limits.h"
#include "outbox.h"

#define RUNBOOKS "docs/guides/runbooks.md"

void alert_json(const struct alert *a, struct jw *w)
{
	struct buf runbook;

	buf_init(&runbook);
	buf_addf(&runbook, RUNBOOKS "#%s", a->kind);
	jw_obj(w);
	jw_kstr(w, "alert_id", a->id);
	jw_kstr(w, "kind", a->kind);
	jw_kstr(w, "subject", *a->subject ? a->subject : NULL);
	jw_kstr(w, "status", a->resolved_at ? "resolved" : "active");
	jw_kstr(w, "severity", a->severity);
	jw_kstr(w, "message", a->message);
	jw_kdouble(w, "value", a->value);
	jw_kdouble(w, "threshold", a->threshold);
	jw_kstr(w, "unit", a->unit);
	jw_ktime(w, "since", a->since);
	jw_ktime(w, "last_seen", a->last_seen);
	jw_ktime(w, "resolved_at", a->resolved_at);
	jw_kstr(w, "runbook", runbook.p);
	jw_end_obj(w);
	buf_release(&runbook);
}

static struct record *to_record(struct op *op, const struct alert *a)
{
	struct record *rec = arena_new(op->arena, struct record);
	struct buf b;
	struct jw w;

	buf_init(&b);
	jw_init(&w, &b);
	jw_obj(&w);
	jw_kstr(&w, "severity", a->severity);
	jw_kstr(&w, "message", a->message);
	jw_kstr(&w, "unit", a->unit);
	jw_kdouble(&w, "value", a->value);
	jw_kdouble(&w, "threshold", a->threshold);
	jw_kint(&w, "since", a->since);
	jw_kint(&w, "last_seen", a->last_seen);
	jw_end_obj(&w);
	*rec = (struct record){ .kind = REC_ALERT, .id = a->id, .s1 = a->kind, .s2 = a->resolved_at ? "resolved" : "active",
				.s3 = a->subject, .n1 = a->resolved_at, .body = arena_strndup(op->arena, b.p, b.n) };
	buf_release(&b);
	return rec;
}

static enum err from_record(struct op *op, const struct record *rec, struct alert **out)
{
	struct alert *a = arena_new(op->arena, struct alert);
	struct jv *v;

	if (json_parse(op->arena, rec->body, strlen(rec->body), 1, &v, op->err))
		return error_set(op->err, ERR_INTERNAL, "alert record does not parse");
	*a = (struct alert){ .rev = rec->rev, .kind = rec->s1, .subject = rec->s3, .severity = jv_str(v, "severity"),
			     .message = jv_str(v, "message"), .unit = jv_str(v, "unit"), .value = jv_double_or(v, "value", 0),
			     .threshold = jv_double_or(v, "threshold", 0), .since = jv_int_or(v, "since", 0),
			     .last_seen = jv_int_or(v, "last_seen", 0), .resolved_at = rec->n1 };
	snprintf(a->id, sizeof(a->id), "%s", rec->id);
	*out = a;
	return OK;
}

/* Messages about it, into the unit that raises or resolves it. */
static size_t notify(struct op *op, const struct alert *a, const char *payload, struct store_op *ops)
{
	const struct config *cfg = op->app->cfg;
	const char *state = a->resolved_at ? "resolved" : "raised";
	size_t n = 0;

	if (*cfg->alert_webhook)
		outbox_webhook(op, &ops[n++], cfg->alert_webhook, "system.alert", payload);
	if (*cfg->alert_email && *cfg->smtp_url)
		outbox_email(op, &ops[n++], cfg->alert_email, arena_printf(op->arena, "Alert %s: %s", state, a->kind),
			     arena_printf(op->arena, "%s\n\nkind: %s\nsubject: %s\nseverity: %s\nvalue: %g %s (threshold %g)\nrunbook: "
					  RUNBOOKS "#%s\n", a->message, a->kind, *a->subject ? a->subject : "-", a->severity,
					  a->value, a->unit ? a->unit : "", a->threshold, a->kind));
	return n;
}

/* Raised or resolved: store it with its messages, then tell it as an event. */
static enum err turn(struct op *op, struct alert *a, int64_t rev)
{
	struct store_op ops[3] = { { .kind = SOP_REC_PUT, .rec = to_record(op, a), .expect_rev = rev } };
	struct store_unit u = { .ops = ops, .n = 1, .arena = op->arena, .error = op->err };
	struct bus_post posts[2] = { { .type = "system.alert", .at = op->now }, { .wake = "s" } };
	struct buf b;
	struct jw w;

	buf_init(&b);
	jw_init(&w, &b);
	alert_json(a, &w);
	u.n += notify(op, a, b.p, ops + 1);
	enum err err = store_apply(op->app->store, &u);

	if (!err) {
		a->rev = ops[0].rev;
		posts[0].data = b.p;
		bus_post(op->app->bus, posts, u.n > 1 ? 2 : 1);
	}
	buf_release(&b);
	return err;
}

enum err alert_raise(struct op *op, struct alert *a)
{
	id_new(a->id);
	a->since = a->last_seen = op->now;
	a->resolved_at = 0;
	return turn(op, a, REV_ABSENT);
}

enum err alert_seen(struct op *op, struct alert *a)
{
	a->last_seen = op->now;
	struct store_op o = { .kind = SOP_REC_PUT, .rec = to_record(op, a), .expect_rev = a->rev, .lazy = true };
	struct store_unit u = { .ops = &o, .n = 1, .arena = op->arena, .error = op->err };
	enum err err = store_apply(op->app->store, &u);

	if (!err)
		a->rev = o.rev;
	return err;
}

enum err alert_resolve(struct op *op, struct alert *a)
{
	a->resolved_at = op->now;
	return turn(op, a, a->rev);
}

enum err alerts_list(struct op *op, const struct alert_filter *f, struct alert ***out, int *n, const char **next)
{
	static const char *const states[] = { NULL, "active", "resolved" };
	struct rec_filter rf = { .kind = REC_ALERT, .s1 = f->kind, .s2 = states[f->status], .s3 = f->subject, .descending = true,
				 .limit = f->limit };
	struct rec_page page;
	enum err err = records_page(op, &rf, "al", f->cursor, &page, next);

	*n = 0;
	if (err)
		return err;
	*out = arena_calloc(op->arena, (size_t)page.n + 1, sizeof(**out));
	for (int i = 0; i < page.n && !err; i++)
		err = from_record(op, page.items[i], &(*out)[(*n)++]);
	return err;
}

enum err alert_load(struct op *op, const char *id, struct alert **out)
{
	struct record *rec;
	enum err err = store_rec_get(op->app->store, REC_ALERT, id, op->arena, &rec, op->err);

	if (err)
		return err;
	return rec ? from_record(op, rec, out) : error_public(op->err, ERR_NOT_FOUND, "There is no alert %s.", id);
}
