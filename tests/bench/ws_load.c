// SPDX-License-Identifier: MIT
/*
 * Many WebSockets in one thread: opens them, has events published through Redis the way mcp-api does, and tells how many
 * arrived on every one of them and how late. It does no more than it must, since it runs on the cores it measures:
 * a frame is looked at for one mark, never parsed.
 *
 *   ws_load --url ws://127.0.0.1:PORT/ws [--header 'Name: value'] [--hello TEXT] [--ready WORD] [--clients N]
 *           [--rate EVENTS/S] [--seconds S] [--redis SOCKET-PATH] [--pid RELAY] [--idle]
 *
 * --hello is sent once a socket is open; it counts as ready when a message holding --ready came (without --ready: when it
 * is open). --idle publishes nothing: it holds the sockets for the seconds and tells the memory of --pid. One line of JSON.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <hiredis/hiredis.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/arena.h"
#include "lib/base/clock.h"
#include "lib/base/id.h"

#define IN_FLIGHT 200		/* handshakes at once */
#define FINE_US 100000		/* latencies are kept by the microsecond up to here, then by the millisecond */
#define COARSE_MS 60000
#define MARK "ws_load:"
#define GRACE_US 3000000	/* for what is still under way at the end */

enum phase { CONNECTING, SHAKING, GREETING, READY, GONE };

struct sock {
	int fd;
	enum phase phase;
	char *part;			/* a frame that is not whole yet */
	size_t part_n;
	int64_t next, got, lost, twice;
};

static struct {
	const char *url, *header, *hello, *ready, *redis;
	int clients, rate, pid;
	double seconds;
	bool idle;
	struct sockaddr_in address;
	char host[64], path[256];
} opt = { .clients = 1000, .rate = 50, .seconds = 10 };

static struct sock *socks;
static int epoll_fd, n_ready, n_gone, n_started, n_shaking, close_codes[5000];
static char inbox[1 << 18];
static uint32_t fine[FINE_US], coarse[COARSE_MS + 1];
static int64_t delivered, worst_us;
static redisContext *bus;

static void die(const char *what)
{
	fprintf(stderr, "ws_load: %s: %s\n", what, errno ? strerror(errno) : "failed");
	exit(1);
}

/* --- the process that is measured ----------------------------------------------------------------------------------- */

static double cpu_seconds(int pid)
{
	char path[64];
	char line[1024];
	unsigned long user = 0;
	unsigned long kernel = 0;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	FILE *f = fopen(path, "re");
	char *after = f && fgets(line, sizeof(line), f) ? strrchr(line, ')') : NULL;

	if (f)
		fclose(f);
	if (!after || sscanf(after, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &kernel) != 2)
		return 0;
	return (double)(user + kernel) / (double)sysconf(_SC_CLK_TCK);
}

static long rss_kb(int pid)
{
	char path[64];
	char line[256];
	long kb = 0;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	FILE *f = fopen(path, "re");

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "VmRSS: %ld", &kb) == 1)
			break;
	}
	if (f)
		fclose(f);
	return kb;
}

static double own_cpu(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

/* --- sockets ----------------------------------------------------------------------------------------------------------- */

static void gone(struct sock *s, int code)
{
	if (s->phase == GONE)
		return;
	if (s->phase == READY)
		n_ready--;
	else
		n_shaking--;
	s->phase = GONE;
	n_gone++;
	close_codes[code > 0 && code < 5000 ? code : 0]++;
	close(s->fd);
	free(s->part);
	s->part = NULL;
}

static void open_one(struct sock *s)
{
	struct epoll_event e = { .events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = s };
	int one = 1;

	s->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (s->fd < 0)
		die("socket");
	setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (connect(s->fd, (struct sockaddr *)&opt.address, sizeof(opt.address)) && errno != EINPROGRESS)
		die("connect");
	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, s->fd, &e))
		die("epoll");
	s->phase = CONNECTING;
	n_shaking++;
}

static void put(struct sock *s, const void *data, size_t n)
{
	if (send(s->fd, data, n, MSG_NOSIGNAL) != (ssize_t)n)
		gone(s, 0);
}

static void shake(struct sock *s)
{
	char text[4096];
	int n = snprintf(text, sizeof(text),
			 "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
			 "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s%s\r\n", opt.path, opt.host, opt.header ? opt.header : "",
			 opt.header ? "\r\n" : "");

	s->phase = SHAKING;
	put(s, text, (size_t)n);
}

