// SPDX-License-Identifier: MIT
#include "find.h"

#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "util.h"

static const struct {
	const char *typed, *meant;
} action_aliases[] = {
	{"ls", "list"},	      {"get", "show"},	  {"describe", "show"}, {"rm", "delete"},
	{"remove", "delete"}, {"stop", "cancel"}, {"new", "create"},	{"follow", "watch"},
	{"run", "execute"},   {"add", "create"},  {"edit", "update"},	{"set", "update"},
	{"create", "submit"}, {"submit", "create"}, {"wait", "watch"},
};

const struct command *command_next(struct command_walk *w)
{
	const struct command *table;

	while ((table = command_tables[w->table])) {
		if (table[w->row].group)
			return &table[w->row++];
		w->table++;
		w->row = 0;
	}
	return NULL;
}

/* "agents" is also "agent". */
static bool same_group(const char *group, const char *word)
{
	size_t n = strlen(group);

	if (!strcmp(group, word))
		return true;
	return n > 2 && group[n - 1] == 's' && strlen(word) == n - 1 && !strncmp(group, word, n - 1);
}

bool group_known(const char *word)
{
	struct command_walk w = {0};
	const struct command *c;

	while ((c = command_next(&w)))
		if (same_group(c->group, word))
			return true;
	return false;
}

static const struct command *find_action(const char *group, const char *action)
{
	struct command_walk w = {0};
	const struct command *c;

	while ((c = command_next(&w)))
		if (same_group(c->group, group) && (action ? c->name && !strcmp(c->name, action) : !c->name))
			return c;
	return NULL;
}

const struct command *command_find(int n, char **words, int *used)
{
	const struct command *c;

	*used = 1;
	if (!n)
		return NULL;
	c = find_action(words[0], NULL);
	if (c)
		return c;
	if (n < 2)
		return NULL;
	*used = 2;
	c = find_action(words[0], words[1]);
	for (size_t i = 0; !c && i < sizeof(action_aliases) / sizeof(action_aliases[0]); i++)
		if (!strcmp(words[1], action_aliases[i].typed))
			c = find_action(words[0], action_aliases[i].meant);
	return c;
}

struct name_walk {
	struct command_walk w;
	const char *group; /* NULL: names of groups, else of its actions */
	int extra;
};

static const char *next_name(void *state)
{
	struct name_walk *n = state;
	const struct command *c;

	while ((c = command_next(&n->w))) {
		if (c->group[0] == '_')
			continue;
		if (!n->group)
			return c->group;
		if (c->name && same_group(c->group, n->group))
			return c->name;
	}
	return !n->group && !n->extra++ ? "help" : NULL;
}

int unknown_group(const char *word)
{
	struct name_walk n = {0};
	const char *near = nearest_word(word, next_name, &n);

	warn("there is no command '%s'", word);
	if (near)
		fprintf(stderr, "Did you mean: mcpctl %s?\n", near);
	fputs("All commands: mcpctl help\n", stderr);
	return EXIT_USAGE;
}

int unknown_action(const char *group, const char *word)
{
	struct name_walk n = {.group = group};
	const char *near = nearest_word(word, next_name, &n);

	warn("'%s' has no action '%s'", group, word);
	if (near)
		fprintf(stderr, "Did you mean: mcpctl %s %s?\n", group, near);
	fprintf(stderr, "What there is: mcpctl help %s\n", group);
	return EXIT_USAGE;
}
