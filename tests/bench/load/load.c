// SPDX-License-Identifier: MIT
/* The driver: begins operations on time, counts, and prints one JSON line. */
#include "load.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "lib/base/clock.h"

#define DRAIN_US	15000000	/* what is still under way gets this long after the end */

void die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fputs("load: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
	exit(1);
}

/* --- samples -------------------------------------------------------------------------------------------- */

void samples_add(struct samples *s, int64_t us)
{
	if (s->n == s->cap) {
		s->cap = s->cap ? s->cap * 2 : 65536;
		s->us = xrealloc(s->us, s->cap * sizeof(*s->us));
	}
	s->us[s->n++] = us < 0 ? 0 : us > UINT32_MAX ? UINT32_MAX : (uint32_t)us;
}

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a;
	uint32_t y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static double percentile(const struct samples *s, double p)
{
	size_t rank = (size_t)ceil(p / 100 * (double)s->n);

	return (double)s->us[rank ? rank - 1 : 0] / 1000;
}

static void write_ms(struct jw *w, const char *key, double ms)
{
	jw_kdouble(w, key, round(ms * 1000) / 1000);
}

void samples_write(struct jw *w, struct samples *s)
{
	double sum = 0;

	jw_obj(w);
	if (s->n) {
		qsort(s->us, s->n, sizeof(*s->us), by_value);
		for (size_t i = 0; i < s->n; i++)
			sum += s->us[i];
		write_ms(w, "p50", percentile(s, 50));
		write_ms(w, "p95", percentile(s, 95));
		write_ms(w, "p99", percentile(s, 99));
		write_ms(w, "max", (double)s->us[s->n - 1] / 1000);
		write_ms(w, "mean", sum / (double)s->n / 1000);
	}
	jw_end_obj(w);
}

/* --- operations ----------------------------------------------------------------------------------------- */

const struct jv *answer_data(struct load *l, const char *body, size_t n)
{
	struct error e;
	struct jv *root = NULL;

	arena_reset(&l->arena);
	error_init(&e, &l->arena);
	/* Deep enough for the parameters of a list's tasks. */
	if (json_parse(&l->arena, body, n, 5, &root, &e))
		return NULL;
	const struct jv *data = jv_get(root, "data");

	return data ? data : root;
}

void load_failed(struct load *l, const char *what, int status, const char *body)
{
	l->failed[status >= 0 && status < MAX_STATUS ? status : 0]++;
	if (l->complaints++ < 5)
		fprintf(stderr, "load: %s: status %d: %.300s\n", what, status, body);
}

void op_measure(struct op *op, int step, int64_t us)
{
	if (op->planned >= op->load->measure_from)
		samples_add(&op->load->step[step], us);
}

static void on_answer(struct conn *c, int status, const char *body, size_t n)
{
	struct op *op = c->arg;
	struct load *l = op->load;
	bool good = status >= 200 && status < 232 && op->want & WANT(status);

	op_measure(op, op->step, mono_us() - op->step_began);
	if (!good) {
		load_failed(l, l->scenario->steps[op->step], status, body);
		op_end(op, 0);
		return;
	}
	const struct jv *data = answer_data(l, body, n);

	if (data) {
		op->next(op, status, data);
		return;
	}
	load_failed(l, "answer is no JSON", status, body);
	op_end(op, 0);
}

