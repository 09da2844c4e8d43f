// SPDX-License-Identifier: MIT
/* Documents from the tables: the page at /docs, and the files `make docs` writes. */
#include <errno.h>
#include <pthread.h>
#include <sys/stat.h>

#include "../lib/base/secret.h"
#include "oauth.h"
#include "routes.h"
#include "worker.h"

static struct buf openapi, page, policy;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void add_html(struct buf *b, const char *text)
{
	for (; *text; text++) {
		switch (*text) {
		case '<': buf_adds(b, "&lt;"); break;
		case '>': buf_adds(b, "&gt;"); break;
		case '&': buf_adds(b, "&amp;"); break;
		case '"': buf_adds(b, "&quot;"); break;
		default: buf_addc(b, *text);
		}
	}
}

static const char *who(const struct route *r)
{
	switch (r->access) {
	case ACCESS_NOBODY_ASKED: return "anyone";
	case ACCESS_ANY: return "any authenticated caller";
	case ACCESS_OWN_AGENT: return "the agent itself, or agent:manage";
	case ACCESS_METRICS: return "system:health, loopback, or METRICS_TOKEN";
	default: return perm_name(r->perm);
	}
}

static const char *kind_name(const struct field *f)
{
	static const char *const names[] = {
		[F_STR] = "string", [F_SLUG] = "slug", [F_UUID] = "UUID", [F_URL] = "URL", [F_EMAIL] = "e-mail",
		[F_INT] = "integer", [F_NUM] = "number", [F_BOOL] = "boolean", [F_TIME] = "time", [F_ENUM] = "one of",
		[F_JSON] = "any JSON", [F_JSON_OBJ] = "object", [F_STRS] = "strings", [F_SLUGS] = "slugs",
		[F_UUIDS] = "UUIDs", [F_ENUMS] = "list of", [F_OBJ] = "object", [F_OBJS] = "objects",
	};

	return names[f->kind];
}

/* Rows of a field table; objects' members follow with their path. md: Markdown, else HTML. */
static void field_rows(struct buf *b, const struct schema *s, const char *prefix, bool md)
{
	for (size_t i = 0; i < s->n; i++) {
		const struct field *f = &s->fields[i];
		char path[160];
		struct buf type;

		snprintf(path, sizeof(path), "%s%s", prefix, f->name);
		buf_init(&type);
		buf_adds(&type, kind_name(f));
		for (int k = 0; f->names && f->names[k]; k++)
			buf_addf(&type, "%s%s", k ? ", " : " ", f->names[k]);
		if ((f->kind == F_INT || f->kind == F_NUM) && f->max < INT64_MAX)
			buf_addf(&type, " %lld–%lld", (long long)f->min, (long long)f->max);
		if (md) {
			buf_addf(b, "| `%s` | %s | %s | %s%s%s |\n", path, type.p, f->required ? "yes" : "", f->help ? f->help : "",
				 f->alias ? " Also: " : "", f->alias ? f->alias : "");
		} else {
			buf_addf(b, "<tr><td><code>%s</code></td><td>", path);
			add_html(b, type.p);
			buf_addf(b, "</td><td>%s</td><td>", f->required ? "yes" : "");
			add_html(b, f->help ? f->help : "");
			buf_adds(b, "</td></tr>");
		}
		buf_release(&type);
		if (f->sub) {
			snprintf(path, sizeof(path), "%s%s%s.", prefix, f->name, f->kind == F_OBJS ? "[]" : "");
			field_rows(b, f->sub, path, md);
		}
	}
}

static void html_table(struct buf *b, const char *title, const struct schema *s)
{
	buf_addf(b, "<h4>%s</h4><div class=\"scroll\"><table><thead><tr><th scope=\"col\">Field</th><th scope=\"col\">Type</th>"
		    "<th scope=\"col\">Required</th><th scope=\"col\">Meaning</th></tr></thead><tbody>", title);
	field_rows(b, s, "", false);
	buf_adds(b, "</tbody></table></div>");
}

static void html_route(struct buf *b, const struct route *r)
{
	buf_addf(b, "<details id=\"%s-%s\"><summary><span class=\"m %s\">%s</span> <code>" API_PREFIX, r->method, r->path,
		 r->method, r->method);
	add_html(b, r->path);
	buf_adds(b, "</code> <span class=\"s\">");
	add_html(b, r->summary);
	buf_addf(b, "</span></summary><p>Who: <b>%s</b> · success: <b>%d</b> → <code>", who(r), r->status);
	add_html(b, r->answer);
	buf_addf(b, "</code>%s</p>", r->flags & ROUTE_IDEMPOTENT ? " · takes <code>Idempotency-Key</code>" : "");
	if (r->query)
		html_table(b, "Query", r->query);
	if (r->body)
		html_table(b, "Body", r->body);
	if (r->flags & ROUTE_FORM)
		html_table(b, "Body, as a form", &oauth_form_schema);
	buf_adds(b, "</details>");
}

