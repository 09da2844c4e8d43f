// SPDX-License-Identifier: MIT
/* Agents between the store's record, the struct and the answer. */
#include "agent.h"

#include "../base/clock.h"

static void write_list(struct jw *w, const char *key, const struct strs *l)
{
	jw_key(w, key);
	jw_arr(w);
	for (int i = 0; i < l->n; i++)
		jw_str(w, l->v[i]);
	jw_end_arr(w);
}

static struct strs read_list(struct arena *a, const struct jv *v)
{
	struct strs l = { .v = arena_calloc(a, v ? v->n + 1 : 1, sizeof(*l.v)) };

	for (const struct jv *m = v ? v->child : NULL; m; m = m->next)
		l.v[l.n++] = m->str;
	return l;
}

/* What was never given is null in the record. */
static const char *text_or_null(struct arena *a, const struct jv *v)
{
	return v && v->type != J_NULL ? jv_text(a, v) : NULL;
}

struct record *agent_to_record(struct op *op, const struct agent *a)
{
	struct record *rec = arena_new(op->arena, struct record);
	struct buf b;
	struct jw w;

	buf_init(&b);
	jw_init(&w, &b);
	jw_obj(&w);
	jw_kstr(&w, "name", a->name);
	jw_kstr(&w, "version", a->version);
	write_list(&w, "capabilities", &a->capabilities);
	jw_key(&w, "permissions");
	perms_write(&w, a->extra_perms);
	jw_kstr(&w, "clearance_level", class_names[a->clearance]);
	jw_kbool(&w, "draining", a->draining);
	jw_kint(&w, "slots", a->slots);
	jw_kstr(&w, "ep_task", a->ep_task);
	jw_kstr(&w, "ep_status", a->ep_status);
	jw_kstr(&w, "ep_health", a->ep_health);
	jw_kraw(&w, "resources", a->resources);
	jw_kraw(&w, "allocated", a->allocated);
	jw_kraw(&w, "configuration", a->configuration);
	jw_kraw(&w, "metadata", a->metadata);
	jw_kstr(&w, "token_hash", a->token_hash);
	jw_kint(&w, "registered_at", a->registered_at);
	jw_kint(&w, "updated_at", a->updated_at);
	jw_kint(&w, "last_heartbeat", a->last_heartbeat);
	jw_kint(&w, "last_auth_at", a->last_auth_at);
	jw_kstr(&w, "registered_by", a->registered_by);
	jw_end_obj(&w);
	*rec = (struct record){ .kind = REC_AGENT, .id = arena_strdup(op->arena, a->id), .s1 = a->type,
				.s2 = role_name(a->role), .s3 = a->name, .n1 = a->enabled, .n2 = a->deleted_at,
				.body = arena_strndup(op->arena, b.p, b.n) };
	buf_release(&b);
	return rec;
}

enum err agent_from_record(struct op *op, const struct record *rec, struct agent **out)
{
	struct agent *a = arena_new(op->arena, struct agent);
	struct jv *v;
	int bad;
	int class;

	if (strlen(rec->id) != ID_LEN || json_parse(op->arena, rec->body, strlen(rec->body), 2, &v, op->err))
		return error_set(op->err, ERR_INTERNAL, "agent record %s does not parse", rec->id);
	memcpy(a->id, rec->id, ID_TEXT);
	a->rev = rec->rev;
	a->type = rec->s1;
	a->name = jv_str(v, "name");
	a->version = jv_str(v, "version");
	a->capabilities = read_list(op->arena, jv_get(v, "capabilities"));
	if (!role_parse(rec->s2, &a->role) || !perms_read(jv_get(v, "permissions"), &a->extra_perms, &bad))
		return error_set(op->err, ERR_INTERNAL, "agent record %s has a bad role", rec->id);
	class = jv_str(v, "clearance_level") ? name_index(class_names, jv_str(v, "clearance_level")) : CLASS_PUBLIC;
	a->clearance = class < 0 ? CLASS_PUBLIC : (enum data_class)class;
	a->enabled = rec->n1;
	a->draining = jv_bool_or(v, "draining", false);
	a->slots = jv_int_or(v, "slots", 0);
	a->ep_task = jv_str(v, "ep_task");
	a->ep_status = jv_str(v, "ep_status");
	a->ep_health = jv_str(v, "ep_health");
	a->resources = text_or_null(op->arena, jv_get(v, "resources"));
	a->allocated = text_or_null(op->arena, jv_get(v, "allocated"));
	a->configuration = text_or_null(op->arena, jv_get(v, "configuration"));
	a->metadata = text_or_null(op->arena, jv_get(v, "metadata"));
	a->token_hash = jv_str(v, "token_hash");
	a->registered_at = jv_int_or(v, "registered_at", 0);
	a->updated_at = jv_int_or(v, "updated_at", 0);
	a->last_heartbeat = a->recorded_heartbeat = jv_int_or(v, "last_heartbeat", 0);
	a->last_auth_at = jv_int_or(v, "last_auth_at", 0);
	a->registered_by = jv_str(v, "registered_by");
	a->deleted_at = rec->n2;
	a->load = 0;
	*out = a;
	return OK;
}

