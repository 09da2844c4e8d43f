// SPDX-License-Identifier: MIT
#include "store.h"

#include <stdatomic.h>

#if __has_include("store_mongo.h")
#define WITH_MONGO 1
#else
#define WITH_MONGO 0
#endif

static enum err open_by_uri(const struct store_options *o, struct store **out, struct error *e)
{
	if (!o->uri || !*o->uri)
		return error_public(e, ERR_VALIDATION, "STORE_URI is not set.");
	if (!strncmp(o->uri, "sqlite:", 7))
		return store_sqlite_open(o, out, e);
	if (!strncmp(o->uri, "mongodb:", 8) || !strncmp(o->uri, "mongodb+srv:", 12)) {
#if WITH_MONGO
		return store_mongo_open(o, out, e);
#else
		return error_public(e, ERR_VALIDATION, "This build has no MongoDB store.");
#endif
	}
	return error_public(e, ERR_VALIDATION, "STORE_URI must begin with sqlite:/// or mongodb://.");
}

enum err store_open(const struct store_options *o, struct store **out, struct error *e)
{
	static atomic_uint_fast64_t opened;

	*out = NULL;
	enum err err = open_by_uri(o, out, e);

	if (*out)
		(*out)->number = ++opened;
	return err;
}

void store_close(struct store *s)
{
	if (s)
		s->ops->close(s);
}

enum err store_ping(struct store *s, struct error *e)
{
	return s->ops->ping(s, e);
}

const char *store_name(const struct store *s)
{
	return s->ops->name;
}

uint64_t store_number(const struct store *s)
{
	return s->number;
}

bool store_prefers_queue(const struct store *s)
{
	return s->ops->prefers_queue;
}

static void reset_results(struct store_unit *u)
{
	for (size_t i = 0; i < u->n; i++) {
		u->ops[i].result = SOP_SKIPPED;
		u->ops[i].row = NULL;
		u->ops[i].rev = 0;
	}
}

enum err store_apply(struct store *s, struct store_unit *u)
{
	reset_results(u);
	return u->n ? s->ops->apply(s, u, false) : OK;
}

enum err store_apply_each(struct store *s, struct store_unit *u)
{
	reset_results(u);
	return u->n ? s->ops->apply(s, u, true) : OK;
}

enum err store_tasks_claim(struct store *s, const struct claim *c, struct arena *a, struct task **out, int *n,
			   struct error *e)
{
	*n = 0;
	return c->max > 0 ? s->ops->claim(s, NULL, 0, c, a, out, n, e) : OK;
}

enum err store_tasks_claim_ids(struct store *s, const char (*ids)[ID_TEXT], int n_ids, const struct claim *c,
			       struct arena *a, struct task **out, int *n, struct error *e)
{
	*n = 0;
	return c->max > 0 && n_ids > 0 ? s->ops->claim(s, ids, n_ids, c, a, out, n, e) : OK;
}

enum err store_task_get(struct store *s, const char *id, struct arena *a, struct task **out, struct error *e)
{
	*out = NULL;
	return s->ops->tasks_get(s, &id, 1, TASK_COLS_ALL, a, out, e);
}

enum err store_tasks_get(struct store *s, const char *const *ids, int n, enum task_cols cols, struct arena *a,
			 struct task **out, struct error *e)
{
	for (int i = 0; i < n; i++)
		out[i] = NULL;
	return n > 0 ? s->ops->tasks_get(s, ids, n, cols, a, out, e) : OK;
}

enum err store_tasks_list(struct store *s, const struct task_filter *f, struct arena *a, struct task_page *out,
			  struct error *e)
{
	struct task_filter filter = *f;
	char after[ID_TEXT];

	/* The cursor may be the last page's own, which is about to be overwritten. */
	if (f->after) {
		snprintf(after, sizeof(after), "%s", f->after);
		filter.after = after;
	}
	*out = (struct task_page){ 0 };
	return s->ops->tasks_list(s, &filter, a, out, e);
}

enum err store_stage_counts(struct store *s, const char *const *execution_ids, int n, struct stage_counts *out,
			    struct error *e)
{
	for (int i = 0; i < n; i++)
		out[i] = (struct stage_counts){ 0 };
	return n > 0 ? s->ops->stage_counts(s, execution_ids, n, out, e) : OK;
}

enum err store_queue_depth(struct store *s, struct queue_depth *out, struct error *e)
{
	*out = (struct queue_depth){ 0 };
	return s->ops->queue_depth(s, out, e);
}

enum err store_tasks_due(struct store *s, enum due_kind kind, int64_t now, int limit, struct arena *a,
			 struct task ***out, int *n, struct error *e)
{
	*out = NULL;
	*n = 0;
	return limit > 0 ? s->ops->tasks_due(s, kind, now, limit, a, out, n, e) : OK;
}

enum err store_next_due(struct store *s, int64_t *at, struct error *e)
{
	*at = INT64_MAX;
	return s->ops->next_due(s, at, e);
}

enum err store_tasks_slot_waiters(struct store *s, const char *key, int limit, struct arena *a,
				  struct task ***out, int *n, struct error *e)
{
	*out = NULL;
	*n = 0;
	return limit > 0 ? s->ops->slot_waiters(s, key, limit, a, out, n, e) : OK;
}

enum err store_tasks_dep_waiters(struct store *s, const char *after, int limit, struct arena *a,
				 struct task ***out, int *n, struct error *e)
{
	*out = NULL;
	*n = 0;
	return limit > 0 ? s->ops->dep_waiters(s, after, limit, a, out, n, e) : OK;
}

enum err store_tasks_sweep(struct store *s, const char *execution_id, const char *agent_id,
			   const struct task_change *c, int limit, struct arena *a, struct task ***out, int *n,
			   struct error *e)
{
	*out = NULL;
	*n = 0;
	if (!execution_id && !agent_id)
		return error_set(e, ERR_INTERNAL, "sweep of neither an execution nor an agent");
	return limit > 0 ? s->ops->tasks_sweep(s, execution_id, agent_id, c, limit, a, out, n, e) : OK;
}

enum err store_tasks_purge(struct store *s, int64_t before, uint32_t class_mask, int limit, int *n,
			   struct error *e)
{
	*n = 0;
	return limit > 0 ? s->ops->tasks_purge(s, before, class_mask, limit, n, e) : OK;
}

enum err store_rec_get(struct store *s, enum record_kind kind, const char *id, struct arena *a,
		       struct record **out, struct error *e)
{
	*out = NULL;
	return s->ops->rec_get(s, kind, id, false, a, out, e);
}

enum err store_rec_by_s1(struct store *s, enum record_kind kind, const char *s1, struct arena *a,
			 struct record **out, struct error *e)
{
	*out = NULL;
	return s->ops->rec_get(s, kind, s1, true, a, out, e);
}

enum err store_recs_list(struct store *s, const struct rec_filter *f, struct arena *a, struct rec_page *out,
			 struct error *e)
{
	*out = (struct rec_page){ 0 };
	return f->limit > 0 ? s->ops->recs_list(s, f, a, out, e) : OK;
}

enum err store_recs_purge(struct store *s, enum record_kind kind, int64_t before, int limit, int *n,
			  struct error *e)
{
	*n = 0;
	return limit > 0 ? s->ops->recs_purge(s, kind, before, limit, n, e) : OK;
}

enum err store_tallies(struct store *s, const char *agent_id, int64_t from_hour, struct arena *a,
		       struct tally **out, int *n, struct error *e)
{
	*out = NULL;
	*n = 0;
	return s->ops->tallies(s, agent_id, from_hour, a, out, n, e);
}
