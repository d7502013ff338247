"""From what a worker said, or did not say, to the outcome of an invocation.

This is the hot path: for a call that succeeded one outcome is made and nothing is converted.
"""

from __future__ import annotations

import os
from typing import Any, Final

from sandbox.call import Call
from sandbox.errors import ProtocolBrokenError, SandboxDiedError
from scheduler.deadlines import CallTimedOutError
from scheduler.events import Ending, HttpReply, Outcome

_new: Final = tuple.__new__  # a NamedTuple without its Python-level constructor: for each call
_SUCCEEDED: Final[Ending] = Ending.SUCCEEDED
_WITHOUT_HTTP: Final = (type(None), str, bytes)  # what a function of another trigger returned
_UNREADABLE: Final = "the worker made an unreadable reply"


class Ids:
    """Random 128-bit ids; the system is asked for 256 of them at a time."""

    def __init__(self) -> None:
        self._pool = b""
        self._at = 0

    def __call__(self) -> bytes:
        """Return a fresh id."""
        at = self._at
        if at >= len(self._pool):
            self._pool = os.urandom(16 * 256)
            at = 0
        self._at = at + 16
        return self._pool[at : at + 16]


def outcome_of(reply: tuple[int, int, Any], call: Call) -> Outcome:
    """Return how a call ended that has a reply; its parts come from a worker and are checked."""
    status, exec_us, payload = reply
    exec_s = exec_us / 1e6
    wait_s = call.sent_at - call.queued_at
    if status == 0:
        http = None
        if type(payload) is list:
            http = _http_reply(payload, call)
        if http is None and type(payload) not in _WITHOUT_HTTP:
            return Outcome(Ending.BROKEN, None, _UNREADABLE, "", exec_s, wait_s, call.cold)
        return _new(Outcome, (_SUCCEEDED, http, "", "", exec_s, wait_s, call.cold, ""))
    line, detail = _texts(payload)
    ending = Ending.LOAD_FAILED if status == 2 else Ending.FAILED
    return Outcome(ending, None, line, detail, exec_s, wait_s, call.cold)


def _http_reply(payload: list[Any], call: Call) -> HttpReply | None:
    """Return what an HTTP function answered; its headers are checked where they are written."""
    if len(payload) == 3:
        status, headers, body = payload
        if type(status) is int and type(headers) is list and type(body) is bytes:
            return _new(HttpReply, (status, headers, body))
        room = call.room
        if type(body) is int and room is not None and body == room.size:
            return HttpReply(status, headers, room) if _is_head(status, headers) else None
    return None


def _is_head(status: Any, headers: Any) -> bool:
    return type(status) is int and type(headers) is list


def _texts(payload: Any) -> tuple[str, str]:
    match payload:
        case [str(line), str(detail)]:
            return line, detail
        case _:
            return "the worker reported an unreadable failure", ""


def failure_of(error: Exception, call: Call, now: float) -> Outcome:
    """Return how a call ended that has none; `now` is the loop's time."""
    wait_s = max(call.sent_at - call.queued_at, 0.0)
    exec_s = now - call.sent_at if call.sent_at else 0.0
    match error:
        case CallTimedOutError():
            ending = Ending.TIMED_OUT
        case ProtocolBrokenError():
            ending = Ending.BROKEN
        case SandboxDiedError(starved=True):
            ending = Ending.OUT_OF_MEMORY
        case _:
            ending = Ending.DIED
    return Outcome(ending, None, str(error), "", exec_s, wait_s, call.cold)
