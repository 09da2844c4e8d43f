// SPDX-License-Identifier: MIT
#include "metrics.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

#include "clock.h"
#include "hash.h"

#define SLOTS 8192
#define KEY_MAX 232
#define MAGIC 0x6d637032u

/* One series of one metric; a histogram's buckets stand in it. */
#define BUCKETS METRIC_BUCKETS
#define bounds metric_bounds
const double metric_bounds[BUCKETS] = { 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30, 60,
					300, 600 };

enum slot_state { SLOT_FREE, SLOT_MAKING, SLOT_READY };

struct slot {
	_Atomic uint32_t state;
	uint32_t metric;
	char labels[KEY_MAX];
	_Atomic uint64_t count;
	_Atomic uint64_t sum_us;
	_Atomic uint64_t bucket[BUCKETS];
};

/* One minute. Its number says which one a place in the ring holds; MINUTE_MAKING while it is being emptied. */
#define RING 64
#define MINUTE_MAKING (-1)
struct minute {
	_Atomic int64_t number;
	_Atomic uint64_t count[MINUTE_COUNTS];
	_Atomic uint64_t bucket[MINUTE_TIMES][BUCKETS + 1];	/* the last: longer than all bounds */
};

struct table {
	uint32_t magic;
	_Atomic uint32_t series[METRIC_COUNT];
	struct slot slots[SLOTS];
	struct minute minutes[RING];
};

static const struct {
	const char *name, *help;
	bool histogram;
	const char *other;	/* labels of the series that takes what is over the bound */
} metrics[METRIC_COUNT] = {
	[M_TASKS_CREATED] = { "mcp_tasks_created_total", "Tasks submitted.", false, "task_type=\"other\",stage=\"\"" },
	[M_TASKS_COMPLETED] = { "mcp_tasks_completed_total", "Tasks that ended.", false,
				"task_type=\"other\",status=\"other\",agent_type=\"other\"" },
	[M_TASK_DURATION] = { "mcp_task_duration_seconds", "From the start of the last attempt to the end.", true,
			      "task_type=\"other\",agent_type=\"other\"" },
	[M_REQUEST_DURATION] = { "mcp_request_duration_seconds", "Time in the handler.", true,
				 "method=\"other\",endpoint=\"other\",status=\"other\"" },
	[M_ERRORS] = { "mcp_errors_total", "Failed requests by type.", false, "error_type=\"other\",endpoint=\"other\"" },
	[M_EXTERNAL_DURATION] = { "mcp_external_service_duration_seconds", "Calls to other services.", true,
				  "service_name=\"other\",operation=\"other\"" },
	[M_STAGE_DURATION] = { "mcp_stage_duration_seconds", "Stages of pipeline runs.", true, "stage=\"other\"" },
	[M_PIPELINE_DURATION] = { "mcp_pipeline_duration_seconds", "Whole pipeline runs.", true, "" },
	[M_PIPELINES] = { "mcp_pipelines_total", "Pipeline runs that ended.", false, "status=\"other\"" },
	[M_ASSIGNMENT_DURATION] = { "mcp_assignment_duration_seconds", "From claimable to leased.", true, "" },
	[M_AUTH_FAILURES] = { "mcp_auth_failures_total", "Refused credentials.", false, "" },
};

static struct table *table;

static struct table *map(int fd)
{
	void *p = mmap(NULL, sizeof(struct table), PROT_READ | PROT_WRITE, fd < 0 ? MAP_SHARED | MAP_ANONYMOUS : MAP_SHARED,
		       fd, 0);

	return p == MAP_FAILED ? NULL : p;
}

enum err metrics_open(const char *path, struct error *e)
{
	if (!table)
		table = map(-1);
	if (!table)
		return error_set(e, ERR_INTERNAL, "mmap: %s", strerror(errno));
	if (!path)
		return OK;
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0 || ftruncate(fd, sizeof(struct table))) {
		if (fd >= 0)
			close(fd);
		return error_set(e, ERR_UNAVAILABLE, "%s: %s", path, strerror(errno));
	}
	struct table *shared = map(fd);

	close(fd);
	if (!shared)
		return error_set(e, ERR_INTERNAL, "mmap %s: %s", path, strerror(errno));
	if (shared->magic != MAGIC) {
		memset(shared, 0, sizeof(*shared));
		shared->magic = MAGIC;
	}
	munmap(table, sizeof(*table));
	table = shared;
	return OK;
}

static struct slot *claim_slot(struct slot *s, enum metric m, const char *labels)
{
	uint32_t is_free = SLOT_FREE;

