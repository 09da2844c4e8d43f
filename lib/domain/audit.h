// SPDX-License-Identifier: MIT
/*
 * The audit log: who did what to what, and how it ended. Each writing process has a chain of its own: records are
 * numbered, and each holds the SHA-256 of the one before, so that a record that was changed, removed or put in between
 * shows. A record is one JSON text; its hash is that of the text without the hash, byte for byte.
 *
 * The record of a change commits with it: whoever starts the operation hangs a struct audit on it, and the verb's
 * op_apply() (domain.h) writes it in the same unit. What changes nothing (a refusal, a failed log-in) is written by
 * audit_write(); those that come at the same time share one commit. Both keep the chain locked while they write, so
 * numbers have no gaps; when it cannot be known whether a record was written, a new chain begins.
 *
 * Records hold ids, names of actions and reasons from our own tables. What callers type (names, payloads) never gets in:
 * a name nobody has is kept as a keyed hash.
 */
#ifndef DOMAIN_AUDIT_H
#define DOMAIN_AUDIT_H

#include "domain.h"

struct audit {
	const char *kind;		/* authentication, authorization, data_access, rate_limit, config, key, steering … */
	const char *action;		/* "user.update" */
	const char *outcome;		/* NULL: success */
	const char *actor, *role;	/* NULL: the caller's */
	const char *resource_type, *resource_id;	/* id NULL: that of what the unit's first op makes, when made is set */
	const char *classification, *permission, *reason;
	bool made;
	bool written;			/* it is in the store */
};

/* Who tries to log in: id when there is such a one, else what was typed. No-op when nothing is recorded. */
void audit_subject(struct op *op, const char *id, const char *typed);
/* It fails for this reason, which the error does not say, though something is changed for it. */
void audit_failure(struct op *op, const char *reason);

/* Write a record of its own; returns when it is durable. */
enum err audit_write(struct op *op, struct audit *a) MUST_CHECK;

struct audit_filter {
	const char *chain_id, *actor, *resource_id, *resource_type, *kind, *action, *outcome, *request_id;	/* NULL: any */
	int64_t from, to;		/* ms, [from, to); 0: open */
	const char *cursor;
	int limit;
};
/* Newest first. Appends the records, each a JSON object, to the array that w has open. */
enum err audit_list(struct op *op, const struct audit_filter *f, struct jw *w, int *n, const char **next) MUST_CHECK;

/*
 * Check records from that time on (0: all), oldest first, at most `limit` of them, and write what was found as an object:
 * verified, records, chains, problems[{chain_id, seq, audit_id, problem}], next_cursor.
 */
enum err audit_verify(struct op *op, int64_t from, const char *cursor, int limit, struct jw *w) MUST_CHECK;

#endif
