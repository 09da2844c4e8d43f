// SPDX-License-Identifier: MIT
#include "session.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "api.h"
#include "jsonx.h"

#define EARLY 30 /* seconds before its end a token counts as ended */

char *config_path(const char *rest)
{
	const char *xdg = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");

	if (!is_empty(xdg) && xdg[0] == '/')
		return xasprintf("%s/mcpctl/%s", xdg, rest);
	return xasprintf("%s/.config/mcpctl/%s", is_empty(home) ? "/" : home, rest);
}

char *session_key(const char *url, const char *name)
{
	const char *host = strstr(url, "://");
	char *key = xasprintf("%s-%s", host ? host + 3 : url, name);

	for (char *p = key; *p; p++)
		if (!isalnum((unsigned char)*p) && *p != '-')
			*p = '_';
	return key;
}

char *session_path(const struct session *s, const char *rest)
{
	if (s->state && !access(s->state, W_OK))
		return xasprintf("%s/mcpctl/%s", s->state, rest);
	return config_path(rest);
}

static char *session_file(const struct session *s)
{
	char *key = session_key(s->url, s->user);
	char *rest = xasprintf("sessions/%s.json", key);
	char *path = session_path(s, rest);

	free(key);
	free(rest);
	return path;
}

/* Reads the tokens another run left; false when there are none. */
static bool load_tokens(struct session *s)
{
	char *path = session_file(s), *text;
	struct json_object *o;
	size_t len;

	s->loaded = true;
	text = read_file(path, 65536, &len);
	free(path);
	if (!text)
		return false;
	o = jx_parse(text, len);
	free_secret(text);
	free_secret(s->access);
	free_secret(s->refresh);
	s->access = s->refresh = NULL;
	if (jx_str(o, "access_token"))
		s->access = xstrdup(jx_str(o, "access_token"));
	if (jx_str(o, "refresh_token"))
		s->refresh = xstrdup(jx_str(o, "refresh_token"));
	s->expires_at = jx_num(o, "expires_at", 0);
	json_object_put(o);
	return s->access != NULL;
}

/* Not being able to keep them costs another login next time, no more. */
static void store_tokens(const struct session *s)
{
	struct json_object *o = json_object_new_object();
	char *path = session_file(s);
	const char *text;

	jx_set_str(o, "url", s->url);
	jx_set_str(o, "user", s->user);
	jx_set_str(o, "access_token", s->access);
	if (s->refresh)
		jx_set_str(o, "refresh_token", s->refresh);
	jx_set(o, "expires_at", json_object_new_double(s->expires_at));
	text = jx_text(o);
	write_private_file(path, text, strlen(text));
	json_object_put(o);
	free(path);
}

static int session_lock(const struct session *s)
{
	char *path = session_file(s), *lock = xasprintf("%s.lock", path);
	int fd = lock_file(lock, true);

	free(path);
	free(lock);
	return fd;
}

static void unlock(int fd)
{
	if (fd >= 0)
		close(fd);
}

static bool fresh(const struct session *s)
{
	return s->access && (!s->expires_at || (double)time(NULL) < s->expires_at - EARLY);
}

static bool take_tokens(struct session *s, struct json_object *data)
{
	const char *access = jx_str(data, "access_token"), *refresh = jx_str(data, "refresh_token");

	if (!access)
		return false;
	free_secret(s->access);
	s->access = xstrdup(access);
	if (refresh) {
		free_secret(s->refresh);
		s->refresh = xstrdup(refresh);
	}
	s->expires_at = (double)time(NULL) + jx_num(data, "expires_in", 3600);
	store_tokens(s);
	return true;
}

/* EXIT_OK, or the status for a refusal that has been complained about when `loud`. */
static int ask_tokens(struct cli *cli, const char *path, struct json_object *body, bool loud)
{
	struct answer a;
	int rc = EXIT_OK;

	if (!api_once(cli, "POST", path, body, &a)) {
		rc = answer_exit(&a);
		if (rc == EXIT_UNREACHABLE ? !cli->patient : loud)
			answer_complain(cli, &a);
	} else if (!take_tokens(&cli->session, answer_data(&a))) {
		warn("%s answered a login without a token; is it a control panel?", cli->session.url);
		rc = EXIT_FAILED;
	}
	answer_release(&a);
	return rc;
}

