// SPDX-License-Identifier: MIT
#include "args.h"

#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "util.h"

const struct opt global_opts[] = {
	{"url", 'u', OPT_TEXT, "URL", "the panel's address (default: found by itself)", NULL},
	{"user", 0, OPT_TEXT, "NAME", "act as this user", NULL},
	{"password-file", 0, OPT_TEXT, "FILE", "that user's password", NULL},
	{"api-key-file", 0, OPT_TEXT, "FILE", "act with the API key in FILE", NULL},
	{"cacert", 0, OPT_TEXT, "FILE", "trust the certificates in FILE for https", NULL},
	{"timeout", 0, OPT_NUM, "SECONDS", "give up on a request after this long (30)", NULL},
	{"json", 0, OPT_FLAG, NULL, "print what the panel answered as JSON", NULL},
	{"quiet", 'q', OPT_FLAG, NULL, "print ids only", NULL},
	{"no-color", 0, OPT_FLAG, NULL, "no colours", NULL},
	{"verbose", 'v', OPT_FLAG, NULL, "say what is sent and answered (never secrets)", NULL},
	{"help", 'h', OPT_FLAG, NULL, "show help", NULL},
	{0},
};

#define WORD_MAX 48

/* Edits (insert, drop, replace, swap neighbours) between two words, case ignored. */
static int distance(const char *a, const char *b)
{
	size_t n = strlen(a), m = strlen(b);
	int d[WORD_MAX + 1][WORD_MAX + 1];

	if (n > WORD_MAX || m > WORD_MAX)
		return WORD_MAX;
	for (size_t i = 0; i <= n; i++)
		d[i][0] = (int)i;
	for (size_t j = 0; j <= m; j++)
		d[0][j] = (int)j;
	for (size_t i = 1; i <= n; i++) {
		for (size_t j = 1; j <= m; j++) {
			int x = tolower((unsigned char)a[i - 1]), y = tolower((unsigned char)b[j - 1]);
			int best = d[i - 1][j - 1] + (x != y);

			if (d[i - 1][j] + 1 < best)
				best = d[i - 1][j] + 1;
			if (d[i][j - 1] + 1 < best)
				best = d[i][j - 1] + 1;
			if (i > 1 && j > 1 && x == tolower((unsigned char)b[j - 2]) &&
			    y == tolower((unsigned char)a[i - 2]) && d[i - 2][j - 2] + 1 < best)
				best = d[i - 2][j - 2] + 1;
			d[i][j] = best;
		}
	}
	return d[n][m];
}

const char *nearest_word(const char *word, const char *(*next)(void *state), void *state)
{
	const char *best = NULL, *c;
	int best_d = WORD_MAX;

	while ((c = next(state))) {
		int d = distance(word, c);

		/* "exec" for "execute": what was begun right counts as near */
		if (strlen(word) >= 3 && !strncasecmp(word, c, strlen(word)))
			d = 1;
		if (d < best_d) {
			best_d = d;
			best = c;
		}
	}
	return best && best_d <= 2 && best_d < (int)strlen(word) ? best : NULL;
}

const char *command_words(const struct command *cmd)
{
	static char words[96];

	snprintf(words, sizeof(words), "%s%s%s", cmd->group, cmd->name ? " " : "", cmd->name ? cmd->name : "");
	return words;
}

void usage_line(FILE *to, const struct command *cmd)
{
	bool options = cmd->opts && cmd->opts[0].name && !strstr(cmd->usage, "[OPTIONS]");

	fprintf(to, "mcpctl %s%s%s%s\n", command_words(cmd), *cmd->usage ? " " : "", cmd->usage,
		options ? " [OPTIONS]" : "");
}

void usage_error(const struct command *cmd, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fputs("mcpctl: ", stderr);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputs("\nusage: ", stderr);
	usage_line(stderr, cmd);
	fprintf(stderr, "More: mcpctl help %s\n", command_words(cmd));
	exit(EXIT_USAGE);
}

static const struct opt *find_in(const struct opt *table, const char *name, size_t len)
{
	for (; table && table->name; table++)
		if (strlen(table->name) == len && !strncmp(table->name, name, len))
			return table;
	return NULL;
}

static const struct opt *find_letter(const struct opt *table, char c)
{
	for (; table && table->name; table++)
		if (table->letter == c)
			return table;
	return NULL;
}

struct opt_walk {
	const struct opt *at;
	const struct opt *then;
};

static const char *next_opt(void *state)
{
	struct opt_walk *w = state;

	if (!w->at || !w->at->name) {
		w->at = w->then;
		w->then = NULL;
	}
	return w->at && w->at->name ? (w->at++)->name : NULL;
}

static void unknown_option(const struct command *cmd, const char *name, size_t len)
{
	struct opt_walk walk = {cmd->opts, global_opts};
	char *word = xstrndup(name, len);
	const char *near = nearest_word(word, next_opt, &walk);

	if (near)
		usage_error(cmd, "there is no option --%s; did you mean --%s?", word, near);
	usage_error(cmd, "there is no option --%s", word);
}

