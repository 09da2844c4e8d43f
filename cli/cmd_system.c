// SPDX-License-Identifier: MIT
/* mcpctl status, health, services, metrics, users …, api-keys …, api, help tools */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "commands.h"
#include "jsonx.h"
#include "password.h"
#include "util.h"

static const struct column service_columns[] = {
	{"SERVICE", "name", AS_TEXT},
	{"STATE", "state", AS_STATUS},
	{"ADDRESS", "address", AS_TEXT},
	{0},
};

static const struct column user_columns[] = {
	{"USER", "user_id", AS_ID},	{"NAME", "username", AS_TEXT}, {"ROLE", "role", AS_TEXT},
	{"ENABLED", "enabled", AS_YESNO}, {"CREATED", "created_at", AS_AGO}, {0},
};

static const struct column key_columns[] = {
	{"KEY", "key_id", AS_ID},	{"NAME", "name", AS_TEXT},	{"ROLE", "role", AS_TEXT},
	{"ENABLED", "enabled", AS_YESNO}, {"EXPIRES", "expires_at", AS_TIME}, {"CREATED", "created_at", AS_AGO},
	{0},
};

static const struct opt plain_list_opts[] = {
	LIST_OPTS,
};

static const struct opt user_create_opts[] = {
	{"role", 0, OPT_TEXT, "ROLE", "worker (default), supervisor, admin, system", "role"},
	{"new-password-file", 0, OPT_TEXT, "FILE", "the user's password (default: asked for)", NULL},
	{"email", 0, OPT_TEXT, "ADDRESS", "e-mail address", "email"},
	{"clearance", 0, OPT_TEXT, "CLASS", "highest class of data to be seen", "clearance_level"},
	IDEMPOTENCY_OPT,
	DATA_OPT,
	{0},
};

static const struct opt user_update_opts[] = {
	{"role", 0, OPT_TEXT, "ROLE", "another role (open sessions end)", "role"},
	{"enabled", 0, OPT_BOOL, "YES|NO", "may log in", "enabled"},
	{"new-password-file", 0, OPT_TEXT, "FILE", "another password", NULL},
	{"email", 0, OPT_TEXT, "ADDRESS", "e-mail address", "email"},
	{"clearance", 0, OPT_TEXT, "CLASS", "highest class of data to be seen", "clearance_level"},
	DATA_OPT,
	{0},
};

static const struct opt key_create_opts[] = {
	{"role", 0, OPT_TEXT, "ROLE", "what the key may do (worker)", "role"},
	{"permission", 0, OPT_LIST, "NAME", "a further permission, such as agent:register", "permissions"},
	{"expires", 0, OPT_TEXT, "TIME", "good until (RFC 3339)", "expires_at"},
	{"key-file", 0, OPT_TEXT, "FILE", "keep the key here (0600) instead of printing it", NULL},
	IDEMPOTENCY_OPT,
	DATA_OPT,
	{0},
};

static const struct opt api_opts[] = {
	{"data", 'd', OPT_JSON, "JSON|@FILE|-", "the request body", NULL},
	IDEMPOTENCY_OPT,
	{0},
};

/* The parts of a health answer: {"database":{"status":…},…} as rows. */
static void print_parts(struct cli *cli, struct json_object *health)
{
	static const char *const boxes[] = {"components", "checks", "services", ""};
	struct json_object *parts = NULL;

	for (size_t i = 0; !json_object_is_type(parts, json_type_object); i++)
		parts = jx_get(health, boxes[i]);
	json_object_object_foreach(parts, name, part)
	{
		const char *status = json_object_is_type(part, json_type_string) ? json_object_get_string(part)
										  : jx_str(part, "status");

		if (!status || !strcmp(name, "status") || !strcmp(name, "timestamp") || !strcmp(name, "version"))
			continue;
		printf("  %-18s %s", name, color_for_status(cli, status));
		print_clean(stdout, status, 0);
		printf("%s\n", color_off(cli));
	}
}

