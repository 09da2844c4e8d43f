// SPDX-License-Identifier: MIT
/*
 * Group commit. Jobs wait in a queue; one transaction takes what is there, and one fsync makes it
 * durable for all of them.
 *
 * `busy` says that somebody works on the queue: a caller who finds it unset runs the next group
 * itself (no change of thread when there is no load), and hands over to the store's own thread when
 * more has come in meanwhile. The locks between processes are taken before jobs are, so that a caller
 * whose turn does not come in time can leave the queue, knowing that nothing was changed.
 */
#include "store_sqlite.h"

#include <errno.h>
#include <signal.h>
#include <unistd.h>

#include "../base/clock.h"

#define GROUP_COST 512		/* rows a group changes, about; one large job may exceed it */
#define GROUP_US 5000
#define WAL_PAGES 4000		/* begin to copy the log into the file from this length on … */
#define WAL_PAGES_LEFT 300	/* … until about this much is left to the writer */
#define WAL_PAGES_MAX 20000	/* the writer does it all when the log has grown this long */

struct sq_writer {
	struct sqlite_store *s;
	pthread_mutex_t lock;
	pthread_cond_t work;		/* for the thread: it has been handed the queue */
	pthread_cond_t idle;		/* busy became false */
	struct sq_job *head, **tail;
	bool busy, handed;
	atomic_bool stop, ended;
	pthread_t thread;
	int lock_fd;
	/* of whoever is busy */
	struct sq_group g;
	int wal_pages, next_copy;
	bool copying;			/* the thread was asked to copy, for this turn of the log */
	/* the checkpointer */
	atomic_bool copied;
	pthread_t copier;
	pthread_mutex_t copy_lock;
	pthread_cond_t copy;
	bool copy_wanted, copy_stop;
};

/* --- keeping the log short --------------------------------------------------------------------------- */

/*
 * Copying the log into the file goes on beside the writer, in a thread of its own. The log starts
 * over from its beginning when all of it is copied and nobody reads from it. As the writer keeps
 * adding to it, the thread copies what has come meanwhile until that is little, and leaves this last
 * part to the writer. A log that starts over is not only short: its blocks are on the disk already,
 * so that syncing it is cheaper.
 */
static void copy_rounds(struct sq_conn *c)
{
	int all = 0, copied = 0;

	for (int i = 0; i < 6; i++) {
		int before = copied;

		if (sqlite3_wal_checkpoint_v2(c->db, NULL, SQLITE_CHECKPOINT_PASSIVE, &all, &copied) != SQLITE_OK)
			break;
		/* A reader may keep us from going further. */
		if (all - copied < WAL_PAGES_LEFT || copied == before)
			break;
	}
}

static void *copy_log(void *arg)
{
	struct sq_writer *w = arg;
	struct sq_conn *c = NULL;

	pthread_mutex_lock(&w->copy_lock);
	for (;;) {
		while (!w->copy_wanted && !w->copy_stop)
			pthread_cond_wait(&w->copy, &w->copy_lock);
		if (w->copy_stop)
			break;
		w->copy_wanted = false;
		pthread_mutex_unlock(&w->copy_lock);
		/* Where this fails, the writer does it when the log has grown too long. */
		if (!c && sq_conn_open(w->s->path, SQ_CHECKPOINTER, w->s->timeout_ms, &c, NULL))
			c = NULL;
		if (c) {
			copy_rounds(c);
			w->copied = true;
		}
		pthread_mutex_lock(&w->copy_lock);
	}
	pthread_mutex_unlock(&w->copy_lock);
	sq_conn_close(c);
	return NULL;
}

static int count_pages(void *arg, sqlite3 *db, const char *name, int pages)
{
	struct sq_writer *w = arg;

	(void)db;
	(void)name;
	w->wal_pages = pages;
	return SQLITE_OK;
}

