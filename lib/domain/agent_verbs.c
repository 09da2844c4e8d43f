// SPDX-License-Identifier: MIT
/* Registration, changes, allocation, heartbeats. */
#include "agent.h"

#include "../auth/password.h"
#include "../auth/seal.h"
#include "../base/limits.h"
#include "idem.h"
#include "session.h"
#include "task.h"

const char *const role_names[] = { "worker", "supervisor", "admin", "system", NULL };

static const struct field endpoint_fields[] = {
	{ "task", F_URL, .offset = offsetof(struct endpoints_in, task), .help = "Tasks are POSTed here." },
	{ "status", F_URL, .offset = offsetof(struct endpoints_in, status) },
	{ "health", F_URL, .offset = offsetof(struct endpoints_in, health),
	  .help = "Probed while no heartbeat comes." },
};
static SCHEMA(endpoints_schema, struct endpoints_in, "Endpoints", endpoint_fields, "Where the agent is called.");

#define AGENT_FIELDS(need) \
	{ "name", F_STR, need, offsetof(struct agent_in, name), .min = 1, .max = LIMIT_NAME }, \
	{ "type", F_SLUG, need, offsetof(struct agent_in, type), \
	  .help = "worker, orchestrator, validator, bias-detector, emotion-analyzer, therapist or another slug." }, \
	{ "capabilities", F_SLUGS, .offset = offsetof(struct agent_in, capabilities), .max = LIMIT_CAPABILITIES }, \
	{ "endpoints", F_OBJ, .offset = offsetof(struct agent_in, endpoints), .sub = &endpoints_schema }, \
	{ "endpoint_url", F_URL, .offset = offsetof(struct agent_in, endpoint_url), \
	  .help = "Older spelling of endpoints.task." }, \
	{ "health_check_url", F_URL, .offset = offsetof(struct agent_in, health_check_url), \
	  .help = "Older spelling of endpoints.health." }, \
	{ "resources", F_JSON_OBJ, .offset = offsetof(struct agent_in, resources), .max = LIMIT_METADATA, \
	  .help = "cpu, memory (bytes or \"8GB\"), gpu, …" }, \
	{ "metadata", F_JSON_OBJ, .offset = offsetof(struct agent_in, metadata), .max = LIMIT_METADATA }, \
	{ "configuration", F_JSON_OBJ, .offset = offsetof(struct agent_in, configuration), .max = LIMIT_METADATA, \
	  .help = "api_keys, credentials and secrets in it are stored encrypted and never shown." }, \
	{ "version", F_STR, .offset = offsetof(struct agent_in, version), .min = 1, .max = LIMIT_SLUG }, \
	{ "role", F_ENUM, .offset = offsetof(struct agent_in, role), .names = role_names }, \
	{ "permissions", F_STRS, .offset = offsetof(struct agent_in, permissions), .max = 16, .names = perm_names, \
	  .help = "Grants beyond the role's." }, \
	{ "clearance_level", F_ENUM, .offset = offsetof(struct agent_in, clearance_level), .names = class_names, \
	  .dflt = CLASS_INTERNAL, .help = "Highest data class it may see." }, \
	{ "slots", F_INT, .offset = offsetof(struct agent_in, slots), .min = 0, .max = LIMIT_CONCURRENCY, \
	  .help = "Most tasks at once; 0: no limit." }

static const struct field register_fields[] = { AGENT_FIELDS(true) };
static const struct field agent_update_fields[] = {
	AGENT_FIELDS(false),
	{ "enabled", F_BOOL, .offset = offsetof(struct agent_in, enabled) },
};
SCHEMA(agent_schema, struct agent_in, "AgentRegister", register_fields, "An agent that joins.");
const struct schema agent_update_schema = {
	.name = "AgentUpdate", .size = sizeof(struct agent_in), .fields = agent_update_fields,
	.n = sizeof(agent_update_fields) / sizeof(*agent_update_fields), .min_fields = 1,
	.help = "What changes; role, permissions, clearance_level, enabled and slots need agent:manage.",
};

