"""How many frames a synchronous worker may hold, by the function's recent mean time.

Frames that leave in one write save two wake-ups a call, which is the largest lever of the dispatch
path; frames behind a slow call wait for it, which is why only functions under about 1 ms prefetch.
"""

from __future__ import annotations

_FAST_US, _QUICK_US = 100.0, 1000.0
_HELD_US = 4000.0  # the work that one worker may hold: what a call behind the others waits at most
_MAX_DEPTH = 128
_WEIGHT = 0.125  # of the newest sample


class Prefetch:
    """A running mean and the depth that follows from it. Unknown counts as slow."""

    __slots__ = ("depth", "mean_us", "spread")

    def __init__(self) -> None:
        self.mean_us = _QUICK_US
        self.depth = 1
        self.spread = True  # prefer an idle worker over a second frame

    def learn(self, exec_us: int) -> None:
        """Take one more sample."""
        mean = self.mean_us + (max(exec_us, 1) - self.mean_us) * _WEIGHT
        self.mean_us = mean
        self.spread = mean >= _FAST_US
        self.depth = min(int(_HELD_US / mean), _MAX_DEPTH) if mean < _QUICK_US else 1

    def fix(self, depth: int) -> None:
        """Hold a depth that does not depend on time: coroutine workers take calls side by side."""
        self.depth, self.spread = depth, True
