// SPDX-License-Identifier: MIT
/*
 * One run of mcpctl: how to print, which panel to talk to, and as whom.
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <stdbool.h>
#include "args.h"
#include "session.h"

struct cli {
	bool json;    /* --json */
	bool quiet;   /* -q: ids only */
	bool color;   /* stdout is a terminal that shows colours */
	bool verbose; /* -v */
	bool patient; /* whoever asks waits for an absent panel, so its absence is nothing to complain of */
	double timeout; /* seconds for one request */
	struct session session;
};

/* All commands, area by area; each table ends with an empty row. */
extern const struct command login_commands[], system_commands[], agent_commands[], task_commands[],
	pipeline_commands[], execution_commands[], user_commands[], misc_commands[];
extern const struct command *const command_tables[];

/* Prints general help, help on a group, or help on one command; returns an exit status. */
int help_print(int nwords, char **words);

#endif
