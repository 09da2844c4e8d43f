// SPDX-License-Identifier: MIT
/* lib/base/config: the file, the environment over it, every mistake named, and reloads that cannot hurt. */
#include <CUnit/Basic.h>
#include <unistd.h>

#include "lib/base/config.h"

void suite_config(void);

#define SECRET "0123456789abcdef0123456789abcdef"

static struct config config;
static struct buf problems;
static char file[] = "/tmp/mcp-unit-config-XXXXXX";

/* The tests' own environment may name keys; here only what a test sets counts. */
static void clear_environment(void)
{
	static const char *const names[] = {
#define X(key, type, field, dflt, min, max, flags, aliases, help) #key, aliases,
#include "lib/base/config_keys.def"
#undef X
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		char list[256];
		char *save = NULL;

		snprintf(list, sizeof(list), "%s", names[i]);
		for (char *name = strtok_r(list, " ", &save); name; name = strtok_r(NULL, " ", &save))
			unsetenv(name);
	}
}

static int setup(void)
{
	int fd = mkstemp(file);

	clear_environment();
	buf_init(&problems);
	if (fd < 0)
		return 1;
	close(fd);
	return 0;
}

static int teardown(void)
{
	unlink(file);
	buf_release(&problems);
	return 0;
}

static void write_bytes(const char *text, size_t n)
{
	FILE *f = fopen(file, "we");

	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	CU_ASSERT_EQUAL_FATAL(fwrite(text, 1, n, f), n);
	CU_ASSERT_EQUAL_FATAL(fclose(f), 0);
}

static void write_file(const char *text)
{
	write_bytes(text, strlen(text));
}

static bool load(const char *text)
{
	write_file(text);
	buf_reset(&problems);
	return config_load(&config, file, &problems);
}

/* The file is good. */
static void good(const char *text)
{
	if (!load(text)) {
		fprintf(stderr, "%s\n\t%s", text, problems.p);
		CU_FAIL_FATAL("a good configuration was refused");
	}
	CU_ASSERT_EQUAL(problems.n, 0);
}

/* The file is not, and the problems are exactly these lines, FILE standing for the file's name. */
static void bad(const char *text, const char *want)
{
	struct buf shown;

	CU_ASSERT_FALSE(load(text));
	buf_init(&shown);
	for (const char *p = problems.p; *p;) {
		if (strncmp(p, file, strlen(file)) == 0) {
			buf_adds(&shown, "FILE");
			p += strlen(file);
		} else {
			buf_addc(&shown, *p++);
		}
	}
	if (strcmp(shown.p, want) != 0) {
		fprintf(stderr, "%s\n\twant: %s\tgot:  %s", text, want, shown.p);
		CU_FAIL("other problems than expected");
	}
	buf_release(&shown);
	/* Nothing half-read is left behind. */
	CU_ASSERT_PTR_NULL(config.home);
}

