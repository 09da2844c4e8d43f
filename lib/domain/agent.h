// SPDX-License-Identifier: MIT
/*
 * Agents: who they are, what they can do, and whether they are there. The record in the store says who
 * and what; heartbeats live in Redis and are flushed to the record in batches, so liveness is computed from
 * the later of the two. Only a disabled or deleted agent is refused; an inactive one may come back.
 */
#ifndef DOMAIN_AGENT_H
#define DOMAIN_AGENT_H

#include "domain.h"

enum agent_status { AGENT_ACTIVE, AGENT_BUSY, AGENT_INACTIVE, AGENT_ERROR };

struct endpoints_in {
	uint64_t present;
	const char *task, *status, *health;
};

/* What a client may send: registration and update share it. */
struct agent_in {
	uint64_t present;
	const char *name, *type, *metadata, *configuration, *version, *resources;
	struct strs capabilities, permissions;
	struct endpoints_in *endpoints;
	int role, clearance_level;
	bool enabled;
	int64_t slots;
	const char *endpoint_url, *health_check_url;	/* older spellings */
};
extern const struct schema agent_schema, agent_update_schema;

struct agent {
	char id[ID_TEXT];
	int64_t rev;
	const char *name, *type, *version;
	struct strs capabilities;
	enum role role;
	perms_t extra_perms;
	enum data_class clearance;
	bool enabled, draining;
	int64_t slots;				/* 0: no limit */
	const char *ep_task, *ep_status, *ep_health;
	const char *resources, *allocated;	/* JSON */
	const char *configuration, *metadata;	/* JSON; secrets in configuration are sealed */
	const char *token_hash;
	int64_t token_cutoff;			/* s; tokens issued before are dead */
	int64_t registered_at, updated_at, last_heartbeat, last_auth_at, deleted_at;
	int64_t recorded_heartbeat;		/* last_heartbeat as the record has it */
	const char *registered_by;
	/* from heartbeats */
	enum agent_status status;
	double load;				/* 0–1 */
	const char *beat_resources, *beat_metrics;
	const char *anomalies;
};

/* --- records ---------------------------------------------------------------------------------------- */

/* The agent that is not deleted; ERR_NOT_FOUND. Liveness is filled from the bus when it is up. */
enum err agent_load(struct op *op, const char *id, struct agent **out) MUST_CHECK;
/* The same without liveness, which costs a round trip to Redis: for claims. */
enum err agent_known(struct op *op, const char *id, struct agent **out) MUST_CHECK;
/* Also a deleted one (tokens of it must be told apart). *out NULL: never was. Without liveness. */
enum err agent_find(struct op *op, const char *id, struct agent **out) MUST_CHECK;
enum err agent_from_record(struct op *op, const struct record *rec, struct agent **out) MUST_CHECK;
struct record *agent_to_record(struct op *op, const struct agent *a);
/* Fill status and load of n agents from the bus (one round trip) and the clock. */
void agents_liveness(struct op *op, struct agent **agents, int n);
/* Its liveness from what is known of its heartbeats: what it said of itself counts as long as it is heard of. */
void agent_judge(struct op *op, struct agent *a, const struct beat *b);
void agent_json(const struct agent *a, struct jw *w);
perms_t agent_perms(const struct agent *a);

/*
 * Change an agent by compare-and-set: edit() is called with a fresh copy and may be called again when someone
 * else was faster. It returns OK to save, or an error to give up.
 */
typedef enum err agent_edit(struct op *op, struct agent *a, void *arg);
enum err agent_change(struct op *op, const char *id, agent_edit *edit, void *arg, struct agent **out) MUST_CHECK;

/* --- verbs ------------------------------------------------------------------------------------------ */

/* Makes the auth token (*token, shown once) and its hash; hash() is bcrypt, given by lib/domain/session. */
enum err agent_register(struct op *op, const struct agent_in *in, struct agent **out, const char **token) MUST_CHECK;
enum err agent_update(struct op *op, const char *id, const struct agent_in *in, struct agent **out) MUST_CHECK;
enum err agent_delete(struct op *op, const char *id) MUST_CHECK;

