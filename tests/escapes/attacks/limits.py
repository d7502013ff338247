"""Attacks on limits: more memory, processes or files than the sandbox was given."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from contextlib import suppress

from .facts import Facts
from .registry import Stopped, alone, attack

_CHUNK = bytes(1 << 20)
_WATCH_S = 2.0  # what is over its memory may be found by a watch, not at once


def _limit(facts: Facts, name: str) -> int:
    limit = facts.limits.get(name, 0)
    if not limit:
        raise Stopped(f"no limit of {name} was given")
    return limit


@attack
def fill_tmp(facts: Facts) -> str:
    """Write more into the folder for temporary files than it may hold."""
    limit = _limit(facts, "tmp_bytes")
    with tempfile.TemporaryFile() as file:
        for _ in range(limit // len(_CHUNK) + 2):
            file.write(_CHUNK)
            file.flush()
        return f"{file.tell()} bytes"


@attack
def fill_tmp_with_files(facts: Facts) -> str:
    """Make more files in the folder for temporary files than it may hold."""
    limit = _limit(facts, "tmp_files")
    with tempfile.TemporaryDirectory() as folder:
        for number in range(limit + 1):
            os.close(os.open(os.path.join(folder, str(number)), os.O_CREAT | os.O_WRONLY))
        return f"{limit + 1} files"


@attack
def too_many_processes(facts: Facts) -> str:
    """Start more processes than the sandbox may have."""
    limit = _limit(facts, "processes")
    children: list[int] = []
    try:
        while len(children) <= limit:
            pid = os.fork()
            if pid == 0:
                signal.pause()
            children.append(pid)
    finally:
        for pid in children:
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    return f"{len(children)} processes"


@alone
def memory_by_memfd(facts: Facts) -> str:
    """Hold more memory than the sandbox may have, in a file without a name (sandbox.md T4)."""
    limit = _limit(facts, "memory_bytes")
    with open(os.memfd_create("more"), "wb", buffering=0) as file:
        file.writelines(_CHUNK for _ in range(limit // len(_CHUNK) + 64))
        time.sleep(_WATCH_S)
        return f"{file.tell()} bytes"


@alone
def memory_by_children(facts: Facts) -> str:
    """Hold more memory than the sandbox may have, spread over processes (sandbox.md T4)."""
    size = _limit(facts, "memory_bytes") // 3
    reader, writer = os.pipe()
    children = [_holder(size, writer) for _ in range(4)]
    os.close(writer)
    with open(reader, "rb") as filled:
        filled.read()  # ends when each has filled its memory, or has ended
    time.sleep(_WATCH_S)
    alive = [pid for pid in children if os.waitpid(pid, os.WNOHANG) == (0, 0)]
    for pid in alive:
        os.kill(pid, signal.SIGKILL)
    if len(alive) < len(children):
        raise Stopped(f"{len(children) - len(alive)} of {len(children)} processes ended")
    return f"{len(alive)} processes with {size} bytes each"


def _holder(size: int, writer: int) -> int:
    pid = os.fork()
    if pid == 0:
        held = bytearray(os.urandom(4096) * (size // 4096))
        os.close(writer)
        signal.pause()
        held.clear()
        os._exit(0)
    return pid
