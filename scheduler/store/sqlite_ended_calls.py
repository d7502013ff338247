"""The history of synchronous calls in SQLite: many rows, few values each.

This is where a busy gateway's interpreter lock goes, and the engine works without it: what follows
from other values is computed by the statement, so that only half of a row's columns are handed
over. Ids are stored as bare hex and get their dashes when they are read. (Measured: to convert ids
or sum up the counters in SQL costs more than to do it here.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scheduler.run import RunKind, RunState
from scheduler.store.sqlite_rows import KIND_CODES, STATE_CODES
from scheduler.store.sqlite_run_rows import RUN_COLUMNS, Tally, in_parts, insert_texts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scheduler.store.port_runs import EndedCall
    from scheduler.store.sqlite_transaction import Transaction

_SUCCESS = STATE_CODES[RunState.SUCCESS]
_US = 1_000_000
_FIELDS = ("series", "origin", "state", "wait", "exec", "ended", "trigger", "id")
_WIDTH = len(_FIELDS)


def _row(place: int) -> str:
    """Return the values of the statement's row at a place; its id counts on from the first."""
    at = {name: f"?{2 + place * _WIDTH + i}" for i, name in enumerate(_FIELDS)}
    started = f"{at['ended']} - {at['exec']}"
    return (
        f"(?1 + {place}, {at['series']}, {at['origin']}, {KIND_CODES[RunKind.FUNCTION]}, "
        f"{at['state']}, 1, NULL, {at['wait']}, {at['exec']}, {started} - {at['wait']}, "
        f"{started}, {at['ended']}, {at['trigger']}, {at['id']})"
    )


_INSERTS = in_parts(
    lambda size: (
        f"INSERT INTO runs ({RUN_COLUMNS}) VALUES {', '.join(_row(i) for i in range(size))}"  # noqa: S608
    )
)


def insert_calls(tx: Transaction, instance: str, calls: Sequence[EndedCall]) -> None:
    """Add ended calls of functions and their counters."""
    first = tx.next_run_id()
    series: dict[str, int] = {}
    origins: dict[str, int] = {}
    tally = Tally()
    values: list[Any] = []
    texts: list[tuple[Any, ...]] = []
    for call_id, name, trigger, release, state, reason, ended_at, wait_s, exec_s in calls:
        if name not in series:
            series[name] = tx.series(RunKind.FUNCTION, name)
        if release not in origins:
            origins[release] = tx.origin(instance, release)
        # The usual state without a look-up: an Enum's hash is a Python call.
        code = _SUCCESS if state is RunState.SUCCESS else STATE_CODES[state]
        if reason:
            texts.append((first + len(values) // _WIDTH, None, reason, ""))
        ended, spent = round(ended_at * _US), round(exec_s * _US)
        tally.add(series[name], ended, code, spent)
        values += (
            series[name], origins[release], code, round(wait_s * _US), spent, ended, trigger,
            call_id.hex(),
        )  # fmt: skip
    _insert(tx, first, values)
    insert_texts(tx, texts)
    tally.write(tx)


def _insert(tx: Transaction, first: int, values: list[Any]) -> None:
    done = 0
    for size, insert in _INSERTS.items():
        while len(values) - done >= size * _WIDTH:
            part = values[done : done + size * _WIDTH]
            tx.execute(insert, [first + done // _WIDTH, *part])
            done += size * _WIDTH
