# SPDX-License-Identifier: BSD-2-Clause
"""What Python programs do with sysv_ipc, for python.sh: each result on a line of its own, without what differs from
run to run (ids, pids, times). A wait that does not end is ended by alarm."""

import os
import signal
import sys
import threading
import time

import sysv_ipc
from sysv_ipc import IPC_CREX, MessageQueue, Semaphore, SharedMemory


def result(what, value):
    print(f"{what} = {value}", flush=True)


def call(what, function, *args, **kwargs):
    """The call's value, or the name of the exception."""
    try:
        value = function(*args, **kwargs)
    except Exception as e:
        value = type(e).__name__
    result(what, value)


def child(function):
    pid = os.fork()
    if not pid:
        status = 1
        try:
            function()
            status = 0
        finally:
            os._exit(status)
    return pid


def ended(what, pid):
    result(f"exit status of {what}", os.waitpid(pid, 0)[1])


def until(condition):
    while not condition():
        time.sleep(0.005)


def shared_memory():
    m = SharedMemory(0x70790001, IPC_CREX, mode=0o640, size=100000, init_character=b".")
    result("size", m.size)
    result("mode", oct(m.mode))
    result("attached", m.number_attached)
    result("its first bytes", m.read(5))
    m.write(b"from the parent", offset=50000)

    def other():
        mine = SharedMemory(0x70790001)
        assert mine.read(15, 50000) == b"from the parent"
        mine.write(b"from the child", offset=60000)

    ended("a child that attaches it", child(other))
    result("read", m.read(14, 60000))
    call("write past the end", m.write, b"0123456789", 99995)
    result("the last pid is not ours", m.last_pid != os.getpid())
    call("made once more", SharedMemory, 0x70790001, IPC_CREX)
    result("memoryview", bytes(memoryview(m)[60000:60004]))
    m.mode = 0o600
    result("mode", oct(m.mode))
    call("detach", m.detach)
    call("read when detached", m.read)
    call("attach read-only", m.attach, None, sysv_ipc.SHM_RDONLY)
    result("attached", m.number_attached)
    m.remove()
    result("still attached", m.number_attached)
    result("read after it was removed", m.read(14, 60000))
    m.detach()
    call("opened by its key", SharedMemory, 0x70790001)


def semaphores():
    s = Semaphore(0x70790002, IPC_CREX, initial_value=3)
    call("made once more", Semaphore, 0x70790002, IPC_CREX)
    call("acquire of 2", s.acquire, None, 2)
    result("value", s.value)
    s.block = False
    call("acquire of 2 without waiting", s.acquire, None, 2)
    s.block = True
    call("acquire of 2 within 50 ms", s.acquire, 0.05, 2)
    thread = threading.Thread(target=s.acquire, args=(None, 4))
    thread.start()
    until(lambda: s.waiting_for_nonzero == 1)
    result("waiting", s.waiting_for_nonzero)
    s.release(3)
    thread.join()
    result("value", s.value)
    pid = child(s.Z)
    os.waitpid(pid, 0)
    result("the pid is the child's", s.last_pid == pid)

    def held():
        s.undo = True
        s.release(5)
        assert s.value == 5

    ended("a child with an adjustment", child(held))
    result("value after its end", s.value)
    with_lock = [0]

    def count():
        for _ in range(500):
            with s:
                with_lock[0] += 1

    s.value = 1
    threads = [threading.Thread(target=count) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    result("counted by four threads", with_lock[0])
    s.value = 0

    def waits():
        try:
            s.acquire()
        except sysv_ipc.ExistentialError:
            return
        raise AssertionError

    pid = child(waits)
    until(lambda: s.waiting_for_nonzero == 1)
    s.remove()
    ended("one that waited when it was removed", pid)


def queues():
    q = MessageQueue(None, IPC_CREX, max_message_size=2048)
    for kind in 5, 1, 3:
        q.send(f"message {kind}", type=kind)
    result("messages", q.current_messages)
    result("of type 3", q.receive(type=3))
    result("of at most 4", q.receive(type=-4))
    result("of any", q.receive())
    call("of none", q.receive, block=False)

    def send():
        for i in range(3000):
            q.send(str(i), type=i % 7 + 1)

    pid = child(send)
    result("sum of 3000", sum(int(q.receive()[0]) for _ in range(3000)))
    ended("their sender", pid)
    result("the last pids", (q.last_send_pid == pid, q.last_receive_pid == os.getpid()))
    q.max_size = 4096
    result("size of the queue", q.max_size)
    q.send(b"x" * 2000)
    q.send(b"x" * 2000)
    call("one too many", q.send, b"x" * 2000, block=False)
    q.remove()
    call("after its end", q.receive)


def walk():
    """attach and remove_* by id, as programs do that know nothing but the id."""
    m = SharedMemory(None, IPC_CREX, size=4096)
    again = sysv_ipc.attach(m.id)
    again.write(b"by id")
    result("read", m.read(5))
    again.detach()
    m.detach()
    sysv_ipc.remove_shared_memory(m.id)
    s = Semaphore(None, IPC_CREX)
    sysv_ipc.remove_semaphore(s.id)
    call("a semaphore that is gone", s.release)
    q = MessageQueue(None, IPC_CREX)
    sysv_ipc.remove_message_queue(q.id)
    call("a queue that is gone", q.send, "x")


signal.alarm(60)
shared_memory()
semaphores()
queues()
walk()
print("end")
sys.exit(0)
