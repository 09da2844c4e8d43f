-- Schema of the embedded store. Applied once, inside one transaction, by lib/store/store_sqlite_open.c;
-- later changes are later files. Times are ms since the epoch, 0 when not set; enums are the numbers
-- of lib/store/records.h; ids of tasks, agents, executions and pipelines are their 16 bytes.

-- Tasks. WITHOUT ROWID: ids are time-ordered, so rows are appended, and every index below ends in the
-- id, so that it is a list in id order by itself. Values over a few hundred bytes stand in task_parts
-- (bit p of parts is set when part p does), so that a lease renewal does not rewrite them.
CREATE TABLE tasks (
	id BLOB PRIMARY KEY,
	type TEXT NOT NULL,
	status INTEGER NOT NULL,
	priority INTEGER NOT NULL,
	classification INTEGER NOT NULL,
	hold INTEGER NOT NULL,
	due_at INTEGER NOT NULL,
	lane INTEGER NOT NULL,
	order_key INTEGER NOT NULL,
	pipeline_id BLOB,
	execution_id BLOB,
	stage INTEGER NOT NULL,
	stage_seq INTEGER NOT NULL,
	concurrency_key TEXT,
	concurrency_limit INTEGER NOT NULL,
	run_at INTEGER NOT NULL,
	deadline INTEGER NOT NULL,
	timeout_s INTEGER NOT NULL,
	max_retries INTEGER NOT NULL,
	retry_strategy INTEGER NOT NULL,
	retry_initial_ms INTEGER NOT NULL,
	retry_max_ms INTEGER NOT NULL,
	retry_factor REAL NOT NULL,
	retry_jitter INTEGER NOT NULL,
	retryable INTEGER NOT NULL,
	attempt INTEGER NOT NULL,
	fence INTEGER NOT NULL,
	lease_expires_at INTEGER NOT NULL,
	agent_id BLOB,
	progress REAL NOT NULL,
	message TEXT,
	error TEXT,
	guarded INTEGER NOT NULL,
	created_by TEXT,
	created_at INTEGER NOT NULL,
	updated_at INTEGER NOT NULL,
	assigned_at INTEGER NOT NULL,
	started_at INTEGER NOT NULL,
	completed_at INTEGER NOT NULL,
	parts INTEGER NOT NULL,
	parameters TEXT,
	requirements TEXT,
	dependencies TEXT,
	result TEXT,
	attempts TEXT
) WITHOUT ROWID;

CREATE TABLE task_parts (
	task BLOB NOT NULL,
	part INTEGER NOT NULL,	-- 0 parameters, 1 requirements, 2 dependencies, 3 result, 4 attempts
	value TEXT NOT NULL,
	PRIMARY KEY (task, part)
) WITHOUT ROWID;

-- What may be claimed now: the head of each lane is one seek away.
CREATE INDEX tasks_claim ON tasks (lane, order_key) WHERE status = 0 AND hold = 0;
-- Lists by status and by priority, and the oldest claimable task of a priority.
CREATE INDEX tasks_state ON tasks (status, hold, priority);
CREATE INDEX tasks_type ON tasks (type);
CREATE INDEX tasks_creator ON tasks (created_by) WHERE created_by IS NOT NULL;
CREATE INDEX tasks_agent ON tasks (agent_id, status) WHERE agent_id IS NOT NULL;
CREATE INDEX tasks_pipeline ON tasks (pipeline_id) WHERE pipeline_id IS NOT NULL;
CREATE INDEX tasks_execution ON tasks (execution_id) WHERE execution_id IS NOT NULL;
CREATE INDEX tasks_stage ON tasks (execution_id, stage, stage_seq) WHERE execution_id IS NOT NULL;
-- When something must happen by itself: the lease or the time limit of an attempt, whichever is first …
CREATE INDEX tasks_wake ON tasks (
	CASE WHEN status = 2 AND timeout_s > 0 AND started_at > 0
		THEN min(lease_expires_at, started_at + timeout_s * 1000)
		ELSE lease_expires_at END
) WHERE status IN (1, 2);
-- … the end of a wait, and the deadline.
CREATE INDEX tasks_due ON tasks (due_at) WHERE hold = 1 AND status IN (0, 3);
CREATE INDEX tasks_deadline ON tasks (deadline) WHERE deadline > 0 AND status IN (0, 1, 2, 3);
-- Who waits for a slot of a concurrency key, and for dependencies.
CREATE INDEX tasks_slot ON tasks (concurrency_key, order_key) WHERE hold = 3 AND status IN (0, 3);
CREATE INDEX tasks_slot_any ON tasks (order_key) WHERE hold = 3 AND status IN (0, 3);
CREATE INDEX tasks_deps ON tasks (hold) WHERE hold = 2 AND status = 0;
-- Retention.
CREATE INDEX tasks_ended ON tasks (classification, completed_at) WHERE status IN (4, 5, 6);

