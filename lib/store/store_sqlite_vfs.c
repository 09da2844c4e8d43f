// SPDX-License-Identifier: MIT
/*
 * A thin layer over SQLite's own way to files: the pages of one COMMIT go to the log in one write.
 *
 * SQLite writes each page of the log by two system calls, header and page, some fifty pages in a
 * group. While a COMMIT runs (sq_wal_hold() … sq_wal_drop()) what is added to the end of the log is
 * gathered here, and written when the frame that ends the transaction is complete, or earlier when
 * SQLite syncs or looks at the file. So the buffer holds something only inside COMMIT, while the
 * write lock is held; all else passes through. A write that fails is reported by the call that
 * flushes, which is before anybody can see the transaction. A COMMIT that needs no fsync has no other
 * such call: the write of its last page must flush, whichever way the header of it was written.
 */
#include "store_sqlite.h"

#define VFS_NAME "mcp-wal"
#define FRAME_HEADER 24
#define BUFFER_MAX ((size_t)4 << 20)	/* a longer transaction is written in parts */
#define BUFFER_KEEP ((size_t)512 << 10)
#define WRITE_MAX ((size_t)124 << 10)	/* SQLite's unix VFS takes fewer than 128 KiB at a time */

struct wal_file {
	sqlite3_file base;	/* first */
	char *buf;		/* what belongs at [start, start + n) of the file */
	size_t n, cap;
	sqlite3_int64 start;
	bool holding, durable;	/* durable: this COMMIT syncs */
	bool ending;		/* the header of the frame that ends the transaction was written */
	sqlite3_file real[];
};

static sqlite3_vfs vfs, *below;

static sqlite3_file *real_of(sqlite3_file *f)
{
	return ((struct wal_file *)f)->real;
}

static int flush(struct wal_file *w)
{
	int rc = SQLITE_OK;

	for (size_t at = 0; at < w->n && rc == SQLITE_OK; at += WRITE_MAX) {
		size_t n = w->n - at < WRITE_MAX ? w->n - at : WRITE_MAX;

		rc = w->real->pMethods->xWrite(w->real, w->buf + at, (int)n, w->start + (sqlite3_int64)at);
	}
	if (w->n) {
		/* Written or not, it is not kept: SQLite gives up the transaction when this fails. */
		w->n = 0;
		if (w->cap > BUFFER_KEEP) {
			free(w->buf);
			w->buf = NULL;
			w->cap = 0;
		}
	}
	return rc;
}

static void append(struct wal_file *w, const void *p, size_t n, sqlite3_int64 at)
{
	if (!w->n)
		w->start = at;
	if (w->n + n > w->cap) {
		w->cap = w->cap ? w->cap * 2 : BUFFER_KEEP / 2;
		while (w->cap < w->n + n)
			w->cap *= 2;
		w->buf = xrealloc(w->buf, w->cap);
	}
	memcpy(w->buf + w->n, p, n);
	w->n += n;
}

/* Bytes 4–7 of a frame's header are the size of the database after it, if it ends a transaction. */
static bool ends_transaction(const void *p, int n)
{
	static const char none[4];

	return n == FRAME_HEADER && memcmp((const char *)p + 4, none, 4) != 0;
}

static int wal_write(sqlite3_file *f, const void *p, int n, sqlite3_int64 at)
{
	struct wal_file *w = (struct wal_file *)f;
	bool follows = !w->n || at == w->start + (sqlite3_int64)w->n;
	bool gather = w->holding && follows && w->n + (size_t)n <= BUFFER_MAX;
	int rc = SQLITE_OK;

	if (gather)
		append(w, p, (size_t)n, at);
	if (!gather || w->ending)	/* ending: this is the last frame's page, or comes after it */
		rc = flush(w);
	if (!gather && rc == SQLITE_OK)
		rc = w->real->pMethods->xWrite(w->real, p, n, at);
	if (w->holding && ends_transaction(p, n))
		w->ending = true;
	return rc;
}

static int wal_read(sqlite3_file *f, void *p, int n, sqlite3_int64 at)
{
	int rc = flush((struct wal_file *)f);

	return rc == SQLITE_OK ? real_of(f)->pMethods->xRead(real_of(f), p, n, at) : rc;
}

static int wal_truncate(sqlite3_file *f, sqlite3_int64 size)
{
	int rc = flush((struct wal_file *)f);

	return rc == SQLITE_OK ? real_of(f)->pMethods->xTruncate(real_of(f), size) : rc;
}

