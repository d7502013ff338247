"""RESULTS.md from the document of a run.

    python benchmarks/results.py [DOCUMENT.json]

Everything is written anew but the part below its last heading, which is kept by hand.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from curves import CURVES, Figures, curve_text, number, row
from document import OUT
from goals import GROUPS, Goal

PAGE = Path(__file__).resolve().parent / "RESULTS.md"
BY_HAND = "## What was tried without gain"
_CONNECTIONS = (1, 16, 64)
_NAMES = {"bare": "bare aiohttp Application, uvloop", "taak": "**Taak**"}
_SHOWN = ("cold.", "start.", "jobs.", "memory.", "peers.memory.", "redeploy.", "store.", "timers.")
_HEAD = """# Results

Written by `make bench ARGS="--results"`; what stands below “{by_hand}” is kept by hand.

Servers that are compared are up at once and visited in turn; a ratio (x) is the median of the
ratios of the rounds. Trust ratios: absolute figures move with the machine. In Taak everything is
on: routing, function keys, limits, time-outs, metrics, the record of each call, and the sandbox as
the table says.
"""


def write_results(document: Path) -> Path:
    """Write the page from a run's document; return where."""
    run = json.loads(document.read_text())
    kept = _by_hand()
    PAGE.write_text("\n".join(_parts(run)) + f"\n{kept}")
    return PAGE


def _by_hand() -> str:
    text = PAGE.read_text() if PAGE.exists() else ""
    start = text.find(BY_HAND)
    return text[start:] if start >= 0 else f"{BY_HAND}\n\nNothing is noted yet.\n"


def _parts(run: Mapping[str, Any]) -> Iterator[str]:
    figures: Figures = {figure["name"]: figure for figure in run["figures"]}
    yield _HEAD.format(by_hand=BY_HAND.removeprefix("## "))
    yield _machine(run)
    yield _goals(figures, run["others"])
    yield "## Side by side\n"
    sides = (_side_by_side(f"peers.c{n}", n, figures, run["others"]) for n in _CONNECTIONS)
    yield from filter(None, (*sides, _dispatch(figures)))
    yield "## Other figures\n"
    yield _others(figures)
    yield "## Growth\n"
    yield from filter(None, (curve_text(curve, figures) for curve in CURVES))
    yield _left_out(run)


def _machine(run: Mapping[str, Any]) -> str:
    machine = run["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    facts = {
        "processor": f"{machine['processor']}, {machine['cores']} cores",
        "memory": f"{machine['memory_gib']} GiB, {machine['available_gib']} GiB available",
        "system": f"{machine['system']}, kernel {machine['kernel']}",
        "Python": machine["python"],
        "packages": packages,
        "load": machine["load_generator"],
        "user": machine["user"],
        "load average before": machine["load_1min"],
        "at": run["at"],
        "commit": machine["commit"] or "-",
        "command": f"`{_command(run['command'])}`",
        **run["remarks"],
    }
    if run["failed"]:
        facts["FAILED"] = ", ".join(run["failed"])
    lines = ["## The machine and the run", "", "| | |", "|---|---|"]
    lines += [row([name, str(fact)]) for name, fact in facts.items()]
    return "\n".join(lines) + "\n"


def _command(arguments: Sequence[str]) -> str:
    return f'make bench ARGS="{" ".join(arguments)}"' if arguments else "make bench"


def _goals(figures: Figures, others: Mapping[str, Any]) -> str:
    values = {name: float(figure["value"]) for name, figure in figures.items()}
    lines = ["## Goals", ""]
    for title, goals in GROUPS.items():
        lines += [f"### {title}", "", row(["", "", "goal", "stretch", "measured", ""])]
        lines.append("|---|---|---|---|---:|---|")
        lines += [_goal(goal, values, others) for goal in goals]
        lines.append("")
    return "\n".join(lines)


def _goal(goal: Goal, values: Mapping[str, float], others: Mapping[str, Any]) -> str:
    value = values.get(goal.figure)
    measured = f"{number(value)} {goal.unit}" if value is not None else "-"
    verdict = goal.verdict(values)
    missing = [
        other["reason"]
        for name, other in others.items()
        if other["reason"] and name in goal.figure.replace("of_", "")
    ]
    if value is None and missing:
        verdict += f": {missing[0]}"
    cells = [goal.id, goal.text, goal.bound(goal.goal), goal.bound(goal.stretch), measured, verdict]
    return row(cells)


def _side_by_side(
    prefix: str, connections: int, figures: Figures, others: Mapping[str, Any]
) -> str:
    names = [
        name.removeprefix(f"{prefix}.")
        for name in figures
        if name.startswith(f"{prefix}.") and name.count(".") == 2
    ]
    if not names:
        return ""
    plural = "s" if connections > 1 else ""
    lines = [f"### {connections} connection{plural}", ""]
    lines.append(row(["", "versions", "req/s", "x bare", "p50 us", "p99 us", "CPU us/req"]))
    lines.append("|---|---|---:|---:|---:|---:|---:|")
    for name in names:
        other = others.get(name, {"title": _NAMES.get(name, name), "versions": {}})
        versions = ", ".join(f"{what} {which}" for what, which in other["versions"].items())
        cells = [other["title"], versions, *_measured(f"{prefix}.{name}", figures)]
        lines.append(row(cells))
    return "\n".join(lines) + "\n"


def _dispatch(figures: Figures) -> str:
    """Return Taak's own variants beside the bare handler."""
    names = [n for n in figures if n.startswith("dispatch.") and n.count(".") == 2]
    if not names:
        return ""
    lines = ["### Variants of the call", "", row(["", "req/s", "x bare", "p50", "p99", "CPU"])]
    lines.append("|---|---:|---:|---:|---:|---:|")
    lines += [row([name.removeprefix("dispatch."), *_measured(name, figures)]) for name in names]
    text = (
        "`keyed` has a function key, `anonymous` none; `azure` answers with an HttpResponse; "
        "`strict` has `prefetch` 0 and one worker; `pinned`: servers on one "
        "core, the load on the other."
    )
    return "\n".join([*lines, "", text]) + "\n"


def _measured(name: str, figures: Figures) -> list[str]:
    parts = [name, *(f"{name}.{part}" for part in ("ratio", "p50", "p99", "cpu"))]
    cells = [number(figures[part]["value"]) for part in parts]
    errors = figures[f"{name}.errors"]["value"]
    return [*cells[:-1], f"{cells[-1]}{f' ({errors} ERRORS)' if errors else ''}"]


def _others(figures: Figures) -> str:
    lines = [row(["", "", "", ""]), "|---|---:|---|---|"]
    lines += [
        row([name, number(figure["value"]), figure["unit"], figure["note"]])
        for name, figure in figures.items()
        if name.startswith(_SHOWN) and not figure["detail"]
    ]
    return "\n".join(lines) + "\n"


def _left_out(run: Mapping[str, Any]) -> str:
    left = [other for other in run["others"].values() if other["reason"]]
    lines = ["## Left out", ""]
    lines += [f"- {other['title']}: {other['reason']}" for other in left] or ["Nobody."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    given = sys.argv[1:]
    print(write_results(Path(given[0]) if given else OUT / "latest.json"))
