// SPDX-License-Identifier: MIT
/* Compiles schemas. One table of keywords says all that is understood. */
#include "jsonschema.h"

#include <stddef.h>

#include "jsonschema_node.h"
#include "limits.h"

struct compiler {
	struct pattern_set *patterns;
	unsigned n_nodes, n_patterns;
};

/* Reads one keyword's value v into *to, a field of the node; `at` is the keyword's place. */
typedef void read_fn(struct compiler *c, void *to, const struct jv *v, const struct place *at);

static const struct node *compile(struct compiler *c, const struct jv *schema, const struct place *at);

static void must_be(const struct jv *v, const char *what, const struct place *at)
{
	complain(at, "bad_type", "must be %s, not %s", what, jtype_name(v->type));
}

/* --- schemas within the schema ------------------------------------------------------------------------ */

static void read_schema(struct compiler *c, void *to, const struct jv *v, const struct place *at)
{
	*(const struct node **)to = compile(c, v, at);
}

static void read_schemas(struct compiler *c, void *to, const struct jv *v, const struct place *at)
{
	struct nodes *out = to;

	if (v->type != J_ARRAY) {
		must_be(v, "an array of schemas", at);
		return;
	}
	if (v->n == 0) {
		complain(at, "bad_count", "must hold at least one schema");
		return;
	}
	out->v = arena_calloc(at->arena, v->n, sizeof(*out->v));
	for (const struct jv *item = v->child; item; item = item->next) {
		struct place here = place_item(at, out->n);

		out->v[out->n++] = compile(c, item, &here);
	}
}

static void read_items(struct compiler *c, void *to, const struct jv *v, const struct place *at)
{
	if (v->type == J_ARRAY)
		complain(at, "bad_type", "must be one schema; a schema for each position is prefixItems");
	else
		read_schema(c, to, v, at);
}

/* to is the node: `properties` and `required` fill one list of names. */
static void read_properties(struct compiler *c, void *to, const struct jv *v, const struct place *at)
{
	struct node *node = to;

	if (v->type != J_OBJECT) {
		must_be(v, "an object of schemas", at);
		return;
	}
	for (const struct jv *m = v->child; m; m = m->next) {
		struct place here = place_member(at, m->key);

		node->props[node->n_props++] = (struct prop){ .name = m->key, .node = compile(c, m, &here) };
	}
}

static void read_required(struct compiler *c, void *to, const struct jv *v, const struct place *at)
{
	struct node *node = to;
	size_t i = 0;

	(void)c;
	if (v->type != J_ARRAY) {
		must_be(v, "an array of names", at);
		return;
	}
	for (const struct jv *item = v->child; item; item = item->next, i++) {
		struct place here = place_item(at, i);

		if (item->type != J_STRING)
			must_be(item, "a name in quotes", &here);
		else if (item->has_nul)
			complain(&here, "bad_character", "holds U+0000, which no name has");
		else
			node->props[node->n_props++] = (struct prop){ .name = item->str, .required = true };
	}
}

/* --- what a value may be ------------------------------------------------------------------------------- */

static unsigned type_bits(const char *name)
{
	static const struct {
		const char *name;
		unsigned bits;
	} types[] = {
		{ "null", TYPE_BIT(J_NULL) }, { "boolean", TYPE_BIT(J_FALSE) | TYPE_BIT(J_TRUE) },
		{ "number", TYPE_BIT(J_NUMBER) }, { "integer", TYPE_INTEGER }, { "string", TYPE_BIT(J_STRING) },
		{ "array", TYPE_BIT(J_ARRAY) }, { "object", TYPE_BIT(J_OBJECT) },
	};

	for (size_t i = 0; i < sizeof(types) / sizeof(*types); i++) {
		if (strcmp(types[i].name, name) == 0)
			return types[i].bits;
	}
	return 0;
}

static void read_type_name(unsigned *types, const struct jv *v, const struct place *at)
{
	unsigned bits = v->type == J_STRING && !v->has_nul ? type_bits(v->str) : 0;

	if (!bits)
		complain(at, "bad_value", "must be one of: null, boolean, number, integer, string, array, object");
	*types |= bits;
}

