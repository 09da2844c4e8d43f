// SPDX-License-Identifier: MIT
#include "bus_internal.h"

void cmd_init(struct cmd *c)
{
	c->p = c->first;
	c->n = 0;
	c->cap = sizeof(c->first);
	c->replies = 0;
	c->script = BS_NONE;
}

void cmd_release(struct cmd *c)
{
	if (c->p != c->first)
		free(c->p);
	cmd_init(c);
}

static char *grow(struct cmd *c, size_t n)
{
	if (c->cap - c->n < n) {
		size_t cap = c->cap * 2 > c->n + n ? c->cap * 2 : c->n + n;

		if (c->p == c->first) {
			c->p = xmalloc(cap);
			memcpy(c->p, c->first, c->n);
		} else {
			c->p = xrealloc(c->p, cap);
		}
		c->cap = cap;
	}
	return c->p + c->n;
}

size_t bus_dec(char out[24], int64_t v)
{
	char rev[24];
	size_t n = 0;
	size_t len = 0;
	uint64_t u = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;

	do {
		rev[n++] = (char)('0' + u % 10);
		u /= 10;
	} while (u);
	if (v < 0)
		out[len++] = '-';
	while (n)
		out[len++] = rev[--n];
	return len;
}

/* "*3\r\n" or "$5\r\n", with room for `more` bytes behind it */
static char *head(struct cmd *c, char kind, size_t v, size_t more)
{
	char *p = grow(c, 32 + more);

	*p++ = kind;
	p += bus_dec(p, (int64_t)v);
	*p++ = '\r';
	*p++ = '\n';
	return p;
}

void cmd_raw(struct cmd *c, const void *p, size_t n)
{
	memcpy(grow(c, n), p, n);
	c->n += n;
}

/* One word out of up to three pieces. */
static void word(struct cmd *c, const char *a, size_t na, const char *b, size_t nb, const char *d, size_t nd)
{
	char *p = head(c, '$', na + nb + nd, na + nb + nd + 2);

	memcpy(p, a, na);
	p += na;
	memcpy(p, b, nb);
	p += nb;
	memcpy(p, d, nd);
	p += nd;
	*p++ = '\r';
	*p++ = '\n';
	c->n = (size_t)(p - c->p);
}

void cmd_argn(struct cmd *c, const void *p, size_t n)
{
	word(c, p, n, "", 0, "", 0);
}

void cmd_arg(struct cmd *c, const char *s)
{
	cmd_argn(c, s, strlen(s));
}

void cmd_int(struct cmd *c, int64_t v)
{
	char text[24];

	cmd_argn(c, text, bus_dec(text, v));
}

void cmd_key(struct cmd *c, const char *name, const char *rest)
{
	word(c, BUS_PREFIX, sizeof(BUS_PREFIX) - 1, name, strlen(name), rest, strlen(rest));
}

void cmd_key_int(struct cmd *c, const char *name, int64_t rest)
{
	char text[24];

	word(c, BUS_PREFIX, sizeof(BUS_PREFIX) - 1, name, strlen(name), text, bus_dec(text, rest));
}

void cmd_begin(struct cmd *c, int argc, const char *name)
{
	c->n = (size_t)(head(c, '*', (size_t)argc, 0) - c->p);
	c->replies++;
	cmd_arg(c, name);
}

void cmd_script(struct cmd *c, enum bus_script s, int keys, int args)
{
	cmd_begin(c, 3 + keys + args, "EVALSHA");
	cmd_argn(c, bus_script_sha(s), 40);
	cmd_int(c, keys);
	c->script = s;
}
