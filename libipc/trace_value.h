/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Arguments of the System V IPC calls, put into a line. A structure or an array that the program does not have is shown
 * as the pointer that it gave; set: only what IPC_SET takes of it.
 */
#ifndef IPC_TRACE_VALUE_H
#define IPC_TRACE_VALUE_H

#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>

#include "trace_line.h"

bool trace_peek(const void *from, void *to, size_t size);
void line_key(struct line *l, key_t key);
void line_message(struct line *l, const void *msg, size_t size);
void line_sops(struct line *l, const struct sembuf *sops, size_t n);
void line_values(struct line *l, const unsigned short *v, size_t n);
void line_command(struct line *l, const char *call, int cmd);
void line_segment(struct line *l, const struct shmid_ds *buf, bool set);
void line_shm_limits(struct line *l, const void *buf);
void line_shm_use(struct line *l, const void *buf);
void line_set(struct line *l, const struct semid_ds *buf, bool set);
void line_sem_info(struct line *l, const void *buf);
void line_queue(struct line *l, const struct msqid_ds *buf, bool set);
void line_msg_info(struct line *l, const void *buf);

#endif
