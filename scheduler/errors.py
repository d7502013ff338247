"""Failures by cause: the caller's, the user code's, the worker's, an overload, or a bad manifest.

Each docstring says who raises it and who turns it into an answer. The HTTP mapping stands in one
place, `gateway/errors.py`.
"""


class SchedulerError(Exception):
    """Base of every failure that the scheduler raises on purpose."""


class NotFoundError(SchedulerError):
    """The caller named a function, job, run or deployment that does not exist.

    `hint` says where to look for those that do, if the place is not obvious.
    """

    def __init__(self, message: str = "", *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class DisabledError(SchedulerError):
    """The function or job is switched off; the message says by what and how to switch it on."""


class ConflictError(SchedulerError):
    """The thing is in a state that does not allow the request (a run is already active)."""


class BusyError(SchedulerError):
    """A queue bound is reached: raised at the door, before any work. Answered with 429."""

    def __init__(self, message: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class UnavailableError(SchedulerError):
    """The platform cannot take the work now (starting, draining, store error). Answered 503."""

    def __init__(self, message: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class UnreachableError(UnavailableError):
    """Nothing answers at a port of a job; `refused`: it runs, but does not listen (yet)."""

    def __init__(self, message: str, *, refused: bool = False) -> None:
        super().__init__(message)
        self.refused = refused


class BadRequestError(SchedulerError):
    """The caller's input is wrong; the message names the field, the limit and the fix."""
