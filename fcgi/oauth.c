// SPDX-License-Identifier: MIT
#include "oauth.h"

#include <strings.h>

#include "../lib/base/limits.h"
#include "../lib/base/secret.h"
#include "../lib/domain/session.h"

#define CREDENTIAL_MAX 256

struct form_in {
	uint64_t present;
	const char *grant_type, *client_id, *client_secret, *refresh_token, *scope;
};

static const struct field form_fields[] = {
	{ "grant_type", F_STR, true, offsetof(struct form_in, grant_type), .min = 1, .max = 64,
	  .help = "client_credentials or refresh_token." },
	{ "client_id", F_STR, .offset = offsetof(struct form_in, client_id), .min = 1, .max = CREDENTIAL_MAX,
	  .help = "The agent's id, unless it comes by HTTP Basic." },
	{ "client_secret", F_STR, .offset = offsetof(struct form_in, client_secret), .min = 1, .max = CREDENTIAL_MAX,
	  .help = "The agent's auth token, unless it comes by HTTP Basic." },
	{ "refresh_token", F_STR, .offset = offsetof(struct form_in, refresh_token), .min = 1, .max = 8192,
	  .help = "With the grant refresh_token." },
	{ "scope", F_STR, .offset = offsetof(struct form_in, scope), .max = 1024,
	  .help = "Ignored: what a client may do is decided here." },
};
SCHEMA(oauth_form_schema, struct form_in, "OAuthTokenRequest", form_fields, "RFC 6749 sections 4.4 and 6.");

static bool known(const char *name)
{
	for (size_t i = 0; i < sizeof(form_fields) / sizeof(*form_fields); i++) {
		if (strcmp(form_fields[i].name, name) == 0)
			return true;
	}
	return false;
}

/* The form without what section 3.2 says is to be ignored: parameters that are unknown, and those without a value. */
static const char *relevant(struct req *r)
{
	struct buf b;

	buf_init(&b);
	for (const char *p = r->body_text; *p; p += *p == '&') {
		size_t n = strcspn(p, "&");
		size_t name_len = strcspn(p, "=&");
		char *name = arena_strndup(r->op.arena, p, name_len);

		if (n > name_len + 1 && url_decode(name, true) && known(name))
			buf_addf(&b, "%s%.*s", b.n ? "&" : "", (int)n, p);
		p += n;
	}
	const char *text = b.n ? arena_strndup(r->op.arena, b.p, b.n) : "";

	buf_release(&b);
	return text;
}

struct client {
	const char *id, *secret;	/* NULL: not said */
};

/* "Basic <base64 of id:secret>", both percent-encoded (section 2.3.1). False: not readable. */
static bool read_basic(struct req *r, struct client *c)
{
	const char *text = r->authorization + strlen("Basic ");

	text += strspn(text, " ");
	size_t n = strlen(text);
	char *url = arena_strndup(r->op.arena, text, n);

	while (n && url[n - 1] == '=')
		n--;
	for (size_t i = 0; i < n; i++)
		url[i] = url[i] == '+' ? '-' : url[i] == '/' ? '_' : url[i];
	if (n > 4 * CREDENTIAL_MAX)
		return false;
	char *pair = arena_zalloc(r->op.arena, n + 1);
	ptrdiff_t got = b64url_decode(url, n, (uint8_t *)pair);

	if (got < 0 || strlen(pair) != (size_t)got)
		return false;
	char *colon = strchr(pair, ':');

	if (!colon)
		return false;
	*colon = '\0';
	c->id = pair;
	c->secret = colon + 1;
	return url_decode(pair, true) && url_decode(colon + 1, true) && *c->id && *c->secret &&
	       strlen(c->id) <= CREDENTIAL_MAX && strlen(c->secret) <= CREDENTIAL_MAX;
}

static enum err who_asks(struct req *r, const struct form_in *in, struct client *c)
{
	*c = (struct client){ .id = in->client_id, .secret = in->client_secret };
	if (!r->authorization || strncasecmp(r->authorization, "Basic ", 6) != 0)
		return OK;
	if (in->client_secret)
		return error_public(r->op.err, ERR_BAD_REQUEST, "Give the client's secret once: by HTTP Basic or in the form.");
	if (!read_basic(r, c))
		return error_set(r->op.err, ERR_UNAUTHENTICATED, "unreadable HTTP Basic");
	if (in->client_id && strcmp(in->client_id, c->id) != 0)
		return error_public(r->op.err, ERR_BAD_REQUEST, "client_id is not the one of HTTP Basic.");
	return OK;
}

