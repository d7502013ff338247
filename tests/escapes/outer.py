"""What hostile runs happen in: a pid name space with limits and a watchdog.

    python -m escapes.outer [--seconds N] [--user N] [--reachable] [--refuse-namespaces] -- ARGV

Whatever the program starts ends with it, fork bombs too (sandbox.md T6), because the end of the
name space's first process ends all. Pids in it begin high: no pid in a sandbox within can be
mistaken for one of its host. Exit codes of its own: 97 when processes were left at the program's
end, 98 when it cannot do its part, 124 when the time was over; 128 + N for signal N.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import resource
import signal
import struct
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

from real import unprivileged

LEFT, UNABLE, LATE = 97, 98, 124
_FIRST_PID = 20_000
_CGROUPS = Path("/sys/fs/cgroup")
_CGROUP_LIMITS = {
    "pids.max": "1500",
    "memory.max": str(3 << 30),
    "memory.limit_in_bytes": str(3 << 30),
    "cgroup.subtree_control": "+pids +memory +cpu",
}
_LEAVE_S = 5.0

_NEWNS, _NEWUSER, _NEWPID = 0x20000, 0x10000000, 0x20000000
_NEW_ANY = 0x7E020080
_PDEATHSIG, _SET_SECCOMP = 1, 22
_libc = ctypes.CDLL(None, use_errno=True)


def main(arguments: list[str]) -> int:
    """Run the program and return its exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--user", type=int, default=os.getuid())
    parser.add_argument("--reachable", action="store_true")
    parser.add_argument("--refuse-namespaces", action="store_true")
    parser.add_argument("argv", nargs="+")
    options = parser.parse_args(arguments)
    with _cgroups() as cgroups:
        options.cgroups = [os.open(each / "cgroup.procs", os.O_WRONLY) for each in cgroups]
        _unshare()
        first = os.fork()
        if first == 0:
            _guarded(_be_first, options)
        return _wait(first, options.seconds)


def _guarded(action: Callable[[argparse.Namespace], int], options: argparse.Namespace) -> NoReturn:
    try:
        os._exit(action(options))
    except BaseException as error:  # noqa: BLE001 - a fork must not return into its parent's code
        sys.stderr.write(f"outer: {error!r}\n")
        sys.stderr.flush()
        os._exit(UNABLE)


def _unshare() -> None:
    uid, gid = os.getuid(), os.getgid()
    _check(_libc.unshare(_NEWPID | _NEWNS | (_NEWUSER if uid else 0)), "unshare")
    if uid:
        for name, line in (("setgroups", "deny"), ("uid_map", uid), ("gid_map", gid)):
            text = line if isinstance(line, str) else f"{line} {line} 1"
            Path(f"/proc/self/{name}").write_text(text)


