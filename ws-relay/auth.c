// SPDX-License-Identifier: MIT
#include "auth.h"

#include "../lib/base/clock.h"
#include "../lib/base/limits.h"
#include "../lib/base/log.h"
#include "../lib/base/schema.h"
#include "../lib/base/secret.h"
#include "../lib/domain/domain.h"
#include "client.h"
#include "redis.h"

#define TABLE 4096	/* a power of two */
#define CHECK_US (LIMIT_WS_CHECK_S * 1000000LL)

static struct {
	struct identity *table[TABLE];
	int n;
} who;

/* A credential on its way to an identity. */
struct asking {
	struct client *c;	/* NULL: it went meanwhile */
	char *authorization;
	struct asking *next;
};

static struct asking *askings;

static struct identity **place(const uint8_t mark[32])
{
	struct identity **p = &who.table[((size_t)mark[0] << 8 | mark[1]) & (TABLE - 1)];

	while (*p && memcmp((*p)->mark, mark, 32) != 0)
		p = &(*p)->next;
	return p;
}

/* --- identities --------------------------------------------------------------------------------------------------------- */

static void release(struct identity *i)
{
	struct identity **p = place(i->mark);

	*p = i->next;
	who.n--;
	api_forget(i->checking);
	secret_free(i->authorization);
	free(i->id);
	free(i->name);
	free(i);
}

static bool set_text(char **to, const char *from)
{
	if (!from)
		return false;	/* who is shown the door keeps its id until it is out */
	if (*to && strcmp(*to, from) == 0)
		return true;
	free(*to);
	*to = xstrdup(from);
	return true;
}

/* What /auth/me says. False: it is not what we know. */
static bool learn(struct identity *i, const struct jv *me)
{
	static const char *const sorts[] = { "user", "agent", "api_key", "system", NULL };
	const char *kind = jv_str(me, "kind");
	const char *clearance = jv_str(me, "clearance_level");
	const char *expires = jv_str(me, "expires_at");
	const char *role = jv_str(me, "role");
	int sort = kind ? name_index(sorts, kind) : -1;
	int class = clearance ? name_index(class_names, clearance) : CLASS_INTERNAL;
	const struct jv *perms = jv_get(me, "permissions");
	int bad;

	if (sort < 0 || !set_text(&i->id, jv_str(me, "id")) || !role || !role_parse(role, &i->role) || !perms ||
	    !perms_read(perms, &i->perms, &bad))
		return false;
	(void)set_text(&i->name, jv_str(me, "name"));
	i->sort = (enum caller_sort)sort;
	i->clearance = class < 0 ? CLASS_PUBLIC : (enum data_class)class;
	i->own_only = i->role == ROLE_WORKER && !(i->perms & PERM_TASK_MANAGE);
	i->expires_ms = 0;
	if (expires && !time_parse(expires, &i->expires_ms))
		return false;
	return true;
}

static struct identity *identity_for(const char *authorization, const struct jv *me)
{
	uint8_t mark[32];

	sha256(authorization, strlen(authorization), mark);
	struct identity **p = place(mark);
	struct identity *i = *p;

	if (!i) {
		i = xcalloc(1, sizeof(*i));
		memcpy(i->mark, mark, 32);
		i->authorization = xstrdup(authorization);
		*p = i;
		who.n++;
		/* Not all in one second, when many come at once. */
		i->check_us = mono_us() + CHECK_US / 2 + (int64_t)mark[2] * CHECK_US / 512;
	}
	if (learn(i, me))
		return i;
	if (!i->clients)
		release(i);
	return NULL;
}

static void join(struct identity *i, struct client *c)
{
	c->who = i;
	c->prev_same = NULL;
	c->next_same = i->clients;
	if (i->clients)
		i->clients->prev_same = c;
	i->clients = c;
}

void auth_leave(struct client *c)
{
	struct identity *i = c->who;

	for (struct asking *q = askings; q; q = q->next) {
		if (q->c == c)
			q->c = NULL;
	}
	if (!i)
		return;
	if (c->prev_same)
		c->prev_same->next_same = c->next_same;
	else
		i->clients = c->next_same;
	if (c->next_same)
		c->next_same->prev_same = c->prev_same;
	c->who = NULL;
	if (!i->clients)
		release(i);
}

/* --- letting in ---------------------------------------------------------------------------------------------------------- */

static struct asking *asking_new(struct client *c)
{
	struct asking *q = xcalloc(1, sizeof(*q));

	q->c = c;
	q->next = askings;
	askings = q;
	c->asking = true;
	return q;
}

static void asking_free(struct asking *q)
{
	for (struct asking **p = &askings; *p; p = &(*p)->next) {
		if (*p == q) {
			*p = q->next;
			break;
		}
	}
	if (q->authorization)
		secret_free(q->authorization);
	free(q);
}

