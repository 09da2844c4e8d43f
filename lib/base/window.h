// SPDX-License-Identifier: MIT
/*
 * Counting in fixed 60 s windows inside this process: what limits fall back to while Redis is away, so that
 * nobody is let in without any. Keys share WINDOW_SLOTS counters; two that meet in one are counted together, on
 * the strict side. Thread-safe.
 */
#ifndef BASE_WINDOW_H
#define BASE_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

#define WINDOW_S 60
#define WINDOW_SLOTS 8192

/*
 * Add cost to key's counter unless that would pass limit (then nothing is counted and false comes back). *left is what
 * remains, *reset_s the seconds until the window ends. limit ≤ 0: not limited.
 */
bool window_take(const char *key, int64_t limit, int64_t cost, int64_t *left, int *reset_s);
/* The counter as it stands. */
int64_t window_count(const char *key);

#endif
