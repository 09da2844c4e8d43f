// SPDX-License-Identifier: MIT
/* mcpctl agent run: the command line of it. */
#include "run.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runner.h"
#include "util.h"

const struct opt agent_run_opts[] = {
	{"name", 0, OPT_TEXT, "NAME", "the agent's name; its identity is kept by it", NULL},
	{"type", 't', OPT_TEXT, "TYPE", "the agent's type (worker)", NULL},
	{"capability", 'c', OPT_LIST, "NAME", "what the command can do", NULL},
	{"task-type", 0, OPT_LIST, "TYPE", "take tasks of these types only", NULL},
	{"concurrency", 'n', OPT_INT, "N", "so many tasks at once (1)", NULL},
	{"max-load", 0, OPT_NUM, "LOAD", "take nothing new while the machine's load per core is higher", NULL},
	{"agent-id", 0, OPT_TEXT, "ID", "be this agent, registered before", NULL},
	{"token-file", 0, OPT_TEXT, "FILE", "its secret, or what agents register --token-file wrote", NULL},
	{"metadata", 0, OPT_JSON, "JSON", "told when registering", NULL},
	{"output", 'o', OPT_TEXT, "json|text|ignore", "what standard output is: the result (json), text that "
						      "becomes {\"output\":…}, or nothing of interest", NULL},
	{"log-stderr", 0, OPT_FLAG, NULL, "standard error goes to the task's log too", NULL},
	{"task-timeout", 0, OPT_NUM, "SECONDS", "end a command after this long, whatever the task allows", NULL},
	{"grace", 0, OPT_NUM, "SECONDS", "from TERM to KILL when a command is ended (5)", NULL},
	{"stop-timeout", 0, OPT_NUM, "SECONDS", "how long work in hand may go on after TERM (60)", NULL},
	{"heartbeat", 0, OPT_NUM, "SECONDS", "between heartbeats (10; at most 5 with work in hand)", NULL},
	{"wait", 0, OPT_INT, "0-30", "seconds a claim waits at the panel (20)", NULL},
	{"rest", 0, OPT_FLAG, NULL, "claim by REST only, without a socket to the event relay", NULL},
	{"max-result", 0, OPT_INT, "BYTES", "largest result (1048576)", NULL},
	{"max-tasks", 0, OPT_INT, "N", "end after so many tasks", NULL},
	{"once", 0, OPT_FLAG, NULL, "end after one task", NULL},
	{"idle-exit", 0, OPT_NUM, "SECONDS", "end when there was nothing to do for this long", NULL},
	{0},
};

const char agent_run_help[] =
	"Runs COMMAND once for each task. The task is one line of JSON on its standard input; a stage's input\n"
	"that is too large to lie inside follows, one JSON line an item. A JSON value on standard output and\n"
	"exit status 0 complete the task. Otherwise it fails: status 75 may be tried again, others not, unless\n"
	"the last line on standard error is JSON: {\"type\":…,\"message\":…,\"retryable\":true|false}. A command\n"
	"that dies of a signal may be tried again.\n"
	"\n"
	"On descriptor 3 ($MCP_PROGRESS_FD) the command may write lines while it works:\n"
	"  {\"progress\":0.5,\"message\":\"half\"}    {\"log\":\"found 3\",\"level\":\"info\"}    any other text is logged\n"
	"It sees MCP_TASK_ID, MCP_TASK_TYPE, MCP_FENCE, MCP_ATTEMPT, MCP_EXECUTION_ID, MCP_PIPELINE_ID, MCP_STAGE,\n"
	"MCP_AGENT_ID and MCP_AGENT_NAME, and no credentials.\n"
	"\n"
	"Registering needs an administrator's login or an API key in MCP_API_KEY; after that the agent has an\n"
	"identity of its own, kept by its name. TERM or INT stops it: work in hand may end, the rest is given\n"
	"back. A second signal gives everything back at once.\n"
	"\n"
	"Example:\n"
	"  mcpctl agent run --name words --capability wc --output text -- sh -c 'jq -r .parameters.text | wc -w'";

static char *json_list(const struct args *args, const char *name)
{
	struct buf b;
	struct jw w;

	buf_init(&b);
	jw_init(&w, &b);
	jw_arr(&w);
	for (int i = 0; i < args->nset; i++) {
		const char *v = args->set[i].value;

		if (strcmp(args->set[i].opt->name, name))
			continue;
		while (*v) {
			size_t n = strcspn(v, ",");

			if (n)
				jw_strn(&w, v, n);
			v += n + (v[n] == ',');
		}
	}
	jw_end_arr(&w);
	return b.p;
}

