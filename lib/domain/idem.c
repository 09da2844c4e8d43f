// SPDX-License-Identifier: MIT
#include "idem.h"

#include "../base/secret.h"

static const char *sha256_hex(struct arena *a, const char *p, size_t n)
{
	uint8_t digest[MAC_LEN];
	char *hex = arena_alloc(a, 2 * sizeof(digest) + 1);

	sha256(p, n, digest);
	hex_encode(digest, sizeof(digest), hex);
	return hex;
}

enum err idem_begin(struct op *op, const char *route, const char *key, const char *body, size_t n,
		    const char **replay, int *status)
{
	struct idem *idem = arena_new(op->arena, struct idem);
	const char *name = arena_printf(op->arena, "%s\n%s\n%s", op->caller->id, route, key);
	struct record *rec;

	*replay = NULL;
	idem->id = sha256_hex(op->arena, name, strlen(name));
	idem->body_hash = sha256_hex(op->arena, body, n);
	enum err err = store_rec_get(op->app->store, REC_IDEMPOTENCY, idem->id, op->arena, &rec, op->err);

	if (err)
		return err;
	if (!rec || rec->n1 <= op->now) {
		idem->rev = rec ? rec->rev : REV_ABSENT;
		op->idem = idem;
		return OK;
	}
	struct jv *v;

	err = json_parse(op->arena, rec->body, strlen(rec->body), 1, &v, op->err);
	if (err)
		return error_set(op->err, ERR_INTERNAL, "idempotency record does not parse");
	const char *hash = jv_str(v, "body_hash");

	if (!hash || strcmp(hash, idem->body_hash) != 0)
		return error_set(op->err, ERR_IDEM_MISMATCH, "other body");
	*status = (int)jv_int_or(v, "status", 200);
	*replay = jv_text(op->arena, jv_get(v, "data"));
	return OK;
}

void idem_add(struct op *op, struct store_op *ops, size_t *n, int status, const char *data)
{
	struct buf b;
	struct jw w;

	if (!op->idem)
		return;
	buf_init(&b);
	jw_init(&w, &b);
	jw_obj(&w);
	jw_kstr(&w, "body_hash", op->idem->body_hash);
	jw_kint(&w, "status", status);
	jw_kraw(&w, "data", data);
	jw_end_obj(&w);
	struct record *rec = arena_new(op->arena, struct record);

	*rec = (struct record){ .kind = REC_IDEMPOTENCY, .id = op->idem->id, .s1 = op->caller->id, .s2 = "", .s3 = "",
				.n1 = op->now + IDEM_TTL_MS, .body = arena_strndup(op->arena, b.p, b.n) };
	ops[(*n)++] = (struct store_op){ .kind = SOP_REC_PUT, .rec = rec, 
					  .expect_rev = op->idem->rev };
	buf_release(&b);
}

bool idem_lost(struct op *op, const struct store_op *ops, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (op->idem && ops[i].kind == SOP_REC_PUT && ops[i].rec->kind == REC_IDEMPOTENCY &&
		    (ops[i].result == SOP_EXISTS || ops[i].result == SOP_REFUSED)) {
			error_set(op->err, ERR_IDEM_BUSY, "key was used meanwhile");
			return true;
		}
	}
	return false;
}