-- What the tasks of a lane ask of an agent.
CREATE TABLE lanes (lane INTEGER PRIMARY KEY, sig TEXT NOT NULL);

-- Counters kept in the transaction that changes what they count.
-- key: 0–3 claimable by priority, 16 + hold: waiting by hold, 32: leased.
CREATE TABLE queue_counts (key INTEGER PRIMARY KEY, n INTEGER NOT NULL);
CREATE TABLE stage_counts (
	execution_id BLOB NOT NULL,
	stage INTEGER NOT NULL,
	s0 INTEGER NOT NULL, s1 INTEGER NOT NULL, s2 INTEGER NOT NULL, s3 INTEGER NOT NULL,
	s4 INTEGER NOT NULL, s5 INTEGER NOT NULL, s6 INTEGER NOT NULL,
	PRIMARY KEY (execution_id, stage)
) WITHOUT ROWID;
CREATE TABLE tallies (
	agent_id BLOB NOT NULL,
	hour INTEGER NOT NULL,
	completed INTEGER NOT NULL, failed INTEGER NOT NULL, duration_ms INTEGER NOT NULL,
	b0 INTEGER NOT NULL, b1 INTEGER NOT NULL, b2 INTEGER NOT NULL, b3 INTEGER NOT NULL,
	b4 INTEGER NOT NULL, b5 INTEGER NOT NULL, b6 INTEGER NOT NULL, b7 INTEGER NOT NULL,
	b8 INTEGER NOT NULL, b9 INTEGER NOT NULL, b10 INTEGER NOT NULL, b11 INTEGER NOT NULL,
	b12 INTEGER NOT NULL, b13 INTEGER NOT NULL, b14 INTEGER NOT NULL, b15 INTEGER NOT NULL,
	b16 INTEGER NOT NULL, b17 INTEGER NOT NULL, b18 INTEGER NOT NULL, b19 INTEGER NOT NULL,
	b20 INTEGER NOT NULL, b21 INTEGER NOT NULL, b22 INTEGER NOT NULL, b23 INTEGER NOT NULL,
	PRIMARY KEY (agent_id, hour)
) WITHOUT ROWID;
CREATE INDEX tallies_hour ON tallies (hour);

-- Records: all of one shape; what s1–s3, n1 and n2 mean is in lib/store/records.h. Kinds with large
-- bodies have a rowid, since a b-tree with its rows in index pages keeps only 1 kB of each in place.
CREATE TABLE agents (
	id TEXT PRIMARY KEY NOT NULL, rev INTEGER NOT NULL,
	s1 TEXT NOT NULL, s2 TEXT NOT NULL, s3 TEXT NOT NULL, n1 INTEGER NOT NULL, n2 INTEGER NOT NULL,
	body TEXT);
CREATE INDEX agents_s1 ON agents (s1, id);
CREATE INDEX agents_s2 ON agents (s2, id);
CREATE INDEX agents_s3 ON agents (s3, id);

CREATE TABLE pipelines (
	id TEXT PRIMARY KEY NOT NULL, rev INTEGER NOT NULL,
	s1 TEXT NOT NULL, s2 TEXT NOT NULL, s3 TEXT NOT NULL, n1 INTEGER NOT NULL, n2 INTEGER NOT NULL,
	body TEXT);
CREATE INDEX pipelines_s1 ON pipelines (s1, id);
CREATE INDEX pipelines_n1 ON pipelines (n1, id);

CREATE TABLE executions (
	id TEXT PRIMARY KEY NOT NULL, rev INTEGER NOT NULL,
	s1 TEXT NOT NULL, s2 TEXT NOT NULL, s3 TEXT NOT NULL, n1 INTEGER NOT NULL, n2 INTEGER NOT NULL,
	body TEXT);
CREATE INDEX executions_s1 ON executions (s1, id);
CREATE INDEX executions_s2 ON executions (s2, id);
CREATE INDEX executions_s3 ON executions (s3, id);
CREATE INDEX executions_n1 ON executions (n1, id);
CREATE INDEX executions_n2 ON executions (n2, id) WHERE n2 <> 0;

CREATE TABLE blobs (
	id TEXT PRIMARY KEY NOT NULL, rev INTEGER NOT NULL,
	s1 TEXT NOT NULL, s2 TEXT NOT NULL, s3 TEXT NOT NULL, n1 INTEGER NOT NULL, n2 INTEGER NOT NULL,
	body TEXT);
