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

void agents_connected(struct client *c) { (void)c; }
void agents_acknowledged(struct client *c, int64_t a, const struct jv *v) { (void)c; (void)a; (void)v; }
