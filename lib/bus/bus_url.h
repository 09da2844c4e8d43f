// SPDX-License-Identifier: MIT
/* REDIS_URL to its parts: for lib/bus, and for the relay, which talks to Redis on its own loop. */
#ifndef BUS_BUS_URL_H
#define BUS_BUS_URL_H

#include "../base/error.h"

struct bus_url {
	char *host;		/* NULL: unix socket */
	int port;
	char *path;
	char *user, *pass;	/* NULL when none */
	int db;
};
/* ERR_VALIDATION with a public message that never holds the URL itself (it may hold a password). */
enum err bus_url_parse(const char *url, struct bus_url *out, struct error *e) MUST_CHECK;
void bus_url_release(struct bus_url *u);

#endif
