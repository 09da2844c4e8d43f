// SPDX-License-Identifier: MIT
#include "schema.h"

#include "clock.h"
#include "id.h"
#include "limits.h"
#include "place.h"
#include "utf8.h"

bool slug_valid(const char *s, size_t max)
{
	size_t n = strlen(s);

	if (n == 0 || n > max || strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789._:/-") != n)
		return false;
	return (s[0] >= 'a' && s[0] <= 'z') || (s[0] >= '0' && s[0] <= '9');
}

int name_index(const char *const *names, const char *text)
{
	for (int i = 0; names[i]; i++) {
		if (strcmp(names[i], text) == 0)
			return i;
	}
	return -1;
}

static const char *name_list(struct arena *a, const char *const *names)
{
	const char *list = names[0];

	for (int i = 1; names[i]; i++)
		list = arena_printf(a, "%s, %s", list, names[i]);
	return list;
}

/* The host and port of a URL: a name, an IPv4 address or an IPv6 one in brackets. Returns what follows, or NULL. */
static const char *after_authority(const char *host)
{
	const char *p = host;
	long port = 0;

	if (*p == '[') {
		size_t n = strspn(p + 1, "0123456789abcdefABCDEF:.");

		if (n < 2 || p[n + 1] != ']')
			return NULL;
		p += n + 2;
	} else {
		p += strspn(p, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");
		if (p == host)
			return NULL;
	}
	if (*p == ':') {
		size_t n = strspn(++p, "0123456789");

		if (n == 0 || n > 5 || *p == '0')
			return NULL;
		port = strtol(p, NULL, 10);
		p += n;
	}
	return port <= 65535 && (!*p || strchr("/?#", *p)) ? p : NULL;
}

/* http(s)://host… without credentials, spaces or control characters; URL_PATTERN says the same */
static bool url_valid(const char *s)
{
	const char *host = strncmp(s, "http://", 7) == 0 ? s + 7 : strncmp(s, "https://", 8) == 0 ? s + 8 : NULL;
	const char *rest = host ? after_authority(host) : NULL;

	for (const char *p = rest; p && *p; p++) {
		if ((unsigned char)*p <= 0x20 || (unsigned char)*p >= 0x7f || strchr("<>\"{}|\\^`", *p))
			return false;
	}
	return rest != NULL;
}

static bool email_valid(const char *s)
{
	const char *at = strchr(s, '@');

	if (!at || at == s || strchr(at + 1, '@') || !strchr(at + 1, '.') || at[1] == '.')
		return false;
	for (const char *p = s; *p; p++) {
		if ((unsigned char)*p <= 0x20 || (unsigned char)*p == 0x7f || strchr("<>,;:\"()[]\\", *p))
			return false;
	}
	return true;
}

static bool has_control(const char *s)
{
	for (; *s; s++) {
		if (((unsigned char)*s < 0x20 && *s != '\n' && *s != '\t' && *s != '\r') || *s == 0x7f)
			return true;
	}
	return false;
}

/* A string field's value from decoded text. */
static const char *check_text(const struct field *f, const char *text, const struct place *at)
{
	size_t n = utf8_count(text);

	switch (f->kind) {
	case F_UUID:
	case F_UUIDS:
		if (!id_valid(text))
			complain(at, "bad_id", "must be a UUID in lower case");
		return text;
	case F_SLUG:
	case F_SLUGS:
		if (!slug_valid(text, f->kind == F_SLUG && f->max ? (size_t)f->max : LIMIT_SLUG))
			complain(at, "bad_slug",
				 "must be 1 to %d characters of a-z 0-9 . _ : / - and start with a letter or digit",
				 f->kind == F_SLUG && f->max ? (int)f->max : LIMIT_SLUG);
		return text;
	case F_URL:
		if (n > LIMIT_URL || !url_valid(text))
			complain(at, "bad_url", "must be an http or https URL of up to %d characters without credentials",
				 LIMIT_URL);
		return text;
	case F_EMAIL:
		if (n > 254 || !email_valid(text))
			complain(at, "bad_email", "must be an e-mail address");
		return text;
	case F_STRS:
		if (f->names && name_index(f->names, text) < 0)
			complain(at, "bad_value", "must be one of: %s", name_list(at->arena, f->names));
		break;
	default:
		break;
	}
	/* min and max of a list are its items'. */
	int64_t min = f->kind == F_STRS ? 0 : f->min;
	int64_t max = f->kind == F_STRS ? LIMIT_NAME : f->max;

	if ((int64_t)n < min || (int64_t)n > max)
		complain(at, "bad_length", "must have %lld to %lld characters; it has %zu", (long long)min,
			 (long long)max, n);
	else if (has_control(text))
		complain(at, "bad_character", "holds a control character");
	return text;
}

static bool is_text(enum field_kind k)
{
	return k == F_STR || k == F_SLUG || k == F_UUID || k == F_URL || k == F_EMAIL;
}

static void want(const struct place *at, const struct jv *v, const char *type)
{
	complain(at, "bad_type", "must be %s, not %s", type, jtype_name(v->type));
}

static void read_object(const struct schema *s, const struct jv *body, void *obj, const struct place *at);

/* Slugs and ids name things: the same one twice in a list is a mistake. */
static void list_add(const struct field *f, struct strs *list, const char *text, const struct place *at)
{
	for (int i = 0; i < list->n && f->kind != F_STRS; i++) {
		if (strcmp(list->v[i], text) == 0) {
			complain(at, "duplicate", "stands twice in the list");
			break;
		}
	}
	list->v[list->n++] = text;
}

static void read_list(const struct field *f, const struct jv *v, struct strs *out, const struct place *at)
{
	if (v->type != J_ARRAY) {
		want(at, v, "an array of strings");
		return;
	}
	if ((int64_t)v->n > f->max || (int64_t)v->n < f->min) {
		complain(at, "bad_count", "must have %lld to %lld items; it has %u", (long long)f->min, (long long)f->max,
			 v->n);
		return;
	}
	out->v = arena_calloc(at->arena, v->n + 1, sizeof(*out->v));
	int i = 0;

	for (const struct jv *item = v->child; item; item = item->next, i++) {
		struct place here = place_item(at, (size_t)i);

		if (item->type != J_STRING || item->has_nul) {
			want(&here, item, "a string");
			continue;
		}
		list_add(f, out, check_text(f, item->str, &here), &here);
	}
}

static void read_objects(const struct field *f, const struct jv *v, struct objs *out, const struct place *at)
{
	if (v->type != J_ARRAY) {
		want(at, v, "an array of objects");
		return;
	}
	if ((int64_t)v->n > f->max || (int64_t)v->n < f->min) {
		complain(at, "bad_count", "must have %lld to %lld items; it has %u", (long long)f->min, (long long)f->max,
			 v->n);
		return;
	}
	out->v = arena_calloc(at->arena, v->n + 1, f->sub->size);
	for (const struct jv *item = v->child; item; item = item->next, out->n++) {
		struct place here = place_item(at, (size_t)out->n);

		read_object(f->sub, item, (char *)out->v + (size_t)out->n * f->sub->size, &here);
	}
}

static void read_number(const struct field *f, const struct jv *v, void *to, const struct place *at)
{
	double d;

	if (v->type != J_NUMBER) {
		want(at, v, f->kind == F_INT ? "a whole number" : "a number");
		return;
	}
	if (f->kind == F_INT) {
		if (!jv_int(v, to) || *(int64_t *)to < f->min || *(int64_t *)to > f->max)
			complain(at, "out_of_range", "must be a whole number from %lld to %lld", (long long)f->min,
				 (long long)f->max);
		return;
	}
	if (!jv_double(v, &d) || d < (double)f->min || d > (double)f->max) {
		complain(at, "out_of_range", "must be a number from %lld to %lld", (long long)f->min, (long long)f->max);
		return;
	}
	*(double *)to = d;
}

static void read_enum(const struct field *f, const char *text, int *to, const struct place *at)
{
	int i = name_index(f->names, text);

	if (i < 0)
		complain(at, "bad_value", "must be one of: %s", name_list(at->arena, f->names));
	else
		*to = i;
}

static void read_time(const char *text, int64_t *to, const struct place *at)
{
	if (!time_parse(text, to))
		complain(at, "bad_time", "must be an RFC 3339 time such as 2026-01-31T12:00:00Z");
}

static void read_json(const struct field *f, const struct jv *v, const char **to, const struct place *at)
{
	if (f->kind == F_JSON_OBJ && v->type != J_OBJECT) {
		want(at, v, "an object");
		return;
	}
	if (f->max && (int64_t)v->raw_len > f->max) {
		complain(at, "too_large", "must have at most %lld bytes; it has %zu", (long long)f->max, v->raw_len);
		return;
	}
	*to = jv_text(at->arena, v);
}

static void read_field(const struct field *f, const struct jv *v, void *to, const struct place *at)
{
	if (is_text(f->kind) || f->kind == F_ENUM || f->kind == F_TIME) {
		if (v->type != J_STRING) {
			want(at, v, "a string");
			return;
		}
		if (v->has_nul) {
			complain(at, "bad_character", "holds U+0000");
			return;
		}
	}
	switch (f->kind) {
	case F_STR: case F_SLUG: case F_UUID: case F_URL: case F_EMAIL:
		*(const char **)to = check_text(f, v->str, at);
		break;
	case F_INT: case F_NUM:
		read_number(f, v, to, at);
		break;
	case F_BOOL:
		if (v->type != J_TRUE && v->type != J_FALSE)
			want(at, v, "true or false");
		*(bool *)to = v->type == J_TRUE;
		break;
	case F_TIME:
		read_time(v->str, to, at);
		break;
	case F_ENUM:
		read_enum(f, v->str, to, at);
		break;
	case F_JSON: case F_JSON_OBJ:
		read_json(f, v, to, at);
		break;
	case F_STRS: case F_SLUGS: case F_UUIDS:
		read_list(f, v, to, at);
		break;
	case F_OBJ: {
		void *obj = arena_zalloc(at->arena, f->sub->size);

		read_object(f->sub, v, obj, at);
		*(void **)to = obj;
		break;
	}
	case F_OBJS:
		read_objects(f, v, to, at);
		break;
	case F_ENUMS:
		want(at, v, "a comma-separated list in a query string");
		break;
	}
}

static void set_defaults(const struct schema *s, void *obj)
{
	for (size_t i = 0; i < s->n; i++) {
		void *to = (char *)obj + s->fields[i].offset;

		switch (s->fields[i].kind) {
		case F_INT: *(int64_t *)to = s->fields[i].dflt; break;
		case F_NUM: *(double *)to = (double)s->fields[i].dflt; break;
		case F_BOOL: *(bool *)to = s->fields[i].dflt; break;
		case F_ENUM: *(int *)to = (int)s->fields[i].dflt; break;
		default: break;
		}
	}
}

static int field_index(const struct schema *s, const char *name)
{
	for (size_t i = 0; i < s->n; i++) {
		if (strcmp(s->fields[i].name, name) == 0 || (s->fields[i].alias && strcmp(s->fields[i].alias, name) == 0))
			return (int)i;
	}
	return -1;
}

/* Note field i as given; a field that came under both of its names is a mistake. */
static bool mark(const struct schema *s, void *obj, int i, const struct place *at)
{
	uint64_t *present = obj;

	if (*present >> i & 1) {
		complain(at, "duplicate", "is given twice: %s is another name of %s", s->fields[i].alias, s->fields[i].name);
		return false;
	}
	*present |= (uint64_t)1 << i;
	return true;
}

static void check_required(const struct schema *s, const void *obj, const struct place *at)
{
	uint64_t present = *(const uint64_t *)obj;

	for (size_t i = 0; i < s->n; i++) {
		struct place here = place_member(at, s->fields[i].name);

		if (s->fields[i].required && !(present >> i & 1))
			complain(&here, "required", "is required, and may not be null");
	}
	if ((unsigned)__builtin_popcountll(present) < s->min_fields && !at->e->n_fields)
		complain(at, "required", "at least %u field must be given", s->min_fields);
}

static void read_object(const struct schema *s, const struct jv *body, void *obj, const struct place *at)
{
	if (body->type != J_OBJECT) {
		want(at, body, "an object");
		return;
	}
	set_defaults(s, obj);
	for (const struct jv *m = body->child; m; m = m->next) {
		struct place here = place_member(at, m->key);
		int i = field_index(s, m->key);

		if (i < 0) {
			complain(&here, "unknown_field", "is not a field of this request");
			continue;
		}
		/* null means not given; where null is a value it is one */
		if (m->type == J_NULL && s->fields[i].kind != F_JSON)
			continue;
		if (mark(s, obj, i, &here))
			read_field(&s->fields[i], m, (char *)obj + s->fields[i].offset, &here);
	}
	check_required(s, obj, at);
}

enum err schema_read(const struct schema *s, const struct jv *body, struct arena *a, void **out, struct error *e)
{
	void *obj = arena_zalloc(a, s->size);
	struct place root = place_root(a, e, "$");

	read_object(s, body, obj, &root);
	*out = obj;
	return e->n_fields ? ERR_VALIDATION : OK;
}

bool url_decode(char *s, bool plus)
{
	char *out = s;
	char *start = s;

	for (; *s; s++) {
		if (*s == '+' && plus) {
			*out++ = ' ';
		} else if (*s == '%') {
			char hex[3] = { s[1], s[1] ? s[2] : '\0', '\0' };
			char *end;
			long c = strtol(hex, &end, 16);

			if (strspn(hex, "0123456789abcdefABCDEF") != 2 || *end || c == 0)
				return false;
			*out++ = (char)c;
			s += 2;
		} else {
			*out++ = *s;
		}
	}
	*out = '\0';
	return utf8_valid(start, (size_t)(out - start));
}

/* A comma-separated list of a query. */
static void query_list(const struct field *f, char *text, void *to, const struct place *at)
{
	struct strs *list = to;
	uint32_t mask = 0;
	char *save = NULL;
	int max = f->kind == F_ENUMS ? 32 : (int)f->max;

	if (f->kind != F_ENUMS)
		list->v = arena_calloc(at->arena, (size_t)max, sizeof(*list->v));
	for (char *item = strtok_r(text, ",", &save); item; item = strtok_r(NULL, ",", &save)) {
		if (f->kind == F_ENUMS) {
			int i = 0;

			read_enum(f, item, &i, at);
			mask |= 1U << i;
			continue;
		}
		if (list->n == max) {
			complain(at, "bad_count", "must have at most %d items", max);
			return;
		}
		list_add(f, list, check_text(f, item, at), at);
	}
	if (f->kind == F_ENUMS)
		*(uint32_t *)to = mask;
}

static void query_field(const struct field *f, char *text, void *to, const struct place *at)
{
	size_t n = strlen(text);
	struct jv *parsed;
	struct error scrap;
	int flag = 0;
	static const char *const bools[] = { "false", "true", "0", "1", NULL };

	switch (f->kind) {
	case F_STR: case F_SLUG: case F_UUID: case F_URL: case F_EMAIL:
		*(const char **)to = check_text(f, text, at);
		break;
	case F_INT: case F_NUM:
		error_init(&scrap, at->arena);
		if (json_parse(at->arena, text, n, 0, &parsed, &scrap) || parsed->type != J_NUMBER || parsed->raw_len != n)
			complain(at, "bad_type", "must be a number from %lld to %lld", (long long)f->min,
				 (long long)f->max);
		else
			read_number(f, parsed, to, at);
		break;
	case F_BOOL:
		flag = name_index(bools, text);
		if (flag < 0)
			complain(at, "bad_type", "must be true or false");
		*(bool *)to = flag > 0 && (flag & 1);
		break;
	case F_TIME:
		read_time(text, to, at);
		break;
	case F_ENUM:
		read_enum(f, text, to, at);
		break;
	default:
		query_list(f, text, to, at);
	}
}

enum err schema_read_query(const struct schema *s, const char *query, bool form, struct arena *a, void **out,
			   struct error *e)
{
	void *obj = arena_zalloc(a, s->size);
	char *save = NULL;
	char *text = arena_strdup(a, query ? query : "");
	struct place root = place_root(a, e, form ? "$" : "query");

	set_defaults(s, obj);
	for (char *pair = strtok_r(text, "&", &save); pair; pair = strtok_r(NULL, "&", &save)) {
		char *eq = strchr(pair, '=');
		char *value = eq ? eq + 1 : pair + strlen(pair);

		if (eq)
			*eq = '\0';
		bool good = url_decode(pair, true) && url_decode(value, true);
		struct place at = place_member(&root, pair);

		if (!good) {
			complain(&root, "bad_escape", "holds a bad percent escape, invalid UTF-8 or U+0000");
			continue;
		}
		int i = field_index(s, pair);

		if (i < 0) {
			complain(&at, "unknown_field", "is not a parameter of this request");
			continue;
		}
		if (*(uint64_t *)obj >> i & 1) {
			complain(&at, "duplicate", "is given twice");
			continue;
		}
		*(uint64_t *)obj |= (uint64_t)1 << i;
		query_field(&s->fields[i], value, (char *)obj + s->fields[i].offset, &at);
	}
	check_required(s, obj, &root);
	*out = obj;
	return e->n_fields ? ERR_VALIDATION : OK;
}

bool schema_has(const struct schema *s, const void *obj, const char *field)
{
	int i = field_index(s, field);

	return i >= 0 && (*(const uint64_t *)obj >> i & 1);
}

static void write_names(const struct field *f, struct jw *w)
{
	jw_key(w, "enum");
	jw_arr(w);
	for (int i = 0; f->names[i]; i++)
		jw_str(w, f->names[i]);
	jw_end_arr(w);
}

#define PORT_PATTERN "([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
#define URL_PATTERN "^https?://([A-Za-z0-9._-]+|\\[[0-9A-Fa-f:.]{2,}\\])(:" PORT_PATTERN ")?([/?#][!#-;=?-\\[\\]_a-z~]*)?$"
#define TEXT_PATTERN "^[^\\u0000-\\u0008\\u000b\\u000c\\u000e-\\u001f\\u007f]*$"
#define SLUG_PATTERN "^[a-z0-9][a-z0-9._:/-]*$"

static void write_string(const struct field *f, struct jw *w)
{
	jw_kstr(w, "type", "string");
	switch (f->kind) {
	case F_UUID:
		jw_kstr(w, "format", "uuid");
		jw_kstr(w, "pattern", "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$");
		break;
	case F_SLUG:
		jw_kstr(w, "pattern", SLUG_PATTERN);
		jw_kint(w, "maxLength", f->max ? f->max : LIMIT_SLUG);
		break;
	case F_URL:
		jw_kstr(w, "format", "uri");
		jw_kstr(w, "pattern", URL_PATTERN);
		jw_kint(w, "maxLength", LIMIT_URL);
		break;
	case F_EMAIL:
		jw_kstr(w, "format", "email");
		jw_kint(w, "maxLength", 254);
		break;
	case F_TIME:
		jw_kstr(w, "format", "date-time");
		break;
	case F_ENUM:
		write_names(f, w);
		break;
	default:
		if (f->names)
			write_names(f, w);
		if (!f->names)
			jw_kstr(w, "pattern", f->pattern ? f->pattern : TEXT_PATTERN);
		if (f->min)
			jw_kint(w, "minLength", f->min);
		jw_kint(w, "maxLength", f->max);
	}
}

static void write_items(const struct field *f, struct jw *w)
{
	const struct field item = { .kind = f->kind == F_SLUGS ? F_SLUG : f->kind == F_UUIDS ? F_UUID : F_STR,
				    .max = f->kind == F_STRS ? LIMIT_NAME : 0, .names = f->names };

	jw_kstr(w, "type", "array");
	jw_key(w, "items");
	if (f->kind == F_OBJS) {
		schema_write(f->sub, w);
	} else if (f->kind == F_ENUMS) {
		jw_obj(w);
		jw_kstr(w, "type", "string");
		write_names(f, w);
		jw_end_obj(w);
	} else {
		field_write(&item, w);
	}
	if (f->min)
		jw_kint(w, "minItems", f->min);
	if (f->max)
		jw_kint(w, "maxItems", f->max);
	if (f->kind == F_SLUGS || f->kind == F_UUIDS)
		jw_kbool(w, "uniqueItems", true);
}

void field_write(const struct field *f, struct jw *w)
{
	if (f->kind == F_OBJ) {
		schema_write(f->sub, w);
		return;
	}
	jw_obj(w);
	if (f->help && *f->help)
		jw_kstr(w, "description", f->help);
	switch (f->kind) {
	case F_INT: case F_NUM:
		jw_kstr(w, "type", f->kind == F_INT ? "integer" : "number");
		jw_kint(w, "minimum", f->min);
		jw_kint(w, "maximum", f->max);
		break;
	case F_BOOL:
		jw_kstr(w, "type", "boolean");
		break;
	case F_JSON:
		break;
	case F_JSON_OBJ:
		jw_kstr(w, "type", "object");
		break;
	case F_STRS: case F_SLUGS: case F_UUIDS: case F_ENUMS: case F_OBJS:
		write_items(f, w);
		break;
	default:
		write_string(f, w);
	}
	jw_end_obj(w);
}

/* An optional member may be null, which means: not given. Any JSON may be null anyway. */
static void property_write(const struct field *f, struct jw *w)
{
	if (f->required || f->kind == F_JSON) {
		field_write(f, w);
		return;
	}
	jw_obj(w);
	jw_key(w, "anyOf");
	jw_arr(w);
	field_write(f, w);
	jw_obj(w);
	jw_kstr(w, "type", "null");
	jw_end_obj(w);
	jw_end_arr(w);
	jw_end_obj(w);
}

void schema_write(const struct schema *s, struct jw *w)
{
	bool any = false;

	jw_obj(w);
	jw_kstr(w, "type", "object");
	if (s->help && *s->help)
		jw_kstr(w, "description", s->help);
	jw_key(w, "properties");
	jw_obj(w);
	for (size_t i = 0; i < s->n; i++) {
		jw_key(w, s->fields[i].name);
		property_write(&s->fields[i], w);
		any |= s->fields[i].required;
	}
	jw_end_obj(w);
	if (any) {
		jw_key(w, "required");
		jw_arr(w);
		for (size_t i = 0; i < s->n; i++) {
			if (s->fields[i].required)
				jw_str(w, s->fields[i].name);
		}
		jw_end_arr(w);
	}
	if (s->min_fields)
		jw_kint(w, "minProperties", s->min_fields);
	jw_kbool(w, "additionalProperties", false);
	jw_end_obj(w);
}
