// SPDX-License-Identifier: MIT
#include "peer.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_CONNECTIONS 64
#define SEEN_MAX 65536

struct connection {
	struct peer *peer;
	pthread_t thread;
	int fd;
	SSL *tls;
	char in[SEEN_MAX];
	size_t n;
};

struct peer {
	enum peer_kind kind;
	int fd, port;
	SSL_CTX *tls;
	char ca[64];
	pthread_t thread;
	pthread_mutex_t lock;
	struct connection *connection[MAX_CONNECTIONS];
	int connections;
	char *seen;
};

/* --- bytes ------------------------------------------------------------------------------------------ */

static ssize_t conn_read(struct connection *c)
{
	size_t room = sizeof(c->in) - 1 - c->n;
	ssize_t got = c->tls ? SSL_read(c->tls, c->in + c->n, (int)room) : read(c->fd, c->in + c->n, room);

	if (got > 0) {
		c->n += (size_t)got;
		c->in[c->n] = '\0';
	}
	return got;
}

static bool conn_write(struct connection *c, const char *s, size_t n)
{
	while (n) {
		ssize_t put = c->tls ? SSL_write(c->tls, s, (int)n) : send(c->fd, s, n, MSG_NOSIGNAL);

		if (put <= 0)
			return false;
		s += put;
		n -= (size_t)put;
	}
	return true;
}

static bool conn_say(struct connection *c, const char *s)
{
	return conn_write(c, s, strlen(s));
}

static void conn_drop(struct connection *c, size_t n)
{
	memmove(c->in, c->in + n, c->n - n + 1);
	c->n -= n;
}

static void remember(struct peer *p, const char *s, size_t n, bool append)
{
	pthread_mutex_lock(&p->lock);
	size_t had = append && p->seen ? strlen(p->seen) : 0;
	char *more = realloc(p->seen, had + n + 1);

	if (more) {
		memcpy(more + had, s, n);
		more[had + n] = '\0';
		p->seen = more;
	}
	pthread_mutex_unlock(&p->lock);
}

/* --- HTTP --------------------------------------------------------------------------------------------- */

/* A whole request is in c->in: its length, 0 when the connection ended first. */
static size_t read_request(struct connection *c)
{
	for (;;) {
		const char *end = strstr(c->in, "\r\n\r\n");

		if (end) {
			const char *length = strcasestr(c->in, "\r\ncontent-length:");
			size_t n = (size_t)(end + 4 - c->in);

			if (length && length < end)
				n += strtoul(length + 17, NULL, 10);
			if (c->n >= n)
				return n;
		}
		if (c->n == sizeof(c->in) - 1 || conn_read(c) <= 0)
			return 0;
	}
}

static bool say_ok(struct connection *c, const char *body, size_t n)
{
	char head[128];

	snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n\r\n", n);
	return conn_say(c, head) && conn_write(c, body, n);
}

static bool say_big(struct connection *c, bool with_length)
{
	char block[4096];

	memset(block, 'b', sizeof(block));
	if (!conn_say(c, with_length ? "HTTP/1.1 200 OK\r\nContent-Length: 3145728\r\n\r\n" : "HTTP/1.1 200 OK\r\n\r\n"))
		return false;
	for (int i = 0; i < 768; i++) {
		if (!conn_write(c, block, sizeof(block)))
			return false;
	}
	return with_length;
}

