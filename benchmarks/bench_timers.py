"""Timer lag with 10,000 timers armed: how late a function and jobs start that are due each second.

The 10,000 are triggered jobs with a yearly schedule: armed alike, and no process until they fire.
"""

from __future__ import annotations

import json
import statistics
import time
from datetime import datetime
from pathlib import Path

from cpu import tree_seconds
from figure import Figure, quantile
from scene import Platform, platform_on, workshop

EVERY_SECOND = "* * * * * *"
YEARLY = "0 0 0 1 1 *"
DUE_JOBS = 3
CODE = """
import time


def main(timer):
    with open({!r}, "a") as file:
        print(time.time(), file=file)
"""


def measure(*, quick: bool = False) -> list[Figure]:
    """Measure with few timers and with 10,000."""
    seconds = 4 if quick else 12
    armed = 500 if quick else 10_000
    figures: list[Figure] = []
    for count in (10, armed):
        with workshop() as folder:
            _write_site(folder, count)
            start = time.perf_counter()
            with platform_on(folder, timeout_s=240) as platform:
                load_s = time.perf_counter() - start
                figures += _watch(platform, folder, count, seconds)
        figures.append(Figure(f"timers.{count}.load", load_s, "s", "lower", "spawn to ready"))
    return figures


def _write_site(folder: Path, count: int) -> None:
    tick = folder / "site" / "tick"
    tick.mkdir()
    timer = {"type": "timerTrigger", "direction": "in", "name": "timer", "schedule": EVERY_SECOND}
    (tick / "function.json").write_text(json.dumps({"bindings": [timer]}))
    (tick / "__init__.py").write_text(CODE.format(str(folder / "ticks.txt")))
    for number in range(count):
        job = folder / "site" / "App_Data" / "jobs" / "triggered" / f"job{number:05}"
        job.mkdir(parents=True)
        (job / "run.sh").write_text("true\n")
        schedule = EVERY_SECOND if number < DUE_JOBS else YEARLY
        (job / "settings.job").write_text(json.dumps({"schedule": schedule}))


def _watch(platform: Platform, folder: Path, count: int, seconds: int) -> list[Figure]:
    """Let it tick for some seconds, then read what was late by how much."""
    ticks = folder / "ticks.txt"
    seen = _lines(ticks)
    before, start = tree_seconds(platform.pid), time.perf_counter()
    platform.wait_until(
        lambda: len(_lines(ticks)) >= len(seen) + seconds, timeout_s=3 * seconds + 10
    )
    cores = (tree_seconds(platform.pid) - before) / (time.perf_counter() - start)
    function = [float(line) % 1 for line in _lines(ticks)[len(seen) :]]
    jobs = [_lateness(run) for run in platform.v1("/runs?kind=triggered&limit=50")["items"]]
    return [
        *_lag(f"timers.{count}.function", function),
        *_lag(f"timers.{count}.job", jobs),
        Figure(f"timers.{count}.cpu", cores * 100, "% of a core", "lower", "while ticking"),
    ]


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def _lateness(run: dict[str, str]) -> float:
    """Return how long after its full second a run was begun."""
    return datetime.fromisoformat(run["created_at"]).timestamp() % 1


def _lag(name: str, late: list[float]) -> list[Figure]:
    if not late:
        return []
    note = f"max {max(late) * 1e3:.1f} ms of {len(late)}"
    return [
        Figure(f"{name}.lag", statistics.median(late) * 1e3, "ms", "lower", note),
        Figure(f"{name}.lag_p99", quantile(late, 0.99) * 1e3, "ms", "lower"),
    ]
