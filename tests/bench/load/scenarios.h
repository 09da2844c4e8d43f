// SPDX-License-Identifier: MIT
/* Between the files of scenarios. */
#ifndef BENCH_SCENARIOS_H
#define BENCH_SCENARIOS_H

#include "load.h"

int completion_body(struct buf *b, const struct jv *tasks);
int failed_items(struct load *l, int status, const struct jv *data);

bool prepare_assign(struct load *l);
void start_assign(struct op *op);
bool prepare_pipeline(struct load *l);
void start_pipeline(struct op *op);
void tick_pipeline(struct load *l, int64_t now);

#endif
