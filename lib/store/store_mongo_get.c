// SPDX-License-Identifier: MIT
/*
 * Reads by _id, grouped. A find takes mongod 190 µs of CPU for one document and 7 for each of many, so readers that
 * come while others are under way wait, and go together in the next find of their collection. Two finds of a
 * collection run at a time, each led by one of the callers whose ids are in it: whoever finds a place free leads at
 * once, and hands it on to the first who waits. A find begins after all its callers have asked, so each sees what was
 * acknowledged to anybody before.
 */
#include "store_mongo_int.h"

#define LEADERS		1
#define GROUP_IDS	200	/* ids in a find, about; a reader of more goes alone */

enum { LINE_TASKS, LINE_TASKS_BRIEF, LINE_REC, LINES = LINE_REC + REC_KIND_COUNT };
enum { WAITS, LEADS, DONE };

struct reader {
	const char *const *ids;
	int n;
	struct arena *a;
	struct task **tasks;		/* by place in ids, or… */
	struct record **rec;		/* …the only one */
	struct error *e;
	enum err err;
	int state;
	pthread_cond_t wake;
	struct reader *next;
};

struct mg_gets {
	pthread_mutex_t lock;		/* of all below, and of the readers' states */
	struct {
		struct reader *head, **tail;
		int leaders;
	} lines[LINES];
};

struct mg_gets *mg_gets_new(void)
{
	struct mg_gets *g = xcalloc(1, sizeof(*g));

	pthread_mutex_init(&g->lock, NULL);
	for (int i = 0; i < LINES; i++)
		g->lines[i].tail = &g->lines[i].head;
	return g;
}

void mg_gets_free(struct mg_gets *g)
{
	if (!g)
		return;
	pthread_mutex_destroy(&g->lock);
	free(g);
}

/* --- one find ----------------------------------------------------------------------------------------------------- */

/* Each reader gets a copy of its own, in its own arena: it sleeps, so nobody else uses that now. */
static void hand_out(struct reader *first, int line, const bson_t *doc)
{
	const char *id = mg_doc_id(doc);

	for (struct reader *r = first; r; r = r->next) {
		struct task *t = NULL;

		/* An id may be asked for more than once. */
		for (int i = 0; i < r->n; i++) {
			if (strcmp(r->ids[i], id) != 0)
				continue;
			if (r->rec)
				*r->rec = mg_rec_decode((enum record_kind)(line - LINE_REC), doc, r->a);
			else
				r->tasks[i] = t = t ? t : mg_task_decode(doc, r->a);
		}
	}
}

static void find_all(struct mongo_store *s, int line, struct reader *first)
{
	const char *ids[GROUP_IDS];
	const char **all = ids;
	bson_t filter = BSON_INITIALIZER, opts = BSON_INITIALIZER;
	struct mg_cursor c;
	const bson_t *doc;
	int n = 0;

	for (struct reader *r = first; r; r = r->next)
		n += r->n;
	if (n > GROUP_IDS)
		all = xcalloc((size_t)n, sizeof(*all));
	n = 0;
	for (struct reader *r = first; r; r = r->next)
		for (int i = 0; i < r->n; i++)
			all[n++] = r->ids[i];
	if (n == 1)
		BSON_APPEND_UTF8(&filter, "_id", all[0]);
	else
		mg_ids(&filter, "_id", all, n);
	if (line < LINE_REC)
		mg_task_cols(&opts, line == LINE_TASKS_BRIEF ? TASK_COLS_BRIEF : TASK_COLS_ALL);
	enum err err = mg_find(s, NULL, line < LINE_REC ? "tasks" : mg_kind((enum record_kind)(line - LINE_REC))->coll,
			       &filter, &opts, MG_MAJORITY, &c, first->e);

	if (!err) {
		while ((doc = mg_next(&c)))
			hand_out(first, line, doc);
		err = mg_end(&c, first->e);
	}
	for (struct reader *r = first; r; r = r->next) {
		r->err = err;
		if (err && r != first)
			mg_error(r->e, err, "%s", first->e ? first->e->detail : "MongoDB: read failed");
	}
	if (all != ids)
		free(all);
	bson_destroy(&filter);
	bson_destroy(&opts);
}

