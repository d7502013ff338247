"""The schema's history: numbered SQL files, applied in order, each with its number in one commit.

Forward only. A file that has shipped never changes; the next change is the next number.
"""

from __future__ import annotations

import re
import sqlite3
from importlib.resources import files
from typing import TYPE_CHECKING

from scheduler.store.errors import Unavailable

if TYPE_CHECKING:
    from scheduler.store.sqlite_transaction import Rows, Transaction

_NAME = re.compile(r"migrations_sqlite_(\d{4})\.sql")


def steps() -> dict[int, str]:
    """Return version -> statements, in order."""
    found = {}
    for file in files("scheduler.store").iterdir():
        if match := _NAME.fullmatch(file.name):
            found[int(match[1])] = file.read_text(encoding="utf-8")
    return dict(sorted(found.items()))


def version(rows: Rows) -> int:
    """Return the schema version of an open file; 0 is an empty one."""
    row = rows.one("SELECT 1 FROM sqlite_master WHERE name = 'schema_version'")
    if row is None:
        return 0
    newest = rows.one("SELECT max(version) FROM schema_version")
    return int(newest[0] or 0) if newest else 0


def refuse_newer(rows: Rows) -> None:
    """Refuse a file that a newer program has brought forward: we would misread it."""
    has, knows = version(rows), max(steps())
    if has > knows:
        raise Unavailable(
            f"the store has schema version {has}, this program knows versions up to {knows}; "
            "run the newer program, or restore the copy made before the upgrade"
        )


def migrate(tx: Transaction) -> int:
    """Apply what is missing; return the version. Runs inside one transaction of the writer."""
    refuse_newer(tx)
    tx.execute(
        "CREATE TABLE IF NOT EXISTS schema_version "
        "(version INTEGER PRIMARY KEY, applied_at INTEGER NOT NULL) STRICT"
    )
    has = version(tx)
    for number, text in steps().items():
        if number > has:
            for statement in statements(text):
                tx.execute(statement)
            tx.execute("INSERT INTO schema_version VALUES (?, ?)", (number, tx.now()))
    return version(tx)


def statements(text: str) -> list[str]:
    """Split a file into statements (`executescript` would commit the transaction)."""
    found, gathered = [], ""
    for line in text.splitlines(keepends=True):
        gathered += line
        if sqlite3.complete_statement(gathered):
            found.append(gathered)
            gathered = ""
    return found
