"""Calls that come before the platform is ready."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from gateway import opening as opening_module
from gateway.opening import Opening


async def test_the_end_calls_everybody_once_in_order() -> None:
    """Who came first is served first; nobody is called again by his own time."""
    opening, called = Opening(wait_s=0.01), list[int]()
    for number in range(3):
        opening.wait(partial(called.append, number))
    assert not opening.over
    opening.end()
    assert opening.over
    assert called == [0, 1, 2]
    opening.end()
    await asyncio.sleep(0.02)
    assert called == [0, 1, 2]


async def test_nobody_waits_longer_than_that() -> None:
    """A start that hangs is told to those who wait for it."""
    opening, called = Opening(wait_s=0), asyncio.Event()
    opening.wait(called.set)
    await asyncio.wait_for(called.wait(), 5)
    assert not opening.over
    opening.end()


async def test_it_is_crowded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only so many may wait; who comes then is told at once."""
    monkeypatch.setattr(opening_module, "_MAX_WAITING", 2)
    opening, called = Opening(), list[int]()
    for number in range(3):
        opening.wait(partial(called.append, number))
    assert called == [2]
    opening.end()
    assert called == [2, 0, 1]


async def test_a_call_that_waits_may_bring_others() -> None:
    """A callback may do anything, also wait again."""
    opening, called = Opening(), list[str]()
    opening.wait(lambda: opening.wait(lambda: called.append("late")))
    opening.end()
    opening.end()
    assert called == ["late"]
