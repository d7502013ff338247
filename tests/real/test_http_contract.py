"""The HTTP contract of functions.md 7, tried from outside on one platform with many functions."""

from __future__ import annotations

import hashlib
import json
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from real.apps import HTTP_BINDINGS, function
from real.platform import KEY, Answer, Platform, call, wait_until
from real.processes import ADDRESS

pytestmark = pytest.mark.real

TRIGGER, RETURN = HTTP_BINDINGS

ECHO = """
import json
import azure.functions as func

def main(req: func.HttpRequest) -> func.HttpResponse:
    seen = {"method": req.method, "url": req.url, "params": dict(req.params),
            "headers": dict(req.headers), "route": dict(req.route_params),
            "body": req.get_body().decode("latin-1")}
    return func.HttpResponse(json.dumps(seen), mimetype="application/json")
"""
ASYNC = """
import asyncio, os
async def main(req):
    if "fork" in req.params:
        if (pid := os.fork()) == 0:
            return "child"
        os.waitpid(pid, 0)
    await asyncio.sleep(float(req.params.get("s", 0)))
    return req.params.get("n", "") + " " + WHO
""".replace("WHO", ADDRESS)
SLOW = """
import os, time
def main(req):
    time.sleep(float(req.params.get("s", 0)))
    return req.params.get("n", "") + " " + WHO
""".replace("WHO", ADDRESS)
FORM = """
import json, azure.functions as func
def main(req: func.HttpRequest):
    files = {k: [f.filename, f.stream.read().decode()] for k, f in req.files.items()}
    return json.dumps({"form": dict(req.form.items()), "files": files})
"""
JSON = """
import azure.functions as func
def main(req):
    try:
        return {"got": req.get_json()}
    except ValueError:
        return func.HttpResponse("no json", status_code=400)
"""
COOKIE = """
import azure.functions as func
def main(req):
    response = func.HttpResponse("c")
    for value in req.get_json():
        response.headers.add("Set-Cookie", value)
    return response
"""
RETURNS = r"""
import azure.functions as func
def main(req):
    return {
        "str": lambda: "h\u00e9\u4e2d",
        "empty": lambda: "",
        "bytes": lambda: b"\x00\xff",
        "dict": lambda: {"a": 1},
        "pair": lambda: ("x", 418),
        "response": lambda: func.HttpResponse(),
        "binary": lambda: func.HttpResponse(b"\xff", mimetype="image/png"),
        "redirect": lambda: func.HttpResponse(status_code=302, headers={"Location": "/x"}),
        "own": lambda: func.HttpResponse("x", headers={"x-site": "mine"}),
        "int": lambda: 5,
        "none": lambda: None,
        "object": object,
        "injection": lambda: ("x", 200, {"X-A": "a\r\nEvil: 1"}),
        "status": lambda: ("x", 999),
        "large": lambda: b"x" * (20 << 20),
        "too_large": lambda: b"x" * (70 << 20),
    }[req.params["what"]]()
"""
BAD = """
import os, sys
def again(n): return again(n + 1)
def main(req):
    what = req.params["what"]
    if what == "raise": raise ValueError("boom")
    if what == "exit": sys.exit(3)
    if what == "interrupt": raise KeyboardInterrupt
    if what == "os_exit": os._exit(3)
    if what == "abort": os.abort()
    if what == "recursion": again(0)
    if what == "fork":
        if (pid := os.fork()) == 0: return "child"
        os.waitpid(pid, 0)
    return "survived"
"""
PRINTS = """
import logging, subprocess, threading
def main(req):
    word = req.params["word"]
    print("printed", word)
    logging.info("logged %s", word)
    thread = threading.Thread(target=print, args=("threaded", word))
    thread.start(); thread.join()
    subprocess.run(["echo", "subprocess " + word], check=True)
    return "told"
"""
CONTEXT = """
import json, azure.functions as func
def main(req: func.HttpRequest, context: func.Context):
    trace = context.trace_context
    return json.dumps([context.invocation_id, context.function_name,
                       context.function_directory, trace.trace_parent, trace.trace_state])
"""
OUT = """
import azure.functions as func
def main(req: func.HttpRequest, res: func.Out[func.HttpResponse]):
    res.set(func.HttpResponse("by out", status_code=201))
"""
SCRIPT = """
from . import helper
from ...shared.lib import WORD
from __app__.shared import lib
from shared.lib import WORD as again
async def go(req):
    return f"{helper.NAME} {WORD} {lib.WORD} {again} {__name__}"
"""
DAY = "Thu, 12 Jan 2017 13:55:08 GMT"
BODY = """
import hashlib
def main(req):
    body = req.get_body()
    return f"{len(body)} {hashlib.sha256(body).hexdigest()}"
"""


