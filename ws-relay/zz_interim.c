// SPDX-License-Identifier: MIT
#include "agents.h"
#include "engineio.h"
#include "park.h"
#include "seek.h"
#include "socketio.h"
#define A(n) void n(struct client *c, const struct jv *body, const struct reply *r) { (void)body; client_error(c, r, "unavailable", "not yet"); }
A(agents_ready) A(agents_register) A(agents_heartbeat) A(agents_drain) A(agents_progress) A(agents_log) A(agents_result) A(agents_release)
void agents_leave(struct client *c) { (void)c; }
void agents_event(const struct event *e) { (void)e; }
void agents_tick(void) {}
void seek_wake(const char *w) { (void)w; }
void seek_wake_all(void) {}
void seek_tick(void) {}
void seek_stop(void) {}
void park_request(struct conn *c) { http_error(c, ERR_BUSY, NULL); }
void park_gone(struct conn *c) { (void)c; }
void park_tick(void) {}
void park_stop(void) {}
int park_count(void) { return 0; }
void eio_request(struct conn *c) { http_error(c, ERR_NO_ROUTE, NULL); }
int eio_upgrade(struct conn *c) { (void)c; return 404; }
int eio_established(struct conn *c) { (void)c; return -1; }
void eio_frame(struct conn *c, const char *data, size_t n, bool binary) { (void)c; (void)data; (void)n; (void)binary; }
void eio_conn_gone(struct conn *c) { (void)c; }
bool eio_flush(struct session *s) { (void)s; return true; }
void eio_tick(struct session *s, int64_t now) { (void)s; (void)now; }
void eio_goodbye(struct session *s) { (void)s; }
void sio_welcome(struct client *c) { (void)c; }
void sio_refuse(struct client *c, int code, const char *text) { (void)c; (void)code; (void)text; }
void sio_expel(struct client *c) { (void)c; }