static const char style[] =
	"<style>:root{color-scheme:light dark;--fg:#1b1f24;--bg:#fff;--mu:#57606a;--li:#d0d7de;--ac:#0b6b5d}"
	"@media(prefers-color-scheme:dark){:root{--fg:#e6edf3;--bg:#0f1418;--mu:#9aa6b2;--li:#30363d;--ac:#5ad1bd}}"
	"body{font:16px/1.5 system-ui,sans-serif;color:var(--fg);background:var(--bg);max-width:64rem;margin:0 auto;padding:1.5rem}"
	"h1{margin:0 0 .25rem}h2{margin:2rem 0 .5rem;text-transform:capitalize;border-bottom:1px solid var(--li)}"
	"p,.s{color:var(--mu)}a{color:var(--ac)}details{border:1px solid var(--li);border-radius:.5rem;margin:.4rem 0;"
	"padding:.4rem .8rem}summary{cursor:pointer;overflow-wrap:anywhere}code{font-size:.92em}.scroll{overflow-x:auto}"
	"table{border-collapse:collapse;width:100%;font-size:.9rem}td,th{border-bottom:1px solid var(--li);padding:.3rem .5rem;"
	"text-align:left;vertical-align:top}h4{margin:.6rem 0 .2rem}.m{display:inline-block;min-width:4.2rem;font-weight:700;"
	"color:var(--ac)}.m.DELETE{color:#c0392b}.m.POST{color:#2569c4}@media(prefers-color-scheme:dark){.m.POST{color:#79b8ff}"
	".m.DELETE{color:#ff8a80}}nav a{margin-right:1rem;text-transform:capitalize}</style>";

static void build_page(void)
{
	static const char *const tags[] = { "agents", "tasks", "pipelines", "auth", "users", "system" };
	struct buf *b = &page;

	buf_adds(b, "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
		    "content=\"width=device-width,initial-scale=1\"><title>API · Management Control Panel</title>");
	buf_adds(b, style);
	buf_adds(b, "</head><body><h1>Management Control Panel API</h1><p>Made from the tables that check requests. For "
		    "machines: <a href=\"/openapi.json\">openapi.json</a> (OpenAPI 3.1).</p><nav aria-label=\"Sections\">");
	for (size_t t = 0; t < sizeof(tags) / sizeof(*tags); t++)
		buf_addf(b, "<a href=\"#%s\">%s</a>", tags[t], tags[t]);
	buf_adds(b, "</nav><main>");
	for (size_t t = 0; t < sizeof(tags) / sizeof(*tags); t++) {
		buf_addf(b, "<h2 id=\"%s\">%s</h2>", tags[t], tags[t]);
		for (size_t i = 0; i < n_routes; i++) {
			if (strcmp(routes[i].tag, tags[t]) == 0)
				html_route(b, &routes[i]);
		}
	}
	buf_adds(b, "</main></body></html>\n");
}

/* The page's own style is the one thing it may use: named by its digest. */
static void build_policy(void)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *text = style + sizeof("<style>") - 1;
	uint8_t d[MAC_LEN + 1] = { 0 };

	sha256(text, strlen(text) - (sizeof("</style>") - 1), d);
	buf_init(&policy);
	buf_adds(&policy, "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; style-src 'sha256-");
	for (int i = 0; i < MAC_LEN; i += 3) {
		uint32_t v = (uint32_t)d[i] << 16 | (uint32_t)d[i + 1] << 8 | (i + 2 < MAC_LEN ? d[i + 2] : 0);

		for (int k = 18; k >= 0; k -= 6)
			buf_addc(&policy, digits[v >> k & 63]);
	}
	policy.p[policy.n - 1] = '=';	/* 32 bytes: the last digit stands for none */
	buf_adds(&policy, "'");
}

static void build(void)
{
	buf_init(&openapi);
	openapi_write(&openapi);
	buf_init(&page);
	build_page();
	build_policy();
}

const char *openapi_text(void)
{
	pthread_once(&once, build);
	return openapi.p;
}

const char *docs_page(void)
{
	pthread_once(&once, build);
	return page.p;
}

const char *docs_policy(void)
{
	pthread_once(&once, build);
	return policy.p;
}

/* --- files ------------------------------------------------------------------------------------------------------------ */

static enum err save(const char *folder, const char *name, const struct buf *b, struct error *e)
{
	char path[4200];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	FILE *f = fopen(path, "we");
	bool good = f && fwrite(b->p, 1, b->n, f) == b->n;

	if (f && fclose(f))
		good = false;
	return good ? OK : error_set(e, ERR_INTERNAL, "%s: %s", path, strerror(errno));
}

