"""Continuous jobs under their debuggers, by the protocols that editors speak (ecosystem.md 5.4)."""

from __future__ import annotations

import json
import socket
import struct
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from needs import need
from real.apps import job
from real.debug_clients import WAIT_S, Dap, Debug
from real.platform import KEY, Platform, call
from real.sandboxes import alive

from sandbox.debuggers import debugpy_folder

pytestmark = pytest.mark.real

PYTHON = f"""
import os, sys, time

def step(n):
    secret = f"value {{n}}"
    return secret

print("argv", sys.argv, "debugger here:", os.path.exists({debugpy_folder()!r}),
      "found:", any(os.path.exists(p + "/aiohttp") for p in sys.path), flush=True)
n = 0
while True:
    n += 1
    step(n)
    time.sleep(0.1)
"""
LINE = 6  # return secret
NODE = "let n = 0; setInterval(() => { n += 1; globalThis.count = n }, 100)\n"
JAVA = """
public class Main {
    public static void main(String[] a) throws Exception { while (true) Thread.sleep(1000); }
}
"""
#: A scope of keys -> its key.
KEYS = {scope: f"key-of-{scope}" for scope in ("read", "operate", "debug")}


def jar(folder: Path) -> None:
    """Make run.jar of a program that does nothing for ever."""
    need("java")
    (folder / "Main.java").write_text(JAVA)
    subprocess.run([need("javac"), "Main.java"], cwd=folder, check=True, timeout=100)
    with zipfile.ZipFile(folder / "run.jar", "w") as archive:
        archive.writestr("META-INF/MANIFEST.MF", "Main-Class: Main\n")
        archive.write(folder / "Main.class", "Main.class")
    for name in ("Main.java", "Main.class"):
        (folder / name).unlink()


@pytest.fixture(scope="module")
def debugged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform with a job of each kind, and a key of each scope."""
    site = tmp_path_factory.mktemp("site")
    home = tmp_path_factory.mktemp("home")
    env = {"WEBJOBS_RESTART_TIME": "1"}
    job(site, "continuous", "py", "run.py", PYTHON, taak={"environment": env})
    job(site, "continuous", "other", "run.py", PYTHON)
    outbound = {"network": "outbound"}
    job(site, "continuous", "outside", "run.py", PYTHON, taak={**outbound, "debug": True})
    job(site, "continuous", "open", "run.py", PYTHON, taak=outbound)
    job(site, "continuous", "closed", "run.py", PYTHON, taak={"debug": False})
    job(site, "continuous", "js", "run.js", NODE)
    job(site, "continuous", "sh", "run.sh", "sleep 1000\n")
    job(site, "triggered", "once", "run.py", PYTHON)
    jar(job(site, "continuous", "java", "readme.txt", ""))
    secrets = home / "data" / "secrets"
    secrets.mkdir(parents=True)
    keys = [{"name": s, "value": v, "taak": {"scope": s}} for s, v in KEYS.items()]
    master = {"name": "master", "value": KEY}
    document = {"masterKey": master, "functionKeys": [], "systemKeys": keys}
    (secrets / "host.json").write_text(json.dumps(document))
    platform = Platform(site, home, options=("--debug-s", "600")).start()
    yield platform
    platform.stop()


def path_of(name: str, more: str = "") -> str:
    return f"/v1/jobs/continuous/{name}/debug{more}"


def order(platform: Platform, name: str, method: str = "POST", **body: Any) -> dict[str, Any]:
    told: dict[str, Any] = platform.v1(path_of(name)[3:], body or {}, method=method)
    return told


def is_attachable(platform: Platform, name: str) -> Any:
    state = platform.v1(path_of(name)[3:])
    return state if state["state"] == "attachable" else None


def logged(platform: Platform, name: str) -> str:
    return platform.manage("GET", f"/v1/jobs/continuous/{name}/logs").text


def hit(port: int, told: dict[str, Any]) -> str:
    """Attach, stop at the breakpoint, and return the variable's value; go on and leave."""
    with Dap(port) as client:
        client.attach("run.py", "/editor/job", told["remote_root"], LINE)
        thread, frame = client.stop_at()
        assert (frame["name"], frame["line"]) == ("step", LINE)
        assert frame["source"]["path"] == "/editor/job/run.py"
        value = client.ask("evaluate", expression="secret", frameId=frame["id"])["result"]
        client.ask("continue", threadId=thread)
        client.stop_at()
        client.ask("disconnect", terminateDebuggee=False)
    return str(value)