/* A client's frame, masked with zeros: the text as it is. */
static void put_frame(struct sock *s, int opcode, const void *data, size_t n)
{
	unsigned char frame[1024] = { (unsigned char)(0x80 | opcode) };
	size_t at = 2;

	if (n > sizeof(frame) - 8)
		return;
	frame[1] = 0x80 | (n < 126 ? (unsigned char)n : 126);
	if (n >= 126) {
		frame[at++] = (unsigned char)(n >> 8);
		frame[at++] = (unsigned char)n;
	}
	at += 4;
	memcpy(frame + at, data, n);
	put(s, frame, at + n);
}

static void ready(struct sock *s)
{
	s->phase = READY;
	n_shaking--;
	n_ready++;
}

static void shaken(struct sock *s)
{
	s->phase = GREETING;
	if (opt.hello)
		put_frame(s, 1, opt.hello, strlen(opt.hello));
	if (!opt.ready && s->phase == GREETING)
		ready(s);
}

static void count(struct sock *s, const char *mark, int64_t now)
{
	char *end;
	int64_t number = strtoll(mark + sizeof(MARK) - 1, &end, 10);
	int64_t late = now - strtoll(end + 1, NULL, 10);

	if (number < s->next) {
		s->twice++;
		return;
	}
	s->lost += number - s->next;
	s->next = number + 1;
	s->got++;
	delivered++;
	if (late > worst_us)
		worst_us = late;
	if (late < 0)
		late = 0;
	if (late < FINE_US)
		fine[late]++;
	else
		coarse[late / 1000 < COARSE_MS ? late / 1000 : COARSE_MS]++;
}

/* One whole frame. */
static void frame(struct sock *s, int opcode, const char *data, size_t n, int64_t now)
{
	if (opcode == 8) {
		gone(s, n >= 2 ? (unsigned char)data[0] << 8 | (unsigned char)data[1] : 1005);
	} else if (opcode == 9) {
		put_frame(s, 10, data, n);
	} else if (opcode <= 2) {
		const char *mark = memmem(data, n, MARK, sizeof(MARK) - 1);

		if (mark)
			count(s, mark, now);
		else if (s->phase == GREETING && memmem(data, n, opt.ready, strlen(opt.ready)))
			ready(s);
	}
}

/* Takes whole frames off the front of data; how many bytes that were. */
static size_t frames(struct sock *s, const char *data, size_t n, int64_t now)
{
	size_t at = 0;

	while (n - at >= 2 && s->phase != GONE) {
		const unsigned char *p = (const unsigned char *)data + at;
		size_t head = (p[1] & 127) < 126 ? 2 : (p[1] & 127) == 126 ? 4 : 10;
		uint64_t len = p[1] & 127;

		if (n - at < head)
			break;
		if (head > 2) {
			len = 0;
			for (size_t i = 2; i < head; i++)
				len = len << 8 | p[i];
		}
		if (n - at - head < len)
			break;
		frame(s, p[0] & 15, data + at + head, len, now);
		at += head + len;
	}
	return at;
}

static void take(struct sock *s, const char *data, size_t n, int64_t now)
{
	char *joined = NULL;

	if (s->part_n) {
		joined = xmalloc(s->part_n + n);
		memcpy(joined, s->part, s->part_n);
		memcpy(joined + s->part_n, data, n);
		n += s->part_n;
		data = joined;
	}
	size_t used = 0;

	if (s->phase == SHAKING) {
		const char *end = memmem(data, n, "\r\n\r\n", 4);

		if (end && (n < 12 || memcmp(data + 9, "101", 3) != 0)) {
			fprintf(stderr, "ws_load: refused: %.*s\n", (int)(end - data), data);
			gone(s, 0);
		} else if (end) {
			used = (size_t)(end - data) + 4;
			shaken(s);
		}
	}
	if (s->phase == GREETING || s->phase == READY)
		used += frames(s, data + used, n - used, now);
	free(s->part);
	s->part = NULL;
	s->part_n = s->phase == GONE ? 0 : n - used;
	if (s->part_n) {
		s->part = xmalloc(s->part_n);
		memcpy(s->part, data + used, s->part_n);
	}
	free(joined);
}

static void readable(struct sock *s)
{
	while (s->phase != GONE) {
		ssize_t n = recv(s->fd, inbox, sizeof(inbox), 0);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0) {
			gone(s, 1006);
			return;
		}
		take(s, inbox, (size_t)n, mono_us());
		if ((size_t)n < sizeof(inbox))
			return;
	}
}

