// SPDX-License-Identifier: MIT
/*
 * Shapes of answers, for the documents. Type words: string, integer, number, boolean, object, any, time, uuid; a name of
 * another answer; [] behind it makes a list; ? behind all makes it nullable; enum:a|b lists values.
 */
#include "routes.h"

#define FIELDS(name) static const struct answer_field name[]
#define END { NULL, NULL, NULL }

FIELDS(task_brief) = {
	{ "task_id", "uuid", "" }, { "type", "string", "" },
	{ "status", "enum:pending|assigned|running|retrying|completed|failed|cancelled", "" },
	{ "priority", "enum:critical|high|medium|low", "" },
	{ "classification", "enum:public|internal|confidential|restricted|phi", "" }, { "pipeline_id", "uuid?", "" },
	{ "execution_id", "uuid?", "" }, { "stage", "integer?", "" }, { "concurrency_key", "string?", "" },
	{ "run_at", "time?", "" }, { "deadline", "time?", "" }, { "timeout", "integer", "Seconds an attempt may take." },
	{ "max_retries", "integer", "" }, { "attempt", "integer", "Attempts started." },
	{ "fence", "integer", "Fencing token: grows with each assignment." }, { "lease_expires_at", "time?", "" },
	{ "assigned_agent_id", "uuid?", "" }, { "progress", "number", "0 to 1." }, { "message", "string?", "" },
	{ "error", "TaskError?", "" }, { "created_by", "string?", "" }, { "created_at", "time", "" },
	{ "updated_at", "time", "" }, { "started_at", "time?", "" }, { "completed_at", "time?", "" }, END
};
FIELDS(task_error) = {
	{ "type", "string", "" }, { "code", "string?", "" }, { "message", "string?", "" }, { "details", "any", "" },
	{ "retryable", "boolean", "" }, END
};
FIELDS(task) = {
	{ "+", "TaskBrief", "" }, { "parameters", "any", "" }, { "requirements", "object?", "" },
	{ "dependencies", "string[]", "" }, { "retry", "object", "" }, { "result", "any", "" },
	{ "attempts", "Attempt[]", "" }, END
};
FIELDS(attempt) = {
	{ "attempt", "integer", "" }, { "agent_id", "uuid?", "" }, { "fence", "integer", "" }, { "assigned_at", "time?", "" },
	{ "started_at", "time?", "" }, { "ended_at", "time?", "" }, { "outcome", "string?", "" }, { "error", "object?", "" },
	END
};
FIELDS(task_status) = {
	{ "task_id", "uuid", "" }, { "status", "string", "" }, { "progress", "number", "" }, { "attempt", "integer", "" },
	{ "fence", "integer", "" }, { "assigned_agent_id", "uuid?", "" }, { "message", "string?", "" },
	{ "error", "object?", "" }, { "lease_expires_at", "time?", "" }, { "updated_at", "time", "" }, END
};
FIELDS(reported) = { { "+", "TaskStatus", "" }, { "tasks", "Task[]", "Claimed in the same call; only when asked for." }, END };
FIELDS(claimed) = {
	{ "tasks", "Task[]", "Each with its fence." },
	{ "full", "boolean", "There was no room (its slots, a drain, MAX_CONCURRENT_TASKS), so nothing was looked for." }, END
};
FIELDS(batch_item) = {
	{ "index", "integer", "" }, { "task_id", "uuid?", "" }, { "status", "string", "A task state, or rejected." }, END
};
FIELDS(batch) = { { "items", "BatchItem[]", "In the order of the request." }, END };
FIELDS(retried) = { { "retried", "integer", "" }, END };
FIELDS(logged) = { { "appended", "integer", "" }, END };
FIELDS(log_line) = { { "timestamp", "time", "" }, { "level", "string", "" }, { "message", "string", "" }, END };
FIELDS(task_metrics) = {
	{ "task_id", "uuid", "" }, { "execution_time", "number", "Seconds of the last attempt." },
	{ "queue_time", "number", "Seconds before it." }, { "attempts", "integer", "" },
	{ "agent_utilization", "number", "Share of the allowed time used." }, { "resource_consumption", "object", "" },
	{ "efficiency_score", "number", "0 to 1." }, END
};
FIELDS(agent) = {
	{ "agent_id", "uuid", "" }, { "name", "string", "" }, { "type", "string", "" }, { "capabilities", "string[]", "" },
	{ "status", "enum:active|busy|inactive|error", "" }, { "enabled", "boolean", "" }, { "draining", "boolean", "" },
	{ "role", "enum:worker|supervisor|admin|system", "" }, { "permissions", "string[]", "Grants beyond the role's." },
	{ "clearance_level", "string", "" }, { "endpoints", "object", "" }, { "resources", "object", "" },
	{ "allocated", "object", "" }, { "slots", "integer", "" }, { "current_load", "number", "" },
	{ "configuration", "object", "" }, { "metadata", "object", "" }, { "version", "string?", "" },
	{ "registered_at", "time", "" }, { "updated_at", "time", "" }, { "last_heartbeat", "time?", "" },
	{ "last_auth_at", "time?", "" }, { "deleted_at", "time?", "" }, END
};
FIELDS(candidate) = {
	{ "+", "Agent", "" }, { "fitness", "number", "0 to 1, best first." }, { "success_rate", "number", "0 to 1 over 24 h." },
	{ "ended", "integer", "Attempts the rate is of; 0: it has none to show yet, and the rate is 1." }, END
};
FIELDS(registered) = {
	{ "agent_id", "uuid", "" }, { "auth_token", "string?", "Shown once; null in a repeated answer." },
	{ "agent", "Agent", "" }, END
};
FIELDS(heartbeat) = {
	{ "agent_id", "uuid", "" }, { "status", "string", "" }, { "next_heartbeat_in", "integer", "Seconds." },
	{ "lost", "string[]", "Tasks of the request whose lease is lost." }, { "commands", "object[]", "drain, cancel_task" },
	END
};
FIELDS(agent_health) = {
	{ "agent_id", "uuid", "" }, { "status", "string", "" }, { "overall_health", "enum:healthy|degraded|unhealthy", "" },
	{ "performance_score", "number", "0 to 100 over 24 h: success, availability, speed; not load." }, { "availability", "number", "Percent over 24 h." },
	{ "last_health_check", "time?", "" }, { "anomalies", "object[]", "" }, END
};
FIELDS(agent_metrics) = {
	{ "agent_id", "uuid", "" }, { "current_load", "number", "" }, { "1h", "object", "" }, { "24h", "object", "" },
	{ "all", "object", "" }, { "reported", "object?", "What the agent last said of itself." }, END
};
FIELDS(pipeline) = {
	{ "pipeline_id", "uuid", "" }, { "name", "string", "" }, { "description", "string?", "" }, { "stages", "object[]", "" },
	{ "dependencies", "object[]", "" }, { "tags", "string[]", "" }, { "metadata", "object", "" },
	{ "created_by", "string?", "" }, { "created_at", "time", "" }, { "updated_at", "time", "" }, END
};
FIELDS(progress) = {
	{ "execution_id", "uuid", "" }, { "pipeline_id", "uuid", "" },
	{ "status", "enum:created|running|paused|completed|failed|cancelled", "" }, { "current_stage", "integer", "1 to 6." },
	{ "completed_stages", "integer[]", "" }, { "progress", "number", "0 to 1." },
	{ "progress_percentage", "number", "0 to 100." }, { "stages", "object[]", "" }, { "error", "object?", "" },
	{ "created_at", "time", "" }, { "updated_at", "time?", "" }, { "started_at", "time?", "" },
	{ "completed_at", "time?", "" }, END
};
FIELDS(execution) = {
	{ "+", "Progress", "" }, { "pipeline_name", "string", "" }, { "created_by", "string?", "" },
	{ "metrics", "object", "" }, { "notification", "object", "" }, { "parameters", "object", "" }, END
};
FIELDS(agent_executed) = {
	{ "execution_id", "uuid", "" }, { "pipeline_id", "uuid", "" }, { "status", "string", "" }, { "results", "any", "" },
	{ "stages", "object[]", "" }, { "metrics", "object", "" }, { "error", "object?", "" }, END
};
FIELDS(output) = { { "execution_id", "uuid", "" }, { "stage", "integer", "" }, END };
FIELDS(token) = {
	{ "access_token", "string", "" }, { "refresh_token", "string?", "null when it is in the cookie." },
	{ "token_type", "enum:Bearer", "" }, { "expires_in", "integer", "Seconds." }, END
};
FIELDS(ticket) = {
	{ "ticket", "string", "For ?ticket= of a socket's address, or its auth message." },
	{ "expires_in", "integer", "Seconds." }, END
};
FIELDS(me) = {
	{ "id", "string", "" }, { "kind", "string", "" }, { "name", "string?", "" }, { "role", "string", "" },
	{ "permissions", "string[]", "" }, { "clearance_level", "string", "" }, { "expires_at", "time?", "" }, END
};
FIELDS(user) = {
	{ "user_id", "uuid", "" }, { "username", "string", "" }, { "email", "string?", "" }, { "role", "string", "" },
	{ "permissions", "string[]", "" }, { "clearance_level", "string", "" }, { "enabled", "boolean", "" },
	{ "created_at", "time", "" }, { "updated_at", "time", "" }, END
};
FIELDS(api_key) = {
	{ "key_id", "uuid", "" }, { "name", "string", "" }, { "prefix", "string", "" }, { "role", "string", "" },
	{ "permissions", "string[]", "" }, { "clearance_level", "string", "" }, { "owner", "string", "" },
	{ "enabled", "boolean", "" }, { "created_at", "time", "" }, { "expires_at", "time?", "" }, END
};
FIELDS(api_key_created) = { { "+", "ApiKey", "" }, { "key", "string?", "Shown once; null in a repeated answer." }, END };
FIELDS(deleted) = { { "deleted", "boolean", "" }, END };
FIELDS(health) = {
	{ "service", "string", "" }, { "status", "enum:healthy|degraded|unhealthy", "" }, { "timestamp", "time", "" }, END
};
FIELDS(ready) = { { "ready", "boolean", "" }, END };
FIELDS(live) = { { "live", "boolean", "" }, END };
FIELDS(service) = {
	{ "name", "string", "" }, { "kind", "string", "" }, { "state", "string", "" }, { "address", "string?", "" }, END
};
FIELDS(system_metrics) = {
	{ "overall_health", "string", "" }, { "active_agents", "integer", "" }, { "queued_tasks", "integer", "" },
	{ "running_tasks", "integer", "" }, { "average_response_time_ms", "number", "" },
	{ "error_rate", "number", "0 to 1, since the start." },
	{ "queue", "object[]", "priority, depth and oldest_s of what can be claimed now." },
	{ "waiting_tasks", "integer", "Pending for a reason: run_at, backoff, dependencies, a concurrency key." },
	{ "series", "object[]", "With ?series=: at (the minute's begin), created, completed, failed, cancelled, requests, errors, "
	  "and request_, assignment_ and task_ p50_ms and p95_ms, null when there was nothing to measure." }, END
};
FIELDS(event) = {
	{ "id", "string", "Position in the stream." }, { "type", "string", "task.created, agent.registered …" },
	{ "timestamp", "time", "" }, { "data", "object", "" }, END
};
FIELDS(alert) = {
	{ "alert_id", "uuid", "" }, { "kind", "string", "The rule." },
	{ "subject", "string?", "What it is about: an agent's id, a service; null: the panel as a whole." },
	{ "status", "enum:active|resolved", "" }, { "severity", "enum:warning|critical", "" }, { "message", "string", "" },
	{ "value", "number", "As last seen." }, { "threshold", "number", "" }, { "unit", "string?", "" }, { "since", "time", "" },
	{ "last_seen", "time", "" }, { "resolved_at", "time?", "" }, { "runbook", "string", "What to do, in the documentation." }, END
};
FIELDS(audit_record) = {
	{ "audit_id", "uuid", "" }, { "chain_id", "uuid", "One chain a writing process." }, { "seq", "integer", "From 1, without gaps." },
	{ "time", "time", "" }, { "kind", "string", "" }, { "action", "string", "" }, { "outcome", "enum:success|failure|denied", "" },
	{ "actor", "string?", "Id; unknown: nobody of that name." }, { "actor_kind", "enum:user|agent|api_key|system?", "" },
	{ "role", "string?", "" }, { "resource_type", "string?", "" }, { "resource_id", "string?", "" }, { "classification", "string?", "" },
	{ "permission", "string?", "" }, { "reason", "string?", "" }, { "ip", "string?", "" }, { "user_agent", "string?", "" },
	{ "request_id", "string?", "" }, { "prev_hash", "string", "Of the record before in its chain." },
	{ "hash", "string", "SHA-256 of the record's text without this member." }, END
};
FIELDS(audit_problem) = {
	{ "chain_id", "string", "" }, { "seq", "integer", "" }, { "audit_id", "string", "" },
	{ "problem", "enum:changed|index_differs|records_missing|out_of_order|chain_broken|beginning_missing|unreadable", "" }, END
};
FIELDS(audit_check) = {
	{ "verified", "boolean", "" }, { "records", "integer", "Looked at." }, { "chains", "integer", "" },
	{ "problem_count", "integer", "" }, { "problems", "AuditProblem[]", "The first 50." },
	{ "next_cursor", "string?", "There are more records than limit." }, END
};

