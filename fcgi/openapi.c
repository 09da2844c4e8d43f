// SPDX-License-Identifier: MIT
/* The OpenAPI 3.1 document, made from the tables that dispatch and check requests. */
#include <ctype.h>

#include "../lib/base/version.h"
#include "oauth.h"
#include "routes.h"

static void ref(struct jw *w, const char *kind, const char *name, size_t n)
{
	struct buf b;

	buf_init(&b);
	buf_addf(&b, "#/components/%s/%.*s", kind, (int)n, name);
	jw_obj(w);
	jw_kstr(w, "$ref", b.p);
	jw_end_obj(w);
	buf_release(&b);
}

static void enum_values(struct jw *w, const char *list, size_t n, bool nullable)
{
	jw_key(w, "enum");
	jw_arr(w);
	for (size_t i = 0; i < n;) {
		size_t len = strcspn(list + i, "|?");

		if (len > n - i)
			len = n - i;
		jw_strn(w, list + i, len);
		i += len + 1;
	}
	if (nullable)
		jw_null(w);
	jw_end_arr(w);
}

/* One word of answers.c as a schema. */
static void word(struct jw *w, const char *text, size_t n, bool nullable, const char *help)
{
	static const struct {
		const char *word, *type, *format;
	} words[] = { { "string", "string", NULL }, { "uuid", "string", "uuid" }, { "time", "string", "date-time" },
		      { "integer", "integer", NULL }, { "number", "number", NULL }, { "boolean", "boolean", NULL },
		      { "object", "object", NULL } };

	if (n > 2 && strncmp(text + n - 2, "[]", 2) == 0) {
		jw_obj(w);
		jw_kstr(w, "type", "array");
		jw_key(w, "items");
		word(w, text, n - 2, false, "");
		jw_end_obj(w);
		return;
	}
	if (isupper((unsigned char)text[0]) && !nullable) {
		ref(w, "schemas", text, n);
		return;
	}
	jw_obj(w);
	if (isupper((unsigned char)text[0])) {
		jw_key(w, "anyOf");
		jw_arr(w);
		ref(w, "schemas", text, n);
		jw_obj(w);
		jw_kstr(w, "type", "null");
		jw_end_obj(w);
		jw_end_arr(w);
	} else if (strncmp(text, "enum:", 5) == 0) {
		enum_values(w, text + 5, n - 5, nullable);
	}
	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++) {
		if (strlen(words[i].word) != n || strncmp(words[i].word, text, n) != 0)
			continue;
		jw_key(w, "type");
		if (nullable) {
			jw_arr(w);
			jw_str(w, words[i].type);
			jw_str(w, "null");
			jw_end_arr(w);
		} else {
			jw_str(w, words[i].type);
		}
		if (words[i].format)
			jw_kstr(w, "format", words[i].format);
	}
	if (*help)
		jw_kstr(w, "description", help);
	jw_end_obj(w);
}

static const struct answer_type *answer_type(const char *name)
{
	for (const struct answer_type *t = answer_types; t->name; t++) {
		if (strcmp(t->name, name) == 0)
			return t;
	}
	return NULL;
}

static void answer_properties(struct jw *w, const struct answer_field *f, bool names_only)
{
	for (; f->name; f++) {
		size_t n = strlen(f->type);
		bool nullable = n && f->type[n - 1] == '?';

		if (strcmp(f->name, "+") == 0) {
			answer_properties(w, answer_type(f->type)->fields, names_only);
		} else if (names_only) {
			/* what only sometimes is there says so in its help */
			if (!strstr(f->help, "only when"))
				jw_str(w, f->name);
		} else {
			jw_key(w, f->name);
			word(w, f->type, nullable ? n - 1 : n, nullable, f->help);
		}
	}
}

static void answer_schema(struct jw *w, const struct answer_type *t)
{
	jw_obj(w);
	jw_kstr(w, "type", "object");
	if (*t->help)
		jw_kstr(w, "description", t->help);
	jw_key(w, "properties");
	jw_obj(w);
	answer_properties(w, t->fields, false);
	jw_end_obj(w);
	jw_key(w, "required");
	jw_arr(w);
	answer_properties(w, t->fields, true);
	jw_end_arr(w);
	jw_end_obj(w);
}

