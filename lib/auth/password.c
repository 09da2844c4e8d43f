// SPDX-License-Identifier: MIT
#include "password.h"

#include <crypt.h>
#include <pthread.h>
#include <strings.h>
#include <unistd.h>

#include "../base/id.h"
#include "../base/limits.h"
#include "../base/utf8.h"

#define QUEUE_DEFAULT	64
#define SALT_BYTES	16

struct passwords {
	char *pepper;
	size_t pepper_len;
	int cost;
	/* A setting of our cost with a fixed salt: what unknown users are checked against. */
	char dummy[PASSWORD_HASH_TEXT];
	pthread_mutex_t lock;
	pthread_cond_t turn;
	int free_places;
	int waiting, queue;
};

enum err passwords_new(const struct password_options *o, struct passwords **out, struct error *e)
{
	*out = NULL;
	if (!o->pepper || strlen(o->pepper) < PASSWORD_PEPPER_MIN)
		return error_public(e, ERR_VALIDATION, "PASSWORD_PEPPER must have at least %d bytes.",
				    PASSWORD_PEPPER_MIN);
	if (o->cost < BCRYPT_COST_MIN || o->cost > BCRYPT_COST_MAX)
		return error_public(e, ERR_VALIDATION, "BCRYPT_COST must be %d to %d.", BCRYPT_COST_MIN,
				    BCRYPT_COST_MAX);
	struct passwords *p = xcalloc(1, sizeof(*p));
	long cores = sysconf(_SC_NPROCESSORS_ONLN);

	p->pepper = xstrdup(o->pepper);
	p->pepper_len = strlen(o->pepper);
	p->cost = o->cost;
	p->free_places = o->parallel > 0 ? o->parallel : cores > 0 ? (int)cores : 1;
	p->queue = o->queue > 0 ? o->queue : QUEUE_DEFAULT;
	snprintf(p->dummy, sizeof(p->dummy), "$2b$%02d$%s", o->cost,
		 "abcdefghijklmnopqrstuuOOOOOOOOOOOOOOOOOOOOOOOOOOOOOOO");
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->turn, NULL);
	*out = p;
	return OK;
}

