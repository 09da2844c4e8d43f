// SPDX-License-Identifier: MIT
/*
 * Finding commands in the tables by the words a person typed, and telling
 * about them: help, typos, completion.
 *
 * A group answers to its singular as well ("agent run", "task list"), and a
 * few actions to the names other tools use ("ls", "get", "rm").
 */
#ifndef CLI_FIND_H
#define CLI_FIND_H

#include <stdbool.h>
#include <stdio.h>
#include "args.h"

bool group_known(const char *word);
/* The command for words[0..n), or NULL; *used is how many words name it. */
const struct command *command_find(int n, char **words, int *used);
/* Say that there is no such thing, with the nearest one; both return EXIT_USAGE. */
int unknown_group(const char *word);
int unknown_action(const char *group, const char *word);

void help_group(const char *group, FILE *to);
void help_command(const struct command *cmd);
int version_print(void);
/* The command the shell asks for candidates: mcpctl __complete -- WORD... CURRENT */
int run_complete(struct cli *cli, const struct args *args);

/* Walks all commands: *state starts at {0}; NULL at the end. */
struct command_walk {
	int table;
	int row;
};
const struct command *command_next(struct command_walk *w);

#endif