struct capabilities_in {
	uint64_t present;
	struct strs add, remove, replace;
};
extern const struct schema capabilities_schema;
enum err agent_capabilities(struct op *op, const char *id, const struct capabilities_in *in, struct agent **out)
	MUST_CHECK;

struct allocate_in {
	uint64_t present;
	double cpu;
	const char *memory;	/* JSON: a number of bytes or "8GB" */
	int64_t slots;
};
extern const struct schema allocate_schema;
enum err agent_allocate(struct op *op, const char *id, const struct allocate_in *in, struct agent **out) MUST_CHECK;

enum err agent_drain(struct op *op, const char *id, bool drain, struct agent **out) MUST_CHECK;

struct beat_task_in {
	uint64_t present;
	const char *task_id;
	int64_t fence;
};
struct heartbeat_in {
	uint64_t present;
	int status;
	double current_load;
	const char *resources, *metrics;
	struct objs tasks;	/* struct beat_task_in */
};
extern const struct schema heartbeat_schema;
/* Writes the answer's data: what is lost, what to do, when to come back. */
enum err agent_heartbeat(struct op *op, const char *id, const struct heartbeat_in *in, struct jw *answer) MUST_CHECK;

/* --- watching over agents: for the scheduler ------------------------------------------------------------ */

/* Write heartbeats that are `behind_ms` ahead of the records into them, as one group; lazily. *n written. */
enum err agents_flush(struct op *op, struct agent **agents, int n_agents, int64_t behind_ms, int *n) MUST_CHECK;
/*
 * The agent has been silent too long: its tasks go back (*n of them), its record keeps when it was last heard of, and
 * it is told of as inactive. One that was heard of meanwhile is left alone, and *n is -1; so is one that is gone.
 */
enum err agent_lost(struct op *op, const char *id, int *n) MUST_CHECK;
/* It answered a health probe or a push: as good as a heartbeat. body: what it said, JSON or not, may be NULL. */
enum err agent_answered(struct op *op, const char *id, const char *body) MUST_CHECK;
/* Tell of it. */
void agent_post(struct op *op, const struct agent *a, const char *event);

/* --- finding ---------------------------------------------------------------------------------------- */

struct agent_criteria {
	uint64_t present;
	struct strs capabilities, any_capabilities;
	const char *type;
	uint32_t status;	/* mask of enum agent_status */
	uint32_t roles;		/* mask of enum role */
	double max_load, min_success_rate;
	int64_t limit;
	const char *cursor;
};
extern const struct schema agent_list_query, discover_query, assign_schema;

/* A page in order of registration. */
enum err agents_list(struct op *op, const struct agent_criteria *c, struct agent ***out, int *n, const char **next)
	MUST_CHECK;

/* How good a choice an agent is: 0–1. See docs/architecture.md, "Who gets a task". */
struct candidate {
	struct agent *agent;
	double fitness, success_rate, avg_duration_ms;
	int64_t running, ended;
};
/* All that match, fittest first. push_only: with endpoints.task. */
enum err agents_discover(struct op *op, const struct agent_criteria *c, struct candidate **out, int *n) MUST_CHECK;
double agent_fitness(double load, double success_rate, double avg_duration_ms);

/* --- figures ----------------------------------------------------------------------------------------- */

struct agent_figures {
	int64_t completed, failed;
	double success_rate;		/* 0–1; 1 when nothing ended */
	double avg_ms, p50_ms, p95_ms;
};
/* Sums of the tallies from that hour on (0: all). */
enum err agent_figures(struct op *op, const char *id, int64_t from_hour, struct agent_figures *out) MUST_CHECK;
enum err agent_metrics_json(struct op *op, const char *id, struct jw *w) MUST_CHECK;
enum err agent_health_json(struct op *op, const char *id, struct jw *w) MUST_CHECK;

/* --- for claims --------------------------------------------------------------------------------------- */

/* Lower *max to what the agent may take now: 0 when it drains or is disabled, slots minus what it holds. */
enum err agent_room(struct op *op, const struct agent *a, int64_t *max) MUST_CHECK;
/* Candidates from the queue in Redis, claimed in the store; *n may be 0 (Redis away is no error). */
struct claim;
enum err claim_from_queue(struct op *op, struct claim *c, struct fit *fit, struct task **out, int *n) MUST_CHECK;

#endif
