// SPDX-License-Identifier: MIT
/* The command of a job: starting it, its four pipes, ending it. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "runner.h"
#include "util.h"

#define SAY_FD	 3	      /* progress descriptor of the command */
#define LINE_MAX_BYTES 65536 /* a longer line is cut into pieces */
#define CHUNK	 65536
#define TURNS	 16 /* chunks of one pipe before the others get their turn */

static void set_env(const char *name, const char *value)
{
	if (is_empty(value))
		unsetenv(name);
	else
		setenv(name, value, 1);
}

static void set_env_int(const char *name, int64_t value)
{
	char text[32];

	snprintf(text, sizeof(text), "%lld", (long long)value);
	setenv(name, text, 1);
}

/* In the child: what the command is to know, and nothing it could log in with. */
static void child_environment(const struct runner *r, const struct job *j)
{
	static const char *const secrets[] = {"MCP_API_KEY", "MCP_API_KEY_FILE", "MCP_ADMIN_USER",
					      "MCP_ADMIN_PASSWORD_FILE"};

	for (size_t i = 0; i < sizeof(secrets) / sizeof(secrets[0]); i++)
		unsetenv(secrets[i]);
	set_env("MCP_TASK_ID", j->task_id);
	set_env("MCP_TASK_TYPE", j->type);
	set_env("MCP_EXECUTION_ID", j->execution_id);
	set_env("MCP_PIPELINE_ID", j->pipeline_id);
	set_env("MCP_AGENT_ID", r->id.agent_id);
	set_env("MCP_AGENT_NAME", r->name);
	set_env_int("MCP_FENCE", j->fence);
	set_env_int("MCP_ATTEMPT", j->attempt);
	if (j->stage)
		set_env_int("MCP_STAGE", j->stage);
	else
		unsetenv("MCP_STAGE");
	set_env_int("MCP_PROGRESS_FD", SAY_FD);
}

