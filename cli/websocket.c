// SPDX-License-Identifier: MIT
#include "websocket.h"

#include <openssl/sha.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "api.h"
#include "lib/base/id.h"
#include "util.h"

#define HEAD_MAX    16384
#define MESSAGE_MAX ((size_t)64 << 20)
#define CHUNK	    65536
#define ABNORMAL    1006

enum { OP_MORE = 0, OP_TEXT = 1, OP_BINARY = 2, OP_CLOSE = 8, OP_PING = 9, OP_PONG = 10 };

static void clear(struct ws *w)
{
	if (w->easy) {
		if (w->multi)
			curl_multi_remove_handle(w->multi, w->easy);
		curl_easy_cleanup(w->easy);
	}
	w->easy = NULL;
	w->state = WS_CLOSED;
	w->in_message = false;
	free_secret(w->request);
	w->request = NULL;
	if (w->in.p) {
		buf_release(&w->in);
		buf_release(&w->out);
		buf_release(&w->message);
	}
	w->in = w->out = w->message = (struct buf){0};
}

void ws_release(struct ws *w)
{
	clear(w);
}

static void closed(struct ws *w, int code)
{
	if (w->state == WS_CLOSED)
		return;
	clear(w);
	w->close_code = code;
	w->on_close(w->arg);
}

/* ---- beginning ---- */

static void make_key(char key[32])
{
	unsigned char raw[16];

	random_bytes(raw, sizeof(raw));
	EVP_EncodeBlock((unsigned char *)key, raw, sizeof(raw));
}

/* "host:port" of http://host:port/base, and the base. */
static char *host_of(const char *url)
{
	const char *at = strstr(url, "://");

	at = at ? at + 3 : url;
	return xasprintf("%.*s", (int)strcspn(at, "/"), at);
}

void ws_open(struct ws *w, CURLM *multi, const struct session *s, const char *path, const char *token)
{
	char *host = host_of(s->url), *url = http_url(s, path), *base = strstr(url, "://");

	clear(w);
	w->multi = multi;
	w->close_code = 0;
	buf_init(&w->in);
	buf_init(&w->out);
	buf_init(&w->message);
	make_key(w->key);
	base = base ? strchr(base + 3, '/') : NULL;
	w->request = xasprintf("GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
			       "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\nUser-Agent: mcpctl\r\n"
			       "Authorization: Bearer %s\r\n\r\n",
			       base ? base : "/", host, w->key, token);
	free(host);
	free(url);
	w->easy = curl_easy_init();
	if (!w->easy)
		die(EXIT_FAILED, "out of memory");
	http_prepare(w->easy, s, "GET", path, NULL, 0);
	curl_easy_setopt(w->easy, CURLOPT_CONNECT_ONLY, 1L);
	curl_easy_setopt(w->easy, CURLOPT_SSL_ENABLE_ALPN, 0L); /* HTTP/1.1 it must be */
	curl_easy_setopt(w->easy, CURLOPT_FRESH_CONNECT, 1L);
	if (curl_multi_add_handle(multi, w->easy) != CURLM_OK)
		die(EXIT_FAILED, "the HTTP client refuses a request");
	w->state = WS_CONNECTING;
	w->heard = mono_now();
}

static void flush(struct ws *w)
{
	while (w->out.n) {
		size_t n = 0;
		CURLcode code = curl_easy_send(w->easy, w->out.p, w->out.n, &n);

		if (code == CURLE_AGAIN)
			return;
		if (code != CURLE_OK) {
			closed(w, ABNORMAL);
			return;
		}
		memmove(w->out.p, w->out.p + n, w->out.n - n);
		w->out.n -= n;
	}
}

void ws_connected(struct ws *w, CURLcode code)
{
	if (w->state != WS_CONNECTING)
		return;
	if (code != CURLE_OK) {
		closed(w, ABNORMAL);
		return;
	}
	w->state = WS_SHAKING;
	w->heard = mono_now();
	buf_adds(&w->out, w->request);
	free_secret(w->request);
	w->request = NULL;
	flush(w);
}

/* The value of a header in the answer's head, or NULL; *len its length. */
static const char *header(const char *head, const char *name, size_t *len)
{
	size_t n = strlen(name);

	for (const char *line = strstr(head, "\r\n"); line && line[2] != '\r'; line = strstr(line + 2, "\r\n")) {
		if (strncasecmp(line + 2, name, n) || line[2 + n] != ':')
			continue;
		line += 3 + n;
		line += strspn(line, " \t");
		*len = strcspn(line, "\r\n \t");
		return line;
	}
	return NULL;
}

static bool accepted(const struct ws *w, const char *head)
{
	unsigned char digest[SHA_DIGEST_LENGTH], want[32];
	char text[96];
	size_t len = 0;
	const char *got = header(head, "Sec-WebSocket-Accept", &len);

	snprintf(text, sizeof(text), "%s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", w->key);
	SHA1((const unsigned char *)text, strlen(text), digest);
	EVP_EncodeBlock(want, digest, sizeof(digest));
	return got && len == strlen((char *)want) && !memcmp(got, want, len);
}

/* The answer to the handshake, once it is whole. */
static void shake(struct ws *w)
{
	char *end = memmem(w->in.p, w->in.n, "\r\n\r\n", 4);
	long status;
	size_t used;

	if (!end) {
		if (w->in.n > HEAD_MAX)
			closed(w, ABNORMAL);
		return;
	}
	end[2] = '\0';
	status = w->in.n > 12 && !strncmp(w->in.p, "HTTP/1.", 7) ? strtol(w->in.p + 9, NULL, 10) : 0;
	if (status != 101 || !accepted(w, w->in.p)) {
		closed(w, status >= 400 ? (int)status : ABNORMAL);
		return;
	}
	used = (size_t)(end - w->in.p) + 4;
	memmove(w->in.p, w->in.p + used, w->in.n - used);
	w->in.n -= used;
	w->state = WS_OPEN;
	w->on_open(w->arg);
}

