// SPDX-License-Identifier: MIT
/*
 * Primitives that handling secrets needs and that must stand once: comparison in constant time,
 * wiping that the compiler cannot drop, SHA-256 and its HMAC, and base64url without padding.
 */
#ifndef BASE_SECRET_H
#define BASE_SECRET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "banned.h"

#define MAC_LEN 32
#define MAC_HEX (2 * MAC_LEN + 1)

/* a[0..n) equals b[0..n); the time depends on n only. */
bool secret_equal(const void *a, const void *b, size_t n);
/* The same for strings; the time depends on their lengths only. */
bool secret_str_equal(const char *a, const char *b);
void secret_wipe(void *p, size_t n);
/* Wipe and free a string; NULL is fine. */
void secret_free(char *s);

void sha256(const void *data, size_t n, uint8_t out[MAC_LEN]);
void mac_sha256(const void *key, size_t key_len, const void *data, size_t n, uint8_t out[MAC_LEN]);

/* Characters base64url makes of n bytes. */
#define B64URL_LEN(n) (((n) * 4 + 2) / 3)
/* Writes B64URL_LEN(n) characters and a NUL. */
void b64url_encode(const void *in, size_t n, char *out);
/*
 * Strict: the URL alphabet only, no padding, no line breaks, no non-zero stray bits (RFC 4648
 * section 3.5), so that a text has one reading. out has room for n * 3 / 4 bytes. Returns the
 * number of bytes, or -1.
 */
ptrdiff_t b64url_decode(const char *in, size_t n, uint8_t *out);

#endif
