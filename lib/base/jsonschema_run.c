// SPDX-License-Identifier: MIT
/* Runs compiled schemas over values. */
#include "jsonschema.h"
#include "hash.h"

#include "jsonschema_node.h"
#include "limits.h"
#include "utf8.h"

/* One validation. Every function that walks spends steps; with none left nothing is looked at any more. */
struct run {
	struct arena *arena;
	uint64_t steps;
};

static bool check(struct run *r, const struct node *node, const struct jv *v, const struct place *at);

static bool spend(struct run *r, uint64_t steps)
{
	r->steps = r->steps > steps ? r->steps - steps : 0;
	return r->steps > 0;
}

/*
 * A violation. `at` is NULL where only the answer counts (the branches of anyOf, oneOf, not), and there the
 * first violation ends the walk. Once the steps are spent nothing found is an answer.
 */
#define VIOLATION(r, at, ...) ((at) && (r)->steps ? complain((at), __VA_ARGS__) : (void)0)

/* --- equality by value --------------------------------------------------------------------------------- */

static bool equal(struct run *r, const struct jv *a, const struct jv *b);

static bool equal_numbers(struct run *r, const struct jv *a, const struct jv *b)
{
	struct decimal x;
	struct decimal y;

	if (a->raw_len == b->raw_len && memcmp(a->raw, b->raw, a->raw_len) == 0)
		return true;
	if (!spend(r, 5 + (a->raw_len + b->raw_len) / 8))
		return false;
	decimal_read(&x, a->raw, a->raw_len);
	decimal_read(&y, b->raw, b->raw_len);
	return decimal_cmp(&x, &y) == 0;
}

static bool equal_objects(struct run *r, const struct jv *a, const struct jv *b)
{
	const struct jv *same_rank = b->child;

	for (const struct jv *m = a->child; m; m = m->next, same_rank = same_rank->next) {
		const struct jv *other = same_rank;

		/* Most objects that are equal have their members in the same order too. */
		if (strcmp(m->key, other->key) != 0) {
			if (!spend(r, b->n))
				return false;
			other = jv_get(b, m->key);
		}
		if (!other || !equal(r, m, other))
			return false;
	}
	return true;
}

static bool equal(struct run *r, const struct jv *a, const struct jv *b)
{
	if (a->type != b->type || a->n != b->n || !spend(r, 1))
		return false;
	switch (a->type) {
	case J_NUMBER:
		return equal_numbers(r, a, b);
	case J_STRING:
		return a->str_len == b->str_len && spend(r, a->str_len / 64) && memcmp(a->str, b->str, a->str_len) == 0;
	case J_OBJECT:
		return equal_objects(r, a, b);
	case J_ARRAY:
		for (const struct jv *x = a->child, *y = b->child; x; x = x->next, y = y->next) {
			if (!equal(r, x, y))
				return false;
		}
		return true;
	default:
		return true;
	}
}

static uint64_t mix(uint64_t h, uint64_t x)
{
	h = (h ^ x) * UINT64_C(0x9e3779b97f4a7c15);
	return h ^ h >> 29;
}

static uint64_t hash_bytes(uint64_t h, const char *s, size_t n)
{
	return mix(hash_add(h, s, n), n);
}

/* Equal values have equal hashes. */
static uint64_t hash(const struct jv *v)
{
	uint64_t h = mix(UINT64_C(0xcbf29ce484222325), v->type);
	struct decimal d;

	switch (v->type) {
	case J_NUMBER:
		decimal_read(&d, v->raw, v->raw_len);
		return hash_bytes(mix(mix(h, d.neg), (uint64_t)d.exp), d.digits, d.n);
	case J_STRING:
		return hash_bytes(h, v->str, v->str_len);
	case J_ARRAY:
		for (const struct jv *x = v->child; x; x = x->next)
			h = mix(h, hash(x));
		return h;
	case J_OBJECT:
		/* A sum: the order of members does not count. */
		for (const struct jv *m = v->child; m; m = m->next)
			h += hash_bytes(hash(m), m->key, strlen(m->key));
		return mix(h, v->n);
	default:
		return h;
	}
}

