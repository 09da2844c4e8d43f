// SPDX-License-Identifier: MIT
/*
 * Addresses: what kind one is, and whether a list of networks holds it.
 *
 * An address is 16 bytes; IPv4 is kept as IPv4-mapped IPv6, and the ways IPv6 wraps an IPv4 address
 * for translation (NAT64, IPv4-mapped) are unwrapped, so that no spelling of an address escapes a
 * rule about it.
 *
 * A netset is a configured list: the words `loopback`, `private`, `public`, and networks in CIDR
 * notation. Some addresses are in no netset, whatever it says: link-local ones, the metadata
 * services of cloud machines, unspecified, multicast and broadcast. Special-purpose ones (documentation,
 * benchmarking, tunnels…) are in none of the words; only a CIDR names them.
 */
#ifndef NET_NETMATCH_H
#define NET_NETMATCH_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include "../base/error.h"

#define IP_TEXT		46	/* INET6_ADDRSTRLEN */
#define NETSET_MAX	64	/* networks in one list */

struct ip {
	uint8_t b[16];
};

enum ip_class { IP_PUBLIC, IP_PRIVATE, IP_LOOPBACK, IP_SPECIAL, IP_FORBIDDEN };

/* From text: "10.0.0.1", "::1", "[::1]" is not one. Only the four-part dotted form of IPv4. */
bool ip_parse(const char *text, struct ip *out);
/* From a socket address; false when it is neither IPv4 nor IPv6. */
bool ip_from_sockaddr(const struct sockaddr *sa, struct ip *out);
/* IPv4 in dotted form, else IPv6. */
void ip_format(const struct ip *ip, char out[IP_TEXT]);
bool ip_is_v4(const struct ip *ip);
enum ip_class ip_classify(const struct ip *ip);

struct net {
	struct ip ip;
	unsigned bits;			/* of 128 */
};

struct netset {
	bool loopback, private_nets, public_nets;
	unsigned n;
	struct net net[NETSET_MAX];
};

/*
 * Read a list separated by commas or spaces; "" is the empty set. ERR_VALIDATION with a public message
 * that names the bad word (also: host bits set, more than NETSET_MAX networks).
 */
enum err netset_parse(const char *text, struct netset *out, struct error *e) MUST_CHECK;
/* The set allows to connect to ip: never true for IP_FORBIDDEN. */
bool netset_allows(const struct netset *s, const struct ip *ip);
/* Every address but the forbidden ones: for servers the operator names (SMTP_URL). */
extern const struct netset netset_any;

#endif
