// SPDX-License-Identifier: MIT
/*
 * Who the agent is. An identity is an agent id and its secret; it is made by
 * registering once and kept in a file (0600), so that a restarted agent is the
 * same one to the panel. One process at a time has it: a lock sees to that.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "api.h"
#include "jsonx.h"
#include "lib/base/version.h"
#include "runner.h"
#include "util.h"

#define ECHO_FOR 35.0 /* seconds: the longest wait of a claim, and some */

/* A panel that is away or restarts is waited for: an agent is started once, and then just there. */
static int ask_patiently(struct runner *r, struct cli *as, const char *path, struct json_object *body,
			 struct answer *a, bool anonymous)
{
	int tries = 0;

	for (;;) {
		bool ok = anonymous ? api_once(as, "POST", path, body, a) : api_try(as, "POST", path, body, a);
		bool away = (!a->status && a->code != CURLE_OK) || a->status >= 500 || a->status == 429 ||
			    a->login == EXIT_UNREACHABLE;
		double s;
		struct timespec ts;

		if (ok)
			return EXIT_OK;
		if (!away)
			return answer_exit(a);
		if (!tries)
			say(r, "warning", NULL, "the panel at %s does not answer (%s); waiting for it",
			    as->session.url, a->status || a->login ? "not ready" : a->error);
		s = backoff(tries++, 0.2, 10, NULL);
		if (a->retry_after > s)
			s = a->retry_after;
		answer_release(a);
		ts = (struct timespec){.tv_sec = (time_t)s, .tv_nsec = (long)((s - (double)(time_t)s) * 1e9)};
		nanosleep(&ts, NULL);
	}
}

/* ---- the file ---- */

static void identity_file(struct runner *r, const char *name)
{
	char *key = session_key(r->cli->session.url, name);
	char *rest = xasprintf("agents/%s.json", key);

	r->id.file = session_path(&r->cli->session, rest);
	free(rest);
	free(key);
}

static int identity_lock(struct runner *r)
{
	char *path = xasprintf("%s.lock", r->id.file);
	int rc = EXIT_OK;

	r->id.lock = lock_file(path, false);
	if (r->id.lock < 0 && errno == EWOULDBLOCK) {
		warn("another mcpctl runs as agent '%s' already; give this one another --name", r->name);
		rc = EXIT_CONFLICT;
	} else if (r->id.lock < 0) {
		warn("cannot use %s: %s", path, strerror(errno));
		rc = EXIT_FAILED;
	}
	free(path);
	return rc;
}

static void take_identity(struct identity *id, const char *agent_id, const char *auth_token)
{
	free(id->agent_id);
	free_secret(id->auth_token);
	id->agent_id = xstrdup(agent_id);
	id->auth_token = xstrdup(auth_token);
}

static void identity_load(struct runner *r)
{
	size_t len;
	char *text = read_file(r->id.file, 65536, &len);
	struct json_object *o;

	if (!text)
		return;
	o = jx_parse(text, len);
	free_secret(text);
	r->id.drained = jx_bool(o, "drained", false);
	if (!r->id.agent_id && jx_str(o, "agent_id") && jx_str(o, "auth_token")) {
		take_identity(&r->id, jx_str(o, "agent_id"), jx_str(o, "auth_token"));
		r->id.stored = true;
	}
	json_object_put(o);
}

void identity_keep(struct runner *r)
{
	struct json_object *o = json_object_new_object();
	const char *text;

	jx_set_str(o, "url", r->cli->session.url);
	jx_set_str(o, "name", r->name);
	jx_set_str(o, "agent_id", r->id.agent_id);
	if (r->id.stored)
		jx_set_str(o, "auth_token", r->id.auth_token);
	jx_set(o, "drained", json_object_new_boolean(r->id.drained));
	text = jx_text(o);
	if (write_private_file(r->id.file, text, strlen(text)))
		say(r, "warning", NULL, "cannot keep the agent's identity in %s: %s", r->id.file, strerror(errno));
	json_object_put(o);
}

void identity_release(struct identity *id)
{
	free(id->agent_id);
	free_secret(id->auth_token);
	free(id->file);
	if (id->lock >= 0)
		close(id->lock);
}

/* --token-file: the bare secret (with --agent-id), or {agent_id, auth_token} as `agents register` writes it. */
static int identity_given(struct runner *r)
{
	const char *file = arg_text(r->args, "token-file"), *id = arg_text(r->args, "agent-id");
	struct json_object *o;
	char *text;
	size_t len;

	if (!file)
		usage_error(r->args->cmd, "--agent-id needs --token-file");
	text = read_file(file, 65536, &len);
	if (!text) {
		warn("cannot read %s: %s", file, strerror(errno));
		return EXIT_USAGE;
	}
	o = jx_parse(text, len);
	if (!id)
		id = jx_str(o, "agent_id");
	if (!id)
		usage_error(r->args->cmd, "%s names no agent; give --agent-id too", file);
	text[strcspn(text, "\r\n")] = '\0';
	take_identity(&r->id, id, jx_str(o, "auth_token") ? jx_str(o, "auth_token") : text);
	free_secret(text);
	json_object_put(o);
	return EXIT_OK;
}

/* ---- registering and logging in ---- */

static struct json_object *registration(struct runner *r)
{
	struct json_object *body = json_object_new_object(), *meta = json_object_new_object();
	const char *extra = arg_text(r->args, "metadata");
	char host[256] = "";

