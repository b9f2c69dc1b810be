/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The daemon's log. A line is one write, so that lines of several threads never mix. On stderr it has the time and the
 * level; where stderr is the journal's (JOURNAL_STREAM names it) the level goes before it as <N>, and the journal knows
 * the rest. Control characters in a line (a client chose a name) are shown as '?'.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "ipcd.h"

#define LINE 1024

static struct {
	bool syslog, journal;
	int level;
	FILE *taken; /* the end that is read of a stderr that is ours */
	pthread_t reader;
} logging = { .level = LOG_INFO };

static const char *level_name(int priority)
{
	return priority <= LOG_ERR ? "error" : priority == LOG_WARNING ? "warn" : priority <= LOG_INFO ? "info" : "debug";
}

/* JOURNAL_STREAM is DEVICE:INODE of the stream; stderr may have been redirected since. */
static bool stderr_is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long device, inode;
	struct stat st;

	return stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 && !fstat(STDERR_FILENO, &st) &&
	       st.st_dev == device && st.st_ino == inode;
}

void log_open(bool to_syslog, int level)
{
	logging.syslog = to_syslog;
	logging.level = level;
	logging.journal = !to_syslog && stderr_is_journal();
	if (to_syslog)
		openlog("ipcd", LOG_PID | LOG_NDELAY, LOG_DAEMON);
}

static void time_text(char *out, size_t size)
{
	struct timespec now;
	struct tm tm;
	char zone[8];

	clock_gettime(CLOCK_REALTIME, &now);
	localtime_r(&now.tv_sec, &tm);
	strftime(out, size, "%Y-%m-%dT%H:%M:%S", &tm);
	strftime(zone, sizeof zone, "%z", &tm);
	snprintf(out + strlen(out), size - strlen(out), ".%03ld%s", now.tv_nsec / 1000000, zone);
}

static void make_printable(char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			*s = '?';
}

/* Nobody can be told that the log cannot be written. */
static void write_all(const char *text, size_t length)
{
	while (length) {
		ssize_t n = write(STDERR_FILENO, text, length);

		if (n < 0 && errno != EINTR)
			return;
		if (n > 0) {
			text += n;
			length -= (size_t)n;
		}
	}
}

void log_line(int priority, const char *line, void *arg)
{
	char text[LINE], out[LINE + 80], now[48];
	int n;

	(void)arg;
	if (priority > logging.level)
		return;
	snprintf(text, sizeof text, "%s", line);
	make_printable(text);
	if (logging.syslog) {
		syslog(priority, "%s", text);
		return;
	}
	time_text(now, sizeof now);
	if (logging.journal)
		n = snprintf(out, sizeof out, "<%d>%s\n", priority, text);
	else
		n = snprintf(out, sizeof out, "%s ipcd[%d] %s: %s\n", now, (int)getpid(), level_name(priority), text);
	write_all(out, (size_t)n);
}

void log_say(int priority, const char *fmt, ...)
{
	char text[LINE];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	log_line(priority, text, NULL);
}

/* Whoever started the daemon reads it on stderr; with syslog it stands there too. */
void log_die(int status, const char *fmt, ...)
{
	char text[LINE], out[LINE + 8];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	make_printable(text);
	if (!logging.taken)
		write_all(out, (size_t)snprintf(out, sizeof out, logging.journal ? "<3>%s\n" : "ipcd: %s\n", text));
	if (logging.syslog)
		syslog(LOG_ERR, "%s", text);
	exit(status);
}

static void *read_stderr(void *arg)
{
	char line[LINE];

	(void)arg;
	while (fgets(line, sizeof line, logging.taken)) {
		line[strcspn(line, "\n")] = 0;
		log_line(LOG_WARNING, strncmp(line, "libipc: ", 8) ? line : line + 8, NULL);
	}
	return NULL;
}

void log_take_stderr(void)
{
	int end[2];

	if (pipe2(end, O_CLOEXEC) || !(logging.taken = fdopen(end[0], "r")) || dup2(end[1], STDERR_FILENO) < 0 ||
	    pthread_create(&logging.reader, NULL, read_stderr, NULL))
		log_die(STATUS_FAILED, "cannot take stderr for the log: %s", strerror(errno));
	close(end[1]);
}

void log_close(void)
{
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

	if (!logging.taken || null < 0 || dup2(null, STDERR_FILENO) < 0)
		return;
	pthread_join(logging.reader, NULL);
}
