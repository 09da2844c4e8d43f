// SPDX-License-Identifier: MIT
/*
 * What the bus costs: bus_bench [--json] [--connections=N] [--only=WORD] [REDIS_URL]. Without a URL it starts a redis-server of its own on a unix
 * socket and ends it. Each line: operations a second, latency as the caller sees it, and processor time an
 * operation, of Redis and of this process.
 */
#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/bus/bus.h"

#define SAMPLES_MAX 1000000
#define THREADS_MAX 64

static struct bus *bus;
static const char *url;
static const char *only = "";	/* cases whose name holds this */
static bool json;
static int lines;

/* --- a Redis of our own -------------------------------------------------------------------------- */

static pid_t redis_pid;
static char dir[64], sock_url[128];

static void stop_redis(void)
{
	char path[96];

	if (redis_pid <= 0)
		return;
	kill(redis_pid, SIGKILL);
	waitpid(redis_pid, NULL, 0);
	snprintf(path, sizeof(path), "%s/s", dir);
	unlink(path);
	rmdir(dir);
}

static void start_redis(void)
{
	char sock[96];

	snprintf(dir, sizeof(dir), "/tmp/bus-bench-XXXXXX");
	if (!mkdtemp(dir))
		exit(1);
	snprintf(sock, sizeof(sock), "%s/s", dir);
	redis_pid = fork();
	if (redis_pid == 0) {
		int null = open("/dev/null", O_RDWR);

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (null < 0 || dup2(null, 1) < 0)
			_exit(127);
		execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", sock, "--save", "", "--dir", dir,
		       (char *)NULL);
		_exit(127);
	}
	for (int i = 0; i < 500 && access(sock, F_OK); i++)
		usleep(10000);
	snprintf(sock_url, sizeof(sock_url), "unix://%s", sock);
	url = sock_url;
	atexit(stop_redis);
}

/* --- measuring --------------------------------------------------------------------------------------- */

/* Processor seconds Redis has used; 0 for one that is not ours. */
static double redis_cpu(void)
{
	char path[64];
	char line[512];
	unsigned long user = 0;
	unsigned long sys = 0;

	if (redis_pid <= 0)
		return 0;
	snprintf(path, sizeof(path), "/proc/%d/stat", (int)redis_pid);
	FILE *f = fopen(path, "r");
	const char *p = f && fgets(line, sizeof(line), f) ? strrchr(line, ')') : NULL;

	if (f)
		fclose(f);
	if (!p || sscanf(p + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &sys) != 2)
		return 0;
	return (double)(user + sys) / (double)sysconf(_SC_CLK_TCK);
}

