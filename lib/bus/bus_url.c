// SPDX-License-Identifier: MIT
#include "bus_internal.h"

#include <strings.h>

#define FORMS "use redis://[user:password@]host[:port][/db] or unix:///path[?db=N]"

void bus_url_release(struct bus_url *u)
{
	if (u->pass)
		explicit_bzero(u->pass, strlen(u->pass));
	free(u->host);
	free(u->path);
	free(u->user);
	free(u->pass);
	*u = (struct bus_url){ 0 };
}

static enum err bad(struct error *e, const char *what)
{
	return error_public(e, ERR_VALIDATION, "REDIS_URL %s; " FORMS ".", what);
}

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* A copy of s[0..n) with %XX decoded; NULL when an escape is broken or decodes to NUL. */
static char *decode(const char *s, size_t n)
{
	char *out = xmalloc(n + 1);
	size_t len = 0;

	for (size_t i = 0; i < n; i++) {
		if (s[i] != '%') {
			out[len++] = s[i];
			continue;
		}
		int hi = i + 2 < n ? hex(s[i + 1]) : -1;
		int lo = i + 2 < n ? hex(s[i + 2]) : -1;

		if (hi < 0 || lo < 0 || (hi | lo) == 0) {
			free(out);
			return NULL;
		}
		out[len++] = (char)(hi << 4 | lo);
		i += 2;
	}
	out[len] = '\0';
	return out;
}

static bool number(const char *s, size_t n, int max, int *out)
{
	int v = 0;

	if (n == 0 || n > 9)
		return false;
	for (size_t i = 0; i < n; i++) {
		if (s[i] < '0' || s[i] > '9')
			return false;
		v = v * 10 + (s[i] - '0');
	}
	*out = v;
	return v <= max;
}

/* "user:password@" or ":password@" at the start of *s; moves *s behind it. */
static bool userinfo(struct bus_url *u, const char **s, const char *end)
{
	const char *at = memrchr(*s, '@', (size_t)(end - *s));

	if (!at)
		return true;
	const char *colon = memchr(*s, ':', (size_t)(at - *s));

	if (!colon)
		return false;
	if (colon > *s) {
		u->user = decode(*s, (size_t)(colon - *s));
		if (!u->user)
			return false;
	}
	u->pass = decode(colon + 1, (size_t)(at - colon - 1));
	*s = at + 1;
	return u->pass && *u->pass;
}

static bool query(struct bus_url *u, const char *q)
{
	return strncmp(q, "db=", 3) == 0 && number(q + 3, strlen(q + 3), 1 << 20, &u->db);
}

static bool host_port(struct bus_url *u, const char *s, const char *end)
{
	const char *host_end;

	if (s < end && *s == '[') {
		s++;
		host_end = memchr(s, ']', (size_t)(end - s));
		if (!host_end)
			return false;
		u->host = decode(s, (size_t)(host_end - s));
		s = host_end + 1;
		if (s < end && *s != ':')
			return false;
	} else {
		for (host_end = s; host_end < end && *host_end != ':'; host_end++)
			;
		u->host = host_end > s ? decode(s, (size_t)(host_end - s)) : xstrdup("127.0.0.1");
		s = host_end;
	}
	u->port = 6379;
	if (s < end && !number(s + 1, (size_t)(end - s - 1), 65535, &u->port))
		return false;
	return u->host && *u->host && u->port > 0;
}

static enum err parse_tcp(struct bus_url *u, const char *s, struct error *e)
{
	const char *q = strchr(s, '?');
	const char *end = q ? q : s + strlen(s);
	const char *at = s;

	/* A password may hold "/" only as %2F, so the first one ends the authority. */
	const char *slash = memchr(s, '/', (size_t)(end - s));
	const char *stop = slash ? slash : end;

	if (!userinfo(u, &at, stop))
		return bad(e, "has a user part that is not user:password@ or :password@");
	if (!host_port(u, at, stop))
		return bad(e, "has no valid host and port");
	if (slash && slash + 1 < end && !number(slash + 1, (size_t)(end - slash - 1), 1 << 20, &u->db))
		return bad(e, "has a database that is not a number");
	if (q && !query(u, q + 1))
		return bad(e, "has a parameter other than db=N");
	return OK;
}

static enum err parse_unix(struct bus_url *u, const char *s, struct error *e)
{
	const char *q = strchr(s, '?');
	const char *end = q ? q : s + strlen(s);

	if (*s != '/' && !userinfo(u, &s, memchr(s, '/', (size_t)(end - s)) ?: end))
		return bad(e, "has a user part that is not user:password@ or :password@");
	u->path = decode(s, (size_t)(end - s));
	if (!u->path || u->path[0] != '/' || u->path[1] == '\0')
		return bad(e, "has no absolute socket path");
	if (strlen(u->path) >= 108)
		return bad(e, "has a socket path of more than 107 bytes, which the system does not take");
	if (q && !query(u, q + 1))
		return bad(e, "has a parameter other than db=N");
	return OK;
}

enum err bus_url_parse(const char *url, struct bus_url *out, struct error *e)
{
	enum err err;

	*out = (struct bus_url){ 0 };
	if (!url || !*url)
		return bad(e, "is empty");
	if (strncasecmp(url, "rediss:", 7) == 0)
		return error_public(e, ERR_VALIDATION, "REDIS_URL asks for TLS (rediss), which this build's hiredis "
				    "does not have: run stunnel beside the panel and give its address as redis://127.0.0.1:PORT/0.");
	if (strncasecmp(url, "redis://", 8) == 0)
		err = parse_tcp(out, url + 8, e);
	else if (strncasecmp(url, "unix://", 7) == 0)
		err = parse_unix(out, url + 7, e);
	else if (strncasecmp(url, "redis+unix://", 13) == 0)
		err = parse_unix(out, url + 13, e);
	else
		err = bad(e, "has a scheme that is not known");
	if (err)
		bus_url_release(out);
	return err;
}