/* --- groups ------------------------------------------------------------------------------------------------------- */

/* The first of the line, as many as go together. The lock is held. */
static struct reader *take(struct mg_gets *g, int line)
{
	struct reader *first = g->lines[line].head;
	struct reader **end = &g->lines[line].head;
	int n = 0;

	while (*end && (n == 0 || n + (*end)->n <= GROUP_IDS)) {
		n += (*end)->n;
		end = &(*end)->next;
	}
	g->lines[line].head = *end;
	*end = NULL;
	if (!g->lines[line].head)
		g->lines[line].tail = &g->lines[line].head;
	return first;
}

/* Find for the readers from `first` on, and pass the lead on. The lock is held. */
static void lead(struct mongo_store *s, int line, struct reader *first)
{
	struct mg_gets *g = s->gets;

	pthread_mutex_unlock(&g->lock);
	find_all(s, line, first);
	pthread_mutex_lock(&g->lock);
	for (struct reader *r = first, *next; r; r = next) {
		next = r->next;		/* whoever is told may be gone at once */
		r->state = DONE;
		pthread_cond_signal(&r->wake);
	}
	if (g->lines[line].head) {
		struct reader *heir = take(g, line);

		heir->state = LEADS;
		pthread_cond_signal(&heir->wake);
	} else {
		g->lines[line].leaders--;
	}
}

static enum err read_grouped(struct mongo_store *s, int line, struct reader *r)
{
	struct mg_gets *g = s->gets;

	if (r->n > GROUP_IDS) {
		find_all(s, line, r);
		return r->err;
	}
	pthread_cond_init(&r->wake, NULL);
	pthread_mutex_lock(&g->lock);
	if (g->lines[line].leaders < LEADERS) {
		g->lines[line].leaders++;	/* and nobody waits */
		r->state = LEADS;
	} else {
		*g->lines[line].tail = r;
		g->lines[line].tail = &r->next;
	}
	while (r->state == WAITS)
		pthread_cond_wait(&r->wake, &g->lock);
	if (r->state == LEADS)
		lead(s, line, r);
	pthread_mutex_unlock(&g->lock);
	pthread_cond_destroy(&r->wake);
	return r->err;
}

/* --- operations --------------------------------------------------------------------------------------------------- */

enum err mg_tasks_get(struct store *base, const char *const *ids, int n, enum task_cols cols, struct arena *a,
		      struct task **out, struct error *e)
{
	struct reader r = { .ids = ids, .n = n, .a = a, .tasks = out, .e = e };

	return n ? read_grouped(mg_of(base), cols == TASK_COLS_BRIEF ? LINE_TASKS_BRIEF : LINE_TASKS, &r) : OK;
}

/* By the first of the indexed values, where that is unique. */
static enum err rec_by_s1(struct mongo_store *s, enum record_kind kind, const char *value, struct arena *a,
			  struct record **out, struct error *e)
{
	const struct mg_kind *k = mg_kind(kind);
	bson_t filter = BSON_INITIALIZER, opts = BSON_INITIALIZER;
	struct mg_cursor c;
	const bson_t *doc;

	BSON_APPEND_UTF8(&filter, k->s[0], value);
	BSON_APPEND_INT64(&opts, "limit", 1);
	enum err err = mg_find(s, NULL, k->coll, &filter, &opts, MG_MAJORITY, &c, e);

	if (!err) {
		doc = mg_next(&c);
		if (doc)
			*out = mg_rec_decode(kind, doc, a);
		err = mg_end(&c, e);
	}
	bson_destroy(&filter);
	bson_destroy(&opts);
	return err;
}

enum err mg_rec_get(struct store *base, enum record_kind kind, const char *id, bool by_s1, struct arena *a,
		    struct record **out, struct error *e)
{
	struct reader r = { .ids = &id, .n = 1, .a = a, .rec = out, .e = e };

	return by_s1 ? rec_by_s1(mg_of(base), kind, id, a, out, e)
		     : read_grouped(mg_of(base), LINE_REC + (int)kind, &r);
}
