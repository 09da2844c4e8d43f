// SPDX-License-Identifier: MIT
#include "retry.h"

#include "domain.h"
#include "../base/id.h"

const char *const error_type_names[] = { "network", "timeout", "external_service", "validation", "authentication",
					 "authorization", "not_found", "conflict", "business_logic", "rate_limit",
					 "system", "circuit_breaker", "payload_too_large", "media_type", "method",
					 NULL };
#define DEFAULT_MASK 7u

static const struct field retry_fields[] = {
	{ "strategy", F_ENUM, .offset = offsetof(struct retry_in, strategy), .names = retry_strategy_names,
	  .help = "How the wait grows; exponential by default." },
	{ "initial_delay_ms", F_INT, .offset = offsetof(struct retry_in, initial_delay_ms), .min = 0, .max = 86400000,
	  .dflt = 1000, .help = "First wait." },
	{ "factor", F_NUM, .offset = offsetof(struct retry_in, factor), .min = 1, .max = 100, .dflt = 2,
	  .help = "Growth of the exponential strategy." },
	{ "max_delay_ms", F_INT, .offset = offsetof(struct retry_in, max_delay_ms), .min = 0, .max = 86400000,
	  .dflt = 60000, .help = "Cap." },
	{ "jitter", F_BOOL, .offset = offsetof(struct retry_in, jitter), .dflt = 1,
	  .help = "Full jitter: a random wait from 0 to the computed one." },
	{ "retryable", F_STRS, .offset = offsetof(struct retry_in, retryable), .max = 16, .names = error_type_names,
	  .help = "Error types that are tried again; network, timeout and external_service by default." },
};
SCHEMA(retry_schema, struct retry_in, "RetryPolicy", retry_fields, "When a failed attempt is tried again.");

struct retry retry_policy(const struct retry_in *in)
{
	struct retry r = { .initial_delay_ms = 1000, .max_delay_ms = 60000, .factor = 2, .jitter = true,
			   .retryable = DEFAULT_MASK };

	if (!in)
		return r;
	r.strategy = in->strategy;
	r.initial_delay_ms = in->initial_delay_ms;
	r.max_delay_ms = in->max_delay_ms;
	r.factor = in->factor;
	r.jitter = in->jitter;
	if (in->retryable.v) {
		r.retryable = 0;
		for (int i = 0; i < in->retryable.n; i++) {
			int t = name_index(error_type_names, in->retryable.v[i]);

			if (t >= 0)
				r.retryable |= 1u << t;
		}
	}
	return r;
}

bool retry_allows(const struct retry *r, const char *error_type)
{
	int t = error_type ? name_index(error_type_names, error_type) : -1;

	return t >= 0 && (r->retryable >> t & 1);
}

int64_t retry_delay_ms(const struct retry *r, int64_t attempt)
{
	double delay = (double)r->initial_delay_ms;

	if (r->strategy == 1) {
		delay *= (double)attempt;
	} else if (r->strategy == 0) {
		for (int64_t i = 1; i < attempt && delay < (double)r->max_delay_ms; i++)
			delay *= r->factor;
	}
	if (delay > (double)r->max_delay_ms)
		delay = (double)r->max_delay_ms;
	if (r->jitter) {
		uint32_t dice;

		random_bytes(&dice, sizeof(dice));
		delay *= (double)dice / 4294967296.0;
	}
	return (int64_t)delay;
}

void retry_json(const struct retry *r, struct jw *w)
{
	jw_obj(w);
	jw_kstr(w, "strategy", retry_strategy_names[r->strategy]);
	jw_kint(w, "initial_delay_ms", r->initial_delay_ms);
	jw_kdouble(w, "factor", r->factor);
	jw_kint(w, "max_delay_ms", r->max_delay_ms);
	jw_kbool(w, "jitter", r->jitter);
	jw_key(w, "retryable");
	jw_arr(w);
	for (int i = 0; error_type_names[i]; i++) {
		if (r->retryable >> i & 1)
			jw_str(w, error_type_names[i]);
	}
	jw_end_arr(w);
	jw_end_obj(w);
}
