"""What both kinds of workers do with a call: read its facts, take its body, pack its reply."""

from __future__ import annotations

import os
from typing import Any

from . import wire
from .lane import Lane

READ = 1 << 16  # below what the C library maps and unmaps at each turn
READ_ON = 1 << 18  # of a frame that has begun
FAILED = 1
_MOST = f"{wire.MAX_ROOM} bytes (64 MiB)"


class Fork:
    """Knows whether this process is a fork that user code has made; asked at each call."""

    def __init__(self) -> None:
        self.is_child = False
        os.register_at_fork(after_in_child=self._forked)

    def _forked(self) -> None:
        self.is_child = True


def info(name: str, trace: list[str] | None) -> tuple[str, str, str, Any]:
    """Return a context.CallInfo."""
    return (name, "", "", None) if trace is None else (name, trace[0], trace[1], None)


def text(call_id: bytes) -> str:
    """Return the id as users know it."""
    h = call_id.hex()
    return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"


def take_body(bodies: Lane, call_id: bytes, event: list[Any]) -> str:
    """Put the body that came beside the frame into its event; return why that cannot be."""
    size = event[-1]
    try:
        event[-1] = bodies.body(call_id, size)
    except (MemoryError, OSError) as error:
        return f"the request body of {size} bytes cannot be read: {error!r}"
    return ""


def reply(call_id: bytes, status: int, spent: int, payload: Any) -> bytes:
    """Return the frame of a reply; a failure if it cannot be sent."""
    body = payload[2] if type(payload) is list and len(payload) == 3 else payload
    if isinstance(body, (bytes, str)) and len(body) > wire.MAX_ROOM:
        reason = f"the reply's body of {len(body)} bytes is over the limit of {_MOST}"
        return wire.encode([wire.REPLY, call_id, FAILED, spent, [reason, ""]])
    try:
        frame = wire.encode([wire.REPLY, call_id, status, spent, payload])
    except Exception as error:  # the boundary to user code: what it returned
        reason = f"the reply cannot be sent: {error!r}"
        return wire.encode([wire.REPLY, call_id, FAILED, spent, [reason, ""]])
    if len(frame) - 4 > wire.MAX_GUEST_FRAME:
        reason = f"the reply of {len(frame)} bytes with its headers is over the limit of {_MOST}"
        return wire.encode([wire.REPLY, call_id, FAILED, spent, [reason, ""]])
    return frame