static const struct field capability_fields[] = {
	{ "add", F_SLUGS, .offset = offsetof(struct capabilities_in, add), .max = LIMIT_CAPABILITIES },
	{ "remove", F_SLUGS, .offset = offsetof(struct capabilities_in, remove), .max = LIMIT_CAPABILITIES },
	{ "replace", F_SLUGS, .offset = offsetof(struct capabilities_in, replace), .max = LIMIT_CAPABILITIES },
};
const struct schema capabilities_schema = {
	.name = "CapabilitiesChange", .size = sizeof(struct capabilities_in), .fields = capability_fields, .n = 3,
	.min_fields = 1, .help = "replace sets the list; then add and remove are applied.",
};

static const struct field beat_task_fields[] = {
	{ "task_id", F_UUID, true, .offset = offsetof(struct beat_task_in, task_id) },
	{ "fence", F_INT, true, offsetof(struct beat_task_in, fence), .min = 0, .max = INT64_MAX },
};
static SCHEMA(beat_task_schema, struct beat_task_in, "HeldTask", beat_task_fields, "A lease the agent holds.");
static const struct field heartbeat_fields[] = {
	{ "status", F_ENUM, .offset = offsetof(struct heartbeat_in, status), .names = agent_status_names },
	{ "current_load", F_NUM, .offset = offsetof(struct heartbeat_in, current_load), .min = 0, .max = 1, .dflt = -1 },
	{ "resources", F_JSON_OBJ, .offset = offsetof(struct heartbeat_in, resources), .max = LIMIT_METADATA },
	{ "metrics", F_JSON_OBJ, .offset = offsetof(struct heartbeat_in, metrics), .max = LIMIT_METADATA },
	{ "tasks", F_OBJS, .offset = offsetof(struct heartbeat_in, tasks), .max = LIMIT_HEARTBEAT_TASKS,
	  .sub = &beat_task_schema, .help = "Leases to renew." },
};
SCHEMA(heartbeat_schema, struct heartbeat_in, "Heartbeat", heartbeat_fields, "A sign of life.");

/* --- permissions and secrets ------------------------------------------------------------------------------ */

/* Nobody grants more than they hold. */
static enum err grants(struct op *op, const struct agent_in *in, struct agent *a)
{
	for (int i = 0; i < in->permissions.n; i++) {
		perms_t p = perm_parse(in->permissions.v[i]);

		if (p == PERMS_NONE)
			return error_field(op->err, arena_printf(op->arena, "$.permissions[%d]", i), "bad_value",
					   "is not a permission");
		a->extra_perms |= p;
	}
	if (!perms_within(agent_perms(a), op->caller->perms))
		return error_public(op->err, ERR_FORBIDDEN, "Nobody can grant more permissions than they hold.");
	if (a->clearance > op->caller->clearance)
		return error_public(op->err, ERR_CLEARANCE, "Nobody can grant a higher clearance than they hold.");
	return OK;
}

/* Seal the members of a configuration that hold secrets. */
static enum err seal_configuration(struct op *op, const char *json, const char *agent_id, const char **out)
{
	static const char *const secret[] = { "api_keys", "credentials", "secrets", NULL };
	struct jv *v;
	struct buf b;
	struct jw w;
	enum err err = json_parse(op->arena, json, strlen(json), 1, &v, op->err);

	if (err)
		return err;
	buf_init(&b);
	jw_init(&w, &b);
	jw_obj(&w);
	for (const struct jv *m = v->child; m && !err; m = m->next) {
		const char *text = jv_text(op->arena, m);
		const char *sealed;

		jw_key(&w, m->key);
		if (name_index(secret, m->key) < 0) {
			jw_raw(&w, text);
			continue;
		}
		err = seal_close(op->app->seal, text, agent_id, op->arena, &sealed, op->err);
		if (!err)
			jw_str(&w, arena_printf(op->arena, "sealed:%s", sealed));
	}
	if (!err) {
		jw_end_obj(&w);
		*out = arena_strndup(op->arena, b.p, b.n);
	}
	buf_release(&b);
	return err;
}

