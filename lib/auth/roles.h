// SPDX-License-Identifier: MIT
/*
 * Who may do what: four roles, eleven permissions, and the table between them.
 *
 * A permission is a bit, a set of permissions a mask, so that "may this caller do that" is one AND.
 * A caller's set is its role's permissions plus extra grants. Nobody grants more than they hold:
 * perms_within() is that rule, and registration, updates, users and API keys all ask it.
 *
 * Older dotted names ("task.create") are understood on input; output always uses the colon names.
 */
#ifndef AUTH_ROLES_H
#define AUTH_ROLES_H

#include <stdbool.h>
#include <stdint.h>
#include "../base/buf.h"
#include "../base/json.h"

enum role { ROLE_WORKER, ROLE_SUPERVISOR, ROLE_ADMIN, ROLE_SYSTEM, ROLE_COUNT };

/* X(CONSTANT, bit, name) */
#define PERMISSIONS(X) \
	X(PERM_TASK_EXECUTE,	0,  "task:execute") \
	X(PERM_TASK_READ,	1,  "task:read") \
	X(PERM_TASK_MANAGE,	2,  "task:manage") \
	X(PERM_PIPELINE_CREATE,	3,  "pipeline:create") \
	X(PERM_PIPELINE_READ,	4,  "pipeline:read") \
	X(PERM_PIPELINE_MANAGE,	5,  "pipeline:manage") \
	X(PERM_AGENT_REGISTER,	6,  "agent:register") \
	X(PERM_AGENT_READ,	7,  "agent:read") \
	X(PERM_AGENT_MANAGE,	8,  "agent:manage") \
	X(PERM_SYSTEM_HEALTH,	9,  "system:health") \
	X(PERM_SYSTEM_CONFIG,	10, "system:config")

typedef uint32_t perms_t;

enum perm {
#define X(name, bit, text) name = 1 << (bit),
	PERMISSIONS(X)
#undef X
};
#define PERM_COUNT	11
#define PERMS_NONE	((perms_t)0)
#define PERMS_ALL	(((perms_t)1 << PERM_COUNT) - 1)

const char *role_name(enum role r);
/* False when the text is no role's name; *out is untouched then. */
bool role_parse(const char *text, enum role *out);
/* What the role may do by itself. */
perms_t role_perms(enum role r);

/* Every spelling of every permission, NULL-terminated: new names first, then the older ones. */
extern const char *const perm_names[];
/* Name of the one permission in p; "" when p is not exactly one. */
const char *perm_name(perms_t p);
/* The permission of that name, new or older spelling; PERMS_NONE when there is none. */
perms_t perm_parse(const char *text);
/* All of wanted is in held. */
bool perms_within(perms_t wanted, perms_t held);

/* The names as a JSON array, in table order. */
void perms_write(struct jw *w, perms_t p);
/*
 * Read a JSON array of names into *out. False when v is not an array of known names; *bad is then the
 * position of the first bad element, or -1 when v is no array at all. v must have been built.
 */
bool perms_read(const struct jv *v, perms_t *out, int *bad);

#endif