static void test_defaults(void)
{
	good("MCP_HOME = /var/lib/mcp\n");
	CU_ASSERT_STRING_EQUAL(config.home, "/var/lib/mcp");
	CU_ASSERT_STRING_EQUAL(config.store_uri, "sqlite:///var/lib/mcp/mcp.db");
	CU_ASSERT_STRING_EQUAL(config.api_socket, "/var/lib/mcp/run/api.sock");
	CU_ASSERT_STRING_EQUAL(config.api_slow_socket, "/var/lib/mcp/run/slow.sock");
	CU_ASSERT_STRING_EQUAL(config.redis_url, "redis://127.0.0.1:6379/0");
	CU_ASSERT_EQUAL(config.server_port, 8080);
	CU_ASSERT_EQUAL(config.ws_port, 8081);
	CU_ASSERT_EQUAL(config.api_workers, 1);
	CU_ASSERT_EQUAL(config.jwt_access_expires, 86400);
	CU_ASSERT_EQUAL(config.jwt_refresh_expires, 2592000);
	CU_ASSERT_EQUAL(config.heartbeat_interval, 30);
	CU_ASSERT_EQUAL(config.assignment_timeout, 30);
	CU_ASSERT_EQUAL(config.task_lease, 60);
	CU_ASSERT_EQUAL(config.task_timeout, 300);
	CU_ASSERT_EQUAL(config.task_max_retries, 3);
	CU_ASSERT_EQUAL(config.max_body, 4194304);
	CU_ASSERT_EQUAL(config.max_result, 1048576);
	CU_ASSERT_EQUAL(config.rate_limit_api, 60000);
	CU_ASSERT_EQUAL(config.rate_limit_submit, 600);
	CU_ASSERT_EQUAL(config.rate_limit_heartbeat, 60);
	CU_ASSERT_EQUAL(config.rate_limit_auth_failures, 60);
	CU_ASSERT_EQUAL(config.rate_limit_account_failures, 10);
	CU_ASSERT_EQUAL(config.bcrypt_cost, 10);
	CU_ASSERT_EQUAL(config.retention_days, 90);
	CU_ASSERT_EQUAL(config.phi_retention_days, 2190);
	CU_ASSERT_EQUAL(config.alert_response_ms, 50);
	CU_ASSERT_STRING_EQUAL(config.alert_error_rate, "0.05");
	CU_ASSERT_STRING_EQUAL(config.log_level, "INFO");
	CU_ASSERT(config.hipaa_compliance);
	CU_ASSERT(config.metrics_enabled);
	CU_ASSERT_FALSE(config.debug);
	config_release(&config);
	config_release(&config);
	good("STORE_URI = mongodb://h/db\nAPI_SOCKET = /a\nAPI_SLOW_SOCKET = /b\n");
	CU_ASSERT_STRING_EQUAL(config.store_uri, "mongodb://h/db");
	CU_ASSERT(config.api_workers >= 1 && config.api_workers <= 8);
	config_release(&config);
}

static void test_syntax(void)
{
	good("# comment\n\n   \n; another\n\tMCP_HOME=/a \r\n  SERVER_PORT\t=  0 \nADMIN_USER = \"two words \"\nMCP_HOST = '::1'\n"
	     "PUBLIC_URL = http://a/?x=y#z\nSMTP_FROM = \"\nJWT_ALGORITHM = HS256");
	CU_ASSERT_STRING_EQUAL(config.home, "/a");
	CU_ASSERT_EQUAL(config.server_port, 0);
	CU_ASSERT_STRING_EQUAL(config.admin_user, "two words ");
	CU_ASSERT_STRING_EQUAL(config.host, "::1");
	CU_ASSERT_STRING_EQUAL(config.public_url, "http://a/?x=y#z");
	CU_ASSERT_STRING_EQUAL(config.smtp_from, "\"");
	config_release(&config);
	/* A later line wins. */
	good("MCP_HOME = /a\nMCP_HOME = /b\n");
	CU_ASSERT_STRING_EQUAL(config.home, "/b");
	config_release(&config);
	bad("MCP_HOME = /a\nSERVER_PORT\n", "FILE:2: expected KEY = value\n");
	bad("MCP_HOME = /a\n= 5\n", "FILE:2: unknown key ; did you mean WS_PORT?\n");
}

