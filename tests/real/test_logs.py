"""Logs of jobs on a real platform: floods, kills, restarts, order, search, followers."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from real import apps
from real.platform import KEY, ROOT, Platform, wait_until

pytestmark = [pytest.mark.real]

FLOOD_LINES = 500_000  # of 100 bytes: 50 MB
FLOOD = f"""
import sys
line = "x" * 92
for number in range({FLOOD_LINES}):
    sys.stdout.write(f"{{number:06}} {{line}}\\n")
sys.stdout.flush()
raise RuntimeError("the reason of the crash")
"""
#: Each word waits until the one before is in the log, so that there is one right order.
IN_ORDER = """
import os, sys, time
log = os.path.join(os.environ["WEBJOBS_DATA_PATH"], os.environ["WEBJOBS_RUN_ID"], "output_log.txt")
for number in range(6):
    stream = sys.stderr if number % 2 else sys.stdout
    print(f"word {number}", file=stream, flush=True)
    while f"word {number}" not in open(log, encoding="utf-8").read():
        time.sleep(0.005)
"""
CHATTY = """
import sys, time
number = 0
while True:
    for _ in range(1000):
        sys.stdout.write(f"tick {number} {'y' * 60}\\n")
        number += 1
    sys.stdout.flush()
    time.sleep(0.01)
