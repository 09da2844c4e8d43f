// SPDX-License-Identifier: MIT
#include "queries.h"

#include "../lib/base/limits.h"

#define LIMIT_FIELD(type) \
	{ "limit", F_INT, .offset = offsetof(type, limit), .min = 1, .max = LIMIT_PAGE, .dflt = LIMIT_PAGE_DEFAULT, \
	  .help = "Items on a page." }
#define CURSOR_FIELD(type, kind) \
	{ "cursor", F_STR, .offset = offsetof(type, cursor), .min = 1, .max = 64, .pattern = CURSOR_PATTERN(kind), \
	  .help = "next_cursor of the page before." }
#define FENCE_FIELD(type) \
	{ "fence", F_INT, true, .offset = offsetof(type, fence), .min = 0, .max = INT64_MAX, \
	  .help = "Fencing token of the lease." }

static const struct field wait_fields[] = {
	{ "wait", F_INT, .offset = offsetof(struct wait_q, wait), .min = 0, .max = LIMIT_WAIT_S,
	  .help = "Seconds to wait for something to answer with." },
};
SCHEMA(wait_query, struct wait_q, "WaitQuery", wait_fields, "");

static const char *const series_names[] = { "1m", "1h", NULL };
static const struct field series_fields[] = {
	{ "series", F_ENUM, .offset = offsetof(struct series_q, series), .names = series_names,
	  .help = "1h: the last hour minute by minute; 1m: its last two points." },
};
SCHEMA(series_query, struct series_q, "SeriesQuery", series_fields, "");

static const struct field log_fields[] = { LIMIT_FIELD(struct page_q), CURSOR_FIELD(struct page_q, "l") };
SCHEMA(log_query, struct page_q, "LogQuery", log_fields, "");

static const struct field user_fields[] = { LIMIT_FIELD(struct page_q), CURSOR_FIELD(struct page_q, "u") };
SCHEMA(user_query, struct page_q, "UserQuery", user_fields, "");

static const struct field key_fields[] = { LIMIT_FIELD(struct page_q), CURSOR_FIELD(struct page_q, "k") };
SCHEMA(key_query, struct page_q, "KeyQuery", key_fields, "");

static const struct field pipeline_list_fields[] = {
	LIMIT_FIELD(struct page_q), CURSOR_FIELD(struct page_q, "p"),
	{ "name", F_STR, .offset = offsetof(struct page_q, name), .min = 1, .max = LIMIT_NAME },
};
SCHEMA(pipeline_list_query, struct page_q, "PipelineListQuery", pipeline_list_fields, "");

/* "retry" is the older spelling of the status "retrying"; it stands behind the real ones. */
static const char *const status_filter_names[] = { "pending", "assigned", "running", "retrying", "completed", "failed",
						   "cancelled", "retry", NULL };

static const struct field task_list_fields[] = {
	{ "status", F_ENUMS, .offset = offsetof(struct task_list_q, status), .names = status_filter_names },
	{ "type", F_SLUG, .offset = offsetof(struct task_list_q, type), .alias = "task_type" },
	{ "priority", F_ENUMS, .offset = offsetof(struct task_list_q, priority), .names = priority_names },
	{ "pipeline_id", F_UUID, .offset = offsetof(struct task_list_q, pipeline_id) },
	{ "execution_id", F_UUID, .offset = offsetof(struct task_list_q, execution_id) },
	{ "stage", F_INT, .offset = offsetof(struct task_list_q, stage), .min = 1, .max = LIMIT_STAGES },
	{ "agent_id", F_UUID, .offset = offsetof(struct task_list_q, agent_id), .alias = "assigned_agent_id" },
	{ "created_by", F_STR, .offset = offsetof(struct task_list_q, created_by), .min = 1, .max = ID_TEXT },
	{ "created_from", F_TIME, .offset = offsetof(struct task_list_q, created_from), .help = "At this time or later." },
	{ "created_to", F_TIME, .offset = offsetof(struct task_list_q, created_to), .help = "Before this time." },
	LIMIT_FIELD(struct task_list_q), CURSOR_FIELD(struct task_list_q, "t"),
};
SCHEMA(task_list_query, struct task_list_q, "TaskListQuery", task_list_fields, "");

