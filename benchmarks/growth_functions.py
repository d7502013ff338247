"""1 to 1,000 deployed functions: a warm call and a redeploy must not feel the others.

Two platforms are up at once, one of them with a single function, and are visited in turn: a ratio
is then the price of the other functions, not the mood of the machine.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

from bench_redeploy import CODE, save_and_see
from cpu import descendants
from figure import Figure, median_ratio, quantile
from findings import Findings
from load import Target
from memory import pss
from scene import Platform, http_function, platform_on, workshop
from subject import Subject, visit_all

_KIB, _MIB = 1 << 10, 1 << 20
_SETTLE_S = 2.0
_CALLED = 200  # of all functions, in turn: more do not tell more


def measure(findings: Findings) -> None:
    """Measure each count beside one function alone."""
    for count in (50,) if findings.quick else (100, 1000):
        with workshop() as small, workshop() as large:
            _write(small / "site", 1)
            _write(large / "site", count)
            with platform_on(small) as one:
                start = time.perf_counter()
                with platform_on(large, timeout_s=300) as many:
                    started_s = time.perf_counter() - start
                    name = f"growth.functions.{count}"
                    findings.add([Figure(f"{name}.start", started_s, "s", "lower", "to ready")])
                    _at_rest(findings, name, one, many, count)
                    _warm(findings, name, one, many)
                    _redeploys(findings, name, one, many)
                    _in_turn(findings, name, many, count)


def _write(site: Path, count: int) -> None:
    for number in range(count):
        http_function(site, f"f{number}", CODE.format(0))


def _at_rest(findings: Findings, name: str, one: Platform, many: Platform, count: int) -> None:
    """Compare memory: of the gateway alone, and of the trees with their warm sandboxes."""
    time.sleep(_SETTLE_S)
    gateway = (pss(many.pid) - pss(one.pid)) / (count - 1)
    trees = [sum(map(pss, descendants(platform.pid))) for platform in (one, many)]
    findings.add(
        [
            Figure(f"{name}.gateway_memory", gateway / _KIB, "KiB per function", "lower", "PSS"),
            Figure(f"{name}.tree_memory", trees[1] / _MIB, "MiB", "lower", "PSS, at rest"),
        ]
    )


def _warm(findings: Findings, name: str, one: Platform, many: Platform) -> None:
    rounds = 2 if findings.quick else 5
    subjects = [
        Subject(who, platform.pid, Target(f"{platform.data_url}/api/f0"))
        for who, platform in (("one", one), ("many", many))
    ]
    for connections in (1, 64):
        seen = visit_all(subjects, connections, rounds)
        alone = statistics.median(seen["one"].rates())
        alone_p50 = statistics.median(seen["one"].p50s())
        rate = statistics.median(seen["many"].rates())
        p50 = statistics.median(seen["many"].p50s())
        errors = sum(load.errors for load in seen["many"].loads)
        note = f"{errors} errors; one function alone {alone:,.0f}"
        findings.add(
            [
                Figure(f"{name}.c{connections}", rate, "req/s", "higher", note),
                Figure(f"{name}.c{connections}_p50", p50, "us", "lower", f"alone {alone_p50:.0f}"),
                Figure(
                    f"{name}.c{connections}_ratio",
                    median_ratio(seen["many"].rates(), seen["one"].rates()),
                    "x one function",
                    "higher",
                ),
            ]
        )


def _redeploys(findings: Findings, name: str, one: Platform, many: Platform) -> None:
    """Change one function, and see when it serves; in both in turn."""
    spent: dict[str, list[float]] = {"one": [], "many": []}
    failed = 0
    version = int(time.time())  # differs from those of the counts before
    for number in range(3 if findings.quick else 8):
        for who, platform in (("one", one), ("many", many)):
            seconds, _calls, bad = save_and_see(platform, version + number)
            spent[who].append(seconds)
            failed += bad
    note = f"{failed} calls failed meanwhile; alone {statistics.median(spent['one']) * 1e3:.0f} ms"
    findings.add(
        [
            Figure(f"{name}.redeploy", statistics.median(spent["many"]) * 1e3, "ms", "lower", note),
            Figure(
                f"{name}.redeploy_ratio",
                median_ratio(spent["many"], spent["one"]),
                "x one function",
                "lower",
            ),
        ]
    )


def _in_turn(findings: Findings, name: str, many: Platform, count: int) -> None:
    """Call functions one after the other, more than are kept warm: most start cold."""
    step = max(count // _CALLED, 1)
    spent: list[float] = []
    for number in range(0, count, step):
        start = time.perf_counter()
        answer = many.get(f"/api/f{number}")
        spent.append(time.perf_counter() - start)
        assert answer.status == 200, answer
    middle = statistics.median(spent) * 1e3
    note = f"p99 {quantile(spent, 0.99) * 1e3:.1f} ms of {len(spent)} functions"
    findings.add([Figure(f"{name}.each", middle, "ms", "lower", note)])
    if fewer := findings.value("growth.functions.100.each"):
        findings.add([Figure(f"{name}.each_ratio", middle / fewer, "x 100", "lower", detail=True)])
