// SPDX-License-Identifier: MIT
#include "seek.h"

#include "../lib/base/clock.h"
#include "../lib/base/hash.h"
#include "../lib/base/json.h"
#include "../lib/base/schema.h"
#include "client.h"
#include "redis.h"
#include "relay.h"

#define TABLE 4096		/* a power of two */
#define LANES_MAX 4096
#define FACTS_US 30000000	/* how long what is known of an agent is believed */
/*
 * A seeker looks by itself, in case a word was lost: every second when there are few, and all together not more often
 * than every LOOK_SHARE_US. While nothing is heard of Redis, every second.
 */
#define LOOK_LEAST_US 1000000
#define LOOK_MOST_US 10000000
#define LOOK_SHARE_US 20000
#define AGAIN_US 300000		/* after the API could not be reached */
#define PASSES 3		/* looks in vain that one word is good for, beyond the first */

/* What is known of an agent; shared by its seekers, kept a while after the last. */
struct facts {
	struct facts *next;
	char agent_id[ID_TEXT];
	bool known, asking, draining;
	bool stale;			/* it changed while it was asked for */
	bool missed;			/* a word came while nothing was known yet */
	bool full;			/* by the last claim; until a task of it ends */
	uint64_t tried;			/* serial of the last word it looked for in vain */
	uint64_t mark;			/* of what it fits */
	int64_t until_us;
	struct fit fit;
	double fitness;
	struct arena arena;
	struct seeker *seekers;
	int n_seekers;
};

struct lane {
	int64_t lane;
	char *sig;
};

static struct {
	struct seeker *head, *tail;	/* who waits longest first */
	int n;
	struct facts *table[TABLE];
	struct lane lanes[LANES_MAX];
	int n_lanes;
	uint64_t serial;
	bool stopping;
} seek;

static const struct word no_word;

static void pass(struct word w);
static bool wake(struct seeker *k, struct word w);
static void look_all(struct facts *f);

/* --- agents --------------------------------------------------------------------------------------------------------- */

static struct facts **place(const char *agent_id)
{
	uint32_t h = 2166136261u;

	for (const char *p = agent_id; *p; p++)
		h = (h ^ (unsigned char)*p) * 16777619u;
	struct facts **f = &seek.table[h & (TABLE - 1)];

	while (*f && strcmp((*f)->agent_id, agent_id) != 0)
		f = &(*f)->next;
	return f;
}

static uint64_t mark_of(const struct jv *caps, int class)
{
	return hash_add(HASH_START ^ (uint64_t)class, caps ? caps->raw : "", caps ? caps->raw_len : 0);
}

/* True: it fits other tasks than before. */
static bool learn(struct facts *f, const struct jv *agent)
{
	const struct jv *caps = jv_get(agent, "capabilities");
	const char *clearance = jv_str(agent, "clearance_level");
	int class = clearance ? name_index(class_names, clearance) : -1;
	int n = 0;

	arena_reset(&f->arena);
	f->fit = (struct fit){ .clearance = class < 0 ? CLASS_INTERNAL : (enum data_class)class };
	f->fit.capabilities.v = arena_calloc(&f->arena, (caps ? caps->n : 0) + 1u, sizeof(char *));
	for (const struct jv *c = caps ? caps->child : NULL; c; c = c->next) {
		if (c->type == J_STRING)
			f->fit.capabilities.v[n++] = arena_strdup(&f->arena, c->str);
	}
	f->fit.capabilities.n = n;
	f->draining = jv_bool_or(agent, "draining", false);
	f->fitness = 1 - jv_double_or(agent, "current_load", 0);
	uint64_t mark = mark_of(caps, class);
	bool other = f->known && mark != f->mark;

	f->mark = mark;
	f->known = true;
	f->until_us = mono_us() + FACTS_US;
	return other;
}

static void end_all(struct facts *f)
{
	struct seeker *next;

	for (struct seeker *k = f->seekers; k; k = next) {
		next = k->next_same;
		k->over(k);
	}
}

static void ask(struct facts *f);

