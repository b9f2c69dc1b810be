/* SPDX-License-Identifier: BSD-2-Clause */
/* JSON on stdout. Bytes that are not UTF-8 (names of directories and processes may have them) become U+FFFD. */
#include <string.h>

#include "ctl.h"

static bool comma; /* something stands before, on this level */

size_t utf8_length(const char *text)
{
	const unsigned char *s = (const unsigned char *)text;
	size_t n = *s < 0x80 ? 1 : *s < 0xc2 || *s > 0xf4 ? 0 : *s < 0xe0 ? 2 : *s < 0xf0 ? 3 : 4;

	for (size_t i = 1; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if (n == 3 && ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] >= 0xa0)))
		return 0;
	if (n == 4 && ((s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] >= 0x90)))
		return 0;
	return n;
}

static void string(const char *s)
{
	putchar('"');
	while (*s) {
		size_t n = utf8_length(s);

		if (*s == '"' || *s == '\\')
			printf("\\%c", *s);
		else if ((unsigned char)*s < 0x20)
			printf("\\u%04x", *s);
		else if (n)
			fwrite(s, 1, n, stdout);
		else
			fputs("\\ufffd", stdout);
		s += n ? n : 1;
	}
	putchar('"');
}

static void before(const char *key)
{
	if (comma)
		putchar(',');
	comma = true;
	if (key) {
		string(key);
		putchar(':');
	}
}

void json_open(const char *key, char bracket)
{
	before(key);
	putchar(bracket);
	comma = false;
}

void json_close(char bracket)
{
	putchar(bracket);
	comma = true;
}

void json_int(const char *key, long long value)
{
	before(key);
	printf("%lld", value);
}

void json_uint(const char *key, unsigned long long value)
{
	before(key);
	printf("%llu", value);
}

void json_seconds(const char *key, uint64_t ms)
{
	before(key);
	printf("%llu.%03u", (unsigned long long)(ms / 1000), (unsigned)(ms % 1000));
}

void json_bool(const char *key, bool value)
{
	before(key);
	fputs(value ? "true" : "false", stdout);
}

void json_null(const char *key)
{
	before(key);
	fputs("null", stdout);
}

void json_text(const char *key, const char *value)
{
	before(key);
	string(value);
}

void json_line(void)
{
	putchar('\n');
	comma = false;
}