def other(site: Path, name: str, code: str, file: str = "__init__.py", **top: Any) -> None:
    """Write a function with more to say in its function.json than the trigger."""
    path = site / name / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(code)
    document = {"bindings": [TRIGGER, RETURN], **top}
    (site / name / "function.json").write_text(json.dumps(document))


def fill(site: Path) -> None:
    """Write the app."""
    host = {
        "version": "2.0",
        "functionTimeout": "00:00:30",
        "extensions": {"http": {"customHeaders": {"X-Site": "s"}}},
    }
    (site / "host.json").write_text(json.dumps(host))
    (site / "shared").mkdir()
    (site / "shared" / "lib.py").write_text("WORD = 'shared'\ndef main(req): return 'lib'\n")
    function(site, "echo", ECHO)
    function(site, "files", ECHO, route="files/{*rest}")
    function(site, "item", ECHO, route="item/{id:int:min(1)?}", methods=["get"])
    function(site, "dotted", ECHO, route="d/{name}.{ext?}")
    function(site, "same_get", "def main(req): return 'get'", route="same", methods=["GET"])
    function(site, "same_post", "def main(req): return 'post'", route="same", methods=["post"])
    function(site, "keyed", ECHO, authLevel="function")
    function(site, "master", ECHO, authLevel="admin")
    other(site, "off", "def main(req): return 'on'", disabled=True)
    for name, code in {
        "asynchronous": ASYNC, "slow": SLOW, "mixed": SLOW, "form": FORM, "js": JSON,
        "cookie": COOKIE, "returns": RETURNS, "bad": BAD, "prints": PRINTS, "context": CONTEXT,
        "body": BODY, "text": "def main(req: str) -> str: return 'S:' + req",
        "missing": "import not_there\ndef main(req): return 'x'",
        "exits": "import os\nos._exit(3)\ndef main(req): return 'x'",
    }.items():  # fmt: skip
        function(site, name, code)
    other(site, "silent", "def main(req): pass", bindings=[TRIGGER])
    out = {"type": "http", "name": "res", "direction": "out"}
    other(site, "by_out", OUT, bindings=[TRIGGER, out])
    other(site, "script", SCRIPT, "sub/main.py", scriptFile="sub/main.py", entryPoint="go")
    (site / "script" / "sub" / "helper.py").write_text("NAME = 'helper'")
    other(site, "elsewhere", "", "notes.txt", scriptFile="../shared/lib.py")
    few = {"max_workers": 2, "queue_depth": 3, "idle_s": 1, "min_workers": 1}
    other(site, "few", SLOW, taak=few)
    other(site, "recycled", SLOW, taak={"recycle_calls": 3})
    other(site, "hurried", SLOW, taak={"timeout_s": 0.5, "max_workers": 4})
    other(site, "hurried_async", ASYNC, taak={"timeout_s": 0.5})


@pytest.fixture(
    scope="module",
    params=[("on", ""), ("on", "1"), ("off", "")],
    ids=["lane", "lane-pure", "general"],
)
def host(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Platform]:
    """One platform for all tests of this file: the fast lane, as Python, and without it."""
    folder = tmp_path_factory.mktemp("contract")
    site = folder / "site"
    site.mkdir()
    fill(site)
    lane, pure = request.param
    options, env = ("--fast-lane", lane), {"TAAK_PURE": pure}
    platform = Platform(site, folder / "home", options=options, env=env).start()
    yield platform
    if platform.running:
        platform.stop()


