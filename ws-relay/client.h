// SPDX-License-Identifier: MIT
/*
 * What is said to a client, whatever it speaks, and its requests to the API.
 *
 * A plain socket gets JSON objects with a type; a Socket.IO client gets events with one argument, or the acknowledgement
 * it asked for. A reply remembers which message it answers: the id member of a plain one ("ref" in the answer), the
 * acknowledgement number of a Socket.IO event.
 */
#ifndef RELAY_CLIENT_H
#define RELAY_CLIENT_H

#include "dialects.h"
#include "fcgiclient.h"
#include "session.h"

#define REF_MAX 136

struct reply {
	int64_t ack;		/* -1: none wanted */
	char ref[REF_MAX];	/* JSON text of the message's id; "" none */
};

struct job;
typedef void job_done(struct job *j, const struct api_answer *a);

struct job {
	struct job *next;
	struct client *c;
	struct api_call *call;
	job_done *done;
	struct reply reply;
	struct sub *sub;
	char task_id[ID_TEXT];
	int64_t number;		/* what the job's owner likes */
	bool counts;		/* it counts though the client goes; what it brings the client is given back */
	char *authorization;	/* with c NULL: whose it was */
	char address[IP_TEXT];
};

enum outlet client_outlet(const struct client *c);

/* {"type":name,"data":json} or an event of that name. json NULL: null. */
void client_emit(struct client *c, const char *name, const char *json, size_t n);
/* An answer to one message: type and data on a plain socket, the acknowledgement on Socket.IO. */
void client_answer(struct client *c, const struct reply *r, const char *type, const char *json, size_t n);
void client_error(struct client *c, const struct reply *r, const char *code, const char *message);
/* The API's refusal, as it stands in its answer; status 0 reads "unavailable". */
void client_refuse_from(struct client *c, const struct reply *r, const struct api_answer *a);
/* An object that is a whole message by itself (the older plain forms): as it is, or as the event `name`. */
void client_say_object(struct client *c, const char *name, const char *json, size_t n);
/* Hand over an event, if this client may see it. */
void client_tell(struct client *c, struct event *e, enum dialect d);
bool client_may_see(const struct client *c, const struct event *e);

/* After auth_begin(): who it is stands in c->who. */
void client_welcome(struct client *c);
/* code: see enum close_code; text: static, for people. */
void client_refused(struct client *c, int code, const char *text);
/* The credential of an accepted client does not hold any more. */
void client_expelled(struct client *c, int code, const char *text);

/*
 * Ask the API as this client. NULL, and an error to the client, when it has too many requests under way already. done
 * runs with the answer unless the client goes first; the job is freed after it. What was not sent yet is forgotten when
 * the client goes, unless the job is made to count.
 */
struct job *client_ask(struct client *c, const char *method, const char *path, const char *query, const char *body,
		       size_t n, const struct reply *r, job_done *done);
/* The answer's "data" as JSON text inside it; false when there is none. */
bool answer_data(const struct api_answer *a, struct arena *arena, struct jv **data, int depth);
void jobs_drop(struct client *c);

#endif
