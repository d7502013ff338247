"""What a benchmark yields: named figures, a table for people and a document for later runs.

Absolute values move with the machine; compare only figures of one run, or ratios between runs.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

OUT = Path(__file__).resolve().parent / "out"


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


def keep(figures: Sequence[Figure]) -> Path:
    """Write the figures with the circumstances to benchmarks/out, and as latest.json."""
    now = datetime.now(UTC)
    document = {
        "at": now.isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "kernel": platform.release(),
        "cores": os.cpu_count(),
        "load_1min": os.getloadavg()[0],
        "figures": [asdict(figure) for figure in figures],
    }
    OUT.mkdir(exist_ok=True)
    text = json.dumps(document, indent=1) + "\n"
    file = OUT / f"{now:%Y%m%d-%H%M%S}.json"
    file.write_text(text)
    (OUT / "latest.json").write_text(text)
    return file
