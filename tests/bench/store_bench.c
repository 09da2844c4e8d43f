// SPDX-License-Identifier: MIT
/*
 * What the store can do by itself, without HTTP: durable inserts, claims and completions a second from
 * many threads, singly and in batches, and lists over many rows.
 *
 *	store_bench [-u URI] [-t THREADS] [-n TASKS] [-r ROWS] [-j]
 *
 * -n tasks go through each single-call phase; lists run over -r rows (0: not at all). Without -u a new
 * SQLite file under TMPDIR. -j prints JSON.
 */
#include <pthread.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/store/store.h"

#define BATCH 500
#define LANES 8

static struct store *s;
static int threads = 32, per_thread;
static bool json, first = true;
static char agents[64][ID_TEXT];

struct worker {
	pthread_t thread;
	int index, done, want;
	void (*run)(struct worker *w);
	char (*ids)[ID_TEXT];	/* tasks it has inserted or claimed */
	int64_t *fences;
	int n_ids;
	int64_t *took;		/* µs of each call */
	int calls;
	struct arena a;
	struct error e;
};

static struct worker *workers;

static void check(enum err err, const struct error *e, const char *what)
{
	if (!err)
		return;
	fprintf(stderr, "store_bench: %s: %s %s %s\n", what, err_name(err), e->message, e->detail);
	exit(1);
}

static struct task a_task(int i)
{
	static const char *const types[] = { "ingest", "clean", "validate", "process", "assess", "export" };
	struct task t = {
		.type = types[i % 6],
		.priority = (enum priority)(i % PRIO_COUNT),
		.classification = CLASS_INTERNAL,
		.lane = i % LANES,
		.lane_sig = "{\"type\":\"bench\",\"capabilities\":[\"a\",\"b\"],\"classification\":1}",
		.parameters = "{\"patient\":12345,\"fields\":[\"age\",\"income\",\"visits\"],\"note\":\"a usual size of a small task\"}",
		.requirements = "{\"capabilities\":[\"a\",\"b\"]}",
		.timeout_s = 300,
		.max_retries = 3,
		.retry = { .initial_delay_ms = 1000, .max_delay_ms = 60000, .factor = 2, .jitter = true, .retryable = 7 },
		.created_by = "user:018f0000-0000-7000-8000-000000000001",
		.created_at = now_ms(),
	};

	id_new(t.id);
	t.updated_at = t.created_at;
	t.order_key = t.created_at;
	return t;
}

/* --- phases --------------------------------------------------------------------------------------- */

static void timed(struct worker *w, int64_t begun)
{
	w->took[w->calls++] = mono_us() - begun;
}

static void insert_single(struct worker *w)
{
	while (w->done < w->want) {
		struct task t = a_task(w->index + w->done);
		struct store_op op = { .kind = SOP_TASK_INSERT, .task = &t };
		struct store_unit u = { .ops = &op, .n = 1, .arena = &w->a, .error = &w->e };
		int64_t begun = mono_us();

		check(store_apply(s, &u), &w->e, "insert");
		timed(w, begun);
		w->done++;
	}
}

static void insert_batch(struct worker *w)
{
	while (w->done < w->want) {
		struct task t[BATCH];
		struct store_op ops[BATCH];
		struct store_unit u = { .ops = ops, .n = BATCH, .arena = &w->a, .error = &w->e };

		for (int i = 0; i < BATCH; i++) {
			t[i] = a_task(w->index + i);
			ops[i] = (struct store_op){ .kind = SOP_TASK_INSERT, .task = &t[i] };
		}
		int64_t begun = mono_us();

		check(store_apply_each(s, &u), &w->e, "insert");
		timed(w, begun);
		w->done += BATCH;
	}
}

static bool fits(void *arg, int64_t lane, const char *sig)
{
	(void)arg;
	(void)sig;
	return lane >= 0;
}

static void claim_up_to(struct worker *w, int max)
{
	int empty = 0;

	while (w->done < w->want && empty < 3) {
		int64_t now = now_ms(), begun = mono_us();
		struct claim c = { .fits = fits, .agent_id = agents[w->index % 64], .lease_until = now + 60000,
				   .max = max };
		struct task *out[BATCH];
		int n;

		check(store_tasks_claim(s, &c, &w->a, out, &n, &w->e), &w->e, "claim");
		timed(w, begun);
		for (int i = 0; i < n; i++) {
			w->fences[w->n_ids] = out[i]->fence;
			memcpy(w->ids[w->n_ids++], out[i]->id, ID_TEXT);
		}
		w->done += n;
		empty = n ? 0 : empty + 1;
		arena_reset(&w->a);
	}
}

