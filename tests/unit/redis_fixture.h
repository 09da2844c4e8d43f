// SPDX-License-Identifier: MIT
/*
 * A redis-server of the test's own: on a unix socket in a folder of its own, on no port unless asked, ended by
 * its process id. It dies with the test program, however that ends.
 */
#ifndef TESTS_REDIS_FIXTURE_H
#define TESTS_REDIS_FIXTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct redis {
	char dir[64];
	char sock[96];
	char url[128];		/* unix://… */
	pid_t pid;		/* 0: not running */
	int port;		/* 0: unix socket only */
	const char *password;	/* for the helpers below; NULL: none */
};

/* A folder and the names in it; nothing runs yet. */
bool redis_init(struct redis *r);
/* Start it with these further options (NULL-terminated; NULL: none) and wait until it answers. */
bool redis_start(struct redis *r, const char *const *options);
void redis_kill(struct redis *r, int signal);	/* KILL or TERM, and wait for the end */
void redis_release(struct redis *r);		/* stop it and remove the folder */
int free_port(void);

/* One command, split at blanks ('%' forms as in hiredis are not known here); its answer as a number or a text. */
int64_t redis_int(struct redis *r, const char *command);
/* "" when nil; arrays are joined by blanks. Static buffer. */
const char *redis_text(struct redis *r, const char *command);

#endif
