"""What a verb shows, in three shapes: a table for people, JSON for programs, bare names for shells.

rich is imported when the first table is drawn, so that `--json` and `--quiet` do not pay for it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

#: What people look for first, in colour; the word says the same without it.
_STYLES = {
    "ready": "green",
    "success": "green",
    "succeeded": "green",
    "live": "green",
    "Running": "green",
    "running": "cyan",
    "queued": "cyan",
    "disabled": "yellow",
    "Stopped": "yellow",
    "PendingRestart": "yellow",
    "error": "red",
    "failed": "red",
    "refused": "red",
    "aborted": "red",
    "timed-out": "red",
    "out-of-memory": "red",
}


@dataclass(frozen=True, slots=True)
class Terminal:
    """Where and how a verb writes."""

    json: bool = False
    quiet: bool = False
    color: bool = True

    def result(self, value: object, human: Callable[[], None], names: Iterable[str] = ()) -> None:
        """Show a verb's result in the shape that was asked for."""
        if self.json:
            print(json.dumps(value, indent=2, ensure_ascii=False))
        elif self.quiet:
            for name in names:
                print(name)
        else:
            human()

    def say(self, text: str) -> None:
        """Print one line for people."""
        if not self.json and not self.quiet:
            print(text, flush=True)

    def note(self, text: str) -> None:
        """Print one line beside the result, on standard error."""
        if not self.quiet:
            print(text, file=sys.stderr)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Draw a table; cells are plain text, never markup."""
        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in rows:
            cells = ["" if cell is None else str(cell) for cell in row]
            table.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in cells))
        # Into a pipe the lines are as long as they need to be: grep sees whole rows.
        width = None if sys.stdout.isatty() else 500
        Console(no_color=not self.color or None, highlight=False, width=width).print(table)

    def facts(self, pairs: Iterable[tuple[str, Any]]) -> None:
        """Print names and values, one a line; empty values are left out."""
        shown = [(name, str(value)) for name, value in pairs if value not in (None, "", [], {})]
        width = max((len(name) for name, _ in shown), default=0)
        for name, value in shown:
            print(f"{name:<{width}}  {value}")


def when(text: object) -> str:
    """Return an ISO instant in UTC as people read it, "" for none."""
    if not text:
        return ""
    plain = str(text).replace("T", " ").partition(".")[0]
    return plain.removesuffix("+00:00").removesuffix("Z") + "Z"


def milliseconds(value: object) -> str:
    """Return a duration with its unit."""
    if not isinstance(value, int | float) or not value:
        return ""
    return f"{value:.1f} ms" if value < 1000 else f"{value / 1000:.1f} s"
