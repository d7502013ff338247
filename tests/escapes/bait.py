"""What the host puts out of reach, so that reaching it can be told: files, listeners, processes.

Everything carries the run's token. It lives in the driver's process, which plays the platform; its
user owns what is private. What is meant to be open to anybody on the machine is open indeed: there
the sandbox must hold, not the mode of a file.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import pty
import secrets
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

from .attacks.facts import Facts
from .attacks.kernel_calls import libc, syscall

#: Its value is in the environment with which the driver is started, and nowhere else.
SECRET = "TAAK_ESCAPE_SECRET"
#: The memory is so much that as many processes as are allowed do not meet its limit first.
LIMITS = {"tmp_bytes": 32 << 20, "tmp_files": 1000, "processes": 64, "memory_bytes": 512 << 20}

_IPC_CREATE, _IPC_REMOVE = 0o3000, 0
_NAMESPACES = ("mnt", "net", "pid", "user", "uts", "ipc", "cgroup")


@dataclass(frozen=True)
class Site:
    """The folders of one run, below one that anybody may enter."""

    root: Path

    @property
    def app(self) -> Path:
        """Return the attacker's app, which holds one package."""
        return self.root / "app"

    @property
    def code(self) -> Path:
        """Return the attacker's package; the facts go in here."""
        return self.app / "f"

    @property
    def data(self) -> Path:
        """Return the attacker's data folder."""
        return self.root / "data"


@contextlib.asynccontextmanager
async def bait(site: Site) -> AsyncIterator[Facts]:
    """Lay the bait and take it away again; yields the facts without those of sandboxes."""
    token = secrets.token_hex(16)
    memory = ctypes.create_string_buffer(token.encode())
    key = secrets.randbelow(1 << 30) + 1
    with contextlib.ExitStack() as stack:
        files = stack.enter_context(_files(site.root, token))
        listeners = stack.enter_context(_listeners(token, files["socket"]))
        stack.enter_context(_queues(token, key))
        bait_pid = stack.enter_context(_process())
        handle, handle_type = _handle(files["canary"])
        yield Facts(
            token=token,
            secret=SECRET,
            pids={"platform": os.getpid(), "bait": bait_pid},
            memory=ctypes.addressof(memory),
            files={**files, **_own(site)},
            ports=await listeners.serve(stack),
            abstract=f"taak-escape-{token}",
            ipc_key=key,
            mqueue=f"taak-escape-{token}",
            handle=handle,
            handle_type=handle_type,
            terminal=stack.enter_context(_terminal()),
            namespaces={kind: os.readlink(f"/proc/self/ns/{kind}") for kind in _NAMESPACES},
            limits=LIMITS,
        )


def spoiled(facts: Facts) -> list[str]:
    """Return which of the bait is not as it was: an attack did harm."""
    changed = []
    for name in ("other_code", "other_data", "keys", "store", "canary", "tmp_canary"):
        if Path(facts.files[name]).read_text() != facts.token:
            changed.append(name)
    for name, pid in facts.pids.items():
        if not os.path.isdir(f"/proc/{pid}"):
            changed.append(name)
    return changed


def _own(site: Site) -> dict[str, str]:
    own = {"code": str(site.code / "__init__.py"), "data": str(site.data)}
    return {**own, "suid": str(site.code / "suid")}


@contextlib.contextmanager
def _files(root: Path, token: str) -> Iterator[dict[str, str]]:
    places = {
        "other_code": (root / "other" / "code.py", 0o644),
        "other_data": (root / "other" / "data" / "file", 0o666),
        "keys": (root / "home" / "data" / "secrets" / "host.json", 0o600),
        "store": (root / "home" / "taak.db", 0o644),
        "canary": (root / "outside" / "canary", 0o666),
        "tmp_canary": (Path("/tmp", f"escape-{token}"), 0o666),
        "shm_canary": (Path("/dev/shm", f"escape-{token}"), 0o666),
    }
    for path, mode in places.values():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(token)
        path.chmod(mode)
    (root / "outside").chmod(0o777)
    (root / "other" / "data").chmod(0o777)
    with (root / "home" / "data" / "secrets" / "host.json").open():  # open, as a platform's may be
        files = {name: str(path) for name, (path, _mode) in places.items()}
        try:
            yield {
                **files,
                "home": str(root / "home"),
                "socket": str(root / "outside" / "socket"),
            }
        finally:
            for name in ("tmp_canary", "shm_canary"):
                places[name][0].unlink(missing_ok=True)


