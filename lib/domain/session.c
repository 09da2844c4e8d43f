// SPDX-License-Identifier: MIT
#include "session.h"

#include <unistd.h>

#include "../auth/password.h"
#include "../base/clock.h"
#include "../base/limits.h"
#include "../base/log.h"
#include "../base/window.h"
#include "agent.h"
#include "user.h"

#define REUSE_GRACE_MS 30000
#define TRIES 8

static const struct field token_fields[] = {
	{ "agent_id", F_UUID, .offset = offsetof(struct token_in, agent_id) },
	{ "auth_token", F_STR, .offset = offsetof(struct token_in, auth_token), .min = 1, .max = 256 },
	{ "username", F_STR, .offset = offsetof(struct token_in, username), .min = 1, .max = LIMIT_NAME },
	{ "password", F_STR, .offset = offsetof(struct token_in, password), .min = 1, .max = LIMIT_PASSWORD_MAX },
	{ "totp", F_STR, .offset = offsetof(struct token_in, totp), .min = 6, .max = 64 },
};
SCHEMA(token_schema, struct token_in, "TokenRequest", token_fields,
       "agent_id and auth_token, or username and password.");

static const struct field login_fields[] = {
	{ "username", F_STR, true, offsetof(struct token_in, username), .min = 1, .max = LIMIT_NAME },
	{ "password", F_STR, true, offsetof(struct token_in, password), .min = 1, .max = LIMIT_PASSWORD_MAX },
	{ "totp", F_STR, .offset = offsetof(struct token_in, totp), .min = 6, .max = 64 },
};
SCHEMA(login_schema, struct token_in, "Login", login_fields, "A person's log-in.");

static const struct field refresh_fields[] = {
	{ "refresh_token", F_STR, .offset = offsetof(struct refresh_in, refresh_token), .min = 1, .max = 8192,
	  .help = "Or the cookie that log-in has set." },
};
SCHEMA(refresh_schema, struct refresh_in, "Refresh", refresh_fields, "");
SCHEMA(logout_schema, struct refresh_in, "Logout", refresh_fields, "");

/* --- failing often ------------------------------------------------------------------------------------------ */

struct guard {
	const char *address, *account;
};

static enum err too_many(struct op *op, const char *key, int64_t limit)
{
	int64_t count = 0;
	int reset = 0;

	if (!limit)
		return OK;
	if (bus_peek(op->app->bus, key, &count, &reset)) {
		/* Redis is away: each process counts for itself. */
		count = window_count(key);
		reset = WINDOW_S;
	}
	if (count >= limit)
		return error_public(op->err, ERR_RATE, "Too many failed attempts; try again in %d s.", reset);
	return OK;
}

static enum err guard_check(struct op *op, struct guard *g, const char *account)
{
	g->address = arena_printf(op->arena, "authfail:ip:%s", op->caller->address ? op->caller->address : "?");
	g->account = arena_printf(op->arena, "authfail:account:%.64s", account);
	enum err err = too_many(op, g->address, op->app->cfg->rate_limit_auth_failures);

	return err ? err : too_many(op, g->account, op->app->cfg->rate_limit_account_failures);
}

static enum err guard_failed(struct op *op, const struct guard *g)
{
	const char *const keys[] = { g->address, g->account };
	int64_t count;
	int reset;

	for (int i = 0; i < 2; i++) {
		if (bus_count(op->app->bus, keys[i], &count, &reset))
			window_take(keys[i], 0, 1, &count, &reset);
	}
	log_warn("log-in failed");
	return error_set(op->err, ERR_UNAUTHENTICATED, "wrong credentials");
}

/* --- sessions --------------------------------------------------------------------------------------------------- */

struct session {
	const char *id, *subject;
	int64_t rev, expires_at;
	const char *jti, *previous_jti, *access_jti;
	int64_t rotated_at, access_exp;
};

static struct record *session_record(struct op *op, const struct session *s)
{
	struct record *rec = arena_new(op->arena, struct record);
	struct buf b;
	struct jw w;

