// SPDX-License-Identifier: MIT
/*
 * Signed messages: how a receiver knows that a webhook or a pushed task comes from this panel.
 *
 *   X-MCP-Signature: t=1767225600,v1=5f2b…   (64 hex digits)
 *
 * v1 is HMAC-SHA-256(secret, "<t>.<body>"), t the time of sending in seconds since the epoch. The time is
 * signed with the body, so a receiver that refuses old times cannot be replayed to. A header may hold
 * several v1 (while a secret is being changed); one that holds is enough.
 */
#ifndef NET_SIGN_H
#define NET_SIGN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "../base/banned.h"

#define SIGNATURE_HEADER	"X-MCP-Signature"
#define SIGNATURE_TEXT		112	/* "t=<20>,v1=<64>" and the NUL */
#define SIGNATURE_TOLERANCE_S	300	/* what receivers are advised to allow */

void sign_message(const char *secret, int64_t t, const void *body, size_t n, char out[SIGNATURE_TEXT]);
/* header's value fits the body, and its time lies within tolerance_s of now (both s); constant time. */
bool sign_verify(const char *secret, const char *header, const void *body, size_t n, int64_t now,
		 int64_t tolerance_s);

#endif
