// SPDX-License-Identifier: MIT
/* mcpctl tasks … */
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "jsonx.h"
#include "util.h"
#include "watch.h"

static const struct column task_columns[] = {
	{"TASK", "task_id", AS_ID},	   {"TYPE", "type", AS_TEXT},
	{"STATUS", "status", AS_STATUS},   {"PRIORITY", "priority", AS_TEXT},
	{"DONE", "progress", AS_PERCENT},  {"TRY", "attempt", AS_NUMBER},
	{"AGENT", "assigned_agent_id", AS_TEXT}, {"CREATED", "created_at", AS_AGO},
	{0},
};

static const struct column log_columns[] = {
	{"TIME", "timestamp", AS_TIME},
	{"LEVEL", "level", AS_TEXT},
	{"MESSAGE", "message", AS_TEXT},
	{0},
};

static const struct column dead_columns[] = {
	{"TASK", "task_id", AS_ID},	   {"TYPE", "type", AS_TEXT},
	{"TRIES", "attempt", AS_NUMBER},   {"FAILED", "completed_at", AS_AGO},
	{"ERROR", "error.type", AS_TEXT},  {"MESSAGE", "error.message", AS_TEXT},
	{0},
};

static const struct opt list_opts[] = {
	{"status", 's', OPT_LIST, "STATUS", "pending, assigned, running, retrying, completed, failed, cancelled",
	 "status"},
	{"type", 't', OPT_TEXT, "TYPE", "of this type", "type"},
	{"pipeline", 0, OPT_TEXT, "ID", "of this pipeline", "pipeline_id"},
	{"execution", 'x', OPT_TEXT, "ID", "of this run", "execution_id"},
	{"stage", 0, OPT_INT, "1-6", "of this stage", "stage"},
	{"agent", 0, OPT_TEXT, "ID", "in this agent's hands", "agent_id"},
	{"priority", 'p', OPT_LIST, "PRIORITY", "critical, high, medium, low", "priority"},
	{"since", 0, OPT_TEXT, "TIME", "created at or after (RFC 3339)", "created_from"},
	{"until", 0, OPT_TEXT, "TIME", "created before (RFC 3339)", "created_to"},
	LIST_OPTS,
};

#define TASK_FIELDS                                                                                            \
	{"type", 't', OPT_TEXT, "TYPE", "what kind of work it is", "type"},                                    \
		{"parameters", 'p', OPT_JSON, "JSON|@FILE|-", "what the agent gets", "parameters"},            \
		{"capability", 'c', OPT_LIST, "NAME", "what the agent must be able to do",                     \
		 "requirements.capabilities"},                                                                 \
		{"priority", 0, OPT_TEXT, "PRIORITY", "critical, high, medium (default), low", "priority"},    \
		{"timeout-task", 0, OPT_INT, "SECONDS", "one attempt may take this long", "timeout"},          \
		{"max-retries", 0, OPT_INT, "N", "further tries after a failure (3)", "max_retries"},          \
		{"deadline", 0, OPT_TEXT, "TIME", "of no use after this (RFC 3339)", "deadline"},              \
		{"run-at", 0, OPT_TEXT, "TIME", "not before this (RFC 3339)", "run_at"},                       \
		{"after", 0, OPT_LIST, "ID", "only when these tasks are completed", "dependencies"},           \
		{"concurrency-key", 0, OPT_TEXT, "KEY", "tasks with one key are limited together",             \
		 "concurrency_key"},                                                                           \
		{"classification", 0, OPT_TEXT, "CLASS", "public, internal (default), confidential, …",        \
		 "classification"},                                                                            \
	IDEMPOTENCY_OPT, DATA_OPT

static const struct opt submit_opts[] = {
	TASK_FIELDS,
	{"watch", 'w', OPT_FLAG, NULL, "follow it to its end, then print its result", NULL},
	{0},
};

static const struct opt batch_opts[] = {
	IDEMPOTENCY_OPT,
	{0},
};

static const struct opt update_opts[] = {
	{"priority", 0, OPT_TEXT, "PRIORITY", "critical, high, medium, low", "priority"},
	{"timeout-task", 0, OPT_INT, "SECONDS", "one attempt may take this long", "timeout"},
	{"max-retries", 0, OPT_INT, "N", "further tries after a failure", "max_retries"},
	{"deadline", 0, OPT_TEXT, "TIME", "of no use after this", "deadline"},
	{"run-at", 0, OPT_TEXT, "TIME", "not before this", "run_at"},
	DATA_OPT,
	{0},
};

static const struct opt delegate_opts[] = {
	{"agent", 0, OPT_TEXT, "ID", "to this agent", "agent_id"},
	{0},
};

