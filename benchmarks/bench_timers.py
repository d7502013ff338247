"""Timers, few and 10,000: how late they are, what they cost, how long they take to load.

The many are triggered jobs with a yearly schedule: armed alike, and no process until they fire.
Lateness is that of a function's first line, as its log says. It fires at full seconds; the others
beside it (peers/lateness.py) at parts of them, so that nobody waits for anybody.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from cpu import tree_seconds
from figure import Figure, quantile
from findings import Findings
from peers.lateness import timers_beside
from scene import Platform, job, platform_on, timer, workshop

from scheduler.schedule import parse_job

EVERY_SECOND = "* * * * * *"
YEARLY = "0 0 0 1 1 *"
DUE_JOBS = 2
CODE = "import time\n\n\ndef main(timer):\n    print(f'late {time.time() % 1:.6f}')\n"
_PARSED = 10_000
_SETTLE_S = 60
_QUIET_S = 0.03  # processor time in a second


def measure(findings: Findings) -> None:
    """Measure with few timers and with 10,000."""
    seconds = 4 if findings.quick else 20
    for count in (10, 500 if findings.quick else 10_000):
        with workshop() as folder:
            _write_site(folder / "site", count)
            start = time.perf_counter()
            with platform_on(folder, timeout_s=240) as platform:
                load_s = time.perf_counter() - start
                findings.add(
                    [
                        Figure(f"growth.timers.{count}.load", load_s, "s", "lower", "to ready"),
                        *_idle(platform, count, seconds),
                    ]
                )
                _ticking(findings, platform, folder / "site", count, seconds)
    findings.add(_parsing())


def _write_site(site: Path, count: int) -> None:
    for number in range(count):
        job(site, "triggered", f"job{number:05}", "run.sh", "true\n", schedule=YEARLY)


def _idle(platform: Platform, count: int, seconds: int) -> list[Figure]:
    """Return what timers cost of which none is due, with and without the looks at the site.

    Every ten seconds the platform compares the site's files, which costs more the more there are;
    the middle one of some short spans has none of that in it.
    """
    after = _settled(platform)
    spans = [_cores(platform, seconds / 5) * 100 for _ in range(5)]
    name = f"growth.timers.{count}"
    return [
        Figure(f"{name}.after_start", after, "CPU s", "lower", "spent once it was ready"),
        Figure(f"{name}.idle_cpu", statistics.median(spans), "% of a core", "lower", "none is due"),
        Figure(
            f"{name}.idle_cpu_all",
            statistics.mean(spans),
            "% of a core",
            "lower",
            "looks at the site included",
        ),
    ]


def _settled(platform: Platform) -> float:
    """Wait until the work of the start is over; return the processor time that it took."""
    before = tree_seconds(platform.pid)
    spent, deadline = before, time.monotonic() + _SETTLE_S
    while time.monotonic() < deadline:
        time.sleep(1)
        now = tree_seconds(platform.pid)
        if now - spent < _QUIET_S:
            break
        spent = now
    return spent - before


def _ticking(findings: Findings, platform: Platform, site: Path, count: int, seconds: int) -> None:
    """Add a function and jobs that are due each second, and see how late they are."""
    start = time.perf_counter()
    timer(site, "tick", CODE, EVERY_SECOND)
    for number in range(DUE_JOBS):
        job(site, "triggered", f"due{number}", "run.sh", "true\n", schedule=EVERY_SECOND)
    platform.wait_until(lambda: _ticks(platform), timeout_s=60, what="the first tick")
    deploy_s = time.perf_counter() - start
    with timers_beside(findings, count, seconds) as others:
        seen = len(_ticks(platform))
        cores = _cores(platform, seconds + 1)
        ours = _ticks(platform)[seen : seen + seconds]
        found = {other.name: other.lateness() for other in others}
    jobs = [
        _second_part(run)
        for run in platform.v1(f"/runs?kind=triggered&limit={min(DUE_JOBS * seconds, 100)}")[
            "items"
        ]
    ]
    prefix = f"growth.timers.{count}"
    findings.add(
        [
            Figure(f"{prefix}.deploy", deploy_s, "s", "lower", "saved to first tick"),
            Figure(f"{prefix}.cpu", cores * 100, "% of a core", "lower", "3 due each second"),
            *_cpu_ratio(findings, count, cores),
            *_lag(f"{prefix}.late", ours),
            *_lag(f"{prefix}.job_late", jobs),
        ]
    )
    for name, late in found.items():
        findings.add(_lag(f"{prefix}.{name}", late))
        ratio = statistics.median(ours) / statistics.median(late)
        findings.add([Figure(f"{prefix}.late.of_{name}", ratio, f"x {name}", "lower")])


def _cpu_ratio(findings: Findings, count: int, cores: float) -> list[Figure]:
    """Compare the cost of ticking with that of the few timers, both without looks at the site."""
    few = findings.value("growth.timers.10.cpu")
    looks, few_looks = (
        (findings.value(f"growth.timers.{n}.idle_cpu_all") or 0.0) for n in (count, 10)
    )
    if few is None or few <= few_looks:
        return []
    ratio = (cores * 100 - looks) / (few - few_looks)
    return [Figure(f"growth.timers.{count}.cpu_ratio", ratio, "x 10 timers", "lower")]


def _cores(platform: Platform, seconds: float) -> float:
    before, start = tree_seconds(platform.pid), time.perf_counter()
    time.sleep(seconds)
    return (tree_seconds(platform.pid) - before) / (time.perf_counter() - start)


def _ticks(platform: Platform) -> list[float]:
    """Return how late the function began, each time, as it said itself."""
    answer = platform.manage("GET", "/v1/functions/tick/logs?tail=1000")
    if answer.status != 200:
        return []
    texts = [line["text"] for line in answer.json()["items"]]
    return [float(text.split()[1]) for text in texts if text.startswith("late ")]


def _second_part(run: dict[str, str]) -> float:
    """Return how long after its full second a run was begun."""
    return datetime.fromisoformat(run["created_at"]).timestamp() % 1


def _lag(name: str, late: Sequence[float]) -> list[Figure]:
    if not late:
        return []
    note = f"max {max(late) * 1e3:.1f} ms of {len(late)}"
    return [
        Figure(name, statistics.median(late) * 1e3, "ms", "lower", note),
        Figure(f"{name}.p99", quantile(late, 0.99) * 1e3, "ms", "lower", detail=True),
    ]


def _parsing() -> list[Figure]:
    """Return how long it takes to read schedules, all different and all alike."""
    # Sixtieths of sixtieths: 3,600 differ by their first fields, the hours make the others.
    texts = [f"{n % 60} {n // 60 % 60} {n // 3600} * * *" for n in range(_PARSED)]
    return [
        _parse("timers.parse.different", texts),
        _parse("timers.parse.equal", ["0 0 1 * * *"] * _PARSED),
    ]


def _parse(name: str, texts: list[str]) -> Figure:
    start = time.perf_counter()
    for text in texts:
        parse_job(text, zone="UTC")
    return Figure(name, time.perf_counter() - start, "s", "lower", f"{_PARSED} schedules")
