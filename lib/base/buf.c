// SPDX-License-Identifier: MIT
#include "buf.h"

#include <inttypes.h>
#include <math.h>

#include "clock.h"
#include "utf8.h"

#define KEEP_MAX ((size_t)64 * 1024)

void buf_init(struct buf *b)
{
	b->cap = 256;
	b->p = xmalloc(b->cap);
	b->p[0] = '\0';
	b->n = 0;
}

void buf_release(struct buf *b)
{
	free(b->p);
	*b = (struct buf){ 0 };
}

void buf_reset(struct buf *b)
{
	if (b->cap > KEEP_MAX) {
		buf_release(b);
		buf_init(b);
		return;
	}
	b->n = 0;
	b->p[0] = '\0';
}

void buf_grow(struct buf *b, size_t n)
{
	size_t need = b->n + n + 1;

	if (need <= b->cap)
		return;
	size_t cap = b->cap * 2;

	if (cap < need)
		cap = need;
	b->p = xrealloc(b->p, cap);
	b->cap = cap;
}

void buf_add(struct buf *b, const void *data, size_t n)
{
	buf_grow(b, n);
	memcpy(b->p + b->n, data, n);
	b->n += n;
	b->p[b->n] = '\0';
}

void buf_adds(struct buf *b, const char *s)
{
	buf_add(b, s, strlen(s));
}

void buf_addc(struct buf *b, char c)
{
	buf_grow(b, 1);
	b->p[b->n++] = c;
	b->p[b->n] = '\0';
}

void buf_addf(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	va_list again;

	va_start(ap, fmt);
	va_copy(again, ap);
	int n = vsnprintf(b->p + b->n, b->cap - b->n, fmt, ap);

	va_end(ap);
	if (n > 0 && (size_t)n >= b->cap - b->n) {
		buf_grow(b, (size_t)n);
		n = vsnprintf(b->p + b->n, b->cap - b->n, fmt, again);
	}
	va_end(again);
	if (n > 0)
		b->n += (size_t)n;
	b->p[b->n] = '\0';
}

void buf_add_json_escaped(struct buf *b, const char *s, size_t n)
{
	static const char hex[] = "0123456789abcdef";
	size_t i = 0;

	while (i < n) {
		size_t from = i;

		while (i < n && (unsigned char)s[i] >= 0x20 && (unsigned char)s[i] < 0x7f && s[i] != '"' && s[i] != '\\')
			i++;
		if (i > from)
			buf_add(b, s + from, i - from);
		if (i == n)
			break;
		unsigned char c = (unsigned char)s[i];

		if (c >= 0x80) {
			size_t len = utf8_char_len(s + i, n - i);

			if (len) {
				buf_add(b, s + i, len);
				i += len;
			} else {
				buf_adds(b, "\\ufffd");
				i++;
			}
			continue;
		}
		i++;
		switch (c) {
		case '"': buf_adds(b, "\\\""); break;
		case '\\': buf_adds(b, "\\\\"); break;
		case '\n': buf_adds(b, "\\n"); break;
		case '\r': buf_adds(b, "\\r"); break;
		case '\t': buf_adds(b, "\\t"); break;
		default: {
			char esc[6] = { '\\', 'u', '0', '0', hex[c >> 4], hex[c & 15] };

			buf_add(b, esc, sizeof(esc));
		}
		}
	}
}

void jw_init(struct jw *w, struct buf *out)
{
	w->out = out;
	w->depth = 0;
	w->first[0] = true;
	w->after_key = false;
}

/* The comma before a value, where one belongs. */
static void sep(struct jw *w)
{
	if (w->after_key) {
		w->after_key = false;
		return;
	}
	if (!w->first[w->depth])
		buf_addc(w->out, ',');
	w->first[w->depth] = false;
}

static void open_level(struct jw *w, char c)
{
	sep(w);
	buf_addc(w->out, c);
	if (w->depth == JW_MAX_DEPTH)
		abort();
	w->first[++w->depth] = true;
}

static void close_level(struct jw *w, char c)
{
	buf_addc(w->out, c);
	if (w->depth == 0)
		abort();
	w->depth--;
}

void jw_obj(struct jw *w)
{
	open_level(w, '{');
}

void jw_end_obj(struct jw *w)
{
	close_level(w, '}');
}

void jw_arr(struct jw *w)
{
	open_level(w, '[');
}

void jw_end_arr(struct jw *w)
{
	close_level(w, ']');
}

void jw_key(struct jw *w, const char *key)
{
	sep(w);
	buf_addc(w->out, '"');
	buf_add_json_escaped(w->out, key, strlen(key));
	buf_add(w->out, "\":", 2);
	w->after_key = true;
}

void jw_strn(struct jw *w, const char *s, size_t n)
{
	sep(w);
	buf_addc(w->out, '"');
	buf_add_json_escaped(w->out, s, n);
	buf_addc(w->out, '"');
}

void jw_str(struct jw *w, const char *s)
{
	if (s)
		jw_strn(w, s, strlen(s));
	else
		jw_null(w);
}

void jw_int(struct jw *w, int64_t v)
{
	sep(w);
	buf_addf(w->out, "%" PRId64, v);
}

void jw_double(struct jw *w, double v)
{
	if (!isfinite(v)) {
		jw_null(w);
		return;
	}
	sep(w);
	/* Whole numbers are the common case, and printing a double is slow. */
	if (fabs(v) < 1e15 && v == (double)(int64_t)v) {
		buf_addf(w->out, "%" PRId64, (int64_t)v);
		return;
	}
	for (int digits = 6; digits <= 17; digits++) {
		char text[40];
		int n = snprintf(text, sizeof(text), "%.*g", digits, v);

		if (n > 0 && (digits == 17 || strtod(text, NULL) == v)) {
			buf_add(w->out, text, (size_t)n);
			return;
		}
	}
}

void jw_bool(struct jw *w, bool v)
{
	sep(w);
	buf_adds(w->out, v ? "true" : "false");
}

void jw_null(struct jw *w)
{
	sep(w);
	buf_adds(w->out, "null");
}

void jw_raw(struct jw *w, const char *json)
{
	sep(w);
	buf_adds(w->out, json && *json ? json : "null");
}

void jw_rawn(struct jw *w, const char *json, size_t n)
{
	sep(w);
	buf_add(w->out, json, n);
}

void jw_time(struct jw *w, int64_t ms)
{
	char text[TIME_TEXT];

	if (ms == 0) {
		jw_null(w);
		return;
	}
	sep(w);
	buf_addc(w->out, '"');
	time_format(ms, text);
	buf_adds(w->out, text);
	buf_addc(w->out, '"');
}

void jw_kstr(struct jw *w, const char *key, const char *s)
{
	jw_key(w, key);
	jw_str(w, s);
}

void jw_kint(struct jw *w, const char *key, int64_t v)
{
	jw_key(w, key);
	jw_int(w, v);
}

void jw_kdouble(struct jw *w, const char *key, double v)
{
	jw_key(w, key);
	jw_double(w, v);
}

void jw_kbool(struct jw *w, const char *key, bool v)
{
	jw_key(w, key);
	jw_bool(w, v);
}

void jw_kraw(struct jw *w, const char *key, const char *json)
{
	jw_key(w, key);
	jw_raw(w, json);
}

void jw_ktime(struct jw *w, const char *key, int64_t ms)
{
	jw_key(w, key);
	jw_time(w, ms);
}

void jw_knull(struct jw *w, const char *key)
{
	jw_key(w, key);
	jw_null(w);
}
