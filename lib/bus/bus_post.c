// SPDX-License-Identifier: MIT
/*
 * The backlog and its thread. A post costs its caller one allocation and one short lock; the thread takes what has
 * come together and sends it as one script call, so batches grow with the load by themselves. A batch stays "in
 * flight" until Redis has answered; one whose answer got lost is sent again under its old number, and the script
 * knows it. The thread also re-dials broken connections: nobody else waits for a connect.
 */
#include "bus_internal.h"

#include <errno.h>
#include <signal.h>

#include "../base/clock.h"
#include "../base/log.h"

#define STOP_US 2000000
#define DIAL_GAP_US 10000	/* between two attempts, however often something breaks */
#define REFUSALS_MAX 5		/* tries for a batch that Redis calls wrong */

static void put(const char **field, char **at, const char *s)
{
	size_t n;

	if (!s)
		return;
	n = strlen(s) + 1;
	memcpy(*at, s, n);
	*field = *at;
	*at += n;
}

static size_t size_of(const char *s)
{
	return s ? strlen(s) + 1 : 0;
}

/* The event from behind its id, which only Redis knows: `","type":…}`. */
static size_t put_event(char *out, size_t room, const struct bus_post *p)
{
	char when[TIME_TEXT];
	int n;

	time_format(p->at ? p->at : now_ms(), when);
	n = snprintf(out, room, "\",\"type\":\"%s\",\"timestamp\":\"%s\",\"data\":%s}", p->type, when,
		     p->data && *p->data ? p->data : "{}");
	return n < 0 ? 0 : (size_t)n;
}

struct post *post_new(const struct bus_post *p)
{
	size_t event_room = p->type ? size_of(p->type) + size_of(p->data) + TIME_TEXT + 48 : 0;
	size_t bytes = sizeof(struct post) + event_room + size_of(p->task_id) + size_of(p->lane_sig) +
		       size_of(p->agent_id) + size_of(p->wake) + size_of(p->run.id) + size_of(p->run.status);
	struct post *post = xmalloc(bytes);
	char *at = (char *)(post + 1);

	*post = (struct post){
		.bytes = bytes, .op = p->op, .lane = p->lane, .order_key = p->order_key, .lease_until = p->lease_until,
		.run_progress = p->run.progress, .run_stage = p->run.current_stage, .run_over = p->run.over,
	};
	put(&post->task_id, &at, p->task_id);
	put(&post->lane_sig, &at, p->lane_sig);
	put(&post->agent_id, &at, p->agent_id);
	put(&post->wake, &at, p->wake);
	put(&post->run, &at, p->run.id);
	put(&post->run_status, &at, p->run.status);
	if (p->type) {
		post->event = at;
		post->event_n = put_event(at, event_room, p);
	}
	return post;
}

/* The lock is held. */
static void drop_oldest(struct publisher *pub)
{
	struct post *p = pub->head;

	pub->head = p->next;
	if (!pub->head)
		pub->tail = &pub->head;
	pub->bytes -= p->bytes;
	pub->n_waiting--;
	pub->dropped++;
	free(p);
}

void bus_post(struct bus *b, const struct bus_post *posts, int n)
{
	struct publisher *pub = &b->pub;
	struct post *first = NULL;
	struct post **tail = &first;
	size_t bytes = 0;

	if (n <= 0)
		return;
	for (int i = 0; i < n; i++) {
		*tail = post_new(&posts[i]);
		bytes += (*tail)->bytes;
		tail = &(*tail)->next;
	}
	pthread_mutex_lock(&pub->lock);
	for (struct post *p = first; p; p = p->next)
		p->seq = ++pub->seq;
	*pub->tail = first;
	pub->tail = tail;
	pub->n_waiting += n;
	pub->bytes += bytes;
	while (pub->n_waiting > 1 && (pub->n_waiting > BUS_BACKLOG_MAX || pub->bytes > BUS_BACKLOG_BYTES))
		drop_oldest(pub);
	if (pub->asleep && pub->link.ctx) {
		pub->asleep = false;
		pthread_cond_signal(&pub->work);
	}
	pthread_mutex_unlock(&pub->lock);
}