static enum err grant_client(struct req *r, const struct client *c, struct token_pair *t)
{
	if (!c->id)
		error_field(r->op.err, "$.client_id", "required", "is required (or HTTP Basic)");
	if (!c->secret)
		error_field(r->op.err, "$.client_secret", "required", "is required (or HTTP Basic)");
	return r->op.err->code ? r->op.err->code : session_agent_login(&r->op, c->id, c->secret, t);
}

static enum err bad_grant(struct req *r)
{
	r->oauth_error = "invalid_grant";
	return error_public(r->op.err, ERR_BAD_REQUEST, "The refresh token is not valid, or not this client's.");
}

/* An agent's refresh token is good only together with the agent's secret; a person has none. */
static enum err grant_refresh(struct req *r, const struct form_in *in, const struct client *c, struct token_pair *t)
{
	struct claims claims;
	struct agent *a;
	enum err err;

	if (!in->refresh_token)
		return error_field(r->op.err, "$.refresh_token", "required", "is required");
	if (c->id && c->secret && (err = session_agent_check(&r->op, c->id, c->secret, &a)))
		return err;
	err = token_verify(r->op.app->tokens, in->refresh_token, strlen(in->refresh_token), TOKEN_REFRESH, &claims, r->op.err);
	if (err && err != ERR_UNAUTHENTICATED)
		return err;
	if (!err && claims.kind == SUBJECT_AGENT && !c->secret)
		return error_set(r->op.err, ERR_UNAUTHENTICATED, "an agent's refresh token without its secret");
	if (err || (c->id && strcmp(c->id, claims.sub) != 0))
		return bad_grant(r);
	err = session_refresh(&r->op, in->refresh_token, t);
	return err == ERR_UNAUTHENTICATED ? bad_grant(r) : err;
}

enum err oauth_token(struct req *r, struct resp *p)
{
	struct token_pair t;
	struct client c;
	void *obj;

	if (strlen(r->body_text) != r->body_len)
		return error_set(r->op.err, ERR_BAD_REQUEST, "a form with U+0000");
	enum err err = schema_read_query(&oauth_form_schema, relevant(r), true, r->op.arena, &obj, r->op.err);

	if (err)
		return err;
	const struct form_in *in = obj;

	err = who_asks(r, in, &c);
	if (err)
		return err;
	if (strcmp(in->grant_type, "client_credentials") == 0) {
		err = grant_client(r, &c, &t);
	} else if (strcmp(in->grant_type, "refresh_token") == 0) {
		err = grant_refresh(r, in, &c, &t);
	} else {
		r->oauth_error = "unsupported_grant_type";
		err = error_field(r->op.err, "$.grant_type", "bad_value", "must be client_credentials or refresh_token");
	}
	if (err)
		return err;
	p->top = arena_printf(r->op.arena, "\"access_token\":\"%s\",\"refresh_token\":\"%s\",\"token_type\":\"Bearer\",\"expires_in\":%lld",
			      t.access, t.refresh, (long long)t.expires_in);
	buf_addf(&p->data, "{%s}", p->top);
	return OK;
}

void oauth_error(const struct req *r, enum err err, const char *message, struct jw *w)
{
	const char *word = r->oauth_error;

	if (!word) {
		int status = err_status(err);

		word = status == 401 ? "invalid_client" : status == 403 ? "unauthorized_client"
		       : status == 429 || status > 500 ? "temporarily_unavailable" : status == 500 ? "server_error"
		       : "invalid_request";
	}
	jw_kstr(w, "error", word);
	/* Section 5.2 allows printable ASCII without quotes and backslashes. */
	char *plain = arena_strdup(r->op.arena, message);

	for (char *c = plain; *c; c++)
		*c = *c < 0x20 || *c > 0x7e ? '?' : *c == '"' || *c == '\\' ? '\'' : *c;
	jw_kstr(w, "error_description", plain);
}