static void claim_single(struct worker *w)
{
	claim_up_to(w, 1);
}

static void claim_batch(struct worker *w)
{
	claim_up_to(w, 100);
}

static struct task_change completion(const struct worker *w, int i)
{
	struct task_change c = {
		.if_status = ST_LEASED,
		.if_fence = w->fences[i],
		.if_agent = agents[w->index % 64],
		.if_unguarded = true,
		.fields = TF_STATUS | TF_RESULT | TF_COMPLETED | TF_PROGRESS | TF_LEASE,
		.set = { .status = TASK_COMPLETED, .progress = 1, .result = "{\"rows\":100,\"mean\":3.25,\"ok\":true}" },
		.tally = TALLY_COMPLETED,
	};

	memcpy(c.id, w->ids[i], ID_TEXT);
	c.set.completed_at = c.set.updated_at = now_ms();
	return c;
}

static void complete_single(struct worker *w)
{
	for (int i = 0; i < w->n_ids; i++) {
		struct task_change c = completion(w, i);
		struct store_op op = { .kind = SOP_TASK_CHANGE, .change = &c, .want_row = true };
		struct store_unit u = { .ops = &op, .n = 1, .arena = &w->a, .error = &w->e };
		int64_t begun = mono_us();

		check(store_apply(s, &u), &w->e, "complete");
		timed(w, begun);
		w->done++;
		if (i % 64 == 63)
			arena_reset(&w->a);
	}
}

static void complete_batch(struct worker *w)
{
	for (int i = 0; i < w->n_ids;) {
		struct task_change c[BATCH];
		struct store_op ops[BATCH];
		struct store_unit u = { .ops = ops, .n = 0, .arena = &w->a, .error = &w->e };

		for (; u.n < BATCH && i < w->n_ids; i++, u.n++) {
			c[u.n] = completion(w, i);
			ops[u.n] = (struct store_op){ .kind = SOP_TASK_CHANGE, .change = &c[u.n], .want_row = true };
		}
		int64_t begun = mono_us();

		check(store_apply_each(s, &u), &w->e, "complete");
		timed(w, begun);
		w->done += (int)u.n;
		arena_reset(&w->a);
	}
}

static void renew_lazily(struct worker *w)
{
	for (int i = 0; i < w->n_ids; i++) {
		struct task_change c = { .if_status = ST_LEASED, .if_fence = w->fences[i], .fields = TF_LEASE };
		struct store_op op = { .kind = SOP_TASK_CHANGE, .change = &c, .lazy = true };
		struct store_unit u = { .ops = &op, .n = 1, .arena = &w->a, .error = &w->e };

		memcpy(c.id, w->ids[i], ID_TEXT);
		c.set.updated_at = now_ms();
		c.set.lease_expires_at = c.set.updated_at + 60000;
		int64_t begun = mono_us();

		check(store_apply(s, &u), &w->e, "renew");
		timed(w, begun);
		w->done++;
	}
}

static void read_single(struct worker *w)
{
	for (int i = 0; i < w->n_ids; i++) {
		struct task *t;
		int64_t begun = mono_us();

		check(store_task_get(s, w->ids[i], &w->a, &t, &w->e), &w->e, "get");
		timed(w, begun);
		w->done++;
		if (i % 64 == 63)
			arena_reset(&w->a);
	}
}

/* Submit, claim one (whosever it is), complete it: three durable steps. */
static void lifecycle(struct worker *w)
{
	while (w->done < w->want) {
		struct task t = a_task(w->index + w->done), *out[1];
		struct store_op op = { .kind = SOP_TASK_INSERT, .task = &t };
		struct store_unit u = { .ops = &op, .n = 1, .arena = &w->a, .error = &w->e };
		int64_t now = t.created_at, begun = mono_us();
		struct claim c = { .fits = fits, .agent_id = agents[w->index % 64], .lease_until = now + 60000,
				   .max = 1 };
		struct task_change done;
		int n = 0;

		check(store_apply(s, &u), &w->e, "insert");
		while (!n)
			check(store_tasks_claim(s, &c, &w->a, out, &n, &w->e), &w->e, "claim");
		memcpy(w->ids[0], out[0]->id, ID_TEXT);
		w->fences[0] = out[0]->fence;
		done = completion(w, 0);
		op = (struct store_op){ .kind = SOP_TASK_CHANGE, .change = &done, .want_row = true };
		check(store_apply(s, &u), &w->e, "complete");
		timed(w, begun);
		w->done++;
		arena_reset(&w->a);
	}
}

