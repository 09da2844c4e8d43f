// SPDX-License-Identifier: MIT
/*
 * A stage becomes tasks. Ids are derived from the run, the stage and the position, so that filling a stage a second
 * time (another process died in the middle) adds only what is missing.
 */
#include "execution.h"

#include "../base/log.h"
#include "../base/secret.h"
#include "task.h"

#define UNIT_TASKS 64			/* a stage of so many tasks commits in one unit with its record */
#define UNIT_BYTES ((int64_t)2 << 20)
#define CHUNK_TASKS 128
#define CHUNK_BYTES ((size_t)4 << 20)

static void task_id_of(const struct execution *ex, int s, int64_t seq, char out[ID_TEXT])
{
	uint8_t digest[MAC_LEN];
	uint8_t bytes[16];
	char name[80];
	int n = snprintf(name, sizeof(name), "%s/%d/%lld", ex->id, s, (long long)seq);
	uint64_t ms = (uint64_t)ex->state[s].started_at;

	sha256(name, (size_t)n, digest);
	memcpy(bytes, digest, sizeof(bytes));
	for (int i = 5; i >= 0; i--, ms >>= 8)
		bytes[i] = (uint8_t)ms;
	bytes[6] = (uint8_t)(0x70 | (bytes[6] & 0x0f));
	bytes[8] = (uint8_t)(0x80 | (bytes[8] & 0x3f));
	id_from_bytes(bytes, out);
}

/*
 * The stages whose outputs are stage s's input (bit 0: the run's input). An optional stage that failed hands on what
 * it was given.
 */
static uint32_t sources_of(const struct execution *ex, int s)
{
	uint32_t sources = 0;

	if (!ex->stages[s].deps)
		return 1;
	for (int d = 1; d <= ex->n_stages; d++) {
		if (!(ex->stages[s].deps >> d & 1))
			continue;
		bool passed_over = ex->state[d].status == STAGE_FAILED || ex->state[d].status == STAGE_SKIPPED;

		sources |= passed_over ? sources_of(ex, d) : 1u << d;
	}
	return sources;
}

static struct task *stage_task(struct op *op, const struct execution *ex, int s, int64_t seq, const char *parameters)
{
	const struct stage *st = &ex->stages[s];
	struct task *t = arena_new(op->arena, struct task);
	struct strs caps = { .v = arena_calloc(op->arena, (size_t)st->capabilities.n + 1, sizeof(char *)),
			     .n = st->capabilities.n };

	if (caps.n)
		memcpy(caps.v, st->capabilities.v, (size_t)caps.n * sizeof(*caps.v));
	*t = (struct task){
		.type = st->type, .status = TASK_PENDING, .priority = PRIO_HIGH, .classification = CLASS_INTERNAL,
		.parameters = parameters, .stage = s, .stage_seq = seq, .timeout_s = st->timeout,
		.max_retries = st->max_retries >= 0 ? st->max_retries : op->app->cfg->task_max_retries,
		.retry = retry_policy(NULL), .guarded = st->validation != NULL, .created_by = ex->created_by,
		.created_at = op->now, .updated_at = op->now,
	};
	task_id_of(ex, s, seq, t->id);
	memcpy(t->execution_id, ex->id, ID_TEXT);
	memcpy(t->pipeline_id, ex->pipeline_id, ID_TEXT);
	if (ex->state[s].tasks > ex->parallel_workers) {
		t->concurrency_key = arena_printf(op->arena, "execution:%s:%d", ex->id, s);
		t->concurrency_limit = ex->parallel_workers;
		t->hold = HOLD_SLOT;
	}
	task_place(op, t, &caps);
	return t;
}

/* What every task of the stage is told beside its input; the input's member is left open for the caller. */
static void parameters_head(const struct execution *ex, int s, struct buf *b)
{
	struct jw w;

	jw_init(&w, b);
	jw_obj(&w);
	jw_kstr(&w, "execution_id", ex->id);
	jw_kint(&w, "stage", s);
	jw_kstr(&w, "stage_name", ex->stages[s].name);
	jw_kraw(&w, "parameters", ex->parameters ? ex->parameters : "{}");
	/* the object stays open */
}

struct whole {
	struct buf *b;
	bool items, any;
};

static bool add_whole(void *arg, const char *text, size_t n, int64_t seq, int64_t index)
{
	struct whole *w = arg;

	(void)seq;
	(void)index;
	if (w->any)
		buf_addc(w->b, ',');
	buf_add(w->b, text, n);
	w->any = true;
	return true;
}

/* The output of one source as JSON: a single result, {"items":[…]}, or a reference when it is too large. */
static enum err add_source(struct op *op, const struct execution *ex, int source, const char *key, const char *ref_key,
			   struct buf *b)
{
	struct output_shape shape;
	struct whole w = { .b = b };
	enum err err = output_shape(op, ex->id, source, &shape);

