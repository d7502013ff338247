"""What an attempt is, how it is made, and what is said about it.

An attack returns what it reached; whatever stops it is raised. A use (the other half of each
denial: what must go on working) returns what it did. Each is tried in a process of its own, so
that none spoils the next: one that changes its root, its user or its name space does it there.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import sys
import traceback
from collections.abc import Callable, Mapping

from .facts import Facts

Attempt = Callable[[Facts], str]
Way = Callable[[], object]

ATTACKS: dict[str, Attempt] = {}
USES: dict[str, Attempt] = {}
#: Attacks that may cost the whole sandbox: the harness gives each a sandbox of its own.
ALONE: set[str] = set()
#: Descriptors of the attempt itself, in its own process.
OWN_DESCRIPTORS: set[int] = set()

_TIME_S = 20


class Stopped(Exception):  # noqa: N818 - it is an outcome
    """The attack reached nothing, and no system call said so."""


def attack(function: Attempt) -> Attempt:
    """Register an attack under its own name."""
    ATTACKS[function.__name__] = function
    return function


def alone(function: Attempt) -> Attempt:
    """Register an attack that is tried in a sandbox of its own."""
    ALONE.add(function.__name__)
    return attack(function)


def use(function: Attempt) -> Attempt:
    """Register something that every sandbox must allow."""
    USES[function.__name__] = function
    return function


def attempt(name: str, facts: Facts) -> str:
    """Try one attack or use in a child process.

    Returns "open: WHAT" or "stopped: WHY" for an attack, "works: WHAT" or "refused: WHY" for a
    use, and "broken: TRACEBACK" when it is the attempt that has a fault: that proves nothing.
    """
    function = ATTACKS.get(name) or USES[name]
    good, bad = ("open", "stopped") if name in ATTACKS else ("works", "refused")
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reader)
            OWN_DESCRIPTORS.add(writer)
            os.write(writer, _outcome(function, facts, good, bad).encode()[:60_000])
        finally:
            os._exit(0)
    os.close(writer)
    said = _read(reader, pid)
    _, status = os.waitpid(pid, 0)
    if said:
        return said
    if os.WIFSIGNALED(status):
        return f"{bad}: killed by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"broken: ended with {status} and no word"


def _outcome(function: Attempt, facts: Facts, good: str, bad: str) -> str:
    try:
        return f"{good}: {function(facts)}"
    except OSError as error:
        return f"{bad}: {errno.errorcode.get(error.errno or 0, 'OSError')}: {error}"
    except Stopped as reason:
        return f"{bad}: {reason}"
    except BaseException:  # noqa: BLE001 - a fault of the attempt itself must not look like a denial
        return f"broken: {traceback.format_exc()}"


def _read(fd: int, pid: int) -> str:
    with open(fd, "rb", buffering=0) as pipe:
        if not select.select([pipe], [], [], _TIME_S)[0]:
            os.kill(pid, signal.SIGKILL)
            return f"broken: no end within {_TIME_S} s"
        return (pipe.read(65_536) or b"").decode(errors="replace")


def first_reached(attempts: Mapping[str, Way]) -> str:
    """Try several ways; return the name of the first that goes through.

    Raises:
        Stopped: with the reason of each way, when none does.
    """
    reasons = []
    for name, way in attempts.items():
        try:
            way()
        except (OSError, Stopped) as reason:
            reasons.append(f"{name}: {reason}")
        else:
            return name
    raise Stopped("; ".join(reasons) or "there is nothing to try")


def say(line: str) -> None:
    """Write one line to standard output, whole and at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
