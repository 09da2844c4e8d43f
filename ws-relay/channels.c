// SPDX-License-Identifier: MIT
#include "channels.h"

#include "../lib/base/limits.h"
#include "../lib/base/log.h"
#include "../lib/base/schema.h"
#include "state.h"

#define BUCKETS 8192	/* a power of two */
#define PAGE 500
#define ROOM 2000	/* a resume goes on while fewer messages than this wait for its client */

static const char *const channel_names[] = { "tasks", "agents", "pipelines", "system", "all", NULL };

static struct {
	struct sub *by_channel[CHANNELS];
	struct sub *by_id[BUCKETS];
	int n, waiting;		/* waiting: resumes whose client has to catch up first */
} subs;

bool channel_parse(const char *name, enum channel *out)
{
	int i = name ? name_index(channel_names, name) : -1;

	if (i >= 0)
		*out = (enum channel)i;
	return i >= 0;
}

const char *channel_name(enum channel c)
{
	return channel_names[c];
}

/* --- where a subscription stands ------------------------------------------------------------------------------------------ */

static uint32_t hash(const char *id)
{
	uint32_t h = 2166136261u;

	for (; *id; id++)
		h = (h ^ (unsigned char)*id) * 16777619u;
	return h & (BUCKETS - 1);
}

static struct sub **home(const struct sub *s)
{
	return *s->key ? &subs.by_id[hash(s->key)] : &subs.by_channel[s->channel];
}

static void enter(struct sub *s)
{
	struct sub **head = home(s);

	s->next_here = *head;
	if (*head)
		(*head)->prev_here = s;
	*head = s;
	subs.n++;
}

static void leave(struct sub *s)
{
	if (s->prev_here)
		s->prev_here->next_here = s->next_here;
	else
		*home(s) = s->next_here;
	if (s->next_here)
		s->next_here->prev_here = s->prev_here;
	subs.n--;
}

static void release(struct sub *s)
{
	free(s->criteria);
	free(s->types);
	free(s);
}

static void sub_free(struct sub *s)
{
	struct client *c = s->c;

	for (struct sub **p = &c->subs; *p; p = &(*p)->next) {
		if (*p == s) {
			*p = s->next;
			c->n_subs--;
			break;
		}
	}
	for (struct job *j = c->jobs; j; j = j->next) {
		if (j->sub == s)
			j->sub = NULL;
	}
	leave(s);
	subs.waiting -= s->wants_page;
	s->wants_page = false;
	s->gone = true;
	if (!s->readings)	/* else the reader lets go of it */
		release(s);
}

static void reader_done(struct sub *s)
{
	s->readings--;
	if (s->gone && !s->readings)
		release(s);
}

/* --- does it fit ----------------------------------------------------------------------------------------------------------- */

static bool same(const char *wanted, const char *is)
{
	return !*wanted || (is && strcmp(wanted, is) == 0);
}

static bool type_fits(const struct sub *s, const char *type)
{
	if (!s->n_types)
		return true;
	for (int i = 0; i < s->n_types; i++) {
		if (strcmp(s->types[i], type) == 0)
			return true;
	}
	return false;
}

static bool fits(const struct sub *s, const struct event *e)
{
	return (s->channel == CH_ALL || e->channels >> s->channel & 1) && same(s->task_id, e->task_id) &&
	       same(s->execution_id, e->execution_id) && same(s->pipeline_id, e->pipeline_id) &&
	       same(s->agent_id, e->agent_id) && type_fits(s, e->type);
}

static void tell_list(struct sub *list, struct event *e, const char *key)
{
	for (struct sub *s = list, *next; s; s = next) {
		next = s->next_here;
		if (s->live && (!key || strcmp(s->key, key) == 0) && fits(s, e))
			client_tell(s->c, e, s->dialect);
	}
}

void channels_tell(struct event *e)
{
	const char *const ids[] = { e->task_id, e->execution_id, e->pipeline_id, e->agent_id };

	for (int i = 0; i < 4; i++) {
		if (ids[i])
			tell_list(subs.by_id[hash(ids[i])], e, ids[i]);
	}
	for (int ch = 0; ch < CH_ALL; ch++) {
		if (e->channels >> ch & 1)
			tell_list(subs.by_channel[ch], e, NULL);
	}
	tell_list(subs.by_channel[CH_ALL], e, NULL);
}