static void read_type(struct compiler *c, void *to, const struct jv *v, const struct place *at)
{
	size_t i = 0;

	(void)c;
	if (v->type != J_ARRAY) {
		read_type_name(to, v, at);
		return;
	}
	if (v->n == 0)
		complain(at, "bad_count", "must name at least one type");
	for (const struct jv *item = v->child; item; item = item->next) {
		struct place here = place_item(at, i++);

		read_type_name(to, item, &here);
	}
}

static void read_enum(struct compiler *c, void *to, const struct jv *v, const struct place *at)
{
	(void)c;
	if (v->type != J_ARRAY)
		must_be(v, "an array of the values that are allowed", at);
	else if (v->n == 0)
		complain(at, "bad_count", "must hold at least one value");
	*(const struct jv **)to = v;
}

static void read_value(struct compiler *c, void *to, const struct jv *v, const struct place *at)
{
	(void)c;
	(void)at;
	*(const struct jv **)to = v;
}

static void read_flag(struct compiler *c, void *to, const struct jv *v, const struct place *at)
{
	(void)c;
	if (v->type != J_TRUE && v->type != J_FALSE)
		must_be(v, "true or false", at);
	*(bool *)to = v->type == J_TRUE;
}

static void read_count(struct compiler *c, void *to, const struct jv *v, const struct place *at)
{
	(void)c;
	if (!jv_int(v, to) || *(int64_t *)to < 0)
		complain(at, "out_of_range", "must be a whole number from 0");
}

static void read_bound(struct compiler *c, void *to, const struct jv *v, const struct place *at)
{
	struct bound *b;

	(void)c;
	if (v->type != J_NUMBER) {
		must_be(v, "a number", at);
		return;
	}
	b = arena_new(at->arena, struct bound);
	decimal_read(&b->number, v->raw, v->raw_len);
	b->text = jv_text(at->arena, v);
	*(const struct bound **)to = b;
}

static void read_unit(struct compiler *c, void *to, const struct jv *v, const struct place *at)
{
	const struct bound **unit = to;

	read_bound(c, to, v, at);
	if (*unit && ((*unit)->number.neg || (*unit)->number.n == 0 || (*unit)->number.n > DECIMAL_UNIT_DIGITS))
		complain(at, "out_of_range", "must be greater than 0 and have at most %d digits", DECIMAL_UNIT_DIGITS);
}

static void read_pattern(struct compiler *c, void *to, const struct jv *v, const struct place *at)
{
	const char *why = NULL;
	struct pattern *pattern;

	if (v->type != J_STRING) {
		must_be(v, "a regular expression in quotes", at);
		return;
	}
	if (c->n_patterns++ >= LIMIT_SCHEMA_PATTERNS) {
		complain(at, "too_large", "a schema may hold %d patterns", LIMIT_SCHEMA_PATTERNS);
		return;
	}
	if (!c->patterns)
		c->patterns = pattern_set_new(at->arena);
	pattern = pattern_new(c->patterns, v->str, v->str_len, &why);
	if (!pattern)
		complain(at, "bad_pattern", "%s", why);
	*(struct pattern **)to = pattern;
}

/* Title, description: nothing is checked by them, but a schema with a number there is a mistaken one. */
static void read_text(struct compiler *c, void *to, const struct jv *v, const struct place *at)
{
	(void)c;
	(void)to;
	if (v->type != J_STRING)
		must_be(v, "a string", at);
}

static void read_anything(struct compiler *c, void *to, const struct jv *v, const struct place *at)
{
	(void)c;
	(void)to;
	(void)v;
	(void)at;
}

#define WHOLE_NODE 0
#define K(name, read, field) { name, read, offsetof(struct node, field) }

static const struct keyword {
	const char *name;
	read_fn *read;
	size_t offset;
} keywords[] = {
	K("type", read_type, types), K("enum", read_enum, one_of_values), K("const", read_value, constant),
	K("anyOf", read_schemas, any_of), K("allOf", read_schemas, all_of), K("oneOf", read_schemas, one_of),
	K("not", read_schema, not),
	{ "properties", read_properties, WHOLE_NODE }, { "required", read_required, WHOLE_NODE },
	K("additionalProperties", read_schema, additional),
	K("items", read_items, items), K("prefixItems", read_schemas, prefix), K("minItems", read_count, min_items),
	K("maxItems", read_count, max_items), K("uniqueItems", read_flag, unique),
	K("minimum", read_bound, minimum), K("maximum", read_bound, maximum), K("exclusiveMinimum", read_bound, above),
	K("exclusiveMaximum", read_bound, below), K("multipleOf", read_unit, multiple),
	K("minLength", read_count, min_length), K("maxLength", read_count, max_length),
	K("pattern", read_pattern, pattern),
	{ "title", read_text, WHOLE_NODE }, { "description", read_text, WHOLE_NODE },
	{ "$schema", read_text, WHOLE_NODE }, { "default", read_anything, WHOLE_NODE },
	{ "examples", read_anything, WHOLE_NODE },
};

