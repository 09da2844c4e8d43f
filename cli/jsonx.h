// SPDX-License-Identifier: MIT
/*
 * Reading and building json-c values by path ("error.message", "stages").
 * Every reader takes NULL and values of another type, and then gives its
 * "otherwise": what a panel sends is not trusted to have any shape.
 */
#ifndef CLI_JSONX_H
#define CLI_JSONX_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include "args.h"

/*
 * Reads a complete JSON text strictly and without loss: numbers keep their
 * digits. False and *why (to be freed; may be NULL) when it is not JSON. The
 * value null is a NULL pointer, as everywhere in json-c.
 */
bool jx_read(const char *text, size_t len, struct json_object **out, char **why);
/* The same for what the panel or we wrote: NULL when it is no JSON. */
struct json_object *jx_parse(const char *text, size_t len);
/* The value at a dotted path, borrowed; NULL when there is none. "" is o itself. */
struct json_object *jx_get(struct json_object *o, const char *path);
/* String at path, borrowed, or NULL when absent or not a string. */
const char *jx_str(struct json_object *o, const char *path);
double jx_num(struct json_object *o, const char *path, double otherwise);
bool jx_bool(struct json_object *o, const char *path, bool otherwise);
/* Elements of the array at path; 0 when it is not one. */
size_t jx_len(struct json_object *o, const char *path);
/* Compact text, owned by o and valid until it changes. */
const char *jx_text(struct json_object *o);

/* Sets the value at a dotted path, making objects on the way. Takes v over. */
void jx_set(struct json_object *o, const char *path, struct json_object *v);
void jx_set_str(struct json_object *o, const char *path, const char *s);

/*
 * What an OPT_JSON option or argument means: JSON text, @FILE or "-" (standard
 * input). Ends the program with a usage error when it is not JSON.
 */
struct json_object *jx_argument(const struct command *cmd, const char *what, const char *value);
/*
 * Puts every option that has a field into body: numbers as numbers, lists as
 * arrays, JSON as it is.
 */
void jx_from_args(struct json_object *body, const struct args *args);

#endif