static const struct field dead_fields[] = {
	{ "type", F_SLUG, .offset = offsetof(struct task_list_q, type) },
	{ "agent_id", F_UUID, .offset = offsetof(struct task_list_q, agent_id) },
	{ "priority", F_ENUMS, .offset = offsetof(struct task_list_q, priority), .names = priority_names },
	{ "created_from", F_TIME, .offset = offsetof(struct task_list_q, created_from), .help = "At this time or later." },
	{ "created_to", F_TIME, .offset = offsetof(struct task_list_q, created_to), .help = "Before this time." },
	LIMIT_FIELD(struct task_list_q), CURSOR_FIELD(struct task_list_q, "t"),
};
SCHEMA(dead_letter_query, struct task_list_q, "DeadLetterQuery", dead_fields, "");

static const struct field run_fields[] = {
	{ "execution_id", F_UUID, .offset = offsetof(struct run_q, execution_id), .help = "Default: the latest run." },
};
SCHEMA(run_query, struct run_q, "RunQuery", run_fields, "");

static const struct field execution_list_fields[] = {
	{ "pipeline_id", F_UUID, .offset = offsetof(struct execution_list_q, pipeline_id) },
	{ "status", F_ENUMS, .offset = offsetof(struct execution_list_q, status), .names = execution_status_names },
	LIMIT_FIELD(struct execution_list_q), CURSOR_FIELD(struct execution_list_q, "e"),
};
SCHEMA(execution_list_query, struct execution_list_q, "ExecutionListQuery", execution_list_fields, "");

static const char *const format_names[] = { "json", "ndjson", "csv", NULL };
static const struct field output_fields[] = {
	{ "format", F_ENUM, .offset = offsetof(struct output_q, format), .names = format_names,
	  .help = "json pages; ndjson and csv stream everything." },
	{ "stage", F_INT, .offset = offsetof(struct output_q, stage), .min = 0, .max = LIMIT_STAGES, .dflt = -1,
	  .help = "1 to 6, 0 for the run's input; default: the last completed stage." },
	LIMIT_FIELD(struct output_q),
	{ "cursor", F_STR, .offset = offsetof(struct output_q, cursor), .min = 1, .max = 64,
	  .pattern = "^o\\.[0-9]{1,15}\\.[0-9]{1,15}\\.[01]$", .help = "next_cursor of the page before." },
};
SCHEMA(output_query, struct output_q, "OutputQuery", output_fields, "");

/* --- bodies ------------------------------------------------------------------------------------------------------ */

static const struct field delegate_fields[] = {
	{ "agent_id", F_UUID, true, .offset = offsetof(struct delegate_in, agent_id), .alias = "assigned_agent" },
};
SCHEMA(delegate_schema, struct delegate_in, "Delegate", delegate_fields, "");

static const struct field assign_fields[] = {
	{ "criteria", F_OBJ, .offset = offsetof(struct assign_in, criteria), .sub = &assign_schema },
};
SCHEMA(assign_task_schema, struct assign_in, "Assign", assign_fields, "");

static const struct field fence_fields[] = { FENCE_FIELD(struct fence_in) };
SCHEMA(fence_schema, struct fence_in, "Fence", fence_fields, "");

static const struct field progress_fields[] = {
	FENCE_FIELD(struct progress_in),
	{ "progress", F_NUM, .offset = offsetof(struct progress_in, progress), .min = 0, .max = 1, .dflt = -1 },
	{ "message", F_STR, .offset = offsetof(struct progress_in, message), .max = LIMIT_TEXT },
};
SCHEMA(progress_schema, struct progress_in, "ProgressReport", progress_fields, "");

static const struct field logs_fields[] = {
	FENCE_FIELD(struct logs_in),
	{ "logs", F_OBJS, true, .offset = offsetof(struct logs_in, logs), .min = 1, .max = LIMIT_LOGS_PER_CALL,
	  .sub = &log_schema },
};
SCHEMA(logs_schema, struct logs_in, "LogReport", logs_fields, "");

