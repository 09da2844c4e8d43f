// SPDX-License-Identifier: MIT
#include "pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "limits.h"

#define HEAP_KIB 8192		/* for backtracking points */
#define COMPILED_MAX 16384	/* bytes; a{999} costs little, (ab|cd){999} much */
#define STEP_COST 2		/* a callout's own */
#define READ_PER_STEP 8		/* characters a step may read */

struct pattern_set {
	struct arena *arena;
	pcre2_general_context *memory;
	pcre2_compile_context *compile;
	pcre2_match_context *match;
	pcre2_match_data *data;
};

struct pattern {
	struct pattern_set *set;
	pcre2_code *code;
	size_t unseen;	/* characters one item can read and then fail, so that no step shows it */
};

/* What one match has spent. */
struct meter {
	uint64_t left;
	size_t unseen;
	size_t at;	/* where the last step stood */
};

static void *from_arena(size_t n, void *arena)
{
	return arena_alloc(arena, n);
}

static void to_arena(void *p, void *arena)
{
	(void)p;
	(void)arena;
}

/* Called before each item of a pattern. Non-zero ends the match. */
static int count_step(pcre2_callout_block *block, void *data)
{
	struct meter *m = data;
	size_t at = block->current_position;
	size_t moved = at > m->at ? at - m->at : m->at - at;
	size_t ahead = block->subject_length - at;
	uint64_t cost = STEP_COST + (moved + (ahead < m->unseen ? ahead : m->unseen)) / READ_PER_STEP;

	m->at = at;
	if (cost >= m->left) {
		m->left = 0;
		return PCRE2_ERROR_CALLOUT;
	}
	m->left -= cost;
	return 0;
}

struct pattern_set *pattern_set_new(struct arena *a)
{
	struct pattern_set *set = arena_new(a, struct pattern_set);

	/* Memory from an arena never fails, so neither do these. */
	set->arena = a;
	set->memory = pcre2_general_context_create(from_arena, to_arena, a);
	set->compile = pcre2_compile_context_create(set->memory);
	set->match = pcre2_match_context_create(set->memory);
	set->data = pcre2_match_data_create(1, set->memory);
	pcre2_set_compile_extra_options(set->compile, PCRE2_EXTRA_ALT_BSUX);
	pcre2_set_newline(set->compile, PCRE2_NEWLINE_ANYCRLF);
	pcre2_set_parens_nest_limit(set->compile, 32);
	pcre2_set_heap_limit(set->match, HEAP_KIB);
	return set;
}

/*
 * The most characters that one item can pass over before it fails. A counted item that falls short of its
 * count fails without a step behind it, and so does a back reference: the largest number in the pattern
 * bounds the first, nothing the second.
 */
static size_t unseen_by_steps(const pcre2_code *code, const char *text, size_t n)
{
	uint32_t back_references = 0;
	size_t most = n;

	if (pcre2_pattern_info(code, PCRE2_INFO_BACKREFMAX, &back_references) || back_references)
		return SIZE_MAX;
	for (size_t i = 0, number = 0; i < n; i++) {
		number = text[i] >= '0' && text[i] <= '9' && number < 100000 ? number * 10 + (size_t)(text[i] - '0') : 0;
		if (number > most)
			most = number;
	}
	return most;
}

struct pattern *pattern_new(struct pattern_set *set, const char *text, size_t n, const char **why)
{
	const uint32_t options = PCRE2_UTF | PCRE2_AUTO_CALLOUT | PCRE2_DOLLAR_ENDONLY | PCRE2_ALLOW_EMPTY_CLASS |
				 PCRE2_MATCH_UNSET_BACKREF | PCRE2_NEVER_BACKSLASH_C;
	int code = 0;
	size_t offset = 0;
	size_t size = 0;

	if (n > LIMIT_PATTERN) {
		*why = arena_printf(set->arena, "is longer than %d bytes", LIMIT_PATTERN);
		return NULL;
	}
	pcre2_code *compiled = pcre2_compile((PCRE2_SPTR)text, n, options, &code, &offset, set->compile);

	if (!compiled) {
		char reason[128] = "";

		pcre2_get_error_message(code, (PCRE2_UCHAR *)reason, sizeof(reason));
		*why = arena_printf(set->arena, "is not a regular expression: %s (at byte %zu)", reason, offset);
		return NULL;
	}
	if (pcre2_pattern_info(compiled, PCRE2_INFO_SIZE, &size) || size > COMPILED_MAX) {
		*why = "is too large once its repetitions are written out";
		return NULL;
	}
	struct pattern *p = arena_new(set->arena, struct pattern);

	p->set = set;
	p->code = compiled;
	p->unseen = unseen_by_steps(compiled, text, n);
	return p;
}

enum pattern_result pattern_match(struct pattern *p, const char *s, size_t n, uint64_t *steps)
{
	struct meter m = { .left = *steps, .unseen = p->unseen };

	pcre2_set_callout(p->set->match, count_step, &m);
	int rc = pcre2_match(p->code, (PCRE2_SPTR)s, n, 0, PCRE2_NO_UTF_CHECK, p->set->data, p->set->match);

	*steps = m.left;
	/* 0: it matched, and there were more groups than room for them. */
	if (rc >= 0)
		return PATTERN_YES;
	return rc == PCRE2_ERROR_NOMATCH ? PATTERN_NO : PATTERN_COSTLY;
}