def at_once(count: int, action: Callable[[int], Any]) -> list[Any]:
    """Run an action so many times side by side."""
    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(action, range(count)))


def exchange(host: Platform, *parts: bytes | float, timeout_s: float = 10.0) -> bytes:
    """Send parts (a number is a pause) on a connection and return all until its end."""
    url = urlsplit(host.data_url)
    with socket.create_connection((url.hostname, url.port), timeout=timeout_s) as connection:
        for part in parts:
            if isinstance(part, bytes):
                connection.sendall(part)
            else:
                time.sleep(part)
        found = b""
        while data := connection.recv(1 << 16):
            found += data
        return found


def seen(answer: Answer) -> dict[str, Any]:
    """Return what the echo function saw."""
    assert answer.status == 200, answer
    document: dict[str, Any] = answer.json()
    return document


# -- 7.1 routing


def test_routes(host: Platform):
    """7.1: case, slashes, constraints, optional and catch-all parameters, methods, 404 empty."""
    assert seen(host.get("/API/Echo/"))["route"] == {}
    assert seen(host.get("/api/files/a/b/"))["route"] == {"rest": "a/b/"}
    assert seen(host.get("/api/files"))["route"] == {}
    assert seen(host.get("/api/files/a%252Fb%20%E4%B8%AD"))["route"] == {"rest": "a%2Fb \u4e2d"}
    assert seen(host.get("/api/files/../files/x"))["route"] == {"rest": "x"}
    assert seen(host.get("/api/item"))["route"] == {}
    assert seen(host.get("/api/item/7"))["route"] == {"id": "7"}
    assert seen(host.get("/api/d/a.b.c"))["route"] == {"name": "a.b", "ext": "c"}
    assert seen(host.get("/api/d/a"))["route"] == {"name": "a"}
    assert (host.get("/api/same").text, host.post("/api/same").text) == ("get", "post")
    for target in ("/api/item/0", "/api/item/x", "/api/nope", "/api/files/../../etc/passwd"):
        answer = host.get(target)
        assert (answer.status, answer.body, answer.headers["x-site"]) == (404, b"", "s")
    assert host.post("/api/item/7").status == 404
    assert call(host.data_url, "OPTIONS", "/api/item/7").status == 404
    assert host.get("/").headers["content-type"].startswith("text/html")
    assert host.get("/healthz").status == 200


# -- 7.2 keys


def test_keys(host: Platform):
    """7.2: header before query, admin wants the master key, a key of one function opens it only."""
    keys = host.home / "data" / "secrets" / "keyed.json"
    keys.write_text(json.dumps({"keys": [{"name": "default", "value": "k" * 40}]}))
    wait_until(lambda: host.get(f"/api/keyed?code={'k' * 40}").status == 200)
    assert host.get("/api/keyed", x_functions_key="k" * 40).status == 200
    assert host.get(f"/api/keyed?code={KEY}").status == 200
    assert host.get("/api/master", x_functions_key=KEY).status == 200
    assert seen(host.get(f"/api/keyed?code={KEY}&a=1"))["params"] == {"code": KEY, "a": "1"}
    for target, header in [
        ("/api/keyed", ""),
        ("/api/keyed?code=wrong", ""),
        (f"/api/keyed?code={KEY}", "wrong"),
        (f"/api/master?code={'k' * 40}", ""),
    ]:
        answer = host.get(target, **({"x_functions_key": header} if header else {}))
        assert (answer.status, answer.body) == (401, b"")
    assert host.get("/api/off").status == 404
    assert host.get(f"/api/off?code={KEY}").text == "on"


# -- 7.3 endings


@pytest.mark.parametrize("what", ["raise", "exit", "interrupt", "os_exit", "abort", "recursion"])
def test_failures(host: Platform, what: str):
    """7.3: whatever the function does, 500 with an empty body; the next call is served."""
    answer = host.get(f"/api/bad?what={what}")
    assert (answer.status, answer.body) == (500, b"")
    assert host.get("/api/bad?what=fork").text == "survived"


