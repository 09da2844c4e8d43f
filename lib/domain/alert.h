// SPDX-License-Identifier: MIT
/*
 * Alerts: what is wrong now, and what was. The scheduler's leader judges (scheduler/alerts.c); here is how an alert is kept
 * and read. One record an incident: it is raised when a rule begins to hold for a subject, seen while it holds, and
 * resolved when it no longer does. They live in the store, not in Redis: that Redis is away is one of them.
 */
#ifndef DOMAIN_ALERT_H
#define DOMAIN_ALERT_H

#include "domain.h"

struct alert {
	char id[ID_TEXT];
	int64_t rev;
	const char *kind;	/* "error_rate" */
	const char *subject;	/* what it is about: an agent's id, a service's name; "" the panel as a whole */
	const char *severity;	/* "warning", "critical" */
	const char *message, *unit;
	int64_t since, last_seen, resolved_at;
	double value, threshold;
};

/*
 * Raise fills a->id. Both commit, with what ALERT_WEBHOOK and ALERT_EMAIL are to be told, before the event system.alert is
 * posted. ERR_CONFLICT: another leader changed it; read the active ones again.
 */
enum err alert_raise(struct op *op, struct alert *a) MUST_CHECK;
enum err alert_resolve(struct op *op, struct alert *a) MUST_CHECK;
/* Keep it up to date while it holds. */
enum err alert_seen(struct op *op, struct alert *a) MUST_CHECK;

enum alert_filter_status { ALERTS_ANY, ALERTS_ACTIVE, ALERTS_RESOLVED };
struct alert_filter {
	enum alert_filter_status status;
	const char *kind, *subject, *cursor;	/* NULL: any, the first page */
	int limit;
};
/* Newest first. */
enum err alerts_list(struct op *op, const struct alert_filter *f, struct alert ***out, int *n, const char **next) MUST_CHECK;
enum err alert_load(struct op *op, const char *id, struct alert **out) MUST_CHECK;
void alert_json(const struct alert *a, struct jw *w);

#endif
