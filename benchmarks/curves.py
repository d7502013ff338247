"""Growth as tables: figures named `growth.WHAT.SIZE.COLUMN`, a row for each size, with bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_BAR = 24
Figures = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Curve:
    """One table: columns as (key, heading); a bar is drawn for the first column."""

    what: str
    title: str
    size: str
    columns: Sequence[tuple[str, str]]
    text: str = ""


CURVES = (
    Curve(
        "functions",
        "Deployed functions",
        "functions",
        (
            ("c64_ratio", "c64 throughput, of one function's"),
            ("c64", "c64 req/s"),
            ("c64_p50", "c64 p50 us"),
            ("c1_ratio", "c1 throughput, of one's"),
            ("c1_p50", "c1 p50 us"),
            ("redeploy", "redeploy ms"),
            ("redeploy_ratio", "redeploy, of one's"),
            ("each", "all in turn, ms each"),
            ("start", "start s"),
            ("gateway_memory", "gateway KiB each"),
            ("tree_memory", "whole tree MiB"),
        ),
        "A call of one function while so many are deployed; in turn with a platform that has one. "
        "“All in turn” calls each once: most of them start cold, since 64 are kept warm.",
    ),
    Curve(
        "connections",
        "Open connections",
        "connections",
        (
            ("taak", "req/s"),
            ("taak_p50", "p50 ms"),
            ("taak_p99", "p99 ms"),
            ("taak_cpu", "CPU us/req"),
            ("taak_errors", "errors"),
            ("bare", "bare req/s"),
            ("bare_p50", "bare p50 ms"),
            ("of_bare", "x bare"),
        ),
        "All ask at once, again and again. `queue_depth` is 10,000 here; its default of 1,000 "
        "answers 429 to what is beyond it.",
    ),
    Curve(
        "timers",
        "Armed timers",
        "timers",
        (
            ("late", "late ms"),
            ("late.p99", "p99 ms"),
            ("job_late", "job's row late ms"),
            ("call_at", "call_at late ms"),
            ("apscheduler", "APScheduler late ms"),
            ("cpu", "ticking, % of a core"),
            ("idle_cpu", "none due, % of a core"),
            ("idle_cpu_all", "… with looks at the site"),
            ("load", "start s"),
            ("after_start", "CPU s after the start"),
            ("deploy", "deploy s"),
        ),
        "Three are due each second. Late is the first line of the function, call_at's and "
        "APScheduler's the first line of the callback in their own process.",
    ),
    Curve(
        "bodies",
        "Bodies, echoed",
        "bytes",
        (
            ("taak", "ms"),
            ("bare", "bare ms"),
            ("of_bare", "x bare"),
            ("gateway_peak", "gateway peak MiB"),
            ("worker_peak", "worker peak MiB"),
            ("server_peak", "bare peak MiB"),
        ),
        "One connection, one call at a time. Peaks are above what the process had before.",
    ),
    Curve(
        "queue",
        "Queued rows",
        "rows",
        (
            ("enqueue", "enqueue ms"),
            ("enqueue_ratio", "of 100 rows'"),
            ("claim", "claim ms"),
            ("claim_ratio", "of 100 rows'"),
            ("complete", "complete ms"),
            ("complete_ratio", "of 100 rows'"),
            ("fill", "filled, rows/s"),
        ),
        "SQLite, one caller, each step with its synced commit; in turn with a store of 100 rows.",
    ),
    Curve(
        "jobs",
        "Continuous jobs",
        "jobs",
        (
            ("restart", "end to next start, ms"),
            ("restart_ratio", "of one job's"),
            ("idle_cpu", "all sleep, % of a core"),
        ),
    ),
)


def curve_text(curve: Curve, figures: Figures) -> str:
    """Return one table; empty if nothing of it was measured."""
    prefix = f"growth.{curve.what}."
    found = (name.removeprefix(prefix) for name in figures if name.startswith(prefix))
    sizes = sorted({int(rest.split(".")[0]) for rest in found})
    columns = [
        (key, heading)
        for key, heading in curve.columns
        if any(f"{prefix}{size}.{key}" in figures for size in sizes)
    ]
    if not columns:
        return ""
    values = {
        (size, key): figures.get(f"{prefix}{size}.{key}", {}).get("value")
        for size in sizes
        for key, _ in columns
    }
    most = max((values[size, columns[0][0]] or 0.0 for size in sizes), default=0.0)
    lines = [f"### {curve.title}", ""]
    if curve.text:
        lines += [curve.text, ""]
    headings = [curve.size, *(heading for _, heading in columns), columns[0][1]]
    lines += [row(headings), "|" + "---:|" * (len(headings) - 1) + "---|"]
    for size in sizes:
        first = values[size, columns[0][0]] or 0.0
        cells = [f"{size:,}", *(number(values[size, key]) for key, _ in columns)]
        lines.append(row([*cells, f"`{_bar(first, most)}`"]))
    return "\n".join(lines) + "\n"


def row(cells: Sequence[str]) -> str:
    """Return one row of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def number(value: float | None) -> str:
    """Return a figure with the digits that mean something."""
    if value is None:
        return "-"
    size = abs(value)
    return f"{value:,.{0 if size >= 100 or value == 0 else 1 if size >= 10 else 2}f}"


def _bar(value: float, most: float) -> str:
    return "#" * max(round(value / most * _BAR), 1) if most > 0 and value > 0 else "."
