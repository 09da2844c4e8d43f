// SPDX-License-Identifier: MIT
#include "pipeline.h"

#include "../base/jsonschema.h"
#include "idem.h"

static const int64_t default_timeout[LIMIT_STAGES + 1] = { 0, 300, 600, 900, 300, 1200, 300 };

static const struct field stage_fields[] = {
	{ "name", F_STR, true, offsetof(struct stage_in, name), .min = 1, .max = LIMIT_NAME },
	{ "type", F_SLUG, .offset = offsetof(struct stage_in, type), .help = "Task type; the name by default." },
	{ "required", F_BOOL, .offset = offsetof(struct stage_in, required), .dflt = 1,
	  .help = "false: the run goes on when the stage fails." },
	{ "timeout", F_INT, .offset = offsetof(struct stage_in, timeout), .min = 1, .max = LIMIT_TIMEOUT_S,
	  .help = "Seconds one attempt may take; 300, 600, 900, 300, 1200, 300 by default." },
	{ "max_retries", F_INT, .offset = offsetof(struct stage_in, max_retries), .min = 0, .max = LIMIT_RETRIES,
	  .dflt = -1, .alias = "retry" },
	{ "capabilities", F_SLUGS, .offset = offsetof(struct stage_in, capabilities), .max = LIMIT_CAPABILITIES },
	{ "fan_out", F_BOOL, .offset = offsetof(struct stage_in, fan_out),
	  .help = "Split an input {\"items\":[…]} into tasks of parameters.batch_size items." },
	{ "validation", F_JSON_OBJ, .offset = offsetof(struct stage_in, validation), .max = LIMIT_METADATA,
	  .help = "JSON Schema (subset) each result must meet." },
	{ "depends_on", F_JSON, .offset = offsetof(struct stage_in, depends_on), .max = 64,
	  .help = "Stage numbers, 1 to 6; by default the stage before, [] for none." },
};
static SCHEMA(stage_schema, struct stage_in, "Stage", stage_fields, "A stage of a pipeline.");

static const struct field edge_fields[] = {
	{ "from", F_INT, true, offsetof(struct edge_in, from), .min = 0, .max = LIMIT_STAGES - 1 },
	{ "to", F_INT, true, offsetof(struct edge_in, to), .min = 0, .max = LIMIT_STAGES - 1 },
};
static SCHEMA(edge_schema, struct edge_in, "Dependency", edge_fields, "0-based positions of stages.");

#define PIPELINE_FIELDS(need) \
	{ "name", F_STR, need, offsetof(struct pipeline_in, name), .min = 1, .max = LIMIT_NAME }, \
	{ "description", F_STR, .offset = offsetof(struct pipeline_in, description), .max = LIMIT_TEXT }, \
	{ "stages", F_OBJS, .offset = offsetof(struct pipeline_in, stages), .min = 1, .max = LIMIT_STAGES, \
	  .sub = &stage_schema, .help = "One to six; the standard six when left out." }, \
	{ "dependencies", F_OBJS, .offset = offsetof(struct pipeline_in, dependencies), .max = 15, .sub = &edge_schema, \
	  .help = "Edges between 0-based positions; a chain by default." }, \
	{ "tags", F_SLUGS, .offset = offsetof(struct pipeline_in, tags), .max = LIMIT_TAGS }, \
	{ "metadata", F_JSON_OBJ, .offset = offsetof(struct pipeline_in, metadata), .max = LIMIT_METADATA }

static const struct field pipeline_fields[] = { PIPELINE_FIELDS(true) };
static const struct field pipeline_update_fields[] = { PIPELINE_FIELDS(false) };
SCHEMA(pipeline_schema, struct pipeline_in, "PipelineCreate", pipeline_fields, "A pipeline definition.");
const struct schema pipeline_update_schema = {
	.name = "PipelineUpdate", .size = sizeof(struct pipeline_in), .fields = pipeline_update_fields, .n = 6,
	.min_fields = 1, .help = "What changes; runs that are under way keep their definition.",
};

/* --- checking a definition ------------------------------------------------------------------------------- */

