"""The seccomp filter in real processes: what they cannot do any more, and what they still can."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path

import pytest
from real.filtered import finds

from sandbox.runtime import syscalls

pytestmark = [pytest.mark.real, pytest.mark.core]

MACHINE = os.uname().machine
NUMBERS = syscalls.MACHINES[MACHINE]

# ------------------------------------------------------------------------------------- refusals


def numbered(*tables: dict[str, syscalls.Numbers]) -> dict[str, int]:
    found = {name: numbers[NUMBERS.column] for table in tables for name, numbers in table.items()}
    return {name: number for name, number in found.items() if number is not None}


def by_number(calls: dict[str, int], install: str) -> dict[str, str]:
    """Make each call with arguments that no kernel accepts."""
    code = f"""
for name, number in {calls!r}.items():
    found[name] = tried(libc.syscall, number, *[-1] * 6)
"""
    found: dict[str, str] = finds(code, install=install)
    return found


def test_every_refused_call_fails_with_eperm() -> None:
    """By number, each one; without the filter those that any user may make say something else."""
    calls = numbered(*syscalls.REFUSED.values())
    assert set(by_number(calls, "seccomp.install()").values()) == {"EPERM"}
    del calls["vhangup"]  # has no arguments to get wrong: not without the filter
    without = by_number(calls, "")
    assert {without[name] for name in ("ptrace", "kcmp", "process_vm_readv")} <= {"ESRCH", "EINVAL"}


def test_calls_beyond_the_list_do_not_exist() -> None:
    """clone3, openat2 and whatever is newer than the list get ENOSYS."""
    calls = numbered(syscalls.ABSENT) | {str(n): n for n in range(syscalls.NEWEST + 1, 560)}
    assert set(by_number(calls, "seccomp.install()").values()) == {"ENOSYS"}
    assert by_number(numbered(syscalls.ABSENT), "")["clone3"] != "ENOSYS"


#: As libc names the calls and knows their numbers; arguments that do nothing if it went wrong.
BY_NAME = """
nowhere = b"/nonexistent/taak"
zeros = ctypes.create_string_buffer(256)
bad_time = (ctypes.c_long * 2)(0, 10**10)
calls = {
    "ptrace": (-1, -1, 0, 0), "process_vm_readv": (-1, 0, 0, 0, 0, -1),
    "process_vm_writev": (-1, 0, 0, 0, 0, -1), "process_madvise": (-1, 0, 0, 0, -1),
    "process_mrelease": (-1, -1), "pidfd_getfd": (-1, -1, -1),
    "mount": (nowhere, nowhere, nowhere, 0, 0), "umount2": (nowhere, -1),
    "pivot_root": (nowhere, nowhere), "chroot": (nowhere,), "fsopen": (nowhere, -1),
    "fsconfig": (-1, -1, 0, 0, 0), "fsmount": (-1, -1, -1), "fspick": (-1, nowhere, -1),
    "open_tree": (-1, nowhere, -1), "move_mount": (-1, nowhere, -1, nowhere, -1),
    "mount_setattr": (-1, nowhere, -1, zeros, 0),
    "name_to_handle_at": (-1, nowhere, zeros, zeros, -1), "open_by_handle_at": (-1, zeros, -1),
    "quotactl": (-1, nowhere, -1, zeros), "setns": (-1, -1), "unshare": (0x10000000,),
    "init_module": (0, 0, nowhere), "delete_module": (nowhere, 0), "reboot": (-1,),
    "swapon": (nowhere, -1), "swapoff": (nowhere,), "acct": (nowhere,),
    "settimeofday": (bad_time, 0), "clock_settime": (-1, zeros), "adjtimex": (zeros,),
    "clock_adjtime": (-1, zeros), "sethostname": (nowhere, -1), "setdomainname": (nowhere, -1),
    "iopl": (-1,), "ioperm": (-1, -1, -1), "klogctl": (-1, 0, 0), "vhangup": (),
    "fanotify_init": (-1, -1), "fanotify_mark": (-1, -1, -1, -1, nowhere),
    "personality": (0x0400000,), "modify_ldt": (-1, 0, 0),
}
for name, arguments in calls.items():
    if hasattr(libc, name):
        found[name] = tried(getattr(libc, name), *arguments)
