// SPDX-License-Identifier: MIT
/* Every handler of the route table; what each does stands there. */
#ifndef FCGI_HANDLERS_H
#define FCGI_HANDLERS_H

#include "handler.h"

handler h_agent_register, h_agents_list, h_agents_discover, h_agent_get,
	h_agent_update, h_agent_delete, h_agent_heartbeat, h_agent_health,
	h_agent_capabilities, h_agent_metrics, h_agent_allocate, h_agent_claim,
	h_agent_drain, h_agent_undrain, h_task_create, h_task_batch,
	h_tasks_list, h_task_report_batch, h_dead_letters, h_dead_letters_retry,
	h_task_get, h_task_update, h_task_status, h_task_delegate,
	h_task_assign, h_task_progress, h_task_log, h_task_complete,
	h_task_fail, h_task_release, h_task_cancel, h_task_retry,
	h_task_metrics, h_task_logs, h_pipeline_create, h_pipelines_list,
	h_pipeline_get, h_pipeline_update, h_pipeline_delete, h_pipeline_execute,
	h_stage_execute, h_pipeline_progress, h_agent_execute, h_agent_progress,
	h_executions_list, h_execution_get, h_execution_output, h_execution_pause,
	h_execution_resume, h_execution_cancel, h_execution_retry, h_auth_token,
	h_auth_login, h_auth_refresh, h_auth_logout, h_auth_me, h_auth_ticket,
	h_user_create, h_users_list, h_user_get, h_user_update,
	h_user_delete, h_key_create, h_keys_list, h_key_get,
	h_key_delete, h_health, h_ready, h_live,
	h_services, h_metrics, h_system_metrics, h_docs,
	h_openapi, h_events, h_alerts, h_alert_get,
	h_audit_logs, h_audit_verify;

#endif
