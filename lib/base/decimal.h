// SPDX-License-Identifier: MIT
/*
 * Exact reading of JSON numbers. A double holds 17 digits, so two different numbers can become the
 * same double and 1.0000000000000000000001 a whole one; what decides about somebody's data compares
 * the decimal text instead, as sign, digits and exponent.
 *
 * Exponents are kept up to DECIMAL_EXP_MAX; beyond that (a number with a billion digits) they count
 * as that large.
 */
#ifndef BASE_DECIMAL_H
#define BASE_DECIMAL_H

#include <stdbool.h>
#include <stdint.h>
#include "limits.h"
#include "banned.h"

#define DECIMAL_EXP_MAX 1000000000

/* ± 0.d1d2…dn × 10^exp, d1 and dn not 0; zero has n = 0, no sign and exp 0. One form per value. */
struct decimal {
	bool neg;
	int64_t exp;
	unsigned n;
	char digits[LIMIT_NUMBER_LEN];
};

/* text[0..n) is a number that json_parse accepted (or any text of that grammar). */
void decimal_read(struct decimal *d, const char *text, size_t n);
/* <0, 0, >0 as a is less than, equal to, greater than b. */
int decimal_cmp(const struct decimal *a, const struct decimal *b);
/* No fraction? */
bool decimal_is_whole(const struct decimal *d);
/* True and the value when it is whole and within int64. */
bool decimal_int(const struct decimal *d, int64_t *out);
/* Digits that a unit of decimal_is_multiple() may have. */
#define DECIMAL_UNIT_DIGITS 18
/* Is d = k × unit for a whole k? unit > 0 with at most DECIMAL_UNIT_DIGITS digits. */
bool decimal_is_multiple(const struct decimal *d, const struct decimal *unit);

#endif
