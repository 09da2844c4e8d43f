// SPDX-License-Identifier: MIT
#include "error.h"

#include "buf.h"

static const struct {
	int status;
	const char *type, *text, *message, *name;
} table[ERR_COUNT] = {
	[OK] = { 200, "ok", "ok", "", "OK" },
#define X(code, status, type, text, msg) [code] = { status, type, text, msg, #code },
#include "errors.def"
#undef X
};

void error_init(struct error *e, struct arena *arena)
{
	*e = (struct error){ .arena = arena };
	e->tail = &e->fields;
}

enum err error_set(struct error *e, enum err code, const char *detail_fmt, ...)
{
	va_list ap;

	e->code = code;
	va_start(ap, detail_fmt);
	if (vsnprintf(e->detail, sizeof(e->detail), detail_fmt, ap) < 0)
		e->detail[0] = '\0';
	va_end(ap);
	return code;
}

enum err error_public(struct error *e, enum err code, const char *message_fmt, ...)
{
	va_list ap;

	e->code = code;
	va_start(ap, message_fmt);
	if (vsnprintf(e->message, sizeof(e->message), message_fmt, ap) < 0)
		e->message[0] = '\0';
	va_end(ap);
	return code;
}

/* Names in a path come from the caller and can be as long as the body: they are not sent back whole. */
static const char *keep_path(struct arena *a, const char *path)
{
	size_t cut = ERROR_PATH_MAX;

	if (strlen(path) <= cut)
		return arena_strdup(a, path);
	while (cut && ((unsigned char)path[cut] & 0xc0) == 0x80)
		cut--;
	return arena_printf(a, "%.*s…", (int)cut, path);
}

enum err error_field(struct error *e, const char *path, const char *code, const char *fmt, ...)
{
	va_list ap;
	char text[256];

	if (e->code == OK)
		e->code = ERR_VALIDATION;
	if (e->n_fields++ >= ERROR_FIELDS_MAX)
		return e->code;
	va_start(ap, fmt);
	if (vsnprintf(text, sizeof(text), fmt, ap) < 0)
		text[0] = '\0';
	va_end(ap);
	struct field_error *f = arena_new(e->arena, struct field_error);

	f->path = keep_path(e->arena, path);
	f->code = code;
	f->message = arena_strdup(e->arena, text);
	*e->tail = f;
	e->tail = &f->next;
	return e->code;
}

static enum err clamp(enum err code)
{
	return code < ERR_COUNT ? code : ERR_INTERNAL;
}

void error_fields_json(const struct error *e, struct jw *w)
{
	jw_arr(w);
	for (const struct field_error *f = e->fields; f; f = f->next) {
		jw_obj(w);
		jw_kstr(w, "field", f->path);
		jw_kstr(w, "code", f->code);
		jw_kstr(w, "message", f->message);
		jw_end_obj(w);
	}
	jw_end_arr(w);
}

int err_status(enum err code)
{
	return table[clamp(code)].status;
}

const char *err_type(enum err code)
{
	return table[clamp(code)].type;
}

const char *err_text(enum err code)
{
	return table[clamp(code)].text;
}

const char *err_message(enum err code)
{
	return table[clamp(code)].message;
}

const char *err_name(enum err code)
{
	return table[clamp(code)].name;
}
