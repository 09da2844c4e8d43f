// SPDX-License-Identifier: MIT
#include "jwt.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <strings.h>
#include <jwt.h>

#include "../base/clock.h"
#include "../base/secret.h"
#include "token_cache.h"

#define HEADER_MAX	512		/* characters of an encoded header; ours has 36 */
#define SIGNATURE_LEN	B64URL_LEN(MAC_LEN)

struct tokens {
	pthread_rwlock_t lock;		/* guards the three texts below */
	char *secret, *previous, *issuer;
	_Atomic uint64_t epoch;		/* grows with each change of the secrets */
	struct token_cache *cache;
	_Atomic int64_t hits, misses;
};

static const char *const kind_names[SUBJECT_KIND_COUNT] = {
	[SUBJECT_AGENT] = "agent", [SUBJECT_USER] = "user", [SUBJECT_KEY] = "key",
};
static const char *const type_names[] = { [TOKEN_ACCESS] = "access", [TOKEN_REFRESH] = "refresh" };

const char *subject_kind_name(enum subject_kind k)
{
	return (unsigned)k < SUBJECT_KIND_COUNT ? kind_names[k] : "";
}

bool subject_kind_parse(const char *text, enum subject_kind *out)
{
	for (int i = 0; text && i < SUBJECT_KIND_COUNT; i++) {
		if (!strcmp(text, kind_names[i])) {
			*out = (enum subject_kind)i;
			return true;
		}
	}
	return false;
}

static enum err check_options(const struct token_options *o, struct error *e)
{
	if (!o->secret || strlen(o->secret) < TOKEN_SECRET_MIN)
		return error_public(e, ERR_VALIDATION, "JWT_SECRET must have at least %d bytes.", TOKEN_SECRET_MIN);
	if (o->previous_secret && *o->previous_secret && strlen(o->previous_secret) < TOKEN_SECRET_MIN)
		return error_public(e, ERR_VALIDATION, "The previous JWT secret must have at least %d bytes.",
				    TOKEN_SECRET_MIN);
	if (o->issuer && strlen(o->issuer) > TOKEN_ISSUER_MAX)
		return error_public(e, ERR_VALIDATION, "The token issuer must have at most %d bytes.",
				    TOKEN_ISSUER_MAX);
	return OK;
}

static char *copy_or_null(const char *s)
{
	return s && *s ? xstrdup(s) : NULL;
}

static void forget_options(struct tokens *t)
{
	secret_free(t->secret);
	secret_free(t->previous);
	free(t->issuer);
}

static void take_options(struct tokens *t, const struct token_options *o)
{
	t->secret = xstrdup(o->secret);
	t->previous = copy_or_null(o->previous_secret);
	t->issuer = copy_or_null(o->issuer);
}

enum err tokens_new(const struct token_options *o, struct tokens **out, struct error *e)
{
	enum err err = check_options(o, e);

	*out = NULL;
	if (err)
		return err;
	struct tokens *t = xcalloc(1, sizeof(*t));

	pthread_rwlock_init(&t->lock, NULL);
	take_options(t, o);
	t->cache = token_cache_new();
	*out = t;
	return OK;
}

enum err tokens_reload(struct tokens *t, const struct token_options *o, struct error *e)
{
	enum err err = check_options(o, e);

	if (err)
		return err;
	pthread_rwlock_wrlock(&t->lock);
	forget_options(t);
	take_options(t, o);
	/* Inside the lock: what is verified with the old secrets must not be remembered under the new epoch. */
	t->epoch++;
	pthread_rwlock_unlock(&t->lock);
	return OK;
}

void tokens_free(struct tokens *t)
{
	if (!t)
		return;
	forget_options(t);
	token_cache_free(t->cache);
	pthread_rwlock_destroy(&t->lock);
	free(t);
}

void tokens_stats(const struct tokens *t, struct token_stats *out)
{
	out->hits = t->hits;
	out->misses = t->misses;
}

/* --- issuing ------------------------------------------------------------------------------------ */

static void claims_write(struct buf *b, const struct claims *c, const char *issuer)
{
	struct jw w;

	jw_init(&w, b);
	jw_obj(&w);
	if (issuer)
		jw_kstr(&w, "iss", issuer);
	jw_kstr(&w, "sub", c->sub);
	jw_kstr(&w, "kind", subject_kind_name(c->kind));
	jw_kstr(&w, "role", role_name(c->role));
	jw_key(&w, "permissions");
	perms_write(&w, c->permissions);
	jw_kstr(&w, "type", type_names[c->type]);
	jw_kint(&w, "iat", c->iat);
	jw_kint(&w, "exp", c->exp);
	jw_kstr(&w, "jti", c->jti);
	if (c->family[0])
		jw_kstr(&w, "family", c->family);
	jw_end_obj(&w);
}

