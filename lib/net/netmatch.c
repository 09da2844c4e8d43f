// SPDX-License-Identifier: MIT
#include "netmatch.h"

#include <arpa/inet.h>
#include <netinet/in.h>

static const uint8_t v4_prefix[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };
static const uint8_t nat64_prefix[12] = { 0, 0x64, 0xff, 0x9b };

bool ip_is_v4(const struct ip *ip)
{
	return !memcmp(ip->b, v4_prefix, sizeof(v4_prefix));
}

static void set_v4(struct ip *ip, const void *four)
{
	memcpy(ip->b, v4_prefix, sizeof(v4_prefix));
	memcpy(ip->b + 12, four, 4);
}

/* RFC 6052: an IPv4 destination in IPv6 clothes, as a translator will undress it. */
static void unwrap(struct ip *ip)
{
	if (!memcmp(ip->b, nat64_prefix, sizeof(nat64_prefix)))
		memcpy(ip->b, v4_prefix, sizeof(v4_prefix));
}

bool ip_parse(const char *text, struct ip *out)
{
	struct in_addr v4;

	if (inet_pton(AF_INET, text, &v4) == 1) {
		set_v4(out, &v4);
		return true;
	}
	if (inet_pton(AF_INET6, text, out->b) != 1)
		return false;
	unwrap(out);
	return true;
}

bool ip_from_sockaddr(const struct sockaddr *sa, struct ip *out)
{
	if (sa->sa_family == AF_INET) {
		set_v4(out, &((const struct sockaddr_in *)sa)->sin_addr);
		return true;
	}
	if (sa->sa_family == AF_INET6) {
		memcpy(out->b, &((const struct sockaddr_in6 *)sa)->sin6_addr, 16);
		unwrap(out);
		return true;
	}
	return false;
}

void ip_format(const struct ip *ip, char out[IP_TEXT])
{
	if (!inet_ntop(ip_is_v4(ip) ? AF_INET : AF_INET6, ip_is_v4(ip) ? ip->b + 12 : ip->b, out, IP_TEXT))
		out[0] = '\0';
}

/* --- kinds of addresses ----------------------------------------------------------------------- */

/*
 * First match decides. Sources: IANA's special-purpose address registries (RFC 6890 and its updates),
 * and the published metadata addresses of AWS, Google, Azure, Oracle, Alibaba and Scaleway machines.
 */
static const struct {
	const char *net;
	unsigned bits;		/* of the written form */
	enum ip_class class;
} kinds[] = {
	/* metadata services outside the link-local range */
	{ "100.100.100.200", 32, IP_FORBIDDEN },
	{ "168.63.129.16", 32, IP_FORBIDDEN },
	{ "192.0.0.192", 32, IP_FORBIDDEN },
	{ "fd00:ec2::", 32, IP_FORBIDDEN },
	{ "fd20:ce::254", 128, IP_FORBIDDEN },
	{ "fd00:42::42", 128, IP_FORBIDDEN },
	/* link-local, unspecified, multicast, reserved, broadcast */
	{ "169.254.0.0", 16, IP_FORBIDDEN },
	{ "fe80::", 10, IP_FORBIDDEN },
	{ "0.0.0.0", 8, IP_FORBIDDEN },
	{ "::", 128, IP_FORBIDDEN },
	{ "224.0.0.0", 3, IP_FORBIDDEN },
	{ "ff00::", 8, IP_FORBIDDEN },
	{ "127.0.0.0", 8, IP_LOOPBACK },
	{ "::1", 128, IP_LOOPBACK },
	{ "10.0.0.0", 8, IP_PRIVATE },
	{ "172.16.0.0", 12, IP_PRIVATE },
	{ "192.168.0.0", 16, IP_PRIVATE },
	{ "100.64.0.0", 10, IP_PRIVATE },
	{ "fc00::", 7, IP_PRIVATE },
	{ "192.0.0.0", 24, IP_SPECIAL },
	{ "192.0.2.0", 24, IP_SPECIAL },
	{ "192.88.99.0", 24, IP_SPECIAL },
	{ "198.18.0.0", 15, IP_SPECIAL },
	{ "198.51.100.0", 24, IP_SPECIAL },
	{ "203.0.113.0", 24, IP_SPECIAL },
	{ "0.0.0.0", 0, IP_PUBLIC },
	/* tunnels (Teredo, 6to4) carry an IPv4 address of their own choice */
	{ "2001::", 23, IP_SPECIAL },
	{ "2001:db8::", 32, IP_SPECIAL },
	{ "2002::", 16, IP_SPECIAL },
	{ "3fff::", 20, IP_SPECIAL },
	{ "2000::", 3, IP_PUBLIC },
	{ "::", 0, IP_SPECIAL },
};