/* --- paths --------------------------------------------------------------------------------------------------------- */

static void parameter(struct jw *w, const char *in, const struct field *f, const char *name, bool required)
{
	jw_obj(w);
	jw_kstr(w, "name", name);
	jw_kstr(w, "in", in);
	jw_kbool(w, "required", required);
	if (f->kind == F_ENUMS || f->kind == F_SLUGS || f->kind == F_STRS) {
		jw_kstr(w, "style", "form");
		jw_kbool(w, "explode", false);
	}
	jw_key(w, "schema");
	field_write(f, w);
	jw_end_obj(w);
}

static void parameters(struct jw *w, const struct route *r)
{
	static const struct field uuid = { .kind = F_UUID };
	static const struct field stage = { .kind = F_INT, .min = 1, .max = 6 };
	static const struct field key = { .kind = F_STR, .max = 128,
					  .help = "A repeat within 24 hours gets the first answer." };

	jw_key(w, "parameters");
	jw_arr(w);
	for (const char *p = strchr(r->path, '{'); p; p = strchr(p + 1, '{')) {
		char name[40];

		snprintf(name, sizeof(name), "%.*s", (int)strcspn(p + 1, "}"), p + 1);
		parameter(w, "path", strcmp(name, "stage") == 0 ? &stage : &uuid, name, true);
	}
	for (size_t i = 0; r->query && i < r->query->n; i++)
		parameter(w, "query", &r->query->fields[i], r->query->fields[i].name, r->query->fields[i].required);
	if (r->flags & ROUTE_IDEMPOTENT)
		parameter(w, "header", &key, "Idempotency-Key", false);
	jw_end_arr(w);
}

static void request_body(struct jw *w, const struct route *r)
{
	bool required = false;

	for (size_t i = 0; i < r->body->n; i++)
		required |= r->body->fields[i].required;
	required |= r->body->min_fields > 0;
	jw_key(w, "requestBody");
	jw_obj(w);
	jw_kbool(w, "required", required);
	jw_key(w, "content");
	jw_obj(w);
	jw_key(w, "application/json");
	jw_obj(w);
	jw_key(w, "schema");
	ref(w, "schemas", r->body->name, strlen(r->body->name));
	jw_end_obj(w);
	if (r->flags & ROUTE_FORM)
		jw_kraw(w, "application/x-www-form-urlencoded", "{\"schema\":{\"$ref\":\"#/components/schemas/OAuthTokenRequest\"}}");
	jw_end_obj(w);
	jw_end_obj(w);
}

static void links(struct jw *w, const struct route *r)
{
	static const struct {
		const char *from, *parameter, *expression;
		const char *to[6];
	} table[] = {
		{ "h_task_create", "task_id", "$response.body#/data/task_id",
		  { "GET /tasks/{task_id}", "GET /tasks/{task_id}/status", "POST /tasks/{task_id}/cancel",
		    "GET /tasks/{task_id}/logs" } },
		{ "h_agent_register", "agent_id", "$response.body#/data/agent_id",
		  { "GET /agents/{agent_id}", "POST /agents/{agent_id}/claim", "GET /agents/{agent_id}/metrics",
		    "DELETE /agents/{agent_id}" } },
		{ "h_pipeline_create", "pipeline_id", "$response.body#/data/pipeline_id",
		  { "GET /pipelines/{pipeline_id}", "POST /pipelines/{pipeline_id}/execute",
		    "DELETE /pipelines/{pipeline_id}" } },
		{ "h_pipeline_execute", "execution_id", "$response.body#/data/execution_id",
		  { "GET /executions/{execution_id}", "POST /executions/{execution_id}/pause",
		    "POST /executions/{execution_id}/cancel" } },
	};
	static const char *const starters[] = { "POST /tasks", "POST /agents/register", "POST /pipelines",
						"POST /pipelines/{pipeline_id}/execute" };
	char self[120];

	snprintf(self, sizeof(self), "%s %s", r->method, r->path);
	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
		if (strcmp(starters[i], self) != 0)
			continue;
		jw_key(w, "links");
		jw_obj(w);
		for (int k = 0; k < 6 && table[i].to[k]; k++) {
			char name[16];

			snprintf(name, sizeof(name), "next%d", k + 1);
			jw_key(w, name);
			jw_obj(w);
			jw_kstr(w, "operationId", table[i].to[k]);
			jw_key(w, "parameters");
			jw_obj(w);
			jw_kstr(w, table[i].parameter, table[i].expression);
			jw_end_obj(w);
			jw_end_obj(w);
		}
		jw_end_obj(w);
	}
}

