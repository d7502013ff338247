"""A job's own HTTP server behind management: what goes in comes out (webjobs.md 6.6)."""

from __future__ import annotations

import hashlib
import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, IncompleteRead
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from real.apps import job
from real.platform import KEY, Answer, Platform, call

pytestmark = [pytest.mark.real, pytest.mark.core]

SERVER = r"""
import hashlib, json, os, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def body(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return
        left = int(self.headers.get("Content-Length") or 0)
        while left:
            piece = self.rfile.read(min(left, 65536))
            left -= len(piece)
            yield piece

    def answer(self):
        seen, size = hashlib.sha256(), 0
        for piece in self.body():
            seen.update(piece); size += len(piece)
        path = self.path.split("?")[0]
        if path == "/big":
            return self.big()
        if path == "/chunks":
            return self.chunks()
        if path == "/short":
            self.send_response(200); self.send_header("Content-Length", "100"); self.end_headers()
            self.wfile.write(b"only this"); self.wfile.flush(); self.connection.close(); return
        if path == "/noise":
            self.wfile.write(b"this is no HTTP\r\n\r\n"); self.wfile.flush()
            self.connection.close(); return
        if path == "/empty":
            self.send_response(204); self.end_headers(); return
        if path == "/moved":
            self.send_response(302); self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0"); self.end_headers(); return
        told = {"method": self.command, "path": self.path, "size": size, "sha": seen.hexdigest(),
                "headers": [[k, v] for k, v in self.headers.items()]}
        data = json.dumps(told).encode()
        self.send_response(418 if path == "/teapot" else 200, "As Said")
        self.send_header("Content-Type", "application/json")
        self.send_header("Set-Cookie", "a=1"); self.send_header("Set-Cookie", "b=2")
        self.send_header("X-Own", "yes"); self.send_header("Keep-Alive", "timeout=5")
        self.send_header("X-Hop", "no"); self.send_header("Connection", "X-Hop")
        self.send_header("Content-Length", str(len(data))); self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def big(self):
        self.send_response(200); self.send_header("Content-Length", str(64 << 20))
        self.end_headers()
        for _ in range(64):
            self.wfile.write(b"x" * (1 << 20))

    def chunks(self):
        self.send_response(200); self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for word in (b"one ", b"two ", b"three"):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(word), word)); self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_PATCH = answer

    def log_message(self, *_):
        pass

ThreadingHTTPServer.request_queue_size = 256
ThreadingHTTPServer(("127.0.0.1", int(os.environ["WEBJOBS_PORT"])), Handler).serve_forever()
"""
ALIASES = (
    "/api/continuouswebjobs/",
    "/api/continuousjobs/",
    "/api/jobs/continuous/",
    "/jobs/continuous/",
)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform with a job that serves, one that does not, and a key of each scope."""
    site = tmp_path_factory.mktemp("site")
    home = tmp_path_factory.mktemp("home")
    job(site, "continuous", "web", "run.py", SERVER)
    job(site, "continuous", "outside", "run.py", SERVER, taak={"network": "outbound"})
    job(site, "continuous", "deaf", "run.sh", "sleep 1000\n")
    job(site, "triggered", "once", "run.sh", "true\n")
    platform = Platform(site, home).start()
    for name in ("web", "outside"):
        platform.wait_until(lambda name=name: relay(platform, "GET", "/", name).status == 200)
    yield platform
    platform.stop()


def relay(platform: Platform, method: str, path: str, name: str = "web", **more: Any) -> Answer:
    headers = {"x-functions-key": KEY, **more.pop("headers", {})}
    url = f"/api/continuouswebjobs/{name}/passthrough{path}"
    return call(platform.management_url, method, url, headers=headers, **more)


def headers_of(answer: Answer) -> dict[str, str]:
    return {name.lower(): value for name, value in answer.json()["headers"]}


@pytest.mark.parametrize("name", ["web", "outside"])
@pytest.mark.parametrize("method", ["GET", "PUT", "POST", "DELETE", "PATCH"])
def test_each_method_arrives_with_its_body(served: Platform, method: str, name: str) -> None:
    """Method, path, query and body are those of the request; a GET has no body."""
    answer = relay(served, method, "/a%2Fb/c%20d?x=1&y=%26", name, body=b"some bytes")
    told = answer.json()
    assert (told["method"], told["path"]) == (method, "/a%2Fb/c%20d?x=1&y=%26")
    assert told["size"] == (0 if method == "GET" else 10)
    assert answer.status == 200


def test_a_head_has_no_body(served: Platform) -> None:
    """HEAD is answered with the length of what GET would bring."""
    answer = relay(served, "HEAD", "/x")
    assert answer.status == 200
    assert answer.body == b""
    assert int(answer.headers["content-length"]) > 10


@pytest.mark.parametrize("root", ALIASES)
def test_every_alias_leads_there(served: Platform, root: str) -> None:
    """All spellings of the route, with and without a path, in any case."""
    for tail, path in (("", "/"), ("/", "/"), ("/x/y/", "/x/y/")):
        answer = served.kudu("GET", f"{root}WEB/passthrough{tail}")
        assert answer.json()["path"] == path


def test_headers_go_on_but_not_ours(served: Platform) -> None:
    """All headers but Host, those of one connection, and what opened the door."""
    plain = {
        "x-some": "thing",
        "user-agent": "me/1",
        "accept": "text/x",
        "authorization": "Bearer theirs",
    }
    cookie = "own=1; taak_session=secret; other=2"
    more = {"connection": "keep-alive, X-Mine", "x-mine": "1", "te": "gzip", "cookie": cookie}
    got = headers_of(relay(served, "GET", "/", headers={**plain, **more}))
    assert {name: got.get(name) for name in plain} == plain
    assert got["cookie"] == "own=1; other=2"
    assert not {"x-functions-key", "x-mine", "te"} & got.keys()
    assert got["host"] == "127.0.0.1"


def test_the_key_is_never_handed_on(served: Platform) -> None:
    """The header that opened the door stays outside, whichever it was."""
    path = "/api/continuouswebjobs/web/passthrough/"
    bearer = {"Authorization": f"Bearer {KEY}"}
    answer = call(served.management_url, "GET", path, headers=bearer)
    assert answer.status == 200
    assert KEY not in answer.text


def test_the_answer_is_the_jobs(served: Platform) -> None:
    """Status, reason and headers, also repeated ones, come back; those of its connection do not."""
    base = urlsplit(served.management_url)
    connection = HTTPConnection(base.hostname or "", base.port, timeout=30)
    connection.request(
        "GET", "/api/continuouswebjobs/web/passthrough/teapot", headers={"x-functions-key": KEY}
    )
    reply = connection.getresponse()
    found = reply.getheaders()
    reply.read()
    connection.close()
    assert (reply.status, reply.reason) == (418, "As Said")
    assert [v for k, v in found if k.lower() == "set-cookie"] == ["a=1", "b=2"]
    names = {name.lower() for name, _ in found}
    assert "x-own" in names
    assert not {"x-hop", "keep-alive", "content-security-policy"} & names


def test_a_page_of_a_job_is_no_page_of_ours(served: Platform) -> None:
    """For a browser that is logged in, what a job serves has an origin of its own."""
    link = next(line.split()[1] for line in served.lines if "?token=" in line)
    login = call(served.management_url, "GET", f"/?{urlsplit(link).query}")
    cookie = login.headers["set-cookie"].partition(";")[0]
    path = "/api/continuouswebjobs/web/passthrough/"
    answer = call(served.management_url, "GET", path, headers={"Cookie": cookie})
    assert answer.status == 200
    assert answer.headers["content-security-policy"].startswith("sandbox ")
    assert cookie not in answer.text


def test_redirects_and_empty_answers_are_relayed(served: Platform) -> None:
    """What the job says is for the client, not for us to follow."""
    moved = relay(served, "GET", "/moved")
    assert (moved.status, moved.headers["location"]) == (302, "/elsewhere")
    assert relay(served, "GET", "/empty").status == 204


def test_big_and_chunked_answers_come_whole(served: Platform) -> None:
    """Bodies are streams: long ones, and such as have no length."""
    big = relay(served, "GET", "/big")
    assert len(big.body) == 64 << 20
    chunked = relay(served, "GET", "/chunks")
    assert chunked.body == b"one two three"
    assert "content-length" not in chunked.headers


def test_big_and_chunked_bodies_go_whole(served: Platform) -> None:
    """An upload larger than any limit of ours for JSON arrives, with and without a length."""
    data = bytes(range(256)) * (40 << 12)
    told = relay(served, "POST", "/up", body=data).json()
    assert (told["size"], told["sha"]) == (len(data), hashlib.sha256(data).hexdigest())
    assert headers_of_told(told)["content-length"] == str(len(data))
    base = urlsplit(served.management_url)
    connection = HTTPConnection(base.hostname or "", base.port, timeout=30)
    pieces = iter([b"a" * 70000, b"b", b"c" * 1000])
    path = "/api/continuouswebjobs/web/passthrough/up"
    connection.request("PUT", path, pieces, {"x-functions-key": KEY}, encode_chunked=True)
    told = json.loads(connection.getresponse().read())
    connection.close()
    assert told["size"] == 71001
    assert "content-length" not in headers_of_told(told)


def headers_of_told(told: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in told["headers"]}


def test_many_at_once_are_answered(served: Platform) -> None:
    """A burst gets as many answers as there were requests."""
    with ThreadPoolExecutor(64) as pool:
        paths = [f"/number/{number}" for number in range(200)]
        found = list(pool.map(lambda path: relay(served, "GET", path).json()["path"], paths))
    assert found == paths


def test_a_broken_answer_is_seen_to_be_broken(served: Platform) -> None:
    """A body that ends before its length ends the client's connection, not with a whole answer."""
    with pytest.raises((IncompleteRead, ConnectionError)):
        relay(served, "GET", "/short")
    assert relay(served, "GET", "/").status == 200


