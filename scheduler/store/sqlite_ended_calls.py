"""The history of synchronous calls in SQLite: many rows, nothing converted twice.

This is where a busy gateway's interpreter lock goes, so each conversion counts: ids are stored as
bare hex and get their dashes when they are read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scheduler.run import RunKind, RunState
from scheduler.store.sqlite_rows import KIND_CODES, STATE_CODES
from scheduler.store.sqlite_run_rows import insert_ended

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scheduler.store.port_runs import EndedCall
    from scheduler.store.sqlite_transaction import Transaction

_KIND = KIND_CODES[RunKind.FUNCTION]
_SUCCESS = STATE_CODES[RunState.SUCCESS]
_US = 1_000_000


def insert_calls(tx: Transaction, instance: str, calls: Sequence[EndedCall]) -> None:
    """Add ended calls of functions and their counters."""
    run_id = tx.next_run_id()
    series: dict[str, int] = {}
    origins: dict[str, int] = {}
    rows: list[tuple[Any, ...]] = []
    texts: list[tuple[Any, ...]] = []
    for call in calls:
        call_id, name, trigger, release, state, reason, ended_at, wait_s, exec_s = call
        if name not in series:
            series[name] = tx.series(RunKind.FUNCTION, name)
        if release not in origins:
            origins[release] = tx.origin(instance, release)
        ended, wait, spent = round(ended_at * _US), round(wait_s * _US), round(exec_s * _US)
        # The usual state without a look-up: an Enum's hash is a Python call.
        code = _SUCCESS if state is RunState.SUCCESS else STATE_CODES[state]
        rows.append(
            (
                run_id, series[name], origins[release], _KIND, code, 1, None, wait, spent,
                ended - spent - wait, ended - spent, ended, trigger, call_id.hex(),
            )
        )  # fmt: skip
        if reason:
            texts.append((run_id, None, reason, ""))
        run_id += 1
    insert_ended(tx, rows, texts)
