// SPDX-License-Identifier: MIT
/*
 * Turn-taking between processes that write to one file.
 *
 * SQLite's own write lock is polled, so a busy process would win it over and over. In front of it
 * stand two open file description locks on `<db>-turn`, which the kernel takes back when a process
 * dies: byte 1 is held for the whole transaction, byte 0 only while waiting for byte 1. A process
 * that has just committed and wants to go on finds byte 0 taken by whoever waits, so it comes after.
 * Byte 2 is held by whoever copies the log.
 */
#include "store_sqlite.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static bool lock(int fd, short type, off_t byte, int cmd, const atomic_bool *stop)
{
	struct flock fl = { .l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1 };

	while (fcntl(fd, cmd, &fl)) {
		if (errno != EINTR || (stop && *stop))
			return false;
	}
	return true;
}

int sq_lock_open(const char *db_path)
{
	size_t n = strlen(db_path) + sizeof("-turn");
	char *path = xmalloc(n);

	snprintf(path, n, "%s-turn", db_path);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	free(path);
	return fd;
}

bool sq_lock_try(int fd)
{
	if (!lock(fd, F_WRLCK, 0, F_OFD_SETLK, NULL))
		return false;
	bool got = lock(fd, F_WRLCK, 1, F_OFD_SETLK, NULL);

	lock(fd, F_UNLCK, 0, F_OFD_SETLK, NULL);
	return got;
}

bool sq_lock_wait(int fd, const atomic_bool *stop)
{
	if (!lock(fd, F_WRLCK, 0, F_OFD_SETLKW, stop))
		return false;
	bool got = lock(fd, F_WRLCK, 1, F_OFD_SETLKW, stop);

	lock(fd, F_UNLCK, 0, F_OFD_SETLK, NULL);
	return got;
}

void sq_lock_release(int fd)
{
	lock(fd, F_UNLCK, 1, F_OFD_SETLK, NULL);
}

bool sq_lock_copier(int fd, bool take)
{
	return lock(fd, take ? F_WRLCK : F_UNLCK, 2, F_OFD_SETLK, NULL);
}
