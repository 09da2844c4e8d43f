// SPDX-License-Identifier: MIT
#include "user.h"

#include "../auth/password.h"
#include "../base/limits.h"
#include "../base/log.h"
#include "idem.h"
#include "session.h"

extern const char *const role_names[];

#define USER_FIELDS(need) \
	{ "username", F_STR, need, offsetof(struct user_in, username), .min = 1, .max = LIMIT_NAME }, \
	{ "password", F_STR, need, offsetof(struct user_in, password), .min = 1, .max = LIMIT_PASSWORD_MAX, \
	  .help = "At least 12 characters." }, \
	{ "email", F_EMAIL, .offset = offsetof(struct user_in, email) }, \
	{ "role", F_ENUM, need, offsetof(struct user_in, role), .names = role_names }, \
	{ "permissions", F_STRS, .offset = offsetof(struct user_in, permissions), .max = 16, .names = perm_names, \
	  .help = "Grants beyond the role's." }, \
	{ "clearance_level", F_ENUM, .offset = offsetof(struct user_in, clearance_level), .names = class_names, \
	  .dflt = CLASS_INTERNAL }, \
	{ "enabled", F_BOOL, .offset = offsetof(struct user_in, enabled), .dflt = 1 }

static const struct field create_fields[] = { USER_FIELDS(true) };
static const struct field update_fields[] = { USER_FIELDS(false) };
SCHEMA(user_schema, struct user_in, "UserCreate", create_fields, "A person who may log in.");
const struct schema user_update_schema = { .name = "UserUpdate", .size = sizeof(struct user_in), .fields = update_fields,
					   .n = 7, .min_fields = 1, .help = "What changes." };

static struct record *to_record(struct op *op, const struct user *u)
{
	struct record *rec = arena_new(op->arena, struct record);
	struct buf b;
	struct jw w;

	buf_init(&b);
	jw_init(&w, &b);
	jw_obj(&w);
	jw_kstr(&w, "username", u->username);
	jw_kstr(&w, "email", u->email);
	jw_kstr(&w, "password_hash", u->password_hash);
	jw_key(&w, "permissions");
	perms_write(&w, u->extra_perms);
	jw_kstr(&w, "clearance_level", class_names[u->clearance]);
	jw_kint(&w, "created_at", u->created_at);
	jw_kint(&w, "updated_at", u->updated_at);
	jw_end_obj(&w);
	/* A deleted user's name is free again. */
	*rec = (struct record){ .kind = REC_USER, .id = arena_strdup(op->arena, u->id),
				.s1 = u->deleted_at ? "" : u->username, .s2 = role_name(u->role), .s3 = "", .n1 = u->enabled,
				.n2 = u->deleted_at, .body = arena_strndup(op->arena, b.p, b.n) };
	buf_release(&b);
	return rec;
}

static enum err from_record(struct op *op, const struct record *rec, struct user **out)
{
	struct user *u = arena_new(op->arena, struct user);
	struct jv *v;
	int bad;

	if (strlen(rec->id) != ID_LEN || json_parse(op->arena, rec->body, strlen(rec->body), 2, &v, op->err) ||
	    !role_parse(rec->s2, &u->role) || !perms_read(jv_get(v, "permissions"), &u->extra_perms, &bad))
		return error_set(op->err, ERR_INTERNAL, "user record does not parse");
	memcpy(u->id, rec->id, ID_TEXT);
	u->rev = rec->rev;
	u->username = jv_str(v, "username");
	u->email = jv_str(v, "email");
	u->password_hash = jv_str(v, "password_hash");
	int class = jv_str(v, "clearance_level") ? name_index(class_names, jv_str(v, "clearance_level")) : 0;

	u->clearance = class < 0 ? CLASS_PUBLIC : (enum data_class)class;
	u->enabled = rec->n1;
	u->created_at = jv_int_or(v, "created_at", 0);
	u->updated_at = jv_int_or(v, "updated_at", 0);
	u->deleted_at = rec->n2;
	*out = u;
	return OK;
}

void user_json(const struct user *u, struct jw *w)
{
	jw_obj(w);
	jw_kstr(w, "user_id", u->id);
	jw_kstr(w, "username", u->username);
	jw_kstr(w, "email", u->email);
	jw_kstr(w, "role", role_name(u->role));
	jw_key(w, "permissions");
	perms_write(w, u->extra_perms);
	jw_kstr(w, "clearance_level", class_names[u->clearance]);
	jw_kbool(w, "enabled", u->enabled);
	jw_ktime(w, "created_at", u->created_at);
	jw_ktime(w, "updated_at", u->updated_at);
	jw_end_obj(w);
}

