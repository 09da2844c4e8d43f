// SPDX-License-Identifier: MIT
/*
 * One request: match, authenticate, authorise, limit, read, call, answer. Nothing else writes a status or a header.
 */
#include <fcgiapp.h>
#include <strings.h>

#include "../lib/base/clock.h"
#include "../lib/base/limits.h"
#include "../lib/base/log.h"
#include "../lib/base/metrics.h"
#include "../lib/base/secret.h"
#include "../lib/base/window.h"
#include "../lib/domain/idem.h"
#include "../lib/domain/session.h"
#include "../lib/net/netmatch.h"
#include "audited.h"
#include "handlers.h"
#include "oauth.h"
#include "routes.h"
#include "worker.h"

static const char *param(FCGX_Request *f, const char *name)
{
	const char *v = FCGX_GetParam(name, f->envp);

	return v && *v ? v : NULL;
}

static bool in_networks(const char *list, const char *address)
{
	struct arena scratch;
	struct error e;
	struct netset set;
	struct ip ip;

	arena_init(&scratch);
	error_init(&e, &scratch);
	bool in = address && ip_parse(address, &ip) && !netset_parse(list, &set, &e) && netset_allows(&set, &ip);

	arena_release(&scratch);
	return in;
}

/* --- who asks --------------------------------------------------------------------------------------------------- */

/* A visible-ASCII id from outside, or a new one. */
static const char *request_id(FCGX_Request *f, struct arena *a)
{
	const char *given = param(f, "HTTP_X_REQUEST_ID");
	char *id;

	if (given && strlen(given) <= LIMIT_HEADER_ID) {
		const char *p = given;

		while (*p > 0x20 && *p < 0x7f && *p != '"' && *p != '\\')
			p++;
		if (!*p)
			return given;
	}
	id = arena_alloc(a, ID_TEXT);
	id_new(id);
	return id;
}

static const char *header_param(struct arena *a, const char *header)
{
	char *name = arena_printf(a, "HTTP_%s", header);

	for (char *p = name + 5; *p; p++)
		*p = *p == '-' ? '_' : *p >= 'a' && *p <= 'z' ? (char)(*p - 32) : *p;
	return name;
}

static enum err unauthenticated(struct req *r, const char *why)
{
	metric_add(M_AUTH_FAILURES, "", 1);
	return error_set(r->op.err, ERR_UNAUTHENTICATED, "%s", why);
}

/* Fill r->caller from Authorization or the API key header. *iat: of the token, 0 without one. */
static enum err authenticate(struct req *r, FCGX_Request *f, int64_t *iat)
{
	const char *auth = param(f, "HTTP_AUTHORIZATION");
	const char *key = param(f, header_param(r->op.arena, r->op.app->cfg->api_key_header));
	enum err err = OK;

	*iat = 0;
	r->credential = auth ? auth : key;
	if (!auth && FCGX_GetParam("HTTP_AUTHORIZATION", f->envp))
		return unauthenticated(r, "empty authorization");
	if (auth && strncasecmp(auth, "ApiKey ", 7) == 0)
		key = auth + 7;
	else if (auth && (strncasecmp(auth, "Bearer ", 7) == 0 || strncasecmp(auth, "Agent ", 6) == 0))
		err = session_by_token(&r->op, strchr(auth, ' ') + 1, strlen(strchr(auth, ' ') + 1), &r->caller, iat);
	else if (auth && r->form && strncasecmp(auth, "Basic ", 6) == 0)
		return OK;	/* an OAuth 2 client's id and secret: the handler looks at them */
	else if (auth)
		return unauthenticated(r, "unknown authorization scheme");
	if (r->caller.kind == CALLER_NONE && key && !err)
		err = strlen(key) <= 256 ? session_by_key(&r->op, key, &r->caller) : unauthenticated(r, "key too long");
	if (err == ERR_UNAUTHENTICATED)
		metric_add(M_AUTH_FAILURES, "", 1);
	if (!err && r->caller.kind != CALLER_NONE)
		r->credential = !r->caller.jti ? arena_printf(r->op.arena, "ApiKey %s", key) : auth;
	return err;
}