static bool drip(struct connection *c)
{
	if (!conn_say(c, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"))
		return false;
	while (conn_say(c, "."))
		usleep(20000);
	return false;
}

/* Answers one request; false ends the connection. */
static bool answer(struct connection *c, const char *path, const char *request, size_t n)
{
	char line[128];

	if (!strncmp(path, "/ok", 3))
		return say_ok(c, request, n);
	if (!strncmp(path, "/status/", 8)) {
		snprintf(line, sizeof(line), "HTTP/1.1 %d X\r\nContent-Length: 4\r\n\r\nbody", (int)strtol(path + 8, NULL, 10));
		return conn_say(c, line);
	}
	if (!strncmp(path, "/redirect", 9))
		return conn_say(c, "HTTP/1.1 302 Found\r\nLocation: /ok\r\nContent-Length: 0\r\n\r\n");
	if (!strncmp(path, "/retry", 6))
		return conn_say(c, "HTTP/1.1 503 X\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n");
	if (!strncmp(path, "/big", 4))
		return say_big(c, true);
	if (!strncmp(path, "/endless", 8))
		return say_big(c, false);
	if (!strncmp(path, "/drip", 5))
		return drip(c);
	if (!strncmp(path, "/silent", 7)) {
		while (conn_read(c) > 0)
			;
		return false;
	}
	if (!strncmp(path, "/garbage", 8))
		return conn_say(c, "220 this is not the protocol you are looking for\r\n\r\n") && false;
	if (!strncmp(path, "/lie", 4))
		return conn_say(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort") && false;
	return false;	/* /hangup and all others */
}

static void serve_http(struct connection *c)
{
	size_t n;
	bool more = true;

	while (more && (n = read_request(c)) > 0) {
		char *path = strchr(c->in, ' ');

		remember(c->peer, c->in, n, false);
		more = path && answer(c, path + 1, c->in, n);
		if (c->n >= n)
			conn_drop(c, n);
	}
}

/* --- SMTP --------------------------------------------------------------------------------------------- */

static SSL *tls_accept(struct peer *p, int fd)
{
	SSL *tls = SSL_new(p->tls);

	if (tls && SSL_set_fd(tls, fd) == 1 && SSL_accept(tls) == 1)
		return tls;
	SSL_free(tls);
	return NULL;
}

enum smtp_state { SMTP_COMMAND, SMTP_SECRET, SMTP_DATA };

static bool smtp_line(struct connection *c, const char *line, enum smtp_state *state)
{
	if (*state == SMTP_DATA && strcmp(line, ".") != 0)
		return true;
	if (*state != SMTP_COMMAND) {
		bool data = *state == SMTP_DATA;

		*state = SMTP_COMMAND;
		return conn_say(c, data ? "250 taken\r\n" : "235 welcome\r\n");
	}
	if (!strncasecmp(line, "EHLO", 4))
		return conn_say(c, c->peer->tls && !c->tls ? "250-peer\r\n250-STARTTLS\r\n250 AUTH PLAIN\r\n"
							   : "250-peer\r\n250 AUTH PLAIN\r\n");
	if (!strncasecmp(line, "STARTTLS", 8) && c->peer->tls && !c->tls) {
		if (!conn_say(c, "220 go\r\n"))
			return false;
		c->tls = tls_accept(c->peer, c->fd);
		return c->tls;
	}
	if (!strncasecmp(line, "AUTH PLAIN", 10)) {
		*state = SMTP_SECRET;
		return conn_say(c, "334 \r\n");
	}
	if (!strncasecmp(line, "RCPT TO:<refuse", 15))
		return conn_say(c, "550 no such mailbox\r\n");
	if (!strncasecmp(line, "RCPT TO:<later", 14))
		return conn_say(c, "451 try later\r\n");
	if (!strncasecmp(line, "DATA", 4)) {
		*state = SMTP_DATA;
		return conn_say(c, "354 go\r\n");
	}
	if (!strncasecmp(line, "QUIT", 4))
		return conn_say(c, "221 bye\r\n") && false;
	return conn_say(c, "250 fine\r\n");
}

static void serve_smtp(struct connection *c)
{
	enum smtp_state state = SMTP_COMMAND;
	bool more = conn_say(c, "220 peer ESMTP\r\n");

	remember(c->peer, "", 0, false);
	while (more) {
		char *end = strstr(c->in, "\r\n");

		if (!end) {
			more = c->n < sizeof(c->in) - 1 && conn_read(c) > 0;
			continue;
		}
		size_t n = (size_t)(end + 2 - c->in);
		char *line = strndup(c->in, n - 2);

		remember(c->peer, c->tls ? "S:" : "C:", 2, true);
		remember(c->peer, c->in, n, true);
		conn_drop(c, n);
		more = line && smtp_line(c, line, &state);
		free(line);
	}
}

/* --- the server ----------------------------------------------------------------------------------------- */

static void *serve(void *arg)
{
	struct connection *c = arg;
	struct peer *p = c->peer;

	if (p->kind == PEER_HTTPS)
		c->tls = tls_accept(p, c->fd);
	if (p->kind == PEER_HTTP || c->tls)
		serve_http(c);
	else if (p->kind != PEER_HTTPS)
		serve_smtp(c);
	SSL_free(c->tls);
	/* The descriptor stays open until peer_stop(), so that its number is not given to another. */
	shutdown(c->fd, SHUT_RDWR);
	return NULL;
}

static void *accept_loop(void *arg)
{
	struct peer *p = arg;
	int fd;

	while ((fd = accept(p->fd, NULL, NULL)) >= 0) {
		struct connection *c = calloc(1, sizeof(*c));

		pthread_mutex_lock(&p->lock);
		if (!c || p->connections == MAX_CONNECTIONS) {
			close(fd);
			free(c);
		} else {
			c->peer = p;
			c->fd = fd;
			if (pthread_create(&c->thread, NULL, serve, c))
				abort();
			p->connection[p->connections++] = c;
		}
		pthread_mutex_unlock(&p->lock);
	}
	return NULL;
}

static bool write_pem(struct peer *p, X509 *cert)
{
	snprintf(p->ca, sizeof(p->ca), "/tmp/mcp-peer-XXXXXX");
	int fd = mkstemp(p->ca);
	FILE *f = fd >= 0 ? fdopen(fd, "w") : NULL;

	if (!f)
		return false;
	bool ok = PEM_write_X509(f, cert) == 1;

	return fclose(f) == 0 && ok;
}

/* A self-signed certificate of one hour. */
static bool make_tls(struct peer *p)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *cert = X509_new();
	X509V3_CTX ctx;
	bool ok = key && cert;

	p->tls = SSL_CTX_new(TLS_server_method());
	X509V3_set_ctx_nodb(&ctx);
	X509V3_set_ctx(&ctx, cert, cert, NULL, NULL, 0);
	X509_EXTENSION *san = X509V3_EXT_conf_nid(NULL, &ctx, NID_subject_alt_name, "IP:127.0.0.1,DNS:localhost");

	ok = ok && p->tls && san && X509_set_version(cert, 2) && ASN1_INTEGER_set(X509_get_serialNumber(cert), 1) &&
	     X509_gmtime_adj(X509_getm_notBefore(cert), -60) && X509_gmtime_adj(X509_getm_notAfter(cert), 3600) &&
	     X509_set_pubkey(cert, key) &&
	     X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC,
					(const unsigned char *)"peer", -1, -1, 0) &&
	     X509_set_issuer_name(cert, X509_get_subject_name(cert)) && X509_add_ext(cert, san, -1) &&
	     X509_sign(cert, key, EVP_sha256()) && SSL_CTX_use_certificate(p->tls, cert) == 1 &&
	     SSL_CTX_use_PrivateKey(p->tls, key) == 1 && write_pem(p, cert);
	X509_EXTENSION_free(san);
	X509_free(cert);
	EVP_PKEY_free(key);
	return ok;
}

struct peer *peer_start(enum peer_kind kind)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(at);
	struct peer *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	/* OpenSSL writes with write(2); the programs under test ignore SIGPIPE as well. */
	signal(SIGPIPE, SIG_IGN);
	p->kind = kind;
	pthread_mutex_init(&p->lock, NULL);
	p->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (p->fd < 0 || bind(p->fd, (struct sockaddr *)&at, sizeof(at)) || listen(p->fd, 64) ||
	    getsockname(p->fd, (struct sockaddr *)&at, &len) ||
	    ((kind == PEER_HTTPS || kind == PEER_SMTP_STARTTLS) && !make_tls(p)) ||
	    pthread_create(&p->thread, NULL, accept_loop, p)) {
		close(p->fd);
		SSL_CTX_free(p->tls);
		free(p);
		return NULL;
	}
	p->port = ntohs(at.sin_port);
	return p;
}

void peer_stop(struct peer *p)
{
	if (!p)
		return;
	shutdown(p->fd, SHUT_RDWR);
	pthread_join(p->thread, NULL);
	close(p->fd);
	for (int i = 0; i < p->connections; i++) {
		struct connection *c = p->connection[i];

		shutdown(c->fd, SHUT_RDWR);
		pthread_join(c->thread, NULL);
		close(c->fd);
		free(c);
	}
	if (p->ca[0])
		unlink(p->ca);
	SSL_CTX_free(p->tls);
	pthread_mutex_destroy(&p->lock);
	free(p->seen);
	free(p);
}

int peer_port(const struct peer *p)
{
	return p->port;
}

const char *peer_ca(const struct peer *p)
{
	return p->ca[0] ? p->ca : NULL;
}

int peer_connections(struct peer *p)
{
	pthread_mutex_lock(&p->lock);
	int n = p->connections;

	pthread_mutex_unlock(&p->lock);
	return n;
}

char *peer_seen(struct peer *p)
{
	pthread_mutex_lock(&p->lock);
	char *copy = strdup(p->seen ? p->seen : "");

	pthread_mutex_unlock(&p->lock);
	return copy;
}
