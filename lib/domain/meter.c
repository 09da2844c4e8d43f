// SPDX-License-Identifier: MIT
#include "meter.h"

#include <pthread.h>

#include "../base/metrics.h"
#include "execution.h"

/* Types of the agents this process has seen; a miss reads "unknown" in a label, nothing worse. */
#define AGENTS_KEPT 1024
static struct {
	char id[ID_TEXT];
	char type[LIMIT_SLUG + 1];
} agents[AGENTS_KEPT];
static pthread_mutex_t agents_lock = PTHREAD_MUTEX_INITIALIZER;

static unsigned agent_slot(const char *id)
{
	unsigned h = 5381;

	for (; *id; id++)
		h = h * 33 + (unsigned char)*id;
	return h % AGENTS_KEPT;
}

void meter_agent(const char *agent_id, const char *type)
{
	unsigned i = agent_slot(agent_id);

	pthread_mutex_lock(&agents_lock);
	if (strcmp(agents[i].id, agent_id) != 0) {
		snprintf(agents[i].id, sizeof(agents[i].id), "%s", agent_id);
		snprintf(agents[i].type, sizeof(agents[i].type), "%s", type);
	}
	pthread_mutex_unlock(&agents_lock);
}

static void agent_label(char *out, size_t size, const char *agent_id)
{
	char type[LIMIT_SLUG + 1] = "unknown";
	unsigned i = agent_slot(agent_id);

	pthread_mutex_lock(&agents_lock);
	if (*agent_id && strcmp(agents[i].id, agent_id) == 0)
		memcpy(type, agents[i].type, sizeof(type));
	pthread_mutex_unlock(&agents_lock);
	metric_label(out, size, "agent_type", type);
}

static void ended(const struct task *t)
{
	static const enum minute_count minutes[] = { [TASK_COMPLETED] = MINUTE_COMPLETED, [TASK_FAILED] = MINUTE_FAILED,
						     [TASK_CANCELLED] = MINUTE_CANCELLED };
	char type[96];
	char agent[96];
	char labels[230];

	metric_label(type, sizeof(type), "task_type", t->type);
	agent_label(agent, sizeof(agent), t->agent_id);
	snprintf(labels, sizeof(labels), "%s,status=\"%s\",%s", type, task_status_names[t->status], agent);
	metric_add(M_TASKS_COMPLETED, labels, 1);
	minute_add(minutes[t->status], 1);
	if (t->started_at && t->completed_at) {
		snprintf(labels, sizeof(labels), "%s,%s", type, agent);
		metric_observe(M_TASK_DURATION, labels, (t->completed_at - t->started_at) * 1000);
		minute_observe(MINUTE_TASK, (t->completed_at - t->started_at) * 1000);
	}
}

void meter_task(const struct op *op, const struct task *t, const char *event)
{
	char type[96];
	char labels[160];

	if (strcmp(event, "task.created") == 0) {
		metric_label(type, sizeof(type), "task_type", t->type);
		if (t->stage)
			snprintf(labels, sizeof(labels), "%s,stage=\"%d\"", type, t->stage);
		else
			snprintf(labels, sizeof(labels), "%s,stage=\"\"", type);
		metric_add(M_TASKS_CREATED, labels, 1);
		minute_add(MINUTE_CREATED, 1);
	} else if (strcmp(event, "task.assigned") == 0) {
		int64_t ready = t->run_at > t->created_at ? t->run_at : t->created_at;

		/* Later attempts waited for their backoff, not for an agent. */
		if (t->fence == 1) {
			metric_observe(M_ASSIGNMENT_DURATION, "", (op->now - ready) * 1000);
			minute_observe(MINUTE_ASSIGNMENT, (op->now - ready) * 1000);
		}
	} else if (ST(t->status) & ST_ENDED) {
		ended(t);
	}
}

void meter_stage(const struct execution *ex, int stage)
{
	char labels[32];

	snprintf(labels, sizeof(labels), "stage=\"%d\"", stage);
	metric_observe(M_STAGE_DURATION, labels, (ex->state[stage].completed_at - ex->state[stage].started_at) * 1000);
}

void meter_run(const struct execution *ex)
{
	char labels[48];

	snprintf(labels, sizeof(labels), "status=\"%s\"", execution_status_names[ex->status]);
	metric_add(M_PIPELINES, labels, 1);
	metric_observe(M_PIPELINE_DURATION, "", (ex->completed_at - ex->started_at) * 1000);
}
