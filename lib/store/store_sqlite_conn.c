// SPDX-License-Identifier: MIT
/* Connections to the database file: opening, statements, errors, the pool of readers. */
#include "store_sqlite.h"

#include <errno.h>
#include <unistd.h>

#include "../base/clock.h"
#include "../base/hash.h"

static const char *const fixed_sql[SQ_COUNT] = {
#define X(name, sql) [name] = sql,
#include "store_sqlite.def"
#undef X
};

static const char *const tables[REC_KIND_COUNT] = {
#define X(kind, table, uniq, a, b, c, d, e) [kind] = table,
	RECORD_KINDS(X)
#undef X
};

/* %s is the table. */
static const char *const rec_sql[SQR_COUNT] = {
	[SQR_GET] = "SELECT id,rev,s1,s2,s3,n1,n2,body FROM %s WHERE id=?",
	[SQR_BY_S1] = "SELECT id,rev,s1,s2,s3,n1,n2,body FROM %s WHERE s1=? AND s1<>'' ORDER BY id LIMIT 1",
	[SQR_REV] = "SELECT rev FROM %s WHERE id=?",
	[SQR_INSERT] = "INSERT INTO %s(id,rev,s1,s2,s3,n1,n2,body) VALUES(?,?,?,?,?,?,?,?)",
	[SQR_UPDATE] = "UPDATE %s SET rev=?2,s1=?3,s2=?4,s3=?5,n1=?6,n2=?7,body=?8 WHERE id=?1",
	[SQR_DELETE] = "DELETE FROM %s WHERE id=?",
	[SQR_PURGE] = "DELETE FROM %1$s WHERE id IN (SELECT id FROM %1$s WHERE n1>0 AND n1<?1 ORDER BY n1 LIMIT ?2)",
};

const char *sq_rec_table(enum record_kind kind)
{
	return tables[kind];
}

/* --- errors -------------------------------------------------------------------------------------- */

enum err sq_error(struct error *e, enum err code, const char *fmt, ...)
{
	char text[200];
	va_list ap;

	if (!e)
		return code;
	va_start(ap, fmt);
	if (vsnprintf(text, sizeof(text), fmt, ap) < 0)
		text[0] = '\0';
	va_end(ap);
	return error_set(e, code, "%s", text);
}

static enum err code_of(int rc, int sys)
{
	switch (rc & 0xff) {
	case SQLITE_FULL:
		return ERR_DISK_FULL;
	case SQLITE_IOERR:
		/* A quota or a size limit is a full disk to whoever has to act on it. */
		return sys == ENOSPC || sys == EDQUOT || sys == EFBIG ? ERR_DISK_FULL : ERR_UNAVAILABLE;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
	case SQLITE_CANTOPEN:
	case SQLITE_PERM:
	case SQLITE_READONLY:
	case SQLITE_NOTADB:
	case SQLITE_CORRUPT:
	case SQLITE_PROTOCOL:
		return ERR_UNAVAILABLE;
	case SQLITE_INTERRUPT:
		return ERR_TIMEOUT;
	default:
		return ERR_INTERNAL;
	}
}

enum err sq_fail(struct sq_conn *c, struct error *e, int rc, const char *what)
{
	int sys = errno;

	if (rc == SQLITE_MISUSE && c->prepare_rc != SQLITE_OK) {
		/* The statement was never prepared: report that. */
		rc = c->prepare_rc;
		c->prepare_rc = SQLITE_OK;
	}
	switch (rc & 0xff) {
	case SQLITE_IOERR:
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
	case SQLITE_CANTOPEN:
	case SQLITE_MISUSE:
	case SQLITE_PROTOCOL:
	case SQLITE_READONLY:
		c->broken = true;
	}
	/* SQLite notes the cause of what fails in a statement, but not in its COMMIT. */
	if ((rc & 0xff) != SQLITE_IOERR && (rc & 0xff) != SQLITE_CANTOPEN)
		sys = 0;
	else if (c->db && sqlite3_system_errno(c->db))
		sys = sqlite3_system_errno(c->db);
	const char *msg = c->db ? sqlite3_errmsg(c->db) : sqlite3_errstr(rc);

	return sq_error(e, code_of(rc, sys), "sqlite: %s: %s (%d%s%s)", what, msg, rc, sys ? ", " : "",
			sys ? strerrordesc_np(sys) : "");
}