static void test_booleans_and_numbers(void)
{
	static const char *const yes[] = { "true", "TRUE", "yes", "on", "1" };
	static const char *const no[] = { "false", "No", "off", "0" };
	static const char *const no_bool[] = { "", "2", "ja", "truee", "y" };
	static const char *const no_int[] = { "", "x", "1x", "1.5", "1e3", "-1", "65536", "99999999999999999999",
		"0x50", "80 80" };
	char text[200];

	for (size_t i = 0; i < sizeof(yes) / sizeof(*yes); i++) {
		snprintf(text, sizeof(text), "MCP_HOME=/a\nMCP_DEBUG=%s\n", yes[i]);
		good(text);
		CU_ASSERT(config.debug);
		CU_ASSERT_STRING_EQUAL(config.log_level, "DEBUG");
		config_release(&config);
	}
	for (size_t i = 0; i < sizeof(no) / sizeof(*no); i++) {
		snprintf(text, sizeof(text), "MCP_HOME=/a\nMETRICS_ENABLED=%s\n", no[i]);
		good(text);
		CU_ASSERT_FALSE(config.metrics_enabled);
		config_release(&config);
	}
	for (size_t i = 0; i < sizeof(no_bool) / sizeof(*no_bool); i++) {
		snprintf(text, sizeof(text), "MCP_HOME=/a\nMCP_DEBUG=%s\n", no_bool[i]);
		bad(text, "FILE:2: MCP_DEBUG must be true or false\n");
	}
	for (size_t i = 0; i < sizeof(no_int) / sizeof(*no_int); i++) {
		snprintf(text, sizeof(text), "MCP_HOME=/a\nSERVER_PORT=%s\n", no_int[i]);
		bad(text, "FILE:2: SERVER_PORT must be a whole number from 0 to 65535\n");
	}
	bad("MCP_HOME=/a\nMCP_HOST=\n", "FILE:2: MCP_HOST must have 1 to 255 characters\n");
}

static void test_unknown_keys(void)
{
	bad("MCP_HOME=/a\nJWT_SECRT=x\n", "FILE:2: unknown key JWT_SECRT; did you mean JWT_SECRET?\n");
	bad("MCP_HOME=/a\nserver_port=1\nSERVERPORT=2\n", "FILE:2: unknown key server_port; did you mean SERVER_PORT?\n"
							     "FILE:3: unknown key SERVERPORT; did you mean SERVER_PORT?\n");
	CU_ASSERT_STRING_EQUAL(config_nearest("REDISURL"), "REDIS_URL");
	CU_ASSERT_STRING_EQUAL(config_nearest("task_lese"), "TASK_LEASE");
	CU_ASSERT_STRING_EQUAL(config_nearest("MAX_BODI"), "MAX_BODY");
	CU_ASSERT_PTR_NOT_NULL(config_nearest(""));
	/* A long name is neither repeated whole nor walked for ever. */
	char text[6000] = "MCP_HOME=/a\n";
	size_t n = strlen(text);

	memset(text + n, 'A', 5000);
	memcpy(text + n + 5000, "=1\n", 4);
	CU_ASSERT_FALSE(load(text));
	CU_ASSERT(problems.n < 200);
}

static void test_lines(void)
{
	static char text[20000];
	size_t n = (size_t)snprintf(text, sizeof(text), "MCP_HOME=/a\nCORS_ORIGINS=");

	/* the longest value there is */
	memset(text + n, 'x', 4096);
	memcpy(text + n + 4096, "\n", 2);
	good(text);
	CU_ASSERT_EQUAL(strlen(config.cors_origins), 4096);
	config_release(&config);
	memcpy(text + n + 4096, "x\n", 3);
	bad(text, "FILE:2: CORS_ORIGINS must have 0 to 4096 characters\n");
	memset(text + n, 'x', 15000);
	memcpy(text + n + 15000, "\n", 2);
	bad(text, "FILE:2: the line is longer than 8190 characters\n");
	CU_ASSERT_FALSE(config_load(&config, "/nonexistent/mcp.conf", &problems));
	CU_ASSERT_PTR_NOT_NULL(strstr(problems.p, "/nonexistent/mcp.conf: No such file"));
	buf_reset(&problems);
	CU_ASSERT_FALSE(config_load(&config, "/tmp", &problems));
	CU_ASSERT_PTR_NOT_NULL(strstr(problems.p, "/tmp: cannot be read"));
	/* A zero byte does not hide the rest of its line. */
	write_bytes("MCP_HOME=/a\nSERVER_PORT=80\0" "90\n", 30);
	buf_reset(&problems);
	CU_ASSERT_FALSE(config_load(&config, file, &problems));
	CU_ASSERT_PTR_NOT_NULL(strstr(problems.p, ":2: the line holds a zero byte"));
}

