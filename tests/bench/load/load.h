// SPDX-License-Identifier: MIT
/*
 * The load driver's own model.
 *
 * An *operation* is what a scenario measures: one request, or several in turn (a task's whole life). Each
 * operation has a connection to itself while it runs. Operations begin either at a fixed rate (open loop:
 * the n-th is planned at n / rate, however slow the server is; when no connection is free it
 * begins late, and its latency still counts from the plan, so that no delay is left out), or each when the
 * one before it on its connection has ended (closed loop).
 *
 * A scenario is an entry of a table: prepare, start one operation, release. `steps` name the requests of an
 * operation, whose own times are kept beside the whole.
 */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include "client.h"
#include "lib/base/id.h"
#include "lib/base/json.h"

#define MAX_STEPS	6
#define MAX_STATUS	600
#define TOKEN_TEXT	2048

/* Latencies in microseconds, all of them: percentiles are exact. */
struct samples {
	uint32_t *us;
	size_t n, cap;
};
void samples_add(struct samples *s, int64_t us);
/* {"p50":…,"p95":…,"p99":…,"max":…,"mean":…} in ms; sorts. */
void samples_write(struct jw *w, struct samples *s);

struct load;
struct op;
/* data: the answer's `data` (or its root when it has none), NULL when the status is none that was expected. */
typedef void op_next(struct op *op, int status, const struct jv *data);

struct op {
	struct load *load;
	struct conn conn;
	int index;		/* which connection */
	int64_t serial;		/* which operation, from 0 */
	int64_t planned;	/* µs, when it should have begun */
	int step;
	int64_t step_began;
	uint32_t want;		/* bit i: status 200 + i is good */
	op_next *next;
	bool busy;
	/* scenarios' own */
	char id[ID_TEXT];
	int64_t fence;
	int tries, left, taken;
	bool waiting, told;	/* pipeline: for the run's end; of it by an agent's connection */
	int64_t look_at;	/* pipeline: when to ask without having been told */
	struct buf text;
};

struct agent {
	char id[ID_TEXT];
	char token[TOKEN_TEXT];
};

struct scenario {
	const char *name, *what;
	const char *unit;		/* what an operation counts as: "tasks" */
	const char *steps[MAX_STEPS];
	bool (*prepare)(struct load *l);
	void (*start)(struct op *op);
	void (*tick)(struct load *l, int64_t now);	/* NULL, or called at least every millisecond */
};

struct load {
	struct client client;
	const struct scenario *scenario;
	/* options */
	double rate;			/* operations a second; 0: closed loop */
	double seconds, warmup;
	int connections, n_agents, batch, n_tasks;
	bool verbose;
	/* what prepare made */
	char admin[TOKEN_TEXT];
	char label[64];			/* a capability of this run alone */
	struct agent *agents;
	char (*tasks)[ID_TEXT];
	char pipeline[ID_TEXT];
	/* connections of agents that wait for work: assign, pipeline */
	struct waiter *waiters;
	int n_waiters;
	/* the run */
	struct op *ops;
	struct op **idle;
	int n_idle;
	struct arena arena;		/* the answer in hand */
	int64_t began, measure_from, ends;
	int64_t started, finished, units, ok;
	bool stopping;
	struct samples whole, step[MAX_STEPS];
	int64_t failed[MAX_STATUS];	/* by status; 0: connection */
	int64_t unfinished, empty_claims, complaints;
};

/* A status is expected when it is in the mask. */
#define WANT(status) (1u << ((status) - 200))

/*
 * Send the next request of an operation; fmt makes the path. On an unexpected status the operation ends as
 * failed by itself. body NULL: none.
 */
void op_call(struct op *op, int step, const char *method, const char *token, const char *body, size_t n,
	     uint32_t want, op_next *next, const char *fmt, ...) __attribute__((format(printf, 9, 10)));
/* The operation is over; units is what it achieved (0: it failed). */
void op_end(struct op *op, int64_t units);
/* A step's time that is measured elsewhere than by op_call. */
void op_measure(struct op *op, int step, int64_t us);
/* Count and (the first few) print an unwanted answer. */
void load_failed(struct load *l, const char *what, int status, const char *body);

/* One request, waited for; exits the program with a message unless the status is one of want. */
const struct jv *load_request(struct load *l, const char *method, const char *path, const char *token,
			      const char *body, uint32_t want);
const struct jv *answer_data(struct load *l, const char *body, size_t n);
void die(const char *fmt, ...) __attribute__((noreturn, format(printf, 1, 2)));

/* Log in as the administrator. */
void load_login(struct load *l, const char *user, const char *password);
/* n agents with tokens of their own and this run's capability. */
void load_register_agents(struct load *l, int n);
/* The body of one task of this run; serial tells them apart. */
void task_body(struct buf *b, const struct load *l, const char *capability, int64_t serial);

extern const struct scenario scenarios[];
extern const int n_scenarios;

#endif
