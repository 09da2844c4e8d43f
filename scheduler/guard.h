// SPDX-License-Identifier: MIT
/*
 * Inside the alerts' duty: the looks (guard_looks.c) leave findings, and alerts.c compares them with the alerts there are.
 */
#ifndef SCHEDULER_GUARD_H
#define SCHEDULER_GUARD_H

#include "sched.h"

#include "../lib/base/metrics.h"

#define FINDINGS_MAX	200	/* at once; more would hide each other */
#define SNAPSHOTS	64
#define AGENTS_MAX	50	/* suspects of each sort that are told of */

enum alert_kind {
	K_ERROR_RATE, K_RESPONSE_TIME, K_EFFICIENCY, K_AGENT_GONE, K_AGENT_ANOMALY, K_SERVICE_DOWN, K_FAILED_LOGINS, K_DENIALS,
	KIND_COUNT
};

/* The counters at one moment. */
struct snapshot {
	int64_t at_us;
	uint64_t requests, errors, quick, over;
	uint64_t bucket[METRIC_BUCKETS];	/* of quick requests; over: beyond the last bound */
	uint64_t completed, failed;
};

enum { SERVICE_REDIS, SERVICE_API, SERVICE_RELAY, SERVICE_COUNT };

struct finding {
	enum alert_kind kind;
	const char *subject, *message;
	double value, threshold;
};

struct suspect {
	enum alert_kind kind;
	char id[ID_TEXT];
	double value;
};

struct guard {
	struct snapshot ring[SNAPSHOTS];
	int n_ring;
	struct { bool seen_up; int64_t down_since; } service[SERVICE_COUNT];
	pthread_mutex_t lock;			/* suspects, scanned */
	struct suspect suspects[AGENTS_MAX];	/* value: last heard of */
	int n_scanned;
	bool scanned;
	struct suspect failing[AGENTS_MAX];	/* value: share of attempts that succeeded */
	int n_failing;
	int64_t tallied_us;
	char missed[FINDINGS_MAX][ID_TEXT];	/* active alerts that did not hold last time */
	int n_missed;
	/* of this look */
	struct finding found[FINDINGS_MAX];
	int n_found;
	bool looked[KIND_COUNT];
};

/* A rule holds for a subject. Strings must last until the end of the run. */
void guard_find(struct guard *g, enum alert_kind kind, const char *subject, double value, double threshold, const char *message);

/* Each leaves what it finds, and says in g->looked which rules it could judge. */
void look_at_requests(struct sched *s, struct op *op);
void look_at_services(struct sched *s, struct op *op);
enum err look_at_agents(struct sched *s, struct op *op) MUST_CHECK;
enum err look_at_refusals(struct sched *s, struct op *op) MUST_CHECK;

#endif