/* --- beginning ---------------------------------------------------------------------------------------------------------------- */

static void tell_resync(struct client *c, const char *reason, const char *ref)
{
	struct buf b;
	struct jw w;

	buf_init(&b);
	jw_init(&w, &b);
	jw_obj(&w);
	if (c->nsp == NSP_NONE)
		jw_kstr(&w, "type", "resync");
	jw_kstr(&w, "reason", reason);
	if (ref && *ref)
		jw_kraw(&w, "id", ref);
	jw_end_obj(&w);
	client_say_object(c, "resync", b.p, b.n);
	buf_release(&b);
	relay.count.resyncs++;
}

/* From now on live; what was kept since the subscription stands is told first. */
static void go_live(struct sub *s, const struct event_id *told)
{
	bool gap = s->from < events_next() && !events_kept(s->from);

	if (gap)
		tell_resync(s->c, "gap", s->ref);
	for (uint64_t seq = gap ? events_next() : s->from; seq < events_next(); seq++) {
		struct event *e = events_kept(seq);

		if (e && fits(s, e) && (!told || event_id_cmp(e->id, *told) > 0)) {
			s->c->told[s->dialect] = 0;
			client_tell(s->c, e, s->dialect);
		}
	}
	s->live = true;
}

void channels_state(struct sub *s, const char *json, size_t n)
{
	state_tell(s, json, n);
	go_live(s, NULL);
}

static void begin_with_state(struct sub *s)
{
	s->from = events_next();
	if (s->c->s->kind == SESSION_SSE || !state_ask(s))
		channels_state(s, NULL, 0);
}

static void replay(struct sub *s);

/* What was missed is told as fast as the client reads, and does not count as its being slow. */
static void next_page(struct sub *s)
{
	if (!s->wants_page || s->c->s->q.n > ROOM)
		return;
	s->wants_page = false;
	subs.waiting--;
	replay(s);
}

static void look_for_room(struct session *s, void *arg)
{
	(void)arg;
	for (struct client *c = s->clients; c; c = c->next) {
		for (struct sub *sub = c->subs; sub; sub = sub->next)
			next_page(sub);
	}
}

void channels_tick(void)
{
	if (subs.waiting)
		sessions_each(look_for_room, NULL);
}

static void on_replay(void *cookie, struct stream_page *p)
{
	struct sub *s = cookie;

	if (!s->gone && p->n < 0) {
		tell_resync(s->c, "redis_lost", s->ref);
		begin_with_state(s);
	} else if (!s->gone && p->has_first && event_id_cmp(p->first, s->after) > 0) {
		tell_resync(s->c, "gap", s->ref);
		begin_with_state(s);
	} else if (!s->gone) {
		if (p->has_first && s->c->s->kind != SESSION_SSE)
			state_tell(s, NULL, 0);
		for (int i = 0; i < p->n; i++) {
			if (fits(s, p->events[i]))
				client_tell(s->c, p->events[i], s->dialect);
			s->after = p->events[i]->id;
		}
		s->replayed += p->n;
		if (p->n < PAGE) {
			go_live(s, &s->after);
		} else if (s->replayed >= LIMIT_WS_REPLAY) {
			tell_resync(s->c, "gap", s->ref);
			begin_with_state(s);
		} else {
			s->paused = s->wants_page = true;
			subs.waiting++;
			next_page(s);
		}
	}
	for (int i = 0; i < p->n; i++)
		event_unref(p->events[i]);
	reader_done(s);
}

/*
 * The next page of the stream; everything heard up to now is in it or in one before, since Redis writes the stream
 * before it publishes.
 */
static void replay(struct sub *s)
{
	bool first = !s->paused;

	s->from = events_next();
	s->readings++;
	events_read_stream(s->after, PAGE, first, on_replay, s);
}

static bool set_types(struct sub *s, const struct jv *types)
{
	if (types && types->type != J_ARRAY)
		return false;
	if (types && types->child)
		s->types = xcalloc(SUB_TYPES, sizeof(*s->types));
	for (const struct jv *t = types ? types->child : NULL; t; t = t->next) {
		if (t->type != J_STRING || s->n_types == SUB_TYPES || t->str_len >= SUB_TYPE)
			return false;
		memcpy(s->types[s->n_types++], t->str, t->str_len + 1);
	}
	return true;
}

