/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ipcctl top: what happens in a namespace, again and again. On a terminal it fills the screen, which is put back at its
 * end, however that comes, and while it is stopped. Elsewhere it prints, once or as often as it is told.
 *
 * Rules inside: signals are blocked but while it waits, so that a picture is never interrupted; handlers only note what
 * came. A picture is made in memory and written at once.
 */
#include <errno.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "../libipc/route_wire.h"
#include "ctl.h"

#define ENTER "\033[?1049h\033[?25l\033[H\033[J" /* the other screen, no cursor */
#define LEAVE "\033[?25h\033[?1049l"
#define LONGEST_DELAY 86400.0

struct item { struct object o; double rate; }; /* changes a second; < 0: not known yet */
struct wait { pid_t pid; uint64_t waited; enum kind kind; int id; char wish[200]; };

static struct {
	struct kinds kinds;
	long times; /* 0: until ended */
	double delay;
	bool json, screen, keys;
	struct termios before;
} top = { .delay = 2 };

static struct { int id; int64_t changes; uint64_t at; } last[KINDS][IPCMNI];
static struct item *items;
static struct wait *waits;
static size_t item_count, item_room, wait_count, wait_room;
static int rows, width;

/* ---- what there is ---- */

static uint64_t clock_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void *room_for(void *list, size_t n, size_t *room, size_t size)
{
	if (n == *room) {
		*room = *room ? 2 * *room : 64;
		list = realloc(list, *room * size);
		if (!list)
			ctl_die(EXIT_FAILED, "no memory");
	}
	return list;
}

static double rate(const struct object *o)
{
	__typeof__(last[0][0]) *l = &last[o->row.kind][o->row.index];
	uint64_t now = clock_ms();
	double r = -1;

	if (l->at && l->id == o->id && now > l->at && o->changes >= l->changes)
		r = (double)(o->changes - l->changes) * 1000 / (double)(now - l->at);
	l->id = o->id;
	l->changes = o->changes;
	l->at = now;
	return r;
}

/* A number that is not for this user to see is a question mark. */
static void add_known(struct table *t, const struct object *o, int value)
{
	if (o->hidden)
		table_add(t, "?");
	else
		table_add(t, "%d", value);
}

static void take_waits(struct ctl *c, const struct object *o)
{
	static struct inspect_waiter w[ROOM];
	int n = o->waiting ? inspect_waiters(c->ns, c->who, o->row.kind, o->id, w, ROOM) : 0;

	for (int i = 0; i < n && i < ROOM; i++) {
		waits = room_for(waits, wait_count, &wait_room, sizeof *waits);
		waits[wait_count] = (struct wait){ w[i].pid, w[i].waited, o->row.kind, o->id, "" };
		wish_text(o->row.kind, &w[i], waits[wait_count].wish, sizeof waits->wish);
		wait_count++;
	}
}

static int take(struct ctl *c, const struct object *o, void *arg)
{
	(void)arg;
	items = room_for(items, item_count, &item_room, sizeof *items);
	items[item_count].o = *o;
	items[item_count++].rate = o->changes < 0 ? -1 : rate(o);
	take_waits(c, o);
	return 0;
}

static int busier(const void *a, const void *b)
{
	const struct item *x = a, *y = b;

	if (x->rate != y->rate && (x->rate > 0 || y->rate > 0))
		return x->rate < y->rate ? 1 : -1;
	if (x->o.waiting != y->o.waiting)
		return x->o.waiting < y->o.waiting ? 1 : -1;
	if (x->o.row.kind != y->o.row.kind)
		return x->o.row.kind > y->o.row.kind ? 1 : -1;
	return x->o.id > y->o.id ? 1 : -1;
}

static int longer(const void *a, const void *b)
{
	const struct wait *x = a, *y = b;

	return x->waited == y->waited ? (x->pid > y->pid) - (x->pid < y->pid) : x->waited < y->waited ? 1 : -1;
}

