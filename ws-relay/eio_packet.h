// SPDX-License-Identifier: MIT
/*
 * Engine.IO 4 packets: a type digit and its text; over polling several stand in one payload, parted by U+001E, and binary
 * ones are written "b" and base64. Pure functions: what they are given may be anything.
 */
#ifndef RELAY_EIO_PACKET_H
#define RELAY_EIO_PACKET_H

#include <stdbool.h>
#include "../lib/base/buf.h"

enum eio_type { EIO_OPEN, EIO_CLOSE, EIO_PING, EIO_PONG, EIO_MESSAGE, EIO_UPGRADE, EIO_NOOP };

struct eio_packet {
	enum eio_type type;
	bool binary;
	const char *data;	/* behind the type; binary: decoded, in the arena */
	size_t n;
};

/* A text frame or one part of a payload. False: it is none. */
bool eio_packet_read(const char *text, size_t n, struct arena *a, struct eio_packet *out);
/* The next part of a payload of polling; *at begins as 0. False: no more. */
bool eio_payload_next(const char *text, size_t n, size_t *at, const char **part, size_t *part_len);

/* Standard base64 with padding. */
void base64_add(struct buf *out, const void *data, size_t n);
/* Into the arena; NULL: it is none. */
char *base64_read(struct arena *a, const char *text, size_t n, size_t *len);

#endif
