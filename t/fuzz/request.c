/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What clients send and write, for libFuzzer (make fuzz) and for run.c, which takes the corpus in make check. One daemon in
 * this process, whose events are taken one by one; an input is a list of steps of two clients of a set, a queue and a
 * segment (struct step). After each input the daemon must be there for a third one.
 *
 *  - Nothing goes on beside: the same input does the same, but for pids and ids.
 *  - What an input has made is removed behind it, so inputs do not depend on each other.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "libipc.h"
#include "serve.h"

#define CLIENTS 2
#define FIRST_UID 31001
#define STEPS 64

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum step_kind { STEP_REQUEST, STEP_DATAGRAM, STEP_POKE, STEP_HANG_UP, STEP_KINDS };

/* As it lies in the input; `size` bytes follow, a request's payload or a datagram. */
struct step {
	uint8_t kind, client, op, flags;
	uint8_t arg[WIRE_ARGS]; /* of a request: value(); of a poke: where */
	uint16_t size;
};

static struct ipc_server *server;
static char directory[64], at[64], *room;
static uid_t base_uid;

static struct client_side {
	int fd, lock; /* with the lock it keeps its slot, as a process of its own would */
	uint32_t tag, who;
	uint64_t number;
} side[CLIENTS + 1];

static struct { int id; char *area; size_t length; } set, queue;
static int segment;

static void broken(const char *what)
{
	fprintf(stderr, "t/fuzz: %s (%s)\n", what, strerror(errno));
	abort();
}

/* All that there is to do, is done. */
static void pump(void)
{
	while (serve_turn(server, room, 0))
		;
}

/* ---- clients ---- */

static void hang_up(struct client_side *c)
{
	if (c->fd >= 0)
		close(c->fd);
	if (c->lock >= 0)
		close(c->lock);
	c->fd = c->lock = -1;
	pump();
}

static void dial(struct client_side *c)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };

	strcpy(to.sun_path, at);
	memset(c, 0, sizeof *c);
	c->lock = -1;
	c->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&to, sizeof to))
		broken("no connection");
	pump();
}

static void transmit(struct client_side *c, const void *data, size_t size, int memory)
{
	union { struct cmsghdr head; char room[CMSG_SPACE(sizeof(struct ucred)) + CMSG_SPACE(sizeof(int))]; } control;
	struct iovec io = { (void *)data, size };
	struct msghdr m = { .msg_iov = &io, .msg_iovlen = 1, .msg_control = &control,
			    .msg_controllen = CMSG_SPACE(sizeof(struct ucred)) };
	uid_t uid = base_uid ? base_uid + (uid_t)(c - side) : geteuid();
	struct ucred self = { getpid(), uid, base_uid ? uid : getegid() };
	struct cmsghdr *h = &control.head;

	memset(&control, 0, sizeof control);
	h->cmsg_level = SOL_SOCKET;
	h->cmsg_type = SCM_CREDENTIALS;
	h->cmsg_len = CMSG_LEN(sizeof self);
	memcpy(CMSG_DATA(h), &self, sizeof self);
	if (memory >= 0) {
		m.msg_controllen += CMSG_SPACE(sizeof(int));
		h = (struct cmsghdr *)(control.room + CMSG_SPACE(sizeof(struct ucred)));
		h->cmsg_level = SOL_SOCKET;
		h->cmsg_type = SCM_RIGHTS;
		h->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(h), &memory, sizeof memory);
	}
	sendmsg(c->fd, &m, MSG_NOSIGNAL);
	pump();
}