/* Of a COMMIT that need not be durable only the last sync is left out; the one after the log's own header stays. */
static int wal_sync(sqlite3_file *f, int flags)
{
	struct wal_file *w = (struct wal_file *)f;
	int rc = flush(w);

	if (rc != SQLITE_OK || (w->holding && w->ending && !w->durable))
		return rc;
	return w->real->pMethods->xSync(w->real, flags);
}

static int wal_size(sqlite3_file *f, sqlite3_int64 *size)
{
	int rc = flush((struct wal_file *)f);

	return rc == SQLITE_OK ? real_of(f)->pMethods->xFileSize(real_of(f), size) : rc;
}

static int wal_close(sqlite3_file *f)
{
	struct wal_file *w = (struct wal_file *)f;

	free(w->buf);
	return w->real->pMethods->xClose(w->real);
}

static int wal_lock(sqlite3_file *f, int level)
{
	return real_of(f)->pMethods->xLock(real_of(f), level);
}

static int wal_unlock(sqlite3_file *f, int level)
{
	return real_of(f)->pMethods->xUnlock(real_of(f), level);
}

static int wal_reserved(sqlite3_file *f, int *out)
{
	return real_of(f)->pMethods->xCheckReservedLock(real_of(f), out);
}

static int wal_control(sqlite3_file *f, int op, void *arg)
{
	return real_of(f)->pMethods->xFileControl(real_of(f), op, arg);
}

static int wal_sector(sqlite3_file *f)
{
	return real_of(f)->pMethods->xSectorSize(real_of(f));
}

static int wal_traits(sqlite3_file *f)
{
	return real_of(f)->pMethods->xDeviceCharacteristics(real_of(f));
}

static const sqlite3_io_methods wal_methods = {
	.iVersion = 1,
	.xClose = wal_close,
	.xRead = wal_read,
	.xWrite = wal_write,
	.xTruncate = wal_truncate,
	.xSync = wal_sync,
	.xFileSize = wal_size,
	.xLock = wal_lock,
	.xUnlock = wal_unlock,
	.xCheckReservedLock = wal_reserved,
	.xFileControl = wal_control,
	.xSectorSize = wal_sector,
	.xDeviceCharacteristics = wal_traits,
};

static int vfs_open(sqlite3_vfs *v, sqlite3_filename name, sqlite3_file *f, int flags, int *out_flags)
{
	struct wal_file *w = (struct wal_file *)f;

	(void)v;
	if (!(flags & SQLITE_OPEN_WAL))
		return below->xOpen(below, name, f, flags, out_flags);
	*w = (struct wal_file){ .base.pMethods = NULL };
	w->real->pMethods = NULL;
	int rc = below->xOpen(below, name, w->real, flags, out_flags);

	/* Whatever of it was opened is closed through us. */
	if (w->real->pMethods)
		w->base.pMethods = &wal_methods;
	return rc;
}

const char *sq_vfs(void)
{
	return VFS_NAME;
}

int sq_vfs_register(void)
{
	below = sqlite3_vfs_find(NULL);
	if (!below)
		return SQLITE_ERROR;
	vfs = *below;
	vfs.zName = VFS_NAME;
	vfs.szOsFile = (int)sizeof(struct wal_file) + below->szOsFile;
	vfs.pNext = NULL;
	vfs.xOpen = vfs_open;
	return sqlite3_vfs_register(&vfs, 0);
}

static struct wal_file *wal_of(struct sq_conn *c)
{
	sqlite3_file *f = NULL;

	if (sqlite3_file_control(c->db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &f) != SQLITE_OK || !f ||
	    f->pMethods != &wal_methods)
		return NULL;
	return (struct wal_file *)f;
}

void sq_wal_hold(struct sq_conn *c, bool durable)
{
	struct wal_file *w = wal_of(c);

	if (w) {
		w->holding = true;
		w->durable = durable;
		w->ending = false;
	}
}

int sq_wal_drop(struct sq_conn *c, int rc)
{
	struct wal_file *w = wal_of(c);

	if (!w)
		return rc;
	w->holding = false;
	if (rc != SQLITE_DONE) {
		w->n = 0;
		return rc;
	}
	/* Nothing is left when all is well. What is gets written all the same: others believe in that page by now. */
	return flush(w) == SQLITE_OK ? rc : SQLITE_IOERR;
}