static void print_figures(struct json_object *m)
{
	char span[32];

	printf("  %-18s %.0f\n", "active agents", jx_num(m, "active_agents", 0));
	printf("  %-18s %.0f\n", "queued tasks", jx_num(m, "queued_tasks", 0));
	format_seconds(span, sizeof(span), jx_num(m, "average_response_time_ms", 0) / 1000);
	printf("  %-18s %s on average\n", "response time", span);
	printf("  %-18s %.2f %%\n", "error rate", jx_num(m, "error_rate", 0) * 100);
}

static int run_status(struct cli *cli, const struct args *args)
{
	struct answer health, metrics;
	struct json_object *h;
	bool ok;
	int rc;

	(void)args;
	ok = api_try(cli, "GET", "/health", NULL, &health);
	h = answer_data(&health) ? answer_data(&health) : health.body;
	if (!ok && !jx_str(h, "status")) {
		answer_complain(cli, &health);
		rc = answer_exit(&health);
		answer_release(&health);
		return rc;
	}
	rc = api_call(cli, "GET", "/system/metrics", NULL, &metrics);
	if (cli->json) {
		struct json_object *both = json_object_new_object();

		json_object_object_add(both, "health", json_object_get(h));
		json_object_object_add(both, "metrics", json_object_get(answer_data(&metrics)));
		print_json(both);
		json_object_put(both);
	} else {
		const char *status = jx_str(h, "status");

		printf("%s  %s%s%s\n", cli->session.url, color_for_status(cli, status), status ? status : "-",
		       color_off(cli));
		print_parts(cli, h);
		if (rc == EXIT_OK)
			print_figures(answer_data(&metrics));
	}
	answer_release(&metrics);
	answer_release(&health);
	return ok ? rc : EXIT_FAILED;
}

/* Adds the password from --new-password-file, or typed in; a refusal ends the program. */
static void add_password(struct json_object *body, const struct args *args, bool must)
{
	const char *file = arg_text(args, "new-password-file");
	char *password;

	if (!file && (!must || jx_get(body, "password")))
		return;
	password = file ? read_secret_file(file) : password_ask("Password of the new user: ");
	if (!password)
		die(EXIT_USAGE, "cannot read the password%s%s: %s", file ? " from " : "", file ? file : "",
		    strerror(errno));
	jx_set_str(body, "password", password);
	free_secret(password);
}

static int users_create(struct cli *cli, const struct args *args)
{
	struct json_object *body = make_body(args);
	struct answer a;
	int rc;

	if (args->npos)
		jx_set_str(body, "username", args->pos[0]);
	if (!jx_get(body, "role"))
		jx_set_str(body, "role", "worker");
	add_password(body, args, true);
	api_idempotency_key(arg_text(args, "idempotency-key"));
	rc = api_call(cli, "POST", "/users", body, &a);
	if (rc == EXIT_OK)
		show_object(cli, answer_data(&a));
	answer_release(&a);
	json_object_put(body);
	return rc;
}

static int users_update(struct cli *cli, const struct args *args)
{
	struct json_object *body = make_body(args);
	char *path = fill_path("/users/{}", args->pos);
	struct answer a;
	int rc;

	add_password(body, args, false);
	rc = api_call(cli, "PUT", path, body, &a);
	if (rc == EXIT_OK)
		say_done(cli, args->pos[0], "updated", answer_data(&a));
	answer_release(&a);
	json_object_put(body);
	free(path);
	return rc;
}

static int keys_create(struct cli *cli, const struct args *args)
{
	static const char *const names[] = {"api_key", "key", "secret"};
	struct json_object *body = make_body(args), *data;
	const char *file = arg_text(args, "key-file"), *key = NULL, *name = "";
	struct answer a;
	int rc;

	if (args->npos)
		jx_set_str(body, "name", args->pos[0]);
	if (!jx_get(body, "role"))
		jx_set_str(body, "role", "worker");
	api_idempotency_key(arg_text(args, "idempotency-key"));
	rc = api_call(cli, "POST", "/api-keys", body, &a);
	data = answer_data(&a);
	for (size_t i = 0; !key && i < sizeof(names) / sizeof(names[0]); i++)
		key = jx_str(data, name = names[i]);
	if (rc == EXIT_OK && file && key) {
		if (write_private_file(file, key, strlen(key)))
			die(EXIT_FAILED, "cannot write %s: %s; the key is lost, so delete it and make another",
			    file, strerror(errno));
		json_object_object_del(data, name);
		key = NULL;
	}
	if (rc == EXIT_OK)
		show_object(cli, data);
	if (rc == EXIT_OK && key && !cli->quiet)
		fputs("The key is shown this once; --key-file keeps it in a file instead.\n", stderr);
	answer_release(&a);
	json_object_put(body);
	return rc;
}

