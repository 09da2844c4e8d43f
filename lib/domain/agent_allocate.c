// SPDX-License-Identifier: MIT
/* Reserving an agent's cpu, memory and slots: never more than it declared (A10). */
#include "agent.h"

#include <math.h>
#include <strings.h>

#include "../base/limits.h"

static const struct field allocate_fields[] = {
	{ "cpu", F_NUM, .offset = offsetof(struct allocate_in, cpu), .min = 0, .max = 100000, .help = "Cores." },
	{ "memory", F_JSON, .offset = offsetof(struct allocate_in, memory), .max = 64,
	  .help = "Bytes, or text such as \"8GB\"." },
	{ "slots", F_INT, .offset = offsetof(struct allocate_in, slots), .min = 0, .max = LIMIT_CONCURRENCY },
};
const struct schema allocate_schema = {
	.name = "Allocate", .size = sizeof(struct allocate_in), .fields = allocate_fields, .n = 3, .min_fields = 1,
	.help = "What is reserved from now on, in all; zero gives it back.",
};

/* Bytes from a JSON number or text with a unit (kB, MiB, GB …); false when it is neither. */
static bool memory_bytes(struct arena *a, const struct jv *v, double *out)
{
	static const struct {
		const char *unit;
		double factor;
	} units[] = { { "", 1 }, { "B", 1 }, { "K", 1e3 }, { "KB", 1e3 }, { "KiB", 1024 }, { "M", 1e6 }, { "MB", 1e6 },
		      { "MiB", 1048576 }, { "G", 1e9 }, { "GB", 1e9 }, { "GiB", 1073741824 }, { "T", 1e12 }, { "TB", 1e12 },
		      { "TiB", 1099511627776.0 } };
	char *end;

	if (jv_double(v, out))
		return *out >= 0;
	if (!v || v->type != J_STRING || v->str_len > 32)
		return false;
	/* strtod would also take a sign, hexadecimal digits, an infinity. */
	size_t digits = strspn(v->str, "0123456789.");

	*out = strtod(arena_strndup(a, v->str, digits), &end);
	if (!digits || *end || !isfinite(*out))
		return false;
	const char *unit = v->str + digits;

	while (*unit == ' ')
		unit++;
	for (size_t i = 0; i < sizeof(units) / sizeof(*units); i++) {
		if (strcasecmp(unit, units[i].unit) == 0) {
			*out *= units[i].factor;
			return true;
		}
	}
	return false;
}

static const struct jv *parsed(struct op *op, const char *json)
{
	struct error scrap;
	struct jv *v;

	error_init(&scrap, op->arena);
	return json && !json_parse(op->arena, json, strlen(json), 1, &v, &scrap) ? v : NULL;
}

static enum err over(struct op *op, const char *what, double asked, double have)
{
	return error_public(op->err, ERR_OVER_ALLOCATED, "%s: %g is asked for and the agent has %g.", what, asked, have);
}

static enum err edit_allocate(struct op *op, struct agent *a, void *arg)
{
	const struct allocate_in *in = arg;
	const struct jv *have = parsed(op, a->resources);
	const struct jv *old = parsed(op, a->allocated);
	double total = 0;
	double cpu = schema_has(&allocate_schema, in, "cpu") ? in->cpu : jv_double_or(old, "cpu", 0);
	double memory = jv_double_or(old, "memory", 0);
	int64_t slots = schema_has(&allocate_schema, in, "slots") ? in->slots : jv_int_or(old, "slots", 0);

	if (in->memory && !memory_bytes(op->arena, parsed(op, arena_printf(op->arena, "%s", in->memory)), &memory))
		return error_field(op->err, "$.memory", "bad_value", "must be a number of bytes or text such as \"8GB\"");
	if (cpu > 0 && cpu > (total = jv_double_or(have, "cpu", 0)))
		return over(op, "cpu", cpu, total);
	total = 0;
	if (memory > 0 && (!memory_bytes(op->arena, jv_get(have, "memory"), &total) || memory > total))
		return over(op, "memory", memory, total);
	if (slots > 0 && slots > a->slots)
		return over(op, "slots", (double)slots, (double)a->slots);
	a->allocated = arena_printf(op->arena, "{\"cpu\":%.17g,\"memory\":%.17g,\"slots\":%lld}", cpu, memory,
				    (long long)slots);
	return OK;
}

enum err agent_allocate(struct op *op, const char *id, const struct allocate_in *in, struct agent **out)
{
	struct allocate_in copy = *in;

	return agent_change(op, id, edit_allocate, &copy, out);
}
