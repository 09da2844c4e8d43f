// SPDX-License-Identifier: MIT
/*
 * Keeping the log short. Copying it into the file goes on beside the writer, in a thread of its own.
 * The log starts over from its beginning when all of it is copied and nobody reads from it. As the
 * writer keeps adding to it, the thread copies what has come meanwhile until that is little, and
 * leaves this last part to the writer. A log that starts over is not only short: its blocks are on
 * the disk already, so that syncing it is cheaper.
 *
 * The log never starts over while it is being copied. SQLite before 3.51.3 can lose pages when it does
 * (its "WAL-reset bug"), and Debian 12 has 3.40. So the thread reads from the log while it copies, which
 * holds off a new beginning, and the writer copies while it has the turn, so that nobody else writes.
 * Of several processes one copies at a time, its sync included, and the others find little left: what is
 * left to the writer while it has the turn is never the bulk.
 */
#include "store_sqlite.h"

#include <unistd.h>

#include "../base/clock.h"

#define PAGES 4000		/* copy from this length on … */
#define PAGES_LEFT 300		/* … until about this much is left to the writer */
#define PAGES_MAX 20000		/* the writer does it all when the log has grown this long */

#define TRIES 100		/* while another process copies … */
#define TRY_US 50000		/* … so long between two */

struct sq_copier {
	const char *path;
	int lock_fd;
	int timeout_ms;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool wanted;
	atomic_bool stop;
	atomic_bool done;	/* the thread did what it could */
	/* the writer's */
	bool asked;		/* the thread was, for this turn of the log */
	int next;		/* length at which the writer copies again */
};

/*
 * SQLite syncs the file only when all of the log is copied. Doing it after each round spares the
 * writer the wait for what the rounds have written.
 */
static void sync_file(struct sq_conn *c)
{
	sqlite3_file *f = NULL;

	if (sqlite3_file_control(c->db, "main", SQLITE_FCNTL_FILE_POINTER, &f) == SQLITE_OK && f && f->pMethods)
		f->pMethods->xSync(f, SQLITE_SYNC_NORMAL | SQLITE_SYNC_DATAONLY);
}

/* One round: c copies, reader holds the log as it is meanwhile. */
static bool copy_round(struct sq_conn *c, struct sq_conn *reader, int *copied)
{
	/* Reading begins with the first statement, not with BEGIN. */
	bool held = sq_snapshot(reader, NULL) == OK && sq_run(sq_st(reader, SQ_PING)) == SQLITE_DONE;
	bool ok = held && sqlite3_wal_checkpoint_v2(c->db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, copied) == SQLITE_OK;

	if (sq_run(sq_st(reader, SQ_ROLLBACK)) != SQLITE_DONE)
		reader->broken = true;
	if (ok)
		sync_file(c);
	return ok && !reader->broken;
}

/* False: it could not be done just now. */
static bool copy_rounds(struct sq_conn *c, struct sq_conn *reader)
{
	int copied = 0, before;

	for (int i = 0; i < 6; i++) {
		before = copied;
		if (!copy_round(c, reader, &copied))
			return false;
		/* What this round copied had come during the one before; so much will have come during this one. */
		if (copied - before < PAGES_LEFT)
			break;
	}
	return true;
}

static bool open_both(struct sq_copier *k, struct sq_conn *conn[2])
{
	static const enum sq_role role[2] = { SQ_CHECKPOINTER, SQ_READER };

	for (int i = 0; i < 2; i++) {
		if (conn[i] && conn[i]->broken) {
			sq_conn_close(conn[i]);
			conn[i] = NULL;
		}
		if (!conn[i] && sq_conn_open(k->path, role[i], k->timeout_ms, &conn[i], NULL))
			return false;
		conn[i]->deadline = mono_us() + k->timeout_ms * 1000LL;
	}
	return true;
}

static bool copy_alone(struct sq_copier *k, struct sq_conn *conn[2])
{
	bool copied = false;

	if (!sq_lock_copier(k->lock_fd, true))
		return false;
	if (open_both(k, conn))
		copied = copy_rounds(conn[0], conn[1]);
	sq_lock_copier(k->lock_fd, false);
	return copied;
}

static void *copy_log(void *arg)
{
	struct sq_copier *k = arg;
	struct sq_conn *conn[2] = { NULL, NULL };

	pthread_mutex_lock(&k->lock);
	for (;;) {
		while (!k->wanted && !k->stop)
			pthread_cond_wait(&k->wake, &k->lock);
		if (k->stop)
			break;
		k->wanted = false;
		pthread_mutex_unlock(&k->lock);
		/* Where this fails, the writer does it when the log has grown too long. */
		for (int i = 0; i < TRIES && !k->stop && !copy_alone(k, conn); i++)
			usleep(TRY_US);
		k->done = true;
		pthread_mutex_lock(&k->lock);
	}
	pthread_mutex_unlock(&k->lock);
	sq_conn_close(conn[0]);
	sq_conn_close(conn[1]);
	return NULL;
}

void sq_copier_check(struct sq_copier *k, struct sq_conn *c, int wal_pages)
{
	if (wal_pages < PAGES) {
		k->asked = false;
		k->next = 0;
	} else if (!k->asked) {
		k->asked = true;
		k->done = false;
		pthread_mutex_lock(&k->lock);
		k->wanted = true;
		pthread_cond_signal(&k->wake);
		pthread_mutex_unlock(&k->lock);
	} else if ((k->done || wal_pages >= PAGES_MAX) && wal_pages >= k->next) {
		/* If the log does not start over with the next group, a reader was in the way: try again later. */
		sqlite3_wal_checkpoint_v2(c->db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
		k->next = wal_pages + PAGES_LEFT;
	}
}

static void release(struct sq_copier *k)
{
	if (k->lock_fd >= 0)
		close(k->lock_fd);
	pthread_mutex_destroy(&k->lock);
	pthread_cond_destroy(&k->wake);
	free(k);
}

enum err sq_copier_new(const char *path, int timeout_ms, struct sq_copier **out, struct error *e)
{
	struct sq_copier *k = xcalloc(1, sizeof(*k));

	k->path = path;
	k->lock_fd = sq_lock_open(path);
	k->timeout_ms = timeout_ms;
	pthread_mutex_init(&k->lock, NULL);
	pthread_cond_init(&k->wake, NULL);
	*out = NULL;
	if (k->lock_fd < 0 || pthread_create(&k->thread, NULL, copy_log, k)) {
		release(k);
		return sq_error(e, ERR_UNAVAILABLE, "sqlite: no thread for the log, or no file to lock");
	}
	*out = k;
	return OK;
}

void sq_copier_free(struct sq_copier *k)
{
	if (!k)
		return;
	pthread_mutex_lock(&k->lock);
	k->stop = true;
	pthread_cond_signal(&k->wake);
	pthread_mutex_unlock(&k->lock);
	pthread_join(k->thread, NULL);
	release(k);
}
