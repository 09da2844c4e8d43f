// SPDX-License-Identifier: MIT
#include "log.h"

#include <strings.h>
#include <unistd.h>

#include "buf.h"
#include "clock.h"

#define MESSAGE_MAX 1024

static const char *const level_names[] = { "DEBUG", "INFO", "WARN", "ERROR", "CRITICAL" };
static const char *log_component = "mcp";
static enum log_level log_threshold = LOG_INFO;
static _Thread_local struct log_context context;

void log_init(const char *component, enum log_level level)
{
	log_component = component;
	log_threshold = level;
}

void log_set_level(enum log_level level)
{
	log_threshold = level;
}

bool log_level_parse(const char *name, enum log_level *out)
{
	for (int i = 0; i <= LOG_CRITICAL; i++) {
		if (strcasecmp(name, level_names[i]) == 0) {
			*out = (enum log_level)i;
			return true;
		}
	}
	if (strcasecmp(name, "WARNING") == 0) {
		*out = LOG_WARN;
		return true;
	}
	return false;
}

bool log_enabled(enum log_level level)
{
	return level >= log_threshold;
}

struct log_context *log_context(void)
{
	return &context;
}

void log_context_clear(void)
{
	context = (struct log_context){ 0 };
}

static void put_context(struct jw *w)
{
	const struct {
		const char *key, *value;
	} ids[] = {
		{ "agent_id", context.agent_id }, { "task_id", context.task_id }, { "pipeline_id", context.pipeline_id },
		{ "user_id", context.user_id }, { "session_id", context.session_id },
	};
	bool open = false;

	if (context.request_id && *context.request_id)
		jw_kstr(w, "request_id", context.request_id);
	for (size_t i = 0; i < sizeof(ids) / sizeof(*ids); i++) {
		if (!ids[i].value || !*ids[i].value)
			continue;
		if (!open) {
			jw_key(w, "context");
			jw_obj(w);
			open = true;
		}
		jw_kstr(w, ids[i].key, ids[i].value);
	}
	if (open)
		jw_end_obj(w);
}

static void __attribute__((format(printf, 4, 0)))
emit(enum log_level level, const struct error *e, int64_t duration_us, const char *fmt, va_list ap)
{
	struct buf b;
	struct jw w;
	char message[MESSAGE_MAX];

	if (level < log_threshold)
		return;
	if (vsnprintf(message, sizeof(message), fmt, ap) < 0)
		message[0] = '\0';
	buf_init(&b);
	jw_init(&w, &b);
	jw_obj(&w);
	jw_ktime(&w, "timestamp", now_ms());
	jw_kstr(&w, "level", level_names[level]);
	jw_kstr(&w, "component", log_component);
	jw_kstr(&w, "message", message);
	put_context(&w);
	if (duration_us >= 0)
		jw_kdouble(&w, "duration_ms", (double)duration_us / 1000);
	if (e && e->code != OK) {
		jw_key(&w, "error");
		jw_obj(&w);
		jw_kstr(&w, "type", err_text(e->code));
		jw_kstr(&w, "message", e->detail[0] ? e->detail : e->message[0] ? e->message : err_message(e->code));
		jw_end_obj(&w);
	}
	jw_end_obj(&w);
	buf_addc(&b, '\n');
	/* A log that cannot be written has nowhere to be reported. */
	ssize_t ignored = write(STDERR_FILENO, b.p, b.n);

	(void)ignored;
	buf_release(&b);
}

void log_at(enum log_level level, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	emit(level, NULL, -1, fmt, ap);
	va_end(ap);
}

void log_error(enum log_level level, const struct error *e, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	emit(level, e, -1, fmt, ap);
	va_end(ap);
}

void log_timed(enum log_level level, int64_t duration_us, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	emit(level, NULL, duration_us, fmt, ap);
	va_end(ap);
}
