// SPDX-License-Identifier: MIT
/*
 * The contract of lib/store/store.h, as tests that any implementation must pass.
 *
 *	contract [-t WORD] [URI...]
 *
 * Each test runs on a store that is empty and its own (T.s), made for the URI: `sqlite` makes a file
 * in a new folder under TMPDIR, `mongodb://…` a database with a name of its own. T.uri opens that same
 * store again, from another process too. T.a lives as long as the test.
 *
 * Tests that need other processes start this program again in a role: a store must be opened after
 * the fork, and an exec leaves no doubt about what was inherited.
 */
#ifndef TESTS_CONTRACT_H
#define TESTS_CONTRACT_H

#include <CUnit/CUnit.h>
#include <pthread.h>
#include <sys/types.h>
#include "lib/base/clock.h"
#include "lib/store/store.h"

struct contract {
	char uri[512];
	char dir[128];		/* SQLite: the folder of the test; "" otherwise */
	bool mongo;
	struct store *s;
	struct arena a;
	struct error e;
	const char *skipped;	/* why this test was skipped */
};
extern struct contract T;

struct contract_case {
	const char *name;
	void (*run)(void);
};
extern const struct contract_case cases_tasks[], cases_units[], cases_records[], cases_claims[], cases_lists[],
	cases_times[], cases_bulk[], cases_processes[], cases_sqlite[], cases_faults[], cases_mongo[],
	cases_audit[];

/* Say by name that this test cannot run here, and return from it. */
#define SKIP(why) do { T.skipped = (why); return; } while (0)

/* The call must return this; otherwise the test ends, and says why. */
#define EXPECT(call, code) CU_ASSERT_TRUE_FATAL(contract_expect((call), (code), #call, __FILE__, __LINE__))
#define OKAY(call) EXPECT(call, OK)
#define EQ(actual, expected) \
	CU_ASSERT_TRUE_FATAL(contract_eq((int64_t)(actual), (int64_t)(expected), #actual, __FILE__, __LINE__))
#define STR(actual, expected) \
	CU_ASSERT_TRUE_FATAL(contract_str((actual), (expected), #actual, __FILE__, __LINE__))

bool contract_expect(enum err got, enum err want, const char *what, const char *file, int line);
bool contract_eq(int64_t got, int64_t want, const char *what, const char *file, int line);
bool contract_str(const char *got, const char *want, const char *what, const char *file, int line);

/* Open the test's store once more; the caller closes it. */
struct store *contract_open(void);
void contract_reopen(void);	/* close T.s and open it again */

/* --- makers ------------------------------------------------------------------------------------------- */

/* A pending task with a new id, in lane 1; no field that must be set is left out. */
struct task a_task(void);
/* An id whose time is that millisecond. */
void id_of_time(int64_t ms, char out[ID_TEXT]);
void set_id(char to[ID_TEXT], const char *from);
/* A change of that task without conditions. */
struct task_change a_change(const char *id, uint32_t fields);

enum err insert(struct store *s, const struct task *t);
enum err change(struct store *s, const struct task_change *c, struct task **row, enum store_op_result *res);
enum err put(struct store *s, const struct record *r, int64_t expect_rev, int64_t *rev, enum store_op_result *res);
enum err rec_delete(struct store *s, enum record_kind kind, const char *id, int64_t expect_rev,
		    enum store_op_result *res);
struct task *get(struct store *s, const char *id);
enum err count_stages(const char *execution_id, int64_t counts[7][TASK_STATUS_COUNT]);
bool fits_all(void *arg, int64_t lane, const char *sig);
struct claim a_claim(const char *agent, int max);

/* --- other processes ------------------------------------------------------------------------------------ */

struct child {
	pid_t pid;
	int out;	/* what it prints */
};

/* Start this program in a role, with T.uri and arg. */
struct child child_start(const char *role, const char *arg);
/* Everything it printed until it ended, in T.a; status as from waitpid(). */
char *child_finish(struct child *c, int *status);
/* role_x(uri, arg) returns the exit status. */
int role_claimer(const char *uri, const char *arg);
int role_racer(const char *uri, const char *arg);
int role_writer(const char *uri, const char *arg);
int role_opener(const char *uri, const char *arg);
int role_fulldisk(const char *uri, const char *arg);
int role_holder(const char *uri, const char *arg);
int role_faults(const char *uri, const char *arg);

#endif