/* After a group. */
static void keep_log_short(struct sq_writer *w)
{
	if (w->wal_pages < WAL_PAGES || !w->g.c || w->g.c->broken) {
		w->copying = false;
		w->next_copy = 0;
		return;
	}
	if (!w->copying) {
		w->copied = false;
		w->copying = true;
		pthread_mutex_lock(&w->copy_lock);
		w->copy_wanted = true;
		pthread_cond_signal(&w->copy);
		pthread_mutex_unlock(&w->copy_lock);
	} else if ((w->copied || w->wal_pages >= WAL_PAGES_MAX) && w->wal_pages >= w->next_copy) {
		int all = 0, copied = 0;

		sqlite3_wal_checkpoint_v2(w->g.c->db, NULL, SQLITE_CHECKPOINT_PASSIVE, &all, &copied);
		/* If it does not start over with the next group, a reader was in the way: try again later. */
		w->next_copy = w->wal_pages + WAL_PAGES_LEFT;
	}
}

/* --- one group ------------------------------------------------------------------------------------------ */

static struct sq_job *take_job(struct sq_writer *w, int room, bool lazy_only)
{
	struct sq_job *j;

	pthread_mutex_lock(&w->lock);
	j = w->head;
	if (j && ((room < GROUP_COST && j->cost > room) || (lazy_only && !j->lazy)))
		j = NULL;
	if (j) {
		w->head = j->next;
		if (!w->head)
			w->tail = &w->head;
		j->next = NULL;
		j->state = SQ_JOB_TAKEN;
	}
	pthread_mutex_unlock(&w->lock);
	return j;
}

static enum err begin(struct sq_writer *w, bool lazy, struct error *e)
{
	if (w->g.c && w->g.c->broken) {
		sq_conn_close(w->g.c);
		w->g.c = NULL;
	}
	if (!w->g.c) {
		enum err err = sq_conn_open(w->s->path, SQ_WRITER, w->s->timeout_ms, &w->g.c, e);

		if (err)
			return err;
		sqlite3_wal_hook(w->g.c->db, count_pages, w);
		/* What is remembered was known through the old connection. */
		sq_book_end(w->g.book, false);
	}
	w->g.c->deadline = mono_us() + w->s->timeout_ms * 1000LL;
	/* Without the fsync a commit still survives the death of every process, only not a power cut. */
	int rc = lazy ? sq_run(sq_st(w->g.c, SQ_SYNC_NORMAL)) : SQLITE_DONE;

	if (rc == SQLITE_DONE)
		rc = sq_run(sq_st(w->g.c, SQ_BEGIN_WRITE));
	sq_counts_begin(w->g.counts);
	return rc == SQLITE_DONE ? OK : sq_fail(w->g.c, e, rc, "begin");
}

/* Give up the transaction. Nothing of it was changed. */
static void abandon(struct sq_writer *w)
{
	if (w->g.c && !sqlite3_get_autocommit(w->g.c->db) && sq_run(sq_st(w->g.c, SQ_ROLLBACK)) != SQLITE_DONE)
		w->g.c->broken = true;
	sq_book_end(w->g.book, false);
}

static enum err commit(struct sq_writer *w, struct error *e)
{
	enum err err = sq_counts_write(w->g.counts, w->g.c, e);

	if (err) {
		abandon(w);
		return err;
	}
	sqlite3_stmt *st = sq_st(w->g.c, SQ_COMMIT);

	sq_wal_hold(w->g.c);
	int rc = sq_run(st);

	sq_wal_drop(w->g.c);
	if (rc == SQLITE_DONE) {
		sq_book_end(w->g.book, true);
		return OK;
	}
	err = sq_fail(w->g.c, e, rc, "commit");
	/*
	 * A log that could not be written has no end mark, so nothing was changed. When it was written but
	 * not synced, a later reader of the log may still find the mark.
	 */
	bool unwritten = rc == SQLITE_FULL || rc == SQLITE_BUSY || rc == SQLITE_IOERR_WRITE;