/* The address the request came from: a trusted proxy's word for it when there is one. */
static const char *client_address(const struct config *cfg, FCGX_Request *f, struct arena *a)
{
	const char *remote = param(f, "REMOTE_ADDR");
	const char *forwarded = param(f, "HTTP_X_FORWARDED_FOR");

	if (!remote || !forwarded || !in_networks(cfg->trusted_proxies, remote))
		return remote ? remote : "";
	/* The last address was added by the proxy that is trusted. */
	const char *last = strrchr(forwarded, ',');

	last = last ? last + 1 : forwarded;
	while (*last == ' ')
		last++;
	size_t n = strcspn(last, " ,");

	return n && n < 64 ? arena_strndup(a, last, n) : remote;
}

/* --- limits and rights --------------------------------------------------------------------------------------------- */

static void rate_key(struct req *r)
{
	const struct config *cfg = r->op.app->cfg;
	const char *who = r->caller.kind == CALLER_NONE ? r->caller.address : r->caller.id;
	const char *class = "api";

	r->gate.limit = cfg->rate_limit_api;
	r->gate.cost = 1;
	if (r->route->rate == RATE_HEARTBEAT) {
		class = "heartbeat";
		r->gate.limit = cfg->rate_limit_heartbeat;
	} else if (r->route->rate == RATE_SUBMIT && r->caller.kind == CALLER_USER) {
		class = "submit";
		r->gate.limit = cfg->rate_limit_submit;
	} else if (r->route->rate == RATE_NONE) {
		r->gate.limit = 0;
	}
	if (r->gate.limit)
		r->gate.rate_key = arena_printf(r->op.arena, "%s:%s", class, who);
}

/* One round trip for revocation and rate limit; without Redis the store has the word on revocation. */
static enum err pass_gate(struct req *r, int64_t iat)
{
	bool revoked = false;

	rate_key(r);
	if (iat) {
		r->gate.jti = r->caller.jti;
		r->gate.subject = r->caller.id;
	}
	if (!iat && !r->gate.rate_key)
		return OK;
	enum err err = bus_gate(r->op.app->bus, &r->gate);

	/* Without Redis each process limits for itself. */
	if (err && r->gate.rate_key)
		r->gate.limited = !window_take(r->gate.rate_key, r->gate.limit, r->gate.cost, &r->gate.remaining,
					       &r->gate.reset_s);
	if (iat && (err || !r->gate.warm)) {
		err = session_revoked(&r->op, r->caller.jti, r->caller.id, iat, &revoked);
		if (err)
			return err;
	} else if (iat) {
		revoked = r->gate.revoked || iat <= r->gate.cutoff;
	}
	if (revoked)
		return unauthenticated(r, "revoked token");
	if (r->gate.limited)
		return error_public(r->op.err, ERR_RATE, "More than %lld requests in a minute; try again in %d s.",
				    (long long)r->gate.limit, r->gate.reset_s);
	return OK;
}

static bool metrics_allowed(const struct req *r, FCGX_Request *f)
{
	const char *token = r->op.app->cfg->metrics_token;
	const char *auth = param(f, "HTTP_AUTHORIZATION");

	return caller_may(&r->caller, PERM_SYSTEM_HEALTH) || in_networks("loopback", r->caller.address) ||
	       (*token && auth && strncmp(auth, "Bearer ", 7) == 0 && secret_str_equal(auth + 7, token));
}

static enum err authorise(struct req *r, FCGX_Request *f)
{
	const struct route *route = r->route;
	bool self = r->caller.kind == CALLER_AGENT && r->arg[0] && strcmp(r->caller.id, r->arg[0]) == 0;

	switch (route->access) {
	case ACCESS_NOBODY_ASKED:
		return OK;
	case ACCESS_METRICS:
		if (metrics_allowed(r, f))
			return OK;
		return r->caller.kind == CALLER_NONE ? unauthenticated(r, "metrics")
						     : error_public(r->op.err, ERR_FORBIDDEN, "This needs the permission %s.",
								    perm_name(route->perm));
	default:
		break;
	}
	if (r->caller.kind == CALLER_NONE)
		return unauthenticated(r, "no credentials");
	if (route->access == ACCESS_PERM && !caller_may(&r->caller, route->perm))
		return error_public(r->op.err, ERR_FORBIDDEN, "This needs the permission %s.", perm_name(route->perm));
	if (route->access == ACCESS_OWN_AGENT && !self && !caller_may(&r->caller, PERM_AGENT_MANAGE))
		return error_public(r->op.err, ERR_FORBIDDEN, "Only the agent itself, or agent:manage, may do this.");
	if (route->access == ACCESS_OWN_AGENT_ONLY &&
	    (!caller_may(&r->caller, route->perm) || (!self && !caller_may(&r->caller, PERM_AGENT_MANAGE))))
		return error_public(r->op.err, ERR_FORBIDDEN, "Only the agent itself may do this, with %s.",
				    perm_name(route->perm));
	return OK;
}

