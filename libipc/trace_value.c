/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The arguments of calls, and what they fill in, as strace shows them.
 *
 * Rules inside:
 *  - Async-signal-safe, as the line that they are put into.
 *  - The program's memory is read through the kernel, so that a bad pointer is shown and not followed.
 */
#include <stdint.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "trace_value.h"

#define TEXT_SHOWN 32   /* of a message, as strace */
#define VALUES_SHOWN 32 /* of an array */

static const struct flag sem_flags[] = { { SEM_UNDO, "SEM_UNDO" }, { IPC_NOWAIT, "IPC_NOWAIT" }, { 0, NULL } };

/* The program's memory; false where there is none. */
bool trace_peek(const void *from, void *to, size_t size)
{
	struct iovec out = { to, size }, in = { (void *)(uintptr_t)from, size };

	return process_vm_readv(getpid(), &out, 1, &in, 1, 0) == (ssize_t)size;
}

void line_key(struct line *l, key_t key)
{
	if (key == IPC_PRIVATE)
		line_put(l, "IPC_PRIVATE");
	else
		line_hex(l, (uint32_t)key);
}

static void line_text(struct line *l, const char *text, size_t length)
{
	size_t shown = length < TEXT_SHOWN ? length : TEXT_SHOWN;

	line_put(l, "\"");
	for (size_t i = 0; i < shown; i++) {
		unsigned char c = (unsigned char)text[i];
		const char *known = strchr("\"\\\n\t\r\f\v", c);
		char one[2] = { (char)c, 0 };

		if (c && known) {
			one[0] = "\"\\ntrfv"[known - strchr("\"\\\n\t\r\f\v", '"')];
			line_put(l, "\\");
		}
		if (c && (known || (c >= ' ' && c < 0x7f))) {
			line_put(l, one);
			continue;
		}
		line_put(l, "\\");
		if (i + 1 < shown && text[i + 1] >= '0' && text[i + 1] <= '7')
			line_put(l, c < 010 ? "00" : c < 0100 ? "0" : "");
		line_octal(l, c);
	}
	line_put(l, length > shown ? "\"..." : "\"");
}

void line_message(struct line *l, const void *msg, size_t size)
{
	char text[TEXT_SHOWN];
	long type;

	if (!trace_peek(msg, &type, sizeof type) ||
	    !trace_peek((const char *)msg + sizeof type, text, size < TEXT_SHOWN ? size : TEXT_SHOWN)) {
		line_pointer(l, msg);
		return;
	}
	line_put(l, "{mtype=");
	line_int(l, type);
	line_put(l, ", mtext=");
	line_text(l, text, size);
	line_put(l, "}");
}

void line_sops(struct line *l, const struct sembuf *sops, size_t n)
{
	struct sembuf s;

	if (n && !trace_peek(sops, &s, sizeof s)) {
		line_pointer(l, sops);
		return;
	}
	line_put(l, "[");
	for (size_t i = 0; i < n && trace_peek(&sops[i], &s, sizeof s); i++) {
		line_put(l, i ? ", " : "");
		if (l->at > LINE_ARGS - 120) {
			line_put(l, "...");
			break;
		}
		line_field(l, "{sem_num=", s.sem_num);
		line_put(l, ", sem_op=");
		line_int(l, s.sem_op);
		line_put(l, ", sem_flg=");
		line_flags(l, sem_flags, (unsigned short)s.sem_flg, 16);
		line_put(l, "}");
	}
	line_put(l, "]");
}

void line_values(struct line *l, const unsigned short *v, size_t n)
{
	unsigned short value[VALUES_SHOWN];
	size_t shown = n < VALUES_SHOWN ? n : VALUES_SHOWN;

	if (!trace_peek(v, value, shown * sizeof *value)) {
		line_pointer(l, v);
		return;
	}
	line_put(l, "[");
	for (size_t i = 0; i < shown; i++)
		line_field(l, i ? ", " : "", value[i]);
	line_put(l, n > shown ? ", ...]" : "]");
}

