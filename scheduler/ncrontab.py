"""NCRONTAB: the text of a cron schedule, expanded to the numbers that it means.

Two dialects (webjobs.md 2.1, functions.md 8) of one grammar. The canonical text made here, six
numeric fields, is what logs show and what finds the next occurrence. Nothing here knows of time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_NUMBER = re.compile(r"[0-9]+")
_STEP = re.compile(r"[+-]?[0-9]+")
_LONGEST_MONTHS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


class ScheduleError(ValueError):
    """A text is no schedule. The message names the field, what is allowed and how to mend it."""


class Dialect(Enum):
    """Who reads the text. Functions follow NCrontab 3 and may leave the seconds out."""

    TIMER = "timer"
    JOB = "job"


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()
    hint: str = ""


_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_DAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")

_FIELDS = (
    _Field("second", 0, 59),
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of week", 0, 6, _DAYS, hint="Sunday is 0"),
)


@dataclass(frozen=True, slots=True)
class Crontab:
    """An expanded expression.

    `values` are the sorted numbers of each field, `canonical` the same as text. `interval` tells
    whether the author wrote a repetition (`*`, `-` or `/` in seconds, minutes or hours) rather than
    points in time: the two differ when the clock is set back.
    """

    canonical: str
    values: tuple[tuple[int, ...], ...]
    interval: bool

    @property
    def possible(self) -> bool:
        """Tell whether any date fits. If one does, one comes within 40 years."""
        days, months = self.values[3], self.values[4]
        return any(days[0] <= _LONGEST_MONTHS[month - 1] for month in months)

    @property
    def subminute(self) -> bool:
        """Tell whether it fires more than once in every minute."""
        return len(self.values[0]) > 1 and self.canonical.endswith(" * * * * *")


def parse_crontab(text: str, dialect: Dialect) -> Crontab:
    """Expand an expression; ScheduleError if it is none."""
    tokens = _six_tokens(text, dialect)
    offset = 6 - len(text.split())  # an author who left the seconds out counts from the minutes
    fields = []
    for index, token in enumerate(tokens):
        try:
            fields.append(_expand(index, token, dialect))
        except ScheduleError as error:
            place = f"field {index + 1 - offset} of {6 - offset}"
            raise ScheduleError(f"{_FIELDS[index].name} ({place}) {token!r}: {error}") from None
    return Crontab(
        canonical=" ".join(canonical for _, canonical in fields),
        values=tuple(values for values, _ in fields),
        interval=any(mark in token for token in tokens[:3] for mark in "*-/"),
    )


def _six_tokens(text: str, dialect: Dialect) -> list[str]:
    tokens = text.split()
    if len(tokens) == 5 and dialect is Dialect.TIMER:
        return ["0", *tokens]
    if len(tokens) == 6:
        return tokens
    order = "second minute hour day-of-month month day-of-week"
    allowed = "6 fields are needed" if dialect is Dialect.JOB else "6 fields, or 5, are needed"
    count = "1 field" if len(tokens) == 1 else f"{len(tokens)} fields"
    raise ScheduleError(f"it has {count}; {allowed} ({order}): {_cure(text, tokens)}")


def _cure(text: str, tokens: list[str]) -> str:
    if not tokens:
        return "for example '0 */5 * * * *' for every five minutes"
    if text.lstrip().startswith("@"):
        return f"names such as {tokens[0]!r} are not known, '0 0 0 * * *' is every midnight"
    if len(tokens) == 1 and ":" in text:
        return "only functions take a time span"
    if len(tokens) == 5:
        return f"put the seconds in front, as in '0 {' '.join(tokens)}'"
    if len(tokens) == 7:
        return "there is no field for the year, leave it out"
    return "'*' stands for every value, as in '0 */5 * * * *'"


@lru_cache(maxsize=8192)
def _expand(index: int, token: str, dialect: Dialect) -> tuple[tuple[int, ...], str]:
    """Return a field's numbers and their canonical text."""
    field = _FIELDS[index]
    values: set[int] = set()
    for item in token.split(","):
        values.update(_item(field, item, dialect))
    return tuple(sorted(values)), _canonical(field, values)


def _item(field: _Field, item: str, dialect: Dialect) -> range:
    base, slash, step_text = item.partition("/")
    step = _step(step_text) if slash else 1
    if base == "*":
        return range(field.low, field.high + 1, step)
    first_text, dash, last_text = base.partition("-")
    first = _value(field, first_text)
    if dash:
        last = _value(field, last_text)
        return range(min(first, last), max(first, last) + 1, step)
    # NCrontab 2, which WebJobs have, takes `5/1` for plain 5.
    to_the_end = slash and (step > 1 or dialect is Dialect.TIMER)
    return range(first, (field.high if to_the_end else first) + 1, step)


def _step(text: str) -> int:
    if not _STEP.fullmatch(text):
        raise ScheduleError(f"the step {text!r} behind '/' is no number; write one, as in '*/5'")
    return max(1, int(text[:9]))


def _value(field: _Field, text: str) -> int:
    if _NUMBER.fullmatch(text):
        number = int(text[:9])
        if field.low <= number <= field.high:
            return number
        hint = f"; {field.hint}" if field.hint else ""
        raise ScheduleError(f"{text} is not within {field.low}-{field.high}{hint}")
    wanted = text.casefold()
    for number, name in enumerate(field.names, field.low):
        if wanted and name.casefold().startswith(wanted):
            return number
    raise ScheduleError(_not_a_value(field, text))


def _not_a_value(field: _Field, text: str) -> str:
    if not text:
        return "a value is missing before or behind ',', '-' or '/'"
    if text == "?":
        return "'?' is not known; write '*'"
    if re.fullmatch(r"[0-9]*[LlWw]|[0-9a-z]+#[0-9]", text):
        return f"{text!r} is not known: NCRONTAB has no L, W or #; list the days"
    names = f", or a name such as {field.names[1]} or {field.names[1][:3]}" if field.names else ""
    return f"{text!r} is not a number within {field.low}-{field.high}{names}"


def _canonical(field: _Field, values: Iterable[int]) -> str:
    runs = [
        [value for _, value in run]
        for _, run in groupby(enumerate(sorted(values)), key=lambda pair: pair[1] - pair[0])
    ]
    if runs[0][0] == field.low and runs[0][-1] == field.high:
        return "*"
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
