"""Large bodies travel beside their frame (sandbox/body.py): whole, bounded, and no heap grows."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from future_call import FutureCall
from real import apps
from real.platform import Platform
from real.processes import descriptors
from real.sandboxes import bound_zygote, call, launchers, ready_worker, until

from sandbox.body import Body
from sandbox.call import encode_call
from sandbox.errors import ProtocolBrokenError, SandboxDiedError
from sandbox.runtime import wire
from sandbox.worker import Worker

pytestmark = pytest.mark.real

MIB = 1 << 20

ECHO = """
def main(req):
    return req.get_body() or b"z" * int(req.params.get("size", 0))
"""

LATER = """
import asyncio
async def main(req):
    body = req.get_body()
    await asyncio.sleep(0.01)
    return body
"""

MEMORY = """
import re
def main(req):
    return re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]
"""


@pytest.fixture(scope="module", params=["on", "off"], ids=["lane", "general"])
def host(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Platform]:
    """One platform for the tests that break nothing, with the fast lane and without it."""
    folder = tmp_path_factory.mktemp("bodies")
    site = folder / "site"
    site.mkdir()
    apps.function(site, "echo", ECHO)
    apps.function(site, "later", LATER)
    apps.function(site, "short", ECHO, taak={"file_mib": 1})
    platform = Platform(site, folder / "home", options=("--fast-lane", request.param)).start()
    yield platform
    if platform.running:
        platform.stop()


@pytest.mark.parametrize("name", ["echo", "later"])
@pytest.mark.parametrize(
    "size", [0, 1, wire.APART - 1, wire.APART, wire.APART + 1, 3 * MIB + 7, 64 * MIB]
)
def test_what_goes_in_comes_out(host: Platform, name: str, size: int) -> None:
    """Byte for byte, below and above the size from which a body goes beside its frame."""
    data = os.urandom(size)
    answer = host.post(f"/api/{name}", data)
    assert answer.status == 200, answer.text + host.told()
    assert hashlib.sha256(answer.body).digest() == hashlib.sha256(data).digest()


def test_a_body_in_chunks_is_whole(host: Platform) -> None:
    """Nobody has told how long it will be: it goes into a file when it has become large."""
    data = os.urandom(2 * MIB)
    with connected(host) as client:
        client.sendall(
            b"POST /api/echo HTTP/1.1\r\nHost: h\r\nConnection: close\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        for at in range(0, len(data), 100_000):
            part = data[at : at + 100_000]
            client.sendall(b"%x\r\n%b\r\n" % (len(part), part))
        client.sendall(b"0\r\n\r\n")
        assert read_to_end(client).partition(b"\r\n\r\n")[2] == data


def test_a_large_answer_leaves_the_connection_whole(host: Platform) -> None:
    """Large and small ones in a row on one connection, asked for at once; HEAD has no body."""
    size = 5 * MIB
    asked = b""
    for method, wanted in ((b"GET", size), (b"HEAD", size), (b"GET", 3), (b"GET", size)):
        asked += b"%b /api/echo?size=%d HTTP/1.1\r\nHost: h\r\n\r\n" % (method, wanted)
    asked += b"GET /api/echo?size=1 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
    with connected(host) as client:
        client.sendall(asked)
        found = read_to_end(client)
    for expected in (size, 0, 3, size, 1):
        head, _, found = found.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK"), head
        body, found = found[:expected], found[expected:]
        assert body == b"z" * expected
    assert found == b""


def test_a_body_over_the_limit_is_refused_before_it_comes(host: Platform) -> None:
    """413 at once, whether it was announced or only came."""
    over = 100 * MIB + 1
    with connected(host) as client:
        client.sendall(b"POST /api/echo HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % over)
        assert client.recv(100).startswith(b"HTTP/1.1 413 ")


def test_a_sandbox_that_may_write_short_files_only_answers_as_well(host: Platform) -> None:
    """The limit of files is none of answers: what has no room in one comes in the frame."""
    data = os.urandom(4 * MIB)
    assert host.post("/api/short", data).body == data


def test_no_descriptor_stays(host: Platform) -> None:
    """Not of calls, not of clients that leave in the middle of either body."""
    host.post("/api/echo", b"x" * MIB)
    before = descriptors(host.pid)
    for _ in range(5):
        host.post("/api/echo", b"x" * MIB)
        with connected(host) as client:
            client.sendall(
                b"POST /api/echo HTTP/1.1\r\nHost: h\r\nContent-Length: 9000000\r\n\r\n"
                + b"x" * MIB
            )
        with connected(host) as client:
            client.sendall(b"GET /api/echo?size=30000000 HTTP/1.1\r\nHost: h\r\n\r\n")
            client.recv(1000)
    host.wait_until(lambda: descriptors(host.pid) <= before, what="the end of all bodies")


def test_the_gateway_does_not_grow_with_a_body(site: Path, start_platform: Any) -> None:
    """64 MiB there and back: what it has in its heap at a time is a few pieces."""
    apps.function(site, "echo", ECHO)
    platform: Platform = start_platform()
    data = os.urandom(64 * MIB)
    platform.post("/api/echo", data[:MIB])
    rest = resident(platform.pid, "VmRSS")
    Path(f"/proc/{platform.pid}/clear_refs").write_text("5")
    assert platform.post("/api/echo", data).body == data
    grown = resident(platform.pid, "VmHWM") - rest
    assert grown < 24 * MIB, f"{grown / MIB:.0f} MiB"


def test_a_client_that_does_not_read_costs_no_heap(site: Path, start_platform: Any) -> None:
    """What it has not taken lies in the file, and the others are served."""
    apps.function(site, "echo", ECHO)
    platform: Platform = start_platform()
    platform.get(f"/api/echo?size={MIB}")
    rest = resident(platform.pid, "VmRSS")
    Path(f"/proc/{platform.pid}/clear_refs").write_text("5")
    with connected(platform) as client:
        client.sendall(b"GET /api/echo?size=60000000 HTTP/1.1\r\nHost: h\r\n\r\n")
        client.recv(1000)
        assert len(platform.get(f"/api/echo?size={MIB}").body) == MIB
        assert resident(platform.pid, "VmHWM") - rest < 24 * MIB
        left = 60_000_000 - 100_000
        while left > 0:
            part = len(client.recv(MIB))
            assert part, "the rest never came"
            left -= part


# -- one worker, by hand


def lend(worker: Worker, data: bytes) -> FutureCall:
    """Send a call whose body goes beside its frame."""
    body = Body()
    body.append(data)
    body.seal()
    loop = asyncio.get_running_loop()
    call_id = os.urandom(16)
    event = ("POST", "http://localhost/api/f", (), (), (), len(body))
    made = FutureCall(call_id, encode_call(call_id, event, None), loop.time())
    made.body = body
    worker.send(made, loop.time())
    return made


async def echoed(made: FutureCall) -> bytes:
    """Return the body of the reply, wherever it lies."""
    async with asyncio.timeout(20):
        status, _exec_us, payload = await made.future
    assert status == 0, payload
    body = payload[2]
    if isinstance(body, int):
        assert made.room is not None
        assert len(made.room) == body
        return made.room.read(0, body)
    assert isinstance(body, bytes)
    return body


async def test_calls_taken_back_bring_their_bodies_along(tmp_path: Path) -> None:
    """Behind a slow call wait some with bodies: another worker gets them whole, in any order."""
    code = "import time\n"
    code += (
        "def main(req):\n    time.sleep(float(req.params.get('s', 0)))\n    return req.get_body()"
    )
    async with launchers() as both:
        zygote, _ = await bound_zygote(both, tmp_path, code)
        worker, watcher = await ready_worker(zygote)
        other, _ = await ready_worker(zygote)
        slow = call(worker, s="0.5")
        bodies = [bytes([65 + n]) * (wire.APART + n) for n in range(3)]
        waiting = [lend(worker, body) for body in bodies]
        await asyncio.sleep(0.05)  # the slow one has begun
        worker.recall()
        await until(lambda: watcher.returns, "what was asked back")
        assert watcher.returns == [waiting]
        for made in reversed(waiting):
            other.send(made, asyncio.get_running_loop().time())
        assert [await echoed(made) for made in waiting] == bodies
        assert await echoed(slow) == b""
        after = lend(worker, bodies[1])  # whose descriptor comes behind those that it must not take
        assert await echoed(after) == bodies[1]


async def test_a_worker_that_dies_with_a_body_harms_no_other(tmp_path: Path) -> None:
    """The call that had begun fails; the one behind it goes, with its body, to another worker."""
    code = "import os, signal, time\n"
    code += "def main(req):\n"
    code += "    if req.get_body()[:1] == b'!':\n        time.sleep(300)\n    return req.get_body()"
    async with launchers() as both:
        zygote, _ = await bound_zygote(both, tmp_path, code)
        gc.collect()  # earlier tests may still hold some; they go when they go
        before = Body.open
        worker, watcher = await ready_worker(zygote)
        other, _ = await ready_worker(zygote)
        doomed, spared = lend(worker, b"!" * MIB), lend(worker, b"?" * MIB)
        await until(lambda: worker._page.begun == 1, "the beginning")
        os.kill(worker.pid, 9)
        with pytest.raises(SandboxDiedError):
            await asyncio.wait_for(doomed.future, 10)
        async with asyncio.timeout(10):
            assert await watcher.is_gone == [spared]
        other.send(spared, 0.0)
        assert await echoed(spared) == b"?" * MIB
        spared.room = None
        assert Body.open <= before


HOSTILE = """
import array, fcntl, os, socket, stat, struct, time

