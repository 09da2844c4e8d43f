// SPDX-License-Identifier: MIT
#include "commands.h"

#include <stdlib.h>
#include <string.h>

#include "jsonx.h"
#include "util.h"

char *fill_path(const char *path, char **values)
{
	struct buf b;

	buf_init(&b);
	while (*path) {
		if (!strncmp(path, "{}", 2)) {
			char *v = url_escape(*values++);

			buf_adds(&b, v);
			free(v);
			path += 2;
		} else {
			buf_addc(&b, *path++);
		}
	}
	return b.p;
}

static void add_param(struct buf *b, const char *name, const char *value)
{
	char *v = url_escape(value);

	buf_addf(b, "%c%s=%s", b->n ? '&' : '?', name, v);
	free(v);
}

char *make_query(const struct args *args)
{
	struct buf b;

	buf_init(&b);
	for (int i = 0; i < args->nset; i++) {
		const struct opt *o = args->set[i].opt;
		struct buf list;
		bool first = true;

		if (!o->field)
			continue;
		if (o->type != OPT_LIST) {
			add_param(&b, o->field, o->type == OPT_FLAG ? "true" : args->set[i].value);
			continue;
		}
		/* given several times, it is one comma-separated parameter */
		buf_init(&list);
		for (int j = 0; j < args->nset; j++) {
			if (args->set[j].opt != o)
				continue;
			if (j < i)
				first = false;
			buf_addf(&list, "%s%s", list.n ? "," : "", args->set[j].value);
		}
		if (first)
			add_param(&b, o->field, list.p);
		buf_release(&list);
	}
	return b.p;
}

struct json_object *make_body(const struct args *args)
{
	const char *data = arg_text(args, "data");
	struct json_object *body = data ? jx_argument(args->cmd, "--data", data) : json_object_new_object();

	if (!json_object_is_type(body, json_type_object)) {
		json_object_put(body);
		usage_error(args->cmd, "--data must be a JSON object");
	}
	jx_from_args(body, args);
	return body;
}

void show_object(struct cli *cli, struct json_object *o)
{
	if (cli->json)
		print_json(o);
	else if (cli->quiet && object_id(o))
		puts(object_id(o));
	else if (!cli->quiet)
		print_outline(cli, o, 0);
}

void say_done(struct cli *cli, const char *what, const char *done, struct json_object *data)
{
	if (cli->json) {
		print_json(data);
	} else if (cli->quiet) {
		puts(what);
	} else {
		print_clean(stdout, what, 0);
		printf(" %s\n", done);
	}
}

/* The array a list answers with: data itself, or data.items. */
static struct json_object *list_items(struct json_object *data)
{
	if (json_object_is_type(data, json_type_object))
		data = jx_get(data, "items");
	return json_object_is_type(data, json_type_array) ? data : NULL;
}

static char *next_path(const struct args *args, const char *base, const char *cursor)
{
	char *query = make_query(args), *c, *path;

	if (!cursor) {
		path = xasprintf("%s%s", base, query);
	} else {
		c = url_escape(cursor);
		path = xasprintf("%s%s%scursor=%s", base, query, *query ? "&" : "?", c);
		free(c);
	}
	free(query);
	return path;
}

static void print_items(struct cli *cli, struct json_object *items, const struct column *columns)
{
	size_t n = json_object_array_length(items);

	if (cli->json) {
		print_json(items);
	} else if (cli->quiet) {
		for (size_t i = 0; i < n; i++) {
			const char *id = object_id(json_object_array_get_idx(items, i));

			puts(id ? id : "-");
		}
	} else if (!n) {
		fputs("None.\n", stderr);
	} else {
		print_table(cli, items, columns);
	}
}

int run_list(struct cli *cli, const struct args *args)
{
	struct json_object *all = json_object_new_array(), *items;
	char *base = fill_path(args->cmd->path, args->pos), *cursor = NULL, *path;
	bool every = arg_flag(args, "all");
	struct answer a;
	size_t n;
	int rc;

	do {
		path = next_path(args, base, cursor);
		rc = api_call(cli, "GET", path, NULL, &a);
		free(path);
		free(cursor);
		cursor = NULL;
		items = rc == EXIT_OK ? list_items(answer_data(&a)) : NULL;
		n = items ? json_object_array_length(items) : 0;
		for (size_t i = 0; i < n; i++)
			json_object_array_add(all, json_object_get(json_object_array_get_idx(items, i)));
		if (jx_str(a.body, "next_cursor"))
			cursor = xstrdup(jx_str(a.body, "next_cursor"));
		answer_release(&a);
	} while (rc == EXIT_OK && every && cursor && n);
	if (rc == EXIT_OK) {
		print_items(cli, all, args->cmd->columns);
		if (cursor && !every)
			fprintf(stderr, "More: --all, or --cursor %s\n", cursor);
	}
	free(cursor);
	free(base);
	json_object_put(all);
	return rc;
}

int run_show(struct cli *cli, const struct args *args)
{
	char *base = fill_path(args->cmd->path, args->pos), *query = make_query(args);
	char *path = xasprintf("%s%s", base, query);
	struct answer a;
	int rc = api_call(cli, "GET", path, NULL, &a);

	if (rc == EXIT_OK)
		show_object(cli, answer_data(&a) ? answer_data(&a) : a.body);
	answer_release(&a);
	free(path);
	free(query);
	free(base);
	return rc;
}

int run_each(struct cli *cli, const struct args *args)
{
	int worst = EXIT_OK;

	for (int i = 0; i < args->npos; i++) {
		char *path = fill_path(args->cmd->path, args->pos + i);
		bool post = strcmp(args->cmd->method, "DELETE") != 0;
		struct json_object *body = post ? make_body(args) : NULL;
		struct answer a;
		int rc = api_call(cli, args->cmd->method, path, body, &a);

		if (rc == EXIT_OK)
			say_done(cli, args->pos[i], args->cmd->done, answer_data(&a));
		else
			worst = rc;
		answer_release(&a);
		json_object_put(body);
		free(path);
	}
	return worst;
}

int run_send(struct cli *cli, const struct args *args)
{
	char *path = fill_path(args->cmd->path, args->pos);
	struct json_object *body = make_body(args);
	struct answer a;
	int rc;

	api_idempotency_key(arg_text(args, "idempotency-key"));
	rc = api_call(cli, args->cmd->method, path, body, &a);
	if (rc == EXIT_OK && args->cmd->done && !cli->json)
		say_done(cli, args->npos ? args->pos[0] : object_id(answer_data(&a)), args->cmd->done,
			 answer_data(&a));
	else if (rc == EXIT_OK)
		show_object(cli, answer_data(&a) ? answer_data(&a) : a.body);
	answer_release(&a);
	json_object_put(body);
	free(path);
	return rc;
}

int run_text(struct cli *cli, const struct args *args)
{
	char *path = fill_path(args->cmd->path, args->pos);
	int rc = api_stream(cli, path, stdout);

	free(path);
	return rc;
}
