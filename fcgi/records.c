// SPDX-License-Identifier: MIT
/* What the panel remembers of itself: events, alerts, the audit log. */
#include <stdio.h>

#include "../lib/base/clock.h"
#include "../lib/base/limits.h"
#include "../lib/domain/alert.h"
#include "../lib/domain/audit.h"
#include "handlers.h"
#include "queries.h"

/* --- events ------------------------------------------------------------------------------------------------------ */

#define EVENT_BATCH	500
#define EVENT_SCAN	20000		/* looked through for one page; the cursor goes on behind them */

/* "task.created", or "task" for all of them. */
static bool of_type(const struct strs *wanted, const char *type)
{
	for (int i = 0; i < wanted->n; i++) {
		size_t n = strlen(wanted->v[i]);

		if (strncmp(type, wanted->v[i], n) == 0 && (!type[n] || type[n] == '.'))
			return true;
	}
	return wanted->n == 0;
}

static bool same_id(const struct jv *data, const char *key, const char *wanted)
{
	const char *is = jv_str(data, key);

	return !wanted || (is && strcmp(is, wanted) == 0);
}

static bool wants(struct arena *scratch, const struct event_q *q, const struct bus_event *e)
{
	struct error scrap;
	struct jv *v;
	int64_t at;

	if (!q->type.n && !q->task_id && !q->execution_id && !q->pipeline_id && !q->agent_id && !q->since)
		return true;
	error_init(&scrap, scratch);
	if (json_parse(scratch, e->envelope, strlen(e->envelope), 2, &v, &scrap))
		return false;
	const char *type = jv_str(v, "type");
	const char *time = jv_str(v, "timestamp");
	const struct jv *data = jv_get(v, "data");

	/* It may have waited for Redis: its place in the stream is no earlier than its time. */
	if (q->since && (!time || !time_parse(time, &at) || at < q->since))
		return false;
	return of_type(&q->type, type ? type : "") && same_id(data, "task_id", q->task_id) &&
	       same_id(data, "execution_id", q->execution_id) && same_id(data, "pipeline_id", q->pipeline_id) &&
	       same_id(data, "agent_id", q->agent_id);
}

struct event_page {
	const struct event_q *q;
	struct resp *p;
	bool forward;
	char last[48];		/* seen */
	bool over, more;
	int scanned;
};

static void take_events(struct event_page *g, struct arena *scratch, const struct bus_event *events, int n)
{
	for (int i = 0; i < n && !g->over; i++) {
		int64_t at = strtoll(events[i].id, NULL, 10);

		g->more = g->p->count == g->q->limit;
		g->over = g->more || (!g->forward && g->q->since && at < g->q->since);
		if (g->over)
			return;
		snprintf(g->last, sizeof(g->last), "%s", events[i].id);
		if (!wants(scratch, g->q, &events[i]))
			continue;
		jw_raw(&g->p->w, events[i].envelope);
		g->p->count++;
	}
	g->scanned += n;
	g->over = n < EVENT_BATCH;
}

static enum err no_event_id(struct req *r, const struct event_page *g)
{
	return g->q->cursor ? error_set(r->op.err, ERR_BAD_CURSOR, "no event's id in the cursor")
			    : error_field(r->op.err, "query.after", "bad_id", "must be an event's id");
}

/* Where the page begins. */
static enum err event_start(struct req *r, struct event_page *g)
{
	const char *at = g->q->after;

	g->forward = at != NULL;
	if (g->q->cursor) {
		if (g->q->after)
			return error_field(r->op.err, "query.after", "conflict", "a cursor knows where it goes on");
		g->forward = strncmp(g->q->cursor, "ef.", 3) == 0;
		enum err err = cursor_decode(&r->op, g->forward ? "ef" : "eb", g->q->cursor, &at);

		if (err)
			return err;
	}
	/* Redis would take milliseconds alone, too; no event has such an id. */
	if (at && !strchr(at, '-'))
		return no_event_id(r, g);
	snprintf(g->last, sizeof(g->last), "%s", at ? at : "");
	return OK;
}

static enum err read_events(struct req *r, struct event_page *g, struct arena *scratch)
{
	struct bus *bus = r->op.app->bus;
	struct bus_event *events;
	int n;
	enum err err = g->forward ? bus_events(bus, g->last, EVENT_BATCH, scratch, &events, &n)
				  : bus_events_before(bus, *g->last ? g->last : NULL, EVENT_BATCH, scratch, &events, &n);

	if (err == ERR_VALIDATION)
		return no_event_id(r, g);
	if (err)
		return error_public(r->op.err, ERR_UNAVAILABLE, "Redis is away, and events are kept there; nothing else is affected.");
	take_events(g, scratch, events, n);
	return OK;
}

enum err h_events(struct req *r, struct resp *p)
{
	struct event_page g = { .q = r->q, .p = p };
	struct arena scratch;
	enum err err = event_start(r, &g);

	if (err)
		return err;
	p->count = 0;
	p->list = true;
	jw_arr(&p->w);
	arena_init(&scratch);
	while (!err && !g.over && g.scanned < EVENT_SCAN) {
		arena_reset(&scratch);
		err = read_events(r, &g, &scratch);
	}
	arena_release(&scratch);
	jw_end_arr(&p->w);
	/* Going forward there is always a next page: what comes later. */
	if (*g.last && (g.more || !g.over || g.forward))
		p->next_cursor = cursor_encode(r->op.arena, g.forward ? "ef" : "eb", g.last);
	return err;
}

/* --- alerts ------------------------------------------------------------------------------------------------------ */

enum err h_alerts(struct req *r, struct resp *p)
{
	const struct alert_q *q = r->q;
	struct alert_filter f = { .status = (enum alert_filter_status)q->status, .kind = q->kind, .subject = q->subject,
				  .cursor = q->cursor, .limit = (int)q->limit };
	struct alert **list;
	int n;
	enum err err = alerts_list(&r->op, &f, &list, &n, &p->next_cursor);

	if (err)
		return err;
	jw_arr(&p->w);
	for (int i = 0; i < n; i++)
		alert_json(list[i], &p->w);
	jw_end_arr(&p->w);
	p->count = n;
	p->list = true;
	return OK;
}

enum err h_alert_get(struct req *r, struct resp *p)
{
	struct alert *a;
	enum err err = alert_load(&r->op, r->arg[0], &a);

	if (!err)
		alert_json(a, &p->w);
	return err;
}

/* --- the audit log ------------------------------------------------------------------------------------------------ */

enum err h_audit_logs(struct req *r, struct resp *p)
{
	const struct audit_q *q = r->q;
	struct audit_filter f = { .chain_id = q->chain_id, .actor = q->actor, .resource_id = q->resource_id,
				  .resource_type = q->resource_type, .kind = q->kind, .action = q->action, .outcome = q->outcome,
				  .request_id = q->request_id, .from = q->from, .to = q->to, .cursor = q->cursor,
				  .limit = (int)q->limit };
	int n;

	jw_arr(&p->w);
	enum err err = audit_list(&r->op, &f, &p->w, &n, &p->next_cursor);

	jw_end_arr(&p->w);
	p->count = n;
	p->list = true;
	return err;
}

enum err h_audit_verify(struct req *r, struct resp *p)
{
	const struct verify_q *q = r->q;

	return audit_verify(&r->op, q->from, q->cursor, (int)q->limit, &p->w);
}
