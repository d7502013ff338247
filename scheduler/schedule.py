"""When something fires: the next instant of a cron text or of a time span, in a time zone.

croniter finds the next wall-clock time that fits the canonical fields; which instants that is, when
the clock is put forward or back, is decided here. Which tick is run is decided elsewhere.

The rule for a zone whose clock jumps (functions.md 8, sandbox.md D4):
- a time that the clock skips fires once, as much later as the clock was put forward: 02:30 becomes
  03:30. Where it meets a time that fires anyway the two are one.
- a time that comes twice fires the first time; an interval (a `*`, `-` or `/` in seconds, minutes
  or hours) fires both times, because it goes by elapsed time.
"""

from __future__ import annotations

import re
import threading
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from croniter import croniter

from scheduler.ncrontab import Crontab, Dialect, ScheduleError, parse_crontab
from scheduler.zones import Stretch, iana_name, similar_names, stretches

__all__ = [
    "CronSchedule",
    "IntervalSchedule",
    "Schedule",
    "ScheduleError",
    "parse_job",
    "parse_timer",
    "span_text",
    "zone_name",
]

#: Every date that can come at all comes within so many years (29 February on a given weekday).
_LONGEST_WAIT_YEARS = 41
_LAST_YEAR = 9900
_TICK = timedelta(microseconds=1)
#: No offset has ever changed by more than a day, so that much earlier nothing is affected yet.
_LEEWAY = timedelta(days=2)


@dataclass(frozen=True)
class Schedule(ABC):
    """A schedule as written (`text`), as understood (`canonical`), in an IANA zone."""

    text: str
    canonical: str
    zone: str

    @abstractmethod
    def next_after(self, instant: datetime) -> datetime | None:
        """Return the first instant strictly after an aware one, in UTC; None if none comes."""

    @property
    @abstractmethod
    def subminute(self) -> bool:
        """Tell whether it fires more than once in every minute."""

    def occurrences(self, after: datetime, count: int) -> list[datetime]:
        """Return up to `count` instants after one, fewer if the schedule never fires."""
        found: list[datetime] = []
        instant = self.next_after(after)
        while instant is not None and len(found) < count:
            found.append(instant)
            instant = self.next_after(instant)
        return found

    def last_before(self, until: datetime, after: datetime) -> datetime | None:
        """Return the last instant in (after, until), None if there is none.

        Halving the span finds it without a walk: before the last instant another one follows in
        time, behind it none does.
        """
        found = self.next_after(after)
        if found is None or found >= until:
            return None
        low, high = found, until
        while high - low > _TICK:
            middle = low + (high - low) / 2
            following = self.next_after(middle)
            if following is not None and following < until:
                low = found = following
            else:
                high = middle
        return found


@dataclass(frozen=True)
class IntervalSchedule(Schedule):
    """A fixed span after the start of the run before."""

    span: timedelta

    def next_after(self, instant: datetime) -> datetime | None:
        """Return the instant one span later."""
        try:
            return instant.astimezone(UTC) + self.span
        except OverflowError:
            return None

    @property
    def subminute(self) -> bool:
        """Tell whether the span is less than a minute."""
        return self.span < timedelta(minutes=1)


@dataclass(frozen=True)
class CronSchedule(Schedule):
    """An expanded NCRONTAB expression."""

    crontab: Crontab = field(repr=False)

    @property
    def interval(self) -> bool:
        """Tell whether it goes by elapsed time when the clock is put back."""
        return self.crontab.interval

    @property
    def subminute(self) -> bool:
        """Tell whether it fires more than once in every minute."""
        return self.crontab.subminute

    def next_after(self, instant: datetime) -> datetime | None:
        """Return the first instant strictly after this one, in UTC; None if no date ever fits."""
        bare = instant.astimezone(UTC).replace(tzinfo=None)
        if not self.crontab.possible or bare.year > _LAST_YEAR:
            return None
        if self.zone == "UTC":
            return self._label_after(bare).replace(tzinfo=UTC)
        return self._in_zone(bare).replace(tzinfo=UTC)

    def _in_zone(self, after: datetime) -> datetime:
        """Walk the stretches of constant offset; all times here are UTC without tzinfo.

        The stretch before is asked as well: what its end skipped fires inside the next one, and
        may come after, or before, what that one fires itself.
        """
        best: datetime | None = None
        stretch = _stretch_before(_stretch_at(self.zone, after), self.zone)
        while best is None or stretch.start < best:
            found, jump_to = self._in_stretch(stretch, after)
            if found is not None and (best is None or found < best):
                best = found
            stretch = _stretch_at(self.zone, max(stretch.end, jump_to))
        return best

    def _in_stretch(self, stretch: Stretch, after: datetime) -> tuple[datetime | None, datetime]:
        """Return the first instant that this stretch's offset yields, and where to look on."""
        offset = stretch.offset
        begin = stretch.start + (offset if self.interval else max(offset, stretch.before))
        end = stretch.end + max(offset, stretch.after)
        label = self._label_after(max(after + offset, begin - _TICK))
        if label < end:
            return label - offset, stretch.end
        return None, label - offset - _LEEWAY

    def _label_after(self, wall: datetime) -> datetime:
        """Return the first wall-clock time strictly after one, as if clocks never jumped."""
        return _finder(self.canonical).after(wall)


