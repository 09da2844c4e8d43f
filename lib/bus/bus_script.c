// SPDX-License-Identifier: MIT
/* OpenSSL has a type of the name of one of our errors; here neither is used. */
#define ERR_BAD_STATE OPENSSL_ERR_STATE
#include <openssl/evp.h>
#undef ERR_BAD_STATE

#include "bus_internal.h"
#include "../base/embed.h"

EMBED_TEXT(lua_rate, "lib/bus/lua/rate.lua");
EMBED_TEXT(lua_publish, "lib/bus/lua/publish.lua");
EMBED_TEXT(lua_take, "lib/bus/lua/take.lua");
EMBED_TEXT(lua_clear, "lib/bus/lua/clear.lua");
EMBED_TEXT(lua_warm, "lib/bus/lua/warm.lua");
EMBED_TEXT(lua_subject, "lib/bus/lua/subject.lua");
EMBED_TEXT(lua_alive, "lib/bus/lua/alive.lua");
EMBED_TEXT(lua_dead, "lib/bus/lua/dead.lua");

static const struct {
	const char *(*text)(void);
	size_t (*size)(void);
} scripts[BS_COUNT] = {
	[BS_RATE] = { lua_rate, lua_rate_size },
	[BS_PUBLISH] = { lua_publish, lua_publish_size },
	[BS_TAKE] = { lua_take, lua_take_size },
	[BS_CLEAR] = { lua_clear, lua_clear_size },
	[BS_WARM] = { lua_warm, lua_warm_size },
	[BS_SUBJECT] = { lua_subject, lua_subject_size },
	[BS_ALIVE] = { lua_alive, lua_alive_size },
	[BS_DEAD] = { lua_dead, lua_dead_size },
};

static char sha[BS_COUNT][41];
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* Computed here rather than taken from SCRIPT LOAD's answer: callers need them before Redis was ever reached. */
static void compute(void)
{
	for (int i = 0; i < BS_COUNT; i++) {
		unsigned char md[EVP_MAX_MD_SIZE];
		unsigned int n = 0;

		if (!EVP_Digest(scripts[i].text(), scripts[i].size(), md, &n, EVP_sha1(), NULL) || n != 20)
			abort();
		hex_encode(md, 20, sha[i]);
	}
}

const char *bus_script_source(enum bus_script s, size_t *n)
{
	*n = scripts[s].size();
	return scripts[s].text();
}

const char *bus_script_sha(enum bus_script s)
{
	if (pthread_once(&once, compute))
		abort();
	return sha[s];
}