static void look(struct ctl *c)
{
	item_count = wait_count = 0;
	slots_sweep(c->ns, c->who);
	for (enum kind kind = 0; kind < KINDS; kind++)
		if (kinds_has(&top.kinds, kind))
			objects_each(c, kind, take, NULL);
	if (item_count)
		qsort(items, item_count, sizeof *items, busier);
	if (wait_count)
		qsort(waits, wait_count, sizeof *waits, longer);
}

/* ---- a picture of it ---- */

static void clock_text(char *out, size_t size)
{
	time_t now = time(NULL);
	struct tm tm;

	*out = 0;
	if (localtime_r(&now, &tm))
		strftime(out, size, "%H:%M:%S", &tm);
}

static void head(struct ctl *c, FILE *out)
{
	unsigned long long n[KINDS] = { 0 }, bytes = 0, attached = 0, sems = 0, messages = 0, undo = 0;
	char now[16], part[KINDS][80];

	for (size_t i = 0; i < item_count; i++) {
		const struct object *o = &items[i].o;

		n[o->row.kind]++;
		bytes += o->row.kind == KIND_SHM ? row_size(&o->row) : 0;
		attached += o->row.kind == KIND_SHM ? o->row.v[R_NATTCH] : 0;
		sems += o->row.kind == KIND_SEM ? o->row.v[R_SIZE] : 0;
		messages += o->msg.qnum;
		undo += (unsigned long long)o->undo;
	}
	clock_text(now, sizeof now);
	snprintf(part[KIND_SHM], sizeof part[0], "shm" KEEP "%llu" KEEP "(%sB," KEEP "attached" KEEP "%llu)  ",
		 n[KIND_SHM], human_bytes(bytes), attached);
	snprintf(part[KIND_SEM], sizeof part[0], "sem" KEEP "%llu" KEEP "(%llu)  ", n[KIND_SEM], sems);
	snprintf(part[KIND_MSG], sizeof part[0], "msg" KEEP "%llu" KEEP "(%llu)  ", n[KIND_MSG], messages);
	for (enum kind kind = 0; kind < KINDS; kind++)
		if (!kinds_has(&top.kinds, kind))
			*part[kind] = 0;
	print_folded(out, width, 0, "%s  %s", now, ipc_directory(c->ns));
	print_folded(out, width, 0, "%s%s%sprocesses" KEEP "%d  waiting" KEEP "%zu  undo" KEEP "%llu", part[KIND_SHM],
		     part[KIND_SEM], part[KIND_MSG], processes_count(c), wait_count, undo);
}

static void more(FILE *out, size_t n)
{
	if (n)
		fprintf(out, "... and %zu more\n", n);
}

/* At most max rows of it; 0: all. */
static void picture_waits(FILE *out, size_t max)
{
	static const struct column columns[] = { { "PID", false, 0 }, { "COMMAND", true, 1 }, { "FOR", false, 0 },
						 { "OBJECT", true, 0 }, { "WAITS FOR", true, -16 } };
	size_t n = max && wait_count > max ? max : wait_count;
	struct table *t = table_new(columns, 5);

	for (size_t i = 0; i < n; i++) {
		table_add(t, "%d", (int)waits[i].pid);
		table_add(t, "%s", process_name(waits[i].pid));
		table_add(t, "%s", duration(waits[i].waited));
		table_add(t, "%s %d", kind_name[waits[i].kind], waits[i].id);
		table_add(t, "%s", waits[i].wish);
	}
	putc('\n', out);
	table_print(out, t, width, 0);
	table_free(t);
	more(out, wait_count - n);
}

