// SPDX-License-Identifier: MIT
/* Reading the audit log: lists, and whether its chains are whole. */
#include "audit.h"

#include "../base/clock.h"
#include "../base/limits.h"
#include "../base/secret.h"

#define WALK_PAGES	40		/* pages looked through for one answer; the cursor goes on behind them */
#define DAY_MS		86400000LL
#define RETENTION_SPARE_DAYS 90		/* a process may have been silent for so long behind what was removed */
#define PROBLEMS	50		/* told of in one answer */
#define HASH_HEX	(2 * MAC_LEN)

static const char hash_key[] = ",\"hash\":\"";
#define HASH_TAIL	(sizeof(hash_key) - 1 + HASH_HEX + 2)

static bool same(const struct jv *v, const char *key, const char *wanted)
{
	const char *is = jv_str(v, key);

	return !wanted || (is && strcmp(is, wanted) == 0);
}

/* What no index says. A record that does not parse fits: whoever looks for it must see it. */
static bool fits(struct arena *scratch, const struct audit_filter *f, const struct record *rec)
{
	struct error scrap;
	struct jv *v;

	if (!f->resource_type && !f->kind && !f->action && !f->outcome && !f->request_id)
		return true;
	error_init(&scrap, scratch);
	if (json_parse(scratch, rec->body, strlen(rec->body), 1, &v, &scrap))
		return true;
	return same(v, "resource_type", f->resource_type) && same(v, "kind", f->kind) && same(v, "action", f->action) &&
	       same(v, "outcome", f->outcome) && same(v, "request_id", f->request_id);
}

struct listing {
	const struct audit_filter *f;
	struct jw *w;
	int n;
	char last[ID_TEXT];	/* seen */
	bool over, more;
};

static void take_page(struct listing *l, struct arena *scratch, const struct rec_page *page)
{
	for (int i = 0; i < page->n && !l->over; i++) {
		const struct record *rec = page->items[i];

		l->more = l->n == l->f->limit;
		l->over = l->more || (l->f->from && rec->n1 < l->f->from);
		if (l->over)
			return;
		snprintf(l->last, sizeof(l->last), "%s", rec->id);
		if (!fits(scratch, l->f, rec))
			continue;
		jw_raw(l->w, rec->body);
		l->n++;
	}
	if (page->more && page->last)
		snprintf(l->last, sizeof(l->last), "%s", page->last);
	l->over = !page->more;
}

enum err audit_list(struct op *op, const struct audit_filter *f, struct jw *w, int *n, const char **next)
{
	struct rec_filter rf = { .kind = REC_AUDIT, .s1 = f->chain_id, .s2 = f->actor, .s3 = f->resource_id, .descending = true,
				 .limit = f->limit };
	struct listing l = { .f = f, .w = w };
	struct arena scratch;
	enum err err = cursor_decode_id(op, "au", f->cursor, &rf.after);

	if (!err && rf.after)
		snprintf(l.last, sizeof(l.last), "%s", rf.after);
	else if (f->to)
		id_at(f->to, l.last);
	arena_init(&scratch);
	for (int pages = 0; !err && !l.over && pages < WALK_PAGES; pages++) {
		struct rec_page page;

		arena_reset(&scratch);
		rf.after = *l.last ? arena_strdup(&scratch, l.last) : NULL;
		err = store_recs_list(op->app->store, &rf, &scratch, &page, op->err);
		if (!err)
			take_page(&l, &scratch, &page);
	}
	arena_release(&scratch);
	*n = l.n;
	*next = l.more || !l.over ? cursor_encode(op->arena, "au", l.last) : NULL;
	return err;
}

/* --- verifying ------------------------------------------------------------------------------------------------ */

struct link {
	const char *chain_id;
	int64_t seq;
	char hash[HASH_HEX + 1];
	struct link *next;
};

struct check {
	struct op *op;
	struct arena scratch;	/* of one page */
	struct jw *w;
	struct link *links;
	bool from_start;	/* every chain is seen from its beginning … */
	int64_t kept_from;	/* … unless that was so long ago that retention has removed it */
	int64_t records, chains, problems;
};

static struct link *link_of(struct check *c, const char *chain_id, bool *is_new)
{
	struct link *l = c->links;

	while (l && strcmp(l->chain_id, chain_id) != 0)
		l = l->next;
	*is_new = l == NULL;
	if (!l) {
		l = arena_new(c->op->arena, struct link);
		*l = (struct link){ .chain_id = arena_strdup(c->op->arena, chain_id), .next = c->links };
		c->links = l;
		c->chains++;
	}
	return l;
}

