"""`taak logs`: what a function, a job or a run has printed, and what it prints from now on."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import typer

from gateway.cli.client import ServerEvent, segment
from gateway.cli.exits import CliError, ExitCode
from gateway.cli.terminal import when
from gateway.cli.verb import Session, verb

_RECONNECT_S = 60.0  # how long a platform may be away (a restart) before following gives up


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("logs")(logs)


@verb
def logs(
    session: Session,
    name: Annotated[str, typer.Argument(help="Function or job; functions first if both.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="From the end.")] = 100,
    kind: Annotated[str, typer.Option(help="function, triggered or continuous.")] = "",
) -> None:
    """Print the last output of a function or a job; with -f also what comes."""
    found = _find(session, name, kind)
    if found == "function":
        _function_logs(session, f"/v1/functions/{segment(name)}/logs", lines, follow=follow)
    else:
        _text_logs(session, f"/v1/jobs/{found}/{segment(name)}/logs", lines, follow=follow)


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


def _text_logs(session: Session, path: str, lines: int, *, follow: bool) -> None:
    if follow:
        for event in follow_events(session, path, {"tail": lines}):
            print(event.data, flush=True)
        return
    text = session.client.text(path, {"tail": lines})
    session.terminal.result({"text": text}, lambda: _write(text), text.splitlines())


def _write(text: str) -> None:
    if text:
        sys.stdout.write(text if text.endswith("\n") else text + "\n")
        sys.stdout.flush()


def follow_run(session: Session, run_id: int) -> None:
    """Print a run's output until the run ends."""
    for event in session.client.events(f"/v1/runs/{run_id}/log", {"follow": 1}):
        if event.name == "end":
            return
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
    last_id, wait, seen, away_since = "", 0.1, False, clock()
    wanted = {**query, "follow": 1}
    while True:
        try:
            for event in session.client.events(path, wanted, last_id=last_id):
                if event.name == "end":
                    return
                last_id, wait, seen = event.id or last_id, 0.1, True
                yield event
                away_since = clock()
            seen = True
        except CliError as error:
            away = clock() - away_since > _RECONNECT_S
            if error.code is not ExitCode.UNREACHABLE or away or not seen:
                raise
        wanted = {"follow": 1, "tail": 0}
        pause(wait)
        wait = min(wait * 2, 5.0)
