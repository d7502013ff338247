"""Logs: what writing costs, what a chatty job costs the calls beside it, what reading costs.

Writing and reading are measured in this process, as the platform's drain thread and its readers do
them; the calls go to a platform, once with a quiet job and once with one that prints 200,000 lines
a second.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from figure import Figure, quantile
from findings import Findings
from scene import job, platform_on, workshop

from sandbox.output import Stream
from scheduler.functions import Bundle, BundleKind, Job, JobKind
from scheduler.job_folders import JobFolders
from scheduler.job_logs import JobLogs
from scheduler.job_output import JobOutput
from scheduler.log_line import Level, segment_block
from scheduler.log_reader import LogReader
from scheduler.log_search import LogSearch, Question
from scheduler.log_writer import SegmentWriter

LINE = b"2026-01-05 10:00:00 worker 17 handled message 123456 in 12 ms, queue 5\n"
CHATTY = f"""
import sys, time
block = {LINE.decode()!r} * 2000
written, began = 0, time.monotonic()
while True:
    sys.stdout.write(block)
    sys.stdout.flush()
    written += 2000
    time.sleep(max(0, written / 200_000 - (time.monotonic() - began)))
"""
QUIET = "import time\nprint('ready', flush=True)\ntime.sleep(10000)\n"


def measure(findings: Findings) -> None:
    """Measure writing, calls beside a job that writes, reading and searching."""
    with workshop() as folder:
        findings.add([_writing(folder, mib=20 if findings.quick else 200)])
        findings.add(_reading(folder / "log", mib=32 if findings.quick else 512))
    calls = 200 if findings.quick else 2000
    quiet, chatty = (_calls_beside(code, calls) for code in (QUIET, CHATTY))
    findings.add(
        [
            Figure("logs.call_p99_beside_200k_lines_s", quantile(chatty, 0.99) * 1e3, "ms", "lower",
                   f"beside a quiet job {quantile(quiet, 0.99) * 1e3:.2f} ms"),
        ]
    )  # fmt: skip


def _writing(folder: Path, mib: int) -> Figure:

    bundle = Bundle(kind=BundleKind.JOB, name="chatty", root=folder, digest="d")
    chatty = Job(
        name="chatty", kind=JobKind.CONTINUOUS, bundle=bundle, directory="", live_folder=folder,
        script="run.py",
    )  # fmt: skip
    output = JobOutput(JobLogs(JobFolders(folder / "home"), instance="bench").continuous(chatty))
    chunk = (LINE * 1000)[: 1 << 16]
    start = time.perf_counter()
    for _ in range(mib * 16):
        output.write(Stream.STDOUT, chunk)
    spent = time.perf_counter() - start
    note = f"{mib / spent:.0f} MiB/s in chunks of 64 KiB"
    return Figure(
        "logs.written", mib * 16 * (len(chunk) / len(LINE)) / spent, "lines/s", "higher", note
    )


def _reading(folder: Path, mib: int) -> list[Figure]:

    writer = SegmentWriter(folder, limit_bytes=1 << 40)
    block = segment_block(datetime.now(UTC), "bench", Level.OUT, ["x" * 60] * 600)
    for _ in range((mib << 20) // len(block)):
        writer.append(block, 600)
    time.sleep(1.1)  # as a log that nobody writes just now is read

    def reader() -> LogReader:
        return LogReader(folder, folder / "none")

    middle = reader().end().line // 2

    def search() -> None:
        found = asyncio.run(LogSearch(search_s=60).search(reader().segments(), Question(text="y")))
        assert found.complete

    def tail() -> None:
        log = reader()
        assert sum(len(piece.lines()) for piece in log.pieces(log.tail(100))) == 100

    def lines() -> None:
        log = reader()
        found = log.pieces(log.at_line(middle), middle + 100)
        assert sum(len(piece.lines()) for piece in found) == 100

    speed = mib / (_median_ms(search, 3) / 1e3)
    return [
        Figure("logs.tail_100", _median_ms(tail), "ms", "lower", f"of {mib} MiB"),
        Figure("logs.lines_100", _median_ms(lines), "ms", "lower", "from its middle"),
        Figure("logs.search", speed, "MiB/s", "higher", "a text that is not there"),
    ]


def _median_ms(action: Callable[[], None], rounds: int = 21) -> float:
    spent = []
    for _ in range(rounds):
        start = time.perf_counter()
        action()
        spent.append(time.perf_counter() - start)
    return quantile(spent, 0.5) * 1e3


def _calls_beside(code: str, calls: int) -> list[float]:
    """Return how long calls take beside a continuous job."""
    with workshop() as folder:
        job(folder / "site", "continuous", "beside", "run.py", code)
        with platform_on(folder) as platform:
            time.sleep(2)
            spent = []
            for _ in range(calls):
                start = time.perf_counter()
                platform.get("/healthz")
                spent.append(time.perf_counter() - start)
                time.sleep(0.005)
            return spent
