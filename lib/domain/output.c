// SPDX-License-Identifier: MIT
/*
 * Outputs of stages, read from the tasks that hold them, a page of tasks at a time: however much a stage
 * makes, only one page of it is in memory.
 */
#include "execution.h"

#include "task.h"

#define RESULTS_PER_PAGE 16

/* Items of a result, or NULL when it is not {"items":[…]}. */
static const struct jv *items_of(struct op *op, struct arena *scratch, const char *text, enum err *err)
{
	struct jv *v;

	*err = json_parse(scratch, text, strlen(text), 2, &v, op->err);
	if (*err) {
		error_set(op->err, ERR_INTERNAL, "a stored result does not parse");
		return NULL;
	}
	const struct jv *items = jv_get(v, "items");

	return items && items->type == J_ARRAY ? items : NULL;
}

/* Call each() for every result in order from seq on; it returns false to stop. */
typedef bool result_visitor(void *arg, struct arena *scratch, const char *text, int64_t seq, enum err *err);

static enum err each_result(struct op *op, const char *execution_id, int stage, int64_t seq, result_visitor *each,
			    void *arg)
{
	struct arena scratch;
	enum err err = OK;

	arena_init(&scratch);
	if (stage == 0) {
		struct record *blob;

		err = store_rec_get(op->app->store, REC_BLOB, execution_id, &scratch, &blob, op->err);
		if (!err && blob)
			each(arg, &scratch, blob->body, 0, &err);
		arena_release(&scratch);
		return err;
	}
	struct task_filter f = { .execution_id = execution_id, .stage = stage, .by_stage_seq = true, .after_seq = seq - 1,
				 .limit = RESULTS_PER_PAGE };

	for (bool more = true; more && !err;) {
		struct task_page page;

		err = store_tasks_list(op->app->store, &f, &scratch, &page, op->err);
		more = !err && page.more;
		for (int i = 0; i < page.n && !err; i++) {
			f.after_seq = page.items[i]->stage_seq;
			if (page.items[i]->status == TASK_COMPLETED &&
			    !each(arg, &scratch, page.items[i]->result ? page.items[i]->result : "null", f.after_seq, &err)) {
				more = false;
				break;
			}
		}
		arena_reset(&scratch);
	}
	arena_release(&scratch);
	return err;
}

struct shape_arg {
	struct op *op;
	struct output_shape *out;
};

static bool add_shape(void *arg, struct arena *scratch, const char *text, int64_t seq, enum err *err)
{
	struct shape_arg *s = arg;
	const struct jv *items = items_of(s->op, scratch, text, err);

	(void)seq;
	if (items)
		s->out->count += items->n;
	else
		s->out->items = false;
	s->out->bytes += (int64_t)strlen(text);
	s->out->results++;
	return *err == OK;
}

enum err output_shape(struct op *op, const char *execution_id, int stage, struct output_shape *out)
{
	struct shape_arg arg = { op, out };

	*out = (struct output_shape){ .items = true };
	return each_result(op, execution_id, stage, 0, add_shape, &arg);
}

struct walk_arg {
	struct op *op;
	bool as_items;
	int64_t seq, index;	/* where to begin */
	output_visitor *visit;
	void *arg;
};

static bool walk_result(void *arg, struct arena *scratch, const char *text, int64_t seq, enum err *err)
{
	struct walk_arg *w = arg;

	if (!w->as_items)
		return w->visit(w->arg, text, strlen(text), seq, 0);
	const struct jv *items = items_of(w->op, scratch, text, err);
	int64_t i = 0;

	for (const struct jv *m = items ? items->child : NULL; m; m = m->next, i++) {
		if (seq == w->seq && i < w->index)
			continue;
		if (!w->visit(w->arg, m->raw, m->raw_len, seq, i))
			return false;
	}
	return *err == OK;
}

enum err output_walk(struct op *op, const char *execution_id, int stage, bool as_items, int64_t seq, int64_t index,
		     output_visitor *visit, void *arg)
{
	struct walk_arg w = { op, as_items, seq, index, visit, arg };

	return each_result(op, execution_id, stage, seq, walk_result, &w);
}

struct page_arg {
	struct jw *w;
	int limit, count;
	int64_t seq, index;	/* of the first one left out; seq -1: none was */
	size_t bytes;
};

#define PAGE_BYTES ((size_t)1 << 20)

static bool add_to_page(void *arg, const char *text, size_t n, int64_t seq, int64_t index)
{
	struct page_arg *p = arg;

	if (p->count == p->limit || (p->count && p->bytes + n > PAGE_BYTES)) {
		p->seq = seq;
		p->index = index;
		return false;
	}
	jw_rawn(p->w, text, n);
	p->count++;
	p->bytes += n;
	return true;
}

enum err execution_output_json(struct op *op, const char *execution_id, int stage, const char *cursor, int limit,
			       struct jw *w, int *count, const char **next)
{
	struct page_arg page = { .w = w, .limit = limit, .seq = -1 };
	struct output_shape shape = { .items = true };
	long long seq = 0;
	long long index = 0;
	enum err err;

	*next = NULL;
	if (cursor) {
		const char *at;

		err = cursor_decode(op, "o", cursor, &at);
		if (err)
			return err;
		int as_items;
		int end = 0;

		if (sscanf(at, "%lld.%lld.%d%n", &seq, &index, &as_items, &end) != 3 || at[end] || seq < 0 || index < 0)
			return error_set(op->err, ERR_BAD_CURSOR, "no position in the cursor");
		shape.items = as_items;
	} else {
		err = output_shape(op, execution_id, stage, &shape);
		if (err)
			return err;
	}
	jw_obj(w);
	jw_kstr(w, "execution_id", execution_id);
	jw_kint(w, "stage", stage);
	if (!shape.items && shape.results == 1) {
		page.limit = 1;
		jw_key(w, "output");
		err = output_walk(op, execution_id, stage, false, 0, 0, add_to_page, &page);
	} else {
		/* items of all results in order; when one has none, the results themselves are the items */
		jw_key(w, "items");
		jw_arr(w);
		err = output_walk(op, execution_id, stage, shape.items, seq, index, add_to_page, &page);
		jw_end_arr(w);
	}
	jw_end_obj(w);
	*count = page.count;
	if (page.seq >= 0)
		*next = cursor_encode(op->arena, "o", arena_printf(op->arena, "%lld.%lld.%d", (long long)page.seq,
								    (long long)page.index, shape.items));
	return err;
}