void publisher_kick(struct bus *b)
{
	pthread_mutex_lock(&b->pub.lock);
	b->pub.kick = true;
	pthread_cond_signal(&b->pub.work);
	pthread_mutex_unlock(&b->pub.lock);
}

void publisher_urgent(struct bus *b, const struct cmd *c)
{
	struct publisher *pub = &b->pub;

	pthread_mutex_lock(&pub->lock);
	if (pub->urgent.n + c->n > BUS_URGENT_BYTES) {
		pub->lost++;
	} else {
		buf_add(&pub->urgent, c->p, c->n);
		pub->n_urgent += c->replies;
	}
	b->unsure = true;
	pub->kick = true;
	pthread_cond_signal(&pub->work);
	pthread_mutex_unlock(&pub->lock);
}

/* --- the thread ------------------------------------------------------------------------------------ */

enum sent { SENT, BROKEN, AGAIN, REFUSED, WRONG };

/* Errors of the server's state, not of what was sent. */
static enum sent judge(const redisReply *r)
{
	static const char *const passing[] = { "OOM", "MISCONF", "BUSY", "NOREPLICAS", "NOPERM", "CLUSTERDOWN" };

	if (r->type != REDIS_REPLY_ERROR)
		return SENT;
	if (reply_error_is(r, "NOSCRIPT"))
		return AGAIN;
	if (reply_fatal(r))
		return BROKEN;
	for (size_t i = 0; i < sizeof(passing) / sizeof(passing[0]); i++) {
		if (reply_error_is(r, passing[i]))
			return REFUSED;
	}
	return WRONG;
}

/* The context is read by bus_post() too, which needs to know only whether there is one. */
static void hang_up(struct bus *b, bool dial_soon, const char *why)
{
	struct publisher *pub = &b->pub;

	pthread_mutex_lock(&pub->lock);
	link_close(&pub->link);
	pub->kick |= dial_soon;
	pthread_mutex_unlock(&pub->lock);
	bus_down(b, why);
}

/* One round trip on the thread's own connection. */
static enum sent talk(struct bus *b, const struct cmd *c)
{
	struct bus_link *l = &b->pub.link;
	char why[BUS_WHY] = "";
	int64_t deadline = link_deadline(l);
	enum sent worst = SENT;
	bool useless = false;

	if (!link_send(l, c->p, c->n, why)) {
		hang_up(b, true, why);
		return BROKEN;
	}
	for (int i = 0; i < c->replies; i++) {
		redisReply *r = link_read(l, deadline, why);
		enum sent s = r ? judge(r) : BROKEN;

		if (s != SENT && (worst == SENT || s == BROKEN)) {
			worst = s;
			useless = r && s == BROKEN;
			if (r)
				snprintf(why, sizeof(why), "answer: %.100s", r->str);
		}
		if (!r)
			break;
		freeReplyObject(r);
	}
	if (worst == AGAIN && !link_load_scripts(l, why))
		worst = BROKEN;
	if (worst == BROKEN)
		hang_up(b, !useless, why);
	else if (worst == REFUSED || worst == WRONG)
		bus_refused(b, why);
	return worst;
}

static void say_alive(struct bus *b)
{
	struct publisher *pub = &b->pub;

	pub->out.n = 0;
	pub->out.replies = 0;
	cmd_script(&pub->out, BS_ALIVE, 1, 1);
	cmd_key(&pub->out, "procs", "");
	cmd_arg(&pub->out, b->proc_id);
	pub->last_alive_us = mono_us();
	if (talk(b, &pub->out) == AGAIN)
		pub->last_alive_us = 0;
}