static void turn(int timeout_ms)
{
	struct epoll_event e[512];
	int n = epoll_wait(epoll_fd, e, 512, timeout_ms);

	for (int i = 0; i < n; i++) {
		struct sock *s = e[i].data.ptr;

		if (s->phase == CONNECTING && e[i].events & (EPOLLERR | EPOLLHUP))
			gone(s, 1006);
		else if (s->phase == CONNECTING && e[i].events & EPOLLOUT)
			shake(s);
		if (s->phase != CONNECTING && e[i].events & EPOLLIN)
			readable(s);
	}
}

/* --- events ------------------------------------------------------------------------------------------------------------ */

static void bus_open_or_die(void)
{
	bus = redisConnectUnix(opt.redis);
	if (!bus || bus->err)
		die("Redis");
}

/* As lib/bus/lua/publish.lua does it: into the stream, then to who listens, under the stream's id. */
static void publish(int64_t number)
{
	static const char script[] =
		"local id = redis.call('XADD', KEYS[1], 'MAXLEN', '~', 100000, '*', 'e', ARGV[1]) "
		"redis.call('PUBLISH', KEYS[1], '{\"id\":\"' .. id .. ARGV[1]) return 1";
	char task[ID_TEXT];
	char rest[512];
	char stamp[TIME_TEXT];

	id_new(task);
	time_format(now_ms(), stamp);
	int n = snprintf(rest, sizeof(rest), "\",\"type\":\"task.progress\",\"timestamp\":\"%s\",\"data\":{\"task_id\":\"%s\",\"type\":\"bench\","
			 "\"status\":\"running\",\"progress\":0.5,\"classification\":\"internal\",\"message\":\"" MARK "%lld:%lld\"}}", stamp, task,
			 (long long)number, (long long)mono_us());
	redisReply *r = redisCommand(bus, "EVAL %s 1 {mcp}:events %b", script, rest, (size_t)n);

	if (!r || r->type == REDIS_REPLY_ERROR)
		die("publishing");
	freeReplyObject(r);
}

static double percentile(double share)
{
	int64_t want = (int64_t)((double)delivered * share);
	int64_t sum = 0;

	for (int i = 0; i < FINE_US; i++) {
		sum += fine[i];
		if (sum > want)
			return i / 1e3;
	}
	for (int i = 0; i <= COARSE_MS; i++) {
		sum += coarse[i];
		if (sum > want)
			return i;
	}
	return 0;
}

static double connect_all(void)
{
	int64_t began = mono_us();

	while (n_ready + n_gone < opt.clients) {
		while (n_started < opt.clients && n_shaking < IN_FLIGHT)
			open_one(&socks[n_started++]);
		turn(100);
		if (mono_us() - began > 120 * 1000000LL)
			break;
	}
	return (double)(mono_us() - began) / 1e6;
}

/* Publish at the rate until the time is over, then wait for what is under way. Number of events. */
static int64_t run(void)
{
	int64_t began = mono_us();
	int64_t total = (int64_t)(opt.rate * opt.seconds);
	int64_t sent = 0;

	while (sent < total) {
		int64_t due = began + sent * 1000000 / opt.rate;
		int64_t wait_us = due - mono_us();

		if (wait_us <= 0)
			publish(sent++);
		else if (wait_us >= 1000)
			turn((int)(wait_us / 1000));
		else
			turn(0);
	}
	int64_t over = mono_us() + GRACE_US;

	while (delivered < total * n_ready && mono_us() < over)
		turn(20);
	return sent;
}

static void hold(void)
{
	int64_t over = mono_us() + (int64_t)(opt.seconds * 1e6);

	while (mono_us() < over)
		turn(100);
}

static void print_closed(void)
{
	const char *comma = "";

	printf(",\"closed\":{");
	for (int i = 0; i < 5000; i++) {
		if (close_codes[i]) {
			printf("%s\"%d\":%d", comma, i, close_codes[i]);
			comma = ",";
		}
	}
	printf("}}\n");
}