"""


def test_the_calls_are_the_ones_that_libc_makes() -> None:
    """The numbers of the tables are right: the same calls by name are refused as well."""
    found = finds(BY_NAME)
    assert len(found) > 25
    wrong_time = found.pop("settimeofday", "EINVAL")  # libc itself may look at it
    assert wrong_time in {"EPERM", "EINVAL"}
    assert {name: told for name, told in found.items() if told != "EPERM"} == {}


NAMESPACES = """
for shift in (17, 25, 26, 27, 28, 29, 30):
    found[f"unshare {shift}"] = tried(libc.unshare, 1 << shift)
    found[f"clone {shift}"] = tried(libc.syscall, CLONE, 1 << shift | 17, 0, 0, 0, 0)
found["time"] = tried(libc.unshare, 0x80)
found["late"] = tried(libc.unshare, 0x100000)
found["files"] = tried(libc.unshare, 0x400)
pid = libc.syscall(CLONE, 0xDEAD << 32 | 17, 0, 0, 0, 0)
if pid == 0:
    os._exit(0)
found["fork"] = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""


def test_no_namespaces_but_processes() -> None:
    """No flag of a namespace gets through; a fork by the same call does."""
    found = finds(f"CLONE = {syscalls.CHECKED['clone'][NUMBERS.column]}\n{NAMESPACES}")
    assert found.pop("files") == "done"
    assert found.pop("fork") == 0
    assert set(found.values()) == {"EPERM"}


SOCKETS = """
import socket
def make(*what):
    try:
        socket.socket(*what).close()
    except OSError as error:
        return errno.errorcode[error.errno]
    return "done"
TCP, UDP = socket.SOCK_STREAM, socket.SOCK_DGRAM
for name, family in {"vsock": 40, "packet": 17, "alg": 38, "bluetooth": 31, "smc": 43}.items():
    found[name] = {make(family, kind) for kind in (TCP, UDP, socket.SOCK_RAW)} == {"EPERM"}
found["raw"] = {make(f, socket.SOCK_RAW, 1) for f in (2, 10)} == {"EPERM"}
found["old packet"] = make(2, 10, 0x300) == "EPERM"
found["audit"] = make(16, socket.SOCK_RAW, 9) == "EPERM"
found["mptcp"] = make(2, TCP, 262) == "EPROTONOSUPPORT"
found["sctp"] = make(2, TCP, 132) == "EPROTONOSUPPORT"
found["unix"] = make(1, TCP) == make(1, UDP) == "done"
found["tcp"] = make(2, TCP, 6) == "done"
found["udp"] = make(2, UDP) == "done"
found["route"] = make(16, socket.SOCK_RAW, 0) == "done"
found["pair"] = attempt(socket.socketpair) == "done"
found["other pair"] = attempt(socket.socketpair, 30) == "EPERM"
server = socket.create_server(("127.0.0.1", 0))
client = socket.socket()
found["ulp"] = attempt(client.setsockopt, 6, 31, b"tls") == "EPERM"
found["nodelay"] = attempt(client.setsockopt, 6, 1, 1) == "done"
fast = 0x20000000
found["fast open"] = attempt(client.sendto, b"x", fast, server.getsockname()) in (
    "EOPNOTSUPP", "ENOTSUP")
found["fast message"] = attempt(client.sendmsg, [b"x"], [], fast, server.getsockname()) in (
    "EOPNOTSUPP", "ENOTSUP")
client.connect(server.getsockname())
client.sendall(b"hello")
found["connected"] = server.accept()[0].recv(5) == b"hello"
"""


def test_sockets() -> None:
    """Families, kinds, protocols and flags that are refused, beside those that work."""
    found = finds(SOCKETS)
    assert {name: good for name, good in found.items() if not good} == {}
    assert len(found) == 21


def test_a_connection_by_sending_is_real_without_the_filter() -> None:
    """The way that Landlock does not see exists: else the refusal above would prove nothing."""
    code = SOCKETS.partition('found["ulp"]')[0] + (
        'found["sent"] = attempt(client.sendto, b"x", 0x20000000, server.getsockname())\n'
        'found["got"] = server.accept()[0].recv(1).decode()\n'
    )
    found = finds(code, install="")
    assert (found["sent"], found["got"]) == ("done", "x")


