// SPDX-License-Identifier: MIT
/* Which build this is: the version of CHANGELOG.md and the git revision it was made from. */
#ifndef BASE_VERSION_H
#define BASE_VERSION_H

extern const char mcp_version[];	/* "0.1.0" */
extern const char mcp_revision[];	/* twelve hex digits, or "unknown" */

#endif
