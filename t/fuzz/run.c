/* SPDX-License-Identifier: BSD-2-Clause */
/* The inputs of t/fuzz/corpus, or those that are named, once each, without libFuzzer. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tap.h"

#define CORPUS "t/fuzz/corpus"
#define LONGEST 65536
#define PATIENCE 60 /* seconds for an input */

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void feed(const char *name)
{
	static uint8_t data[LONGEST];
	FILE *f = fopen(name, "r");
	size_t size = f ? fread(data, 1, sizeof data, f) : 0;

	if (f)
		fclose(f);
	alarm(PATIENCE);
	fflush(stdout);
	ok(f && !LLVMFuzzerTestOneInput(data, size), "%s: the daemon is there after it", name);
	alarm(0);
}

static int visible(const struct dirent *d)
{
	return d->d_name[0] != '.';
}

int main(int argc, char **argv)
{
	char name[400];
	struct dirent **list;
	int n;

	LLVMFuzzerInitialize(&argc, &argv);
	for (int i = 1; i < argc; i++)
		feed(argv[i]);
	if (argc > 1)
		return done_testing();
	n = scandir(CORPUS, &list, visible, alphasort);
	if (n < 1)
		bail_out("no " CORPUS "; run it where the Makefile is");
	for (int i = 0; i < n; i++) {
		snprintf(name, sizeof name, CORPUS "/%s", list[i]->d_name);
		feed(name);
	}
	return done_testing();
}
