// SPDX-License-Identifier: MIT
#include "seal.h"

#include <openssl/evp.h>

#include "../base/id.h"
#include "../base/secret.h"

#define KEY_LEN 32
#define NONCE_LEN 12
#define TAG_LEN 16
#define KEY_ID_LEN 8
#define ROUNDS 600000

struct seal_key {
	bool set;
	unsigned char key[KEY_LEN];
	char id[2 * KEY_ID_LEN + 1];
};

struct seal {
	struct seal_key now, backup;
};

static bool from_hex(const char *text, unsigned char out[KEY_LEN])
{
	if (strlen(text) != 2 * KEY_LEN || strspn(text, "0123456789abcdefABCDEF") != 2 * KEY_LEN)
		return false;
	for (int i = 0; i < KEY_LEN; i++) {
		const char pair[3] = { text[2 * i], text[2 * i + 1], '\0' };

		out[i] = (unsigned char)strtoul(pair, NULL, 16);
	}
	return true;
}

static bool key_set(struct seal_key *k, const char *text)
{
	static const unsigned char salt[] = "mcp field encryption";
	uint8_t digest[MAC_LEN];

	if (!from_hex(text, k->key) &&
	    PKCS5_PBKDF2_HMAC(text, (int)strlen(text), salt, sizeof(salt) - 1, ROUNDS, EVP_sha256(), KEY_LEN, k->key) != 1)
		return false;
	sha256(k->key, KEY_LEN, digest);
	hex_encode(digest, KEY_ID_LEN, k->id);
	k->set = true;
	return true;
}

enum err seal_new(const char *key, const char *backup, struct seal **out, struct error *e)
{
	*out = NULL;
	if (!key || !*key)
		return OK;
	struct seal *s = xcalloc(1, sizeof(*s));

	if (!key_set(&s->now, key) || (backup && *backup && !key_set(&s->backup, backup))) {
		seal_free(s);
		return error_set(e, ERR_INTERNAL, "key derivation failed");
	}
	*out = s;
	return OK;
}

void seal_free(struct seal *s)
{
	if (!s)
		return;
	explicit_bzero(s, sizeof(*s));
	free(s);
}

static bool encrypt(const struct seal_key *k, const char *plain, size_t n, const char *name, unsigned char *out)
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	int len;
	bool good = ctx && EVP_EncryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, k->key, out) == 1 &&
		    EVP_EncryptUpdate(ctx, NULL, &len, (const unsigned char *)name, (int)strlen(name)) == 1 &&
		    EVP_EncryptUpdate(ctx, out + NONCE_LEN, &len, (const unsigned char *)plain, (int)n) == 1 &&
		    EVP_EncryptFinal_ex(ctx, out + NONCE_LEN + len, &len) == 1 &&
		    EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_GET_TAG, TAG_LEN, out + NONCE_LEN + n) == 1;

	EVP_CIPHER_CTX_free(ctx);
	return good;
}

enum err seal_close(struct seal *s, const char *plain, const char *name, struct arena *a, const char **sealed,
		    struct error *e)
{
	if (!s)
		return error_set(e, ERR_ENCRYPTION, "no ENCRYPTION_KEY is configured");
	size_t n = strlen(plain);
	size_t total = NONCE_LEN + n + TAG_LEN;
	unsigned char *raw = arena_alloc(a, total);
	char *text = arena_alloc(a, 4 * ((total + 2) / 3) + 1);

	random_bytes(raw, NONCE_LEN);
	if (!encrypt(&s->now, plain, n, name, raw))
		return error_set(e, ERR_INTERNAL, "encryption failed");
	EVP_EncodeBlock((unsigned char *)text, raw, (int)total);
	*sealed = arena_printf(a, "v1:%s:%s", s->now.id, text);
	return OK;
}

static bool decrypt(const struct seal_key *k, const unsigned char *raw, size_t n, const char *name, char *plain)
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	int len;
	unsigned char tag[TAG_LEN];

	memcpy(tag, raw + NONCE_LEN + n, TAG_LEN);
	bool good = ctx && EVP_DecryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, k->key, raw) == 1 &&
		    EVP_DecryptUpdate(ctx, NULL, &len, (const unsigned char *)name, (int)strlen(name)) == 1 &&
		    EVP_DecryptUpdate(ctx, (unsigned char *)plain, &len, raw + NONCE_LEN, (int)n) == 1 &&
		    EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_SET_TAG, TAG_LEN, tag) == 1 &&
		    EVP_DecryptFinal_ex(ctx, (unsigned char *)plain + len, &len) == 1;

	EVP_CIPHER_CTX_free(ctx);
	return good;
}

enum err seal_open(struct seal *s, const char *sealed, const char *name, struct arena *a, const char **plain,
		   struct error *e)
{
	if (!s)
		return error_set(e, ERR_ENCRYPTION, "no ENCRYPTION_KEY is configured");
	const size_t head = 3 + 2 * KEY_ID_LEN + 1;
	size_t n = strlen(sealed);

	if (n < head || strncmp(sealed, "v1:", 3) != 0 || sealed[head - 1] != ':' || (n - head) % 4 != 0)
		return error_set(e, ERR_ENCRYPTION, "not a sealed value");
	const struct seal_key *k = strncmp(sealed + 3, s->now.id, 2 * KEY_ID_LEN) == 0 ? &s->now : &s->backup;

	if (!k->set || strncmp(sealed + 3, k->id, 2 * KEY_ID_LEN) != 0)
		return error_set(e, ERR_ENCRYPTION, "sealed with an unknown key");
	unsigned char *raw = arena_alloc(a, n);
	int got = EVP_DecodeBlock(raw, (const unsigned char *)sealed + head, (int)(n - head));

	got -= (sealed[n - 1] == '=') + (n > 1 && sealed[n - 2] == '=');
	if (got < NONCE_LEN + TAG_LEN)
		return error_set(e, ERR_ENCRYPTION, "a sealed value is cut short");
	size_t len = (size_t)got - NONCE_LEN - TAG_LEN;
	char *text = arena_zalloc(a, len + 1);

	if (!decrypt(k, raw, len, name, text))
		return error_set(e, ERR_ENCRYPTION, "a sealed value does not verify");
	*plain = text;
	return OK;
}
