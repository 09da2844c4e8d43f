// SPDX-License-Identifier: MIT
/*
 * Grouping of single changes. Callers put jobs into queues and wait; committer threads take the queue
 * whose head has waited longest, all of it up to a bulk's size, and write it.
 *
 * One bulk holds at most one job for a document, so that the token of one is not pushed out by its
 * neighbours and the row that is read back is the one after that change. The others stay queued,
 * in their order.
 *
 * A job that no committer has taken when the store's time limit is over is taken back by its caller:
 * nothing was sent, so that is ERR_UNAVAILABLE. Once taken, the driver's own limits bound the wait.
 */
#include "store_mongo_int.h"

#include <errno.h>
#include "../base/clock.h"
#include "../base/log.h"

struct mg_wait {
	pthread_cond_t done;
	int left;		/* jobs without an outcome */
	pthread_mutex_t arena;	/* of the caller: its jobs may be in two bulks at once */
};

struct line {
	struct mg_job *head, **tail;
};

struct mg_queue {
	struct mongo_store *s;
	pthread_mutex_t lock;	/* of all below, and of the jobs' states */
	pthread_cond_t work;
	struct line lines[MGQ_COUNT];
	int idle;		/* committers that wait for work */
	int queued;
	uint64_t seq;
	bool stop;
	int threads;
	pthread_t thread[MG_COMMITTERS];
};

void mg_job_fail(struct mg_job *j, enum err err, const char *fmt, ...)
{
	va_list ap;

	j->err = err;
	va_start(ap, fmt);
	if (vsnprintf(j->detail, sizeof(j->detail), fmt, ap) < 0)
		j->detail[0] = '\0';
	va_end(ap);
}

void mg_job_row(struct mg_job *j, const bson_t *doc)
{
	if (j->wait)
		pthread_mutex_lock(&j->wait->arena);
	j->op->row = mg_task_decode(doc, j->arena);
	if (j->wait)
		pthread_mutex_unlock(&j->wait->arena);
}

void mg_fail_all(struct mg_batch *b, enum err err, const char *message)
{
	for (int i = 0; i < b->n; i++)
		mg_job_fail(b->jobs[i], err, "MongoDB: %s", message);
}

/* --- jobs of a batch by their key -------------------------------------------------------------------- */

#define N_SLOTS (sizeof(((struct mg_batch *)0)->slots) / sizeof(uint16_t))

static uint32_t hash(const char *s)
{
	uint32_t h = 2166136261u;

	for (; *s; s++)
		h = (h ^ (unsigned char)*s) * 16777619u;
	return h;
}

/* The slot that holds the key, or the free one where it belongs. */
static uint16_t *slot_of(struct mg_batch *b, const char *key)
{
	for (uint32_t i = hash(key);; i++) {
		uint16_t *slot = &b->slots[i % N_SLOTS];

		if (!*slot || !strcmp(b->jobs[*slot - 1]->key, key))
			return slot;
	}
}

struct mg_job *mg_batch_find(struct mg_batch *b, const char *key)
{
	uint16_t slot = *slot_of(b, key);

	return slot ? b->jobs[slot - 1] : NULL;
}

bool mg_batch_add(struct mg_batch *b, struct mg_job *j)
{
	if (j->key) {
		uint16_t *slot = slot_of(b, j->key);

		if (*slot)
			return false;
		*slot = (uint16_t)(b->n + 1);
	}
	b->jobs[b->n++] = j;
	return true;
}

void mg_batch_clear(struct mg_batch *b)
{
	b->n = 0;
	memset(b->slots, 0, sizeof(b->slots));
}

/* --- committers ---------------------------------------------------------------------------------------- */

static struct line *longest_waiting(struct mg_queue *q)
{
	struct line *best = NULL;

	for (int i = 0; i < MGQ_COUNT; i++) {
		struct line *l = &q->lines[i];

		if (l->head && (!best || l->head->seq < best->head->seq))
			best = l;
	}
	return best;
}

static void take(struct mg_queue *q, struct mg_batch *b, struct line *l)
{
	struct mg_job **at = &l->head;
	size_t bytes = 0;

	mg_batch_clear(b);
	while (*at && b->n < MG_BULK_OPS) {
		struct mg_job *j = *at;

		if (b->n && bytes + j->bytes > MG_BULK_BYTES)
			break;
		if (!mg_batch_add(b, j)) {
			at = &j->next;
			continue;
		}
		bytes += j->bytes;
		j->state = MGJ_TAKEN;
		*at = j->next;
		q->queued--;
	}
	while (*at)
		at = &(*at)->next;
	l->tail = at;
}

static void run_in_session(struct mg_batch *b)
{
	bson_error_t be;

	b->session = mongoc_client_start_session(b->client, NULL, &be);
	if (!b->session) {
		mg_fail_all(b, mg_write_failed(&be, NULL), be.message);
		return;
	}
	mg_run(b);
	mongoc_client_session_destroy(b->session);
}

