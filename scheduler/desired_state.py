"""Whether a continuous job is to run: what its operator decided last, over restarts (promise D6).

Kudu keeps this in the file disable.job beside the script, and people edit that file; it is written
as well and its edits are heeded. But the folder may be read-only, an upload replaces it, and every
instance may have one of its own. So the store holds the truth, together with what each instance saw
in its folder when it followed that truth: only what changes there later is somebody's order.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from scheduler.errors import ConflictError, UnavailableError
from scheduler.functions import Job, key
from scheduler.store.port import Store

_log = logging.getLogger("taak.jobs")

PREFIX = "job/continuous/"
_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Seen:
    """A folder as an instance left it: disable.job there or not, and which files."""

    marker: bool
    digest: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided, and what each instance saw since. One that saw nothing has to follow."""

    running: bool
    seen: Mapping[str, Seen] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return the text that the store keeps."""
        seen = {name: [at.marker, at.digest] for name, at in self.seen.items()}
        return json.dumps({"running": self.running, "seen": seen})

    @classmethod
    def from_json(cls, text: str, instance: str) -> Decision:
        """Read the store's text; ValueError, KeyError or TypeError if it is not ours."""
        value: dict[str, Any] = json.loads(text)
        if "seen" not in value:  # of a version that knew one instance
            return cls(value["running"], {instance: Seen(value["marker"], value["digest"])})
        return cls(value["running"], {name: Seen(*at) for name, at in value["seen"].items()})


class DesiredState:
    """Reads and writes decisions, for one instance."""

    def __init__(self, store: Store, instance: str) -> None:
        self._store = store
        self._instance = instance

    async def set(self, job: Job, *, running: bool) -> None:
        """Decide; it is durable on return, and disable.job says the same where it can."""
        before = has_marker(job)
        marker = _write_marker(job, present=not running)
        seen = {self._instance: Seen(marker, job.bundle.digest)}
        try:
            await self._store.put_config(PREFIX + key(job.name), Decision(running, seen).to_json())
        except UnavailableError:
            _write_marker(job, present=before)  # what was refused must not happen all the same
            raise

    async def forget(self, job: Job) -> None:
        """Drop what was decided: the next job of this name is another one."""
        await self._store.delete_config(PREFIX + key(job.name))

    async def revisions(self) -> dict[str, int]:
        """Return a number for each job about which something is decided; it grows with changes."""
        found = await self._store.list_config(PREFIX)
        return {name.removeprefix(PREFIX): value.rev for name, value in found.items()}

    async def load(self, job: Job) -> bool:
        """Tell whether the job is to run, after edits of its folder here."""
        for _ in range(_ATTEMPTS):
            try:
                return await self._load(job)
            except ConflictError:
                continue  # another instance wrote at the same moment
            except (UnavailableError, AttributeError, KeyError, TypeError, ValueError) as error:
                _log.warning("disable.job decides about job %s: %s", job.name, error)
                break
        return not has_marker(job)

    async def _load(self, job: Job) -> bool:
        place = PREFIX + key(job.name)
        marker = has_marker(job)
        value = await self._store.get_config(place)
        if value is None:
            return not marker
        known = Decision.from_json(value.value, self._instance)
        now = self._after_edits(known, job, Seen(marker, job.bundle.digest))
        if now != known:
            await self._store.put_config(place, now.to_json(), value.rev)
        return now.running

    def _after_edits(self, known: Decision, job: Job, found: Seen) -> Decision:
        """Return what is decided now that the folder looks like this.

        The file appeared: somebody stopped the job. It went and nothing else changed: somebody
        started it. It went together with other changes: an upload replaced the folder and meant
        nothing by it.
        """
        before = known.seen.get(self._instance)
        if before is not None and found.marker != before.marker:
            if found.marker:
                return Decision(running=False, seen={self._instance: found})
            if found.digest == before.digest:
                return Decision(running=True, seen={self._instance: found})
        if before is None or found.marker != before.marker:  # bring the file in line
            found = replace(found, marker=_write_marker(job, present=not known.running))
        return replace(known, seen={**known.seen, self._instance: found})


def marker_of(job: Job) -> Path:
    """Return the path of disable.job: beside the script, in the folder that people edit."""
    return job.live_folder / Path(job.script).parent / "disable.job"


def has_marker(job: Job) -> bool:
    """Tell whether disable.job is there; a folder that cannot be looked into has none."""
    return os.path.exists(marker_of(job))


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
