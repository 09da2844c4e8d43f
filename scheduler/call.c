// SPDX-License-Identifier: MIT
/* What is sent, and what an answer means. */
#include "sender.h"

#include "../lib/base/clock.h"
#include "../lib/base/log.h"
#include "../lib/net/sign.h"
#include "../lib/net/smtp.h"

#define PROBE_TIMEOUT_MS	5000
#define WEBHOOK_TIMEOUT_MS	10000
#define PUSH_SPARE_MS		500	/* the call ends so much before the lease does, at most a quarter of it */
#define PUSH_LEAST_MS		250
#define SMALL_ANSWER		65536

/* --- where it may go --------------------------------------------------------------------------------------- */

static void read_set(const char **seen, const char *text, struct netset *set)
{
	struct error e;

	if (*seen == text)
		return;
	*seen = text;
	error_init(&e, NULL);
	if (netset_parse(text, set, &e)) {
		*set = (struct netset){ 0 };
		log_error(LOG_ERROR, &e, "a list of networks in the configuration is not one; nothing is sent to any");
	}
}

static void read_sets(struct sender *x)
{
	read_set(&x->outbound_text, x->sched->cfg.outbound_allow, &x->outbound);
	read_set(&x->webhook_text, x->sched->cfg.webhook_allow, &x->webhooks);
}

/* Decided without a call: as if it had failed so. */
static void fail_here(struct call *c, enum net_outcome outcome, const char *reason)
{
	c->outcome = outcome;
	snprintf(c->reason, sizeof(c->reason), "%s", reason);
}

static enum err submitted(struct call *c, enum err err, const struct error *e, bool *started)
{
	if (err == ERR_BUSY)
		return err;
	*started = err == OK;
	if (err)
		fail_here(c, NET_REFUSED, e->message[0] ? e->message : "it cannot be sent");
	return OK;
}

/* --- what is sent -------------------------------------------------------------------------------------------- */

static enum err post(struct sender *x, struct op *op, struct call *c, const char *event, const char *body, size_t n,
		     const struct netset *allow, int timeout_ms, size_t max_response, net_done *done, bool *started)
{
	char signature[SIGNATURE_TEXT];
	const struct http_header headers[] = {
		{ SIGNATURE_HEADER, signature }, { "X-MCP-Event", event }, { "X-MCP-Delivery", c->id },
	};
	const char *secret = x->sched->cfg.webhook_secret;
	struct http_request r = { .method = "POST", .url = c->target, .allow = allow, .headers = headers + !*secret,
				  .n_headers = 2 + (*secret != 0), .body = body, .body_len = n, .timeout_ms = timeout_ms,
				  .max_response = max_response };
	struct error e;

	sign_message(secret, op->now / 1000, body, n, signature);
	error_init(&e, op->arena);
	return submitted(c, http_submit(x->pool, &r, done, c, NULL, &e), &e, started);
}

static enum err start_push(struct sender *x, struct op *op, struct call *c, net_done *done, bool *started)
{
	struct task *t;
	struct buf b;
	struct jw w;
	enum err err = store_task_get(op->app->store, c->task_id, op->arena, &t, op->err);

	if (err)
		return err;
	/* Taken back, cancelled, given to another: nobody waits for this any more. */
	c->pointless = !t || t->fence != c->fence || t->status != TASK_ASSIGNED || strcmp(t->agent_id, c->agent_id) != 0;
	if (c->pointless)
		return OK;
	int64_t spare = op->app->cfg->assignment_timeout * 250;
	int64_t left = t->lease_expires_at - op->now - (spare < PUSH_SPARE_MS ? spare : PUSH_SPARE_MS);

	buf_init(&b);
	jw_init(&w, &b);
	jw_obj(&w);
	jw_key(&w, "task");
	task_json(op, t, VIEW_FULL, &w);
	jw_kint(&w, "fence", t->fence);
	jw_end_obj(&w);
	/* room for {"result":…} around the largest result */
	err = post(x, op, c, "task.assigned", b.p, b.n, &x->outbound, (int)(left > PUSH_LEAST_MS ? left : PUSH_LEAST_MS),
		   (size_t)op->app->cfg->max_result + 64, done, started);
	buf_release(&b);
	return err;
}

static enum err start_mail(struct sender *x, struct op *op, struct call *c, net_done *done, bool *started)
{
	const struct config *cfg = &x->sched->cfg;
	struct smtp_server server = { .url = cfg->smtp_url, .from = cfg->smtp_from, .user = cfg->smtp_user,
				      .password = cfg->smtp_password };
	const char *to = c->target;
	struct mail m = { .to = &to, .n_to = 1, .subject = c->subject ? c->subject : "", .text = c->text ? c->text : "" };
	struct error e;

	if (!*server.url) {
		fail_here(c, NET_REFUSED, "SMTP_URL is not set");
		return OK;
	}
	error_init(&e, op->arena);
	return submitted(c, mail_submit(x->pool, &server, &m, done, c, NULL, &e), &e, started);
}

static enum err start_probe(struct sender *x, struct op *op, struct call *c, net_done *done, bool *started)
{
	struct http_request r = { .method = "GET", .url = c->target, .allow = &x->outbound, .timeout_ms = PROBE_TIMEOUT_MS,
				  .max_response = SMALL_ANSWER };
	struct error e;

	error_init(&e, op->arena);
	return submitted(c, http_submit(x->pool, &r, done, c, NULL, &e), &e, started);
}