/* The replies that are there: the last one's result, and descriptor number `which` of those that came. */
static long collect(struct client_side *c, size_t which, int *fd, struct wire_reply *last)
{
	static char text[WIRE_INLINE];
	char control[CMSG_SPACE(8 * sizeof(int))] __attribute__((aligned(8)));
	struct iovec io[2] = { { last, sizeof *last }, { text, sizeof text } };
	long result = -EAGAIN;

	*fd = -1;
	for (;;) {
		struct msghdr m = { .msg_iov = io, .msg_iovlen = 2, .msg_control = control, .msg_controllen = sizeof control };

		if (recvmsg(c->fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) < (ssize_t)sizeof *last)
			return result;
		result = (long)last->result;
		for (struct cmsghdr *h = CMSG_FIRSTHDR(&m); h; h = CMSG_NXTHDR(&m, h))
			for (size_t i = 0; h->cmsg_type == SCM_RIGHTS && i < (h->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++) {
				int got;

				memcpy(&got, CMSG_DATA(h) + i * sizeof got, sizeof got);
				if (i == which && *fd < 0)
					*fd = got;
				else
					close(got);
			}
	}
}

static long ask(struct client_side *c, uint16_t op, const int64_t *arg, const void *payload, uint32_t size, int *fd)
{
	char data[sizeof(struct wire_request) + 64];
	struct wire_request q = { .magic = WIRE_MAGIC, .version = WIRE_VERSION, .op = op, .number = ++c->number, .size = size };
	struct wire_reply reply = { 0 };
	long result;
	int got;

	memcpy(q.arg, arg, sizeof q.arg);
	memcpy(data, &q, sizeof q);
	if (size)
		memcpy(data + sizeof q, payload, size);
	transmit(c, data, sizeof q + size, -1);
	result = collect(c, op == WIRE_HELLO ? 2 : 0, &got, &reply);
	if (op == WIRE_HELLO && result > 0) {
		c->lock = got;
		got = -1;
		c->who = (uint32_t)result;
		c->tag = (uint32_t)reply.value[0];
	}
	if (fd)
		*fd = got;
	else if (got >= 0)
		close(got);
	return result;
}

#define ASK(c, op, ...) ask(c, op, (int64_t[WIRE_ARGS]){ __VA_ARGS__ }, NULL, 0, NULL)

static void come(struct client_side *c)
{
	dial(c);
	if (ASK(c, WIRE_HELLO, 0) <= 0)
		broken("HELLO is refused");
}

/* ---- objects ---- */

static int make(struct client_side *c, enum kind kind, int64_t size)
{
	long id = ASK(c, WIRE_GET, kind, IPC_PRIVATE, size, 0666);

	if (id < 0)
		broken("an object cannot be made");
	return (int)id;
}

static char *map(struct client_side *c, enum kind kind, int id, size_t *length)
{
	struct stat st;
	char *p;
	int fd;

	if (ask(c, WIRE_OPEN, (int64_t[WIRE_ARGS]){ kind, id }, NULL, 0, &fd) || fd < 0 || fstat(fd, &st))
		broken("a control area cannot be had");
	*length = (size_t)st.st_size;
	p = mmap(NULL, *length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
	close(fd);
	if (p == MAP_FAILED)
		broken("a control area cannot be mapped");
	return p;
}

static void remove_all(void)
{
	ipc_ns *ns = ipc_serve_namespace(server);
	struct row r;

	for (int kind = 0; kind < KINDS; kind++)
		for (uint32_t i = 0; i < rows_high(&ns->reg, kind); i++) {
			if (registry_read_index(ns, kind, i, &r))
				continue;
			if (kind == KIND_SHM)
				ipc_shmctl(ns, row_id(&r), IPC_RMID, NULL);
			else if (kind == KIND_SEM)
				ipc_semctl(ns, row_id(&r), 0, IPC_RMID);
			else
				ipc_msgctl(ns, row_id(&r), IPC_RMID, NULL);
		}
}

/* ---- steps ---- */

/* A byte stands for a value that means something. */
static int64_t value(const struct client_side *c, uint8_t byte)
{
	static const int64_t large[] = { 0x7fffffff, -0x7fffffff - 1, 0xffffffff, 1 << 20, 65535, 65536, 32767, 32768, 16384, 1024,
					 1 << 30, 0x100000000, -0x100000000, 0666, 01666, 0x7fffffffffffffff, 04000, 010000, 0600 };
	if (byte < 64)
		return byte;
	switch (byte) {
	case 64:
		return set.id;
	case 65:
		return queue.id;
	case 66:
		return segment;
	case 67:
		return c->tag;
	case 68:
		return c->who;
	case 69:
		return side[0].tag;
	case 70:
		return side[0].who;
	case 71:
		return getpid();
	case 72:
		return (int64_t)server->ns->table;
	case 73:
		return (int64_t)c->number;
	default:
		return byte < 128 ? large[(byte - 74u) % (sizeof large / sizeof *large)] : (int8_t)byte;
	}
}

static int in_memory(const uint8_t *payload, uint32_t size)
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd >= 0 && write(fd, payload, size) != (ssize_t)size) {
		close(fd);
		fd = -1;
	}
	return fd;
}

static void request(struct client_side *c, const struct step *s, const uint8_t *payload)
{
	static char data[sizeof(struct wire_request) + WIRE_INLINE];
	struct wire_request q = { .magic = WIRE_MAGIC, .version = WIRE_VERSION, .op = s->op, .number = ++c->number,
				  .size = s->size, .flags = s->flags & (WIRE_REPEATED | WIRE_MEMORY) };
	int memory = q.flags & WIRE_MEMORY ? in_memory(payload, s->size) : -1;

	if (s->op == WIRE_LIMIT && !base_uid)
		return; /* it would be allowed, and stay */
	if (s->flags & 4)
		q.number = c->number -= 1; /* the last one again */
	for (int i = 0; i < WIRE_ARGS; i++)
		q.arg[i] = value(c, s->arg[i]);
	memcpy(data, &q, sizeof q);
	memcpy(data + sizeof q, payload, s->size);
	transmit(c, data, sizeof q + (memory < 0 ? s->size : 0), memory);
	if (memory >= 0)
		close(memory);
}

