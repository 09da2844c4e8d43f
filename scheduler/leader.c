// SPDX-License-Identifier: MIT
#include "leader.h"

#include <pthread.h>
#include <unistd.h>

#include "../lib/base/clock.h"
#include "../lib/base/log.h"

#define DOWN_MS 250		/* between tries while the store does not answer */

struct leader {
	struct app *app;
	void (*led)(void *arg);
	void *arg;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool stop, started;
	_Atomic int64_t until_us;	/* mono; 0: does not lead */
	_Atomic int64_t epoch;
	/* the thread's own */
	int64_t rev;			/* of our record */
	int64_t seen_rev, seen_us;	/* another's record, and since when it has been so */
	char seen_holder[ID_TEXT];
	bool troubled;
};

bool leader_leads(const struct leader *l)
{
	return mono_us() < l->until_us - MARGIN_MS * 1000LL;
}

int64_t leader_epoch(const struct leader *l)
{
	return l->epoch;
}

static const char *lease_body(struct op *op)
{
	char host[256] = "";
	struct buf b;
	struct jw w;

	if (gethostname(host, sizeof(host) - 1))
		host[0] = '\0';
	buf_init(&b);
	jw_init(&w, &b);
	jw_obj(&w);
	jw_kstr(&w, "host", host);
	jw_kint(&w, "pid", getpid());
	jw_end_obj(&w);
	const char *text = arena_strndup(op->arena, b.p, b.n);

	buf_release(&b);
	return text;
}

/* Write the lease as ours over revision rev; ms 0 gives it back. */
static enum err put(struct leader *l, struct op *op, int64_t rev, int64_t epoch, int64_t ms)
{
	struct record rec = { .kind = REC_LEASE, .id = LEASE_ID, .s1 = l->app->proc_id, .s2 = "", .s3 = "",
			      .n1 = ms ? op->now + ms : 0, .n2 = epoch, .body = lease_body(op) };
	struct store_op o = { .kind = SOP_REC_PUT, .rec = &rec, .expect_rev = rev ? rev : REV_ABSENT };
	struct store_unit u = { .ops = &o, .n = 1, .arena = op->arena, .error = op->err };
	int64_t asked_us = mono_us();
	enum err err = store_apply(l->app->store, &u);

	if (err)
		return err;
	l->rev = o.rev;
	l->epoch = epoch;
	l->until_us = ms ? asked_us + ms * 1000 : 0;
	return OK;
}

static enum err renew(struct leader *l, struct op *op)
{
	enum err err = put(l, op, l->rev, l->epoch, LEASE_MS);

	if (!err)
		return OK;
	/* Whatever it was: who cannot renew does not lead. */
	l->until_us = 0;
	if (err == ERR_CONFLICT) {
		log_warn("another scheduler has taken the lease; standing by");
		l->seen_rev = 0;
		return OK;
	}
	log_error(LOG_WARN, op->err, "the lease could not be renewed (%s); giving up the lead", err_text(err));
	return err;
}

/* May the lease be taken? Never from one that is alive. */
static bool is_free(struct leader *l, const struct op *op, const struct record *rec)
{
	if (!rec || rec->n1 == 0)
		return true;
	/* Ours: a renewal whose outcome was not known, or that came too late. */
	if (strcmp(rec->s1, l->app->proc_id) == 0)
		return true;
	if (l->seen_rev != rec->rev) {
		if (strcmp(l->seen_holder, rec->s1) != 0) {
			log_info("standing by: scheduler %s leads, epoch %lld", rec->s1, (long long)rec->n2);
			snprintf(l->seen_holder, sizeof(l->seen_holder), "%s", rec->s1);
		}
		l->seen_rev = rec->rev;
		l->seen_us = mono_us();
	}
	return mono_us() - l->seen_us >= LEASE_MS * 1000LL || rec->n1 + SKEW_MS <= op->now;
}

