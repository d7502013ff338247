"""Failures in a row: pauses that grow, and what is told during the long ones."""

from __future__ import annotations

import pytest

from scheduler.attempts import PATIENCE_S, PAUSES_S, Attempts


class Clock:
    """A time that the test moves."""

    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    """Give the clock."""
    return Clock()


def test_nothing_has_failed_yet(clock: Clock) -> None:
    """The first attempt is made at once."""
    attempts = Attempts(clock)
    assert (attempts.pause, attempts.reason, attempts.refusal) == (0.0, "", "")


def test_pauses_grow_to_the_last_and_stay_there(clock: Clock) -> None:
    """Whoever comes in a pause that he would notice is told the latest reason."""
    attempts = Attempts(clock)
    for n in range(1, 9):
        attempts.failed(f"reason {n}")
        pause = PAUSES_S[min(n, len(PAUSES_S) - 1)]
        assert attempts.pause == pytest.approx(pause)
        assert attempts.reason == f"reason {n}"
        assert attempts.refusal == (f"reason {n}" if pause > PATIENCE_S else "")
        clock.time += pause
        assert attempts.pause == 0
        assert attempts.refusal == ""
        assert attempts.reason == f"reason {n}"


def test_a_success_ends_the_pause_but_only_a_proof_ends_the_row(clock: Clock) -> None:
    """What comes and goes at once is as bad as what does not come."""
    attempts = Attempts(clock)
    attempts.failed("a")
    clock.time += 1
    attempts.failed("b")
    attempts.succeeded()
    assert (attempts.pause, attempts.reason) == (0.0, "")
    attempts.failed("c")
    assert attempts.pause == pytest.approx(PAUSES_S[3])
    clock.time += 1
    attempts.proved()
    attempts.failed("d")
    assert attempts.pause == pytest.approx(PAUSES_S[1])


def test_attempts_side_by_side_fail_as_one(clock: Clock) -> None:
    """Sixteen workers that end in one moment do not bring the longest pause."""
    attempts = Attempts(clock)
    for n in range(16):
        attempts.failed(str(n))
    assert attempts.pause == pytest.approx(PAUSES_S[1])
    assert attempts.reason == "15"