static bool set_id(char to[ID_TEXT], const char *from)
{
	if (!from)
		return true;
	if (strlen(from) != ID_LEN || !id_valid(from))
		return false;
	memcpy(to, from, ID_TEXT);
	return true;
}

static bool set_filter(struct sub *s, const struct sub_wish *w)
{
	if (!set_id(s->task_id, w->task_id) || !set_id(s->execution_id, w->execution_id) ||
	    !set_id(s->pipeline_id, w->pipeline_id) || !set_id(s->agent_id, w->agent_id) || !set_types(s, w->types))
		return false;
	const char *const order[] = { s->task_id, s->execution_id, s->pipeline_id, s->agent_id };

	for (int i = 0; i < 4 && !*s->key; i++)
		memcpy(s->key, order[i], ID_TEXT);
	return true;
}

/* Does the caller's role read anything in that channel? */
static bool may_read(const struct client *c, enum channel ch)
{
	static const perms_t need[CHANNELS] = { [CH_TASKS] = PERM_TASK_READ, [CH_AGENTS] = PERM_AGENT_READ,
						[CH_PIPELINES] = PERM_PIPELINE_READ, [CH_SYSTEM] = PERM_SYSTEM_HEALTH };

	return (c->who->perms & need[ch]) == need[ch];
}

void channels_subscribe(struct client *c, const struct sub_wish *w, const struct reply *r)
{
	struct sub *s;

	if (!may_read(c, w->channel)) {
		client_error(c, r, "permission_denied", "The role may not read this channel.");
		return;
	}
	if (c->n_subs >= LIMIT_WS_SUBS) {
		client_error(c, r, "limit_reached", "Too many subscriptions on this connection.");
		return;
	}
	if (w->after && !event_id_parse(w->after, &(struct event_id){ 0 })) {
		client_error(c, r, "validation_failed", "after is not an event id.");
		return;
	}
	if (*r->ref)
		channels_unsubscribe(c, r->ref);
	s = xcalloc(1, sizeof(*s));
	s->c = c;
	s->channel = w->channel;
	s->dialect = w->dialect;
	s->reply = *r;
	memcpy(s->ref, r->ref, sizeof(s->ref));
	if (!set_filter(s, w)) {
		release(s);
		client_error(c, r, "validation_failed", "The filter takes ids as UUIDs and types as a list of event names.");
		return;
	}
	s->criteria = w->criteria ? xstrdup(w->criteria) : NULL;
	s->next = c->subs;
	c->subs = s;
	c->n_subs++;
	enter(s);
	if (w->after && event_id_parse(w->after, &s->after))
		replay(s);
	else
		begin_with_state(s);
}

void channels_drop(struct sub *s)
{
	sub_free(s);
}

bool channels_unsubscribe(struct client *c, const char *ref)
{
	for (struct sub *s = c->subs; s; s = s->next) {
		if (strcmp(s->ref, ref) == 0) {
			sub_free(s);
			return true;
		}
	}
	return false;
}

void channels_open(struct client *c)
{
	static const struct reply path_reply = { .ack = -1, .ref = "\"path\"" };
	struct sub_wish w = { .task_id = c->channel_task };

	if (c->channel && channel_parse(c->channel, &w.channel))
		channels_subscribe(c, &w, &path_reply);
}

void channels_leave(struct client *c)
{
	while (c->subs)
		sub_free(c->subs);
}

/* --- to all --------------------------------------------------------------------------------------------------------------------- */

static void say_redis(struct session *s, void *arg)
{
	const bool up = *(bool *)arg;

	for (struct client *c = s->clients; c; c = c->next) {
		static const char plain_up[] = "{\"type\":\"redis\",\"status\":\"up\"}";
		static const char plain_down[] = "{\"type\":\"redis\",\"status\":\"down\"}";

		if (c->who)
			client_say_object(c, "redis", up ? plain_up : plain_down, up ? sizeof(plain_up) - 1 : sizeof(plain_down) - 1);
	}
}

void channels_redis(bool up)
{
	sessions_each(say_redis, &up);
}

static void say_resync(struct session *s, void *arg)
{
	for (struct client *c = s->clients; c; c = c->next) {
		if (c->subs)
			tell_resync(c, arg, NULL);
	}
}

void channels_resync(const char *reason)
{
	sessions_each(say_resync, (void *)(uintptr_t)reason);
}

int channels_count(void)
{
	return subs.n;
}