	abandon(w);
	w->g.c->broken = true;
	return unwritten ? err : ERR_UNCERTAIN;
}

/*
 * Run jobs in one transaction: the list first, then what can be taken from the queue. On success the list
 * has all of them with their results. On failure: nothing was changed (or ERR_UNCERTAIN).
 */
static enum err run_group(struct sq_writer *w, struct sq_job **jobs, bool lazy, bool take_more, struct error *e)
{
	int64_t until = mono_us() + GROUP_US;
	struct sq_job **end = jobs;
	enum err err = begin(w, lazy, e);
	int room = GROUP_COST;

	while (!err) {
		if (!*end && take_more && room > 0 && mono_us() < until)
			*end = take_job(w, room, lazy);
		if (!*end)
			break;
		struct sq_job *j = *end;

		room -= j->cost;
		j->result = j->run(&w->g, j);
		if (j->result && j->result != ERR_CONFLICT) {
			err = j->result;
			if (e && j->error)
				memcpy(e->detail, j->error->detail, sizeof(e->detail));
		}
		end = &j->next;
	}
	if (err)
		abandon(w);
	else
		err = commit(w, e);
	if (lazy && w->g.c && sq_run(sq_st(w->g.c, SQ_SYNC_FULL)) != SQLITE_DONE)
		w->g.c->broken = true;
	arena_reset(&w->g.scratch);
	return err;
}

static void tell(struct sq_job *j, enum err result, const struct error *e)
{
	j->result = result;
	if (e && e->detail[0] && j->error)
		sq_error(j->error, result, "%s", e->detail);
	j->state = SQ_JOB_TOLD;		/* what was written above is seen by whoever sees this */
	sem_post(&j->done);
}

/* Each alone: what one of them ran into (a full disk, say) need not hit the others. */
static void run_apart(struct sq_writer *w, struct sq_job *jobs)
{
	while (jobs) {
		struct error e = { 0 };
		struct sq_job *j = jobs;

		jobs = j->next;
		j->next = NULL;
		struct sq_job *one = j;
		enum err err = run_group(w, &one, j->lazy, false, &e);

		tell(j, err ? err : j->result, err ? &e : NULL);
	}
}

static void tell_all(struct sq_job *jobs, enum err err, const struct error *e)
{
	while (jobs) {
		struct sq_job *j = jobs;

		/* Whoever is told may be gone with its job at once. */
		jobs = j->next;
		tell(j, err ? err : j->result, err ? e : NULL);
	}
}

/* Work on the queue once. The caller holds `busy` and the locks between processes. */
static void work_once(struct sq_writer *w)
{
	struct sq_job *jobs = take_job(w, GROUP_COST, false);
	struct error e = { 0 };

	if (!jobs)
		return;
	enum err err = run_group(w, &jobs, jobs->lazy, true, &e);

	if (err && err != ERR_UNCERTAIN && jobs->next)
		run_apart(w, jobs);
	else
		tell_all(jobs, err, &e);
}

/* --- who works ------------------------------------------------------------------------------------------ */

static void hand_over(struct sq_writer *w)
{
	w->handed = true;
	pthread_cond_signal(&w->work);
}

/* The caller holds busy and not the lock: run one group if the other processes let us at once. */
static void lead(struct sq_writer *w)
{
	bool got = sq_lock_try(w->lock_fd);

	if (got) {
		work_once(w);
		sq_lock_release(w->lock_fd);
		keep_log_short(w);
	}
	pthread_mutex_lock(&w->lock);
	if (w->head || !got) {
		hand_over(w);
	} else {
		w->busy = false;
		pthread_cond_signal(&w->idle);
	}
	pthread_mutex_unlock(&w->lock);
}