static void problem(struct check *c, const struct record *rec, const char *what)
{
	if (c->problems++ >= PROBLEMS)
		return;
	jw_obj(c->w);
	jw_kstr(c->w, "chain_id", rec->s1);
	jw_kint(c->w, "seq", rec->n2);
	jw_kstr(c->w, "audit_id", rec->id);
	jw_kstr(c->w, "problem", what);
	jw_end_obj(c->w);
}

/* The hash that stands in the record, or NULL; *is: that of its text. */
static const char *hashes(struct arena *a, const char *body, char is[HASH_HEX + 1])
{
	size_t n = body ? strlen(body) : 0;
	uint8_t mac[MAC_LEN];

	if (n <= HASH_TAIL || strncmp(body + n - HASH_TAIL, hash_key, sizeof(hash_key) - 1) != 0 || strcmp(body + n - 2, "\"}") != 0)
		return NULL;
	char *text = arena_strndup(a, body, n - HASH_TAIL + 1);

	text[n - HASH_TAIL] = '}';
	sha256(text, n - HASH_TAIL + 1, mac);
	hex_encode(mac, MAC_LEN, is);
	return arena_strndup(a, body + n - HASH_HEX - 2, HASH_HEX);
}

/* What lists are made from has to say what the text says. */
static bool columns_agree(const struct record *rec, const struct jv *v)
{
	const char *actor = jv_str(v, "actor");
	const char *resource = jv_str(v, "resource_id");
	char time[TIME_TEXT];

	time_format(rec->n1, time);
	return same(v, "audit_id", rec->id) && same(v, "chain_id", rec->s1) && strcmp(actor ? actor : "", rec->s2) == 0 &&
	       strcmp(resource ? resource : "", rec->s3) == 0 && jv_int_or(v, "seq", -1) == rec->n2 && same(v, "time", time);
}

static void check_record(struct check *c, const struct record *rec)
{
	char is[HASH_HEX + 1];
	struct error scrap;
	struct jv *v;
	bool is_new;
	struct link *l = link_of(c, rec->s1, &is_new);
	const char *hash = hashes(&c->scratch, rec->body, is);

	c->records++;
	error_init(&scrap, &c->scratch);
	if (!hash || json_parse(&c->scratch, rec->body, strlen(rec->body), 1, &v, &scrap)) {
		problem(c, rec, "unreadable");
		return;
	}
	const char *prev = jv_str(v, "prev_hash");

	if (strcmp(hash, is) != 0)
		problem(c, rec, "changed");
	else if (!columns_agree(rec, v))
		problem(c, rec, "index_differs");
	if (!is_new && rec->n2 != l->seq + 1)
		problem(c, rec, rec->n2 > l->seq ? "records_missing" : "out_of_order");
	else if (!is_new && (!prev || strcmp(prev, l->hash) != 0))
		problem(c, rec, "chain_broken");
	else if (is_new && c->from_start && rec->n2 != 1 && rec->n1 > c->kept_from)
		problem(c, rec, "beginning_missing");
	l->seq = rec->n2;
	memcpy(l->hash, hash, sizeof(l->hash));
}

enum err audit_verify(struct op *op, int64_t from, const char *cursor, int limit, struct jw *w)
{
	struct rec_filter f = { .kind = REC_AUDIT, .limit = LIMIT_PAGE };
	struct check c = { .op = op, .w = w,
			   .kept_from = op->now - (op->app->cfg->phi_retention_days - RETENTION_SPARE_DAYS) * DAY_MS };
	char last[ID_TEXT] = "";
	enum err err = cursor_decode_id(op, "av", cursor, &f.after);
	bool more = true;

	if (!err && f.after)
		snprintf(last, sizeof(last), "%s", f.after);
	else if (from)
		id_at(from, last);
	c.from_start = !*last;
	arena_init(&c.scratch);
	jw_obj(w);
	jw_key(w, "problems");
	jw_arr(w);
	while (!err && more && c.records < limit) {
		struct rec_page page;

		arena_reset(&c.scratch);
		f.after = *last ? arena_strdup(&c.scratch, last) : NULL;
		err = store_recs_list(op->app->store, &f, &c.scratch, &page, op->err);
		for (int i = 0; i < page.n && !err; i++)
			check_record(&c, page.items[i]);
		more = !err && page.more;
		if (more)
			snprintf(last, sizeof(last), "%s", page.last);
	}
	arena_release(&c.scratch);
	jw_end_arr(w);
	jw_kbool(w, "verified", c.problems == 0);
	jw_kint(w, "records", c.records);
	jw_kint(w, "chains", c.chains);
	jw_kint(w, "problem_count", c.problems);
	jw_kstr(w, "next_cursor", more ? cursor_encode(op->arena, "av", last) : NULL);
	jw_end_obj(w);
	return err;
}
