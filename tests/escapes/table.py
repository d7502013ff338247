"""The published table: which attacks go through when one layer is left out.

    python -m tests.escapes.table

writes layers.md anew, from runs on this machine (as root; a second time without any right).
"""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import fill

from .attacks import ATTACKS
from .modes import BARE, LAYERS, WITHOUT, Mode, Result, run

FILE = Path(__file__).parent / "layers.md"

_HEAD = """\
# What opens when one layer is left out

Written by `python -m tests.escapes.table`; tests/real/test_escapes.py fails when it does not tell
the truth. {total} attacks are tried in a sandbox of the standard level that lacks one layer, as a
program and as a function. With all layers none goes through. Where there is no mark, another layer
stood behind the one that was missing: so it is with {two} attacks, whichever layer is left out.

A mark is no hole: it tells which layer alone stops the attack. What the kernel of the machine that
wrote this does not offer at all proves nothing here, and has no mark:
{absent}.
"""
_TITLES = {
    True: "The platform runs as root",
    False: "The platform runs as a user without any right",
}
_ROW = re.compile(r"^\| `(\w+)` \|(.*)\|$")

Marks = dict[tuple[bool, str], frozenset[str]]


def measured() -> Marks:
    """Return, from runs on this machine, what opens for each kind of platform and each layer."""
    return {(mode.root, mode.without): _result(mode).open for mode in WITHOUT}


def _result(mode: Mode) -> Result:
    result = run(mode)
    if isinstance(result, Exception):
        raise result
    if result.broken:
        raise AssertionError(f"the run of {mode} proves nothing: {result.broken}")
    return result


def published() -> Marks:
    """Return what the table says."""
    found: dict[tuple[bool, str], set[str]] = {(m.root, m.without): set() for m in WITHOUT}
    root = True
    for line in FILE.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            root = line == f"## {_TITLES[True]}"
        elif row := _ROW.match(line):
            for layer, mark in zip(LAYERS, row[2].split("|"), strict=True):
                if mark.strip():
                    found[root, layer].add(row[1])
    return {key: frozenset(names) for key, names in found.items()}


def absent(mode: Mode) -> frozenset[str]:
    """Return the attacks that go through nowhere on this machine."""
    return frozenset(ATTACKS) - _result(mode).open


def write(marks: Marks) -> None:
    """Write the table."""
    opened = frozenset[str]().union(*marks.values())
    missing = fill(", ".join(f"`{name}`" for name in sorted(absent(BARE[0]))), 100)
    two = len(ATTACKS) - len(opened) - len(absent(BARE[0]) - opened)
    parts = [_HEAD.format(total=len(ATTACKS), two=two, absent=missing)]
    for root, title in _TITLES.items():
        parts += [f"## {title}", _table({layer: marks[root, layer] for layer in LAYERS})]
    FILE.write_text("\n".join(parts), encoding="utf-8")


def _table(columns: dict[str, frozenset[str]]) -> str:
    names = [name for name in ATTACKS if any(name in opened for opened in columns.values())]
    lines = [
        "",
        "| attack | " + " | ".join(f"without {layer}" for layer in columns) + " |",
        "|---|" + "---|" * len(columns),
    ]
    for name in names:
        marks = ("open" if name in opened else "" for opened in columns.values())
        lines.append(f"| `{name}` | " + " | ".join(marks) + " |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    write(measured())
    print(f"{FILE} is written")