static void *work(void *arg)
{
	struct sq_writer *w = arg;

	pthread_mutex_lock(&w->lock);
	for (;;) {
		while (!w->handed && !w->stop)
			pthread_cond_wait(&w->work, &w->lock);
		if (!w->handed)
			break;
		while (w->head) {
			pthread_mutex_unlock(&w->lock);
			if (sq_lock_wait(w->lock_fd, &w->stop)) {
				work_once(w);
				sq_lock_release(w->lock_fd);
				keep_log_short(w);
			} else {
				usleep(10000);
			}
			pthread_mutex_lock(&w->lock);
		}
		w->handed = false;
		w->busy = false;
		pthread_cond_signal(&w->idle);
	}
	pthread_mutex_unlock(&w->lock);
	w->ended = true;
	return NULL;
}

/* Take the job out of the queue; false when it has been taken to be run. */
static bool withdraw(struct sq_writer *w, struct sq_job *job)
{
	bool out = false;

	pthread_mutex_lock(&w->lock);
	if (job->state == SQ_JOB_QUEUED) {
		struct sq_job **p = &w->head;

		while (*p != job)
			p = &(*p)->next;
		*p = job->next;
		if (w->tail == &job->next)
			w->tail = p;
		out = true;
	}
	pthread_mutex_unlock(&w->lock);
	return out;
}

static bool wait_done(struct sq_writer *w, struct sq_job *job)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += w->s->timeout_ms / 1000;
	until.tv_nsec += w->s->timeout_ms % 1000 * 1000000L;
	if (until.tv_nsec >= 1000000000L) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000L;
	}
	while (sem_clockwait(&job->done, CLOCK_MONOTONIC, &until)) {
		if (errno == ETIMEDOUT) {
			if (withdraw(w, job))
				return false;
			/* It is running: how it ends will be known. */
			while (sem_wait(&job->done))
				;
			return true;
		}
	}
	return true;
}

enum err sq_submit(struct sqlite_store *s, struct sq_job *job)
{
	struct sq_writer *w = s->writer;
	bool leader;

	job->state = SQ_JOB_QUEUED;
	job->next = NULL;
	sem_init(&job->done, 0, 0);
	pthread_mutex_lock(&w->lock);
	*w->tail = job;
	w->tail = &job->next;
	leader = !w->busy;
	if (leader)
		w->busy = true;
	pthread_mutex_unlock(&w->lock);
	if (leader)
		lead(w);
	bool done = wait_done(w, job);

	sem_destroy(&job->done);
	if (done && job->state == SQ_JOB_TOLD)
		return job->result;
	return sq_error(job->error, ERR_UNAVAILABLE, "sqlite: no turn to write within %d ms", s->timeout_ms);
}

/* --- undoing a part of the group -------------------------------------------------------------------------- */

enum err sq_undo_mark(struct sq_group *g, struct error *e)
{
	int rc = sq_run(sq_st(g->c, SQ_SAVEPOINT));

	sq_counts_mark(g->counts);
	return rc == SQLITE_DONE ? OK : sq_fail(g->c, e, rc, "savepoint");
}

enum err sq_undo_back(struct sq_group *g, struct error *e)
{
	int rc = sq_run(sq_st(g->c, SQ_SAVEPOINT_BACK));

	sq_counts_back(g->counts);
	sq_book_undo(g->book);
	return rc == SQLITE_DONE ? sq_undo_release(g, e) : sq_fail(g->c, e, rc, "rollback to savepoint");
}

enum err sq_undo_release(struct sq_group *g, struct error *e)
{
	int rc = sq_run(sq_st(g->c, SQ_SAVEPOINT_RELEASE));

	return rc == SQLITE_DONE ? OK : sq_fail(g->c, e, rc, "release savepoint");
}

/* --- life --------------------------------------------------------------------------------------------------- */

static enum err set_up(struct sq_writer *w, struct error *e)
{
	enum err err;

