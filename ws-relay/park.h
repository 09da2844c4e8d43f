// SPDX-License-Identifier: MIT
/*
 * Parked claims: POST /api/v1/agents/{id}/claim?wait=N waits here, as a few hundred bytes instead of a thread. It claims
 * once through mcp-api, without waiting; when that brings nothing it stands among the seekers until a claim brings
 * something, the time is over, or the caller has gone. What else there is to say about the request (a bad body, no
 * permission, too many) mcp-api says, and its answer is passed on as it is.
 */
#ifndef RELAY_PARK_H
#define RELAY_PARK_H

#include "fcgiclient.h"
#include "http.h"

void park_request(struct conn *c);
void park_gone(struct conn *c);
void park_tick(void);
/* Everybody is answered with what there is: nothing. */
void park_stop(void);
int park_count(void);

/* Give the tasks back that a claim brought for somebody who has gone meanwhile. */
void park_give_back(const struct api_answer *a, const char *authorization, const char *address);

#endif