FILES = """
import fcntl, stat, termios
file = os.open("file", os.O_CREAT | os.O_RDWR, 0o644)
os.mkdir("folder")
found["chmod"] = attempt(os.chmod, "file", 0o4755)
found["fchmod"] = attempt(os.fchmod, file, 0o4755)
found["creat"] = attempt(os.open, "new", os.O_CREAT | os.O_WRONLY, 0o4755)
found["tmpfile"] = attempt(os.open, ".", os.O_TMPFILE | os.O_WRONLY, 0o4755)
found["mknod"] = attempt(os.mknod, "node", stat.S_IFREG | 0o4755)
found["char"] = attempt(os.mknod, "char", stat.S_IFCHR | 0o600, os.makedev(0, 0))
found["block"] = attempt(os.mknod, "block", stat.S_IFBLK | 0o600, os.makedev(7, 0))
main, other = os.openpty()
found["type"] = attempt(fcntl.ioctl, other, termios.TIOCSTI, b"x")
found["hidden"] = tried(libc.ioctl, other, 0xBEEF00000000 | termios.TIOCSTI, b"x")
found["line"] = attempt(fcntl.ioctl, other, 0x5423, b"\\0\\0\\0\\0")
allowed = {
    "mode": attempt(os.chmod, "file", 0o755),
    "shared": attempt(os.chmod, "folder", 0o2775),
    "sticky": attempt(os.chmod, "folder", 0o1777),
    "plain": attempt(os.open, "new", os.O_CREAT | os.O_WRONLY, 0o755),
    "reopened": attempt(os.open, "file", os.O_RDONLY, 0o4755),
    "fifo": attempt(os.mkfifo, "fifo"),
    "node": attempt(os.mknod, "socket", stat.S_IFSOCK | 0o600),
    "size": attempt(fcntl.ioctl, other, termios.TIOCGWINSZ, b"\\0" * 8),
}
found = {"refused": found, "allowed": allowed, "suid": os.stat("file").st_mode & 0o4000}
"""


def test_files_and_terminals(tmp_path: Path) -> None:
    """No set-user-id bit by any way, no device, nothing typed into a terminal; the rest works."""
    found = finds(FILES, tmp_path)
    assert set(found["refused"].values()) == {"EPERM"}
    assert set(found["allowed"].values()) == {"done"}
    assert found["suid"] == 0


FOREIGN = """
import mmap
def status(function):
    pid = os.fork()
    if pid == 0:
        function()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def int80():  # mov $20, %eax (getpid of i386); int $0x80; ret
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(b"\\xb8\\x14\\0\\0\\0\\xcd\\x80\\xc3")
    ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()

def x32():
    libc.syscall(ctypes.c_long(0x40000000 | 39))

found["x32"] = status(x32)
if os.uname().machine == "x86_64":
    found["i386"] = status(int80)
"""


def test_other_ways_into_the_kernel_kill() -> None:
    """A 32-bit call and an x32 call end the process, as no check holds there."""
    found, without = finds(FOREIGN), finds(FOREIGN, install="")
    if MACHINE == "x86_64":
        assert found == {"x32": -signal.SIGSYS, "i386": -signal.SIGSYS}
        # A kernel may have been built without such calls; it answers with another signal.
        assert without["i386"] in {0, -signal.SIGSEGV}
    else:
        assert found == {"x32": 0}
    assert without["x32"] == 0


def test_any_user_can_install_it() -> None:
    """Root or nobody: no_new_privs is enough, and each is then refused what root may do."""
    nobody = "if os.getuid() == 0: os.setgroups([]), os.setresuid(65534, 65534, 65534)\n"
    code = "found['mount'] = tried(libc.syscall, NUMBER, *[-1] * 6)\n"
    code = code.replace("NUMBER", str(syscalls.REFUSED["the file tree"]["mount"][NUMBERS.column]))
    code += "found['uid'] = os.getuid()\n"
    found = finds(code, install=nobody + "seccomp.install()")
    assert found == {"mount": "EPERM", "uid": os.getuid() or 65534}


STATUS = """
def status():
    lines = dict(line.split(":", 1) for line in open("/proc/thread-self/status"))
    return [lines[key].strip() for key in ("NoNewPrivs", "Seccomp")]
"""