static void report(double connect_s, int64_t sent, double took, double cpu, double own, long rss_before)
{
	int64_t lost = 0;
	int64_t twice = 0;

	for (int i = 0; i < opt.clients; i++) {
		lost += socks[i].phase == GONE ? sent - socks[i].got : socks[i].lost + sent - socks[i].next;
		twice += socks[i].twice;
	}
	printf("{\"clients\":%d,\"ready\":%d,\"connect_s\":%.2f,\"events\":%lld,\"seconds\":%.2f,\"delivered\":%lld,\"lost\":%lld,"
	       "\"twice\":%lld,\"deliveries_per_s\":%.0f,\"p50_ms\":%.3f,\"p95_ms\":%.3f,\"p99_ms\":%.3f,\"max_ms\":%.3f,\"cpu_s\":%.2f,"
	       "\"deliveries_per_cpu_s\":%.0f,\"own_cpu_s\":%.2f,\"rss_before_kb\":%ld,\"rss_kb\":%ld",
	       opt.clients, n_ready, connect_s, (long long)sent, took, (long long)delivered, (long long)lost, (long long)twice,
	       (double)delivered / took, percentile(0.5), percentile(0.95), percentile(0.99), (double)worst_us / 1e3, cpu,
	       cpu > 0 ? (double)delivered / cpu : 0, own, rss_before, opt.pid ? rss_kb(opt.pid) : 0);
	print_closed();
}

/* --- the command line ---------------------------------------------------------------------------------------------------- */

static bool parse_url(const char *url)
{
	char address[48];
	int port = 0;
	int n = 0;

	if (sscanf(url, "ws://%47[0-9.]:%d%n", address, &port, &n) != 2 || inet_pton(AF_INET, address, &opt.address.sin_addr) != 1)
		return false;
	opt.address.sin_family = AF_INET;
	opt.address.sin_port = htons((uint16_t)port);
	snprintf(opt.host, sizeof(opt.host), "%s:%d", address, port);
	snprintf(opt.path, sizeof(opt.path), "%s", url[n] ? url + n : "/");
	return true;
}

static bool options(int argc, char **argv)
{
	static const struct option names[] = {
		{ "url", 1, NULL, 'u' }, { "header", 1, NULL, 'H' }, { "hello", 1, NULL, 'h' }, { "ready", 1, NULL, 'r' },
		{ "clients", 1, NULL, 'n' }, { "rate", 1, NULL, 'R' }, { "seconds", 1, NULL, 's' }, { "redis", 1, NULL, 'b' },
		{ "pid", 1, NULL, 'p' }, { "idle", 0, NULL, 'i' }, { 0 },
	};

	for (int c; (c = getopt_long(argc, argv, "", names, NULL)) != -1;) {
		switch (c) {
		case 'u': opt.url = optarg; break;
		case 'H': opt.header = optarg; break;
		case 'h': opt.hello = optarg; break;
		case 'r': opt.ready = optarg; break;
		case 'n': opt.clients = (int)strtol(optarg, NULL, 10); break;
		case 'R': opt.rate = (int)strtol(optarg, NULL, 10); break;
		case 's': opt.seconds = strtod(optarg, NULL); break;
		case 'b': opt.redis = optarg; break;
		case 'p': opt.pid = (int)strtol(optarg, NULL, 10); break;
		case 'i': opt.idle = true; break;
		default: return false;
		}
	}
	return opt.url && parse_url(opt.url) && opt.clients > 0 && opt.rate > 0 && (opt.idle || opt.redis);
}

int main(int argc, char **argv)
{
	struct rlimit fds;

	if (!options(argc, argv)) {
		fprintf(stderr, "ws_load: see the head of tests/bench/ws_load.c\n");
		return 2;
	}
	getrlimit(RLIMIT_NOFILE, &fds);
	fds.rlim_cur = fds.rlim_max;
	setrlimit(RLIMIT_NOFILE, &fds);
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	socks = xcalloc((size_t)opt.clients, sizeof(*socks));
	if (!opt.idle)
		bus_open_or_die();
	long rss_before = opt.pid ? rss_kb(opt.pid) : 0;
	double connect_s = connect_all();
	double cpu = opt.pid ? cpu_seconds(opt.pid) : 0;
	double own = own_cpu();
	int64_t began = mono_us();
	int64_t sent = 0;

	if (opt.idle)
		hold();
	else
		sent = run();
	double took = (double)(mono_us() - began) / 1e6;

	report(connect_s, sent, took, opt.pid ? cpu_seconds(opt.pid) - cpu : 0, own_cpu() - own, rss_before);
	if (bus)
		redisFree(bus);
	for (int i = 0; i < opt.clients; i++)
		free(socks[i].part);
	free(socks);
	return 0;
}
