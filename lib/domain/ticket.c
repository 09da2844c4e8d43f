// SPDX-License-Identifier: MIT
/*
 * One-time tickets for sockets. A browser cannot give a WebSocket an Authorization header, and a token in an address
 * ends up in logs; a ticket is worth nothing once it was used, or half a minute later. It stands for the caller's own
 * credential: the relay takes it out of Redis and goes on as that caller, so a revoked token's ticket is no way in.
 */
#include "../base/secret.h"
#include "session.h"

#define TICKET_BYTES 32

enum err session_ticket(struct op *op, const char *authorization, const char **ticket)
{
	static const char hex[] = "0123456789abcdef";
	char text[B64URL_LEN(TICKET_BYTES) + 1];
	char key[sizeof("ticket:") + 2 * MAC_LEN] = "ticket:";
	uint8_t bits[TICKET_BYTES];
	uint8_t digest[MAC_LEN];
	struct buf b;
	struct jw w;

	random_bytes(bits, sizeof(bits));
	b64url_encode(bits, sizeof(bits), text);
	/* Redis knows the hash alone: who can read its keys cannot use the tickets. */
	sha256(text, strlen(text), digest);
	for (int i = 0; i < MAC_LEN; i++) {
		key[7 + 2 * i] = hex[digest[i] >> 4];
		key[8 + 2 * i] = hex[digest[i] & 15];
	}
	key[7 + 2 * MAC_LEN] = '\0';
	buf_init(&b);
	jw_init(&w, &b);
	jw_obj(&w);
	jw_kstr(&w, "authorization", authorization);
	jw_kstr(&w, "subject", op->caller->id);
	jw_end_obj(&w);
	enum err err = bus_cache_set(op->app->bus, key, b.p, SESSION_TICKET_S);

	secret_wipe(b.p, b.n);
	buf_release(&b);
	if (err)
		return error_set(op->err, ERR_REDIS, "the ticket could not be kept");
	*ticket = arena_strdup(op->arena, text);
	return OK;
}
