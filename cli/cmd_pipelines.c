// SPDX-License-Identifier: MIT
/* mcpctl pipelines … and mcpctl executions … */
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "jsonx.h"
#include "util.h"
#include "watch.h"

static const struct column pipeline_columns[] = {
	{"PIPELINE", "pipeline_id", AS_ID}, {"NAME", "name", AS_TEXT},
	{"STAGES", "stages", AS_COUNT},	    {"STATUS", "status", AS_STATUS},
	{"TAGS", "tags", AS_LIST},	    {"CREATED", "created_at", AS_AGO},
	{0},
};

static const struct column execution_columns[] = {
	{"EXECUTION", "execution_id", AS_ID}, {"PIPELINE", "pipeline_id", AS_TEXT},
	{"STATUS", "status", AS_STATUS},      {"DONE", "progress", AS_PERCENT},
	{"STAGE", "current_stage", AS_NUMBER}, {"STARTED", "started_at", AS_AGO},
	{0},
};

static const struct opt plist_opts[] = {
	{"name", 0, OPT_TEXT, "NAME", "of this name", "name"},
	LIST_OPTS,
};

static const struct opt create_opts[] = {
	{"description", 0, OPT_TEXT, "TEXT", "what it is for", "description"},
	{"stages", 0, OPT_JSON, "JSON|@FILE", "the stages; without them, the standard six", "stages"},
	{"dependencies", 0, OPT_JSON, "JSON", "[{\"from\":0,\"to\":1},…]; default a chain", "dependencies"},
	{"tag", 0, OPT_LIST, "TAG", "labels", "tags"},
	{"metadata", 0, OPT_JSON, "JSON", "anything worth remembering", "metadata"},
	IDEMPOTENCY_OPT,
	DATA_OPT,
	{0},
};

#define RUN_FIELDS                                                                                             \
	{"input", 'i', OPT_JSON, "JSON|@FILE|-", "the first stage's input", "input_data"},                     \
		{"parameters", 'p', OPT_JSON, "JSON", "batch_size, parallel_workers, and the agents' own",     \
		 "parameters"},                                                                                \
		{"webhook", 0, OPT_TEXT, "URL", "told how it ended", "notification.webhook"},                  \
		{"email", 0, OPT_TEXT, "ADDRESS", "told how it ended", "notification.email"},                  \
		IDEMPOTENCY_OPT, DATA_OPT,                                                                     \
	{                                                                                                      \
		"watch", 'w', OPT_FLAG, NULL, "follow it to its end", NULL                                     \
	}

static const struct opt execute_opts[] = {
	RUN_FIELDS,
	{0},
};

static const struct opt quick_opts[] = {
	RUN_FIELDS,
	{"template", 0, OPT_TEXT, "standard|data", "which six stages (standard)", "template"},
	{"pipeline", 0, OPT_TEXT, "ID", "run this definition instead", "pipeline_id"},
	{"wait", 0, OPT_INT, "0-30", "seconds to wait for the end (0)", NULL},
	{0},
};

static const struct opt stage_opts[] = {
	{"execution", 'x', OPT_TEXT, "ID", "in this run (default: the latest)", "execution_id"},
	{"input", 'i', OPT_JSON, "JSON|@FILE|-", "the stage's input", "input_data"},
	{"parameters", 'p', OPT_JSON, "JSON", "the agents' parameters", "parameters"},
	IDEMPOTENCY_OPT,
	DATA_OPT,
	{0},
};

static const struct opt progress_opts[] = {
	{"execution", 'x', OPT_TEXT, "ID", "of this run (default: the latest)", "execution_id"},
	{0},
};

static const struct opt xlist_opts[] = {
	{"pipeline", 0, OPT_TEXT, "ID", "of this pipeline", "pipeline_id"},
	{"status", 's', OPT_LIST, "STATUS", "created, running, paused, completed, failed, cancelled", "status"},
	LIST_OPTS,
};

static const struct opt output_opts[] = {
	{"format", 'f', OPT_TEXT, "FORMAT", "json (default), ndjson, csv", NULL},
	{"stage", 0, OPT_INT, "1-6", "of this stage (default: the last)", NULL},
	{"output", 'o', OPT_TEXT, "FILE", "write it there", NULL},
	{0},
};

static int pipelines_create(struct cli *cli, const struct args *args)
{
	struct json_object *body = make_body(args);
	struct answer a;
	int rc;

	if (args->npos)
		jx_set_str(body, "name", args->pos[0]);
	api_idempotency_key(arg_text(args, "idempotency-key"));
	rc = api_call(cli, "POST", "/pipelines", body, &a);
	if (rc == EXIT_OK && !cli->json && object_id(answer_data(&a)))
		puts(object_id(answer_data(&a)));
	else if (rc == EXIT_OK)
		show_object(cli, answer_data(&a));
	answer_release(&a);
	json_object_put(body);
	return rc;
}

