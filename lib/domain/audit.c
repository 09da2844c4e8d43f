// SPDX-License-Identifier: MIT
#include "audit.h"

#include <pthread.h>
#include <unistd.h>

#include "../base/clock.h"
#include "../base/limits.h"
#include "../base/log.h"
#include "../base/secret.h"

#define HASH_HEX	(2 * MAC_LEN)
#define GROUP		64		/* records of one commit */
#define DOWN_US		1000000		/* the store was away: refusals do not wait for it again so soon */
#define AGENT_TEXT	200		/* of a User-Agent */

static const char no_hash[] = "0000000000000000000000000000000000000000000000000000000000000000";

/* This process' chain. A fork, another store (tests open several) or an unknown outcome begins a new one. */
static struct {
	pthread_mutex_t lock;
	uint64_t store;			/* store_number() */
	pid_t pid;
	char id[ID_TEXT];
	int64_t seq;
	char head[HASH_HEX + 1];
} chain = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* Records that wait for the next commit. */
struct waiting {
	struct op *op;
	struct audit *a;
	enum err err;
	bool done;
	struct waiting *next;
};
static struct {
	pthread_mutex_t lock;
	struct waiting *head, **tail;
	_Atomic int64_t down_until_us;
} line = { .lock = PTHREAD_MUTEX_INITIALIZER, .tail = &line.head };

/* --- one record ----------------------------------------------------------------------------------------------- */

static void begin_chain(const struct store *s)
{
	chain.store = store_number(s);
	chain.pid = getpid();
	id_new(chain.id);
	chain.seq = 0;
	memcpy(chain.head, no_hash, sizeof(chain.head));
}

/* What a client sent of itself, made harmless. */
static const char *plain(struct op *op, const char *text)
{
	char *out = text ? arena_strndup(op->arena, text, strnlen(text, AGENT_TEXT)) : NULL;

	for (char *p = out; p && *p; p++)
		*p = *p < 0x20 || *p > 0x7e ? '?' : *p;
	return out;
}

static const char *actor_of(const struct op *op, const struct audit *a)
{
	return a->actor ? a->actor : op->caller->kind == CALLER_NONE ? "" : op->caller->id;
}

static const char *resource_of(const struct audit *a, const struct store_unit *u)
{
	if (a->resource_id || !a->made || !u || !u->n)
		return a->resource_id ? a->resource_id : "";
	return u->ops[0].kind == SOP_TASK_CHANGE ? u->ops[0].change->id : u->ops[0].kind == SOP_TASK_INSERT ? u->ops[0].task->id
										     : u->ops[0].rec->id;
}

static void kstr_or_null(struct jw *w, const char *key, const char *s)
{
	jw_kstr(w, key, s && *s ? s : NULL);
}

/*
 * The text that is hashed. Members have a fixed order and the text is kept as it is, so there is one serialisation.
 */
static void write_canonical(struct op *op, const struct audit *a, const struct record *rec, struct buf *b)
{
	static const char *const kinds[] = { NULL, "user", "agent", "api_key", "system" };
	const struct caller *c = op->caller;
	struct jw w;

	jw_init(&w, b);
	jw_obj(&w);
	jw_kstr(&w, "audit_id", rec->id);
	jw_kstr(&w, "chain_id", rec->s1);
	jw_kint(&w, "seq", rec->n2);
	jw_ktime(&w, "time", rec->n1);
	jw_kstr(&w, "kind", a->kind);
	jw_kstr(&w, "action", a->action);
	jw_kstr(&w, "outcome", a->outcome ? a->outcome : "success");
	kstr_or_null(&w, "actor", rec->s2);
	jw_kstr(&w, "actor_kind", kinds[c->kind]);
	jw_kstr(&w, "role", a->role ? a->role : c->kind == CALLER_NONE ? NULL : role_name(c->role));
	kstr_or_null(&w, "resource_type", a->resource_type);
	kstr_or_null(&w, "resource_id", rec->s3);
	kstr_or_null(&w, "classification", a->classification);
	kstr_or_null(&w, "permission", a->permission);
	kstr_or_null(&w, "reason", a->reason);
	kstr_or_null(&w, "ip", plain(op, c->address));
	kstr_or_null(&w, "user_agent", plain(op, c->user_agent));
	kstr_or_null(&w, "request_id", plain(op, op->request_id));
	jw_kstr(&w, "prev_hash", chain.head);
	jw_end_obj(&w);
}

/* Make the next record of the chain; its lock is held. The chain moves on by it: give it back with chain_back(). */
static void next_record(struct op *op, const struct audit *a, const struct store_unit *u, struct arena *arena, struct store_op *o)
{
	struct record *rec = arena_new(arena, struct record);
	char *id = arena_alloc(arena, ID_TEXT);
	uint8_t mac[MAC_LEN];
	struct buf b;

	id_new(id);
	*rec = (struct record){ .kind = REC_AUDIT, .id = id, .s1 = arena_strdup(arena, chain.id), .s2 = actor_of(op, a),
				.s3 = resource_of(a, u), .n1 = now_ms(), .n2 = ++chain.seq };
	buf_init(&b);
	write_canonical(op, a, rec, &b);
	sha256(b.p, b.n, mac);
	hex_encode(mac, MAC_LEN, chain.head);
	b.n--;
	buf_addf(&b, ",\"hash\":\"%s\"}", chain.head);
	rec->body = arena_strndup(arena, b.p, b.n);
	buf_release(&b);
	*o = (struct store_op){ .kind = SOP_REC_PUT, .rec = rec, .expect_rev = REV_ABSENT };
}

