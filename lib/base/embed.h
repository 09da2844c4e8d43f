// SPDX-License-Identifier: MIT
/*
 * Files that become part of the program at build time: schemas, migrations, scripts, pages.
 *
 *	EMBED_TEXT(init_sql, "sql/001_init.sql");
 *
 * defines init_sql(), the text (NUL-terminated), and init_sql_size(), its length without the NUL.
 * The path is relative to the folder in which the compiler runs, which is the root of the
 * repository. Use at file scope, once per name in a file. The compiler's dependency files do not
 * list embedded files, so the Makefile must.
 */
#ifndef BASE_EMBED_H
#define BASE_EMBED_H

#include <stddef.h>

#define EMBED_TEXT(name, path)							\
	__asm__(".pushsection .rodata\n"					\
		".balign 16\n"							\
		".local embed_" #name "_begin, embed_" #name "_end\n"		\
		"embed_" #name "_begin:\n"					\
		".incbin \"" path "\"\n"					\
		"embed_" #name "_end:\n"					\
		".byte 0\n"							\
		".popsection\n");						\
	extern const char embed_##name##_begin[] __attribute__((visibility("hidden"))); \
	extern const char embed_##name##_end[] __attribute__((visibility("hidden")));	\
	static inline __attribute__((unused)) const char *name(void)		\
	{									\
		return embed_##name##_begin;					\
	}									\
	static inline __attribute__((unused)) size_t name##_size(void)		\
	{									\
		return (size_t)(embed_##name##_end - embed_##name##_begin);	\
	}									\
	_Static_assert(1, "a semicolon follows")

#endif