struct item {
	uint64_t hash;
	const struct jv *v;
	size_t index;
};

static int item_cmp(const void *a, const void *b)
{
	const struct item *x = a;
	const struct item *y = b;

	if (x->hash != y->hash)
		return x->hash < y->hash ? -1 : 1;
	return (x->index > y->index) - (x->index < y->index);
}

static bool check_unique(struct run *r, const struct jv *v, const struct place *at)
{
	struct item *items;
	size_t n = 0;

	if (v->n < 2)
		return true;
	if (!spend(r, v->n * 8u + v->raw_len / 8))
		return false;
	items = arena_calloc(r->arena, v->n, sizeof(*items));
	for (const struct jv *x = v->child; x; x = x->next, n++)
		items[n] = (struct item){ hash(x), x, n };
	qsort(items, n, sizeof(*items), item_cmp);
	for (size_t i = 1; i < n; i++) {
		for (size_t j = i; j-- > 0 && items[j].hash == items[i].hash;) {
			if (!equal(r, items[j].v, items[i].v))
				continue;
			VIOLATION(r, at, "duplicate", "items %zu and %zu are equal; each may stand only once", items[j].index,
				  items[i].index);
			return false;
		}
	}
	return true;
}

/* --- one value against one node ------------------------------------------------------------------------ */

static const char *type_names(const struct node *node, char out[96])
{
	static const struct {
		unsigned bit;
		const char *name;
	} names[] = {
		{ TYPE_BIT(J_OBJECT), "object" }, { TYPE_BIT(J_ARRAY), "array" }, { TYPE_BIT(J_STRING), "string" },
		{ TYPE_BIT(J_NUMBER), "number" }, { TYPE_INTEGER, "integer" }, { TYPE_BIT(J_TRUE), "boolean" },
		{ TYPE_BIT(J_NULL), "null" },
	};
	size_t n = 0;

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		if (node->types & names[i].bit)
			n += (size_t)snprintf(out + n, 96 - n, "%s%s", n ? " or " : "", names[i].name);
	}
	return out;
}

static bool check_type(struct run *r, const struct node *node, const struct jv *v, const struct place *at)
{
	char names[96];
	bool whole = false;

	if (!node->types || node->types & TYPE_BIT(v->type))
		return true;
	if (v->type == J_NUMBER && node->types & TYPE_INTEGER) {
		struct decimal d;

		decimal_read(&d, v->raw, v->raw_len);
		whole = decimal_is_whole(&d);
	}
	if (!whole)
		VIOLATION(r, at, "bad_type", "must be %s, not %s", type_names(node, names), jtype_name(v->type));
	return whole;
}

static bool check_values(struct run *r, const struct node *node, const struct jv *v, const struct place *at)
{
	bool good = true;

	if (node->constant && !equal(r, node->constant, v)) {
		VIOLATION(r, at, "bad_value", "is not the value that `const` gives");
		good = false;
	}
	if (node->one_of_values) {
		const struct jv *x = node->one_of_values->child;

		while (x && !equal(r, x, v) && spend(r, 1))
			x = x->next;
		if (!x || !r->steps) {
			VIOLATION(r, at, "bad_value", "is none of the %u values that `enum` gives", node->one_of_values->n);
			good = false;
		}
	}
	return good;
}