/* NULL when libjwt fails, which it does only for want of memory. */
static char *sign(const char *claims, const char *secret)
{
	jwt_t *jwt = NULL;
	char *text = NULL;

	if (jwt_new(&jwt))
		return NULL;
	if (!jwt_add_grants_json(jwt, claims) &&
	    !jwt_set_alg(jwt, JWT_ALG_HS256, (const unsigned char *)secret, (int)strlen(secret)))
		text = jwt_encode_str(jwt);
	jwt_free(jwt);
	return text;
}

enum err token_issue(struct tokens *t, struct claims *c, int64_t ttl_s, struct arena *a, const char **out,
		     struct error *e)
{
	struct buf json;

	*out = NULL;
	if (!c->sub[0] || ttl_s <= 0 || (unsigned)c->role >= ROLE_COUNT || (unsigned)c->kind >= SUBJECT_KIND_COUNT)
		return error_set(e, ERR_INTERNAL, "token_issue: claims are incomplete");
	c->iat = now_ms() / 1000;
	c->exp = c->iat + ttl_s;
	if (!c->jti[0])
		id_new(c->jti);
	buf_init(&json);
	pthread_rwlock_rdlock(&t->lock);
	claims_write(&json, c, t->issuer);
	char *text = sign(json.p, t->secret);

	pthread_rwlock_unlock(&t->lock);
	buf_release(&json);
	if (!text)
		return error_set(e, ERR_INTERNAL, "token_issue: libjwt could not sign");
	*out = arena_strdup(a, text);
	secret_free(text);
	return OK;
}

/* --- verifying ---------------------------------------------------------------------------------- */

/* The parts of a token as it was sent: header.payload.signature. */
struct parts {
	const char *header, *payload, *signature;
	size_t header_len, payload_len, signature_len;
};

static bool split(const char *token, size_t n, struct parts *p)
{
	const char *end = token + n;
	const char *dot1 = memchr(token, '.', n);
	const char *dot2 = dot1 ? memchr(dot1 + 1, '.', (size_t)(end - dot1 - 1)) : NULL;

	if (!dot2 || memchr(dot2 + 1, '.', (size_t)(end - dot2 - 1)))
		return false;
	*p = (struct parts){
		.header = token, .header_len = (size_t)(dot1 - token),
		.payload = dot1 + 1, .payload_len = (size_t)(dot2 - dot1 - 1),
		.signature = dot2 + 1, .signature_len = (size_t)(end - dot2 - 1),
	};
	return p->header_len > 0 && p->payload_len > 0;
}

static struct jv *decode_object(struct arena *a, const char *text, size_t n, int depth)
{
	uint8_t *json = arena_alloc(a, n);
	ptrdiff_t len = b64url_decode(text, n, json);
	struct jv *v = NULL;
	struct error ignored;

	if (len < 0)
		return NULL;
	error_init(&ignored, a);
	if (json_parse(a, (const char *)json, (size_t)len, depth, &v, &ignored) || v->type != J_OBJECT)
		return NULL;
	return v;
}

/* NULL when the header is one we sign with, else what is wrong with it. */
static const char *check_header(struct arena *a, const struct parts *p)
{
	if (p->header_len > HEADER_MAX)
		return "header too long";
	const struct jv *h = decode_object(a, p->header, p->header_len, 1);

	if (!h)
		return "header is not strict base64url of a JSON object";
	const char *alg = jv_str(h, "alg");
	const struct jv *typ = jv_get(h, "typ");

	if (!alg || strcmp(alg, "HS256") || jv_get(h, "alg")->has_nul)
		return "alg is not HS256";
	if (typ && (typ->type != J_STRING || typ->has_nul || strcasecmp(typ->str, "JWT")))
		return "typ is not JWT";
	/* RFC 7515 section 4.1.11: extensions that must be understood; we understand none. */
	if (jv_get(h, "crit"))
		return "crit extensions are not supported";
	return NULL;
}

static bool signed_by(const char *token, const char *secret)
{
	jwt_t *jwt = NULL;

	if (!secret || jwt_decode(&jwt, token, (const unsigned char *)secret, (int)strlen(secret)))
		return false;
	bool ok = jwt_get_alg(jwt) == JWT_ALG_HS256;

	jwt_free(jwt);
	return ok;
}

static bool copy_text(const struct jv *o, const char *key, char *out, size_t size)
{
	const struct jv *v = jv_get(o, key);

	if (!v || v->type != J_STRING || v->has_nul || v->str_len == 0 || v->str_len >= size)
		return false;
	memcpy(out, v->str, v->str_len + 1);
	return true;
}

/* Permissions we do not know grant nothing: a token of a newer version stays usable after a roll-back. */
static bool read_perms(const struct jv *v, perms_t *out)
{
	*out = PERMS_NONE;
	if (!v || v->type != J_ARRAY)
		return false;
	for (const struct jv *c = v->child; c; c = c->next) {
		if (c->type != J_STRING || c->has_nul)
			return false;
		*out |= perm_parse(c->str);
	}
	return true;
}

