"""Memory at rest: the gateway, a worker, the whole tree; and others that have answered once.

PSS: what processes share counts by their share, so that the sum over a tree is the truth.
"""

from __future__ import annotations

import shutil
import time
from contextlib import ExitStack

from cpu import descendants
from figure import Figure
from findings import Findings
from guests import WHO, worker
from memory import pss
from peers.catalogue import all_serving
from peers.environment import UnavailableError, target
from scene import Platform, http_function, platform_on, workshop

_MIB = 1 << 20
_SETTLE_S = 2.0
_PEERS = ("ff-gunicorn", "workerd")


def measure(findings: Findings) -> None:
    """Measure a light function, one with numpy, and two peers."""
    with ExitStack() as stack:
        light = stack.enter_context(workshop())
        http_function(light / "site", "who", WHO)
        platform = stack.enter_context(platform_on(light))
        heavy = _numpy(stack)
        others = stack.enter_context(all_serving(findings, _PEERS))
        light_pid = worker(platform.pid, platform.get("/api/who").text)
        heavy_pid = worker(heavy.pid, heavy.get("/api/who").text) if heavy else 0
        time.sleep(_SETTLE_S)
        parts = {"worker": light_pid, "gateway": platform.pid}
        findings.add(_figure(f"memory.{name}", [pid]) for name, pid in parts.items())
        findings.add([_figure("memory.tree", sorted(descendants(platform.pid)))])
        if heavy_pid:
            findings.add([_figure("memory.numpy_worker", [heavy_pid])])
        for other in others:
            name = f"memory.{other.name}"
            findings.add([_figure(name, sorted(descendants(other.pid)))])
            _compare(findings, name, other.name)


def _numpy(stack: ExitStack) -> Platform | None:
    try:
        packages, _ = target("numpy", "numpy")
    except UnavailableError:
        return None  # bench_cold tells it
    folder = stack.enter_context(workshop())
    place = folder / "site" / ".python_packages" / "lib" / "site-packages"
    shutil.copytree(packages, place, ignore=shutil.ignore_patterns("tests"))
    http_function(folder / "site", "who", f"import numpy\n{WHO}")
    return stack.enter_context(platform_on(folder, timeout_s=120))


def _figure(name: str, pids: list[int]) -> Figure:
    note = f"PSS of {len(pids)} processes" if len(pids) > 1 else "PSS"
    return Figure(name, sum(map(pss, pids)) / _MIB, "MiB", "lower", note)


def _compare(findings: Findings, theirs: str, name: str) -> None:
    ours, other = findings.value("memory.worker"), findings.value(theirs)
    if ours and other:
        figure = Figure(f"memory.worker.of_{name}", ours / other, f"x {name}", "lower")
        findings.add([figure])
    loaded = findings.value(f"peers.memory.{name}")
    if ours and loaded:
        figure = Figure(f"memory.worker.of_loaded_{name}", ours / loaded, f"x {name}", "lower")
        findings.add([figure])
