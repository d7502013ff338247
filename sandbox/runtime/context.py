"""What user code receives beside its event: the invocation's context and the output parameters.

Plain classes that answer to the names of `azure.functions`; `adopt()` makes them pass isinstance
checks against the library without inheriting from a copy that the app may have replaced.
"""

from __future__ import annotations

import threading
from typing import Any, Final, NamedTuple

thread_local: Final = threading.local()  # user threads set .invocation_id to keep their log lines


class CallInfo(NamedTuple):
    """What the host says about one call. The worker may pass any tuple of this shape."""

    invocation_id: str
    traceparent: str = ""
    tracestate: str = ""
    retry: tuple[Any, ...] | None = None  # (count, maximum[, message, stack, source])


class TraceContext:
    """W3C trace context of the request that caused the call."""

    __slots__ = ("attributes", "trace_parent", "trace_state")

    def __init__(self, trace_parent: str, trace_state: str) -> None:
        self.trace_parent = trace_parent
        self.trace_state = trace_state
        self.attributes: dict[str, str] = {}

    # The names of the library's first versions; old apps read them.
    @property
    def Traceparent(self) -> str:  # noqa: N802
        """Old name of trace_parent."""
        return self.trace_parent

    @property
    def Tracestate(self) -> str:  # noqa: N802
        """Old name of trace_state."""
        return self.trace_state

    @property
    def Attributes(self) -> dict[str, str]:  # noqa: N802
        """Old name of attributes."""
        return self.attributes


class AttemptError:
    """Why the attempt before this one failed."""

    __slots__ = ("message", "source", "stack_trace")

    def __init__(self, message: str = "", stack_trace: str = "", source: str = "") -> None:
        self.message = message
        self.stack_trace = stack_trace
        self.source = source


class RetryContext:
    """Which attempt of a retried invocation this is; counts from 0."""

    __slots__ = ("exception", "max_retry_count", "retry_count")

    def __init__(self, count: int, maximum: int, *error: str) -> None:
        self.retry_count = count
        self.max_retry_count = maximum
        self.exception = AttemptError(*error) if error else None


class Context:
    """The `context` parameter. Its parts are made when they are first read."""

    __slots__ = ("_info", "function_directory", "function_name")

    def __init__(self, info: tuple[Any, ...], function_name: str, directory: str) -> None:
        self._info = info
        self.function_name = function_name
        self.function_directory = directory

    @property
    def invocation_id(self) -> str:
        """Return the id under which the call and its log lines are known."""
        return self._info[0]  # type: ignore[no-any-return]

    @property
    def trace_context(self) -> TraceContext:
        """Return the trace of the request that caused the call."""
        return TraceContext(self._info[1], self._info[2])

    @property
    def retry_context(self) -> RetryContext | None:
        """Return which attempt this is, None for a call that is never repeated."""
        retry = self._info[3]
        return RetryContext(*retry) if retry else None

    @property
    def thread_local_storage(self) -> threading.local:
        """Return the storage whose `invocation_id` a user's thread sets for its log lines."""
        return thread_local


class Out:
    """An output parameter: holds what user code sets until the call has succeeded."""

    __slots__ = ("_value",)

    def __init__(self) -> None:
        self._value: Any = None

    def set(self, val: Any) -> None:
        """Set the output; None leaves it unwritten."""
        self._value = val

    def get(self) -> Any:
        """Return what has been set so far."""
        return self._value

    def __class_getitem__(cls, _item: Any) -> type[Out]:
        return cls


def adopt(library: Any) -> None:
    """Let our classes count as the library's, if it has such classes (its abstract ones do)."""
    for ours in (Context, Out):
        register = getattr(getattr(library, ours.__name__, None), "register", None)
        if register is not None:
            register(ours)