static void *committer(void *arg)
{
	struct mg_queue *q = arg;
	struct mg_batch *b = xcalloc(1, sizeof(*b));

	b->s = q->s;
	arena_init(&b->scratch);
	pthread_mutex_lock(&q->lock);
	for (;;) {
		struct line *l = longest_waiting(q);

		if (!l) {
			if (q->stop)
				break;
			q->idle++;
			pthread_cond_wait(&q->work, &q->lock);
			q->idle--;
			continue;
		}
		take(q, b, l);
		if (q->queued && q->idle)
			pthread_cond_signal(&q->work);
		pthread_mutex_unlock(&q->lock);
		b->client = mg_client(q->s, NULL);
		if (b->client)
			run_in_session(b);
		else
			mg_fail_all(b, ERR_UNAVAILABLE, "no connection got free");
		mg_client_back(q->s, b->client);
		arena_reset(&b->scratch);
		pthread_mutex_lock(&q->lock);
		for (int i = 0; i < b->n; i++) {
			b->jobs[i]->state = MGJ_DONE;
			if (--b->jobs[i]->wait->left == 0)
				pthread_cond_signal(&b->jobs[i]->wait->done);
		}
	}
	pthread_mutex_unlock(&q->lock);
	arena_release(&b->scratch);
	free(b);
	return NULL;
}

/* --- callers ---------------------------------------------------------------------------------------------- */

/* Take back what nobody has begun. */
static void withdraw(struct mg_queue *q, struct mg_wait *w)
{
	for (int i = 0; i < MGQ_COUNT; i++) {
		struct line *l = &q->lines[i];
		struct mg_job **at = &l->head;

		while (*at) {
			struct mg_job *j = *at;

			if (j->wait != w) {
				at = &j->next;
				continue;
			}
			*at = j->next;
			q->queued--;
			w->left--;
			j->state = MGJ_DONE;
			mg_job_fail(j, ERR_UNAVAILABLE, "MongoDB did not get to it within %d ms", q->s->timeout_ms);
		}
		l->tail = at;
	}
}

void mg_submit(struct mongo_store *s, struct mg_job *const *jobs, int n)
{
	struct mg_queue *q = s->queue;
	struct mg_wait w = { .left = n, .arena = PTHREAD_MUTEX_INITIALIZER };
	struct timespec until;
	pthread_condattr_t mono;
	bool patient = false;

	pthread_condattr_init(&mono);
	pthread_condattr_setclock(&mono, CLOCK_MONOTONIC);
	pthread_cond_init(&w.done, &mono);
	pthread_condattr_destroy(&mono);
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += s->timeout_ms / 1000;
	until.tv_nsec += s->timeout_ms % 1000 * 1000000L;
	if (until.tv_nsec >= 1000000000L) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000L;
	}
	pthread_mutex_lock(&q->lock);
	for (int i = 0; i < n; i++) {
		struct mg_job *j = jobs[i];
		struct line *l = &q->lines[j->queue];

		j->wait = &w;
		j->state = MGJ_QUEUED;
		j->seq = ++q->seq;
		j->next = NULL;
		*l->tail = j;
		l->tail = &j->next;
	}
	q->queued += n;
	if (q->idle)
		pthread_cond_signal(&q->work);
	while (w.left) {
		if (patient) {
			pthread_cond_wait(&w.done, &q->lock);
		} else if (pthread_cond_timedwait(&w.done, &q->lock, &until) == ETIMEDOUT) {
			withdraw(q, &w);
			patient = true;
		}
	}
	pthread_mutex_unlock(&q->lock);
	pthread_cond_destroy(&w.done);
	pthread_mutex_destroy(&w.arena);
}

/* --- life --------------------------------------------------------------------------------------------------- */

enum err mg_queue_new(struct mongo_store *s, struct mg_queue **out, struct error *e)
{
	struct mg_queue *q = xcalloc(1, sizeof(*q));

	q->s = s;
	pthread_mutex_init(&q->lock, NULL);
	pthread_cond_init(&q->work, NULL);
	for (int i = 0; i < MGQ_COUNT; i++)
		q->lines[i].tail = &q->lines[i].head;
	*out = q;
	for (; q->threads < MG_COMMITTERS; q->threads++) {
		int rc = pthread_create(&q->thread[q->threads], NULL, committer, q);

		if (rc)
			return mg_error(e, ERR_INTERNAL, "cannot start a thread: error %d", rc);
	}
	return OK;
}

void mg_queue_free(struct mg_queue *q)
{
	if (!q)
		return;
	pthread_mutex_lock(&q->lock);
	q->stop = true;
	pthread_cond_broadcast(&q->work);
	pthread_mutex_unlock(&q->lock);
	for (int i = 0; i < q->threads; i++)
		pthread_join(q->thread[i], NULL);
	pthread_cond_destroy(&q->work);
	pthread_mutex_destroy(&q->lock);
	free(q);
}