def test_a_fork_that_comes_back(host: Platform):
    """12: a child of user code that returns into the worker ends there, without a word."""
    before = host.get("/api/asynchronous").text
    for _ in range(2):
        assert host.get("/api/asynchronous?fork=1").text == before


def test_a_failure_is_told_in_the_functions_log(host: Platform):
    """7.3: the log has `Exception: <Type>: <msg>` and the stack."""
    host.get("/api/bad?what=raise")
    lines = [line["text"] for line in host.v1("/functions/bad/logs?tail=50")["items"]]
    assert "Exception: ValueError: boom" in lines
    assert any(line.startswith("Traceback") for line in lines)


def test_code_that_does_not_load(host: Platform):
    """7.3: 500 at each call, and the others serve."""
    for name in ("missing", "exits", "missing"):
        assert host.get(f"/api/{name}").status == 500
    assert host.get("/api/echo").status == 200


@pytest.mark.parametrize(
    ("what", "status", "kind", "body"),
    [
        ("str", 200, "text/plain; charset=utf-8", "h\u00e9\u4e2d".encode()),
        ("empty", 200, "text/plain; charset=utf-8", b""),
        ("bytes", 200, "application/octet-stream", b"\x00\xff"),
        ("dict", 200, "application/json", b'{"a": 1}'),
        ("pair", 418, "text/plain; charset=utf-8", b"x"),
        ("response", 200, "text/plain; charset=utf-8", b""),
        ("binary", 200, "image/png", b"\xff"),
        ("redirect", 302, "text/plain; charset=utf-8", b""),
        ("int", 500, None, b""),
        ("none", 500, None, b""),
        ("object", 500, None, b""),
        ("too_large", 500, None, b""),
        ("injection", 502, None, b""),
        ("status", 502, None, b""),
        ("large", 200, "application/octet-stream", b"x" * (20 << 20)),
    ],
)
def test_returns(host: Platform, what: str, status: int, kind: str | None, body: bytes):
    """7.3, 7.5: what may be returned and what the client gets for it."""
    answer = host.get(f"/api/returns?what={what}")
    assert (answer.status, answer.headers.get("content-type")) == (status, kind)
    assert answer.body == body
    assert answer.headers["x-site"] == "s"


def test_other_ways_to_answer(host: Platform):
    """7.3, 12: no http output is 204, Out[HttpResponse], headers of the function win."""
    assert host.get("/api/silent").status == 204
    answer = host.get("/api/by_out")
    assert (answer.status, answer.text) == (201, "by out")
    assert host.get("/api/returns?what=own").headers["x-site"] == "mine"
    head = call(host.data_url, "HEAD", "/api/returns?what=large")
    assert (head.headers["content-length"], head.body) == (str(20 << 20), b"")


def test_imports(host: Platform):
    """2: relative imports, `__app__`, shared code, scriptFile, entryPoint."""
    expected = "helper shared shared shared __app__.script.sub.main"
    assert host.get("/api/script").text == expected
    assert host.get("/api/elsewhere").text == "lib"


def test_context(host: Platform):
    """12: invocation id, name, directory, and the trace of the request's headers."""
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    one, two = (host.get("/api/context", traceparent=parent, tracestate="a=b").json() for _ in "ab")
    assert one[0] != two[0]
    assert one[1:] == ["context", one[2], parent, "a=b"]
    assert one[2].endswith("/context")


# -- 7.4, 7.5 requests and cookies


