// SPDX-License-Identifier: MIT
/* What a person is told when the panel says no, or says nothing. */
#include "api.h"

#include <stdio.h>
#include <string.h>

#include "jsonx.h"
#include "print.h"

int answer_exit(const struct answer *a)
{
	if (a->status >= 200 && a->status < 300)
		return EXIT_OK;
	if (a->login != EXIT_OK)
		return a->login;
	switch (a->status) {
	case 0:
	case 502:
	case 503:
	case 504:
		return EXIT_UNREACHABLE;
	case 401:
	case 403:
		return EXIT_AUTH;
	case 404:
		return EXIT_NOT_FOUND;
	case 409:
		return EXIT_CONFLICT;
	default:
		return EXIT_FAILED;
	}
}

/* One bad field: "  $.stages[2].name: must be a string (invalid_type)". */
static void print_field(struct json_object *f, const char *name)
{
	static const char *const places[] = {"path", "field", "name", NULL};
	static const char *const texts[] = {"message", "reason", "error", NULL};
	const char *path = name, *text = NULL;

	if (json_object_is_type(f, json_type_string))
		text = json_object_get_string(f);
	for (int i = 0; !path && places[i]; i++)
		path = jx_str(f, places[i]);
	for (int i = 0; !text && texts[i]; i++)
		text = jx_str(f, texts[i]);
	if (!text)
		text = jx_text(f);
	fputs("  ", stderr);
	if (path) {
		print_clean(stderr, path, 0);
		fputs(": ", stderr);
	}
	print_clean(stderr, text, 0);
	fputc('\n', stderr);
}

static void print_details(struct json_object *details)
{
	static const char *const lists[] = {"fields", "errors", "reasons"};

	if (json_object_is_type(details, json_type_array)) {
		for (size_t i = 0; i < json_object_array_length(details); i++)
			print_field(json_object_array_get_idx(details, i), NULL);
		return;
	}
	if (!json_object_is_type(details, json_type_object))
		return;
	json_object_object_foreach(details, key, value)
	{
		bool is_list = false;

		for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
			is_list |= !strcmp(key, lists[i]) && json_object_is_type(value, json_type_array);
		if (is_list)
			print_details(value);
		else
			print_field(value, key);
	}
}

static void hint(struct cli *cli, const struct answer *a)
{
	const struct session *s = &cli->session;

	if (a->status == 401 && !s->user && !s->api_key)
		fprintf(stderr, "Log in with: mcpctl login --url %s\n", s->url);
	else if (a->status == 401)
		fprintf(stderr, "The credentials (%s) were refused; log in again with: mcpctl login --url %s\n",
			s->api_key ? "API key" : s->user, s->url);
	else if (a->status == 429 && a->retry_after > 0)
		fprintf(stderr, "Try again in %.0f s.\n", a->retry_after);
	else if (a->status == 504)
		fputs("It is not known whether it was done; look before repeating it.\n", stderr);
}

void answer_complain(struct cli *cli, const struct answer *a)
{
	struct json_object *error = jx_get(a->body, "error");
	const char *message = jx_str(error, "message"), *code = jx_str(error, "code");
	const char *id = jx_str(error, "request_id");

	if (a->login != EXIT_OK)
		return;
	if (a->status == 0) {
		warn("no answer from %s (%s): %s", cli->session.url, cli->session.found, a->error);
		if (a->code == CURLE_COULDNT_CONNECT)
			fputs("Is the panel running? Start one with ./mcp up, or name another with --url.\n", stderr);
		return;
	}
	if (cli->json && error) {
		fprintf(stderr, "%s\n", json_object_to_json_string_ext(a->body, JSON_C_TO_STRING_NOSLASHESCAPE));
		return;
	}
	fputs("mcpctl: ", stderr);
	if (message)
		print_clean(stderr, message, 0);
	else
		fprintf(stderr, "the panel answered with status %ld", a->status);
	if (code)
		fprintf(stderr, " (%s)", code);
	fputc('\n', stderr);
	print_details(jx_get(error, "details"));
	hint(cli, a);
	if (id && (a->status >= 500 || cli->verbose)) {
		fputs("Request id, for the panel's log: ", stderr);
		print_clean(stderr, id, 64);
		fputc('\n', stderr);
	}
}
