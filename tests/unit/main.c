// SPDX-License-Identifier: MIT
/*
 * The unit tests' program: `unit` runs every suite, `unit auth net` these. A new file tests/unit/test_x.c
 * defines suite_x(), which registers one CUnit suite, and gets one line in the table here.
 * Exit status: 0 all passed, 1 a test failed, 2 the command line is wrong.
 */
#include <CUnit/Basic.h>
#include <stdio.h>
#include <string.h>

#define SUITES(X) \
	X(auth) \
	X(base) \
	X(config) \
	X(bus) \
	X(bus_faults) \
	X(bus_queue) \
	X(http) \
	X(json) \
	X(jsonschema) \
	X(minutes) \
	X(net) \
	X(password) \
	X(relay) \
	X(schema) \
	X(scheduler) \
	X(time)

#define X(name) void suite_##name(void);
SUITES(X)
#undef X

static const struct {
	const char *name;
	void (*add)(void);
} suites[] = {
#define X(name) { #name, suite_##name },
	SUITES(X)
#undef X
};

#define N_SUITES (sizeof(suites) / sizeof(suites[0]))

static int add_suite(const char *name)
{
	for (size_t i = 0; i < N_SUITES; i++) {
		if (!strcmp(name, suites[i].name)) {
			suites[i].add();
			return 0;
		}
	}
	fprintf(stderr, "unit: no suite \"%s\"; there are:", name);
	for (size_t i = 0; i < N_SUITES; i++)
		fprintf(stderr, " %s", suites[i].name);
	fputc('\n', stderr);
	return 2;
}

int main(int argc, char **argv)
{
	if (CU_initialize_registry() != CUE_SUCCESS)
		return 1;
	for (int i = 1; i < argc; i++) {
		int wrong = add_suite(argv[i]);

		if (wrong) {
			CU_cleanup_registry();
			return wrong;
		}
	}
	for (size_t i = 0; argc == 1 && i < N_SUITES; i++)
		suites[i].add();
	CU_basic_set_mode(CU_BRM_NORMAL);
	CU_basic_run_tests();
	unsigned failed = CU_get_number_of_failures() + CU_get_number_of_suites_failed() +
			  (CU_get_number_of_tests_run() == 0);

	CU_cleanup_registry();
	return failed ? 1 : 0;
}