	if (!sq_lock_wait(w->lock_fd, NULL))
		return sq_error(e, ERR_UNAVAILABLE, "sqlite: cannot lock %s-turn: %s", w->s->path,
				strerrordesc_np(errno));
	err = sq_conn_open(w->s->path, SQ_WRITER, w->s->timeout_ms, &w->g.c, e);
	if (!err)
		err = sq_migrate(w->g.c, e);
	sq_lock_release(w->lock_fd);
	if (!err)
		sqlite3_wal_hook(w->g.c->db, count_pages, w);
	return err;
}

static void release(struct sq_writer *w)
{
	sq_conn_close(w->g.c);
	sq_counts_free(w->g.counts);
	sq_book_free(w->g.book);
	arena_release(&w->g.scratch);
	if (w->lock_fd >= 0)
		close(w->lock_fd);
	pthread_mutex_destroy(&w->lock);
	pthread_mutex_destroy(&w->copy_lock);
	pthread_cond_destroy(&w->work);
	pthread_cond_destroy(&w->idle);
	pthread_cond_destroy(&w->copy);
	free(w);
}

static void stop_copier(struct sq_writer *w)
{
	pthread_mutex_lock(&w->copy_lock);
	w->copy_stop = true;
	pthread_cond_signal(&w->copy);
	pthread_mutex_unlock(&w->copy_lock);
	pthread_join(w->copier, NULL);
}

enum err sq_writer_new(struct sqlite_store *s, struct sq_writer **out, struct error *e)
{
	struct sq_writer *w = xcalloc(1, sizeof(*w));
	enum err err;

	*out = NULL;
	w->s = s;
	w->tail = &w->head;
	pthread_mutex_init(&w->lock, NULL);
	pthread_mutex_init(&w->copy_lock, NULL);
	pthread_cond_init(&w->work, NULL);
	pthread_cond_init(&w->idle, NULL);
	pthread_cond_init(&w->copy, NULL);
	arena_init(&w->g.scratch);
	w->g.counts = sq_counts_new();
	w->g.book = sq_book_new();
	w->lock_fd = sq_lock_open(s->path);
	if (w->lock_fd < 0)
		err = sq_error(e, ERR_UNAVAILABLE, "sqlite: cannot open %s-turn: %s", s->path,
			       strerrordesc_np(errno));
	else
		err = set_up(w, e);
	if (!err && pthread_create(&w->copier, NULL, copy_log, w))
		err = sq_error(e, ERR_UNAVAILABLE, "sqlite: no thread for the log");
	if (!err && pthread_create(&w->thread, NULL, work, w)) {
		stop_copier(w);
		err = sq_error(e, ERR_UNAVAILABLE, "sqlite: no thread to write");
	}
	if (err)
		release(w);
	else
		*out = w;
	return err;
}

static void wake(int sig)
{
	(void)sig;
}

/*
 * End the thread. It may be waiting for another process that keeps its turn for ever (one that was
 * stopped, say), with nothing in hand: a signal without SA_RESTART gets it out of there.
 */
static void stop_thread(struct sq_writer *w)
{
	struct sigaction act = { .sa_handler = wake }, old;

	pthread_mutex_lock(&w->lock);
	w->stop = true;
	pthread_cond_signal(&w->work);
	bool stuck = w->busy;

	pthread_mutex_unlock(&w->lock);
	if (stuck) {
		sigaction(SIGURG, &act, &old);
		while (!w->ended) {
			pthread_kill(w->thread, SIGURG);
			usleep(1000);
		}
		sigaction(SIGURG, &old, NULL);
	}
	pthread_join(w->thread, NULL);
}

void sq_writer_free(struct sq_writer *w)
{
	struct timespec until;

	if (!w)
		return;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += w->s->timeout_ms / 1000 + 1;
	pthread_mutex_lock(&w->lock);
	while (w->busy && pthread_cond_timedwait(&w->idle, &w->lock, &until) != ETIMEDOUT)
		;
	pthread_mutex_unlock(&w->lock);
	stop_thread(w);
	stop_copier(w);
	release(w);
}