int session_login(struct cli *cli, const char *password, const char *totp)
{
	struct json_object *body = json_object_new_object();
	int rc;

	jx_set_str(body, "username", cli->session.user);
	jx_set_str(body, "password", password);
	if (totp)
		jx_set_str(body, "totp", totp);
	rc = ask_tokens(cli, "/auth/login", body, true);
	json_object_put(body);
	return rc;
}

static int login_by_file(struct cli *cli)
{
	struct session *s = &cli->session;
	char *password = read_secret_file(s->password_file);
	int rc;

	if (!password) {
		warn("cannot read the password of %s from %s: %s", s->user, s->password_file, strerror(errno));
		return EXIT_AUTH;
	}
	rc = session_login(cli, password, NULL);
	free_secret(password);
	return rc;
}

/* With the session's lock held. `bad` is the access token that is of no use, or NULL. */
static int renew_locked(struct cli *cli, const char *bad)
{
	struct session *s = &cli->session;
	struct json_object *body;
	int rc = EXIT_AUTH;

	/* another mcpctl may have renewed it while this one waited for the lock */
	if (load_tokens(s) && fresh(s) && (!bad || strcmp(bad, s->access)))
		return EXIT_OK;
	if (s->refresh) {
		body = json_object_new_object();
		jx_set_str(body, "refresh_token", s->refresh);
		rc = ask_tokens(cli, "/auth/refresh", body, false);
		json_object_put(body);
	}
	if (rc != EXIT_OK && rc != EXIT_UNREACHABLE && s->password_file)
		return login_by_file(cli);
	if (rc != EXIT_OK && rc != EXIT_UNREACHABLE)
		warn("not logged in as %s at %s (any more); log in with: mcpctl login --url %s --user %s", s->user,
		     s->url, s->url, s->user);
	return rc;
}

int session_ready(struct cli *cli)
{
	struct session *s = &cli->session;
	int lock, rc;

	if (s->api_key || !s->user || fresh(s))
		return EXIT_OK;
	if (!s->loaded && load_tokens(s) && fresh(s))
		return EXIT_OK;
	lock = session_lock(s);
	rc = renew_locked(cli, NULL);
	unlock(lock);
	return rc;
}

int session_renew(struct cli *cli)
{
	struct session *s = &cli->session;
	char *bad;
	int lock, rc;

	if (s->api_key || !s->user)
		return EXIT_AUTH;
	bad = s->access ? xstrdup(s->access) : NULL;
	lock = session_lock(s);
	rc = renew_locked(cli, bad);
	unlock(lock);
	free_secret(bad);
	return rc;
}

int session_save_login(const struct session *s)
{
	struct json_object *o = json_object_new_object();
	char *path = config_path("login.json");
	const char *text;
	int rc;

	jx_set_str(o, "url", s->url);
	jx_set_str(o, "user", s->user);
	if (s->cacert)
		jx_set_str(o, "cacert", s->cacert);
	text = jx_text(o);
	rc = write_private_file(path, text, strlen(text));
	json_object_put(o);
	free(path);
	return rc;
}

void session_forget(struct session *s)
{
	char *path, *text;
	struct json_object *o;
	size_t len;

	if (s->user) {
		path = session_file(s);
		unlink(path);
		free(path);
	}
	path = config_path("login.json");
	text = read_file(path, 65536, &len);
	if (text) {
		o = jx_parse(text, len);
		if (jx_str(o, "url") && !strcmp(jx_str(o, "url"), s->url))
			unlink(path);
		json_object_put(o);
		free(text);
	}
	free(path);
}

void session_release(struct session *s)
{
	free(s->url);
	free(s->user);
	free(s->password_file);
	free(s->cacert);
	free(s->state);
	free_secret(s->api_key);
	free_secret(s->access);
	free_secret(s->refresh);
	*s = (struct session){0};
}