/* depends_on of one stage as a mask. */
static uint32_t read_depends(struct op *op, const char *json, int self, int n, const char *path)
{
	uint32_t mask = 0;
	struct error scrap;
	struct jv *v;

	error_init(&scrap, op->arena);
	if (json_parse(op->arena, json, strlen(json), 1, &v, &scrap) || v->type != J_ARRAY) {
		error_field(op->err, path, "bad_type", "must be an array of stage numbers");
		return 0;
	}
	for (const struct jv *m = v->child; m; m = m->next) {
		int64_t dep;

		if (!jv_int(m, &dep) || dep < 1 || dep > n || dep == self)
			error_field(op->err, path, "bad_value", "must hold numbers of other stages, 1 to %d", n);
		else
			mask |= 1u << dep;
	}
	return mask;
}

static bool has_cycle(const struct pipeline *p)
{
	uint32_t done = 0;

	for (int round = 0; round < p->n_stages; round++) {
		for (int s = 1; s <= p->n_stages; s++) {
			if ((p->stages[s].deps & ~done) == 0)
				done |= 1u << s;
		}
	}
	return __builtin_popcount(done) != p->n_stages;
}

/* Both ways of writing dependencies, the default chain, and that they agree. */
static void read_graph(struct op *op, const struct pipeline_in *in, struct pipeline *p)
{
	const struct stage_in *stages = in->stages.v;
	const struct edge_in *edges = in->dependencies.v;
	uint32_t by_edge[LIMIT_STAGES + 1] = { 0 };

	for (int i = 0; i < in->dependencies.n; i++) {
		if (edges[i].from >= p->n_stages || edges[i].to >= p->n_stages || edges[i].from == edges[i].to)
			error_field(op->err, arena_printf(op->arena, "$.dependencies[%d]", i), "bad_value",
				    "must join two different stages, 0 to %d", p->n_stages - 1);
		else
			by_edge[edges[i].to + 1] |= 1u << (edges[i].from + 1);
	}
	for (int s = 1; s <= p->n_stages; s++) {
		const char *path = arena_printf(op->arena, "$.stages[%d].depends_on", s - 1);

		if (!stages[s - 1].depends_on)
			continue;
		p->stages[s].deps = read_depends(op, stages[s - 1].depends_on, s, p->n_stages, path);
		if (in->dependencies.v && p->stages[s].deps != by_edge[s])
			error_field(op->err, path, "conflict", "differs from dependencies; give one of the two forms");
	}
	for (int s = 1; s <= p->n_stages; s++) {
		if (in->dependencies.v)
			p->stages[s].deps = by_edge[s];
		else if (!stages[s - 1].depends_on && s > 1)
			p->stages[s].deps = 1u << (s - 1);
	}
	if (!op->err->n_fields && has_cycle(p))
		error_field(op->err, in->dependencies.v ? "$.dependencies" : "$.stages", "cycle",
			    "the stages depend on each other in a circle");
}

static const char *slug_of(struct arena *a, const char *name)
{
	char *slug = arena_strdup(a, name);

	for (char *p = slug; *p; p++) {
		if (*p >= 'A' && *p <= 'Z')
			*p = (char)(*p + 32);
		else if (!((*p >= 'a' && *p <= 'z') || (*p >= '0' && *p <= '9') || strchr("._:/-", *p)))
			*p = '-';
	}
	if (strlen(slug) > LIMIT_SLUG)
		slug[LIMIT_SLUG] = '\0';
	return slug_valid(slug, LIMIT_SLUG) ? slug : "stage";
}

static void read_stages(struct op *op, const struct pipeline_in *in, struct pipeline *p)
{
	const struct stage_in *from = in->stages.v;

	p->n_stages = in->stages.n;
	memset(p->stages, 0, sizeof(p->stages));
	for (int s = 1; s <= p->n_stages; s++) {
		const struct stage_in *f = &from[s - 1];
		struct jv *schema;

		p->stages[s] = (struct stage){
			.name = f->name, .type = f->type ? f->type : slug_of(op->arena, f->name), .required = f->required,
			.fan_out = f->fan_out, .timeout = f->timeout ? f->timeout : default_timeout[s],
			.max_retries = f->max_retries, .capabilities = f->capabilities, .validation = f->validation,
		};
		for (int t = 1; t < s; t++) {
			if (strcmp(p->stages[t].name, f->name) == 0)
				error_field(op->err, arena_printf(op->arena, "$.stages[%d].name", s - 1), "duplicate",
					    "another stage has this name");
		}
		const char *path = arena_printf(op->arena, "$.stages[%d].validation", s - 1);

		/* What the schema breaks is reported field by field. */
		if (f->validation && (json_parse(op->arena, f->validation, strlen(f->validation), JSON_BUILD_ALL, &schema,
						 op->err) ||
				      jsonschema_check(schema, path, op->err)))
			continue;
	}
	read_graph(op, in, p);
}