static void on_agent(void *arg, const struct api_answer *a)
{
	struct facts *f = arg;
	struct arena arena;
	struct jv *agent;
	bool look = f->missed;

	f->asking = f->missed = false;
	arena_init(&arena);
	if (answer_data(a, &arena, &agent, 3))
		look |= learn(f, agent);
	arena_release(&arena);
	if (f->stale)
		ask(f);
	if (f->known && f->draining)
		end_all(f);
	else if (look)
		look_all(f);
}

/* As one of its seekers; when there is none, the next that comes asks. */
static void ask(struct facts *f)
{
	const struct seeker *k = f->seekers;
	char path[80];

	f->stale = f->asking && k;
	if (f->asking || !k)
		return;
	struct api_request r = { .method = "GET", .path = path, .authorization = k->authorization, .address = k->address };

	snprintf(path, sizeof(path), "/api/v1/agents/%s", f->agent_id);
	f->asking = true;
	api_ask(&r, on_agent, f);
}

static struct facts *facts_of(const char *agent_id)
{
	struct facts **f = place(agent_id);

	if (!*f) {
		*f = xcalloc(1, sizeof(**f));
		memcpy((*f)->agent_id, agent_id, ID_TEXT);
		(*f)->fitness = 1;
		arena_init(&(*f)->arena);
	}
	return *f;
}

void seek_forget(const char *agent_id)
{
	struct facts *f = agent_id && strlen(agent_id) == ID_LEN ? *place(agent_id) : NULL;

	if (f) {
		f->until_us = 0;
		ask(f);
	}
}

bool seek_drains(const char *agent_id)
{
	struct facts *f = *place(agent_id);

	return f && f->known && f->draining && f->until_us > mono_us();
}

/* --- the list ---------------------------------------------------------------------------------------------------------- */

static int64_t next_look(void)
{
	uint16_t r;

	random_bytes(&r, sizeof(r));
	int64_t every = redis_up() ? (int64_t)seek.n * LOOK_SHARE_US : LOOK_LEAST_US;

	every = every < LOOK_LEAST_US ? LOOK_LEAST_US : every > LOOK_MOST_US ? LOOK_MOST_US : every;

	return mono_us() + every / 2 + every * r / 65536;
}

void seek_add(struct seeker *k)
{
	struct facts *f = facts_of(k->agent_id);

	k->next = NULL;
	k->prev = seek.tail;
	if (seek.tail)
		seek.tail->next = k;
	else
		seek.head = k;
	seek.tail = k;
	seek.n++;
	k->listed = true;
	k->next_same = f->seekers;
	f->seekers = k;
	f->n_seekers++;
	k->look_us = next_look();
	if (f->until_us < mono_us() && !f->asking)
		ask(f);
}

void seek_remove(struct seeker *k)
{
	struct facts *f = *place(k->agent_id);

	if (k->prev)
		k->prev->next = k->next;
	else
		seek.head = k->next;
	if (k->next)
		k->next->prev = k->prev;
	else
		seek.tail = k->prev;
	seek.n--;
	k->listed = false;
	for (struct seeker **p = f ? &f->seekers : NULL; p && *p; p = &(*p)->next_same) {
		if (*p == k) {
			*p = k->next_same;
			f->n_seekers--;
			break;
		}
	}
	/* What the claim under way is for is decided when that ends. */
	struct word w = k->later;

	k->later = no_word;
	k->again = false;
	pass(w);
}

/* --- claims ---------------------------------------------------------------------------------------------------------- */

void seek_begins(struct seeker *k)
{
	if (!k->now.serial)
		k->now = k->later;
	k->later = no_word;
	k->again = false;
	k->claiming = true;
}

/* False: it cannot claim, the word is still to be had. */
static bool wake(struct seeker *k, struct word w)
{
	k->look_us = next_look();
	if (k->claiming) {
		k->again = true;
		if (w.serial)
			k->later = w;
		return true;
	}
	if (k->full) {
		/* It got the word because nobody else could; it looks when it has room. */
		k->again = true;
		return true;
	}
	k->now = w;
	k->claim(k);
	if (!k->claiming)
		k->now = no_word;
	return k->claiming;
}