enum err agent_find(struct op *op, const char *id, struct agent **out)
{
	struct record *rec;
	enum err err = store_rec_get(op->app->store, REC_AGENT, id, op->arena, &rec, op->err);

	*out = NULL;
	return err || !rec ? err : agent_from_record(op, rec, out);
}

enum err agent_known(struct op *op, const char *id, struct agent **out)
{
	enum err err = agent_find(op, id, out);

	if (!err && (!*out || (*out)->deleted_at))
		return error_public(op->err, ERR_NOT_FOUND, "There is no agent %s.", id);
	return err;
}

enum err agent_load(struct op *op, const char *id, struct agent **out)
{
	enum err err = agent_known(op, id, out);

	if (!err)
		agents_liveness(op, out, 1);
	return err;
}

void agent_judge(struct op *op, struct agent *a, const struct beat *b)
{
	int64_t limit = 2 * op->app->cfg->heartbeat_interval * 1000;

	if (b->at && b->at >= a->last_heartbeat) {
		a->last_heartbeat = b->at;
		if (b->load >= 0)
			a->load = b->load;
		a->beat_resources = b->resources;
		a->beat_metrics = b->metrics;
	}
	int64_t heard = a->last_heartbeat ? a->last_heartbeat : a->registered_at;
	int said = b->status ? name_index(agent_status_names, b->status) : -1;

	if (!a->enabled || said == AGENT_INACTIVE || op->now - heard > limit)
		a->status = AGENT_INACTIVE;
	else if (said == AGENT_ERROR)
		a->status = AGENT_ERROR;
	else if (said == AGENT_BUSY || a->load >= 1)
		a->status = AGENT_BUSY;
	else
		a->status = AGENT_ACTIVE;
}

void agents_liveness(struct op *op, struct agent **agents, int n)
{
	const char **ids = arena_calloc(op->arena, (size_t)n + 1, sizeof(*ids));
	struct beat *beats = arena_calloc(op->arena, (size_t)n + 1, sizeof(*beats));

	for (int i = 0; i < n; i++)
		ids[i] = agents[i]->id;
	if (n == 0 || bus_beats(op->app->bus, ids, n, op->arena, beats)) {
		/* Redis is away: the flushed record has to do. */
		for (int i = 0; i < n; i++)
			beats[i] = (struct beat){ .load = -1 };
	}
	for (int i = 0; i < n; i++)
		agent_judge(op, agents[i], &beats[i]);
}

perms_t agent_perms(const struct agent *a)
{
	return role_perms(a->role) | a->extra_perms;
}

/* Configuration without what is sealed in it. */
static void write_configuration(struct jw *w, const char *json)
{
	struct arena scratch;
	struct error e;
	struct jv *v;

	arena_init(&scratch);
	error_init(&e, &scratch);
	jw_key(w, "configuration");
	if (!json || json_parse(&scratch, json, strlen(json), 1, &v, &e) || v->type != J_OBJECT) {
		jw_raw(w, "{}");
	} else {
		jw_obj(w);
		for (const struct jv *m = v->child; m; m = m->next) {
			jw_key(w, m->key);
			if (m->type == J_STRING && strncmp(m->str, "sealed:", 7) == 0)
				jw_str(w, "***");
			else
				jw_raw(w, jv_text(&scratch, m));
		}
		jw_end_obj(w);
	}
	arena_release(&scratch);
}

void agent_json(const struct agent *a, struct jw *w)
{
	jw_obj(w);
	jw_kstr(w, "agent_id", a->id);
	jw_kstr(w, "name", a->name);
	jw_kstr(w, "type", a->type);
	write_list(w, "capabilities", &a->capabilities);
	jw_kstr(w, "status", agent_status_names[a->status]);
	jw_kbool(w, "enabled", a->enabled);
	jw_kbool(w, "draining", a->draining);
	jw_kstr(w, "role", role_name(a->role));
	jw_key(w, "permissions");
	perms_write(w, a->extra_perms);
	jw_kstr(w, "clearance_level", class_names[a->clearance]);
	jw_key(w, "endpoints");
	jw_obj(w);
	jw_kstr(w, "task", a->ep_task);
	jw_kstr(w, "status", a->ep_status);
	jw_kstr(w, "health", a->ep_health);
	jw_end_obj(w);
	jw_kraw(w, "resources", a->resources ? a->resources : "{}");
	jw_kraw(w, "allocated", a->allocated ? a->allocated : "{}");
	jw_kint(w, "slots", a->slots);
	jw_kdouble(w, "current_load", a->load);
	write_configuration(w, a->configuration);
	jw_kraw(w, "metadata", a->metadata ? a->metadata : "{}");
	jw_kstr(w, "version", a->version);
	jw_ktime(w, "registered_at", a->registered_at);
	jw_ktime(w, "updated_at", a->updated_at);
	jw_ktime(w, "last_heartbeat", a->last_heartbeat);
	jw_ktime(w, "last_auth_at", a->last_auth_at);
	jw_ktime(w, "deleted_at", a->deleted_at);
	jw_end_obj(w);
}