#define N_KINDS (sizeof(kinds) / sizeof(kinds[0]))
static struct net kind_net[N_KINDS];

/* Before main(), so that no thread has to ask whether it was done. */
static void __attribute__((constructor)) read_kinds(void)
{
	for (size_t i = 0; i < N_KINDS; i++) {
		if (!ip_parse(kinds[i].net, &kind_net[i].ip))
			abort();
		kind_net[i].bits = kinds[i].bits + (ip_is_v4(&kind_net[i].ip) ? 96 : 0);
	}
}

static bool net_has(const struct net *net, const struct ip *ip)
{
	unsigned whole = net->bits / 8;
	unsigned rest = net->bits % 8;

	if (memcmp(net->ip.b, ip->b, whole))
		return false;
	return !rest || (net->ip.b[whole] ^ ip->b[whole]) >> (8 - rest) == 0;
}

enum ip_class ip_classify(const struct ip *ip)
{
	for (size_t i = 0; i < N_KINDS; i++) {
		if (net_has(&kind_net[i], ip))
			return kinds[i].class;
	}
	return IP_FORBIDDEN;
}

/* --- sets --------------------------------------------------------------------------------------- */

const struct netset netset_any = { .loopback = true, .private_nets = true, .public_nets = true, .n = 1 /* ::/0 */ };

bool netset_allows(const struct netset *s, const struct ip *ip)
{
	enum ip_class class = ip_classify(ip);

	if (class == IP_FORBIDDEN)
		return false;
	if ((class == IP_LOOPBACK && s->loopback) || (class == IP_PRIVATE && s->private_nets) ||
	    (class == IP_PUBLIC && s->public_nets))
		return true;
	for (unsigned i = 0; i < s->n; i++) {
		if (net_has(&s->net[i], ip))
			return true;
	}
	return false;
}

static bool host_bits_set(const struct net *net)
{
	for (unsigned bit = net->bits; bit < 128; bit++) {
		if (net->ip.b[bit / 8] & 0x80u >> bit % 8)
			return true;
	}
	return false;
}

/* word is changed. NULL when it was a network, else what is wrong with it. */
static const char *parse_net(char *word, struct net *out)
{
	char *slash = strchr(word, '/');
	char *end = NULL;

	if (slash)
		*slash = '\0';
	/* Not ip_parse(): a network of translated addresses must be written as what it stands for. */
	struct in_addr v4;
	bool is_v4 = inet_pton(AF_INET, word, &v4) == 1;

	if (is_v4)
		set_v4(&out->ip, &v4);
	else if (inet_pton(AF_INET6, word, out->ip.b) != 1)
		return "is neither loopback, private, public nor a network like 10.0.0.0/8";
	unsigned width = is_v4 ? 32 : 128;
	unsigned long bits = width;

	if (slash) {
		if (slash[1] < '0' || slash[1] > '9')
			return "has no prefix length after the slash";
		bits = strtoul(slash + 1, &end, 10);
		if (*end || bits > width)
			return "has a prefix length out of range";
		*slash = '/';
	}
	out->bits = (unsigned)bits + (is_v4 ? 96 : 0);
	if (host_bits_set(out))
		return "has bits set after its prefix";
	return NULL;
}

static const char *add_word(struct netset *s, char *word)
{
	if (!strcmp(word, "loopback")) {
		s->loopback = true;
	} else if (!strcmp(word, "private")) {
		s->private_nets = true;
	} else if (!strcmp(word, "public")) {
		s->public_nets = true;
	} else {
		if (s->n == NETSET_MAX)
			return "is one network too many";
		const char *wrong = parse_net(word, &s->net[s->n]);

		if (wrong)
			return wrong;
		s->n++;
	}
	return NULL;
}

enum err netset_parse(const char *text, struct netset *out, struct error *e)
{
	static const char separators[] = ", \t";

	*out = (struct netset){ 0 };
	while (*(text += strspn(text, separators))) {
		char word[IP_TEXT + 8];
		size_t n = strcspn(text, separators);
		const char *wrong = "is too long for a network";

		snprintf(word, sizeof(word), "%.*s", (int)(n < sizeof(word) ? n : sizeof(word) - 1), text);
		if (n < sizeof(word))
			wrong = add_word(out, word);
		if (wrong)
			return error_public(e, ERR_VALIDATION, "\"%s\" %s.", word, wrong);
		text += n;
	}
	return OK;
}
