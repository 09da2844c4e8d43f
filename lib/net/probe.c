// SPDX-License-Identifier: MIT
#include "probe.h"

#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../base/clock.h"

#define KEPT_US 1000000
#define WAIT_MS 250

/* Where a relay that listens everywhere can be found from here. */
static const char *host_of(const struct config *cfg)
{
	const char *host = *cfg->ws_host ? cfg->ws_host : cfg->host;

	if (strcmp(host, "0.0.0.0") == 0)
		return "127.0.0.1";
	return strcmp(host, "::") == 0 ? "::1" : host;
}

void relay_address(const struct config *cfg, char out[RELAY_ADDRESS])
{
	const char *host = host_of(cfg);
	bool six = strchr(host, ':') != NULL;

	snprintf(out, RELAY_ADDRESS, "http://%s%s%s:%lld", six ? "[" : "", host, six ? "]" : "", (long long)cfg->ws_port);
}

static bool ready(int fd, short what, int64_t until_us)
{
	struct pollfd p = { .fd = fd, .events = what };
	int64_t left_ms = (until_us - mono_us()) / 1000;

	return left_ms > 0 && poll(&p, 1, (int)left_ms) == 1 && (p.revents & what);
}

/* The status line says whether it is well, one figure of the body how many clients it has. */
static bool ask(int fd, int64_t until_us, int64_t *clients)
{
	static const char question[] = "GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
	char text[4096];
	size_t n = 0;
	ssize_t got = 1;

	if (!ready(fd, POLLOUT, until_us) || send(fd, question, sizeof(question) - 1, MSG_NOSIGNAL) != sizeof(question) - 1)
		return false;
	while (got > 0 && n < sizeof(text) - 1) {
		got = ready(fd, POLLIN, until_us) ? recv(fd, text + n, sizeof(text) - 1 - n, 0) : 0;
		n += got > 0 ? (size_t)got : 0;
	}
	text[n] = '\0';
	const char *figure = strstr(text, "\"clients\":");

	*clients = figure ? strtoll(figure + 10, NULL, 10) : 0;
	return n > 12 && memcmp(text, "HTTP/1.", 7) == 0 && memcmp(text + 8, " 200", 4) == 0;
}

static bool probe(const struct config *cfg, int64_t *clients)
{
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV };
	int64_t until_us = mono_us() + WAIT_MS * 1000;
	struct addrinfo *found;
	char port[8];
	bool good = false;

	snprintf(port, sizeof(port), "%u", (unsigned)cfg->ws_port & 0xffff);
	if (!cfg->ws_port || getaddrinfo(host_of(cfg), port, &hints, &found))
		return false;
	for (const struct addrinfo *a = found; a && !good; a = a->ai_next) {
		int fd = socket(a->ai_family, a->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, a->ai_protocol);

		if (fd < 0)
			continue;
		(void)connect(fd, a->ai_addr, a->ai_addrlen);	/* whether it worked shows when it may be written to */
		good = ask(fd, until_us, clients);
		close(fd);
	}
	freeaddrinfo(found);
	return good;
}

bool relay_answers(const struct config *cfg, int64_t *took_us, int64_t *clients)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static int64_t asked_us, took, count;
	static bool answered;

	pthread_mutex_lock(&lock);
	int64_t now = mono_us();

	if (!asked_us || now - asked_us > KEPT_US) {
		count = 0;
		answered = probe(cfg, &count);
		asked_us = mono_us();
		took = asked_us - now;
	}
	*took_us = took;
	*clients = answered ? count : 0;
	bool is = answered;

	pthread_mutex_unlock(&lock);
	return is;
}
