// SPDX-License-Identifier: MIT
/*
 * E-mail: one message at a time by SMTP, on the same pool as the HTTP calls.
 *
 * smtps:// is TLS from the start; smtp:// uses STARTTLS when the server offers it, and insists on it
 * when a password would be sent to anything but this machine. Messages are RFC 5322 with MIME
 * (quoted-printable UTF-8 text, encoded words in headers). No part of a message can make a header or a
 * recipient of its own: addresses are checked, and line breaks in a subject become spaces.
 */
#ifndef NET_SMTP_H
#define NET_SMTP_H

#include "../base/buf.h"
#include "http.h"

#define MAIL_RECIPIENTS_MAX	50
#define MAIL_ADDRESS_MAX	254	/* RFC 5321 section 4.5.3.1.3, less the brackets */
#define MAIL_TEXT_MAX		(1024 * 1024)

struct smtp_server {
	const char *url;		/* SMTP_URL: smtp://host:port or smtps://host:port */
	const char *from;		/* SMTP_FROM: "a@b.example" or "Name <a@b.example>" */
	const char *user, *password;	/* NULL or "": no log-in */
};

struct mail {
	const char *const *to;
	int n_to;
	const char *subject, *text;	/* UTF-8 */
};

/*
 * Send. Everything is copied. The callback's result: NET_OK when the server took the message; status is
 * the last SMTP reply (5xx: for good, 4xx: try later). ERR_VALIDATION: an address, the URL, or a text that is
 * not UTF-8 (public message). ERR_BUSY: the pool is full.
 */
enum err mail_submit(struct http_pool *p, const struct smtp_server *s, const struct mail *m, net_done *done,
		     void *arg, uint64_t *id, struct error *e) MUST_CHECK;
/* The message as it goes over the wire (before dot-stuffing), CRLF line ends, appended to out. */
enum err mail_compose(const struct smtp_server *s, const struct mail *m, struct buf *out, struct error *e) MUST_CHECK;
/* A plain address we send to: local@domain, ASCII, no quoting, no comments. */
bool mail_address_ok(const char *address);

#endif
