// SPDX-License-Identifier: MIT
#include "config.h"

#include <ctype.h>
#include <errno.h>
#include <stddef.h>
#include <strings.h>
#include <unistd.h>

#include "log.h"

enum key_type { STR, INT, BOOL };

#define R 1
#define S 2
#define FLAG_RELOAD R
#define FLAG_SECRET S

static const struct key {
	const char *name;
	enum key_type type;
	size_t offset;
	const char *dflt;
	int64_t min, max;
	unsigned flags;
	const char *aliases, *help;
} keys[] = {
#define X(key, type, field, dflt, min, max, flags, aliases, help) \
	{ #key, type, offsetof(struct config, field), dflt, min, max, flags, aliases, help },
#include "config_keys.def"
#undef X
};

#define N_KEYS (sizeof(keys) / sizeof(*keys))
#define LINE_MAX_LEN 8192

static bool has_alias(const struct key *k, const char *name)
{
	size_t n = strlen(name);

	for (const char *p = k->aliases; *p;) {
		size_t len = strcspn(p, " ");

		if (len == n && strncmp(p, name, n) == 0)
			return true;
		p += len + (p[len] == ' ');
	}
	return false;
}

static const struct key *find_key(const char *name)
{
	for (size_t i = 0; i < N_KEYS; i++) {
		if (strcmp(keys[i].name, name) == 0 || has_alias(&keys[i], name))
			return &keys[i];
	}
	return NULL;
}

static size_t edit_distance(const char *a, const char *b)
{
	size_t row[72];
	size_t n = strlen(b);

	if (n > 70)
		return SIZE_MAX;
	for (size_t j = 0; j <= n; j++)
		row[j] = j;
	for (size_t i = 0; a[i]; i++) {
		size_t diagonal = row[0];

		row[0] = i + 1;
		for (size_t j = 0; j < n; j++) {
			size_t cost = diagonal + (toupper((unsigned char)a[i]) != b[j]);

			diagonal = row[j + 1];
			if (row[j] + 1 < cost)
				cost = row[j] + 1;
			if (diagonal + 1 < cost)
				cost = diagonal + 1;
			row[j + 1] = cost;
		}
	}
	return row[n];
}

const char *config_nearest(const char *name)
{
	const char *best = keys[0].name;
	size_t best_distance = SIZE_MAX;

	for (size_t i = 0; i < N_KEYS; i++) {
		size_t d = edit_distance(name, keys[i].name);

		if (d < best_distance) {
			best_distance = d;
			best = keys[i].name;
		}
	}
	return best;
}

static bool parse_bool(const char *text, bool *out)
{
	static const char *const yes[] = { "true", "yes", "on", "1" };
	static const char *const no[] = { "false", "no", "off", "0" };

	for (size_t i = 0; i < 4; i++) {
		if (strcasecmp(text, yes[i]) == 0 || strcasecmp(text, no[i]) == 0) {
			*out = strcasecmp(text, yes[i]) == 0;
			return true;
		}
	}
	return false;
}

/* Put text into the key's field; where names the place for a message. */
static bool set_key(struct config *c, const struct key *k, const char *text, const char *where, struct buf *problems)
{
	void *field = (char *)c + k->offset;

	if (k->type == STR) {
		size_t n = strlen(text);

		if (n < (size_t)k->min || n > (size_t)k->max) {
			buf_addf(problems, "%s: %s must have %lld to %lld characters\n", where, k->name,
				 (long long)k->min, (long long)k->max);
			return false;
		}
		*(const char **)field = arena_strdup(&c->arena, text);
		return true;
	}
	if (k->type == BOOL) {
		if (parse_bool(text, field))
			return true;
		buf_addf(problems, "%s: %s must be true or false\n", where, k->name);
		return false;
	}
	char *end;

	errno = 0;
	long long n = strtoll(text, &end, 10);

	if (errno || end == text || *end || n < k->min || n > k->max) {
		buf_addf(problems, "%s: %s must be a whole number from %lld to %lld\n", where, k->name, (long long)k->min,
			 (long long)k->max);
		return false;
	}
	*(int64_t *)field = n;
	return true;
}

static char *trim(char *s)
{
	while (*s == ' ' || *s == '\t')
		s++;
	size_t n = strlen(s);

	while (n && (s[n - 1] == ' ' || s[n - 1] == '\t' || s[n - 1] == '\n' || s[n - 1] == '\r'))
		s[--n] = '\0';
	return s;
}

static bool read_line(struct config *c, char *line, const char *where, struct buf *problems)
{
	char *text = trim(line);

	if (!*text || *text == '#' || *text == ';')
		return true;
	char *eq = strchr(text, '=');

	if (!eq) {
		buf_addf(problems, "%s: expected KEY = value\n", where);
		return false;
	}
	*eq = '\0';
	char *name = trim(text);
	char *value = trim(eq + 1);
	size_t n = strlen(value);

	if (n >= 2 && (value[0] == '"' || value[0] == '\'') && value[n - 1] == value[0]) {
		value[n - 1] = '\0';
		value++;
	}
	const struct key *k = find_key(name);

	if (!k) {
		buf_addf(problems, "%s: unknown key %.64s; did you mean %s?\n", where, name, config_nearest(name));
		return false;
	}
	return set_key(c, k, value, where, problems);
}

static bool read_file(struct config *c, const char *file, struct buf *problems)
{
	FILE *f = fopen(file, "re");
	char line[LINE_MAX_LEN];
	bool good = true;

	if (!f) {
		buf_addf(problems, "%s: %s\n", file, strerror(errno));
		return false;
	}
	for (int n = 1; fgets(line, sizeof(line), f); n++) {
		char where[4200];

		snprintf(where, sizeof(where), "%.4096s:%d", file, n);
		if (!strchr(line, '\n') && !feof(f)) {
			if (strlen(line) < sizeof(line) - 1)
				buf_addf(problems, "%s: the line holds a zero byte\n", where);
			else
				buf_addf(problems, "%s: the line is longer than %d characters\n", where, LINE_MAX_LEN - 2);
			good = false;
			break;
		}
		good &= read_line(c, line, where, problems);
	}
	if (ferror(f)) {
		buf_addf(problems, "%s: cannot be read\n", file);
		good = false;
	}
	fclose(f);
	explicit_bzero(line, sizeof(line));
	return good;
}

static bool read_environment(struct config *c, struct buf *problems)
{
	bool good = true;

	for (size_t i = 0; i < N_KEYS; i++) {
		const char *value = NULL;
		char name[72];

		/* Older names first: the key's own name has the last word. */
		for (const char *p = keys[i].aliases; *p;) {
			size_t len = strcspn(p, " ");

			snprintf(name, sizeof(name), "%.*s", (int)len, p);
			if (getenv(name))
				value = getenv(name);
			p += len + (p[len] == ' ');
		}
		if (getenv(keys[i].name))
			value = getenv(keys[i].name);
		if (value)
			good &= set_key(c, &keys[i], value, "environment", problems);
	}
	return good;
}

static bool long_enough(const char *secret, size_t min, const char *name, struct buf *problems)
{
	if (!*secret || strlen(secret) >= min)
		return true;
	buf_addf(problems, "%s must have at least %zu bytes; make one with: openssl rand -hex 32\n", name, min);
	return false;
}

/* Rules that tie keys together. */
static bool is_share(const char *text)
{
	char *end;
	double v = strtod(text, &end);

	return *text && !*end && v >= 0 && v <= 1;
}

static bool check(const struct config *c, struct buf *problems)
{
	bool good = long_enough(c->jwt_secret, 32, "JWT_SECRET", problems);
	bool production = strcmp(c->environment, "production") == 0;

	good &= long_enough(c->jwt_secret_previous, 32, "JWT_SECRET_PREVIOUS", problems);
	good &= long_enough(c->password_pepper, 32, "PASSWORD_PEPPER", problems);
	good &= long_enough(c->webhook_secret, 32, "WEBHOOK_SECRET", problems);
	good &= long_enough(c->api_key, 32, "API_KEY", problems);
	if (strcmp(c->jwt_algorithm, "HS256") != 0) {
		buf_adds(problems, "JWT_ALGORITHM must be HS256\n");
		good = false;
	}
	if (!production && strcmp(c->environment, "development") != 0 && strcmp(c->environment, "test") != 0) {
		buf_adds(problems, "ENVIRONMENT must be development, test or production\n");
		good = false;
	}
	if (!*c->home && (!*c->store_uri || !*c->api_socket || !*c->api_slow_socket)) {
		buf_adds(problems, "MCP_HOME must be set, or STORE_URI, API_SOCKET and API_SLOW_SOCKET\n");
		good = false;
	}
	if (*c->home && c->home[0] != '/') {
		buf_adds(problems, "MCP_HOME must be an absolute path\n");
		good = false;
	}
	enum log_level level;

	if (!log_level_parse(c->log_level, &level)) {
		buf_adds(problems, "LOG_LEVEL must be DEBUG, INFO, WARN, ERROR or CRITICAL\n");
		good = false;
	}
	if (!is_share(c->alert_error_rate)) {
		buf_adds(problems, "ALERT_THRESHOLD_ERROR_RATE must be a number from 0 to 1\n");
		good = false;
	}
	if (*c->alert_webhook && strncmp(c->alert_webhook, "http://", 7) != 0 && strncmp(c->alert_webhook, "https://", 8) != 0) {
		buf_adds(problems, "ALERT_WEBHOOK must be an http or https address\n");
		good = false;
	}
	if (!is_share(c->alert_efficiency)) {
		buf_adds(problems, "ALERT_THRESHOLD_EFFICIENCY must be a number from 0 to 1\n");
		good = false;
	}
	if (production && c->bcrypt_cost < 10) {
		buf_adds(problems, "BCRYPT_COST must be at least 10 in production\n");
		good = false;
	}
	if (production && c->hipaa_compliance && !*c->encryption_key) {
		buf_adds(problems, "ENCRYPTION_KEY is required in production with HIPAA_COMPLIANCE = true\n");
		good = false;
	}
	return good;
}

/* Defaults that depend on other keys. */
/*
 * Requests are grouped within a process, and mongod wants the other half of the cores; so no more processes than
 * are needed to use the cores.
 */
static int64_t default_workers(void)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);

	return cores < 4 ? 1 : cores < 16 ? cores / 2 : 8;
}

