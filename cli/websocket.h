// SPDX-License-Identifier: MIT
/*
 * A WebSocket to the panel (RFC 6455, client's side), over a connection that
 * curl makes: so it goes by the same address, proxy and certificates as every
 * other request, and is watched by the same curl_multi_poll(). Text messages
 * only, no extensions. Nothing blocks.
 *
 *   ws_open()      begins to connect; the multi handle does it
 *   ws_connected() the multi says that the connection stands (CURLMSG_DONE)
 *   ws_io()        reads and writes what is possible
 */
#ifndef CLI_WEBSOCKET_H
#define CLI_WEBSOCKET_H

#include <curl/curl.h>
#include <stdbool.h>
#include "cli.h"
#include "lib/base/buf.h"

enum ws_state { WS_CLOSED, WS_CONNECTING, WS_SHAKING, WS_OPEN };

struct ws {
	enum ws_state state;
	CURLM *multi;
	CURL *easy;
	struct buf in, out, message; /* message: pieces of one that is not whole yet */
	bool in_message;
	char key[32];
	char *request;	    /* of the handshake; wiped when it was sent */
	int close_code;	    /* why it was closed: a close code, 1006 for none, or an HTTP status that refused it */
	double heard;	    /* when something came last */
	void *arg;
	void (*on_text)(void *arg, const char *text, size_t len); /* may call ws_close() */
	void (*on_open)(void *arg);
	void (*on_close)(void *arg); /* once for each ws_open() */
};

/* token: of the Authorization header; copied and wiped. */
void ws_open(struct ws *w, CURLM *multi, const struct session *s, const char *path, const char *token);
/* easy is w->easy's; code says whether it connected. */
void ws_connected(struct ws *w, CURLcode code);
void ws_send(struct ws *w, const char *text, size_t len);
/* Says goodbye if it can, at once; on_close() is called. */
void ws_close(struct ws *w, int code);
/* The descriptor to wait for; false when there is none. */
bool ws_poll(struct ws *w, struct curl_waitfd *fd);
void ws_io(struct ws *w);
/* As ws_close(), without calling anybody. */
void ws_release(struct ws *w);

#endif