	buf_init(&b);
	jw_init(&w, &b);
	jw_obj(&w);
	jw_kstr(&w, "jti", s->jti);
	jw_kstr(&w, "previous_jti", s->previous_jti);
	jw_kstr(&w, "access_jti", s->access_jti);
	jw_kint(&w, "access_exp", s->access_exp);
	jw_kint(&w, "rotated_at", s->rotated_at);
	jw_end_obj(&w);
	*rec = (struct record){ .kind = REC_SESSION, .id = s->id, .s1 = s->subject, .s2 = "", .s3 = "",
				.n1 = s->expires_at, .body = arena_strndup(op->arena, b.p, b.n) };
	buf_release(&b);
	return rec;
}

static enum err session_load(struct op *op, const char *family, struct session **out)
{
	struct record *rec;
	struct jv *v;
	enum err err = store_rec_get(op->app->store, REC_SESSION, family, op->arena, &rec, op->err);

	*out = NULL;
	if (err || !rec)
		return err;
	if (json_parse(op->arena, rec->body, strlen(rec->body), 1, &v, op->err))
		return error_set(op->err, ERR_INTERNAL, "session record does not parse");
	struct session *s = arena_new(op->arena, struct session);

	*s = (struct session){ .id = rec->id, .subject = rec->s1, .rev = rec->rev, .expires_at = rec->n1,
			       .jti = jv_str(v, "jti"), .previous_jti = jv_str(v, "previous_jti"),
			       .access_jti = jv_str(v, "access_jti"), .access_exp = jv_int_or(v, "access_exp", 0),
			       .rotated_at = jv_int_or(v, "rotated_at", 0) };
	*out = s;
	return OK;
}

/* Sign the pair for a session: the access token is new, the refresh token carries s->jti. */
static enum err issue(struct op *op, const struct claims *who, struct session *s, struct token_pair *out)
{
	struct claims access = *who;
	struct claims refresh = *who;
	const struct config *cfg = op->app->cfg;

	access.type = TOKEN_ACCESS;
	access.jti[0] = '\0';
	snprintf(access.family, sizeof(access.family), "%s", s->id);
	enum err err = token_issue(op->app->tokens, &access, cfg->jwt_access_expires, op->arena, &out->access, op->err);

	if (err)
		return err;
	refresh.type = TOKEN_REFRESH;
	refresh.permissions = PERMS_NONE;
	snprintf(refresh.jti, sizeof(refresh.jti), "%s", s->jti);
	snprintf(refresh.family, sizeof(refresh.family), "%s", s->id);
	err = token_issue(op->app->tokens, &refresh, cfg->jwt_refresh_expires, op->arena, &out->refresh, op->err);
	s->access_jti = arena_strdup(op->arena, access.jti);
	s->access_exp = access.exp;
	out->expires_in = cfg->jwt_access_expires;
	return err;
}

/* Tokens carry whole seconds, and a cut-off kills those of its own second: a new one must be of a later one. */
static enum err wait_out_cutoff(struct op *op, const char *subject)
{
	struct record *rec;
	const char *id = arena_printf(op->arena, "cutoff:%s", subject);
	enum err err = store_rec_get(op->app->store, REC_REVOCATION, id, op->arena, &rec, op->err);
	struct jv *v;

	if (err || !rec)
		return err;
	if (json_parse(op->arena, rec->body, strlen(rec->body), 1, &v, op->err))
		return error_set(op->err, ERR_INTERNAL, "cut-off record does not parse");
	for (int i = 0; i < 12 && now_ms() / 1000 <= jv_int_or(v, "cutoff", 0); i++)
		usleep(100000);
	return OK;
}

static char *fresh_id(struct op *op)
{
	char *id = arena_alloc(op->arena, ID_TEXT);

	id_new(id);
	return id;
}

static enum err start(struct op *op, const struct claims *who, struct token_pair *out)
{
	struct session s = { .id = fresh_id(op), .subject = arena_strdup(op->arena, who->sub), .jti = fresh_id(op),
			     .rotated_at = op->now, .expires_at = op->now + op->app->cfg->jwt_refresh_expires * 1000 };
	enum err err = wait_out_cutoff(op, who->sub);

