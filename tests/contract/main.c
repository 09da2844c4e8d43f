// SPDX-License-Identifier: MIT
/* Runs the contract on each URI, each test on a fresh store; see contract.h. */
#include "contract.h"

#include <CUnit/TestRun.h>
#include <errno.h>
#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

#if __has_include("lib/store/store_mongo.h")
#include "lib/store/store_mongo.h"
#define DROP_MONGO(s) store_mongo_drop(s)
#else
#define DROP_MONGO(s) ((void)(s), OK)
#endif

struct contract T;

static const char *base_uri, *only;
static int passed, failed, skipped, serial;

static const struct {
	const char *name;
	const struct contract_case *cases;
	const char *only_for;	/* start of the URIs, NULL: any store */
} suites[] = {
	{ "tasks", cases_tasks, NULL },
	{ "units", cases_units, NULL },
	{ "records", cases_records, NULL },
	{ "claims", cases_claims, NULL },
	{ "lists", cases_lists, NULL },
	{ "times", cases_times, NULL },
	{ "bulk", cases_bulk, NULL },
	{ "audit", cases_audit, NULL },
	{ "processes", cases_processes, NULL },
	{ "sqlite", cases_sqlite, "sqlite" },
	{ "faults", cases_faults, "sqlite" },
	{ "mongo", cases_mongo, "mongodb" },
};

static const struct {
	const char *name;
	int (*run)(const char *uri, const char *arg);
} roles[] = {
	{ "claimer", role_claimer },
	{ "racer", role_racer },
	{ "writer", role_writer },
	{ "opener", role_opener },
	{ "fulldisk", role_fulldisk },
	{ "holder", role_holder },
	{ "faults", role_faults },
};

/* --- a fresh store for each test --------------------------------------------------------------------------- */

static void fresh_sqlite(void)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(T.dir, sizeof(T.dir), "%s/mcp-contract.XXXXXX", tmp && *tmp ? tmp : "/tmp");
	if (!mkdtemp(T.dir)) {
		fprintf(stderr, "cannot make %s: %s\n", T.dir, strerrordesc_np(errno));
		exit(1);
	}
	snprintf(T.uri, sizeof(T.uri), "sqlite://%s/state/mcp.db", T.dir);
}

/* mongodb://hosts[/database][?options] with a database of this test. */
static void fresh_mongo(void)
{
	const char *hosts = strstr(base_uri, "://") + 3;
	size_t n = strcspn(hosts, "/?");
	const char *options = strchr(hosts, '?');

	T.dir[0] = '\0';
	snprintf(T.uri, sizeof(T.uri), "%.*s/mcp_contract_%d_%d%s", (int)(hosts - base_uri + (ptrdiff_t)n), base_uri,
		 (int)getpid(), ++serial, options ? options : "");
}

static void set_up(void)
{
	T = (struct contract){ .mongo = !strncmp(base_uri, "mongodb", 7) };
	arena_init(&T.a);
	error_init(&T.e, &T.a);
	if (T.mongo)
		fresh_mongo();
	else
		fresh_sqlite();
	T.s = contract_open();
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static void tear_down(void)
{
	if (T.mongo && !T.s)
		T.s = contract_open();
	if (T.mongo && T.s && DROP_MONGO(T.s))
		fprintf(stderr, "the test's database could not be dropped\n");
	store_close(T.s);
	T.s = NULL;
	if (T.dir[0])
		nftw(T.dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	arena_release(&T.a);
}

struct store *contract_open(void)
{
	struct store_options o = { .uri = T.uri, .readers = 8 };
	struct store *s = NULL;

	if (store_open(&o, &s, &T.e))
		fprintf(stderr, "cannot open %s: %s %s\n", T.uri, T.e.message, T.e.detail);
	return s;
}

void contract_reopen(void)
{
	store_close(T.s);
	T.s = contract_open();
	CU_ASSERT_PTR_NOT_NULL_FATAL(T.s);
}

/* --- running and reporting -------------------------------------------------------------------------------------- */

static void on_start(const CU_pTest test, const CU_pSuite suite)
{
	printf("  %s: %s ... ", suite->pName, test->pName);
	fflush(stdout);
}

static void on_end(const CU_pTest test, const CU_pSuite suite, const CU_pFailureRecord failure)
{
	(void)test;
	(void)suite;
	if (failure) {
		failed++;
		printf("FAILED\n");
		for (const CU_FailureRecord *f = failure; f; f = f->pNext)
			printf("    %s:%u: %s\n", f->strFileName, f->uiLineNumber, f->strCondition);
	} else if (T.skipped) {
		skipped++;
		printf("skipped\nSKIPPED %s: %s\n", test->pName, T.skipped);
	} else {
		passed++;
		printf("ok\n");
	}
	fflush(stdout);
}

static void add_suites(void)
{
	for (size_t i = 0; i < sizeof(suites) / sizeof(suites[0]); i++) {
		if (suites[i].only_for && strncmp(base_uri, suites[i].only_for, strlen(suites[i].only_for)))
			continue;
		CU_pSuite suite = CU_add_suite_with_setup_and_teardown(suites[i].name, NULL, NULL, set_up, tear_down);

		for (const struct contract_case *c = suites[i].cases; c->name; c++)
			if (!only || strstr(c->name, only) || strstr(suites[i].name, only))
				CU_add_test(suite, c->name, c->run);
	}
}

static int run_uri(void)
{
	if (strncmp(base_uri, "sqlite", 6) && strncmp(base_uri, "mongodb", 7)) {
		fprintf(stderr, "contract: %s is neither sqlite nor mongodb://…\n", base_uri);
		return 2;
	}
	/* without the password */
	printf("%s\n", strchr(base_uri, '@') ? strchr(base_uri, '@') + 1 : base_uri);
	if (CU_initialize_registry() != CUE_SUCCESS)
		return 1;
	add_suites();
	CU_set_test_start_handler(on_start);
	CU_set_test_complete_handler(on_end);
	CU_run_all_tests();
	CU_cleanup_registry();
	return 0;
}

static int run_role(const char *name, const char *uri, const char *arg)
{
	for (size_t i = 0; i < sizeof(roles) / sizeof(roles[0]); i++)
		if (!strcmp(roles[i].name, name))
			return roles[i].run(uri, arg);
	return 2;
}

int main(int argc, char **argv)
{
	int i = 1, wrong = 0;

	if (argc == 5 && !strcmp(argv[1], "--role"))
		return run_role(argv[2], argv[3], argv[4]);
	if (argc > 2 && !strcmp(argv[1], "-t")) {
		only = argv[2];
		i = 3;
	}
	if (i == argc) {
		base_uri = "sqlite";
		wrong = run_uri();
	}
	for (; i < argc && !wrong; i++) {
		base_uri = argv[i];
		wrong = run_uri();
	}
	if (wrong)
		return wrong;
	printf("%d passed, %d failed, %d skipped\n", passed, failed, skipped);
	return failed || passed + skipped == 0;
}