static void derive(struct config *c)
{
	if (*c->home) {
		if (!*c->store_uri)
			c->store_uri = arena_printf(&c->arena, "sqlite://%s/mcp.db", c->home);
		if (!*c->api_socket)
			c->api_socket = arena_printf(&c->arena, "%s/run/api.sock", c->home);
		if (!*c->api_slow_socket)
			c->api_slow_socket = arena_printf(&c->arena, "%s/run/slow.sock", c->home);
	}
	if (c->debug)
		c->log_level = "DEBUG";
	if (!c->api_workers)
		c->api_workers = strncmp(c->store_uri, "sqlite:", 7) == 0 ? 1 : default_workers();
}

bool config_load(struct config *c, const char *file, struct buf *problems)
{
	bool good = true;

	*c = (struct config){ 0 };
	arena_init_wiped(&c->arena);
	for (size_t i = 0; i < N_KEYS; i++)
		good &= set_key(c, &keys[i], keys[i].dflt, "default", problems);
	if (file)
		good &= read_file(c, file, problems);
	good &= read_environment(c, problems);
	good = good && check(c, problems);
	if (!good) {
		config_release(c);
		return false;
	}
	derive(c);
	return true;
}

bool config_reload(struct config *c, const char *file, struct buf *problems)
{
	struct config fresh;

	if (!config_load(&fresh, file, problems))
		return false;
	for (size_t i = 0; i < N_KEYS; i++) {
		void *to = (char *)c + keys[i].offset;
		const void *from = (const char *)&fresh + keys[i].offset;

		if (!(keys[i].flags & FLAG_RELOAD))
			continue;
		if (keys[i].type == STR) {
			/* Readers in other threads may hold the old text: it stays in the arena until exit. */
			const char *text = *(const char *const *)from;

			if (strcmp(*(const char **)to, text) != 0)
				*(const char **)to = arena_strdup(&c->arena, text);
		} else if (keys[i].type == INT) {
			__atomic_store_n((int64_t *)to, *(const int64_t *)from, __ATOMIC_RELAXED);
		} else {
			*(bool *)to = *(const bool *)from;
		}
	}
	config_release(&fresh);
	return true;
}

