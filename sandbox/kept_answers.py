"""Answers that a worker has made but not sent: found in the page, and met again on the channel.

When the worker has died, or is stuck in a slow call, the host takes them from the page that both
share (sandbox/progress.py). The same answers may come over the channel as well, and are dropped
there once each.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sandbox.progress import Progress
from sandbox.runtime import wire

#: What a worker says of its time is added up and stored.
MAX_EXEC_US = 1 << 50


class KeptAnswers:
    """What one worker keeps, and what was taken of it."""

    __slots__ = ("_page", "_taken")

    def __init__(self, page: Progress) -> None:
        self._page = page
        self._taken: set[bytes] = set()

    def take(self) -> Iterator[tuple[bytes, int, int, Any]]:
        """Yield (call, status, exec_us, payload) of what is there; nothing if it is unreadable."""
        try:
            messages = wire.Decoder(wire.MAX_GUEST_FRAME, hostile=True).feed(self._page.kept())
        except wire.WireError:
            return
        for message in messages:
            match message:
                case [wire.REPLY, bytes(call_id), int(status), int(exec_us), payload] if (
                    0 <= exec_us <= MAX_EXEC_US
                ):
                    yield call_id, status, exec_us, payload

    def note(self, call_id: bytes) -> None:
        """Note that a call has its answer from the page."""
        self._taken.add(call_id)

    def met(self, call_id: bytes) -> bool:
        """Tell whether an answer that came over the channel was taken before; once for each."""
        if call_id not in self._taken:
            return False
        self._taken.remove(call_id)
        return True
