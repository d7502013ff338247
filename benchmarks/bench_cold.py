"""Cold start: a call that a new worker answers, and the start of whole platforms.

A worker is new for each call when the function keeps none (`min_workers` 0) and lets each go after
one call (`recycle_calls` 1); the next call is made once it has gone. Everything is measured in turn
with its yardsticks, and compared round by round.
"""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import yardsticks
from figure import Figure, median_ratio, quantile
from findings import Findings
from guests import WHO
from peers.catalogue import available
from peers.environment import UnavailableError, target
from peers.server import Program, serving
from scene import (
    Platform,
    bare_program,
    http_function,
    platform_on,
    platform_program,
    workshop,
)

_NEW_EACH = {"min_workers": 0, "recycle_calls": 1}
_PACKAGES = Path(".python_packages/lib/site-packages")
_PEERS = ("ff-gunicorn", "workerd")
Spent = dict[str, list[float]]


def measure(findings: Findings) -> None:
    """Measure cold calls, a first deployment, and the start of platforms."""
    _calls(findings, rounds=10 if findings.quick else 60)
    _starts(findings, rounds=2 if findings.quick else 7)


class ColdFunction:
    """A function of which each call needs a new worker."""

    def __init__(self, platform: Platform) -> None:
        base = urlsplit(platform.data_url)
        self._platform = platform
        self._connection = HTTPConnection(base.hostname or "", base.port, timeout=30)
        self._seen: set[str] = set()

    def __call__(self) -> float:
        """Return how long a call takes, connection and all else being ready.

        The very first one is not cold: the deployment has made a worker.
        """
        if self._seen:
            self._platform.wait_until(self._no_worker)
        start = time.perf_counter()
        self._connection.request("GET", "/api/cold")
        answer = self._connection.getresponse()
        who = answer.read().decode()
        spent = time.perf_counter() - start
        assert answer.status == 200, who
        assert who not in self._seen, f"{who} answered before: that call was not cold"
        self._seen.add(who)
        return spent

    def _no_worker(self) -> bool:
        function = self._platform.function("cold")
        return function is not None and not function["workers"]["total"]


