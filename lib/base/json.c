// SPDX-License-Identifier: MIT
#include "json.h"

#include <errno.h>
#include <math.h>

#include "decimal.h"
#include "limits.h"
#include "utf8.h"

struct parser {
	struct arena *arena;
	const char *text, *end, *p;
	int build_depth;
	struct error *error;
};

/* A key as it stands in one object, for the search for duplicates. */
struct key {
	const char *s;
	size_t n;
};

static enum err bad(struct parser *ps, const char *at, const char *why)
{
	return error_public(ps->error, ERR_BAD_JSON, "Malformed JSON at byte %zu: %s.", (size_t)(at - ps->text), why);
}

static void skip_space(struct parser *ps)
{
	while (ps->p < ps->end && (*ps->p == ' ' || *ps->p == '\t' || *ps->p == '\n' || *ps->p == '\r'))
		ps->p++;
}

static int hex4(const char *s)
{
	int v = 0;

	for (int i = 0; i < 4; i++) {
		char c = s[i];
		int d = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;

		if (d < 0)
			return -1;
		v = v << 4 | d;
	}
	return v;
}

/* A \uXXXX escape (with its low surrogate where one belongs) at ps->p, which stands on the 'u'. */
static enum err scan_unicode(struct parser *ps, uint32_t *cp)
{
	const char *at = ps->p - 1;

	if (ps->end - ps->p < 5 || hex4(ps->p + 1) < 0)
		return bad(ps, at, "\\u needs four hexadecimal digits");
	uint32_t hi = (uint32_t)hex4(ps->p + 1);

	ps->p += 5;
	if (hi >= 0xdc00 && hi <= 0xdfff)
		return bad(ps, at, "a low surrogate without its high one");
	if (hi >= 0xd800 && hi <= 0xdbff) {
		int lo = ps->end - ps->p >= 6 && ps->p[0] == '\\' && ps->p[1] == 'u' ? hex4(ps->p + 2) : -1;

		if (lo < 0xdc00 || lo > 0xdfff)
			return bad(ps, at, "a high surrogate without its low one");
		ps->p += 6;
		hi = 0x10000 + ((hi - 0xd800) << 10) + ((uint32_t)lo - 0xdc00);
	}
	*cp = hi;
	return OK;
}

/* One escape sequence; ps->p stands behind the backslash. Decoded bytes are appended at *out when given. */
static enum err scan_escape(struct parser *ps, char **out, bool *has_nul)
{
	static const char from[] = "\"\\/bfnrt";
	static const char to[] = "\"\\/\b\f\n\r\t";
	uint32_t cp = 0;

	if (ps->p == ps->end)
		return bad(ps, ps->p, "the text ends inside a string");
	if (*ps->p == 'u') {
		enum err err = scan_unicode(ps, &cp);

		if (err)
			return err;
		if (cp == 0)
			*has_nul = true;
		if (*out)
			*out += utf8_encode(cp, *out);
		return OK;
	}
	const char *hit = *ps->p ? strchr(from, *ps->p) : NULL;

	if (!hit)
		return bad(ps, ps->p - 1, "an unknown escape in a string");
	if (*out)
		*(*out)++ = to[hit - from];
	ps->p++;
	return OK;
}

/*
 * A string; ps->p stands on its opening quote. Decoded into the arena when keep is set; else *s is NULL
 * unless nothing needed decoding.
 */
static enum err scan_string(struct parser *ps, bool keep, const char **s, size_t *n, bool *has_nul)
{
	const char *start = ++ps->p;
	char *copy = NULL;
	char *out = NULL;
	const char *run = start;

	*has_nul = false;
	for (;;) {
		while (ps->p < ps->end && (unsigned char)*ps->p >= 0x20 && (unsigned char)*ps->p < 0x80 && *ps->p != '"' &&
		       *ps->p != '\\')
			ps->p++;
		if (ps->p == ps->end)
			return bad(ps, start - 1, "a string is not closed");
		unsigned char c = (unsigned char)*ps->p;

		if (c == '"')
			break;
		if (c < 0x20)
			return bad(ps, ps->p, "a control character in a string; write it as an escape");
		if (c >= 0x80) {
			size_t len = utf8_char_len(ps->p, (size_t)(ps->end - ps->p));

			if (!len)
				return bad(ps, ps->p, "invalid UTF-8");
			ps->p += len;
			continue;
		}
		if (keep && !copy) {
			/* Decoding never makes a string longer; find the close to know how much room it needs. */
			const char *q = ps->p;

			while (q < ps->end && *q != '"')
				q += *q == '\\' && q + 1 < ps->end ? 2 : 1;
			copy = arena_alloc(ps->arena, (size_t)(q - start) + 4);
			out = copy;
		}
		if (copy) {
			memcpy(out, run, (size_t)(ps->p - run));
			out += ps->p - run;
		}
		ps->p++;
		enum err err = scan_escape(ps, &out, has_nul);

		if (err)
			return err;
		run = ps->p;
	}
	if (copy) {
		memcpy(out, run, (size_t)(ps->p - run));
		out += ps->p - run;
		*out = '\0';
		*s = copy;
		*n = (size_t)(out - copy);
	} else {
		*n = (size_t)(ps->p - start);
		*s = keep ? arena_strndup(ps->arena, start, *n) : start;
	}
	ps->p++;
	return OK;
}