void passwords_free(struct passwords *p)
{
	if (!p)
		return;
	secret_free(p->pepper);
	pthread_cond_destroy(&p->turn);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

static enum err enter(struct passwords *p, struct error *e)
{
	enum err err = OK;

	pthread_mutex_lock(&p->lock);
	if (p->free_places == 0 && p->waiting >= p->queue) {
		err = error_set(e, ERR_BUSY, "bcrypt: %d callers are waiting", p->waiting);
	} else {
		p->waiting++;
		while (p->free_places == 0)
			pthread_cond_wait(&p->turn, &p->lock);
		p->waiting--;
		p->free_places--;
	}
	pthread_mutex_unlock(&p->lock);
	return err;
}

static void leave(struct passwords *p)
{
	pthread_mutex_lock(&p->lock);
	p->free_places++;
	pthread_cond_signal(&p->turn);
	pthread_mutex_unlock(&p->lock);
}

/* bcrypt reads a C string and stops at 72 bytes: 44 base64 characters of a MAC fit and have no NUL. */
static void peppered(const struct passwords *p, const char *secret, char out[MAC_LEN * 2])
{
	static const char std64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	uint8_t mac[MAC_LEN + 1] = { 0 };
	char *q = out;

	mac_sha256(p->pepper, p->pepper_len, secret, strlen(secret), mac);
	for (int i = 0; i < MAC_LEN + 1; i += 3) {
		*q++ = std64[mac[i] >> 2];
		*q++ = std64[(mac[i] & 3) << 4 | mac[i + 1] >> 4];
		*q++ = std64[(mac[i + 1] & 15) << 2 | mac[i + 2] >> 6];
		*q++ = std64[mac[i + 2] & 63];
	}
	q[-1] = '=';	/* 32 bytes make 43 characters and one of padding */
	*q = '\0';
	secret_wipe(mac, sizeof(mac));
}

/* bcrypt in its turn. setting is a "$2b$" salt or a whole hash. */
static enum err slow_hash(struct passwords *p, const char *secret, const char *setting,
			  char out[PASSWORD_HASH_TEXT], struct error *e)
{
	char text[MAC_LEN * 2];
	enum err err = enter(p, e);

	if (err)
		return err;
	/* 32 KiB: too much for the stack of a worker thread. */
	struct crypt_data *data = xcalloc(1, sizeof(*data));

	peppered(p, secret, text);
	const char *hash = crypt_r(text, setting, data);

	if (!hash || hash[0] != '$' || strlen(hash) >= PASSWORD_HASH_TEXT)
		err = error_set(e, ERR_INTERNAL, "bcrypt: crypt_r refused the setting");
	else
		memcpy(out, hash, strlen(hash) + 1);
	secret_wipe(text, sizeof(text));
	secret_wipe(data, sizeof(*data));
	free(data);
	leave(p);
	return err;
}

enum err password_hash(struct passwords *p, const char *secret, char out[PASSWORD_HASH_TEXT], struct error *e)
{
	uint8_t salt[SALT_BYTES];
	char setting[CRYPT_GENSALT_OUTPUT_SIZE];

	out[0] = '\0';
	random_bytes(salt, sizeof(salt));
	if (!crypt_gensalt_rn("$2b$", (unsigned long)p->cost, (const char *)salt, sizeof(salt), setting,
			      sizeof(setting)))
		return error_set(e, ERR_INTERNAL, "bcrypt: no salt could be made");
	return slow_hash(p, secret, setting, out, e);
}

/* "$2b$NN$" and 53 characters, with a cost we would run: a hash from elsewhere must not cost an hour. */
static bool well_formed(const char *hash)
{
	int cost;

	if (!hash || strlen(hash) != 60 || strncmp(hash, "$2b$", 4) || hash[6] != '$' ||
	    strspn(hash + 7, "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") != 53)
		return false;
	if (strspn(hash + 4, "0123456789") != 2)
		return false;
	cost = (hash[4] - '0') * 10 + (hash[5] - '0');
	return cost >= BCRYPT_COST_MIN && cost <= BCRYPT_COST_MAX;
}

enum err password_verify(struct passwords *p, const char *secret, const char *hash, struct error *e)
{
	bool known = well_formed(hash);
	const char *against = known ? hash : p->dummy;
	char got[PASSWORD_HASH_TEXT];
	enum err err = slow_hash(p, secret, against, got, e);

	if (err)
		return err;
	bool same = secret_str_equal(got, against);

	secret_wipe(got, sizeof(got));
	if (known && same)
		return OK;
	return error_set(e, ERR_UNAUTHENTICATED, known ? "secret does not match" : "no such subject or no secret");
}

bool password_outdated(const struct passwords *p, const char *hash)
{
	return !well_formed(hash) || strncmp(hash + 4, p->dummy + 4, 2) != 0;
}

/* --- policy ------------------------------------------------------------------------------------- */

/* From the top of published lists, those long enough to pass the length rule; compared without case. */
static const char *const common[] = {
	"123456789012", "1234567890123", "12345678901234", "123456789123", "123456123456", "1234567890ab",
	"0123456789ab", "987654321012", "111222333444", "112233445566", "123123123123", "123321123321",
	"password1234", "password12345", "password123456", "passwordpassword", "password2024", "password2025",
	"password2026", "passw0rd1234", "p@ssword1234", "p@ssw0rd1234", "p@ssw0rd12345", "mypassword123",
	"mypassword12", "newpassword1", "changeme1234", "changemeplease", "changethispassword", "letmein12345",
	"letmeinplease", "welcome12345", "welcome123456", "welcomehome1", "iloveyou1234", "iloveyou12345",
	"iloveyouforever", "qwertyuiop12", "qwertyuiop123", "qwertyuiopasdf", "qwerty123456", "qwerty1234567",
	"qwertyuiop[]", "qwertyqwerty", "1q2w3e4r5t6y", "1qaz2wsx3edc", "1qaz2wsx3edc4rfv", "zaq12wsxcde3",
	"qazwsxedcrfv", "q1w2e3r4t5y6", "asdfghjkl123", "asdfasdfasdf", "asdfghjklzxcvbnm", "zxcvbnm12345",
	"abcdefghijkl", "abcdefghijklmnop", "abcd12345678", "abc123abc123", "abcabcabcabc", "a1b2c3d4e5f6",
	"administrator", "administrator1", "admin1234567", "admin12345678", "adminadmin12", "adminadminadmin",
	"adminpassword", "rootpassword", "rootrootroot", "superuser123", "supersecret1", "secretpassword",
	"trustno1trustno1", "football1234", "baseball1234", "basketball12", "superman1234", "dragon123456",
	"monkey123456", "sunshine1234", "princess1234", "starwars1234", "michael12345", "correcthorsebatterystaple",
	"testtesttest", "test12345678", "testpassword", "temppassword", "defaultpassword", "mcpadmin1234",
};

/* A handful of different characters ("aaaaaaaaaaaa", "abababababab") is a short password in disguise. */
static bool too_uniform(const char *s)
{
	bool seen[256] = { false };
	int different = 0;

	for (; *s; s++) {
		if (!seen[(unsigned char)*s])
			different++;
		seen[(unsigned char)*s] = true;
	}
	return different < 5;
}

const char *password_weakness(const char *password, const char *username)
{
	size_t n = strlen(password);

	if (!utf8_valid(password, n))
		return "The password is not valid UTF-8.";
	size_t chars = utf8_count(password);

	if (chars < LIMIT_PASSWORD_MIN)
		return "The password must have at least 12 characters.";
	if (chars > LIMIT_PASSWORD_MAX)
		return "The password must have at most 256 characters.";
	if (username && !strcasecmp(password, username))
		return "The password must not be the user name.";
	for (size_t i = 0; i < sizeof(common) / sizeof(common[0]); i++) {
		if (!strcasecmp(password, common[i]))
			return "The password is one of the most common ones; choose another.";
	}
	if (too_uniform(password))
		return "The password repeats too few different characters.";
	return NULL;
}

/* --- random secrets ------------------------------------------------------------------------------- */

void random_secret(const char *prefix, char out[RANDOM_SECRET_TEXT])
{
	uint8_t bits[32];
	size_t n = strnlen(prefix, 16);

	memcpy(out, prefix, n);
	random_bytes(bits, sizeof(bits));
	b64url_encode(bits, sizeof(bits), out + n);
	secret_wipe(bits, sizeof(bits));
}

void api_key_hash(const struct passwords *p, const char *key, char out[API_KEY_HASH_TEXT])
{
	uint8_t mac[MAC_LEN];

	mac_sha256(p->pepper, p->pepper_len, key, strlen(key), mac);
	hex_encode(mac, sizeof(mac), out);
	secret_wipe(mac, sizeof(mac));
}
