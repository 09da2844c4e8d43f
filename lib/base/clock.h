// SPDX-License-Identifier: MIT
/*
 * Time. Wall-clock milliseconds since the epoch are what is stored and sent; the monotonic clock
 * measures how long something took. Tests move the wall clock with clock_shift().
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdbool.h>
#include <stdint.h>
#include "error.h"

#define TIME_TEXT 32	/* room for "2026-01-02T03:04:05.678Z" and the NUL, and some */

/* Wall clock, milliseconds since 1970-01-01T00:00:00Z, plus the test shift. */
int64_t now_ms(void);
/* Monotonic clock in microseconds. */
int64_t mono_us(void);
/* Move now_ms() by this many milliseconds from here on (tests; also MCP_CLOCK_SHIFT_MS at start). */
void clock_shift(int64_t ms);

/* RFC 3339 UTC with milliseconds into out; empty when the year is not 0 to 9999. */
void time_format(int64_t ms, char out[TIME_TEXT]);
/*
 * Read an RFC 3339 date-time (any offset, up to nanoseconds, which are cut to milliseconds) from
 * year 1970 to 9999. False when it is not one.
 */
bool time_parse(const char *text, int64_t *ms);

#endif
