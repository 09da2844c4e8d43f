// SPDX-License-Identifier: MIT
/*
 * Concurrency keys. A record per key lists the tasks that hold a slot: those that are claimable or leased.
 * It is changed by compare-and-set, so two API processes never let one too many in; a crash between this
 * record and the task leaves a holder that slot_heal() finds and drops.
 */
#include "task.h"

#include "../base/limits.h"

#define TRIES 32

struct holders {
	int64_t rev;		/* 0: no record yet */
	struct strs ids;
};

static enum err holders_load(struct op *op, const char *key, struct holders *h)
{
	struct record *rec;
	struct jv *v;
	enum err err = store_rec_get(op->app->store, REC_SLOT, key, op->arena, &rec, op->err);

	*h = (struct holders){ .ids.v = arena_calloc(op->arena, 1, sizeof(char *)) };
	if (err || !rec)
		return err;
	err = json_parse(op->arena, rec->body, strlen(rec->body), JSON_BUILD_ALL, &v, op->err);
	if (err)
		return error_set(op->err, ERR_INTERNAL, "slot record does not parse");
	const struct jv *list = jv_get(v, "holders");

	h->rev = rec->rev;
	h->ids.v = arena_calloc(op->arena, (list ? list->n : 0) + 1, sizeof(char *));
	for (const struct jv *m = list ? list->child : NULL; m; m = m->next)
		h->ids.v[h->ids.n++] = m->str;
	return OK;
}

/* The op that writes h; it is refused when someone was faster. */
static struct store_op holders_op(struct op *op, const char *key, const struct holders *h)
{
	struct record *rec = arena_new(op->arena, struct record);
	struct buf b;
	struct jw w;

	buf_init(&b);
	jw_init(&w, &b);
	jw_obj(&w);
	jw_key(&w, "holders");
	jw_arr(&w);
	for (int i = 0; i < h->ids.n; i++)
		jw_str(&w, h->ids.v[i]);
	jw_end_arr(&w);
	jw_end_obj(&w);
	*rec = (struct record){ .kind = REC_SLOT, .id = key, .s1 = "", .s2 = "", .s3 = "",
				.body = arena_strndup(op->arena, b.p, b.n) };
	buf_release(&b);
	return (struct store_op){ .kind = h->ids.n || !h->rev ? SOP_REC_PUT : SOP_REC_DELETE, .rec = rec,
				  .expect_rev = h->rev ? h->rev : REV_ABSENT };
}

/* ERR_CONFLICT: someone was faster. */
static enum err holders_save(struct op *op, const char *key, const struct holders *h)
{
	struct store_op o = holders_op(op, key, h);
	struct store_unit u = { .ops = &o, .n = 1, .arena = op->arena, .error = op->err };

	return store_apply(op->app->store, &u);
}

static int holder_index(const struct holders *h, const char *id)
{
	for (int i = 0; i < h->ids.n; i++) {
		if (strcmp(h->ids.v[i], id) == 0)
			return i;
	}
	return -1;
}

enum err slot_take(struct op *op, const char *key, int64_t limit, const char *task_id, bool *taken)
{
	*taken = false;
	for (int i = 0; i < TRIES; i++) {
		struct holders h;
		enum err err = holders_load(op, key, &h);

		if (err)
			return err;
		if (holder_index(&h, task_id) >= 0) {
			*taken = true;
			return OK;
		}
		if (h.ids.n >= limit)
			return OK;
		const char **ids = arena_calloc(op->arena, (size_t)h.ids.n + 1, sizeof(*ids));

		if (h.ids.n)
			memcpy(ids, h.ids.v, (size_t)h.ids.n * sizeof(*ids));
		ids[h.ids.n] = task_id;
		h.ids.v = ids;
		h.ids.n++;
		err = holders_save(op, key, &h);
		*taken = err == OK;
		if (err != ERR_CONFLICT)
			return err;
	}
	/* So contended a key has others at work on it; the scheduler admits this one. */
	return OK;
}

static enum err slot_drop(struct op *op, const char *key, const char *task_id)
{
	for (int i = 0; i < TRIES; i++) {
		struct holders h;
		enum err err = holders_load(op, key, &h);
		int at;

		if (err || (at = holder_index(&h, task_id)) < 0)
			return err;
		h.ids.v[at] = h.ids.v[--h.ids.n];
		err = holders_save(op, key, &h);
		if (err != ERR_CONFLICT)
			return err;
	}
	return error_set(op->err, ERR_CONFLICT, "slot record of a key is contended");
}