static const struct field fault_fields[] = {
	{ "type", F_STR, true, .offset = offsetof(struct fault_in, type), .min = 1, .max = LIMIT_SLUG,
	  .help = "network, timeout, external_service, validation, …: decides whether it is tried again." },
	{ "code", F_STR, .offset = offsetof(struct fault_in, code), .max = LIMIT_SLUG },
	{ "message", F_STR, .offset = offsetof(struct fault_in, message), .max = LIMIT_TEXT },
	{ "details", F_JSON, .offset = offsetof(struct fault_in, details), .max = LIMIT_METADATA },
	{ "retryable", F_BOOL, .offset = offsetof(struct fault_in, retryable), .help = "Overrules the type." },
};
SCHEMA(fault_schema, struct fault_in, "TaskError", fault_fields, "");

#define CLAIM_FIELD \
	{ "claim", F_OBJ, .offset = offsetof(struct report_in, claim), .sub = &claim_schema, \
	  .help = "Take the next tasks in the same call." }

static const struct field complete_fields[] = {
	FENCE_FIELD(struct report_in),
	{ "result", F_JSON, .offset = offsetof(struct report_in, result), .help = "At most MAX_RESULT bytes." },
	CLAIM_FIELD,
};
SCHEMA(complete_schema, struct report_in, "TaskComplete", complete_fields, "");

static const struct field fail_fields[] = {
	FENCE_FIELD(struct report_in),
	{ "error", F_OBJ, true, .offset = offsetof(struct report_in, error), .sub = &fault_schema },
	{ "retryable", F_BOOL, .offset = offsetof(struct report_in, retryable), .help = "Overrules the error's type." },
	CLAIM_FIELD,
};
SCHEMA(fail_schema, struct report_in, "TaskFail", fail_fields, "");

static const struct field report_item_fields[] = {
	{ "task_id", F_UUID, true, .offset = offsetof(struct report_in, task_id) },
	FENCE_FIELD(struct report_in),
	{ "result", F_JSON, .offset = offsetof(struct report_in, result) },
	{ "error", F_OBJ, .offset = offsetof(struct report_in, error), .sub = &fault_schema },
	{ "retryable", F_BOOL, .offset = offsetof(struct report_in, retryable) },
};
SCHEMA(report_item_schema, struct report_in, "ReportItem", report_item_fields, "A result or an error.");

static const struct field report_batch_fields[] = {
	{ "tasks", F_OBJS, true, .offset = offsetof(struct batch_in, tasks), .min = 1, .max = LIMIT_BATCH,
	  .sub = &report_item_schema },
};
SCHEMA(report_batch_schema, struct batch_in, "ReportBatch", report_batch_fields, "");

static const struct field task_batch_fields[] = {
	{ "tasks", F_OBJS, true, .offset = offsetof(struct batch_in, tasks), .min = 1, .max = LIMIT_BATCH,
	  .sub = &task_schema },
};
SCHEMA(task_batch_schema, struct batch_in, "TaskBatch", task_batch_fields, "");

static const struct field dead_filter_fields[] = {
	{ "type", F_SLUG, .offset = offsetof(struct dead_filter_in, type) },
	{ "agent_id", F_UUID, .offset = offsetof(struct dead_filter_in, agent_id) },
	{ "priority", F_ENUM, .offset = offsetof(struct dead_filter_in, priority), .names = priority_names, .dflt = -1 },
	{ "created_from", F_TIME, .offset = offsetof(struct dead_filter_in, created_from), .help = "At this time or later." },
	{ "created_to", F_TIME, .offset = offsetof(struct dead_filter_in, created_to), .help = "Before this time." },
};
static SCHEMA(dead_filter_schema, struct dead_filter_in, "DeadLetterFilter", dead_filter_fields, "");

static const struct field dead_retry_fields[] = {
	{ "ids", F_UUIDS, .offset = offsetof(struct dead_retry_in, ids), .max = LIMIT_BATCH },
	{ "filter", F_OBJ, .offset = offsetof(struct dead_retry_in, filter), .sub = &dead_filter_schema },
	{ "limit", F_INT, .offset = offsetof(struct dead_retry_in, limit), .min = 1, .max = LIMIT_PAGE, .dflt = LIMIT_PAGE,
	  .help = "Most tasks of a filter that are moved in this call." },
};
const struct schema dead_retry_schema = { .name = "DeadLetterRetry", .size = sizeof(struct dead_retry_in),
					  .fields = dead_retry_fields, .n = 3, .min_fields = 1,
					  .help = "ids, or a filter." };

