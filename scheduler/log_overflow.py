"""What of a run's output is beyond the limit of its file: the end is kept, the middle counted."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

from scheduler.log_line import Level

#: Of what is beyond the limit, this much of the end is kept: there stands why a run failed.
TAIL_BYTES: Final = 64 * 1024
_LINE_COST: Final = 48  # the head and the end that each line gets in the file


class Rest(NamedTuple):
    """What was beyond the limit: how much was left out, and the end that is kept."""

    lines: int
    size: int
    end: list[tuple[Level, str]]


class Overflow:
    """Lets lines pass until the limit is reached; from then on it holds the newest of them.

    Pure. Sizes are those of the texts with an allowance for the head of each line.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit = limit_bytes
        self._passed = 0
        self._tail: deque[tuple[Level, str, int]] = deque()
        self._held = 0
        self._lost_lines = 0
        self._lost_bytes = 0

    def take(self, level: Level, lines: Sequence[str]) -> Sequence[str]:
        """Return the lines that still fit, the rest is held."""
        if not self._tail:
            total = sum(map(len, lines)) + _LINE_COST * len(lines)
            if self._passed + total <= self.limit:
                self._passed += total
                return lines
        fit = 0
        for line in lines:
            size = len(line) + _LINE_COST
            if self._tail or self._passed + size > self.limit:
                self._hold(level, line, size)
            else:
                self._passed += size
                fit += 1
        return lines[:fit]

    def rest(self) -> Rest:
        """Return what is held, and forget it."""
        rest = Rest(
            self._lost_lines, self._lost_bytes, [(level, line) for level, line, _ in self._tail]
        )
        self._tail.clear()
        self._held = self._lost_lines = self._lost_bytes = 0
        return rest

    def _hold(self, level: Level, line: str, size: int) -> None:
        self._tail.append((level, line, size))
        self._held += size
        while self._held > TAIL_BYTES and len(self._tail) > 1:
            _, gone, gone_size = self._tail.popleft()
            self._held -= gone_size
            self._lost_lines += 1
            self._lost_bytes += len(gone)
