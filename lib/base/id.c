// SPDX-License-Identifier: MIT
#include "id.h"

#include <errno.h>
#include <pthread.h>
#include <sys/random.h>

#include "clock.h"

static const char hexdigits[] = "0123456789abcdef";

void random_bytes(void *out, size_t n)
{
	uint8_t *p = out;

	while (n) {
		ssize_t got = getrandom(p, n, 0);

		if (got < 0) {
			if (errno == EINTR)
				continue;
			abort();
		}
		p += got;
		n -= (size_t)got;
	}
}

void hex_encode(const uint8_t *in, size_t n, char *out)
{
	for (size_t i = 0; i < n; i++) {
		*out++ = hexdigits[in[i] >> 4];
		*out++ = hexdigits[in[i] & 15];
	}
	*out = '\0';
}

void id_from_bytes(const uint8_t in[16], char out[ID_TEXT])
{
	for (int i = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*out++ = '-';
		*out++ = hexdigits[in[i] >> 4];
		*out++ = hexdigits[in[i] & 15];
	}
	*out = '\0';
}

static int hexval(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

bool id_to_bytes(const char *text, uint8_t out[16])
{
	for (int i = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10) {
			if (*text++ != '-')
				return false;
		}
		int hi = hexval(text[0]);
		int lo = hi < 0 ? -1 : hexval(text[1]);

		if (lo < 0)
			return false;
		out[i] = (uint8_t)(hi << 4 | lo);
		text += 2;
	}
	return *text == '\0';
}

bool id_valid(const char *text)
{
	uint8_t bytes[16];

	return text && id_to_bytes(text, bytes);
}

static void put_time(uint8_t b[16], uint64_t ms)
{
	for (int i = 5; i >= 0; i--, ms >>= 8)
		b[i] = (uint8_t)ms;
}

void id_at(int64_t ms, char out[ID_TEXT])
{
	uint8_t b[16] = { [6] = 0x70, [8] = 0x80 };

	put_time(b, (uint64_t)ms);
	id_from_bytes(b, out);
}

/* Random bytes are taken in blocks: one system call serves many ids. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint8_t pool[8 * 64];
static size_t left;

/*
 * A forked child must not hand out its parent's random bytes a second time, and must not find the lock
 * held by a thread that it does not have.
 */
static void fork_prepare(void)
{
	pthread_mutex_lock(&lock);
}

static void fork_parent(void)
{
	pthread_mutex_unlock(&lock);
}

static void fork_child(void)
{
	left = 0;
	pthread_mutex_unlock(&lock);
}

static void __attribute__((constructor)) watch_fork(void)
{
	if (pthread_atfork(fork_prepare, fork_parent, fork_child))
		abort();
}

void id_new(char out[ID_TEXT])
{
	static uint64_t last_ms;
	static uint32_t counter;	/* 12 bits rand_a + 14 bits of rand_b: RFC 9562 §6.2 method 1 */
	uint8_t b[16];

	pthread_mutex_lock(&lock);
	if (left == 0) {
		random_bytes(pool, sizeof(pool));
		left = sizeof(pool) / 8;
	}
	memcpy(b + 8, pool + 8 * --left, 8);
	uint64_t ms = (uint64_t)now_ms();

	if (ms > last_ms) {
		last_ms = ms;
		counter = (uint32_t)(b[8] << 16 | b[9] << 8 | b[10]) & 0xffffff;
	} else if (++counter >= 1U << 26) {
		counter = 0;
		last_ms++;
	}
	put_time(b, last_ms);
	uint32_t c = counter;

	pthread_mutex_unlock(&lock);
	b[6] = (uint8_t)(0x70 | (c >> 22 & 0x0f));
	b[7] = (uint8_t)(c >> 14);
	b[8] = (uint8_t)(0x80 | (c >> 8 & 0x3f));
	b[9] = (uint8_t)c;
	id_from_bytes(b, out);
}
