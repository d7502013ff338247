"""The logs of jobs: what a kill of the platform took from Kudu's file is given back."""

from __future__ import annotations

from pathlib import Path

from job_fakes import START, lines, make_job

from scheduler.functions import JobKind
from scheduler.job_folders import JobFolders
from scheduler.job_logs import JobLogs
from scheduler.log_limits import LogLimits
from scheduler.log_line import Level

RUN_ID = "202601051000000000"


def logs_of(tmp_path: Path) -> JobLogs:
    """Return the logs of a home."""
    return JobLogs(JobFolders(tmp_path / "home"), instance="i", now=lambda: START)


def test_a_killed_runs_end_is_written_into_its_file(tmp_path):
    """The platform died before it could write it; the segments have it."""
    logs, job = logs_of(tmp_path), make_job(tmp_path, JobKind.TRIGGERED)
    journal = logs.run(job, RUN_ID, limits=LogLimits(file_mib=1))
    for number in range(25):
        journal.output(Level.OUT, [f"{number} {at} {'x' * 60}" for at in range(1000)])
    journal.output(Level.ERR, ["the reason"])
    path = journal.file.path
    before = lines(path)
    assert "ERR ] the reason" not in before
    logs_of(tmp_path).complete_file(job, RUN_ID)
    after = lines(path)
    assert after[: len(before)] == before
    marker, *end = after[len(before) :]
    assert marker.startswith(
        f"SYS WARN] Output was truncated: {25_001 - len(before) - len(end)} lines"
    )
    assert end[-1] == "ERR ] the reason"


def test_a_file_that_is_whole_is_left_alone(tmp_path):
    """Nothing is there twice, and a run without a log is no failure."""
    logs, job = logs_of(tmp_path), make_job(tmp_path, JobKind.TRIGGERED)
    logs.complete_file(job, RUN_ID)
    logs.run(job, RUN_ID).info("hello")
    logs.complete_file(job, RUN_ID)
    assert lines(logs.run(job, RUN_ID).file.path) == ["SYS INFO] hello"]


def test_a_deleted_job_takes_its_log_along(tmp_path):
    """The next job of its name begins with line 0, also for a writer that is still there."""
    logs, job = logs_of(tmp_path), make_job(tmp_path, JobKind.CONTINUOUS)
    journal = logs.continuous(job)
    journal.info("old")
    logs.forget(job)
    journal.info("new")
    reader = logs.read_continuous(job)
    (line,) = reader.read(reader.first()).lines()
    assert (line.number, line.text) == (0, "new")
