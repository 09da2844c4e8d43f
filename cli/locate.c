// SPDX-License-Identifier: MIT
/*
 * Finding a panel and the credentials that belong to it; session.h tells the
 * order and why credentials stay with the address they were found with.
 */
#include "session.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "api.h"
#include "jsonx.h"

/* A place that may name a panel. Strings owned. */
struct place {
	const char *name;
	char *url;
	char *user;
	char *password_file;
	char *cacert;
	char *state; /* the state folder of a panel that runs here */
};

static void place_release(struct place *p)
{
	free(p->url);
	free(p->user);
	free(p->password_file);
	free(p->cacert);
	free(p->state);
	*p = (struct place){0};
}

/* The address without trailing slashes and API prefix; NULL when it is not http(s). */
static char *clean_url(const char *url)
{
	char *u = strstr(url, "://") ? xstrdup(url) : xasprintf("http://%s", url);
	size_t n = strlen(u), prefix = sizeof(API_PREFIX) - 1;

	while (n && u[n - 1] == '/')
		u[--n] = '\0';
	if (n > prefix && !strcmp(u + n - prefix, API_PREFIX))
		u[n - prefix] = '\0';
	if (!strncasecmp(u, "http://", 7) || !strncasecmp(u, "https://", 8))
		return u;
	free(u);
	return NULL;
}

static char *env_copy(const char *name)
{
	const char *v = getenv(name);

	return is_empty(v) ? NULL : xstrdup(v);
}

static bool from_environment(struct place *p)
{
	const char *url = getenv("MCP_URL");

	if (is_empty(url))
		return false;
	*p = (struct place){
		.name = "from MCP_URL",
		.url = clean_url(url),
		.user = env_copy("MCP_ADMIN_USER"),
		.password_file = env_copy("MCP_ADMIN_PASSWORD_FILE"),
		.state = env_copy("MCP_STATE"),
	};
	if (!p->url)
		die(EXIT_USAGE, "MCP_URL is not an http:// or https:// address: %s", url);
	return true;
}

/* One word as a shell would read it ('…', "…", \x); enough for the lines `./mcp env` writes. */
static char *shell_word(const char *s)
{
	struct buf b;
	char quote = 0;

	buf_init(&b);
	for (; *s && (quote || !isspace((unsigned char)*s)); s++) {
		if (quote && *s == quote)
			quote = 0;
		else if (!quote && (*s == '\'' || *s == '"'))
			quote = *s;
		else if (*s == '\\' && quote != '\'' && s[1])
			buf_addc(&b, *++s);
		else
			buf_addc(&b, *s);
	}
	return b.p;
}

static void take_env_line(struct place *p, char *line)
{
	static const struct {
		const char *name;
		size_t at;
	} keys[] = {
		{"MCP_URL=", offsetof(struct place, url)},
		{"MCP_ADMIN_USER=", offsetof(struct place, user)},
		{"MCP_ADMIN_PASSWORD_FILE=", offsetof(struct place, password_file)},
		{"MCP_CACERT=", offsetof(struct place, cacert)},
		{"MCP_STATE=", offsetof(struct place, state)},
	};

	line += strspn(line, " \t");
	if (!strncmp(line, "export ", 7))
		line += 7 + strspn(line + 7, " \t");
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		char **to = (char **)((char *)p + keys[i].at);

		if (strncmp(line, keys[i].name, strlen(keys[i].name)))
			continue;
		free(*to);
		*to = shell_word(line + strlen(keys[i].name));
	}
}

/* The panel whose state folder is `home`. */
static bool from_state(struct place *p, const char *home, const char *name)
{
	char *path = xasprintf("%s/run/env", home), *text = read_file(path, 65536, NULL), *save = NULL;
	char *url;

	free(path);
	if (!text)
		return false;
	*p = (struct place){.name = name};
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		take_env_line(p, line);
	free(text);
	url = p->url ? clean_url(p->url) : NULL;
	free(p->url);
	p->url = url;
	if (!url)
		place_release(p);
	return url != NULL;
}