/* Starts a run by a POST to path; prints its id or follows it. */
static int start_run(struct cli *cli, const struct args *args, const char *path, struct json_object *body)
{
	struct answer a;
	struct json_object *data;
	char *id = NULL;
	int rc;

	api_idempotency_key(arg_text(args, "idempotency-key"));
	rc = api_call(cli, "POST", path, body, &a);
	api_idempotency_key(NULL);
	data = answer_data(&a);
	if (rc == EXIT_OK && jx_str(data, "execution_id"))
		id = xstrdup(jx_str(data, "execution_id"));
	if (rc == EXIT_OK && !(id && arg_flag(args, "watch"))) {
		if (cli->json || !id || jx_get(data, "results"))
			show_object(cli, data);
		else
			puts(id);
	}
	answer_release(&a);
	if (id && arg_flag(args, "watch"))
		rc = watch_execution(cli, id);
	free(id);
	return rc;
}

static int pipelines_execute(struct cli *cli, const struct args *args)
{
	struct json_object *body = make_body(args);
	char *path = fill_path("/pipelines/{}/execute", args->pos);
	int rc = start_run(cli, args, path, body);

	free(path);
	json_object_put(body);
	return rc;
}

static int pipelines_quick(struct cli *cli, const struct args *args)
{
	struct json_object *body = make_body(args);
	long wait = arg_int(args, "wait", 0);
	char *path = wait ? xasprintf("/pipeline/agent-execute?wait=%ld", wait) : xstrdup("/pipeline/agent-execute");
	int rc;

	if (wait + 15 > cli->timeout)
		cli->timeout = (double)wait + 15;
	rc = start_run(cli, args, path, body);
	free(path);
	json_object_put(body);
	return rc;
}

static int executions_watch(struct cli *cli, const struct args *args)
{
	return watch_execution(cli, args->pos[0]);
}

static int executions_show(struct cli *cli, const struct args *args)
{
	char *path = fill_path("/executions/{}", args->pos);
	struct answer a;
	int rc = api_call(cli, "GET", path, NULL, &a);

	if (rc == EXIT_OK && (cli->json || cli->quiet))
		show_object(cli, answer_data(&a));
	else if (rc == EXIT_OK)
		show_execution(cli, answer_data(&a));
	answer_release(&a);
	free(path);
	return rc;
}

/* All pages of JSON as the one value that they are together. */
static int write_json(struct cli *cli, const char *base, FILE *to)
{
	struct json_object *whole = json_object_new_object(), *all = json_object_new_array();
	char *cursor = NULL, *path;
	struct answer a;
	int rc;

	json_object_object_add(whole, "items", all);
	do {
		char *c = cursor ? url_escape(cursor) : NULL;
		struct json_object *items;

		path = xasprintf("%s&limit=500%s%s", base, c ? "&cursor=" : "", c ? c : "");
		free(c);
		free(cursor);
		rc = api_call(cli, "GET", path, NULL, &a);
		items = jx_get(answer_data(&a), "items");
		for (size_t i = 0; i < jx_len(items, ""); i++)
			json_object_array_add(all, json_object_get(json_object_array_get_idx(items, i)));
		cursor = jx_str(a.body, "next_cursor") ? xstrdup(jx_str(a.body, "next_cursor")) : NULL;
		if (rc == EXIT_OK && !cursor)
			fprintf(to, "%s\n",
				json_object_to_json_string_ext(items ? whole : jx_get(answer_data(&a), "output"),
							       JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE));
		answer_release(&a);
		free(path);
	} while (cursor);
	json_object_put(whole);
	return rc;
}

static int executions_output(struct cli *cli, const struct args *args)
{
	const char *format = arg_text(args, "format"), *file = arg_text(args, "output");
	char *stage = arg_text(args, "stage") ? xasprintf("&stage=%s", arg_text(args, "stage")) : xstrdup("");
	char *id = url_escape(args->pos[0]), *base;
	FILE *to = stdout;
	int rc;

	if (!format)
		format = "json";
	base = xasprintf("/executions/%s/output?format=%s%s", id, format, stage);
	if (file && !(to = fopen(file, "w")))
		die(EXIT_FAILED, "cannot write %s", file);
	rc = strcmp(format, "json") ? api_stream(cli, base, to) : write_json(cli, base, to);
	if (file && fclose(to)) {
		warn("cannot write %s", file);
		rc = EXIT_FAILED;
	}
	free(base);
	free(id);
	free(stage);
	return rc;
}

