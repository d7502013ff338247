"""The goals, each with the figure that decides it; ratios within one run where they can be.

A goal that was not measured is neither met nor missed, and says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Goal:
    """`goal` and `stretch` are bounds: from below if `at_least`, else from above."""

    id: str
    text: str
    figure: str
    goal: float
    stretch: float | None = None
    at_least: bool = False
    unit: str = "x"

    def bound(self, value: float | None) -> str:
        """Return a bound in words."""
        if value is None:
            return ""
        return f"{'≥' if self.at_least else '≤'} {value:g} {self.unit}"

    def verdict(self, values: Mapping[str, float]) -> str:
        """Return what became of it."""
        value = values.get(self.figure)
        if value is None:
            return "not measured"
        if self.stretch is not None and self._holds(value, self.stretch):
            return "met, and its stretch"
        return "met" if self._holds(value, self.goal) else "**not met**"

    def _holds(self, value: float, bound: float) -> bool:
        return value >= bound if self.at_least else value <= bound


def _more(id_: str, text: str, figure: str, goal: float, stretch: float | None = None) -> Goal:
    return Goal(id_, text, figure, goal, stretch, at_least=True)


_BIG = "growth.functions.1000"
_TIMERS = "growth.timers.10000"
_OPEN = "growth.connections.5000"
_ROWS = "growth.queue.100000"

GROUPS: dict[str, tuple[Goal, ...]] = {
    "Warm dispatch": (
        _more("W1", "throughput, c64, over bare aiohttp", "dispatch.c64.keyed.ratio", 1.5, 2.5),
        _more("W1", "throughput, c16, over bare aiohttp", "dispatch.c16.keyed.ratio", 1.2, 1.7),
        _more("W2", "over functions-framework, c64", "peers.c64.taak.over.ff-gunicorn", 15, 30),
        _more("W2", "over functions-framework, c16", "peers.c16.taak.over.ff-gunicorn", 8),
        _more("W2", "over its --asgi mode, c64", "peers.c64.taak.over.ff-asgi", 3, 4.5),
        _more("W2", "over its --asgi mode, c16", "peers.c16.taak.over.ff-asgi", 2.5),
        _more("W3", "over workerd, c64", "peers.c64.taak.over.workerd", 2.5, 4),
        _more("W3", "over workerd, c16", "peers.c16.taak.over.workerd", 2.5, 4),
        Goal("W3", "p99 of workerd's, c64", "peers.c64.taak.over.workerd.p99", 0.1),
        _more("W4", "over of-watchdog http, c64", "peers.c64.taak.over.of-watchdog", 9, 20),
        _more("W5", "over granian RSGI, c64", "peers.c64.taak.over.granian-rsgi", 0.8, 1.2),
        _more("W5", "over granian RSGI, c16", "peers.c16.taak.over.granian-rsgi", 0.6, 0.85),
        Goal("W6", "processor time of bare's, c64", "dispatch.c64.keyed.cpu_ratio", 0.6, 0.45),
        _more("W6b", "POST 1 KB, c64, over bare", "dispatch.post_c64.keyed.ratio", 1.8, 2.5),
        Goal("W7", "p50 of bare's, c1, pinned", "dispatch.pinned_c1.keyed.p50_ratio", 1.6, 1.2),
        Goal("W7", "p50 of functions-framework's, c1", "peers.c1.taak.over.ff-gunicorn.p50", 0.4),
        _more("W8", "one call in the worker's hands, c16", "dispatch.c16.strict.ratio", 0.35, 0.6),
    ),
    "Cold start": (
        Goal("C1", "answer of a new worker, of fork and exit", "cold.call.of_fork", 1.8, 1.3),
        Goal("C2", "… of `python -I -S -c pass`", "cold.call.of_python", 0.25, 0.16),
        Goal("C2", "… of bubblewrap around `true`", "cold.call.of_bubblewrap", 0.45),
        _more("C2", "workerd's spawn over it", "start.workerd.of_call", 12),
        _more("C2", "functions-framework's spawn over it", "start.ff-gunicorn.of_call", 80),
        _more("C3", "import of numpy over a cold call", "cold.numpy_import.of_numpy", 120, 200),
        Goal("C3", "… with numpy, of one without", "cold.numpy.of_call", 2),
        Goal("C4", "platform's spawn to first 200, of bare's", "start.taak.ratio", 1.1, 0.8),
    ),
    "Jobs and timers": (
        Goal("J1", "sh job's first byte, of Popen's", "jobs.start.shell.of_popen", 2, 1.5),
        Goal("J1", "… of supervisord's", "jobs.start.shell.of_supervisord", 0.5),
        Goal("J2", "Python job's, of `python -c pass`", "jobs.start.python.of_pass", 0.25, 0.12),
        Goal("J3", "continuous job's restart", "jobs.restart.taak", 5, 2, unit="ms"),
        Goal("J3", "… the longest", "jobs.restart.taak.max", 20, unit="ms"),
        Goal("J4", "lateness, of call_at's", f"{_TIMERS}.late.of_call_at", 1.5, 1.1),
        Goal("J4", "… of APScheduler's", f"{_TIMERS}.late.of_apscheduler", 0.5),
        Goal("J4", "… its p99, 10,000 armed", f"{_TIMERS}.late.p99", 5, unit="ms"),
    ),
    "Memory": (
        Goal("M", "idle worker", "memory.worker", 8, unit="MiB"),
        Goal("M", "… that imports numpy", "memory.numpy_worker", 12, unit="MiB"),
        Goal("M", "… of functions-framework's", "memory.worker.of_ff-gunicorn", 0.3),
        Goal("M", "… of workerd's after load", "memory.worker.of_loaded_workerd", 0.1),
        Goal("M", "silent connection", "memory.connection.taak", 6, unit="KiB"),
        Goal("M", "deployed function", f"{_BIG}.gateway_memory", 20, unit="KiB"),
    ),
    "Growth": (
        _more("G", "1,000 functions: throughput, of one's", f"{_BIG}.c64_ratio", 0.95),
        _more("G", "… of one connection", f"{_BIG}.c1_ratio", 0.95),
        Goal("G", "… a redeploy, of one's", f"{_BIG}.redeploy_ratio", 1.2),
        Goal("G", "… all in turn, of 100's", f"{_BIG}.each_ratio", 1.2),
        _more("G", "5,000 connections: throughput, of 64's", f"{_OPEN}.taak_of_64", 0.6),
        _more("G", "… over bare's with 5,000", f"{_OPEN}.of_bare", 1.2),
        Goal("G", "… errors", f"{_OPEN}.taak_errors", 0, unit="errors"),
        Goal("G", "10,000 timers: processor time, of 10's", f"{_TIMERS}.cpu_ratio", 1.5),
        Goal("G", "… while none is due", f"{_TIMERS}.idle_cpu", 0.5, unit="% of a core"),
        Goal("G", "… read 10,000 different schedules", "timers.parse.different", 1.5, unit="s"),
        Goal("G", "… read 10,000 equal ones", "timers.parse.equal", 0.3, unit="s"),
        Goal("G", "a MiB of 64, of one of 8", "growth.bodies.67108864.per_mib_ratio", 1.2),
        Goal("G", "100,000 queued rows: enqueue, of 100's", f"{_ROWS}.enqueue_ratio", 1.2),
        Goal("G", "… claim", f"{_ROWS}.claim_ratio", 1.2),
        Goal("G", "500 continuous jobs: restart, of one's", "growth.jobs.500.restart_ratio", 2),
        Goal("G", "… while none ends", "growth.jobs.500.idle_cpu", 1, unit="% of a core"),
    ),
}
