"""The layers around user code: which of them a level has, in which order they go up.

`prepare` and `confine_ahead` put up what is the same for all, before anybody waits: namespaces' own
devices, the base of the file tree, the system call filter. `build` and `enclose` run in init: the
rest of the tree, the user, no capabilities. `confine` runs in the one child that will run user
code: limits, the user, no capabilities, Landlock, the strict filter. Every layer either holds
afterwards or raises OSError, so that the report tells the truth (sandbox.md 3).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
from typing import Any, Final

from . import capabilities, landlock, mounts, namespaces, seccomp, ways

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38

_libc = ctypes.CDLL(None, use_errno=True)

_RLIMITS: Final = {
    "open_files": resource.RLIMIT_NOFILE,
    "processes": resource.RLIMIT_NPROC,
    "file_bytes": resource.RLIMIT_FSIZE,
    "address_bytes": resource.RLIMIT_AS,
    "core_bytes": resource.RLIMIT_CORE,
    "cpu_s": resource.RLIMIT_CPU,
}
_TCP_ABI: Final = 4
#: What every program reads besides the files that its sandbox names.
_READ: Final = (*mounts.SYSTEM, "/etc", "/proc")


def _prctl(option: int, value: int | bytes) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl({option}): {os.strerror(code)}")


def name_process(name: str) -> None:
    """Set the name that `ps` and `top` show (15 bytes at most)."""
    _prctl(_PR_SET_NAME, name.encode()[:15])


def adopt_orphans() -> None:
    """Make this process the parent of every descendant whose own parent ends."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(parent: int) -> None:
    """Be killed when the parent ends; closes the race in which it has ended already."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def forbid_privileges() -> None:
    """Let no later exec gain privileges (set-user-id programs, file capabilities)."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def limit_resources(limits: dict[str, Any]) -> None:
    """Apply the rlimits that are given; a limit above the hard one is cut to it."""
    for key, kind in _RLIMITS.items():
        wanted = limits.get(key)
        if wanted is None:
            continue
        hard = resource.getrlimit(kind)[1]
        if hard != resource.RLIM_INFINITY:
            wanted = min(wanted, hard)
        # A second more until the kernel kills without a word: SIGXCPU tells the reason.
        most = wanted + 1 if kind == resource.RLIMIT_CPU else wanted
        resource.setrlimit(kind, (wanted, most if hard == resource.RLIM_INFINITY else wanted))


def prepare(kind: str, extra: list[str]) -> str:
    """Build ahead what all sandboxes of a kind share; returns what is missing without harm."""
    note = ""
    if kind in ("closed", "open"):
        note = mounts.prepare(extra)
    elif kind == "trusted":
        mounts.renew_proc()
    if kind == "closed":
        namespaces.raise_loopback()
    return note


def build(spec: dict[str, Any], extra: list[str]) -> None:
    """Finish the sandbox's file tree and leave the host's; runs in init.

    Raises:
        OSError: naming the step; nothing of the sandbox may be used then.
    """
    os.umask(0o022)
    if spec["kind"] != "bare":
        with contextlib.suppress(OSError):  # what the cgroup is called is no secret worth a failure
            namespaces.enter_cgroup()
    if spec["kind"] in ("closed", "open"):
        mounts.finish(spec)
    elif spec["kind"] == "trusted" and spec["uid"]:
        sources = [mount[0] for mount in spec["mounts"]]
        ways.open_ways([*extra, spec["cwd"], *spec["scratch"]["paths"], *sources])


def enclose(spec: dict[str, Any]) -> None:
    """Give up init's own rights, but for the sandbox without a pid namespace.

    That one stays what the platform is: only so can it end processes of another user.
    """
    if spec["kind"] != "bare":
        _give_up_privileges(spec)
        forbid_privileges()
        capabilities.set_dumpable(False)


def seal(kind: str) -> None:
    """Empty the bounding set ahead: that takes longest of all that is done about capabilities."""
    if kind != "bare":
        with contextlib.suppress(OSError):  # a container without CAP_SETPCAP: told when dropped
            capabilities.seal()


def confine_ahead(parent: int, *, filtered: bool) -> None:
    """Put those layers on the resident that are the same whatever it becomes."""
    die_with_parent(parent)
    forbid_privileges()
    if filtered and not seccomp.available():
        seccomp.install()
    with contextlib.suppress(OSError):
        capabilities.seal()


def confine(spec: dict[str, Any], parent: int, extra: list[str]) -> dict[str, Any]:
    """Put the last layers around the calling process, which runs user code right after.

    Returns what holds now, for the status of the function or run.

    Raises:
        OSError: naming the step.
    """
    os.umask(0o022)
    limit_resources(spec["limits"])
    _give_up_privileges(spec)
    _check_reach(spec)
    forbid_privileges()
    capabilities.set_dumpable(True)  # /proc/self is the process's own business (sandbox.md T10)
    because = [spec["because"]] if spec["because"] else []
    abi = _restrict_files(spec, extra, because)
    filtered = _filter_calls(spec, because)
    # Last: privilege changes clear it (sandbox.md T11).
    die_with_parent(parent)
    return _report(spec, abi, filtered, because)


