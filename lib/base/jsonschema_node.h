// SPDX-License-Identifier: MIT
/* Inside of lib/base/jsonschema: the compiled schema, made by jsonschema.c and run by jsonschema_run.c. */
#ifndef BASE_JSONSCHEMA_NODE_H
#define BASE_JSONSCHEMA_NODE_H

#include "decimal.h"
#include "json.h"
#include "pattern.h"
#include "place.h"

#define TYPE_BIT(t) (1u << (t))
#define TYPE_INTEGER (1u << 7)	/* beside the bits of enum jtype */

struct node;

struct nodes {
	const struct node **v;
	size_t n;
};

/* A name that an object's schema says something about. */
struct prop {
	const char *name;
	const struct node *node;	/* NULL: only required */
	bool required;
};

/* A bound as a number and as the schema's author wrote it. */
struct bound {
	struct decimal number;
	const char *text;
};

struct node {
	bool never;			/* the schema `false` */
	unsigned types;			/* TYPE_* bits; 0: any */
	const struct jv *one_of_values;	/* enum */
	const struct jv *constant;
	struct nodes any_of, all_of, one_of;
	const struct node *not;
	/* objects */
	struct prop *props;		/* sorted by name */
	size_t n_props, n_required;
	const struct node *additional;
	/* arrays */
	struct nodes prefix;
	const struct node *items;
	int64_t min_items, max_items;
	bool unique;
	/* numbers */
	const struct bound *minimum, *maximum, *above, *below, *multiple;
	/* strings */
	int64_t min_length, max_length;
	struct pattern *pattern;
};

/* Compile; bad places go to at->e. Never NULL; of use only when nothing was bad. */
const struct node *node_compile(const struct jv *schema, const struct place *at);
/* Were all levels of the tree built? */
bool tree_is_built(const struct jv *v);

#endif
