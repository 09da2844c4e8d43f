// SPDX-License-Identifier: MIT
/*
 * Which panel, and as whom.
 *
 * A panel is looked for in this order: --url; MCP_URL; the panel running from
 * $MCP_HOME; the saved login; the panel running from ~/.local/state/mcp.
 * Credentials belong to the place they were found in and are never sent to
 * another address: a --url that is not the saved login's address does not get
 * the saved login's token. MCP_API_KEY and the options go with any address,
 * because who gives them gives the address too.
 *
 * Tokens are kept in $XDG_CONFIG_HOME/mcpctl/sessions (or in the state folder
 * of a panel that runs here), one file (0600) for a panel and user, and renewed there under a lock: a refresh token can be used
 * only once, so two mcpctl at the same time must not both use it.
 */
#ifndef CLI_SESSION_H
#define CLI_SESSION_H

#include <stdbool.h>

struct args;
struct cli;

struct session {
	char *url;	     /* "http://127.0.0.1:8080", without a trailing slash */
	const char *found;   /* where the address comes from, for messages */
	char *user;	     /* NULL: none */
	char *password_file; /* NULL: none */
	char *api_key;	     /* NULL: none; goes before user */
	char *cacert;
	char *state;	     /* state folder of a panel that runs here, NULL when it runs elsewhere */
	char *access;	     /* NULL: not logged in yet */
	char *refresh;
	double expires_at; /* wall clock, seconds; 0 unknown */
	bool loaded;	   /* the session file has been read */
};

/* Finds panel and credentials from options and surroundings; ends the program when there is no panel. */
void session_find(struct cli *cli, const struct args *args);
void session_release(struct session *s);

/*
 * Makes s->access usable: from the session file, by refreshing, or by the
 * password. Returns an exit status; EXIT_OK also when there is nothing to log
 * in with (the panel then answers what it thinks of strangers).
 */
int session_ready(struct cli *cli);
/* The panel refused s->access: get another. Returns EXIT_OK when there is a new one to try with. */
int session_renew(struct cli *cli);
/* Logs in with a password; prints the panel's refusal. totp may be NULL. */
int session_login(struct cli *cli, const char *password, const char *totp);
/* Makes this session's panel and user the saved login. Returns 0 or -1 with errno. */
int session_save_login(const struct session *s);
/* Removes the session's tokens, and the saved login when it is this one. */
void session_forget(struct session *s);

/* $XDG_CONFIG_HOME/mcpctl/<rest>, for the caller to free. */
char *config_path(const char *rest);
/*
 * Where what belongs to one panel is kept: <state>/mcpctl/<rest> for a panel
 * that runs here, so that it goes when the panel goes, else config_path().
 */
char *session_path(const struct session *s, const char *rest);
/* A file name made of a panel's address and a name: what is not a letter or digit becomes '_'. */
char *session_key(const char *url, const char *name);

#endif