/* --- running ------------------------------------------------------------------------------------------ */

static void *start(void *arg)
{
	struct worker *w = arg;

	w->run(w);
	return NULL;
}

static int by_value(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

static int64_t cpu_us(void)
{
	struct rusage r;

	getrusage(RUSAGE_SELF, &r);
	return (r.ru_utime.tv_sec + r.ru_stime.tv_sec) * 1000000LL + r.ru_utime.tv_usec + r.ru_stime.tv_usec;
}

static void say(const char *name, int n_threads, int64_t done, int64_t us, int64_t cpu, int64_t *took, int calls)
{
	qsort(took, (size_t)calls, sizeof(*took), by_value);
	double rate = us ? (double)done * 1e6 / (double)us : 0;
	double p50 = calls ? (double)took[calls / 2] / 1000 : 0, p99 = calls ? (double)took[calls * 99 / 100] / 1000 : 0;

	if (json)
		printf("%s{\"phase\":\"%s\",\"threads\":%d,\"done\":%lld,\"per_second\":%.0f,\"p50_ms\":%.3f,\"p99_ms\":%.3f,"
		       "\"cpu_us\":%.1f}", first ? "[" : ",\n", name, n_threads, (long long)done, rate, p50, p99,
		       done ? (double)cpu / (double)done : 0);
	else
		printf("%-22s %3d threads %9.0f /s   p50 %7.3f ms   p99 %7.3f ms   %6.1f us of CPU each\n", name, n_threads, rate,
		       p50, p99, done ? (double)cpu / (double)done : 0);
	first = false;
	fflush(stdout);
}

static void phase(const char *name, void (*run)(struct worker *), int n_threads, int want)
{
	int64_t begun = mono_us(), cpu = cpu_us(), done = 0;
	int calls = 0;

	for (int i = 0; i < n_threads; i++) {
		struct worker *w = &workers[i];

		w->index = i;
		w->run = run;
		w->done = w->calls = 0;
		w->want = want / n_threads;
		if (pthread_create(&w->thread, NULL, start, w))
			abort();
	}
	for (int i = 0; i < n_threads; i++) {
		pthread_join(workers[i].thread, NULL);
		done += workers[i].done;
		calls += workers[i].calls;
	}
	int64_t us = mono_us() - begun;

	cpu = cpu_us() - cpu;
	int64_t *all = xcalloc((size_t)calls, sizeof(*all));

	calls = 0;
	for (int i = 0; i < n_threads; i++) {
		memcpy(all + calls, workers[i].took, (size_t)workers[i].calls * sizeof(*all));
		calls += workers[i].calls;
	}
	say(name, n_threads, done, us, cpu, all, calls);
	free(all);
}

static void forget_ids(void)
{
	for (int i = 0; i < threads; i++)
		workers[i].n_ids = 0;
}

/* --- lists ----------------------------------------------------------------------------------------------- */

static char executions[200][ID_TEXT], pipelines[20][ID_TEXT];
static int64_t list_base;

static void fill(int rows)
{
	struct task *t = xcalloc(BATCH, sizeof(*t));
	struct store_op *ops = xcalloc(BATCH, sizeof(*ops));
	struct arena a;
	struct error e;
	unsigned seed = 1;

	arena_init(&a);
	error_init(&e, &a);
	list_base = now_ms() - (int64_t)rows * 10;
	for (int i = 0; i < 200; i++)
		id_new(executions[i]);
	for (int i = 0; i < 20; i++)
		id_new(pipelines[i]);
	for (int done = 0; done < rows; done += BATCH) {
		struct store_unit u = { .ops = ops, .n = BATCH, .arena = &a, .error = &e };

		for (int i = 0; i < BATCH; i++) {
			int n = done + i, k = rand_r(&seed) % 1000;
			uint8_t b[16];

			t[i] = a_task(rand_r(&seed));
			t[i].created_at = t[i].updated_at = list_base + n * 10LL;
			id_to_bytes(t[i].id, b);
			for (int z = 5, ms = 0; z >= 0; z--, ms += 8)
				b[z] = (uint8_t)(t[i].created_at >> ms);
			id_from_bytes(b, t[i].id);
			t[i].status = k < 930 ? TASK_COMPLETED : k < 950 ? TASK_FAILED : k < 980 ? TASK_PENDING :
				      k < 990 ? TASK_RUNNING : TASK_CANCELLED;
			t[i].lease_expires_at = t[i].status == TASK_RUNNING ? now_ms() + 600000 : 0;
			t[i].completed_at = ST(t[i].status) & ST_ENDED ? t[i].created_at + 100 : 0;
			if (t[i].status != TASK_PENDING)
				memcpy(t[i].agent_id, agents[rand_r(&seed) % 64], ID_TEXT);
			if (k % 2) {
				memcpy(t[i].execution_id, executions[rand_r(&seed) % 200], ID_TEXT);
				memcpy(t[i].pipeline_id, pipelines[rand_r(&seed) % 20], ID_TEXT);
				t[i].stage = 1 + k % 6;
			}
			if (rand_r(&seed) % 10000 == 0)
				t[i].created_by = "rare";
			ops[i] = (struct store_op){ .kind = SOP_TASK_INSERT, .task = &t[i] };
		}
		check(store_apply_each(s, &u), &e, "fill");
		arena_reset(&a);
	}
	arena_release(&a);
	free(t);
	free(ops);
}

static void one_list(const char *name, struct task_filter f)
{
	int64_t took[40];
	struct arena a;
	struct error e;
	int n = 0;

	arena_init(&a);
	error_init(&e, &a);
	f.limit = 50;
	for (int i = 0; i < 40; i++) {
		struct task_page page;
		int64_t begun = mono_us();

		check(store_tasks_list(s, &f, &a, &page, &e), &e, "list");
		took[i] = mono_us() - begun;
		n = page.n;
		arena_reset(&a);
	}
	qsort(took, 40, sizeof(*took), by_value);
	if (json)
		printf(",\n{\"list\":\"%s\",\"items\":%d,\"p50_ms\":%.3f,\"max_ms\":%.3f}", name, n, (double)took[20] / 1000,
		       (double)took[39] / 1000);
	else
		printf("list %-34s %3d items   p50 %7.3f ms   max %7.3f ms\n", name, n, (double)took[20] / 1000,
		       (double)took[39] / 1000);
	arena_release(&a);
}

static void lists(int rows)
{
	int64_t begun = mono_us();
	char middle[ID_TEXT];

	fill(rows);
	if (!json)
		printf("%d rows in %.1f s\n", rows, (double)(mono_us() - begun) / 1e6);
	id_at(list_base + rows * 5LL, middle);
	for (int brief = 1; brief >= 0; brief--) {
		enum task_cols cols = brief ? TASK_COLS_BRIEF : TASK_COLS_ALL;

#define LIST(name, ...) one_list(brief ? name : name ", whole", (struct task_filter){ .cols = cols, __VA_ARGS__ })
		LIST("all", .limit = 50);
		LIST("ascending", .ascending = true);
		LIST("from the middle", .after = middle);
		LIST("completed", .status = ST(TASK_COMPLETED));
		LIST("failed", .status = ST(TASK_FAILED));
		LIST("live", .status = ST_LIVE);
		LIST("critical", .priority = 1U << PRIO_CRITICAL);
		LIST("type", .type = "export");
		LIST("no such type", .type = "nothing");
		LIST("creator", .created_by = "rare");
		LIST("agent", .agent_id = agents[7]);
		LIST("agent, running", .agent_id = agents[7], .status = ST(TASK_RUNNING));
		LIST("execution", .execution_id = executions[3]);
		LIST("execution, stage", .execution_id = executions[3], .stage = 4);
		LIST("stage in order", .execution_id = executions[3], .stage = 4, .by_stage_seq = true, .after_seq = -1);
		LIST("pipeline", .pipeline_id = pipelines[3]);
		LIST("time range", .created_from = list_base + rows * 3LL, .created_to = list_base + rows * 3LL + 60000);
		LIST("type, failed", .type = "export", .status = ST(TASK_FAILED));
		LIST("type, failed, creator", .type = "export", .status = ST(TASK_FAILED), .created_by = "rare");
		LIST("type, time range", .type = "clean", .created_from = list_base, .created_to = list_base + rows * 2LL);
		LIST("pipeline, cancelled, critical", .pipeline_id = pipelines[3], .status = ST(TASK_CANCELLED),
		     .priority = 1U << PRIO_CRITICAL);
		LIST("stage alone", .stage = 6);
		LIST("updated, a full scan", .updated_from = now_ms());
	}
	struct arena a;
	struct error e;
	struct queue_depth d;
	struct stage_counts counts;
	int64_t at;

	arena_init(&a);
	error_init(&e, &a);
	begun = mono_us();
	for (int i = 0; i < 100; i++)
		check(store_queue_depth(s, &d, &e), &e, "depth");
	if (!json)
		printf("queue depth %.3f ms", (double)(mono_us() - begun) / 1e5);
	begun = mono_us();
	for (int i = 0; i < 100; i++)
		check(store_next_due(s, &at, &e), &e, "next due");
	if (!json)
		printf(", next due %.3f ms", (double)(mono_us() - begun) / 1e5);
	begun = mono_us();
	for (int i = 0; i < 100; i++) {
		const char *id = executions[i];

		check(store_stage_counts(s, &id, 1, &counts, &e), &e, "stage counts");
	}
	if (!json)
		printf(", stage counts %.3f ms\n", (double)(mono_us() - begun) / 1e5);
	arena_release(&a);
}

/* --- main --------------------------------------------------------------------------------------------------- */

static void sizes(const char *path, int tasks)
{
	struct stat st;

	if (!path[0] || stat(path, &st))
		return;
	if (json)
		printf(",\n{\"bytes_per_task\":%lld}", (long long)(st.st_size / tasks));
	else
		printf("%lld bytes a task on disk\n", (long long)(st.st_size / tasks));
}

static void run(const char *path, int tasks, int rows)
{
	phase("insert, one thread", insert_single, 1, tasks / 8);
	phase("insert", insert_single, threads, tasks);
	phase("claim", claim_single, threads, tasks);
	phase("renew lease, lazy", renew_lazily, threads, tasks);
	phase("get", read_single, threads, tasks);
	phase("complete", complete_single, threads, tasks);
	forget_ids();
	phase("lifecycle", lifecycle, threads, tasks);
	phase("insert by 500", insert_batch, 4, tasks * 2);
	phase("claim by 100", claim_batch, 4, tasks * 2);
	phase("complete by 500", complete_batch, 4, tasks * 2);
	forget_ids();
	sizes(path, tasks * 4 + tasks / 8);
	if (rows)
		lists(rows);
	if (json)
		puts("]");
}

int main(int argc, char **argv)
{
	char uri[512] = "", dir[256] = "", path[300] = "";
	int tasks = 40000, rows = 0, opt;
	struct arena a;
	struct error e;

	while ((opt = getopt(argc, argv, "u:t:n:r:j")) != -1) {
		switch (opt) {
		case 'u': snprintf(uri, sizeof(uri), "%s", optarg); break;
		case 't': threads = (int)strtol(optarg, NULL, 10); break;
		case 'n': tasks = (int)strtol(optarg, NULL, 10); break;
		case 'r': rows = (int)strtol(optarg, NULL, 10); break;
		case 'j': json = true; break;
		default: return 2;
		}
	}
	if (threads < 4 || threads > 512 || tasks < threads)
		return 2;
	if (!uri[0]) {
		snprintf(dir, sizeof(dir), "%s/mcp-bench.XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
		if (!mkdtemp(dir))
			return 1;
		snprintf(path, sizeof(path), "%s/mcp.db", dir);
		snprintf(uri, sizeof(uri), "sqlite://%s", path);
	}
	arena_init(&a);
	error_init(&e, &a);
	per_thread = tasks + BATCH;
	workers = xcalloc((size_t)threads, sizeof(*workers));
	for (int i = 0; i < threads; i++) {
		arena_init(&workers[i].a);
		error_init(&workers[i].e, &workers[i].a);
		workers[i].ids = xcalloc((size_t)per_thread, ID_TEXT);
		workers[i].fences = xcalloc((size_t)per_thread, sizeof(int64_t));
		workers[i].took = xcalloc((size_t)per_thread, sizeof(int64_t));
	}
	for (int i = 0; i < 64; i++)
		id_new(agents[i]);
	struct store_options o = { .uri = uri, .readers = 8, .timeout_ms = 30000 };

	check(store_open(&o, &s, &e), &e, "open");
	run(path, tasks, rows);
	store_close(s);
	if (dir[0]) {
		unlink(path);
		snprintf(uri, sizeof(uri), "%s-turn", path);
		unlink(uri);
		rmdir(dir);
	}
	return 0;
}
