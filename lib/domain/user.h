// SPDX-License-Identifier: MIT
/* People and API keys: who may log in, and keys for automation. A key or password is shown or taken once. */
#ifndef DOMAIN_USER_H
#define DOMAIN_USER_H

#include "domain.h"

struct user {
	char id[ID_TEXT];
	int64_t rev;
	const char *username, *email, *password_hash;
	enum role role;
	perms_t extra_perms;
	enum data_class clearance;
	bool enabled;
	int64_t created_at, updated_at, deleted_at;
};

struct user_in {
	uint64_t present;
	const char *username, *password, *email;
	int role, clearance_level;
	struct strs permissions;
	bool enabled;
};
extern const struct schema user_schema, user_update_schema;

enum err user_create(struct op *op, const struct user_in *in, struct user **out) MUST_CHECK;
/* *out NULL: none. By name also finds no deleted ones; by id finds them. */
enum err user_by_name(struct op *op, const char *username, struct user **out) MUST_CHECK;
enum err user_find(struct op *op, const char *id, struct user **out) MUST_CHECK;
/* ERR_NOT_FOUND also for a deleted one. */
enum err user_load(struct op *op, const char *id, struct user **out) MUST_CHECK;
enum err user_update(struct op *op, const char *id, const struct user_in *in, struct user **out) MUST_CHECK;
enum err user_delete(struct op *op, const char *id) MUST_CHECK;
enum err users_list(struct op *op, const char *cursor, int limit, struct user ***out, int *n, const char **next)
	MUST_CHECK;
void user_json(const struct user *u, struct jw *w);

struct api_key {
	const char *id, *name, *prefix, *owner;
	enum role role;
	perms_t perms;
	enum data_class clearance;
	bool enabled;
	int64_t created_at, expires_at;
};
struct api_key_in {
	uint64_t present;
	const char *name;
	int role, clearance_level;
	struct strs permissions;
	int64_t expires_at;
};
extern const struct schema api_key_schema;

enum err api_key_create(struct op *op, const struct api_key_in *in, struct api_key **out, const char **secret) MUST_CHECK;
enum err api_key_find(struct op *op, const char *key, struct api_key **out) MUST_CHECK;
enum err api_key_load(struct op *op, const char *id, struct api_key **out) MUST_CHECK;
enum err api_key_delete(struct op *op, const char *id) MUST_CHECK;
enum err api_keys_list(struct op *op, const char *cursor, int limit, struct api_key ***out, int *n, const char **next)
	MUST_CHECK;
void api_key_json(const struct api_key *k, struct jw *w);

/* First start: the administrator of the configuration when there is no user yet, and API_KEY's record. */
enum err users_bootstrap(struct op *op) MUST_CHECK;

#endif
