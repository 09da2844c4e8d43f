// SPDX-License-Identifier: MIT
#include "print.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "jsonx.h"
#include "lib/base/clock.h"
#include "lib/base/utf8.h"
#include "util.h"

/* Bytes of the character at s, and what to print for it instead when it is not to be printed. */
static size_t next_char(const char *s, size_t left, const char **instead)
{
	size_t n = utf8_char_len(s, left);
	unsigned char c = (unsigned char)*s;

	*instead = NULL;
	if (!n) {
		*instead = "?";
		return 1;
	}
	if (c == '\n' || c == '\t' || c == '\r')
		*instead = " ";
	else if (c < 0x20 || c == 0x7f || (c == 0xc2 && (unsigned char)s[1] < 0xa0))
		*instead = "?"; /* C0 and C1 control characters */
	return n;
}

void print_clean(FILE *to, const char *s, int width)
{
	size_t left = strlen(s), n;
	const char *instead;
	int used = 0;

	for (; left; s += n, left -= n) {
		n = next_char(s, left, &instead);
		if (width > 0 && used == width - 1 && left > n) {
			fputs("…", to);
			return;
		}
		if (instead)
			fputs(instead, to);
		else
			fwrite(s, 1, n, to);
		used++;
	}
}

static int width_of(const char *s)
{
	size_t left = strlen(s), n;
	const char *instead;
	int w = 0;

	for (; left; s += n, left -= n, w++)
		n = next_char(s, left, &instead);
	return w;
}

int term_width(void)
{
	struct winsize w;

	if (!isatty(STDOUT_FILENO) || ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) || !w.ws_col)
		return 0;
	return w.ws_col;
}

const char *color_off(const struct cli *cli)
{
	return cli->color ? "\033[0m" : "";
}

const char *color_dim(const struct cli *cli)
{
	return cli->color ? "\033[2m" : "";
}

const char *color_for_status(const struct cli *cli, const char *status)
{
	static const struct {
		const char *status, *color;
	} colors[] = {
		{"completed", "\033[32m"}, {"active", "\033[32m"},  {"healthy", "\033[32m"},
		{"up", "\033[32m"},	   {"running", "\033[36m"}, {"assigned", "\033[36m"},
		{"busy", "\033[36m"},	   {"retrying", "\033[33m"}, {"paused", "\033[33m"},
		{"degraded", "\033[33m"},  {"failed", "\033[31m"},  {"error", "\033[31m"},
		{"unhealthy", "\033[31m"}, {"down", "\033[31m"},    {"cancelled", "\033[35m"},
		{"inactive", "\033[2m"},   {"skipped", "\033[2m"},
	};

	for (size_t i = 0; cli->color && status && i < sizeof(colors) / sizeof(colors[0]); i++)
		if (!strcmp(status, colors[i].status))
			return colors[i].color;
	return "";
}

void format_seconds(char *out, size_t size, double s)
{
	long whole = lround(s);

	if (s < 0)
		snprintf(out, size, "-");
	else if (s < 1)
		snprintf(out, size, "%.0f ms", s * 1000);
	else if (s < 60)
		snprintf(out, size, "%.1f s", s);
	else if (whole < 3600)
		snprintf(out, size, "%ld min %ld s", whole / 60, whole % 60);
	else if (whole < 86400)
		snprintf(out, size, "%ld h %ld min", whole / 3600, whole % 3600 / 60);
	else
		snprintf(out, size, "%ld d %ld h", whole / 86400, whole % 86400 / 3600);
}

static char *format_ago(const char *text)
{
	int64_t at;
	double s;

	if (!time_parse(text, &at))
		return xstrdup(text);
	s = (double)(now_ms() - at) / 1000;
	if (s < -1) {
		char span[32];

		format_seconds(span, sizeof(span), -s);
		return xasprintf("in %s", span);
	}
	if (s < 1)
		return xstrdup("just now");
	if (s < 60)
		return xasprintf("%.0f s ago", floor(s));
	if (s < 3600)
		return xasprintf("%.0f min ago", floor(s / 60));
	if (s < 172800)
		return xasprintf("%.0f h ago", floor(s / 3600));
	return xasprintf("%.0f d ago", floor(s / 86400));
}

/* "2026-01-02T03:04:05.678Z" as "2026-01-02 03:04:05Z". */
static char *format_time(const char *text)
{
	char *s = xstrdup(text), *dot = strchr(s, '.');

	if (strlen(s) >= 20 && s[10] == 'T') {
		s[10] = ' ';
		if (dot && s[strlen(s) - 1] == 'Z') {
			dot[0] = 'Z';
			dot[1] = '\0';
		}
	}
	return s;
}