/* --- the body --------------------------------------------------------------------------------------------------------- */

static enum err check_args(struct req *r)
{
	const char *p = r->route->path;

	for (int i = 0; i < 3 && r->arg[i]; i++) {
		p = strchr(p, '{') + 1;
		if (strncmp(p, "stage}", 6) == 0)
			continue;
		if (!id_valid(r->arg[i]))
			return error_field(r->op.err, arena_printf(r->op.arena, "path.%.*s", (int)strcspn(p, "}"), p), "bad_id",
					   "must be a UUID in lower case");
	}
	return OK;
}

static enum err read_body(struct req *r, FCGX_Request *f)
{
	const char *length = param(f, "CONTENT_LENGTH");
	int64_t max = r->op.app->cfg->max_body;
	char *end;
	long long n = length ? strtoll(length, &end, 10) : 0;

	r->body_text = "";
	if (length && (*end || n < 0))
		return error_set(r->op.err, ERR_BAD_REQUEST, "Content-Length");
	if (n > max)
		return error_public(r->op.err, ERR_TOO_LARGE, "The body has %lld bytes; MAX_BODY is %lld.", n, (long long)max);
	if (n == 0)
		return OK;
	char *text = arena_alloc(r->op.arena, (size_t)n + 1);
	int got = FCGX_GetStr(text, (int)n, f->in);

	if (got != n)
		return error_public(r->op.err, ERR_BAD_REQUEST, "The body ends after %d of %lld bytes.", got, n);
	text[n] = '\0';
	r->body_text = text;
	r->body_len = (size_t)n;
	return OK;
}

static bool is_json(const char *type)
{
	size_t n = type ? strcspn(type, "; ") : 0;

	return (n == 16 && strncasecmp(type, "application/json", n) == 0) ||
	       (n > 5 && strncasecmp(type, "application/", 12) == 0 && strncasecmp(type + n - 5, "+json", 5) == 0);
}

static bool is_form(const struct route *route, const char *type)
{
	return (route->flags & ROUTE_FORM) && type && strncasecmp(type, "application/x-www-form-urlencoded", 33) == 0;
}

static enum err parse_body(struct req *r, FCGX_Request *f)
{
	const struct route *route = r->route;
	const char *type = param(f, "CONTENT_TYPE");
	struct jv *v;
	enum err err = read_body(r, f);

	if (err || !route->body)
		return err;
	if (r->form)
		return OK;	/* the handler reads it */
	if (r->body_len && !is_json(type))
		return error_set(r->op.err, ERR_MEDIA, "content type");
	const char *text = r->body_len ? r->body_text : "{}";

	err = json_parse(r->op.arena, text, strlen(text) == r->body_len || !r->body_len ? strlen(text) : r->body_len,
			 schema_depth(route->body), &v, r->op.err);
	if (err)
		return err;
	r->body = v;
	return route->flags & ROUTE_RAW_BODY ? OK : schema_read(route->body, v, r->op.arena, &r->in, r->op.err);
}

static enum err parse_query(struct req *r)
{
	static const struct field no_fields[1];
	static const struct schema nothing = { .name = "", .size = sizeof(uint64_t), .fields = no_fields, .n = 0 };

	return schema_read_query(r->route->query ? r->route->query : &nothing, r->query, false, r->op.arena, &r->q,
				 r->op.err);
}

/* --- answering ------------------------------------------------------------------------------------------------------------ */

bool origin_listed(const char *list, const char *origin)
{
	size_t n = strlen(origin);

	for (const char *o = list; n && (o = strstr(o, origin)); o++) {
		if ((o == list || o[-1] == ' ') && (o[n] == ' ' || !o[n]))
			return true;
	}
	return false;
}

