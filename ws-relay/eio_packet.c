// SPDX-License-Identifier: MIT
#include "eio_packet.h"

#include "../lib/base/utf8.h"

#define SEPARATOR '\x1e'

bool eio_packet_read(const char *text, size_t n, struct arena *a, struct eio_packet *out)
{
	if (n == 0)
		return false;
	if (text[0] == 'b') {
		*out = (struct eio_packet){ .type = EIO_MESSAGE, .binary = true };
		out->data = base64_read(a, text + 1, n - 1, &out->n);
		return out->data != NULL;
	}
	if (text[0] < '0' || text[0] > '6' || !utf8_valid(text, n))
		return false;
	*out = (struct eio_packet){ .type = (enum eio_type)(text[0] - '0'), .data = text + 1, .n = n - 1 };
	return true;
}

bool eio_payload_next(const char *text, size_t n, size_t *at, const char **part, size_t *part_len)
{
	if (*at > n || (n == 0))
		return false;
	const char *end = memchr(text + *at, SEPARATOR, n - *at);

	*part = text + *at;
	*part_len = end ? (size_t)(end - *part) : n - *at;
	*at += *part_len + 1;
	return true;
}

void base64_add(struct buf *out, const void *data, size_t n)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const unsigned char *p = data;

	for (size_t i = 0; i < n; i += 3) {
		size_t left = n - i;
		unsigned v = (unsigned)p[i] << 16 | (left > 1 ? (unsigned)p[i + 1] << 8 : 0) | (left > 2 ? p[i + 2] : 0);
		const char four[4] = { digits[v >> 18], digits[v >> 12 & 63], left > 1 ? digits[v >> 6 & 63] : '=',
				       left > 2 ? digits[v & 63] : '=' };

		buf_add(out, four, 4);
	}
}

static int digit(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

char *base64_read(struct arena *a, const char *text, size_t n, size_t *len)
{
	while (n && text[n - 1] == '=' && n % 4 != 1)
		n--;
	char *out = arena_alloc(a, n * 3 / 4 + 4);
	unsigned v = 0;
	size_t got = 0;

	if (n % 4 == 1)
		return NULL;
	for (size_t i = 0; i < n; i++) {
		int d = digit(text[i]);

		if (d < 0)
			return NULL;
		v = v << 6 | (unsigned)d;
		if (i % 4)
			out[got++] = (char)(v >> (6 - 2 * (i % 4)));
	}
	out[got] = '\0';
	*len = got;
	return out;
}
