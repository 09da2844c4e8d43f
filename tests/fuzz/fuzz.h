// SPDX-License-Identifier: MIT
/*
 * A small deterministic fuzzer: takes seeds, mutates them by bytes, by tokens of a dictionary and by pieces
 * of other seeds, and gives each to LLVMFuzzerTestOneInput(), as libFuzzer would. It learns nothing from
 * coverage; it is the part of fuzzing that a test run has time for. For the rest:
 *
 *	clang -DFUZZ_LIBFUZZER -fsanitize=fuzzer,address … tests/fuzz/fuzz_json.c build-san/libmcp.a …
 *
 * Usage of the programs: fuzz_x [ITERATIONS [SEED]]. The same arguments give the same inputs. An input that
 * breaks a property, or a sanitizer's rule, is printed as a C string.
 *
 * A program defines seeds[], tokens[] and LLVMFuzzerTestOneInput() and then includes nothing more.
 */
#ifndef TESTS_FUZZ_H
#define TESTS_FUZZ_H

#include <signal.h>
#include <stdint.h>
#include <unistd.h>

#include "lib/base/arena.h"

#define INPUT_MAX 4096
#define N_OF(list) (sizeof(list) / sizeof(*(list)))

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Ends the program when a property does not hold. */
#define HOLDS(x) ((x) ? (void)0 : broken(#x, __FILE__, __LINE__))

static _Noreturn void broken(const char *what, const char *file, int line)
{
	fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, what);
	abort();
}

#ifndef FUZZ_LIBFUZZER

/*
 * Sanitizers have it; called when one ends the program. gcc's libubsan takes no notice when it stands beside
 * libasan, so it is asked for a signal.
 */
void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));
const char *__ubsan_default_options(void);
const char *__ubsan_default_options(void)
{
	return "abort_on_error=1";
}

static struct {
	char text[INPUT_MAX];
	size_t n;
	unsigned long number;
} input;

static void show_input(void)
{
	static char text[4 * INPUT_MAX + 100];
	size_t n = (size_t)snprintf(text, sizeof(text), "input %lu: \"", input.number);

	for (size_t i = 0; i < input.n; i++) {
		unsigned char c = (unsigned char)input.text[i];

		if (c >= 0x20 && c < 0x7f && c != '"' && c != '\\')
			text[n++] = (char)c;
		else
			n += (size_t)snprintf(text + n, 5, "\\%03o", c);
	}
	text[n++] = '"';
	text[n++] = '\n';
	ssize_t ignored = write(STDERR_FILENO, text, n);

	(void)ignored;
}

static void aborted(int sig)
{
	show_input();
	signal(sig, SIG_DFL);
	raise(sig);
}

static uint64_t fuzz_state;

static size_t below(size_t n)
{
	fuzz_state ^= fuzz_state << 13;
	fuzz_state ^= fuzz_state >> 7;
	fuzz_state ^= fuzz_state << 17;
	return n ? (size_t)((fuzz_state >> 11) % n) : 0;
}

/* Replace len bytes at `at` by n bytes of s, as far as there is room. */
static void splice(size_t at, size_t len, const char *s, size_t n)
{
	if (input.n - len + n > INPUT_MAX)
		return;
	memmove(input.text + at + n, input.text + at + len, input.n - at - len);
	memcpy(input.text + at, s, n);
	input.n = input.n - len + n;
}

static void mutate(const char *const *seeds, size_t n_seeds, const char *const *tokens, size_t n_tokens)
{
	size_t at = below(input.n + 1);
	size_t len = below(input.n - at + 1);
	const char *token = tokens[below(n_tokens)];
	const char *seed = seeds[below(n_seeds)];
	size_t seed_at = below(strlen(seed) + 1);
	char byte = (char)below(256);
	char piece[64];

	switch (below(8)) {
	case 0:		/* one byte becomes another */
		splice(at, at < input.n, &byte, 1);
		break;
	case 1:		/* one bit flips */
		if (at < input.n)
			input.text[at] ^= (char)(1 << below(8));
		break;
	case 2:
	case 3:		/* a token comes in, or replaces something */
		splice(at, below(2) ? 0 : below(len < 8 ? len + 1 : 8), token, strlen(token));
		break;
	case 4:		/* a piece goes */
		splice(at, len < 16 ? len : below(16), "", 0);
		break;
	case 5:		/* a piece is repeated */
		len = len < sizeof(piece) ? len : sizeof(piece);
		memcpy(piece, input.text + at, len);
		splice(at, 0, piece, len);
		break;
	case 6:		/* a piece of another seed */
		splice(at, len < 8 ? len : below(8), seed + seed_at, below(strlen(seed) - seed_at + 1));
		break;
	default:	/* cut off */
		if (below(4) == 0)
			input.n = at;
	}
}

#define FUZZ_MAIN(default_iterations)										\
	int main(int argc, char **argv)										\
	{													\
		return fuzz(argc, argv, (default_iterations), seeds, N_OF(seeds), tokens, N_OF(tokens));	\
	}

static int fuzz(int argc, char **argv, unsigned long iterations, const char *const *seeds, size_t n_seeds,
		const char *const *tokens, size_t n_tokens)
{
	uint64_t seed = 1;

	if (argc > 1)
		iterations = strtoul(argv[1], NULL, 10);
	if (argc > 2)
		seed = strtoull(argv[2], NULL, 10);
	signal(SIGABRT, aborted);
	if (__sanitizer_set_death_callback)
		__sanitizer_set_death_callback(show_input);
	/* Each seed as it stands first. */
	for (unsigned long i = 0; i < iterations + n_seeds; i++) {
		const char *start = seeds[i % n_seeds];

		/* Every input depends on its own number only. */
		fuzz_state = (i + 1) * UINT64_C(0x9e3779b97f4a7c15) ^ seed * UINT64_C(0xbf58476d1ce4e5b9);
		input.number = i;
		input.n = strlen(start) < INPUT_MAX ? strlen(start) : INPUT_MAX;
		memcpy(input.text, start, input.n);
		for (size_t k = i < n_seeds ? 0 : 1 + below(6); k; k--)
			mutate(seeds, n_seeds, tokens, n_tokens);
		/* A copy that ends where the input ends, so that a sanitizer sees a read past it. */
		uint8_t *copy = xmalloc(input.n);

		memcpy(copy, input.text, input.n);
		LLVMFuzzerTestOneInput(copy, input.n);
		free(copy);
	}
	printf("%s: %lu inputs, seed %llu, nothing found\n", argv[0], iterations + (unsigned long)n_seeds,
	       (unsigned long long)seed);
	return 0;
}

#else
#define FUZZ_MAIN(default_iterations)
#endif

#endif
