"""The history of synchronous calls in SQLite: many rows, nothing converted twice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scheduler.run import RunKind
from scheduler.store.sqlite_rows import KIND_CODES, STATE_CODES
from scheduler.store.sqlite_run_rows import insert_ended

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scheduler.store.port_runs import EndedCall
    from scheduler.store.sqlite_transaction import Transaction

_KIND = KIND_CODES[RunKind.FUNCTION]


def insert_calls(tx: Transaction, instance: str, calls: Sequence[EndedCall]) -> None:
    """Add ended calls of functions and their counters."""
    run_id = tx.next_run_id()
    series: dict[str, int] = {}
    origins: dict[str, int] = {}
    rows: list[tuple[Any, ...]] = []
    texts: list[tuple[Any, ...]] = []
    for call in calls:
        _call_id, name, trigger, release, state, reason, ended_at, wait_s, exec_s = call
        if name not in series:
            series[name] = tx.series(RunKind.FUNCTION, name)
        if release not in origins:
            origins[release] = tx.origin(instance, release)
        ended, wait, spent = round(ended_at * 1e6), round(wait_s * 1e6), round(exec_s * 1e6)
        rows.append(
            (
                run_id, series[name], origins[release], _KIND, STATE_CODES[state], 1, None, wait,
                spent, ended - spent - wait, ended - spent, ended, trigger, call.public_id,
            )
        )  # fmt: skip
        if reason:
            texts.append((run_id, None, reason, ""))
        run_id += 1
    insert_ended(tx, rows, texts)
