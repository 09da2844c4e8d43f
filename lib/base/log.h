// SPDX-License-Identifier: MIT
/*
 * Structured logs: one JSON line an event on stderr, written with one write(2), so that lines of
 * several threads and processes never mix. The context ids of the request in hand are kept per thread
 * and added by themselves. Values are escaped; tokens, secrets and payloads are never passed here.
 *
 *   {"timestamp","level","component","message","request_id","context":{…},"duration_ms","error":{…}}
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>
#include "error.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR, LOG_CRITICAL };

/* component names the program ("mcp-api"); it must outlive the process. */
void log_init(const char *component, enum log_level level);
void log_set_level(enum log_level level);
bool log_level_parse(const char *name, enum log_level *out);	/* also WARNING */
bool log_enabled(enum log_level level);

/* Ids of the work in hand, per thread; NULL or "" is left out. The pointers must stay valid until cleared. */
struct log_context {
	const char *request_id, *agent_id, *task_id, *pipeline_id, *user_id, *session_id;
};
struct log_context *log_context(void);
void log_context_clear(void);

void log_at(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* With an error's type and detail. */
void log_error(enum log_level level, const struct error *e, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* With a duration. */
void log_timed(enum log_level level, int64_t duration_us, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#define log_debug(...) do { if (log_enabled(LOG_DEBUG)) log_at(LOG_DEBUG, __VA_ARGS__); } while (0)
#define log_info(...) log_at(LOG_INFO, __VA_ARGS__)
#define log_warn(...) log_at(LOG_WARN, __VA_ARGS__)

#endif
