// SPDX-License-Identifier: MIT
/* A worker process: its parts, its threads, and the requests they serve. */
#ifndef FCGI_WORKER_H
#define FCGI_WORKER_H

#include <signal.h>

#include "handler.h"

struct worker_options {
	struct config *cfg;
	const char *config_file;	/* for reload; NULL: environment only */
	int listen_fd;
	int threads;
	bool slow;			/* the slow pool: waits, bcrypt */
};

/* Serve until TERM. The process' exit status. */
int worker_run(const struct worker_options *o);

/* Set by signal handlers only. */
extern volatile sig_atomic_t worker_stop, worker_reload;

/* dispatch.c: one request from the web server, answered. True: its body was read to the end. */
struct FCGX_Request;
bool dispatch(struct app *app, struct FCGX_Request *fcgi, struct arena *arena, bool slow);

/* docs.c: text made once at start. */
const char *openapi_text(void);
const char *docs_page(void);
/* The Content-Security-Policy of that page. */
const char *docs_policy(void);

#endif