static void success_schema(struct jw *w, const struct route *r)
{
	size_t n = strlen(r->answer);

	jw_obj(w);
	jw_kstr(w, "type", "object");
	jw_key(w, "properties");
	jw_obj(w);
	jw_kraw(w, "success", "{\"const\":true}");
	jw_key(w, "data");
	word(w, r->answer, n, false, "");
	jw_kraw(w, "request_id", "{\"type\":\"string\"}");
	jw_kraw(w, "message", "{\"type\":\"string\"}");
	if (r->flags & ROUTE_LIST) {
		jw_kraw(w, "count", "{\"type\":\"integer\"}");
		jw_kraw(w, "next_cursor", "{\"type\":[\"string\",\"null\"]}");
	}
	if (r->flags & ROUTE_FORM) {
		/* to a form, the same as in data (RFC 6749 section 5.1) */
		jw_kraw(w, "access_token", "{\"type\":\"string\"}");
		jw_kraw(w, "refresh_token", "{\"type\":\"string\"}");
		jw_kraw(w, "token_type", "{\"const\":\"Bearer\"}");
		jw_kraw(w, "expires_in", "{\"type\":\"integer\"}");
	}
	jw_end_obj(w);
	jw_kraw(w, "required", "[\"success\",\"data\",\"request_id\"]");
	jw_end_obj(w);
}

static void success(struct jw *w, const struct route *r, int status, bool with_links)
{
	char code[8];

	snprintf(code, sizeof(code), "%d", status);
	jw_key(w, code);
	jw_obj(w);
	jw_kstr(w, "description", r->summary);
	jw_key(w, "content");
	jw_obj(w);
	if (strchr(r->answer, '/')) {
		jw_kraw(w, r->answer, "{}");
	} else {
		jw_key(w, "application/json");
		jw_obj(w);
		jw_key(w, "schema");
		success_schema(w, r);
		jw_end_obj(w);
		if (strcmp(r->answer, "Output") == 0) {
			jw_kraw(w, "application/x-ndjson", "{}");
			jw_kraw(w, "text/csv", "{}");
		}
	}
	jw_end_obj(w);
	if (with_links)
		links(w, r);
	jw_end_obj(w);
}

static void responses(struct jw *w, const struct route *r)
{
	static const int errors[] = { 400, 401, 403, 404, 409, 413, 415, 422, 429, 500, 503, 504 };
	bool probe = strcmp(r->path, "/health") == 0 || strcmp(r->path, "/ready") == 0;

	jw_key(w, "responses");
	jw_obj(w);
	success(w, r, r->status, true);
	if (strcmp(r->answer, "BatchAnswer") == 0)
		success(w, r, 207, false);
	if (strcmp(r->id, "P6") == 0)
		success(w, r, 200, false);
	if (probe)
		success(w, r, 503, false);
	for (size_t i = 0; i < sizeof(errors) / sizeof(*errors); i++) {
		char code[8];

		if (probe && errors[i] == 503)
			continue;
		snprintf(code, sizeof(code), "%d", errors[i]);
		jw_key(w, code);
		if (r->flags & ROUTE_FORM)
			ref(w, "responses", "OAuthError", 10);
		else
			ref(w, "responses", "Error", 5);
	}
	jw_end_obj(w);
}

