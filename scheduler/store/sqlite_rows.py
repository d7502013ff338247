"""How values lie in SQLite: instants as microseconds, kinds and states as codes, a run as a row."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, overload

from scheduler.run import Run, RunKind, RunState, is_final

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_US_PER_S = 1_000_000
US_PER_MINUTE = 60 * _US_PER_S

#: stored numbers: never change one, only add. The indexes of the schema name some of them.
KIND_CODES = {RunKind.FUNCTION: 0, RunKind.TRIGGERED: 1, RunKind.CONTINUOUS: 2}
STATE_CODES = {
    RunState.QUEUED: 0,
    RunState.INITIALIZING: 1,
    RunState.RUNNING: 2,
    RunState.SUCCESS: 3,
    RunState.FAILED: 4,
    RunState.ABORTED: 5,
    RunState.TIMED_OUT: 6,
    RunState.OUT_OF_MEMORY: 7,
    RunState.CANCELLED: 8,
}
KINDS = {code: kind for kind, code in KIND_CODES.items()}
STATES = {code: state for state, code in STATE_CODES.items()}
_FUNCTION = KIND_CODES[RunKind.FUNCTION]
_BARE = 32  # characters of an invocation id without its dashes
#: states below this code are open: runs_open says so
FIRST_FINAL = 3
assert all((code >= FIRST_FINAL) is is_final(state) for state, code in STATE_CODES.items())

#: what `run_from` reads, in order
RUN_SELECT = (
    "SELECT r.id, r.public_id, r.kind, s.name, r.trigger, r.state, o.instance, o.release, "
    "r.created_at, r.started_at, r.ended_at, r.exit_code, x.reason, x.arguments, r.attempt, "
    "r.wait_us, r.exec_us, x.parent "
    "FROM runs r JOIN series s ON s.id = r.series JOIN origins o ON o.id = r.origin "
    "LEFT JOIN run_texts x ON x.run_id = r.id "
)


@overload
def micros(instant: datetime) -> int: ...
@overload
def micros(instant: None) -> None: ...
@overload
def micros(instant: datetime | None) -> int | None: ...
def micros(instant: datetime | None) -> int | None:
    """Return an instant as stored, exact (a float would not be, far from today)."""
    if instant is None:
        return None
    span = instant - _EPOCH
    return (span.days * 86_400 + span.seconds) * _US_PER_S + span.microseconds


@overload
def instant(stored: int) -> datetime: ...
@overload
def instant(stored: None) -> None: ...
@overload
def instant(stored: int | None) -> datetime | None: ...
def instant(stored: int | None) -> datetime | None:
    """Return a stored instant."""
    return None if stored is None else _EPOCH + timedelta(microseconds=stored)


def seconds(span: float) -> int:
    """Return a span of seconds in microseconds."""
    return round(span * _US_PER_S)


def run_from(row: tuple[Any, ...]) -> Run:
    """Return the run of a row of RUN_SELECT."""
    return Run(
        id=row[0],
        public_id=_dashed(row[1]) if row[2] == _FUNCTION else row[1],
        kind=KINDS[row[2]],
        name=row[3],
        trigger=row[4],
        state=STATES[row[5]],
        instance=row[6],
        release=row[7],
        created_at=instant(int(row[8])),
        started_at=instant(row[9]),
        ended_at=instant(row[10]),
        exit_code=row[11],
        reason=row[12] or "",
        arguments=row[13] or "",
        attempt=row[14],
        wait_ms=row[15] / 1000,
        exec_ms=row[16] / 1000,
        parent=row[17],
    )


def _dashed(public_id: str) -> str:
    """Return an invocation id in the usual form; they are stored with dashes or without."""
    p = public_id
    return p if len(p) != _BARE else f"{p[:8]}-{p[8:12]}-{p[12:16]}-{p[16:20]}-{p[20:]}"


def marks(count: int) -> str:
    """Return as many question marks, for IN (…)."""
    return ", ".join("?" * count)