def _be_first(options: argparse.Namespace) -> int:
    """Be the init of the name space: prepare it, start the program, look at what it left."""
    _libc.prctl(_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    os.umask(0o022)
    _check(_libc.mount(None, b"/", None, ctypes.c_ulong(0x44000), None), "private mounts")
    _check(_libc.mount(b"proc", b"/proc", b"proc", ctypes.c_ulong(14), None), "mount /proc")
    if options.reachable:
        unprivileged.make_reachable()
    _begin_pids_high()
    program = os.fork()
    if program == 0:
        _guarded(_become_program, options)
    while (ended := os.wait())[0] != program:
        pass  # orphans come here
    left = _left()
    if left:
        sys.stderr.write("left when the program had ended: " + ", ".join(left) + "\n")
        sys.stderr.flush()
        return LEFT
    return _exit_code(ended[1])


def _become_program(options: argparse.Namespace) -> NoReturn:
    for fd in options.cgroups:
        with contextlib.suppress(OSError):  # cpuset wants more than we have said
            os.write(fd, b"0")
    if options.refuse_namespaces:
        _refuse_namespaces()
    if options.user != os.getuid():
        unprivileged.become(options.user)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.execvp(options.argv[0], options.argv)


def _left() -> list[str]:
    """Wait, in bounds, until nobody else is there; return who is."""
    deadline = time.monotonic() + _LEAVE_S
    while True:
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        left = [entry for entry in os.listdir("/proc") if entry.isdigit() and entry != "1"]
        if not left or time.monotonic() > deadline:
            return [f"{pid} {_name(pid)}" for pid in left]
        time.sleep(0.02)


def _name(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "?"


def _begin_pids_high() -> None:
    try:
        Path("/proc/sys/kernel/ns_last_pid").write_text(str(_FIRST_PID))
    except OSError:  # a kernel without it: use pids up until none of a sandbox comes so far
        while (pid := os.fork()) < 3000:
            if pid == 0:
                os._exit(0)
            os.waitpid(pid, 0)


def _wait(pid: int, seconds: float) -> int:
    """Wait for the name space's end; end it when the time is over."""
    pidfd = os.pidfd_open(pid)
    deadline = time.monotonic() + seconds
    while not os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        if time.monotonic() > deadline:
            sys.stderr.write(f"outer: not over after {seconds} s\n")
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            os.waitpid(pid, 0)
            return LATE
        time.sleep(0.01)
    return _exit_code(os.waitpid(pid, 0)[1])


def _exit_code(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


@contextlib.contextmanager
def _cgroups() -> Iterator[list[Path]]:
    """Make cgroups with limits, as far as that is allowed; yields those to stand in.

    They are a level below the limits: so the program may divide them as its own.
    """
    made: list[Path] = []
    try:
        for parent in _own_cgroups():
            folder = parent / f"escapes-{os.getpid()}"
            with contextlib.suppress(OSError):
                folder.mkdir()
                made.append(folder)
                _limit(folder)
                (folder / "run").mkdir()
                made.append(folder / "run")
        yield [folder for folder in made if folder.name == "run"]
    finally:
        for folder in reversed(made):
            _remove(folder)


def _remove(folder: Path) -> None:
    """Remove a cgroup; who was killed is in it until it is quite gone, who was left stays."""
    deadline = time.monotonic() + _LEAVE_S
    while folder.exists():
        try:
            folder.rmdir()
        except OSError:
            if time.monotonic() > deadline:
                sys.stderr.write(f"left: {folder}\n")
                return
            time.sleep(0.02)


def _limit(folder: Path) -> None:
    for file, value in _CGROUP_LIMITS.items():
        with contextlib.suppress(OSError):  # a hierarchy without this controller
            if (folder / file).exists():
                (folder / file).write_text(value)


def _own_cgroups() -> Iterator[Path]:
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        for mount in (controllers,) if controllers else ("unified", ""):
            own = _CGROUPS / mount / path.lstrip("/")
            # cpuset lets nobody in who has not chosen processors before.
            if controllers != "cpuset" and (own / "cgroup.procs").exists():
                yield own
                break


# --- a machine whose operator refuses name spaces -------------------------------------------------

_REFUSED = {
    "x86_64": (0xC000003E, 56, 435, (165, 272, 308, 155, 428, 429, 430, 442)),
    "aarch64": (0xC00000B7, 220, 435, (40, 97, 268, 41, 428, 429, 430, 442)),
}
_EPERM, _ENOSYS, _ALLOW = 0x50001, 0x50026, 0x7FFF0000
_LOAD, _EQUAL, _SET, _RETURN = 0x20, 0x15, 0x45, 0x06


def _refuse_namespaces() -> None:
    """Refuse what container engines refuse by default: name spaces, mounts; clone3 is unknown."""
    arch, clone, clone3, others = _REFUSED[os.uname().machine]
    program = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, arch), (_RETURN, 0, 0, _ALLOW), (_LOAD, 0, 0, 0)]
    for number in others:
        program += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _EPERM)]
    program += [(_EQUAL, 0, 1, clone3), (_RETURN, 0, 0, _ENOSYS)]
    program += [(_EQUAL, 0, 3, clone), (_LOAD, 0, 0, 16), (_SET, 0, 1, _NEW_ANY)]
    program += [(_RETURN, 0, 0, _EPERM), (_RETURN, 0, 0, _ALLOW)]
    code = b"".join(struct.pack("HBBI", *each) for each in program)
    filters = ctypes.create_string_buffer(code, len(code))
    header = struct.pack("HxxxxxxP", len(program), ctypes.addressof(filters))
    _check(_libc.prctl(_SET_SECCOMP, 2, ctypes.create_string_buffer(header), 0, 0), "seccomp")


def _check(result: int, what: str) -> None:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
