// SPDX-License-Identifier: MIT
/*
 * Pipelines: definitions of one to six stages with dependencies. What runs is an execution (execution.h),
 * which keeps a copy of the definition, so that a change never touches a run.
 */
#ifndef DOMAIN_PIPELINE_H
#define DOMAIN_PIPELINE_H

#include "../base/limits.h"
#include "domain.h"

struct stage_in {
	uint64_t present;
	const char *name, *type, *validation;
	bool required, fan_out;
	int64_t timeout, max_retries;
	struct strs capabilities;
	const char *depends_on;		/* JSON array of stage numbers */
};
struct edge_in {
	uint64_t present;
	int64_t from, to;
};
struct pipeline_in {
	uint64_t present;
	const char *name, *description, *metadata;
	struct objs stages, dependencies;
	struct strs tags;
};
extern const struct schema pipeline_schema, pipeline_update_schema;

struct stage {
	const char *name, *type;
	bool required, fan_out;
	int64_t timeout, max_retries;
	struct strs capabilities;
	const char *validation;		/* JSON Schema or NULL */
	uint32_t deps;			/* bit n: depends on stage n (1–6) */
};

struct pipeline {
	char id[ID_TEXT];
	int64_t rev;
	const char *name, *description, *metadata, *created_by;
	struct strs tags;
	struct stage stages[LIMIT_STAGES + 1];	/* 1-based */
	int n_stages;
	int64_t created_at, updated_at, deleted_at;
};

/* The two built-in templates: "standard" (default) and "data". */
extern const char *const template_names[];
/* The template's pipeline, made on first use; its id is fixed. */
enum err pipeline_template(struct op *op, int which, struct pipeline **out) MUST_CHECK;

enum err pipeline_create(struct op *op, const struct pipeline_in *in, struct pipeline **out) MUST_CHECK;
enum err pipeline_load(struct op *op, const char *id, struct pipeline **out) MUST_CHECK;
enum err pipeline_update(struct op *op, const char *id, const struct pipeline_in *in, struct pipeline **out) MUST_CHECK;
/* ERR_BAD_STATE while runs are live. */
enum err pipeline_delete(struct op *op, const char *id) MUST_CHECK;
enum err pipelines_list(struct op *op, const char *name, const char *cursor, int limit, struct pipeline ***out, int *n,
			const char **next) MUST_CHECK;

/* Without the latest run; executions add that (execution_summary_json). */
void pipeline_json(const struct pipeline *p, struct jw *w);
/* The definition alone: what a run keeps. And back. */
void stages_json(const struct pipeline *p, struct jw *w);
enum err stages_read(struct op *op, const struct jv *list, struct stage stages[LIMIT_STAGES + 1], int *n) MUST_CHECK;
/* Latest execution id of a pipeline, NULL when it never ran. */
enum err pipeline_latest(struct op *op, const char *id, const char **execution_id) MUST_CHECK;

#endif
