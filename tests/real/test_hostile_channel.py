"""User code that writes on its own channel, or stops reading it: it harms its own calls alone."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from threading import Thread

import pytest
from future_call import FutureCall
from real import apps
from real.platform import Platform
from real.sandboxes import (
    Watcher,
    alive,
    answer,
    bound_zygote,
    call,
    launchers,
    ready_worker,
    until,
)

from sandbox import worker as workers
from sandbox import worker_process
from sandbox.call import encode_call
from sandbox.errors import ProtocolBrokenError, SandboxDiedError
from sandbox.runtime import wire
from sandbox.worker import Worker

pytestmark = [pytest.mark.real, pytest.mark.core]

#: What a function needs to speak for itself.
CHANNEL = """
import os, socket, stat, struct, time

def channel():
    for fd in range(3, 256):
        try:
            if stat.S_ISSOCK(os.fstat(fd).st_mode):
                sock = socket.socket(fileno=os.dup(fd))
                if sock.type == socket.SOCK_STREAM:
                    return fd, sock
        except OSError:
            pass

def framed(body):
    return struct.pack(">I", len(body)) + body
"""

FORGER = (
    CHANNEL
    + """
def main(req, context):
    fd, sock = channel()
    head = b"\\x95\\x0b\\xc4\\x10" + bytes.fromhex(context.invocation_id.replace("-", ""))
    mode = req.params["mode"]
    if mode == "half":
        sock.sendall(struct.pack(">I", 1000) + head)
        time.sleep(60)
    sock.sendall(framed({
        "time": head + b"\\x00\\xcf" + b"\\xff" * 8 + b"\\x93\\xcc\\xc8\\x90\\xc4\\x00",
        "text": head + b"\\x01\\x01\\x92\\xa2\\xff\\xfe\\xa0",
        "deep": b"\\x91" * 1000 + b"\\xc0\\xc0",
        "wide": head + b"\\x00\\x01\\xdc\\x04\\x00" + (b"\\xdc\\x04\\x00" + b"\\x80" * 1024) * 1024,
        "crlf": head + b"\\x00\\x01\\x93\\xcc\\xc8\\x91\\x92\\xa1X\\xaba\\r\\nEvil: yes\\xc4\\x00",
    }[mode]))
    return "answered"
"""
)

GOOD = 'def main(req):\n    return "good"\n'


@pytest.mark.parametrize(
    ("mode", "status"), [("time", 502), ("text", 500), ("deep", 502), ("wide", 502), ("crlf", 502)]
)
def test_a_forged_reply_costs_its_own_call_and_nothing_else(
    site: Path, start_platform, mode: str, status: int
) -> None:
    """The other function is served, and its calls still reach the history."""
    apps.function(site, "forger", FORGER)
    apps.function(site, "good", GOOD)
    platform: Platform = start_platform()
    forged = platform.get(f"/api/forger?mode={mode}")
    assert forged.status == status, forged.text + platform.told()
    assert "evil" not in forged.headers
    assert platform.get("/api/good").text == "good"
    platform.wait_until(
        lambda: platform.v1("/runs?name=good")["items"], what="the history of the other"
    )
    assert platform.running


SHRINKER = """
import os, stat

def shrink():
    for fd in range(3, 256):
        try:
            facts = os.fstat(fd)
            if stat.S_ISREG(facts.st_mode) and facts.st_nlink == 0:
                os.ftruncate(fd, 0)
        except OSError:
            pass

os.register_at_fork(after_in_child=shrink)

def main(req):
    if "end" in req.params:
        os._exit(1)
    return "shrunk"
"""


def test_a_worker_that_cuts_short_what_it_shares_ends_nobody_else(
    site: Path, start_platform
) -> None:
    """The host reads that page; of one that is not there it would die by SIGBUS."""
    apps.function(site, "shrinker", SHRINKER)
    apps.function(site, "good", GOOD)
    platform: Platform = start_platform()
    assert platform.get("/api/shrinker").text == "shrunk"
    assert platform.get("/api/shrinker?end=1").status == 500
    assert platform.get("/api/good").text == "good"
    assert platform.running


def test_half_a_frame_ends_with_its_calls_time(site: Path, start_platform) -> None:
    """A reply that begins and never ends: its call is over in time, the others never wait."""
    folder = apps.function(site, "forger", FORGER).parent
    manifest = json.loads((folder / "function.json").read_text())
    (folder / "function.json").write_text(json.dumps({**manifest, "taak": {"timeout_s": 1}}))
    apps.function(site, "good", GOOD)
    platform: Platform = start_platform()
    pid = platform.pid
    answers: list[int] = []
    stuck = Thread(target=lambda: answers.append(platform.get("/api/forger?mode=half").status))
    stuck.start()
    served = 0
    while not answers:
        assert platform.get("/api/good").status == 200
        served += 1
    stuck.join()
    assert answers == [500]
    assert served > 10, "the others waited"
    assert platform.pid == pid
    lines = [line["text"] for line in platform.v1("/functions/forger/logs")["items"]]
    assert any("no answer within 1 s" in line for line in lines), lines


async def test_a_worker_that_closes_its_channel_is_put_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is gone for the host, so it must be gone: nobody would ever end it later."""
    monkeypatch.setattr(worker_process, "_LINGER_S", 0.1)
    code = CHANNEL + "def main(req):\n    os.close(channel()[0])\n    time.sleep(300)\n"
    async with launchers() as both:
        zygote, _ = await bound_zygote(both, tmp_path, code)
        worker, watcher = await ready_worker(zygote)
        made = call(worker)
        with pytest.raises(SandboxDiedError):
            await asyncio.wait_for(made.future, 10)
        await until(lambda: not alive(worker.pid), "the worker's end")
        assert watcher.is_gone.done()
        assert zygote.alive