static void on_me(void *arg, const struct api_answer *a)
{
	struct asking *q = arg;
	struct client *c = q->c;
	struct arena arena;
	struct jv *me;

	arena_init(&arena);
	if (!c) {
		;
	} else if (answer_data(a, &arena, &me, 2)) {
		struct identity *i = identity_for(q->authorization, me);

		if (i && (!i->expires_ms || i->expires_ms > now_ms())) {
			join(i, c);
			client_welcome(c);
		} else {
			client_refused(c, CLOSE_UNAUTHENTICATED, "authentication failed");
		}
	} else if (a->status == 401 || a->status == 403) {
		client_refused(c, CLOSE_UNAUTHENTICATED, "authentication failed");
	} else {
		client_refused(c, CLOSE_TRY_LATER, "the API cannot be reached; try again");
	}
	arena_release(&arena);
	asking_free(q);
}

static void ask_me(struct asking *q, const char *authorization)
{
	struct api_request r = { .method = "GET", .path = "/api/v1/auth/me", .authorization = authorization,
				 .address = q->c->s->address };

	q->authorization = xstrdup(authorization);
	api_ask(&r, on_me, q);
}

void auth_begin(struct client *c, const char *authorization)
{
	ask_me(asking_new(c), authorization);
}

static void on_ticket(void *arg, const redisReply *reply)
{
	struct asking *q = arg;
	struct arena arena;
	struct error err;
	struct jv *root;
	const char *authorization = NULL;

	arena_init_wiped(&arena);
	error_init(&err, &arena);
	if (reply && reply->type == REDIS_REPLY_STRING && !json_parse(&arena, reply->str, reply->len, 1, &root, &err))
		authorization = jv_str(root, "authorization");
	if (!q->c) {
		asking_free(q);
	} else if (authorization) {
		ask_me(q, authorization);
	} else {
		struct client *c = q->c;

		asking_free(q);
		if (reply)
			client_refused(c, CLOSE_UNAUTHENTICATED, "the ticket is used, expired or unknown");
		else
			client_refused(c, CLOSE_TRY_LATER, "tickets cannot be looked up; try again");
	}
	arena_release(&arena);
}

void auth_ticket(struct client *c, const char *ticket)
{
	uint8_t mark[MAC_LEN];
	char key[sizeof("{mcp}:ticket:") + 2 * MAC_LEN] = "{mcp}:ticket:";
	const char *argv[] = { "GETDEL", key };

	sha256(ticket, strlen(ticket), mark);
	hex_encode(mark, sizeof(mark), key + strlen(key));
	redis_ask(on_ticket, asking_new(c), 2, argv);
}

bool auth_header(const char *token, char *out, size_t size)
{
	static const char *const schemes[] = { "Bearer ", "Agent ", "ApiKey " };
	const char *dot = strchr(token, '.');
	bool jwt = dot && strchr(dot + 1, '.');
	const char *scheme = jwt ? "Bearer " : "ApiKey ";

	for (size_t i = 0; i < 3; i++) {
		if (strncasecmp(token, schemes[i], strlen(schemes[i])) == 0)
			scheme = "";
	}
	return (size_t)snprintf(out, size, "%s%s", scheme, token) < size;
}

/* --- does it still hold ---------------------------------------------------------------------------------------------------- */

static void expel_all(struct identity *i, int code, const char *text)
{
	/* Ending a client takes it off the list, and the last one takes the identity along. */
	struct client *next;

	for (struct client *c = i->clients; c; c = next) {
		next = c->next_same;
		client_expelled(c, code, text);
	}
}

static void on_check(void *arg, const struct api_answer *a)
{
	struct identity *i = arg;
	struct arena arena;
	struct jv *me;

	i->checking = NULL;
	i->check_us = mono_us() + CHECK_US;
	arena_init(&arena);
	if (a->status == 401 || (answer_data(a, &arena, &me, 2) && !learn(i, me)))
		expel_all(i, CLOSE_UNAUTHENTICATED, "the credential does not hold any more");
	arena_release(&arena);
}

static void look_at(struct identity *i, int64_t now, int64_t wall)
{
	if (i->expires_ms && wall >= i->expires_ms) {
		expel_all(i, CLOSE_EXPIRED, "the token has expired");
	} else if (!i->checking && now >= i->check_us) {
		struct api_request r = { .method = "GET", .path = "/api/v1/auth/me", .authorization = i->authorization,
					 .address = i->clients ? i->clients->s->address : NULL };

		i->checking = api_ask(&r, on_check, i);
	}
}

void auth_tick(void)
{
	int64_t now = mono_us();
	int64_t wall = now_ms();

	for (int b = 0; b < TABLE; b++) {
		for (struct identity *i = who.table[b], *next; i; i = next) {
			next = i->next;
			look_at(i, now, wall);
		}
	}
}

int identities_count(void)
{
	return who.n;
}