def test_requests(host: Platform):
    """7.4: method, absolute url, joined repeats, dropped empties, unicode."""
    query = "a=1&a=2&empty=&x=%C3%A9+y"
    url = urlsplit(host.data_url)
    raw = exchange(
        host,
        f"GET http://elsewhere/api/echo?{query} HTTP/1.1\r\nHost: {url.netloc}\r\n".encode(),
        b"X-Twice: 1\r\nx-twice: 2\r\nConnection: close\r\n\r\n",
    )
    found = json.loads(raw.partition(b"\r\n\r\n")[2])
    assert found["url"] == f"{host.data_url}/api/echo?{query}"
    assert found["params"] == {"a": "1,2", "x": "\u00e9 y"}
    assert found["headers"]["x-twice"] == "1,2"
    assert seen(call(host.data_url, "DELETE", "/api/echo"))["method"] == "DELETE"


def test_bodies(host: Platform):
    """7.4: untouched bytes, with a length or in chunks; forms and files; JSON and none."""
    data = bytes(range(256)) * 100
    told = f"{len(data)} {hashlib.sha256(data).hexdigest()}"
    assert host.post("/api/body", data).text == told
    assert host.post("/api/body", data, content_encoding="gzip").text == told
    head = b"POST /api/body HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked"
    chunks = b"%x\r\n%b\r\n" % (9, data[:9]) + b"%x\r\n%b\r\n0\r\n\r\n" % (len(data) - 9, data[9:])
    assert exchange(host, head + b"\r\n\r\n", chunks[:500], 0.1, chunks[500:]).endswith(
        told.encode()
    )
    assert host.post("/api/text", "h\u00e9").text == "S:h\u00e9"
    assert host.post("/api/js", '{"a": [1]}').json() == {"got": {"a": [1]}}
    assert host.post("/api/js", "{").status == host.post("/api/js").status == 400
    form = "application/x-www-form-urlencoded"
    assert host.post("/api/form", "a=1&b=%20", content_type=form).json()["form"] == {
        "a": "1",
        "b": " ",
    }
    field = 'Content-Disposition: form-data; name="f"; filename="n.txt"'
    parts = f"--B\r\n{field}\r\n\r\nin it\r\n--B--\r\n"
    answer = host.post("/api/form", parts, content_type="multipart/form-data; boundary=B")
    assert answer.json()["files"] == {"f": ["n.txt", "in it"]}


def test_a_large_upload_by_curl(host: Platform, tmp_path: Path):
    """7.4: more than 1 MB makes curl say Expect: 100-continue; 60 MB cross in a few seconds."""
    file = tmp_path / "large"
    data = b"0123456789abcdef" * (60 << 16)
    file.write_bytes(data)
    url = f"{host.data_url}/api/body"
    arguments = ["curl", "-sS", "--max-time", "20", "-H", "Expect: 100-continue", "--data-binary"]
    done = subprocess.run(
        [*arguments, f"@{file}", url], capture_output=True, text=True, check=False, timeout=30
    )
    assert done.stdout == f"{len(data)} {hashlib.sha256(data).hexdigest()}", done.stderr


@pytest.mark.parametrize(
    ("values", "status", "expected"),
    [
        (["foo=bar"], 200, ["foo=bar; domain=; path="]),
        (["a=1", "b=2"], 200, ["a=1; domain=; path=", "b=2; domain=; path="]),
        (
            [f"a=b; Path=/x; HttpOnly; Secure; SameSite=Lax; Max-Age=5; Domain=x.y; Expires={DAY}"],
            200,
            [f"a=b; expires={DAY}; max-age=5; domain=x.y; path=/x; secure; samesite=lax; httponly"],
        ),
        ([""], 200, []),
        (["a=b; Bogus"], 200, []),
        (["a=b; Max-Age=x"], 200, []),
        (["a=b; Expires=never"], 500, []),
    ],
)  # fmt: skip
def test_cookies(host: Platform, values: list[str], status: int, expected: list[str]):
    """7.5: each cookie is parsed and re-emitted; what cannot be parsed gives none, or 500."""
    body = json.dumps(values).encode()
    head = (
        f"POST /api/cookie HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: {len(body)}"
    )
    raw = exchange(host, head.encode() + b"\r\n\r\n" + body).decode()
    assert raw.startswith(f"HTTP/1.1 {status}")
    names = [line.partition(": ") for line in raw.split("\r\n")]
    assert [value for name, _, value in names if name.lower() == "set-cookie"] == expected


