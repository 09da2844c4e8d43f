// SPDX-License-Identifier: MIT
/* mcpctl login, logout, whoami, completion, version */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <termios.h>
#include <unistd.h>

#include "commands.h"
#include "find.h"
#include "jsonx.h"
#include "lib/base/version.h"
#include "password.h"
#include "util.h"

static char *read_line(void)
{
	char *line = NULL;
	size_t cap = 0;
	ssize_t n = getline(&line, &cap, stdin);

	if (n < 0) {
		free(line);
		return NULL;
	}
	line[strcspn(line, "\r\n")] = '\0';
	return line;
}

char *password_ask(const char *prompt)
{
	struct termios was, quiet;
	bool tty = isatty(STDIN_FILENO) && !tcgetattr(STDIN_FILENO, &was);
	char *line;

	if (tty) {
		quiet = was;
		quiet.c_lflag &= ~(tcflag_t)ECHO;
		/* Echo goes off before the prompt asks for anything: what is typed at once is neither shown nor lost. */
		tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet);
		fputs(prompt, stderr);
	}
	line = read_line();
	if (tty) {
		tcsetattr(STDIN_FILENO, TCSAFLUSH, &was);
		fputc('\n', stderr);
	}
	return line;
}

char *line_ask(const char *prompt)
{
	if (!isatty(STDIN_FILENO))
		return NULL;
	fputs(prompt, stderr);
	return read_line();
}

static const struct opt login_opts[] = {
	{"totp", 0, OPT_TEXT, "CODE", "the second factor's six digits, when the account has one", NULL},
	{0},
};

/* Passwords should not cross a network in clear. */
static void warn_if_in_clear(const char *url)
{
	static const char *const local[] = {"127.", "localhost", "[::1]"};

	if (strncasecmp(url, "http://", 7))
		return;
	for (size_t i = 0; i < sizeof(local) / sizeof(local[0]); i++)
		if (!strncasecmp(url + 7, local[i], strlen(local[i])))
			return;
	warn("warning: %s is not encrypted; others on the network can read the password", url);
}

static char *login_password(const struct session *s)
{
	char *prompt, *password;

	if (s->password_file)
		return read_secret_file(s->password_file);
	prompt = xasprintf("Password of %s at %s: ", s->user, s->url);
	password = password_ask(prompt);
	free(prompt);
	return password;
}

static int run_login(struct cli *cli, const struct args *args)
{
	struct session *s = &cli->session;
	char *password;
	int rc;

	free_secret(s->api_key); /* logging in is done as a person */
	s->api_key = NULL;
	if (!s->user)
		s->user = line_ask("User name: ");
	if (is_empty(s->user))
		usage_error(args->cmd, "who? Give --user NAME");
	warn_if_in_clear(s->url);
	password = login_password(s);
	if (!password)
		die(EXIT_AUTH, "no password: %s", s->password_file ? strerror(errno) : "nothing was typed");
	rc = session_login(cli, password, arg_text(args, "totp"));
	free_secret(password);
	if (rc != EXIT_OK)
		return rc;
	if (session_save_login(s)) {
		warn("logged in, but the login cannot be kept: %s", strerror(errno));
		return EXIT_FAILED;
	}
	if (!cli->quiet)
		printf("Logged in to %s as %s.\n", s->url, s->user);
	return EXIT_OK;
}

static int run_logout(struct cli *cli, const struct args *args)
{
	struct session *s = &cli->session;
	struct json_object *body = json_object_new_object();
	struct answer a = {0};

	(void)args;
	/* Its tokens are given up here whatever the panel says; there they end by themselves. */
	if (s->user && session_ready(cli) == EXIT_OK) {
		if (s->refresh)
			jx_set_str(body, "refresh_token", s->refresh);
		if (!api_try(cli, "POST", "/auth/logout", body, &a))
			answer_complain(cli, &a);
		answer_release(&a);
	}
	json_object_put(body);
	session_forget(s);
	if (!cli->quiet)
		printf("Logged out of %s.\n", s->url);
	return EXIT_OK;
}

static int run_version(struct cli *cli, const struct args *args)
{
	(void)cli;
	(void)args;
	return version_print();
}

int version_print(void)
{
	printf("mcpctl %s\n", mcp_version);
	return EXIT_OK;
}

const struct command login_commands[] = {
	{.group = "login", .usage = "[--url URL] [--user NAME]", .summary = "log in, and remember panel and login",
	 .run = run_login, .opts = login_opts,
	 .more = "The password comes from --password-file, the terminal, or the first line of standard input.\n"
		 "Panel, user and tokens are kept in $XDG_CONFIG_HOME/mcpctl (~/.config/mcpctl), readable by you\n"
		 "only. The password is not kept. A panel that ./mcp up runs for you needs no login."},
	{.group = "logout", .usage = "", .summary = "end the login and forget it", .run = run_logout},
	{.group = "whoami", .usage = "", .summary = "who the panel takes you for", .run = run_show,
	 .path = "/auth/me"},
	{0},
};

const struct command misc_commands[] = {
	{.group = "version", .usage = "", .summary = "the version of mcpctl", .run = run_version,
	 .local = true},
	{.group = "__complete", .usage = "-- WORD...", .summary = "candidates for the shell",
	 .run = run_complete, .max_pos = -1, .local = true},
	{0},
};