	if (atomic_compare_exchange_strong(&s->state, &is_free, SLOT_MAKING)) {
		s->metric = m;
		snprintf(s->labels, sizeof(s->labels), "%s", labels);
		atomic_fetch_add(&table->series[m], 1);
		atomic_store_explicit(&s->state, SLOT_READY, memory_order_release);
	}
	return s;
}

static struct slot *find(enum metric m, const char *labels, bool may_make)
{
	uint64_t h = hash_add(HASH_START ^ (uint64_t)m, labels, strlen(labels));

	for (int i = 0; i < 64; i++) {
		struct slot *s = &table->slots[(h + (uint64_t)i) % SLOTS];

		if (atomic_load_explicit(&s->state, memory_order_acquire) == SLOT_FREE) {
			if (!may_make)
				return NULL;
			claim_slot(s, m, labels);
		}
		/* Another process is making it, or died doing so: a slot is cheap, go on. */
		if (atomic_load_explicit(&s->state, memory_order_acquire) != SLOT_READY)
			continue;
		if (s->metric == m && strcmp(s->labels, labels) == 0)
			return s;
	}
	return NULL;
}

static struct slot *series(enum metric m, const char *labels)
{
	if (!table)
		return NULL;
	bool room = atomic_load_explicit(&table->series[m], memory_order_relaxed) < METRIC_SERIES_MAX ||
		    m == M_REQUEST_DURATION;
	struct slot *s = find(m, labels, room);

	return s ? s : find(m, metrics[m].other, true);
}

void metric_add(enum metric m, const char *labels, uint64_t n)
{
	struct slot *s = series(m, labels);

	if (s)
		atomic_fetch_add_explicit(&s->count, n, memory_order_relaxed);
}

void metric_observe(enum metric m, const char *labels, int64_t duration_us)
{
	struct slot *s = series(m, labels);
	double seconds = (double)duration_us / 1e6;

	if (!s)
		return;
	atomic_fetch_add_explicit(&s->count, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&s->sum_us, (uint64_t)(duration_us > 0 ? duration_us : 0), memory_order_relaxed);
	for (int i = 0; i < BUCKETS; i++) {
		if (seconds <= bounds[i]) {
			atomic_fetch_add_explicit(&s->bucket[i], 1, memory_order_relaxed);
			break;
		}
	}
}

void metric_label(char *out, size_t size, const char *name, const char *value)
{
	size_t n = (size_t)snprintf(out, size, "%s=\"", name);

	for (int i = 0; value[i] && i < 64 && n + 4 < size; i++) {
		if (value[i] == '"' || value[i] == '\\')
			out[n++] = '\\';
		out[n++] = value[i] == '\n' ? ' ' : value[i];
	}
	out[n++] = '"';
	out[n] = '\0';
}

static void write_series(struct buf *out, const struct slot *s)
{
	const char *name = metrics[s->metric].name;
	const char *comma = *s->labels ? "," : "";
	uint64_t count = atomic_load_explicit(&s->count, memory_order_relaxed);
	uint64_t sum = 0;

	if (!metrics[s->metric].histogram) {
		if (*s->labels)
			buf_addf(out, "%s{%s} %llu\n", name, s->labels, (unsigned long long)count);
		else
			buf_addf(out, "%s %llu\n", name, (unsigned long long)count);
		return;
	}
	for (int i = 0; i < BUCKETS; i++) {
		sum += atomic_load_explicit(&s->bucket[i], memory_order_relaxed);
		buf_addf(out, "%s_bucket{%s%sle=\"%g\"} %llu\n", name, s->labels, comma, bounds[i], (unsigned long long)sum);
	}
	buf_addf(out, "%s_bucket{%s%sle=\"+Inf\"} %llu\n", name, s->labels, comma, (unsigned long long)count);
	const char *open = *s->labels ? "{" : "";
	const char *close = *s->labels ? "}" : "";

	buf_addf(out, "%s_sum%s%s%s %.6f\n%s_count%s%s%s %llu\n", name, open, s->labels, close,
		 (double)atomic_load_explicit(&s->sum_us, memory_order_relaxed) / 1e6, name, open, s->labels, close,
		 (unsigned long long)count);
}

void metrics_write(struct buf *out)
{
	for (int m = 0; m < METRIC_COUNT; m++) {
		buf_addf(out, "# HELP %s %s\n# TYPE %s %s\n", metrics[m].name, metrics[m].help, metrics[m].name,
			 metrics[m].histogram ? "histogram" : "counter");
		for (int i = 0; table && i < SLOTS; i++) {
			const struct slot *s = &table->slots[i];

			if (atomic_load_explicit(&s->state, memory_order_acquire) == SLOT_READY && s->metric == (uint32_t)m)
				write_series(out, s);
		}
	}
}

