"""How many frames one worker may hold."""

from __future__ import annotations

import pytest

from scheduler.functions import Limits
from scheduler.prefetch import Prefetch

AHEAD = Limits().prefetch


def learned(*samples: int) -> Prefetch:
    """Return what follows from these samples."""
    prefetch = Prefetch(AHEAD)
    for sample in samples:
        prefetch.learn(sample)
    return prefetch


def test_the_unknown_counts_as_slow() -> None:
    """Nobody waits behind the first calls of a function."""
    assert (learned().depth, learned().spread) == (1, True)
    assert learned(20, 20, 20).depth == 1


@pytest.mark.parametrize(
    ("exec_us", "depth", "spread"),
    [(1, 128, False), (41, 97, False), (150, 26, True), (700, 5, True), (1500, 1, True)],
)
def test_a_steady_function_gets_its_depth(exec_us: int, depth: int, spread: bool) -> None:
    """As many as make 4 ms of work, at most 128; below 0.1 ms a second frame beats a wake-up."""
    prefetch = learned(*[exec_us] * 500)
    assert (prefetch.depth, prefetch.spread) == (depth, spread)


def test_a_fast_function_is_known_within_a_hundred_calls() -> None:
    """The lever must not wait for long."""
    assert learned(*[20] * 100).depth >= 64


@pytest.mark.parametrize("exec_us", [0, 1, 7, 33, 99, 100, 101, 250, 999, 1000, 1001, 50_000])
def test_a_call_never_waits_longer_than_the_bound(exec_us: int) -> None:
    """Depth times mean stays within 4 ms all the way, unless it is a single frame."""
    prefetch = Prefetch(AHEAD)
    for _ in range(300):
        prefetch.learn(exec_us)
        assert prefetch.depth == 1 or prefetch.depth * prefetch.mean_us <= 4000
        assert prefetch.depth >= 1


@pytest.mark.parametrize("phase", range(17))
def test_one_very_slow_call_ends_the_prefetch_at_once(phase: int) -> None:
    """A function that blocks for 0.1 s must not do so again with others behind it."""
    fast = [20] * (500 + phase)
    assert learned(*fast).depth == 128
    assert learned(*fast, 100_000).depth == 1
    assert learned(*fast, 100_000, *fast).depth == 128


def test_a_call_of_a_millisecond_is_not_slow_yet() -> None:
    """It is averaged with the others of its batch; a longer one is looked at when it ends."""
    fast = [20] * 512
    assert learned(*fast, 1000).depth == 128
    assert learned(*fast, 1001).depth == 7


def test_a_fixed_depth_prefers_idle_workers() -> None:
    """For coroutine workers, whose calls go side by side."""
    prefetch = learned(*[20] * 500)
    prefetch.fix(64)
    assert (prefetch.depth, prefetch.spread) == (64, True)


def test_who_wants_one_at_a_time_gets_that() -> None:
    """Prefetch 0: however fast the function is, no call waits inside its worker."""
    prefetch = Prefetch(0)
    for _ in range(500):
        prefetch.learn(1)
    assert prefetch.depth == 1