/* Who may call a route, as a word. */
static const char *const access_names[] = {
	[ACCESS_NOBODY_ASKED] = "open",	  [ACCESS_ANY] = "authenticated",	    [ACCESS_PERM] = "permission",
	[ACCESS_OWN_AGENT] = "own-agent", [ACCESS_OWN_AGENT_ONLY] = "own-agent-permission", [ACCESS_METRICS] = "metrics",
};

static void operation(struct jw *w, const struct route *r)
{
	char id[120];
	char method[8];

	size_t n = 0;

	for (; r->method[n] && n + 1 < sizeof(method); n++)
		method[n] = (char)tolower((unsigned char)r->method[n]);
	method[n] = '\0';
	snprintf(id, sizeof(id), "%s %s", r->method, r->path);
	jw_key(w, method);
	jw_obj(w);
	jw_kstr(w, "operationId", id);
	jw_kstr(w, "summary", r->summary);
	jw_key(w, "tags");
	jw_arr(w);
	jw_str(w, r->tag);
	jw_end_arr(w);
	jw_kstr(w, "x-access", access_names[r->access]);
	if (r->perm)
		jw_kstr(w, "x-permission", perm_name(r->perm));
	jw_kraw(w, "security", r->access == ACCESS_NOBODY_ASKED ? "[]"
			       : r->access == ACCESS_METRICS	? "[{},{\"bearer\":[]},{\"apiKey\":[]}]"
								: "[{\"bearer\":[]},{\"apiKey\":[]}]");
	parameters(w, r);
	if (r->body)
		request_body(w, r);
	responses(w, r);
	jw_end_obj(w);
}

static void paths(struct jw *w)
{
	jw_key(w, "paths");
	jw_obj(w);
	for (size_t i = 0; i < n_routes; i++) {
		char path[120];
		bool seen = false;

		for (size_t j = 0; j < i && !seen; j++)
			seen = strcmp(routes[j].path, routes[i].path) == 0;
		if (seen)
			continue;
		snprintf(path, sizeof(path), API_PREFIX "%s", routes[i].path);
		jw_key(w, path);
		jw_obj(w);
		for (size_t j = i; j < n_routes; j++) {
			if (strcmp(routes[j].path, routes[i].path) == 0)
				operation(w, &routes[j]);
		}
		jw_end_obj(w);
	}
	jw_end_obj(w);
}

/* --- components ------------------------------------------------------------------------------------------------------- */

static void error_response(struct jw *w)
{
	jw_kraw(w, "responses",
		"{\"Error\":{\"description\":\"The error envelope\",\"content\":{\"application/json\":{\"schema\":"
		"{\"$ref\":\"#/components/schemas/ErrorEnvelope\"}}}},\"OAuthError\":{\"description\":\"The error envelope; to a "
		"form, RFC 6749 section 5.2 with the error object in details\",\"content\":{\"application/json\":{\"schema\":{\"anyOf\":["
		"{\"$ref\":\"#/components/schemas/ErrorEnvelope\"},{\"$ref\":\"#/components/schemas/OAuthErrorAnswer\"}]}}}}}");
}

/* The items of a batch are checked one by one, and a bad one is answered as such: anything may stand there. */
static void batch_schema(struct jw *w, const struct schema *s)
{
	const struct field *f = &s->fields[0];

	jw_obj(w);
	jw_kstr(w, "type", "object");
	jw_key(w, "properties");
	jw_obj(w);
	jw_key(w, f->name);
	jw_obj(w);
	jw_kstr(w, "type", "array");
	jw_kint(w, "minItems", f->min);
	jw_kint(w, "maxItems", f->max);
	jw_key(w, "items");
	jw_obj(w);
	jw_kstr(w, "description", "Each is checked by itself; one that is not of the first shape is rejected alone.");
	jw_key(w, "anyOf");
	jw_arr(w);
	schema_write(f->sub, w);
	jw_raw(w, "{}");
	jw_end_arr(w);
	jw_end_obj(w);
	jw_end_obj(w);
	jw_end_obj(w);
	jw_kraw(w, "required", "[\"tasks\"]");
	jw_kbool(w, "additionalProperties", false);
	jw_end_obj(w);
}

