"""`taak logs`: what a function, a job or a run has printed, and what it prints from now on."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from gateway.cli.client import ServerEvent, segment
from gateway.cli.exits import CliError, ExitCode
from gateway.cli.terminal import when
from gateway.cli.verb import Session, verb

_RECONNECT_S = 60.0  # how long a platform may be away (a restart) before following gives up
#: A platform that starts knows no job yet, and says so.
_MAY_COME_BACK = frozenset({ExitCode.UNREACHABLE, ExitCode.NOT_FOUND})
_AGO = re.compile(r"(\d{1,9})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

Follow = Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C or the end.")]
Tail = Annotated[int | None, typer.Option("--tail", "--lines", "-n", min=0, help="The last lines.")]
Since = Annotated[str, typer.Option(help="An ISO instant, or so long ago: 90s, 15m, 2h, 3d.")]
Stderr = Annotated[bool, typer.Option("--stderr", help="Only what went to stderr.")]
Stream = Annotated[str, typer.Option(help="Only stdout, stderr or system.")]
Grep = Annotated[str, typer.Option(help="Only lines that have this text.")]
Regex = Annotated[str, typer.Option(help="Only where Python's re finds this; not with -f.")]


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("logs")(logs)


@verb
def logs(
    session: Session,
    name: Annotated[str, typer.Argument(help="Function or job; functions first if both.")],
    *,
    follow: Follow = False,
    tail: Tail = None,
    kind: Annotated[str, typer.Option(help="function, triggered or continuous.")] = "",
    run: Annotated[int, typer.Option(help="Only this run, by its number.")] = 0,
    since: Since = "",
    stderr: Stderr = False,
    stream: Stream = "",
    grep: Grep = "",
    regex: Regex = "",
) -> None:
    """Print the last output of a function or a job; with -f also what comes."""
    wanted = query(tail, since, "stderr" if stderr else stream, grep, regex)
    if run:
        run_log(session, run, wanted, follow=follow)
        return
    found = _find(session, name, kind)
    if found == "function":
        _refuse(wanted, "stream", "q", "regex", "since")
        lines = 100 if tail is None else tail
        _function_logs(session, f"/v1/functions/{segment(name)}/logs", lines, follow=follow)
        return
    if not since:
        wanted.setdefault("tail", 100)
    print_log(session, f"/v1/jobs/{found}/{segment(name)}/log", wanted, follow=follow)


def query(tail: int | None, since: str, stream: str, grep: str, regex: str) -> dict[str, Any]:
    """Return the query of a log that these options ask for."""
    wanted = {"since": _instant(since), "stream": stream, "q": grep, "regex": regex}
    given: dict[str, Any] = {name: value for name, value in wanted.items() if value}
    return given if tail is None else {**given, "tail": tail}


def run_log(session: Session, run: int, wanted: dict[str, Any], *, follow: bool) -> None:
    """Print the log of one run."""
    print_log(session, f"/v1/runs/{run}/log", wanted, follow=follow)


def print_log(session: Session, path: str, wanted: dict[str, Any], *, follow: bool) -> None:
    """Print a job's log; in JSON an object a line."""
    if not follow:
        _print_all_of(session, path, wanted)
        return
    as_json = session.terminal.json
    for event in follow_events(session, path, {**wanted, "format": "json" if as_json else None}):
        if event.name == "gap":
            gap = json.loads(event.data)
            told = f"[{gap['lines']} lines ({gap['bytes']} bytes) were removed here]"
            print(event.data if as_json else told, flush=True)
        else:
            print(event.data, flush=True)


def _print_all_of(session: Session, path: str, wanted: dict[str, Any]) -> None:
    """Print what is there, however much it is: as text, or as one list in JSON."""
    if not session.terminal.json:
        for text in session.client.stream(path, wanted):
            sys.stdout.write(text)
        sys.stdout.flush()
        return
    head = "["
    for text in session.client.stream(path, {**wanted, "format": "json"}):
        for item in text.split("\n")[:-1]:
            if item.startswith('{"end"'):
                _tell_end(session, json.loads(item)["end"])
                continue
            sys.stdout.write(f"{head}\n  {item}")
            head = ","
    print("[]" if head == "[" else "\n]")