/* Names of permissions as a mask, and that nobody grants more than they hold. */
static enum err read_grants(struct op *op, const struct strs *names, enum role role, enum data_class clearance,
			    perms_t *extra)
{
	for (int i = 0; i < names->n; i++) {
		perms_t p = perm_parse(names->v[i]);

		if (p == PERMS_NONE)
			return error_field(op->err, arena_printf(op->arena, "$.permissions[%d]", i), "bad_value",
					   "is not a permission");
		*extra |= p;
	}
	if (!perms_within(role_perms(role) | *extra, op->caller->perms))
		return error_public(op->err, ERR_FORBIDDEN, "Nobody can grant more permissions than they hold.");
	if (clearance > op->caller->clearance)
		return error_public(op->err, ERR_CLEARANCE, "Nobody can grant a higher clearance than they hold.");
	return OK;
}

/* Who may change somebody could take his place: nobody rises through one with more rights. */
static enum err may_touch(struct op *op, perms_t perms, enum data_class clearance)
{
	if (!perms_within(perms, op->caller->perms) || clearance > op->caller->clearance)
		return error_public(op->err, ERR_FORBIDDEN, "Nobody can change or remove one with more rights than they hold.");
	return OK;
}

static enum err set_password(struct op *op, struct user *u, const char *password)
{
	char *hash = arena_alloc(op->arena, PASSWORD_HASH_TEXT);
	const char *weak = password_weakness(password, u->username);

	if (weak)
		return error_field(op->err, "$.password", "weak_password", "%s", weak);
	u->password_hash = hash;
	return password_hash(op->app->passwords, password, hash, op->err);
}

enum err user_create(struct op *op, const struct user_in *in, struct user **out)
{
	struct user *u = arena_new(op->arena, struct user);
	struct buf b;
	struct jw w;

	id_new(u->id);
	u->username = in->username;
	u->email = in->email;
	u->role = (enum role)in->role;
	u->clearance = (enum data_class)in->clearance_level;
	u->enabled = in->enabled;
	u->created_at = u->updated_at = op->now;
	enum err err = read_grants(op, &in->permissions, u->role, u->clearance, &u->extra_perms);

	if (err || (err = set_password(op, u, in->password)))
		return err;
	struct store_op ops[2] = { { .kind = SOP_REC_PUT, .rec = to_record(op, u), .expect_rev = REV_ABSENT } };
	struct store_unit unit = { .ops = ops, .n = 1, .arena = op->arena, .error = op->err };

	buf_init(&b);
	jw_init(&w, &b);
	user_json(u, &w);
	idem_add(op, ops, &unit.n, 201, b.p);
	buf_release(&b);
	err = op_apply(op, &unit);
	if (err == ERR_CONFLICT && ops[0].result == SOP_EXISTS)
		return error_public(op->err, ERR_EXISTS, "There is a user of this name already.");
	if (err == ERR_CONFLICT && idem_lost(op, ops, unit.n))
		return ERR_IDEM_BUSY;
	*out = u;
	return err;
}

enum err user_by_name(struct op *op, const char *username, struct user **out)
{
	struct record *rec;
	enum err err = store_rec_by_s1(op->app->store, REC_USER, username, op->arena, &rec, op->err);

	*out = NULL;
	return err || !rec ? err : from_record(op, rec, out);
}

enum err user_find(struct op *op, const char *id, struct user **out)
{
	struct record *rec;
	enum err err = store_rec_get(op->app->store, REC_USER, id, op->arena, &rec, op->err);

	*out = NULL;
	return err || !rec ? err : from_record(op, rec, out);
}

enum err user_load(struct op *op, const char *id, struct user **out)
{
	enum err err = user_find(op, id, out);

	if (!err && (!*out || (*out)->deleted_at))
		return error_public(op->err, ERR_NOT_FOUND, "There is no user %s.", id);
	return err;
}

static enum err save(struct op *op, struct user *u)
{
	struct store_op o = { .kind = SOP_REC_PUT, .rec = to_record(op, u), .expect_rev = u->rev };
	struct store_unit unit = { .ops = &o, .n = 1, .arena = op->arena, .error = op->err };
	enum err err = op_apply(op, &unit);