static void md_table(struct buf *b, const char *title, const struct schema *s)
{
	buf_addf(b, "\n%s\n\n| field | type | required | meaning |\n|---|---|---|---|\n", title);
	field_rows(b, s, "", true);
}

static void md_tag(struct buf *b, const char *tag)
{
	buf_addf(b, "# API: %s\n\nMade from the code's tables by `make docs`; do not edit.\n", tag);
	for (size_t i = 0; i < n_routes; i++) {
		const struct route *r = &routes[i];

		if (strcmp(r->tag, tag) != 0)
			continue;
		buf_addf(b, "\n## %s %s%s\n\n%s.\n\nWho: %s. Success: %d, `data` is `%s`.%s\n", r->method, API_PREFIX, r->path,
			 r->summary, who(r), r->status, r->answer,
			 r->flags & ROUTE_IDEMPOTENT ? " Takes `Idempotency-Key`." : "");
		if (r->query)
			md_table(b, "Query:", r->query);
		if (r->body)
			md_table(b, "Body:", r->body);
		if (r->flags & ROUTE_FORM) {
			md_table(b, "Body, as a form (`application/x-www-form-urlencoded`):", &oauth_form_schema);
			buf_adds(b, "\nA form is answered as RFC 6749 asks for: the tokens stand at the top level too, `error` is a word "
				    "of its section 5.2 with `error_description` beside it, and the usual error object is `details`. "
				    "The client may authenticate by HTTP Basic instead.\n");
		}
	}
	buf_adds(b, "\n## Answers\n");
	for (const struct answer_type *t = answer_types; t->name; t++) {
		bool used = false;

		for (size_t i = 0; i < n_routes && !used; i++)
			used = strcmp(routes[i].tag, tag) == 0 && strncmp(routes[i].answer, t->name, strlen(t->name)) == 0 &&
			       strchr("[", routes[i].answer[strlen(t->name)]);
		if (!used)
			continue;
		buf_addf(b, "\n### %s\n\n| field | type | meaning |\n|---|---|---|\n", t->name);
		for (const struct answer_field *f = t->fields; f->name; f++) {
			if (strcmp(f->name, "+") == 0)
				buf_addf(b, "| … | all of %s | |\n", f->type);
			else {
				buf_addf(b, "| `%s` | ", f->name);
				for (const char *c = f->type; *c; c++)
					buf_adds(b, *c == '|' ? " \\| " : (char[]){ *c, '\0' });
				buf_addf(b, " | %s |\n", f->help);
			}
		}
	}
}

static void md_errors(struct buf *b)
{
	buf_adds(b, "# Error codes\n\nMade from lib/base/errors.def by `make docs`; do not edit.\n\n"
		    "Every failure has the envelope `{\"success\":false,\"error\":{type, code, message, details, timestamp, "
		    "request_id}}`. `type` decides the HTTP status; `code` is for programs; `details` lists every bad field "
		    "as `{field, code, message}`.\n\n| status | type | code | message |\n|---|---|---|---|\n");
	for (int i = 1; i < ERR_COUNT; i++)
		buf_addf(b, "| %d | %s | `%s` | %s |\n", err_status((enum err)i), err_type((enum err)i), err_text((enum err)i),
			 err_message((enum err)i));
}

enum err docs_write(const char *folder, struct error *e)
{
	static const char *const tags[] = { "agents", "tasks", "pipelines", "auth", "users", "system" };
	char path[4200];
	struct buf b;
	enum err err = OK;

	snprintf(path, sizeof(path), "%s/api", folder);
	if (mkdir(path, 0755) && errno != EEXIST)
		return error_set(e, ERR_INTERNAL, "%s: %s", path, strerror(errno));
	snprintf(path, sizeof(path), "%s/reference", folder);
	if (mkdir(path, 0755) && errno != EEXIST)
		return error_set(e, ERR_INTERNAL, "%s: %s", path, strerror(errno));
	buf_init(&b);
	for (size_t t = 0; t < sizeof(tags) / sizeof(*tags) && !err; t++) {
		buf_reset(&b);
		md_tag(&b, tags[t]);
		snprintf(path, sizeof(path), "api/%s.md", tags[t]);
		err = save(folder, path, &b, e);
	}
	buf_reset(&b);
	openapi_write(&b);
	if (!err)
		err = save(folder, "api/openapi.json", &b, e);
	buf_reset(&b);
	md_errors(&b);
	if (!err)
		err = save(folder, "reference/error-codes.md", &b, e);
	buf_reset(&b);
	buf_adds(&b, "# Configuration\n\nMade from lib/base/config_keys.def by `make docs`; do not edit.\n\nA file of "
		     "`KEY = value` lines (`--config`), then the environment. Unknown keys in the file are fatal. A reload "
		     "(HUP) takes over the keys marked so.\n\n");
	config_write_markdown(&b);
	if (!err)
		err = save(folder, "reference/configuration.md", &b, e);
	buf_release(&b);
	return err;
}