static bool check_number(struct run *r, const struct node *node, const struct jv *v, const struct place *at)
{
	const struct {
		const struct bound *bound;
		int side;	/* 1: the number must lie above the bound, -1: below */
		bool itself;	/* or on it */
		const char *text;
	} bounds[] = {
		{ node->minimum, 1, true, "at least" }, { node->maximum, -1, true, "at most" },
		{ node->above, 1, false, "greater than" }, { node->below, -1, false, "less than" },
	};
	struct decimal d;
	bool good = true;

	decimal_read(&d, v->raw, v->raw_len);
	for (size_t i = 0; i < sizeof(bounds) / sizeof(*bounds); i++) {
		if (!bounds[i].bound)
			continue;
		int c = decimal_cmp(&d, &bounds[i].bound->number) * bounds[i].side;

		if (c > 0 || (c == 0 && bounds[i].itself))
			continue;
		VIOLATION(r, at, "out_of_range", "must be %s %.40s", bounds[i].text, bounds[i].bound->text);
		good = false;
	}
	if (node->multiple && !decimal_is_multiple(&d, &node->multiple->number)) {
		VIOLATION(r, at, "not_multiple", "must be a multiple of %.40s", node->multiple->text);
		good = false;
	}
	return good;
}

static bool check_string(struct run *r, const struct node *node, const struct jv *v, const struct place *at)
{
	bool good = true;

	if (node->min_length > 0 || node->max_length < INT64_MAX) {
		/* Not utf8_count(): the string may hold U+0000. */
		int64_t n = 0;

		for (size_t i = 0; i < v->str_len; i++)
			n += ((unsigned char)v->str[i] & 0xc0) != 0x80;
		if (n < node->min_length || n > node->max_length) {
			bool few = n < node->min_length;

			VIOLATION(r, at, "bad_length", "must have at %s %lld characters; it has %lld", few ? "least" : "most",
				  (long long)(few ? node->min_length : node->max_length), (long long)n);
			good = false;
		}
	}
	if (!node->pattern)
		return good;
	switch (pattern_match(node->pattern, v->str, v->str_len, &r->steps)) {
	case PATTERN_YES:
		return good;
	case PATTERN_COSTLY:
		/* Whatever is left: the search has no answer, and so has the validation. */
		r->steps = 0;
		return false;
	default:
		VIOLATION(r, at, "bad_pattern", "does not match the schema's `pattern`");
		return false;
	}
}

static bool check_array(struct run *r, const struct node *node, const struct jv *v, const struct place *at)
{
	bool good = true;
	size_t i = 0;

	if ((int64_t)v->n < node->min_items || (int64_t)v->n > node->max_items) {
		bool few = (int64_t)v->n < node->min_items;

		VIOLATION(r, at, "bad_count", "must have at %s %lld items; it has %u", few ? "least" : "most",
			  (long long)(few ? node->min_items : node->max_items), v->n);
		good = false;
	}
	if (node->unique)
		good &= check_unique(r, v, at);
	if (!node->prefix.n && !node->items)
		return good;
	for (const struct jv *x = v->child; x && (good || at) && r->steps; x = x->next, i++) {
		const struct node *sub = i < node->prefix.n ? node->prefix.v[i] : node->items;
		struct place here;

		if (!sub)
			break;
		if (at)
			here = place_item(at, i);
		good &= check(r, sub, x, at ? &here : NULL);
	}
	return good;
}

static const struct prop *find_prop(const struct node *node, const char *name)
{
	size_t from = 0;
	size_t to = node->n_props;

	while (from < to) {
		size_t mid = from + (to - from) / 2;
		int c = strcmp(name, node->props[mid].name);

		if (c == 0)
			return &node->props[mid];
		if (c < 0)
			to = mid;
		else
			from = mid + 1;
	}
	return NULL;
}

/* Which required members are missing? Asked only when some are. */
static void report_missing(struct run *r, const struct node *node, const struct jv *v, const struct place *at)
{
	for (size_t i = 0; i < node->n_props && at; i++) {
		struct place here = place_member(at, node->props[i].name);

		if (!spend(r, v->n + 1u))
			return;
		if (node->props[i].required && !jv_get(v, node->props[i].name))
			complain(&here, "required", "is required");
	}
}

