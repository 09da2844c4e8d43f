// SPDX-License-Identifier: MIT
/* What a request brings, read from libwebsockets into its connection. */
#ifndef RELAY_REQUEST_H
#define RELAY_REQUEST_H

#include "http.h"

/* While the headers are there: in the callbacks of a request or an upgrade. */
void request_read(struct conn *c);

#endif
