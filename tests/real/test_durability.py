"""What was accepted survives: kill -9 at any moment, and a disk without room (sandbox.md 6)."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest
from real import apps
from real.platform import KEY, Platform, call

pytestmark = [pytest.mark.real]

ROUNDS = 4
OPEN = {"queued", "initializing", "running"}
JOBS = ("one", "two", "three")
QUIET = "def main(timer):\n    pass\n"
ANSWERS = "def main(req):\n    return 'hello'\n"
#: Notes its own id: a run that is carried out twice is seen twice.
NOTED = 'echo "$WEBJOBS_RUN_ID" >> "$WEBJOBS_DATA_PATH/noted"\n'


def all_runs(platform: Platform, query: str = "") -> list[dict[str, Any]]:
    """Return every run, oldest first."""
    found: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = platform.v1(f"/runs?limit=200{query}{cursor}")
        found += page["items"]
        if page["cursor"] is None:
            return found[::-1]
        cursor = f"&cursor={page['cursor']}"


@dataclass
class Load:
    """Clients that ask for everything at once, until the platform is gone; what it accepted."""

    platform: Platform
    runs: list[tuple[str, str]] = field(default_factory=list)
    orders: int = 0
    _threads: list[threading.Thread] = field(default_factory=list)

    def begin(self) -> None:
        """Start the clients."""
        self._threads = [
            threading.Thread(target=self._until_it_is_gone, args=(each,))
            for each in (self._start_runs, self._order_functions, self._call)
        ]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Wait for the clients: the platform is gone."""
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()

    def _until_it_is_gone(self, ask: Any) -> None:
        with suppress(OSError, HTTPException):
            while True:
                ask()
                time.sleep(0.005)

    def _start_runs(self) -> None:
        for name in JOBS:
            answer = self.platform.kudu("POST", f"/api/triggeredwebjobs/{name}/run")
            assert answer.status in {202, 409}, answer.text
            if answer.status == 202:
                self.runs.append((name, answer.headers["location"].rpartition("/")[2]))

    def _order_functions(self) -> None:
        headers = {"x-functions-key": KEY, "content-type": "application/json"}
        path = "/admin/functions/hello"
        answer = call(self.platform.data_url, "POST", path, body="{}", headers=headers)
        assert answer.status == 202, answer.text
        self.orders += 1

    def _call(self) -> None:
        self.platform.get("/api/hello")


@pytest.mark.core
def test_kill_nine_at_any_moment_loses_nothing(site: Path, start_platform: Any) -> None:
    """sandbox.md D1, D3, D4, D7: accepted is recorded, once, and none of it stays open."""
    apps.function(site, "hello", ANSWERS)
    for number in range(5):
        apps.timer(site, f"tick{number}", QUIET, "* * * * * *")
    apps.job(site, "triggered", "scheduled", "run.sh", NOTED, schedule="* * * * * *")
    for name in JOBS:
        apps.job(site, "triggered", name, "run.sh", f"{NOTED}sleep 0.0$((RANDOM % 9))")
    seed = random.randrange(10**6)
    draw = random.Random(seed)
    platform = start_platform(env={"WEBJOBS_HISTORY_SIZE": "100000"})
    load = Load(platform)
    for _ in range(ROUNDS):
        load.begin()
        time.sleep(draw.uniform(0.3, 1.5))
        platform.kill()
        load.end()
        last_id = _newest_id(platform)
        platform.start()
        left = [run for run in all_runs(platform) if run["id"] <= last_id and run["state"] in OPEN]
        assert left == [], f"seed {seed}"
    _audit(platform, load, f"seed {seed}")
    platform.stop()
    with closing(sqlite3.connect(platform.home / "taak.db")) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        fired = db.execute("SELECT timer_id, due_at, run_id FROM ticks WHERE outcome = 'fired'")
        rows = fired.fetchall()
    assert len({row[:2] for row in rows}) == len({row[2] for row in rows}) == len(rows) > 0


def _newest_id(platform: Platform) -> int:
    with closing(sqlite3.connect(platform.home / "taak.db")) as db:
        found: int = db.execute("SELECT max(id) FROM runs").fetchone()[0]
    return found


def _audit(platform: Platform, load: Load, seed: str) -> None:
    runs = all_runs(platform)
    triggered = [run for run in runs if run["kind"] == "triggered"]
    known = Counter((run["name"], run["public_id"]) for run in triggered)
    assert set(load.runs) <= set(known), seed
    assert max(known.values()) == 1, seed
    for name in (*JOBS, "scheduled"):
        ids = [run["public_id"] for run in triggered if run["name"] == name]
        assert ids == sorted(ids), seed
        noted = (platform.home / f"data/jobs/triggered/{name}/noted").read_text().split()
        assert len(set(noted)) == len(noted), seed
        succeeded = {
            run["public_id"]
            for run in triggered
            if run["name"] == name and run["state"] == "success"
        }
        assert succeeded <= set(noted) <= set(ids), seed
    assert sum(run["trigger"] == "manual" for run in runs) >= load.orders > 0, seed
    reasons = {run["reason"] for run in runs if run["state"] == "aborted"}
    assert reasons <= {"host_restart"}, seed