const struct command pipeline_commands[] = {
	{.group = "pipelines", .name = "list", .usage = "", .summary = "list pipelines", .run = run_list,
	 .opts = plist_opts, .path = "/pipelines", .columns = pipeline_columns},
	{.group = "pipelines", .name = "show", .usage = "ID", .summary = "a definition, and its latest run",
	 .run = run_show, .min_pos = 1, .max_pos = 1, .path = "/pipelines/{}"},
	{.group = "pipelines", .name = "create", .usage = "[NAME]", .summary = "define a pipeline; prints its id",
	 .run = pipelines_create, .max_pos = 1, .opts = create_opts,
	 .more = "Without --stages it gets the standard six: ingestion, standardization, validation, processing,\n"
		 "quality_assessment, export. Example:\n"
		 "  mcpctl pipelines create nightly --stages @stages.json --tag night"},
	{.group = "pipelines", .name = "update", .usage = "ID", .summary = "change a pipeline", .run = run_send,
	 .min_pos = 1, .max_pos = 1, .opts = create_opts, .method = "PUT", .path = "/pipelines/{}",
	 .done = "updated"},
	{.group = "pipelines", .name = "execute", .usage = "ID", .summary = "start a run; prints its id",
	 .run = pipelines_execute, .min_pos = 1, .max_pos = 1, .opts = execute_opts},
	{.group = "pipelines", .name = "run-stage", .usage = "ID STAGE", .summary = "do one stage of a run (again)",
	 .run = run_send, .min_pos = 2, .max_pos = 2, .opts = stage_opts, .method = "POST",
	 .path = "/pipelines/{}/stages/{}/execute"},
	{.group = "pipelines", .name = "progress", .usage = "ID", .summary = "how far the latest run is",
	 .run = run_show, .min_pos = 1, .max_pos = 1, .opts = progress_opts, .path = "/pipelines/{}/progress"},
	{.group = "pipelines", .name = "agent-execute", .usage = "", .summary = "run the standard six stages at once",
	 .run = pipelines_quick, .opts = quick_opts},
	{.group = "pipelines", .name = "delete", .usage = "ID...", .summary = "remove pipelines without live runs",
	 .run = run_each, .min_pos = 1, .max_pos = -1, .method = "DELETE", .path = "/pipelines/{}",
	 .done = "deleted"},
	{0},
};

const struct command execution_commands[] = {
	{.group = "executions", .name = "list", .usage = "", .summary = "list runs, newest first", .run = run_list,
	 .opts = xlist_opts, .path = "/executions", .columns = execution_columns},
	{.group = "executions", .name = "show", .usage = "ID", .summary = "one run and its stages",
	 .run = executions_show, .min_pos = 1, .max_pos = 1},
	{.group = "executions", .name = "watch", .usage = "ID", .summary = "follow a run with a progress bar",
	 .run = executions_watch, .min_pos = 1, .max_pos = 1,
	 .more = "Ends with status 0 when the run completed, 1 when it failed or was cancelled. Interrupting the\n"
		 "watching does not touch the run."},
	{.group = "executions", .name = "progress", .usage = "ID", .summary = "progress, and the agents at work",
	 .run = run_show, .min_pos = 1, .max_pos = 1, .path = "/pipeline/{}/agent-progress"},
	{.group = "executions", .name = "output", .usage = "ID", .summary = "what a run or a stage produced",
	 .run = executions_output, .min_pos = 1, .max_pos = 1, .opts = output_opts},
	{.group = "executions", .name = "pause", .usage = "ID...", .summary = "let running tasks end, start no more",
	 .run = run_each, .min_pos = 1, .max_pos = -1, .method = "POST", .path = "/executions/{}/pause",
	 .done = "paused"},
	{.group = "executions", .name = "resume", .usage = "ID...", .summary = "go on after a pause",
	 .run = run_each, .min_pos = 1, .max_pos = -1, .method = "POST", .path = "/executions/{}/resume",
	 .done = "resumed"},
	{.group = "executions", .name = "cancel", .usage = "ID...", .summary = "stop runs and their tasks",
	 .run = run_each, .min_pos = 1, .max_pos = -1, .method = "POST", .path = "/executions/{}/cancel",
	 .done = "cancelled"},
	{.group = "executions", .name = "retry", .usage = "ID...",
	 .summary = "go on from the failed stage; keeps what succeeded", .run = run_each, .min_pos = 1,
	 .max_pos = -1, .method = "POST", .path = "/executions/{}/retry", .done = "goes on"},
	{0},
};