static size_t run_of_digits(struct parser *ps)
{
	const char *from = ps->p;

	while (ps->p < ps->end && *ps->p >= '0' && *ps->p <= '9')
		ps->p++;
	return (size_t)(ps->p - from);
}

static enum err scan_number(struct parser *ps)
{
	const char *start = ps->p;

	if (*ps->p == '-')
		ps->p++;
	const char *first = ps->p;
	size_t n = run_of_digits(ps);

	if (n == 0)
		return bad(ps, start, "a value is expected here");
	if (n > 1 && *first == '0')
		return bad(ps, start, "a number may not begin with 0");
	if (ps->p < ps->end && *ps->p == '.') {
		ps->p++;
		if (!run_of_digits(ps))
			return bad(ps, start, "a digit must follow the decimal point");
	}
	if (ps->p < ps->end && (*ps->p | 32) == 'e') {
		ps->p++;
		if (ps->p < ps->end && (*ps->p == '+' || *ps->p == '-'))
			ps->p++;
		if (!run_of_digits(ps))
			return bad(ps, start, "a digit must follow the exponent sign");
	}
	if (ps->p - start > LIMIT_NUMBER_LEN)
		return bad(ps, start, "a number is longer than 400 characters");
	return OK;
}

static enum err scan_word(struct parser *ps, const char *word)
{
	size_t n = strlen(word);

	if ((size_t)(ps->end - ps->p) < n || memcmp(ps->p, word, n) != 0)
		return bad(ps, ps->p, "a value is expected here");
	ps->p += n;
	return OK;
}

static int key_cmp(const void *a, const void *b)
{
	const struct key *x = a;
	const struct key *y = b;
	size_t n = x->n < y->n ? x->n : y->n;
	int c = memcmp(x->s, y->s, n);

	return c ? c : (x->n > y->n) - (x->n < y->n);
}

/* Small objects are compared pair by pair; big ones are sorted, so that 100,000 keys stay cheap. */
static bool has_duplicate(struct key *keys, size_t n)
{
	if (n > 12) {
		qsort(keys, n, sizeof(*keys), key_cmp);
		for (size_t i = 1; i < n; i++) {
			if (key_cmp(&keys[i - 1], &keys[i]) == 0)
				return true;
		}
		return false;
	}
	for (size_t i = 1; i < n; i++) {
		for (size_t j = 0; j < i; j++) {
			if (keys[i].n == keys[j].n && memcmp(keys[i].s, keys[j].s, keys[i].n) == 0)
				return true;
		}
	}
	return false;
}

static enum err scan_value(struct parser *ps, int depth, struct jv *v);

struct keylist {
	struct key small[12];
	struct key *v;
	size_t n, cap;
};

static void keylist_add(struct arena *a, struct keylist *l, const char *s, size_t n)
{
	if (l->n == l->cap) {
		struct key *bigger = arena_alloc(a, 2 * l->cap * sizeof(*bigger));

		memcpy(bigger, l->v, l->n * sizeof(*bigger));
		l->v = bigger;
		l->cap *= 2;
	}
	l->v[l->n++] = (struct key){ s, n };
}

/* key and colon of a member; ps->p stands on what should be the key's quote */
static enum err scan_key(struct parser *ps, bool keep, struct keylist *keys, struct jv *v)
{
	const char *s;
	size_t n;
	bool nul;
	const char *at = ps->p;

	if (ps->p == ps->end || *ps->p != '"')
		return bad(ps, ps->p, "a member name in quotes is expected here");
	/* A key with escapes is always decoded: "a" and "\u0061" are the same key. */
	const char *close = memchr(at + 1, '"', (size_t)(ps->end - at - 1));
	bool escapes = close && memchr(at, '\\', (size_t)(close - at));
	enum err err = scan_string(ps, keep || escapes, &s, &n, &nul);

	if (err)
		return err;
	if (nul)
		return bad(ps, at, "a member name holds U+0000");
	keylist_add(ps->arena, keys, s, n);
	v->key = s;
	skip_space(ps);
	if (ps->p == ps->end || *ps->p != ':')
		return bad(ps, ps->p, "':' is expected here");
	ps->p++;
	return OK;
}

/* An object or array; ps->p stands behind its bracket. */
static enum err scan_container(struct parser *ps, int depth, struct jv *v, bool object)
{
	const char close = object ? '}' : ']';
	struct keylist keys = { .cap = 12 };
	struct jv **tail = &v->child;
	const char *start = ps->p - 1;
	bool keep = depth < ps->build_depth;

