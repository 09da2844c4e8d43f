// SPDX-License-Identifier: MIT
/* mcpctl agents …; running one stands in run*.c. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "jsonx.h"
#include "run.h"
#include "util.h"

static const struct column agent_columns[] = {
	{"AGENT", "agent_id", AS_ID},	   {"NAME", "name", AS_TEXT},
	{"TYPE", "type", AS_TEXT},	   {"STATUS", "status", AS_STATUS},
	{"LOAD", "current_load", AS_PERCENT}, {"CAPABILITIES", "capabilities", AS_LIST},
	{"HEARTBEAT", "last_heartbeat", AS_AGO}, {0},
};

static const struct opt list_opts[] = {
	{"status", 's', OPT_LIST, "STATUS", "active, busy, inactive, error", "status"},
	{"type", 't', OPT_TEXT, "TYPE", "of this type", "type"},
	{"capability", 'c', OPT_LIST, "NAME", "able to do all of these", "capability"},
	{"role", 0, OPT_LIST, "ROLE", "worker, supervisor, admin, system", "role"},
	LIST_OPTS,
};

static const struct opt discover_opts[] = {
	{"capability", 'c', OPT_LIST, "NAME", "able to do all of these", "capabilities"},
	{"any", 0, OPT_LIST, "NAME", "able to do at least one of these", "any_capabilities"},
	{"type", 't', OPT_TEXT, "TYPE", "of this type", "type"},
	{"status", 's', OPT_LIST, "STATUS", "in this state", "status"},
	{"max-load", 0, OPT_NUM, "0-1", "loaded at most this much", "max_load"},
	{"min-success-rate", 0, OPT_NUM, "0-1", "successful at least this often", "min_success_rate"},
	LIST_OPTS,
};

static const struct opt register_opts[] = {
	{"type", 't', OPT_TEXT, "TYPE", "worker, validator, … or another slug (worker)", "type"},
	{"capability", 'c', OPT_LIST, "NAME", "what it can do", "capabilities"},
	{"role", 0, OPT_TEXT, "ROLE", "worker, supervisor, admin, system (worker)", "role"},
	{"slots", 0, OPT_INT, "N", "how many tasks at once", "slots"},
	{"agent-version", 0, OPT_TEXT, "TEXT", "version of the agent's program", "version"},
	{"task-endpoint", 0, OPT_TEXT, "URL", "tasks are POSTed here", "endpoints.task"},
	{"status-endpoint", 0, OPT_TEXT, "URL", "asked how it is", "endpoints.status"},
	{"health-endpoint", 0, OPT_TEXT, "URL", "probed when no heartbeat came", "endpoints.health"},
	{"metadata", 0, OPT_JSON, "JSON", "anything worth remembering", "metadata"},
	{"token-file", 0, OPT_TEXT, "FILE", "keep the agent's secret here (0600) instead of printing it", NULL},
	IDEMPOTENCY_OPT,
	DATA_OPT,
	{0},
};

static const struct opt update_opts[] = {
	{"name", 0, OPT_TEXT, "NAME", "another name", "name"},
	{"type", 't', OPT_TEXT, "TYPE", "another type", "type"},
	{"role", 0, OPT_TEXT, "ROLE", "another role (its tokens end)", "role"},
	{"enabled", 0, OPT_BOOL, "YES|NO", "may log in and work", "enabled"},
	{"slots", 0, OPT_INT, "N", "how many tasks at once", "slots"},
	{"clearance", 0, OPT_TEXT, "CLASS", "highest class of data it may see", "clearance_level"},
	{"metadata", 0, OPT_JSON, "JSON", "anything worth remembering", "metadata"},
	DATA_OPT,
	{0},
};

static const struct opt capability_opts[] = {
	{"add", 0, OPT_LIST, "NAME", "can do this too", "add"},
	{"remove", 0, OPT_LIST, "NAME", "cannot do this any more", "remove"},
	{"replace", 0, OPT_LIST, "NAME", "can do exactly these", "replace"},
	{0},
};

static const struct opt allocate_opts[] = {
	{"cpu", 0, OPT_NUM, "N", "cores", "cpu"},
	{"memory", 0, OPT_TEXT, "SIZE", "memory: bytes, or as in 8GB", "memory"},
	{"slots", 0, OPT_INT, "N", "task slots", "slots"},
	{0},
};

/* Keeps {agent_id, auth_token} where `agent run --token-file` finds it. */
static int keep_identity(struct json_object *data, const char *path)
{
	struct json_object *o = json_object_new_object();
	const char *text;
	int rc = EXIT_OK;

	jx_set_str(o, "agent_id", jx_str(data, "agent_id"));
	jx_set_str(o, "auth_token", jx_str(data, "auth_token"));
	text = jx_text(o);
	if (write_private_file(path, text, strlen(text))) {
		warn("cannot write %s: %s; the secret is lost, so delete agent %s and register again", path,
		     strerror(errno), jx_str(data, "agent_id"));
		rc = EXIT_FAILED;
	}
	json_object_put(o);
	return rc;
}