static void put_headers(struct req *r, struct resp *p, int status, const char *type, struct buf *out)
{
	const struct config *cfg = r->op.app->cfg;

	buf_addf(out, "Status: %d\r\nContent-Type: %s\r\nX-Request-ID: %s\r\n", status, type, r->op.request_id);
	buf_adds(out, "X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n");
	if (!p->content_type || strncmp(type, "text/html", 9) != 0)
		buf_adds(out, "Cache-Control: no-store\r\nContent-Security-Policy: default-src 'none'; frame-ancestors 'none'\r\n");
	else
		buf_addf(out, "Content-Security-Policy: %s\r\n", docs_policy());
	if (r->gate.rate_key && r->gate.limit) {
		buf_addf(out, "RateLimit-Limit: %lld\r\nRateLimit-Remaining: %lld\r\nRateLimit-Reset: %d\r\n",
			 (long long)r->gate.limit, (long long)(r->gate.limited ? 0 : r->gate.remaining), r->gate.reset_s);
	}
	if (p->retry_after)
		buf_addf(out, "Retry-After: %d\r\n", p->retry_after);
	if (p->set_cookie)
		buf_addf(out, "Set-Cookie: %s\r\n", p->set_cookie);
	if (p->allow)
		buf_addf(out, "Allow: %s\r\n", p->allow);
	if (status == 401)
		buf_addf(out, "WWW-Authenticate: %s realm=\"mcp\"\r\n", r->form ? "Basic" : "Bearer");
	if (r->form)
		buf_adds(out, "Pragma: no-cache\r\n");	/* RFC 6749 section 5.1 asks for it */
	if (p->location)
		buf_addf(out, "Location: %s\r\n", p->location);
	if (p->replayed)
		buf_adds(out, "Idempotency-Replayed: true\r\n");
	if (r->origin && origin_listed(cfg->cors_origins, r->origin))
		buf_addf(out, "Access-Control-Allow-Origin: %s\r\nVary: Origin\r\nAccess-Control-Allow-Credentials: true\r\n",
			 r->origin);
	buf_adds(out, "\r\n");
}

static void put_success(struct req *r, struct resp *p, struct buf *out)
{
	buf_adds(out, "{\"success\":true,\"data\":");
	if (p->data.n)
		buf_add(out, p->data.p, p->data.n);
	else
		buf_adds(out, "null");
	if (p->message)
		buf_addf(out, ",\"message\":\"%s\"", p->message);
	if (p->count >= 0)
		buf_addf(out, ",\"count\":%lld", (long long)p->count);
	if (p->list) {
		buf_adds(out, ",\"next_cursor\":");
		if (p->next_cursor)
			buf_addf(out, "\"%s\"", p->next_cursor);
		else
			buf_adds(out, "null");
	}
	if (p->execution_id)
		buf_addf(out, ",\"execution_id\":\"%s\"", p->execution_id);
	if (p->top)
		buf_addf(out, ",%s", p->top);
	buf_addf(out, ",\"request_id\":\"%s\"}", r->op.request_id);
}

static void error_members(const struct req *r, enum err err, const char *message, struct jw *w)
{
	const struct error *e = r->op.err;

	jw_kstr(w, "type", err_type(err));
	jw_kstr(w, "code", err_text(err));
	jw_kstr(w, "message", message);
	if (e->fields || !e->extra) {
		jw_key(w, "details");
		error_fields_json(e, w);
	} else {
		jw_kraw(w, "details", e->extra);
	}
	jw_ktime(w, "timestamp", now_ms());
	jw_kstr(w, "request_id", r->op.request_id);
}

/* An OAuth 2 client looks for its own kind of error: there `error` is a word, and ours stands in `details`. */
static void put_error(struct req *r, enum err err, struct buf *out)
{
	const struct error *e = r->op.err;
	const char *message = e->message[0] && e->code == err ? e->message : err_message(err);
	struct jw w;

	jw_init(&w, out);
	jw_obj(&w);
	jw_kbool(&w, "success", false);
	if (r->form)
		oauth_error(r, err, message, &w);
	jw_key(&w, r->form ? "details" : "error");
	jw_obj(&w);
	error_members(r, err, message, &w);
	jw_end_obj(&w);
	jw_end_obj(&w);
}

void resp_begin_stream(struct req *r, struct resp *p, const char *content_type)
{
	struct buf head;

	buf_init(&head);
	p->streamed = true;
	put_headers(r, p, 200, content_type, &head);
	FCGX_PutStr(head.p, (int)head.n, r->out);
	buf_release(&head);
}