	if (err == ERR_CONFLICT && o.result == SOP_EXISTS)
		return error_public(op->err, ERR_EXISTS, "There is a user of this name already.");
	if (err == ERR_CONFLICT)
		return error_public(op->err, ERR_CONFLICT, "The user was changed by someone else; read it again.");
	return err;
}

enum err user_update(struct op *op, const char *id, const struct user_in *in, struct user **out)
{
	enum err err = user_load(op, id, out);

	if (err || (err = may_touch(op, role_perms((*out)->role) | (*out)->extra_perms, (*out)->clearance)))
		return err;
	struct user *u = *out;
	enum role role = u->role;
	bool rights = schema_has(&user_update_schema, in, "role") || in->permissions.v ||
		      schema_has(&user_update_schema, in, "clearance_level");

	if (in->username)
		u->username = in->username;
	if (in->email)
		u->email = in->email;
	if (schema_has(&user_update_schema, in, "role"))
		u->role = (enum role)in->role;
	if (schema_has(&user_update_schema, in, "clearance_level"))
		u->clearance = (enum data_class)in->clearance_level;
	if (in->permissions.v)
		u->extra_perms = PERMS_NONE;
	if (rights && (err = read_grants(op, &in->permissions, u->role, u->clearance, &u->extra_perms)))
		return err;
	if (in->password && (err = set_password(op, u, in->password)))
		return err;
	bool disabled = schema_has(&user_update_schema, in, "enabled") && u->enabled && !in->enabled;

	if (schema_has(&user_update_schema, in, "enabled"))
		u->enabled = in->enabled;
	u->updated_at = op->now;
	err = save(op, u);
	if (err)
		return err;
	return role != u->role || disabled || in->password || in->permissions.v ? session_cut_off(op, id) : OK;
}

enum err user_delete(struct op *op, const char *id)
{
	struct user *u;
	enum err err = user_load(op, id, &u);

	if (err || (err = may_touch(op, role_perms(u->role) | u->extra_perms, u->clearance)))
		return err;
	if (strcmp(id, op->caller->id) == 0)
		return error_public(op->err, ERR_BAD_STATE, "Nobody can delete themselves.");
	u->enabled = false;
	u->deleted_at = u->updated_at = op->now;
	err = save(op, u);
	return err ? err : session_cut_off(op, id);
}

enum err users_list(struct op *op, const char *cursor, int limit, struct user ***out, int *n, const char **next)
{
	struct rec_filter f = { .kind = REC_USER, .has_n2 = true, .limit = limit };
	struct rec_page page;
	enum err err = records_page(op, &f, "u", cursor, &page, next);

	*n = 0;
	if (err)
		return err;
	*out = arena_calloc(op->arena, (size_t)page.n + 1, sizeof(**out));
	for (int i = 0; i < page.n && !err; i++)
		err = from_record(op, page.items[i], &(*out)[(*n)++]);
	return err;
}

/* --- API keys --------------------------------------------------------------------------------------------------- */

static const struct field key_fields[] = {
	{ "name", F_STR, true, offsetof(struct api_key_in, name), .min = 1, .max = LIMIT_NAME },
	{ "role", F_ENUM, true, offsetof(struct api_key_in, role), .names = role_names },
	{ "permissions", F_STRS, .offset = offsetof(struct api_key_in, permissions), .max = 16, .names = perm_names },
	{ "clearance_level", F_ENUM, .offset = offsetof(struct api_key_in, clearance_level), .names = class_names,
	  .dflt = CLASS_INTERNAL },
	{ "expires_at", F_TIME, .offset = offsetof(struct api_key_in, expires_at) },
};
SCHEMA(api_key_schema, struct api_key_in, "ApiKeyCreate", key_fields, "A key for automation.");

static struct record *key_record(struct op *op, const struct api_key *k, const char *hash)
{
	struct record *rec = arena_new(op->arena, struct record);
	struct buf b;
	struct jw w;

