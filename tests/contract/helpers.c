// SPDX-License-Identifier: MIT
#include "contract.h"

#include <errno.h>
#include <sys/wait.h>
#include <unistd.h>

bool contract_expect(enum err got, enum err want, const char *what, const char *file, int line)
{
	if (got == want)
		return true;
	printf("\n    %s:%d: %s is %s, not %s; %s %s\n", file, line, what, err_name(got), err_name(want), T.e.message,
	       T.e.detail);
	return false;
}

bool contract_eq(int64_t got, int64_t want, const char *what, const char *file, int line)
{
	if (got == want)
		return true;
	printf("\n    %s:%d: %s is %lld, not %lld\n", file, line, what, (long long)got, (long long)want);
	return false;
}

bool contract_str(const char *got, const char *want, const char *what, const char *file, int line)
{
	if (got == want || (got && want && !strcmp(got, want)))
		return true;
	printf("\n    %s:%d: %s is %.200s, not %.200s\n", file, line, what, got ? got : "NULL", want ? want : "NULL");
	return false;
}

/* --- makers --------------------------------------------------------------------------------------------------- */

struct task a_task(void)
{
	struct task t = {
		.type = "work",
		.status = TASK_PENDING,
		.priority = PRIO_MEDIUM,
		.classification = CLASS_INTERNAL,
		.lane = 1,
		.lane_sig = "{\"type\":\"work\"}",
		.parameters = "{}",
		.requirements = "{}",
		.timeout_s = 300,
		.max_retries = 3,
		.retry = { .initial_delay_ms = 1000, .max_delay_ms = 60000, .factor = 2, .jitter = true },
		.created_by = "tests",
		.created_at = now_ms(),
	};

	id_new(t.id);
	t.order_key = t.created_at;
	t.updated_at = t.created_at;
	return t;
}

void id_of_time(int64_t ms, char out[ID_TEXT])
{
	uint8_t b[16], r[10];

	id_at(ms, out);
	id_to_bytes(out, b);
	random_bytes(r, sizeof(r));
	for (int i = 0; i < 10; i++)
		b[6 + i] |= i == 0 ? r[i] & 0x0f : i == 2 ? r[i] & 0x3f : r[i];
	id_from_bytes(b, out);
}

void set_id(char to[ID_TEXT], const char *from)
{
	snprintf(to, ID_TEXT, "%s", from);
}

struct task_change a_change(const char *id, uint32_t fields)
{
	struct task_change c = { .if_fence = -1, .fields = fields };

	set_id(c.id, id);
	c.set.updated_at = now_ms();
	return c;
}

enum err insert(struct store *s, const struct task *t)
{
	struct store_op op = { .kind = SOP_TASK_INSERT, .task = t };
	struct store_unit u = { .ops = &op, .n = 1, .arena = &T.a, .error = &T.e };

	return store_apply(s, &u);
}

enum err change(struct store *s, const struct task_change *c, struct task **row, enum store_op_result *res)
{
	struct store_op op = { .kind = SOP_TASK_CHANGE, .change = c, .want_row = row != NULL };
	struct store_unit u = { .ops = &op, .n = 1, .arena = &T.a, .error = &T.e };
	enum err err = store_apply(s, &u);

	if (row)
		*row = op.row;
	if (res)
		*res = op.result;
	return err;
}

enum err put(struct store *s, const struct record *r, int64_t expect_rev, int64_t *rev, enum store_op_result *res)
{
	struct store_op op = { .kind = SOP_REC_PUT, .rec = r, .expect_rev = expect_rev };
	struct store_unit u = { .ops = &op, .n = 1, .arena = &T.a, .error = &T.e };
	enum err err = store_apply(s, &u);

	if (rev)
		*rev = op.rev;
	if (res)
		*res = op.result;
	return err;
}

enum err rec_delete(struct store *s, enum record_kind kind, const char *id, int64_t expect_rev,
		    enum store_op_result *res)
{
	struct record r = { .kind = kind, .id = id };
	struct store_op op = { .kind = SOP_REC_DELETE, .rec = &r, .expect_rev = expect_rev };
	struct store_unit u = { .ops = &op, .n = 1, .arena = &T.a, .error = &T.e };
	enum err err = store_apply(s, &u);

	if (res)
		*res = op.result;
	return err;
}

struct task *get(struct store *s, const char *id)
{
	struct task *t = NULL;

	OKAY(store_task_get(s, id, &T.a, &t, &T.e));
	return t;
}

enum err count_stages(const char *execution_id, int64_t counts[7][TASK_STATUS_COUNT])
{
	struct stage_counts c;
	enum err err = store_stage_counts(T.s, &execution_id, 1, &c, &T.e);

	memcpy(counts, c.n, sizeof(c.n));
	return err;
}

bool fits_all(void *arg, int64_t lane, const char *sig)
{
	(void)arg;
	(void)lane;
	(void)sig;
	return true;
}

struct claim a_claim(const char *agent, int max)
{
	int64_t now = now_ms();

	return (struct claim){ .fits = fits_all, .agent_id = agent, .lease_until = now + 60000, .max = max };
}

/* --- other processes ---------------------------------------------------------------------------------------------- */

struct child child_start(const char *role, const char *arg)
{
	struct child c = { .pid = -1, .out = -1 };
	int fd[2];

	CU_ASSERT_EQUAL_FATAL(pipe(fd), 0);
	fflush(stdout);
	c.pid = fork();
	CU_ASSERT_NOT_EQUAL_FATAL(c.pid, -1);
	if (c.pid == 0) {
		dup2(fd[1], STDOUT_FILENO);
		close(fd[0]);
		close(fd[1]);
		execl("/proc/self/exe", "contract", "--role", role, T.uri, arg, (char *)NULL);
		_exit(127);
	}
	close(fd[1]);
	c.out = fd[0];
	return c;
}

char *child_finish(struct child *c, int *status)
{
	size_t n = 0, cap = 4096;
	char *text = arena_alloc(&T.a, cap);
	ssize_t got;

	while ((got = read(c->out, text + n, cap - n - 1)) > 0 || (got < 0 && errno == EINTR)) {
		n += got > 0 ? (size_t)got : 0;
		if (cap - n < 1024) {
			char *more = arena_alloc(&T.a, cap * 2);

			memcpy(more, text, n);
			text = more;
			cap *= 2;
		}
	}
	text[n] = '\0';
	close(c->out);
	while (waitpid(c->pid, status, 0) < 0 && errno == EINTR)
		;
	return text;
}