static enum err take_fields(struct op *op, const struct schema *s, const struct agent_in *in, struct agent *a)
{
	refuse_uri_secrets(op, in->metadata, "$.metadata");
	if (op->err->code)
		return op->err->code;
	if (in->name)
		a->name = in->name;
	if (in->type)
		a->type = in->type;
	if (in->version)
		a->version = in->version;
	if (in->capabilities.v)
		a->capabilities = in->capabilities;
	if (in->endpoints) {
		a->ep_task = in->endpoints->task;
		a->ep_status = in->endpoints->status;
		a->ep_health = in->endpoints->health;
	}
	if (in->endpoint_url)
		a->ep_task = in->endpoint_url;
	if (in->health_check_url)
		a->ep_health = in->health_check_url;
	if (in->resources)
		a->resources = in->resources;
	if (in->metadata)
		a->metadata = in->metadata;
	if (schema_has(s, in, "slots"))
		a->slots = in->slots;
	if (schema_has(s, in, "clearance_level"))
		a->clearance = (enum data_class)in->clearance_level;
	if (schema_has(s, in, "role"))
		a->role = (enum role)in->role;
	if (in->configuration)
		return seal_configuration(op, in->configuration, a->id, &a->configuration);
	return OK;
}

void agent_post(struct op *op, const struct agent *a, const char *event)
{
	/* "a": who can be given work may have changed */
	struct bus_post p = { .type = event, .at = op->now, .wake = "a" };
	struct buf b;
	struct jw w;

	buf_init(&b);
	jw_init(&w, &b);
	jw_obj(&w);
	jw_kstr(&w, "agent_id", a->id);
	jw_kstr(&w, "name", a->name);
	jw_kstr(&w, "type", a->type);
	jw_kstr(&w, "status", agent_status_names[a->status]);
	jw_kdouble(&w, "current_load", a->load);
	jw_kbool(&w, "enabled", a->enabled);
	jw_kbool(&w, "draining", a->draining);
	jw_end_obj(&w);
	p.data = b.p;
	bus_post(op->app->bus, &p, 1);
	buf_release(&b);
}

/* The index in Redis is a convenience: the scheduler rebuilds it. */
static void index_capabilities(struct op *op, const char *id, const struct strs *old, const struct strs *now)
{
	if (bus_agent_index(op->app->bus, id, old ? old->v : NULL, old ? old->n : 0, now ? now->v : NULL, now ? now->n : 0))
		bus_post(op->app->bus, &(struct bus_post){ .wake = "s" }, 1);
}

static enum err check_room(struct op *op)
{
	int64_t max = op->app->cfg->max_agents;
	struct rec_filter f = { .kind = REC_AGENT, .has_n2 = true, .limit = LIMIT_PAGE };
	int64_t count = 0;

	for (bool more = max > 0; more && count < max;) {
		struct rec_page page;
		enum err err = store_recs_list(op->app->store, &f, op->arena, &page, op->err);

		if (err)
			return err;
		count += page.n;
		more = page.more;
		f.after = page.last;
	}
	if (max > 0 && count >= max)
		return error_public(op->err, ERR_LIMIT, "MAX_AGENTS is %lld and so many are registered.", (long long)max);
	return OK;
}

/* --- verbs ------------------------------------------------------------------------------------------------- */

static const char *registered_answer(struct op *op, const struct agent *a)
{
	struct buf b;
	struct jw w;

	buf_init(&b);
	jw_init(&w, &b);
	jw_obj(&w);
	jw_kstr(&w, "agent_id", a->id);
	jw_knull(&w, "auth_token");
	jw_kbool(&w, "secret_shown", true);
	jw_key(&w, "agent");
	agent_json(a, &w);
	jw_end_obj(&w);
	const char *text = arena_strndup(op->arena, b.p, b.n);

	buf_release(&b);
	return text;
}

