"""1 to 500 continuous jobs: how soon the end of one is noticed, and what watching them costs.

Two platforms are up at once: one has a single job, which ends again and again, the other has
hundreds more, which sleep.
"""

from __future__ import annotations

import statistics
import time
from contextlib import ExitStack
from pathlib import Path

from bench_jobs import AGAIN, NO_PAUSE, gaps
from cpu import tree_seconds
from figure import Figure
from findings import Findings
from letterbox import Letterbox
from scene import Platform, job, platform_on, workshop

_WATCH_S = 10
_SLEEP = "exec sleep 100000\n"


def measure(findings: Findings) -> None:
    """Measure one job alone, and beside sleeping ones."""
    count = 30 if findings.quick else 500
    with ExitStack() as stack:
        found: dict[int, tuple[Platform, Letterbox]] = {}
        for number in (1, count):
            folder = stack.enter_context(workshop())
            found[number] = _started(stack, folder, number)
        spent: dict[int, list[float]] = {number: [] for number in found}
        for _ in range(2 if findings.quick else 8):
            for number, (_platform, box) in found.items():
                spent[number] += gaps(box, 2)
        for number, (platform, _box) in found.items():
            platform.manage("POST", "/api/continuouswebjobs/again/stop")
            findings.add(_figures(platform, number, spent[number], spent[1]))


def _started(stack: ExitStack, folder: Path, count: int) -> tuple[Platform, Letterbox]:
    site = folder / "site"
    for number in range(count - 1):
        job(site, "continuous", f"sleeper{number}", "run.sh", _SLEEP)
    job(site, "continuous", "again", "run.sh", AGAIN, taak=NO_PAUSE)
    box = Letterbox(folder / "home" / "data" / "jobs" / "continuous" / "again")
    stack.callback(box.close)
    platform = stack.enter_context(platform_on(folder, timeout_s=120))
    platform.wait_until(lambda: _running(platform) == count, timeout_s=120, what="all jobs")
    return platform, box


def _running(platform: Platform) -> int:
    # The one that ends again and again may be between two lives.
    states = [item["state"] for item in platform.v1("/jobs")["items"]]
    return sum(state.lower() in ("running", "pendingrestart", "starting") for state in states)


def _figures(
    platform: Platform, count: int, gaps_s: list[float], alone: list[float]
) -> list[Figure]:
    time.sleep(2)
    before, start = tree_seconds(platform.pid), time.perf_counter()
    time.sleep(_WATCH_S)
    cores = (tree_seconds(platform.pid) - before) / (time.perf_counter() - start)
    name = f"growth.jobs.{count}"
    middle = statistics.median(gaps_s)
    ratio = middle / statistics.median(alone)
    return [
        Figure(f"{name}.restart", middle * 1e3, "ms", "lower", f"max {max(gaps_s) * 1e3:.1f} ms"),
        Figure(f"{name}.restart_ratio", ratio, "x one job", "lower", detail=True),
        Figure(f"{name}.idle_cpu", cores * 100, "% of a core", "lower", "all sleep"),
    ]
