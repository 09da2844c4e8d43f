// SPDX-License-Identifier: MIT
#include "secret.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>

bool secret_equal(const void *a, const void *b, size_t n)
{
	const unsigned char *x = a;
	const unsigned char *y = b;
	uint64_t diff = 0;

	/* Eight bytes at a time: OpenSSL's goes byte by byte, and this runs for every request's token. */
	while (n >= sizeof(uint64_t)) {
		uint64_t p;
		uint64_t q;

		memcpy(&p, x, sizeof(p));
		memcpy(&q, y, sizeof(q));
		diff |= p ^ q;
		x += sizeof(p);
		y += sizeof(q);
		n -= sizeof(p);
	}
	while (n--)
		diff |= (uint64_t)(*x++ ^ *y++);
	/* Keeps the compiler from leaving the loop as soon as the answer is known. */
	__asm__ volatile("" : "+r"(diff));
	return diff == 0;
}

bool secret_str_equal(const char *a, const char *b)
{
	size_t n = strlen(a);

	return n == strlen(b) && secret_equal(a, b, n);
}

void secret_wipe(void *p, size_t n)
{
	OPENSSL_cleanse(p, n);
}

void secret_free(char *s)
{
	if (s)
		secret_wipe(s, strlen(s));
	free(s);
}

void sha256(const void *data, size_t n, uint8_t out[MAC_LEN])
{
	SHA256(data, n, out);
}

void mac_sha256(const void *key, size_t key_len, const void *data, size_t n, uint8_t out[MAC_LEN])
{
	unsigned len = 0;

	/* Fails only without memory or without SHA-256: there is nothing sensible to go on with. */
	if (!HMAC(EVP_sha256(), key, (int)key_len, data, n, out, &len) || len != MAC_LEN)
		abort();
}

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

void b64url_encode(const void *in, size_t n, char *out)
{
	const uint8_t *p = in;

	for (; n >= 3; n -= 3, p += 3) {
		*out++ = alphabet[p[0] >> 2];
		*out++ = alphabet[(p[0] & 3) << 4 | p[1] >> 4];
		*out++ = alphabet[(p[1] & 15) << 2 | p[2] >> 6];
		*out++ = alphabet[p[2] & 63];
	}
	if (n) {
		*out++ = alphabet[p[0] >> 2];
		*out++ = alphabet[(p[0] & 3) << 4 | (n == 2 ? p[1] >> 4 : 0)];
		if (n == 2)
			*out++ = alphabet[(p[1] & 15) << 2];
	}
	*out = '\0';
}

static int b64url_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == '-')
		return 62;
	return c == '_' ? 63 : -1;
}

ptrdiff_t b64url_decode(const char *in, size_t n, uint8_t *out)
{
	const uint8_t *start = out;
	uint32_t bits = 0;
	unsigned have = 0;

	if (n % 4 == 1)
		return -1;
	for (size_t i = 0; i < n; i++) {
		int v = b64url_value(in[i]);

		if (v < 0)
			return -1;
		bits = bits << 6 | (uint32_t)v;
		have += 6;
		if (have >= 8) {
			have -= 8;
			*out++ = (uint8_t)(bits >> have);
			bits &= (1u << have) - 1;
		}
	}
	return bits ? -1 : out - start;
}