static void use_text(const struct object *o, char *out, size_t size)
{
	if (o->damaged)
		snprintf(out, size, "damaged");
	else if (o->row.kind == KIND_SHM)
		snprintf(out, size, "%sB, attached %u%s", human_bytes(row_size(&o->row)), o->row.v[R_NATTCH],
			 ROW_STATE(o->row.v[R_STATE]) == ROW_DEST ? ", removed" : "");
	else if (o->row.kind == KIND_SEM)
		snprintf(out, size, "%u semaphore%s", o->row.v[R_SIZE], o->row.v[R_SIZE] == 1 ? "" : "s");
	else
		snprintf(out, size, "%u message%s, %s of %sB", o->msg.qnum, o->msg.qnum == 1 ? "" : "s",
			 human_bytes(o->msg.cbytes), human_bytes(o->row.v[R_SIZE]));
}

static void picture_objects(FILE *out, size_t max)
{
	static const struct column columns[] = { { "KIND", true, 0 },	    { "ID", false, 0 },
						 { "KEY", true, 3 },	    { "OWNER", true, 4 },
						 { "CHANGES/S", false, 1 }, { "WAITING", false, 2 },
						 { "UNDO", false, 5 },	    { "USE", true, -12 } };
	size_t n = max && item_count > max ? max : item_count;
	struct table *t = table_new(columns, 8);
	char use[100];

	for (size_t i = 0; i < n; i++) {
		const struct object *o = &items[i].o;

		table_add(t, "%s", kind_name[o->row.kind]);
		table_add(t, "%d", o->id);
		table_add(t, "0x%08x", o->row.v[R_KEY]);
		table_add(t, "%s", owner_name(o->row.v[R_UID]));
		if (items[i].rate < 0)
			table_add(t, "-");
		else
			table_add(t, "%.0f", items[i].rate);
		add_known(t, o, o->waiting);
		add_known(t, o, o->undo);
		use_text(o, use, sizeof use);
		table_add(t, "%s", use);
	}
	putc('\n', out);
	table_print(out, t, width, 0);
	table_free(t);
	more(out, item_count - n);
}

/* Lines that a text takes. */
static int lines(const char *text)
{
	int n = 0;

	for (; *text; text++)
		n += *text == '\n';
	return n;
}

/* Both tables in the rows that are left below the head: those who wait get at most a half, with headings. */
static void picture(struct ctl *c, FILE *out)
{
	char *text;
	size_t size, left, upper;
	FILE *f = open_memstream(&text, &size);

	if (!f)
		ctl_die(EXIT_FAILED, "no memory");
	head(c, f);
	fclose(f);
	left = rows > lines(text) + 6 ? (size_t)(rows - lines(text)) : 6;
	fputs(text, out);
	free(text);
	upper = wait_count + 2;
	if (upper > left / 2)
		upper = left / 2;
	if (wait_count)
		picture_waits(out, !rows ? 0 : upper > 3 ? upper - 3 : 1);
	left -= wait_count ? upper : 0;
	picture_objects(out, !rows ? 0 : left > 4 ? left - 4 : 1);
}

static void picture_json(struct ctl *c)
{
	json_open(NULL, '{');
	json_text("namespace", ipc_directory(c->ns));
	json_int("time", time(NULL));
	json_int("processes", processes_count(c));
	json_open("objects", '[');
	for (size_t i = 0; i < item_count; i++) {
		json_open(NULL, '{');
		json_text("kind", kind_name[items[i].o.row.kind]);
		object_json(&items[i].o);
		if (items[i].rate < 0)
			json_null("changes_per_second");
		else
			json_seconds("changes_per_second", (uint64_t)(items[i].rate * 1000));
		json_close('}');
	}
	json_close(']');
	json_open("waiters", '[');
	for (size_t i = 0; i < wait_count; i++) {
		json_open(NULL, '{');
		json_int("pid", waits[i].pid);
		json_text("command", process_name(waits[i].pid));
		json_seconds("seconds", waits[i].waited);
		json_text("kind", kind_name[waits[i].kind]);
		json_int("id", waits[i].id);
		json_text("wish", waits[i].wish);
		json_close('}');
	}
	json_close(']');
	json_close('}');
	json_line();
}

/* ---- the terminal ---- */

static volatile sig_atomic_t ended, stopped, changed;

