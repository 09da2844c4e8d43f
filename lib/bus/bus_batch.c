// SPDX-License-Identifier: MIT
/*
 * A batch of posts as one script call. The queue changes of all its posts are laid together first: only the last
 * word on each member of each set counts, and each set is changed by one ZADD and one ZREM, however many tasks
 * the batch touches. Wakes are one a lane. Events stay one by one, in order.
 */
#include "bus_internal.h"

#define RUN_KEPT_S 86400	/* the progress of an execution, after its end */

enum set { SET_PENDING, SET_RUNNING, SET_ASSIGNED };

/* "member is (not) in this set", with its score */
struct effect {
	enum set set;
	bool in;
	int64_t lane, score;
	const char *agent, *task, *lane_sig;
	int64_t seq;
};

struct batch {
	struct cmd body;
	int args;
	int n;
	struct effect effects[BUS_BATCH * 3];
};

static void effect(struct batch *b, const struct post *p, enum set set, bool in, int64_t score)
{
	b->effects[b->n++] = (struct effect){
		.set = set, .in = in, .score = score, .task = p->task_id, .seq = p->seq,
		.lane = set == SET_PENDING ? p->lane : 0,
		.agent = set == SET_ASSIGNED ? p->agent_id : "",
		.lane_sig = p->lane_sig,
	};
}

static void effects_of(struct batch *b, const struct post *p)
{
	if (p->op == BQ_NONE || !p->task_id)
		return;
	effect(b, p, SET_PENDING, p->op == BQ_ADD, p->order_key);
	if (p->op == BQ_REMOVE)
		return;
	effect(b, p, SET_RUNNING, p->op == BQ_LEASE, p->lease_until);
	if (p->agent_id)
		effect(b, p, SET_ASSIGNED, p->op == BQ_LEASE, 0);
}

static int same_set(const struct effect *x, const struct effect *y)
{
	if (x->set != y->set)
		return x->set < y->set ? -1 : 1;
	if (x->lane != y->lane)
		return x->lane < y->lane ? -1 : 1;
	return strcmp(x->agent, y->agent);
}

static int by_member(const void *a, const void *b)
{
	const struct effect *x = a;
	const struct effect *y = b;
	int cmp = same_set(x, y);

	if (!cmp)
		cmp = strcmp(x->task, y->task);
	return cmp ? cmp : (x->seq > y->seq) - (x->seq < y->seq);
}

/* Keep the last word on each member. */
static void settle(struct batch *b)
{
	int kept = 0;

	qsort(b->effects, (size_t)b->n, sizeof(b->effects[0]), by_member);
	for (int i = 0; i < b->n; i++) {
		const struct effect *e = &b->effects[i];

		if (i + 1 < b->n && !same_set(e, e + 1) && strcmp(e->task, e[1].task) == 0)
			continue;
		b->effects[kept++] = *e;
	}
	b->n = kept;
}

/* The count and first words of a command; `more` words follow. */
static void command(struct batch *b, int more, const char *name)
{
	cmd_int(&b->body, more + 1);
	cmd_arg(&b->body, name);
	b->args += more + 2;
}

static void set_key(struct batch *b, const struct effect *e)
{
	if (e->set == SET_PENDING)
		cmd_key_int(&b->body, "tasks:pending:", e->lane);
	else if (e->set == SET_RUNNING)
		cmd_key(&b->body, "tasks:running", "");
	else
		cmd_key(&b->body, "tasks:assigned:", e->agent);
}

static void wake(struct batch *b, const char *message)
{
	command(b, 2, "PUBLISH");
	cmd_key(&b->body, "wake", "");
	cmd_arg(&b->body, message);
}

