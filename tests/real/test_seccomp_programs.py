"""Programs under the seccomp filter: all that a function or a job may be made of runs as ever."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from needs import need
from real.filtered import runs

pytestmark = [pytest.mark.real, pytest.mark.core]


def test_sh(tmp_path: Path) -> None:
    """Pipes, background processes, here-documents, named pipes and file modes work."""
    script = """
    set -e
    x=$(echo abc | tr a-c d-f); sleep 0 & wait
    mkfifo p; (echo through >p) & read y <p; wait
    umask 022; mkdir d; chmod g+s d; chmod 755 p; ln -s d l; cp -r d e
    cat <<END
$x $y
END
    """
    assert runs(["/bin/sh", "-c", script], tmp_path) == "def through\n"


def test_bash(tmp_path: Path) -> None:
    """Process substitution, a co-process and traps work."""
    script = """
    set -euo pipefail
    paste -d: <(echo a) <(echo b)
    coproc cat; echo c >&"${COPROC[1]}"; read -r line <&"${COPROC[0]}"; echo "$line"
    trap 'echo told' USR1; kill -USR1 $$; echo "${PIPESTATUS[@]}"
    """
    assert runs([need("bash"), "-c", script], tmp_path) == "a:b\nc\ntold\n0\n"


PYTHON = """
import asyncio, concurrent.futures, ctypes, json, multiprocessing, os, socket, sqlite3, ssl
import subprocess, sys, tempfile, threading, time

def square(x):
    return x * x

async def events():
    async def echo(reader, writer):
        writer.write(await reader.readline())
        await writer.drain()
        writer.close()
    server = await asyncio.start_server(echo, "localhost", 0)
    port = server.sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("localhost", port)
    writer.write(b"line\\n")
    line = await reader.readline()
    writer.close()
    server.close()
    child = await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1)
    out, _ = await child.communicate(b"sub")
    return [line.decode(), out.decode(), await asyncio.to_thread(square, 3)]

def main():
    found = {}
    found["run"] = subprocess.run(["echo", "x"], capture_output=True, text=True).stdout
    found["shell"] = subprocess.getoutput("echo $((6 * 7))")
    found["session"] = subprocess.run(["true"], start_new_session=True, close_fds=False).returncode
    pid = os.posix_spawn("/bin/true", ["true"], {})
    found["posix_spawn"] = os.waitpid(pid, 0)[1]
    threads = [threading.Thread(target=time.sleep, args=(0.001,)) for _ in range(20)]
    [t.start() for t in threads], [t.join() for t in threads]
    found["events"] = asyncio.run(events())
    for method in ("fork", "spawn", "forkserver"):
        context = multiprocessing.get_context(method)
        with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
            found[method] = list(pool.map(square, range(3)))
    with multiprocessing.get_context("spawn").Manager() as manager:
        found["manager"] = list(manager.list([1]))
    hello = ssl.MemoryBIO()
    tls = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), hello, server_hostname="a.test")
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        found["tls"] = hello.read()[0]
    with tempfile.TemporaryDirectory() as folder:
        base = sqlite3.connect(folder + "/base")
        found["sqlite"] = base.execute("pragma journal_mode=wal").fetchone()
        with base:
            base.execute("create table t (x)")
            base.executemany("insert into t values (?)", [(1,), (2,)])
        found["sum"] = base.execute("select sum(x) from t").fetchone()
        base.close()
    names = socket.getaddrinfo("localhost", 80, proto=socket.IPPROTO_TCP)
    found["names"] = any(each[4][0] == "127.0.0.1" for each in names)
    found["interfaces"] = isinstance(socket.if_nameindex(), list)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        one.sendto(b"datagram", one.getsockname())
        found["udp"] = one.recv(20).decode()
    print(json.dumps(found))

if __name__ == "__main__":
    main()
