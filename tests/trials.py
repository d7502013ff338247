"""How many examples a property test tries: all of them, and few where the pure tier runs alone."""

from __future__ import annotations

from hypothesis import settings

_SHARE = 8


class Trials:
    """Set by conftest.py, before a test module is read."""

    few = False


def trials(count: int) -> settings:
    """Return the settings of a test that tries so many examples, if there is time."""
    return settings(max_examples=max(1, count // _SHARE) if Trials.few else count, deadline=None)