static const struct opt assign_opts[] = {
	{"capability", 'c', OPT_LIST, "NAME", "able to do all of these", "criteria.capabilities"},
	{"any", 0, OPT_LIST, "NAME", "able to do at least one of these", "criteria.any_capabilities"},
	{"type", 't', OPT_TEXT, "TYPE", "of this type", "criteria.type"},
	{"max-load", 0, OPT_NUM, "0-1", "loaded at most this much", "criteria.max_load"},
	{"min-success-rate", 0, OPT_NUM, "0-1", "successful at least this often", "criteria.min_success_rate"},
	DATA_OPT,
	{0},
};

static const struct opt log_opts[] = {
	LIST_OPTS,
};

static const struct opt dead_opts[] = {
	{"type", 't', OPT_TEXT, "TYPE", "of this type", "type"},
	{"agent", 0, OPT_TEXT, "ID", "last in this agent's hands", "agent_id"},
	{"priority", 0, OPT_LIST, "PRIORITY", "critical, high, medium, low", "priority"},
	{"since", 0, OPT_TEXT, "TIME", "created at or after (RFC 3339)", "created_from"},
	{"until", 0, OPT_TEXT, "TIME", "created before (RFC 3339)", "created_to"},
	LIST_OPTS,
};

static const struct opt dead_retry_opts[] = {
	{"type", 't', OPT_TEXT, "TYPE", "all of this type", "filter.type"},
	{"agent", 0, OPT_TEXT, "ID", "all that this agent had last", "filter.agent_id"},
	{"all", 0, OPT_FLAG, NULL, "all of them", NULL},
	{0},
};

static int tasks_submit(struct cli *cli, const struct args *args)
{
	struct json_object *body = make_body(args);
	struct answer a;
	char *id = NULL;
	int rc;

	if (args->npos)
		jx_set_str(body, "type", args->pos[0]);
	api_idempotency_key(arg_text(args, "idempotency-key"));
	rc = api_call(cli, "POST", "/tasks", body, &a);
	api_idempotency_key(NULL);
	json_object_put(body);
	if (rc == EXIT_OK && jx_str(answer_data(&a), "task_id"))
		id = xstrdup(jx_str(answer_data(&a), "task_id"));
	if (rc == EXIT_OK && !(arg_flag(args, "watch") && id)) {
		if (cli->json || !id)
			show_object(cli, answer_data(&a));
		else
			puts(id);
	}
	answer_release(&a);
	if (id && arg_flag(args, "watch"))
		rc = watch_task(cli, id);
	free(id);
	return rc;
}

static int tasks_watch(struct cli *cli, const struct args *args)
{
	return watch_task(cli, args->pos[0]);
}

/* A file with a JSON array, {"tasks":[…]}, or one task a line. */
static struct json_object *read_batch(const struct args *args)
{
	const char *file = args->pos[0];
	struct json_object *body = json_object_new_object(), *tasks, *o;
	char *text, *save = NULL;
	size_t len;

	text = read_file(file[0] == '@' ? file + 1 : file, (size_t)64 << 20, &len);
	if (!text)
		die(EXIT_USAGE, "cannot read %s", file);
	o = jx_parse(text, len);
	if (json_object_is_type(o, json_type_array) || jx_len(o, "tasks")) {
		tasks = json_object_is_type(o, json_type_array) ? json_object_get(o)
								: json_object_get(jx_get(o, "tasks"));
	} else {
		tasks = json_object_new_array();
		for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
			if (line[strspn(line, " \t\r")])
				json_object_array_add(tasks, jx_argument(args->cmd, "a line", line));
	}
	json_object_put(o);
	free(text);
	jx_set(body, "tasks", tasks);
	return body;
}

static void print_batch(struct cli *cli, struct json_object *data, size_t *failed)
{
	struct json_object *items = jx_get(data, "items");

	for (size_t i = 0; i < jx_len(items, ""); i++) {
		struct json_object *item = json_object_array_get_idx(items, i);
		const char *id = jx_str(item, "task_id"), *why = jx_str(item, "error.message");

		*failed += !id || jx_get(item, "error");
		if (cli->json)
			continue;
		if (id && !jx_get(item, "error"))
			puts(id);
		else
			warn("task %zu of the batch: %s", i + 1, why ? why : jx_text(item));
	}
	if (cli->json)
		print_json(data);
}

static int tasks_batch(struct cli *cli, const struct args *args)
{
	struct json_object *body = read_batch(args);
	struct answer a;
	size_t failed = 0;
	int rc;

	api_idempotency_key(arg_text(args, "idempotency-key"));
	rc = api_call(cli, "POST", "/tasks/batch", body, &a);
	if (rc == EXIT_OK)
		print_batch(cli, answer_data(&a), &failed);
	answer_release(&a);
	json_object_put(body);
	return failed ? EXIT_FAILED : rc;
}

#define DEAD_AT_ONCE 500