static char *format_list(struct json_object *v)
{
	struct buf b;

	if (!json_object_is_type(v, json_type_array))
		return xstrdup(json_object_get_string(v));
	buf_init(&b);
	for (size_t i = 0; i < json_object_array_length(v); i++) {
		const char *s = json_object_get_string(json_object_array_get_idx(v, i));

		buf_addf(&b, "%s%s", i ? ", " : "", s ? s : "-");
	}
	return b.p;
}

static char *format_number(struct json_object *v)
{
	double d;

	if (!json_object_is_type(v, json_type_double))
		return xstrdup(json_object_get_string(v));
	d = json_object_get_double(v);
	return fabs(d) >= 100 ? xasprintf("%.0f", d) : xasprintf("%.4g", d);
}

char *format_value(struct json_object *v, enum format f)
{
	char span[32];

	if (!v || json_object_is_type(v, json_type_null))
		return xstrdup("-");
	switch (f) {
	case AS_AGO:
		return format_ago(json_object_get_string(v));
	case AS_TIME:
		return format_time(json_object_get_string(v));
	case AS_NUMBER:
		return format_number(v);
	case AS_PERCENT:
		return xasprintf("%.0f%%", floor(json_object_get_double(v) * 100 + 1e-9));
	case AS_SECONDS:
		format_seconds(span, sizeof(span), json_object_get_double(v));
		return xstrdup(span);
	case AS_LIST:
		return format_list(v);
	case AS_COUNT:
		return json_object_is_type(v, json_type_array) ? xasprintf("%zu", json_object_array_length(v))
							       : xstrdup("-");
	case AS_YESNO:
		return xstrdup(json_object_get_boolean(v) ? "yes" : "no");
	default:
		return xstrdup(json_object_get_string(v));
	}
}

const char *object_id(struct json_object *o)
{
	static const char *const names[] = {"task_id",	    "agent_id",	 "execution_id", "pipeline_id",
					    "user_id",	    "key_id",	 "api_key_id",	 "id"};
	const char *best = NULL;
	size_t at = SIZE_MAX;

	/* a task names its agent, pipeline and execution too; its own id comes first */
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		size_t n = 0;

		if (!jx_str(o, names[i]))
			continue;
		json_object_object_foreach(o, key, value)
		{
			(void)value;
			if (!strcmp(key, names[i]))
				break;
			n++;
		}
		if (n < at) {
			at = n;
			best = jx_str(o, names[i]);
		}
	}
	return best;
}

void print_json(struct json_object *v)
{
	puts(json_object_to_json_string_ext(v, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE |
						       JSON_C_TO_STRING_SPACED));
}

/* ---- tables ---- */

static bool right_aligned(enum format f)
{
	return f == AS_NUMBER || f == AS_PERCENT || f == AS_COUNT || f == AS_SECONDS;
}

/* Narrows the widest cuttable columns until the table fits a terminal `total` wide. */
static void fit(const struct column *columns, int *widths, int ncols, int total)
{
	for (;;) {
		int sum = 2 * (ncols - 1), widest = -1;

		for (int c = 0; c < ncols; c++) {
			sum += widths[c];
			if ((columns[c].format == AS_TEXT || columns[c].format == AS_LIST) && widths[c] > 12 &&
			    (widest < 0 || widths[c] > widths[widest]))
				widest = c;
		}
		if (sum <= total || widest < 0)
			return;
		widths[widest] -= sum - total < widths[widest] - 12 ? sum - total : widths[widest] - 12;
	}
}

static void print_cell(const struct cli *cli, const char *text, const struct column *col, int width, bool last)
{
	int w = width_of(text), shown = w > width ? width : w;
	const char *color = col->format == AS_STATUS ? color_for_status(cli, text) : "";

	if (right_aligned(col->format))
		printf("%*s", width - shown, "");
	fputs(color, stdout);
	print_clean(stdout, text, width);
	if (*color)
		fputs(color_off(cli), stdout);
	if (!last && !right_aligned(col->format))
		printf("%*s", width - shown, "");
	fputs(last ? "\n" : "  ", stdout);
}

static void print_titles(const struct cli *cli, const struct column *columns, const int *widths, int ncols)
{
	fputs(color_dim(cli), stdout);
	for (int c = 0; c < ncols; c++) {
		bool last = c == ncols - 1;

		if (right_aligned(columns[c].format))
			printf("%*s%s", widths[c], columns[c].title, last ? "" : "  ");
		else
			printf("%-*s%s", last ? 0 : widths[c], columns[c].title, last ? "" : "  ");
	}
	printf("%s\n", color_off(cli));
}

