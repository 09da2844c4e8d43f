// SPDX-License-Identifier: MIT
/* Log lines of a task: records apart from it, so that a chatty task stays small. */
#include "task.h"

#include "../base/limits.h"

const char *const task_log_levels[] = { "debug", "info", "warn", "error", "critical", NULL };

static const struct field log_fields[] = {
	{ "level", F_ENUM, .offset = offsetof(struct log_in, level), .names = task_log_levels, .dflt = 1 },
	{ "message", F_STR, true, offsetof(struct log_in, message), .min = 1, .max = LIMIT_TEXT },
	{ "timestamp", F_TIME, .offset = offsetof(struct log_in, timestamp), .help = "Now by default." },
};
SCHEMA(log_schema, struct log_in, "LogLine", log_fields, "One line of a task's log.");

static struct record *log_record(struct op *op, const char *task_id, const struct log_in *line)
{
	struct record *rec = arena_new(op->arena, struct record);
	char *id = arena_alloc(op->arena, ID_TEXT);
	struct buf b;
	struct jw w;

	id_new(id);
	buf_init(&b);
	jw_init(&w, &b);
	jw_obj(&w);
	jw_ktime(&w, "timestamp", line->timestamp ? line->timestamp : op->now);
	jw_kstr(&w, "level", task_log_levels[line->level]);
	jw_kstr(&w, "message", line->message);
	jw_end_obj(&w);
	*rec = (struct record){ .kind = REC_TASK_LOG, .id = id, .s1 = task_id, .s2 = "", .s3 = "",
				.body = arena_strndup(op->arena, b.p, b.n) };
	buf_release(&b);
	return rec;
}

enum err task_log(struct op *op, const char *id, int64_t fence, const struct log_in *lines, int n)
{
	struct task *t;
	const char *ids[] = { id };
	enum err err = store_tasks_get(op->app->store, ids, 1, TASK_COLS_BRIEF, op->arena, &t, op->err);

	if (err)
		return err;
	if (!t)
		return error_set(op->err, ERR_NOT_FOUND, "no task %s", id);
	if (t->fence != fence || !(ST(t->status) & ST_LEASED))
		return error_public(op->err, ERR_STALE_FENCE, "The task's fence is %lld now; the lease was lost.",
				    (long long)t->fence);
	if (!task_held_by_caller(op, t))
		return error_public(op->err, ERR_FORBIDDEN, "The task is leased to another agent.");
	struct store_op *ops = arena_calloc(op->arena, (size_t)n, sizeof(*ops));
	struct store_unit u = { .ops = ops, .n = (size_t)n, .arena = op->arena, .error = op->err };

	for (int i = 0; i < n; i++)
		ops[i] = (struct store_op){ .kind = SOP_REC_PUT, .rec = log_record(op, id, &lines[i]),
					    .expect_rev = REV_ABSENT };
	return store_apply_each(op->app->store, &u);
}

enum err task_logs_tail(struct op *op, const struct task *t, struct jw *w)
{
	struct rec_filter f = { .kind = REC_TASK_LOG, .s1 = t->id, .descending = true, .limit = LIMIT_LOGS_SHOWN };
	struct rec_page page = { 0 };

	/* Only the holder of a lease writes lines: a task that never was assigned has none. */
	enum err err = t->fence ? store_recs_list(op->app->store, &f, op->arena, &page, op->err) : OK;

	if (err)
		return err;
	jw_arr(w);
	for (int i = page.n - 1; i >= 0; i--)
		jw_raw(w, page.items[i]->body);
	jw_end_arr(w);
	return OK;
}

enum err task_logs_page(struct op *op, const char *id, const char *cursor, int limit, struct jw *w, int *count,
			const char **next_cursor)
{
	struct rec_filter f = { .kind = REC_TASK_LOG, .s1 = id, .limit = limit };
	struct rec_page page;
	enum err err = records_page(op, &f, "l", cursor, &page, next_cursor);

	if (err)
		return err;
	jw_arr(w);
	for (int i = 0; i < page.n; i++)
		jw_raw(w, page.items[i]->body);
	jw_end_arr(w);
	*count = page.n;
	return OK;
}
