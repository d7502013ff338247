"""How late other timers are: uvloop's call_at, and APScheduler, each with many more armed.

Each fires once a second, at a part of the second of its own, so that they do not meet each other.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from findings import Findings

from peers.environment import UnavailableError, venv

_APPS = Path(__file__).parent / "apps"
TITLE = "APScheduler, asyncio, jobs in memory"


@dataclass(frozen=True)
class Timers:
    """A process that measures its own lateness until it has enough."""

    name: str
    process: subprocess.Popen[str]

    def lateness(self) -> list[float]:
        """Wait for its end and return how many seconds late each firing was."""
        said, _ = self.process.communicate(timeout=120)
        assert self.process.returncode == 0, f"{self.name} ended with {self.process.returncode}"
        found: list[float] = json.loads(said)
        return found


@contextmanager
def timers_beside(findings: Findings, armed: int, seconds: int) -> Iterator[list[Timers]]:
    """Start both; who cannot be had is told and left out."""
    started: list[Timers] = []
    try:
        arguments = [str(armed), str(seconds)]
        call_at = [sys.executable, str(_APPS / "call_at.py"), *arguments]
        started.append(Timers("call_at", _start(call_at)))
        try:
            programs, versions = venv("apscheduler", ("apscheduler",))
            findings.meet("apscheduler", TITLE, versions)
            command = [str(programs / "python"), str(_APPS / "scheduler.py"), *arguments]
            started.append(Timers("apscheduler", _start(command)))
        except UnavailableError as reason:
            findings.miss("apscheduler", TITLE, str(reason))
        yield started
    finally:
        for timers in started:
            if timers.process.poll() is None:
                timers.process.kill()
            timers.process.wait()


def _start(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
