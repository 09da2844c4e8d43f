// SPDX-License-Identifier: MIT
/*
 * Which requests the audit log tells of. Those of the table in audited.c are recorded however they end, with the change
 * they make (domain.h, op_apply); beside them every refusal of a credential, a right or a rate limit on any route. The
 * dispatcher calls both functions once a request; for routes that are not in the table the first costs one comparison.
 */
#ifndef FCGI_AUDITED_H
#define FCGI_AUDITED_H

#include "handler.h"

/* Before the handler: hang a record on the operation when the route is one of the table. */
void audited_begin(struct req *r);
/* After it, before the answer: write what is not written yet. Failing is logged; the answer is given all the same. */
void audited_end(struct req *r, enum err err);

#endif