/* Finding nothing costs the word one of its passes, and so does asking somebody again who was known to be full. */
static struct word in_vain(struct facts *f, struct word w, bool free)
{
	if (f)
		f->tried = w.serial;
	if (!free && --w.passes < 0)
		w = no_word;
	return w;
}

void seek_ended(struct seeker *k, enum outcome how)
{
	struct facts *f = *place(k->agent_id);
	struct word w = k->now;
	struct word more = k->later;
	bool again = k->again;

	k->now = k->later = no_word;
	k->claiming = k->again = false;
	if (how == SEEK_GOT)
		w = no_word;
	else if (how == SEEK_UNREACHED && k->listed)
		k->look_us = mono_us() + AGAIN_US;
	else if (w.serial && (how == SEEK_EMPTY || how == SEEK_FULL))
		w = in_vain(f, w, how == SEEK_FULL && f && !f->full);
	else if (w.serial && k->listed)
		w = in_vain(f, w, false);
	if (f && how <= SEEK_FULL)
		f->full = how == SEEK_FULL;
	if (!(how == SEEK_UNREACHED && k->listed))
		pass(w);
	if (!again)
		return;
	if (!(k->listed && !k->full && how <= SEEK_FULL && wake(k, more)))
		pass(more);
}

enum outcome seek_outcome(const struct api_answer *a)
{
	enum outcome how = SEEK_UNREACHED;
	struct arena arena;
	struct jv *data;

	if (a->status >= 400 && a->status < 500)
		return SEEK_REFUSED;
	arena_init_wiped(&arena);
	if (answer_data(a, &arena, &data, 2)) {
		const struct jv *tasks = jv_get(data, "tasks");

		how = tasks && tasks->n ? SEEK_GOT : jv_bool_or(data, "full", false) ? SEEK_FULL : SEEK_EMPTY;
	}
	arena_release(&arena);
	return how;
}

/* --- words ---------------------------------------------------------------------------------------------------------------- */

static const char *signature(int64_t lane)
{
	for (int i = 0; i < seek.n_lanes; i++) {
		if (seek.lanes[i].lane == lane)
			return seek.lanes[i].sig;
	}
	return NULL;
}

static void forget_lanes(void)
{
	for (int i = 0; i < seek.n_lanes; i++)
		free(seek.lanes[i].sig);
	seek.n_lanes = 0;
}

static bool fits(const struct seeker *k, struct facts *f, int64_t lane, const char *sig)
{
	struct fit fit;

	if (!sig || !f)
		return true;
	if (!f->known) {
		f->missed |= f->asking;
		return !f->asking;	/* it could not be learnt: trying costs a claim */
	}
	fit = f->fit;
	fit.types = k->types;
	return lane_fits(&fit, lane, sig);
}

/*
 * The fittest who is free; of equals who waits longest. One whose claim is under way may miss what came just now: it looks
 * once more. Last come those without room, who look when they have some.
 */
static struct seeker *choose(const struct word *w, const char *sig)
{
	struct seeker *best = NULL;
	double best_fitness = 0;

	for (struct seeker *k = seek.head; k && (!best || best_fitness < 1); k = k->next) {
		struct facts *f = *place(k->agent_id);

		if (((k->claiming || k->full) && k->again) || (f && f->tried == w->serial) || !fits(k, f, w->lane, sig))
			continue;
		double fitness = (f ? f->fitness : 1) - (k->full ? 8 : 0) - (f && f->full ? 4 : 0) - (k->claiming ? 2 : 0);

		if (!best || fitness > best_fitness) {
			best = k;
			best_fitness = fitness;
		}
	}
	return best;
}

static bool hand_word(struct word w, const char *sig)
{
	struct seeker *best;

	while ((best = choose(&w, sig))) {
		bool looks = !best->full;

		if (wake(best, w)) {
			relay.count.woken += looks;
			return true;
		}
		if (best->listed)
			break;
	}
	return false;
}