/* Any request at all, for what has no command of its own. */
static int run_api(struct cli *cli, const struct args *args)
{
	const char *data = arg_text(args, "data"), *path = args->pos[1];
	struct json_object *body = data ? jx_argument(args->cmd, "--data", data) : NULL;
	char *method = xstrdup(args->pos[0]), *full;
	struct answer a;
	int rc;

	for (char *p = method; *p; p++)
		*p = (char)(*p >= 'a' && *p <= 'z' ? *p - 32 : *p);
	if (path[0] != '/')
		usage_error(args->cmd, "the path must start with /, as in /tasks or " API_PREFIX "/tasks");
	if (!strncmp(path, API_PREFIX "/", sizeof(API_PREFIX)))
		path += sizeof(API_PREFIX) - 1;
	full = xstrdup(path);
	api_idempotency_key(arg_text(args, "idempotency-key"));
	rc = api_call(cli, method, full, body, &a);
	if (rc == EXIT_OK && a.body)
		print_json(a.body);
	else if (rc == EXIT_OK)
		fwrite(a.text.p, 1, a.text.n, stdout);
	answer_release(&a);
	json_object_put(body);
	free(full);
	free(method);
	return rc;
}

const struct command user_commands[] = {
	{.group = "users", .name = "list", .usage = "", .summary = "list users", .run = run_list,
	 .opts = plain_list_opts, .path = "/users", .columns = user_columns},
	{.group = "users", .name = "show", .usage = "ID", .summary = "all about one user", .run = run_show,
	 .min_pos = 1, .max_pos = 1, .path = "/users/{}"},
	{.group = "users", .name = "create", .usage = "[NAME]", .summary = "make a user", .run = users_create,
	 .max_pos = 1, .opts = user_create_opts},
	{.group = "users", .name = "update", .usage = "ID", .summary = "change a user", .run = users_update,
	 .min_pos = 1, .max_pos = 1, .opts = user_update_opts},
	{.group = "users", .name = "delete", .usage = "ID...", .summary = "remove users", .run = run_each,
	 .min_pos = 1, .max_pos = -1, .method = "DELETE", .path = "/users/{}", .done = "deleted"},
	{.group = "api-keys", .name = "list", .usage = "", .summary = "list API keys (never the keys themselves)",
	 .run = run_list, .opts = plain_list_opts, .path = "/api-keys", .columns = key_columns},
	{.group = "api-keys", .name = "show", .usage = "ID", .summary = "all about one key", .run = run_show,
	 .min_pos = 1, .max_pos = 1, .path = "/api-keys/{}"},
	{.group = "api-keys", .name = "create", .usage = "[NAME]", .summary = "make a key; it is shown once",
	 .run = keys_create, .max_pos = 1, .opts = key_create_opts},
	{.group = "api-keys", .name = "delete", .usage = "ID...", .summary = "remove keys; they stop working at once",
	 .run = run_each, .min_pos = 1, .max_pos = -1, .method = "DELETE", .path = "/api-keys/{}",
	 .done = "deleted"},
	{0},
};

const struct command system_commands[] = {
	{.group = "status", .usage = "", .summary = "the panel at a glance", .run = run_status},
	{.group = "health", .usage = "", .summary = "the health of the panel's parts", .run = run_show,
	 .path = "/health"},
	{.group = "services", .usage = "", .summary = "the services the panel knows", .run = run_list,
	 .path = "/discovery/services", .columns = service_columns},
	{.group = "metrics", .usage = "", .summary = "all metrics, as Prometheus reads them", .run = run_text,
	 .path = "/metrics"},
	{.group = "api", .usage = "METHOD PATH", .summary = "any request: mcpctl api GET /tasks?limit=1",
	 .run = run_api, .min_pos = 2, .max_pos = 2, .opts = api_opts},
	{0},
};