	keys.v = keys.small;
	if (depth >= LIMIT_JSON_DEPTH)
		return bad(ps, start, "nested deeper than 64 levels");
	skip_space(ps);
	if (ps->p < ps->end && *ps->p == close) {
		ps->p++;
		return OK;
	}
	for (;;) {
		struct jv scratch = { 0 };
		struct jv *item = keep ? arena_new(ps->arena, struct jv) : &scratch;
		enum err err;

		skip_space(ps);
		if (object && (err = scan_key(ps, keep, &keys, item)))
			return err;
		err = scan_value(ps, depth + 1, item);
		if (err)
			return err;
		if (keep) {
			*tail = item;
			tail = &item->next;
		}
		v->n++;
		skip_space(ps);
		if (ps->p < ps->end && *ps->p == close)
			break;
		if (ps->p == ps->end || *ps->p != ',')
			return bad(ps, ps->p, object ? "',' or '}' is expected here" : "',' or ']' is expected here");
		ps->p++;
	}
	ps->p++;
	if (object && has_duplicate(keys.v, keys.n))
		return bad(ps, start, "a member name stands twice in this object");
	return OK;
}

static enum err scan_value(struct parser *ps, int depth, struct jv *v)
{
	enum err err;

	skip_space(ps);
	const char *start = ps->p;

	if (ps->p == ps->end)
		return bad(ps, ps->p, "the text ends where a value is expected");
	switch (*ps->p) {
	case '{':
	case '[':
		v->type = *ps->p++ == '{' ? J_OBJECT : J_ARRAY;
		err = scan_container(ps, depth, v, v->type == J_OBJECT);
		break;
	case '"':
		v->type = J_STRING;
		err = scan_string(ps, depth <= ps->build_depth, &v->str, &v->str_len, &v->has_nul);
		break;
	case 't':
		v->type = J_TRUE;
		err = scan_word(ps, "true");
		break;
	case 'f':
		v->type = J_FALSE;
		err = scan_word(ps, "false");
		break;
	case 'n':
		v->type = J_NULL;
		err = scan_word(ps, "null");
		break;
	default:
		v->type = J_NUMBER;
		err = scan_number(ps);
	}
	v->raw = start;
	v->raw_len = (size_t)(ps->p - start);
	return err;
}

enum err json_parse(struct arena *a, const char *text, size_t n, int build_depth, struct jv **root, struct error *e)
{
	struct parser ps = { .arena = a, .text = text, .end = text + n, .p = text, .build_depth = build_depth, .error = e };
	struct jv *v = arena_new(a, struct jv);
	enum err err = scan_value(&ps, 0, v);

	if (err)
		return err;
	skip_space(&ps);
	if (ps.p != ps.end)
		return bad(&ps, ps.p, "something follows the value");
	if (root)
		*root = v;
	return OK;
}

const struct jv *jv_get(const struct jv *o, const char *key)
{
	if (!o || o->type != J_OBJECT)
		return NULL;
	for (const struct jv *m = o->child; m; m = m->next) {
		if (strcmp(m->key, key) == 0)
			return m;
	}
	return NULL;
}

bool jv_double(const struct jv *v, double *out)
{
	char text[LIMIT_NUMBER_LEN + 1];

	if (!v || v->type != J_NUMBER)
		return false;
	memcpy(text, v->raw, v->raw_len);
	text[v->raw_len] = '\0';
	double d = strtod(text, NULL);

	if (!isfinite(d))
		return false;
	*out = d;
	return true;
}

bool jv_int(const struct jv *v, int64_t *out)
{
	char text[LIMIT_NUMBER_LEN + 1];
	char *end;

	if (!v || v->type != J_NUMBER)
		return false;
	memcpy(text, v->raw, v->raw_len);
	text[v->raw_len] = '\0';
	errno = 0;
	long long n = strtoll(text, &end, 10);

	if (*end == '\0') {
		if (errno)
			return false;
		*out = n;
		return true;
	}
	/* 3.0 and 1e3 are integers too (JSON Schema's reading); a double would round 2^53 + 1 or 1e-400 to one. */
	struct decimal d;

	decimal_read(&d, v->raw, v->raw_len);
	return decimal_int(&d, out);
}

const char *jv_str(const struct jv *o, const char *key)
{
	const struct jv *v = jv_get(o, key);

	return v && v->type == J_STRING ? v->str : NULL;
}

int64_t jv_int_or(const struct jv *o, const char *key, int64_t dflt)
{
	int64_t n;

	return jv_int(jv_get(o, key), &n) ? n : dflt;
}

double jv_double_or(const struct jv *o, const char *key, double dflt)
{
	double d;

	return jv_double(jv_get(o, key), &d) ? d : dflt;
}

bool jv_bool_or(const struct jv *o, const char *key, bool dflt)
{
	const struct jv *v = jv_get(o, key);

	return v && (v->type == J_TRUE || v->type == J_FALSE) ? v->type == J_TRUE : dflt;
}

const char *jv_text(struct arena *a, const struct jv *v)
{
	return v ? arena_strndup(a, v->raw, v->raw_len) : NULL;
}

const char *jtype_name(enum jtype t)
{
	static const char *const names[] = { "null", "boolean", "boolean", "number", "string", "array", "object" };

	return names[t];
}