def sock(kind):
    for fd in range(3, 256):
        try:
            if stat.S_ISSOCK(os.fstat(fd).st_mode):
                found = socket.socket(fileno=os.dup(fd))
                found.setblocking(True)
                if found.type == kind:
                    return found
        except OSError:
            pass

channel = lambda: sock(socket.SOCK_STREAM)
lane = lambda: sock(socket.SOCK_SEQPACKET)

def framed(body):
    return struct.pack(">I", len(body)) + body

def wish(call_id, size):
    body = b"\\x93\\x0c\\xc4\\x10" + call_id + b"\\xce" + struct.pack(">I", size)
    channel().sendall(framed(body))

def room(call_id, size):
    wish(call_id, size)
    data, fds, _, _ = socket.recv_fds(lane(), 17, 4)
    assert data == b"\\x02" + call_id, data
    return fds[0]

def reply(call_id, size):
    head = b"\\x95\\x0b\\xc4\\x10" + call_id + b"\\x00\\x01"
    body = head + b"\\x93\\xcc\\xc8\\x90\\xce" + struct.pack(">I", size)
    channel().sendall(framed(body))

def main(req, context):
    call_id = bytes.fromhex(context.invocation_id.replace("-", ""))
    mode, size = req.params["mode"], 1 << 20
    if mode == "huge":
        wish(call_id, 0x7fffffff)
    elif mode == "twice":
        room(call_id, size)
        wish(call_id, size)
    elif mode == "foreign":
        wish(b"x" * 16, size)
    elif mode == "lie":
        room(call_id, size)
        reply(call_id, size + 1)
    elif mode == "none":
        reply(call_id, size)
    elif mode == "shrink":
        fd = room(call_id, size)
        told = []
        for act in (lambda: os.ftruncate(fd, 0), lambda: os.ftruncate(fd, 1 << 40),
                    lambda: fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)):
            try:
                act()
            except OSError as error:
                told.append(error.errno)
        os.pwrite(fd, repr(told).encode(), 0)
        reply(call_id, size)
    elif mode == "pass":
        fds = [os.open("/dev/null", os.O_RDONLY) for _ in range(64)] + list(os.pipe())
        socket.send_fds(lane(), [b"\\x02" + call_id], fds)
        room(call_id, size)
        reply(call_id, size)
    if mode in ("huge", "twice", "foreign"):
        time.sleep(60)
    os._exit(0)  # no second reply
