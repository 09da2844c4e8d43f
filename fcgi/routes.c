// SPDX-License-Identifier: MIT
#include "routes.h"

#include "../lib/domain/agent.h"
#include "../lib/domain/execution.h"
#include "../lib/domain/session.h"
#include "../lib/domain/task.h"
#include "../lib/domain/user.h"
#include "handlers.h"
#include "queries.h"

#define OPEN	ACCESS_NOBODY_ASKED, 0
#define ANY	ACCESS_ANY, 0
#define MAY(p)	ACCESS_PERM, PERM_##p
#define SELF	ACCESS_OWN_AGENT, 0
#define IDEM	ROUTE_IDEMPOTENT
#define RAW	ROUTE_RAW_BODY
#define LIST	ROUTE_LIST
#define ALIAS	ROUTE_ALIAS

/* id, method, path, handler, body, query, access+permission, rate, flags, status, answer, tag, summary */
const struct route routes[] = {
	/* agents */
	{ "A1", "POST", "/agents/register", h_agent_register, &agent_schema, NULL, MAY(AGENT_REGISTER), RATE_API, IDEM, 201,
	  "AgentRegistered", "agents", "Register an agent; its auth token is shown this once" },
	{ "A2", "GET", "/agents", h_agents_list, NULL, &agent_list_query, MAY(AGENT_READ), RATE_API, LIST, 200, "Agent[]",
	  "agents", "List agents" },
	{ "A5", "GET", "/agents/discover", h_agents_discover, NULL, &discover_query, MAY(AGENT_READ), RATE_API, LIST, 200,
	  "Candidate[]", "agents", "Find agents by criteria, fittest first" },
	{ "A5", "GET", "/discovery/agents", h_agents_discover, NULL, &discover_query, MAY(AGENT_READ), RATE_API, LIST, 200,
	  "Candidate[]", "agents", "Find agents by criteria, fittest first (second name)" },
	{ "A3", "GET", "/agents/{agent_id}", h_agent_get, NULL, NULL, MAY(AGENT_READ), RATE_API, 0, 200, "Agent", "agents",
	  "One agent" },
	{ "A3", "PUT", "/agents/{agent_id}", h_agent_update, &agent_update_schema, NULL, SELF, RATE_API, 0, 200, "Agent",
	  "agents", "Change an agent" },
	{ "A3", "DELETE", "/agents/{agent_id}", h_agent_delete, NULL, NULL, SELF, RATE_API, 0, 200, "Deleted", "agents",
	  "Remove an agent: its tokens die, its tasks are requeued" },
	{ "A4", "POST", "/agents/{agent_id}/heartbeat", h_agent_heartbeat, &heartbeat_schema, NULL, SELF, RATE_HEARTBEAT, 0,
	  200, "HeartbeatAnswer", "agents", "Sign of life; renews leases, brings commands" },
	{ "A6", "GET", "/agents/{agent_id}/health", h_agent_health, NULL, NULL, MAY(AGENT_READ), RATE_API, 0, 200,
	  "AgentHealth", "agents", "Health, score and anomalies" },
	{ "A7", "POST", "/agents/{agent_id}/capabilities", h_agent_capabilities, &capabilities_schema, NULL, SELF, RATE_API,
	  0, 200, "Agent", "agents", "Add, remove or replace capabilities" },
	{ "A9", "GET", "/agents/{agent_id}/metrics", h_agent_metrics, NULL, NULL, MAY(AGENT_READ), RATE_API, 0, 200,
	  "AgentMetrics", "agents", "Figures over 1 h, 24 h and all time" },
	{ "A10", "POST", "/agents/{agent_id}/allocate", h_agent_allocate, &allocate_schema, NULL, SELF, RATE_API, 0, 200,
	  "Agent", "agents", "Reserve cpu, memory and slots" },
	{ "A11", "POST", "/agents/{agent_id}/claim", h_agent_claim, &claim_schema, &wait_query, ACCESS_OWN_AGENT_ONLY,
	  PERM_TASK_EXECUTE, RATE_API, 0, 200, "Claimed", "agents", "Take fitting tasks; ?wait= seconds for one to come" },
	{ "A12", "POST", "/agents/{agent_id}/drain", h_agent_drain, NULL, NULL, SELF, RATE_API, 0, 200, "Agent", "agents",
	  "Nothing new for this agent" },
	{ "A13", "POST", "/agents/{agent_id}/undrain", h_agent_undrain, NULL, NULL, SELF, RATE_API, 0, 200, "Agent",
	  "agents", "Take part again" },

	/* tasks */
	{ "T1", "POST", "/tasks", h_task_create, &task_schema, NULL, MAY(TASK_MANAGE), RATE_SUBMIT, IDEM, 201, "Task",
	  "tasks", "Submit a task" },
	{ "T2", "POST", "/tasks/batch", h_task_batch, &task_batch_schema, NULL, MAY(TASK_MANAGE), RATE_SUBMIT, IDEM | RAW, 200,
	  "BatchAnswer", "tasks", "Submit up to 1,000 tasks; each stands or falls by itself" },
	{ "T3", "GET", "/tasks", h_tasks_list, NULL, &task_list_query, MAY(TASK_READ), RATE_API, LIST, 200, "TaskBrief[]",
	  "tasks", "List tasks, newest first" },
	{ "T10", "POST", "/tasks/complete", h_task_report_batch, &report_batch_schema, NULL, MAY(TASK_EXECUTE), RATE_API, RAW,
	  200, "BatchAnswer", "tasks", "Report many results at once" },
	{ "T11", "GET", "/tasks/dead-letters", h_dead_letters, NULL, &dead_letter_query, MAY(TASK_MANAGE), RATE_API, LIST, 200,
	  "TaskBrief[]", "tasks", "Tasks that failed for good" },
	{ "T11", "POST", "/tasks/dead-letters/retry", h_dead_letters_retry, &dead_retry_schema, NULL, MAY(TASK_MANAGE),
	  RATE_API, 0, 200, "Retried", "tasks", "Put failed tasks back, by ids or filter" },
	{ "T4", "GET", "/tasks/{task_id}", h_task_get, NULL, NULL, MAY(TASK_READ), RATE_API, 0, 200, "Task", "tasks",
	  "One task with its attempts and last log lines" },
	{ "T4", "PUT", "/tasks/{task_id}", h_task_update, &task_update_schema, NULL, MAY(TASK_MANAGE), RATE_API, 0, 200,
	  "Task", "tasks", "Change what may still change before it runs" },
	{ "T5", "GET", "/tasks/{task_id}/status", h_task_status, NULL, NULL, MAY(TASK_READ), RATE_API, 0, 200, "TaskStatus",
	  "tasks", "The short form" },
	{ "T6", "POST", "/tasks/{task_id}/delegate", h_task_delegate, &delegate_schema, NULL, MAY(TASK_MANAGE), RATE_API, 0,
	  200, "TaskBrief", "tasks", "Assign to a named agent" },
	{ "T7", "POST", "/tasks/{task_id}/assign", h_task_assign, &assign_task_schema, NULL, MAY(TASK_MANAGE), RATE_API, 0,
	  200, "TaskBrief", "tasks", "Assign to the fittest agent" },
	{ "T8", "POST", "/tasks/{task_id}/progress", h_task_progress, &progress_schema, NULL, MAY(TASK_EXECUTE), RATE_API, 0,
	  200, "TaskStatus", "tasks", "Report progress; renews the lease" },
	{ "T8", "POST", "/tasks/{task_id}/logs", h_task_log, &logs_schema, NULL, MAY(TASK_EXECUTE), RATE_API, 0, 200, "Logged",
	  "tasks", "Append log lines" },
	{ "T9", "POST", "/tasks/{task_id}/complete", h_task_complete, &complete_schema, NULL, MAY(TASK_EXECUTE), RATE_API, 0,
	  200, "Reported", "tasks", "Report the result; may claim the next tasks" },
	{ "T9", "POST", "/tasks/{task_id}/fail", h_task_fail, &fail_schema, NULL, MAY(TASK_EXECUTE), RATE_API, 0, 200,
	  "Reported", "tasks", "Report an error; may claim the next tasks" },
	{ "T9", "POST", "/tasks/{task_id}/release", h_task_release, &fence_schema, NULL, MAY(TASK_EXECUTE), RATE_API, 0, 200,
	  "TaskStatus", "tasks", "Give the task back; no attempt is spent" },
	{ "T11", "POST", "/tasks/{task_id}/cancel", h_task_cancel, NULL, NULL, MAY(TASK_MANAGE), RATE_API, 0, 200, "TaskBrief",
	  "tasks", "Cancel; whoever works on it is fenced off" },
	{ "T11", "POST", "/tasks/{task_id}/retry", h_task_retry, NULL, NULL, MAY(TASK_MANAGE), RATE_API, IDEM, 200, "TaskBrief",
	  "tasks", "Try a failed or cancelled task again" },
	{ "T12", "GET", "/tasks/{task_id}/metrics", h_task_metrics, NULL, NULL, MAY(TASK_READ), RATE_API, 0, 200,
	  "TaskMetrics", "tasks", "How the task went" },
	{ "T12", "GET", "/tasks/{task_id}/logs", h_task_logs, NULL, &log_query, MAY(TASK_READ), RATE_API, LIST, 200,
	  "LogLine[]", "tasks", "Log lines, oldest first" },

	/* pipelines */
	{ "P1", "POST", "/pipelines", h_pipeline_create, &pipeline_schema, NULL, MAY(PIPELINE_CREATE), RATE_API, IDEM, 201,
	  "Pipeline", "pipelines", "Define a pipeline" },
	{ "P1", "GET", "/pipelines", h_pipelines_list, NULL, &pipeline_list_query, MAY(PIPELINE_READ), RATE_API, LIST, 200,
	  "Pipeline[]", "pipelines", "List definitions, newest first" },
	{ "P2", "GET", "/pipelines/{pipeline_id}", h_pipeline_get, NULL, NULL, MAY(PIPELINE_READ), RATE_API, 0, 200,
	  "Pipeline", "pipelines", "Definition and state of the latest run" },
	{ "P2", "PUT", "/pipelines/{pipeline_id}", h_pipeline_update, &pipeline_update_schema, NULL, MAY(PIPELINE_MANAGE),
	  RATE_API, 0, 200, "Pipeline", "pipelines", "Change a definition" },
	{ "P2", "DELETE", "/pipelines/{pipeline_id}", h_pipeline_delete, NULL, NULL, MAY(PIPELINE_MANAGE), RATE_API, 0, 200,
	  "Deleted", "pipelines", "Remove a definition without live runs" },
	{ "P3", "POST", "/pipelines/{pipeline_id}/execute", h_pipeline_execute, &execute_schema, NULL, MAY(PIPELINE_MANAGE),
	  RATE_SUBMIT, IDEM, 202, "Execution", "pipelines", "Start a run" },
	{ "P4", "POST", "/pipelines/{pipeline_id}/stages/{stage}/execute", h_stage_execute, &stage_execute_schema, NULL,
	  MAY(PIPELINE_MANAGE), RATE_SUBMIT, IDEM, 202, "Execution", "pipelines", "Run one stage" },
	{ "P5", "GET", "/pipelines/{pipeline_id}/progress", h_pipeline_progress, NULL, &run_query, MAY(PIPELINE_READ),
	  RATE_API, 0, 200, "Progress", "pipelines", "Progress of a run, the latest by default" },
	{ "P6", "POST", "/pipeline/agent-execute", h_agent_execute, &agent_execute_schema, &wait_query, MAY(PIPELINE_MANAGE),
	  RATE_SUBMIT, IDEM | ROUTE_REPLAYS, 202, "AgentExecuted", "pipelines", "Run six stages in one call; ?wait= for the end" },
	{ "P7", "GET", "/pipeline/{execution_id}/agent-progress", h_agent_progress, NULL, NULL, MAY(PIPELINE_READ), RATE_API,
	  0, 200, "Progress", "pipelines", "Progress with the agents at work" },
	{ "P8", "GET", "/executions", h_executions_list, NULL, &execution_list_query, MAY(PIPELINE_READ), RATE_API, LIST, 200,
	  "Execution[]", "pipelines", "List runs, newest first" },
	{ "P8", "GET", "/executions/{execution_id}", h_execution_get, NULL, NULL, MAY(PIPELINE_READ), RATE_API, 0, 200,
	  "Execution", "pipelines", "One run" },
	{ "P9", "GET", "/executions/{execution_id}/output", h_execution_output, NULL, &output_query, ANY, RATE_API, LIST, 200,
	  "Output", "pipelines", "Output of a stage, by default the last: JSON pages, or all as NDJSON or CSV" },
	{ "P8", "POST", "/executions/{execution_id}/pause", h_execution_pause, NULL, NULL, MAY(PIPELINE_MANAGE), RATE_API, 0,
	  200, "Execution", "pipelines", "Start nothing new; running tasks finish" },
	{ "P8", "POST", "/executions/{execution_id}/resume", h_execution_resume, NULL, NULL, MAY(PIPELINE_MANAGE), RATE_API, 0,
	  200, "Execution", "pipelines", "Go on" },
	{ "P8", "POST", "/executions/{execution_id}/cancel", h_execution_cancel, NULL, NULL, MAY(PIPELINE_MANAGE), RATE_API, 0,
	  200, "Execution", "pipelines", "End the run; its tasks are fenced off" },
	{ "P8", "POST", "/executions/{execution_id}/retry", h_execution_retry, NULL, NULL, MAY(PIPELINE_MANAGE), RATE_API,
	  IDEM, 200, "Execution", "pipelines", "From the failed stage on; what succeeded stays" },

	/* people and keys */
	{ "U1", "POST", "/auth/token", h_auth_token, &token_schema, NULL, OPEN, RATE_API, RAW | ROUTE_FORM, 200, "Token", "auth",
	  "Tokens for an agent or a person; as a form, the token endpoint of OAuth 2" },
	{ "U1", "POST", "/auth/login", h_auth_login, &login_schema, NULL, OPEN, RATE_API, 0, 200, "Token", "auth",
	  "Log a person in; a browser (Origin) keeps the refresh token in a cookie no script can read" },
	{ "U1", "POST", "/auth/refresh", h_auth_refresh, &refresh_schema, NULL, OPEN, RATE_API, 0, 200, "Token", "auth",
	  "New tokens, from the body's refresh token or the cookie; the old one ends" },
	{ "U1", "POST", "/auth/logout", h_auth_logout, &logout_schema, NULL, ANY, RATE_API, 0, 200, "Deleted", "auth",
	  "End the session; the cookie is cleared" },
	{ "U1", "POST", "/auth/ws-ticket", h_auth_ticket, NULL, NULL, ANY, RATE_API, 0, 201, "Ticket", "auth",
	  "A ticket that opens one socket: once, within 30 seconds, as the caller" },
	{ "U1", "GET", "/auth/me", h_auth_me, NULL, NULL, ANY, RATE_API, 0, 200, "Me", "auth", "Who am I" },
	{ "U3", "POST", "/users", h_user_create, &user_schema, NULL, MAY(SYSTEM_CONFIG), RATE_API, IDEM, 201, "User", "users",
	  "Add a person" },
	{ "U3", "GET", "/users", h_users_list, NULL, &user_query, MAY(SYSTEM_CONFIG), RATE_API, LIST, 200, "User[]", "users",
	  "List people" },
	{ "U3", "GET", "/users/{user_id}", h_user_get, NULL, NULL, MAY(SYSTEM_CONFIG), RATE_API, 0, 200, "User", "users",
	  "One person" },
	{ "U3", "PUT", "/users/{user_id}", h_user_update, &user_update_schema, NULL, MAY(SYSTEM_CONFIG), RATE_API, 0, 200,
	  "User", "users", "Change a person; new rights end old tokens" },
	{ "U3", "DELETE", "/users/{user_id}", h_user_delete, NULL, NULL, MAY(SYSTEM_CONFIG), RATE_API, 0, 200, "Deleted",
	  "users", "Remove a person" },
	{ "U3", "POST", "/api-keys", h_key_create, &api_key_schema, NULL, MAY(SYSTEM_CONFIG), RATE_API, IDEM, 201,
	  "ApiKeyCreated", "users", "Make an API key; it is shown this once" },
	{ "U3", "GET", "/api-keys", h_keys_list, NULL, &key_query, MAY(SYSTEM_CONFIG), RATE_API, LIST, 200, "ApiKey[]",
	  "users", "List API keys" },
	{ "U3", "GET", "/api-keys/{key_id}", h_key_get, NULL, NULL, MAY(SYSTEM_CONFIG), RATE_API, 0, 200, "ApiKey", "users",
	  "One API key" },
	{ "U3", "DELETE", "/api-keys/{key_id}", h_key_delete, NULL, NULL, MAY(SYSTEM_CONFIG), RATE_API, 0, 200, "Deleted",
	  "users", "Remove an API key" },

	/* system */
	{ "S1", "GET", "/health", h_health, NULL, NULL, OPEN, RATE_NONE, ALIAS, 200, "Health", "system",
	  "healthy, degraded or unhealthy; details with system:health" },
	{ "S1", "GET", "/ready", h_ready, NULL, NULL, OPEN, RATE_NONE, ALIAS, 200, "Ready", "system", "503 until it can serve" },
	{ "S1", "GET", "/live", h_live, NULL, NULL, OPEN, RATE_NONE, ALIAS, 200, "Live", "system", "The process answers" },
	{ "S2", "GET", "/discovery/services", h_services, NULL, NULL, MAY(SYSTEM_HEALTH), RATE_API, LIST, 200, "Service[]",
	  "system", "The services known" },
	{ "S3", "GET", "/metrics", h_metrics, NULL, NULL, ACCESS_METRICS, PERM_SYSTEM_HEALTH, RATE_NONE, ALIAS, 200,
	  "text/plain", "system", "Prometheus metrics" },
	{ "S5", "GET", "/system/metrics", h_system_metrics, NULL, NULL, MAY(SYSTEM_HEALTH), RATE_API, 0, 200, "SystemMetrics",
	  "system", "The panel in five figures" },
	{ "S4", "GET", "/docs", h_docs, NULL, NULL, OPEN, RATE_NONE, ALIAS, 200, "text/html", "system",
	  "These documents, to browse" },
	{ "S4", "GET", "/openapi.json", h_openapi, NULL, NULL, OPEN, RATE_NONE, ALIAS, 200, "application/json", "system",
	  "These documents, for machines" },
};

