"""The logs of all jobs: who makes one, and where what is written in it goes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from scheduler.job_folders import JobFolders, NamedJob
from scheduler.job_log import Level, Listener, LogFile
from scheduler.log_stream import LogStream


class JobLogs:
    """Makes the logs of jobs.

    Attributes:
        stream: what all jobs write, as it comes.
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
        self._folders = folders
        self._instance = instance
        self._now = now

    def continuous(self, job: NamedJob) -> LogFile:
        """Return the log of a continuous job; the app log stream has all of it."""
        return LogFile(
            self._folders.job_log(job),
            instance=self._instance,
            now=self._now,
            previous=self._folders.previous_log(job),
            listener=self._listener(job),
        )

    def run(self, job: NamedJob, run_id: str, *, streamed: bool = False) -> LogFile:
        """Return the log of a triggered run; `streamed` shows it in the app log stream too.

        Raises:
            ValueError: that is no run id.
        """
        return LogFile(
            self._folders.output_log(job, run_id),
            instance=self._instance,
            now=self._now,
            listener=self._listener(job, run_id) if streamed else None,
        )

    def _listener(self, job: NamedJob, run_id: str = "") -> Listener:
        kind, name, publish = str(job.kind.value), job.name, self.stream.publish

        def listen(at: datetime, level: Level, lines: Sequence[str]) -> None:
            publish(at, kind, name, run_id, level, lines)

        return listen
