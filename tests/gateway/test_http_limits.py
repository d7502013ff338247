"""The limits of time, to the moment; each refusal says what, how much and how to change it."""

from __future__ import annotations

import pytest

from gateway.http_limits import HttpLimits

LIMITS = HttpLimits(head_s=10, body_s=30)


@pytest.mark.parametrize(("waited", "late"), [(0, False), (10, False), (10.01, True)])
def test_a_head(waited: float, late: bool) -> None:
    """It has its whole time and no more."""
    assert (LIMITS.late_head(waited) is not None) is late


@pytest.mark.parametrize(
    ("silent", "elapsed", "size", "late"),
    [
        (0, 1, 0, False),
        (30, 30, 0, False),
        (30.01, 31, 1 << 20, True),  # stopped, however fast it was
        (0, 30, 1, False),  # the grace
        (0, 31, 31 * 1024, False),
        (0, 31, 31 * 1024 - 1, True),
        (29, 3000, 3000, True),  # one byte at a time
        (29, 3000, 3000 * 1024, False),
    ],
)
def test_a_body(silent: float, elapsed: float, size: int, late: bool) -> None:
    """A pause is bounded, and after as long a time the average is as well."""
    assert (LIMITS.late_body(silent, elapsed, size) is not None) is late


def test_every_refusal_tells_its_limit() -> None:
    """Status, the limit's name and value, and how it is changed, or that it is not."""
    head, pause = LIMITS.late_head(11), LIMITS.late_body(31, 31, 0)
    crawl = LIMITS.late_body(0, 31, 0)
    assert head
    assert pause
    assert crawl
    told = [
        (LIMITS.long_line(), 414, "8192 bytes", "fixed"),
        (LIMITS.long_header(), 431, "8192 bytes", "fixed"),
        (LIMITS.long_head(), 431, "32768 bytes", "fixed"),
        (LIMITS.many_headers(), 431, "128", "fixed"),
        (head, 408, "10 s", "--header-timeout-s"),
        (pause, 408, "30 s", "--body-timeout-s"),
        (crawl, 408, "1024 bytes a second", "fixed"),
    ]
    for refusal, status, value, how in told:
        assert refusal.status == status
        assert value in refusal.text
        assert how in refusal.text