static void wake_lane(int64_t lane, long count, const char *sig)
{
	struct word w = { .lane = lane, .passes = PASSES };

	for (; count > 0; count--) {
		w.serial = ++seek.serial;
		if (!hand_word(w, sig))
			return;
	}
}

/* A lane that is heard of has its signature by now; without one everybody fits. */
static void pass(struct word w)
{
	if (w.serial && !seek.stopping && !relay.draining)
		hand_word(w, signature(w.lane));
}

struct lane_word {
	int64_t lane;
	long count;
};

static void on_lane(void *arg, const redisReply *reply)
{
	struct lane_word *w = arg;

	if (!seek.stopping) {
		if (reply && reply->type == REDIS_REPLY_STRING && !signature(w->lane)) {
			if (seek.n_lanes == LANES_MAX)
				forget_lanes();
			seek.lanes[seek.n_lanes++] = (struct lane){ w->lane, xstrdup(reply->str) };
		}
		wake_lane(w->lane, w->count, signature(w->lane));
	}
	free(w);
}

static void tasks_came(int64_t lane, long count)
{
	const char *sig = signature(lane);
	char name[24];
	const char *argv[] = { "HGET", "{mcp}:tasks:lanes", name };

	if (!seek.head)
		return;
	if (sig) {
		wake_lane(lane, count, sig);
		return;
	}
	struct lane_word *w = xmalloc(sizeof(*w));

	*w = (struct lane_word){ lane, count };
	snprintf(name, sizeof(name), "%lld", (long long)lane);
	redis_ask(on_lane, w, 3, argv);
}

void seek_wake(const char *word)
{
	long long lane;
	long count;

	if (sscanf(word, "t %lld %ld", &lane, &count) == 2) {
		tasks_came(lane, count);
	} else if (strncmp(word, "d ", 2) == 0 && strlen(word) == 2 + ID_LEN) {
		struct facts *f = *place(word + 2);

		if (f) {
			f->until_us = 0;
			end_all(f);
		}
	}
}

void seek_wake_all(void)
{
	int64_t now = mono_us();
	int i = 0;

	/* A hundred in 100 ms: a crowd must not fall over the API. */
	for (struct seeker *k = seek.head; k; k = k->next)
		k->look_us = now + (int64_t)i++ * 1000;
}

static void look_all(struct facts *f)
{
	struct seeker *next;

	for (struct seeker *k = f->seekers; k; k = next) {
		next = k->next_same;
		wake(k, no_word);
	}
}

void seek_nudge(const char *agent_id)
{
	struct facts *f = agent_id && strlen(agent_id) == ID_LEN ? *place(agent_id) : NULL;
	struct seeker *next;

	if (f)
		f->full = false;
	for (struct seeker *k = f ? f->seekers : NULL; k; k = next) {
		next = k->next_same;
		if (!k->deaf)
			wake(k, no_word);
	}
}

static void sweep_facts(int64_t now)
{
	static int at;

	for (int i = 0; i < TABLE / 16; i++, at = (at + 1) & (TABLE - 1)) {
		for (struct facts **f = &seek.table[at]; *f;) {
			struct facts *old = *f;

			if (old->n_seekers || old->asking || old->until_us > now) {
				f = &old->next;
				continue;
			}
			*f = old->next;
			arena_release(&old->arena);
			free(old);
		}
	}
}

void seek_tick(void)
{
	static int64_t swept;
	int64_t now = mono_us();
	struct seeker *next;

	for (struct seeker *k = seek.head; k; k = next) {
		next = k->next;
		if (now < k->look_us || k->claiming)
			continue;
		struct facts *f = *place(k->agent_id);

		if (f && !f->until_us)
			ask(f);		/* it could not be learnt when it was asked for */
		wake(k, no_word);
	}
	if (now - swept > 1000000) {
		swept = now;
		sweep_facts(now);
	}
}

void seek_stop(void)
{
	seek.stopping = true;
	forget_lanes();
	for (int i = 0; i < TABLE; i++) {
		while (seek.table[i]) {
			struct facts *f = seek.table[i];

			seek.table[i] = f->next;
			arena_release(&f->arena);
			free(f);
		}
	}
}
