// SPDX-License-Identifier: MIT
/*
 * What the writer remembers of the lanes: their signatures, which of them have something to claim,
 * and the first few tasks of each, in claim order.
 *
 * All of it is only a copy of the index tasks_claim and of the table lanes, kept up to date by the
 * writer's own changes. It is thrown away when another process has committed (the connection's
 * data_version tells) and when something was rolled back, and read again when a claim needs it.
 */
#include "store_sqlite_book.h"

#define BUCKETS 1024		/* power of two */
#define LANES_MAX 65536		/* lanes remembered; more are asked for again */

struct sq_book {
	struct sq_lane *bucket[BUCKETS];
	int n;
	bool fresh;		/* some lanes were written by the transaction that is running */
	bool touched;		/* some heads were changed by it */
	bool loaded;		/* active[] has all lanes with claimable tasks */
	int64_t version;	/* data_version for which that holds */
	struct sq_lane **active;
	int n_active, cap_active;
	uint64_t calls;
};

struct sq_book *sq_book_new(void)
{
	return xcalloc(1, sizeof(struct sq_book));
}

static void deactivate(struct sq_book *b, struct sq_lane *l)
{
	if (l->slot < 0)
		return;
	b->active[l->slot] = b->active[--b->n_active];
	b->active[l->slot]->slot = l->slot;
	l->slot = -1;
	l->known = false;
	free(l->ahead);
	l->ahead = NULL;
}

static void activate(struct sq_book *b, struct sq_lane *l)
{
	if (l->slot >= 0)
		return;
	if (b->n_active == b->cap_active) {
		b->cap_active = b->cap_active ? b->cap_active * 2 : 64;
		b->active = xrealloc(b->active, (size_t)b->cap_active * sizeof(struct sq_lane *));
	}
	l->slot = b->n_active;
	b->active[b->n_active++] = l;
	l->ahead = xcalloc(SQ_AHEAD, sizeof(*l->ahead));
	l->known = false;
	l->n = 0;
}

static void forget_heads(struct sq_book *b)
{
	while (b->n_active)
		deactivate(b, b->active[b->n_active - 1]);
	b->loaded = false;
}

static void forget_lanes(struct sq_book *b, bool fresh_only)
{
	forget_heads(b);
	for (int i = 0; i < BUCKETS; i++) {
		struct sq_lane **p = &b->bucket[i], *l;

		while ((l = *p)) {
			if (fresh_only && !l->fresh) {
				p = &l->next;
				continue;
			}
			*p = l->next;
			free(l);
			b->n--;
		}
	}
	b->fresh = false;
}

void sq_book_free(struct sq_book *b)
{
	if (!b)
		return;
	forget_lanes(b, false);
	free(b->active);
	free(b);
}

static struct sq_lane **bucket_of(struct sq_book *b, int64_t lane)
{
	uint64_t h = (uint64_t)lane * 0x9e3779b97f4a7c15U;

	return &b->bucket[h >> 32 & (BUCKETS - 1)];
}

static struct sq_lane *find(struct sq_book *b, int64_t lane)
{
	for (struct sq_lane *l = *bucket_of(b, lane); l; l = l->next)
		if (l->lane == lane)
			return l;
	return NULL;
}

static struct sq_lane *remember(struct sq_book *b, int64_t lane, const char *sig, bool fresh)
{
	size_t n = strlen(sig);
	struct sq_lane *l = xcalloc(1, sizeof(*l) + n + 1), **head = bucket_of(b, lane);

	l->next = *head;
	l->lane = lane;
	l->fresh = fresh;
	l->slot = -1;
	memcpy(l->sig, sig, n + 1);
	*head = l;
	b->n++;
	b->fresh |= fresh;
	return l;
}

/* --- the life of a transaction ----------------------------------------------------------------------- */

