/* SPDX-License-Identifier: BSD-2-Clause */
/* Numbers, names and flags on a line. See trace_line.h. */
#include <stdint.h>
#include <string.h>

#include "trace_line.h"

void line_part(struct line *l, const char *s, size_t n, size_t end)
{
	if (n > end - l->at)
		n = end - l->at;
	memcpy(l->text + l->at, s, n);
	l->at += n;
}

void line_put(struct line *l, const char *s)
{
	line_part(l, s, strlen(s), l->at < LINE_ARGS ? LINE_ARGS : LINE_SIZE);
}

static void put_number(struct line *l, unsigned long long v, unsigned base)
{
	char text[24], *p = text + sizeof text - 1;

	*p = 0;
	do {
		*--p = "0123456789abcdef"[v % base];
		v /= base;
	} while (v);
	line_put(l, p);
}

void line_unsigned(struct line *l, unsigned long long v)
{
	put_number(l, v, 10);
}

void line_int(struct line *l, long long v)
{
	if (v < 0)
		line_put(l, "-");
	put_number(l, v < 0 ? -(unsigned long long)v : (unsigned long long)v, 10);
}

void line_hex(struct line *l, unsigned long long v)
{
	line_put(l, "0x");
	put_number(l, v, 16);
}

void line_octal(struct line *l, unsigned v)
{
	put_number(l, v, 8);
}

void line_pointer(struct line *l, const void *p)
{
	if (p)
		line_hex(l, (uintptr_t)p);
	else
		line_put(l, "NULL");
}

void line_mode(struct line *l, unsigned mode)
{
	line_put(l, mode < 010 ? "00" : "0");
	put_number(l, mode, 8);
}

void line_field(struct line *l, const char *name, unsigned long long v)
{
	line_put(l, name);
	line_unsigned(l, v);
}

void line_flags(struct line *l, const struct flag *f, int flags, unsigned base)
{
	unsigned left = (unsigned)flags;
	bool any = false;

	for (; f->name; f++)
		if (left & (unsigned)f->value) {
			line_put(l, any ? "|" : "");
			line_put(l, f->name);
			left &= ~(unsigned)f->value;
			any = true;
		}
	if (any && !left)
		return;
	line_put(l, any ? "|" : "");
	if (base == 8)
		line_mode(l, left);
	else if (left)
		line_hex(l, left);
	else
		line_put(l, "0");
}
