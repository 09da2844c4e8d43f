// SPDX-License-Identifier: MIT
/* Help and shell completion, made from the command tables. */
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "find.h"
#include "util.h"

static const struct {
	const char *group, *about;
} groups[] = {
	{"agents", "programs that do tasks; turn any program into one with 'agent run'"},
	{"tasks", "units of work: submit, follow, cancel, retry"},
	{"pipelines", "definitions of up to six stages"},
	{"executions", "runs of pipelines"},
	{"users", "people who may log in"},
	{"api-keys", "keys for programs"},
};

static const char *group_about(const char *group)
{
	for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++)
		if (!strcmp(groups[i].group, group))
			return groups[i].about;
	return "";
}

static void help_general(FILE *to)
{
	struct command_walk w = {0};
	const struct command *c;

	fputs("mcpctl steers a Management Control Panel: agents, tasks, six-stage pipelines.\n\n"
	      "usage: mcpctl COMMAND [ACTION] [ARGUMENTS] [OPTIONS]\n\n",
	      to);
	for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++) {
		int column = 0;

		fprintf(to, "  %-12s %s\n", groups[i].group, groups[i].about);
		w = (struct command_walk){0};
		while ((c = command_next(&w))) {
			if (strcmp(c->group, groups[i].group) || !c->name)
				continue;
			if (column && column + strlen(c->name) > 62) {
				fputc('\n', to);
				column = 0;
			}
			column += fprintf(to, "%s%s", column ? " " : "               ", c->name);
		}
		fputs("\n", to);
	}
	fputc('\n', to);
	w = (struct command_walk){0};
	while ((c = command_next(&w)))
		if (!c->name && c->group[0] != '_')
			fprintf(to, "  %-12s %s\n", c->group, c->summary);
	fprintf(to, "  %-12s %s\n\n", "help", "this text, or help on a command: mcpctl help tasks submit");
	fputs("Options of every command:\n", to);
	for (const struct opt *o = global_opts; o->name; o++) {
		char left[64];

		snprintf(left, sizeof(left), "%c%c %s--%s %s", o->letter ? '-' : ' ', o->letter ? o->letter : ' ',
			 o->letter ? "" : " ", o->name, o->metavar ? o->metavar : "");
		fprintf(to, "  %-26s %s\n", left, o->help);
	}
	fputs("\nThe panel is found through --url, MCP_URL, $MCP_HOME, a saved login (mcpctl login), or the\n"
	      "one running from ~/.local/state/mcp. The manual: man mcpctl\n",
	      to);
}

void help_group(const char *group, FILE *to)
{
	struct command_walk w = {0};
	const struct command *c;
	bool titled = false;

	while ((c = command_next(&w))) {
		char left[72], *arg[] = {(char *)group, (char *)(c->name ? c->name : "")};
		int used;

		if (!c->name || command_find(2, arg, &used) != c)
			continue;
		if (!titled)
			fprintf(to, "%s: %s\n\nusage: mcpctl %s ACTION [ARGUMENTS] [OPTIONS]\n\n", c->group,
				group_about(c->group), c->group);
		titled = true;
		snprintf(left, sizeof(left), "%s %s", c->name, c->usage);
		fprintf(to, "  %-32s %s\n", left, c->summary);
	}
	fprintf(to, "\nMore on one: mcpctl help %s ACTION\n", group);
}

static void help_options(const struct opt *opts)
{
	for (; opts && opts->name; opts++) {
		char left[80], letter[5] = "    ";

		if (opts->letter)
			snprintf(letter, sizeof(letter), "-%c, ", opts->letter);
		snprintf(left, sizeof(left), "%s--%s%s%s", letter, opts->name, opts->metavar ? " " : "",
			 opts->metavar ? opts->metavar : "");
		printf("  %-34s %s%s\n", left, opts->help,
		       opts->type == OPT_LIST ? " (may be repeated, or separated by commas)" : "");
	}
}

void help_command(const struct command *cmd)
{
	printf("%s\n\nusage: ", cmd->summary);
	usage_line(stdout, cmd);
	if (cmd->more)
		printf("\n%s\n", cmd->more);
	if (cmd->opts && cmd->opts[0].name) {
		puts("\nOptions:");
		help_options(cmd->opts);
	}
	puts("\nOptions of every command (--url, --json, -q, …): mcpctl help");
}

int help_print(int nwords, char **words)
{
	const struct command *cmd;
	int used;

	if (!nwords) {
		help_general(stdout);
		return EXIT_OK;
	}
	if (!group_known(words[0]))
		return unknown_group(words[0]);
	cmd = command_find(nwords, words, &used);
	if (cmd)
		help_command(cmd);
	else if (nwords == 1)
		help_group(words[0], stdout);
	else
		return unknown_action(words[0], words[1]);
	return EXIT_OK;
}

/* ---- completion: mcpctl __complete WORD... CURRENT ---- */

static void offer(const char *word, const char *about, const char *begun)
{
	if (!strncmp(word, begun, strlen(begun)))
		printf("%s\t%s\n", word, about);
}

static void offer_options(const struct opt *opts, const char *begun)
{
	for (; opts && opts->name; opts++) {
		char word[64];

		snprintf(word, sizeof(word), "--%s", opts->name);
		offer(word, opts->help, begun);
	}
}

static void offer_groups(const char *begun)
{
	struct command_walk w = {0};
	const struct command *c;
	const char *last = "";

	while ((c = command_next(&w))) {
		if (c->group[0] == '_' || !strcmp(c->group, last))
			continue;
		last = c->group;
		offer(c->group, c->name ? group_about(c->group) : c->summary, begun);
	}
	offer("help", "help on a command", begun);
}

static void offer_actions(char *group, const char *begun)
{
	struct command_walk w = {0};
	const struct command *c;

	while ((c = command_next(&w))) {
		char *words[] = {group, (char *)c->name};
		int used;

		if (c->name && command_find(2, words, &used) == c)
			offer(c->name, c->summary, begun);
	}
}

int run_complete(struct cli *cli, const struct args *args)
{
	char **words = args->rest;
	int n = args->nrest - 1, used;
	const struct command *cmd;
	const char *begun;

	(void)cli;
	if (n < 0)
		return EXIT_OK;
	begun = words[n];
	if (n && !strcmp(words[0], "help")) {
		words++;
		n--;
	}
	cmd = command_find(n, words, &used);
	if (!n)
		offer_groups(begun);
	else if (cmd && begun[0] == '-')
		offer_options(cmd->opts, begun);
	else if (!cmd && n == 1)
		offer_actions(words[0], begun);
	if (begun[0] == '-')
		offer_options(global_opts, begun);
	return EXIT_OK;
}
