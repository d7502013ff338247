"""Slow, greedy and odd clients against both listeners of a running platform.

The time-outs are shortened by their settings. What the limits are to the byte is tried here from
outside once more, since a proxy or a person meets them so.
"""

from __future__ import annotations

import os
import resource
import selectors
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from real.apps import function
from real.platform import KEY, ROOT, Answer, Platform, call, wait_until

pytestmark = pytest.mark.real

HELLO = "def main(req): return f'hello {len(req.get_body())}'\n"
PRINTS = "def main(req):\n    print('told ' + req.params['word'])\n    return 'ok'\n"
LARGE = "def main(req): return b'x' * (32 << 20)\n"
SLEEPS = "import time\ndef main(req):\n    time.sleep(4)\n    return 'awake'\n"
SLOW_IMPORT = "import time\ntime.sleep(1.5)\n" + HELLO
TIMES = ("--header-timeout-s", "1", "--idle-timeout-s", "3", "--body-timeout-s", "1")
HEAD_LIMIT, LINE_LIMIT = 32 << 10, 8 << 10


def fill(site: Path) -> None:
    """Write the app."""
    function(site, "hello", HELLO)
    function(site, "large", LARGE)
    function(site, "prints", PRINTS)
    function(site, "sleeps", SLEEPS)


@pytest.fixture(scope="module", params=["on", "off"], ids=["lane", "general"])
def host(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Platform]:
    """One platform for most tests of this file, with the fast lane and without."""
    folder = tmp_path_factory.mktemp("slow")
    (folder / "site").mkdir()
    fill(folder / "site")
    options = ("--fast-lane", request.param, *TIMES)
    platform = Platform(folder / "site", folder / "home", options=options).start()
    yield platform
    assert platform.stop() == 0
    assert not [line for line in platform.lines if "Traceback" in line], platform.told()


class Side:
    """One listener: where it is, a request that it serves, one that has a body."""

    def __init__(self, host: Platform, name: str) -> None:
        self.host = host
        self.name = name
        data = name == "data"
        url = urlsplit(host.data_url if data else host.management_url)
        self.address = (url.hostname or "", url.port or 0)
        self.path = "/api/hello" if data else "/v1/functions"
        self.upload = "/api/hello" if data else "/api/vfs/data/upload"
        self.verb = "POST" if data else "PUT"
        self.common = f"Host: h\r\nx-functions-key: {KEY}\r\n"

    def connect(self) -> socket.socket:
        """Return a new connection."""
        return socket.create_connection(self.address, timeout=15)

    def serves(self) -> bool:
        """Tell whether a good client has a good answer."""
        headers = {"x-functions-key": KEY}
        return call(self._url, "GET", self.path, headers=headers).status == 200

    def head(self, *lines: str, path: str = "") -> bytes:
        """Return a request without a body."""
        return self._request("GET", path or self.path, lines)

    def start_of_body(self, *lines: str) -> bytes:
        """Return the head of a request with a body."""
        return self._request(self.verb, self.upload, lines)

    def exchange(self, *parts: bytes) -> bytes:
        """Send the parts and return all that comes until the end of the connection."""
        with self.connect() as connection:
            for part in parts:
                connection.sendall(part)
            return read_all(connection)

    def metric(self, name: str, **labels: str) -> float:
        """Return a number of /metrics, 0 when it is not there."""
        told = ",".join(f'{k}="{v}"' for k, v in {"listener": self.name, **labels}.items())
        page = self.host.manage("GET", "/metrics").text
        for line in page.splitlines():
            if line.startswith(f"{name}{{{told}}} "):
                return float(line.rpartition(" ")[2])
        return 0

    def _request(self, verb: str, path: str, lines: tuple[str, ...]) -> bytes:
        rest = "".join(f"{line}\r\n" for line in lines)
        return f"{verb} {path} HTTP/1.1\r\n{self.common}{rest}\r\n".encode()

    @property
    def _url(self) -> str:
        return f"http://{self.address[0]}:{self.address[1]}"


@pytest.fixture(params=["data", "management"])
def side(request: pytest.FixtureRequest, host: Platform) -> Side:
    """Each listener in turn."""
    return Side(host, request.param)