enum err agent_register(struct op *op, const struct agent_in *in, struct agent **out, const char **token)
{
	struct agent *a = arena_new(op->arena, struct agent);
	char *secret = arena_alloc(op->arena, RANDOM_SECRET_TEXT);
	char *hash = arena_alloc(op->arena, PASSWORD_HASH_TEXT);
	enum err err;

	id_new(a->id);
	a->role = ROLE_WORKER;
	a->clearance = CLASS_INTERNAL;
	a->enabled = true;
	a->registered_at = a->updated_at = op->now;
	a->registered_by = op->caller->id;
	err = take_fields(op, &agent_schema, in, a);
	if (err || (err = grants(op, in, a)) || (err = check_room(op)))
		return err;
	random_secret("agt_", secret);
	err = password_hash(op->app->passwords, secret, hash, op->err);
	if (err)
		return err;
	a->token_hash = hash;
	struct store_op ops[2] = { { .kind = SOP_REC_PUT, .rec = agent_to_record(op, a), .expect_rev = REV_ABSENT } };
	struct store_unit u = { .ops = ops, .n = 1, .arena = op->arena, .error = op->err };

	idem_add(op, ops, &u.n, 201, registered_answer(op, a));
	err = store_apply(op->app->store, &u);
	if (err)
		return err == ERR_CONFLICT && idem_lost(op, ops, u.n) ? ERR_IDEM_BUSY : err;
	a->rev = 1;
	index_capabilities(op, a->id, NULL, &a->capabilities);
	agent_post(op, a, "agent.registered");
	*out = a;
	*token = secret;
	return OK;
}

enum err agent_change(struct op *op, const char *id, agent_edit *edit, void *arg, struct agent **out)
{
	for (int i = 0; i < 16; i++) {
		struct agent *a;
		enum err err = agent_load(op, id, &a);

		if (!err)
			err = edit(op, a, arg);
		if (err)
			return err;
		a->updated_at = op->now;
		struct store_op o = { .kind = SOP_REC_PUT, .rec = agent_to_record(op, a), .expect_rev = a->rev };
		struct store_unit u = { .ops = &o, .n = 1, .arena = op->arena, .error = op->err };

		err = store_apply(op->app->store, &u);
		if (err == ERR_CONFLICT)
			continue;
		if (!err) {
			a->rev = o.rev;
			*out = a;
		}
		return err;
	}
	return error_public(op->err, ERR_CONFLICT, "The agent is being changed by others; try again.");
}

struct update_arg {
	const struct agent_in *in;
	bool kill_tokens;
	struct strs old_caps;
};

static enum err edit_update(struct op *op, struct agent *a, void *arg)
{
	static const char *const guarded[] = { "role", "permissions", "clearance_level", "enabled", "slots", NULL };
	struct update_arg *u = arg;
	enum role role = a->role;
	bool enabled = a->enabled;

	for (int i = 0; guarded[i]; i++) {
		if (schema_has(&agent_update_schema, u->in, guarded[i]) && !caller_may(op->caller, PERM_AGENT_MANAGE))
			return error_public(op->err, ERR_FORBIDDEN, "Changing %s needs the permission agent:manage.",
					    guarded[i]);
	}
	u->old_caps = a->capabilities;
	enum err err = take_fields(op, &agent_update_schema, u->in, a);

	if (err)
		return err;
	if (schema_has(&agent_update_schema, u->in, "enabled"))
		a->enabled = u->in->enabled;
	if (u->in->permissions.v)
		a->extra_perms = PERMS_NONE;
	if (schema_has(&agent_update_schema, u->in, "role") || u->in->permissions.v ||
	    schema_has(&agent_update_schema, u->in, "clearance_level")) {
		err = grants(op, u->in, a);
		if (err)
			return err;
	}
	u->kill_tokens = role != a->role || (enabled && !a->enabled) || u->in->permissions.v;
	return OK;
}