def test_a_breakpoint_of_a_python_job_is_hit_and_survives_restarts(debugged: Platform) -> None:
    """One local port, one session: before and after a restart, a crash and a redeploy."""
    with Debug(debugged, "py") as debug:
        told = debug.told
        assert told["debugger"] == "debugpy"
        assert told["entry"]["pathMappings"][0]["remoteRoot"] == told["remote_root"]
        assert "'value " in hit(debug.port, told)
        assert "'value " in hit(debug.port, told)  # a client may come again

        old = debugged.job("py")["pid"]
        debugged.v1("/jobs/continuous/py/restart", {})
        debugged.wait_until(lambda: not alive(old) and is_attachable(debugged, "py"))
        assert "'value " in hit(debug.port, told)

        old = debugged.job("py")["pid"]
        job(debugged.site, "continuous", "py", "run.py", PYTHON + "# more\n")
        debugged.wait_until(lambda: not alive(old) and is_attachable(debugged, "py"))
        assert "updated, refreshing" in logged(debugged, "py")
        assert debugged.v1(path_of("py")[3:])["remote_root"] == told["remote_root"]
        assert "'value " in hit(debug.port, told)
        assert debugged.v1(path_of("py")[3:])["began"] == told["began"]

        shown = debugged.job("py")["debugging"]
        assert (shown["state"], shown["debugger"]) == ("attachable", "debugpy")
        assert "py is being debugged (debugpy" in debugged.manage("GET", "/").text
    assert any("taak.audit" in line and "job py is on" in line for line in debugged.lines)
    assert order(debugged, "py", "DELETE")["state"] == "off"
    debugged.wait_until(lambda: "Debugging is off" in logged(debugged, "py"))
    debugged.wait_until(lambda: debugged.job("py")["pid"])
    assert debugged.job("py")["debugging"] is None


def test_a_python_job_sees_its_debugger_only_while_it_has_one(debugged: Platform) -> None:
    """Its folder is shown to a debugged start only, Taak's packages never; argv stays its own."""
    word = "argv ['run.py'] debugger here: {} found: False"
    debugged.wait_until(lambda: word.format(False) in logged(debugged, "other"))
    order(debugged, "other")
    debugged.wait_until(lambda: word.format(True) in logged(debugged, "other"))
    order(debugged, "other", "DELETE")
    debugged.wait_until(lambda: logged(debugged, "other").count(word.format(False)) == 2)


def test_nobody_else_on_this_machine_reaches_the_debugger(debugged: Platform) -> None:
    """The port that the debugger listens at is none of the host's."""
    order(debugged, "js")
    state = debugged.wait_until(lambda: is_attachable(debugged, "js"))
    assert state["state"] == "attachable"
    command = Path(f"/proc/{debugged.job('js')['pid']}/cmdline").read_text().split("\0")
    port = int(next(word for word in command if "--inspect" in word).rpartition(":")[2])
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 5)
    order(debugged, "js", "DELETE")


async def test_a_node_job_answers_the_inspectors_protocol(debugged: Platform) -> None:
    """Targets are listed over HTTP, and an expression is evaluated over its WebSocket."""
    with Debug(debugged, "js") as debug:
        assert debug.told["entry"]["type"] == "node"
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{debug.port}/json/list") as answer:
                targets = await answer.json(content_type=None)
            url = targets[0]["webSocketDebuggerUrl"]
            assert f":{debug.port}/" in url
            async with session.ws_connect(url) as inspector:
                ask = {"id": 1, "method": "Runtime.evaluate", "params": {"expression": "6 * 7"}}
                await inspector.send_json(ask)
                told = await inspector.receive_json(timeout=WAIT_S)
        assert told["result"]["result"]["value"] == 42
    order(debugged, "js", "DELETE")


