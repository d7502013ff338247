"""Jobs: from the order to the first thing that a program does, and from its end to its next start.

The program's first act is to write into a named pipe (letterbox.py). Beside it, the same script is
started by `subprocess.Popen` and by supervisord. For the restart, Taak's pause is set to nothing
(`WEBJOBS_RESTART_TIME` 0; the default is 60 s), and supervisord's `startsecs` to 0.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import yardsticks
from figure import Figure, median_ratio, quantile
from findings import Findings
from letterbox import Letterbox
from peers.supervisord import Supervised, Supervisor, supervisor
from scene import KEY, Platform, job, platform_on, workshop

SHELL = 'echo begun > "$WEBJOBS_DATA_PATH/bench.fifo"\n'
PYTHON = """
import os

with open(os.environ["WEBJOBS_DATA_PATH"] + "/bench.fifo", "w") as file:
    file.write("begun\\n")
"""
AGAIN = """
box="$WEBJOBS_DATA_PATH/bench.fifo"
echo begun > "$box"
sleep 0.3
echo over > "$box"
"""
NO_PAUSE = {"environment": {"WEBJOBS_RESTART_TIME": "0"}}
_FINAL = frozenset({"success", "failed", "aborted"})

#: Starts a program and returns how long it took to its first act.
Start = Callable[[], float]


def measure(findings: Findings) -> None:
    """Measure starts of shell and Python jobs, and restarts of a continuous one."""
    with ExitStack() as stack:
        folder = stack.enter_context(workshop())
        site, jobs = folder / "site", folder / "home" / "data" / "jobs"
        job(site, "triggered", "shell", "run.sh", SHELL)
        job(site, "triggered", "python", "run.py", PYTHON)
        job(site, "continuous", "again", "run.sh", AGAIN, taak=NO_PAUSE)
        boxes = {
            name: Letterbox(place)
            for name, place in (
                ("shell", jobs / "triggered" / "shell"),
                ("python", jobs / "triggered" / "python"),
                ("again", jobs / "continuous" / "again"),
                ("own", folder / "own"),
            )
        }
        for box in boxes.values():
            stack.callback(box.close)
        platform = stack.enter_context(platform_on(folder))
        other = stack.enter_context(supervisor(findings, folder, _supervised(folder)))
        _restarts(findings, boxes, other)
        platform.manage("POST", "/api/continuouswebjobs/again/stop")
        _starts(findings, platform, boxes, other)


def _supervised(folder: Path) -> dict[str, Supervised]:
    own = folder / "own"
    for name, text in (("shell", SHELL), ("again", AGAIN)):
        (own / f"{name}.sh").write_text(text)
    return {
        "shell": Supervised(own / "shell.sh", own, again=False),
        "again": Supervised(own / "again.sh", own, again=True),
    }


# -- starts


def _starts(
    findings: Findings, platform: Platform, boxes: Mapping[str, Letterbox], other: Supervisor | None
) -> None:
    own = boxes["own"]
    python = shutil.which("python3") or "python3"
    program = own.path.parent / "run.py"
    program.write_text(PYTHON)
    ways: dict[str, Start] = {
        "popen": partial(_popen, own, ("/bin/sh", str(own.path.parent / "shell.sh"))),
        "shell": partial(_triggered, platform, "shell", boxes["shell"]),
        "python": partial(_triggered, platform, "python", boxes["python"]),
        "popen_python": partial(_popen, own, (python, str(program))),
        "pass": yardsticks.python,
    }
    if other is not None:
        ways["supervisord"] = partial(_by_supervisord, other, own)
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(6 if findings.quick else 32):
        for name, way in ways.items():
            seconds = way()
            if number >= 2:  # the first two find what is warm
                spent[name].append(seconds)
    findings.add(
        Figure(
            f"jobs.start.{name}",
            statistics.median(values) * 1e3,
            "ms",
            "lower",
            f"p90 {quantile(values, 0.9) * 1e3:.2f} ms of {len(values)}",
        )
        for name, values in spent.items()
    )
    for ours, theirs in (
        ("shell", "popen"),
        ("shell", "supervisord"),
        ("python", "pass"),
        ("python", "popen_python"),
    ):
        if theirs in spent:
            ratio = median_ratio(spent[ours], spent[theirs])
            findings.add([Figure(f"jobs.start.{ours}.of_{theirs}", ratio, f"x {theirs}", "lower")])


def _triggered(platform: Platform, name: str, box: Letterbox) -> float:
    """Order a run on a connection that is there, and see when its program begins."""
    base = urlsplit(platform.management_url)
    connection = HTTPConnection(base.hostname or "", base.port, timeout=30)
    connection.connect()
    box.forget()
    start = time.perf_counter()
    connection.request(
        "POST", f"/api/triggeredwebjobs/{name}/run", headers={"x-functions-key": KEY}
    )
    spent = box.next("begun") - start
    answer = connection.getresponse()
    assert answer.status == 202, answer.read()
    connection.close()
    platform.wait_until(lambda: _last_state(platform, name) in _FINAL, what=f"the end of {name}")
    assert _last_state(platform, name) == "success"
    return spent


def _last_state(platform: Platform, name: str) -> str:
    runs = platform.v1(f"/runs?kind=triggered&name={name}&limit=1")["items"]
    return str(runs[0]["state"]) if runs else ""


def _popen(box: Letterbox, command: tuple[str, ...]) -> float:
    box.forget()
    environment = {**os.environ, "WEBJOBS_DATA_PATH": str(box.path.parent)}
    start = time.perf_counter()
    with subprocess.Popen(command, env=environment):
        return box.next("begun") - start


def _by_supervisord(other: Supervisor, box: Letterbox) -> float:
    box.forget()
    start = time.perf_counter()
    other.start("shell")
    spent = box.next("begun") - start
    other.wait("shell")
    return spent


# -- restarts


def _restarts(findings: Findings, boxes: Mapping[str, Letterbox], other: Supervisor | None) -> None:
    count = 4 if findings.quick else 20
    findings.add(_gap_figures("taak", gaps(boxes["again"], count)))
    if other is not None:
        other.start("again")
        findings.add(_gap_figures("supervisord", gaps(boxes["own"], count)))
        other.stop("again")


def gaps(box: Letterbox, count: int) -> list[float]:
    """Return the times from what a process does last to what the next one does first."""
    box.forget()
    gaps: list[float] = []
    for _ in range(count):
        over = box.next("over")
        gaps.append(box.next("begun") - over)
    return gaps


def _gap_figures(name: str, gaps: list[float]) -> list[Figure]:
    note = f"from end to next start, max {max(gaps) * 1e3:.1f} ms of {len(gaps)}"
    return [
        Figure(f"jobs.restart.{name}", statistics.median(gaps) * 1e3, "ms", "lower", note),
        Figure(f"jobs.restart.{name}.max", max(gaps) * 1e3, "ms", "lower", detail=True),
    ]