def warm() -> None:
    """Walk through what `confine` does, as far as it leaves no trace."""
    capabilities.current()
    landlock.abi()
    for kind in _RLIMITS.values():
        resource.getrlimit(kind)
    for path in _READ:
        os.path.exists(path)
    signal.pthread_sigmask(signal.SIG_SETMASK, set())
    _max_fd()


def _give_up_privileges(spec: dict[str, Any]) -> None:
    keeps = "capabilities" in spec["without"]
    if spec["uid"]:
        if not keeps:
            capabilities.seal()  # before: a user other than root may not
        capabilities.change_user(spec["uid"])
    if not keeps:
        capabilities.drop()


def _check_reach(spec: dict[str, Any]) -> None:
    """Tell in words when the sandbox's user cannot get at what it is to run (sandbox.md T3)."""
    for path in (spec["cwd"], os.path.dirname(os.__file__)):
        try:
            os.stat(path)
            allowed = os.access(path, os.R_OK | os.X_OK)
        except PermissionError:
            allowed = False  # a folder above it is closed
        except OSError:
            allowed = True  # that it is not there is told by whoever needs it
        if not allowed:
            raise PermissionError(
                13,
                f"the user {os.geteuid()} of the sandbox may not read {path}: "
                "chmod o+rx it and the folders above",
            )


def _restrict_files(spec: dict[str, Any], extra: list[str], because: list[str]) -> int | None:
    if spec["level"] == "trusted" or "landlock" in spec["without"]:
        return None
    writable = [*spec["scratch"]["paths"], *(m[1] for m in spec["mounts"] if m[2])]
    if spec["kind"] != "bare":
        writable += mounts.SCRATCH
    read = [*_READ, *extra, *(m[1] for m in spec["mounts"] if not m[2])]
    connect = spec["ports"] if spec["network"] == "outbound" else None
    if spec["kind"] == "bare" and spec["network"] == "none":
        connect = []
    try:
        return landlock.restrict(
            read=[path for path in read if os.path.exists(path)],
            write=[path for path in writable if os.path.exists(path)],
            connect=connect,
            bind=spec["listen"],
            # A tree of its own may be listed; of the host's, what Python's import must list.
            look=["/"] if spec["kind"] != "bare" else [spec["cwd"]],
        )
    except OSError as error:
        if landlock.abi() > 0:
            raise OSError(error.errno, f"landlock: {error}") from error
        because.append(f"landlock: {error.strerror}: a kernel of 5.13 or newer has it")
        return None


def _filter_calls(spec: dict[str, Any], because: list[str]) -> bool:
    """Tell whether calls are filtered; the strict filter comes on top of the one put on ahead."""
    if not spec["filtered"]:
        return False
    if missing := seccomp.available():
        because.append(f"seccomp: {missing}")
        return False
    if spec["level"] == "strict" and not spec["argv"]:  # a job is a program: it must be started
        seccomp.install(strict=True)
    return True


def _report(
    spec: dict[str, Any], abi: int | None, filtered: bool, because: list[str]
) -> dict[str, Any]:
    named = list(namespaces.KINDS[spec["kind"]])
    if named and not spec["privileged"]:
        named.insert(0, "user")
    has_net = "net" in named
    limited = spec["network"] != "host" and (abi or 0) >= _TCP_ABI
    return {
        "level": "process" if _is_less(spec, filtered) else spec["level"],
        "namespaces": named,
        "landlock_abi": abi,
        "seccomp": filtered,
        "no_new_privs": True,
        "rlimits": True,
        "uid": os.geteuid(),
        "network": "none" if has_net else spec["network"] if limited else "host",
        "tree_kill": "pidns" if "pid" in named else "subreaper",
        "degraded_because": because[0] if because else "",
    }


def _is_less(spec: dict[str, Any], filtered: bool) -> bool:
    return spec["level"] != "trusted" and (spec["kind"] == "bare" or not filtered)


def reset_signals() -> None:
    """Give the next program the dispositions that it would have under a shell."""
    for number in (signal.SIGCHLD, signal.SIGPIPE, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, set())


def close_except(keep: set[int]) -> None:
    """Close every descriptor above stderr that is not in `keep`."""
    low = 3
    for fd in sorted(keep):
        if fd >= low:
            os.closerange(low, fd)
            low = fd + 1
    os.closerange(low, _max_fd())


def _max_fd() -> int:
    try:
        return max(int(name) for name in os.listdir("/proc/self/fd")) + 1
    except OSError:
        return 65536