# --- A full disk


class SmallHome(Platform):
    """A platform whose home is a file system of its own, seen by it alone."""

    @property
    def home(self) -> Path:
        """Return the home, as it is seen from here."""
        if self.__dict__.get("_process") is None or not self.running:
            return self._home
        return Path(f"/proc/{self.pid}/root{self._home}")

    @home.setter
    def home(self, home: Path) -> None:
        self._home = home

    def fill(self) -> None:
        """Write until there is no room."""
        with suppress(OSError), (self.home / "filler").open("ab", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)

    def make_room(self) -> None:
        """Remove what was written."""
        (self.home / "filler").unlink()

    def _command(self) -> list[str]:
        mount = 'mount -t tmpfs -o size=16m tmpfs "$0" && exec "$@"'
        return ["unshare", "-m", "sh", "-c", mount, str(self._home), *super()._command()]


@pytest.fixture
def small(site: Path, tmp_path: Path) -> Iterator[SmallHome]:
    """Return a platform on a home of 16 MB."""
    tools = all(map(shutil.which, ("unshare", "mount")))
    if (
        os.geteuid()
        or not tools
        or subprocess.run(["unshare", "-m", "true"], check=False).returncode
    ):
        pytest.skip("a private mount needs root")
    (tmp_path / "home").mkdir()
    platform = SmallHome(site, tmp_path / "home", env={"WEBJOBS_RESTART_TIME": "1"})
    yield platform
    if platform.running:
        platform.stop()


@pytest.mark.core
def test_a_full_disk_refuses_new_work_and_passes(site: Path, small: SmallHome) -> None:
    """sandbox.md D9: calls are answered, orders get 503, no end is lost, nothing is restarted."""
    apps.function(site, "hello", ANSWERS)
    apps.timer(site, "tick", QUIET, "* * * * * *")
    apps.job(site, "triggered", "quick", "run.sh", "echo ok")
    apps.job(site, "triggered", "slow", "run.sh", "sleep 0.7")
    folder = apps.job(site, "continuous", "stays", "run.sh", "exec sleep 300")
    small.start()
    small.wait_until(lambda: small.v1("/jobs/continuous/stays")["pid"], what="the job runs")
    assert small.kudu("POST", "/api/triggeredwebjobs/slow/run").status == 202
    small.wait_until(
        lambda: all_runs(small, "&name=slow")[0]["state"] == "running", what="the slow run begins"
    )
    small.fill()
    refused = small.kudu("POST", "/api/triggeredwebjobs/quick/run")
    assert (refused.status, "full" in refused.text) == (503, True)
    assert int(refused.headers["retry-after"]) > 0
    headers = {"x-functions-key": KEY, "content-type": "application/json"}
    order = call(small.data_url, "POST", "/admin/functions/hello", body="{}", headers=headers)
    assert order.status == 503
    assert small.kudu("POST", "/api/continuouswebjobs/stays/stop").status == 503
    assert not (folder / "disable.job").exists()
    end = time.monotonic() + 1.5  # the slow run ends meanwhile
    while time.monotonic() < end:
        assert small.get("/api/hello").text == "hello"
    assert [run["state"] for run in all_runs(small, "&name=slow")] == ["running"]
    small.make_room()
    started = small.wait_until(lambda: _started(small), what="new runs are accepted")
    assert small.wait_for_run(started)["state"] == "success"
    (slow,) = all_runs(small, "&name=slow")
    assert small.wait_for_run(slow["id"])["state"] == "success"
    status = small.home / f"data/jobs/triggered/slow/{slow['public_id']}/status"
    small.wait_until(lambda: '"Success"' in status.read_text(), what="the status file follows")
    assert small.v1("/jobs/continuous/stays")["state"] == "Running"
    fired = len(all_runs(small, "&name=tick"))
    small.wait_until(lambda: len(all_runs(small, "&name=tick")) > fired, what="ticks go on")
    small.wait_until(lambda: len(all_runs(small, "&name=hello")) > 1, what="the history follows")


def _started(platform: Platform) -> int | None:
    answer = platform.manage("POST", "/v1/jobs/triggered/quick/run", "{}")
    return int(answer.json()["id"]) if answer.status == 202 else None
