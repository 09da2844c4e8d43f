// SPDX-License-Identifier: MIT
/*
 * Configuration: a file of `KEY = value` lines, then the environment, over the defaults of one key
 * table (config_keys.def). An unknown key in the file is fatal and the nearest known one is named; the
 * environment may hold others. All mistakes are reported, not only the first.
 *
 * A reload builds a new struct and swaps it in only when it is good, so a bad file never harms a running
 * process. Keys without the reload flag keep their old value then.
 */
#ifndef BASE_CONFIG_H
#define BASE_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include "buf.h"

struct config {
#define CONFIG_STR const char *
#define CONFIG_INT int64_t
#define CONFIG_BOOL bool
#define X(key, type, field, dflt, min, max, flags, aliases, help) CONFIG_##type field;
#include "config_keys.def"
#undef X
	struct arena arena;	/* owns the strings; wiped */
};

/*
 * Read file (NULL: none) and the environment into *c. False on any mistake; `problems` then has one line
 * each ("FILE:12: unknown key JWT_SECRT; did you mean JWT_SECRET?"). Secrets are not repeated in it.
 */
bool config_load(struct config *c, const char *file, struct buf *problems);
/* Load again and take over the reloadable keys. On a mistake *c stays as it was. */
bool config_reload(struct config *c, const char *file, struct buf *problems);
void config_release(struct config *c);

/* conf/mcp.conf.example and the table of docs/reference/configuration.md. */
void config_write_example(struct buf *out);
void config_write_markdown(struct buf *out);

/* Known key nearest to name by edit distance. */
const char *config_nearest(const char *name);

#endif
