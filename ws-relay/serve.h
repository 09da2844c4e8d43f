// SPDX-License-Identifier: MIT
/* libwebsockets: the context on our loop, and its callbacks turned into calls of http.h. */
#ifndef RELAY_SERVE_H
#define RELAY_SERVE_H

#include "../lib/base/error.h"

/* Listen. ERR_UNAVAILABLE: the message names the setting and why. */
enum err serve_start(struct error *e) MUST_CHECK;
void serve_stop(void);
/* After the loop has run out. */
void serve_finish(void);

#endif