/* All mistakes in one go, in the order of the file. */
static void test_all_mistakes(void)
{
	bad("SERVER_PORT=x\nMCP_DEBUG=x\nNOPE=1\njunk\nBCRYPT_COST=3\n",
	    "FILE:1: SERVER_PORT must be a whole number from 0 to 65535\nFILE:2: MCP_DEBUG must be true or false\n"
	    "FILE:3: unknown key NOPE; did you mean MCP_HOME?\nFILE:4: expected KEY = value\n"
	    "FILE:5: BCRYPT_COST must be a whole number from 4 to 16\n");
}

static void test_rules(void)
{
	bad("", "MCP_HOME must be set, or STORE_URI, API_SOCKET and API_SLOW_SOCKET\n");
	bad("MCP_HOME=var/mcp\n", "MCP_HOME must be an absolute path\n");
	bad("MCP_HOME=/a\nENVIRONMENT=staging\n", "ENVIRONMENT must be development, test or production\n");
	bad("MCP_HOME=/a\nJWT_ALGORITHM=RS256\n", "JWT_ALGORITHM must be HS256\n");
	bad("MCP_HOME=/a\nLOG_LEVEL=LOUD\n", "LOG_LEVEL must be DEBUG, INFO, WARN, ERROR or CRITICAL\n");
	bad("MCP_HOME=/a\nALERT_THRESHOLD_ERROR_RATE=1.5\n",
		"ALERT_THRESHOLD_ERROR_RATE must be a number from 0 to 1\n");
	bad("MCP_HOME=/a\nALERT_THRESHOLD_ERROR_RATE=5 %\n",
		"ALERT_THRESHOLD_ERROR_RATE must be a number from 0 to 1\n");
	bad("MCP_HOME=/a\nALERT_THRESHOLD_ERROR_RATE=nan\n",
		"ALERT_THRESHOLD_ERROR_RATE must be a number from 0 to 1\n");
	bad("MCP_HOME=/a\nENVIRONMENT=production\nBCRYPT_COST=8\nENCRYPTION_KEY=k\n",
		"BCRYPT_COST must be at least 10 in production\n");
	bad("MCP_HOME=/a\nENVIRONMENT=production\n",
		"ENCRYPTION_KEY is required in production with HIPAA_COMPLIANCE = true\n");
	good("MCP_HOME=/a\nENVIRONMENT=production\nHIPAA_COMPLIANCE=no\n");
	config_release(&config);
	good("MCP_HOME=/a\nENVIRONMENT=test\nBCRYPT_COST=4\n");
	config_release(&config);
}

/* Short secrets are refused by name, and no secret is ever repeated in a message. */
static void test_secrets(void)
{
	static const char *const names[] = { "JWT_SECRET", "JWT_SECRET_PREVIOUS", "PASSWORD_PEPPER", "WEBHOOK_SECRET",
		"API_KEY" };
	char text[500];
	char want[200];

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		snprintf(text, sizeof(text), "MCP_HOME=/a\n%s=hunter2-hunter2\n", names[i]);
		snprintf(want, sizeof(want), "%s must have at least 32 bytes; make one with: openssl rand -hex 32\n",
			names[i]);
		bad(text, want);
		snprintf(text, sizeof(text), "MCP_HOME=/a\n%s=" SECRET "\n", names[i]);
		good(text);
		config_release(&config);
	}
	static const char *const leaks[] = {
		"MCP_HOME=/a\nJWT_SECRET hunter2-hunter2\n", "MCP_HOME=/a\nJWT_SECRT=hunter2-hunter2\n",
		"MCP_HOME=/a\nSTORE_URI=mongodb://u:hunter2-hunter2@h/\nSERVER_PORT=x\n",
		"MCP_HOME=/a\nSERVER_PORT=hunter2-hunter2\n",
		"MCP_HOME=/a\nMCP_DEBUG=hunter2-hunter2\n", "MCP_HOME=/a\nENVIRONMENT=hunter2-hunter2\n",
	};

	for (size_t i = 0; i < sizeof(leaks) / sizeof(*leaks); i++) {
		CU_ASSERT_FALSE(load(leaks[i]));
		CU_ASSERT_PTR_NULL(strstr(problems.p, "hunter2"));
	}
	snprintf(text, sizeof(text), "MCP_HOME=/a\nAPI_KEY=hunter2-%0300d\n", 0);
	CU_ASSERT_FALSE(load(text));
	CU_ASSERT_PTR_NULL(strstr(problems.p, "hunter2"));
}