/* Revocations first: until Redis has them, this process does not trust its list. */
static void send_urgent(struct bus *b)
{
	struct publisher *pub = &b->pub;

	pub->out.n = 0;
	pthread_mutex_lock(&pub->lock);
	size_t n = pub->urgent.n;
	int replies = pub->n_urgent;
	int64_t lost = pub->lost;

	cmd_raw(&pub->out, pub->urgent.p, n);
	pthread_mutex_unlock(&pub->lock);
	pub->out.replies = replies;
	if (lost != pub->lost_told) {
		cmd_begin(&pub->out, 2, "DEL");
		cmd_key(&pub->out, "warm", "");
	}
	enum sent s = talk(b, &pub->out);

	if (s == REFUSED || s == WRONG)
		pub->pause_us = mono_us() + BUS_RETRY_MS * 1000;
	if (s != SENT)
		return;
	pthread_mutex_lock(&pub->lock);
	memmove(pub->urgent.p, pub->urgent.p + n, pub->urgent.n - n + 1);
	pub->urgent.n -= n;
	pub->n_urgent -= replies;
	pub->lost_told = lost;	/* not what overflowed meanwhile: the DEL came before it */
	if (pub->urgent.n == 0 && pub->lost == lost)
		b->unsure = false;
	pthread_mutex_unlock(&pub->lock);
}

/* Move the next batch from the backlog into flight, unless one is there. The lock is held. */
static void take_batch(struct publisher *pub)
{
	struct post **tail = &pub->flight;
	size_t bytes = 0;

	if (pub->flight || !pub->head)
		return;
	pub->flight = pub->head;
	pub->oldest = pub->head->seq;
	while (*tail && pub->n_flight < BUS_BATCH && bytes < BUS_BATCH_BYTES) {
		bytes += (*tail)->bytes;
		pub->n_flight++;
		tail = &(*tail)->next;
	}
	pub->head = *tail;
	*tail = NULL;
	if (!pub->head)
		pub->tail = &pub->head;
	pub->n_waiting -= pub->n_flight;
	pub->bytes -= bytes;
	pub->batch_no++;
	pub->tries = 0;
	pub->refusals = 0;
}

/* The batch in flight is over. */
static void forget_batch(struct publisher *pub, bool dropped)
{
	pthread_mutex_lock(&pub->lock);
	struct post *p = pub->flight;

	if (dropped)
		pub->dropped += pub->n_flight;
	pub->flight = NULL;
	pub->n_flight = 0;
	pub->oldest = 0;
	pthread_cond_broadcast(&pub->sent);
	pthread_mutex_unlock(&pub->lock);
	for (struct post *next; p; p = next) {
		next = p->next;
		free(p);
	}
}

static void send_batch(struct bus *b)
{
	struct publisher *pub = &b->pub;

	pub->out.n = 0;
	pub->out.replies = 0;
	batch_build(&pub->out, pub->flight, b->proc_id, pub->batch_no, pub->tries++ > 0);
	enum sent s = talk(b, &pub->out);

	if (pub->out.cap > 2 * BUS_BATCH_BYTES)
		cmd_release(&pub->out);
	if (s == SENT) {
		forget_batch(pub, false);
		return;
	}
	if (s == REFUSED || s == WRONG)
		pub->pause_us = mono_us() + BUS_RETRY_MS * 1000;
	if (s == WRONG && ++pub->refusals >= REFUSALS_MAX) {
		log_warn("%lld posts dropped: Redis does not take them", (long long)pub->n_flight);
		forget_batch(pub, true);
	}
}

/* Look after all connections. */
static void dial(struct bus *b)
{
	struct publisher *pub = &b->pub;
	char why[BUS_WHY] = "";

	pub->last_try_us = mono_us();
	if (pub->link.ctx && !link_idle_ok(&pub->link))
		hang_up(b, true, "closed by the other end");
	if (pipes_keep(b) && !pub->link.ctx) {
		struct bus_link fresh;
		bool ok = link_open(&fresh, &b->url, b->timeout_ms, true, why);

		pthread_mutex_lock(&pub->lock);
		if (ok)
			pub->link = fresh;
		pub->pause_us = 0;
		pthread_mutex_unlock(&pub->lock);
		if (!ok)
			bus_down(b, why);
	}
	pub->next_try_us = mono_us() + BUS_RETRY_MS * 1000;
	pthread_mutex_lock(&pub->lock);
	pub->tried = true;
	pthread_cond_broadcast(&pub->sent);
	pthread_mutex_unlock(&pub->lock);
}

static bool pending(const struct publisher *pub)
{
	return pub->head || pub->flight || pub->n_urgent || pub->lost != pub->lost_told;
}

