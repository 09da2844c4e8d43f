// SPDX-License-Identifier: MIT
/*
 * Socket.IO 5 packets as text: type, "attachments-" for binary ones, "/namespace,", acknowledgement number, JSON. Pure
 * functions: what they are given may be anything.
 */
#ifndef RELAY_SIO_PACKET_H
#define RELAY_SIO_PACKET_H

#include <stdbool.h>
#include "../lib/base/json.h"
#include "../lib/base/buf.h"

enum sio_type { SIO_CONNECT, SIO_DISCONNECT, SIO_EVENT, SIO_ACK, SIO_CONNECT_ERROR, SIO_BINARY_EVENT, SIO_BINARY_ACK };

struct sio_packet {
	enum sio_type type;
	int attachments;
	const char *nsp;	/* "/" by default; without a query */
	size_t nsp_len;
	int64_t ack;		/* -1: none */
	const char *data;	/* JSON text; n = 0: none */
	size_t n;
	struct jv *body;	/* read: the object of a CONNECT, the array of the others; NULL: none */
};

struct sio_part {
	const char *data;
	size_t n;
};

/* False: malformed. Events have a name, acknowledgements a number; data is checked and built 5 levels deep. */
bool sio_packet_read(const char *text, size_t n, struct arena *a, struct sio_packet *out);
/*
 * The JSON text with each {"_placeholder":true,"num":i} replaced by attachment i as a base64 string. NULL: a
 * placeholder has no attachment.
 */
const char *sio_fill(struct arena *a, const char *json, size_t n, const struct sio_part *parts, int n_parts, size_t *len);

#endif