	if (err || (err = issue(op, who, &s, out)))
		return err;
	struct store_op o = { .kind = SOP_REC_PUT, .rec = session_record(op, &s), .expect_rev = REV_ABSENT };
	struct store_unit u = { .ops = &o, .n = 1, .arena = op->arena, .error = op->err };

	return store_apply(op->app->store, &u);
}

static struct claims agent_claims(const struct agent *a)
{
	struct claims c = { .kind = SUBJECT_AGENT, .role = a->role, .permissions = agent_perms(a) };

	snprintf(c.sub, sizeof(c.sub), "%s", a->id);
	return c;
}

static enum err edit_auth_time(struct op *op, struct agent *a, void *arg)
{
	(void)arg;
	a->last_auth_at = op->now;
	return OK;
}

enum err session_agent_check(struct op *op, const char *agent_id, const char *auth_token, struct agent **out)
{
	struct guard g;
	struct agent *a;
	enum err err = guard_check(op, &g, agent_id);

	if (err || (err = agent_find(op, agent_id, &a)))
		return err;
	bool usable = a && a->enabled && !a->deleted_at;

	*out = a;
	err = password_verify(op->app->passwords, auth_token, usable ? a->token_hash : NULL, op->err);
	return err == ERR_UNAUTHENTICATED ? guard_failed(op, &g) : err;
}

enum err session_agent_login(struct op *op, const char *agent_id, const char *auth_token, struct token_pair *out)
{
	struct agent *a;
	enum err err = session_agent_check(op, agent_id, auth_token, &a);

	if (err)
		return err;
	struct claims who = agent_claims(a);

	err = start(op, &who, out);
	return err ? err : agent_change(op, agent_id, edit_auth_time, NULL, &a);
}

static struct claims user_claims(const struct user *u)
{
	struct claims c = { .kind = SUBJECT_USER, .role = u->role, .permissions = role_perms(u->role) | u->extra_perms };

	snprintf(c.sub, sizeof(c.sub), "%s", u->id);
	return c;
}

enum err session_user_login(struct op *op, const char *username, const char *password, struct token_pair *out)
{
	struct guard g;
	struct user *u;
	enum err err = guard_check(op, &g, username);

	if (err || (err = user_by_name(op, username, &u)))
		return err;
	bool usable = u && u->enabled && !u->deleted_at;

	err = password_verify(op->app->passwords, password, usable ? u->password_hash : NULL, op->err);
	if (err == ERR_UNAUTHENTICATED)
		return guard_failed(op, &g);
	if (err)
		return err;
	struct claims who = user_claims(u);

	return start(op, &who, out);
}

/* What the subject may do today, not what it might when the refresh token was made. */
static enum err claims_now(struct op *op, const struct claims *old, struct claims *now)
{
	enum err err;

	if (old->kind == SUBJECT_AGENT) {
		struct agent *a;

		err = agent_find(op, old->sub, &a);
		if (err || !a || !a->enabled || a->deleted_at)
			return err ? err : error_set(op->err, ERR_UNAUTHENTICATED, "agent is gone or disabled");
		*now = agent_claims(a);
		return OK;
	}
	struct user *u;

	err = user_find(op, old->sub, &u);
	if (err || !u || !u->enabled || u->deleted_at)
		return err ? err : error_set(op->err, ERR_UNAUTHENTICATED, "user is gone or disabled");
	*now = user_claims(u);
	return OK;
}

static enum err revocation_put(struct op *op, const char *id, const char *subject, int64_t exp_s, const char *body)
{
	struct record rec = { .kind = REC_REVOCATION, .id = id, .s1 = subject, .s2 = "", .s3 = "",
			      .n1 = (exp_s + 60) * 1000, .body = body };
	struct store_op o = { .kind = SOP_REC_PUT, .rec = &rec, .expect_rev = REV_ANY };
	struct store_unit u = { .ops = &o, .n = 1, .arena = op->arena, .error = op->err };

