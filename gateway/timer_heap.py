"""Where each timer stands, and which is the next: a table of phases and one heap.

No clock and no task is known here.
"""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from gateway.timer_desk import Timer
    from scheduler.ticks import Plan

_STALE_AT_MOST = 64


class Phase(Enum):
    """Where a timer stands."""

    ARMING = "arming"  # its first plan is being made
    WAITING = "waiting"  # for its plan's time, or for ever
    FIRING = "firing"  # its plan is being carried out
    LEAVING = "leaving"  # removed while it was arming or firing
    GONE = "gone"


#: phase -> phases that may follow. A busy timer that is replaced or removed ends its work first.
TRANSITIONS: dict[Phase, frozenset[Phase]] = {
    Phase.ARMING: frozenset({Phase.ARMING, Phase.WAITING, Phase.LEAVING}),
    Phase.WAITING: frozenset({Phase.ARMING, Phase.FIRING, Phase.GONE}),
    Phase.FIRING: frozenset({Phase.ARMING, Phase.WAITING, Phase.LEAVING}),
    Phase.LEAVING: frozenset({Phase.FIRING, Phase.GONE}),
    Phase.GONE: frozenset(),
}


@dataclass(eq=False)
class Entry:
    """A timer's place among the others.

    Attributes:
        timer: what is armed and fired.
        phase: where it stands.
        plan: what it waits for, or carries out.
        ticket: of the one heap item that counts; 0 if it is not in the heap.
        failures: how often in a row it was tried in vain.
        startup: the next arming is that of a new platform or definition.
        successor: what takes the place once the timer has ended what it is doing.
    """

    timer: Timer
    phase: Phase = Phase.ARMING
    plan: Plan | None = None
    ticket: int = 0
    failures: int = 0
    startup: bool = True
    successor: Timer | None = None

    def to(self, phase: Phase) -> None:
        """Change the phase."""
        assert phase in TRANSITIONS[self.phase], f"{self.timer.id}: {self.phase} -> {phase}"
        self.phase = phase


class TimerHeap:
    """Entries by the time at which each wants to be woken.

    An entry that leaves by another way than `pop` stays inside as a stale item, known by its
    ticket; when these are more than the valid ones the heap is made anew.
    """

    def __init__(self) -> None:
        self._items: list[tuple[datetime, int, Entry]] = []
        self._tickets = itertools.count(1)
        self._valid = 0

    @property
    def first_at(self) -> datetime | None:
        """Return the time of the first entry, None if there is none."""
        items = self._items
        while items and items[0][1] != items[0][2].ticket:
            heapq.heappop(items)
        return items[0][0] if items else None

    def push(self, entry: Entry, at: datetime) -> bool:
        """Put an entry in, and tell whether it is the first now."""
        self.drop(entry)
        entry.ticket = next(self._tickets)
        self._valid += 1
        heapq.heappush(self._items, (at, entry.ticket, entry))
        if len(self._items) > 2 * self._valid + _STALE_AT_MOST:
            self._items = [item for item in self._items if item[1] == item[2].ticket]
            heapq.heapify(self._items)
        return self._items[0][2] is entry

    def drop(self, entry: Entry) -> None:
        """Take an entry out, wherever it is."""
        if entry.ticket:
            self._valid -= 1
            entry.ticket = 0

    def pop(self, now: datetime) -> Entry | None:
        """Take out the first entry if its time has come."""
        at = self.first_at
        if at is None or at > now:
            return None
        entry = heapq.heappop(self._items)[2]
        self.drop(entry)
        return entry