/* One set's changes: effects[from..to) */
static void change_set(struct batch *b, int from, int to)
{
	const struct effect *e = b->effects;
	bool zset = e[from].set != SET_ASSIGNED;
	const char *lane_sig = NULL;
	int in = 0;

	for (int i = from; i < to; i++) {
		in += e[i].in;
		if (e[i].in && e[i].lane_sig)
			lane_sig = e[i].lane_sig;
	}
	if (in) {
		command(b, 1 + in * (zset ? 2 : 1), zset ? "ZADD" : "SADD");
		set_key(b, &e[from]);
		for (int i = from; i < to; i++) {
			if (e[i].in && zset)
				cmd_int(&b->body, e[i].score);
			if (e[i].in)
				cmd_arg(&b->body, e[i].task);
		}
	}
	if (to - from > in) {
		command(b, 1 + to - from - in, zset ? "ZREM" : "SREM");
		set_key(b, &e[from]);
		for (int i = from; i < to; i++) {
			if (!e[i].in)
				cmd_arg(&b->body, e[i].task);
		}
	}
	if (in && e[from].set == SET_PENDING) {
		char message[64];

		command(b, 3, "HSET");
		cmd_key(&b->body, "tasks:lanes", "");
		cmd_int(&b->body, e[from].lane);
		cmd_arg(&b->body, lane_sig ? lane_sig : "");
		snprintf(message, sizeof(message), "t %lld %d", (long long)e[from].lane, in);
		wake(b, message);
	}
}

static void queue_part(struct batch *b, const struct post *posts)
{
	for (const struct post *p = posts; p; p = p->next)
		effects_of(b, p);
	settle(b);
	for (int i = 0, to; i < b->n; i = to) {
		for (to = i + 1; to < b->n && !same_set(&b->effects[i], &b->effects[to]); to++)
			;
		change_set(b, i, to);
	}
}

/* The posts' own wakes, each different one once. */
static void wake_part(struct batch *b, const struct post *posts)
{
	const char *said[BUS_BATCH];
	int n = 0;

	for (const struct post *p = posts; p; p = p->next) {
		bool known = !p->wake;

		for (int i = 0; i < n && !known; i++)
			known = strcmp(said[i], p->wake) == 0;
		if (known)
			continue;
		said[n++] = p->wake;
		wake(b, p->wake);
	}
}

/* How far an execution is. One that was retried from its failed stage lives again. */
static void run_part(struct batch *b, const struct post *p)
{
	char key[ID_TEXT + 32];
	char text[32];

	snprintf(key, sizeof(key), "%.*s:progress", ID_TEXT, p->run);
	snprintf(text, sizeof(text), "%.6g", p->run_progress);
	command(b, 7, "HSET");
	cmd_key(&b->body, "pipeline:", key);
	cmd_arg(&b->body, "status");
	cmd_arg(&b->body, p->run_status);
	cmd_arg(&b->body, "progress");
	cmd_arg(&b->body, text);
	cmd_arg(&b->body, "current_stage");
	cmd_int(&b->body, p->run_stage);
	command(b, p->run_over ? 2 : 1, p->run_over ? "EXPIRE" : "PERSIST");
	cmd_key(&b->body, "pipeline:", key);
	if (p->run_over)
		cmd_int(&b->body, RUN_KEPT_S);
}

void batch_build(struct cmd *out, const struct post *posts, const char *proc_id, int64_t batch_no, bool again)
{
	struct batch b;

	b.n = 0;
	b.args = 0;
	cmd_init(&b.body);
	queue_part(&b, posts);
	wake_part(&b, posts);
	for (const struct post *p = posts; p; p = p->next) {
		if (p->run)
			run_part(&b, p);
		if (!p->event)
			continue;
		cmd_arg(&b.body, "E");
		cmd_argn(&b.body, p->event, p->event_n);
		b.args += 2;
	}
	cmd_script(out, BS_PUBLISH, 2, b.args + 3);
	cmd_key(out, "pub:", proc_id);
	cmd_key(out, "events", "");
	cmd_int(out, batch_no);
	cmd_arg(out, again ? "1" : "0");
	cmd_int(out, BUS_STREAM_MAX);
	cmd_raw(out, b.body.p, b.body.n);
	cmd_release(&b.body);
}