	gethostname(host, sizeof(host) - 1);
	jx_set_str(body, "name", r->name);
	jx_set_str(body, "type", r->type);
	jx_set(body, "capabilities", jx_parse(r->capabilities.p, r->capabilities.n));
	jx_set(body, "slots", json_object_new_int(r->concurrency));
	jx_set_str(body, "version", mcp_version);
	jx_set(body, "resources.cpu", json_object_new_int64(sysconf(_SC_NPROCESSORS_ONLN)));
	jx_set(body, "resources.memory",
	       json_object_new_int64((int64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE)));
	if (extra) {
		json_object_put(meta);
		meta = jx_argument(r->args->cmd, "--metadata", extra);
	}
	if (!jx_get(meta, "host"))
		jx_set_str(meta, "host", host);
	if (!jx_get(meta, "command"))
		jx_set_str(meta, "command", r->command[0]);
	jx_set(body, "metadata", meta);
	return body;
}

static int identity_register(struct runner *r)
{
	struct json_object *body = registration(r), *data;
	struct answer a;
	int rc = ask_patiently(r, r->cli, "/agents/register", body, &a, false);

	/* number of slots is for those who manage agents; who only registers does without */
	if (a.status == 403 && jx_get(body, "slots")) {
		json_object_object_del(body, "slots");
		answer_release(&a);
		rc = ask_patiently(r, r->cli, "/agents/register", body, &a, false);
	}
	json_object_put(body);
	data = answer_data(&a);
	if (rc != EXIT_OK) {
		answer_complain(r->cli, &a);
		if (a.status == 401 || a.status == 403)
			warn("registering an agent needs an administrator's login or an API key (MCP_API_KEY)");
	} else if (!jx_str(data, "agent_id") || !jx_str(data, "auth_token")) {
		warn("the panel registered the agent without telling its secret; try again");
		rc = EXIT_FAILED;
	} else {
		take_identity(&r->id, jx_str(data, "agent_id"), jx_str(data, "auth_token"));
		r->id.stored = r->id.fresh = true;
		r->id.drained = false;
		identity_keep(r);
	}
	answer_release(&a);
	return rc;
}

/* EXIT_AUTH (without a word) when the panel does not know the identity. */
static int identity_login(struct runner *r)
{
	struct json_object *body = json_object_new_object();
	struct answer a;
	int rc;

	jx_set_str(body, "agent_id", r->id.agent_id);
	jx_set_str(body, "auth_token", r->id.auth_token);
	rc = ask_patiently(r, r->cli, "/auth/token", body, &a, true);
	json_object_put(body);
	if (rc == EXIT_OK && jx_str(answer_data(&a), "access_token")) {
		r->access = xstrdup(jx_str(answer_data(&a), "access_token"));
		r->access_until = mono_now() + jx_num(answer_data(&a), "expires_in", 3600) * 0.9;
	} else if (rc == EXIT_OK) {
		warn("%s answered a login without a token; is it a control panel?", r->cli->session.url);
		rc = EXIT_FAILED;
	} else if (a.status != 401 && a.status != 404) {
		answer_complain(r->cli, &a);
		rc = EXIT_FAILED;
	} else {
		rc = EXIT_AUTH;
	}
	answer_release(&a);
	return rc;
}

/* What the command line says now may differ from what was registered; and a drain of ours is over. */
static void identity_settle(struct runner *r)
{
	struct cli as = *r->cli;
	struct json_object *body;
	struct answer a;
	char *path;

	as.session = (struct session){.url = r->cli->session.url, .found = r->cli->session.found,
				      .cacert = r->cli->session.cacert, .access = r->access};
	if (r->capabilities.n > 2 && !r->id.fresh) {
		body = json_object_new_object();
		path = xasprintf("/agents/%s/capabilities", r->id.agent_id);
		jx_set(body, "replace", jx_parse(r->capabilities.p, r->capabilities.n));
		if (ask_patiently(r, &as, path, body, &a, false) != EXIT_OK)
			answer_complain(&as, &a);
		answer_release(&a);
		json_object_put(body);
		free(path);
	}
	if (r->id.drained) {
		path = xasprintf("/agents/%s/undrain", r->id.agent_id);
		if (ask_patiently(r, &as, path, NULL, &a, false) == EXIT_OK) {
			r->id.drained = false;
			identity_keep(r);
		} else {
			answer_complain(&as, &a);
		}
		answer_release(&a);
		free(path);
	}
}

int identity_open(struct runner *r, const struct args *args)
{
	bool given = arg_flag(args, "token-file") || arg_flag(args, "agent-id");
	int rc;

	r->id.lock = -1;
	if (given) {
		rc = identity_given(r);
		if (rc != EXIT_OK)
			return rc;
	}
	identity_file(r, given ? r->id.agent_id : r->name);
	rc = identity_lock(r);
	if (rc != EXIT_OK)
		return rc;
	identity_load(r);
	rc = r->id.agent_id ? identity_login(r) : EXIT_AUTH;
	if (rc == EXIT_AUTH && given) {
		warn("the panel refuses agent %s: wrong secret, or it was deleted or disabled", r->id.agent_id);
		return rc;
	}
	if (rc == EXIT_AUTH) {
		rc = identity_register(r);
		if (rc == EXIT_OK)
			rc = identity_login(r);
	}
	if (rc != EXIT_OK)
		return rc;
	identity_settle(r);
	r->swept = r->id.fresh;
	r->echo_until = r->id.fresh ? 0 : mono_now() + ECHO_FOR;
	say(r, "info", NULL, "agent %s (%s) at %s%s", r->name, r->id.agent_id, r->cli->session.url,
	    r->id.fresh ? ", registered just now" : "");
	return EXIT_OK;
}