void sq_book_end(struct sq_book *b, bool committed)
{
	if (!committed) {
		forget_lanes(b, true);
	} else if (b->n > LANES_MAX) {
		forget_lanes(b, false);
	} else if (b->fresh) {
		for (int i = 0; i < BUCKETS; i++)
			for (struct sq_lane *l = b->bucket[i]; l; l = l->next)
				l->fresh = false;
		b->fresh = false;
	}
	b->touched = false;
}

void sq_book_undo(struct sq_book *b)
{
	if (b->fresh)
		forget_lanes(b, true);
	else if (b->touched)
		forget_heads(b);
}

enum err sq_book_lane(struct sq_group *g, int64_t lane, const char *sig, struct error *e)
{
	sqlite3_stmt *st;
	int rc;

	if (!sig || find(g->book, lane))
		return OK;
	st = sq_st(g->c, SQ_LANE_PUT);
	sqlite3_bind_int64(st, 1, lane);
	sq_bind_text(st, 2, sig);
	rc = sq_run(st);
	if (rc != SQLITE_DONE)
		return sq_fail(g->c, e, rc, "lane");
	remember(g->book, lane, sig, true);
	return OK;
}

/* --- keeping up with changes --------------------------------------------------------------------------- */

static int order(const struct sq_head *x, const struct sq_head *y)
{
	if (x->key != y->key)
		return x->key < y->key ? -1 : 1;
	return memcmp(x->id.b, y->id.b, sizeof(x->id.b));
}