static void test_other_names(void)
{
	good("MCP_HOME=/a\nMCP_PORT=81\nTASK_EXECUTION_TIMEOUT=5\nJWT_SECRET_KEY=" SECRET "\nMAX_AGENT_CONNECTIONS=9\nAGENT_DATA_RETENTION_DAYS=3\n");
	CU_ASSERT_EQUAL(config.server_port, 81);
	CU_ASSERT_EQUAL(config.task_timeout, 5);
	CU_ASSERT_STRING_EQUAL(config.jwt_secret, SECRET);
	CU_ASSERT_EQUAL(config.max_connections, 9);
	CU_ASSERT_EQUAL(config.retention_days, 3);
	config_release(&config);
	good("MCP_HOME=/a\nDATABASE_URL=sqlite:///x.db\n");
	CU_ASSERT_STRING_EQUAL(config.store_uri, "sqlite:///x.db");
	config_release(&config);
}

static void test_environment(void)
{
	setenv("SERVER_PORT", "90", 1);
	setenv("MCP_UNKNOWN_THING", "1", 1);
	good("MCP_HOME=/a\nSERVER_PORT=80\n");
	CU_ASSERT_EQUAL(config.server_port, 90);
	config_release(&config);
	/* The key's own name has the last word, whatever the order. */
	setenv("MCP_PORT", "91", 1);
	good("MCP_HOME=/a\n");
	CU_ASSERT_EQUAL(config.server_port, 90);
	config_release(&config);
	unsetenv("SERVER_PORT");
	good("MCP_HOME=/a\nSERVER_PORT=80\n");
	CU_ASSERT_EQUAL(config.server_port, 91);
	config_release(&config);
	setenv("MCP_PORT", "x", 1);
	bad("MCP_HOME=/a\n", "environment: SERVER_PORT must be a whole number from 0 to 65535\n");
	unsetenv("MCP_PORT");
	/* of several other names the last in the table */
	setenv("MONGODB_URI", "mongodb://m/", 1);
	setenv("DATABASE_URL", "sqlite:///d.db", 1);
	good("MCP_HOME=/a\n");
	CU_ASSERT_STRING_EQUAL(config.store_uri, "sqlite:///d.db");
	config_release(&config);
	clear_environment();
	/* without a file */
	setenv("MCP_HOME", "/e", 1);
	buf_reset(&problems);
	CU_ASSERT(config_load(&config, NULL, &problems));
	CU_ASSERT_STRING_EQUAL(config.home, "/e");
	config_release(&config);
	clear_environment();
	unsetenv("MCP_UNKNOWN_THING");
}