struct mark {
	int64_t seq;
	char head[HASH_HEX + 1];
};

static struct mark chain_mark(const struct store *s)
{
	struct mark m;

	if (chain.store != store_number(s) || chain.pid != getpid())
		begin_chain(s);
	m.seq = chain.seq;
	memcpy(m.head, chain.head, sizeof(m.head));
	return m;
}

/* After a unit that was not applied: the numbers are free again, unless it may have been applied after all. */
static void chain_back(const struct store *s, const struct mark *m, enum err err)
{
	if (err != ERR_CONFLICT && err != ERR_UNAVAILABLE && err != ERR_DISK_FULL) {
		begin_chain(s);
		return;
	}
	chain.seq = m->seq;
	memcpy(chain.head, m->head, sizeof(chain.head));
}

/* --- with a change -------------------------------------------------------------------------------------------- */

enum err op_apply(struct op *op, struct store_unit *u)
{
	struct audit *a = op->audit;

	if (!a || a->written || !u->n)
		return store_apply(op->app->store, u);
	struct store_op *ops = arena_calloc(op->arena, u->n + 1, sizeof(*ops));
	struct store_unit both = { .ops = ops, .n = u->n + 1, .arena = u->arena, .error = u->error };

	memcpy(ops, u->ops, u->n * sizeof(*ops));
	pthread_mutex_lock(&chain.lock);
	struct mark m = chain_mark(op->app->store);

	next_record(op, a, u, op->arena, &ops[u->n]);
	enum err err = store_apply(op->app->store, &both);

	if (err)
		chain_back(op->app->store, &m, err);
	pthread_mutex_unlock(&chain.lock);
	memcpy(u->ops, ops, u->n * sizeof(*ops));
	a->written = err == OK;
	return err;
}

/* --- alone ---------------------------------------------------------------------------------------------------- */

static struct waiting *take_line(int *n)
{
	pthread_mutex_lock(&line.lock);
	struct waiting *first = line.head;

	for (*n = 0; line.head && *n < GROUP; ++*n)
		line.head = line.head->next;
	if (!line.head)
		line.tail = &line.head;
	pthread_mutex_unlock(&line.lock);
	return first;
}

/* Write the first of those who wait; the chain is locked. Everything is built in the arenas of who waits. */
static void write_group(struct op *op)
{
	struct store_op ops[GROUP];
	struct store_unit u = { .ops = ops, .arena = op->arena, .error = op->err };
	int n;
	struct waiting *w = take_line(&n);
	struct mark m = chain_mark(op->app->store);

	u.n = (size_t)n;
	for (int i = 0; i < n; i++) {
		struct waiting *x = w;

		for (int k = 0; k < i; k++)
			x = x->next;
		next_record(x->op, x->a, NULL, x->op->arena, &ops[i]);
	}
	/* Those that came while the store was found to be away do not each wait for it in turn. */
	bool down = mono_us() < line.down_until_us;
	enum err err = down ? ERR_UNAVAILABLE : n ? store_apply(op->app->store, &u) : OK;

	if (err)
		chain_back(op->app->store, &m, err);
	if (err && !down)
		line.down_until_us = mono_us() + DOWN_US;
	for (struct waiting *next; n; n--, w = next) {
		next = w->next;
		w->err = err;
		w->a->written = err == OK;
		w->done = true;
	}
}

enum err audit_write(struct op *op, struct audit *a)
{
	struct waiting own = { .op = op, .a = a };

	if (mono_us() < line.down_until_us)
		return ERR_UNAVAILABLE;
	pthread_mutex_lock(&line.lock);
	*line.tail = &own;
	line.tail = &own.next;
	pthread_mutex_unlock(&line.lock);
	/* Whoever gets the chain writes for all who wait; the others find it done. */
	pthread_mutex_lock(&chain.lock);
	while (!own.done)
		write_group(op);
	pthread_mutex_unlock(&chain.lock);
	return own.err;
}

/* --- what verbs say ------------------------------------------------------------------------------------------- */

void audit_subject(struct op *op, const char *id, const char *typed)
{
	struct audit *a = op->audit;
	const char *pepper = op->app->cfg->password_pepper;
	uint8_t mac[MAC_LEN];
	char hex[MAC_HEX];

	if (!a)
		return;
	if (id) {
		a->actor = a->resource_id = id;
		return;
	}
	mac_sha256(pepper, strlen(pepper), typed, strlen(typed), mac);
	hex_encode(mac, MAC_LEN, hex);
	a->actor = "unknown";
	a->resource_id = arena_printf(op->arena, "unknown:%.16s", hex);
}

void audit_failure(struct op *op, const char *reason)
{
	if (!op->audit)
		return;
	op->audit->outcome = "failure";
	op->audit->reason = reason;
}