"""


@pytest.mark.parametrize("mode", ["huge", "twice", "foreign"])
async def test_a_wish_against_the_rules_ends_the_worker(tmp_path: Path, mode: str) -> None:
    """More than any reply may have, a second room for one reply, room for a call of nobody's."""
    async with launchers() as both:
        zygote, _ = await hostile_zygote(both, tmp_path)
        worker, watcher = await ready_worker(zygote)
        with pytest.raises(ProtocolBrokenError, match="a wish for room"):
            await asyncio.wait_for(call(worker, mode=mode).future, 10)
        async with asyncio.timeout(10):
            await watcher.is_gone
        assert zygote.alive


def test_a_lie_about_room_is_no_body(site: Path, start_platform: Any) -> None:
    """Of another size than was lent, or of none: there is no reply in it, and nothing is read."""
    apps.function(site, "hostile", HOSTILE)
    apps.function(site, "echo", ECHO)
    platform: Platform = start_platform()
    for mode in ("lie", "none"):
        answer = platform.get(f"/api/hostile?mode={mode}")
        assert (answer.status, answer.body) == (502, b""), platform.told()
    assert platform.get("/api/echo?size=3").text == "zzz"
    assert platform.running


def test_room_keeps_its_size(site: Path, start_platform: Any) -> None:
    """Who got it can neither cut it, which would be a fault for who reads it, nor let it grow."""
    apps.function(site, "hostile", HOSTILE)
    platform: Platform = start_platform()
    body = platform.get("/api/hostile?mode=shrink").body
    assert len(body) == MIB
    told = body.rstrip(b"\0").decode()
    assert json.loads(told) == [1, 1, 1], told


def test_descriptors_of_a_worker_are_not_taken(site: Path, start_platform: Any) -> None:
    """They come on the lane's way back, where records are read: the kernel drops them."""
    apps.function(site, "hostile", HOSTILE)
    platform: Platform = start_platform()
    assert platform.get("/api/hostile?mode=pass").status == 200
    before = descriptors(platform.pid)
    assert platform.get("/api/hostile?mode=pass").status == 200
    assert descriptors(platform.pid) < before + 64


async def hostile_zygote(both: Any, folder: Path) -> Any:
    """Return a zygote of the function above."""
    return await bound_zygote(both, folder, HOSTILE)


# -- help


def connected(host: Platform) -> socket.socket:
    """Return a connection to the data listener."""
    url = urlsplit(host.data_url)
    return socket.create_connection((url.hostname or "", url.port or 0), timeout=30)


def read_to_end(client: socket.socket) -> bytes:
    """Return all that still comes."""
    parts = []
    while part := client.recv(MIB):
        parts.append(part)
    return b"".join(parts)


def resident(pid: int, name: str) -> int:
    """Return a figure of a process's memory in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) << 10
    raise AssertionError(name)
