// SPDX-License-Identifier: MIT
/*
 * Regular expressions that come from outside: the `pattern` of a validation schema. Perl-compatible
 * (PCRE2), set to read what ECMA-262 and Perl share as ECMA-262 does: \d \w \s are ASCII, `$` matches at
 * the very end only, `.` matches no line break, \uHHHH and \u{H} are characters, `[]` matches nothing. A
 * pattern may match anywhere in the string unless it is anchored.
 *
 * A backtracking matcher can take exponential time, and PCRE2's own match limit starts again at each
 * position of the subject, so it bounds nothing here. Instead every step of a match is counted, weighted
 * by how far it read, and a match that has spent the steps it was given ends without an answer.
 *
 * Everything lives in the arena; nothing is released. Not thread-safe.
 */
#ifndef BASE_PATTERN_H
#define BASE_PATTERN_H

#include <stdint.h>
#include "arena.h"

struct pattern;
struct pattern_set;

enum pattern_result { PATTERN_NO, PATTERN_YES, PATTERN_COSTLY };

/* What patterns of one check share. */
struct pattern_set *pattern_set_new(struct arena *a);
/*
 * Compile text[0..n), which is valid UTF-8 of at most LIMIT_PATTERN bytes. NULL when it is not a pattern or
 * too large: *why then says so.
 */
struct pattern *pattern_new(struct pattern_set *set, const char *text, size_t n, const char **why);
/* Search in s[0..n), valid UTF-8. *steps, what may still be spent, is lowered; about 10 ns each. */
enum pattern_result pattern_match(struct pattern *p, const char *s, size_t n, uint64_t *steps);

#endif