static int agents_register(struct cli *cli, const struct args *args)
{
	struct json_object *body = make_body(args), *data;
	const char *file = arg_text(args, "token-file");
	struct answer a;
	int rc;

	if (args->npos)
		jx_set_str(body, "name", args->pos[0]);
	if (!jx_get(body, "type"))
		jx_set_str(body, "type", "worker");
	api_idempotency_key(arg_text(args, "idempotency-key"));
	rc = api_call(cli, "POST", "/agents/register", body, &a);
	data = answer_data(&a);
	if (rc == EXIT_OK && file && jx_str(data, "auth_token") && jx_str(data, "agent_id")) {
		rc = keep_identity(data, file);
		json_object_object_del(data, "auth_token");
	}
	if (rc == EXIT_OK)
		show_object(cli, data);
	if (rc == EXIT_OK && !cli->quiet && jx_str(data, "auth_token"))
		fputs("The auth_token is shown this once; --token-file keeps it in a file instead.\n", stderr);
	answer_release(&a);
	json_object_put(body);
	return rc;
}

const struct command agent_commands[] = {
	{.group = "agents", .name = "list", .usage = "", .summary = "list agents", .run = run_list,
	 .opts = list_opts, .path = "/agents", .columns = agent_columns},
	{.group = "agents", .name = "show", .usage = "ID", .summary = "all about one agent", .run = run_show,
	 .min_pos = 1, .max_pos = 1, .path = "/agents/{}"},
	{.group = "agents", .name = "discover", .usage = "", .summary = "find agents for a job, fittest first",
	 .run = run_list, .opts = discover_opts, .path = "/agents/discover", .columns = agent_columns},
	{.group = "agents", .name = "health", .usage = "ID", .summary = "how an agent is", .run = run_show,
	 .min_pos = 1, .max_pos = 1, .path = "/agents/{}/health"},
	{.group = "agents", .name = "metrics", .usage = "ID", .summary = "what an agent has done, and how fast",
	 .run = run_show, .min_pos = 1, .max_pos = 1, .path = "/agents/{}/metrics"},
	{.group = "agents", .name = "register", .usage = "[NAME]", .summary = "register an agent",
	 .run = agents_register, .max_pos = 1, .opts = register_opts,
	 .more = "The answer holds the agent's id and, this once, its secret (auth_token). To run a program as\n"
		 "an agent you need not register it first: see mcpctl help agent run."},
	{.group = "agents", .name = "update", .usage = "ID", .summary = "change an agent", .run = run_send,
	 .min_pos = 1, .max_pos = 1, .opts = update_opts, .method = "PUT", .path = "/agents/{}",
	 .done = "updated"},
	{.group = "agents", .name = "capabilities", .usage = "ID", .summary = "change what an agent can do",
	 .run = run_send, .min_pos = 1, .max_pos = 1, .opts = capability_opts, .method = "POST",
	 .path = "/agents/{}/capabilities"},
	{.group = "agents", .name = "allocate", .usage = "ID", .summary = "reserve an agent's resources (0 releases)",
	 .run = run_send, .min_pos = 1, .max_pos = 1, .opts = allocate_opts, .method = "POST",
	 .path = "/agents/{}/allocate"},
	{.group = "agents", .name = "drain", .usage = "ID...", .summary = "give an agent nothing new",
	 .run = run_each, .min_pos = 1, .max_pos = -1, .method = "POST", .path = "/agents/{}/drain",
	 .done = "gets nothing new"},
	{.group = "agents", .name = "undrain", .usage = "ID...", .summary = "give an agent work again",
	 .run = run_each, .min_pos = 1, .max_pos = -1, .method = "POST", .path = "/agents/{}/undrain",
	 .done = "gets work again"},
	{.group = "agents", .name = "delete", .usage = "ID...", .summary = "remove agents; their tasks are requeued",
	 .run = run_each, .min_pos = 1, .max_pos = -1, .method = "DELETE", .path = "/agents/{}",
	 .done = "deleted"},
	{.group = "agents", .name = "run", .usage = "--name N [OPTIONS] -- COMMAND...",
	 .summary = "turn a program into an agent", .run = agent_run, .opts = agent_run_opts,
	 .more = agent_run_help},
	{0},
};
