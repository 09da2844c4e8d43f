// SPDX-License-Identifier: MIT
/*
 * The other end of outbound calls in the tests: a small HTTP or SMTP server on a free loopback port, with real
 * sockets and, when asked, real TLS (a certificate for 127.0.0.1 and localhost made at start).
 *
 * HTTP answers by path: /ok 200 with the request as body · /status/NNN · /redirect · /big (3 MiB) ·
 * /drip (never ends) · /silent (never answers) · /garbage (no HTTP) · /hangup · /lie (says more than it sends) ·
 * /retry (503 with Retry-After: 7). Connections are kept open.
 * SMTP takes any mail but answers 550 to recipients whose address starts "refuse" and 451 to "later".
 *
 * It does not include lib/base/error.h, which cannot stand beside OpenSSL's headers.
 */
#ifndef TESTS_PEER_H
#define TESTS_PEER_H

#include <stdbool.h>

enum peer_kind { PEER_HTTP, PEER_HTTPS, PEER_SMTP, PEER_SMTP_STARTTLS };

struct peer;

/* NULL when no socket or certificate could be made. */
struct peer *peer_start(enum peer_kind kind);
void peer_stop(struct peer *p);
int peer_port(const struct peer *p);
/* Path of the PEM file to trust; NULL without TLS. */
const char *peer_ca(const struct peer *p);
int peer_connections(struct peer *p);	/* accepted so far */
/* What the last request or mail session sent (lines of SMTP as they came); the caller frees it. */
char *peer_seen(struct peer *p);

#endif