def test_heads_that_come_again(host: Platform) -> None:
    """7.1: the same head gets a fresh request each time, and one that differs its own."""
    one = b"GET /api/echo?n=%d HTTP/1.1\r\nHost: x\r\nX-A: %d\r\n\r\n"
    post = b"POST /api/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n"
    last = b"GET /api/echo?n=9 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    same = one % (1, 1)
    raw = exchange(host, same, 0.05, same, same + one % (1, 2), post + b"ab", post + b"cd", last)
    bodies = [json.loads(part.partition(b"\r\n\r\n")[2]) for part in raw.split(b"HTTP/1.1 200")[1:]]
    assert [body["params"].get("n") for body in bodies] == ["1", "1", "1", "1", None, None, "9"]
    assert [body["headers"].get("x-a") for body in bodies[:4]] == ["1", "1", "1", "2"]
    assert [body["body"] for body in bodies[4:6]] == ["ab", "cd"]


def test_odd_connections(host: Platform):
    """7.1: pipelining, HTTP/1.0, and a client that leaves do no harm to each other."""
    one = b"GET /api/slow?n=%d HTTP/1.1\r\nHost: h\r\n\r\n"
    last = b"GET /api/slow?n=9 HTTP/1.0\r\n\r\n"
    raw = exchange(host, b"".join(one % n for n in range(5)) + last)
    assert [part[:2] for part in raw.split(b"\r\n\r\n")[1:]] == [
        b"0 ",
        b"1 ",
        b"2 ",
        b"3 ",
        b"4 ",
        b"9 ",
    ]
    url = urlsplit(host.data_url)
    with socket.create_connection((url.hostname, url.port)) as leaving:
        leaving.sendall(b"GET /api/slow?s=0.2 HTTP/1.1\r\nHost: h\r\n\r\n")
        wait_until(lambda: host.function("slow")["workers"]["busy"])
    wait_until(lambda: not host.function("slow")["workers"]["busy"])
    assert host.get("/api/slow").status == 200


def test_many_parameters_do_not_reach_a_worker_as_a_bomb(host: Platform):
    """7.4: as many as a target may hold are served, more are 414; no worker dies of them."""
    before = host.get("/api/slow").text
    assert host.get(f"/api/slow?{'a&' * 4000}").text == before
    assert host.get(f"/api/slow?{'a&' * 7000}").status == 414
    assert host.get("/api/slow").text == before


# -- 12 invocation model


def test_output_belongs_to_its_call(host: Platform):
    """12: prints, log records, threads and sub-processes reach the function's log."""
    word = f"w{time.monotonic_ns()}"
    host.get(f"/api/prints?word={word}")

    def told() -> bool:
        items = host.v1("/functions/prints/logs?tail=100")["items"]
        found = {item["text"]: item["invocation_id"] for item in items if word in item["text"]}
        wanted = [f"{kind} {word}" for kind in ("printed", "logged", "threaded", "subprocess")]
        return all(text in found for text in wanted) and len({found[t] for t in wanted[:3]}) == 1

    wait_until(told)


@pytest.mark.parametrize(("name", "slowest"), [("asynchronous", 3.0), ("mixed", 5.0)])
def test_200_calls_at_once_slow_and_fast(host: Platform, name: str, slowest: float):
    """12: each gets its own answer and none fails; slow calls run side by side."""

    def one(number: int) -> tuple[int, bool]:
        slow = 0.5 if number % 20 == 0 else 0
        answer = host.get(f"/api/{name}?n={number}&s={slow}")
        return answer.status, answer.text.split(" ")[0] == str(number)

    for _ in range(300):  # a pool that thinks that all are quick must not stack them up
        host.get(f"/api/{name}")
    start = time.monotonic()
    assert Counter(at_once(200, one)) == {(200, True): 200}
    assert time.monotonic() - start < slowest


