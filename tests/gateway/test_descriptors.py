"""The listeners' share of the file descriptors."""

from __future__ import annotations

import logging

import pytest

from gateway.descriptors import kept_back, share


@pytest.mark.parametrize(
    ("limit", "kept"),
    [(1 << 20, 4096), (20_000, 4096), (4096, 1024), (1024, 256), (600, 256), (256, 128), (10, 5)],
)
def test_what_is_kept_for_other_things(limit: int, kept: int) -> None:
    """A quarter, at least 256 if that leaves half, at most 4096."""
    assert kept_back(limit) == kept


def test_enough_for_all(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody hears of descriptors where there are enough."""
    assert share(20_000, 10_000, 1000) == (10_000, 1000)
    assert caplog.records == []


def test_too_few(caplog: pytest.LogCaptureFixture) -> None:
    """Both get less, in proportion, and the log says what to do."""
    caplog.set_level(logging.WARNING)
    data, management = share(1024, 10_000, 1000)
    assert (data, management) == (699, 69)
    assert data + management + kept_back(1024) <= 1024
    assert "ulimit -n" in caplog.text


@pytest.mark.parametrize("limit", [2, 3, 8, 100])
def test_hardly_any(limit: int) -> None:
    """Each listener can still be reached."""
    assert min(share(limit, 10_000, 1000)) >= 1