void config_release(struct config *c)
{
	arena_release(&c->arena);
	*c = (struct config){ 0 };
}

void config_write_example(struct buf *out)
{
	buf_adds(out, "# Every key of the panel's configuration with its default. Made from lib/base/config_keys.def\n"
		      "# by `mcp-api --example-config`; environment variables of the same names override the file.\n");
	for (size_t i = 0; i < N_KEYS; i++) {
		buf_addc(out, '\n');
		if (*keys[i].help)
			buf_addf(out, "# %s\n", keys[i].help);
		if (*keys[i].aliases)
			buf_addf(out, "# Also: %s\n", keys[i].aliases);
		if (keys[i].flags & FLAG_RELOAD)
			buf_adds(out, "# (reload)\n");
		buf_addf(out, "#%s = %s\n", keys[i].name, keys[i].dflt);
	}
}

void config_write_markdown(struct buf *out)
{
	buf_adds(out, "| key | also | default | range | reload | what |\n|---|---|---|---|---|---|\n");
	for (size_t i = 0; i < N_KEYS; i++) {
		const struct key *k = &keys[i];

		buf_addf(out, "| `%s` | %s | %s%s%s | ", k->name, k->aliases, *k->dflt ? "`" : "", k->dflt,
			 *k->dflt ? "`" : "–");
		if (k->type == INT)
			buf_addf(out, "%lld–%lld", (long long)k->min, (long long)k->max);
		buf_addf(out, " | %s | %s%s |\n", k->flags & FLAG_RELOAD ? "yes" : "", k->help,
			 k->flags & FLAG_SECRET ? " Secret." : "");
	}
}