	buf_init(&b);
	jw_init(&w, &b);
	jw_obj(&w);
	jw_kstr(&w, "name", k->name);
	jw_kstr(&w, "prefix", k->prefix);
	jw_key(&w, "permissions");
	perms_write(&w, k->perms);
	jw_kstr(&w, "clearance_level", class_names[k->clearance]);
	jw_kint(&w, "created_at", k->created_at);
	jw_end_obj(&w);
	*rec = (struct record){ .kind = REC_API_KEY, .id = k->id, .s1 = hash, .s2 = role_name(k->role), .s3 = k->owner,
				.n1 = k->enabled, .n2 = k->expires_at, .body = arena_strndup(op->arena, b.p, b.n) };
	buf_release(&b);
	return rec;
}

static enum err key_from_record(struct op *op, const struct record *rec, struct api_key **out)
{
	struct api_key *k = arena_new(op->arena, struct api_key);
	struct jv *v;
	int bad;

	if (json_parse(op->arena, rec->body, strlen(rec->body), 2, &v, op->err) || !role_parse(rec->s2, &k->role) ||
	    !perms_read(jv_get(v, "permissions"), &k->perms, &bad))
		return error_set(op->err, ERR_INTERNAL, "API key record does not parse");
	k->id = rec->id;
	k->name = jv_str(v, "name");
	k->prefix = jv_str(v, "prefix");
	k->owner = rec->s3;
	int class = jv_str(v, "clearance_level") ? name_index(class_names, jv_str(v, "clearance_level")) : 0;

	k->clearance = class < 0 ? CLASS_PUBLIC : (enum data_class)class;
	k->enabled = rec->n1;
	k->created_at = jv_int_or(v, "created_at", 0);
	k->expires_at = rec->n2;
	*out = k;
	return OK;
}

void api_key_json(const struct api_key *k, struct jw *w)
{
	jw_kstr(w, "key_id", k->id);
	jw_kstr(w, "name", k->name);
	jw_kstr(w, "prefix", k->prefix);
	jw_kstr(w, "role", role_name(k->role));
	jw_key(w, "permissions");
	perms_write(w, k->perms);
	jw_kstr(w, "clearance_level", class_names[k->clearance]);
	jw_kstr(w, "owner", k->owner);
	jw_kbool(w, "enabled", k->enabled);
	jw_ktime(w, "created_at", k->created_at);
	jw_ktime(w, "expires_at", k->expires_at);
}

enum err api_key_create(struct op *op, const struct api_key_in *in, struct api_key **out, const char **secret)
{
	struct api_key *k = arena_new(op->arena, struct api_key);
	char *id = arena_alloc(op->arena, ID_TEXT);
	char *key = arena_alloc(op->arena, RANDOM_SECRET_TEXT);
	char *hash = arena_alloc(op->arena, API_KEY_HASH_TEXT);
	struct buf b;
	struct jw w;

	id_new(id);
	random_secret("mcp_", key);
	api_key_hash(op->app->passwords, key, hash);
	*k = (struct api_key){ .id = id, .name = in->name, .owner = op->caller->id, .role = (enum role)in->role,
			       .prefix = arena_strndup(op->arena, key, 8), .enabled = true, .created_at = op->now,
			       .clearance = (enum data_class)in->clearance_level, .expires_at = in->expires_at };
	perms_t extra = PERMS_NONE;
	enum err err = read_grants(op, &in->permissions, k->role, k->clearance, &extra);

	if (!err && in->expires_at && in->expires_at <= op->now)
		err = error_field(op->err, "$.expires_at", "in_the_past", "must lie in the future");
	if (err)
		return err;
	k->perms = role_perms(k->role) | extra;
	struct store_op ops[2] = { { .kind = SOP_REC_PUT, .rec = key_record(op, k, hash), .expect_rev = REV_ABSENT } };
	struct store_unit u = { .ops = ops, .n = 1, .arena = op->arena, .error = op->err };

	buf_init(&b);
	jw_init(&w, &b);
	jw_obj(&w);
	api_key_json(k, &w);
	jw_knull(&w, "key");
	jw_kbool(&w, "secret_shown", true);
	jw_end_obj(&w);
	idem_add(op, ops, &u.n, 201, b.p);
	buf_release(&b);
	err = op_apply(op, &u);
	if (err)
		return err == ERR_CONFLICT && idem_lost(op, ops, u.n) ? ERR_IDEM_BUSY : err;
	*out = k;
	*secret = key;
	return OK;
}

enum err api_key_find(struct op *op, const char *key, struct api_key **out)
{
	char hash[API_KEY_HASH_TEXT];
	struct record *rec;

