// SPDX-License-Identifier: MIT
/*
 * mcpctl: the control panel's command line. This file finds the command that
 * was meant and runs it; what commands there are stands in the tables of the
 * other files, one per area.
 */
#include <curl/curl.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "find.h"
#include "util.h"

const struct command *const command_tables[] = {
	agent_commands, task_commands, pipeline_commands, execution_commands, user_commands,
	system_commands, login_commands, misc_commands, NULL,
};

/* Global options may stand before the command's words; returns how many words they take. */
static int leading_options(int argc, char **argv)
{
	int i = 0;

	while (i < argc && argv[i][0] == '-' && argv[i][1]) {
		const struct opt *o = global_opts;
		bool value = false;

		for (; o->name; o++) {
			if (o->type == OPT_FLAG)
				continue;
			if (!strncmp(argv[i], "--", 2) ? !strcmp(argv[i] + 2, o->name)
						       : o->letter && argv[i][1] == o->letter && !argv[i][2])
				value = true;
		}
		i += value ? 2 : 1;
	}
	return i < argc ? i : argc;
}

static bool wants_color(const struct args *args)
{
	const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

	return isatty(STDOUT_FILENO) && !arg_flag(args, "no-color") && is_empty(no) && term &&
	       strcmp(term, "dumb") != 0;
}

static int run_command(const struct command *cmd, int argc, char **argv)
{
	struct cli cli = {0};
	struct args args;
	int rc;

	args_parse(&args, cmd, argc, argv);
	if (arg_flag(&args, "help")) {
		help_command(cmd);
		args_release(&args);
		return EXIT_OK;
	}
	cli.json = arg_flag(&args, "json");
	cli.quiet = arg_flag(&args, "quiet");
	cli.verbose = arg_flag(&args, "verbose");
	cli.color = wants_color(&args);
	cli.timeout = arg_num(&args, "timeout", 30);
	if (cli.timeout <= 0)
		usage_error(cmd, "--timeout must be more than 0");
	if (!cmd->local)
		session_find(&cli, &args);
	rc = cmd->run(&cli, &args);
	session_release(&cli.session);
	args_release(&args);
	if (fflush(stdout) || ferror(stdout)) {
		warn("cannot write the output");
		rc = EXIT_FAILED;
	}
	return rc;
}

/* The words of the command, without the leading options, are in words[0..n). */
static int dispatch(int n, char **words, int nlead, char **lead)
{
	const struct command *cmd;
	char **argv;
	int used, nlist, argc, rc;

	if (!n || !strcmp(words[0], "help"))
		return help_print(n ? n - 1 : 0, words + (n ? 1 : 0));
	if (!group_known(words[0]))
		return unknown_group(words[0]);
	cmd = command_find(n, words, &used);
	if (!cmd && n > 1 && words[1][0] != '-')
		return unknown_action(words[0], words[1]);
	if (!cmd && n > 1 && (!strcmp(words[1], "--help") || !strcmp(words[1], "-h"))) {
		help_group(words[0], stdout);
		return EXIT_OK;
	}
	if (!cmd) { /* "mcpctl agents" lists them */
		used = 1;
		cmd = command_find(2, (char *[]){words[0], "list"}, &nlist);
	}
	/* what stood before the command is parsed with what stands after it */
	argc = nlead + n - used;
	argv = xcalloc((size_t)argc + 1, sizeof(char *));
	for (int i = 0; i < nlead; i++)
		argv[i] = lead[i];
	for (int i = used; i < n; i++)
		argv[nlead + i - used] = words[i];
	rc = run_command(cmd, argc, argv);
	free(argv);
	return rc;
}

int main(int argc, char **argv)
{
	int lead, rc;

	setlocale(LC_CTYPE, "");
	signal(SIGPIPE, SIG_IGN);
	if (curl_global_init(CURL_GLOBAL_DEFAULT))
		die(EXIT_FAILED, "cannot start the HTTP client");
	argc--;
	argv++;
	lead = leading_options(argc, argv);
	if (lead == argc && argc && !strcmp(argv[0], "--version"))
		rc = version_print();
	else
		rc = dispatch(argc - lead, argv + lead, lead, argv);
	curl_global_cleanup();
	return rc;
}
