// SPDX-License-Identifier: MIT
/* Identifiers: UUIDv7 (RFC 9562 §5.7), so that they sort by the time they were made. */
#ifndef BASE_ID_H
#define BASE_ID_H

#include <stdbool.h>
#include <stdint.h>
#include "error.h"

#define ID_LEN 36
#define ID_TEXT 37	/* with the NUL */

/*
 * A new id: 48 bits of milliseconds, then a counter within the millisecond and random bits from
 * getrandom(2), so that ids of one process grow strictly. Thread-safe.
 */
void id_new(char out[ID_TEXT]);
/* True for the canonical lower-case form of any UUID version. */
bool id_valid(const char *text);
/* 16 bytes from canonical text; false when it is not valid. And back. */
bool id_to_bytes(const char *text, uint8_t out[16]);
void id_from_bytes(const uint8_t in[16], char out[ID_TEXT]);
/* The smallest possible id of that millisecond: the lower bound of a time range. */
void id_at(int64_t ms, char out[ID_TEXT]);

/* n random bytes from the kernel; aborts when it has none to give. */
void random_bytes(void *out, size_t n);
/* 2*n hex digits and a NUL. */
void hex_encode(const uint8_t *in, size_t n, char *out);

#endif
