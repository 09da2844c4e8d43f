// SPDX-License-Identifier: MIT
/*
 * mcp-api: a small master. It binds the two sockets, forks the workers, brings back one that dies, hands TERM and HUP
 * on, and opens no connection itself: that is done after the fork.
 */
#include <errno.h>
#include <fcgiapp.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../lib/base/clock.h"
#include "../lib/base/log.h"
#include "../lib/base/metrics.h"
#include "../lib/base/version.h"
#include "routes.h"
#include "worker.h"

#define WORKERS_MAX 65
#define BACKLOG 1024
#define RESPAWN_MIN_MS 200

struct child {
	pid_t pid;
	bool slow;
	int64_t started_us;
};

static volatile sig_atomic_t got_term, got_hup;

static void on_term(int sig)
{
	(void)sig;
	got_term = 1;
}

static void on_hup(int sig)
{
	(void)sig;
	got_hup = 1;
}

static void on_child(int sig)
{
	(void)sig;	/* ends the pause */
}

static int open_socket(const char *path)
{
	int fd = FCGX_OpenSocket(path, BACKLOG);

	if (fd < 0 || chmod(path, 0660)) {
		log_at(LOG_CRITICAL, "socket %s: %s", path, strerror(errno));
		return -1;
	}
	return fd;
}

static pid_t spawn(struct config *cfg, const char *file, int fast_fd, int slow_fd, bool slow)
{
	pid_t parent = getpid();
	pid_t pid = fork();

	if (pid != 0)
		return pid;
	/* Workers go with their master, also when it is killed. */
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != parent)
		_exit(0);
	close(slow ? fast_fd : slow_fd);
	struct worker_options o = { .cfg = cfg, .config_file = file, .listen_fd = slow ? slow_fd : fast_fd, .slow = slow,
				    .threads = (int)(slow ? cfg->api_slow_threads : cfg->api_threads) };

	exit(worker_run(&o));
}

static void signal_children(const struct child *c, int n, int sig)
{
	for (int i = 0; i < n; i++) {
		if (c[i].pid > 0)
			kill(c[i].pid, sig);
	}
}

/* A worker that dies at once is not brought back in a tight loop. */
static void respawn(struct child *c, struct config *cfg, const char *file, int fast_fd, int slow_fd)
{
	if (mono_us() - c->started_us < 1000000)
		usleep(RESPAWN_MIN_MS * 1000);
	c->started_us = mono_us();
	c->pid = spawn(cfg, file, fast_fd, slow_fd, c->slow);
}

