// SPDX-License-Identifier: MIT
/*
 * One outgoing message, written once and shared by all queues it stands in. Its bytes are a whole WebSocket frame
 * (a server's frames are not masked, so it is the same for everybody); the payload alone serves the other transports.
 */
#ifndef RELAY_MSG_H
#define RELAY_MSG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "../lib/base/arena.h"

#define MSG_HEAD 10	/* longest head of a frame */

struct msg {
	uint32_t refs;
	uint32_t n;		/* bytes of the payload */
	uint8_t head;		/* bytes of the frame's head, right before the payload */
	bool binary;
	char bytes[];		/* MSG_HEAD bytes, then the payload */
};

/* A new message with one reference; data is copied. */
struct msg *msg_new(const void *data, size_t n, bool binary);
/* Two texts, one behind the other. */
struct msg *msg_join(const char *a, size_t na, const char *b, size_t nb);
/* A close frame; reason at most 123 bytes. */
struct msg *msg_close(int code, const char *reason);
struct msg *msg_ref(struct msg *m);
void msg_unref(struct msg *m);		/* NULL is fine */

static inline const char *msg_text(const struct msg *m) { return m->bytes + MSG_HEAD; }
static inline const char *msg_wire(const struct msg *m) { return m->bytes + MSG_HEAD - m->head; }
static inline size_t msg_wire_len(const struct msg *m) { return (size_t)m->head + m->n; }

/* A queue of messages: a ring that grows. */
struct queue {
	struct msg **ring;
	uint32_t cap, first, n;
	size_t bytes;
};
/* Takes over one reference. */
void queue_add(struct queue *q, struct msg *m);
struct msg *queue_at(const struct queue *q, uint32_t i);
/* Drop the first n. Memory goes back when the queue runs empty after it was long. */
void queue_pop(struct queue *q, uint32_t n);
void queue_clear(struct queue *q);

#endif
