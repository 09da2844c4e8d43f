// SPDX-License-Identifier: MIT
/*
 * Server-sent events: GET /api/v1/events/stream, for EventSource and curl -N. The query names channel, ids and types; a
 * client that comes again with Last-Event-ID gets what the stream has since then.
 */
#ifndef RELAY_SSE_H
#define RELAY_SSE_H

#include "http.h"

void sse_request(struct conn *c);

#endif
