"""What a benchmark yields: named figures, and their table for people.

Absolute values move with the machine; compare only figures of one run, or ratios between runs.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One measured value. `better` says which way is good: "higher" or "lower".

    A `detail` stands in the document only; the table has it in another figure's note.
    """

    name: str
    value: float
    unit: str
    better: str
    note: str = ""
    detail: bool = False


def median_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return the median of the per-round ratios: what moves both in a round cancels out."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True) if b)


def quantile(values: Iterable[float], part: float) -> float:
    """Return the value below which this part of the values lies."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * part), len(ordered) - 1)]


def table(figures: Sequence[Figure]) -> str:
    """Return the figures as aligned text."""
    rows = [
        (f.name, f"{f.value:,.{2 if abs(f.value) < 100 else 0}f}", f.unit, f.note)
        for f in figures
        if not f.detail
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    return "\n".join(
        f"{name:<{widths[0]}}  {value:>{widths[1]}} {unit:<{widths[2]}}  {note}".rstrip()
        for name, value, unit, note in rows
    )
