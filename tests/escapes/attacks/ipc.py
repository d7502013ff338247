"""Attacks by ways in which processes talk that are no files: queues, shared memory, keyrings."""

from __future__ import annotations

import ctypes
import os
import socket

from .facts import Facts
from .kernel_calls import libc, syscall
from .registry import Stopped, attack

_SHM_RDONLY = 0o10000
_IPC_NOWAIT = 0o4000
_MSG_COPY = 0o40000
_USER_KEYRING = -4
_SESSION_KEYRING = -3
_KEYCTL_UNLINK = 9


@attack
def shared_memory(facts: Facts) -> str:
    """Read a System V shared memory segment of the host."""
    segment = libc("shmget", facts.ipc_key, 0, 0)
    address = libc("shmat", segment, None, _SHM_RDONLY)
    if ctypes.string_at(address, len(facts.token)) != facts.token.encode():
        raise Stopped("another segment")
    return "the token"


@attack
def message_queue(facts: Facts) -> str:
    """Read a System V message queue of the host; the message stays in it."""
    queue = libc("msgget", facts.ipc_key, 0)
    buffer = ctypes.create_string_buffer(8 + 256)
    flags = _IPC_NOWAIT | _MSG_COPY
    length = libc("msgrcv", queue, buffer, 256, 0, flags)
    if buffer.raw[8 : 8 + length] != facts.token.encode():
        raise Stopped("another queue")
    return "the token"


@attack
def posix_queue(facts: Facts) -> str:
    """Open a POSIX message queue of the host."""
    os.close(syscall("mq_open", facts.mqueue.encode(), os.O_RDWR | os.O_NONBLOCK, 0, None))
    return facts.mqueue


@attack
def user_keyring(facts: Facts) -> str:
    """Leave a key in the keyring that all processes of the user share."""
    return _add_key(_USER_KEYRING)


@attack
def session_keyring(facts: Facts) -> str:
    """Leave a key in the session's keyring, which outlives the sandbox."""
    return _add_key(_SESSION_KEYRING)


def _add_key(ring: int) -> str:
    key = syscall("add_key", b"user", b"taak-escape", b"x", 1, ring)
    syscall("keyctl", _KEYCTL_UNLINK, key, ring)
    return f"key {key}"


def _greeting(facts: Facts, address: str | bytes) -> str:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(5)
        sock.connect(address)
        if sock.recv(256) != facts.token.encode():
            raise Stopped("another listener")
    return "the token"


@attack
def abstract_socket(facts: Facts) -> str:
    """Connect to a socket of the host that has a name and no file."""
    return _greeting(facts, b"\0" + facts.abstract.encode())


@attack
def path_socket(facts: Facts) -> str:
    """Connect to a socket file of the host that anybody may use."""
    return _greeting(facts, facts.files["socket"])
