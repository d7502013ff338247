"""What every sandbox must allow: a denial proves little where nothing works (sandbox.md T9)."""

from __future__ import annotations

import asyncio
import ctypes
import multiprocessing
import os
import shutil
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import threading

from .facts import Facts
from .registry import Stopped, use


def _expect(value: object, wanted: object) -> None:
    if value != wanted:
        raise Stopped(f"{value!r} instead of {wanted!r}")


@use
def read_own_code(facts: Facts) -> str:
    """The code that runs can be read."""
    with open(facts.files["code"], encoding="utf-8") as file:
        return f"{len(file.read())} characters"


@use
def write_data(facts: Facts) -> str:
    """The data folder takes files, and gives them back."""
    path = os.path.join(facts.files["data"], f"file-{os.getpid()}")
    with open(path, "w+", encoding="utf-8") as file:
        file.write("kept")
        file.seek(0)
        _expect(file.read(), "kept")
    os.rename(path, path + "-moved")
    os.unlink(path + "-moved")
    return path


@use
def run_from_tmp(facts: Facts) -> str:
    """A program that was written to the folder for temporary files runs."""
    with tempfile.TemporaryDirectory() as folder:
        program = shutil.copy(shutil.which("true") or "/bin/true", folder)
        os.chmod(program, 0o755)
        _expect(subprocess.run([program], check=False).returncode, 0)
        return program


@use
def run_programs(facts: Facts) -> str:
    """A shell and a pipe work."""
    done = subprocess.run("echo one | cat", shell=True, capture_output=True, check=False)
    _expect(done.stdout, b"one\n")
    return "a pipe"


@use
def run_python(facts: Facts) -> str:
    """The interpreter can be started again, with its library."""
    argv = [sys.executable, "-c", "import json, asyncio; print(json.dumps([1]))"]
    if not sys.executable:
        raise Stopped("sys.executable is empty")
    done = subprocess.run(argv, capture_output=True, check=False)
    _expect(done.stdout, b"[1]\n")
    return sys.executable


@use
def threads(facts: Facts) -> str:
    """Threads start and end."""
    done: list[int] = []
    started = [threading.Thread(target=done.append, args=(n,)) for n in range(8)]
    for each in started:
        each.start()
    for each in started:
        each.join()
    _expect(sorted(done), list(range(8)))
    return "8 threads"


@use
def event_loop(facts: Facts) -> str:
    """An event loop runs, with a thread and a child process of its own."""

    async def work() -> bytes:
        await asyncio.to_thread(os.getpid)
        child = await asyncio.create_subprocess_exec("echo", "one", stdout=subprocess.PIPE)
        return (await child.communicate())[0]

    _expect(asyncio.run(work()), b"one\n")
    return "asyncio"


def _square(pipe: object, number: int) -> None:
    pipe.send(number * number)  # type: ignore[attr-defined]  # a Connection, which has no public name


@use
def processes_of_python(facts: Facts) -> str:
    """The library's own processes work, with a pipe."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    child = context.Process(target=_square, args=(there, 7))
    child.start()
    _expect(here.recv(), 49)
    child.join()
    return "multiprocessing"


@use
def semaphores(facts: Facts) -> str:
    """The library's locks between processes work: they need a /dev/shm."""
    context = multiprocessing.get_context("fork")
    with context.Lock():
        return "multiprocessing.Lock"


@use
def tls(facts: Facts) -> str:
    """A TLS context finds its library and the machine's certificates."""
    context = ssl.create_default_context()
    return f"{len(context.get_ca_certs())} certificates"


@use
def database(facts: Facts) -> str:
    """A database in the folder for temporary files works, with its journal and locks."""
    with tempfile.TemporaryDirectory() as folder:
        connection = sqlite3.connect(os.path.join(folder, "db"))
        connection.execute("pragma journal_mode=wal")
        connection.execute("create table t (x)")
        connection.execute("insert into t values (1)")
        connection.commit()
        _expect(connection.execute("select x from t").fetchall(), [(1,)])
        connection.close()
    return "sqlite3"


@use
def resolve_localhost(facts: Facts) -> str:
    """The name of the own machine resolves."""
    found = {each[4][0] for each in socket.getaddrinfo("localhost", 80)}
    if not found & {"127.0.0.1", "::1"}:
        raise Stopped(f"{found}")
    return ", ".join(map(str, found))


@use
def socket_pair(facts: Facts) -> str:
    """Two ends of a pair talk."""
    here, there = socket.socketpair()
    here.sendall(b"x")
    _expect(there.recv(1), b"x")
    return "socketpair"


@use
def own_socket_file(facts: Facts) -> str:
    """A listener at a path of one's own is reached."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.join(folder, "socket"))
        server.listen()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(os.path.join(folder, "socket"))
    return "connected"


@use
def loopback(facts: Facts) -> str:
    """A listener of one's own on the loopback is reached."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname(), timeout=5) as client,
    ):
        accepted, _ = server.accept()
        accepted.sendall(b"x")
        _expect(client.recv(1), b"x")
        accepted.close()
    return "connected"


@use
def allowed_port(facts: Facts) -> str:
    """A port that was allowed is reached, where there is a network outside."""
    with socket.create_connection(("127.0.0.1", facts.ports["allowed"]), timeout=5) as sock:
        _expect(sock.recv(256), facts.token.encode())
    return "connected"


@use
def signal_own_child(facts: Facts) -> str:
    """A child of one's own can be signalled, and ends by it."""
    child = subprocess.Popen(["sleep", "60"])
    child.terminate()
    _expect(child.wait(), -signal.SIGTERM)
    return "SIGTERM"


@use
def proc_self(facts: Facts) -> str:
    """A process sees itself in /proc."""
    _expect(os.readlink("/proc/self"), str(os.getpid()))
    with open("/proc/self/status", encoding="ascii") as file:
        if not file.readline().startswith("Name:"):
            raise Stopped("an odd status")
    return f"{len(os.listdir('/proc/self/fd'))} descriptors"


@use
def random_numbers(facts: Facts) -> str:
    """The devices that everything expects are there."""
    with open("/dev/urandom", "rb") as file:
        _expect(len(file.read(8)), 8)
    with open("/dev/null", "wb") as file:
        file.write(b"x")
    return "/dev/urandom, /dev/null"


@use
def file_in_memory(facts: Facts) -> str:
    """A file without a name can be made, within the limits."""
    fd = os.memfd_create("some")
    os.write(fd, bytes(1 << 20))
    os.close(fd)
    return "1 MiB"


@use
def foreign_functions(facts: Facts) -> str:
    """A function of Python can be given to a C library, which needs memory that is executable."""
    compare = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(lambda a, b: 0)
    ctypes.CDLL(None).qsort(ctypes.create_string_buffer(8), 2, 4, compare)
    return "qsort"
