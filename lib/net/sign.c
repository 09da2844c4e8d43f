// SPDX-License-Identifier: MIT
#include "sign.h"

#include <inttypes.h>

#include "../base/arena.h"
#include "../base/id.h"
#include "../base/secret.h"

#define HEADER_MAX 1024

static void hex_of(const char *secret, int64_t t, const void *body, size_t n, char out[MAC_HEX])
{
	uint8_t mac[MAC_LEN];
	char stamp[24];
	int len = snprintf(stamp, sizeof(stamp), "%" PRId64 ".", t);
	char *text = xmalloc((size_t)len + n + 1);

	memcpy(text, stamp, (size_t)len);
	if (n)
		memcpy(text + len, body, n);
	mac_sha256(secret, strlen(secret), text, (size_t)len + n, mac);
	free(text);
	hex_encode(mac, sizeof(mac), out);
}

void sign_message(const char *secret, int64_t t, const void *body, size_t n, char out[SIGNATURE_TEXT])
{
	char hex[MAC_HEX];

	hex_of(secret, t, body, n, hex);
	snprintf(out, SIGNATURE_TEXT, "t=%" PRId64 ",v1=%s", t, hex);
}

/* "t=" and digits, nothing else; false otherwise. */
static bool read_time(const char *s, size_t n, int64_t *t)
{
	if (n < 3 || n > 17 || memcmp(s, "t=", 2))
		return false;
	*t = 0;
	for (size_t i = 2; i < n; i++) {
		if (s[i] < '0' || s[i] > '9')
			return false;
		*t = *t * 10 + (s[i] - '0');
	}
	return true;
}

bool sign_verify(const char *secret, const char *header, const void *body, size_t n, int64_t now,
		 int64_t tolerance_s)
{
	char want[MAC_HEX];
	int64_t t;
	size_t part = strcspn(header, ",");
	bool good = false;

	if (strnlen(header, HEADER_MAX + 1) > HEADER_MAX || !read_time(header, part, &t) ||
	    t < now - tolerance_s || t > now + tolerance_s)
		return false;
	hex_of(secret, t, body, n, want);
	/* Other schemes than v1 are passed over: the next one can be sent beside it. */
	for (const char *s = header + part; *s == ','; s += strcspn(s, ",")) {
		s++;
		if (strcspn(s, ",") == 3 + MAC_HEX - 1 && !memcmp(s, "v1=", 3))
			good |= secret_equal(s + 3, want, MAC_HEX - 1);
	}
	return good;
}
