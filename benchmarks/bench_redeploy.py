"""Redeploy: from the save of a file to the first answer with the new text, calls going on."""

from __future__ import annotations

import statistics
import time

from figure import Figure, quantile
from findings import Findings
from scene import Platform, http_function, platform_on, workshop

CODE = "def main(req):\n    return 'version {}'\n"


def measure(findings: Findings) -> None:
    """Measure one function alone, and one of some."""
    saves = 4 if findings.quick else 15
    for count in (1, 5 if findings.quick else 20):
        with workshop() as folder:
            for number in range(count):
                http_function(folder / "site", f"f{number}", CODE.format(0))
            with platform_on(folder) as platform:
                results = [save_and_see(platform, n) for n in range(1, saves + 1)]
        findings.add(_figures(f"redeploy.1_of_{count}", results))


def _figures(name: str, results: list[tuple[float, int, int]]) -> list[Figure]:
    spent = [seconds for seconds, _, _ in results]
    calls = sum(calls for _, calls, _ in results)
    failed = sum(failed for _, _, failed in results)
    note = f"max {max(spent) * 1e3:.0f} ms; {failed} of {calls} calls failed meanwhile"
    return [
        Figure(name, statistics.median(spent) * 1e3, "ms", "lower", note),
        Figure(f"{name}.p90", quantile(spent, 0.9) * 1e3, "ms", "lower", detail=True),
        Figure(f"{name}.failed", failed, "calls", "lower", detail=True),
    ]


def save_and_see(platform: Platform, version: int) -> tuple[float, int, int]:
    """Return the time until the new text is served, with the calls made and those that failed."""
    file = platform.site / "f0" / "__init__.py"
    wanted = f"version {version}"
    calls = failed = 0
    start = time.perf_counter()
    file.write_text(CODE.format(version))
    while time.perf_counter() - start < 15:
        answer = platform.get("/api/f0")
        calls += 1
        failed += answer.status != 200
        if answer.text == wanted:
            return time.perf_counter() - start, calls, failed
    raise AssertionError(f"{wanted!r} was not served within 15 s{platform.told()}")