static void on_signal(int sig)
{
	if (sig == SIGTSTP)
		stopped = 1;
	else if (sig == SIGWINCH || sig == SIGCONT)
		changed = 1;
	else
		ended = sig;
}

static const int caught[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGCONT, SIGWINCH };
#define CAUGHT (sizeof caught / sizeof *caught)

static void write_all(const char *text, size_t n)
{
	while (n) {
		ssize_t w = write(STDOUT_FILENO, text, n);

		if (w < 0 && errno != EINTR)
			return;
		if (w > 0) {
			text += w;
			n -= (size_t)w;
		}
	}
}

static void screen_enter(void)
{
	struct termios t;

	top.keys = isatty(STDIN_FILENO) && !tcgetattr(STDIN_FILENO, &top.before);
	if (top.keys) {
		t = top.before;
		t.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
		t.c_cc[VMIN] = 1;
		t.c_cc[VTIME] = 0;
		tcsetattr(STDIN_FILENO, TCSADRAIN, &t);
	}
	write_all(ENTER, strlen(ENTER));
}

static void screen_leave(void)
{
	write_all(LEAVE, strlen(LEAVE));
	if (top.keys)
		tcsetattr(STDIN_FILENO, TCSADRAIN, &top.before);
}

static void screen_size(void)
{
	struct winsize w;

	rows = width = 0;
	if (!ioctl(STDOUT_FILENO, TIOCGWINSZ, &w)) {
		rows = w.ws_row;
		width = w.ws_col;
	}
	rows = rows ? rows : 24;
	width = width ? width : 80;
}

/* No line is longer than the screen, nor are there more; what stood there before goes. */
static void paint(const char *text)
{
	char *out;
	size_t size;
	FILE *f = open_memstream(&out, &size);
	int row = 0;

	if (!f)
		ctl_die(EXIT_FAILED, "no memory");
	fputs("\033[H", f);
	while (*text && row < rows) {
		int n = (int)strcspn(text, "\n");

		fprintf(f, "%s%.*s\033[K", row++ ? "\r\n" : "", n < width ? n : width, text);
		text += n + (text[n] == '\n');
	}
	fputs("\033[J", f);
	fclose(f);
	write_all(out, size);
	free(out);
}

static void show_screen(struct ctl *c)
{
	char *text;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	if (!f)
		ctl_die(EXIT_FAILED, "no memory");
	screen_size();
	picture(c, f);
	fclose(f);
	paint(text);
	free(text);
}

/* The shell's ^Z: the screen is given back first. The signal is unblocked here, for it is us who send it. */
static void stop(void)
{
	struct sigaction dfl = { .sa_handler = SIG_DFL }, ours;
	sigset_t set;

	stopped = 0;
	screen_leave();
	sigaction(SIGTSTP, &dfl, &ours);
	raise(SIGTSTP);
	sigemptyset(&set);
	sigaddset(&set, SIGTSTP);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	sigprocmask(SIG_BLOCK, &set, NULL);
	sigaction(SIGTSTP, &ours, NULL);
	screen_enter();
}

/* True when q was typed, or the terminal has gone. */
static bool key_ends(const struct pollfd *p)
{
	char keys[64];
	ssize_t n;

	if (!p->revents)
		return false;
	n = read(STDIN_FILENO, keys, sizeof keys);
	return n <= 0 || memchr(keys, 'q', (size_t)n);
}

/* Wait for the next picture; signals come in here only. False at the end. */
static bool pause_until(uint64_t next, const sigset_t *open)
{
	for (;;) {
		uint64_t now = clock_ms(), ms = next > now ? next - now : 0;
		struct timespec t = { (time_t)(ms / 1000), (long)(ms % 1000) * 1000000 };
		struct pollfd p = { .fd = top.keys ? STDIN_FILENO : -1, .events = POLLIN };
		int n = ppoll(&p, 1, &t, open);

		if (ended || (n > 0 && key_ends(&p)))
			return false;
		if (stopped)
			stop();
		if (!n || changed || stopped)
			break;
	}
	changed = 0;
	return true;
}