static bool check_object(struct run *r, const struct node *node, const struct jv *v, const struct place *at)
{
	size_t found = 0;
	bool good = true;

	if (!node->n_props && !node->additional)
		return true;
	for (const struct jv *m = v->child; m && (good || at) && r->steps; m = m->next) {
		const struct prop *p = find_prop(node, m->key);
		const struct node *sub = p && p->node ? p->node : node->additional;
		const struct place *sub_at = NULL;
		struct place here;

		found += p && p->required;
		if (at) {
			here = place_member(at, m->key);
			sub_at = &here;
		}
		if (sub && sub->never && sub == node->additional) {
			VIOLATION(r, sub_at, "unknown_field", "is not a member that the schema allows");
			good = false;
		} else if (sub) {
			good &= check(r, sub, m, sub_at);
		}
		spend(r, 1);
	}
	if (found < node->n_required && r->steps) {
		report_missing(r, node, v, at);
		good = false;
	}
	return good;
}

static bool check_combined(struct run *r, const struct node *node, const struct jv *v, const struct place *at)
{
	bool good = true;
	size_t matches = 0;

	for (size_t i = 0; i < node->all_of.n && (good || at); i++)
		good &= check(r, node->all_of.v[i], v, at);
	if (node->any_of.n) {
		for (size_t i = 0; i < node->any_of.n && !matches; i++)
			matches += check(r, node->any_of.v[i], v, NULL);
		if (!matches) {
			VIOLATION(r, at, "no_match", "meets none of the %zu schemas of `anyOf`", node->any_of.n);
			good = false;
		}
	}
	if (node->one_of.n) {
		matches = 0;
		for (size_t i = 0; i < node->one_of.n && matches < 2; i++)
			matches += check(r, node->one_of.v[i], v, NULL);
		if (matches != 1) {
			VIOLATION(r, at, "no_match", "must meet exactly one of the %zu schemas of `oneOf`; it meets %s",
				  node->one_of.n, matches ? "more" : "none");
			good = false;
		}
	}
	if (node->not && check(r, node->not, v, NULL)) {
		VIOLATION(r, at, "forbidden", "meets the schema of `not`");
		good = false;
	}
	return good;
}

static bool check(struct run *r, const struct node *node, const struct jv *v, const struct place *at)
{
	bool good;

	if (!spend(r, 1))
		return false;
	if (node->never) {
		VIOLATION(r, at, "forbidden", "is not allowed: its schema is `false`");
		return false;
	}
	good = check_type(r, node, v, at);
	if (good || at)
		good &= check_values(r, node, v, at);
	if (good || at)
		good &= check_combined(r, node, v, at);
	if (!good && !at)
		return false;
	switch (v->type) {
	case J_NUMBER:
		return check_number(r, node, v, at) && good;
	case J_STRING:
		return check_string(r, node, v, at) && good;
	case J_ARRAY:
		return check_array(r, node, v, at) && good;
	case J_OBJECT:
		return check_object(r, node, v, at) && good;
	default:
		return good;
	}
}

enum err jsonschema_validate(const struct jv *schema, const struct jv *value, const char *path, struct error *e)
{
	struct place root = place_root(e->arena, e, path);
	struct place schema_root = place_root(e->arena, e, "schema");
	struct run r = { .arena = e->arena, .steps = LIMIT_VALIDATION_STEPS };
	unsigned before = e->n_fields;

	if (!tree_is_built(schema) || !tree_is_built(value))
		return error_set(e, ERR_INTERNAL, "jsonschema_validate needs trees with all levels built");
	const struct node *node = node_compile(schema, &schema_root);

	if (e->n_fields > before)
		return ERR_VALIDATION;
	bool good = check(&r, node, value, &root);

	if (!r.steps)
		complain(&root, "too_costly", "takes more work to validate than is allowed; simplify the schema");
	return good && r.steps ? OK : ERR_VALIDATION;
}
