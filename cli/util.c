// SPDX-License-Identifier: MIT
#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/id.h"

void warn(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fputs("mcpctl: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
}

void die(int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fputs("mcpctl: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
	exit(code);
}

char *xstrndup(const char *s, size_t n)
{
	char *p = strndup(s, n);

	if (!p)
		die(EXIT_FAILED, "out of memory");
	return p;
}

char *xasprintf(const char *fmt, ...)
{
	va_list ap;
	char *p;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&p, fmt, ap);
	va_end(ap);
	if (n < 0)
		die(EXIT_FAILED, "out of memory");
	return p;
}

void buf_drop_front(struct buf *b, size_t n)
{
	if (n >= b->n) {
		buf_reset(b);
		return;
	}
	memmove(b->p, b->p + n, b->n - n);
	b->n -= n;
	b->p[b->n] = '\0';
}

bool is_empty(const char *s)
{
	return !s || !*s;
}

void free_secret(char *s)
{
	if (!s)
		return;
	explicit_bzero(s, strlen(s));
	free(s);
}

double mono_now(void)
{
	return (double)mono_us() / 1e6;
}

double jitter(void)
{
	uint32_t r;

	random_bytes(&r, sizeof(r));
	return (double)r / 4294967296.0;
}

char *read_file(const char *path, size_t max, size_t *len)
{
	bool is_stdin = !strcmp(path, "-");
	int fd = is_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
	struct buf t;
	char chunk[16384];
	int saved = 0;

	if (fd < 0)
		return NULL;
	buf_init(&t);
	for (;;) {
		ssize_t n = read(fd, chunk, sizeof(chunk));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			saved = errno;
		if (n <= 0)
			break;
		buf_add(&t, chunk, (size_t)n);
		if (t.n > max) {
			saved = EFBIG;
			break;
		}
	}
	if (!is_stdin)
		close(fd);
	if (saved) {
		buf_release(&t);
		errno = saved;
		return NULL;
	}
	if (len)
		*len = t.n;
	return t.p;
}

char *read_secret_file(const char *path)
{
	char *s = read_file(path, 65536, NULL);

	if (s)
		s[strcspn(s, "\r\n")] = '\0';
	return s;
}

/* mkdir -p of the folder that `path` lies in, private to its owner. */
static int make_parents(const char *path)
{
	char *copy = xstrdup(path);
	int rc = 0;

	for (char *p = copy + 1; *p; p++) {
		if (*p != '/')
			continue;
		*p = '\0';
		if (mkdir(copy, 0700) && errno != EEXIST) {
			rc = -1;
			break;
		}
		*p = '/';
	}
	free(copy);
	return rc;
}

static int write_all(int fd, const char *data, size_t len)
{
	while (len) {
		ssize_t n = write(fd, data, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

int write_private_file(const char *path, const char *data, size_t len)
{
	char *tmp = xasprintf("%s.XXXXXX", path);
	int fd, rc = -1, saved;

	if (make_parents(path))
		goto out;
	fd = mkostemp(tmp, O_CLOEXEC); /* mkostemp makes it 0600 */
	if (fd < 0)
		goto out;
	rc = write_all(fd, data, len);
	if (!rc)
		rc = fsync(fd);
	if (close(fd))
		rc = -1;
	if (!rc)
		rc = rename(tmp, path);
	if (rc) {
		saved = errno;
		unlink(tmp);
		errno = saved;
	}
out:
	saved = errno;
	free(tmp);
	errno = saved;
	return rc;
}

int lock_file(const char *path, bool wait)
{
	int fd, saved;

	if (make_parents(path))
		return -1;
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return -1;
	while (flock(fd, LOCK_EX | (wait ? 0 : LOCK_NB))) {
		if (errno == EINTR)
			continue;
		saved = errno;
		close(fd);
		errno = saved;
		return -1;
	}
	return fd;
}
