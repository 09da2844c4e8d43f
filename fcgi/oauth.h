// SPDX-License-Identifier: MIT
/*
 * POST /auth/token as a form: the token endpoint of OAuth 2 (RFC 6749), for clients that know nothing of this panel.
 * Grants are client_credentials (section 4.4; a client is an agent, its secret the auth token) and refresh_token
 * (section 6). A client says who it is by HTTP Basic or by client_id and client_secret in the form, never both.
 *
 * What that document asks for goes before the house's envelope: the tokens stand at the top level (and in `data`), an
 * error's `error` is a word (and the usual error object stands in `details`), and unknown parameters are ignored.
 */
#ifndef FCGI_OAUTH_H
#define FCGI_OAUTH_H

#include "handler.h"

/* The form's fields, for the documents. */
extern const struct schema oauth_form_schema;

handler oauth_token;
/* Write the members `error` and `error_description` (section 5.2) of a form request that ended with err. */
void oauth_error(const struct req *r, enum err err, const char *message, struct jw *w);

#endif
