// SPDX-License-Identifier: MIT
/* The SQLite store: opening and closing, the schema, and the table of its operations. */
#include "store_sqlite.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../base/embed.h"

EMBED_TEXT(migration_1, "sql/001_init.sql");
EMBED_TEXT(migration_2, "sql/002_records.sql");

#define APPLICATION_ID 1296257089	/* "MCPA": tells our files from others */

/* In order; number i brings the schema from version i to i + 1. */
static const char *migration(int i)
{
	return i == 0 ? migration_1() : i == 1 ? migration_2() : NULL;
}

#define SCHEMA_VERSION 2

static int pragma_int(struct sq_conn *c, const char *sql, int *out)
{
	sqlite3_stmt *st = NULL;
	int rc = sqlite3_prepare_v2(c->db, sql, -1, &st, NULL);

	if (rc == SQLITE_OK)
		rc = sqlite3_step(st);
	if (rc == SQLITE_ROW) {
		*out = sqlite3_column_int(st, 0);
		rc = SQLITE_OK;
	}
	sqlite3_finalize(st);
	return rc;
}

static enum err check_version(struct sq_conn *c, int *version, struct error *e)
{
	int tables = 0, app = 0;
	int rc = pragma_int(c, "PRAGMA user_version", version);

	if (rc == SQLITE_OK)
		rc = pragma_int(c, "PRAGMA application_id", &app);
	if (rc == SQLITE_OK)
		rc = pragma_int(c, "SELECT count(*) FROM sqlite_schema", &tables);
	if (rc != SQLITE_OK)
		return sq_fail(c, e, rc, "read the schema version");
	if (tables && app != APPLICATION_ID)
		return error_public(e, ERR_VALIDATION,
				    "STORE_URI names a SQLite file of another program; choose another path.");
	if (*version > SCHEMA_VERSION)
		return error_public(e, ERR_VALIDATION,
				    "The database has schema version %d, this program knows versions up to %d: "
				    "use a newer program.", *version, SCHEMA_VERSION);
	return OK;
}

static enum err migrate_to(struct sq_conn *c, int version, struct error *e)
{
	char set[96];
	int rc = sqlite3_exec(c->db, "BEGIN IMMEDIATE", NULL, NULL, NULL);

	for (int i = version; i < SCHEMA_VERSION && rc == SQLITE_OK; i++)
		rc = sqlite3_exec(c->db, migration(i), NULL, NULL, NULL);
	snprintf(set, sizeof(set), "PRAGMA application_id=%d; PRAGMA user_version=%d; COMMIT", APPLICATION_ID,
		 SCHEMA_VERSION);
	if (rc == SQLITE_OK)
		rc = sqlite3_exec(c->db, set, NULL, NULL, NULL);
	if (rc == SQLITE_OK)
		return OK;
	enum err err = sq_fail(c, e, rc, "migrate");

	sqlite3_exec(c->db, "ROLLBACK", NULL, NULL, NULL);
	return err;
}

enum err sq_migrate(struct sq_conn *c, struct error *e)
{
	int version = 0, rc;
	enum err err = check_version(c, &version, e);

	if (err)
		return err;
	rc = sqlite3_exec(c->db, "PRAGMA journal_mode=WAL", NULL, NULL, NULL);
	if (rc != SQLITE_OK)
		return sq_fail(c, e, rc, "switch to WAL");
	return version < SCHEMA_VERSION ? migrate_to(c, version, e) : OK;
}

/* --- files ------------------------------------------------------------------------------------------------- */

/* "sqlite:///absolute/path" → "/absolute/path", or NULL. */
static const char *path_of(const char *uri)
{
	if (strncmp(uri, "sqlite:///", 10) || !uri[10] || strchr(uri, '?'))
		return NULL;
	return uri + 9;
}

/* What was made in the folder of path is there after a power cut too. Where it cannot be synced, so be it. */
static void sync_folder_of(const char *path)
{
	char *dir = xstrdup(path), *slash = strrchr(dir, '/');

	slash[slash == dir] = '\0';
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	free(dir);
	if (fd < 0)
		return;
	fsync(fd);
	close(fd);
}