def _tell_end(session: Session, end: dict[str, Any]) -> None:
    """Say beside the list if a search did not come to its end."""
    if not end.get("complete", True):
        session.terminal.note(f"not all was searched: {end.get('reason')}")


def _instant(since: str) -> str:
    """Return what --since means: an instant, or so long ago (90s, 15m, 2h, 3d)."""
    ago = _AGO.fullmatch(since.strip())
    if not ago:
        return since
    moment = datetime.now(UTC) - timedelta(seconds=int(ago[1]) * _SECONDS[ago[2]])
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _refuse(wanted: dict[str, Any], *names: str) -> None:
    if any(name in wanted for name in names):
        raise CliError(
            "--since, --stderr, --stream, --grep and --regex are for jobs; a function's lines can"
            " be piped through grep",
            ExitCode.USAGE,
        )


def _find(session: Session, name: str, kind: str) -> str:
    """Return what kind of thing has this name."""
    kinds = ["function", "continuous", "triggered"]
    if kind and kind not in kinds:
        raise CliError(f"--kind {kind!r}: give function, triggered or continuous", ExitCode.USAGE)
    for candidate in [kind] if kind else kinds:
        group = "functions" if candidate == "function" else f"jobs/{candidate}"
        if session.client.find(f"/v1/{group}/{segment(name)}") is not None:
            return candidate
    raise CliError(
        f"no function or job is called {name!r}",
        ExitCode.NOT_FOUND,
        hint="taak list shows what is deployed",
    )


def _function_logs(session: Session, path: str, lines: int, *, follow: bool) -> None:
    as_json = session.terminal.json
    if not follow:
        items = session.client.get(path, {"tail": lines})["items"]
        session.terminal.result(items, lambda: _print_all(items), map(_log_text, items))
        return
    for event in follow_events(session, path, {"tail": lines}):
        if as_json:
            print(event.data, flush=True)
        else:
            print(_log_line(json.loads(event.data)), flush=True)


def _print_all(items: list[dict[str, Any]]) -> None:
    for item in items:
        print(_log_line(item))


def _log_text(item: dict[str, Any]) -> str:
    return str(item.get("text", "")).rstrip("\n")


def _log_line(item: dict[str, Any]) -> str:
    words = [when(item.get("at")), str(item.get("invocation_id") or "")[:8]]
    level = item.get("level") or item.get("stream") or ""
    return "  ".join([*filter(None, words), f"{level:<7}", _log_text(item)])


def follow_run(session: Session, run_id: int) -> None:
    """Print a run's output until the run ends."""
    for event in follow_events(session, f"/v1/runs/{run_id}/log", {}):
        if event.name != "gap":
            session.terminal.say(event.data)


def follow_events(
    session: Session,
    path: str,
    query: dict[str, Any],
    *,
    pause: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[ServerEvent]:
    """Yield a stream's events across restarts of the platform, each once.

    The stream resumes behind the last id that was seen; without ids it starts at the end again.
    """
    last_id, wait, seen = "", 0.1, False
    away_since: float | None = None  # the first failure since something came: jobs may be quiet
    wanted = {**query, "follow": 1}
    while True:
        try:
            for event in session.client.events(path, wanted, last_id=last_id):
                if event.name == "end":
                    return
                last_id, wait, seen = event.id or last_id, 0.1, True
                wanted = {**query, "follow": 1, "tail": 0}  # what there was has been shown
                away_since = None
                yield event
            seen, away_since = True, None
        except CliError as error:
            away_since = clock() if away_since is None else away_since
            away = clock() - away_since > _RECONNECT_S
            if error.code not in _MAY_COME_BACK or away or not seen:
                raise
        pause(wait)
        wait = min(wait * 2, 5.0)
