/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * TAP for tests in C: ok(), is(), call_fails(), skip(), done_testing(). One test program is one process tree;
 * only the process that called the first assertion may print. Forked children report by exit status (proc.h).
 * What a failure has to say goes to stderr, where prove does not swallow it.
 */
#ifndef T_TAP_H
#define T_TAP_H

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int tap_count, tap_failed;

__attribute__((format(printf, 1, 2), unused)) static void diag(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	printf("# ");
	vprintf(fmt, ap);
	printf("\n");
	va_end(ap);
	fflush(stdout);
}

__attribute__((unused)) static int tap_ok(int pass, const char *file, int line, const char *fmt, ...)
{
	va_list ap;

	if (!pass)
		tap_failed++;
	printf("%sok %d - ", pass ? "" : "not ", ++tap_count);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
	fflush(stdout);
	if (!pass) {
		fprintf(stderr, "# failed: ");
		va_start(ap, fmt);
		vfprintf(stderr, fmt, ap);
		va_end(ap);
		fprintf(stderr, "\n#   at %s:%d\n", file, line);
	}
	return pass;
}

/* ok(condition, "name %d", ...) */
#define ok(cond, ...) tap_ok(!!(cond), __FILE__, __LINE__, __VA_ARGS__)

/* is(got, want, "name"): integers; prints both when they differ */
#define is(got, want, ...)                                                                          \
	do {                                                                                        \
		long long tap_g = (long long)(got), tap_w = (long long)(want);                      \
		if (!tap_ok(tap_g == tap_w, __FILE__, __LINE__, __VA_ARGS__))                       \
			fprintf(stderr, "#   got %lld, want %lld\n", tap_g, tap_w);                 \
	} while (0)

/* call_fails(semop(...), EAGAIN, "name"): the call returns -1 with that errno */
#define call_fails(call, want, ...)                                                                 \
	do {                                                                                        \
		errno = 0;                                                                          \
		long long tap_r = (long long)(call);                                                \
		int tap_e = errno;                                                                  \
		if (!tap_ok(tap_r == -1 && tap_e == (want), __FILE__, __LINE__, __VA_ARGS__))       \
			fprintf(stderr, "#   got %lld (%s), want -1 (%s)\n", tap_r, strerror(tap_e), strerror(want)); \
	} while (0)

/* succeeds(call, "name"): the call does not return -1 */
#define succeeds(call, ...)                                                                         \
	do {                                                                                        \
		errno = 0;                                                                          \
		long long tap_r = (long long)(call);                                                \
		int tap_e = errno;                                                                  \
		if (!tap_ok(tap_r != -1, __FILE__, __LINE__, __VA_ARGS__))                          \
			fprintf(stderr, "#   got -1 (%s)\n", strerror(tap_e));                      \
	} while (0)

__attribute__((unused)) static void skip(const char *name, const char *why)
{
	printf("ok %d - %s # SKIP %s\n", ++tap_count, name, why);
	fflush(stdout);
}

__attribute__((noreturn, unused)) static void skip_all(const char *why)
{
	printf("1..0 # SKIP %s\n", why);
	exit(0);
}

__attribute__((noreturn, unused)) static void bail_out(const char *why)
{
	printf("Bail out! %s (%s)\n", why, strerror(errno));
	exit(255);
}

__attribute__((unused)) static int done_testing(void)
{
	printf("1..%d\n", tap_count);
	fflush(stdout);
	return tap_failed ? 1 : 0;
}

/* The seed of a random test: T_SEED, or a fresh one; always printed. */
__attribute__((unused)) static unsigned long tap_seed(void)
{
	const char *s = getenv("T_SEED");
	unsigned long seed = 0;

	if (s)
		seed = strtoul(s, NULL, 0);
	else {
		FILE *f = fopen("/dev/urandom", "r");
		if (!f || fread(&seed, 1, 4, f) != 4)
			bail_out("no /dev/urandom");
		fclose(f);
	}
	diag("T_SEED=%lu", seed);
	return seed;
}

#endif
