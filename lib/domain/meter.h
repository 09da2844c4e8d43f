// SPDX-License-Identifier: MIT
/* What the domain counts (contract.md section 7): called where events are posted, so nothing is counted twice. */
#ifndef DOMAIN_METER_H
#define DOMAIN_METER_H

#include "domain.h"

struct execution;

/* A task's event: created, assigned, completed, failed, cancelled; others count nothing. */
void meter_task(const struct op *op, const struct task *t, const char *event);
/* A stage or a run has ended. */
void meter_stage(const struct execution *ex, int stage);
void meter_run(const struct execution *ex);
/* Remember an agent's type for the labels of what it does. */
void meter_agent(const char *agent_id, const char *type);

#endif
