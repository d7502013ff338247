"""The logs of all jobs: where they are, who makes one, and where what is written in it goes.

Kudu's files stand where its tools look for them, in reach of the job. Our segments stand below
`HOME/logs/jobs`, out of its reach; what is read back is theirs. Logs that an earlier version wrote
have no segments, and are read from Kudu's file.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from scheduler.functions import Job
from scheduler.job_folders import JobFolders, NamedJob
from scheduler.job_log import LogFile
from scheduler.journal import Journal, Listener
from scheduler.log_limits import LogLimits
from scheduler.log_line import Level
from scheduler.log_reader import LogReader
from scheduler.log_stream import LogStream
from scheduler.log_writer import SegmentWriter

#: Lines of the end of a run's output that a kill took from its file and that are given back.
_END_LINES: Final = 500


class JobLogs:
    """Makes the logs of jobs, and their readers.

    Attributes:
        stream: what all jobs write, as it comes.
        root: the folder of all segments.
    """

    def __init__(
        self,
        folders: JobFolders,
        *,
        instance: str,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        stream: LogStream | None = None,
    ) -> None:
        self.stream = stream or LogStream()
        self.root = folders.home / "logs" / "jobs"
        self._folders = folders
        self._instance = instance
        self._now = now
        self._writers: dict[Path, SegmentWriter] = {}  # of continuous jobs

    # --- Writing

    def continuous(self, job: NamedJob) -> Journal:
        """Return the log of a continuous job; the app log stream has all of it."""
        path = self._folders.job_log(job)
        return Journal(
            self._file(path, previous=self._folders.previous_log(job)),
            self._writer(job),
            instance=self._instance,
            now=self._now,
            listener=self._listener(job),
        )

    def run(
        self,
        job: NamedJob,
        run_id: str,
        *,
        limits: LogLimits | None = None,
        streamed: bool = False,
    ) -> Journal:
        """Return the log of a triggered run; `streamed` shows it in the app log stream too.

        Raises:
            ValueError: that is no run id.
        """
        limits = limits or LogLimits()
        limit = limits.run_bytes
        path = self._folders.output_log(job, run_id)
        return Journal(
            self._file(path),
            SegmentWriter(self._run_folder(job, run_id), limit_bytes=limit, head_bytes=limit // 2),
            instance=self._instance,
            now=self._now,
            limit_bytes=limits.file_bytes,
            listener=self._listener(job, run_id, aside=not streamed),
        )

    def complete_file(self, job: NamedJob, run_id: str) -> None:
        """Write the end of a run's output into its output_log.txt.

        A kill of the platform took it while it was held back, beyond the limit of that file; the
        segments have it.

        Raises:
            ValueError: that is no run id.
            OSError: one of them cannot be read.
        """
        reader, path = self.read_run(job, run_id), self._folders.output_log(job, run_id)
        missing = reader.end().line - LogReader(None, path).end().line
        if missing <= 0:
            return
        start = reader.tail(min(missing, _END_LINES))
        end = [line for piece in reader.pieces(start) for line in piece.lines()]
        file = self._file(path)
        if missing > len(end):
            told = (
                f"Output was truncated: {missing - len(end)} lines were left out. Its end follows."
            )
            file.append(Level.SYS_WARN, [told])
        for line in end:
            file.append(line.level or Level.OUT, [line.text])

    # --- Reading

    def read_continuous(self, job: NamedJob) -> LogReader:
        """Return a reader of a continuous job's log."""
        return LogReader(self.folder(job), self._folders.job_log(job))

    def read_run(self, job: NamedJob, run_id: str) -> LogReader:
        """Return a reader of a run's log.

        Raises:
            ValueError: that is no run id.
        """
        path = self._folders.output_log(job, run_id)
        return LogReader(self._run_folder(job, run_id), path)

    def read_schedule(self, job: NamedJob) -> LogReader:
        """Return a reader of the log of a triggered job's schedule."""
        return LogReader(None, self._folders.scheduler_log(job))

    # --- Folders

    def folder(self, job: NamedJob) -> Path:
        """Return where all segments of a job are."""
        return self.root / str(job.kind.value) / job.name

    def forget(self, job: NamedJob) -> None:
        """Remove the segments of a job that was deleted."""
        shutil.rmtree(self.folder(job), ignore_errors=True)

    def has_run(self, job: NamedJob, run_id: str) -> bool:
        """Tell whether a run is still in its job's history: its folder is there."""
        return (self._folders.data(job) / run_id).is_dir()

    def is_over(self, job: NamedJob, run_id: str) -> bool:
        """Tell whether a run has ended, so that nothing is written into its log any more."""
        try:
            status = self._folders.read_run_status(job, run_id)
        except ValueError:
            return True
        return status is None or status.ended_at is not None

    def _run_folder(self, job: NamedJob, run_id: str) -> Path:
        return self.folder(job) / run_id

    # --- Parts

    def _file(self, path: Path, *, previous: Path | None = None) -> LogFile:
        return LogFile(path, instance=self._instance, now=self._now, previous=previous)

    def _writer(self, job: NamedJob) -> SegmentWriter:
        # One for each folder: a job that was removed and came back would else have two for a
        # while, and lines would get the same numbers.
        folder = self.folder(job)
        if folder not in self._writers:
            limits = job.logs if isinstance(job, Job) else LogLimits()
            self._writers[folder] = SegmentWriter(folder, limit_bytes=limits.job_bytes)
        return self._writers[folder]

    def _listener(self, job: NamedJob, run_id: str = "", *, aside: bool = False) -> Listener:
        kind, name, publish = str(job.kind.value), job.name, self.stream.publish

        def listen(at: datetime, level: Level, lines: Sequence[str]) -> None:
            publish(at, kind, name, run_id, level, lines, aside=aside)

        return listen
