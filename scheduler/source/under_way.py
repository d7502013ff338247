"""A delivery that has not ended: who brings it, how far it is, and how it is given up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from scheduler.source.delivery_log import DeliveryLog
from scheduler.source.record import DeliveryRecord, SourceKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """Who brings what."""

    kind: SourceKind
    reason: str
    author: str = ""
    author_email: str = ""
    deployer: str = ""
    message: str = ""
    commit: str = ""
    received_at: datetime | None = None


class UnderWay:
    """A delivery that has not ended.

    Attributes:
        record: as it is now.
        log: what it says.
    """

    def __init__(self, record: DeliveryRecord, reason: str, log: DeliveryLog) -> None:
        self.record = record
        self.reason = reason
        self.log = log
        self._scope: asyncio.Timeout | None = None
        self._unwanted = False

    def give_up(self) -> None:
        """End it, unless its files are about to be written: then it ends as it ends."""
        self._unwanted = True
        if self._scope is not None and not self._scope.expired():
            self._scope.reschedule(asyncio.get_running_loop().time())

    async def unless_given_up(self, work: Awaitable[Path]) -> Path:
        """Return what the work returns; TimeoutError if it is given up."""
        try:
            async with asyncio.timeout(None) as self._scope:
                if self._unwanted:
                    self.give_up()
                return await work
        finally:
            self._scope = None
