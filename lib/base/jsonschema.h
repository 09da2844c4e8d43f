// SPDX-License-Identifier: MIT
/*
 * Validation of JSON against a schema that a caller wrote: a subset of JSON Schema, draft 2020-12. A
 * pipeline stage's `validation` is one; each task result must meet it.
 *
 *	any value	type (a name or several), enum, const, anyOf, allOf, oneOf, not
 *	objects		properties, required, additionalProperties
 *	arrays		items, prefixItems, minItems, maxItems, uniqueItems
 *	numbers		minimum, maximum, exclusiveMinimum, exclusiveMaximum, multipleOf
 *	strings		minLength, maxLength (code points), pattern (lib/base/pattern.h)
 *	no check	title, description, default, examples, $schema
 *
 * true and false are schemas too. Every other keyword is refused, so that nobody believes in a check that
 * does not happen. Numbers are compared exactly, by their decimal digits: 1.0 and 1e0 equal 1 and are
 * integers, 0.3 is a multiple of 0.1, 2^53 and 2^53 + 1 differ.
 *
 * A schema is compiled into nodes first (jsonschema_check is just that) and then run. The work of a run is
 * counted and bounded by LIMIT_VALIDATION_STEPS, whatever schema and value meet; a value that takes more
 * does not pass. Depth is bounded by the reader's LIMIT_JSON_DEPTH. Messages name limits, never values: a
 * result may hold what must not be logged.
 */
#ifndef BASE_JSONSCHEMA_H
#define BASE_JSONSCHEMA_H

#include "json.h"

/*
 * Is this a schema of the subset? Every bad place goes to e as a bad field; `path` says where the schema
 * stands ("$.stages[0].validation"). ERR_VALIDATION when there is one; ERR_INTERNAL when the tree was not
 * parsed with JSON_BUILD_ALL. Memory comes from e->arena.
 */
enum err jsonschema_check(const struct jv *schema, const char *path, struct error *e) MUST_CHECK;
/*
 * Does value meet the schema? Every violation goes to e as a bad field under `path` ("$.result"), up to
 * ERROR_FIELDS_MAX; more are counted. A schema that jsonschema_check would refuse is refused here too, with
 * paths that begin "schema". Both trees must be parsed with JSON_BUILD_ALL. Errors as above.
 */
enum err jsonschema_validate(const struct jv *schema, const struct jv *value, const char *path, struct error *e)
	MUST_CHECK;

#endif
