// SPDX-License-Identifier: MIT
/* mcpctl agent run: any program as an agent. runner.h tells how it works. */
#ifndef CLI_RUN_H
#define CLI_RUN_H

#include "args.h"
#include "cli.h"

extern const struct opt agent_run_opts[];
extern const char agent_run_help[];
int agent_run(struct cli *cli, const struct args *args);

#endif
