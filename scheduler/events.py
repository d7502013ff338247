"""What reaches a function, and how it ended: frozen values that cross all layers.

An event carries its payload in the shape that the guest reads it (tuples, str, bytes), so that the
hot path packs it without another copy; named tuples, because they are made for each call.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

from sandbox.body import Body

__all__ = ["Body", "DataEvent", "Ending", "Event", "HttpEvent", "HttpReply", "Outcome"]


class HttpEvent(NamedTuple):
    """One HTTP request, as the function will see it.

    `headers` and `query` keep their order and repeats. `url` is absolute, with the query string.
    `body` is the number of its bytes when it goes beside the frame (sandbox/body.py).
    """

    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    query: tuple[tuple[str, str], ...]
    route_params: tuple[tuple[str, str], ...]
    body: bytes | int


class DataEvent(NamedTuple):
    """Any other event: `data` is what the trigger's converter of the guest reads.

    kind is the trigger's type in lower case ("timertrigger", "queuetrigger", "manualtrigger"),
    data_type is the guest's datum type: "json", "string" or "bytes".
    """

    kind: str
    data_type: str
    data: str | bytes
    metadata: tuple[tuple[str, str], ...] = ()


Event = HttpEvent | DataEvent


class Ending(Enum):
    """How an invocation ended. A failure of user code is an outcome, never an exception."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"  # user code raised, or returned what no response can be made from
    LOAD_FAILED = "load_failed"  # the module does not import; told again at each call
    TIMED_OUT = "timed_out"
    OUT_OF_MEMORY = "out_of_memory"  # its sandbox went over its memory limit
    DIED = "died"  # the worker process ended during the call
    BROKEN = "broken"  # the worker broke the channel's rules


class HttpReply(NamedTuple):
    """What an HTTP function answered. Headers are validated by the gateway, not here."""

    status: int
    headers: Sequence[Sequence[str]]
    body: bytes | Body


class Outcome(NamedTuple):
    """The end of one invocation: `reply` on success of an HTTP function, `error` on failure.

    `error` is one line ("ValueError: boom"), `detail` the user's traceback or the exit's facts.
    `exec_s` is measured by the guest around user code; `wait_s` by the host from acceptance to the
    write of the call.
    """

    ending: Ending
    reply: HttpReply | None = None
    error: str = ""
    detail: str = ""
    exec_s: float = 0.0
    wait_s: float = 0.0
    cold: bool = False
    invocation_id: str = ""  # of a call that did not succeed: where to look in the log