const size_t n_routes = sizeof(routes) / sizeof(*routes);

/* Does path fit the pattern? Parameters are copied to arg. */
static bool fits(struct arena *a, const char *pattern, const char *path, const char *arg[3])
{
	int n = 0;

	while (*pattern && *path) {
		if (*pattern == '{') {
			size_t len = strcspn(path, "/");

			if (len == 0 || n == 3)
				return false;
			arg[n++] = arena_strndup(a, path, len);
			path += len;
			pattern += strcspn(pattern, "}") + 1;
		} else if (*pattern++ != *path++) {
			return false;
		}
	}
	return !*pattern && !*path;
}

const struct route *route_match(struct arena *a, const char *method, const char *path, const char *arg[3],
				enum err *err, const char **allow)
{
	bool prefixed = strncmp(path, API_PREFIX "/", sizeof(API_PREFIX)) == 0;
	const char *rest = prefixed ? path + sizeof(API_PREFIX) - 1 : path;
	bool literal = false;

	*allow = NULL;
	for (size_t i = 0; i < n_routes; i++) {
		const char *found[3] = { NULL, NULL, NULL };

		if ((!prefixed && !(routes[i].flags & ROUTE_ALIAS)) || !fits(a, routes[i].path, rest, found))
			continue;
		/* A fixed path hides a pattern: DELETE /tasks/batch is no task's. */
		bool has_arg = found[0] != NULL;

		if (literal && has_arg)
			continue;
		literal |= !has_arg;
		if (strcmp(routes[i].method, method) == 0) {
			memcpy(arg, found, sizeof(found));
			*err = OK;
			return &routes[i];
		}
		*allow = *allow ? arena_printf(a, "%s, %s", *allow, routes[i].method) : routes[i].method;
	}
	*err = *allow ? ERR_METHOD : ERR_NO_ROUTE;
	return NULL;
}

int schema_depth(const struct schema *s)
{
	int depth = 1;

	for (size_t i = 0; s && i < s->n; i++) {
		const struct field *f = &s->fields[i];
		int d = 1;

		if (f->kind == F_STRS || f->kind == F_SLUGS || f->kind == F_UUIDS)
			d = 2;
		else if (f->kind == F_OBJ || f->kind == F_OBJS)
			d = schema_depth(f->sub) + (f->kind == F_OBJ ? 1 : 2);
		if (d > depth)
			depth = d;
	}
	return depth;
}
