// SPDX-License-Identifier: MIT
/* Asking a person for a secret. */
#ifndef CLI_PASSWORD_H
#define CLI_PASSWORD_H

/*
 * Asks on the terminal without showing what is typed; when standard input is
 * no terminal, reads its first line without asking. NULL when there is none.
 * Release with free_secret().
 */
char *password_ask(const char *prompt);
/* A visible question; NULL when there is no terminal or no answer. */
char *line_ask(const char *prompt);

#endif