def test_a_java_job_shakes_hands(debugged: Platform) -> None:
    """JDWP: the handshake, and a command that is answered."""
    with (
        Debug(debugged, "java") as debug,
        socket.create_connection(("127.0.0.1", debug.port), WAIT_S) as sock,
    ):
        sock.sendall(b"JDWP-Handshake")
        assert received(sock, 14) == b"JDWP-Handshake"
        sock.sendall(struct.pack(">IIBBB", 11, 7, 0, 1, 1))  # VirtualMachine.Version
        while True:  # events of its start may come first
            size, number, flags = struct.unpack(">IIB", received(sock, 9))
            body = received(sock, size - 9)
            if (number, flags) == (7, 0x80):
                break
        assert body[:2] == b"\0\0"
    order(debugged, "java", "DELETE")


def received(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = sock.recv(size - len(data))
        assert piece, "the connection has ended"
        data += piece
    return data


def test_a_job_on_the_machines_network_can_be_allowed(debugged: Platform) -> None:
    """With "debug": true it works there too, at the one port that it may bind."""
    with Debug(debugged, "outside") as debug:
        assert "'value " in hit(debug.port, debug.told)
    order(debugged, "outside", "DELETE")


def test_wait_holds_the_program_until_a_client_is_there(debugged: Platform) -> None:
    """The first line runs under the eyes of the client."""
    before = logged(debugged, "other").count("argv")
    with Debug(debugged, "other", "--wait") as debug, Dap(debug.port) as client:
        assert logged(debugged, "other").count("argv") == before
        client.attach("run.py", "/editor", debug.told["remote_root"], 8)
        _, frame = client.stop_at()
        assert frame["line"] == 8
        client.ask("disconnect")
    debugged.wait_until(lambda: logged(debugged, "other").count("argv") == before + 1)
    order(debugged, "other", "DELETE")


REFUSED = {
    "sh": ("continuous", "no debugger"),
    "open": ("continuous", "this machine's network"),
    "closed": ("continuous", "settings.job says so"),
    "once": ("triggered", "triggered job"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_debugged_is_refused_with_the_reason(debugged: Platform, name: str) -> None:
    """409 and words; the job goes on as it was. The command says the same and ends with 5."""
    kind, words = REFUSED[name]
    answer = debugged.manage("POST", f"/v1/jobs/{kind}/{name}/debug")
    assert answer.status == 409
    problem = answer.json()
    assert words in problem["detail"]
    assert problem["hint"]
    debug = Debug(debugged, name)
    _, said = debug.process.communicate(timeout=WAIT_S)
    assert debug.process.returncode == 5
    assert words in json.loads(said)["error"]["message"]


async def knock(platform: Platform, name: str, **headers: str) -> int:
    """Open a tunnel with these headers, and close it; return the status."""
    async with aiohttp.ClientSession() as session:
        url = platform.management_url + path_of(name, "/tunnel")
        try:
            async with session.ws_connect(url, headers=headers):
                return 101
        except aiohttp.WSServerHandshakeError as error:
            return error.status


async def test_a_token_opens_one_connection_to_one_job(debugged: Platform) -> None:
    """Used twice, for another job, of another session, or made up, it opens nothing."""
    name = "x-taak-debug-token"
    token = order(debugged, "py")["token"]
    order(debugged, "other")
    assert await knock(debugged, "py", **{name: token}) == 101
    assert await knock(debugged, "py", **{name: token}) == 401
    another = order(debugged, "py")["token"]
    assert await knock(debugged, "other", **{name: another}) == 401
    assert await knock(debugged, "py", **{name: another}) == 401  # it is used up by the attempt
    assert await knock(debugged, "py", **{name: "made-up"}) == 401
    assert await knock(debugged, "py") == 401
    late = order(debugged, "py")["token"]
    order(debugged, "py", "DELETE")
    assert await knock(debugged, "py", **{name: late}) == 401
    order(debugged, "py")
    assert await knock(debugged, "py", **{name: late}) == 401  # a new session
    for each in ("py", "other"):
        order(debugged, each, "DELETE")


async def test_it_takes_the_scope_debug(debugged: Platform) -> None:
    """Who debugs can do what the job can: operate is not enough; the state may be read by all."""
    await _expect(debugged, "read", post=403, tunnel=403)
    await _expect(debugged, "operate", post=403, tunnel=403)
    await _expect(debugged, "debug", post=200, tunnel=101)
    assert call(debugged.management_url, "POST", path_of("py")).status == 401
    order(debugged, "py", "DELETE")


async def _expect(platform: Platform, scope: str, *, post: int, tunnel: int) -> None:
    headers = {"x-functions-key": KEYS[scope]}
    url = platform.management_url
    assert call(url, "GET", path_of("py"), headers=headers).status == 200
    assert call(url, "POST", path_of("py"), headers=headers).status == post
    assert call(url, "POST", path_of("py", "/tokens"), headers=headers).status == post
    assert await knock(platform, "py", **headers) == tunnel
    assert call(url, "DELETE", path_of("py"), headers=headers).status == post


async def test_without_a_session_there_is_no_tunnel(debugged: Platform) -> None:
    """A key alone does not open a debugger that is off; plain HTTP is told what is wanted."""
    headers = {"x-functions-key": KEY}
    assert await knock(debugged, "sh", **headers) == 409
    assert debugged.manage("POST", path_of("sh", "/tokens")).status == 409
    answer = debugged.manage("GET", path_of("sh", "/tunnel"))
    assert (answer.status, "WebSocket" in answer.text) == (400, True)


def test_it_goes_off_by_itself(debugged: Platform) -> None:
    """When its time is over the connection ends, the process is a plain one, the command ends."""
    with Debug(debugged, "other") as debug:
        with Dap(debug.port) as client:
            client.attach("run.py", "/editor", debug.told["remote_root"])
            order(debugged, "other", duration_s=0.5)
            with pytest.raises((EOFError, ConnectionError)):
                client.event("never")
        debug.process.wait(WAIT_S)
        assert debug.process.returncode == 0
    assert debugged.v1(path_of("other")[3:])["state"] == "off"
    debugged.wait_until(lambda: "Debugging is off: its time is over" in logged(debugged, "other"))
    debugged.wait_until(lambda: debugged.job("other")["pid"])


@pytest.mark.parametrize("seconds", [0, -1, 601, "x", True])
def test_its_length_is_bounded(debugged: Platform, seconds: object) -> None:
    """No time at all, and more than the platform allows, are refused with the limit."""
    answer = debugged.manage("POST", path_of("py"), json.dumps({"duration_s": seconds}))
    assert answer.status == 400
    assert "600" in answer.text


async def test_clients_that_break_off_leave_nothing(debugged: Platform) -> None:
    """Connections that vanish, with and without a word, give their places back."""
    order(debugged, "py")
    debugged.wait_until(lambda: is_attachable(debugged, "py"))
    headers = {"x-functions-key": KEY}
    for _ in range(20):
        async with aiohttp.ClientSession() as session:
            url = debugged.management_url + path_of("py", "/tunnel")
            socket_ = await session.ws_connect(url, headers=headers)
            await socket_.send_bytes(b"Content-Length: 5\r\n\r\n{}")
            assert socket_._response.connection is not None
            socket_._response.connection.transport.abort()
    debugged.wait_until(lambda: debugged.v1(path_of("py")[3:])["tunnels"] == 0)
    order(debugged, "py", "DELETE")
