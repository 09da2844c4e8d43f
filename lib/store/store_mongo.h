// SPDX-License-Identifier: MIT
/*
 * What the MongoDB store offers beyond store.h; for tests and tools. How it works: store_mongo_int.h.
 */
#ifndef STORE_STORE_MONGO_H
#define STORE_STORE_MONGO_H

#include "store.h"

/* Drop the whole database of this store: tests only. The store must be closed afterwards. */
enum err store_mongo_drop(struct store *s) MUST_CHECK;

#endif