static void standard_stages(struct pipeline *p, int which)
{
	static const char *const names[2][LIMIT_STAGES] = {
		{ "ingestion", "standardization", "validation", "processing", "quality_assessment", "export" },
		{ "data-ingestion", "transformation", "analysis", "validation", "processing", "output" },
	};

	p->n_stages = LIMIT_STAGES;
	for (int s = 1; s <= LIMIT_STAGES; s++)
		p->stages[s] = (struct stage){ .name = names[which][s - 1], .type = names[which][s - 1], .required = true,
					       .timeout = default_timeout[s], .max_retries = -1,
					       .deps = s > 1 ? 1u << (s - 1) : 0 };
}

/* --- JSON -------------------------------------------------------------------------------------------------- */

void stages_json(const struct pipeline *p, struct jw *w)
{
	jw_arr(w);
	for (int s = 1; s <= p->n_stages; s++) {
		const struct stage *st = &p->stages[s];

		jw_obj(w);
		jw_kstr(w, "name", st->name);
		jw_kstr(w, "type", st->type);
		jw_kbool(w, "required", st->required);
		jw_kint(w, "timeout", st->timeout);
		if (st->max_retries >= 0)
			jw_kint(w, "max_retries", st->max_retries);
		jw_key(w, "capabilities");
		jw_arr(w);
		for (int i = 0; i < st->capabilities.n; i++)
			jw_str(w, st->capabilities.v[i]);
		jw_end_arr(w);
		jw_kbool(w, "fan_out", st->fan_out);
		jw_kraw(w, "validation", st->validation);
		jw_key(w, "depends_on");
		jw_arr(w);
		for (int d = 1; d <= p->n_stages; d++) {
			if (st->deps >> d & 1)
				jw_int(w, d);
		}
		jw_end_arr(w);
		jw_end_obj(w);
	}
	jw_end_arr(w);
}

enum err stages_read(struct op *op, const struct jv *list, struct stage stages[LIMIT_STAGES + 1], int *n)
{
	*n = 0;
	for (const struct jv *m = list ? list->child : NULL; m && *n < LIMIT_STAGES; m = m->next) {
		struct stage *st = &stages[++*n];
		const struct jv *caps = jv_get(m, "capabilities");
		const struct jv *deps = jv_get(m, "depends_on");
		const struct jv *validation = jv_get(m, "validation");

		*st = (struct stage){ .name = jv_str(m, "name"), .type = jv_str(m, "type"),
				      .required = jv_bool_or(m, "required", true), .fan_out = jv_bool_or(m, "fan_out", false),
				      .timeout = jv_int_or(m, "timeout", 300), .max_retries = jv_int_or(m, "max_retries", -1) };
		if (validation && validation->type == J_OBJECT)
			st->validation = jv_text(op->arena, validation);
		st->capabilities.v = arena_calloc(op->arena, caps ? caps->n + 1 : 1, sizeof(char *));
		for (const struct jv *c = caps ? caps->child : NULL; c; c = c->next)
			st->capabilities.v[st->capabilities.n++] = c->str;
		for (const struct jv *d = deps ? deps->child : NULL; d; d = d->next) {
			int64_t dep = 0;

			if (jv_int(d, &dep) && dep >= 1 && dep <= LIMIT_STAGES)
				st->deps |= 1u << dep;
		}
		if (!st->name || !st->type)
			return error_set(op->err, ERR_INTERNAL, "a stored stage has no name");
	}
	return OK;
}

static void body_json(const struct pipeline *p, struct jw *w)
{
	jw_kstr(w, "name", p->name);
	jw_kstr(w, "description", p->description);
	jw_key(w, "stages");
	stages_json(p, w);
	jw_key(w, "tags");
	jw_arr(w);
	for (int i = 0; i < p->tags.n; i++)
		jw_str(w, p->tags.v[i]);
	jw_end_arr(w);
	jw_kraw(w, "metadata", p->metadata ? p->metadata : "{}");
	jw_kstr(w, "created_by", p->created_by);
}