static void test_reload(void)
{
	good("MCP_HOME=/a\nSERVER_PORT=80\nTASK_LEASE=60\nCORS_ORIGINS=http://a\nMETRICS_ENABLED=true\n");
	const char *origins = config.cors_origins;

	write_file("MCP_HOME=/b\nSERVER_PORT=81\nTASK_LEASE=61\nCORS_ORIGINS=http://b\nMETRICS_ENABLED=false\nMCP_DEBUG=true\n");
	CU_ASSERT(config_reload(&config, file, &problems));
	/* What may change did; what needs a restart did not. */
	CU_ASSERT_EQUAL(config.task_lease, 61);
	CU_ASSERT_STRING_EQUAL(config.cors_origins, "http://b");
	CU_ASSERT_FALSE(config.metrics_enabled);
	CU_ASSERT_STRING_EQUAL(config.log_level, "DEBUG");
	CU_ASSERT_STRING_EQUAL(config.home, "/a");
	CU_ASSERT_EQUAL(config.server_port, 80);
	CU_ASSERT_STRING_EQUAL(config.store_uri, "sqlite:///a/mcp.db");
	/* Another thread may hold the old text still. */
	CU_ASSERT_STRING_EQUAL(origins, "http://a");
	/* A mistake anywhere, and nothing changes. */
	write_file("MCP_HOME=/b\nTASK_LEASE=62\nCORS_ORIGINS=http://c\nNOPE=1\n");
	CU_ASSERT_FALSE(config_reload(&config, file, &problems));
	CU_ASSERT_PTR_NOT_NULL(strstr(problems.p, "unknown key NOPE"));
	CU_ASSERT_EQUAL(config.task_lease, 61);
	CU_ASSERT_STRING_EQUAL(config.cors_origins, "http://b");
	CU_ASSERT_FALSE(config_reload(&config, "/nonexistent", &problems));
	CU_ASSERT_EQUAL(config.task_lease, 61);
	/* Back to the defaults. */
	write_file("MCP_HOME=/a\n");
	CU_ASSERT(config_reload(&config, file, &problems));
	CU_ASSERT_EQUAL(config.task_lease, 60);
	CU_ASSERT_STRING_EQUAL(config.log_level, "INFO");
	CU_ASSERT_STRING_EQUAL(config.cors_origins, "");
	config_release(&config);
}

/* The example names every key with its default, and is itself a good configuration. */
static void test_written(void)
{
	static const char *const names[] = {
#define X(key, type, field, dflt, min, max, flags, aliases, help) #key,
#include "lib/base/config_keys.def"
#undef X
	};
	struct buf example;
	struct buf table;
	char line[100];

	buf_init(&example);
	buf_init(&table);
	config_write_example(&example);
	config_write_markdown(&table);
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		snprintf(line, sizeof(line), "\n#%s = ", names[i]);
		CU_ASSERT_PTR_NOT_NULL(strstr(example.p, line));
		snprintf(line, sizeof(line), "| `%s` |", names[i]);
		CU_ASSERT_PTR_NOT_NULL(strstr(table.p, line));
	}
	buf_adds(&example, "MCP_HOME = /a\n");
	good(example.p);
	config_release(&config);
	/* Also with its defaults put in force. */
	for (char *p = example.p; (p = strstr(p, "\n#")); p++) {
		if (p[2] != ' ')
			p[1] = ' ';
	}
	good(example.p);
	CU_ASSERT_EQUAL(config.server_port, 8080);
	config_release(&config);
	buf_release(&example);
	buf_release(&table);
}

void suite_config(void)
{
	CU_pSuite s = CU_add_suite("config", setup, teardown);

	CU_add_test(s, "defaults", test_defaults);
	CU_add_test(s, "syntax", test_syntax);
	CU_add_test(s, "booleans and numbers", test_booleans_and_numbers);
	CU_add_test(s, "unknown keys", test_unknown_keys);
	CU_add_test(s, "lines and files", test_lines);
	CU_add_test(s, "all mistakes at once", test_all_mistakes);
	CU_add_test(s, "rules between keys", test_rules);
	CU_add_test(s, "secrets", test_secrets);
	CU_add_test(s, "other names", test_other_names);
	CU_add_test(s, "environment", test_environment);
	CU_add_test(s, "reload", test_reload);
	CU_add_test(s, "example and table", test_written);
}