	if (err)
		return err;
	if (shape.bytes > op->app->cfg->max_result) {
		buf_addf(b, "\"%s\":{\"href\":\"/api/v1/executions/%s/output?stage=%d\",\"items\":%lld,\"bytes\":%lld}",
			 ref_key, ex->id, source, (long long)(shape.items ? shape.count : shape.results),
			 (long long)shape.bytes);
		return OK;
	}
	buf_addf(b, "\"%s\":", key);
	bool list = shape.items || shape.results != 1;

	if (shape.results == 0 && source == 0) {
		buf_adds(b, "null");
		return OK;
	}
	if (list)
		buf_adds(b, "{\"items\":[");
	err = output_walk(op, ex->id, source, shape.items, 0, 0, add_whole, &w);
	if (list)
		buf_adds(b, "]}");
	return err;
}

/* One task with the whole input. */
static enum err single_parameters(struct op *op, const struct execution *ex, int s, const char **out)
{
	uint32_t sources = sources_of(ex, s);
	struct buf b;
	enum err err = OK;

	buf_init(&b);
	parameters_head(ex, s, &b);
	buf_addc(&b, ',');
	if (__builtin_popcount(sources) == 1) {
		err = add_source(op, ex, __builtin_ctz(sources), "input", "input_ref", &b);
	} else {
		/* Several: a member per stage name. */
		bool any = false;

		buf_adds(&b, "\"input\":{");
		for (int d = 0; d <= ex->n_stages && !err; d++) {
			if (!(sources >> d & 1))
				continue;
			struct buf name;

			buf_init(&name);
			buf_add_json_escaped(&name, d ? ex->stages[d].name : "input", strlen(d ? ex->stages[d].name : "input"));
			if (any)
				buf_addc(&b, ',');
			any = true;
			err = add_source(op, ex, d, name.p, arena_printf(op->arena, "%s_ref", name.p), &b);
			buf_release(&name);
		}
		buf_addc(&b, '}');
	}
	buf_addc(&b, '}');
	*out = arena_strndup(op->arena, b.p, b.n);
	buf_release(&b);
	return err;
}

/* Splitting items into tasks. */
struct split {
	struct op *op;
	const struct execution *ex;
	int s;
	int64_t in_batch, seq;
	struct buf b;		/* parameters of the task being filled */
	size_t head;		/* length of what all tasks share */
	struct store_op *ops;
	size_t n_ops, max_ops, bytes;
	bool apply;		/* apply full chunks; else all stay in ops */
	enum err err;
};

static void split_flush(struct split *sp)
{
	if (!sp->n_ops || !sp->apply || sp->err)
		return;
	struct store_unit u = { .ops = sp->ops, .n = sp->n_ops, .arena = sp->op->arena, .error = sp->op->err };

	sp->err = store_apply_each(sp->op->app->store, &u);
	for (size_t i = 0; i < sp->n_ops && !sp->err; i++) {
		/* What was there already has been told of by whoever put it there. */
		if (sp->ops[i].result == SOP_DONE)
			task_posted(sp->op, sp->ops[i].task, "task.created");
	}
	sp->n_ops = 0;
	sp->bytes = 0;
}

static void split_end_task(struct split *sp)
{
	buf_adds(&sp->b, "]}}");
	const char *parameters = arena_strndup(sp->op->arena, sp->b.p, sp->b.n);

	sp->bytes += sp->b.n;
	sp->ops[sp->n_ops++] = (struct store_op){ .kind = SOP_TASK_INSERT,
						  .task = stage_task(sp->op, sp->ex, sp->s, sp->seq++, parameters) };
	sp->b.n = sp->head;
	sp->b.p[sp->b.n] = '\0';
	sp->in_batch = 0;
	if (sp->apply && (sp->n_ops == sp->max_ops || sp->bytes > CHUNK_BYTES))
		split_flush(sp);
}

static bool split_item(void *arg, const char *text, size_t n, int64_t seq, int64_t index)
{
	struct split *sp = arg;

	(void)seq;
	(void)index;
	if (sp->in_batch)
		buf_addc(&sp->b, ',');
	buf_add(&sp->b, text, n);
	if (++sp->in_batch == sp->ex->batch_size)
		split_end_task(sp);
	return sp->err == OK;
}

static enum err split_all(struct split *sp)
{
	uint32_t sources = sources_of(sp->ex, sp->s);

	buf_init(&sp->b);
	parameters_head(sp->ex, sp->s, &sp->b);
	buf_adds(&sp->b, ",\"input\":{\"items\":[");
	sp->head = sp->b.n;
	for (int d = 0; d <= sp->ex->n_stages && !sp->err; d++) {
		if (!(sources >> d & 1))
			continue;
		enum err err = output_walk(sp->op, sp->ex->id, d, true, 0, 0, split_item, sp);

		if (!sp->err)
			sp->err = err;
	}
	if (sp->in_batch && !sp->err)
		split_end_task(sp);
	split_flush(sp);
	buf_release(&sp->b);
	return sp->err;
}