/* In the child: becomes the command, or says why not in the way commands report errors. */
static void child_exec(const struct runner *r, const struct job *j, int ends[4], pid_t parent)
{
	sigset_t none;

	/* the command must not outlive an agent that is killed: its lease would be another's */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	setpgid(0, 0);
	/* out of the way of 0–3 first, so that no dup2 tramples another's source */
	for (int i = 0; i < 4; i++)
		ends[i] = fcntl(ends[i], F_DUPFD, 10);
	for (int i = 0; i < 4; i++)
		if (ends[i] < 0 || dup2(ends[i], i) < 0)
			_exit(1);
	close_range(4, ~0U, 0);
	signal(SIGPIPE, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	child_environment(r, j);
	execvp(r->command[0], r->command);
	dprintf(2, "{\"type\":\"system\",\"message\":\"the agent cannot start its command: %s\",\"retryable\":true}\n",
		strerror(errno));
	_exit(127);
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

bool child_start(struct runner *r, struct job *j)
{
	int p[4][2] = {{-1, -1}, {-1, -1}, {-1, -1}, {-1, -1}}, theirs[4];
	pid_t parent = getpid();
	bool ok = true;

	for (int i = 0; i < 4; i++)
		ok = ok && !pipe2(p[i], O_CLOEXEC);
	/* stdin is read by the command, the others are written by it */
	for (int i = 0; i < 4; i++)
		theirs[i] = p[i][i == 0 ? 0 : 1];
	j->pid = ok ? fork() : -1;
	if (j->pid == 0)
		child_exec(r, j, theirs, parent);
	if (j->pid < 0)
		say(r, "error", j, "cannot start a process: %s", strerror(errno));
	else
		setpgid(j->pid, j->pid); /* here too: whoever comes first */
	for (int i = 0; i < 4; i++)
		close_fd(&p[i][i == 0 ? 0 : 1]);
	j->in = p[0][1];
	j->out = p[1][0];
	j->err = p[2][0];
	j->say = p[3][0];
	if (j->pid < 0) {
		j->pid = 0;
		child_close(j);
		return false;
	}
	for (int i = 0; i < 4; i++)
		fcntl(p[i][i == 0 ? 1 : 0], F_SETFL, O_NONBLOCK);
	j->started = mono_now();
	return true;
}

void child_close(struct job *j)
{
	close_fd(&j->in);
	close_fd(&j->out);
	close_fd(&j->err);
	close_fd(&j->say);
}

/* The whole group: a shell's children end with it. */
void child_signal(struct job *j, int sig)
{
	if (j->pid > 0 && kill(-j->pid, sig) && errno == ESRCH)
		kill(j->pid, sig);
}

static bool input_waits(const struct job *j)
{
	return j->in >= 0 && j->to_in.n > 0;
}

int child_poll(struct job *j, struct curl_waitfd *fds)
{
	const int reads[] = {j->out, j->err, j->say};
	int n = 0;

	if (input_waits(j))
		fds[n++] = (struct curl_waitfd){.fd = j->in, .events = CURL_WAIT_POLLOUT};
	for (int i = 0; i < 3; i++)
		if (reads[i] >= 0)
			fds[n++] = (struct curl_waitfd){.fd = reads[i], .events = CURL_WAIT_POLLIN};
	return n;
}

static void write_input(struct job *j)
{
	while (input_waits(j)) {
		ssize_t n = write(j->in, j->to_in.p, j->to_in.n);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0) { /* EPIPE: it does not want (more) input, which is its right */
			close_fd(&j->in);
			j->feed.done = true;
			return;
		}
		buf_drop_front(&j->to_in, (size_t)n);
	}
	if (!j->to_in.n && j->feed.done)
		close_fd(&j->in);
}

/* One read; false when there is nothing more at the moment. Closes *fd at its end. */
static bool read_some(int *fd, struct buf *to)
{
	ssize_t n;

	if (*fd < 0)
		return false;
	buf_grow(to, CHUNK);
	n = read(*fd, to->p + to->n, CHUNK);
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return errno == EINTR;
	if (n <= 0) {
		close_fd(fd);
		return false;
	}
	to->n += (size_t)n;
	to->p[to->n] = '\0';
	return true;
}

static void keep_error_line(struct runner *r, struct job *j, const char *line, size_t len)
{
	char *text = xstrndup(line, len);

	if (text[strspn(text, " \t\r")]) {
		free(j->last_error);
		j->last_error = xstrdup(text);
	}
	say(r, "stderr", j, "%s", text);
	if (r->log_stderr)
		progress_log(j, "warn", line, len);
	free(text);
}

typedef void (*on_line)(struct runner *r, struct job *j, const char *line, size_t len);

/* Takes complete lines out of b; `rest`: the last one too, complete or not. */
static void take_lines(struct runner *r, struct job *j, struct buf *b, bool rest, on_line take)
{
	size_t used = 0;

	while (used < b->n) {
		char *start = b->p + used, *end = memchr(start, '\n', b->n - used);
		size_t len = end ? (size_t)(end - start) : b->n - used;

		if (!end && !rest && len < LINE_MAX_BYTES)
			break;
		take(r, j, start, len);
		used += len + (end != NULL);
	}
	buf_drop_front(b, used);
}

void child_io(struct runner *r, struct job *j)
{
	int turns = TURNS;

	write_input(j);
	while (turns-- > 0 && read_some(&j->out, &j->from_out)) {
		if (j->from_out.n <= r->max_result)
			continue;
		if (j->end == END_NONE)
			job_end_command(r, j, END_OUTPUT);
		buf_reset(&j->from_out); /* keep reading, so that it can end */
	}
	for (turns = TURNS; turns > 0 && read_some(&j->err, &j->err_line); turns--)
		take_lines(r, j, &j->err_line, false, keep_error_line);
	for (turns = TURNS; turns > 0 && read_some(&j->say, &j->say_line); turns--)
		take_lines(r, j, &j->say_line, false, progress_line);
	if (j->err < 0)
		take_lines(r, j, &j->err_line, true, keep_error_line);
	if (j->say < 0)
		take_lines(r, j, &j->say_line, true, progress_line);
}
