// SPDX-License-Identifier: MIT
/*
 * An agent made of any program.
 *
 * One process, one loop: curl's multi interface carries the requests, poll
 * watches them together with the pipes of the running commands and a
 * signalfd. Nothing blocks after the start, so a slow panel never holds up a
 * command, and a busy command never holds up a heartbeat.
 *
 * Each task is a job. A job lives from the claim until the panel has
 * acknowledged its outcome, and holds one of the agent's slots all that time:
 *
 *   JOB_RUN     the command runs (or is being ended)
 *   JOB_FLUSH   it ended; its last log lines are on their way
 *   JOB_REPORT  its outcome is sent, again and again until it is acknowledged
 *   JOB_DONE    to be freed
 *
 * The panel's lease decides whose the task is. A heartbeat or a report that
 * learns that the lease is lost ends the command and reports nothing: another
 * agent has the task.
 */
#ifndef CLI_RUNNER_H
#define CLI_RUNNER_H

#include <curl/curl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "cli.h"
#include "lib/base/arena.h"
#include "lib/base/buf.h"
#include "lib/base/id.h"
#include "lib/base/json.h"
#include "websocket.h"

struct runner;
struct job;
struct call;

/* ---- requests (run_call.c) ---- */

typedef void (*call_done)(struct runner *r, struct call *c);

struct call {
	struct call *next;
	CURL *easy;
	struct curl_slist *headers;
	struct arena arena;  /* of root */
	struct buf text;     /* the answer as it came */
	struct jv *root;     /* the answer parsed, its items' values kept as text; NULL: it was not JSON */
	long status;	     /* HTTP status, 0: no answer */
	double retry_after;
	double started;
	char error[CURL_ERROR_SIZE];
	call_done done;
	struct job *job; /* NULL when it is the agent's own */
	int reserved;	 /* slots held back for tasks the answer may bring */
	char *token;	 /* the access token it was sent with */
};

/*
 * Sends a request; done() is called once from the loop. body is JSON text or
 * NULL. The call stays the loop's and is freed after done().
 */
struct call *call_start(struct runner *r, const char *method, const char *path, const char *body, double timeout,
			struct job *job, call_done done);
/* Forgets a call without calling done(); takes NULL. */
void call_cancel(struct runner *r, struct call *c);
/* Hands out what has been answered. */
void calls_reap(struct runner *r);
void calls_release(struct runner *r);
/* data of the answer, or NULL. */
const struct jv *call_data(const struct call *c);
/* The panel's message, or what the connection said; for log lines. Static storage. */
const char *call_why(const struct call *c);
/* No answer, or one that says: later. Worth repeating. */
bool call_transient(const struct call *c);
/* Seconds to wait before try number n (from 0): exponential with jitter, at most `most`, at least Retry-After. */
double backoff(int n, double first, double most, const struct call *c);

/* ---- jobs (run_job.c, run_child.c, run_progress.c, run_feed.c) ---- */

enum job_state { JOB_RUN, JOB_FLUSH, JOB_REPORT, JOB_DONE };
/* Why a command is being ended. */
enum job_end { END_NONE, END_TIMEOUT, END_CANCEL, END_LOST, END_STOP, END_OUTPUT, END_INPUT };

/* The input of a task that is too large to lie inside it, read page by page. */
struct feed {
	char **hrefs; /* what refers to it, in order */
	int n, at;    /* how many, and which is being read */
	char *cursor; /* of the next page; NULL: the first */
	bool done;
	int tries;
	double next_at; /* when to try again */
	struct call *call;
};

struct job {
	struct job *next;
	enum job_state state;
	char task_id[ID_TEXT];
	char *type;
	char *execution_id;
	char *pipeline_id;
	int64_t fence, attempt, stage;
	char *text; /* the task as one line of JSON */

	/* the command */
	pid_t pid;	    /* 0: none runs any more */
	int wait_status;    /* how it ended */
	int in, out, err, say; /* our ends of its pipes, -1 when closed */
	struct buf to_in, from_out, err_line, say_line;
	char *last_error;   /* the last line it wrote to stderr */
	struct feed feed;
	double started, ended;
	double timeout_at;  /* 0: none */
	enum job_end end;
	double kill_at;	    /* when TERM turns into KILL; 0: not being ended */

	/* what it says while it runs */
	double progress;
	char *message;
	bool progress_dirty;
	double progress_at; /* not before */
	struct call *progress_call;
	struct buf logs; /* JSON objects, separated by commas */
	int nlogs, dropped;
	struct call *logs_call;
	double logs_at;

	/* the outcome */
	char *report_path;
	char *report_body;
	const char *verdict; /* "completed", "failed", "released" */
	char *why;	     /* of a failure, for the log */
	struct call *report_call;
	int report_tries;
	double report_at;
	bool over_socket; /* it came that way */
	double ack_by;	  /* sent over the socket and not acknowledged yet; 0: not */
	bool plain_error; /* the panel did not take the error as given; it gets a simple one */
};

/* Starts a job for a claimed task (an object of data.tasks); false when the answer makes no sense. */
bool job_start(struct runner *r, const struct jv *task);
/* Gives a claimed task back without running it. */
void job_give_back(struct runner *r, const struct jv *task);
/* What is due: timeouts, kills, progress, logs, reports. Returns when to be called again. */
double job_tick(struct runner *r, struct job *j, double now);
/* Ends the command: TERM, and KILL after the grace. */
void job_end_command(struct runner *r, struct job *j, enum job_end why);
void job_free(struct runner *r, struct job *j);
struct job *job_find(struct runner *r, const char *task_id);
/* The lease is gone: end the command, report nothing. */
void job_lost(struct runner *r, struct job *j, const char *why);

