// SPDX-License-Identifier: MIT
/*
 * Following a task or a run to its end. Progress goes to standard error (a
 * bar that redraws itself on a terminal, a line per change elsewhere), the
 * outcome to standard output. A panel that is away for a while is waited for.
 */
#ifndef CLI_WATCH_H
#define CLI_WATCH_H

#include "cli.h"

struct json_object;

/* Both return EXIT_OK when it completed, EXIT_FAILED when it failed or was cancelled. */
int watch_task(struct cli *cli, const char *id);
int watch_execution(struct cli *cli, const char *id);
/* A run and its stages, for reading. */
void show_execution(struct cli *cli, struct json_object *run);

#endif
