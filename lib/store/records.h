// SPDX-License-Identifier: MIT
/*
 * What the store keeps. Tasks have a struct of their own because they are hot and are searched in
 * many ways; everything else (agents, pipelines, executions, users, keys, sessions …) is a `struct
 * record`: an id, a revision for compare-and-set, a few indexed values, and a JSON body that only
 * lib/domain reads and writes.
 *
 * Strings are NUL-terminated and live in the arena of whoever asked. Times are ms since the epoch,
 * 0 when not set. JSON fields hold checked JSON text, or NULL.
 */
#ifndef STORE_RECORDS_H
#define STORE_RECORDS_H

#include <stdbool.h>
#include <stdint.h>
#include "../base/id.h"

/* Values are stored: add at the end, never renumber. */
enum task_status {
	TASK_PENDING, TASK_ASSIGNED, TASK_RUNNING, TASK_RETRYING, TASK_COMPLETED, TASK_FAILED, TASK_CANCELLED,
	TASK_STATUS_COUNT
};
#define ST(s) (1u << (s))
#define ST_LIVE		(ST(TASK_PENDING) | ST(TASK_ASSIGNED) | ST(TASK_RUNNING) | ST(TASK_RETRYING))
#define ST_LEASED	(ST(TASK_ASSIGNED) | ST(TASK_RUNNING))
#define ST_QUEUED	(ST(TASK_PENDING) | ST(TASK_RETRYING))
#define ST_ENDED	(ST(TASK_COMPLETED) | ST(TASK_FAILED) | ST(TASK_CANCELLED))

enum priority { PRIO_CRITICAL, PRIO_HIGH, PRIO_MEDIUM, PRIO_LOW, PRIO_COUNT };
enum data_class { CLASS_PUBLIC, CLASS_INTERNAL, CLASS_CONFIDENTIAL, CLASS_RESTRICTED, CLASS_PHI, CLASS_COUNT };

/* Why a pending or retrying task may not be claimed yet. Claimable is: pending and HOLD_NONE. */
enum hold {
	HOLD_NONE,
	HOLD_TIME,	/* until due_at: run_at or retry backoff */
	HOLD_DEPS,	/* until its dependencies completed */
	HOLD_SLOT,	/* until its concurrency key has a free slot */
	HOLD_PAUSE,	/* its execution is paused */
	HOLD_COUNT
};

/* Retry policy of a task (contract.md section 4). */
struct retry {
	int strategy;			/* 0 exponential, 1 linear, 2 fixed */
	int64_t initial_delay_ms, max_delay_ms;
	double factor;
	bool jitter;
	uint32_t retryable;		/* bit per error type that is tried again; see domain/retry.h */
};

struct task {
	char id[ID_TEXT];
	const char *type;
	enum task_status status;
	enum priority priority;
	enum data_class classification;
	enum hold hold;
	int64_t due_at;			/* HOLD_TIME: when it becomes claimable */
	int64_t lane;			/* hash of lane_sig: tasks of one lane fit the same agents */
	const char *lane_sig;		/* {"type":…,"capabilities":[…],"classification":…}; given at insert, read with pending ones */
	int64_t order_key;		/* claim order inside and across lanes: smallest first */
	const char *parameters;		/* JSON */
	const char *requirements;	/* JSON object */
	char pipeline_id[ID_TEXT], execution_id[ID_TEXT];	/* "" when none */
	int stage;			/* 1–6, 0 when none */
	int64_t stage_seq;		/* position within the stage's fan-out, from 0 */
	const char *dependencies;	/* JSON array of ids, NULL when none */
	const char *concurrency_key;	/* NULL when none */
	int64_t concurrency_limit;
	int64_t run_at, deadline;
	int64_t timeout_s, max_retries;
	struct retry retry;
	int64_t attempt;		/* attempts started */
	int64_t fence;			/* grows with each assignment */
	int64_t lease_expires_at;	/* leased states only */
	char agent_id[ID_TEXT];		/* assigned agent, "" when none */
	double progress;
	const char *message;
	const char *result;		/* JSON */
	const char *error;		/* JSON object */
	const char *attempts;		/* JSON array of the ended attempts but the last, NULL when none */
	bool guarded;			/* its result must pass the stage's validation before it is accepted */
	const char *created_by;
	int64_t created_at, updated_at, assigned_at, started_at, completed_at;
};

/* Columns a list leaves out unless asked: they can be a megabyte each. */
enum task_cols { TASK_COLS_ALL, TASK_COLS_BRIEF /* without parameters, result, attempts, requirements, dependencies */ };

/*
 * Kinds of records and what their indexed values mean. s1–s3 are strings ("" when unused, ≤ 256 bytes),
 * n1–n2 integers. A kind marked unique refuses a second record with the same non-empty s1.
 * X(KIND, table/collection name, s1 unique, s1, s2, s3, n1, n2)
 */
#define RECORD_KINDS(X) \
	X(REC_AGENT,	 "agents",	0, "type", "role", "name", "enabled", "deleted_at") \
	X(REC_PIPELINE,	 "pipelines",	0, "name", "", "", "updated_at", "deleted_at") \
	X(REC_EXECUTION, "executions",	0, "pipeline_id", "status", "created_by", "created_at", "live") \
	X(REC_BLOB,	 "blobs",	0, "owner", "", "", "created_at", "") \
	X(REC_TASK_LOG,	 "task_logs",	0, "task_id", "", "", "", "") \
	X(REC_USER,	 "users",	1, "username", "role", "", "enabled", "deleted_at") \
	X(REC_API_KEY,	 "api_keys",	1, "key_hash", "role", "owner", "enabled", "expires_at") \
	X(REC_SESSION,	 "sessions",	0, "subject", "", "", "expires_at", "") \
	X(REC_REVOCATION,"revocations",	0, "subject", "", "", "expires_at", "") \
	X(REC_IDEMPOTENCY,"idempotency",0, "caller", "", "", "expires_at", "") \
	X(REC_OUTBOX,	 "outbox",	0, "kind", "state", "target", "due_at", "") \
	X(REC_SLOT,	 "slots",	0, "", "", "", "", "") \
	X(REC_LEASE,	 "leases",	0, "holder", "", "", "expires_at", "epoch") \
	X(REC_SETTING,	 "settings",	0, "", "", "", "", "") \
	X(REC_AUDIT,	 "audit",	0, "chain_id", "actor", "resource_id", "time", "seq") \
	X(REC_ALERT,	 "alerts",	0, "kind", "status", "subject", "resolved_at", "")

enum record_kind {
#define X(kind, table, uniq, a, b, c, d, e) kind,
	RECORD_KINDS(X)
#undef X
	REC_KIND_COUNT
};

struct record {
	enum record_kind kind;
	const char *id;			/* primary key, ≤ 256 bytes */
	int64_t rev;			/* 1 at insert, +1 with each change */
	const char *s1, *s2, *s3;
	int64_t n1, n2;
	const char *body;		/* JSON text */
};

/* Completed and failed attempts of one agent in one hour. */
struct tally {
	char agent_id[ID_TEXT];
	int64_t hour;			/* ms since the epoch / 3,600,000 */
	int64_t completed, failed;
	int64_t duration_ms;		/* sum over completed */
#define TALLY_BUCKETS 24		/* bucket i counts durations < 2^i ms (i = 0..22); the last all others */
	int64_t bucket[TALLY_BUCKETS];
};

#endif
