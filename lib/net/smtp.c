// SPDX-License-Identifier: MIT
#include "smtp.h"

#include "../base/clock.h"
#include "../base/id.h"
#include "../base/utf8.h"
#include "transfer.h"

#define TIMEOUT_MS	60000
#define NAME_MAX_BYTES	200

/* --- addresses ------------------------------------------------------------------------------------- */

static bool is_atom_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       (c && strchr("!#$%&'*+-/=?^_`{|}~.", c));
}

static bool domain_ok(const char *d)
{
	size_t label = 0;

	for (; *d; d++) {
		bool alnum = (*d >= 'a' && *d <= 'z') || (*d >= 'A' && *d <= 'Z') || (*d >= '0' && *d <= '9');

		if (*d == '.') {
			if (label == 0 || d[-1] == '-')
				return false;
			label = 0;
			continue;
		}
		if ((!alnum && (*d != '-' || label == 0)) || ++label > 63)
			return false;
	}
	return label > 0 && d[-1] != '-';
}

bool mail_address_ok(const char *address)
{
	const char *at = address ? strrchr(address, '@') : NULL;

	if (!at || at == address || at - address > 64 || strlen(address) > MAIL_ADDRESS_MAX)
		return false;
	for (const char *s = address; s < at; s++) {
		if (!is_atom_char(*s) || (*s == '.' && (s == address || s[1] == '.' || s + 1 == at)))
			return false;
	}
	return domain_ok(at + 1);
}

struct sender {
	char name[NAME_MAX_BYTES + 1];
	char address[MAIL_ADDRESS_MAX + 1];
};

/* "a@b" or "Name <a@b>". */
static bool parse_sender(const char *from, struct sender *out)
{
	const char *open = from ? strrchr(from, '<') : NULL;
	const char *address = open ? open + 1 : from;
	size_t n = address ? strlen(address) : 0;
	size_t name = open ? (size_t)(open - from) : 0;

	*out = (struct sender){ 0 };
	if (open && (n == 0 || address[n - 1] != '>'))
		return false;
	n -= open ? 1 : 0;
	while (name && (from[name - 1] == ' ' || from[name - 1] == '"'))
		name--;
	size_t skip = name && *from == '"' ? 1 : 0;

	if (n == 0 || n > MAIL_ADDRESS_MAX || name - skip > NAME_MAX_BYTES)
		return false;
	memcpy(out->address, address, n);
	memcpy(out->name, from + skip, name - skip);
	return mail_address_ok(out->address) && utf8_valid(out->name, strlen(out->name));
}

/* --- the message ------------------------------------------------------------------------------------ */

static void add_base64(struct buf *b, const char *s, size_t n)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	for (size_t i = 0; i < n; i += 3) {
		uint32_t v = 0;

		for (size_t k = 0; k < 3; k++)
			v = v << 8 | (i + k < n ? (unsigned char)s[i + k] : 0);
		for (size_t k = 0; k < 4; k++)
			buf_addc(b, i + k > n ? '=' : digits[v >> (18 - 6 * k) & 63]);
	}
}

/* s as encoded words (RFC 2047), in lines of at most 76 characters and of whole UTF-8 characters. */
static void add_encoded_words(struct buf *b, const char *s)
{
	size_t left = strlen(s);
	bool first = true;

	while (left) {
		/* 60 characters of base64 and 12 around them; the first line has the header's name too. */
		size_t max = first ? 39 : 45;
		size_t n = 0;

		while (n < left) {
			size_t len = utf8_char_len(s + n, left - n);

			if (n + len > max)
				break;
			n += len;
		}
		buf_adds(b, first ? "=?UTF-8?B?" : "\r\n =?UTF-8?B?");
		add_base64(b, s, n);
		buf_adds(b, "?=");
		s += n;
		left -= n;
		first = false;
	}
}

/* Text of a header: as it is when it is short plain ASCII, else in encoded words. Control characters are spaces. */
static void add_header_text(struct buf *b, const char *text, bool quoted)
{
	char *s = xstrdup(text);
	bool plain = strlen(s) <= 60 && !strstr(s, "=?") && !(quoted && strpbrk(s, "\"\\"));

	for (char *p = s; *p; p++) {
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			*p = ' ';
		plain &= (unsigned char)*p < 0x7f;
	}
	if (!plain) {
		add_encoded_words(b, s);
	} else {
		buf_addf(b, quoted ? "\"%s\"" : "%s", s);
	}
	free(s);
}

/* RFC 2045 section 6.7, lines of at most 76 characters, every kind of line end becoming CRLF. */
static void add_quoted_printable(struct buf *b, const char *s)
{
	size_t column = 0;

	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;
		bool last = !s[1] || s[1] == '\n' || (s[1] == '\r' && s[2] == '\n');

		if (c == '\n' || (c == '\r' && s[1] == '\n')) {
			s += c == '\r';
			buf_adds(b, "\r\n");
			column = 0;
			continue;
		}
		bool literal = (c > ' ' && c < 0x7f && c != '=') || ((c == ' ' || c == '\t') && !last);

		if (column + (literal ? 1 : 3) > 75) {
			buf_adds(b, "=\r\n");
			column = 0;
		}
		if (literal)
			buf_addc(b, (char)c);
		else
			buf_addf(b, "=%02X", c);
		column += literal ? 1 : 3;
	}
	buf_adds(b, "\r\n");
}

