"""The store's figures (bench_store.py) in the shape of all the others."""

from __future__ import annotations

import asyncio
from typing import Any

import bench_store
from figure import Figure
from findings import Findings


def measure(findings: Findings) -> None:
    """Measure durable enqueues, whole lives of an event, and history rows."""
    found = asyncio.run(bench_store.measure(0.3 if findings.quick else 1.0))
    figures: list[Figure] = []
    for what in ("enqueue", "life"):
        for callers, values in found[what].items():
            figures.append(_rate(f"store.{what}.{callers}", values))
    figures.append(_rate("store.enqueue.16.busy_loop", found["busy_enqueue_16"]))
    for name, key in (
        ("", "finish_many_rows_per_s"),
        (".busy_loop", "busy_finish_many_rows_per_s"),
    ):
        figures.append(Figure(f"store.history{name}", found[key], "rows/s", "higher"))
    findings.add(figures)


def _rate(name: str, values: dict[str, Any]) -> Figure:
    note = f"p50 {values['p50_ms']} ms, p99 {values['p99_ms']} ms"
    return Figure(name, values["per_s"], "/s", "higher", note)
