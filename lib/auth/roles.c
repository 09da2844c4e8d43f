// SPDX-License-Identifier: MIT
#include "roles.h"

#define WORKER_PERMS	 (PERM_TASK_EXECUTE | PERM_TASK_READ | PERM_AGENT_READ | PERM_SYSTEM_HEALTH)
#define SUPERVISOR_PERMS (WORKER_PERMS | PERM_TASK_MANAGE | PERM_PIPELINE_READ)

static const struct {
	const char *name;
	perms_t perms;
} roles[ROLE_COUNT] = {
	[ROLE_WORKER] = { "worker", WORKER_PERMS },
	[ROLE_SUPERVISOR] = { "supervisor", SUPERVISOR_PERMS },
	[ROLE_ADMIN] = { "admin", PERMS_ALL },
	[ROLE_SYSTEM] = { "system", PERMS_ALL },
};

static const struct perm_entry {
	const char *name;
	perms_t perm;
} perms[] = {
#define X(constant, bit, text) { text, constant },
	PERMISSIONS(X)
#undef X
};

_Static_assert(sizeof(perms) / sizeof(perms[0]) == PERM_COUNT, "PERM_COUNT is the length of the table");

/* Spellings that older clients send. */
#define OLDER(X) \
	X(PERM_AGENT_REGISTER,	 "agent.register") \
	X(PERM_AGENT_READ,	 "agent.discover") \
	X(PERM_TASK_MANAGE,	 "task.create") \
	X(PERM_TASK_MANAGE,	 "task.assign") \
	X(PERM_PIPELINE_MANAGE,	 "pipeline.execute")

static const struct perm_entry older[] = {
#define X(constant, text) { text, constant },
	OLDER(X)
#undef X
};

const char *const perm_names[] = {
#define X(constant, bit, text) text,
	PERMISSIONS(X)
#undef X
#define X(constant, text) text,
	OLDER(X)
#undef X
	NULL,
};

const char *role_name(enum role r)
{
	return (unsigned)r < ROLE_COUNT ? roles[r].name : "";
}

bool role_parse(const char *text, enum role *out)
{
	for (int i = 0; text && i < ROLE_COUNT; i++) {
		if (!strcmp(text, roles[i].name)) {
			*out = (enum role)i;
			return true;
		}
	}
	return false;
}

perms_t role_perms(enum role r)
{
	return (unsigned)r < ROLE_COUNT ? roles[r].perms : PERMS_NONE;
}

const char *perm_name(perms_t p)
{
	for (size_t i = 0; i < PERM_COUNT; i++) {
		if (perms[i].perm == p)
			return perms[i].name;
	}
	return "";
}

perms_t perm_parse(const char *text)
{
	if (!text)
		return PERMS_NONE;
	for (size_t i = 0; i < PERM_COUNT; i++) {
		if (!strcmp(text, perms[i].name))
			return perms[i].perm;
	}
	for (size_t i = 0; i < sizeof(older) / sizeof(older[0]); i++) {
		if (!strcmp(text, older[i].name))
			return older[i].perm;
	}
	return PERMS_NONE;
}

bool perms_within(perms_t wanted, perms_t held)
{
	return (wanted & ~held) == 0;
}

void perms_write(struct jw *w, perms_t p)
{
	jw_arr(w);
	for (size_t i = 0; i < PERM_COUNT; i++) {
		if (p & perms[i].perm)
			jw_str(w, perms[i].name);
	}
	jw_end_arr(w);
}

bool perms_read(const struct jv *v, perms_t *out, int *bad)
{
	perms_t all = PERMS_NONE;
	int i = 0;

	*bad = -1;
	if (!v || v->type != J_ARRAY)
		return false;
	for (const struct jv *c = v->child; c; c = c->next, i++) {
		perms_t p = c->type == J_STRING && !c->has_nul ? perm_parse(c->str) : PERMS_NONE;

		if (p == PERMS_NONE) {
			*bad = i;
			return false;
		}
		all |= p;
	}
	*out = all;
	return true;
}