def test_the_filter_reaches_all_that_comes_after() -> None:
    """New threads, forks and programs have it, and no_new_privs, too."""
    code = (
        STATUS
        + """
import subprocess, threading
seccomp.install()
found["self"] = status()
thread = threading.Thread(target=lambda: found.update(thread=status()))
thread.start()
thread.join()
found["program"] = subprocess.run(
    ["grep", "-c", "Seccomp:.*2", "/proc/self/status"], stdout=-1).stdout.decode().strip()
"""
    )
    found = finds(code, install="")
    assert found["self"] == found["thread"] == ["1", "2"]
    assert found["program"] == "1"


# ---------------------------------------------------------------------------------- availability


def test_asking_changes_nothing() -> None:
    """`available` says yes on a machine that runs these tests, and leaves the process as it was."""
    code = STATUS + "found['before'] = status()\nfound['told'] = seccomp.available()\n"
    found = finds(code + "found['after'] = status()", install="")
    assert found["told"] == ""
    assert found["before"] == found["after"]


#: What a container does that refuses one operation of seccomp(2), or all: with which error.
OUTER = """
import struct
answer = bpf.verdict(0x50000 | {code})
go_on = bpf.verdict(0x7FFF0000)
hit = {check}
order = bpf.load(0, bpf.equal({number}, yes=hit, no=go_on))
memory = ctypes.create_string_buffer(order, len(order))
libc.prctl(38, 1, 0, 0, 0)
libc.prctl(22, 2, struct.pack("HP", len(order) // 8, ctypes.addressof(memory)), 0, 0)
"""


@pytest.mark.parametrize(
    ("code", "check", "told"),
    [
        (errno.EPERM, "answer", "SECCOMP_GET_ACTION_AVAIL: EPERM: a container's profile"),
        (errno.ENOSYS, "answer", "SECCOMP_GET_ACTION_AVAIL: ENOSYS: the kernel has no seccomp"),
        (errno.EINVAL, "answer", "SECCOMP_GET_ACTION_AVAIL: EINVAL: Linux 4.14 or newer"),
        (
            errno.EINVAL,
            "bpf.load(16, bpf.equal(1, yes=answer, no=go_on))",
            "SECCOMP_SET_MODE_FILTER: EINVAL: Linux 4.14 or newer",
        ),
    ],
)
def test_what_stands_in_the_way_is_named(code: int, check: str, told: str) -> None:
    """The first step that fails, its error and a hint; installing fails with the same."""
    outer = OUTER.format(code=code, check=check, number=NUMBERS.seccomp)
    tail = """
found["told"] = seccomp.available()
try:
    seccomp.install()
except OSError as error:
    found["raised"] = [error.errno, str(error)]
"""
    found = finds(tail, install=outer)
    assert found["told"].startswith(told)
    assert found["raised"][0] == code
    assert "SECCOMP_SET_MODE_FILTER" in found["raised"][1]


def test_filters_add_up() -> None:
    """A program under the filter can restrict itself further, and nothing comes back by that."""
    code = """
seccomp.install()
seccomp.install(strict=True)
import socket
found["socket"] = attempt(socket.socket)
found["namespace"] = tried(libc.unshare, 0x10000000)
found["pair"] = attempt(socket.socketpair)
"""
    found = finds(code, install="")
    assert found == {"socket": "EPERM", "namespace": "EPERM", "pair": "done"}


# ------------------------------------------------------------------------------------- strictness


def test_strict_has_no_programs_and_no_sockets() -> None:
    """Neither is started nor made; fork, pairs, threads and an event loop are there."""
    code = """
import asyncio, socket, subprocess, threading
found["program"] = attempt(subprocess.run, ["true"])
found["exec"] = attempt(os.execv, "/bin/true", ["true"])
found["execveat"] = attempt(os.execve, os.open("/bin/true", os.O_RDONLY), ["true"], {})
found["tcp"] = attempt(socket.socket)
found["unix"] = attempt(socket.socket, socket.AF_UNIX)
pid = os.fork()
if pid == 0:
    os._exit(7)
found["fork"] = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
async def both():
    return await asyncio.gather(asyncio.to_thread(lambda: 1), asyncio.sleep(0, 2))
found["loop"] = asyncio.run(both())
one, other = socket.socketpair()
one.sendall(b"x")
found["pair"] = other.recv(1).decode()
"""
    found = finds(code, install="seccomp.install(strict=True)")
    for refused in ("program", "exec", "execveat", "tcp", "unix"):
        assert found.pop(refused) == "EPERM", refused
    assert found == {"fork": 7, "loop": [1, 2], "pair": "x"}
