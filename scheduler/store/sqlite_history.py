"""Questions about the history in SQLite, and its retention. Pages go by id, never by offset."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scheduler.functions import key
from scheduler.store.port_runs import MAX_PAGE, RunFilter, RunMinute, RunPage, RunStats
from scheduler.store.sqlite_rows import (
    FIRST_FINAL,
    KIND_CODES,
    RUN_SELECT,
    STATE_CODES,
    STATES,
    US_PER_MINUTE,
    instant,
    marks,
    micros,
    run_from,
)

if TYPE_CHECKING:
    from datetime import timedelta

    from scheduler.run import Run, RunKind
    from scheduler.store.sqlite_transaction import Rows, Transaction


#: below, at and above the first final code, which is success
_PARTIAL_STATES = {-1: " AND r.state < 3", 0: "", 1: " AND r.state > 3"}


def find_run(rows: Rows, kind: RunKind, name: str, public_id: str) -> Run | None:
    """Return the newest run of this name with this public id."""
    series = _series(rows, RunFilter(kind=kind, name=name))
    if not series:
        return None
    # Without `kind > 0` in the statement the partial index would not be seen.
    indexed = "" if KIND_CODES[kind] == 0 else "r.kind > 0 AND "
    row = rows.one(
        f"{RUN_SELECT}WHERE {indexed}r.public_id IN (?, ?) AND r.series = ? ORDER BY r.id DESC",
        (public_id, public_id.replace("-", ""), series[0]),
    )
    run = None if row is None else run_from(row)
    return run if run is not None and run.public_id == public_id else None


def query_runs(rows: Rows, where: RunFilter, cursor: int | None, limit: int) -> RunPage:
    """Return a page, newest first."""
    limit = max(1, min(limit, MAX_PAGE))
    terms, values = _terms(where)
    if cursor is not None:
        terms.append("r.id < ?")
        values.append(cursor)
    if where.name is None:
        found = _newest(rows, terms, values, limit + 1)
    else:
        # A name has at most one series of each kind: newest of each by index, then merged.
        found = []
        for series in _series(rows, where):
            found += _newest(rows, [*terms, "r.series = ?"], [*values, series], limit + 1)
        found.sort(key=lambda run: run.id, reverse=True)
    return RunPage(found[:limit], found[limit - 1].id if len(found) > limit else None)


def _newest(rows: Rows, terms: list[str], values: list[Any], limit: int) -> list[Run]:
    condition = f"WHERE {' AND '.join(terms)} " if terms else ""
    sql = f"{RUN_SELECT}{condition}ORDER BY r.id DESC LIMIT ?"
    return [run_from(row) for row in rows.all(sql, [*values, limit])]


def _terms(where: RunFilter) -> tuple[list[str], list[Any]]:
    terms: list[str] = []
    values: list[Any] = []

    def add(term: str, *given: Any) -> None:
        terms.append(term)
        values.extend(given)

    # The literal conditions let the planner see that a partial index fits.
    if where.kind is not None:
        code = KIND_CODES[where.kind]
        add("r.kind = ? AND r.kind > 0" if code > 0 else "r.kind = ?", code)
    if where.state is not None:
        code = STATE_CODES[where.state]
        literal = _PARTIAL_STATES[(code > FIRST_FINAL) - (code < FIRST_FINAL)]
        add(f"r.state = ?{literal}", code)
    if where.instance is not None:
        add("o.instance = ?", where.instance)
    if where.trigger is not None:
        add("substr(r.trigger, 1, length(?)) = ?", where.trigger, where.trigger)
    if where.since is not None:
        add("r.created_at >= ?", micros(where.since))
    if where.until is not None:
        add("r.created_at < ?", micros(where.until))
    if where.text is not None:
        texts = "r.public_id || char(10) || ifnull(x.reason, '') || char(10) || "
        add(f"instr(lower({texts}ifnull(x.arguments, '')), lower(?)) > 0", where.text)
    return terms, values


def open_runs(rows: Rows, instance: str | None) -> list[Run]:
    """Return every run that has not ended, oldest first.

    The plus keeps the planner from walking the whole table for the sake of the order.
    """
    found = rows.all(
        f"{RUN_SELECT}WHERE r.state < 3 AND (? IS NULL OR o.instance = ?) ORDER BY r.id",
        (instance, instance),
    )
    return [run_from(row) for row in found]


def prune_runs(
    tx: Transaction,
    where: RunFilter,
    keep_per_name: int | None,
    keep_newest: int | None,
    limit: int,
) -> list[Run]:
    """Remove ended runs that are old or beyond what is kept; oldest first."""
    ids: set[int] = set()
    among = _among(tx, where)
    if where.until is not None:
        # Ids grow with time: if not all of the oldest rows are old, no row after them is.
        oldest = f"SELECT id, created_at {_oldest(among)}"
        sql = f"SELECT id FROM ({oldest}) WHERE created_at < ?"  # noqa: S608
        ids.update(row[0] for row in tx.all(sql, (2**62, limit, micros(where.until))))
    if keep_newest is not None:
        last_id = tx.next_run_id() - 1
        rows = tx.all(f"SELECT id {_oldest(among)}", (last_id - keep_newest, limit))
        ids.update(row[0] for row in rows)
    if keep_per_name is not None:
        for series in _series(tx, where):
            ids.update(_beyond(tx, series, keep_per_name, limit))
    doomed = sorted(ids)[:limit]
    removed = []
    for start in range(0, len(doomed), MAX_PAGE):
        part = doomed[start : start + MAX_PAGE]
        removed += _remove(tx, part)
    return removed


def _remove(tx: Transaction, ids: list[int]) -> list[Run]:
    places = f"({marks(len(ids))})"
    rows = tx.all(f"{RUN_SELECT}WHERE r.id IN {places} ORDER BY r.id", ids)
    tx.execute(f"DELETE FROM runs WHERE id IN {places}", ids)  # noqa: S608
    tx.execute(f"DELETE FROM run_texts WHERE run_id IN {places}", ids)  # noqa: S608
    return [run_from(row) for row in rows]


_PRUNABLE = "state >= 3 AND NOT EXISTS (SELECT 1 FROM work w WHERE w.id = runs.id)"


def _oldest(among: str) -> str:
    return f"FROM runs WHERE {among}id <= ? AND {_PRUNABLE} ORDER BY id LIMIT ?"


def _among(tx: Transaction, where: RunFilter) -> str:
    """Return the condition for the runs that may go, such that the walk by id stays a walk."""
    if where.name is not None:
        return f"series IN ({', '.join(map(str, _series(tx, where)))}) AND "
    if where.kind is None:
        return ""
    code = KIND_CODES[where.kind]
    return f"kind = {code} AND kind > 0 AND " if code > 0 else f"kind = {code} AND "


def _beyond(tx: Transaction, series: int, keep: int, limit: int) -> list[int]:
    last = tx.one(
        "SELECT id FROM runs WHERE series = ? ORDER BY id DESC LIMIT 1 OFFSET ?", (series, keep)
    )
    if last is None:
        return []
    rows = tx.all(
        f"SELECT id FROM runs WHERE series = ? AND id <= ? AND {_PRUNABLE} "  # noqa: S608
        "ORDER BY id LIMIT ?",
        (series, last[0], limit),
    )
    return [row[0] for row in rows]


def _series(rows: Rows, where: RunFilter) -> list[int]:
    kind = None if where.kind is None else KIND_CODES[where.kind]
    name = None if where.name is None else key(where.name)
    found = rows.all(
        "SELECT id FROM series WHERE (:kind IS NULL OR kind = :kind) "
        "AND (:key IS NULL OR key = :key)",
        {"kind": kind, "key": name},
    )
    return [row[0] for row in found]


def run_stats(rows: Rows, kind: RunKind, name: str, window: timedelta) -> RunStats:
    """Return the counters of the window up to now."""
    series = _series(rows, RunFilter(kind=kind, name=name))
    if not series:
        return RunStats()
    since = (rows.now() - round(window.total_seconds() * 1e6)) // US_PER_MINUTE
    found = rows.all(
        "SELECT minute, state, count, sum_us, max_us FROM run_minutes "
        "WHERE series = ? AND minute >= ? ORDER BY minute, state",
        (series[0], since),
    )
    return RunStats.of(
        [
            RunMinute(
                instant(minute * US_PER_MINUTE), STATES[state], count, sum_us / 1000, max_us / 1000
            )
            for minute, state, count, sum_us, max_us in found
        ]
    )


def prune_stats(tx: Transaction, older_than: int, limit: int) -> int:
    """Remove counters of minutes that began before this instant, by index: series after series."""
    minute = -(-older_than // US_PER_MINUTE)
    gone = 0
    for (series,) in tx.all("SELECT id FROM series"):
        gone += tx.changed(
            "DELETE FROM run_minutes WHERE series = :series AND (minute, state) IN (SELECT "
            "minute, state FROM run_minutes WHERE series = :series AND minute < :minute "
            "LIMIT :limit)",
            {"series": series, "minute": minute, "limit": limit - gone},
        )
        if gone >= limit:
            break
    return gone
