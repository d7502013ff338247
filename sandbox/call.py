"""One call on its way to a worker: the frame, where it stands in the line, and what ends it.

Knows nothing of functions or HTTP: what is done with the result is for the subclass to say.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from sandbox.body import Body
from sandbox.runtime import wire

#: What ends a call: (status, exec_us, payload) of the guest, or why there is none.
Result = tuple[int, int, Any] | Exception


class Call(ABC):
    """One frame that waits for its reply, and what is to be done with it.

    An answer that comes after the first is dropped: a call over time is answered before its worker
    ends. `body` is what goes beside the frame, ours until the call has ended, whichever worker has
    it; `room` is where a worker has laid the body of its reply.
    """

    __slots__ = (
        "answered", "attempts", "body", "cold", "frame", "id", "number", "queued_at", "room",
        "sent_at",
    )  # fmt: skip

    def __init__(self, call_id: bytes, frame: bytes, now: float) -> None:
        self.id = call_id
        self.frame = frame
        self.queued_at = now
        self.sent_at = 0.0
        self.number = 0  # among the frames of its worker
        self.attempts = 0
        self.answered = False
        self.cold = False
        self.body: Body | None = None
        self.room: Body | None = None

    def answer(self, result: Result) -> None:
        """End the call, once."""
        if not self.answered:
            self.answered = True
            self.ended(result)
            if self.body is not None:
                self.body.close()

    @abstractmethod
    def ended(self, result: Result) -> None:
        """Take the result; called once."""


def encode_call(call_id: bytes, event: tuple[Any, ...], trace: tuple[str, str] | None) -> bytes:
    """Return the frame of one call: its event as the guest reads it, and its trace context."""
    return CallTemplate(event, trace).frame(call_id, event[-1])


class CallTemplate:
    """What the frames of calls have in common that differ in the last value of their event."""

    __slots__ = ("_end", "_start")

    def __init__(self, event: tuple[Any, ...], trace: tuple[str, str] | None) -> None:
        self._start = wire.event_start(event)
        self._end = wire.pack(trace)

    def frame(self, call_id: bytes, last: Any) -> bytes:
        """Return the frame of one call."""
        return wire.encode_call(call_id, self._start, last, self._end)