def _calls(findings: Findings, rounds: int) -> None:
    with ExitStack() as stack:
        folder = stack.enter_context(workshop())
        http_function(folder / "site", "cold", WHO, limits=_NEW_EACH)
        platform = stack.enter_context(platform_on(folder))
        ways: dict[str, Callable[[], float]] = {
            "fork": stack.enter_context(yardsticks.forker()),
            "python": yardsticks.bare_python,
            "call": ColdFunction(platform),
        }
        try:
            ways["bubblewrap"] = yardsticks.bubblewrap()
        except UnavailableError as reason:
            findings.miss("bubblewrap", "bubblewrap, six namespaces around true", str(reason))
        ways |= _numpy(findings, stack)
        spent = _in_turn(ways, rounds)
        findings.add(_figures(spent))
        first = [_first_call(platform, number) for number in range(max(rounds // 10, 2))]
    findings.add(
        [
            Figure(
                "cold.deploy_and_call", statistics.median(first) * 1e3, "ms", "lower", "new folder"
            )
        ]
    )


def _numpy(findings: Findings, stack: ExitStack) -> dict[str, Callable[[], float]]:
    """Return a function that imports numpy, and the import alone: as it comes, and with threads.

    Functions are given OPENBLAS_NUM_THREADS=1. With more, numpy starts threads at import, and a
    process with threads must not be forked: each worker imports it again.
    """
    try:
        packages, version = target("numpy", "numpy")
    except UnavailableError as reason:
        findings.miss("numpy", "numpy as a function's dependency", str(reason))
        return {}
    findings.meet("numpy", "numpy as a function's dependency", {"numpy": version})
    ways: dict[str, Callable[[], float]] = {"numpy_import": yardsticks.import_of(packages, "numpy")}
    for name, settings in (("numpy", {}), ("numpy_threads", {"OPENBLAS_NUM_THREADS": "4"})):
        folder = stack.enter_context(workshop())
        site = folder / "site"
        shutil.copytree(packages, site / _PACKAGES, ignore=shutil.ignore_patterns("tests"))
        (site / "host.json").write_text(_host(settings))
        http_function(site, "cold", f"import numpy\n{WHO}", limits=_NEW_EACH)
        ways[name] = ColdFunction(stack.enter_context(platform_on(folder, timeout_s=120)))
    return ways


def _host(settings: Mapping[str, str]) -> str:
    pairs = ", ".join(f'"{name}": "{value}"' for name, value in settings.items())
    return f'{{"version": "2.0", "taak": {{"environment": {{{pairs}}}}}}}'


def _in_turn(ways: Mapping[str, Callable[[], float]], rounds: int) -> Spent:
    spent: Spent = {name: [] for name in ways}
    for number in range(rounds + 2):
        for name, way in ways.items():
            seconds = way()
            if number >= 2:  # the first two find what is warm
                spent[name].append(seconds)
    return spent


def _figures(spent: Spent) -> list[Figure]:
    figures = [
        Figure(
            f"cold.{name}",
            statistics.median(values) * 1e3,
            "ms",
            "lower",
            f"p90 {quantile(values, 0.9) * 1e3:.2f} ms of {len(values)}",
        )
        for name, values in spent.items()
    ]
    pairs = [("call", "fork"), ("call", "python"), ("call", "bubblewrap")]
    for name in ("numpy", "numpy_threads"):
        pairs += [("numpy_import", name), (name, "call")]
    figures += [
        Figure(
            f"cold.{ours}.of_{theirs}",
            median_ratio(spent[ours], spent[theirs]),
            f"x {theirs}",
            "higher" if ours == "numpy_import" else "lower",
        )
        for ours, theirs in pairs
        if ours in spent and theirs in spent
    ]
    return figures


def _first_call(platform: Platform, number: int) -> float:
    """Return the time from a new folder to the answer of its function."""
    start = time.perf_counter()
    http_function(platform.site, f"cold{number}", WHO)
    platform.wait_until(lambda: platform.get(f"/api/cold{number}").status == 200)
    return time.perf_counter() - start


def _starts(findings: Findings, rounds: int) -> None:
    """Start whole servers in turn: spawn to first 200."""
    with workshop() as folder:
        http_function(folder / "site", "hello")
        ours = platform_program(folder)
        programs: dict[str, tuple[Program, str]] = {"bare": (bare_program(), "/")}
        # The first start makes the home; the others find it, as after a reboot.
        with serving("taak", ours, "/api/hello") as first:
            first_s = first.spawn_s
        programs["taak"] = (ours, "/api/hello")
        programs |= {p.name: (program, p.path) for p, program in available(findings, _PEERS)}
        spent: Spent = {name: [] for name in programs}
        for _ in range(rounds):
            for name, (program, path) in programs.items():
                with serving(name, program, path) as server:
                    spent[name].append(server.spawn_s)
    findings.add([Figure("start.taak.first", first_s * 1e3, "ms", "lower", "on a new home")])
    for name, values in spent.items():
        note = f"spawn to first 200, {median_ratio(values, spent['bare']):.2f} x bare"
        findings.add(
            [
                Figure(f"start.{name}", statistics.median(values) * 1e3, "ms", "lower", note),
                Figure(
                    f"start.{name}.ratio",
                    median_ratio(values, spent["bare"]),
                    "x bare",
                    "lower",
                    detail=True,
                ),
            ]
        )
    call = findings.value("cold.call")
    for name in _PEERS:
        if call is not None and name in spent:
            ratio = statistics.median(spent[name]) * 1e3 / call
            findings.add([Figure(f"start.{name}.of_call", ratio, "x a cold call", "higher")])