static void add_date(struct buf *b, int64_t ms)
{
	/* strftime's names follow the locale; the standard's do not. */
	static const char days[][4] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" };
	static const char months[][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun",
					  "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };
	time_t t = (time_t)(ms / 1000);
	struct tm tm;

	if (gmtime_r(&t, &tm))
		buf_addf(b, "Date: %s, %d %s %d %02d:%02d:%02d +0000\r\n", days[tm.tm_wday], tm.tm_mday,
			 months[tm.tm_mon], tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
}

static enum err check_mail(const struct smtp_server *s, const struct mail *m, struct sender *from, struct error *e)
{
	if (!parse_sender(s->from, from))
		return error_public(e, ERR_VALIDATION, "SMTP_FROM is not an address like \"Panel <panel@example.org>\".");
	if (m->n_to < 1 || m->n_to > MAIL_RECIPIENTS_MAX)
		return error_public(e, ERR_VALIDATION, "A mail has 1 to %d recipients.", MAIL_RECIPIENTS_MAX);
	for (int i = 0; i < m->n_to; i++) {
		if (!mail_address_ok(m->to[i]))
			return error_public(e, ERR_VALIDATION, "A recipient is not a plain mail address.");
	}
	if (strlen(m->text) > MAIL_TEXT_MAX || !utf8_valid(m->text, strlen(m->text)) ||
	    !utf8_valid(m->subject, strlen(m->subject)))
		return error_public(e, ERR_VALIDATION, "The mail's text is too long or not UTF-8.");
	return OK;
}

static void compose(const struct sender *from, const struct mail *m, struct buf *out)
{
	char id[ID_TEXT];

	add_date(out, now_ms());
	buf_adds(out, "From: ");
	if (from->name[0]) {
		add_header_text(out, from->name, true);
		/* On a line of its own when both do not surely fit. */
		buf_adds(out, strlen(from->name) + strlen(from->address) > 40 ? "\r\n " : " ");
	}
	buf_addf(out, "<%s>\r\nTo: ", from->address);
	for (int i = 0; i < m->n_to; i++)
		buf_addf(out, "%s<%s>", i ? ",\r\n " : "", m->to[i]);
	buf_adds(out, "\r\nSubject: ");
	add_header_text(out, m->subject, false);
	id_new(id);
	buf_addf(out, "\r\nMessage-ID: <%s@%s>\r\n", id, strrchr(from->address, '@') + 1);
	buf_adds(out, "MIME-Version: 1.0\r\n"
		      "Content-Type: text/plain; charset=utf-8\r\n"
		      "Content-Transfer-Encoding: quoted-printable\r\n"
		      "Auto-Submitted: auto-generated\r\n\r\n");
	add_quoted_printable(out, m->text);
}

enum err mail_compose(const struct smtp_server *s, const struct mail *m, struct buf *out, struct error *e)
{
	struct sender from;
	enum err err = check_mail(s, m, &from, e);

	if (!err)
		compose(&from, m, out);
	return err;
}

/* --- sending ------------------------------------------------------------------------------------------ */

static bool is_this_machine(CURLU *url)
{
	char *host = NULL;
	struct ip ip;
	bool local = false;

	if (curl_url_get(url, CURLUPART_HOST, &host, 0) == CURLUE_OK)
		local = !strcmp(host, "localhost") || !strcmp(host, "[::1]") ||
			(ip_parse(host, &ip) && ip_classify(&ip) == IP_LOOPBACK);
	curl_free(host);
	return local;
}

static void set_mail(struct transfer *t, const struct smtp_server *s, const struct mail *m, const struct sender *from)
{
	bool log_in = s->user && *s->user;
	struct buf address;

	buf_init(&address);
	buf_addf(&address, "<%s>", from->address);
	TRANSFER_SET(t, CURLOPT_MAIL_FROM, address.p);
	for (int i = 0; i < m->n_to; i++) {
		buf_reset(&address);
		buf_addf(&address, "<%s>", m->to[i]);
		transfer_append(t, &t->recipients, address.p);
	}
	buf_release(&address);
	TRANSFER_SET(t, CURLOPT_USE_SSL, (long)(log_in && !is_this_machine(t->url) ? CURLUSESSL_ALL : CURLUSESSL_TRY));
	if (log_in) {
		TRANSFER_SET(t, CURLOPT_USERNAME, s->user);
		TRANSFER_SET(t, CURLOPT_PASSWORD, s->password ? s->password : "");
	}
	compose(from, m, &t->out);
	TRANSFER_SET(t, CURLOPT_UPLOAD, 1L);
	TRANSFER_SET(t, CURLOPT_INFILESIZE_LARGE, (curl_off_t)t->out.n);
}

enum err mail_submit(struct http_pool *p, const struct smtp_server *s, const struct mail *m, net_done *done,
		     void *arg, uint64_t *id, struct error *e)
{
	static const char *const schemes[] = { "smtp", "smtps", NULL };
	struct transfer_options o = {
		.allow = &netset_any, .schemes = "smtp,smtps", .timeout_ms = TIMEOUT_MS, .done = done, .arg = arg,
	};
	struct sender from;
	struct transfer *t;
	enum err err = check_mail(s, m, &from, e);

	if (err)
		return err;
	CURLU *url = url_parse(s->url, schemes, e);

	if (!url)
		return ERR_VALIDATION;
	err = transfer_new(p, url, &o, &t, e);
	if (err)
		return err;
	set_mail(t, s, m, &from);
	return transfer_start(t, id, e);
}
