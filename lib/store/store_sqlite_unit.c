// SPDX-License-Identifier: MIT
/* Units of work: all ops or none, inside a group. */
#include "store_sqlite.h"

struct unit_job {
	struct store_unit *u;
	bool each;
};

static enum err run_op(struct sq_group *g, struct store_unit *u, struct store_op *op)
{
	op->row = NULL;
	op->rev = 0;
	switch (op->kind) {
	case SOP_TASK_INSERT:
		return sq_task_insert(g, op->task, &op->result, u->error);
	case SOP_TASK_CHANGE:
		return sq_task_change(g, op->change, op->want_row ? SQ_ROW_ALL : SQ_ROW_NONE, u->arena,
				      &op->result, &op->row, u->error);
	case SOP_REC_PUT:
		return sq_rec_put(g, op, u->error);
	case SOP_REC_DELETE:
		return sq_rec_delete(g, op, u->error);
	}
	return sq_error(u->error, ERR_INTERNAL, "unknown kind of op %d", (int)op->kind);
}

/* Each op on its own: one that is refused has changed nothing, so there is nothing to take back. */
static enum err run_each(struct sq_group *g, struct store_unit *u)
{
	for (size_t i = 0; i < u->n; i++) {
		enum err err = run_op(g, u, &u->ops[i]);

		if (err)
			return err;
	}
	return OK;
}

/* Everything before the refused op is undone; nothing after it is tried. */
static enum err refuse(struct sq_group *g, struct store_unit *u, size_t refused)
{
	for (size_t i = 0; i < u->n; i++) {
		if (i == refused)
			continue;
		u->ops[i].result = SOP_SKIPPED;
		u->ops[i].row = NULL;
		u->ops[i].rev = 0;
	}
	if (u->n > 1) {
		enum err err = sq_undo_back(g, u->error);

		if (err)
			return err;
	}
	return ERR_CONFLICT;
}

static enum err run_unit(struct sq_group *g, struct store_unit *u)
{
	enum err err = u->n > 1 ? sq_undo_mark(g, u->error) : OK;

	for (size_t i = 0; i < u->n && !err; i++) {
		err = run_op(g, u, &u->ops[i]);
		if (!err && u->ops[i].result != SOP_DONE)
			return refuse(g, u, i);
	}
	if (!err && u->n > 1)
		err = sq_undo_release(g, u->error);
	return err;
}

static enum err run(struct sq_group *g, struct sq_job *job)
{
	struct unit_job *j = job->arg;

	return j->each ? run_each(g, j->u) : run_unit(g, j->u);
}

enum err sq_apply(struct store *s, struct store_unit *u, bool each)
{
	struct unit_job arg = { .u = u, .each = each };
	struct sq_job job = { .run = run, .arg = &arg, .error = u->error, .cost = (int)u->n, .lazy = true };

	for (size_t i = 0; i < u->n; i++)
		job.lazy &= u->ops[i].lazy;
	enum err err = sq_submit((struct sqlite_store *)s, &job);

	if (err && err != ERR_CONFLICT) {
		for (size_t i = 0; i < u->n; i++) {
			u->ops[i].result = SOP_SKIPPED;
			u->ops[i].row = NULL;
			u->ops[i].rev = 0;
		}
	}
	return err;
}
