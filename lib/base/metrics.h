// SPDX-License-Identifier: MIT
/*
 * Counters and histograms that all processes of one machine share: a file in the state folder, mapped by each of
 * them. Adding is an atomic add on a slot found by hash; a slot, once made, never moves. Free-text labels are
 * bounded: past METRIC_SERIES_MAX series of one metric the label reads "other".
 */
#ifndef BASE_METRICS_H
#define BASE_METRICS_H

#include "buf.h"
#include "error.h"

enum metric {
	M_TASKS_CREATED, M_TASKS_COMPLETED, M_TASK_DURATION, M_REQUEST_DURATION, M_ERRORS, M_EXTERNAL_DURATION,
	M_STAGE_DURATION, M_PIPELINE_DURATION, M_PIPELINES, M_ASSIGNMENT_DURATION, M_AUTH_FAILURES,
	METRIC_COUNT
};

#define METRIC_SERIES_MAX 200

/* Map the file (NULL: memory of this process and its children only). Failing leaves the private memory in use. */
enum err metrics_open(const char *path, struct error *e) MUST_CHECK;
/* labels: text as in the exposition format, `a="x",b="y"`, values already escaped by metric_label(). */
void metric_add(enum metric m, const char *labels, uint64_t n);
/* Observe a duration in a histogram. */
void metric_observe(enum metric m, const char *labels, int64_t duration_us);
/* One label with its value escaped, cut at 64 bytes: into out. */
void metric_label(char *out, size_t size, const char *name, const char *value);
/* All of them in Prometheus' text format. */
void metrics_write(struct buf *out);

/* Sums over all series of the request histogram, for /system/metrics. */
struct request_totals {
	uint64_t requests, errors;	/* errors: status ≥ 500 */
	double seconds;
};
void metrics_requests(struct request_totals *out);

/*
 * The last hour, minute by minute, for charts: in the same file, so that it is there after a restart and for all
 * processes of the machine. Calls that wait on purpose are not observed.
 */
#define MINUTES_SHOWN 60
enum minute_count { MINUTE_CREATED, MINUTE_COMPLETED, MINUTE_FAILED, MINUTE_CANCELLED, MINUTE_REQUESTS, MINUTE_ERRORS,
		    MINUTE_COUNTS };
enum minute_time { MINUTE_REQUEST, MINUTE_ASSIGNMENT, MINUTE_TASK, MINUTE_TIMES };
void minute_add(enum minute_count c, uint64_t n);
void minute_observe(enum minute_time t, int64_t duration_us);

struct minute_view {
	int64_t at;			/* ms since the epoch, its beginning */
	uint64_t count[MINUTE_COUNTS];
	double p50_ms[MINUTE_TIMES], p95_ms[MINUTE_TIMES];	/* estimated from the buckets; < 0: nothing was observed */
};
/* The last n minutes, oldest first, the one under way at the end; n ≤ MINUTES_SHOWN. */
void minutes_read(int n, struct minute_view *out);

/* Every series of a metric. bucket[i] counts durations up to metric_bounds[i] seconds that are over the bound before. */
#define METRIC_BUCKETS 16
extern const double metric_bounds[METRIC_BUCKETS];
typedef void metric_seen(void *arg, const char *labels, uint64_t count, const uint64_t bucket[METRIC_BUCKETS]);
void metrics_each(enum metric m, metric_seen *seen, void *arg);

#endif
