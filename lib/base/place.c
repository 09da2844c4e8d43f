// SPDX-License-Identifier: MIT
#include "place.h"

#include "buf.h"

/* Names that a path shows after a dot; others stand in brackets and quotes. */
static bool is_plain(const char *name)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-$";

	return *name && !name[strspn(name, plain)];
}

static void add_name(struct buf *b, const char *name)
{
	size_t n = strnlen(name, PLACE_NAME_MAX + 1);
	bool cut = n > PLACE_NAME_MAX;

	if (cut) {
		/* Between two characters. */
		for (n = PLACE_NAME_MAX; n && ((unsigned char)name[n] & 0xc0) == 0x80;)
			n--;
	}
	if (is_plain(name)) {
		buf_addc(b, '.');
		buf_add(b, name, n);
		buf_adds(b, cut ? "…" : "");
	} else {
		buf_adds(b, "[\"");
		buf_add_json_escaped(b, name, n);
		buf_adds(b, cut ? "…\"]" : "\"]");
	}
}

static void add_path(struct buf *b, const struct place *at)
{
	if (!at->up) {
		buf_adds(b, at->name);
		return;
	}
	add_path(b, at->up);
	if (at->name)
		add_name(b, at->name);
	else
		buf_addf(b, "[%zu]", at->index);
}

void complain(const struct place *at, const char *code, const char *fmt, ...)
{
	va_list ap;
	char text[256];
	struct buf path;

	if (at->e->n_fields >= ERROR_FIELDS_MAX) {
		error_field(at->e, "", code, "%s", "");
		return;
	}
	va_start(ap, fmt);
	if (vsnprintf(text, sizeof(text), fmt, ap) < 0)
		text[0] = '\0';
	va_end(ap);
	buf_init(&path);
	add_path(&path, at);
	error_field(at->e, path.p, code, "%s", text);
	buf_release(&path);
}