enum err agent_update(struct op *op, const char *id, const struct agent_in *in, struct agent **out)
{
	struct update_arg u = { .in = in };
	enum err err = agent_change(op, id, edit_update, &u, out);

	if (err)
		return err;
	agents_liveness(op, out, 1);
	index_capabilities(op, id, &u.old_caps, &(*out)->capabilities);
	agent_post(op, *out, "agent.status_updated");
	return u.kill_tokens ? session_cut_off(op, id) : OK;
}

static enum err edit_delete(struct op *op, struct agent *a, void *arg)
{
	(void)arg;
	a->enabled = false;
	a->deleted_at = op->now;
	return OK;
}

enum err agent_delete(struct op *op, const char *id)
{
	struct agent *a;
	int n;
	enum err err = agent_change(op, id, edit_delete, NULL, &a);

	if (err || (err = session_cut_off(op, id)))
		return err;
	index_capabilities(op, id, &a->capabilities, NULL);
	if (bus_agent_forget(op->app->bus, id))
		bus_post(op->app->bus, &(struct bus_post){ .wake = "s" }, 1);
	a->status = AGENT_INACTIVE;
	agent_post(op, a, "agent.removed");
	return task_requeue_agent(op, id, "agent_removed", &n);
}

static bool in_list(const struct strs *l, const char *s)
{
	for (int i = 0; i < l->n; i++) {
		if (strcmp(l->v[i], s) == 0)
			return true;
	}
	return false;
}

struct capabilities_arg {
	const struct capabilities_in *in;
	struct strs old;
};

static enum err edit_capabilities(struct op *op, struct agent *a, void *arg)
{
	struct capabilities_arg *c = arg;
	const struct strs *base = c->in->replace.v ? &c->in->replace : &a->capabilities;
	struct strs now = { .v = arena_calloc(op->arena, (size_t)(base->n + c->in->add.n) + 1, sizeof(char *)) };

	c->old = a->capabilities;
	for (int i = 0; i < base->n; i++) {
		if (!in_list(&c->in->remove, base->v[i]))
			now.v[now.n++] = base->v[i];
	}
	for (int i = 0; i < c->in->add.n; i++) {
		if (!in_list(&now, c->in->add.v[i]) && !in_list(&c->in->remove, c->in->add.v[i]))
			now.v[now.n++] = c->in->add.v[i];
	}
	if (now.n > LIMIT_CAPABILITIES)
		return error_field(op->err, "$.add", "bad_count", "an agent has at most %d capabilities", LIMIT_CAPABILITIES);
	a->capabilities = now;
	return OK;
}

enum err agent_capabilities(struct op *op, const char *id, const struct capabilities_in *in, struct agent **out)
{
	struct capabilities_arg c = { .in = in };
	enum err err = agent_change(op, id, edit_capabilities, &c, out);

	if (err)
		return err;
	index_capabilities(op, id, &c.old, &(*out)->capabilities);
	agent_post(op, *out, "agent.status_updated");
	return OK;
}

static enum err edit_drain(struct op *op, struct agent *a, void *arg)
{
	(void)op;
	a->draining = *(const bool *)arg;
	return OK;
}

enum err agent_drain(struct op *op, const char *id, bool drain, struct agent **out)
{
	enum err err = agent_change(op, id, edit_drain, &drain, out);

	if (err)
		return err;
	agent_post(op, *out, "agent.status_updated");
	/* A claim that waits for it need not: it gets nothing. */
	if (drain)
		bus_post(op->app->bus, &(struct bus_post){ .wake = arena_printf(op->arena, "d %s", id) }, 1);
	return OK;
}

enum err agent_room(struct op *op, const struct agent *a, int64_t *max)
{
	int64_t all = op->app->cfg->max_concurrent_tasks;