/* Claimable, leased, or paused where it stood. */
static bool holds_slot(const struct task *t)
{
	return ST(t->status) & ST_LEASED ||
	       (t->status == TASK_PENDING && (t->hold == HOLD_NONE || t->hold == HOLD_PAUSE));
}

/* The next waiter that may have a slot freed in h, as a change that lets it in; *t NULL: none. */
static enum err next_waiter(struct op *op, const char *key, const struct holders *h, struct task **t,
			    struct task_change *c)
{
	struct task **waiting;
	bool paused;
	int n;
	enum err err = store_tasks_slot_waiters(op->app->store, key, 1, op->arena, &waiting, &n, op->err);

	*t = NULL;
	if (err || n == 0 || h->ids.n >= waiting[0]->concurrency_limit)
		return err;
	err = task_paused(op, waiting[0], &paused);
	*t = waiting[0];
	*c = (struct task_change){ .if_status = ST(TASK_PENDING), .if_fence = -1, .if_hold = 1u << HOLD_SLOT,
				   .fields = TF_HOLD };
	memcpy(c->id, waiting[0]->id, ID_TEXT);
	c->set.hold = paused ? HOLD_PAUSE : HOLD_NONE;
	c->set.updated_at = op->now;
	return err;
}

/*
 * One leaves (NULL: none) and the next one enters, in one unit: the usual case costs one commit. *moved says whether
 * anyone entered.
 */
static enum err exchange(struct op *op, const char *key, const char *leaving, bool *moved)
{
	*moved = false;
	for (int i = 0; i < TRIES; i++) {
		struct holders h;
		struct task_change change;
		struct task *next;
		struct store_op ops[2];
		struct store_unit u = { .ops = ops, .n = 1, .arena = op->arena, .error = op->err };
		enum err err = holders_load(op, key, &h);
		int at = err || !leaving ? -1 : holder_index(&h, leaving);

		if (err)
			return err;
		if (at >= 0)
			h.ids.v[at] = h.ids.v[--h.ids.n];
		err = next_waiter(op, key, &h, &next, &change);
		if (err || (!next && at < 0))
			return err;
		if (next) {
			/* the array has room for one more */
			if (holder_index(&h, next->id) < 0)
				h.ids.v[h.ids.n++] = next->id;
			ops[u.n++] = (struct store_op){ .kind = SOP_TASK_CHANGE, .change = &change, .want_row = true };
		}
		ops[0] = holders_op(op, key, &h);
		err = store_apply(op->app->store, &u);
		if (err == ERR_CONFLICT)
			continue;
		*moved = !err && next;
		if (*moved)
			task_posted(op, ops[1].row, NULL);
		return err;
	}
	return error_set(op->err, ERR_CONFLICT, "slot record of a key is contended");
}

enum err slot_pass_on(struct op *op, const struct task *t)
{
	bool moved;

	return exchange(op, t->concurrency_key, t->id, &moved);
}

/* Let waiters in while slots are free. */
static enum err admit_waiters(struct op *op, const char *key)
{
	bool moved = true;
	enum err err = OK;

	while (moved && !err)
		err = exchange(op, key, NULL, &moved);
	return err;
}

enum err slot_heal(struct op *op, const char *key)
{
	struct holders h;
	enum err err = holders_load(op, key, &h);

	if (err)
		return err;
	struct task **tasks = arena_calloc(op->arena, (size_t)h.ids.n + 1, sizeof(*tasks));

	if (h.ids.n)
		err = store_tasks_get(op->app->store, (const char *const *)h.ids.v, h.ids.n, TASK_COLS_BRIEF, op->arena, tasks, op->err);
	for (int i = 0; i < h.ids.n && !err; i++) {
		const struct task *t = tasks[i];
		/* A task that is being submitted right now takes its slot before it is stored. */
		char cutoff[ID_TEXT];

		id_at(op->now - 5000, cutoff);
		if (!(t && holds_slot(t)) && (t || strcmp(h.ids.v[i], cutoff) < 0))
			err = slot_drop(op, key, h.ids.v[i]);
	}
	return err ? err : admit_waiters(op, key);
}
