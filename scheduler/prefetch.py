"""How many frames a synchronous worker may hold, by the function's recent mean time.

Frames that leave in one write save two wake-ups a call, which is the largest lever of the dispatch
path; frames behind a slow call wait for it, which is why only functions under about 1 ms prefetch.
"""

from __future__ import annotations

_FAST_US, _QUICK_US = 100.0, 1000.0
_HELD_US = 4000.0  # the work that one worker may hold: what a call behind the others waits at most
_SAMPLES = 16  # of which the mean is taken at a time
_OLD = 0.5  # weight of what was known before


class Prefetch:
    """A running mean and the depth that follows from it. Unknown counts as slow.

    `ahead` bounds how many frames may wait behind the one that runs.
    """

    __slots__ = ("_count", "_sum_us", "ahead", "depth", "mean_us", "spread")

    def __init__(self, ahead: int) -> None:
        self.ahead = ahead
        self.mean_us = _QUICK_US
        self.depth = 1
        self.spread = True  # prefer an idle worker over a second frame
        self._count = 0
        self._sum_us = 0

    def learn(self, exec_us: int) -> bool:
        """Take one more sample; tell whether the mean was taken anew.

        A slow one counts at once: nobody shall wait behind the next.
        """
        self._sum_us += exec_us
        self._count += 1
        if self._count < _SAMPLES and exec_us <= _QUICK_US:
            return False
        self._settle()
        return True

    def fix(self, depth: int) -> None:
        """Hold a depth that does not depend on time: coroutine workers take calls side by side."""
        self.depth, self.spread = depth, True

    def _settle(self) -> None:
        fresh = max(self._sum_us / self._count, 1.0)
        self.mean_us = mean = self.mean_us * _OLD + fresh * (1 - _OLD)
        self._sum_us = self._count = 0
        self.spread = mean >= _FAST_US
        self.depth = min(int(_HELD_US / mean), 1 + self.ahead) if mean < _QUICK_US else 1
