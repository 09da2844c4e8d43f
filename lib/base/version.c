// SPDX-License-Identifier: MIT
#include "version.h"

/* The Makefile sets both. */
#ifndef MCP_VERSION
#define MCP_VERSION "0.0.0"
#endif
#ifndef MCP_REVISION
#define MCP_REVISION "unknown"
#endif

const char mcp_version[] = MCP_VERSION;
const char mcp_revision[] = MCP_REVISION;