/* NULL when the claims are complete, else what is wrong with them. */
static const char *read_claims(const struct jv *o, const char *issuer, struct claims *c)
{
	const char *type = jv_str(o, "type");
	int64_t nbf;

	*c = (struct claims){ 0 };
	if (!type || (strcmp(type, type_names[TOKEN_ACCESS]) && strcmp(type, type_names[TOKEN_REFRESH])))
		return "type is missing or unknown";
	c->type = strcmp(type, type_names[TOKEN_ACCESS]) ? TOKEN_REFRESH : TOKEN_ACCESS;
	if (!copy_text(o, "sub", c->sub, sizeof(c->sub)))
		return "sub is missing or too long";
	if (!subject_kind_parse(jv_str(o, "kind"), &c->kind))
		return "kind is missing or unknown";
	if (!role_parse(jv_str(o, "role"), &c->role))
		return "role is missing or unknown";
	if (!read_perms(jv_get(o, "permissions"), &c->permissions))
		return "permissions is not an array of names";
	if (!jv_int(jv_get(o, "iat"), &c->iat) || !jv_int(jv_get(o, "exp"), &c->exp))
		return "iat or exp is missing or not an integer";
	if (!copy_text(o, "jti", c->jti, sizeof(c->jti)) || !id_valid(c->jti))
		return "jti is missing or not an id";
	if (jv_get(o, "family") && (!copy_text(o, "family", c->family, sizeof(c->family)) || !id_valid(c->family)))
		return "family is not an id";
	if (issuer && (!jv_str(o, "iss") || strcmp(jv_str(o, "iss"), issuer)))
		return "iss is not ours";
	if (jv_get(o, "nbf") && (!jv_int(jv_get(o, "nbf"), &nbf) || nbf > now_ms() / 1000 + TOKEN_IAT_LEEWAY))
		return "not valid yet";
	return NULL;
}

static const char *check_times(const struct claims *c)
{
	int64_t now = now_ms() / 1000;

	if (now >= c->exp)
		return "expired";
	if (c->iat > now + TOKEN_IAT_LEEWAY)
		return "issued in the future";
	return NULL;
}

/* All that needs more than the cache. NULL when good; *epoch is the secrets' generation it was checked with. */
static const char *verify_whole(struct tokens *t, struct arena *a, const char *token, size_t n,
				struct claims *out, uint64_t *epoch)
{
	struct parts p;
	uint8_t sig[B64URL_LEN(MAC_LEN)];

	if (!split(token, n, &p))
		return "not three parts";
	const char *wrong = check_header(a, &p);

	if (wrong)
		return wrong;
	if (p.signature_len != SIGNATURE_LEN || b64url_decode(p.signature, p.signature_len, sig) != MAC_LEN)
		return "signature is not 32 bytes of base64url";
	/* libjwt wants a C string, and its own decoder is lax: the strict look is ours, before and after. */
	const char *text = arena_strndup(a, token, n);

	pthread_rwlock_rdlock(&t->lock);
	*epoch = t->epoch;
	if (!signed_by(text, t->secret) && !signed_by(text, t->previous)) {
		wrong = "bad signature";
	} else {
		const struct jv *o = decode_object(a, p.payload, p.payload_len, 2);

		wrong = o ? read_claims(o, t->issuer, out) : "claims are not strict base64url of a JSON object";
	}
	pthread_rwlock_unlock(&t->lock);
	return wrong;
}

enum err token_verify(struct tokens *t, const char *token, size_t n, enum token_type want, struct claims *out,
		      struct error *e)
{
	const char *wrong = NULL;

	if (n == 0 || n > TOKEN_MAX)
		return error_set(e, ERR_UNAUTHENTICATED, "token: empty or too long");
	if (want == TOKEN_ACCESS && token_cache_get(t->cache, token, n, t->epoch, out)) {
		atomic_fetch_add_explicit(&t->hits, 1, memory_order_relaxed);
		wrong = check_times(out);
	} else {
		struct arena a;
		uint64_t epoch = 0;

		atomic_fetch_add_explicit(&t->misses, 1, memory_order_relaxed);
		arena_init_wiped(&a);
		wrong = verify_whole(t, &a, token, n, out, &epoch);
		if (!wrong)
			wrong = check_times(out);
		if (!wrong && out->type != want)
			wrong = "token of the other type";
		if (!wrong && want == TOKEN_ACCESS)
			token_cache_put(t->cache, token, n, epoch, out);
		arena_release(&a);
	}
	if (!wrong)
		return OK;
	*out = (struct claims){ 0 };
	return error_set(e, ERR_UNAUTHENTICATED, "token: %s", wrong);
}