/* First place in ahead[] that is not before h. */
static int place(const struct sq_lane *l, const struct sq_head *h)
{
	int low = 0, high = l->n;

	while (low < high) {
		int mid = (low + high) / 2;

		if (order(&l->ahead[mid], h) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static void add(struct sq_book *b, int64_t lane, const struct sq_head *h)
{
	struct sq_lane *l = find(b, lane);

	if (!l) {
		/* Nobody told its signature: look it all up when it is claimed from. */
		b->loaded = false;
		return;
	}
	activate(b, l);
	if (!l->known)
		return;
	int at = place(l, h);

	if (at == l->n && !l->all)
		return;		/* behind those that are known */
	if (l->n == SQ_AHEAD) {
		l->all = false;
		if (at == l->n)
			return;
		l->n--;
	}
	memmove(&l->ahead[at + 1], &l->ahead[at], (size_t)(l->n - at) * sizeof(*h));
	l->ahead[at] = *h;
	l->n++;
}

static void take_out(struct sq_book *b, int64_t lane, const struct sq_head *h)
{
	struct sq_lane *l = find(b, lane);

	if (!l || !l->known)
		return;
	int at = place(l, h);

	if (at < l->n && !order(&l->ahead[at], h)) {
		l->n--;
		memmove(&l->ahead[at], &l->ahead[at + 1], (size_t)(l->n - at) * sizeof(*h));
		if (!l->n && !l->all)
			l->known = false;
	} else if (l->all) {
		l->known = false;
	}
}

void sq_book_move(struct sq_book *b, const char *id, const struct task *before, const struct task *after)
{
	bool was = before && before->status == TASK_PENDING && before->hold == HOLD_NONE;
	bool is = after && after->status == TASK_PENDING && after->hold == HOLD_NONE;
	struct sq_head h;

	if ((!was && !is) || (was && is && before->order_key == after->order_key))
		return;
	b->touched = true;
	if (!b->loaded || !id_to_bytes(id, h.id.b))
		return;
	if (was) {
		h.key = before->order_key;
		take_out(b, before->lane, &h);
	}
	if (is) {
		h.key = after->order_key;
		add(b, after->lane, &h);
	}
}

/* --- for claims ------------------------------------------------------------------------------------------ */

static int read_int(sqlite3_stmt *st, int64_t *out)
{
	int rc = sqlite3_step(st);

	if (rc == SQLITE_ROW)
		*out = sqlite3_column_int64(st, 0);
	sqlite3_reset(st);
	return rc;
}

int sq_book_find(struct sq_group *g, int64_t lane, struct sq_lane **out)
{
	sqlite3_stmt *st;
	const char *sig;
	int rc;

	*out = find(g->book, lane);
	if (*out)
		return SQLITE_DONE;
	st = sq_st(g->c, SQ_LANE_SIG);
	sqlite3_bind_int64(st, 1, lane);
	rc = sqlite3_step(st);
	sig = rc == SQLITE_ROW ? (const char *)sqlite3_column_text(st, 0) : NULL;
	if (rc == SQLITE_ROW || rc == SQLITE_DONE) {
		*out = remember(g->book, lane, sig ? sig : "", false);
		rc = SQLITE_DONE;
	}
	sqlite3_reset(st);
	return rc;
}

/* The lanes with something to claim, by skipping from one to the next in the index. */
static int load(struct sq_group *g)
{
	struct sq_book *b = g->book;
	int64_t lane = INT64_MIN;
	int rc;

	forget_heads(b);
	for (;;) {
		sqlite3_stmt *st = sq_st(g->c, SQ_LANE_NEXT);
		struct sq_lane *l;

		sqlite3_bind_int64(st, 1, lane);
		rc = read_int(st, &lane);
		if (rc == SQLITE_ROW)
			rc = sq_book_find(g, lane, &l);
		else
			break;
		if (rc != SQLITE_DONE)
			return rc;
		activate(b, l);
		if (lane++ == INT64_MAX)
			break;
	}
	b->loaded = rc == SQLITE_DONE;
	return rc;
}

int sq_book_ready(struct sq_group *g)
{
	struct sq_book *b = g->book;
	int64_t version = 0;
	int rc = read_int(sq_st(g->c, SQ_DATA_VERSION), &version);

	if (rc != SQLITE_ROW)
		return rc == SQLITE_DONE ? SQLITE_ERROR : rc;
	b->calls++;
	if (b->loaded && b->version == version)
		return SQLITE_DONE;
	b->version = version;
	return load(g);
}

static int refill(struct sq_group *g, struct sq_lane *l)
{
	sqlite3_stmt *st = sq_st(g->c, SQ_LANE_HEAD);
	int rc;

	sqlite3_bind_int64(st, 1, l->lane);
	sqlite3_bind_int(st, 2, SQ_AHEAD);
	l->n = 0;
	while ((rc = sqlite3_step(st)) == SQLITE_ROW && l->n < SQ_AHEAD) {
		struct sq_head *h = &l->ahead[l->n++];

		h->key = sqlite3_column_int64(st, 0);
		memcpy(h->id.b, sqlite3_column_blob(st, 1), sizeof(h->id.b));
	}
	sqlite3_reset(st);
	l->all = rc == SQLITE_DONE && l->n < SQ_AHEAD;
	l->known = rc == SQLITE_DONE || rc == SQLITE_ROW;
	return rc == SQLITE_ROW ? SQLITE_DONE : rc;
}

static bool fits(struct sq_book *b, struct sq_lane *l, const struct claim *c)
{
	if (l->asked != b->calls) {
		l->asked = b->calls;
		l->fits = !c->fits || c->fits(c->arg, l->lane, l->sig);
	}
	return l->fits;
}

int sq_book_next(struct sq_group *g, const struct claim *c, struct sq_head *out, bool *found)
{
	struct sq_book *b = g->book;
	struct sq_lane *best = NULL;

	*found = false;
	for (int i = 0; i < b->n_active;) {
		struct sq_lane *l = b->active[i];

		if (!l->known) {
			int rc = refill(g, l);

			if (rc != SQLITE_DONE)
				return rc;
		}
		if (!l->n) {
			deactivate(b, l);	/* another one is at this place now */
			continue;
		}
		/* Those that would not come first need not be asked. */
		if ((!best || order(&l->ahead[0], &best->ahead[0]) < 0) && fits(b, l, c))
			best = l;
		i++;
	}
	if (best) {
		*out = best->ahead[0];
		*found = true;
	}
	return SQLITE_DONE;
}
