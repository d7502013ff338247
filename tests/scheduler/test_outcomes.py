"""What a worker said becomes an outcome; what it cannot have meant is its fault, not a success."""

from __future__ import annotations

from typing import Any

import pytest

from sandbox.call import Call, Result
from scheduler.events import Ending
from scheduler.outcomes import outcome_of


class ACall(Call):
    """A call whose end nobody awaits."""

    def ended(self, result: Result) -> None:
        raise NotImplementedError


def a_call() -> Call:
    """Return a call that was sent."""
    return ACall(b"i" * 16, b"", 0.0)


@pytest.mark.parametrize("payload", [None, "text", b"bytes"])
def test_a_function_without_http_may_return_what_it_likes(payload: object) -> None:
    """Nobody reads it, so nothing is wrong with it."""
    outcome = outcome_of((0, 5, payload), a_call())
    assert (outcome.ending, outcome.reply) == (Ending.SUCCEEDED, None)


@pytest.mark.parametrize(
    "payload",
    [[], [200], [200, []], ["200", [], b""], [200, [], "text"], [200, [], 70], {}, 7, True],
)
def test_an_unreadable_reply_is_a_fault_of_the_worker(payload: Any) -> None:
    """Never a success without a body, which a client would take for an answer."""
    outcome = outcome_of((0, 5_000_000, payload), a_call())
    assert (outcome.ending, outcome.reply) == (Ending.BROKEN, None)
    assert outcome.error == "the worker made an unreadable reply"
    assert outcome.exec_s == 5.0