void op_call(struct op *op, int step, const char *method, const char *token, const char *body, size_t n,
	     uint32_t want, op_next *next, const char *fmt, ...)
{
	char path[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(path, sizeof(path), fmt, ap);
	va_end(ap);
	op->step = step;
	op->want = want;
	op->next = next;
	op->step_began = mono_us();
	conn_call(&op->conn, method, path, token, body, n, on_answer);
}

static void op_begin(struct op *op, int64_t planned)
{
	struct load *l = op->load;

	op->busy = true;
	op->planned = planned;
	op->serial = l->started++;
	op->tries = op->left = op->taken = 0;
	op->waiting = false;
	l->scenario->start(op);
}

void op_end(struct op *op, int64_t units)
{
	struct load *l = op->load;
	int64_t now = mono_us();

	op->busy = false;
	l->finished++;
	if (op->planned >= l->measure_from && units > 0) {
		samples_add(&l->whole, now - op->planned);
		l->ok++;
		l->units += units;
	}
	l->idle[l->n_idle++] = op;
}

/* --- the run ---------------------------------------------------------------------------------------------- */

static void arm(int timer, int64_t at_us)
{
	struct itimerspec when = {
		.it_value = { .tv_sec = at_us / 1000000, .tv_nsec = at_us % 1000000 * 1000 + 1 },
	};

	timerfd_settime(timer, TFD_TIMER_ABSTIME, &when, NULL);
}

/* Begin all that is due. Returns when the next one is, INT64_MAX when none or when no connection is free. */
static int64_t begin_due(struct load *l, int64_t total)
{
	int64_t now = mono_us();

	if (l->rate == 0) {
		while (l->n_idle > 0 && now < l->ends)
			op_begin(l->idle[--l->n_idle], now);
		return now < l->ends ? l->ends : INT64_MAX;
	}
	while (l->started < total) {
		int64_t planned = l->began + (int64_t)((double)l->started * 1e6 / l->rate);

		if (planned > now)
			return planned;
		if (l->n_idle == 0)
			return INT64_MAX;
		op_begin(l->idle[--l->n_idle], planned);
	}
	return INT64_MAX;
}

static bool is_over(const struct load *l, int64_t total)
{
	int64_t now = mono_us();

	if (now > l->ends + DRAIN_US)
		return true;
	return l->n_idle == l->connections && (l->rate > 0 ? l->started >= total : now >= l->ends);
}

static void run(struct load *l)
{
	int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = NULL };
	bool ticked;

	if (timer < 0 || epoll_ctl(l->client.epoll, EPOLL_CTL_ADD, timer, &ev))
		die("no timer: %s", strerror(errno));
	l->began = mono_us() + 1000;
	l->measure_from = l->began + (int64_t)(l->warmup * 1e6);
	l->ends = l->began + (int64_t)((l->warmup + l->seconds) * 1e6);
	int64_t total = (int64_t)((l->warmup + l->seconds) * l->rate);

	while (!is_over(l, total)) {
		int64_t next = begin_due(l, total);

		if (next != INT64_MAX)
			arm(timer, next);
		client_poll(&l->client, l->scenario->tick ? 1 : 20, timer, &ticked);
		if (l->scenario->tick)
			l->scenario->tick(l, mono_us());
	}
	l->stopping = true;
	l->unfinished = l->connections - l->n_idle + (l->rate > 0 ? total - l->started : 0);
	close(timer);
}

/* --- the report --------------------------------------------------------------------------------------------- */

static void write_errors(struct jw *w, const struct load *l)
{
	int64_t sum = l->unfinished;

	for (int i = 0; i < MAX_STATUS; i++)
		sum += l->failed[i];
	jw_kint(w, "errors", sum);
	if (sum == 0)
		return;
	jw_key(w, "errors_by_status");
	jw_obj(w);
	for (int i = 0; i < MAX_STATUS; i++) {
		char key[16];

		snprintf(key, sizeof(key), "%d", i);
		if (l->failed[i])
			jw_kint(w, i ? key : "connection", l->failed[i]);
	}
	if (l->unfinished)
		jw_kint(w, "unfinished", l->unfinished);
	jw_end_obj(w);
}