static enum err try_to_lead(struct leader *l, struct op *op)
{
	struct record *rec;
	enum err err = store_rec_get(l->app->store, REC_LEASE, LEASE_ID, op->arena, &rec, op->err);

	if (err || !is_free(l, op, rec))
		return err;
	err = put(l, op, rec ? rec->rev : 0, rec ? rec->n2 + 1 : 1, LEASE_MS);
	if (err == ERR_CONFLICT)
		return OK;	/* another standby was faster */
	if (err)
		return err;
	/* The store took its time: what it has written is as good as over, and the next look renews it. */
	if (!leader_leads(l)) {
		l->until_us = 0;
		return OK;
	}
	log_info("leading, epoch %lld%s", (long long)l->epoch, rec && rec->n1 ? ": the former leader is gone" : "");
	l->seen_rev = 0;
	l->seen_holder[0] = '\0';
	l->led(l->arg);
	return OK;
}

/* ms until the next look. */
static int64_t step(struct leader *l, struct op *op)
{
	int64_t begun = mono_us();
	bool leads = l->until_us > begun;
	enum err err = leads ? renew(l, op) : try_to_lead(l, op);

	if (err && !l->troubled && !leads)
		log_error(LOG_WARN, op->err, "the store does not answer (%s); waiting for it", err_text(err));
	if (!err && l->troubled)
		log_info("the store answers again");
	l->troubled = err != OK;
	if (err)
		return DOWN_MS;
	int64_t took = (mono_us() - begun) / 1000;
	int64_t every = leader_leads(l) ? RENEW_MS : LOOK_MS;

	return took < every ? every - took : 0;
}

static void *leader_main(void *arg)
{
	struct leader *l = arg;
	struct arena arena;
	struct error e;
	struct op op;
	struct timespec ts;

	pthread_setname_np(pthread_self(), "leader");
	arena_init(&arena);
	pthread_mutex_lock(&l->lock);
	while (!l->stop) {
		pthread_mutex_unlock(&l->lock);
		op_init(&op, l->app, &arena, &e, &system_caller, NULL);
		int64_t wait_us = step(l, &op) * 1000;

		arena_reset(&arena);
		int64_t until = mono_us() + wait_us;

		ts = (struct timespec){ .tv_sec = until / 1000000, .tv_nsec = until % 1000000 * 1000 };
		pthread_mutex_lock(&l->lock);
		while (!l->stop && mono_us() < until)
			pthread_cond_timedwait(&l->cond, &l->lock, &ts);
	}
	pthread_mutex_unlock(&l->lock);
	if (l->until_us) {
		op_init(&op, l->app, &arena, &e, &system_caller, NULL);
		if (put(l, &op, l->rev, l->epoch, 0))
			log_error(LOG_WARN, &e, "the lease could not be handed over; it runs out by itself");
		else
			log_info("the lease is handed over");
	}
	arena_release(&arena);
	return NULL;
}

struct leader *leader_new(struct app *app, void (*led)(void *arg), void *arg)
{
	struct leader *l = xcalloc(1, sizeof(*l));
	pthread_condattr_t monotonic;

	l->app = app;
	l->led = led;
	l->arg = arg;
	pthread_mutex_init(&l->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&l->cond, &monotonic);
	pthread_condattr_destroy(&monotonic);
	return l;
}

enum err leader_start(struct leader *l, struct error *e)
{
	l->started = !pthread_create(&l->thread, NULL, leader_main, l);
	return l->started ? OK : error_set(e, ERR_INTERNAL, "no thread for the leader");
}

void leader_free(struct leader *l)
{
	if (!l)
		return;
	pthread_mutex_lock(&l->lock);
	l->stop = true;
	pthread_cond_signal(&l->cond);
	pthread_mutex_unlock(&l->lock);
	if (l->started)
		pthread_join(l->thread, NULL);
	pthread_cond_destroy(&l->cond);
	pthread_mutex_destroy(&l->lock);
	free(l);
}
