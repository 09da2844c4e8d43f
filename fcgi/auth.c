// SPDX-License-Identifier: MIT
#include "../lib/domain/session.h"

#include <strings.h>

#include "../lib/domain/user.h"
#include "handlers.h"
#include "oauth.h"
#include "queries.h"

#define COOKIE "mcp_refresh"

/* A cookie is set for and sent along by any page: only our own origin, or one that is allowed, may use it. */
static enum err check_origin(struct req *r)
{
	const char *at = r->origin ? strstr(r->origin, "://") : NULL;

	if (!r->origin || (at && r->host && strcasecmp(at + 3, r->host) == 0) ||
	    origin_listed(r->op.app->cfg->cors_origins, r->origin))
		return OK;
	return error_public(r->op.err, ERR_FORBIDDEN, "This origin may not use the session cookie.");
}

/*
 * A browser (it sends Origin) keeps its refresh token in a cookie no script can read; the body then leaves it out.
 * Anyone else gets it in the body.
 */
static enum err token_answer(struct req *r, struct resp *p, enum err err, const struct token_pair *t)
{
	if (err)
		return err;
	bool browser = r->origin != NULL;
	bool secure = browser && strncasecmp(r->origin, "https:", 6) == 0;

	if (browser)
		p->set_cookie = arena_printf(r->op.arena, COOKIE "=%s; Path=/api/v1/auth; Max-Age=%lld; HttpOnly; SameSite=Strict%s",
					     t->refresh, (long long)r->op.app->cfg->jwt_refresh_expires, secure ? "; Secure" : "");
	jw_obj(&p->w);
	jw_kstr(&p->w, "access_token", t->access);
	jw_kstr(&p->w, "refresh_token", browser ? NULL : t->refresh);
	jw_kstr(&p->w, "token_type", "Bearer");
	jw_kint(&p->w, "expires_in", t->expires_in);
	jw_end_obj(&p->w);
	return OK;
}

static const char *cookie_token(struct req *r)
{
	const char *p = r->cookie ? strstr(r->cookie, COOKIE "=") : NULL;

	if (!p || (p != r->cookie && p[-1] != ' ' && p[-1] != ';'))
		return NULL;
	p += sizeof(COOKIE);
	return arena_strndup(r->op.arena, p, strcspn(p, "; "));
}

enum err h_auth_token(struct req *r, struct resp *p)
{
	struct token_pair t;
	void *obj;
	enum err err = check_origin(r);

	if (err)
		return err;
	if (r->form)
		return oauth_token(r, p);
	err = schema_read(&token_schema, r->body, r->op.arena, &obj, r->op.err);
	if (err)
		return err;
	const struct token_in *in = obj;
	bool agent = in->agent_id || in->auth_token;

	if (agent && (in->username || in->password))
		return error_field(r->op.err, "$", "conflict", "give agent_id and auth_token, or username and password");
	if (agent && !in->agent_id)
		error_field(r->op.err, "$.agent_id", "required", "is required");
	if (agent && !in->auth_token)
		error_field(r->op.err, "$.auth_token", "required", "is required");
	if (!agent && !in->username)
		error_field(r->op.err, "$.username", "required", "is required (or agent_id and auth_token)");
	if (!agent && !in->password)
		error_field(r->op.err, "$.password", "required", "is required (or agent_id and auth_token)");
	if (r->op.err->code)
		return r->op.err->code;
	err = agent ? session_agent_login(&r->op, in->agent_id, in->auth_token, &t)
		    : session_user_login(&r->op, in->username, in->password, &t);
	return token_answer(r, p, err, &t);
}

enum err h_auth_login(struct req *r, struct resp *p)
{
	const struct token_in *in = r->in;
	struct token_pair t;
	enum err err = check_origin(r);

	if (!err)
		err = session_user_login(&r->op, in->username, in->password, &t);
	return token_answer(r, p, err, &t);
}

enum err h_auth_refresh(struct req *r, struct resp *p)
{
	const struct refresh_in *in = r->in;
	const char *token = in->refresh_token ? in->refresh_token : cookie_token(r);
	struct token_pair t;
	enum err err = check_origin(r);

	if (err)
		return err;
	if (!token)
		return error_set(r->op.err, ERR_UNAUTHENTICATED, "no refresh token");
	err = session_refresh(&r->op, token, &t);
	return token_answer(r, p, err, &t);
}

enum err h_auth_logout(struct req *r, struct resp *p)
{
	const struct refresh_in *in = r->in;
	const char *token = in->refresh_token ? in->refresh_token : cookie_token(r);
	enum err err = session_logout(&r->op, token);

