"""File descriptors: how many there are, and how many of them connections may take.

A connection costs one, and so does each channel to a worker, each log and each file. Running out
of them stops everything at once, so that the listeners' share is bounded beforehand.
"""

from __future__ import annotations

import logging
import resource

_log = logging.getLogger("taak.gateway")
#: More than any machine needs, and as many as Linux allows by default (fs.nr_open): an endless
#: limit, as containers set it, would make programs that close all descriptors run for minutes.
_ENOUGH = 1 << 20
_KEPT_MOST = 4096
_KEPT_LEAST = 256


def raise_limit() -> int:
    """Raise the soft limit of open descriptors to the hard one; return what it is now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _ENOUGH if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return _ENOUGH if soft == resource.RLIM_INFINITY else soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):
        return soft  # a sandbox around us forbids it
    return wanted


def kept_back(limit: int) -> int:
    """Return how many of so many descriptors are not for connections.

    A quarter, for workers, logs and the store; half of very few.
    """
    return min(_KEPT_MOST, max(limit // 4, min(_KEPT_LEAST, limit // 2)))


def share(limit: int, data: int, management: int) -> tuple[int, int]:
    """Return how many connections the two listeners may have of so many descriptors.

    What was asked for if there is room, else in the same proportion, at least one each.
    """
    room = limit - kept_back(limit)
    wanted = data + management
    if wanted <= room:
        return data, management
    given = max(1, room * management // wanted)
    _log.warning(
        "%d connections (--max-connections and --max-management-connections) do not fit into %d"
        " file descriptors: the limits are %d and %d; raise them with `ulimit -n`, or with"
        " LimitNOFILE= of the systemd unit",
        wanted, limit, max(1, room - given), given,
    )  # fmt: skip
    return max(1, room - given), given
