"""The large bodies that one worker has on loan: of requests, and room for those of replies.

Each is lent once a call and is the worker's memory, but not its size (sandbox/body.py). Knows the
lane, and of the calls no more than which of them has what.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from typing import Any

from sandbox.body import Body
from sandbox.call import Call
from sandbox.lane import Lane
from sandbox.runtime import wire

_MAX = 64  # with so many bodies lent to it, a worker gets no further call


class NotTakenError(Exception):
    """The worker does not take what it is lent: it must be ended."""


class LentBodies:
    """What is lent to one worker."""

    __slots__ = ("_lane",)

    def __init__(self, lane: Lane) -> None:
        self._lane = lane

    def lend(self, call: Call, body: Body) -> None:
        """Lend the body of a call's request: it is there before the frame is.

        Raises:
            NotTakenError: see there.
        """
        self._hand(wire.BODY, call, body)

    def room(self, call: Call, size: Any) -> str:
        """Lend room for the body of a call's reply; return what is wrong with the wish.

        Raises:
            NotTakenError: see there.
        """
        if call.room is not None:
            return "a wish for room that no call of it has"
        if type(size) is not int or not wire.APART <= size <= wire.MAX_ROOM:
            return "a wish for room of an unreadable size"
        with contextlib.suppress(OSError):  # no descriptor is left: it comes in the frame
            call.room = Body.room(size)
        self._hand(wire.ROOM, call, call.room)
        return ""

    @staticmethod
    def are_many(calls: Collection[Call]) -> bool:
        """Tell whether a worker with these calls must not get another one."""
        return sum(1 for call in calls if call.body is not None) >= _MAX

    def close(self) -> None:
        """Lend nothing any more."""
        self._lane.close()

    def _hand(self, kind: int, call: Call, body: Body | None) -> None:
        try:
            self._lane.hand(kind, call.id, body)
        except (BrokenPipeError, ConnectionError):
            pass  # it has just ended: its channel tells
        except OSError as error:
            raise NotTakenError from error
