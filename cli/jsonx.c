// SPDX-License-Identifier: MIT
#include "jsonx.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/json.h"
#include "util.h"

#define DEPTH_MAX 128
#define INPUT_MAX ((size_t)64 << 20)

/* json-c's own reader clamps large integers; a number that it cannot hold keeps its text. */
static struct json_object *number(const struct jv *v)
{
	char *text = xstrndup(v->raw, v->raw_len);
	struct json_object *o;
	int64_t i;
	double d;

	if (!strpbrk(text, ".eE") && jv_int(v, &i))
		o = json_object_new_int64(i);
	else
		o = json_object_new_double_s(jv_double(v, &d) ? d : 0, text);
	free(text);
	return o;
}

static struct json_object *convert(const struct jv *v)
{
	struct json_object *o;

	switch (v->type) {
	case J_OBJECT:
		o = json_object_new_object();
		for (const struct jv *m = v->child; m; m = m->next)
			json_object_object_add(o, m->key, convert(m));
		return o;
	case J_ARRAY:
		o = json_object_new_array();
		for (const struct jv *m = v->child; m; m = m->next)
			json_object_array_add(o, convert(m));
		return o;
	case J_STRING:
		return json_object_new_string_len(v->str, (int)v->str_len);
	case J_NUMBER:
		return number(v);
	case J_TRUE:
	case J_FALSE:
		return json_object_new_boolean(v->type == J_TRUE);
	default:
		return NULL;
	}
}

bool jx_read(const char *text, size_t len, struct json_object **out, char **why)
{
	struct arena a;
	struct error e;
	struct jv *root;
	bool ok;

	arena_init(&a);
	error_init(&e, &a);
	ok = json_parse(&a, text, len, JSON_BUILD_ALL, &root, &e) == OK;
	*out = ok ? convert(root) : NULL;
	if (!ok && why)
		*why = xstrdup(e.message);
	arena_release(&a);
	return ok;
}

struct json_object *jx_parse(const char *text, size_t len)
{
	struct json_tokener *tok;
	struct json_object *o;

	if (jx_read(text, len, &o, NULL))
		return o;
	/* an answer may nest deeper than a request: it wraps one */
	tok = json_tokener_new_ex(DEPTH_MAX);
	if (!tok)
		die(EXIT_FAILED, "out of memory");
	o = json_tokener_parse_ex(tok, text, (int)len);
	if (json_tokener_get_error(tok) != json_tokener_success || json_tokener_get_parse_end(tok) < len) {
		json_object_put(o);
		o = NULL;
	}
	json_tokener_free(tok);
	return o;
}

struct json_object *jx_get(struct json_object *o, const char *path)
{
	char key[128];

	while (*path) {
		size_t n = strcspn(path, ".");

		if (!json_object_is_type(o, json_type_object) || n >= sizeof(key))
			return NULL;
		memcpy(key, path, n);
		key[n] = '\0';
		if (!json_object_object_get_ex(o, key, &o))
			return NULL;
		path += n;
		if (*path == '.')
			path++;
	}
	return o;
}

const char *jx_str(struct json_object *o, const char *path)
{
	struct json_object *v = jx_get(o, path);

	return json_object_is_type(v, json_type_string) ? json_object_get_string(v) : NULL;
}

double jx_num(struct json_object *o, const char *path, double otherwise)
{
	struct json_object *v = jx_get(o, path);

	if (json_object_is_type(v, json_type_int) || json_object_is_type(v, json_type_double))
		return json_object_get_double(v);
	return otherwise;
}

bool jx_bool(struct json_object *o, const char *path, bool otherwise)
{
	struct json_object *v = jx_get(o, path);

	return json_object_is_type(v, json_type_boolean) ? json_object_get_boolean(v) : otherwise;
}

size_t jx_len(struct json_object *o, const char *path)
{
	struct json_object *v = jx_get(o, path);

	return json_object_is_type(v, json_type_array) ? json_object_array_length(v) : 0;
}

const char *jx_text(struct json_object *o)
{
	return json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
}

void jx_set(struct json_object *o, const char *path, struct json_object *v)
{
	const char *dot = strchr(path, '.');
	struct json_object *inner;
	char *key;

	if (!dot) {
		json_object_object_add(o, path, v);
		return;
	}
	key = xstrndup(path, (size_t)(dot - path));
	if (!json_object_object_get_ex(o, key, &inner) || !json_object_is_type(inner, json_type_object)) {
		inner = json_object_new_object();
		json_object_object_add(o, key, inner);
	}
	free(key);
	jx_set(inner, dot + 1, v);
}

void jx_set_str(struct json_object *o, const char *path, const char *s)
{
	jx_set(o, path, json_object_new_string(s));
}

struct json_object *jx_argument(const struct command *cmd, const char *what, const char *value)
{
	bool is_file = value[0] == '@' || !strcmp(value, "-");
	const char *name = value[0] == '@' ? value + 1 : value;
	struct json_object *o;
	char *text, *why;
	size_t len;

	text = is_file ? read_file(name, INPUT_MAX, &len) : xstrdup(value);
	if (!text)
		die(EXIT_USAGE, "cannot read %s: %s", name, strerror(errno));
	if (!is_file)
		len = strlen(text);
	if (!jx_read(text, len, &o, &why))
		usage_error(cmd, "%s: %s%s", what, why, is_file ? "" : " (To read it from a file, write @FILE.)");
	free(text);
	return o;
}

static void add_list(struct json_object *body, const char *field, const char *value)
{
	struct json_object *list = jx_get(body, field);

	if (!json_object_is_type(list, json_type_array)) {
		list = json_object_new_array();
		jx_set(body, field, list);
	}
	while (*value) {
		size_t n = strcspn(value, ",");

		if (n)
			json_object_array_add(list, json_object_new_string_len(value, (int)n));
		value += n + (value[n] == ',');
	}
}

void jx_from_args(struct json_object *body, const struct args *args)
{
	for (int i = 0; i < args->nset; i++) {
		const struct opt *o = args->set[i].opt;
		const char *v = args->set[i].value;
		char *what;

		if (!o->field)
			continue;
		switch (o->type) {
		case OPT_FLAG:
			jx_set(body, o->field, json_object_new_boolean(true));
			break;
		case OPT_BOOL:
			jx_set(body, o->field, json_object_new_boolean(*v == 'y' || *v == 't'));
			break;
		case OPT_INT:
			jx_set(body, o->field, json_object_new_int64((int64_t)strtod(v, NULL)));
			break;
		case OPT_NUM:
			jx_set(body, o->field, json_object_new_double_s(strtod(v, NULL), v));
			break;
		case OPT_LIST:
			add_list(body, o->field, v);
			break;
		case OPT_JSON:
			what = xasprintf("--%s", o->name);
			jx_set(body, o->field, jx_argument(args->cmd, what, v));
			free(what);
			break;
		case OPT_TEXT:
			jx_set_str(body, o->field, v);
			break;
		}
	}
}
