// SPDX-License-Identifier: MIT
#include "audited.h"

#include <pthread.h>

#include "../lib/base/log.h"
#include "../lib/base/window.h"
#include "../lib/domain/audit.h"
#include "handlers.h"
#include "routes.h"

#define ROUTES_MAX	256
#define REFUSALS	60	/* of one caller in a minute are told one by one; more would let anybody fill the log */

struct audited {
	handler *handle;
	const char *kind, *action, *resource_type;
	bool made;		/* the resource is what the request makes */
};

static const struct audited table[] = {
	{ h_auth_token, "authentication", "login", "account", false },
	{ h_auth_login, "authentication", "login", "account", false },
	{ h_auth_refresh, "authentication", "refresh", "account", false },
	{ h_auth_logout, "authentication", "logout", "account", false },
	{ h_user_create, "config", "user.create", "user", true },
	{ h_user_update, "config", "user.update", "user", false },
	{ h_user_delete, "deletion", "user.delete", "user", false },
	{ h_key_create, "key", "api_key.create", "api_key", true },
	{ h_key_delete, "key", "api_key.delete", "api_key", false },
	{ h_agent_register, "config", "agent.register", "agent", true },
	{ h_agent_update, "config", "agent.update", "agent", false },
	{ h_agent_delete, "deletion", "agent.delete", "agent", false },
	{ h_agent_capabilities, "config", "agent.capabilities", "agent", false },
	{ h_agent_drain, "steering", "agent.drain", "agent", false },
	{ h_agent_undrain, "steering", "agent.undrain", "agent", false },
	{ h_task_update, "steering", "task.update", "task", false },
	{ h_task_cancel, "steering", "task.cancel", "task", false },
	{ h_task_retry, "steering", "task.retry", "task", false },
	{ h_task_delegate, "steering", "task.delegate", "task", false },
	{ h_task_assign, "steering", "task.assign", "task", false },
	{ h_dead_letters_retry, "steering", "dead_letters.retry", "task", false },
	{ h_pipeline_create, "config", "pipeline.create", "pipeline", true },
	{ h_pipeline_update, "config", "pipeline.update", "pipeline", false },
	{ h_pipeline_delete, "deletion", "pipeline.delete", "pipeline", false },
	{ h_stage_execute, "steering", "stage.execute", "pipeline", false },
	{ h_execution_pause, "steering", "execution.pause", "execution", false },
	{ h_execution_resume, "steering", "execution.resume", "execution", false },
	{ h_execution_cancel, "steering", "execution.cancel", "execution", false },
	{ h_execution_retry, "steering", "execution.retry", "execution", false },
};

static const struct audited *by_route[ROUTES_MAX];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void find_routes(void)
{
	for (size_t i = 0; i < n_routes && i < ROUTES_MAX; i++) {
		for (size_t k = 0; k < sizeof(table) / sizeof(*table); k++) {
			if (table[k].handle == routes[i].handle)
				by_route[i] = &table[k];
		}
	}
}

void audited_begin(struct req *r)
{
	pthread_once(&once, find_routes);
	const struct audited *t = by_route[r->route - routes];

	if (!t || r->replay)
		return;
	struct audit *a = arena_new(r->op.arena, struct audit);

	*a = (struct audit){ .kind = t->kind, .action = t->action, .resource_type = t->resource_type, .made = t->made,
			     .resource_id = r->arg[0], .permission = r->route->perm ? perm_name(r->route->perm) : NULL };
	r->op.audit = a;
}

/* Not more of one caller than anybody could read. */
static bool too_many(struct req *r)
{
	const char *who = r->caller.kind == CALLER_NONE ? r->caller.address : r->caller.id;
	int64_t left;
	int reset;

	return !window_take(arena_printf(r->op.arena, "audit:%s", who), REFUSALS, 1, &left, &reset);
}

static void write(struct req *r, struct audit *a)
{
	struct error e = *r->op.err;	/* what the caller is told stays as it is */
	enum err err = audit_write(&r->op, a);

	if (err)
		log_error(LOG_ERROR, r->op.err, "the audit record of %s by %s (%s) could not be written", a->action,
			  r->caller.id, a->outcome ? a->outcome : "success");
	*r->op.err = e;
}

/* A refusal on whatever route. False: this end is none. */
static bool refusal(struct req *r, enum err err, struct audit *a)
{
	const struct audited *t = by_route[r->route - routes];
	const struct audit *own = r->op.audit;

	*a = (struct audit){ .outcome = "denied", .reason = err_text(err), .resource_type = t ? t->resource_type : NULL,
			     .resource_id = own ? own->resource_id : r->arg[0], .actor = own ? own->actor : NULL };
	a->action = t ? t->action : arena_printf(r->op.arena, "%s %s", r->route->method, r->route->path);
	/* What stands in a path is anybody's text until it is found to be an id. */
	if (!own && !id_valid(a->resource_id))
		a->resource_id = NULL;
	switch (err_status(err)) {
	case 401:
		a->kind = "authentication";
		a->outcome = "failure";
		/* Someone who shows nothing has tried nothing. */
		if (!own && !r->credential)
			return false;
		if (!own)
			a->action = "authenticate";
		if (own && own->reason)
			a->reason = own->reason;
		return true;
	case 403:
		a->kind = "authorization";
		a->permission = r->route->perm ? perm_name(r->route->perm) : NULL;
		return true;
	case 429:
		a->kind = "rate_limit";
		return true;
	default:
		return false;
	}
}

void audited_end(struct req *r, enum err err)
{
	pthread_once(&once, find_routes);
	struct audit *own = r->op.audit;
	struct audit other;
	int status = err ? err_status(err) : 0;

	if (!err) {
		if (own && !own->written)
			write(r, own);
		return;
	}
	if (!r->route || (own && own->written && own->outcome))
		return;
	if (refusal(r, err, &other)) {
		if (!too_many(r))
			write(r, &other);
		return;
	}
	/* Nothing was tried yet when the request was malformed, or what it is about is not there. */
	if (!own || status == 400 || status == 404 || status == 405 || status == 413 || status == 415)
		return;
	own->outcome = "failure";
	own->reason = own->reason ? own->reason : err_text(err);
	if (!too_many(r))
		write(r, own);
}
