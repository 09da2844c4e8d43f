// SPDX-License-Identifier: MIT
/*
 * The commands that are one request and one way of showing the answer. Most
 * rows of the command tables use one of these; what differs is in the row:
 * method, path, options, columns.
 */
#ifndef CLI_COMMANDS_H
#define CLI_COMMANDS_H

#include "api.h"
#include "args.h"
#include "cli.h"
#include "print.h"

/* Options every list takes; put LIST_OPTS at the end of its table. */
#define LIST_OPTS                                                                                              \
	{"limit", 'n', OPT_INT, "N", "how many to show (50)", "limit"},                                        \
		{"all", 'a', OPT_FLAG, NULL, "all of them, page after page", NULL},                            \
		{"cursor", 0, OPT_TEXT, "CURSOR", "go on where an earlier list ended", "cursor"},              \
	{                                                                                                      \
		0                                                                                              \
	}
#define IDEMPOTENCY_OPT                                                                                        \
	{                                                                                                      \
		"idempotency-key", 0, OPT_TEXT, "KEY", "the same key twice within 24 h does it once", NULL     \
	}
#define DATA_OPT                                                                                               \
	{                                                                                                      \
		"data", 'd', OPT_JSON, "JSON|@FILE|-", "the whole request body; options change single fields", \
			NULL                                                                                   \
	}

/* GET cmd->path with the options as query; shows cmd->columns, or ids, or JSON. */
int run_list(struct cli *cli, const struct args *args);
/* GET cmd->path with {} replaced; an outline of "data". */
int run_show(struct cli *cli, const struct args *args);
/* cmd->method cmd->path for each argument; says cmd->done of each. Goes on after a failure. */
int run_each(struct cli *cli, const struct args *args);
/* cmd->method cmd->path with the options as body ({} is the first argument); outline of the answer. */
int run_send(struct cli *cli, const struct args *args);
/* GET cmd->path and print the answer as it comes. */
int run_text(struct cli *cli, const struct args *args);

/* path with each {} replaced by the next of values (escaped); the caller frees. */
char *fill_path(const char *path, char **values);
/* "?a=b&c=d" from the options that have a field, or ""; the caller frees. */
char *make_query(const struct args *args);
/* The body of args: --data if given, then the single options; the caller puts it. */
struct json_object *make_body(const struct args *args);
/* Prints one answered object: JSON, its id, or an outline. */
void show_object(struct cli *cli, struct json_object *o);
/* Says "<what> <done>" on stdout, or with --json the data, or with -q the id. */
void say_done(struct cli *cli, const char *what, const char *done, struct json_object *data);

#endif
