// SPDX-License-Identifier: MIT
#include "sio_packet.h"

#include "../lib/base/limits.h"
#include "../lib/base/utf8.h"
#include "eio_packet.h"

/* Up to max decimal digits. False: there are more. */
static bool number(const char **p, const char *end, int max, int64_t *out)
{
	int n = 0;

	*out = 0;
	while (*p < end && **p >= '0' && **p <= '9') {
		if (++n > max)
			return false;
		*out = *out * 10 + (**p - '0');
		(*p)++;
	}
	if (!n)
		*out = -1;
	return true;
}

static bool namespace(const char **p, const char *end, struct sio_packet *out)
{
	out->nsp = "/";
	out->nsp_len = 1;
	if (*p == end || **p != '/')
		return true;
	const char *comma = memchr(*p, ',', (size_t)(end - *p));
	const char *stop = comma ? comma : end;
	const char *query = memchr(*p, '?', (size_t)(stop - *p));

	out->nsp = *p;
	out->nsp_len = (size_t)((query ? query : stop) - *p);
	*p = comma ? comma + 1 : end;
	return out->nsp_len <= 64;
}

/* What each type must bring. */
static bool complete(const struct sio_packet *k)
{
	const struct jv *b = k->body;
	const struct jv *name = b ? b->child : NULL;

	switch (k->type) {
	case SIO_CONNECT:
		return k->ack < 0 && (!b || b->type == J_OBJECT);
	case SIO_DISCONNECT:
		return k->ack < 0 && !b;
	case SIO_EVENT:
	case SIO_BINARY_EVENT:
		return b && b->type == J_ARRAY && name && name->type == J_STRING && !name->has_nul;
	case SIO_ACK:
	case SIO_BINARY_ACK:
		return b && b->type == J_ARRAY && k->ack >= 0;
	default:
		return false;	/* a client sends no CONNECT_ERROR */
	}
}

bool sio_packet_read(const char *text, size_t n, struct arena *a, struct sio_packet *out)
{
	const char *p = text + 1;
	const char *end = text + n;
	struct error err;

	if (n == 0 || text[0] < '0' || text[0] > '6')
		return false;
	*out = (struct sio_packet){ .type = (enum sio_type)(text[0] - '0'), .ack = -1 };
	if (out->type == SIO_BINARY_EVENT || out->type == SIO_BINARY_ACK) {
		int64_t parts;

		if (!number(&p, end, 3, &parts) || parts < 0 || parts > LIMIT_WS_ATTACHMENTS || p == end || *p++ != '-')
			return false;
		out->attachments = (int)parts;
	}
	if (!namespace(&p, end, out) || !number(&p, end, 15, &out->ack))
		return false;
	out->data = p;
	out->n = (size_t)(end - p);
	error_init(&err, a);
	if (out->n && json_parse(a, p, out->n, 5, &out->body, &err))
		return false;
	return complete(out);
}

/* --- attachments ------------------------------------------------------------------------------------------------------ */

struct filling {
	struct buf *out;
	const struct sio_part *parts;
	int n;
};

static bool is_placeholder(const struct jv *v, int64_t *num)
{
	return v->type == J_OBJECT && v->n == 2 && jv_bool_or(v, "_placeholder", false) && jv_int(jv_get(v, "num"), num);
}

static bool fill(struct filling *f, const struct jv *v)
{
	int64_t num;

	if (is_placeholder(v, &num)) {
		if (num < 0 || num >= f->n)
			return false;
		buf_addc(f->out, '"');
		base64_add(f->out, f->parts[num].data, f->parts[num].n);
		buf_addc(f->out, '"');
		return true;
	}
	if (v->type != J_OBJECT && v->type != J_ARRAY) {
		buf_add(f->out, v->raw, v->raw_len);
		return true;
	}
	buf_addc(f->out, v->type == J_OBJECT ? '{' : '[');
	for (const struct jv *m = v->child; m; m = m->next) {
		if (v->type == J_OBJECT) {
			buf_addc(f->out, '"');
			buf_add_json_escaped(f->out, m->key, strlen(m->key));
			buf_adds(f->out, "\":");
		}
		if (!fill(f, m))
			return false;
		if (m->next)
			buf_addc(f->out, ',');
	}
	buf_addc(f->out, v->type == J_OBJECT ? '}' : ']');
	return true;
}

const char *sio_fill(struct arena *a, const char *json, size_t n, const struct sio_part *parts, int n_parts, size_t *len)
{
	struct buf out;
	struct filling f = { &out, parts, n_parts };
	struct jv *root;
	struct error err;
	const char *text = NULL;

	error_init(&err, a);
	if (json_parse(a, json, n, JSON_BUILD_ALL, &root, &err))
		return NULL;
	buf_init(&out);
	if (fill(&f, root)) {
		text = arena_strndup(a, out.p, out.n);
		*len = out.n;
	}
	buf_release(&out);
	return text;
}
