"""A client of the WebJobs API, and the words in which tests speak of jobs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from real.platform import Answer, Platform

#: The line format of webjobs.md 1.7: time, instance, level, message.
LINE = re.compile(
    r"\[(\d\d/\d\d/\d{4} \d\d:\d\d:\d\d) > (\S{1,6}): "
    r"(INFO|WARN|ERR |SYS (?:INFO|WARN|ERR ))\] (.*)"
)
_UNENDED = {"Initializing", "Running"}


@dataclass
class Jobs:
    """A platform, spoken to as a client of Kudu does."""

    platform: Platform

    # --- Calls

    def kudu(self, path: str) -> Any:
        """GET of a JSON answer; an address that the platform has given will do."""
        answer = self.platform.kudu("GET", _path(path))
        assert answer.status == 200, (path, answer.status, answer.text)
        return answer.json()

    def post(self, path: str) -> Answer:
        """POST without a body."""
        return self.platform.kudu("POST", path)

    def triggered(self, name: str) -> dict[str, Any]:
        """Return a triggered job."""
        found: dict[str, Any] = self.kudu(f"/api/triggeredwebjobs/{quote(name)}")
        return found

    def job(self, name: str) -> dict[str, Any]:
        """Return a continuous job."""
        found: dict[str, Any] = self.kudu(f"/api/continuouswebjobs/{quote(name)}")
        return found

    def lines(self, url: str) -> list[str]:
        """Return a log without its time stamps."""
        text = self.platform.kudu("GET", _path(url)).text
        return [line.partition(": ")[2] for line in text.splitlines()]

    # --- Runs of triggered jobs

    def start(self, name: str, arguments: str = "") -> str:
        """Start a run and return its address."""
        path = f"/api/triggeredwebjobs/{quote(name)}/run?arguments={quote(arguments)}"
        answer = self.platform.kudu("POST", path)
        assert answer.status == 202, (name, answer.status, answer.text)
        return answer.headers["location"]

    def ended(self, location: str, *, timeout_s: float = 30.0) -> dict[str, Any]:
        """Wait as Kudu's clients do: until the status is an end."""

        def look() -> dict[str, Any] | None:
            run: dict[str, Any] = self.kudu(location)
            return run if run["status"] not in _UNENDED else None

        found: dict[str, Any] = self.platform.wait_until(look, what=location, timeout_s=timeout_s)
        return found

    def run(self, name: str, arguments: str = "") -> tuple[str, list[str]]:
        """Run a job to its end; its status and its log."""
        run = self.ended(self.start(name, arguments))
        return run["status"], self.lines(run["output_url"])

    def history(self, name: str) -> list[dict[str, Any]]:
        """Return the runs of a job, the newest first."""
        found: list[dict[str, Any]] = self.kudu(f"/api/triggeredwebjobs/{name}/history")["runs"]
        return found

    # --- Continuous jobs

    def log(self, name: str) -> list[str]:
        """Return a continuous job's log."""
        return self.lines(f"/vfs/data/jobs/continuous/{name}/job_log.txt")

    def schedule_log(self, name: str) -> list[str]:
        """Return the log of a triggered job's schedule."""
        return self.lines(f"/vfs/data/jobs/triggered/{name}/job_scheduler.log")

    def reached(self, name: str, status: str) -> None:
        """Wait until a continuous job is so."""
        self.platform.wait_until(
            lambda: self.job(name)["status"] == status, what=f"{name} {status}"
        )

    def says(self, name: str, line: str, *, times: int = 1, timeout_s: float = 20.0) -> list[str]:
        """Wait until a continuous job's log has a line so many times; return the log."""
        self.platform.wait_until(
            lambda: self.log(name).count(line) >= times,
            what=f"{name}: {line} x{times}",
            timeout_s=timeout_s,
        )
        return self.log(name)

    def pid(self, name: str) -> int:
        """Wait for a continuous job's process."""
        found: int = self.platform.wait_until(
            lambda: self.platform.v1(f"/jobs/continuous/{name}")["pid"], what=f"{name} runs"
        )
        return found

    # --- Files

    def data(self, kind: str, name: str) -> Path:
        """Return a job's data directory."""
        return self.platform.home / "data" / "jobs" / kind / name

    def folder(self, kind: str, name: str) -> Path:
        """Return a job's folder in the primary root."""
        return self.platform.site / "App_Data" / "jobs" / kind / name


def _path(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path