static void line_perm(struct line *l, const char *name, const struct ipc_perm *p, bool set)
{
	line_put(l, name);
	line_field(l, "{uid=", p->uid);
	line_field(l, ", gid=", p->gid);
	line_put(l, ", mode=");
	line_mode(l, p->mode);
	if (!set) {
		line_field(l, ", key=", (uint32_t)p->__key);
		line_field(l, ", cuid=", p->cuid);
		line_field(l, ", cgid=", p->cgid);
	}
	line_put(l, "}");
}

void line_command(struct line *l, const char *call, int cmd)
{
	static const struct flag known[] = { { IPC_RMID, "IPC_RMID" }, { IPC_SET, "IPC_SET" }, { IPC_STAT, "IPC_STAT" },
					     { IPC_INFO, "IPC_INFO" }, { -1, NULL } };
	static const struct flag shm[] = { { SHM_LOCK, "SHM_LOCK" }, { SHM_UNLOCK, "SHM_UNLOCK" },
					   { SHM_STAT, "SHM_STAT" }, { SHM_INFO, "SHM_INFO" },
					   { SHM_STAT_ANY, "SHM_STAT_ANY" }, { -1, NULL } };
	static const struct flag sem[] = { { GETPID, "GETPID" },     { GETVAL, "GETVAL" },   { GETALL, "GETALL" },
					   { GETNCNT, "GETNCNT" },   { GETZCNT, "GETZCNT" }, { SETVAL, "SETVAL" },
					   { SETALL, "SETALL" },     { SEM_STAT, "SEM_STAT" }, { SEM_INFO, "SEM_INFO" },
					   { SEM_STAT_ANY, "SEM_STAT_ANY" }, { -1, NULL } };
	static const struct flag msg[] = { { MSG_STAT, "MSG_STAT" }, { MSG_INFO, "MSG_INFO" },
					   { MSG_STAT_ANY, "MSG_STAT_ANY" }, { -1, NULL } };
	const struct flag *lists[] = { known, call[1] == 'h' ? shm : call[1] == 'e' ? sem : msg };

	for (int i = 0; i < 2; i++)
		for (const struct flag *f = lists[i]; f->name; f++)
			if (f->value == cmd) {
				line_put(l, f->name);
				return;
			}
	line_hex(l, (unsigned)cmd);
}

void line_segment(struct line *l, const struct shmid_ds *buf, bool set)
{
	struct shmid_ds d;

	if (!trace_peek(buf, &d, sizeof d)) {
		line_pointer(l, buf);
		return;
	}
	line_perm(l, "{shm_perm=", &d.shm_perm, set);
	if (!set) {
		line_field(l, ", shm_segsz=", d.shm_segsz);
		line_field(l, ", shm_cpid=", (unsigned)d.shm_cpid);
		line_field(l, ", shm_lpid=", (unsigned)d.shm_lpid);
		line_field(l, ", shm_nattch=", d.shm_nattch);
		line_field(l, ", shm_atime=", (unsigned long long)d.shm_atime);
		line_field(l, ", shm_dtime=", (unsigned long long)d.shm_dtime);
		line_field(l, ", shm_ctime=", (unsigned long long)d.shm_ctime);
	}
	line_put(l, "}");
}

void line_shm_limits(struct line *l, const void *buf)
{
	struct shminfo i;

	if (!trace_peek(buf, &i, sizeof i)) {
		line_pointer(l, buf);
		return;
	}
	line_field(l, "{shmmax=", i.shmmax);
	line_field(l, ", shmmin=", i.shmmin);
	line_field(l, ", shmmni=", i.shmmni);
	line_field(l, ", shmseg=", i.shmseg);
	line_field(l, ", shmall=", i.shmall);
	line_put(l, "}");
}