static void report(struct load *l)
{
	struct rusage usage;
	struct buf out;
	struct jw w;
	/* Over the time the operations took, when the server fell behind and they ended late. */
	int64_t until = mono_us();
	double took = (double)((until > l->ends ? until : l->ends) - l->measure_from) / 1e6;

	buf_init(&out);
	jw_init(&w, &out);
	jw_obj(&w);
	jw_kstr(&w, "scenario", l->scenario->name);
	jw_kstr(&w, "mode", l->rate > 0 ? "open" : "closed");
	if (l->rate > 0)
		jw_kdouble(&w, "rate_asked", l->rate);
	jw_kint(&w, "connections", l->connections);
	jw_kdouble(&w, "seconds", round(took * 1000) / 1000);
	jw_kint(&w, "operations", l->ok);
	jw_kdouble(&w, "rate", round((double)l->ok / took * 10) / 10);
	jw_kstr(&w, "unit", l->scenario->unit);
	jw_kint(&w, "units", l->units);
	jw_kdouble(&w, "units_per_second", round((double)l->units / took * 10) / 10);
	write_errors(&w, l);
	if (l->empty_claims)
		jw_kint(&w, "empty_claims", l->empty_claims);
	jw_key(&w, "latency_ms");
	samples_write(&w, &l->whole);
	jw_key(&w, "steps_ms");
	jw_obj(&w);
	for (int i = 0; i < MAX_STEPS && l->scenario->steps[i]; i++) {
		jw_key(&w, l->scenario->steps[i]);
		samples_write(&w, &l->step[i]);
	}
	jw_end_obj(&w);
	getrusage(RUSAGE_SELF, &usage);
	jw_kdouble(&w, "driver_cpu_s", round(((double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
					      (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6) * 1000) / 1000);
	jw_end_obj(&w);
	puts(out.p);
	buf_release(&out);
}

/* --- the command line ------------------------------------------------------------------------------------------ */

static void usage(FILE *f)
{
	fputs("usage: load [OPTION…] SCENARIO\n"
	      "  -u, --url URL          the panel (MCP_URL); 127.x only\n"
	      "  -r, --rate N           open loop: N operations a second; latency counts from the planned start\n"
	      "                         without it: closed loop, each connection goes on when it is done\n"
	      "  -c, --connections N    connections (64)\n"
	      "  -s, --seconds S        measured time (10)\n"
	      "  -w, --warmup S         before it, not measured (1)\n"
	      "  -a, --agents N         agents (as many as connections; heartbeats: 1000)\n"
	      "  -b, --batch N          tasks in a batch (500)\n"
	      "  -t, --tasks N          tasks made before reading them (1000)\n"
	      "  -v, --verbose          say on standard error when preparations are over\n"
	      "The administrator is MCP_ADMIN_USER, the password is in MCP_ADMIN_PASSWORD_FILE. Scenarios:\n", f);
	for (int i = 0; i < n_scenarios; i++)
		fprintf(f, "  %-18s %s\n", scenarios[i].name, scenarios[i].what);
}

static double number(const char *text, double min, double max)
{
	char *end;
	double v = strtod(text, &end);

	if (*end || end == text || v < min || v > max)
		die("\"%s\" is not a number from %g to %g", text, min, max);
	return v;
}

static const char *parse(struct load *l, int argc, char **argv)
{
	static const struct option options[] = {
		{ "url", 1, NULL, 'u' }, { "rate", 1, NULL, 'r' }, { "connections", 1, NULL, 'c' },
		{ "seconds", 1, NULL, 's' }, { "warmup", 1, NULL, 'w' }, { "agents", 1, NULL, 'a' },
		{ "batch", 1, NULL, 'b' }, { "tasks", 1, NULL, 't' }, { "verbose", 0, NULL, 'v' },
		{ "help", 0, NULL, 'h' }, { NULL, 0, NULL, 0 },
	};
	const char *url = getenv("MCP_URL");
	int c;

	*l = (struct load){ .seconds = 10, .warmup = 1, .connections = 64, .batch = 500, .n_tasks = 1000 };
	while ((c = getopt_long(argc, argv, "u:r:c:s:w:a:b:t:vh", options, NULL)) != -1) {
		switch (c) {
		case 'u': url = optarg; break;
		case 'r': l->rate = number(optarg, 0.01, 1e6); break;
		case 'c': l->connections = (int)number(optarg, 1, 10000); break;
		case 's': l->seconds = number(optarg, 0.1, 3600); break;
		case 'w': l->warmup = number(optarg, 0, 600); break;
		case 'a': l->n_agents = (int)number(optarg, 1, 100000); break;
		case 'b': l->batch = (int)number(optarg, 1, 1000); break;
		case 't': l->n_tasks = (int)number(optarg, 1, 1000000); break;
		case 'v': l->verbose = true; break;
		case 'h': usage(stdout); exit(0);
		default: usage(stderr); exit(2);
		}
	}
	for (int i = 0; optind < argc && i < n_scenarios; i++) {
		if (!strcmp(argv[optind], scenarios[i].name))
			l->scenario = &scenarios[i];
	}
	if (!l->scenario || optind + 1 != argc) {
		usage(stderr);
		exit(2);
	}
	return url;
}

static void read_password(char *out, size_t size)
{
	const char *path = getenv("MCP_ADMIN_PASSWORD_FILE");
	FILE *f = path ? fopen(path, "r") : NULL;

	if (!f || !fgets(out, (int)size, f))
		die("no password in MCP_ADMIN_PASSWORD_FILE: eval \"$(./mcp env)\" first");
	fclose(f);
	out[strcspn(out, "\r\n")] = '\0';
}

int main(int argc, char **argv)
{
	static struct load l;
	char password[256];
	const char *url = parse(&l, argc, argv);
	const char *user = getenv("MCP_ADMIN_USER");

	signal(SIGPIPE, SIG_IGN);
	prctl(PR_SET_TIMERSLACK, 1000UL);	/* ns: arrivals on time */
	if (!url || !client_init(&l.client, url))
		die("give the panel's URL, http://127.0.0.1:PORT, in MCP_URL or by --url");
	arena_init(&l.arena);
	read_password(password, sizeof(password));
	load_login(&l, user ? user : "admin", password);
	snprintf(l.label, sizeof(l.label), "bench-%s-%d", l.scenario->name, (int)getpid());
	l.ops = xcalloc((size_t)l.connections, sizeof(*l.ops));
	l.idle = xcalloc((size_t)l.connections, sizeof(struct op *));
	for (int i = l.connections - 1; i >= 0; i--) {
		struct op *op = &l.ops[i];

		op->load = &l;
		op->index = i;
		conn_init(&op->conn, &l.client, op);
		buf_init(&op->text);
		l.idle[l.n_idle++] = op;
	}
	if (!l.scenario->prepare(&l))
		die("%s could not be prepared", l.scenario->name);
	if (l.verbose)
		fputs("load: running\n", stderr);	/* tests/bench/run counts the panel's CPU from here */
	run(&l);
	report(&l);
	return 0;
}
