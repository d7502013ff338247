"""Whether a continuous job is to run: what its operator decided last, over restarts (promise D6).

Kudu keeps this in the file disable.job beside the script, and people edit that file; it is written
as well and its edits are heeded. But the folder may be read-only, and an upload replaces it, so the
store holds the truth together with what the file was when the truth was written.
"""

from __future__ import annotations

import json
import logging
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from scheduler.errors import UnavailableError
from scheduler.functions import Job, key
from scheduler.store.port import Store

_log = logging.getLogger("taak.jobs")

_PREFIX = "job/continuous/"


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided, and the folder as it was then: disable.job there or not, which files."""

    running: bool
    marker: bool
    digest: str


class DesiredState:
    """Reads and writes decisions."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def set(self, job: Job, *, running: bool) -> None:
        """Decide; it is durable on return, and disable.job says the same where it can."""
        before = has_marker(job)
        marker = _write_marker(job, present=not running)
        try:
            await self._put(job, Decision(running, marker, job.bundle.digest))
        except UnavailableError:
            _write_marker(job, present=before)  # what was refused must not happen all the same
            raise

    async def forget(self, job: Job) -> None:
        """Drop what was decided: the next job of this name is another one."""
        await self._store.delete_config(_PREFIX + key(job.name))

    async def load(self, job: Job) -> bool:
        """Tell whether the job is to run, after edits of its folder."""
        marker = has_marker(job)
        try:
            known = await self._get(job)
            if known is None:
                return not marker
            now = _after_edits(known, marker=marker, digest=job.bundle.digest)
            if now.marker != marker:
                now = Decision(now.running, _write_marker(job, present=now.marker), now.digest)
            if now != known:
                await self._put(job, now)
        except (UnavailableError, TypeError, ValueError) as error:  # no answer, or not our record
            _log.warning("disable.job decides about job %s: %s", job.name, error)
            return not marker
        return now.running

    async def _get(self, job: Job) -> Decision | None:
        value = await self._store.get_config(_PREFIX + key(job.name))
        return Decision(**json.loads(value.value)) if value else None

    async def _put(self, job: Job, decision: Decision) -> None:
        await self._store.put_config(_PREFIX + key(job.name), json.dumps(asdict(decision)))


def marker_of(job: Job) -> Path:
    """Return the path of disable.job: beside the script, in the folder that people edit."""
    return job.live_folder / Path(job.script).parent / "disable.job"


def has_marker(job: Job) -> bool:
    """Tell whether disable.job is there; a folder that cannot be looked into has none."""
    return os.path.exists(marker_of(job))


def _after_edits(known: Decision, *, marker: bool, digest: str) -> Decision:
    """Return what is decided now that the folder looks like this.

    The file appeared: somebody stopped the job. It went and nothing else changed: somebody started
    it. It went together with other changes: an upload replaced the folder and meant nothing by it.
    """
    if marker == known.marker:
        return Decision(known.running, marker, digest)
    if marker:
        return Decision(running=False, marker=True, digest=digest)
    if digest == known.digest:
        return Decision(running=True, marker=False, digest=digest)
    return Decision(known.running, marker=not known.running, digest=digest)


def _write_marker(job: Job, *, present: bool) -> bool:
    """Bring disable.job in line if the folder allows it; tell whether it is there now."""
    path = marker_of(job)
    try:
        if present:
            path.touch()
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        _log.info("%s stays as it is (%s); the store remembers the decision", path, error)
    return has_marker(job)