void line_shm_use(struct line *l, const void *buf)
{
	struct shm_info i;

	if (!trace_peek(buf, &i, sizeof i)) {
		line_pointer(l, buf);
		return;
	}
	line_field(l, "{used_ids=", (unsigned)i.used_ids);
	line_field(l, ", shm_tot=", i.shm_tot);
	line_field(l, ", shm_rss=", i.shm_rss);
	line_field(l, ", shm_swp=", i.shm_swp);
	line_field(l, ", swap_attempts=", i.swap_attempts);
	line_field(l, ", swap_successes=", i.swap_successes);
	line_put(l, "}");
}

void line_set(struct line *l, const struct semid_ds *buf, bool set)
{
	struct semid_ds d;

	if (!trace_peek(buf, &d, sizeof d)) {
		line_pointer(l, buf);
		return;
	}
	line_perm(l, "{sem_perm=", &d.sem_perm, set);
	if (!set) {
		line_field(l, ", sem_otime=", (unsigned long long)d.sem_otime);
		line_field(l, ", sem_ctime=", (unsigned long long)d.sem_ctime);
		line_field(l, ", sem_nsems=", d.sem_nsems);
	}
	line_put(l, "}");
}

void line_sem_info(struct line *l, const void *buf)
{
	struct seminfo i;

	if (!trace_peek(buf, &i, sizeof i)) {
		line_pointer(l, buf);
		return;
	}
	line_field(l, "{semmap=", (unsigned)i.semmap);
	line_field(l, ", semmni=", (unsigned)i.semmni);
	line_field(l, ", semmns=", (unsigned)i.semmns);
	line_field(l, ", semmnu=", (unsigned)i.semmnu);
	line_field(l, ", semmsl=", (unsigned)i.semmsl);
	line_field(l, ", semopm=", (unsigned)i.semopm);
	line_field(l, ", semume=", (unsigned)i.semume);
	line_field(l, ", semusz=", (unsigned)i.semusz);
	line_field(l, ", semvmx=", (unsigned)i.semvmx);
	line_field(l, ", semaem=", (unsigned)i.semaem);
	line_put(l, "}");
}

void line_queue(struct line *l, const struct msqid_ds *buf, bool set)
{
	struct msqid_ds d;

	if (!trace_peek(buf, &d, sizeof d)) {
		line_pointer(l, buf);
		return;
	}
	line_perm(l, "{msg_perm=", &d.msg_perm, set);
	if (set) {
		line_field(l, ", msg_qbytes=", d.msg_qbytes);
	} else {
		line_field(l, ", msg_stime=", (unsigned long long)d.msg_stime);
		line_field(l, ", msg_rtime=", (unsigned long long)d.msg_rtime);
		line_field(l, ", msg_ctime=", (unsigned long long)d.msg_ctime);
		line_field(l, ", msg_qnum=", d.msg_qnum);
		line_field(l, ", msg_qbytes=", d.msg_qbytes);
		line_field(l, ", msg_lspid=", (unsigned)d.msg_lspid);
		line_field(l, ", msg_lrpid=", (unsigned)d.msg_lrpid);
	}
	line_put(l, "}");
}

void line_msg_info(struct line *l, const void *buf)
{
	struct msginfo i;

	if (!trace_peek(buf, &i, sizeof i)) {
		line_pointer(l, buf);
		return;
	}
	line_field(l, "{msgpool=", (unsigned)i.msgpool);
	line_field(l, ", msgmap=", (unsigned)i.msgmap);
	line_field(l, ", msgmax=", (unsigned)i.msgmax);
	line_field(l, ", msgmnb=", (unsigned)i.msgmnb);
	line_field(l, ", msgmni=", (unsigned)i.msgmni);
	line_field(l, ", msgssz=", (unsigned)i.msgssz);
	line_field(l, ", msgtql=", (unsigned)i.msgtql);
	line_field(l, ", msgseg=", i.msgseg);
	line_put(l, "}");
}
