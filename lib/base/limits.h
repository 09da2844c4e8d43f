// SPDX-License-Identifier: MIT
/*
 * Every bound on a length, count or depth that outside input meets, in one place. What an operator
 * may change is a configuration key instead (lib/base/config_keys.def); these are the fixed ones.
 */
#ifndef BASE_LIMITS_H
#define BASE_LIMITS_H

#define LIMIT_JSON_DEPTH	64	/* contract.md section 2 */
#define LIMIT_NUMBER_LEN	400	/* characters of one JSON number */
#define LIMIT_NAME		200	/* names of agents, pipelines, users, keys; characters */
#define LIMIT_SLUG		64	/* task and agent types, capabilities, tags */
#define LIMIT_TEXT		4096	/* descriptions, messages, log lines; characters */
#define LIMIT_URL		2048
#define LIMIT_PASSWORD_MIN	12	/* OWASP ASVS 2.1.1 */
#define LIMIT_PASSWORD_MAX	256
#define LIMIT_CAPABILITIES	64
#define LIMIT_TAGS		32
#define LIMIT_DEPENDENCIES	128	/* of one task */
#define LIMIT_METADATA		65536	/* bytes of a metadata or configuration object */
#define LIMIT_STAGES		6
#define LIMIT_BATCH		1000	/* tasks in one batch call */
#define LIMIT_CLAIM		500	/* tasks in one claim */
#define LIMIT_PAGE		500	/* items on one page */
#define LIMIT_PAGE_DEFAULT	50
#define LIMIT_LOGS_PER_CALL	500
#define LIMIT_LOGS_SHOWN	100	/* log lines inside GET /tasks/{id} */
#define LIMIT_HEARTBEAT_TASKS	1000
#define LIMIT_RETRIES		100
#define LIMIT_TIMEOUT_S		604800	/* a week */
#define LIMIT_WAIT_S		30	/* ?wait= */
#define LIMIT_FAN_OUT		10000	/* tasks of one stage */
#define LIMIT_CONCURRENCY	10000	/* concurrency_limit of a key */
#define LIMIT_HEADER_ID		128	/* X-Request-ID, Idempotency-Key; characters */
#define LIMIT_ATTEMPTS_KEPT	200	/* attempt records of one task */
#define LIMIT_PATTERN		256	/* a validation schema's pattern; bytes */
#define LIMIT_SCHEMA_PATTERNS	256	/* patterns in one validation schema */
#define LIMIT_SCHEMA_NODES	10000	/* schemas within one validation schema */
#define LIMIT_VALIDATION_STEPS	20000000 /* work of one validation; about a fifth of a second */

/* the relay */
#define LIMIT_WS_AUTH_S		5	/* from connecting to a credential */
#define LIMIT_WS_STRANGER	65536	/* message, and request body, of who has not authenticated; bytes */
#define LIMIT_WS_STRANGERS	256	/* sessions of one address that have not authenticated yet */
#define LIMIT_WS_IDLE_S		10	/* a connection between two requests */
#define LIMIT_WS_PING_S		20	/* between two pings: proxies close what is silent for a minute */
#define LIMIT_WS_CHECK_S	30	/* between two looks whether a credential still holds */
#define LIMIT_WS_QUEUE		8192	/* messages waiting for one client */
#define LIMIT_WS_QUEUE_BYTES	((size_t)8 << 20)	/* …and their bytes */
#define LIMIT_WS_SUBS		64	/* subscriptions of one client */
#define LIMIT_WS_RECENT		8192	/* events kept at hand for subscriptions that wait for their first state */
#define LIMIT_WS_REPLAY		20000	/* events told again to one resume */
#define LIMIT_WS_JOBS		256	/* requests of one client to the API under way */
#define LIMIT_WS_SLOTS		500	/* tasks in the hands of an agent on a socket */
#define LIMIT_WS_ATTACHMENTS	10	/* binary parts of one Socket.IO packet */
#define LIMIT_WS_HEADER		8192	/* request line and headers of a handshake; bytes */
#define LIMIT_API_ANSWER	((size_t)64 << 20)	/* an answer of mcp-api */
#define LIMIT_API_QUEUE		16384	/* requests of the relay to mcp-api that wait for a connection */

#endif