"""


def test_python(tmp_path: Path) -> None:
    """Programs, threads, event loop, pools of processes, TLS, SQLite, names and sockets work."""
    (tmp_path / "program.py").write_text(PYTHON)
    found = json.loads(runs([sys.executable, "program.py"], tmp_path))
    assert found == {
        "run": "x\n",
        "shell": "42",
        "session": 0,
        "posix_spawn": 0,
        "events": ["line\n", "sub", 9],
        "fork": [0, 1, 4],
        "spawn": [0, 1, 4],
        "forkserver": [0, 1, 4],
        "manager": [1],
        "tls": 22,
        "sqlite": ["wal"],
        "sum": [3],
        "names": True,
        "interfaces": True,
        "udp": "datagram",
    }


NODE = """
const { Worker } = require("worker_threads");
const { execFileSync, spawn } = require("child_process");
const http = require("http"), fs = require("fs"), os = require("os"), dns = require("dns");
async function main() {
  const found = { child: execFileSync("echo", ["x"]).toString() };
  found.worker = await new Promise((done) =>
    new Worker("require('worker_threads').parentPort.postMessage(6 * 7)", { eval: true })
      .on("message", done));
  const server = http.createServer((_, answer) => answer.end("hello")).listen(0, "127.0.0.1");
  await new Promise((done) => server.on("listening", done));
  const reply = await fetch(`http://127.0.0.1:${server.address().port}/`);
  found.http = await reply.text();
  server.close();
  await fs.promises.writeFile("file", "text", { mode: 0o755 });
  found.file = await fs.promises.readFile("file", "utf8");
  found.name = (await dns.promises.lookup("localhost", { family: 4 })).address;
  found.interfaces = typeof os.networkInterfaces();
  found.hash = require("crypto").createHash("sha256").update("").digest("hex").slice(0, 8);
  found.status = await new Promise((done) =>
    spawn("sh", ["-c", "exit 3"]).on("exit", done));
  console.log(JSON.stringify(found));
  process.exit(0);
}
main();
"""


def test_node(tmp_path: Path) -> None:
    """Workers, programs, an HTTP server and its client, files and names work."""
    (tmp_path / "program.js").write_text(NODE)
    found = json.loads(runs([need("node"), "program.js"], tmp_path))
    assert found == {
        "child": "x\n",
        "worker": 42,
        "http": "hello",
        "file": "text",
        "name": "127.0.0.1",
        "interfaces": "object",
        "hash": "e3b0c442",
        "status": 3,
    }


JAVA = """
import java.net.*;
import java.nio.channels.*;
import java.nio.file.*;
import java.util.concurrent.*;

public class Program {
    public static void main(String[] args) throws Exception {
        var pool = Executors.newFixedThreadPool(8);
        System.out.println(pool.submit(() -> 42).get());
        var child = new ProcessBuilder("echo", "child").redirectErrorStream(true).start();
        System.out.print(new String(child.getInputStream().readAllBytes()));
        System.out.println(child.waitFor());
        try (var server = new ServerSocket(0, 1, InetAddress.getLoopbackAddress());
             var client = new Socket(server.getInetAddress(), server.getLocalPort());
             var other = server.accept();
             var selector = Selector.open()) {
            client.getOutputStream().write(7);
            System.out.println(other.getInputStream().read());
        }
        System.out.println(Files.readString(Files.writeString(Path.of("file"), "text")));
        System.out.println(NetworkInterface.getNetworkInterfaces() != null);
        System.gc();
        pool.shutdown();
    }
}
"""


def test_java(tmp_path: Path) -> None:
    """Compiler, threads, a program, sockets, files and the collector of a JVM work."""
    need("javac")
    (tmp_path / "Program.java").write_text(JAVA)
    told = runs([need("java"), "Program.java"], tmp_path)
    assert told.split() == ["42", "child", "0", "7", "text", "true"]


PHP = """<?php
echo shell_exec("echo child");
$process = proc_open(["cat"], [["pipe", "r"], ["pipe", "w"]], $pipes);
fwrite($pipes[0], "piped\\n"); fclose($pipes[0]);
echo stream_get_contents($pipes[1]); proc_close($process);
$server = stream_socket_server("tcp://127.0.0.1:0");
$client = stream_socket_client("tcp://" . stream_socket_get_name($server, false));
$other = stream_socket_accept($server);
fwrite($client, "socket\\n"); echo fgets($other);
[$one, $two] = stream_socket_pair(STREAM_PF_UNIX, STREAM_SOCK_STREAM, 0);
fwrite($one, "pair\\n"); echo fgets($two);
file_put_contents("file", "text\\n"); chmod("file", 0755); echo file_get_contents("file");
echo gethostbyname("localhost"), "\\n", strlen(random_bytes(8)), "\\n";
"""


def test_php(tmp_path: Path) -> None:
    """Programs, sockets, files, names and random bytes work."""
    (tmp_path / "program.php").write_text(PHP)
    told = runs([need("php"), "program.php"], tmp_path)
    assert told.split() == ["child", "piped", "socket", "pair", "text", "127.0.0.1", "8"]