CREATE INDEX blobs_s1 ON blobs (s1, id);
CREATE INDEX blobs_n1 ON blobs (n1, id);

CREATE TABLE task_logs (
	id TEXT PRIMARY KEY NOT NULL, rev INTEGER NOT NULL,
	s1 TEXT NOT NULL, s2 TEXT NOT NULL, s3 TEXT NOT NULL, n1 INTEGER NOT NULL, n2 INTEGER NOT NULL,
	body TEXT) WITHOUT ROWID;
CREATE INDEX task_logs_s1 ON task_logs (s1, id);

CREATE TABLE users (
	id TEXT PRIMARY KEY NOT NULL, rev INTEGER NOT NULL,
	s1 TEXT NOT NULL, s2 TEXT NOT NULL, s3 TEXT NOT NULL, n1 INTEGER NOT NULL, n2 INTEGER NOT NULL,
	body TEXT) WITHOUT ROWID;
CREATE UNIQUE INDEX users_s1 ON users (s1) WHERE s1 <> '';

CREATE TABLE api_keys (
	id TEXT PRIMARY KEY NOT NULL, rev INTEGER NOT NULL,
	s1 TEXT NOT NULL, s2 TEXT NOT NULL, s3 TEXT NOT NULL, n1 INTEGER NOT NULL, n2 INTEGER NOT NULL,
	body TEXT) WITHOUT ROWID;
CREATE UNIQUE INDEX api_keys_s1 ON api_keys (s1) WHERE s1 <> '';
CREATE INDEX api_keys_s3 ON api_keys (s3, id);

CREATE TABLE sessions (
	id TEXT PRIMARY KEY NOT NULL, rev INTEGER NOT NULL,
	s1 TEXT NOT NULL, s2 TEXT NOT NULL, s3 TEXT NOT NULL, n1 INTEGER NOT NULL, n2 INTEGER NOT NULL,
	body TEXT) WITHOUT ROWID;
CREATE INDEX sessions_s1 ON sessions (s1, id);
CREATE INDEX sessions_n1 ON sessions (n1, id);

CREATE TABLE revocations (
	id TEXT PRIMARY KEY NOT NULL, rev INTEGER NOT NULL,
	s1 TEXT NOT NULL, s2 TEXT NOT NULL, s3 TEXT NOT NULL, n1 INTEGER NOT NULL, n2 INTEGER NOT NULL,
	body TEXT) WITHOUT ROWID;
CREATE INDEX revocations_s1 ON revocations (s1, id);
CREATE INDEX revocations_n1 ON revocations (n1, id);

CREATE TABLE idempotency (
	id TEXT PRIMARY KEY NOT NULL, rev INTEGER NOT NULL,
	s1 TEXT NOT NULL, s2 TEXT NOT NULL, s3 TEXT NOT NULL, n1 INTEGER NOT NULL, n2 INTEGER NOT NULL,
	body TEXT) WITHOUT ROWID;
CREATE INDEX idempotency_n1 ON idempotency (n1, id);

CREATE TABLE outbox (
	id TEXT PRIMARY KEY NOT NULL, rev INTEGER NOT NULL,
	s1 TEXT NOT NULL, s2 TEXT NOT NULL, s3 TEXT NOT NULL, n1 INTEGER NOT NULL, n2 INTEGER NOT NULL,
	body TEXT) WITHOUT ROWID;
CREATE INDEX outbox_s1 ON outbox (s1, id);
CREATE INDEX outbox_s3 ON outbox (s3, id);
CREATE INDEX outbox_s2 ON outbox (s2, n1, id);
CREATE INDEX outbox_n1 ON outbox (n1, id);

CREATE TABLE slots (
	id TEXT PRIMARY KEY NOT NULL, rev INTEGER NOT NULL,
	s1 TEXT NOT NULL, s2 TEXT NOT NULL, s3 TEXT NOT NULL, n1 INTEGER NOT NULL, n2 INTEGER NOT NULL,
	body TEXT) WITHOUT ROWID;

CREATE TABLE leases (
	id TEXT PRIMARY KEY NOT NULL, rev INTEGER NOT NULL,
	s1 TEXT NOT NULL, s2 TEXT NOT NULL, s3 TEXT NOT NULL, n1 INTEGER NOT NULL, n2 INTEGER NOT NULL,
	body TEXT) WITHOUT ROWID;

CREATE TABLE settings (
	id TEXT PRIMARY KEY NOT NULL, rev INTEGER NOT NULL,
	s1 TEXT NOT NULL, s2 TEXT NOT NULL, s3 TEXT NOT NULL, n1 INTEGER NOT NULL, n2 INTEGER NOT NULL,
	body TEXT) WITHOUT ROWID;
