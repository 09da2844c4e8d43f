// SPDX-License-Identifier: MIT
#include "clock.h"

#include <stdatomic.h>

#define TIME_MAX_MS INT64_C(253402300799999)	/* 9999-12-31T23:59:59.999Z */
#define TIME_MIN_MS INT64_C(-62167219200000)	/* 0000-01-01T00:00:00.000Z */

static _Atomic int64_t shift_ms;

static void __attribute__((constructor)) shift_from_environment(void)
{
	const char *text = getenv("MCP_CLOCK_SHIFT_MS");

	if (text)
		shift_ms = strtoll(text, NULL, 10);
}

int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000 + shift_ms;
}

int64_t mono_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

void clock_shift(int64_t ms)
{
	shift_ms += ms;
}

void time_format(int64_t ms, char out[TIME_TEXT])
{
	time_t s = (time_t)(ms / 1000);
	int frac = (int)(ms % 1000);
	struct tm tm;

	/* Round down, before 1970 too. */
	if (frac < 0) {
		frac += 1000;
		s--;
	}
	if (ms > TIME_MAX_MS || ms < TIME_MIN_MS || !gmtime_r(&s, &tm)) {
		out[0] = '\0';
		return;
	}
	char *p = out;
	int year = tm.tm_year + 1900;
	/* By hand: this runs several times in every answer, and snprintf costs ten times as much. */
	const int part[] = { year / 100, year % 100, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec };
	const char after[] = { 0, '-', '-', 'T', ':', ':', '.' };

	for (int i = 0; i < 7; i++) {
		*p++ = (char)('0' + part[i] / 10 % 10);
		*p++ = (char)('0' + part[i] % 10);
		if (after[i])
			*p++ = after[i];
	}
	*p++ = (char)('0' + frac / 100);
	*p++ = (char)('0' + frac / 10 % 10);
	*p++ = (char)('0' + frac % 10);
	*p++ = 'Z';
	*p = '\0';
}

static bool digits(const char **s, int n, int *out)
{
	*out = 0;
	while (n--) {
		if (**s < '0' || **s > '9')
			return false;
		*out = *out * 10 + (*(*s)++ - '0');
	}
	return true;
}

static bool one(const char **s, const char *set)
{
	if (!**s || !strchr(set, **s))
		return false;
	(*s)++;
	return true;
}

static bool parse_offset(const char **s, int *minutes)
{
	int h;
	int m;
	char sign = **s;

	*minutes = 0;
	if (one(s, "Zz"))
		return true;
	if (!one(s, "+-") || !digits(s, 2, &h) || !one(s, ":") || !digits(s, 2, &m) || h > 23 || m > 59)
		return false;
	*minutes = (h * 60 + m) * (sign == '-' ? -1 : 1);
	return true;
}

bool time_parse(const char *s, int64_t *ms)
{
	static const int month_days[] = { 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	struct tm tm = { 0 };
	int frac = 0;
	int offset;

	if (!digits(&s, 4, &tm.tm_year) || !one(&s, "-") || !digits(&s, 2, &tm.tm_mon) || !one(&s, "-") ||
	    !digits(&s, 2, &tm.tm_mday) || !one(&s, "Tt ") || !digits(&s, 2, &tm.tm_hour) || !one(&s, ":") ||
	    !digits(&s, 2, &tm.tm_min) || !one(&s, ":") || !digits(&s, 2, &tm.tm_sec))
		return false;
	if (one(&s, ".")) {
		int n = 0;

		for (; *s >= '0' && *s <= '9'; s++, n++) {
			if (n < 3)
				frac = frac * 10 + (*s - '0');
		}
		if (n == 0 || n > 9)
			return false;
		for (; n < 3; n++)
			frac *= 10;
	}
	if (!parse_offset(&s, &offset) || *s)
		return false;
	bool leap = (tm.tm_year % 4 == 0 && tm.tm_year % 100 != 0) || tm.tm_year % 400 == 0;

	if (tm.tm_year < 1970 || tm.tm_mon < 1 || tm.tm_mon > 12 || tm.tm_mday < 1 ||
	    tm.tm_mday > month_days[tm.tm_mon - 1] || (tm.tm_mon == 2 && tm.tm_mday == 29 && !leap) ||
	    tm.tm_hour > 23 || tm.tm_min > 59 || tm.tm_sec > 60)
		return false;
	tm.tm_year -= 1900;
	tm.tm_mon -= 1;
	int64_t at = ((int64_t)timegm(&tm) - (int64_t)offset * 60) * 1000 + frac;

	/* The offset, or a leap second, can carry a date over either end. */
	if (at < 0 || at > TIME_MAX_MS)
		return false;
	*ms = at;
	return true;
}
