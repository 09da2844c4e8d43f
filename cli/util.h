// SPDX-License-Identifier: MIT
/*
 * The small things every part of mcpctl needs beyond lib/base: messages,
 * strings, files, clocks in seconds.
 *
 * Memory never runs out as far as a caller can see (lib/base aborts), so no
 * allocation is checked. Strings returned are the caller's to free unless
 * said otherwise.
 */
#ifndef CLI_UTIL_H
#define CLI_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "lib/base/buf.h"

/* Exit statuses; docs/man/mcpctl.1 lists them. */
enum {
	EXIT_OK = 0,
	EXIT_FAILED = 1,      /* the panel refused, or what was watched did not succeed */
	EXIT_USAGE = 2,       /* the command line is wrong */
	EXIT_AUTH = 3,        /* not logged in, or not allowed */
	EXIT_NOT_FOUND = 4,   /* no such thing */
	EXIT_CONFLICT = 5,    /* it exists already, or is in another state */
	EXIT_UNREACHABLE = 6, /* no panel, or it did not answer */
};

char *xstrndup(const char *s, size_t n);
char *xasprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Forgets the first n bytes of b. */
void buf_drop_front(struct buf *b, size_t n);
/* True for NULL and "". */
bool is_empty(const char *s);
/* Overwrites a string with zeros and frees it; takes NULL. */
void free_secret(char *s);

/* "mcpctl: <text>" on stderr. */
void warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* The same, and the program ends with exit status `code`. */
void die(int code, const char *fmt, ...) __attribute__((noreturn, format(printf, 2, 3)));

/* Seconds since some fixed moment; never goes back. */
double mono_now(void);
/* A number in [0,1) that spreads out retries; not for secrets. */
double jitter(void);

/*
 * Reads a whole file (or standard input for "-") of at most max bytes.
 * Returns NULL with errno set (EFBIG when larger). The content is
 * NUL-terminated; *len, when asked for, is its length.
 */
char *read_file(const char *path, size_t max, size_t *len);
/* The first line of a file without its line end, or NULL with errno set. */
char *read_secret_file(const char *path);
/*
 * Replaces `path` by `data` in one step, readable by its owner only (0600);
 * missing folders are made (0700). Returns 0, or -1 with errno set.
 */
int write_private_file(const char *path, const char *data, size_t len);
/*
 * Opens (and makes, 0600) `path` and takes an exclusive lock on it; waits for
 * the lock when `wait`. Returns the descriptor, which holds the lock until it
 * is closed, or -1 with errno set (EWOULDBLOCK: another process has it).
 */
int lock_file(const char *path, bool wait);

#endif