async def test_a_worker_that_breaks_the_rules_before_it_serves_is_put_down(tmp_path: Path) -> None:
    """Garbage instead of a greeting: the kernel has told who sent it, and that process ends."""
    code = CHANNEL + "channel()[1].sendall(b'\\xff' * 8)\ntime.sleep(300)\n"
    async with launchers() as both:
        zygote, _ = await bound_zygote(both, tmp_path, code, import_here=False)
        watcher = Watcher()
        worker = zygote.fork("f", watcher)
        async with asyncio.timeout(10):
            assert await watcher.is_gone == []
        assert worker.failed_start
        assert "breaks the rules" in worker.facts
        assert worker.pid > 0
        await until(lambda: not alive(worker.pid), "the worker's end")


SENDER = """
fds = [os.open("/dev/null", os.O_RDONLY) for _ in range(64)]
def send():
    socket.send_fds(channel()[1], [b"\\x00\\x00\\x00\\x01\\xc1"], fds)
"""


@pytest.mark.parametrize("at", ["greeting", "reply"])
async def test_descriptors_that_a_worker_sends_are_not_taken(tmp_path: Path, at: str) -> None:
    """Attached to its first bytes or to later ones: the host's table does not grow by them."""
    code = CHANNEL + SENDER + ("send()\n" if at == "greeting" else "")
    code += "def main(req):\n    send()\n    return 'x'\n"
    async with launchers() as both:
        zygote, _ = await bound_zygote(both, tmp_path, code, import_here=False)
        before = len(os.listdir("/proc/self/fd"))
        watcher = Watcher()
        worker = zygote.fork("f", watcher)
        if at == "reply":
            async with asyncio.timeout(10):
                await watcher.is_ready
            with pytest.raises(ProtocolBrokenError):
                await asyncio.wait_for(call(worker).future, 10)
        async with asyncio.timeout(10):
            await watcher.is_gone
        assert "breaks the rules" in worker.facts
        a_few = 10  # of the worker's own: log, streams, handle
        assert len(os.listdir("/proc/self/fd")) <= before + a_few


def upload(worker: Worker, size: int) -> None:
    """Send a call with a body."""
    event = ("POST", "http://localhost/api/f", (), (), (), b"x" * size)
    call_id = os.urandom(16)
    loop = asyncio.get_running_loop()
    made = FutureCall(call_id, encode_call(call_id, event, None), loop.time())
    made.future.add_done_callback(lambda future: future.exception())
    worker.send(made, loop.time())


async def flood(worker: Worker) -> None:
    """Send bodies until the worker takes no more, in bounds."""
    for _ in range(32):
        if not worker.usable:
            return
        upload(worker, 1 << 20)
        await asyncio.sleep(0)
    raise AssertionError("a worker that does not read is sent more and more")


async def test_a_worker_that_does_not_read_gets_no_more_and_stalls_nobody(tmp_path: Path) -> None:
    """What waits for it is bounded; when it reads again it may have more."""
    code = "import time\nasync def main(req):\n    time.sleep(float(req.params.get('s', 0)))\n"
    code += "    return 'done'\n"
    async with launchers() as both:
        zygote, _ = await bound_zygote(both, tmp_path, code)
        worker, watcher = await ready_worker(zygote)
        other, _ = await ready_worker(zygote)
        long = call(worker, s="1")
        await asyncio.sleep(0.1)  # it has begun, and its loop is blocked
        await flood(worker)
        assert worker._channel.queued <= workers._AHEAD_BYTES + (2 << 20)
        assert await answer(call(other)) == "done"
        assert not worker.usable
        assert await answer(long) == "done"
        await until(lambda: worker.usable, "room")
        assert not any(watcher.returns)
        assert await answer(call(worker)) == "done"


async def test_calls_of_a_worker_that_never_reads_end_with_its_kill(tmp_path: Path) -> None:
    """Its deadline ends it, however much waits for it; all that it had is told."""
    code = "import time\nasync def main(req):\n    time.sleep(300)\n"
    async with launchers() as both:
        zygote, _ = await bound_zygote(both, tmp_path, code)
        worker, watcher = await ready_worker(zygote)
        call(worker)
        await flood(worker)
        sent = worker._sent
        made = list(worker.in_flight.values())
        worker.kill("its time was over")
        async with asyncio.timeout(10):
            handed_back = await watcher.is_gone
        await until(lambda: sum(c.answered for c in made) + len(handed_back) == sent, "the ends")
        await until(lambda: not alive(worker.pid), "the worker's end")
        assert worker._channel.queued <= workers._AHEAD_BYTES + wire.MAX_HOST_FRAME