"""
CALM = CHATTY.replace("range(1000)", "range(5)")
JUNK = """
import os, sys
os.write(1, b"a\\x00b\\xff\\xfe\\r\\nprogress 1\\rprogress 2\\r\\n")
os.write(1, b"z" * 300_000)
os.write(1, b"\\nend")
"""


def free_port() -> int:
    """Return a port that is free now: a restarted platform has to come back on it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform that keeps 8 MiB of a run."""
    base = tmp_path_factory.mktemp("logs")
    site = base / "site"
    apps.job(site, "triggered", "flood", "run.py", FLOOD)
    apps.job(site, "triggered", "order", "run.py", IN_ORDER)
    apps.job(site, "triggered", "junk", "run.py", JUNK)
    limits = {"version": "2.0", "taak": {"logs": {"run_mib": 8, "file_mib": 2}}}
    (site / "host.json").write_text(json.dumps(limits))
    running = Platform(site, base / "home").start()
    yield running
    running.stop()


def ran(platform: Platform, name: str) -> dict[str, Any]:
    """Run a job to its end."""
    run = platform.v1(f"/jobs/triggered/{name}/run", {})
    return platform.wait_for_run(run["id"], timeout_s=120)


def objects(platform: Platform, path: str) -> list[dict[str, Any]]:
    """Return what a log answers as JSON lines."""
    answer = platform.manage("GET", f"/v1{path}", headers={"Accept": "application/x-ndjson"})
    assert answer.status == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


def texts(items: list[dict[str, Any]]) -> list[str]:
    """Return the texts of lines of the job."""
    return [item["text"] for item in items if item.get("stream") in {"stdout", "stderr"}]


@pytest.fixture(scope="module")
def flood(platform: Platform) -> dict[str, Any]:
    """A run that has printed 50 MB and crashed, while the platform went on answering."""
    order = platform.v1("/jobs/triggered/flood/run", {})
    asked = 0
    while (run := platform.v1(f"/runs/{order['id']}"))["state"] in {"initializing", "running"}:
        assert platform.manage("GET", "/v1/status").status == 200
        asked += 1
    assert asked
    assert run["state"] == "failed"
    found: dict[str, Any] = run
    return found


class TestFlood:
    def test_head_and_tail_are_kept_and_the_middle_is_told(self, platform, flood):
        """Every line is either there under its number or in the one gap."""
        items = objects(platform, f"/runs/{flood['id']}/log")
        (gap,) = [item["gap"] for item in items if "gap" in item]
        lines = [item for item in items if "seq" in item]
        numbers = [line["seq"] for line in lines]
        assert numbers == [*range(gap["from"]), *range(gap["to"], numbers[-1] + 1)]
        words = texts(items)
        assert words[0].startswith("000000 ")
        assert len([word for word in words if word.endswith("x")]) + gap["lines"] == FLOOD_LINES

    def test_the_crash_trace_is_never_lost(self, platform, flood):
        """It is in both logs, at the end, on stderr."""
        tail = objects(platform, f"/runs/{flood['id']}/log?stream=stderr&tail=1")
        assert texts(tail) == ["RuntimeError: the reason of the crash"]
        path = f"/vfs/data/jobs/triggered/flood/{flood['public_id']}/output_log.txt"
        text = platform.kudu("GET", path).text
        assert "RuntimeError: the reason of the crash" in text
        assert "Output was truncated: " in text
        assert len(text) < 2.3 * (1 << 20) * 1.1

    def test_parts_are_found_without_reading_all(self, platform, flood):
        """The end, a range of lines, a range of bytes."""
        last = objects(platform, f"/runs/{flood['id']}/log?tail=1")
        assert "Job failed due to exit code 1" in last[0]["text"]
        part = texts(objects(platform, f"/runs/{flood['id']}/log?from_line=1003&to_line=1005"))
        assert [word[:6] for word in part] == ["001000", "001001"]
        answer = platform.manage(
            "GET", f"/v1/runs/{flood['id']}/log", headers={"Range": "bytes=0-0"}
        )
        assert (answer.status, answer.text) == (206, "[")

    def test_a_search_inside_of_the_run(self, platform, flood):
        """A text and a pattern."""
        path = f"/runs/{flood['id']}/log"
        found = objects(platform, f"{path}?q=000777")
        assert texts(found)[0].startswith("000777")
        found = objects(platform, f"{path}?regex={quote('^00012[34] ')}")
        assert [word[:6] for word in texts(found)] == ["000123", "000124"]


def test_the_streams_are_merged_in_their_order(platform):
    """Lines of stdout and stderr stand as they came, each under its stream."""
    run = ran(platform, "order")
    items = [item for item in objects(platform, f"/runs/{run['id']}/log") if "word" in item["text"]]
    assert texts(items) == [f"word {number}" for number in range(6)]
    assert [item["stream"] for item in items] == ["stdout", "stderr"] * 3
    times = [item["at"] for item in items]
    assert times == sorted(times)


def test_junk_is_a_log_like_any_other(platform):
    """Zero bytes, no UTF-8, lone returns, a line without end, no last line end."""
    run = ran(platform, "junk")
    items = [
        item for item in objects(platform, f"/runs/{run['id']}/log") if item["stream"] == "stdout"
    ]
    assert texts(items)[:3] == ["a\x00b\ufffd\ufffd", "progress 1", "progress 2"]
    assert texts(items)[-1] == "end"
    long = items[3:-1]
    assert "".join(item["text"] for item in long) == "z" * 300_000
    assert [item["continued"] for item in long] == [False] + [True] * (len(long) - 1)
    assert all(len(item["text"]) <= 128 * 1024 for item in long)


class TestRestart:
    @pytest.fixture
    def chatty(self, site: Path, start_platform: Any) -> Platform:
        """A platform with a job that never stops talking, on a port that it keeps."""
        apps.job(
            site, "continuous", "chatty", "run.py", CHATTY,
            taak={"environment": {"WEBJOBS_RESTART_TIME": "0"}},
        )  # fmt: skip
        apps.job(site, "continuous", "calm", "run.py", CALM)
        running: Platform = start_platform("--management-port", str(free_port()))
        running.wait_until(lambda: self.end(running) > 5000, what="the job talks")
        return running

    @staticmethod
    def end(platform: Platform, name: str = "chatty") -> int:
        """Return the number of the newest line."""
        items = objects(platform, f"/jobs/continuous/{name}/log?tail=1")
        return int(items[-1]["seq"]) if items else 0

    def test_kill_9_in_the_middle_of_writing(self, chatty):
        """Numbers go on where they were; no line is there twice, none is torn."""
        for _ in range(2):
            chatty.restart(kill=True)
            before = self.end(chatty)  # what comes from here on, the job's next process has written
            chatty.wait_until(lambda before=before: self.end(chatty) > before + 2000)
        lines = objects(chatty, "/jobs/continuous/chatty/log?from_line=0&to_line=100000000")
        numbers = [line["seq"] for line in lines]
        assert numbers == list(range(numbers[0], numbers[-1] + 1))
        starts = 0
        expected = 0
        for line in lines:
            if line["stream"] == "stdout":
                number = int(line["text"].split()[1])
                starts += number == 0
                expected = 0 if number == 0 else expected
                assert number == expected
                expected += 1
        assert starts == 3

    def test_a_follower_on_the_command_line_survives_a_restart(self, chatty, tmp_path):
        """Every line once, in order, over the platform's end and its next start."""
        out = tmp_path / "followed"
        environment = {**os.environ, "TAAK_KEY": KEY, "TAAK_HOST": chatty.management_url}
        with out.open("wb") as file:
            follower = subprocess.Popen(
                [sys.executable, "-m", "gateway", "logs", "calm", "-f", "--json"],
                cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT,
            )  # fmt: skip
        try:
            wait_until(lambda: out.stat().st_size > 5_000, timeout_s=30, what="it follows")
            chatty.manage("POST", "/api/continuouswebjobs/chatty/stop")  # one is enough here
            chatty.restart(kill=True)
            after = self.end(chatty, "calm") + 200
            wait_until(
                lambda: f'"seq": {after},'.encode() in out.read_bytes(), timeout_s=60, what="more"
            )
        finally:
            follower.kill()
            follower.wait()
        whole = out.read_bytes().rpartition(b"\n")[0].splitlines()
        numbers = [json.loads(line)["seq"] for line in whole]
        assert numbers == list(range(numbers[0], numbers[-1] + 1))

    def test_a_follower_that_does_not_read_holds_nobody(self, chatty):
        """The job goes on, and what the platform holds for it does not grow."""
        base = urlsplit(chatty.management_url)
        connection = HTTPConnection(base.hostname or "", base.port, timeout=30)
        path = "/v1/jobs/continuous/chatty/log?follow=1"
        connection.request("GET", path, headers={"x-functions-key": KEY})
        answer = connection.getresponse()
        assert answer.status == 200
        before, memory = self.end(chatty), _memory_kib(chatty.pid)
        chatty.wait_until(lambda: self.end(chatty) > before + 100_000, timeout_s=60)
        assert _memory_kib(chatty.pid) - memory < 50_000
        connection.close()


def _memory_kib(pid: int) -> int:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in text.splitlines() if line.startswith("VmRSS")).split()[1])