static int supervise(struct child *c, int n, struct config *cfg, const char *file, int fast_fd, int slow_fd)
{
	bool told = false;
	int left = n;

	while (left > 0) {
		int status;
		pid_t pid = waitpid(-1, &status, got_term && told ? 0 : WNOHANG);

		if (pid > 0) {
			for (int i = 0; i < n; i++) {
				if (c[i].pid != pid)
					continue;
				if (got_term) {
					c[i].pid = 0;
					left--;
				} else {
					log_at(LOG_ERROR, "worker %d ended (%s %d) and is started again", (int)pid,
					       WIFSIGNALED(status) ? "signal" : "exit",
					       WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
					respawn(&c[i], cfg, file, fast_fd, slow_fd);
				}
			}
			continue;
		}
		if (pid < 0 && errno == ECHILD)
			break;
		if (got_term && !told) {
			told = true;
			signal_children(c, n, SIGTERM);
			continue;
		}
		if (got_hup) {
			got_hup = 0;
			signal_children(c, n, SIGHUP);
		}
		if (!got_term && pid == 0)
			usleep(50000);
	}
	return 0;
}

static void handle(int sig, void (*fn)(int))
{
	struct sigaction sa = { .sa_handler = fn };

	sigemptyset(&sa.sa_mask);
	if (sigaction(sig, &sa, NULL))
		abort();
}

static int serve(struct config *cfg, const char *file)
{
	struct child children[WORKERS_MAX] = { 0 };
	int n = 0;
	char metrics_path[4200];
	struct arena arena;
	struct error e;

	arena_init(&arena);
	error_init(&e, &arena);
	snprintf(metrics_path, sizeof(metrics_path), "%s/run/metrics", cfg->home);
	if (metrics_open(*cfg->home ? metrics_path : NULL, &e))
		log_error(LOG_WARN, &e, "metrics are this process' own");
	arena_release(&arena);
	handle(SIGTERM, on_term);
	handle(SIGINT, on_term);
	handle(SIGHUP, on_hup);
	handle(SIGCHLD, on_child);
	handle(SIGPIPE, SIG_IGN);
	FCGX_Init();
	int fast_fd = open_socket(cfg->api_socket);
	int slow_fd = fast_fd < 0 ? -1 : open_socket(cfg->api_slow_socket);

	if (slow_fd < 0)
		return 1;
	for (; n <= cfg->api_workers && n < WORKERS_MAX; n++) {
		children[n] = (struct child){ .slow = n == 0, .started_us = mono_us() };
		children[n].pid = spawn(cfg, file, fast_fd, slow_fd, n == 0);
	}
	log_info("mcp-api %s (%s) started, %d workers", mcp_version, mcp_revision, n);
	int status = supervise(children, n, cfg, file, fast_fd, slow_fd);

	unlink(cfg->api_socket);
	unlink(cfg->api_slow_socket);
	log_info("mcp-api stopped");
	return status;
}

static int usage(FILE *out)
{
	fputs("usage: mcp-api [--config FILE] [--check]\n"
	      "       mcp-api --openapi | --docs FOLDER | --example-config | --version\n"
	      "\n"
	      "  --config FILE      KEY = value lines; the environment overrides them\n"
	      "  --check            look at the configuration and exit\n"
	      "  --openapi          print the OpenAPI document\n"
	      "  --docs FOLDER      write docs/api and the generated reference pages\n"
	      "  --example-config   print every key with its default\n",
	      out);
	return out == stderr ? 2 : 0;
}

/* What is printed and needs no configuration. -1: nothing of the kind. */
static int print_something(int argc, char **argv)
{
	struct buf b;
	struct arena arena;
	struct error e;
	int rc = -1;

	buf_init(&b);
	arena_init(&arena);
	error_init(&e, &arena);
	if (argc == 2 && strcmp(argv[1], "--openapi") == 0) {
		openapi_write(&b);
		rc = 0;
	} else if (argc == 2 && strcmp(argv[1], "--example-config") == 0) {
		config_write_example(&b);
		rc = 0;
	} else if (argc == 2 && strcmp(argv[1], "--version") == 0) {
		buf_addf(&b, "mcp-api %s (%s)\n", mcp_version, mcp_revision);
		rc = 0;
	} else if (argc == 3 && strcmp(argv[1], "--docs") == 0) {
		rc = docs_write(argv[2], &e) ? 1 : 0;
		if (rc)
			fprintf(stderr, "mcp-api: %s\n", e.detail);
	}
	if (rc == 0 && fwrite(b.p, 1, b.n, stdout) != b.n)
		rc = 1;
	arena_release(&arena);
	buf_release(&b);
	return rc;
}

int main(int argc, char **argv)
{
	const char *file = NULL;
	bool check = false;
	int rc = print_something(argc, argv);

	if (rc >= 0)
		return rc;
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--config") == 0 && i + 1 < argc)
			file = argv[++i];
		else if (strcmp(argv[i], "--check") == 0)
			check = true;
		else
			return usage(strcmp(argv[i], "--help") == 0 ? stdout : stderr);
	}
	struct config cfg;
	struct buf problems;
	enum log_level level = LOG_INFO;

	buf_init(&problems);
	bool good = config_load(&cfg, file, &problems);

	if (good && (!*cfg.jwt_secret || !*cfg.password_pepper)) {
		buf_adds(&problems, "JWT_SECRET and PASSWORD_PEPPER must be set; make each with: openssl rand -hex 32\n");
		config_release(&cfg);
		good = false;
	}
	if (!good)
		fputs(problems.p, stderr);
	buf_release(&problems);
	if (!good)
		return 2;
	if (!check) {
		if (log_level_parse(cfg.log_level, &level))
			log_init("mcp-api", level);
		rc = serve(&cfg, file);
	}
	config_release(&cfg);
	return check ? 0 : rc;
}
