// SPDX-License-Identifier: MIT
/* The writer's memory of lanes, for claims; see store_sqlite_book.c. */
#ifndef STORE_STORE_SQLITE_BOOK_H
#define STORE_STORE_SQLITE_BOOK_H

#include "store_sqlite.h"

#define SQ_AHEAD 32	/* tasks of a lane that are known ahead */

struct sq_head {
	int64_t key;
	struct sq_id id;
};

struct sq_lane {
	struct sq_lane *next;
	int64_t lane;
	int slot;		/* place among the active lanes, -1: none; then ahead is NULL */
	bool fresh;		/* its row in lanes was written by the transaction that is running */
	bool known;		/* ahead[] is right: the first n of the lane … */
	bool all;		/* … which are all there are */
	bool fits;		/* what `fits` said … */
	uint64_t asked;		/* … in that call */
	struct sq_head *ahead;
	int n;
	char sig[];
};

/* A claim begins: bring the book up to date with other processes' commits. SQLITE_DONE, or an error. */
int sq_book_ready(struct sq_group *g);
/* The claimable task with the smallest order_key among the lanes that fit; it stays until it is moved. */
int sq_book_next(struct sq_group *g, const struct claim *c, struct sq_head *out, bool *found);
/* A lane by number, read from the store when it is not remembered. */
int sq_book_find(struct sq_group *g, int64_t lane, struct sq_lane **out);

#endif