/* ---- frames ---- */

static void put_frame(struct ws *w, int opcode, const char *data, size_t len)
{
	unsigned char mask[4];
	size_t at;

	buf_addc(&w->out, (char)(0x80 | opcode));
	if (len < 126) {
		buf_addc(&w->out, (char)(0x80 | len));
	} else if (len < 65536) {
		buf_addc(&w->out, (char)(0x80 | 126));
		buf_addc(&w->out, (char)(len >> 8));
		buf_addc(&w->out, (char)len);
	} else {
		buf_addc(&w->out, (char)(0x80 | 127));
		for (int shift = 56; shift >= 0; shift -= 8)
			buf_addc(&w->out, (char)((uint64_t)len >> shift));
	}
	random_bytes(mask, sizeof(mask));
	buf_add(&w->out, (char *)mask, sizeof(mask));
	at = w->out.n;
	buf_add(&w->out, data, len);
	for (size_t i = 0; i < len; i++)
		w->out.p[at + i] = (char)(w->out.p[at + i] ^ mask[i & 3]);
}

void ws_send(struct ws *w, const char *text, size_t len)
{
	if (w->state != WS_OPEN)
		return;
	put_frame(w, OP_TEXT, text, len);
	flush(w);
}

void ws_close(struct ws *w, int code)
{
	char reason[2] = {(char)(code >> 8), (char)code};

	if (w->state == WS_OPEN) {
		size_t n;

		put_frame(w, OP_CLOSE, reason, 2);
		(void)curl_easy_send(w->easy, w->out.p, w->out.n, &n); /* or not: it is over either way */
	}
	closed(w, code);
}

static void whole_message(struct ws *w, const char *data, size_t len)
{
	w->on_text(w->arg, data, len);
}

/* One frame's payload; false: the connection is gone. */
static bool take_frame(struct ws *w, int opcode, bool fin, const char *data, size_t len)
{
	switch (opcode) {
	case OP_CLOSE:
		closed(w, len >= 2 ? (unsigned char)data[0] << 8 | (unsigned char)data[1] : 1005);
		return false;
	case OP_PING:
		put_frame(w, OP_PONG, data, len);
		return true;
	case OP_PONG:
		return true;
	case OP_MORE:
	case OP_TEXT:
		if ((opcode == OP_MORE) != w->in_message || w->message.n + len > MESSAGE_MAX)
			break;
		w->in_message = !fin;
		if (fin && opcode == OP_TEXT) {
			whole_message(w, data, len);
			return w->state == WS_OPEN;
		}
		buf_add(&w->message, data, len);
		if (fin) {
			struct buf whole = w->message;

			buf_init(&w->message);
			whole_message(w, whole.p, whole.n);
			buf_release(&whole);
		}
		return w->state == WS_OPEN;
	default:
		break;
	}
	ws_close(w, 1002);
	return false;
}

static void take_frames(struct ws *w)
{
	struct buf in = w->in; /* ours while callbacks may close w */
	size_t at = 0;

	buf_init(&w->in);
	while (in.n - at >= 2 && w->state == WS_OPEN) {
		const unsigned char *p = (const unsigned char *)in.p + at;
		size_t head = (p[1] & 127) < 126 ? 2 : (p[1] & 127) == 126 ? 4 : 10;
		uint64_t len = p[1] & 127;

		if (in.n - at < head)
			break;
		if (head > 2) {
			len = 0;
			for (size_t i = 2; i < head; i++)
				len = len << 8 | p[i];
		}
		/* a server masks nothing, and nothing was agreed on that would set a reserved bit */
		if (p[1] & 0x80 || p[0] & 0x70 || len > MESSAGE_MAX || (p[0] & 8 && (len > 125 || !(p[0] & 0x80)))) {
			ws_close(w, 1002);
			break;
		}
		if (in.n - at - head < len)
			break;
		at += head + len;
		if (!take_frame(w, p[0] & 15, p[0] & 0x80, (const char *)p + head, len))
			break;
	}
	if (w->state == WS_OPEN)
		buf_add(&w->in, in.p + at, in.n - at);
	buf_release(&in);
}

/* ---- the loop ---- */

bool ws_poll(struct ws *w, struct curl_waitfd *fd)
{
	curl_socket_t s;

	if ((w->state != WS_SHAKING && w->state != WS_OPEN) ||
	    curl_easy_getinfo(w->easy, CURLINFO_ACTIVESOCKET, &s) != CURLE_OK || s == CURL_SOCKET_BAD)
		return false;
	*fd = (struct curl_waitfd){.fd = s, .events = (short)(CURL_WAIT_POLLIN | (w->out.n ? CURL_WAIT_POLLOUT : 0))};
	return true;
}

void ws_io(struct ws *w)
{
	char *chunk = NULL;

	if (w->state != WS_SHAKING && w->state != WS_OPEN)
		return;
	chunk = xmalloc(CHUNK);
	while (w->state == WS_SHAKING || w->state == WS_OPEN) {
		size_t n = 0;
		CURLcode code = curl_easy_recv(w->easy, chunk, CHUNK, &n);

		if (code == CURLE_AGAIN)
			break;
		if (code != CURLE_OK || !n) {
			closed(w, ABNORMAL);
			break;
		}
		w->heard = mono_now();
		buf_add(&w->in, chunk, n);
		if (w->state == WS_SHAKING)
			shake(w);
		if (w->state == WS_OPEN)
			take_frames(w);
	}
	free(chunk);
	if (w->state == WS_SHAKING || w->state == WS_OPEN)
		flush(w);
}