class _Listeners:
    def __init__(self, token: str, path: str) -> None:
        self._token = token.encode()
        self._streams = {
            "data": self._tcp("127.0.0.1"),
            "management": (management := self._tcp("127.0.0.1")),
            "management6": self._tcp("::1", management.getsockname()[1]),
            "allowed": self._tcp("127.0.0.1"),
            "abstract": self._unix(f"\0taak-escape-{token}"),
            "path": self._unix(path),
        }
        os.chmod(path, 0o777)
        self._datagrams = socket.socket(type=socket.SOCK_DGRAM)
        self._datagrams.bind(("127.0.0.1", 0))

    async def serve(self, stack: contextlib.ExitStack) -> dict[str, int]:
        """Greet whoever comes, in the running loop; returns the ports by name."""
        for sock in self._streams.values():
            server = await asyncio.start_server(self._greet, sock=sock)
            stack.callback(server.close)
        loop = asyncio.get_running_loop()
        self._datagrams.setblocking(False)
        loop.add_reader(self._datagrams, self._reply)
        stack.callback(loop.remove_reader, self._datagrams)
        numbers = {n: self._streams[n].getsockname()[1] for n in ("data", "management", "allowed")}
        return {**numbers, "udp": self._datagrams.getsockname()[1]}

    def close(self) -> None:
        """Close what no server has closed."""
        for sock in (*self._streams.values(), self._datagrams):
            sock.close()

    def _tcp(self, address: str, port: int = 0) -> socket.socket:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        return socket.create_server((address, port), family=family)

    def _unix(self, address: str) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(address)
        return sock

    async def _greet(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self._token)
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        writer.close()

    def _reply(self) -> None:
        _, sender = self._datagrams.recvfrom(64)
        self._datagrams.sendto(self._token, sender)


@contextlib.contextmanager
def _listeners(token: str, path: str) -> Iterator[_Listeners]:
    listeners = _Listeners(token, path)
    try:
        yield listeners
    finally:
        listeners.close()


class _Message(ctypes.Structure):
    _fields_ = (("type", ctypes.c_long), ("text", ctypes.c_char * 256))


@contextlib.contextmanager
def _queues(token: str, key: int) -> Iterator[None]:
    """Make shared memory and queues that anybody may use."""
    segment = libc("shmget", key, 4096, _IPC_CREATE | 0o666)
    ctypes.memmove(libc("shmat", segment, None, 0), token.encode(), len(token))
    queue = libc("msgget", key, _IPC_CREATE | 0o666)
    libc("msgsnd", queue, _Message(1, token.encode()), len(token), 0)
    name = f"taak-escape-{token}".encode()
    mask = os.umask(0)
    try:
        posix = syscall("mq_open", name, os.O_CREAT | os.O_RDWR, 0o666, None)
    finally:
        os.umask(mask)
    try:
        yield
    finally:
        libc("shmctl", segment, _IPC_REMOVE, None)
        libc("msgctl", queue, _IPC_REMOVE, None)
        os.close(posix)
        syscall("mq_unlink", name)


@contextlib.contextmanager
def _process() -> Iterator[int]:
    """Run a process of the host that does nothing, in a group of its own."""
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as process:
        try:
            yield process.pid
        finally:
            process.send_signal(signal.SIGKILL)


@contextlib.contextmanager
def _terminal() -> Iterator[str]:
    try:
        here, there = pty.openpty()
    except OSError:  # a machine without terminals
        yield "/dev/pts/none"
        return
    try:
        yield os.ttyname(there)
    finally:
        os.close(here)
        os.close(there)


class _Handle(ctypes.Structure):
    _fields_ = (("bytes", ctypes.c_uint), ("type", ctypes.c_int), ("handle", ctypes.c_ubyte * 128))


def _handle(path: str) -> tuple[str, int]:
    """Return the handle of a file and its type; empty where the file system gives none."""
    handle, mount = _Handle(128), (ctypes.c_char * 4)()
    try:
        libc("name_to_handle_at", -100, path.encode(), handle, mount, 0)
    except OSError:
        return "", 0
    return bytes(handle.handle[: handle.bytes]).hex(), handle.type
