// SPDX-License-Identifier: MIT
/* Reading a request out of libwebsockets. */
#include "request.h"

#include <libwebsockets.h>

#include "../lib/base/limits.h"

static const char *header(struct conn *c, enum lws_token_indexes token)
{
	int n = lws_hdr_total_length(c->wsi, token);

	if (n <= 0)
		return NULL;
	char *text = arena_alloc(&c->arena, (size_t)n + 1);

	return lws_hdr_copy(c->wsi, text, n + 1, token) > 0 ? text : NULL;
}

/* A header libwebsockets has no number for; name in lower case with its colon. */
static const char *other_header(struct conn *c, const char *name)
{
	int n = lws_hdr_custom_length(c->wsi, name, (int)strlen(name));

	if (n <= 0)
		return NULL;
	char *text = arena_alloc(&c->arena, (size_t)n + 1);

	return lws_hdr_custom_copy(c->wsi, text, n + 1, name, (int)strlen(name)) > 0 ? text : NULL;
}

static void read_method(struct conn *c)
{
	static const struct {
		enum lws_token_indexes token;
		enum method method;
	} methods[] = {
		{ WSI_TOKEN_GET_URI, M_GET }, { WSI_TOKEN_POST_URI, M_POST }, { WSI_TOKEN_OPTIONS_URI, M_OPTIONS },
		{ WSI_TOKEN_PUT_URI, M_OTHER }, { WSI_TOKEN_PATCH_URI, M_OTHER }, { WSI_TOKEN_DELETE_URI, M_OTHER },
		{ WSI_TOKEN_HEAD_URI, M_HEAD },
	};

	c->method = M_OTHER;
	c->path = "/";
	for (size_t i = 0; i < sizeof(methods) / sizeof(*methods); i++) {
		const char *path = header(c, methods[i].token);

		if (path) {
			c->path = path;
			c->method = methods[i].method;
			return;
		}
	}
}

/* libwebsockets has cut the query at its "&" and undone the escapes. */
static void read_args(struct conn *c)
{
	char text[2048];

	c->n_args = 0;
	for (int i = 0; c->n_args < ARGS_MAX; i++) {
		int n = lws_hdr_copy_fragment(c->wsi, text, sizeof(text), WSI_TOKEN_HTTP_URI_ARGS, i);

		if (n < 0)
			break;
		char *name = arena_strndup(&c->arena, text, (size_t)n);
		char *eq = strchr(name, '=');

		if (eq)
			*eq = '\0';
		c->args[c->n_args++] = (struct arg){ name, eq ? eq + 1 : "" };
	}
}

/* A listed origin stands alone between spaces. */
static bool origin_listed(const char *list, const char *origin)
{
	size_t n = strlen(origin);

	for (const char *o = list; n && (o = strstr(o, origin)); o++) {
		if ((o == list || o[-1] == ' ') && (o[n] == ' ' || !o[n]))
			return true;
	}
	return false;
}

/* The page a browser runs us from is this very host's, or one that is listed; other programs send no Origin. */
static bool origin_allowed(const char *origin, const char *host)
{
	const char *name = origin ? strstr(origin, "://") : NULL;

	if (!origin)
		return true;
	return (name && host && strcasecmp(name + 3, host) == 0) || origin_listed(relay.cfg.cors_origins, origin);
}

static bool trusted(const char *address)
{
	struct arena scratch;
	struct error e;
	struct netset set;
	struct ip ip;

	arena_init(&scratch);
	error_init(&e, &scratch);
	bool yes = ip_parse(address, &ip) && !netset_parse(relay.cfg.trusted_proxies, &set, &e) && netset_allows(&set, &ip);

	arena_release(&scratch);
	return yes;
}

/* Who is at the other end: a trusted proxy's word when there is one. */
static void read_address(struct conn *c)
{
	const char *forwarded = header(c, WSI_TOKEN_X_FORWARDED_FOR);
	struct ip ip;

	lws_get_peer_simple(c->wsi, c->address, sizeof(c->address));
	if (strncmp(c->address, "::ffff:", 7) == 0 && strchr(c->address, '.'))
		memmove(c->address, c->address + 7, strlen(c->address + 7) + 1);
	if (!forwarded || !trusted(c->address))
		return;
	const char *last = strrchr(forwarded, ',');

	last = last ? last + 1 : forwarded;
	while (*last == ' ')
		last++;
	char text[IP_TEXT];

	snprintf(text, sizeof(text), "%.*s", (int)strcspn(last, " ,"), last);
	if (ip_parse(text, &ip))
		ip_format(&ip, c->address);
}

static const char *visible(const char *id)
{
	if (!id || strlen(id) > LIMIT_HEADER_ID)
		return NULL;
	for (const char *p = id; *p; p++) {
		if (*p <= 0x20 || *p >= 0x7f || *p == '"' || *p == '\\')
			return NULL;
	}
	return id;
}

void request_read(struct conn *c)
{
	char key_header[72];

	arena_init_wiped(&c->arena);
	c->has_arena = true;
	c->answered = c->taken = c->close_after = false;
	read_method(c);
	read_args(c);
	c->authorization = header(c, WSI_TOKEN_HTTP_AUTHORIZATION);
	snprintf(key_header, sizeof(key_header), "%s:", relay.cfg.api_key_header);
	for (char *p = key_header; *p; p++)
		*p = *p >= 'A' && *p <= 'Z' ? (char)(*p + 32) : *p;
	const char *key = other_header(c, key_header);

	if (!c->authorization && key)
		c->authorization = arena_printf(&c->arena, "ApiKey %s", key);
	c->origin = header(c, WSI_TOKEN_ORIGIN);
	c->origin_allowed = origin_allowed(c->origin, header(c, WSI_TOKEN_HOST));
	c->request_id = visible(other_header(c, "x-request-id:"));
	c->last_event_id = other_header(c, "last-event-id:");
	read_address(c);
	/* Some clients believe only the answer's word that the connection ends. */
	const char *connection = header(c, WSI_TOKEN_CONNECTION);
	const char *version = header(c, WSI_TOKEN_HTTP);

	c->close_after = (connection && strcasestr(connection, "close")) || (version && strcmp(version, "HTTP/1.1") != 0);
	const char *length = header(c, WSI_TOKEN_HTTP_CONTENT_LENGTH);

	c->want = length ? strtoll(length, NULL, 10) : 0;
	if (header(c, WSI_TOKEN_HTTP_TRANSFER_ENCODING))
		c->want = -1;	/* libwebsockets 4.1 reads no chunked bodies */
}

const char *conn_arg(const struct conn *c, const char *name)
{
	for (int i = 0; i < c->n_args; i++) {
		if (strcmp(c->args[i].name, name) == 0)
			return c->args[i].value;
	}
	return NULL;
}

int http_credential(const struct conn *c, char *out, size_t size)
{
	if (c->authorization) {
		snprintf(out, size, "%s", c->authorization);
		return strlen(c->authorization) < size ? 1 : 0;
	}
	return conn_arg(c, "ticket") ? -1 : 0;
}
