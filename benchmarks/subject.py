"""Servers under load in turn: all are up at once, so that what slows one slows the others, too.

A ratio is the median of the ratios of the rounds. Processor time is that of the whole tree.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cpu import on_core, tree_seconds
from figure import Figure, median_ratio
from load import Load, Target, generator, must_serve, put_load

SERVER_CORE, LOAD_CORE = 0, 1


@dataclass(frozen=True)
class Subject:
    """A server, and what is asked of it."""

    name: str
    pid: int
    target: Target


@dataclass
class Seen:
    """What the rounds saw of one subject."""

    loads: list[Load] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)

    def rates(self) -> list[float]:
        """Return the throughput of each round."""
        return [load.per_second for load in self.loads]

    def p50s(self) -> list[float]:
        """Return the middle latency of each round."""
        return [load.p50_us for load in self.loads]

    def p99s(self) -> list[float]:
        """Return the tail latency of each round."""
        return [load.p99_us for load in self.loads]


Cell = Mapping[str, Seen]


def visit_all(
    subjects: Sequence[Subject],
    connections: int,
    rounds: int,
    *,
    seconds: int = 1,
    pinned: bool = False,
) -> Cell:
    """Put a second (or more) of load on each in turn, so many rounds, after one to warm up.

    `pinned`: servers on one core, load on another, since how an idle core wakes up would decide.
    """
    for subject in subjects:
        must_serve(subject.target)
    seen = {subject.name: Seen() for subject in subjects}
    for number in range(rounds + 1):
        for subject in subjects:
            if pinned:
                with on_core(SERVER_CORE, [subject.pid]):
                    load, cpu_us = _visit(subject, connections, seconds, LOAD_CORE)
            else:
                load, cpu_us = _visit(subject, connections, seconds, None)
            if number:  # the first warms up: workers forked, code paths touched
                seen[subject.name].loads.append(load)
                seen[subject.name].cpu_us.append(cpu_us)
    return seen


def _visit(
    subject: Subject, connections: int, seconds: int, core: int | None
) -> tuple[Load, float]:
    before = tree_seconds(subject.pid)
    load = put_load(subject.target, connections, seconds, core)
    return load, (tree_seconds(subject.pid) - before) * 1e6 / max(load.requests, 1)


def cell_figures(prefix: str, cell: Cell, base: str = "bare") -> list[Figure]:
    """Return one line of the table for each subject, and its parts for the document."""
    figures: list[Figure] = []
    for name, seen in cell.items():
        figures += _of_one(f"{prefix}.{name}", seen, cell[base])
    return figures


def _of_one(key: str, seen: Seen, base: Seen) -> list[Figure]:
    ratio = median_ratio(seen.rates(), base.rates())
    p50, p99, cpu = (statistics.median(v) for v in (seen.p50s(), seen.p99s(), seen.cpu_us))
    errors = sum(load.errors for load in seen.loads)
    note = f"{ratio:.2f} x bare, p50 {p50:.0f} us, p99 {p99:.0f} us, CPU {cpu:.1f} us/req"
    note += f", {errors} ERRORS" if errors else ""
    return [
        Figure(key, statistics.median(seen.rates()), "req/s", "higher", f"{note} ({generator()})"),
        Figure(f"{key}.ratio", ratio, "x bare", "higher", detail=True),
        Figure(f"{key}.p50", p50, "us", "lower", detail=True),
        Figure(f"{key}.p99", p99, "us", "lower", detail=True),
        Figure(
            f"{key}.p50_ratio",
            median_ratio(seen.p50s(), base.p50s()),
            "x bare",
            "lower",
            detail=True,
        ),
        Figure(f"{key}.cpu", cpu, "us/req", "lower", detail=True),
        Figure(
            f"{key}.cpu_ratio",
            median_ratio(seen.cpu_us, base.cpu_us),
            "x bare",
            "lower",
            detail=True,
        ),
        Figure(f"{key}.errors", errors, "answers", "lower", detail=True),
    ]


def over(prefix: str, cell: Cell, ours: str, theirs: str) -> list[Figure]:
    """Return how one subject compares with another: throughput, p50 and p99 as ratios."""
    a, b = cell[ours], cell[theirs]
    return [
        Figure(prefix, median_ratio(a.rates(), b.rates()), f"x {theirs}", "higher", detail=True),
        Figure(
            f"{prefix}.p50", median_ratio(a.p50s(), b.p50s()), f"x {theirs}", "lower", detail=True
        ),
        Figure(
            f"{prefix}.p99", median_ratio(a.p99s(), b.p99s()), f"x {theirs}", "lower", detail=True
        ),
    ]
