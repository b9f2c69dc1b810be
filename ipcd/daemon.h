/* SPDX-License-Identifier: BSD-2-Clause */
/* Which daemon the tools mean by --daemon. */
#ifndef IPCD_DAEMON_H
#define IPCD_DAEMON_H

#include <stdbool.h>
#include <stddef.h>

#define DAEMON_SOCKET "/run/ipcd/socket" /* the system's */

/* The absolute name of its socket: as named, or by default; false when it is too long. */
bool daemon_socket(const char *named, char *out, size_t size);

#endif