def read_all(connection: socket.socket) -> bytes:
    """Return what comes until the end; a reset is one, after what came before it."""
    found = b""
    try:
        while data := connection.recv(1 << 16):
            found += data
    except ConnectionError:
        pass
    return found


def status(raw: bytes) -> int:
    """Return the status of the first answer, 0 for none."""
    return int(raw.split(b" ", 2)[1]) if raw.startswith(b"HTTP/1.1 ") else 0


# -- many slow ones


@contextmanager
def dribblers(side: Side, count: int, begin: bytes) -> Iterator[Callable[[], int]]:
    """Hold so many connections that send a byte now and then; yields how many still live."""
    with ExitStack() as stack:
        chosen = selectors.DefaultSelector()
        for _ in range(count):
            connection = stack.enter_context(side.connect())
            connection.sendall(begin)
            connection.setblocking(False)
            chosen.register(connection, selectors.EVENT_READ)

        def living() -> int:
            for key, _ in chosen.select(0):
                if not isinstance(key.fileobj, socket.socket):
                    continue
                try:
                    over = not key.fileobj.recv(1 << 16)
                except ConnectionError:
                    over = True
                if over:
                    chosen.unregister(key.fileobj)
            for key in list(chosen.get_map().values()):
                if isinstance(key.fileobj, socket.socket):
                    try:
                        key.fileobj.send(b"a")
                    except OSError:
                        chosen.unregister(key.fileobj)
            return len(chosen.get_map())

        yield living
        chosen.close()


@pytest.mark.parametrize("kind", ["head", "body", "chunks"])
def test_200_slow_clients_and_a_good_one(side: Side, kind: str):
    """All the while the good one is served; the slow ones are told off and cut off, all of them."""
    begin = {
        "head": side.head()[:-2] + b"X: ",
        "body": side.start_of_body("Content-Length: 50000"),
        "chunks": side.start_of_body("Transfer-Encoding: chunked") + b"c350\r\n",
    }[kind]
    reason = "slow-head" if kind == "head" else "slow-body"
    before = side.metric("taak_http_refused_total", reason=reason)
    with dribblers(side, 200, begin) as living:
        assert side.metric("taak_connections") >= 200
        calls = 0
        deadline = time.monotonic() + 20
        while living():
            assert side.serves()
            calls += 1
            assert time.monotonic() < deadline, f"{living()} still live"
            time.sleep(0.05)
        assert calls > 5
    assert side.metric("taak_http_refused_total", reason=reason) == before + 200
    wait_until(lambda: side.metric("taak_connections") < 5)


def test_who_does_not_read(host: Platform):
    """Clients that ask for much and read nothing are cut off, and the memory is given back."""
    side = Side(host, "data")
    before = side.metric("taak_http_refused_total", reason="slow-reader")
    with ExitStack() as stack:
        for _ in range(5):
            connection = stack.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.settimeout(15)
            connection.connect(side.address)
            connection.sendall(side.head(path="/api/large"))
        wait_until(
            lambda: side.metric("taak_http_refused_total", reason="slow-reader") == before + 5
        )
        wait_until(lambda: side.metric("taak_connections") == 0)
    assert side.serves()


# -- each alone


def test_times(side: Side):
    """Silence after the connect, within a head, between requests: each has its time and end."""
    assert side.exchange() == b""
    raw = side.exchange(side.head()[:-4])
    assert status(raw) == 408
    assert b"--header-timeout-s" in raw
    assert b"Connection: close" in raw
    began = time.monotonic()
    raw = side.exchange(side.head())
    assert status(raw) == 200
    assert raw.count(b"HTTP/1.1 ") == 1
    assert time.monotonic() - began > 2.9  # an idle connection has more time than a head


def test_a_body_that_stops(side: Side):
    """408 with the limit and its setting."""
    raw = side.exchange(side.start_of_body("Content-Length: 50000"), b"abc")
    assert status(raw) == 408
    assert b"--body-timeout-s" in raw
    assert b"Connection: close" in raw


