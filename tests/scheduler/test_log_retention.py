"""Retention: what is too old, too long or too large goes, oldest first, and never the newest."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from job_fakes import START, FakeClock

from scheduler.catalog import EMPTY, Catalog
from scheduler.functions import AppDefinition, HostSettings, JobKind
from scheduler.job_folders import JobFolders
from scheduler.job_logs import JobLogs
from scheduler.log_limits import LogLimits
from scheduler.log_line import Level, segment_block
from scheduler.log_retention import LogRetention
from scheduler.log_segments import segments_in
from scheduler.log_writer import SegmentWriter

DAY_S = 86_400.0
NOW = 1_000 * DAY_S


class Instantly(FakeClock):
    """Pauses that take no time."""

    async def sleep(self, seconds: float) -> None:
        """Return at once."""


class Bench:
    """A home with logs in it."""

    def __init__(self, home: Path) -> None:
        self.logs = JobLogs(JobFolders(home), instance="i", now=lambda: START)
        self.home = home
        self.catalog = Catalog()
        self.limit()

    def limit(self, **limits: int) -> None:
        """Set the limits of the app."""
        host = HostSettings(logs=replace(LogLimits(), **limits))
        self.catalog.swap(
            AppDefinition(digest="1", root=self.home, host=host, functions=(), jobs=())
        )

    def write(self, folder: Path, count: int, *, days_ago: float = 0, first: int = 0) -> None:
        """Write segments of ten lines and about 100 KiB each, the newest so old."""
        writer = SegmentWriter(folder, limit_bytes=1 << 40, segment_bytes=1)
        for _ in range(count):
            block = segment_block(START, "i", Level.OUT, ["x" * 10_200] * 10)
            writer.append(block, 10)
        written = NOW - days_ago * DAY_S
        for at, one in enumerate(segments_in(folder)[first:]):
            os.utime(one.path, (written, written - (count - at) * 0.001))

    def folder(self, name: str, run_id: str = "") -> Path:
        """Return the folder of a log; a run's also has a folder in its history."""
        kind = JobKind.TRIGGERED if run_id else JobKind.CONTINUOUS
        if run_id:
            (self.home / "data" / "jobs" / "triggered" / name / run_id).mkdir(parents=True)
        folder = self.logs.folder(SimpleNamespace(name=name, kind=kind))
        return folder / run_id if run_id else folder

    async def sweep(self) -> None:
        """Look at every log once."""
        await LogRetention(self.logs, self.catalog, clock=Instantly(), now=lambda: NOW).sweep()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Return a home without logs."""
    return Bench(tmp_path)


def first_lines(folder: Path) -> list[int]:
    """Return at which lines the segments begin."""
    return [one.line for one in segments_in(folder)]


async def test_what_is_too_old_goes_and_the_newest_stays(bench):
    """A quiet job keeps the last that it said."""
    bench.limit(days=30)
    folder = bench.folder("mail")
    bench.write(folder, 3, days_ago=31)
    await bench.sweep()
    assert first_lines(folder) == [20]


async def test_what_is_young_enough_stays(bench):
    """Nothing goes before its time."""
    bench.limit(days=30)
    folder = bench.folder("mail")
    bench.write(folder, 3, days_ago=29)
    await bench.sweep()
    assert first_lines(folder) == [0, 10, 20]


async def test_old_runs_go_as_a_whole(bench):
    """Nobody writes a run's log that is older than what is kept."""
    bench.limit(days=30)
    old = bench.folder("report", "202601051000000000")
    young = bench.folder("report", "202601051000000001")
    bench.write(old, 2, days_ago=31)
    bench.write(young, 2, days_ago=1)
    await bench.sweep()
    assert not old.exists()
    assert first_lines(young) == [0, 10]


async def test_a_run_that_is_under_way_keeps_its_newest_segment(bench):
    """However long it was silent: its next line has the next number."""
    folder = bench.folder("report", "202601051000000000")
    bench.write(folder, 3, days_ago=99)
    status = bench.home / "data/jobs/triggered/report/202601051000000000/status"
    status.write_text('{"Status": "Running", "StartTime": "2026-01-05T10:00:00Z"}')
    await bench.sweep()
    assert first_lines(folder) == [20]


async def test_a_run_that_left_the_history_takes_its_log_along(bench):
    """WEBJOBS_HISTORY_SIZE is the rule for runs."""
    folder = bench.folder("report", "202601051000000000")
    bench.write(folder, 2)
    (bench.home / "data/jobs/triggered/report/202601051000000000").rmdir()
    await bench.sweep()
    assert not folder.exists()


async def test_lines_are_counted(bench):
    """At least so many lines of a continuous job are there, and no whole segment more."""
    bench.limit(lines=25)
    folder = bench.folder("mail")
    bench.write(folder, 6)
    await bench.sweep()
    assert first_lines(folder) == [20, 30, 40, 50]


async def test_the_bytes_of_one_job_are_bounded_over_its_runs(bench):
    """The oldest of all its runs go first."""
    bench.limit(job_mib=1)
    folders = [bench.folder("report", f"20260105100000000{n}") for n in range(3)]
    for at, folder in enumerate(folders):
        bench.write(folder, 6, days_ago=1 + at)
    await bench.sweep()
    counts = [len(segments_in(folder)) for folder in folders]
    assert counts[0] == 6
    assert counts[2] == 1
    assert sum(one.size() for folder in folders for one in segments_in(folder)) <= 1 << 20


async def test_the_bytes_of_all_jobs_are_bounded(bench):
    """No job pays for a younger log of another."""
    bench.limit(total_mib=1)
    old, young = bench.folder("mail"), bench.folder("beat")
    bench.write(old, 8, days_ago=2)
    bench.write(young, 8, days_ago=1)
    await bench.sweep()
    assert len(segments_in(young)) == 8
    assert 1 <= len(segments_in(old)) <= 2


async def test_nothing_goes_before_the_app_is_known(bench):
    """Limits may be larger than the defaults: at the start nobody knows."""
    bench.catalog = Catalog()
    assert bench.catalog.definition is EMPTY
    folder = bench.folder("mail")
    bench.write(folder, 3, days_ago=1000)
    await bench.sweep()
    assert first_lines(folder) == [0, 10, 20]