def test_the_queue_is_bounded_and_workers_come_and_go(host: Platform):
    """12: two workers and three that wait; one more is 429 with Retry-After; then idle ones end."""
    answers = at_once(12, lambda _: host.get("/api/few?s=0.5"))
    statuses = Counter(answer.status for answer in answers)
    assert set(statuses) == {200, 429}
    assert statuses[200] in (4, 5)
    assert all("retry-after" in a.headers for a in answers if a.status == 429)
    assert len({a.text for a in answers if a.status == 200}) == 2
    wait_until(lambda: host.function("few")["workers"]["total"] == 1, timeout_s=6)


def test_workers_are_recycled(host: Platform):
    """12: after so many calls another process serves, and no call is lost on the way."""
    texts = [host.get("/api/recycled").text for _ in range(9)]
    assert [texts.count(text) for text in dict.fromkeys(texts)] == [3, 3, 3]
    assert {a.status for a in at_once(30, lambda _: host.get("/api/recycled"))} == {200}


def test_a_call_over_time(host: Platform):
    """7.3: 500 at the deadline; other calls, in the same process too, are not lost."""
    start = time.monotonic()
    assert host.get("/api/hurried?s=5").status == 500
    assert time.monotonic() - start < 2
    for _ in range(200):  # now the pool thinks that it is a quick one
        host.get("/api/hurried")
    answers = at_once(30, lambda n: host.get(f"/api/hurried?n={n}&s={5 if n == 3 else 0}").status)
    assert Counter(answers) == {200: 29, 500: 1}
    answers = at_once(8, lambda _: host.get("/api/hurried?s=0.3").status)
    assert Counter(answers) == {200: 8}
    answers = at_once(6, lambda n: host.get(f"/api/hurried_async?s={5 if n == 3 else 0.2}"))
    assert Counter(answer.status for answer in answers) == {200: 5, 500: 1}
    assert len({answer.text for answer in answers if answer.status == 200}) == 1


# -- 13 admin


def test_the_admin_api(host: Platform):
    """13: ping without a key, all else with the master key; POST runs a function, 202."""
    assert host.get("/admin/host/ping").status == 200
    assert host.get("/admin/host/status").status == 401
    assert host.get("/admin/host/status", x_functions_key=KEY).json()["state"] == "Running"
    shape = host.get(f"/ADMIN/Functions/ECHO?code={KEY}").json()
    assert shape["invoke_url_template"] == f"{host.data_url}/api/echo"
    assert host.get("/admin/functions/nope", x_functions_key=KEY).status == 404
    word = f"w{time.monotonic_ns()}"
    given = {"method": "GET", "queryStringParams": [{"name": "word", "value": word}]}
    body = json.dumps({"input": json.dumps(given)})
    assert host.post("/admin/functions/prints", body, x_functions_key=KEY).status == 202
    assert host.post("/admin/functions/prints", "x", x_functions_key=KEY).status == 400

    def ran() -> bool:
        items = host.v1("/functions/prints/logs?tail=100")["items"]
        return any(item["text"] == f"printed {word}" for item in items)

    wait_until(ran)
    url = quote("/admin/functions/exits/status", safe="/")
    assert host.get(url, x_functions_key=KEY).json()["errors"]


# -- the end


def test_while_it_stops(host: Platform):
    """7.3: the call that is here is answered, new ones are 503 with Retry-After; exit code 0."""
    with ThreadPoolExecutor(1) as threads:
        here = threads.submit(host.get, "/api/slow?s=1.5&n=last")
        wait_until(lambda: host.function("slow")["workers"]["busy"])
        before = time.monotonic()
        stopping = threads_stop(host)
        late = wait_until(lambda: (a := host.get("/api/echo")).status == 503 and a)
        assert "retry-after" in late.headers
        assert late.headers["connection"] == "close"
        assert here.result().text.startswith("last ")
        assert time.monotonic() - before < 5
        assert stopping() == 0


def threads_stop(host: Platform) -> Callable[[], int]:
    """Ask the platform to stop and return what waits for its end."""
    host.signal(15)
    return lambda: host.wait(timeout_s=30)