def test_a_stream_is_no_slow_client(host: Platform):
    """An answer that goes on is cut off by no time-out, however long there is nothing to tell."""
    side = Side(host, "management")
    with side.connect() as connection:
        connection.sendall(side.head(path="/v1/functions/prints/logs?follow=true"))
        assert status(connection.recv(1 << 16)) == 200
        time.sleep(4)  # longer than each of the time-outs
        assert host.get("/api/prints?word=after").text == "ok"
        found = b""
        while b"told after" not in found:
            data = connection.recv(1 << 16)
            assert data, found
            found += data


def test_a_call_may_take_longer_than_any_time_out(host: Platform):
    """The limits are the client's; while it waits for us, no time runs against it."""
    side = Side(host, "data")
    with side.connect() as connection:
        connection.sendall(side.head(path="/api/sleeps"))
        answer = connection.recv(1 << 16)
        assert status(answer) == 200
        assert answer.endswith(b"awake")


def test_sizes(side: Side):
    """To the byte: the request line, a header, all headers, how many."""
    close = "Connection: close"
    fixed = len(f"GET {side.path}? HTTP/1.1")
    common = len(side.common) + len(close) + 2

    def line(size: int) -> bytes:
        return side.head(close, path=f"{side.path}?{'a' * (size - fixed)}")

    def header(size: int) -> bytes:
        return side.head(close, "x: " + "a" * (size - 3))

    def headers(size: int) -> bytes:
        rest = size - common
        lines = ["x: " + "a" * 7995] * (rest // 8000)
        return side.head(close, *lines, "y: " + "a" * (rest % 8000 - 5))

    def number(count: int) -> bytes:
        return side.head(close, *["x: y"] * (count - 3))

    for make, most, refused, told in (
        (line, LINE_LIMIT, 414, b"8192 bytes"),
        (header, LINE_LIMIT, 431, b"8192 bytes"),
        (headers, HEAD_LIMIT, 431, b"32768 bytes"),
        (number, 128, 431, b"limit of 128"),
    ):
        # Management refuses a parameter that it does not know; it has read it then.
        served = 400 if make is line and side.name == "management" else 200
        assert status(side.exchange(make(most))) == served, make
        raw = side.exchange(make(most + 1))
        assert status(raw) == refused, make
        assert told in raw
        assert b"Connection: close" in raw


@pytest.mark.parametrize(
    "lines",
    [
        ["Content-Length: 3", "Transfer-Encoding: chunked"],
        ["Content-Length: 3", "Content-Length: 4"],
        ["Transfer-Encoding: xchunked"],
        ["X: a\r\n b"],
        ["X: a\0b"],
        ["X : a"],
    ],
)
def test_what_may_be_read_in_two_ways(side: Side, lines: list[str]):
    """400 and the end, on both listeners; what stands behind it is no second request."""
    raw = side.exchange(side.start_of_body(*lines) + b"abc" + side.head())
    assert status(raw) == 400
    assert raw.count(b"HTTP/1.1 ") == 1
    assert b"Connection: close" in raw


@pytest.mark.parametrize("body", [b"5\r\nhello\r\nZZ\r\n", b"1;" + b"x" * 2000 + b"\r\n"])
def test_chunks_that_are_framed_wrongly(side: Side, body: bytes):
    """400 for the reader of the body as well."""
    raw = side.exchange(side.start_of_body("Transfer-Encoding: chunked"), body)
    assert status(raw) == 400
    assert b"Connection: close" in raw


# -- how many


@pytest.mark.parametrize("lane", ["on", "off"])
def test_as_many_connections_as_may_be(start_platform, site: Path, lane: str):
    """The last place is given, the next client is told, and a place that is free is given."""
    fill(site)
    options = ("--max-connections", "5", "--max-management-connections", "3")
    platform: Platform = start_platform("--fast-lane", lane, *options)
    for name, most in (("data", 5), ("management", 3)):
        side = Side(platform, name)
        with ExitStack() as stack:
            for _ in range(most):
                connection = stack.enter_context(side.connect())
                connection.sendall(side.head())
                assert status(connection.recv(1 << 16)) == 200
            raw = side.exchange(side.head())
            assert status(raw) == 503
            assert raw.lower().count(b"\r\nretry-after: ") == 1
            assert f"{most} connections".encode() in raw
            assert b"Connection: close" in raw
        wait_until(side.serves)
        assert side.metric("taak_http_refused_total", reason="connections") >= 1


def test_without_descriptors(start_platform, site: Path):
    """Clients are told, the loop does not spin, and when there are some again all is well."""
    fill(site)
    platform: Platform = start_platform()
    side = Side(platform, "data")
    assert side.serves()
    limits = resource.prlimit(platform.pid, resource.RLIMIT_NOFILE)
    used = max(int(name) for name in os.listdir(f"/proc/{platform.pid}/fd"))
    with ExitStack() as stack:
        resource.prlimit(platform.pid, resource.RLIMIT_NOFILE, (used + 5, limits[1]))
        found = []
        for _ in range(60):
            connection = stack.enter_context(side.connect())
            connection.sendall(side.head("Connection: close"))
            found.append(connection)
        idle = [stack.enter_context(side.connect()) for _ in range(60)]
        answers = [status(read_all(connection)) for connection in found]
        assert set(answers) <= {200, 503}
        assert 200 in answers
        before = _cpu_s(platform.pid)
        time.sleep(1)
        assert _cpu_s(platform.pid) - before < 0.5
        refused = [status(read_all(connection)) for connection in idle[20:]]
        assert 503 in refused
        resource.prlimit(platform.pid, resource.RLIMIT_NOFILE, limits)
    wait_until(side.serves)
    assert side.metric("taak_http_refused_total", reason="descriptors") > 0
    assert any("ulimit -n" in line for line in platform.lines)


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_few_descriptors_from_the_start(site: Path, tmp_path: Path):
    """The limit of connections is lowered so that workers have theirs, and the log says so."""
    fill(site)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    platform = Platform(site, tmp_path / "home")
    resource.setrlimit(resource.RLIMIT_NOFILE, (400, hard))
    try:
        # The hard limit is what counts; it can only be lowered in a process of its own.
        platform.start()
        raised = resource.prlimit(platform.pid, resource.RLIMIT_NOFILE)
        assert raised[0] == min(hard, 1 << 20)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        platform.stop()
    script = f"ulimit -n 400; exec {' '.join(map(str, platform._command()))}"
    process = subprocess.Popen(
        ["sh", "-c", script], cwd=ROOT, env=platform._environment(), text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert process.stdout is not None
    told = []
    for line in process.stdout:
        told.append(line)
        if "taak is ready" in line:
            break
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 0
    assert any("do not fit into 400 file descriptors" in line for line in told), told


# -- the start and the end


def test_a_call_that_comes_before_the_platform_is_ready(site: Path, tmp_path: Path):
    """It waits for the first release and is then served (functions.md 7.3)."""
    function(site, "hello", SLOW_IMPORT)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    platform = Platform(site, tmp_path / "home")
    command = [*platform._command(), "--config", os.devnull]
    command[command.index("--port") + 1] = str(port)
    process = subprocess.Popen(
        command, cwd=ROOT, env=platform._environment(), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:

        def ask() -> Answer | None:
            try:
                return call(f"http://127.0.0.1:{port}", "POST", "/api/hello", body="abc")
            except ConnectionRefusedError:
                return None

        answer = wait_until(ask)
        assert (answer.status, answer.text) == (200, "hello 3")
    finally:
        process.terminate()
        told, _ = process.communicate(timeout=30)
    assert "taak is ready" in told


def test_a_stop_does_not_wait_for_clients_that_were_refused(start_platform, site: Path):
    """Uploads that nobody wants, heads that do not end and silence hold no stop up."""
    fill(site)
    platform: Platform = start_platform()
    with ExitStack() as stack:
        for name in ("data", "management"):
            side = Side(platform, name)
            for begin in (
                side.head(f"Content-Length: {200 << 20}").replace(b"GET", b"POST"),  # 413, 405
                side.head("Transfer-Encoding: x"),
            ):
                connection = stack.enter_context(side.connect())
                connection.sendall(begin)
                assert connection.recv(9) == b"HTTP/1.1 "
            for begin in (side.head()[:-2], b""):
                stack.enter_context(side.connect()).sendall(begin)
        began = time.monotonic()
        assert platform.stop() == 0
        assert time.monotonic() - began < 4  # aiohttp alone took five seconds for the first
