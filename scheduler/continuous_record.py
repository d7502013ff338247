"""What is seen of a continuous job: its state by the table, its status file, its log.

The loop in `continuous_job.py` says what happens; here it is put down for others to read.
"""

from __future__ import annotations

from dataclasses import replace

from sandbox.spec import Exit
from scheduler.continuous_place import JobPlace
from scheduler.continuous_state import TRANSITIONS, ContinuousState, ContinuousStatus
from scheduler.functions import Job
from scheduler.held_file import HeldFile, is_held
from scheduler.job_folders import short_instance, status_line
from scheduler.listeners import tell
from scheduler.shared_file import shared_opener


class ContinuousRecord:
    """The public face of one job on one instance.

    Attributes:
        status: how the job is now.
        journal: its log, which also takes the output of its process.
    """

    def __init__(self, job: Job, place: JobPlace) -> None:
        self.journal = place.logs.continuous(job)
        self._job = job
        self._place = place
        self._starts = 0
        self._file = HeldFile(place.folders.status_file(job, place.instance))
        self.status = ContinuousStatus(
            state=ContinuousState.INITIALIZING,
            detailed_status=f"{short_instance(place.instance)} - Initializing",
            since=place.clock.now(),
        )

    def become(self, state: ContinuousState) -> None:
        """Step to a state; a step that the table does not have is our mistake, changing nothing."""
        current = self.status.state
        if state is current:
            return
        if state not in TRANSITIONS[current]:
            raise AssertionError(f"{self._job.name}: {current.value} -> {state.value}")
        self.status = replace(
            self.status,
            state=state,
            since=self._place.clock.now(),
            detailed_status=f"{short_instance(self._place.instance)} - {state.value}\r\n",
        )
        self._show(state.value)
        tell(self._place.on_status, self._job, self.status)

    def warn_once(self, message: str) -> None:
        """Warn, unless the log as it is now says so already (webjobs.md 3.1)."""
        try:
            with open(self.journal.file.path, "rb", opener=shared_opener) as file:
                told = message.encode() in file.read()
        except OSError:
            told = False
        if not told:
            self.journal.warning(message)

    def sweep(self) -> None:
        """Remove what instances that are gone have left to read (webjobs.md 4.8)."""
        for path in self._file.path.parent.glob("status_*"):
            if path != self._file.path and not is_held(path):
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let the status file go: from now on it is nobody's."""
        self._file.let_go()

    def started(self, pid: int) -> None:
        """Note the process that runs now."""
        self._starts += 1
        self.status = replace(self.status, pid=pid, restarts=self._starts - 1)

    def ended(self, ended: Exit) -> None:
        """Note and tell how the process ended."""
        self.status = replace(self.status, pid=None, last_exit=ended)
        if ended.ok:
            self._show("Success")
            if ended.loss:
                self.journal.warning(ended.loss)
        elif ended.starved:
            self.journal.error(f"Job failed: {ended}")
        elif ended.signal is not None:
            self.journal.error(f"Job failed due to exit code {128 + ended.signal} ({ended})")
        else:
            self.journal.error(f"Job failed due to exit code {ended.code}")

    def _show(self, word: str) -> None:
        self.journal.status(word)
        self._file.write(status_line(word))
