"""The keys under "taak" in settings.job that say how a triggered job runs: read, checked, told."""

from __future__ import annotations

import math
from dataclasses import fields
from enum import Enum
from typing import Final, TypeVar

from scheduler.job_policy import JobPolicy
from scheduler.manifest_fields import Fields, shown

_Word = TypeVar("_Word", bound=Enum)

MAX_CONCURRENCY: Final = 64
MAX_QUEUE_DEPTH: Final = 1000
MAX_CATCH_UP: Final = 100
MAX_TIMEOUT_S: Final = 365 * 24 * 3600

POLICY_NAMES: Final = tuple(field.name for field in fields(JobPolicy))


def read_policy(taak: Fields, *, triggered: bool) -> JobPolicy:
    """Return what a "taak" object sets; what is wrong is noted with its line."""
    if not triggered:
        for name in POLICY_NAMES:
            if taak.raw(name) is not None:
                taak.complain("is for triggered jobs only; it is ignored", name, warning=True)
        return JobPolicy()
    usual = JobPolicy()
    return JobPolicy(
        concurrency=_whole(taak, "concurrency", usual.concurrency, MAX_CONCURRENCY),
        on_busy=_choice(taak, "on_busy", usual.on_busy),
        queue_depth=_whole(taak, "queue_depth", usual.queue_depth, MAX_QUEUE_DEPTH),
        overlap=_choice(taak, "overlap", usual.overlap),
        misfire=_choice(taak, "misfire", usual.misfire),
        misfire_limit=_whole(taak, "misfire_limit", usual.misfire_limit, MAX_CATCH_UP),
        timeout_s=_timeout(taak),
    )


def _whole(taak: Fields, name: str, usual: int, most: int) -> int:
    number = taak.whole(name, usual)
    if 1 <= number <= most:
        return number
    taak.complain(f"must be from 1 to {most}, not {number}", name)
    return usual


def _choice(taak: Fields, name: str, usual: _Word) -> _Word:
    raw = taak.raw(name)
    if raw is None:
        return usual
    words = {word.value: word for word in type(usual)}
    chosen = words.get(raw.strip().casefold()) if isinstance(raw, str) else None
    if chosen is None:
        taak.complain(f"must be one of {', '.join(map(shown, words))}, not {shown(raw)}", name)
        return usual
    return chosen


def _timeout(taak: Fields) -> float | None:
    if taak.raw("timeout_s") is None:
        return None
    seconds = taak.number("timeout_s", math.inf)
    if math.isinf(seconds):  # no number, which has been told
        return None
    if 0 < seconds <= MAX_TIMEOUT_S:
        return seconds
    taak.complain(f"must be more than 0 and at most {MAX_TIMEOUT_S} seconds", "timeout_s")
    return None