enum err call_start(struct sender *x, struct op *op, struct call *c, net_done *done, bool *started)
{
	*started = false;
	read_sets(x);
	switch (c->kind) {
	case CALL_PUSH:
		return start_push(x, op, c, done, started);
	case CALL_WEBHOOK:
		return post(x, op, c, c->event ? c->event : "", c->payload ? c->payload : "{}",
			    strlen(c->payload ? c->payload : "{}"), &x->webhooks, WEBHOOK_TIMEOUT_MS, SMALL_ANSWER, done,
			    started);
	case CALL_EMAIL:
		return start_mail(x, op, c, done, started);
	case CALL_PROBE:
		return start_probe(x, op, c, done, started);
	}
	return ERR_INTERNAL;
}

/* --- what came of it --------------------------------------------------------------------------------------------- */

/* Errors that say "not now"; all others say that the report was not wanted, and are final. */
static bool passing(enum err err)
{
	return err == ERR_UNAVAILABLE || err == ERR_UNCERTAIN || err == ERR_TIMEOUT || err == ERR_DISK_FULL ||
	       err == ERR_BUSY || err == ERR_INTERNAL;
}

/* The result in a 200 answer: the member "result" of an object that has one, else the whole. NULL: it is no JSON. */
static const char *result_of(struct op *op, const struct call *c)
{
	struct error scrap;
	struct jv *v;

	error_init(&scrap, op->arena);
	if (json_parse(op->arena, c->body, c->body_len, 1, &v, &scrap))
		return NULL;
	const struct jv *result = jv_get(v, "result");

	return jv_text(op->arena, result ? result : v);
}

static enum err fail_push(struct op *op, const struct call *c)
{
	static const struct { const char *type, *code; } of[] = {
		[NET_OK] = { "external_service", "bad_answer" },
		[NET_NETWORK] = { "network", "agent_unreachable" },
		[NET_TIMEOUT] = { "timeout", "push_timeout" },
		[NET_EXTERNAL] = { "external_service", "agent_refused" },
		[NET_REFUSED] = { "external_service", "endpoint_not_allowed" },
		[NET_CANCELLED] = { "network", "push_cancelled" },
	};
	const char *why = c->outcome == NET_OK && c->status == 200 ? "its answer is not JSON"
			  : c->status ? arena_printf(op->arena, "it answered %d", c->status)
				      : c->reason;
	struct task_fault f = { .type = of[c->outcome].type, .code = of[c->outcome].code, .retryable = -1,
				.outcome = c->outcome == NET_TIMEOUT ? "timeout" : "failed",
				.message = arena_printf(op->arena, "The task could not be pushed to the agent: %s.", why) };
	struct task *row;

	return task_fail(op, c->task_id, c->fence, &f, &row);
}

static enum err settle_push(struct sched *s, struct op *op, struct call *c)
{
	const char *result = c->outcome == NET_OK && c->status == 200 ? result_of(op, c) : NULL;
	bool taken = result || (c->outcome == NET_OK && c->status == 202);
	struct task *row;
	enum err err;

	if (result)
		err = task_complete(op, c->task_id, c->fence, result, &row);
	else if (taken)
		err = task_progress(op, c->task_id, c->fence, -1, NULL, &row);
	else
		err = fail_push(op, c);
	if (err && passing(err))
		return err;
	if (err)
		log_info("the answer to push %s was not wanted (%s)", c->id, err_text(err));
	error_init(op->err, op->arena);
	bool note = fleet_ended(s, c->agent_id, result ? PUSH_ANSWERED : taken ? PUSH_ACCEPTED : PUSH_WENT_WRONG);

	if (!taken)
		log_warn("push %s to agent %s failed (%s %d): %s", c->id, c->agent_id, net_outcome_name(c->outcome), c->status,
			 c->reason);
	else if (note && agent_answered(op, c->agent_id, NULL))
		log_debug("agent %s answered but could not be noted", c->agent_id);
	error_init(op->err, op->arena);
	return OK;
}

static enum err settle_message(struct op *op, struct call *c)
{
	struct outbox_item item = call_item(c);

	if (c->outcome == NET_OK)
		return outbox_done(op, &item);
	const char *reason = c->status ? arena_printf(op->arena, "%s, status %d: %s", net_outcome_name(c->outcome), c->status,
						      c->reason)
				       : arena_printf(op->arena, "%s: %s", net_outcome_name(c->outcome), c->reason);

	log_warn("%s %s was not delivered, try %lld of %d (%s)", item.kind, c->id, (long long)c->tries + 1, OUTBOX_TRIES,
		 reason);
	return outbox_failed(op, &item, reason);
}

enum err call_settle(struct sched *s, struct op *op, struct call *c)
{
	struct outbox_item item = call_item(c);
	enum err err = OK;

	/* Broken off: the row is as it was, for the next leader. */
	if (c->outcome == NET_CANCELLED && !c->pointless)
		return OK;
	switch (c->kind) {
	case CALL_PUSH:
		if (c->pointless)
			fleet_ended(s, c->agent_id, PUSH_NOT_SENT);
		else if (!c->told)
			err = settle_push(s, op, c);
		c->told = err == OK;
		return err ? err : outbox_done(op, &item);
	case CALL_WEBHOOK:
	case CALL_EMAIL:
		return settle_message(op, c);
	case CALL_PROBE:
		if (c->outcome != NET_OK) {
			log_debug("agent %s does not answer its probe: %s", c->agent_id, c->reason);
			return OK;
		}
		err = agent_answered(op, c->agent_id, c->body);
		return err && passing(err) ? err : OK;
	}
	return ERR_INTERNAL;
}
