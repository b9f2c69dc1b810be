/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A line of text that is built where malloc and stdio may not be used, and written at once. What is too long for it is
 * cut; LINE_ARGS of it are for a call's arguments, the rest is kept for the result.
 */
#ifndef IPC_TRACE_LINE_H
#define IPC_TRACE_LINE_H

#include <stdbool.h>
#include <stddef.h>

#define LINE_SIZE 1100
#define LINE_ARGS (LINE_SIZE - 200)

struct line {
	size_t at;
	char text[LINE_SIZE];
};

void line_part(struct line *l, const char *s, size_t n, size_t end); /* end: as far as it may go */
void line_put(struct line *l, const char *s);
void line_unsigned(struct line *l, unsigned long long v);
void line_int(struct line *l, long long v);
void line_hex(struct line *l, unsigned long long v);
void line_octal(struct line *l, unsigned v);
void line_pointer(struct line *l, const void *p);
void line_mode(struct line *l, unsigned mode);
void line_field(struct line *l, const char *name, unsigned long long v); /* name, as "{uid=", and number */

struct flag { int value; const char *name; };
/* Those that are set, and what is left as a number in the base; its zero only if there is nothing else. */
void line_flags(struct line *l, const struct flag *f, int flags, unsigned base);

/* trace_file.c: what IPCD_LOG names, opened when the library is loaded; false when nothing is to be traced */
bool line_open(void);
void line_write(const char *text, size_t length);

#endif