static bool from_saved_login(struct place *p)
{
	char *path = config_path("login.json"), *text;
	struct json_object *o;
	size_t len;

	text = read_file(path, 65536, &len);
	free(path);
	if (!text)
		return false;
	o = jx_parse(text, len);
	free(text);
	*p = (struct place){.name = "from the saved login"};
	if (jx_str(o, "url"))
		p->url = clean_url(jx_str(o, "url"));
	if (jx_str(o, "user"))
		p->user = xstrdup(jx_str(o, "user"));
	if (jx_str(o, "cacert"))
		p->cacert = xstrdup(jx_str(o, "cacert"));
	json_object_put(o);
	if (!p->url)
		place_release(p);
	return p->url != NULL;
}

static bool from_default_state(struct place *p)
{
	const char *xdg = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
	char *folder;
	bool ok = false;

	if (!is_empty(xdg) && xdg[0] == '/') {
		folder = xasprintf("%s/mcp", xdg);
		ok = from_state(p, folder, "running here");
		free(folder);
	}
	if (!ok && !is_empty(home)) {
		folder = xasprintf("%s/.local/state/mcp", home);
		ok = from_state(p, folder, "running here");
		free(folder);
	}
	return ok;
}

/* The place number i; false when it names no panel. */
static bool look(int i, struct place *p)
{
	const char *home = getenv("MCP_HOME");

	*p = (struct place){0};
	switch (i) {
	case 0:
		return from_environment(p);
	case 1:
		return !is_empty(home) && from_state(p, home, "running from MCP_HOME");
	case 2:
		return from_saved_login(p);
	default:
		return from_default_state(p);
	}
}

#define PLACES 4

/* The first place that names `url`, or any panel when url is NULL. */
static bool find_place(const char *url, struct place *p)
{
	const char *home = getenv("MCP_HOME");

	for (int i = 0; i < PLACES; i++) {
		if (look(i, p)) {
			if (!url || !strcmp(url, p->url))
				return true;
			place_release(p);
		} else if (i == 1 && !url && !is_empty(home)) {
			/* whoever sets MCP_HOME means that panel, not another one */
			die(EXIT_UNREACHABLE, "no panel is running from MCP_HOME=%s; start it with ./mcp up", home);
		}
	}
	return false;
}

static char *find_api_key(const struct args *args)
{
	const char *file = arg_text(args, "api-key-file"), *env = getenv("MCP_API_KEY");
	char *key;

	if (!file && arg_text(args, "user"))
		return NULL; /* said who to be */
	if (!file && !is_empty(env))
		return xstrdup(env);
	if (!file)
		file = getenv("MCP_API_KEY_FILE");
	if (is_empty(file))
		return NULL;
	key = read_secret_file(file);
	if (!key)
		die(EXIT_USAGE, "cannot read the API key from %s: %s", file, strerror(errno));
	return key;
}

static void use_option(char **slot, const struct args *args, const char *name)
{
	const char *v = arg_text(args, name);

	if (!v)
		return;
	free(*slot);
	*slot = xstrdup(v);
}

void session_find(struct cli *cli, const struct args *args)
{
	struct session *s = &cli->session;
	const char *given = arg_text(args, "url"), *user = arg_text(args, "user");
	char *url = given ? clean_url(given) : NULL;
	struct place p = {0};

	if (given && !url)
		die(EXIT_USAGE, "--url is not an http:// or https:// address: %s", given);
	if (!find_place(url, &p)) {
		if (!url)
			die(EXIT_UNREACHABLE, "no control panel found. Start one with ./mcp up, or log in to "
					      "one with: mcpctl login --url URL");
		p = (struct place){.name = "from --url", .url = xstrdup(url)};
	}
	if (user && (!p.user || strcmp(user, p.user))) {
		free(p.password_file); /* it is another user's */
		p.password_file = NULL;
	}
	free(url);
	*s = (struct session){.url = p.url, .found = p.name, .user = p.user, .password_file = p.password_file,
			      .cacert = p.cacert, .state = p.state, .api_key = find_api_key(args)};
	use_option(&s->user, args, "user");
	use_option(&s->password_file, args, "password-file");
	use_option(&s->cacert, args, "cacert");
	if (!s->cacert)
		s->cacert = env_copy("MCP_CACERT");
}