static double own_cpu(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

struct mark {
	int64_t at;
	double redis, own;
};

static struct mark mark_now(void)
{
	return (struct mark){ .at = mono_us(), .redis = redis_cpu(), .own = own_cpu() };
}

static int32_t samples[SAMPLES_MAX];
static _Atomic int n_samples;

static void sample(int64_t us)
{
	int i = n_samples++;

	if (i < SAMPLES_MAX)
		samples[i] = (int32_t)us;
}

static int by_size(const void *a, const void *b)
{
	return *(const int32_t *)a - *(const int32_t *)b;
}

static int32_t percentile(int n, double p)
{
	return n ? samples[(int)((double)(n - 1) * p)] : 0;
}

static void report(const char *name, const struct mark *from, int64_t ops)
{
	struct mark to = mark_now();
	double s = (double)(to.at - from->at) / 1e6;
	int n = n_samples < SAMPLES_MAX ? n_samples : SAMPLES_MAX;
	double per = 1e6 / (double)ops;

	qsort(samples, (size_t)n, sizeof(samples[0]), by_size);
	if (json)
		printf("%s{\"name\":\"%s\",\"per_second\":%.0f,\"p50_us\":%d,\"p99_us\":%d,\"redis_cpu_us\":%.2f,"
		       "\"own_cpu_us\":%.2f}", lines++ ? ",\n" : "[\n", name, (double)ops / s, percentile(n, 0.5),
		       percentile(n, 0.99), (to.redis - from->redis) * per, (to.own - from->own) * per);
	else
		printf("%-34s %8.0f/s   p50 %6d µs   p99 %6d µs   redis %6.2f µs   own %6.2f µs\n", name,
		       (double)ops / s, percentile(n, 0.5), percentile(n, 0.99), (to.redis - from->redis) * per,
		       (to.own - from->own) * per);
	fflush(stdout);
	n_samples = 0;
}

/* --- the cases ------------------------------------------------------------------------------------------ */

struct job {
	int calls;
	int id;
	void (*one)(int who, int i);
};

static void die(const char *what)
{
	fprintf(stderr, "bus_bench: %s failed\n", what);
	exit(1);
}

static void *work(void *arg)
{
	const struct job *job = arg;

	for (int i = 0; i < job->calls; i++) {
		int64_t from = mono_us();

		job->one(job->id, i);
		sample(mono_us() - from);
	}
	return NULL;
}

static void run(const char *name, void (*one)(int, int), int threads, int calls)
{
	pthread_t t[THREADS_MAX];
	struct job jobs[THREADS_MAX];
	struct mark from = mark_now();

	if (!strstr(name, only))
		return;
	for (int i = 0; i < threads; i++) {
		jobs[i] = (struct job){ .calls = calls / threads, .id = i, .one = one };
		if (pthread_create(&t[i], NULL, work, &jobs[i]))
			die("pthread_create");
	}
	for (int i = 0; i < threads; i++)
		pthread_join(t[i], NULL);
	report(name, &from, calls / threads * threads);
}

static void one_ping(int who, int i)
{
	int64_t us;

	(void)who;
	(void)i;
	if (bus_ping(bus, &us))
		die("bus_ping");
}

static void one_gate(int who, int i)
{
	char jti[ID_TEXT];
	char subject[ID_TEXT];
	char rate[64];
	int agent = (who * 7919 + i) % 1000;

	snprintf(jti, sizeof(jti), "00000000-0000-7000-8000-%012d", agent);
	snprintf(subject, sizeof(subject), "00000000-0000-7000-8001-%012d", agent);
	snprintf(rate, sizeof(rate), "api:%s", subject);
	struct gate g = { .jti = jti, .subject = subject, .rate_key = rate, .limit = 100000000, .cost = 1 };

	if (bus_gate(bus, &g) || g.limited)
		die("bus_gate");
}

static void one_post(int who, int i)
{
	char id[ID_TEXT];
	char data[200];

	snprintf(id, sizeof(id), "00000000-0000-7000-%04d-%012d", who, i);
	snprintf(data, sizeof(data), "{\"task_id\":\"%s\",\"status\":\"pending\",\"priority\":\"medium\","
		 "\"type\":\"bench\"}", id);
	bus_post(bus, &(struct bus_post){ .type = "task.created", .data = data, .op = BQ_ADD, .task_id = id,
					  .lane = i % 3, .lane_sig = "bench", .order_key = i }, 1);
}

static void one_take(int who, int i)
{
	static const int64_t lanes[] = { 0, 1, 2 };
	char ids[1][ID_TEXT];
	int n;

	(void)who;
	(void)i;
	if (bus_queue_take(bus, lanes, 3, 1, ids, &n) || n != 1)
		die("bus_queue_take");
}

/* As many tasks as the takes below need, in three lanes. */
static void fill(int n)
{
	struct bus_queue_item *items = xcalloc((size_t)n, sizeof(*items));

	for (int i = 0; i < n; i++) {
		snprintf(items[i].id, ID_TEXT, "00000000-0000-7000-9000-%012d", i);
		items[i].lane = i % 3;
		items[i].order_key = i;
		items[i].lane_sig = "bench";
	}
	if (bus_queue_fill(bus, items, n))
		die("bus_queue_fill");
	free(items);
}

static void one_beat(int who, int i)
{
	struct beat beat = { .status = "active", .load = 0.5, .resources = "{\"cpu\":4,\"memory\":8192}" };

	snprintf(beat.agent_id, sizeof(beat.agent_id), "00000000-0000-7000-8001-%012d", (who * 7919 + i) % 1000);
	if (bus_beat(bus, &beat, NULL, NULL))
		die("bus_beat");
}

static void post_throughput(const char *name, int threads, int posts)
{
	struct mark from = mark_now();
	pthread_t t[THREADS_MAX];
	struct job jobs[THREADS_MAX];

	if (!strstr(name, only))
		return;
	for (int i = 0; i < threads; i++) {
		jobs[i] = (struct job){ .calls = posts / threads, .id = i, .one = one_post };
		if (pthread_create(&t[i], NULL, work, &jobs[i]))
			die("pthread_create");
	}
	for (int i = 0; i < threads; i++)
		pthread_join(t[i], NULL);
	if (!bus_drain(bus, 20000))
		die("bus_drain");
	report(name, &from, posts / threads * threads);
}

static _Atomic int64_t heard_at;

static void hear(void *arg, const char *message)
{
	(void)arg;
	if (message[0] == 'x')
		heard_at = mono_us();
}

/* From bus_post() to the listener's callback in another thread: what a waiting claim feels. */
static void wake_latency(int rounds)
{
	struct bus_options o = { .url = url, .proc_id = "bench" };
	struct error e;
	struct bus_listen *l;
	struct mark from;

	if (!strstr("post to listener", only))
		return;
	error_init(&e, NULL);
	if (bus_listen(&o, hear, NULL, &l, &e))
		die("bus_listen");
	usleep(50000);
	from = mark_now();
	for (int i = 0; i < rounds; i++) {
		int64_t at = mono_us();

		heard_at = 0;
		bus_post(bus, &(struct bus_post){ .wake = "x 1" }, 1);
		while (!heard_at && mono_us() - at < 1000000)
			usleep(20);
		sample(heard_at - at);
		usleep(500);
	}
	report("post to listener, one at a time", &from, rounds);
	bus_listen_stop(l);
}

int main(int argc, char **argv)
{
	struct bus_options o = { .proc_id = "00000000-0000-4000-8000-000000000000" };
	struct error e;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--json") == 0)
			json = true;
		else if (strncmp(argv[i], "--only=", 7) == 0)
			only = argv[i] + 7;
		else if (strncmp(argv[i], "--connections=", 14) == 0)
			o.connections = (int)strtol(argv[i] + 14, NULL, 10);
		else
			url = argv[i];
	}
	log_set_level(LOG_ERROR);
	error_init(&e, NULL);
	if (!url)
		start_redis();
	o.url = url;
	if (bus_open(&o, &bus, &e)) {
		fprintf(stderr, "bus_bench: %s\n", e.message);
		return 1;
	}
	for (int i = 0; i < 200 && !bus_up(bus); i++)
		usleep(20000);
	if (bus_queue_clear(bus) || bus_set_warm(bus))
		die("Redis");
	run("ping, 1 thread", one_ping, 1, 20000);
	run("gate, 1 thread", one_gate, 1, 50000);
	run("gate, 8 threads", one_gate, 8, 200000);
	run("gate, 32 threads", one_gate, 32, 300000);
	post_throughput("post, 1 thread", 1, 60000);
	post_throughput("post, 8 threads", 8, 120000);
	fill(60000);
	run("take 1 of 3 lanes, 8 threads", one_take, 8, 60000);
	run("beat, 8 threads", one_beat, 8, 60000);
	wake_latency(1000);
	if (json)
		printf("\n]\n");
	bus_close(bus);
	return 0;
}