class _Finder:
    """croniter, kept for one canonical text. It holds its position, hence the lock."""

    def __init__(self, canonical: str) -> None:
        self._lock = threading.Lock()
        self._cron = croniter(
            canonical,
            ret_type=datetime,
            second_at_beginning=True,
            day_or=False,
            max_years_between_matches=_LONGEST_WAIT_YEARS,
        )

    def after(self, wall: datetime) -> datetime:
        with self._lock:
            found: datetime = self._cron.get_next(datetime, start_time=wall)
        return found


# The parse of an expression costs croniter more than a search, and many schedules are alike.
_finder = lru_cache(maxsize=16384)(_Finder)


def _stretch_at(zone: str, bare_utc: datetime) -> Stretch:
    return next(piece for piece in stretches(zone, bare_utc.year) if bare_utc < piece.end)


def _stretch_before(stretch: Stretch, zone: str) -> Stretch:
    return _stretch_at(zone, stretch.start - _TICK)


def parse_timer(text: str, *, zone: str = "UTC") -> Schedule:
    """Read a schedule as Functions do: six fields, five, or a .NET TimeSpan."""
    return _parse(text.strip(), zone, Dialect.TIMER)


def parse_job(text: str, *, zone: str = "UTC") -> Schedule:
    """Read a schedule as WebJobs do: exactly six fields."""
    return _parse(text.strip(), zone, Dialect.JOB)


def zone_name(text: str) -> str:
    """Return the IANA name for an IANA or Windows name of a time zone."""
    name = iana_name(text)
    if name is None:
        similar = similar_names(text)
        cure = f"did you mean {' or '.join(similar)}?" if similar else "for example Europe/Berlin"
        raise ScheduleError(
            f"{text!r} is no time zone; write an IANA name or a Windows name: {cure}"
        )
    return name


@lru_cache(maxsize=16384)
def _parse(text: str, zone: str, dialect: Dialect) -> Schedule:
    iana = zone_name(zone)
    if dialect is Dialect.TIMER and len(text.split()) == 1 and not text.startswith("@"):
        span = _time_span(text)
        return IntervalSchedule(text, span_text(span), iana, span)
    crontab = parse_crontab(text, dialect)
    return CronSchedule(text, crontab.canonical, iana, crontab)


_SPAN = re.compile(
    r"(?P<sign>-?)(?:(?P<d>[0-9]{1,8})(?:\.(?=[0-9]+:)|$))?"
    r"(?:(?P<parts>[0-9]{1,8}(?::[0-9]{1,2}){1,3})(?:\.(?P<fraction>[0-9]{1,7}))?)?"
)


def _time_span(text: str) -> timedelta:
    """Read a .NET TimeSpan: `hh:mm[:ss]`, `d.hh:mm[:ss]`, `d:hh:mm:ss`, days alone.

    Three numbers of which the first is above 23 are days, hours and minutes: 24:00:00 is 24 days.
    """
    match = _SPAN.fullmatch(text)
    parts = [int(part) for part in (match["parts"] or "").split(":") if part] if match else []
    numbers = _days_to_seconds(match["d"], parts) if match else None
    if match is None or numbers is None:
        raise ScheduleError(
            "it is neither six fields ('0 */5 * * * *') nor a time span: write hh:mm:ss with hours"
            " 0-23, minutes and seconds 0-59, and days in front if need be, as in '1.00:00:00'"
        )
    days, hours, minutes, seconds = numbers
    fraction = int((match["fraction"] or "0").ljust(6, "0")[:6])
    span = timedelta(
        days=days, hours=hours, minutes=minutes, seconds=seconds, microseconds=fraction
    )
    if match["sign"] or not span:
        raise ScheduleError("a time span must be longer than nothing, as in '00:05:00'")
    return span


def _days_to_seconds(days: str | None, parts: list[int]) -> tuple[int, int, int, int] | None:
    """Return days, hours, minutes and seconds, None if the parts cannot be these."""
    match (days, len(parts)):
        case (None, 4):
            numbers = parts
        case (None, 3) if parts[0] > 23:
            numbers = [*parts, 0]
        case (_, 0 | 2 | 3):
            numbers = [int(days or 0), *parts, 0, 0, 0][:4]
        case _:
            return None
    fits = numbers[1] <= 23 and numbers[2] <= 59 and numbers[3] <= 59
    return (numbers[0], numbers[1], numbers[2], numbers[3]) if fits else None


def span_text(span: timedelta) -> str:
    """Return a span of at least nothing as .NET writes it: `[d.]hh:mm:ss[.fffffff]`."""
    hours, rest = divmod(span.seconds, 3600)
    minutes, seconds = divmod(rest, 60)
    days = f"{span.days}." if span.days else ""
    fraction = f".{span.microseconds:06}0" if span.microseconds else ""
    return f"{days}{hours:02}:{minutes:02}:{seconds:02}{fraction}"
