// SPDX-License-Identifier: MIT
#include "msg.h"

#define RING_LEAST 8
#define RING_KEPT 64

static struct msg *shell(size_t n, bool binary)
{
	struct msg *m = xmalloc(sizeof(*m) + MSG_HEAD + n);
	unsigned char *h;

	m->refs = 1;
	m->n = (uint32_t)n;
	m->binary = binary;
	m->head = n < 126 ? 2 : n < 65536 ? 4 : 10;
	h = (unsigned char *)m->bytes + MSG_HEAD - m->head;
	h[0] = binary ? 0x82 : 0x81;
	if (n < 126) {
		h[1] = (unsigned char)n;
	} else if (n < 65536) {
		h[1] = 126;
		h[2] = (unsigned char)(n >> 8);
		h[3] = (unsigned char)n;
	} else {
		h[1] = 127;
		for (int i = 0; i < 8; i++)
			h[2 + i] = (unsigned char)((uint64_t)n >> (56 - 8 * i));
	}
	return m;
}

struct msg *msg_new(const void *data, size_t n, bool binary)
{
	struct msg *m = shell(n, binary);

	memcpy(m->bytes + MSG_HEAD, data, n);
	return m;
}

struct msg *msg_join(const char *a, size_t na, const char *b, size_t nb)
{
	struct msg *m = shell(na + nb, false);

	memcpy(m->bytes + MSG_HEAD, a, na);
	memcpy(m->bytes + MSG_HEAD + na, b, nb);
	return m;
}

struct msg *msg_close(int code, const char *reason)
{
	size_t n = strnlen(reason, 123);
	struct msg *m = shell(2 + n, false);
	unsigned char *p = (unsigned char *)m->bytes + MSG_HEAD;

	p[-2] = 0x88;
	p[0] = (unsigned char)(code >> 8);
	p[1] = (unsigned char)code;
	memcpy(p + 2, reason, n);
	return m;
}

struct msg *msg_ref(struct msg *m)
{
	m->refs++;
	return m;
}

void msg_unref(struct msg *m)
{
	if (m && --m->refs == 0)
		free(m);
}

void queue_add(struct queue *q, struct msg *m)
{
	if (q->n == q->cap) {
		uint32_t cap = q->cap ? q->cap * 2 : RING_LEAST;
		struct msg **ring = xmalloc(cap * sizeof(*ring));

		for (uint32_t i = 0; i < q->n; i++)
			ring[i] = queue_at(q, i);
		free(q->ring);
		q->ring = ring;
		q->cap = cap;
		q->first = 0;
	}
	q->ring[(q->first + q->n) & (q->cap - 1)] = m;
	q->n++;
	q->bytes += m->n;
}

struct msg *queue_at(const struct queue *q, uint32_t i)
{
	return q->ring[(q->first + i) & (q->cap - 1)];
}

void queue_pop(struct queue *q, uint32_t n)
{
	for (; n; n--) {
		struct msg *m = q->ring[q->first];

		q->first = (q->first + 1) & (q->cap - 1);
		q->n--;
		q->bytes -= m->n;
		msg_unref(m);
	}
	if (!q->n && q->cap > RING_KEPT) {
		free(q->ring);
		*q = (struct queue){ 0 };
	}
}

void queue_clear(struct queue *q)
{
	queue_pop(q, q->n);
	free(q->ring);
	*q = (struct queue){ 0 };
}
