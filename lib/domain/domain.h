// SPDX-License-Identifier: MIT
/*
 * What every domain verb gets: the parts it works with, who asks, and where answers go.
 *
 * A verb owns its rule: it checks, builds one unit of work, applies it to the store, and after that
 * posts events. Handlers, the scheduler and (later) the relay call the same verbs; none of them
 * builds a query or changes a state by itself.
 */
#ifndef DOMAIN_DOMAIN_H
#define DOMAIN_DOMAIN_H

#include "../auth/roles.h"
#include "../base/buf.h"
#include "../base/config.h"
#include "../base/json.h"
#include "../base/schema.h"
#include "../bus/bus.h"
#include "../store/store.h"

struct tokens;
struct passwords;
struct seal;

/* The parts of one process; tokens, passwords and seal are NULL where they are not needed (scheduler). */
struct app {
	struct config *cfg;
	struct store *store;
	struct bus *bus;
	struct tokens *tokens;
	struct passwords *passwords;
	struct seal *seal;
	const char *proc_id;	/* UUID of this run */
};

enum caller_kind { CALLER_NONE, CALLER_USER, CALLER_AGENT, CALLER_KEY, CALLER_SYSTEM };

struct caller {
	enum caller_kind kind;
	const char *id;			/* user, agent or key id; "system" for the scheduler */
	const char *name;
	enum role role;
	perms_t perms;
	enum data_class clearance;
	const char *jti;		/* of the access token, NULL otherwise */
	int64_t token_exp;		/* s */
	const char *address, *user_agent;
};

/* A request's Idempotency-Key (see idem.h), and what the audit log is to say of it (audit.h); NULL in most operations. */
struct idem;
struct audit;

/* One operation: lives as long as its arena. */
struct op {
	struct app *app;
	struct arena *arena;
	struct error *err;
	const struct caller *caller;
	const char *request_id;
	int64_t now;			/* ms, taken once */
	struct idem *idem;
	struct audit *audit;
};

void op_init(struct op *op, struct app *app, struct arena *arena, struct error *err, const struct caller *caller,
	     const char *request_id);
/*
 * store_apply() for the change a verb is about: when the operation is to be recorded in the audit log, its record commits
 * together with the first unit that is applied so.
 */
enum err op_apply(struct op *op, struct store_unit *u) MUST_CHECK;
/* The scheduler's own caller: all permissions. */
extern const struct caller system_caller;

static inline bool caller_may(const struct caller *c, perms_t need)
{
	return (c->perms & need) == need;
}

/* Names of enums, NULL-terminated, indexed by value. */
extern const char *const task_status_names[];
extern const char *const priority_names[];
extern const char *const class_names[];
extern const char *const agent_status_names[];
extern const char *const execution_status_names[];
extern const char *const retry_strategy_names[];

/*
 * Lane: tasks of equal type, capabilities and class fit the same agents, so the queue is kept by lane and
 * fitness is decided once a lane.
 */
struct fit {
	struct strs capabilities;	/* what the agent can do */
	enum data_class clearance;
	struct strs types;		/* only these task types; none: any */
};
/* Signature (JSON) and its 63-bit hash. Capabilities are sorted in place. */
const char *lane_signature(struct arena *a, const char *type, struct strs *caps, enum data_class c, int64_t *lane);
/* Does an agent with that fit take tasks of the lane? A store_claim.fits callback: arg is a struct fit. */
bool lane_fits(void *fit, int64_t lane, const char *lane_sig);

/* Claim order: smaller first. Each priority is a head start, so that nothing waits for ever. */
int64_t order_key(enum priority p, int64_t ready_at);

/*
 * Refuse text that holds credentials inside a URI (scheme://user:password@…): such a payload would keep a
 * secret in the store. Reports path.
 */
void refuse_uri_secrets(struct op *op, const char *json, const char *path);

/* The page cursors clients see: opaque text around an id or a position. */
#define CURSOR_PATTERN(kind) "^" kind "\\.[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
const char *cursor_encode(struct arena *a, const char *kind, const char *position);
/* NULL and ERR_BAD_CURSOR when text is not a cursor of that kind. */
enum err cursor_decode(struct op *op, const char *kind, const char *text, const char **position) MUST_CHECK;
/* The same where the position is an id, for lists whose first page needs no cursor: text NULL gives NULL. */
enum err cursor_decode_id(struct op *op, const char *kind, const char *text, const char **id) MUST_CHECK;
/* The page of records that the cursor names (NULL: the first); *next: the cursor of the one behind it, or NULL. */
enum err records_page(struct op *op, struct rec_filter *f, const char *kind, const char *cursor, struct rec_page *page,
		      const char **next) MUST_CHECK;

#endif