void pipeline_json(const struct pipeline *p, struct jw *w)
{
	jw_kstr(w, "pipeline_id", p->id);
	body_json(p, w);
	jw_key(w, "dependencies");
	jw_arr(w);
	for (int to = 1; to <= p->n_stages; to++) {
		for (int from = 1; from <= p->n_stages; from++) {
			if (!(p->stages[to].deps >> from & 1))
				continue;
			jw_obj(w);
			jw_kint(w, "from", from - 1);
			jw_kint(w, "to", to - 1);
			jw_end_obj(w);
		}
	}
	jw_end_arr(w);
	jw_ktime(w, "created_at", p->created_at);
	jw_ktime(w, "updated_at", p->updated_at);
}

static struct record *to_record(struct op *op, const struct pipeline *p)
{
	struct record *rec = arena_new(op->arena, struct record);
	struct buf b;
	struct jw w;

	buf_init(&b);
	jw_init(&w, &b);
	jw_obj(&w);
	body_json(p, &w);
	jw_kint(&w, "created_at", p->created_at);
	jw_end_obj(&w);
	*rec = (struct record){ .kind = REC_PIPELINE, .id = arena_strdup(op->arena, p->id), .s1 = p->name, .s2 = "",
				.s3 = "", .n1 = p->updated_at, .n2 = p->deleted_at,
				.body = arena_strndup(op->arena, b.p, b.n) };
	buf_release(&b);
	return rec;
}

static enum err from_record(struct op *op, const struct record *rec, struct pipeline **out)
{
	struct pipeline *p = arena_new(op->arena, struct pipeline);
	struct jv *v;

	if (strlen(rec->id) != ID_LEN || json_parse(op->arena, rec->body, strlen(rec->body), 5, &v, op->err))
		return error_set(op->err, ERR_INTERNAL, "pipeline record %s does not parse", rec->id);
	memcpy(p->id, rec->id, ID_TEXT);
	p->rev = rec->rev;
	p->name = jv_str(v, "name");
	p->description = jv_str(v, "description");
	p->metadata = jv_text(op->arena, jv_get(v, "metadata"));
	p->created_by = jv_str(v, "created_by");
	p->created_at = jv_int_or(v, "created_at", 0);
	p->updated_at = rec->n1;
	p->deleted_at = rec->n2;
	const struct jv *tags = jv_get(v, "tags");

	p->tags.v = arena_calloc(op->arena, tags ? tags->n + 1 : 1, sizeof(char *));
	for (const struct jv *t = tags ? tags->child : NULL; t; t = t->next)
		p->tags.v[p->tags.n++] = t->str;
	*out = p;
	return stages_read(op, jv_get(v, "stages"), p->stages, &p->n_stages);
}

/* --- verbs --------------------------------------------------------------------------------------------------- */

static enum err take_fields(struct op *op, const struct pipeline_in *in, struct pipeline *p)
{
	if (in->name)
		p->name = in->name;
	if (in->description)
		p->description = in->description;
	if (in->metadata)
		p->metadata = in->metadata;
	if (in->tags.v)
		p->tags = in->tags;
	if (in->stages.v)
		read_stages(op, in, p);
	else if (in->dependencies.v)
		error_field(op->err, "$.dependencies", "required_with", "stages must be given too");
	return op->err->code;
}

enum err pipeline_create(struct op *op, const struct pipeline_in *in, struct pipeline **out)
{
	struct pipeline *p = arena_new(op->arena, struct pipeline);
	struct buf b;
	struct jw w;

	id_new(p->id);
	p->created_by = op->caller->id;
	p->created_at = p->updated_at = op->now;
	standard_stages(p, 0);
	enum err err = take_fields(op, in, p);

	if (err)
		return err;
	struct store_op ops[2] = { { .kind = SOP_REC_PUT, .rec = to_record(op, p), .expect_rev = REV_ABSENT } };
	struct store_unit u = { .ops = ops, .n = 1, .arena = op->arena, .error = op->err };

	buf_init(&b);
	jw_init(&w, &b);
	jw_obj(&w);
	pipeline_json(p, &w);
	jw_end_obj(&w);
	idem_add(op, ops, &u.n, 201, b.p);
	buf_release(&b);
	err = op_apply(op, &u);
	if (err)
		return err == ERR_CONFLICT && idem_lost(op, ops, u.n) ? ERR_IDEM_BUSY : err;
	*out = p;
	return OK;
}