void print_table(const struct cli *cli, struct json_object *rows, const struct column *columns)
{
	size_t nrows = jx_len(rows, "");
	int ncols = 0, total = term_width(), *widths;
	char **cells;

	while (columns[ncols].title)
		ncols++;
	cells = xcalloc(nrows * (size_t)ncols + 1, sizeof(*cells));
	widths = xcalloc((size_t)ncols, sizeof(*widths));
	for (int c = 0; c < ncols; c++)
		widths[c] = (int)strlen(columns[c].title);
	for (size_t r = 0; r < nrows; r++) {
		for (int c = 0; c < ncols; c++) {
			struct json_object *row = json_object_array_get_idx(rows, r);
			char *cell = format_value(jx_get(row, columns[c].path), columns[c].format);

			cells[r * (size_t)ncols + (size_t)c] = cell;
			if (width_of(cell) > widths[c])
				widths[c] = width_of(cell);
		}
	}
	if (total)
		fit(columns, widths, ncols, total);
	print_titles(cli, columns, widths, ncols);
	for (size_t i = 0; i < nrows * (size_t)ncols; i++) {
		int c = (int)(i % (size_t)ncols);

		print_cell(cli, cells[i], &columns[c], widths[c], c == ncols - 1);
		free(cells[i]);
	}
	free(cells);
	free(widths);
}

/* ---- outlines ---- */

static bool is_scalar(struct json_object *v)
{
	return !json_object_is_type(v, json_type_object) && !json_object_is_type(v, json_type_array);
}

static bool all_scalars(struct json_object *v)
{
	for (size_t i = 0; i < json_object_array_length(v); i++)
		if (!is_scalar(json_object_array_get_idx(v, i)))
			return false;
	return true;
}

static bool is_time(const char *key, struct json_object *v)
{
	size_t n = strlen(key);
	int64_t ms;

	return json_object_is_type(v, json_type_string) &&
	       ((n > 3 && !strcmp(key + n - 3, "_at")) || !strcmp(key, "timestamp") ||
		!strcmp(key, "last_heartbeat") || !strcmp(key, "deadline")) &&
	       time_parse(json_object_get_string(v), &ms);
}

static void print_scalar(const struct cli *cli, const char *key, struct json_object *v)
{
	bool status = !strcmp(key, "status") || !strcmp(key, "overall_health");
	char *text = format_value(v, json_object_is_type(v, json_type_boolean)	? AS_YESNO
				     : json_object_is_type(v, json_type_double) ? AS_NUMBER
				     : is_time(key, v)				? AS_TIME
										: AS_LIST);
	const char *color = status ? color_for_status(cli, text) : "";

	fputs(color, stdout);
	print_clean(stdout, text, 0);
	printf("%s\n", *color ? color_off(cli) : "");
	free(text);
}

/* A value that takes lines of its own. */
static bool is_block(struct json_object *v)
{
	return !is_scalar(v) && !(json_object_is_type(v, json_type_array) && all_scalars(v));
}

static void print_member(const struct cli *cli, const char *key, struct json_object *v, int indent, int width)
{

	printf("%*s%s", indent, "", color_dim(cli));
	print_clean(stdout, key, 0);
	fputs(color_off(cli), stdout);
	if (is_block(v)) {
		bool empty = json_object_is_type(v, json_type_object) && !json_object_object_length(v);

		puts(empty ? "  -" : "");
		print_outline(cli, v, indent + 2);
		return;
	}
	printf("%*s  ", width - width_of(key), "");
	if (json_object_is_type(v, json_type_array) && !json_object_array_length(v))
		puts("-");
	else
		print_scalar(cli, key, v);
}

void print_outline(const struct cli *cli, struct json_object *v, int indent)
{
	int width = 0;

	if (json_object_is_type(v, json_type_array)) {
		for (size_t i = 0; i < json_object_array_length(v); i++) {
			printf("%*s%s#%zu%s\n", indent, "", color_dim(cli), i + 1, color_off(cli));
			print_outline(cli, json_object_array_get_idx(v, i), indent + 2);
		}
		return;
	}
	if (!json_object_is_type(v, json_type_object)) {
		printf("%*s", indent, "");
		print_scalar(cli, "", v);
		return;
	}
	json_object_object_foreach(v, name, inner)
	{
		int w = width_of(name);

		if (!is_block(inner) && w > width)
			width = w;
	}
	json_object_object_foreach(v, key, value) print_member(cli, key, value, indent, width);
}
