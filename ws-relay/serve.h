// SPDX-License-Identifier: MIT
/* libwebsockets: the context on our loop, and its callbacks turned into calls of http.h. */
#ifndef RELAY_SERVE_H
#define RELAY_SERVE_H

#include <stdbool.h>

/* Listen. False: said why in the log. */
bool serve_start(void);
void serve_stop(void);
/* After the loop has run out. */
void serve_finish(void);

#endif