static int answer(struct req *r, struct resp *p, enum err err)
{
	struct buf out;
	int status = err ? err_status(err) : p->status ? p->status : r->route->status;

	if (p->streamed)
		return status;
	if (err == ERR_RATE && !p->retry_after)
		p->retry_after = r->gate.reset_s > 0 ? r->gate.reset_s : 60;
	if ((status == 503 || err == ERR_UNCERTAIN) && !p->retry_after)
		p->retry_after = 1;
	buf_init(&out);
	put_headers(r, p, status, !err && p->content_type ? p->content_type : "application/json", &out);
	if (strcmp(r->method, "HEAD") == 0)
		;	/* headers alone */
	else if (err)
		put_error(r, err, &out);
	else if (p->content_type)
		buf_add(&out, p->data.p, p->data.n);
	else
		put_success(r, p, &out);
	FCGX_PutStr(out.p, (int)out.n, r->out);
	buf_release(&out);
	return status;
}

/* --- the request ---------------------------------------------------------------------------------------------------------- */

/* A known Idempotency-Key is answered here. True: answered. */
static enum err idempotency(struct req *r, struct resp *p, FCGX_Request *f, bool *replayed)
{
	const char *key = FCGX_GetParam("HTTP_IDEMPOTENCY_KEY", f->envp);
	const char *data;

	*replayed = false;
	if (!key || !(r->route->flags & ROUTE_IDEMPOTENT))
		return OK;
	if (!*key || strlen(key) > LIMIT_HEADER_ID)
		return error_field(r->op.err, "header.Idempotency-Key", "bad_length", "must have 1 to %d characters",
				   LIMIT_HEADER_ID);
	const char *name = arena_printf(r->op.arena, "%s %s", r->method, r->path);
	enum err err = idem_begin(&r->op, name, key, r->body_text, r->body_len, &data, &p->status);

	if (err)
		return err;
	if (!data) {
		r->op.idem->status = r->route->status;
		return OK;
	}
	p->replayed = true;
	if (r->route->flags & ROUTE_REPLAYS) {
		/* The handler answers with what the first request made, as it is by now. */
		r->replay = data;
		p->status = 0;
		return OK;
	}
	buf_adds(&p->data, data);
	*replayed = true;
	return OK;
}

static enum err process(struct req *r, struct resp *p, FCGX_Request *f)
{
	int64_t iat;
	bool replayed;
	enum err err = authenticate(r, f, &iat);

	/* A bad credential on an open route is no credential. */
	if (err == ERR_UNAUTHENTICATED &&
	    (r->route->access == ACCESS_NOBODY_ASKED || r->route->access == ACCESS_METRICS)) {
		error_init(r->op.err, r->op.arena);
		r->caller = (struct caller){ .address = r->caller.address, .user_agent = r->user_agent, .id = "" };
		iat = 0;
		err = OK;
	}
	struct log_context *log = log_context();

	if (r->caller.kind == CALLER_AGENT)
		log->agent_id = r->caller.id;
	else if (r->caller.kind != CALLER_NONE)
		log->user_id = r->caller.id;
	if (err || (err = pass_gate(r, iat)) || (err = authorise(r, f)) || (err = check_args(r)) ||
	    (err = parse_query(r)) || (err = parse_body(r, f)) || (err = idempotency(r, p, f, &replayed)) || replayed)
		return err;
	audited_begin(r);
	err = r->route->handle(r, p);
	if (err == ERR_IDEM_BUSY) {
		/* The other request with this key has committed: its answer is this one's. */
		error_init(r->op.err, r->op.arena);
		buf_reset(&p->data);
		r->op.audit = NULL;	/* that one is recorded, not this */
		err = idempotency(r, p, f, &replayed);
		if (!err && r->replay)
			return r->route->handle(r, p);
		return err || replayed ? err : error_set(r->op.err, ERR_IDEM_BUSY, "idempotency key");
	}
	return err;
}

