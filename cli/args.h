// SPDX-License-Identifier: MIT
/*
 * The command line, as tables.
 *
 * A command is one row: its words ("tasks" "submit"), what it takes, what it
 * is for, and the function that does it. Its options are a table too; each
 * names the query parameter or the field of the request body that it becomes,
 * so that most commands need no code of their own. Help, usage errors,
 * suggestions for typos and shell completion all come from these tables.
 */
#ifndef CLI_ARGS_H
#define CLI_ARGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct cli;
struct args;
struct column;

enum opt_type {
	OPT_FLAG, /* takes no value */
	OPT_TEXT,
	OPT_LIST, /* may be given several times; commas separate too */
	OPT_INT,  /* a whole number, not negative */
	OPT_NUM,  /* a number, not negative */
	OPT_JSON, /* JSON text, @FILE, or - for standard input */
	OPT_BOOL, /* yes or no */
};

struct opt {
	const char *name; /* without the dashes; NULL ends a table */
	char letter;      /* one-letter form, or 0 */
	enum opt_type type;
	const char *metavar; /* what help calls the value */
	const char *help;
	/* The query parameter or body field it becomes ("requirements.capabilities"), or NULL. */
	const char *field;
};

struct command {
	const char *group; /* first word; NULL ends a table */
	const char *name;  /* second word, or NULL when the group is the command */
	const char *usage; /* positional arguments, as help shows them */
	const char *summary;
	int (*run)(struct cli *cli, const struct args *args);
	int min_pos;
	int max_pos; /* -1: any number */
	const struct opt *opts;
	/* For commands that are one request (see commands.h). {} stands for the argument. */
	const char *method;
	const char *path;
	const char *done; /* what to say of each argument when it worked: "cancelled" */
	const struct column *columns;
	const char *more; /* further paragraphs of help */
	bool local;	  /* needs no panel */
};

/* A parsed command line. */
struct args {
	const struct command *cmd;
	char **pos;
	int npos;
	char **rest; /* what follows "--" */
	int nrest;
	struct {
		const struct opt *opt;
		const char *value;
	} *set;
	int nset;
};

/* The options every command takes (--url, --json, …). */
extern const struct opt global_opts[];

/*
 * Parses argv (without the command's words) by the command's and the global
 * options. On a mistake it says what is wrong, with the nearest option, and
 * ends the program with EXIT_USAGE.
 */
void args_parse(struct args *a, const struct command *cmd, int argc, char **argv);
void args_release(struct args *a);

/* The last value given for an option, or NULL. */
const char *arg_text(const struct args *a, const char *name);
bool arg_flag(const struct args *a, const char *name);
double arg_num(const struct args *a, const char *name, double otherwise);
long arg_int(const struct args *a, const char *name, long otherwise);

/* Ends the program with EXIT_USAGE: the message, and how to get help on the command. */
void usage_error(const struct command *cmd, const char *fmt, ...)
	__attribute__((noreturn, format(printf, 2, 3)));

/* "mcpctl tasks show ID [OPTIONS]" and a line end. */
void usage_line(FILE *to, const struct command *cmd);
/* The words of a command, "tasks submit"; static storage. */
const char *command_words(const struct command *cmd);

/*
 * The candidate nearest to a mistyped word, or NULL when none is near.
 * next(state) gives one candidate after the other, then NULL.
 */
const char *nearest_word(const char *word, const char *(*next)(void *state), void *state);

#endif
