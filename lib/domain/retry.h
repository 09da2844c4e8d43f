// SPDX-License-Identifier: MIT
/* Retry rules: which errors are tried again, and when (contract.md section 4). */
#ifndef DOMAIN_RETRY_H
#define DOMAIN_RETRY_H

#include "../base/schema.h"
#include "../store/records.h"

/* Error types an attempt may end with, as clients name them; bit i of retry.retryable is names[i]. */
extern const char *const error_type_names[];
#define RETRYABLE_DEFAULT_TYPES "network, timeout, external_service"

struct retry_in {
	uint64_t present;
	int strategy;
	int64_t initial_delay_ms, max_delay_ms;
	double factor;
	bool jitter;
	struct strs retryable;
};
extern const struct schema retry_schema;

/* Policy from what a client gave (NULL: defaults). */
struct retry retry_policy(const struct retry_in *in);
/* Is an error of that type tried again? Unknown types are not. */
bool retry_allows(const struct retry *r, const char *error_type);
/*
 * Wait before the try after `attempt` failed ones (≥ 1), ms: strategy and cap, then full jitter (a uniform
 * choice from 0 to that) unless it is switched off.
 */
int64_t retry_delay_ms(const struct retry *r, int64_t attempt);
void retry_json(const struct retry *r, struct jw *w);

#endif
