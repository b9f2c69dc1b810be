/* SPDX-License-Identifier: BSD-2-Clause */
/* Waiting until nobody uses a namespace any more: for ipcrun's collector, and for an ipcd that serves a private one. */
#ifndef IPCD_UNUSED_H
#define IPCD_UNUSED_H

#include "../libipc/users.h"

/* Sleep until the processes found have ended. */
void unused_wait_for(const struct users *u);

/* Sleep until the private directory, which has a socket, has no users. */
void unused_await(const char *dir);

#endif