	return store_apply(op->app->store, &u);
}

static enum err revoke_access(struct op *op, const char *jti, const char *subject, int64_t exp_s)
{
	enum err err = jti ? revocation_put(op, jti, subject, exp_s, "{}") : OK;

	/* Redis may be away; the scheduler copies revocations over when it is back. */
	if (!err && jti && bus_revoke(op->app->bus, jti, exp_s - op->now / 1000 + 60))
		log_debug("revocation is not in Redis yet");
	return err;
}

static enum err end_session(struct op *op, const struct session *s)
{
	struct record rec = { .kind = REC_SESSION, .id = s->id };
	struct store_op o = { .kind = SOP_REC_DELETE, .rec = &rec, .expect_rev = REV_ANY };
	struct store_unit u = { .ops = &o, .n = 1, .arena = op->arena, .error = op->err };
	enum err err = store_apply(op->app->store, &u);

	if (err && err != ERR_CONFLICT)
		return err;
	return revoke_access(op, s->access_jti, s->subject, s->access_exp);
}

enum err session_refresh(struct op *op, const char *refresh_token, struct token_pair *out)
{
	struct claims old;
	struct claims now;
	enum err err = token_verify(op->app->tokens, refresh_token, strlen(refresh_token), TOKEN_REFRESH, &old, op->err);

	for (int i = 0; i < TRIES && !err; i++) {
		struct session *s;

		err = session_load(op, old.family, &s);
		if (err)
			return err;
		if (!s || s->expires_at <= op->now || strcmp(s->subject, old.sub) != 0)
			return error_set(op->err, ERR_UNAUTHENTICATED, "no such session");
		bool current = strcmp(s->jti, old.jti) == 0;
		bool second_tab = s->previous_jti && strcmp(s->previous_jti, old.jti) == 0 &&
				  op->now - s->rotated_at <= REUSE_GRACE_MS;

		if (!current && !second_tab) {
			log_warn("a refresh token was used twice; the session is ended");
			err = end_session(op, s);
			return err ? err : error_set(op->err, ERR_UNAUTHENTICATED, "refresh token reuse");
		}
		err = claims_now(op, &old, &now);
		if (err)
			return err;
		if (current) {
			s->previous_jti = s->jti;
			s->jti = fresh_id(op);
			s->rotated_at = op->now;
		}
		err = issue(op, &now, s, out);
		if (err)
			return err;
		struct store_op o = { .kind = SOP_REC_PUT, .rec = session_record(op, s), .expect_rev = s->rev };
		struct store_unit u = { .ops = &o, .n = 1, .arena = op->arena, .error = op->err };

		err = store_apply(op->app->store, &u);
		if (err != ERR_CONFLICT)
			return err;
		err = OK;	/* the other tab was faster: look again */
	}
	return err ? err : error_set(op->err, ERR_CONFLICT, "session is contended");
}

enum err session_logout(struct op *op, const char *refresh_token)
{
	struct claims c;
	struct session *s;
	enum err err = revoke_access(op, op->caller->jti, op->caller->id, op->caller->token_exp);

	if (err || !refresh_token)
		return err;
	struct error scrap;

	error_init(&scrap, op->arena);
	if (token_verify(op->app->tokens, refresh_token, strlen(refresh_token), TOKEN_REFRESH, &c, &scrap) ||
	    strcmp(c.sub, op->caller->id) != 0)
		return OK;	/* a token that is no good needs no revoking */
	err = session_load(op, c.family, &s);
	return err || !s ? err : end_session(op, s);
}

enum err session_cut_off(struct op *op, const char *subject)
{
	int64_t now_s = now_ms() / 1000;
	int64_t life = op->app->cfg->jwt_access_expires > op->app->cfg->jwt_refresh_expires
			       ? op->app->cfg->jwt_access_expires
			       : op->app->cfg->jwt_refresh_expires;
	enum err err = revocation_put(op, arena_printf(op->arena, "cutoff:%s", subject), subject, now_s + life,
			      arena_printf(op->arena, "{\"cutoff\":%lld}", (long long)now_s));