enum err pipeline_load(struct op *op, const char *id, struct pipeline **out)
{
	struct record *rec;
	enum err err = store_rec_get(op->app->store, REC_PIPELINE, id, op->arena, &rec, op->err);

	if (err)
		return err;
	if (!rec || rec->n2)
		return error_public(op->err, ERR_NOT_FOUND, "There is no pipeline %s.", id);
	return from_record(op, rec, out);
}

static enum err save(struct op *op, struct pipeline *p)
{
	struct store_op o = { .kind = SOP_REC_PUT, .rec = to_record(op, p), .expect_rev = p->rev };
	struct store_unit u = { .ops = &o, .n = 1, .arena = op->arena, .error = op->err };
	enum err err = op_apply(op, &u);

	if (err == ERR_CONFLICT)
		return error_public(op->err, ERR_CONFLICT, "The pipeline was changed by someone else; read it again.");
	return err;
}

enum err pipeline_update(struct op *op, const char *id, const struct pipeline_in *in, struct pipeline **out)
{
	enum err err = pipeline_load(op, id, out);

	if (err || (err = take_fields(op, in, *out)))
		return err;
	(*out)->updated_at = op->now;
	return save(op, *out);
}

enum err pipeline_delete(struct op *op, const char *id)
{
	struct rec_filter f = { .kind = REC_EXECUTION, .s1 = id, .has_n2 = true, .n2 = 1, .limit = 1 };
	struct rec_page live;
	struct pipeline *p;
	enum err err = pipeline_load(op, id, &p);

	if (err || (err = store_recs_list(op->app->store, &f, op->arena, &live, op->err)))
		return err;
	if (live.n)
		return error_public(op->err, ERR_BAD_STATE, "Execution %s is still live; cancel it first.", live.items[0]->id);
	p->deleted_at = p->updated_at = op->now;
	return save(op, p);
}

enum err pipelines_list(struct op *op, const char *name, const char *cursor, int limit, struct pipeline ***out, int *n,
			const char **next)
{
	struct rec_filter f = { .kind = REC_PIPELINE, .s1 = name, .has_n2 = true, .descending = true, .limit = limit };
	struct rec_page page;
	enum err err = records_page(op, &f, "p", cursor, &page, next);

	*n = 0;
	if (err)
		return err;
	*out = arena_calloc(op->arena, (size_t)page.n + 1, sizeof(**out));
	for (int i = 0; i < page.n && !err; i++)
		err = from_record(op, page.items[i], &(*out)[(*n)++]);
	return err;
}

enum err pipeline_latest(struct op *op, const char *id, const char **execution_id)
{
	struct rec_filter f = { .kind = REC_EXECUTION, .s1 = id, .descending = true, .limit = 1 };
	struct rec_page page;
	enum err err = store_recs_list(op->app->store, &f, op->arena, &page, op->err);

	*execution_id = !err && page.n ? page.items[0]->id : NULL;
	return err;
}

const char *const template_names[] = { "standard", "data", NULL };

enum err pipeline_template(struct op *op, int which, struct pipeline **out)
{
	static const char *const ids[] = { "00000000-0000-7000-8000-000000000001", "00000000-0000-7000-8000-000000000002" };
	struct record *rec;
	enum err err = store_rec_get(op->app->store, REC_PIPELINE, ids[which], op->arena, &rec, op->err);

	if (err)
		return err;
	if (rec)
		return from_record(op, rec, out);
	struct pipeline *p = arena_new(op->arena, struct pipeline);

	memcpy(p->id, ids[which], ID_TEXT);
	p->name = which ? "Data pipeline" : "Standard pipeline";
	p->description = "Built-in six-stage template.";
	p->created_by = "system";
	p->created_at = p->updated_at = op->now;
	standard_stages(p, which);
	struct store_op o = { .kind = SOP_REC_PUT, .rec = to_record(op, p), .expect_rev = REV_ABSENT };
	struct store_unit u = { .ops = &o, .n = 1, .arena = op->arena, .error = op->err };

	err = op_apply(op, &u);
	*out = p;
	return err == ERR_CONFLICT ? OK : err;	/* someone else has just made it: the same one */
}