/* --- statements ---------------------------------------------------------------------------------- */

static sqlite3_stmt *prepare(struct sq_conn *c, const char *sql)
{
	sqlite3_stmt *st = NULL;
	int rc = sqlite3_prepare_v3(c->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &st, NULL);

	if (rc != SQLITE_OK) {
		c->prepare_rc = rc;
		return NULL;
	}
	return st;
}

sqlite3_stmt *sq_st(struct sq_conn *c, enum sq_stmt which)
{
	sqlite3_stmt **st = &c->fixed[which];

	if (*st)
		sqlite3_reset(*st);
	else
		*st = prepare(c, fixed_sql[which]);
	return *st;
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
sqlite3_stmt *sq_rec_st(struct sq_conn *c, enum record_kind kind, enum sq_rec_stmt which)
{
	sqlite3_stmt **st = &c->rec[kind][which];
	char sql[256];

	if (*st) {
		sqlite3_reset(*st);
		return *st;
	}
	/* The formats are the constants above. */
	snprintf(sql, sizeof(sql), rec_sql[which], tables[kind]);
	*st = prepare(c, sql);
	return *st;
}
#pragma GCC diagnostic pop

sqlite3_stmt *sq_cached(struct sq_conn *c, const char *sql)
{
	uint64_t hash = hash_add(HASH_START, sql, strlen(sql));
	int oldest = 0;

	c->clock++;
	for (int i = 0; i < SQ_CACHED; i++) {
		if (!c->cached[i].sql) {
			oldest = i;
			break;
		}
		if (c->cached[i].hash == hash && !strcmp(c->cached[i].sql, sql)) {
			c->cached[i].used = c->clock;
			sqlite3_reset(c->cached[i].st);
			sqlite3_clear_bindings(c->cached[i].st);
			return c->cached[i].st;
		}
		if (c->cached[i].used < c->cached[oldest].used)
			oldest = i;
	}
	sqlite3_finalize(c->cached[oldest].st);
	free(c->cached[oldest].sql);
	c->cached[oldest].sql = NULL;
	c->cached[oldest].st = prepare(c, sql);
	if (c->cached[oldest].st) {
		c->cached[oldest].sql = xstrdup(sql);
		c->cached[oldest].hash = hash;
		c->cached[oldest].used = c->clock;
	}
	return c->cached[oldest].st;
}

int sq_run(sqlite3_stmt *st)
{
	errno = 0;
	int rc = sqlite3_step(st);

	while (rc == SQLITE_ROW)
		rc = sqlite3_step(st);
	sqlite3_reset(st);
	return rc;
}

/* --- connections --------------------------------------------------------------------------------- */

static int library_rc = SQLITE_ERROR;

static void configure_library(void)
{
	/* Each connection has one user at a time, and nobody asks for memory statistics: no locks for either. */
	sqlite3_config(SQLITE_CONFIG_MULTITHREAD);
	sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
	if (sqlite3_initialize() == SQLITE_OK)
		library_rc = sq_vfs_register();
}

/* Other processes' locks are held for a moment only; whoever waits looks again soon. */
static int busy(void *arg, int tries)
{
	struct sq_conn *c = arg;

	(void)tries;
	if (mono_us() >= c->deadline)
		return 0;
	usleep(150);
	return 1;
}

static int interrupt_late(void *arg)
{
	struct sq_conn *c = arg;

	return c->deadline && mono_us() >= c->deadline;
}

static const char *const pragmas[] = {
	[SQ_READER] = "PRAGMA query_only=1; PRAGMA cache_size=-256;",
	[SQ_WRITER] = ("PRAGMA synchronous=FULL; PRAGMA cache_size=-8192; PRAGMA wal_autocheckpoint=0;"
		       "PRAGMA secure_delete=FAST; PRAGMA temp_store=MEMORY; PRAGMA journal_size_limit=67108864;"),
	[SQ_CHECKPOINTER] = "PRAGMA synchronous=FULL; PRAGMA cache_size=-64; PRAGMA wal_autocheckpoint=0;",
};

enum err sq_conn_open(const char *path, enum sq_role role, int timeout_ms, struct sq_conn **out, struct error *e)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct sq_conn *c = xcalloc(1, sizeof(*c));
	int rc;

	pthread_once(&once, configure_library);
	*out = NULL;
	c->deadline = mono_us() + timeout_ms * 1000LL;
	rc = library_rc;
	if (rc == SQLITE_OK)
		rc = sqlite3_open_v2(path, &c->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX,
				     role == SQ_WRITER ? sq_vfs() : NULL);
	if (rc == SQLITE_OK) {
		sqlite3_extended_result_codes(c->db, 1);
		sqlite3_busy_handler(c->db, busy, c);
		rc = sqlite3_exec(c->db, pragmas[role], NULL, NULL, NULL);
	}
	if (rc != SQLITE_OK) {
		enum err err = sq_fail(c, e, rc, path);

		sq_conn_close(c);
		return err;
	}
	if (role == SQ_READER)
		sqlite3_progress_handler(c->db, 5000, interrupt_late, c);
	*out = c;
	return OK;
}