def test_what_is_no_http_is_told(served: Platform) -> None:
    """A server that speaks something else is a bad gateway, in JSON."""
    answer = relay(served, "GET", "/noise")
    assert answer.status == 502
    assert "no answer in HTTP" in answer.json()["Message"]


@pytest.mark.parametrize("name", ["deaf", "nobody", "once"])
def test_who_does_not_listen_is_404_in_json(served: Platform, name: str) -> None:
    """A job that runs without a server, one that is not there, and a triggered one."""
    answer = relay(served, "GET", "/x", name)
    assert answer.status == 404
    assert answer.headers["content-type"].startswith("application/json")
    assert name in answer.json()["Message"]


def test_a_stopped_job_is_404(served: Platform) -> None:
    """Without a process there is nobody to ask; with one again there is."""
    served.v1("/jobs/continuous/outside/stop", {})
    served.wait_until(lambda: served.job("outside")["state"] == "Stopped")
    answer = relay(served, "GET", "/", "outside")
    assert answer.status == 404
    assert "Stopped" in answer.json()["Message"]
    served.v1("/jobs/continuous/outside/start", {})
    served.wait_until(lambda: relay(served, "GET", "/", "outside").status == 200)


def test_it_wants_a_key_that_may_act(served: Platform) -> None:
    """Without a key 401; a key that may only read does not reach into a job, also not by GET."""
    path = "/api/continuouswebjobs/web/passthrough/"
    assert call(served.management_url, "GET", path).status == 401
    secrets = Path(served.home) / "data" / "secrets" / "host.json"
    document = json.loads(secrets.read_text())
    document["systemKeys"] += [
        {"name": scope, "value": f"key-{scope}", "taak": {"scope": scope}}
        for scope in ("read", "operate", "debug")
    ]
    secrets.write_text(json.dumps(document))

    def status(scope: str) -> int:
        headers = {"x-functions-key": f"key-{scope}"}
        return call(served.management_url, "GET", path, headers=headers).status

    served.wait_until(lambda: status("operate") == 200)
    assert (status("read"), status("debug")) == (403, 200)


def test_clients_that_leave_harm_nobody(served: Platform) -> None:
    """A client that goes in the middle of a body or an answer leaves the job reachable."""
    base = urlsplit(served.management_url)
    head = (
        "{} /api/continuouswebjobs/web/passthrough{} HTTP/1.1\r\nHost: x\r\nx-functions-key: {}\r\n"
    )
    for method, path, more in (
        ("POST", "/up", "Content-Length: 1000000\r\n\r\nabc"),
        ("GET", "/big", "\r\n"),
    ):
        for _ in range(5):
            with socket.create_connection((base.hostname or "", base.port or 0), 10) as sock:
                sock.sendall((head.format(method, path, KEY) + more).encode())
                if method == "GET":
                    sock.recv(1000)
    assert relay(served, "GET", "/").status == 200
