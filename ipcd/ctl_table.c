/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Tables. Each column is as wide as its widest cell. Where they do not fit side by side, first what may be cut is cut,
 * then columns that may be dropped go; if that is not enough, text is cut from the right, down to a few letters.
 */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "ctl.h"

#define COLUMNS 16
#define GAP 2
#define NARROWEST 4

struct table {
	const struct column *column;
	int columns;
	char **cell;
	int cells, room;
};

static void *must(void *p)
{
	if (!p)
		ctl_die(EXIT_FAILED, "no memory");
	return p;
}

struct table *table_new(const struct column *columns, int n)
{
	struct table *t = must(calloc(1, sizeof *t));

	t->column = columns;
	t->columns = n;
	return t;
}

void table_add(struct table *t, const char *fmt, ...)
{
	va_list ap;
	char *text;

	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		text = NULL;
	va_end(ap);
	if (t->cells == t->room) {
		t->room = t->room ? 2 * t->room : 64;
		t->cell = must(realloc(t->cell, (size_t)t->room * sizeof *t->cell));
	}
	t->cell[t->cells++] = must(text);
}

void table_end_row(struct table *t)
{
	while (t->cells % t->columns)
		table_add(t, "%s", "");
}

int table_rows(const struct table *t)
{
	return t->cells / t->columns;
}

static int max_of(int a, int b)
{
	return a > b ? a : b;
}

static int total(const struct table *t, const int *wide)
{
	int sum = -GAP;

	for (int c = 0; c < t->columns; c++)
		sum += wide[c] ? wide[c] + GAP : 0;
	return sum;
}

/* Cut text columns, the last first, down to what a column allows, or to the narrowest. */
static void cut(const struct table *t, int width, int *wide, bool all)
{
	for (int c = t->columns; c-- > 0 && total(t, wide) > width;) {
		int least = all ? NARROWEST : -t->column[c].drop;

		if (wide[c] > least && t->column[c].left && least > 0)
			wide[c] = max_of(least, wide[c] - (total(t, wide) - width));
	}
}

/* Widths, 0 for a column that is dropped. */
static bool fit(const struct table *t, int width, int *wide)
{
	bool dropped = false;

	for (int c = 0; c < t->columns; c++)
		wide[c] = (int)strlen(t->column[c].title);
	for (int i = 0; i < t->cells; i++)
		wide[i % t->columns] = max_of(wide[i % t->columns], (int)strlen(t->cell[i]));
	if (!width)
		return false;
	cut(t, width, wide, false);
	while (total(t, wide) > width) {
		int worst = -1;

		for (int c = 0; c < t->columns; c++)
			if (wide[c] && t->column[c].drop > (worst < 0 ? 0 : t->column[worst].drop))
				worst = c;
		if (worst < 0)
			break;
		wide[worst] = 0;
		dropped = true;
	}
	cut(t, width, wide, true);
	return dropped;
}

bool table_drops(const struct table *t, int width)
{
	int wide[COLUMNS];

	return fit(t, width, wide);
}

static void print_row(FILE *out, const struct table *t, const int *wide, char *const *cell)
{
	const char *gap = "";
	int last = t->columns - 1;

	while (last > 0 && !wide[last])
		last--;
	for (int c = 0; c <= last; c++) {
		const char *text = cell ? cell[c] : t->column[c].title;

		if (!wide[c])
			continue;
		if (!t->column[c].left)
			fprintf(out, "%s%*.*s", gap, wide[c], wide[c], text);
		else if (c == last)
			fprintf(out, "%s%.*s", gap, wide[c], text);
		else
			fprintf(out, "%s%-*.*s", gap, wide[c], wide[c], text);
		gap = "  ";
	}
	putc('\n', out);
}

void table_print(FILE *out, const struct table *t, int width, int max)
{
	int wide[COLUMNS];

	fit(t, width, wide);
	print_row(out, t, wide, NULL);
	for (int row = 0; row < table_rows(t) && (!max || row < max); row++)
		print_row(out, t, wide, t->cell + (size_t)row * (size_t)t->columns);
}

void table_free(struct table *t)
{
	for (int i = 0; i < t->cells; i++)
		free(t->cell[i]);
	free(t->cell);
	free(t);
}
