#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""
The table of (call, command or flag, errno or effect), as rules, and t/std/table.h, which is generated from it.

  gen_table.py           writes t/std/table.h
  gen_table.py --check   fails if table.h is not what the rules give, or if the manual pages (where they are installed)
                         name an errno, a flag or a command that no row has

Each table is the row list of one test program. The three family tables begin with the same common rows, in the same
order, so that one set of cases (lib/row_family.h) serves all three.
"""
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, "std", "table.h")

BAD_IDS = (("negative_id", "a negative id"), ("unknown_id", "an id never given"),
           ("removed_id", "a removed id"), ("other_seq", "an id with another sequence number"))
BAD_POINTERS = (("null", "NULL"), ("kernel", "a pointer into the kernel's half"),
                ("no_access", "a page without access"), ("read_only", "a read-only page"))


class Table:
    """Rows of one program; every method appends, in the order in which the C side counts."""

    def __init__(self):
        self.rows = []

    def row(self, call, err, slug, what, absent=None):
        ident = f"{call}_{'OK' if err == '0' else err}_{slug}".upper()
        if ident in [r[0] for r in self.rows]:
            sys.exit(f"row {ident} is there twice")
        self.rows.append((ident, call, err, what, absent))

    def fails(self, call, err, **cases):
        for slug, what in cases.items():
            self.row(call, err, slug, what)

    def works(self, call, **cases):
        for slug, what in cases.items():
            self.row(call, "0", slug, what)

    def absent(self, call, err, slug, what, why):
        self.row(call, err, slug, what, why)

    def ids(self, call, *commands):
        for command in commands or ("",):
            for slug, what in BAD_IDS:
                self.row(call, "EINVAL", join(command, slug), with_command(command, what))

    def pointers(self, call, writes, *commands):
        for command in commands or ("",):
            for slug, what in BAD_POINTERS[:4 if writes else 3]:
                self.row(call, "EFAULT", join(command, slug), with_command(command, what))


def join(command, slug):
    return f"{command}_{slug}" if command else slug


def with_command(command, what):
    return f"{command}, {what}" if command else what


def common(t, fam):
    """What shm, sem and msg share: keys, ids, IPC_STAT, IPC_SET, IPC_RMID and the index commands."""
    get, ctl, up = fam + "get", fam + "ctl", fam.upper()
    info, stat, stat_any = up + "_INFO", up + "_STAT", up + "_STAT_ANY"
    t.fails(get, "ENOENT", no_key="a new key without IPC_CREAT", removed_key="the key of a removed object")
    t.fails(get, "EEXIST", excl="IPC_CREAT | IPC_EXCL and a key that exists")
    t.works(get, creat="IPC_CREAT makes an object for a new key", creat_again="IPC_CREAT finds a key that exists",
            find="flags 0 find a key that exists", excl_alone="IPC_EXCL without IPC_CREAT is ignored",
            creat_excl="IPC_CREAT | IPC_EXCL makes an object for a new key",
            private="IPC_PRIVATE makes a new object each time, without IPC_CREAT and with IPC_EXCL",
            mode="the mode is the low nine bits of the flags", owner="owner and creator are the effective uid and gid",
            new_times="a new object has a change time and no other times", unknown_flag="unknown flags are ignored")
    t.ids(ctl, "IPC_STAT", "IPC_SET", "IPC_RMID")
    t.pointers(ctl, False, "IPC_SET")
    t.pointers(ctl, True, "IPC_STAT", "IPC_INFO", info, stat, stat_any)
    for command in ("IPC_INFO", info):
        t.fails(ctl, "EINVAL", **{command + "_negative": command + ", a negative id"})
    for command in (stat, stat_any):
        t.fails(ctl, "EINVAL", **{command + "_negative": command + ", a negative index",
                                  command + "_unused": command + ", an index that was freed",
                                  command + "_beyond": command + ", an index beyond the highest"})
    t.fails(ctl, "EINVAL", command_10="a command of no family (10)", command_99="a command of no family (99)",
            command_negative="a negative command", set_uid="IPC_SET, uid -1", set_gid="IPC_SET, gid -1",
            stat_id_before_pointer="IPC_STAT, an unknown id and NULL: the id is looked at first")
    t.fails(ctl, "EFAULT", set_pointer_before_id="IPC_SET, an unknown id and NULL: the pointer is followed first")
    t.works(ctl, ipc_stat="IPC_STAT gives key, owner, creator and mode", ipc_set="IPC_SET sets uid, gid and mode",
            ipc_set_rest="IPC_SET leaves key and creator alone",
            ipc_set_mode="IPC_SET sets the low nine bits of the mode only",
            ipc_set_ctime="IPC_SET sets the change time",
            ipc_rmid="IPC_RMID removes", ipc_rmid_pointer="IPC_RMID does not look at its pointer",
            ipc_rmid_key="IPC_RMID frees the key for a new object with another id",
            ipc_info_index="IPC_INFO returns the highest index in use",
            info_index=f"{info} returns the highest index in use",
            info_empty=f"{info} and IPC_INFO return 0 with no object",
            info_any_id=f"IPC_INFO and {info} take any id that is not negative",
            stat_index=f"{stat} finds the object of an index and returns its id",
            stat_any_index=f"{stat_any} finds the object of an index and returns its id",
            stat_by_id=f"{stat} and {stat_any} look at the index in an id only", used=f"{info} counts the objects")
    t.absent(ctl, "EIDRM", "race", "a removal during the call", "only in a race with IPC_RMID; afterwards it is EINVAL")


def shm():
    t = Table()
    common(t, "shm")
    t.fails("shmget", "EINVAL", size_0="a new segment of 0 bytes", over_shmmax="a new segment larger than SHMMAX",
            over_existing="a size larger than the existing segment's",
            huge_size="SHM_HUGETLB with a page size that the machine does not have")
    t.fails("shmget", "ENOENT", before_size="size 0 and no such key: the key comes first")
    t.fails("shmget", "EEXIST", before_size="IPC_EXCL and a size too large for the segment: EEXIST comes first")
    t.fails("shmget", "ENOMEM", too_large="a segment of 128 TiB", huge_none="SHM_HUGETLB and no huge page free",
            huge_2mb_none="SHM_HUGETLB | SHM_HUGE_2MB and none free",
            huge_1gb_none="SHM_HUGETLB | SHM_HUGE_1GB and none free")
    t.works("shmget", segsz="the size is kept exactly, not rounded", zeros="a new segment holds zeros",
            new_fields="a new segment has its creator's pid, no last pid and no attachment",
            size_0="size 0 finds an existing segment", smaller="a smaller size finds an existing segment",
            noreserve="SHM_NORESERVE makes a segment larger than memory",
            huge="SHM_HUGETLB makes a segment of huge pages",
            huge_bits="SHM_HUGE_2MB without SHM_HUGETLB is ignored")
    t.absent("shmget", "ENFILE", "files", "too many open files", "root is exempt, and the limit is the whole machine's")
    t.ids("shmat")
    t.fails("shmat", "EINVAL", unaligned="an address that is not of a page, without SHM_RND",
            remap_null="SHM_REMAP and NULL", remap_rnd_low="SHM_REMAP | SHM_RND and an address that rounds to NULL",
            occupied="an address in use, without SHM_REMAP", partly_occupied="a range whose last page is in use",
            wraps="a range that goes past the end of the address space")
    t.fails("shmat", "ENOMEM", kernel="an address in the kernel's half",
            too_large="a segment larger than the address space",
            rlimit_as="a segment larger than what RLIMIT_AS leaves")
    t.fails("shmat", "EPERM", mmap_min_addr="an address below mmap_min_addr, without CAP_SYS_RAWIO")
    t.works("shmat", null="NULL: an address is chosen, and the memory is shared",
            fields="the attachment is counted, with pid and time",
            address="a free address is taken as given", rnd="SHM_RND rounds the address down to SHMLBA",
            rnd_aligned="SHM_RND leaves an aligned address as it is",
            rdonly="SHM_RDONLY lets read and not write", rdonly_mprotect="SHM_RDONLY: mprotect cannot allow writing",
            exec="SHM_EXEC maps executable", no_exec="without SHM_EXEC it is not executable",
            remap="SHM_REMAP replaces what is mapped there", twice="the same segment attaches twice",
            removed="a removed segment that is still attached can be attached by id",
            unknown_flag="unknown flags are ignored")
    t.absent("shmat", "EIDRM", "race", "a removal during the call",
            "only in a race with IPC_RMID; afterwards it is EINVAL")
    t.fails("shmdt", "EINVAL", null="NULL", kernel="a pointer into the kernel's half",
            unaligned="an address that is not of a page",
            not_attached="memory that is not a segment", middle="an address within a segment",
            twice="a segment detached already")
    t.works("shmdt", fields="the attachment is uncounted, with pid and time", unmaps="the memory is gone",
            destroys="the last detach destroys a removed segment")
    t.ids("shmctl", "SHM_LOCK", "SHM_UNLOCK")
    t.fails("shmctl", "EINVAL", command_foreign="a command of semctl (SETVAL)")
    t.fails("shmctl", "EPERM", lock_rlimit_0="SHM_LOCK with RLIMIT_MEMLOCK 0, without CAP_IPC_LOCK")
    t.fails("shmctl", "ENOMEM", lock_rlimit="SHM_LOCK of more than RLIMIT_MEMLOCK, without CAP_IPC_LOCK")
    t.works("shmctl", lock="SHM_LOCK sets SHM_LOCKED", lock_twice="SHM_LOCK of a locked segment",
            unlock="SHM_UNLOCK clears SHM_LOCKED",
            unlock_unlocked="SHM_UNLOCK of an unlocked segment",
            lock_pointer="SHM_LOCK and SHM_UNLOCK do not look at their pointer",
            lock_set="IPC_SET leaves SHM_LOCKED alone",
            rmid_attached="IPC_RMID of an attached segment sets SHM_DEST and makes its key private",
            rmid_memory="IPC_RMID of an attached segment leaves its memory",
            rmid_twice="IPC_RMID of a removed segment that is still attached",
            dest_set="IPC_SET works on a removed segment that is still attached, and leaves SHM_DEST alone",
            ipc_info="IPC_INFO gives the limits", shm_info="SHM_INFO counts pages, and resident ones",
            stat_size="SHM_STAT and SHM_STAT_ANY give all that IPC_STAT gives")
    t.absent("shmctl", "EOVERFLOW", "fields", "a uid or gid that does not fit",
            "the structures of 64-bit programs hold them all")
    return t


def semop(t, call):
    """The rows of semop, and again of semtimedop with a long timeout; same order."""
    t.ids(call)
    t.pointers(call, False)
    t.fails(call, "EINVAL", nsops_0="no operations",
            nsops_before_pointer="no operations and NULL: the number comes first")
    t.fails(call, "E2BIG", nsops="more than SEMOPM operations",
            before_pointer="too many operations and NULL: the number comes first")
    t.fails(call, "EFAULT", before_id="an unknown id and NULL: the pointer is followed first",
            array_end="an array that runs into a page without access")
    t.fails(call, "EFBIG", sem_num="a semaphore number as high as the set's size", sem_num_max="semaphore number 65535",
            second="a bad semaphore number in the second operation",
            before_eagain="a bad number behind an operation that would wait")
    t.fails(call, "EAGAIN", decrease="IPC_NOWAIT and too small a value", zero="IPC_NOWAIT, waiting for zero",
            second="IPC_NOWAIT in the operation that cannot proceed, in an array")
    t.fails(call, "ERANGE", over="a value that would exceed SEMVMX", array="two operations that together exceed SEMVMX",
            undo="SEM_UNDO and an adjustment that would exceed SEMAEM")
    t.fails(call, "EINTR", signal="a signal caught while asleep",
            restart="a signal caught while asleep, with SA_RESTART",
            zero="a signal caught while waiting for zero")
    t.fails(call, "EIDRM", asleep="the set removed while asleep", zero="the set removed while waiting for zero")
    t.works(call, increase="a positive operation adds", decrease="a negative operation takes",
            zero="operation 0 passes at zero",
            array="an array is performed in order, as one", atomic="an array that fails changes nothing",
            same_twice="an array may name a semaphore twice", semopm="SEMOPM operations in one array",
            pid="the value's last pid is the caller's", zero_pid="operation 0 sets the last pid too",
            otime="the time of the last operation is set",
            undo="SEM_UNDO is undone at exit",
            undo_add="SEM_UNDO of an increase is undone at exit, down to zero at most",
            no_undo="an operation without SEM_UNDO is not undone", sleep="a sleeper goes on when the value allows it",
            sleep_zero="a sleeper waiting for zero goes on at zero",
            sleep_given="a sleeper woken by a V has taken it when the V returns",
            unknown_flag="unknown flags are ignored")
    t.absent(call, "ENOMEM", "undo", "no memory for operations or undo entries", "needs a machine without memory")


def sem():
    t = Table()
    common(t, "sem")
    t.fails("semget", "EINVAL", nsems_negative="a negative number of semaphores", nsems_0="a new set of 0 semaphores",
            over_semmsl="a new set larger than SEMMSL", over_existing="a number larger than the existing set's",
            negative_before_enoent="a negative number and no such key: the number comes first",
            over_before_eexist="a number over SEMMSL and IPC_EXCL: the number comes first")
    t.fails("semget", "ENOENT", before_nsems_0="0 semaphores and no such key: the key comes first")
    t.fails("semget", "EEXIST", before_nsems="IPC_EXCL and a number too large for the set: EEXIST comes first")
    t.works("semget", zeros="a new set holds zeros, last pid 0 and no sleepers", nsems="the set has the size asked for",
            nsems_0="0 semaphores find an existing set", fewer="fewer semaphores find an existing set")
    t.absent("semget", "ENOMEM", "memory", "no memory", "needs a machine without memory")
    semop(t, "semop")
    semop(t, "semtimedop")
    t.fails("semtimedop", "EFAULT", timeout_8="the timeout at address 8",
            timeout_kernel="the timeout in the kernel's half", timeout_no_access="the timeout in a page without access")
    t.fails("semtimedop", "EFAULT",
            timeout_before_nsops="a bad timeout pointer and no operations: the timeout is read first",
            sops_before_timeout="NULL operations and a negative timeout: the operations are read first")
    t.fails("semtimedop", "EINVAL", timeout_sec="a timeout of negative seconds",
            timeout_nsec="a timeout of negative nanoseconds",
            timeout_nsec_big="a timeout of 1,000,000,000 nanoseconds",
            timeout_possible="a bad timeout, though the operation could proceed")
    t.fails("semtimedop", "EAGAIN", timeout_0="a timeout of 0", timeout="a timeout of 20 ms",
            timeout_zero="a timeout while waiting for zero")
    t.works("semtimedop", timeout_null="without a timeout it is semop",
            timeout_unused="a timeout of 0 and an operation that can proceed",
            timeout_max="the longest timeout")
    t.ids("semctl", "GETALL", "SETALL", "GETVAL", "SETVAL", "GETPID", "GETNCNT", "GETZCNT")
    t.pointers("semctl", True, "GETALL")
    t.pointers("semctl", False, "SETALL")
    for command in ("GETVAL", "SETVAL", "GETPID", "GETNCNT", "GETZCNT"):
        size = "a semaphore number as high as the set's size"
        t.fails("semctl", "EINVAL", **{command + "_num_negative": command + ", a negative semaphore number",
                                       command + "_num_size": f"{command}, {size}"})
    t.fails("semctl", "ERANGE", setval_negative="SETVAL -1", setval_over="SETVAL over SEMVMX",
            setall_over="SETALL with a value over SEMVMX",
            setval_before_id="SETVAL over SEMVMX and an unknown id: the value comes first")
    t.fails("semctl", "EINVAL", getall_id_before_pointer="GETALL, an unknown id and NULL: the id is looked at first")
    t.works("semctl", getval="GETVAL", setval="SETVAL sets the value, 0 to SEMVMX",
            setval_pid="SETVAL sets the last pid",
            setval_undo="SETVAL clears everybody's undo entries for the semaphore",
            setval_undo_other="SETVAL leaves those of other semaphores",
            setval_wakes="SETVAL lets a sleeper go on", setval_ctime="SETVAL and SETALL set the change time",
            getall="GETALL", setall="SETALL sets all values",
            setall_pid="SETALL sets the last pids", setall_undo="SETALL clears everybody's undo entries",
            setall_nothing="SETALL with a bad value changes nothing",
            setall_wakes="SETALL lets sleepers go on", all_num="GETALL and SETALL do not look at the semaphore number",
            getpid="GETPID is 0 at first and the last process's afterwards",
            getncnt="GETNCNT counts sleepers that want more",
            getzcnt="GETZCNT counts sleepers that wait for zero",
            ipc_stat_nsems="IPC_STAT gives the set's size and times",
            rmid_undo="IPC_RMID drops undo entries", ipc_info="IPC_INFO gives the limits",
            sem_info="SEM_INFO counts sets and semaphores",
            stat_size="SEM_STAT and SEM_STAT_ANY give all that IPC_STAT gives")
    return t


def msg():
    t = Table()
    common(t, "msg")
    t.works("msgget", fields="a new queue is empty, with MSGMNB, and no pids")
    t.absent("msgget", "ENOMEM", "memory", "no memory", "needs a machine without memory")
    t.ids("msgsnd")
    t.pointers("msgsnd", False)
    t.fails("msgsnd", "EFAULT", text="a text that runs into a page without access",
            type_end="a type that runs into a page without access",
            before_id="an unknown id and NULL: the pointer is followed first",
            text_before_id="an unknown id and a bad text: the text is read first",
            before_size="a bad size and NULL: the type is read first")
    t.fails("msgsnd", "EINVAL", type_0="type 0", type_negative="a negative type", size_negative="a negative size",
            size_over="a size over MSGMAX", size_before_text="a size over MSGMAX and a bad text: the size comes first",
            type_before_text="type 0 and a bad text: the type comes first")
    t.fails("msgsnd", "EAGAIN", bytes="IPC_NOWAIT and a queue without room for the text",
            count="IPC_NOWAIT and as many empty messages as msg_qbytes",
            qbytes_0="IPC_NOWAIT, an empty message and msg_qbytes 0",
            larger="IPC_NOWAIT and a text larger than msg_qbytes")
    t.fails("msgsnd", "EINTR", signal="a signal caught while asleep",
            restart="a signal caught while asleep, with SA_RESTART")
    t.fails("msgsnd", "EIDRM", asleep="the queue removed while asleep")
    t.works("msgsnd", empty="a message of 0 bytes", msgmax="a message of MSGMAX bytes",
            fields="number, bytes, pid and time are kept",
            full="a queue takes exactly msg_qbytes", type_max="the largest type",
            sleep="a sleeping sender goes on when there is room",
            nothing="a call that fails leaves the queue as it was", unknown_flag="unknown flags are ignored")
    t.absent("msgsnd", "ENOMEM", "memory", "no memory", "needs a machine without memory")
    t.ids("msgrcv")
    t.pointers("msgrcv", True)
    t.fails("msgrcv", "EFAULT", text="a text that runs into a page without access",
            copy="MSG_COPY and NULL, before the queue is looked at")
    t.fails("msgrcv", "EINVAL", size_negative="a negative size", copy_wait="MSG_COPY without IPC_NOWAIT",
            copy_except="MSG_COPY with MSG_EXCEPT", copy_truncated="MSG_COPY | MSG_NOERROR and too small a buffer",
            id_before_pointer="an unknown id and NULL: the id is looked at first")
    t.fails("msgrcv", "E2BIG", small="too small a buffer, without MSG_NOERROR", size_0="size 0 and a message with text",
            asleep="a message too large for a sleeping receiver", copy="MSG_COPY and too small a buffer")
    t.fails("msgrcv", "ENOMSG", empty="IPC_NOWAIT and an empty queue", type="IPC_NOWAIT and no message of the type",
            negative="IPC_NOWAIT and no type as low", excepted="IPC_NOWAIT | MSG_EXCEPT and messages of that type only",
            copy_end="MSG_COPY beyond the last message", copy_negative="MSG_COPY of a negative position",
            pointer="IPC_NOWAIT, an empty queue and NULL: the pointer is not followed")
    t.fails("msgrcv", "ENOSYS", copy="MSG_COPY in a kernel without CONFIG_CHECKPOINT_RESTORE")
    t.fails("msgrcv", "EINTR", signal="a signal caught while asleep",
            restart="a signal caught while asleep, with SA_RESTART")
    t.fails("msgrcv", "EIDRM", asleep="the queue removed while asleep")
    t.works("msgrcv", first="type 0 takes the first message", type="a type takes the first of that type",
            negative="a negative type takes the first of the lowest type up to it",
            long_min="type LONG_MIN takes the lowest type",
            excepted="MSG_EXCEPT takes the first of another type", except_0="MSG_EXCEPT with type 0 takes the first",
            except_negative="MSG_EXCEPT with a negative type is ignored",
            noerror="MSG_NOERROR cuts a message off, and the rest is lost",
            noerror_0="MSG_NOERROR with size 0 takes a message without its text",
            larger="a larger buffer gives the text's own length", e2big_leaves="a message too large stays in the queue",
            efault_takes="a message that cannot be stored is lost",
            copy="MSG_COPY copies by position and leaves the message",
            copy_fields="MSG_COPY changes no field of the queue", fields="number, bytes, pid and time are kept",
            sleep="a sleeping receiver gets a message that is sent",
            sleep_type="a sleeping receiver is given its type only",
            sleep_fields="a message given to a sleeper is not counted, and its receiver's pid is kept",
            unknown_flag="unknown flags are ignored")
    t.fails("msgctl", "EINVAL", command_foreign="a command of semctl (SETVAL)")
    t.fails("msgctl", "EPERM", qbytes="IPC_SET, msg_qbytes over MSGMNB, without privilege")
    t.works("msgctl", qbytes="IPC_SET sets msg_qbytes",
            qbytes_over="IPC_SET sets msg_qbytes over MSGMNB, with privilege",
            qbytes_wakes="IPC_SET of a larger msg_qbytes lets a sleeping sender go on",
            set_asleep="IPC_SET leaves a receiver asleep",
            rmid_messages="IPC_RMID drops the messages", ipc_info="IPC_INFO gives the limits",
            msg_info="MSG_INFO counts queues, messages and bytes",
            stat_size="MSG_STAT and MSG_STAT_ANY give all that IPC_STAT gives")
    return t


def limit():
    t = Table()
    for call, names in (("shmctl", ("shmmax", "shmall", "shmmni")), ("semctl", ("semmsl", "semmns", "semopm",
    "semmni")),
                        ("msgctl", ("msgmax", "msgmnb", "msgmni"))):
        for name in names:
            t.works(call, **{name: f"IPC_INFO shows {name} as it was set"})
    t.fails("shmget", "EINVAL", shmmax="a segment one byte larger than SHMMAX")
    t.fails("shmget", "ENOSPC", shmall="more pages than SHMALL, together",
            shmall_rounded="a segment of one byte counts as a page",
            shmmni="one more segment than SHMMNI", rounding="a size that does not fit when rounded to pages")
    t.works("shmget", shmmax="a segment of SHMMAX bytes", shmall="exactly SHMALL pages",
            shmmni_find="at SHMMNI an existing key is found",
            freed="after a removal there is room again", dest="a removed segment counts until its last detach")
    t.fails("semget", "EINVAL", semmsl="a set one larger than SEMMSL")
    t.fails("semget", "ENOSPC", semmni="one more set than SEMMNI", semmns="more semaphores than SEMMNS, together")
    t.works("semget", semmsl="a set of SEMMSL semaphores", semmns="exactly SEMMNS semaphores",
            semmni_find="at SEMMNI an existing key is found",
            freed="after a removal there is room again")
    t.fails("semop", "E2BIG", semopm="one operation more than SEMOPM")
    t.works("semop", semopm="SEMOPM operations")
    t.fails("msgget", "ENOSPC", msgmni="one more queue than MSGMNI")
    t.works("msgget", msgmni_find="at MSGMNI an existing key is found", freed="after a removal there is room again",
            msgmnb="MSGMNB becomes the msg_qbytes of new queues", msgmnb_old="and not of queues that exist")
    t.fails("msgsnd", "EINVAL", msgmax="a text one byte larger than MSGMAX")
    t.fails("msgsnd", "EAGAIN", msgmnb="more than MSGMNB bytes in a new queue")
    t.works("msgsnd", msgmax="a text of MSGMAX bytes")
    t.works("msgrcv", msgmax="a message larger than a MSGMAX that was lowered since")
    return t


def uid():
    t = Table()
    for mode, who in (("0600", "another user"), ("0606", "the group, where only others may"), ("0066",
    "the owner, where only others may")):
        tag = {"0600": "other", "0606": "group", "0066": "owner"}[mode]
        text = f"mode {mode}, for {who}"
        for call in ("shmget", "semget", "msgget"):
            t.fails(call, "EACCES", **{tag: f"flags 0600 and a key that exists, {text}"})
            t.works(call, **{tag + "_flags_0": f"flags 0 ask for no permission, {text}"})
        t.fails("shmat", "EACCES", **{tag + "_rdonly": "SHM_RDONLY, " + text, tag: text})
        t.fails("semop", "EACCES", **{tag + "_alter": "a change, " + text, tag + "_zero": "waiting for zero, " + text})
        for command in ("GETVAL", "GETPID", "GETNCNT", "GETZCNT", "GETALL", "SETVAL", "SETALL", "IPC_STAT", "SEM_STAT"):
            t.fails("semctl", "EACCES", **{f"{tag}_{command}": f"{command}, {text}"})
        t.fails("msgsnd", "EACCES", **{tag: text})
        t.fails("msgrcv", "EACCES", **{tag: text})
        for call, commands in (("shmctl", ("IPC_STAT", "SHM_STAT")), ("msgctl", ("IPC_STAT", "MSG_STAT"))):
            for command in commands:
                t.fails(call, "EACCES", **{f"{tag}_{command}": f"{command}, {text}"})
    for mode, err in (("0644", "EACCES"), ("0622", "EACCES")):
        may = mode == "0644"
        tag, text = ("read", "mode 0644, for another user") if may else ("write", "mode 0622, for another user")
        good, bad = (t.works, lambda c, **k: t.fails(c, "EACCES", **k))[::1 if may else -1]
        for call in ("shmget", "semget", "msgget"):
            t.works(call, **{tag + "_asked": f"flags {'0444' if may else '0222'} find a key, {text}"})
            t.fails(call, "EACCES", **{tag + "_more": f"flags 0666 and a key that exists, {text}"})
        good("shmat", **{tag + "_rdonly": "SHM_RDONLY, " + text})
        t.fails("shmat", "EACCES", **{tag: "for reading and writing, " + text})
        bad("semop", **{tag + "_alter": "a change, " + text})
        good("semop", **{tag + "_zero": "waiting for zero, " + text})
        good("semctl", **{tag + "_getval": "GETVAL, " + text})
        bad("semctl", **{tag + "_setval": "SETVAL, " + text})
        bad("msgsnd", **{tag: text})
        good("msgrcv", **{tag: text})
        for call in ("shmctl", "semctl", "msgctl"):
            good(call, **{tag + "_stat": "IPC_STAT, " + text})
    for call, any_command in (("shmctl", "SHM_STAT_ANY"), ("semctl", "SEM_STAT_ANY"), ("msgctl", "MSG_STAT_ANY")):
        t.fails(call, "EPERM", ipc_set="IPC_SET, neither owner nor creator, mode 0666",
                ipc_rmid="IPC_RMID, neither owner nor creator, mode 0666",
                before_uid="IPC_SET, uid -1 by another user: permission first")
        t.fails(call, "EFAULT", before_eperm="IPC_SET, NULL by another user: the pointer is followed first")
        t.fails(call, "EACCES", before_efault="IPC_STAT, NULL by another user: permission first")
        t.works(call, stat_any=f"{any_command} asks for no permission",
                all_stat="IPC_STAT, mode 0666, for another user",
                info="IPC_INFO asks for no permission",
                owner_stat="IPC_STAT by a new owner, mode 0600", owner_set="IPC_SET by a new owner",
                owner_rmid="IPC_RMID by a new owner", creator_set="IPC_SET by a creator who is not the owner",
                creator_stat="IPC_STAT by a creator who is not the owner, mode 0600")
    t.fails("shmctl", "EPERM", shm_lock="SHM_LOCK, neither owner nor creator",
            shm_unlock="SHM_UNLOCK, neither owner nor creator",
            lock_rlimit_0="SHM_LOCK by the owner with RLIMIT_MEMLOCK 0")
    t.fails("shmctl", "ENOMEM", lock_rlimit="SHM_LOCK by the owner of more than RLIMIT_MEMLOCK")
    t.works("shmctl", lock_owner="SHM_LOCK and SHM_UNLOCK by the owner, within RLIMIT_MEMLOCK")
    t.fails("shmget", "EPERM", hugetlb="SHM_HUGETLB without CAP_IPC_LOCK, the group or RLIMIT_MEMLOCK")
    t.fails("shmget", "EINVAL", before_eacces="a size larger than the segment, by another user: the size comes first")
    t.fails("shmat", "EACCES", exec_mode="SHM_EXEC by the owner, mode 0600")
    t.works("shmat", exec_mode="SHM_EXEC by the owner, mode 0700", all="mode 0666, for another user",
            kept="what was attached before the change of uid is still there")
    t.fails("semop", "EFBIG", before_eacces="a bad semaphore number, by another user: the number comes first")
    t.fails("semctl", "EACCES", before_num="GETVAL, a bad semaphore number, by another user: permission first")
    t.fails("semctl", "EINVAL", before_eacces="SETVAL, a bad semaphore number, by another user: the number comes first")
    t.fails("semctl", "ERANGE", before_eacces="SETVAL over SEMVMX, by another user: the value comes first")
    t.works("semop", all="mode 0666, for another user", undo="SEM_UNDO of before a change of uid is undone at exit",
            group="mode 0660, for a member of the group", group_list="mode 0660, for a supplementary group",
            cgid="mode 0660, for a member of the creator's group")
    t.works("semctl", all="GETALL and SETALL, mode 0666, for another user")
    t.fails("msgsnd", "EINVAL", before_eacces="type 0, by another user: the type comes first")
    t.fails("msgctl", "EPERM", qbytes="IPC_SET by the owner, msg_qbytes over MSGMNB")
    t.works("msgctl", qbytes="IPC_SET by the owner, msg_qbytes of MSGMNB")
    t.works("msgsnd", all="mode 0666, for another user")
    t.works("msgrcv", all="mode 0666, for another user")
    t.fails("msgrcv", "EACCES", asleep="a receiver asleep when IPC_SET takes its permission away, at the next look")
    return t


TABLES = {"shm": shm, "sem": sem, "msg": msg, "limit": limit, "uid": uid}


def header(tables):
    out = ["/* SPDX-License-Identifier: BSD-2-Clause */",
           "/* Generated by t/gen_table.py, which has the rules: ROW(id, call, errno or 0, what, why not). */",
           "#ifndef T_STD_TABLE_H", "#define T_STD_TABLE_H", ""]
    block = Table()
    common(block, "shm")
    out.append("/* The rows with which the three families' tables begin. */")
    out.append("enum common_row {")
    for ident, *_ in block.rows:
        ident = re.sub("^SHM(?=GET|CTL)", "ANY_", ident)
        out.append("\t" + ident.replace("SHM_INFO", "X_INFO").replace("SHM_STAT", "X_STAT") + ",")
    out += ["};", ""]
    for name, t in tables.items():
        out.append(f"#define TABLE_{name.upper()}(ROW) \\")
        for ident, call, err, what, absent in t.rows:
            tail = f'"{absent}"' if absent else "NULL"
            line = f'\tROW({ident}, "{call}", {err}, "{what}", {tail})'
            if len(line) > 106:
                line = f'\tROW({ident}, "{call}", {err}, \\\n\t\t"{what}", \\\n\t\t{tail})'
            out.append(line + " \\")
        out += ["\t/* end */", ""]
    out.append("#endif")
    return "\n".join(out) + "\n"


# Pages, the calls of each, and words that are no flag, command or errno of a call.
PAGES = {"shmget": ["shmget"], "shmop": ["shmat", "shmdt"], "shmctl": ["shmctl"], "semget": ["semget"],
         "semop": ["semop"], "semctl": ["semctl"], "msgget": ["msgget"],
         "msgop": ["msgsnd", "msgrcv"], "msgctl": ["msgctl"]}
COMMAND = r"\b(?:(?:IPC|SHM|SEM|MSG)_[A-Z0-9_]+|[GS]ET(?:VAL|ALL|PID|NCNT|ZCNT))\b"
NO_COMMAND = {"SHM_HUGE_SHIFT", "SHM_DEST", "SHM_LOCKED", "SEM_SEMUN_UNDEFINED", "IPC_NEW", "IPC_64"}


def man(page):
    env = dict(os.environ, MANWIDTH="200", MANPAGER="cat", LC_ALL="C")
    try:
        r = subprocess.run(["man", "2", page], env=env, capture_output=True, text=True)
    except FileNotFoundError:
        return ""
    return re.sub(".\b", "", r.stdout) if r.returncode == 0 else ""


def missing_from(tables):
    rows = [r for t in tables.values() for r in t.rows]
    for page, calls in PAGES.items():
        text = man(page)
        if "ERRORS" not in text:
            print(f"# the manual page {page}(2) is not installed: not compared")
            continue
        errors = text.split("\nERRORS", 1)[1].split("\nSTANDARDS", 1)[0].split("\nVERSIONS", 1)[0]
        call = calls[0]
        for line in errors.splitlines():
            turn = re.match(r" {7}(\w+)\(\) can fail", line)
            call = turn.group(1) if turn else call
            err = re.match(r" {7}(E[A-Z0-9]+)\b", line)
            if err and not any(r[1] == call and r[2] == err.group(1) for r in rows):
                yield f"{call}(2) has {err.group(1)}"
        for word in set(re.findall(COMMAND, text)) - NO_COMMAND:
            if not any(r[1][:3] == page[:3] and re.search(rf"\b{word}\b", r[3]) for r in rows):
                yield f"{page}(2) has {word}"


def main():
    tables = {name: make() for name, make in TABLES.items()}
    text = header(tables)
    if sys.argv[1:] == ["--check"]:
        bad = list(missing_from(tables))
        if not os.path.exists(OUT) or open(OUT).read() != text:
            bad.append("t/std/table.h is not what the rules give: run t/gen_table.py")
        for line in bad:
            print(f"gen_table.py: {line}", file=sys.stderr)
        return 1 if bad else 0
    with open(OUT, "w") as f:
        f.write(text)
    print(", ".join(f"{name} {len(t.rows)}" for name, t in tables.items()), "rows")
    return 0


if __name__ == "__main__":
    sys.exit(main())
