"""Which old releases stay: those in use, the newest few for a rollback, and all for a while."""

from __future__ import annotations

import asyncio
import logging
import math
import shutil
from pathlib import Path

from scheduler.clock import Clock
from scheduler.functions import AppDefinition
from scheduler.releases import Releases

_log = logging.getLogger("taak.releases")

#: Releases that stay for a rollback; they share the files that they have in common.
KEPT_RELEASES = 20
#: So many stay when the disk has less room than this.
KEPT_WHEN_FULL = 5
ROOM_BYTES = 2 * 1024 * 1024 * 1024
#: A release that nothing refers to any more stays so long: its old workers may still answer.
GRACE_S = 3600.0


class Retention:
    """Remembers when something referred to a release last."""

    def __init__(self, releases: Releases, clock: Clock) -> None:
        self._releases = releases
        self._clock = clock
        self._used: dict[str, float] = {}  # in the order of last use

    async def open(self) -> None:
        """Take over the releases of an earlier process; nothing of it runs any more."""
        names = await asyncio.to_thread(self._releases.open)
        self._used = dict.fromkeys(names, -math.inf)

    async def collect(self, definition: AppDefinition) -> None:
        """Note what the definition that serves now refers to, and remove what may go."""
        now = self._clock.monotonic()
        roots = {function.bundle.root for function in definition.functions}
        roots |= {job.bundle.root for job in definition.jobs}
        bundles = {root.name for root in roots}
        for digest in (*sorted(bundles - {definition.digest}), definition.digest):
            self._used.pop(digest, None)
            self._used[digest] = now
        recent = {digest for digest, at in self._used.items() if now - at < GRACE_S}
        kept = await asyncio.to_thread(_how_many, self._releases.folder)
        keep = recent | set(list(self._used)[-kept:])
        try:
            removed = await asyncio.to_thread(self._releases.collect, keep)
        except OSError as error:
            _log.warning("old releases are not removed: %s", error)
            return
        for digest in removed:
            self._used.pop(digest, None)


def _how_many(folder: Path) -> int:
    """Return how many releases the disk has room for."""
    try:
        return KEPT_RELEASES if shutil.disk_usage(folder).free >= ROOM_BYTES else KEPT_WHEN_FULL
    except OSError:
        return KEPT_WHEN_FULL