static void preflight(struct req *r, struct resp *p, const char *allow)
{
	struct buf out;

	buf_init(&out);
	put_headers(r, p, 204, "text/plain", &out);
	out.n -= 2;
	buf_addf(&out, "Allow: %s, OPTIONS\r\nAccess-Control-Allow-Methods: %s\r\n"
		       "Access-Control-Allow-Headers: Authorization, Content-Type, Idempotency-Key, X-API-Key, X-Request-ID\r\n"
		       "Access-Control-Max-Age: 600\r\n\r\n", allow, allow);
	FCGX_PutStr(out.p, (int)out.n, r->out);
	buf_release(&out);
}

static void record(const struct req *r, int status, enum err err, int64_t started)
{
	char labels[200];
	const char *endpoint = r->route ? r->route->path : "unknown";
	int64_t took = mono_us() - started;

	snprintf(labels, sizeof(labels), "method=\"%s\",endpoint=\"%s\",status=\"%d\"", r->route ? r->route->method : "other",
		 endpoint, status);
	metric_observe(M_REQUEST_DURATION, labels, took);
	/* A call that waits on purpose says nothing about how fast the panel is. */
	if (!r->query || !strstr(r->query, "wait=")) {
		minute_observe(MINUTE_REQUEST, took);
		minute_add(MINUTE_REQUESTS, 1);
		minute_add(MINUTE_ERRORS, status >= 500);
	}
	if (err) {
		snprintf(labels, sizeof(labels), "error_type=\"%s\",endpoint=\"%s\"", err_type(err), endpoint);
		metric_add(M_ERRORS, labels, 1);
	}
	if (status >= 500)
		log_error(LOG_ERROR, r->op.err, "%s %s answered %d", r->method, endpoint, status);
	else if (log_enabled(LOG_DEBUG))
		log_timed(LOG_DEBUG, took, "%s %s answered %d", r->method, endpoint, status);
}

/* Is there nothing of the body that was not read? */
static bool read_whole(const struct req *r, FCGX_Request *f)
{
	const char *length = param(f, "CONTENT_LENGTH");

	return !length || (size_t)strtoull(length, NULL, 10) == r->body_len;
}

bool dispatch(struct app *app, FCGX_Request *f, struct arena *arena, bool slow)
{
	int64_t started = mono_us();
	struct error e;
	struct req r = { .method = param(f, "REQUEST_METHOD"), .query = param(f, "QUERY_STRING"), .slow = slow, .out = f->out,
			 .origin = param(f, "HTTP_ORIGIN"), .host = param(f, "HTTP_HOST"), .cookie = param(f, "HTTP_COOKIE"),
			 .user_agent = param(f, "HTTP_USER_AGENT"), .authorization = param(f, "HTTP_AUTHORIZATION"),
			 .body_text = "" };
	struct resp p = { .count = -1 };
	const char *uri = param(f, "REQUEST_URI");
	const char *allow;
	enum err err = OK;

	op_init(&r.op, app, arena, &e, &r.caller, request_id(f, arena));
	log_context()->request_id = r.op.request_id;
	r.caller.address = client_address(app->cfg, f, arena);
	r.caller.user_agent = r.user_agent;
	r.caller.id = "";
	if (!r.method)
		r.method = "GET";
	if (r.origin && strpbrk(r.origin, "\r\n"))
		r.origin = NULL;
	char *path = arena_strndup(arena, uri ? uri : "/", uri ? strcspn(uri, "?") : 1);

	r.path = path;
	buf_init(&p.data);
	jw_init(&p.w, &p.data);
	bool head = strcmp(r.method, "HEAD") == 0;

	if (!url_decode(path, false))
		err = error_set(&e, ERR_BAD_REQUEST, "path escapes");
	else
		r.route = route_match(arena, head ? "GET" : r.method, path, r.arg, &err, &allow);
	r.form = r.route && is_form(r.route, param(f, "CONTENT_TYPE"));
	if (!err)
		err = process(&r, &p, f);
	if (err || r.op.audit)
		audited_end(&r, err);
	int status;

	if (err == ERR_METHOD && strcmp(r.method, "OPTIONS") == 0) {
		status = 204;
		err = OK;
		preflight(&r, &p, allow);
	} else {
		if (err == ERR_METHOD)
			error_public(&e, ERR_METHOD, "This route takes %s.", allow);
		p.allow = err == ERR_METHOD ? allow : NULL;
		status = answer(&r, &p, err);
	}
	record(&r, status, err, started);
	buf_release(&p.data);
	log_context_clear();
	return read_whole(&r, f);
}