static const struct keyword *find_keyword(const char *name)
{
	for (size_t i = 0; i < sizeof(keywords) / sizeof(*keywords); i++) {
		if (strcmp(keywords[i].name, name) == 0)
			return &keywords[i];
	}
	return NULL;
}

static int prop_cmp(const void *a, const void *b)
{
	return strcmp(((const struct prop *)a)->name, ((const struct prop *)b)->name);
}

/* Sort what `properties` and `required` say by name, and put together what is about the same one. */
static void merge_props(struct node *node)
{
	size_t n = 0;

	if (node->n_props == 0)
		return;
	qsort(node->props, node->n_props, sizeof(*node->props), prop_cmp);
	for (size_t i = 0; i < node->n_props; i++) {
		const struct prop *p = &node->props[i];

		if (n && strcmp(node->props[n - 1].name, p->name) == 0) {
			node->props[n - 1].required |= p->required;
			if (p->node)
				node->props[n - 1].node = p->node;
		} else {
			node->props[n++] = *p;
		}
	}
	node->n_props = n;
	for (size_t i = 0; i < n; i++)
		node->n_required += node->props[i].required;
}

/* Room for every name in `properties` and `required`, before either is read. */
static struct prop *room_for_props(const struct jv *schema, struct arena *a)
{
	const struct jv *properties = jv_get(schema, "properties");
	const struct jv *required = jv_get(schema, "required");
	size_t n = (size_t)(properties ? properties->n : 0) + (required ? required->n : 0);

	return n ? arena_calloc(a, n, sizeof(struct prop)) : NULL;
}

static const struct node *compile(struct compiler *c, const struct jv *schema, const struct place *at)
{
	static const struct node anything = { .max_items = INT64_MAX, .max_length = INT64_MAX };
	static const struct node nothing = { .never = true };

	if (schema->type == J_TRUE)
		return &anything;
	if (schema->type == J_FALSE)
		return &nothing;
	if (schema->type != J_OBJECT) {
		must_be(schema, "a schema (an object, true or false)", at);
		return &anything;
	}
	if (c->n_nodes++ >= LIMIT_SCHEMA_NODES) {
		complain(at, "too_large", "a schema may hold %d schemas", LIMIT_SCHEMA_NODES);
		return &anything;
	}
	struct node *node = arena_new(at->arena, struct node);

	*node = anything;
	node->props = room_for_props(schema, at->arena);
	for (const struct jv *m = schema->child; m; m = m->next) {
		struct place here = place_member(at, m->key);
		const struct keyword *k = find_keyword(m->key);

		if (k)
			k->read(c, (char *)node + k->offset, m, &here);
		else
			complain(&here, "unknown_keyword",
				 "is not in the subset of JSON Schema that is checked here; see the data models' page");
	}
	merge_props(node);
	return node;
}

const struct node *node_compile(const struct jv *schema, const struct place *at)
{
	struct compiler c = { 0 };

	return compile(&c, schema, at);
}

bool tree_is_built(const struct jv *v)
{
	if (v->n && !v->child)
		return false;
	for (const struct jv *m = v->child; m; m = m->next) {
		if (!tree_is_built(m))
			return false;
	}
	return true;
}

enum err jsonschema_check(const struct jv *schema, const char *path, struct error *e)
{
	struct place root = place_root(e->arena, e, path);
	unsigned before = e->n_fields;

	if (!tree_is_built(schema))
		return error_set(e, ERR_INTERNAL, "jsonschema_check needs a tree with all levels built");
	node_compile(schema, &root);
	return e->n_fields > before ? ERR_VALIDATION : OK;
}