	if (err)
		return err;
	p->set_cookie = COOKIE "=; Path=/api/v1/auth; Max-Age=0; HttpOnly; SameSite=Strict";
	jw_obj(&p->w);
	jw_kbool(&p->w, "deleted", true);
	jw_end_obj(&p->w);
	return OK;
}

enum err h_auth_me(struct req *r, struct resp *p)
{
	static const char *const kinds[] = { "none", "user", "agent", "api_key", "system" };
	const char *name = r->caller.name;
	struct user *u = NULL;

	if (r->caller.kind == CALLER_USER) {
		enum err err = user_find(&r->op, r->caller.id, &u);

		if (err)
			return err;
		name = u ? u->username : name;
	}
	jw_obj(&p->w);
	jw_kstr(&p->w, "id", r->caller.id);
	jw_kstr(&p->w, "kind", kinds[r->caller.kind]);
	jw_kstr(&p->w, "name", name);
	jw_kstr(&p->w, "role", role_name(r->caller.role));
	jw_key(&p->w, "permissions");
	perms_write(&p->w, r->caller.perms);
	jw_kstr(&p->w, "clearance_level", class_names[r->caller.clearance]);
	jw_ktime(&p->w, "expires_at", r->caller.token_exp * 1000);
	jw_end_obj(&p->w);
	return OK;
}

enum err h_auth_ticket(struct req *r, struct resp *p)
{
	const char *ticket;
	enum err err = session_ticket(&r->op, r->credential, &ticket);

	if (err)
		return err;
	jw_obj(&p->w);
	jw_kstr(&p->w, "ticket", ticket);
	jw_kint(&p->w, "expires_in", SESSION_TICKET_S);
	jw_end_obj(&p->w);
	return OK;
}

/* --- people and keys ------------------------------------------------------------------------------------------------ */

static enum err show_user(struct resp *p, enum err err, const struct user *u)
{
	if (!err)
		user_json(u, &p->w);
	return err;
}

static enum err deleted(struct resp *p, enum err err)
{
	if (err)
		return err;
	jw_obj(&p->w);
	jw_kbool(&p->w, "deleted", true);
	jw_end_obj(&p->w);
	return OK;
}

enum err h_user_create(struct req *r, struct resp *p)
{
	struct user *u;
	enum err err = user_create(&r->op, r->in, &u);

	return show_user(p, err, u);
}

enum err h_users_list(struct req *r, struct resp *p)
{
	const struct page_q *q = r->q;
	struct user **list;
	int n;
	enum err err = users_list(&r->op, q->cursor, (int)q->limit, &list, &n, &p->next_cursor);

	if (err)
		return err;
	jw_arr(&p->w);
	for (int i = 0; i < n; i++)
		user_json(list[i], &p->w);
	jw_end_arr(&p->w);
	p->count = n;
	p->list = true;
	return OK;
}

enum err h_user_get(struct req *r, struct resp *p)
{
	struct user *u;
	enum err err = user_load(&r->op, r->arg[0], &u);

	return show_user(p, err, u);
}

enum err h_user_update(struct req *r, struct resp *p)
{
	struct user *u;
	enum err err = user_update(&r->op, r->arg[0], r->in, &u);

	return show_user(p, err, u);
}

enum err h_user_delete(struct req *r, struct resp *p)
{
	return deleted(p, user_delete(&r->op, r->arg[0]));
}

enum err h_key_create(struct req *r, struct resp *p)
{
	struct api_key *k;
	const char *secret;
	enum err err = api_key_create(&r->op, r->in, &k, &secret);

	if (err)
		return err;
	jw_obj(&p->w);
	api_key_json(k, &p->w);
	jw_kstr(&p->w, "key", secret);
	jw_end_obj(&p->w);
	p->message = "Keep the key: it is not shown again.";
	return OK;
}

enum err h_keys_list(struct req *r, struct resp *p)
{
	const struct page_q *q = r->q;
	struct api_key **list;
	int n;
	enum err err = api_keys_list(&r->op, q->cursor, (int)q->limit, &list, &n, &p->next_cursor);

	if (err)
		return err;
	jw_arr(&p->w);
	for (int i = 0; i < n; i++) {
		jw_obj(&p->w);
		api_key_json(list[i], &p->w);
		jw_end_obj(&p->w);
	}
	jw_end_arr(&p->w);
	p->count = n;
	p->list = true;
	return OK;
}

enum err h_key_get(struct req *r, struct resp *p)
{
	struct api_key *k;
	enum err err = api_key_load(&r->op, r->arg[0], &k);

	if (err)
		return err;
	jw_obj(&p->w);
	api_key_json(k, &p->w);
	jw_end_obj(&p->w);
	return OK;
}

enum err h_key_delete(struct req *r, struct resp *p)
{
	return deleted(p, api_key_delete(&r->op, r->arg[0]));
}