static int tasks_dead_retry(struct cli *cli, const struct args *args)
{
	struct json_object *body = json_object_new_object(), *ids = json_object_new_array();
	double moved, total = 0;
	struct answer a;
	int rc;

	jx_from_args(body, args);
	for (int i = 0; i < args->npos; i++)
		json_object_array_add(ids, json_object_new_string(args->pos[i]));
	if (args->npos)
		json_object_object_add(body, "ids", ids);
	else
		json_object_put(ids);
	if (!args->npos && arg_flag(args, "all") && !jx_get(body, "filter"))
		jx_set(body, "filter", json_object_new_object());
	if (!json_object_object_length(body)) {
		json_object_put(body);
		usage_error(args->cmd, "name tasks, or --type TYPE, or --all");
	}
	do { /* a filter moves so many in one call at most */
		rc = api_call(cli, "POST", "/tasks/dead-letters/retry", body, &a);
		moved = jx_num(answer_data(&a), "retried", 0);
		total += moved;
		answer_release(&a);
	} while (rc == EXIT_OK && !args->npos && moved >= DEAD_AT_ONCE);
	if (rc == EXIT_OK && cli->json)
		printf("{\"retried\": %.0f}\n", total);
	else if (rc == EXIT_OK && !cli->quiet)
		printf("%.0f tasks will be tried again\n", total);
	json_object_put(body);
	return rc;
}

const struct command task_commands[] = {
	{.group = "tasks", .name = "list", .usage = "", .summary = "list tasks, newest first", .run = run_list,
	 .opts = list_opts, .path = "/tasks", .columns = task_columns},
	{.group = "tasks", .name = "show", .usage = "ID", .summary = "all about one task", .run = run_show,
	 .min_pos = 1, .max_pos = 1, .path = "/tasks/{}"},
	{.group = "tasks", .name = "status", .usage = "ID", .summary = "the short form", .run = run_show,
	 .min_pos = 1, .max_pos = 1, .path = "/tasks/{}/status"},
	{.group = "tasks", .name = "submit", .usage = "[TYPE]", .summary = "submit a task; prints its id",
	 .run = tasks_submit, .max_pos = 1, .opts = submit_opts,
	 .more = "Example: mcpctl tasks submit echo -p '{\"text\":\"hello\"}' -c echo --watch"},
	{.group = "tasks", .name = "batch", .usage = "FILE", .summary = "submit up to 1,000 tasks in one call",
	 .run = tasks_batch, .min_pos = 1, .max_pos = 1, .opts = batch_opts,
	 .more = "FILE (- is standard input) holds a JSON array of tasks, {\"tasks\":[…]}, or one task a line."},
	{.group = "tasks", .name = "watch", .usage = "ID", .summary = "follow a task to its end, with its log",
	 .run = tasks_watch, .min_pos = 1, .max_pos = 1,
	 .more = "Ends with status 0 when the task completed, 1 when it failed or was cancelled. Interrupting\n"
		 "the watching does not touch the task."},
	{.group = "tasks", .name = "logs", .usage = "ID", .summary = "what the agent said about a task",
	 .run = run_list, .min_pos = 1, .max_pos = 1, .opts = log_opts, .path = "/tasks/{}/logs",
	 .columns = log_columns},
	{.group = "tasks", .name = "metrics", .usage = "ID", .summary = "a task's times and efficiency",
	 .run = run_show, .min_pos = 1, .max_pos = 1, .path = "/tasks/{}/metrics"},
	{.group = "tasks", .name = "update", .usage = "ID", .summary = "change a task that does not run yet",
	 .run = run_send, .min_pos = 1, .max_pos = 1, .opts = update_opts, .method = "PUT", .path = "/tasks/{}",
	 .done = "updated"},
	{.group = "tasks", .name = "delegate", .usage = "ID --agent AGENT", .summary = "give a task to one agent",
	 .run = run_send, .min_pos = 1, .max_pos = 1, .opts = delegate_opts, .method = "POST",
	 .path = "/tasks/{}/delegate"},
	{.group = "tasks", .name = "assign", .usage = "ID", .summary = "give a task to the fittest agent",
	 .run = run_send, .min_pos = 1, .max_pos = 1, .opts = assign_opts, .method = "POST",
	 .path = "/tasks/{}/assign"},
	{.group = "tasks", .name = "cancel", .usage = "ID...", .summary = "cancel tasks", .run = run_each,
	 .min_pos = 1, .max_pos = -1, .method = "POST", .path = "/tasks/{}/cancel",
	 .done = "cancelled"},
	{.group = "tasks", .name = "retry", .usage = "ID...", .summary = "try failed tasks again", .run = run_each,
	 .min_pos = 1, .max_pos = -1, .method = "POST", .path = "/tasks/{}/retry", .done = "will be tried again"},
	{.group = "tasks", .name = "dead-letters", .usage = "", .summary = "tasks that failed for good",
	 .run = run_list, .opts = dead_opts, .path = "/tasks/dead-letters", .columns = dead_columns},
	{.group = "tasks", .name = "dead-letters-retry", .usage = "[ID...]",
	 .summary = "try tasks again that had failed for good", .run = tasks_dead_retry, .max_pos = -1,
	 .opts = dead_retry_opts},
	{0},
};