static void check_value(const struct command *cmd, const struct opt *o, const char *value)
{
	char *end;
	double n;

	if (o->type == OPT_INT || o->type == OPT_NUM) {
		n = strtod(value, &end);
		if (end == value || *end || !isfinite(n) || n < 0)
			usage_error(cmd, "--%s wants a number of at least 0, not '%s'", o->name, value);
		if (o->type == OPT_INT && (n > 9e15 || n != floor(n)))
			usage_error(cmd, "--%s wants a whole number, not '%s'", o->name, value);
	} else if (o->type == OPT_BOOL) {
		if (strcmp(value, "yes") && strcmp(value, "no") && strcmp(value, "true") && strcmp(value, "false"))
			usage_error(cmd, "--%s wants yes or no, not '%s'", o->name, value);
	}
}

static void add_value(struct args *a, const struct opt *o, const char *value)
{
	if (value)
		check_value(a->cmd, o, value);
	a->set = xrealloc(a->set, sizeof(*a->set) * (size_t)(a->nset + 1));
	a->set[a->nset].opt = o;
	a->set[a->nset].value = value;
	a->nset++;
}

/* --name, --name VALUE, --name=VALUE; returns how many words it took. */
static int parse_long(struct args *a, int left, char **argv)
{
	const char *name = argv[0] + 2, *eq = strchr(name, '=');
	size_t len = eq ? (size_t)(eq - name) : strlen(name);
	const struct opt *o = find_in(a->cmd->opts, name, len);

	if (!o)
		o = find_in(global_opts, name, len);
	if (!o)
		unknown_option(a->cmd, name, len);
	if (o->type == OPT_FLAG) {
		if (eq)
			usage_error(a->cmd, "--%s takes no value", o->name);
		add_value(a, o, NULL);
		return 1;
	}
	if (eq) {
		add_value(a, o, eq + 1);
		return 1;
	}
	if (left < 2)
		usage_error(a->cmd, "--%s wants a value (%s)", o->name, o->metavar);
	add_value(a, o, argv[1]);
	return 2;
}

/* -q, -qv, -n VALUE, -nVALUE; returns how many words it took. */
static int parse_short(struct args *a, int left, char **argv)
{
	for (const char *p = argv[0] + 1; *p; p++) {
		const struct opt *o = find_letter(a->cmd->opts, *p);

		if (!o)
			o = find_letter(global_opts, *p);
		if (!o)
			usage_error(a->cmd, "there is no option -%c", *p);
		if (o->type == OPT_FLAG) {
			add_value(a, o, NULL);
			continue;
		}
		if (p[1]) {
			add_value(a, o, p + 1);
			return 1;
		}
		if (left < 2)
			usage_error(a->cmd, "-%c wants a value (%s)", *p, o->metavar);
		add_value(a, o, argv[1]);
		return 2;
	}
	return 1;
}

void args_parse(struct args *a, const struct command *cmd, int argc, char **argv)
{
	int i = 0;

	*a = (struct args){.cmd = cmd, .pos = xcalloc((size_t)argc + 1, sizeof(char *))};
	while (i < argc) {
		if (!strcmp(argv[i], "--")) {
			a->rest = argv + i + 1;
			a->nrest = argc - i - 1;
			break;
		}
		if (!strncmp(argv[i], "--", 2))
			i += parse_long(a, argc - i, argv + i);
		else if (argv[i][0] == '-' && argv[i][1])
			i += parse_short(a, argc - i, argv + i);
		else
			a->pos[a->npos++] = argv[i++];
	}
	if (arg_flag(a, "help"))
		return;
	if (a->npos < cmd->min_pos)
		usage_error(cmd, "%s: missing %s", command_words(cmd), cmd->usage);
	if (cmd->max_pos >= 0 && a->npos > cmd->max_pos)
		usage_error(cmd, "%s: '%s' is one argument too many", command_words(cmd), a->pos[cmd->max_pos]);
}

void args_release(struct args *a)
{
	free(a->pos);
	free(a->set);
	*a = (struct args){0};
}

const char *arg_text(const struct args *a, const char *name)
{
	for (int i = a->nset; i-- > 0;)
		if (!strcmp(a->set[i].opt->name, name))
			return a->set[i].value ? a->set[i].value : "";
	return NULL;
}

bool arg_flag(const struct args *a, const char *name)
{
	return arg_text(a, name) != NULL;
}

double arg_num(const struct args *a, const char *name, double otherwise)
{
	const char *v = arg_text(a, name);

	return v ? strtod(v, NULL) : otherwise;
}

long arg_int(const struct args *a, const char *name, long otherwise)
{
	return (long)arg_num(a, name, (double)otherwise);
}
