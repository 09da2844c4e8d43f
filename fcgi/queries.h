// SPDX-License-Identifier: MIT
/* Bodies and query strings that belong to a route rather than to a domain verb. */
#ifndef FCGI_QUERIES_H
#define FCGI_QUERIES_H

#include "../lib/domain/agent.h"
#include "../lib/domain/task.h"

struct wait_q {
	uint64_t present;
	int64_t wait;
};
struct page_q {
	uint64_t present;
	int64_t limit;
	const char *cursor, *name;
};
struct task_list_q {
	uint64_t present;
	uint32_t status, priority;
	const char *type, *pipeline_id, *execution_id, *agent_id, *created_by, *cursor;
	int64_t stage, limit, created_from, created_to;
};
struct run_q {
	uint64_t present;
	const char *execution_id;
};
struct execution_list_q {
	uint64_t present;
	const char *pipeline_id, *cursor;
	uint32_t status;
	int64_t limit;
};
enum output_format { FORMAT_JSON, FORMAT_NDJSON, FORMAT_CSV };
struct output_q {
	uint64_t present;
	int format;
	int64_t stage, limit;
	const char *cursor;
};
enum series { SERIES_MINUTE, SERIES_HOUR };
struct series_q {
	uint64_t present;
	int series;			/* SERIES_…, when present */
};
struct event_q {
	uint64_t present;
	struct strs type;
	const char *task_id, *execution_id, *pipeline_id, *agent_id, *after, *cursor;
	int64_t since, limit;
};
struct alert_q {
	uint64_t present;
	const char *kind, *subject, *cursor;
	int status;
	int64_t limit;
};
struct audit_q {
	uint64_t present;
	const char *actor, *kind, *action, *outcome, *resource_type, *resource_id, *request_id, *chain_id, *cursor;
	int64_t from, to, limit;
};
struct verify_q {
	uint64_t present;
	const char *cursor;
	int64_t from, limit;
};
extern const struct schema event_query, alert_query, audit_query, verify_query;
extern const struct schema wait_query, series_query, log_query, user_query, key_query, task_list_query, dead_letter_query, run_query, execution_list_query,
	output_query, pipeline_list_query;

struct delegate_in {
	uint64_t present;
	const char *agent_id;
};
struct assign_in {
	uint64_t present;
	struct agent_criteria *criteria;
};
struct fence_in {
	uint64_t present;
	int64_t fence;
};
struct progress_in {
	uint64_t present;
	int64_t fence;
	double progress;
	const char *message;
};
struct logs_in {
	uint64_t present;
	int64_t fence;
	struct objs logs;	/* struct log_in */
};
struct fault_in {
	uint64_t present;
	const char *type, *code, *message, *details;
	bool retryable;
};
struct report_in {
	uint64_t present;
	const char *task_id;
	int64_t fence;
	const char *result;
	struct fault_in *error;
	bool retryable;
	struct claim_in *claim;
};
struct dead_filter_in {
	uint64_t present;
	const char *type, *agent_id;
	int priority;
	int64_t created_from, created_to;
};
struct dead_retry_in {
	uint64_t present;
	struct strs ids;
	struct dead_filter_in *filter;
	int64_t limit;
};
struct batch_in {
	uint64_t present;
	struct objs tasks;
};
extern const struct schema delegate_schema, assign_task_schema, fence_schema, progress_schema, logs_schema, complete_schema,
	fail_schema, dead_retry_schema, task_batch_schema, report_batch_schema, report_item_schema, fault_schema;

#endif
