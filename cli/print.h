// SPDX-License-Identifier: MIT
/*
 * Showing answers to people: tables, key/value blocks, colours, ages.
 *
 * Text from the panel is never trusted on a terminal: control characters in
 * it (escape sequences) are replaced before they are printed.
 */
#ifndef CLI_PRINT_H
#define CLI_PRINT_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdio.h>
#include "cli.h"

enum format {
	AS_TEXT,	   /* as it is; may be cut on a narrow terminal */
	AS_ID,	   /* as it is, never cut */
	AS_STATUS,  /* coloured by what it says */
	AS_AGO,	   /* a time as "5 min ago" */
	AS_TIME,	   /* a time as "2026-01-02 03:04:05" */
	AS_NUMBER,  /* right-aligned */
	AS_PERCENT, /* 0–1 as "42%" */
	AS_SECONDS, /* seconds as "1.5 s", "3 min 20 s" */
	AS_LIST,	   /* elements separated by ", " */
	AS_COUNT,   /* how many elements */
	AS_YESNO,
};

struct column {
	const char *title; /* NULL ends a table of columns */
	const char *path;  /* dotted path into the row */
	enum format format;
};

/* Prints s without control characters; at most `width` columns when width > 0 ("…" marks a cut). */
void print_clean(FILE *to, const char *s, int width);
/* Columns the terminal on stdout has; 0 when stdout is no terminal. */
int term_width(void);
/* Starts and ends a colour on stdout when colours are on. */
const char *color_for_status(const struct cli *cli, const char *status);
const char *color_dim(const struct cli *cli);
const char *color_off(const struct cli *cli);

/* A value as the text a person reads; the caller frees. */
char *format_value(struct json_object *v, enum format f);
/* "850 ms", "12.3 s", "4 min 5 s", "2 h 3 min". */
void format_seconds(char *out, size_t size, double s);

/* Rows (an array of objects) under column titles. */
void print_table(const struct cli *cli, struct json_object *rows, const struct column *columns);
/* Any value as an indented outline: "name  value", one line each. */
void print_outline(const struct cli *cli, struct json_object *v, int indent);
/* Pretty-printed JSON and a line end. */
void print_json(struct json_object *v);
/* The id field of an object: agent_id, task_id, … whichever it has; NULL when none. */
const char *object_id(struct json_object *o);

#endif