/* How many tasks a fan-out makes. */
static enum err fan_out_size(struct op *op, const struct execution *ex, int s, int64_t *tasks, int64_t *bytes)
{
	uint32_t sources = sources_of(ex, s);
	int64_t items = 0;

	*bytes = 0;
	for (int d = 0; d <= ex->n_stages; d++) {
		struct output_shape shape;

		if (!(sources >> d & 1))
			continue;
		enum err err = output_shape(op, ex->id, d, &shape);

		if (err)
			return err;
		if (!shape.items || !shape.results)
			return error_public(op->err, ERR_BUSINESS, "Stage %d fans out, but its input is not {\"items\":[…]}.", s);
		items += shape.count;
		*bytes += shape.bytes;
	}
	*tasks = (items + ex->batch_size - 1) / ex->batch_size;
	if (*tasks > LIMIT_FAN_OUT)
		return error_public(op->err, ERR_BUSINESS,
				    "Stage %d would have %lld tasks; at most %d are allowed: raise parameters.batch_size.", s,
				    (long long)*tasks, LIMIT_FAN_OUT);
	return OK;
}

enum err stage_prepare(struct op *op, struct execution *ex, int s, struct store_unit *u, size_t room, bool *deferred)
{
	*deferred = false;
	if (!ex->stages[s].fan_out) {
		const char *parameters;
		enum err err = single_parameters(op, ex, s, &parameters);

		if (err)
			return err;
		ex->state[s].tasks = 1;
		u->ops[u->n++] = (struct store_op){ .kind = SOP_TASK_INSERT,
						    .task = stage_task(op, ex, s, 0, parameters) };
		return OK;
	}
	int64_t tasks = 0;
	int64_t bytes = 0;
	enum err err = fan_out_size(op, ex, s, &tasks, &bytes);

	if (err)
		return err;
	ex->state[s].tasks = tasks;
	if (tasks > UNIT_TASKS || (size_t)tasks > room || bytes > UNIT_BYTES) {
		*deferred = true;
		return OK;
	}
	struct split sp = { .op = op, .ex = ex, .s = s, .ops = u->ops + u->n, .max_ops = room };

	err = split_all(&sp);
	u->n += sp.n_ops;
	return err;
}

enum err execution_fill(struct op *op, struct execution *ex, int s)
{
	struct split sp = { .op = op, .ex = ex, .s = s, .max_ops = CHUNK_TASKS, .apply = true,
			    .ops = arena_calloc(op->arena, CHUNK_TASKS, sizeof(struct store_op)) };

	if (!ex->stages[s].fan_out)
		return OK;	/* its one task was in the unit */
	return split_all(&sp);
}

enum err stage_announce(struct op *op, struct execution *ex, int s, const struct store_unit *u)
{
	for (size_t i = 0; i < u->n; i++) {
		if (u->ops[i].kind == SOP_TASK_INSERT && u->ops[i].task->stage == s)
			task_posted(op, u->ops[i].task, "task.created");
	}
	if (ex->state[s].tasks > ex->parallel_workers && ex->stages[s].fan_out)
		return slot_heal(op, arena_printf(op->arena, "execution:%s:%d", ex->id, s));
	return OK;
}

enum err stage_cancel_tasks(struct op *op, const char *execution_id, int stage)
{
	struct task_filter f = { .execution_id = execution_id, .stage = stage, .status = ST_LIVE, .limit = LIMIT_PAGE,
				 .cols = TASK_COLS_BRIEF, .ascending = true };

	for (;;) {
		struct task_page page;
		enum err err = store_tasks_list(op->app->store, &f, op->arena, &page, op->err);

		if (err || page.n == 0)
			return err;
		struct store_op *ops = arena_calloc(op->arena, (size_t)page.n, sizeof(*ops));
		struct task_change *changes = arena_calloc(op->arena, (size_t)page.n, sizeof(*changes));
		struct store_unit u = { .ops = ops, .n = (size_t)page.n, .arena = op->arena, .error = op->err };

		for (int i = 0; i < page.n; i++) {
			struct task_change *c = &changes[i];

			*c = (struct task_change){ .if_status = ST_LIVE, .if_fence = -1,
						   .fields = TF_STATUS | TF_HOLD | TF_FENCE_BUMP | TF_COMPLETED };
			memcpy(c->id, page.items[i]->id, ID_TEXT);
			c->set.status = TASK_CANCELLED;
			c->set.updated_at = c->set.completed_at = op->now;
			ops[i] = (struct store_op){ .kind = SOP_TASK_CHANGE, .change = c, .want_row = true };
		}
		err = store_apply_each(op->app->store, &u);
		for (int i = 0; i < page.n && !err; i++) {
			if (ops[i].result == SOP_DONE)
				task_posted(op, ops[i].row, "task.cancelled");
		}
		if (err || !page.more)
			return err;
		f.after = arena_strdup(op->arena, page.last);
	}
}
