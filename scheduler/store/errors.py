"""How a store refuses. Imported from `port.py`; here so that the adapters' parts can raise them."""

from __future__ import annotations

from scheduler.errors import BusyError, ConflictError, UnavailableError


class Conflict(ConflictError):  # noqa: N818 - the port's word
    """The row is in a state, or at a revision, that does not allow the change. Nothing changed."""


class Lost(ConflictError):  # noqa: N818 - the port's word
    """The token is not the current one: the lease has gone to somebody else. Nothing changed."""


class QueueFull(BusyError):  # noqa: N818 - the port's word
    """The function's queue holds as much as it may. Nothing was taken."""


class Unavailable(UnavailableError):  # noqa: N818 - the port's word
    """The engine failed (disk full, I/O error, closed). What was not acknowledged may be gone.

    The next call tries again: the store recovers without a restart.
    """