static int64_t min64(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* Sleep until there is something to do. The lock is held. */
static void rest(struct publisher *pub)
{
	int64_t now = mono_us();
	int64_t until = pub->next_try_us;

	if (pub->kick)
		until = min64(until, pub->last_try_us + DIAL_GAP_US);
	if (pub->link.ctx)
		until = min64(until, pub->last_alive_us + BUS_ALIVE_MS * 1000);
	if (pub->link.ctx && pending(pub))
		until = min64(until, pub->pause_us);
	if (pub->stop)
		until = min64(until, pub->stop_by_us);
	if (until <= now)
		return;
	struct timespec ts = { .tv_sec = until / 1000000, .tv_nsec = until % 1000000 * 1000 };

	pub->asleep = true;
	pthread_cond_timedwait(&pub->work, &pub->lock, &ts);
	pub->asleep = false;
}

static void work(struct bus *b)
{
	struct publisher *pub = &b->pub;
	int64_t now = mono_us();

	pthread_mutex_lock(&pub->lock);
	bool look = now >= pub->next_try_us || (pub->kick && now >= pub->last_try_us + DIAL_GAP_US);

	if (look)
		pub->kick = false;
	pthread_mutex_unlock(&pub->lock);
	if (look)
		dial(b);
	if (pub->link.ctx && now - pub->last_alive_us >= BUS_ALIVE_MS * 1000)
		say_alive(b);
	if (!pub->link.ctx || mono_us() < pub->pause_us)
		return;
	pthread_mutex_lock(&pub->lock);
	bool urgent = pub->n_urgent || pub->lost != pub->lost_told;

	if (!urgent)
		take_batch(pub);
	pthread_mutex_unlock(&pub->lock);
	if (urgent)
		send_urgent(b);
	else if (pub->flight)
		send_batch(b);
}

/* A clean exit is not a death: nobody shall look for what this process left behind. */
static void say_goodbye(struct bus *b)
{
	struct publisher *pub = &b->pub;

	if (!pub->link.ctx)
		return;
	pub->out.n = 0;
	pub->out.replies = 0;
	cmd_begin(&pub->out, 3, "ZREM");
	cmd_key(&pub->out, "procs", "");
	cmd_arg(&pub->out, b->proc_id);
	(void)talk(b, &pub->out);
}

static void *publisher_main(void *arg)
{
	struct bus *b = arg;
	struct publisher *pub = &b->pub;

	pthread_setname_np(pthread_self(), "bus-publisher");
	for (;;) {
		pthread_mutex_lock(&pub->lock);
		if (!pub->stop || pending(pub))
			rest(pub);
		bool over = pub->stop && (!pending(pub) || mono_us() >= pub->stop_by_us);

		pthread_mutex_unlock(&pub->lock);
		if (over)
			break;
		work(b);
	}
	say_goodbye(b);
	return NULL;
}

bool publisher_start(struct bus *b)
{
	struct publisher *pub = &b->pub;
	pthread_condattr_t attr;
	sigset_t all;
	sigset_t old;

	pub->tail = &pub->head;
	buf_init(&pub->urgent);
	cmd_init(&pub->out);
	if (pthread_mutex_init(&pub->lock, NULL) || pthread_condattr_init(&attr) ||
	    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) || pthread_cond_init(&pub->work, &attr) ||
	    pthread_cond_init(&pub->sent, &attr))
		abort();
	pthread_condattr_destroy(&attr);
	/* Signals are the main thread's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	int failed = pthread_create(&pub->thread, NULL, publisher_main, b);

	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return !failed;
}

void publisher_stop(struct bus *b)
{
	struct publisher *pub = &b->pub;

	pthread_mutex_lock(&pub->lock);
	pub->stop = true;
	pub->stop_by_us = mono_us() + STOP_US;
	pthread_cond_signal(&pub->work);
	pthread_mutex_unlock(&pub->lock);
	pthread_join(pub->thread, NULL);
	forget_batch(pub, true);
	while (pub->head)
		drop_oldest(pub);
	link_close(&pub->link);
	cmd_release(&pub->out);
	buf_release(&pub->urgent);
	pthread_cond_destroy(&pub->work);
	pthread_cond_destroy(&pub->sent);
	pthread_mutex_destroy(&pub->lock);
}
