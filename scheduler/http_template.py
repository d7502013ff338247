"""What the calls of requests with one head have in common, packed once for all their frames.

Clients that keep a connection send the same head again and again [hot path]: of a further call only
the id and the body are new.
"""

from __future__ import annotations

from sandbox.call import CallTemplate
from scheduler.events import HttpEvent


class HttpTemplate(CallTemplate):
    """`event` has no body yet; `trace` is (traceparent, tracestate), if the caller sent one."""

    __slots__ = ("event", "trace")

    def __init__(self, event: HttpEvent, trace: tuple[str, str] | None) -> None:
        super().__init__(event, trace)
        self.event = event
        self.trace = trace
