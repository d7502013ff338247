"""When a raw line without an end is over, looked at by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sandbox.output import Stream
from sandbox.raw_output import RawOutput


class Bench:
    """A worker and a drain in one, and a moment that passes when the test says so."""

    def __init__(self) -> None:
        self.running = b""
        self.told: list[bytes | str] = []
        self.later: Any = self._later
        self._looks: list[Callable[[], None]] = []
        self.raw = RawOutput(self, Stream.STDOUT, self)  # type: ignore[arg-type]

    def wrote(self, _stream: Stream, data: bytes) -> None:
        self.told.append(data)

    def line_over(self, _stream: Stream) -> None:
        self.told.append("over")

    def moment(self) -> int:
        """Let a moment pass; return how many looks were due."""
        looks, self._looks = self._looks, []
        for look in looks:
            look()
        return len(looks)

    def _later(self, action: Callable[[], None]) -> None:
        self._looks.append(action)


def test_whole_lines_cost_no_look() -> None:
    """The usual case: nothing is open."""
    bench = Bench()
    bench.raw.read(b"one\ntwo\n")
    assert bench.moment() == 0
    assert bench.told == [b"one\ntwo\n"]


def test_a_line_is_open_as_long_as_its_call_runs() -> None:
    """It is over a moment after the call, even if another has begun since."""
    bench = Bench()
    bench.running = b"first"
    bench.raw.read(b"beg")
    for _ in range(5):
        assert bench.moment() == 1
    assert bench.told == [b"beg"]
    bench.running = b"second"
    assert bench.moment() == 1
    assert bench.told == [b"beg", "over"]
    assert bench.moment() == 0


def test_one_look_at_a_time_however_much_is_written() -> None:
    """A program that writes dots all the time is looked at no more often than another."""
    bench = Bench()
    bench.running = b"first"
    for _ in range(50):
        bench.raw.read(b".")
    assert bench.moment() == 1
    assert bench.moment() == 1


def test_what_is_written_outside_of_a_call_is_over_after_a_rest() -> None:
    """Not while more of it comes."""
    bench = Bench()
    for _ in range(3):
        bench.raw.read(b".")
        bench.moment()
    assert bench.told == [b"."] * 3
    bench.moment()
    assert bench.told[3:] == ["over"]


def test_the_end_of_the_stream_ends_the_line() -> None:
    """The worker and all that it started have closed it."""
    bench = Bench()
    bench.running = b"first"
    bench.raw.read(b"last words")
    bench.raw.ended()
    assert bench.told == [b"last words", "over"]
