"""The one screen that `taak run` prints: where to go, what is deployed, what is missing here.

Plain values in, text out; it looks nothing up. Without a terminal the text has no colour and no
control characters, so that a log file or a test reads it line by line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_BOLD, _DIM, _GREEN, _YELLOW, _RED, _END = (
    f"\x1b[{code}m" for code in ("1", "2", "32", "33", "31", "0")
)
#: state as `/v1` says it -> the word on the screen and its colour. "ready" is kept for the last
#: line, which programs wait for.
_STATES = {
    "ready": ("ok", _GREEN),
    "error": ("ERROR", _RED),
    "disabled": ("off", _YELLOW),
    "Running": ("Running", _GREEN),
    "Stopped": ("Stopped", _YELLOW),
    "PendingRestart": ("PendingRestart", _YELLOW),
}


@dataclass(frozen=True, slots=True)
class FunctionLine:
    """One function: `where` is its address or its schedule, `note` its reason or next instant."""

    name: str
    trigger: str
    where: str
    state: str
    note: str = ""
    sandbox: str = ""


@dataclass(frozen=True, slots=True)
class JobLine:
    """One job: `kind` is triggered or continuous, `schedule` may be empty."""

    name: str
    kind: str
    schedule: str
    state: str
    note: str = ""
    sandbox: str = ""


@dataclass(frozen=True, slots=True)
class Missing:
    """Something that this machine lacks, and what the user can do about it."""

    what: str
    fix: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StartFacts:
    """Everything on the screen. `problems` are the lines of a refused or limping deployment."""

    version: str
    instance: str
    site: str
    home: str
    data_url: str
    management_url: str
    portal_url: str = ""
    key_file: str = ""
    functions: Sequence[FunctionLine] = ()
    jobs: Sequence[JobLine] = ()
    sandbox_level: str = ""
    sandbox_because: str = ""  # why it is less than standard, and what helps
    missing: Sequence[Missing] = ()
    problems: Sequence[str] = ()
    started_in_s: float = 0.0
    pid: int = 0


def render(facts: StartFacts, *, color: bool = False) -> str:
    """Return the screen, ending with a line that contains `ready` and a line break."""
    blocks = [
        _head(facts),
        _function_table(facts.functions),
        _job_table(facts.jobs),
        list(facts.problems),
        _missing(facts.missing),
        [_ready_line(facts)],
    ]
    lines: list[str] = []
    for block in filter(None, blocks):
        lines += ["", *block] if lines else block
    text = "\n".join(lines) + "\n"
    return text if color else _plain(text)


def _head(facts: StartFacts) -> list[str]:
    level = facts.sandbox_level
    if facts.sandbox_because:
        level += f" {_YELLOW}only: {facts.sandbox_because}{_END}"
    pairs = [
        ("functions", facts.data_url),
        ("management", facts.management_url),
        ("portal", facts.portal_url),
        ("site", facts.site),
        ("home", facts.home),
        ("master key", facts.key_file),
        ("sandbox", level),
    ]
    title = f"{_BOLD}Taak {facts.version}{_END}  {_DIM}instance {facts.instance}{_END}"
    return [title, *(f"  {name:<12}{value}" for name, value in pairs if value)]


def _function_table(functions: Sequence[FunctionLine]) -> list[str]:
    rows = [(f.name, f.trigger, f.where, f.state, f.sandbox, f.note) for f in functions]
    return _table(("FUNCTION", "TRIGGER", "WHERE", "STATE", "SANDBOX", ""), rows)


def _job_table(jobs: Sequence[JobLine]) -> list[str]:
    rows = [(job.name, job.kind, _when(job), job.state, job.sandbox, job.note) for job in jobs]
    return _table(("JOB", "KIND", "WHEN", "STATE", "SANDBOX", ""), rows)


def _when(job: JobLine) -> str:
    return "always" if job.kind == "continuous" else job.schedule or "by hand"


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Align the columns; the fourth is the state. No rows: no table."""
    shown = [[*row[:3], _STATES.get(row[3], (row[3], ""))[0], *row[4:]] for row in rows]
    if not shown:
        return []
    colors = [_STATES.get(row[3], ("", ""))[1] for row in rows]
    widths = [max(map(len, column)) for column in zip(titles, *shown, strict=True)]
    lines = [f"  {_DIM}{_padded(titles, widths)}{_END}"]
    for cells, tint in zip(shown, colors, strict=True):
        text = [cell.ljust(width) for cell, width in zip(cells, widths, strict=True)]
        if tint:
            text[3] = f"{tint}{text[3]}{_END}"
        lines.append(("  " + "  ".join(text)).rstrip())
    return lines


def _padded(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
    return "  ".join(padded).rstrip()


def _missing(missing: Sequence[Missing]) -> list[str]:
    if not missing:
        return []
    lines = [f"  {_YELLOW}missing on this machine{_END}"]
    return lines + [f"    {item.what}: {item.fix}" for item in missing]


def _ready_line(facts: StartFacts) -> str:
    words = [f"{len(facts.functions)} functions", f"{len(facts.jobs)} jobs"]
    words += [f"pid {facts.pid}"] if facts.pid else []
    words += [f"{facts.started_in_s * 1000:.0f} ms"] if facts.started_in_s else []
    return f"{_GREEN}taak is ready{_END} ({', '.join(words)}); Ctrl-C stops"


def _plain(text: str) -> str:
    for code in (_BOLD, _DIM, _GREEN, _YELLOW, _RED, _END):
        text = text.replace(code, "")
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())