void metrics_requests(struct request_totals *out)
{
	*out = (struct request_totals){ 0 };
	for (int i = 0; table && i < SLOTS; i++) {
		const struct slot *s = &table->slots[i];

		if (atomic_load_explicit(&s->state, memory_order_acquire) != SLOT_READY || s->metric != M_REQUEST_DURATION)
			continue;
		uint64_t count = atomic_load_explicit(&s->count, memory_order_relaxed);

		out->requests += count;
		out->seconds += (double)atomic_load_explicit(&s->sum_us, memory_order_relaxed) / 1e6;
		if (strstr(s->labels, "status=\"5"))
			out->errors += count;
	}
}

void metrics_each(enum metric m, metric_seen *seen, void *arg)
{
	for (int i = 0; table && i < SLOTS; i++) {
		const struct slot *s = &table->slots[i];
		uint64_t bucket[BUCKETS];

		if (atomic_load_explicit(&s->state, memory_order_acquire) != SLOT_READY || s->metric != (uint32_t)m)
			continue;
		for (int k = 0; k < BUCKETS; k++)
			bucket[k] = atomic_load_explicit(&s->bucket[k], memory_order_relaxed);
		seen(arg, s->labels, atomic_load_explicit(&s->count, memory_order_relaxed), bucket);
	}
}

/* --- the last hour ------------------------------------------------------------------------------ */

/* This minute's place, emptied by whoever comes first. NULL: another is just emptying it, and one count is lost. */
static struct minute *this_minute(void)
{
	if (!table)
		return NULL;
	int64_t number = now_ms() / 60000;
	struct minute *m = &table->minutes[number % RING];
	int64_t holds = atomic_load_explicit(&m->number, memory_order_acquire);

	if (holds == number)
		return m;
	if (holds == MINUTE_MAKING || !atomic_compare_exchange_strong(&m->number, &holds, MINUTE_MAKING))
		return holds == number ? m : NULL;
	for (int c = 0; c < MINUTE_COUNTS; c++)
		atomic_store_explicit(&m->count[c], 0, memory_order_relaxed);
	for (int t = 0; t < MINUTE_TIMES; t++) {
		for (int i = 0; i <= BUCKETS; i++)
			atomic_store_explicit(&m->bucket[t][i], 0, memory_order_relaxed);
	}
	atomic_store_explicit(&m->number, number, memory_order_release);
	return m;
}

void minute_add(enum minute_count c, uint64_t n)
{
	struct minute *m = this_minute();

	if (m)
		atomic_fetch_add_explicit(&m->count[c], n, memory_order_relaxed);
}

void minute_observe(enum minute_time t, int64_t duration_us)
{
	struct minute *m = this_minute();
	int i = 0;

	while (i < BUCKETS && (double)duration_us / 1e6 > bounds[i])
		i++;
	if (m)
		atomic_fetch_add_explicit(&m->bucket[t][i], 1, memory_order_relaxed);
}

/* Within its bucket a duration is taken to lie evenly, as Prometheus' histogram_quantile() does. */
static double quantile_ms(const uint64_t bucket[BUCKETS + 1], double q)
{
	uint64_t all = 0;
	uint64_t below = 0;

	for (int i = 0; i <= BUCKETS; i++)
		all += bucket[i];
	if (!all)
		return -1;
	for (int i = 0; i < BUCKETS; i++) {
		if ((double)(below + bucket[i]) >= q * (double)all) {
			double low = i ? bounds[i - 1] : 0;

			return 1000 * (low + (bounds[i] - low) * (q * (double)all - (double)below) / (double)bucket[i]);
		}
		below += bucket[i];
	}
	return 1000 * bounds[BUCKETS - 1];
}

void minutes_read(int n, struct minute_view *out)
{
	int64_t number = now_ms() / 60000 - n + 1;

	for (int k = 0; k < n; k++, number++) {
		const struct minute *m = table ? &table->minutes[number % RING] : NULL;
		bool known = m && atomic_load_explicit(&m->number, memory_order_acquire) == number;

		out[k] = (struct minute_view){ .at = number * 60000 };
		for (int c = 0; c < MINUTE_COUNTS && known; c++)
			out[k].count[c] = atomic_load_explicit(&m->count[c], memory_order_relaxed);
		for (int t = 0; t < MINUTE_TIMES; t++) {
			uint64_t bucket[BUCKETS + 1] = { 0 };

			for (int i = 0; i <= BUCKETS && known; i++)
				bucket[i] = atomic_load_explicit(&m->bucket[t][i], memory_order_relaxed);
			out[k].p50_ms[t] = quantile_ms(bucket, 0.5);
			out[k].p95_ms[t] = quantile_ms(bucket, 0.95);
		}
	}
}
