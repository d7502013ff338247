"""Who gets the seat beside the platform: the worker of a quick function whose requests come alone.

Many calls at once share their wake-ups, and then two processors do more than one; a slow function
gains nothing. So the seat is for workers of functions that prefetch, as long as few calls are in
flight. Asked now and then, from what replies tell; an idle holder keeps the seat until another one
comes.
"""

from __future__ import annotations

from sandbox.seat import Seat
from sandbox.worker import Worker

_EVERY_S = 0.05
_IDLE_S = 1.0  # after which another worker may have the seat
_FEW = 24.0  # calls in flight, in the mean
_OLD = 0.75  # weight of what was known before


class Seating:
    """Decides for one seat."""

    def __init__(self, seat: Seat) -> None:
        self._seat = seat
        self._holder: Worker | None = None
        self._in_flight = 0.0
        self._looked_at = 0.0

    def look(self, worker: Worker, now: float, *, quick: bool) -> None:
        """Look at a worker that has just answered."""
        if worker is self._holder:
            self._in_flight = self._in_flight * _OLD + len(worker.in_flight) * (1 - _OLD)
            if not quick or self._in_flight > _FEW:
                self._give_up()
            elif now - self._looked_at >= _EVERY_S:
                self._take(worker, now)
        elif quick and len(worker.in_flight) <= _FEW and now - self._looked_at >= _IDLE_S:
            self._give_up()
            self._in_flight = float(len(worker.in_flight))
            self._take(worker, now)

    def gone(self, worker: Worker) -> None:
        """Forget a worker that has ended."""
        if worker is self._holder:
            self._seat.free()
            self._holder = None

    def _take(self, worker: Worker, now: float) -> None:
        self._looked_at = now
        self._holder = worker if self._seat.take(worker.pid) else None

    def _give_up(self) -> None:
        if self._holder is not None:
            self._seat.leave(self._holder.pid)
            self._holder = None