static bool runnable(const char *file)
{
	struct stat st;

	return !stat(file, &st) && S_ISREG(st.st_mode) && !access(file, X_OK);
}

/* A mistyped command is better found now than by failing every task. */
static void check_command(const char *name)
{
	const char *path = getenv("PATH");
	bool found = false;

	if (strchr(name, '/')) {
		found = runnable(name);
	} else {
		for (const char *p = path ? path : "/usr/bin:/bin"; *p && !found;) {
			size_t n = strcspn(p, ":");
			char *file = n ? xasprintf("%.*s/%s", (int)n, p, name) : xstrdup(name);

			found = runnable(file);
			free(file);
			p += n + (p[n] == ':');
		}
	}
	if (!found)
		die(EXIT_USAGE, "there is no program %s to run", name);
}

static enum output_mode output_mode(const struct args *args)
{
	static const char *const modes[] = {"json", "text", "ignore"};
	const char *v = arg_text(args, "output");

	for (int i = 0; v && i < 3; i++)
		if (!strcmp(v, modes[i]))
			return (enum output_mode)i;
	if (v)
		usage_error(args->cmd, "--output is json, text or ignore, not '%s'", v);
	return OUTPUT_JSON;
}

static void take_options(struct runner *r, const struct args *args)
{
	char *types = json_list(args, "task-type");

	r->command = args->rest;
	r->name = arg_text(args, "name");
	r->type = arg_text(args, "type") ? arg_text(args, "type") : "worker";
	r->capabilities.p = json_list(args, "capability");
	r->capabilities.n = strlen(r->capabilities.p);
	if (strcmp(types, "[]"))
		r->types = (struct buf){.p = types, .n = strlen(types)};
	else
		free(types);
	r->concurrency = (int)arg_int(args, "concurrency", 1);
	r->max_tasks = arg_flag(args, "once") ? 1 : (int)arg_int(args, "max-tasks", 0);
	r->max_load = arg_num(args, "max-load", 0);
	r->claim_wait = (double)arg_int(args, "wait", 20);
	r->heartbeat = arg_num(args, "heartbeat", 10);
	r->grace = arg_num(args, "grace", 5);
	r->stop_after = arg_num(args, "stop-timeout", 60);
	r->idle_exit = arg_num(args, "idle-exit", 0);
	r->task_timeout = arg_num(args, "task-timeout", 0);
	r->max_result = (size_t)arg_int(args, "max-result", 1 << 20);
	r->rest_only = arg_flag(args, "rest");
	r->log_stderr = arg_flag(args, "log-stderr");
	r->output = output_mode(args);
}

static void check_options(struct runner *r, const struct args *args)
{
	if (!args->nrest)
		usage_error(args->cmd, "no command: write it after --, as in -- ./work.sh");
	if (!r->name && arg_flag(args, "token-file"))
		r->name = arg_text(args, "agent-id") ? arg_text(args, "agent-id") : "agent";
	if (is_empty(r->name))
		usage_error(args->cmd, "the agent needs a --name");
	if (r->concurrency < 1 || r->concurrency > 500)
		usage_error(args->cmd, "--concurrency must be 1 to 500");
	if (r->claim_wait > 30)
		usage_error(args->cmd, "--wait must be 0 to 30");
	if (r->heartbeat < 0.1)
		usage_error(args->cmd, "--heartbeat must be at least 0.1");
	check_command(r->command[0]);
}

int agent_run(struct cli *cli, const struct args *args)
{
	struct runner *r = xcalloc(1, sizeof(*r));
	int rc;

	cli->patient = true;
	r->cli = cli;
	r->args = args;
	take_options(r, args);
	check_options(r, args);
	rc = identity_open(r, args);
	if (rc == EXIT_OK) {
		r->multi = curl_multi_init();
		if (!r->multi)
			die(EXIT_FAILED, "cannot start the HTTP client");
		rc = run_loop(r);
		calls_release(r);
		ws_release(&r->ws);
		curl_multi_cleanup(r->multi);
	}
	identity_release(&r->id);
	free_secret(r->access);
	buf_release(&r->capabilities);
	buf_release(&r->types);
	free(r);
	return rc;
}