static void die_of(int sig)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, sig);
	signal(sig, SIG_DFL);
	raise(sig);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
}

static sigset_t block; /* the signals that were not ignored */

/* A daemon takes its time, and all signals are blocked: those that end or stop us do so all the same. */
static void look_for_signals(void)
{
	sigset_t pending;

	sigpending(&pending);
	for (size_t s = 0; s < CAUGHT; s++) {
		if (!sigismember(&pending, caught[s]) || !sigismember(&block, caught[s]))
			continue;
		if (caught[s] == SIGTSTP) {
			stop();
		} else if (caught[s] != SIGCONT && caught[s] != SIGWINCH) {
			screen_leave();
			die_of(caught[s]);
		}
	}
}

static int on_screen(struct ctl *c)
{
	struct sigaction act = { .sa_handler = on_signal }, was;
	sigset_t open;
	long i = 0;

	sigemptyset(&block);
	for (size_t s = 0; s < CAUGHT; s++)
		if (!sigaction(caught[s], NULL, &was) && was.sa_handler != SIG_IGN) {
			sigaction(caught[s], &act, NULL);
			sigaddset(&block, caught[s]);
		}
	sigprocmask(SIG_BLOCK, &block, &open);
	screen_enter();
	ctl_leaving = screen_leave;
	if (c->daemon)
		wire_watch.waits = look_for_signals;
	do {
		look(c);
		show_screen(c);
		i++;
	} while (i != top.times && pause_until(clock_ms() + (uint64_t)(top.delay * 1000), &open));
	ctl_leaving = NULL;
	screen_leave();
	sigprocmask(SIG_SETMASK, &open, NULL);
	if (ended)
		die_of(ended);
	return 0;
}

static int printed(struct ctl *c)
{
	struct timespec t = { (time_t)top.delay, (long)((top.delay - floor(top.delay)) * 1e9) };

	for (long i = 0; !top.times || i < top.times; i++) {
		if (i)
			nanosleep(&t, NULL);
		look(c);
		if (top.json) {
			picture_json(c);
		} else {
			if (i)
				putchar('\n');
			width = output_width();
			picture(c, stdout);
		}
		if (fflush(stdout))
			break;
	}
	return 0;
}

/* ---- the command ---- */

static void parse_delay(const char *text)
{
	char *end;

	top.delay = strtod(text, &end);
	if (*text < '0' || *text > '9' || *end || !(top.delay >= 0.1) || top.delay > LONGEST_DELAY)
		ctl_die(EXIT_USAGE, "top: '%s' is not a number of seconds from 0.1 on", text);
}

static bool parse(int argc, char **argv)
{
	unsigned long long n;
	bool told = false;

	for (int i = 1; i < argc; i++) {
		const char *a = argv[i];

		if (!strcmp(a, "-n") || !strcmp(a, "-d")) {
			told = true;
			if (++i == argc)
				ctl_die(EXIT_USAGE, "top: %s needs a number", a);
			if (a[1] == 'd')
				parse_delay(argv[i]);
			else if (!number(argv[i], 10, 1000000000, &n) || !n)
				ctl_die(EXIT_USAGE, "top: '%s' is not a number of times from 1 on", argv[i]);
			else
				top.times = (long)n;
		} else if (!strcmp(a, "--json")) {
			top.json = true;
		} else if (!kinds_take(&top.kinds, a)) {
			ctl_die(EXIT_USAGE,
				"top: '%s' is not known; use -n TIMES, -d SECONDS, --json, shm, sem or msg", a);
		}
	}
	return told;
}

int ctl_top(struct ctl *c, int argc, char **argv)
{
	bool told = parse(argc, argv);
	const char *term = getenv("TERM");

	if (isatty(STDOUT_FILENO) && !top.json && term && *term && strcmp(term, "dumb"))
		return on_screen(c);
	if (!told)
		top.times = 1;
	return printed(c);
}
