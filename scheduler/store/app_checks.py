"""Compare-and-set, as every adapter refuses it."""

from __future__ import annotations

from scheduler.store.errors import Conflict


def check_rev(key: str, rev: int, expected: int | None) -> None:
    """Refuse a change that was made on an old revision."""
    if expected is not None and expected != rev:
        raise Conflict(f"setting {key!r} is at revision {rev}, not {expected}: read it again")


def check_generation(generation: int, expected: int) -> None:
    """Refuse a deployment that somebody has overtaken."""
    if generation != expected:
        raise Conflict(f"the current generation is {generation}, not {expected}: deploy again")
