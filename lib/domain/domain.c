// SPDX-License-Identifier: MIT
#include "domain.h"

#include <pthread.h>

#include "../base/clock.h"
#include "../base/limits.h"
#include "../base/secret.h"

const char *const task_status_names[] = { "pending", "assigned", "running", "retrying", "completed", "failed",
					  "cancelled", NULL };
const char *const priority_names[] = { "critical", "high", "medium", "low", NULL };
const char *const class_names[] = { "public", "internal", "confidential", "restricted", "phi", NULL };
const char *const agent_status_names[] = { "active", "busy", "inactive", "error", NULL };
const char *const execution_status_names[] = { "created", "running", "paused", "completed", "failed", "cancelled",
					       NULL };
const char *const retry_strategy_names[] = { "exponential", "linear", "fixed", NULL };

const struct caller system_caller = {
	.kind = CALLER_SYSTEM, .id = "system", .name = "system", .role = ROLE_SYSTEM, .perms = PERMS_ALL,
	.clearance = CLASS_PHI,
};

void op_init(struct op *op, struct app *app, struct arena *arena, struct error *err, const struct caller *caller,
	     const char *request_id)
{
	*op = (struct op){ .app = app, .arena = arena, .err = err, .caller = caller, .request_id = request_id,
			   .now = now_ms() };
	error_init(err, arena);
}

static int str_cmp(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

const char *lane_signature(struct arena *a, const char *type, struct strs *caps, enum data_class c, int64_t *lane)
{
	uint8_t digest[MAC_LEN];
	struct buf b;
	struct jw w;

	if (caps->n > 1)
		qsort(caps->v, (size_t)caps->n, sizeof(*caps->v), str_cmp);
	buf_init(&b);
	jw_init(&w, &b);
	jw_obj(&w);
	jw_kstr(&w, "type", type);
	jw_key(&w, "capabilities");
	jw_arr(&w);
	for (int i = 0; i < caps->n; i++)
		jw_str(&w, caps->v[i]);
	jw_end_arr(&w);
	jw_kstr(&w, "classification", class_names[c]);
	jw_end_obj(&w);
	sha256(b.p, b.n, digest);
	uint64_t h = 0;

	for (int i = 0; i < 8; i++)
		h = h << 8 | digest[i];
	*lane = (int64_t)(h >> 1);
	const char *sig = arena_strndup(a, b.p, b.n);

	buf_release(&b);
	return sig;
}

/* Parsed lane signatures, kept for the life of the process: there are few, and every claim asks. */
struct lane_info {
	int64_t lane;
	const char *type;
	struct strs caps;
	enum data_class classification;
};

#define LANES_KEPT 4096
static struct lane_info *lanes[LANES_KEPT];
static pthread_mutex_t lanes_lock = PTHREAD_MUTEX_INITIALIZER;

static struct lane_info *lane_parse(struct arena *a, int64_t lane, const char *sig)
{
	struct lane_info *info = arena_new(a, struct lane_info);
	struct jv *v;
	struct error e;

	error_init(&e, a);
	if (json_parse(a, sig, strlen(sig), JSON_BUILD_ALL, &v, &e))
		return NULL;
	const struct jv *caps = jv_get(v, "capabilities");
	const char *class = jv_str(v, "classification");

	info->lane = lane;
	info->type = jv_str(v, "type");
	int c = class ? name_index(class_names, class) : -1;

	info->classification = c < 0 ? CLASS_PHI : (enum data_class)c;
	info->caps.v = arena_calloc(a, caps ? caps->n + 1 : 1, sizeof(char *));
	for (const struct jv *m = caps ? caps->child : NULL; m; m = m->next)
		info->caps.v[info->caps.n++] = m->str;
	return info->type ? info : NULL;
}

static const struct lane_info *lane_find(int64_t lane, const char *sig, struct arena *scratch)
{
	struct lane_info **slot = &lanes[(uint64_t)lane % LANES_KEPT];
	static struct arena kept;

	pthread_mutex_lock(&lanes_lock);
	const struct lane_info *info = *slot;

	if (!info && sig)
		info = *slot = lane_parse(&kept, lane, arena_strdup(&kept, sig));
	pthread_mutex_unlock(&lanes_lock);
	/* A slot taken by another lane stays its own: the rare second one is parsed each time. */
	if (info && info->lane == lane)
		return info;
	return sig ? lane_parse(scratch, lane, sig) : NULL;
}

bool lane_fits(void *arg, int64_t lane, const char *lane_sig)
{
	const struct fit *fit = arg;
	struct arena scratch;
	bool fits = false;

	arena_init(&scratch);
	const struct lane_info *info = lane_find(lane, lane_sig, &scratch);

	if (!info || info->classification > fit->clearance)
		goto out;
	if (fit->types.n) {
		bool named = false;

		for (int i = 0; i < fit->types.n; i++)
			named |= strcmp(fit->types.v[i], info->type) == 0;
		if (!named)
			goto out;
	}
	for (int i = 0; i < info->caps.n; i++) {
		bool has = false;

		for (int j = 0; j < fit->capabilities.n && !has; j++)
			has = strcmp(info->caps.v[i], fit->capabilities.v[j]) == 0;
		if (!has)
			goto out;
	}
	fits = true;
out:
	arena_release(&scratch);
	return fits;
}

int64_t order_key(enum priority p, int64_t ready_at)
{
	static const int64_t handicap_ms[PRIO_COUNT] = {
		[PRIO_CRITICAL] = 0, [PRIO_HIGH] = 30000, [PRIO_MEDIUM] = 120000, [PRIO_LOW] = 600000,
	};

	return ready_at + handicap_ms[p];
}

void refuse_uri_secrets(struct op *op, const char *json, const char *path)
{
	if (!json)
		return;
	for (const char *p = strstr(json, "://"); p; p = strstr(p + 3, "://")) {
		size_t authority = strcspn(p + 3, "/?#\" \\\n\t");
		const char *at = memchr(p + 3, '@', authority);

		if (at && memchr(p + 3, ':', (size_t)(at - p - 3))) {
			error_field(op->err, path, "secret_in_uri",
				    "holds a URI with a password in it; pass a reference to the secret instead");
			return;
		}
	}
}

const char *cursor_encode(struct arena *a, const char *kind, const char *position)
{
	return arena_printf(a, "%s.%s", kind, position);
}

enum err cursor_decode(struct op *op, const char *kind, const char *text, const char **position)
{
	size_t n = strlen(kind);

	*position = NULL;
	if (strncmp(text, kind, n) != 0 || text[n] != '.')
		return error_set(op->err, ERR_BAD_CURSOR, "no cursor of this list");
	*position = text + n + 1;
	return OK;
}

enum err cursor_decode_id(struct op *op, const char *kind, const char *text, const char **id)
{
	*id = NULL;
	enum err err = text ? cursor_decode(op, kind, text, id) : OK;

	return err || !text || id_valid(*id) ? err : error_set(op->err, ERR_BAD_CURSOR, "no id in the cursor");
}

enum err records_page(struct op *op, struct rec_filter *f, const char *kind, const char *cursor, struct rec_page *page,
		      const char **next)
{
	enum err err = cursor_decode_id(op, kind, cursor, &f->after);

	*next = NULL;
	if (!err)
		err = store_recs_list(op->app->store, f, op->arena, page, op->err);
	if (!err && page->more)
		*next = cursor_encode(op->arena, kind, page->last);
	return err;
}