void sq_conn_close(struct sq_conn *c)
{
	if (!c)
		return;
	for (int i = 0; i < SQ_COUNT; i++)
		sqlite3_finalize(c->fixed[i]);
	for (int i = 0; i < REC_KIND_COUNT; i++)
		for (int j = 0; j < SQR_COUNT; j++)
			sqlite3_finalize(c->rec[i][j]);
	for (int i = 0; i < SQ_CACHED; i++) {
		sqlite3_finalize(c->cached[i].st);
		free(c->cached[i].sql);
	}
	for (int i = 0; i < SQ_UPDATES; i++)
		sqlite3_finalize(c->update[i].st);
	sqlite3_close(c->db);
	free(c);
}

/* --- the pool of readers ------------------------------------------------------------------------- */

static bool pool_wait(struct sqlite_store *s)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += s->timeout_ms / 1000;
	until.tv_nsec += s->timeout_ms % 1000 * 1000000L;
	if (until.tv_nsec >= 1000000000L) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000L;
	}
	while (!s->pool.idle && s->pool.open >= s->pool.max) {
		if (pthread_cond_timedwait(&s->pool.freed, &s->pool.lock, &until) == ETIMEDOUT)
			return s->pool.idle || s->pool.open < s->pool.max;
	}
	return true;
}

enum err sq_read_begin(struct sqlite_store *s, struct sq_conn **out, struct error *e)
{
	struct sq_conn *c;

	*out = NULL;
	pthread_mutex_lock(&s->pool.lock);
	if (!pool_wait(s)) {
		pthread_mutex_unlock(&s->pool.lock);
		return sq_error(e, ERR_UNAVAILABLE, "sqlite: all %d reading connections are busy", s->pool.max);
	}
	c = s->pool.idle;
	if (c)
		s->pool.idle = c->next;
	else
		s->pool.open++;
	pthread_mutex_unlock(&s->pool.lock);
	if (!c) {
		enum err err = sq_conn_open(s->path, SQ_READER, s->timeout_ms, &c, e);

		if (err) {
			pthread_mutex_lock(&s->pool.lock);
			s->pool.open--;
			pthread_cond_signal(&s->pool.freed);
			pthread_mutex_unlock(&s->pool.lock);
			return err;
		}
	}
	c->deadline = mono_us() + s->timeout_ms * 1000LL;
	*out = c;
	return OK;
}

void sq_read_end(struct sqlite_store *s, struct sq_conn *c)
{
	if (!sqlite3_get_autocommit(c->db) && sq_run(sq_st(c, SQ_COMMIT)) != SQLITE_DONE) {
		sq_run(sq_st(c, SQ_ROLLBACK));
		c->broken = true;
	}
	if (c->broken) {
		sq_conn_close(c);
		c = NULL;
	}
	pthread_mutex_lock(&s->pool.lock);
	if (c) {
		c->next = s->pool.idle;
		s->pool.idle = c;
	} else {
		s->pool.open--;
	}
	pthread_cond_signal(&s->pool.freed);
	pthread_mutex_unlock(&s->pool.lock);
}

enum err sq_snapshot(struct sq_conn *c, struct error *e)
{
	int rc = sq_run(sq_st(c, SQ_BEGIN_READ));

	return rc == SQLITE_DONE ? OK : sq_fail(c, e, rc, "begin");
}
