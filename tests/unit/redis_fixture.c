// SPDX-License-Identifier: MIT
#include "redis_fixture.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/banned.h"

#define OPTIONS_MAX 40

bool redis_init(struct redis *r)
{
	*r = (struct redis){ 0 };
	snprintf(r->dir, sizeof(r->dir), "/tmp/mcp-redis-XXXXXX");
	if (!mkdtemp(r->dir))
		return false;
	snprintf(r->sock, sizeof(r->sock), "%s/redis.sock", r->dir);
	snprintf(r->url, sizeof(r->url), "unix://%s", r->sock);
	return true;
}

int free_port(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int port = 0;

	if (fd >= 0 && !bind(fd, (struct sockaddr *)&a, len) && !getsockname(fd, (struct sockaddr *)&a, &len))
		port = ntohs(a.sin_port);
	if (fd >= 0)
		close(fd);
	return port;
}

static void become_redis(const struct redis *r, const char *const *options)
{
	const char *argv[OPTIONS_MAX + 16];
	char port[16];
	int n = 0;
	int null = open("/dev/null", O_RDWR);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(null, 2) < 0)
		_exit(127);
	snprintf(port, sizeof(port), "%d", r->port);
	const char *const fixed[] = {
		"redis-server", "--port", port, "--bind", "127.0.0.1", "--unixsocket", r->sock,
		"--dir", r->dir, "--save", "", "--daemonize", "no",
	};

	for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++)
		argv[n++] = fixed[i];
	for (int i = 0; options && options[i] && i < OPTIONS_MAX; i++)
		argv[n++] = options[i];
	argv[n] = NULL;
	execvp(argv[0], (char **)argv);
	_exit(127);
}

static redisContext *dial(struct redis *r)
{
	struct timeval tv = { .tv_sec = 5 };
	redisContext *c = redisConnectUnixWithTimeout(r->sock, tv);

	if (!c || c->err) {
		if (c)
			redisFree(c);
		return NULL;
	}
	if (r->password) {
		redisReply *reply = redisCommand(c, "AUTH %s", r->password);

		if (reply)
			freeReplyObject(reply);
	}
	return c;
}

static bool answers(struct redis *r)
{
	redisContext *c = dial(r);
	redisReply *reply = c ? redisCommand(c, "PING") : NULL;
	bool yes = reply && reply->type == REDIS_REPLY_STATUS;

	if (reply)
		freeReplyObject(reply);
	if (c)
		redisFree(c);
	return yes;
}

bool redis_start(struct redis *r, const char *const *options)
{
	r->pid = fork();
	if (r->pid == 0)
		become_redis(r, options);
	for (int i = 0; r->pid > 0 && i < 1000; i++) {
		if (answers(r))
			return true;
		if (waitpid(r->pid, NULL, WNOHANG) == r->pid)
			break;
		usleep(10000);
	}
	return false;
}

void redis_kill(struct redis *r, int signal)
{
	if (r->pid <= 0)
		return;
	kill(r->pid, signal);
	kill(r->pid, SIGCONT);
	while (waitpid(r->pid, NULL, 0) < 0)
		;
	r->pid = 0;
}

static void remove_all(const char *dir)
{
	DIR *d = opendir(dir);

	for (struct dirent *e; d && (e = readdir(d));) {
		char path[400];

		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		if (e->d_type == DT_DIR)
			remove_all(path);
		else
			unlink(path);
	}
	if (d)
		closedir(d);
	rmdir(dir);
}

void redis_release(struct redis *r)
{
	redis_kill(r, SIGKILL);
	if (r->dir[0])
		remove_all(r->dir);
	r->dir[0] = '\0';
}

static redisReply *ask(struct redis *r, const char *command)
{
	char copy[1024];
	const char *argv[64];
	int n = 0;
	redisContext *c = dial(r);
	redisReply *reply = NULL;

	snprintf(copy, sizeof(copy), "%s", command);
	for (char *p = copy, *word; (word = strsep(&p, " ")) && n < 64;) {
		if (*word)
			argv[n++] = word;
	}
	if (c) {
		reply = redisCommandArgv(c, n, argv, NULL);
		redisFree(c);
	}
	return reply;
}

int64_t redis_int(struct redis *r, const char *command)
{
	redisReply *reply = ask(r, command);
	int64_t v = -1000;

	if (reply && reply->type == REDIS_REPLY_INTEGER)
		v = reply->integer;
	else if (reply && reply->type == REDIS_REPLY_STRING)
		v = strtoll(reply->str, NULL, 10);
	if (reply)
		freeReplyObject(reply);
	return v;
}

static void join(const redisReply *reply, char *out, size_t room)
{
	size_t used = strlen(out);

	if (reply->type == REDIS_REPLY_ARRAY) {
		for (size_t i = 0; i < reply->elements; i++)
			join(reply->element[i], out, room);
	} else if (reply->type == REDIS_REPLY_INTEGER) {
		snprintf(out + used, room - used, "%s%lld", used ? " " : "", reply->integer);
	} else if (reply->str) {
		snprintf(out + used, room - used, "%s%s", used ? " " : "", reply->str);
	}
}

const char *redis_text(struct redis *r, const char *command)
{
	static char text[65536];
	redisReply *reply = ask(r, command);

	text[0] = '\0';
	if (reply) {
		join(reply, text, sizeof(text));
		freeReplyObject(reply);
	}
	return text;
}
