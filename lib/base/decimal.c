// SPDX-License-Identifier: MIT
#include "decimal.h"

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* The exponent's value, held at ±DECIMAL_EXP_MAX. */
static int64_t read_exponent(const char *s, const char *end)
{
	int64_t v = 0;
	bool neg = s < end && *s == '-';

	if (s < end && (*s == '-' || *s == '+'))
		s++;
	for (; s < end && is_digit(*s); s++) {
		if (v < DECIMAL_EXP_MAX)
			v = v * 10 + (*s - '0');
	}
	if (v > DECIMAL_EXP_MAX)
		v = DECIMAL_EXP_MAX;
	return neg ? -v : v;
}

void decimal_read(struct decimal *d, const char *text, size_t n)
{
	const char *s = text;
	const char *end = text + n;
	bool point = false;
	int64_t exp = 0;

	d->neg = s < end && *s == '-';
	d->n = 0;
	if (d->neg)
		s++;
	for (; s < end && (is_digit(*s) || *s == '.'); s++) {
		if (*s == '.') {
			point = true;
			continue;
		}
		/* Leading zeros only move the point; digits before it raise the exponent. */
		if (*s == '0' && d->n == 0) {
			exp -= point;
			continue;
		}
		if (d->n < sizeof(d->digits))
			d->digits[d->n++] = *s;
		exp += !point;
	}
	if (s < end)
		exp += read_exponent(s + 1, end);
	while (d->n && d->digits[d->n - 1] == '0')
		d->n--;
	d->exp = d->n ? exp : 0;
	if (d->n == 0)
		d->neg = false;
}

static int cmp_magnitude(const struct decimal *a, const struct decimal *b)
{
	unsigned n = a->n < b->n ? a->n : b->n;

	/* Zero's exponent says nothing about its size. */
	if (a->n == 0 || b->n == 0)
		return (a->n > 0) - (b->n > 0);
	if (a->exp != b->exp)
		return a->exp < b->exp ? -1 : 1;
	int c = memcmp(a->digits, b->digits, n);

	return c ? c : (a->n > b->n) - (a->n < b->n);
}

int decimal_cmp(const struct decimal *a, const struct decimal *b)
{
	if (a->neg != b->neg)
		return a->neg ? -1 : 1;
	return a->neg ? cmp_magnitude(b, a) : cmp_magnitude(a, b);
}

bool decimal_is_whole(const struct decimal *d)
{
	return d->exp >= (int64_t)d->n;
}

bool decimal_int(const struct decimal *d, int64_t *out)
{
	__int128 v = 0;

	if (!decimal_is_whole(d) || d->exp > 19)
		return false;
	for (int64_t i = 0; i < d->exp; i++)
		v = v * 10 + (i < (int64_t)d->n ? d->digits[i] - '0' : 0);
	if (d->neg)
		v = -v;
	if (v < INT64_MIN || v > INT64_MAX)
		return false;
	*out = (int64_t)v;
	return true;
}

bool decimal_is_multiple(const struct decimal *d, const struct decimal *unit)
{
	uint64_t m = 0;
	uint64_t rest = 0;
	uint64_t power = 10;

	if (d->n == 0)
		return true;
	if (unit->n == 0 || unit->n > DECIMAL_UNIT_DIGITS)
		return false;
	for (unsigned i = 0; i < unit->n; i++)
		m = m * 10 + (uint64_t)(unit->digits[i] - '0');
	/* With whole coefficients D and m: d / unit = D / m × 10^shift. */
	int64_t shift = (d->exp - (int64_t)d->n) - (unit->exp - (int64_t)unit->n);

	/* D ends in a digit other than 0, so it holds no factor 10 that a negative shift could take away. */
	if (shift < 0)
		return false;
	for (unsigned i = 0; i < d->n; i++)
		rest = (uint64_t)(((unsigned __int128)rest * 10 + (uint64_t)(d->digits[i] - '0')) % m);
	for (power %= m; shift; shift >>= 1) {
		if (shift & 1)
			rest = (uint64_t)((unsigned __int128)rest * power % m);
		power = (uint64_t)((unsigned __int128)power * power % m);
	}
	return rest == 0;
}