	api_key_hash(op->app->passwords, key, hash);
	enum err err = store_rec_by_s1(op->app->store, REC_API_KEY, hash, op->arena, &rec, op->err);

	*out = NULL;
	return err || !rec ? err : key_from_record(op, rec, out);
}

enum err api_key_load(struct op *op, const char *id, struct api_key **out)
{
	struct record *rec;
	enum err err = store_rec_get(op->app->store, REC_API_KEY, id, op->arena, &rec, op->err);

	if (!err && !rec)
		return error_public(op->err, ERR_NOT_FOUND, "There is no API key %s.", id);
	return err ? err : key_from_record(op, rec, out);
}

enum err api_key_delete(struct op *op, const char *id)
{
	struct record rec = { .kind = REC_API_KEY, .id = id };
	struct store_op o = { .kind = SOP_REC_DELETE, .rec = &rec, .expect_rev = REV_ANY };
	struct store_unit u = { .ops = &o, .n = 1, .arena = op->arena, .error = op->err };
	struct api_key *k;
	enum err err = api_key_load(op, id, &k);

	if (err || (err = may_touch(op, k->perms, k->clearance)))
		return err;
	err = op_apply(op, &u);
	return err == ERR_CONFLICT ? error_public(op->err, ERR_NOT_FOUND, "There is no API key %s.", id) : err;
}

enum err api_keys_list(struct op *op, const char *cursor, int limit, struct api_key ***out, int *n, const char **next)
{
	struct rec_filter f = { .kind = REC_API_KEY, .limit = limit };
	struct rec_page page;
	enum err err = records_page(op, &f, "k", cursor, &page, next);

	*n = 0;
	if (err)
		return err;
	*out = arena_calloc(op->arena, (size_t)page.n + 1, sizeof(**out));
	for (int i = 0; i < page.n && !err; i++)
		err = key_from_record(op, page.items[i], &(*out)[(*n)++]);
	return err;
}

/* --- first start ---------------------------------------------------------------------------------------------------- */

static enum err bootstrap_key(struct op *op)
{
	char *hash = arena_alloc(op->arena, API_KEY_HASH_TEXT);
	struct api_key k = { .id = "00000000-0000-7000-8000-0000000000a1", .name = "configuration (API_KEY)",
			     .owner = "system", .prefix = "", .role = ROLE_ADMIN, .perms = PERMS_ALL,
			     .clearance = CLASS_PHI, .enabled = true, .created_at = op->now };

	api_key_hash(op->app->passwords, op->app->cfg->api_key, hash);
	struct store_op o = { .kind = SOP_REC_PUT, .rec = key_record(op, &k, hash), .expect_rev = REV_ANY };
	struct store_unit u = { .ops = &o, .n = 1, .arena = op->arena, .error = op->err };

	return op_apply(op, &u);
}

static enum err read_password(struct op *op, const char *file, const char **out)
{
	char line[LIMIT_PASSWORD_MAX * 4 + 2];
	FILE *f = fopen(file, "re");

	if (!f || !fgets(line, sizeof(line), f)) {
		if (f)
			fclose(f);
		return error_set(op->err, ERR_VALIDATION, "ADMIN_PASSWORD_FILE %s cannot be read", file);
	}
	fclose(f);
	line[strcspn(line, "\r\n")] = '\0';
	*out = arena_strdup(op->arena, line);
	explicit_bzero(line, sizeof(line));
	return OK;
}

enum err users_bootstrap(struct op *op)
{
	const struct config *cfg = op->app->cfg;
	struct rec_filter f = { .kind = REC_USER, .limit = 1 };
	struct rec_page page;
	struct user *u;
	enum err err = *cfg->api_key ? bootstrap_key(op) : OK;

	if (!err)
		err = store_recs_list(op->app->store, &f, op->arena, &page, op->err);
	if (err || page.n || !*cfg->admin_password_file)
		return err;
	struct user_in in = { .username = cfg->admin_user, .role = ROLE_ADMIN, .clearance_level = CLASS_PHI,
			      .enabled = true };

	err = read_password(op, cfg->admin_password_file, &in.password);
	if (!err)
		err = user_create(op, &in, &u);
	if (err == ERR_EXISTS)
		return OK;	/* another process was faster */
	if (!err)
		log_info("administrator %s was made", cfg->admin_user);
	return err;
}
