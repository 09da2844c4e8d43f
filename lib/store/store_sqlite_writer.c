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
	int wal_pages;			/* length of the log */
	struct sq_copier *copier;
};

static int count_pages(void *arg, sqlite3 *db, const char *name, int pages)
{
	struct sq_writer *w = arg;

	(void)db;
	(void)name;
	w->wal_pages = pages;
	return SQLITE_OK;
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

static enum err begin(struct sq_writer *w, struct error *e)
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
	int rc = sq_run(sq_st(w->g.c, SQ_BEGIN_WRITE));

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

static enum err commit(struct sq_writer *w, bool lazy, struct error *e)
{
	enum err err = sq_counts_write(w->g.counts, w->g.c, e);

	if (err) {
		abandon(w);
		return err;
	}
	sqlite3_stmt *st = sq_st(w->g.c, SQ_COMMIT);

	sq_wal_hold(w->g.c, !lazy);
	int rc = sq_wal_drop(w->g.c, sq_run(st));

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
	enum err err = begin(w, e);
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
		err = commit(w, lazy, e);
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

static void run_jobs(struct sq_writer *w, struct sq_job *jobs)
{
	struct error e = { 0 };
	enum err err = run_group(w, &jobs, jobs->lazy, true, &e);

	if ((err == ERR_DISK_FULL || err == ERR_INTERNAL) && jobs->next)
		run_apart(w, jobs);
	else
		tell_all(jobs, err, &e);
}

/* Work on the queue once. The caller holds `busy` and the locks between processes. */
static void work_once(struct sq_writer *w)
{
	struct sq_job *jobs = take_job(w, GROUP_COST, false);

	if (jobs)
		run_jobs(w, jobs);
	if (jobs && w->g.c && !w->g.c->broken)
		sq_copier_check(w->copier, w->g.c, w->wal_pages);
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
	sq_copier_free(w->copier);
	sq_conn_close(w->g.c);
	sq_counts_free(w->g.counts);
	sq_book_free(w->g.book);
	arena_release(&w->g.scratch);
	if (w->lock_fd >= 0)
		close(w->lock_fd);
	pthread_mutex_destroy(&w->lock);
	pthread_cond_destroy(&w->work);
	pthread_cond_destroy(&w->idle);
	free(w);
}

enum err sq_writer_new(struct sqlite_store *s, struct sq_writer **out, struct error *e)
{
	struct sq_writer *w = xcalloc(1, sizeof(*w));
	enum err err;

	*out = NULL;
	w->s = s;
	w->tail = &w->head;
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->work, NULL);
	pthread_cond_init(&w->idle, NULL);
	arena_init(&w->g.scratch);
	w->g.counts = sq_counts_new();
	w->g.book = sq_book_new();
	w->lock_fd = sq_lock_open(s->path);
	if (w->lock_fd < 0)
		err = sq_error(e, ERR_UNAVAILABLE, "sqlite: cannot open %s-turn: %s", s->path,
			       strerrordesc_np(errno));
	else
		err = set_up(w, e);
	if (!err)
		err = sq_copier_new(s->path, s->timeout_ms, &w->copier, e);
	if (!err && pthread_create(&w->thread, NULL, work, w))
		err = sq_error(e, ERR_UNAVAILABLE, "sqlite: no thread to write");
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
	release(w);
}