/* arg: object, part of the area, then place in it and what is written there. */
static void poke(const struct step *s)
{
	char *area = s->arg[0] & 1 ? queue.area : set.area;
	uint64_t length = s->arg[0] & 1 ? queue.length : set.length, offset = s->arg[2] | (uint64_t)s->arg[3] << 8, where;
	uint64_t what = (uint64_t)value(&side[0], s->arg[4]) | (uint64_t)s->arg[5] << (s->flags & 63);

	switch (s->arg[1] & 3) {
	case 0:
		where = offset;
		break;
	case 1:
		where = ((struct area_head *)area)->who_at + (s->arg[1] >> 2) * (uint64_t)WHO_SIZE + offset % WHO_SIZE;
		break;
	case 2:
		where = ((struct area_head *)area)->who_at + (uint64_t)WHO_SIZE * WHO_MAX + offset;
		break;
	default:
		where = offsetof(struct area_head, op) + offset % 160;
	}
	where &= ~7ull;
	if (where < length - 8)
		memcpy(area + where, &what, s->flags & 64 ? 8 : 4);
}

static size_t take_step(const uint8_t *data, size_t size)
{
	struct wire_reply reply;
	struct client_side *c;
	struct step s;
	int fd;

	if (size < sizeof s)
		return size;
	memcpy(&s, data, sizeof s);
	data += sizeof s;
	size -= sizeof s;
	s.size = s.size < size ? s.size : (uint16_t)size;
	c = &side[s.client % CLIENTS];
	if (c->fd < 0)
		dial(c);
	switch (s.kind % STEP_KINDS) {
	case STEP_REQUEST:
		request(c, &s, data);
		break;
	case STEP_DATAGRAM:
		transmit(c, data, s.size, -1);
		break;
	case STEP_POKE:
		s.size = 0;
		poke(&s);
		break;
	case STEP_HANG_UP:
		hang_up(c);
		if (s.flags & 1)
			come(c);
		else
			dial(c);
	}
	collect(c, 0, &fd, &reply);
	if (fd >= 0)
		close(fd);
	return sizeof s + s.size;
}

/* ---- one input ---- */

static void still_there(void)
{
	struct client_side *c = &side[CLIENTS];
	int id;

	come(c);
	id = make(c, KIND_SEM, 3);
	if (ASK(c, WIRE_SEMCTL, id, 1, SETVAL, 5) || ASK(c, WIRE_SEMCTL, id, 1, GETVAL) != 5)
		broken("the daemon is not what it was");
	hang_up(c);
}

static void clean(void)
{
	char command[200];

	ipc_serve_close(server);
	snprintf(command, sizeof command, "rm -rf %s %s", directory, at);
	if (system(command))
		fprintf(stderr, "%s stays\n", directory);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct ipc_serve options = { .directory = directory, .socket = at, .socket_mode = 0666, .listen_fd = -1 };

	(void)argc;
	(void)argv;
	snprintf(directory, sizeof directory, "/dev/shm/ipc-fuzz-%d", (int)getpid());
	snprintf(at, sizeof at, "/dev/shm/ipc-fuzz-%d.socket", (int)getpid());
	base_uid = geteuid() ? 0 : FIRST_UID;
	for (int i = 0; i <= CLIENTS; i++)
		side[i].fd = side[i].lock = -1;
	room = malloc(WIRE_INLINE);
	server = ipc_serve_open(&options);
	if (!room || !server)
		broken(ipc_open_error());
	atexit(clean);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	for (int i = 0; i < CLIENTS; i++)
		come(&side[i]);
	set.id = make(&side[0], KIND_SEM, 4);
	queue.id = make(&side[0], KIND_MSG, 0);
	segment = make(&side[0], KIND_SHM, 5000);
	set.area = map(&side[0], KIND_SEM, set.id, &set.length);
	queue.area = map(&side[0], KIND_MSG, queue.id, &queue.length);
	for (int n = 0; size && n < STEPS; n++) {
		size_t taken = take_step(data, size);

		data += taken;
		size -= taken;
	}
	munmap(set.area, set.length);
	munmap(queue.area, queue.length);
	for (int i = 0; i < CLIENTS; i++)
		hang_up(&side[i]);
	remove_all();
	still_there();
	remove_all();
	return 0;
}