/* The folder of path, for its owner only, unless it is there; its parent must be. 0 or an errno. */
static int make_folder(const char *path)
{
	char *dir = xstrdup(path), *slash = strrchr(dir, '/');
	int sys = 0;

	*slash = '\0';
	if (slash != dir && mkdir(dir, 0700))
		sys = errno == EEXIST ? 0 : errno;
	else if (slash != dir)
		sync_folder_of(dir);
	free(dir);
	return sys;
}

/*
 * The file, for its owner only; SQLite gives its other files the same mode. One that is there is not
 * opened here: closing it would take away the locks that this process may hold on it through SQLite.
 */
static enum err make_file(const char *path, struct error *e)
{
	int sys = make_folder(path), fd;

	if (sys)
		return error_public(e, ERR_UNAVAILABLE, "Cannot make the folder of %.120s: %s.", path,
				    strerrordesc_np(sys));
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd >= 0) {
		close(fd);
		sync_folder_of(path);
	} else if (errno != EEXIST || access(path, R_OK | W_OK)) {
		return error_public(e, ERR_UNAVAILABLE, "Cannot open %.120s: %s.", path, strerrordesc_np(errno));
	}
	return OK;
}

/* --- operations --------------------------------------------------------------------------------------------- */

static void sq_close(struct store *base)
{
	struct sqlite_store *s = (struct sqlite_store *)base;

	sq_writer_free(s->writer);
	while (s->pool.idle) {
		struct sq_conn *c = s->pool.idle;

		s->pool.idle = c->next;
		sq_conn_close(c);
	}
	pthread_mutex_destroy(&s->pool.lock);
	pthread_cond_destroy(&s->pool.freed);
	free(s->path);
	free(s);
}

static enum err sq_ping(struct store *base, struct error *e)
{
	struct sqlite_store *s = (struct sqlite_store *)base;
	struct sq_conn *c;
	enum err err = sq_read_begin(s, &c, e);

	if (err)
		return err;
	int rc = sq_run(sq_st(c, SQ_PING));

	if (rc != SQLITE_DONE)
		err = sq_fail(c, e, rc, "ping");
	sq_read_end(s, c);
	return err;
}

static const struct store_ops sqlite_ops = {
	.name = "sqlite",
	.prefers_queue = false,
	.close = sq_close,
	.ping = sq_ping,
	.apply = sq_apply,
	.claim = sq_claim,
	.tasks_get = sq_tasks_get,
	.tasks_list = sq_tasks_list,
	.stage_counts = sq_stage_counts,
	.queue_depth = sq_queue_depth,
	.tasks_due = sq_tasks_due,
	.next_due = sq_next_due,
	.slot_waiters = sq_slot_waiters,
	.dep_waiters = sq_dep_waiters,
	.tasks_sweep = sq_tasks_sweep,
	.tasks_purge = sq_tasks_purge,
	.rec_get = sq_rec_get,
	.recs_list = sq_recs_list,
	.recs_purge = sq_recs_purge,
	.tallies = sq_tallies,
};

enum err store_sqlite_open(const struct store_options *o, struct store **out, struct error *e)
{
	const char *path = path_of(o->uri);
	pthread_condattr_t monotonic;
	struct sqlite_store *s;
	enum err err;

	*out = NULL;
	if (!path)
		return error_public(e, ERR_VALIDATION,
				    "STORE_URI for SQLite must be sqlite:///absolute/path, without parameters.");
	err = make_file(path, e);
	if (err)
		return err;
	s = xcalloc(1, sizeof(*s));
	s->base.ops = &sqlite_ops;
	s->path = xstrdup(path);
	s->timeout_ms = o->timeout_ms > 0 ? o->timeout_ms : 5000;
	s->pool.max = o->readers > 0 ? o->readers : 4;
	pthread_mutex_init(&s->pool.lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&s->pool.freed, &monotonic);
	pthread_condattr_destroy(&monotonic);
	err = sq_writer_new(s, &s->writer, e);
	if (err) {
		if (!e->message[0])
			error_public(e, err, "The SQLite store cannot be opened: %s", e->detail);
		sq_close(&s->base);
		return err;
	}
	*out = &s->base;
	return OK;
}