/* The panel has counted its outcome. */
void report_acknowledged(struct runner *r, struct job *j);

/* Starts the command of j; false (and a log line) when that is impossible at the moment. */
bool child_start(struct runner *r, struct job *j);
/* Adds the descriptors to wait for; returns how many (at most CHILD_FDS). */
#define CHILD_FDS 4
int child_poll(struct job *j, struct curl_waitfd *fds);
/* Reads and writes whatever is possible. */
void child_io(struct runner *r, struct job *j);
void child_close(struct job *j);
void child_signal(struct job *j, int sig);

/* A complete line from the progress descriptor. */
void progress_line(struct runner *r, struct job *j, const char *line, size_t len);
void progress_log(struct job *j, const char *level, const char *text, size_t len);
/* Sends what there is to say; returns when to be called again. */
double progress_tick(struct runner *r, struct job *j, double now);
/* True when nothing is left to send. */
bool progress_idle(const struct job *j);

/* Finds the references in the task. */
void feed_init(struct job *j, const struct jv *task);
void feed_release(struct feed *f);
double feed_tick(struct runner *r, struct job *j, double now);

/* ---- the agent (run_identity.c, run_claim.c, run_stop.c) ---- */

struct identity {
	char *agent_id;
	char *auth_token;
	char *file;   /* where it is kept */
	int lock;     /* held while we run; -1 when it is not ours to keep */
	bool stored;  /* it is from our own file, so nobody else uses it */
	bool drained; /* an earlier run of ours drained it to stop */
	bool fresh;   /* registered just now */
};

/* Finds or makes the agent's identity and logs in; returns an exit status. */
int identity_open(struct runner *r, const struct args *args);
/* Remembers whether we drained it. */
void identity_keep(struct runner *r);
void identity_release(struct identity *id);

double claim_tick(struct runner *r, double now);
double heartbeat_tick(struct runner *r, double now);
double login_tick(struct runner *r, double now);
/* Tasks of an answer (data.tasks, or the ones a report brought along). */
void take_tasks(struct runner *r, const struct jv *tasks);
int free_slots(const struct runner *r);
/* May one more be claimed, now? */
bool may_claim(const struct runner *r);

/* ---- the socket (run_socket.c) ---- */

double socket_tick(struct runner *r, double now);
/* Tasks come by themselves; no claim is needed. */
bool socket_ready(const struct runner *r);
/* Sends an outcome; false: it has to go by REST. body is still without its last brace. */
bool socket_report(struct runner *r, struct job *j, const char *body);

/* Begins to stop; a second call insists. */
void stop_ask(struct runner *r, const char *why);
double stop_tick(struct runner *r, double now);
/*
 * Gives back what is leased to us and not in hand: tasks whose claim was never
 * answered, or that were in the hands of an earlier run that died. Nothing is
 * claimed before that is done (r->swept).
 */
double sweep_tick(struct runner *r, double now);
/* The call could have brought tasks and failed: they may have been leased all the same. */
void sweep_after(struct runner *r, const struct call *c);

enum stop_state { STOP_NOT, STOP_DRAIN, STOP_WORK, STOP_SWEEP, STOP_DONE };
enum output_mode { OUTPUT_JSON, OUTPUT_TEXT, OUTPUT_IGNORE };

struct runner {
	struct cli *cli;
	/* what was asked for */
	char **command;
	const char *name, *type;
	const struct args *args;
	struct buf capabilities; /* JSON array */
	struct buf types;	 /* JSON array of task types, empty: any */
	int concurrency;
	int max_tasks; /* 0: no end */
	double max_load, claim_wait, heartbeat, grace, stop_after, idle_exit, task_timeout;
	size_t max_result;
	enum output_mode output;
	bool log_stderr;

	struct identity id;
	char *access; /* NULL: must log in */
	double access_until;
	struct call *login;
	int login_tries;
	double login_at;

	CURLM *multi;
	struct call *calls;
	int signals; /* signalfd */
	struct job *jobs;
	int njobs;
	int started; /* tasks taken so far */
	int reserved;
	long completed, failed, given_back;
	double last_work;

	struct call *claim;
	int claim_tries;
	double claim_at, claim_asked;
	struct call *beat;
	double beat_at, beat_last, beat_not_before;
	bool away; /* the panel does not answer; said once */
	bool drained; /* the panel wants nothing new taken */

	bool swept; /* what an earlier run of ours may have left has been given back */
	struct call *sweep;
	int sweep_tries;
	double sweep_at;
	double echo_until; /* a claim of an earlier run may still wait at the panel, and take tasks for nobody */

	bool rest_only;
	struct ws ws;
	bool ws_ready; /* let in */
	int ws_max;    /* how many tasks it was last told to bring at once; -1: nothing yet */
	int ws_tries;
	double ws_at, ws_opened;

	enum stop_state stop;
	bool hard;
	double stop_by, drain_by, report_by, sweep_by;
	struct call *stop_call;
	int exit_code;
};

#define NEVER 1e18
/* A line on stderr; with --json a JSON line. job may be NULL. */
void say(struct runner *r, const char *level, const struct job *j, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
int run_loop(struct runner *r);

#endif