const struct answer_type answer_types[] = {
	{ "TaskError", task_error, "How an attempt went wrong." },
	{ "TaskBrief", task_brief, "A task without its payloads, as lists show it." },
	{ "Task", task, "A task." }, { "Attempt", attempt, "One try." }, { "TaskStatus", task_status, "The short form." },
	{ "Reported", reported, "" }, { "Claimed", claimed, "" }, { "BatchItem", batch_item, "" }, { "BatchAnswer", batch, "" },
	{ "Retried", retried, "" }, { "Logged", logged, "" }, { "LogLine", log_line, "" }, { "TaskMetrics", task_metrics, "" },
	{ "Agent", agent, "An agent." }, { "Candidate", candidate, "An agent and how well it fits." },
	{ "AgentRegistered", registered, "" }, { "HeartbeatAnswer", heartbeat, "" }, { "AgentHealth", agent_health, "" },
	{ "AgentMetrics", agent_metrics, "" }, { "Pipeline", pipeline, "A definition." }, { "Progress", progress, "" },
	{ "Execution", execution, "A run." }, { "AgentExecuted", agent_executed, "" },
	{ "Output", output, "items, or output when a single result holds no items." }, { "Token", token, "" }, { "Me", me, "" },
	{ "Ticket", ticket, "" },
	{ "User", user, "" }, { "ApiKey", api_key, "" }, { "ApiKeyCreated", api_key_created, "" }, { "Deleted", deleted, "" },
	{ "Health", health, "" }, { "Ready", ready, "" }, { "Live", live, "" }, { "Service", service, "" },
	{ "SystemMetrics", system_metrics, "" }, { "Event", event, "Something that happened." }, { "Alert", alert, "Something that is wrong." },
	{ "AuditRecord", audit_record, "Who did what." }, { "AuditProblem", audit_problem, "" }, { "AuditCheck", audit_check, "" },
	{ NULL, NULL, NULL },
};
