// SPDX-License-Identifier: MIT
/*
 * Redis on the loop: one connection listens to {mcp}:events and {mcp}:wake, one takes commands. Both dial again by
 * themselves; who listens is told "up" and "down", and between the two nothing is known of what was said.
 */
#ifndef RELAY_REDIS_H
#define RELAY_REDIS_H

#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <uv.h>
#include "../lib/base/error.h"

struct redis_ears {
	void (*event)(const char *envelope, size_t n);	/* as published */
	void (*wake)(const char *word);			/* see lib/bus/bus.h */
	void (*up)(void);				/* listening again */
	void (*down)(void);
};

enum err redis_start(uv_loop_t *loop, const char *url, const struct redis_ears *ears, struct error *e) MUST_CHECK;
bool redis_up(void);		/* listening */

/*
 * One command; done gets the reply, or NULL when Redis was not reached. It runs from the loop, or from within this call
 * when there is no connection. Who asks must be there still: redis.c forgets nothing.
 */
typedef void redis_done(void *arg, const redisReply *reply);
void redis_ask(redis_done *done, void *arg, int argc, const char **argv);

void redis_stop(void);

#endif