/* Unlike a JSON body it may hold more: an OAuth 2 server has to ignore what it does not know. */
static void oauth_form(struct jw *w)
{
	const struct schema *s = &oauth_form_schema;

	jw_key(w, s->name);
	jw_obj(w);
	jw_kstr(w, "type", "object");
	jw_kstr(w, "description", s->help);
	jw_key(w, "properties");
	jw_obj(w);
	for (size_t i = 0; i < s->n; i++) {
		jw_key(w, s->fields[i].name);
		field_write(&s->fields[i], w);
	}
	jw_end_obj(w);
	jw_kraw(w, "required", "[\"grant_type\"]");
	jw_end_obj(w);
}

static void components(struct jw *w)
{
	jw_key(w, "components");
	jw_obj(w);
	jw_kraw(w, "securitySchemes",
		"{\"bearer\":{\"type\":\"http\",\"scheme\":\"bearer\",\"bearerFormat\":\"JWT\"},"
		"\"apiKey\":{\"type\":\"apiKey\",\"in\":\"header\",\"name\":\"X-API-Key\"}}");
	error_response(w);
	jw_key(w, "schemas");
	jw_obj(w);
	jw_kraw(w, "ErrorEnvelope",
		"{\"type\":\"object\",\"properties\":{\"success\":{\"const\":false},\"error\":{\"type\":\"object\",\"properties\":{"
		"\"type\":{\"type\":\"string\"},\"code\":{\"type\":\"string\"},\"message\":{\"type\":\"string\"},\"details\":{},"
		"\"timestamp\":{\"type\":\"string\",\"format\":\"date-time\"},\"request_id\":{\"type\":\"string\"}},"
		"\"required\":[\"type\",\"code\",\"message\",\"details\",\"timestamp\",\"request_id\"]}},"
		"\"required\":[\"success\",\"error\"]}");
	jw_kraw(w, "OAuthErrorAnswer",
		"{\"type\":\"object\",\"properties\":{\"success\":{\"const\":false},\"error\":{\"enum\":[\"invalid_request\","
		"\"invalid_client\",\"invalid_grant\",\"unauthorized_client\",\"unsupported_grant_type\",\"server_error\","
		"\"temporarily_unavailable\"]},\"error_description\":{\"type\":\"string\"},\"details\":{\"type\":\"object\"}},"
		"\"required\":[\"success\",\"error\",\"error_description\",\"details\"]}");
	oauth_form(w);
	for (const struct answer_type *t = answer_types; t->name; t++) {
		jw_key(w, t->name);
		answer_schema(w, t);
	}
	for (size_t i = 0; i < n_routes; i++) {
		bool seen = !routes[i].body;

		for (size_t j = 0; j < i && !seen; j++)
			seen = routes[j].body == routes[i].body;
		if (seen)
			continue;
		jw_key(w, routes[i].body->name);
		if (strcmp(routes[i].answer, "BatchAnswer") == 0)
			batch_schema(w, routes[i].body);
		else
			schema_write(routes[i].body, w);
	}
	jw_end_obj(w);
	jw_end_obj(w);
}

void openapi_write(struct buf *out)
{
	struct jw w;

	jw_init(&w, out);
	jw_obj(&w);
	jw_kstr(&w, "openapi", "3.1.0");
	jw_key(&w, "info");
	jw_obj(&w);
	jw_kstr(&w, "title", "Management Control Panel");
	jw_kstr(&w, "version", mcp_version);
	jw_kraw(&w, "license", "{\"name\":\"MIT\",\"identifier\":\"MIT\"}");
	jw_end_obj(&w);
	jw_kraw(&w, "servers", "[{\"url\":\"/\"}]");
	paths(&w);
	components(&w);
	jw_end_obj(&w);
	buf_addc(out, '\n');
}