/* --- records ---------------------------------------------------------------------------------------------------------- */

#define STREAM_ID "[0-9]{1,19}-[0-9]{1,19}"

static const struct field event_fields[] = {
	{ "type", F_STRS, .offset = offsetof(struct event_q, type), .max = 32, .help = "Event types, or their part before the dot." },
	{ "task_id", F_UUID, .offset = offsetof(struct event_q, task_id) },
	{ "execution_id", F_UUID, .offset = offsetof(struct event_q, execution_id) },
	{ "pipeline_id", F_UUID, .offset = offsetof(struct event_q, pipeline_id) },
	{ "agent_id", F_UUID, .offset = offsetof(struct event_q, agent_id) },
	{ "since", F_TIME, .offset = offsetof(struct event_q, since), .help = "At this time or later." },
	{ "after", F_STR, .offset = offsetof(struct event_q, after), .min = 1, .max = 40, .pattern = "^" STREAM_ID "$",
	  .help = "An event's id: what came after it, oldest first." },
	LIMIT_FIELD(struct event_q),
	{ "cursor", F_STR, .offset = offsetof(struct event_q, cursor), .min = 1, .max = 64, .pattern = "^e[fb]\\." STREAM_ID "$",
	  .help = "next_cursor of the page before." },
};
SCHEMA(event_query, struct event_q, "EventQuery", event_fields, "");

static const char *const alert_statuses[] = { "any", "active", "resolved", NULL };
static const struct field alert_fields[] = {
	{ "status", F_ENUM, .offset = offsetof(struct alert_q, status), .names = alert_statuses },
	{ "kind", F_SLUG, .offset = offsetof(struct alert_q, kind) },
	{ "subject", F_STR, .offset = offsetof(struct alert_q, subject), .min = 1, .max = 200 },
	LIMIT_FIELD(struct alert_q), CURSOR_FIELD(struct alert_q, "al"),
};
SCHEMA(alert_query, struct alert_q, "AlertQuery", alert_fields, "");

static const struct field audit_fields[] = {
	{ "actor", F_STR, .offset = offsetof(struct audit_q, actor), .min = 1, .max = 64, .help = "Id of a user, agent or key." },
	{ "kind", F_SLUG, .offset = offsetof(struct audit_q, kind), .help = "authentication, authorization, config, key, deletion …" },
	{ "action", F_STR, .offset = offsetof(struct audit_q, action), .min = 1, .max = 128, .help = "user.update, task.cancel …" },
	{ "outcome", F_SLUG, .offset = offsetof(struct audit_q, outcome), .help = "success, failure, denied" },
	{ "resource_type", F_SLUG, .offset = offsetof(struct audit_q, resource_type) },
	{ "resource_id", F_STR, .offset = offsetof(struct audit_q, resource_id), .min = 1, .max = 200 },
	{ "request_id", F_STR, .offset = offsetof(struct audit_q, request_id), .min = 1, .max = 128 },
	{ "chain_id", F_UUID, .offset = offsetof(struct audit_q, chain_id) },
	{ "from", F_TIME, .offset = offsetof(struct audit_q, from), .help = "At this time or later." },
	{ "to", F_TIME, .offset = offsetof(struct audit_q, to), .help = "Before this time." },
	LIMIT_FIELD(struct audit_q), CURSOR_FIELD(struct audit_q, "au"),
};
SCHEMA(audit_query, struct audit_q, "AuditQuery", audit_fields, "");

static const struct field verify_fields[] = {
	{ "from", F_TIME, .offset = offsetof(struct verify_q, from), .help = "Records of this time or later; all when left out." },
	{ "limit", F_INT, .offset = offsetof(struct verify_q, limit), .min = 1, .max = 1000000, .dflt = 100000,
	  .help = "Records to check in one call." },
	CURSOR_FIELD(struct verify_q, "av"),
};
SCHEMA(verify_query, struct verify_q, "AuditVerifyQuery", verify_fields, "");