	if (err)
		return err;
	if (bus_subject(op->app->bus, subject, now_s, 0))
		log_debug("cut-off is not in Redis yet");
	struct rec_filter f = { .kind = REC_SESSION, .s1 = subject, .limit = LIMIT_PAGE };
	struct rec_page page;

	err = store_recs_list(op->app->store, &f, op->arena, &page, op->err);
	for (int i = 0; i < page.n && !err; i++) {
		struct session s = { .id = page.items[i]->id, .subject = subject };

		err = end_session(op, &s);
	}
	return err;
}

enum err session_revoked(struct op *op, const char *jti, const char *subject, int64_t iat, bool *revoked)
{
	struct record *rec;
	struct jv *v;
	enum err err = store_rec_get(op->app->store, REC_REVOCATION, jti, op->arena, &rec, op->err);

	*revoked = rec != NULL;
	if (err || *revoked)
		return err;
	err = store_rec_get(op->app->store, REC_REVOCATION, arena_printf(op->arena, "cutoff:%s", subject), op->arena, &rec,
			    op->err);
	if (err || !rec)
		return err;
	err = json_parse(op->arena, rec->body, strlen(rec->body), 1, &v, op->err);
	*revoked = err || iat <= jv_int_or(v, "cutoff", 0);
	return err;
}

enum err session_resync(struct op *op)
{
	struct rec_filter f = { .kind = REC_REVOCATION, .limit = LIMIT_PAGE };

	for (bool more = true; more;) {
		struct rec_page page;
		enum err err = store_recs_list(op->app->store, &f, op->arena, &page, op->err);

		for (int i = 0; i < page.n && !err; i++) {
			const struct record *r = page.items[i];
			struct jv *v;

			if (r->n1 <= op->now)
				continue;
			if (strncmp(r->id, "cutoff:", 7) != 0) {
				err = bus_revoke(op->app->bus, r->id, (r->n1 - op->now) / 1000 + 1);
			} else {
				err = json_parse(op->arena, r->body, strlen(r->body), 1, &v, op->err);
				if (!err)
					err = bus_subject(op->app->bus, r->id + 7, jv_int_or(v, "cutoff", 0), 0);
			}
		}
		if (err)
			return err;
		more = page.more;
		f.after = page.last;
	}
	return OK;
}

enum err session_by_token(struct op *op, const char *token, size_t n, struct caller *c, int64_t *iat)
{
	struct claims claims;
	enum err err = token_verify(op->app->tokens, token, n, TOKEN_ACCESS, &claims, op->err);

	if (err)
		return err;
	c->kind = claims.kind == SUBJECT_AGENT ? CALLER_AGENT : claims.kind == SUBJECT_KEY ? CALLER_KEY : CALLER_USER;
	c->id = arena_strdup(op->arena, claims.sub);
	c->name = c->id;
	c->role = claims.role;
	c->perms = claims.permissions;
	/* Clearance grows with the role; an agent's own is looked at where it gets a task. */
	c->clearance = claims.role == ROLE_ADMIN || claims.role == ROLE_SYSTEM ? CLASS_PHI : CLASS_INTERNAL;
	c->jti = arena_strdup(op->arena, claims.jti);
	c->token_exp = claims.exp;
	*iat = claims.iat;
	return OK;
}

enum err session_by_key(struct op *op, const char *key, struct caller *c)
{
	struct api_key *k;
	enum err err = api_key_find(op, key, &k);

	if (err)
		return err;
	if (!k || !k->enabled || (k->expires_at && k->expires_at <= op->now))
		return error_set(op->err, ERR_UNAUTHENTICATED, "unknown, disabled or expired API key");
	c->kind = CALLER_KEY;
	c->id = k->id;
	c->name = k->name;
	c->role = k->role;
	c->perms = k->perms;
	c->clearance = k->clearance;
	return OK;
}