	if (!a->enabled || a->draining) {
		*max = 0;
		return OK;
	}
	if (all) {
		struct queue_depth depth;
		enum err err = store_queue_depth(op->app->store, &depth, op->err);

		if (err)
			return err;
		if (all - depth.leased < *max)
			*max = all - depth.leased;
	}
	if (a->slots) {
		struct task_filter f = { .status = ST_LEASED, .agent_id = a->id, .cols = TASK_COLS_BRIEF,
					 .limit = a->slots < LIMIT_PAGE ? (int)a->slots : LIMIT_PAGE };
		struct task_page page;
		enum err err = store_tasks_list(op->app->store, &f, op->arena, &page, op->err);

		if (err)
			return err;
		if (a->slots - page.n < *max)
			*max = a->slots - page.n;
	}
	return OK;
}

/* --- heartbeat ------------------------------------------------------------------------------------------------ */

/* Redis is away: the record has to carry the sign of life, but not with every beat. */
static enum err edit_beat(struct op *op, struct agent *a, void *arg)
{
	(void)arg;
	a->last_heartbeat = op->now;
	return OK;
}

static enum err heartbeat_answer(struct op *op, const struct agent *a, const struct heartbeat_in *in, struct jw *w)
{
	const struct beat_task_in *held = in->tasks.v;
	struct lease_item *items = arena_calloc(op->arena, (size_t)in->tasks.n + 1, sizeof(*items));

	for (int i = 0; i < in->tasks.n; i++)
		items[i] = (struct lease_item){ .task_id = held[i].task_id, .fence = held[i].fence };
	enum err err = in->tasks.n ? task_renew(op, a->id, items, in->tasks.n) : OK;

	if (err)
		return err;
	jw_obj(w);
	jw_kstr(w, "agent_id", a->id);
	jw_kstr(w, "status", agent_status_names[a->status]);
	jw_kint(w, "next_heartbeat_in", op->app->cfg->heartbeat_interval);
	jw_key(w, "lost");
	jw_arr(w);
	for (int i = 0; i < in->tasks.n; i++) {
		if (items[i].lost)
			jw_str(w, items[i].task_id);
	}
	jw_end_arr(w);
	jw_key(w, "commands");
	jw_arr(w);
	if (a->draining) {
		jw_obj(w);
		jw_kstr(w, "command", "drain");
		jw_end_obj(w);
	}
	for (int i = 0; i < in->tasks.n; i++) {
		if (!items[i].cancelled)
			continue;
		jw_obj(w);
		jw_kstr(w, "command", "cancel_task");
		jw_kstr(w, "task_id", items[i].task_id);
		jw_end_obj(w);
	}
	jw_end_arr(w);
	jw_end_obj(w);
	return OK;
}

enum err agent_heartbeat(struct op *op, const char *id, const struct heartbeat_in *in, struct jw *answer)
{
	struct agent *a;
	enum err err = agent_known(op, id, &a);

	if (err)
		return err;
	bool said = schema_has(&heartbeat_schema, in, "status");
	struct beat beat = { .at = op->now, .status = agent_status_names[said ? in->status : AGENT_ACTIVE],
			     .load = in->current_load, .resources = in->resources, .metrics = in->metrics };
	struct beat last = { .load = -1 };

	memcpy(beat.agent_id, id, ID_TEXT);
	bool away = bus_beat(op->app->bus, &beat, op->arena, &last) != OK;

	agent_judge(op, a, &last);
	enum agent_status before = a->status;

	if (away && op->now - a->last_heartbeat > op->app->cfg->heartbeat_interval * 500) {
		err = agent_change(op, id, edit_beat, NULL, &a);
		if (err)
			return err;
	}
	a->last_heartbeat = op->now;
	if (in->current_load >= 0)
		a->load = in->current_load;
	a->status = !a->enabled ? AGENT_INACTIVE : said ? (enum agent_status)in->status : AGENT_ACTIVE;
	if (a->status == AGENT_ACTIVE && a->load >= 1)
		a->status = AGENT_BUSY;
	if (a->status != before)
		agent_post(op, a, "agent.status_updated");
	return heartbeat_answer(op, a, in, answer);
}
