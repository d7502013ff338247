"""`taak debug JOB`: a continuous job under its debugger, and a local port that leads to it."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from gateway.cli.client import segment
from gateway.cli.debug_entries import hints, launch_entry
from gateway.cli.exits import CliError, ExitCode
from gateway.cli.terminal import when
from gateway.cli.verb import Session, verb

_START_S = 30.0
_PAUSE_S = 0.1


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("debug")(debug)


@verb
def debug(
    session: Session,
    name: Annotated[str, typer.Argument(help="A continuous job in Python, Node or Java.")],
    *,
    port: Annotated[int, typer.Option(help="Local port; 0 picks a free one.", min=0)] = 0,
    wait: Annotated[
        bool, typer.Option("--wait", help="Start the program only once a client has attached.")
    ] = False,
    duration_s: Annotated[
        float | None, typer.Option(help="Seconds until it goes off by itself; an hour at most.")
    ] = None,
    local_root: Annotated[
        str, typer.Option(help="Where the job's files are on this machine, for path mappings.")
    ] = "",
    off: Annotated[bool, typer.Option("--off", help="End debugging.")] = False,
    state: Annotated[bool, typer.Option("--state", help="Only show how it is.")] = False,
) -> None:
    """Run a continuous job under its debugger, and open a local port that leads to it.

    Ctrl-C closes the port; the job stays under its debugger until --off, or until its time is over.
    """
    path = f"/v1/jobs/{_kind(session, name)}/{segment(name)}/debug"
    if off or state:
        told = session.client.delete(path) if off else session.client.get(path)
        shown = f"{name}: debugging is {told['state']}" + _until(told)
        session.terminal.result(told, lambda: print(shown), [told["state"]])
        return
    begun = session.client.post(path, {"wait": wait, "duration_s": duration_s})
    begun = {**begun, **_started(session, path)}
    _carry(session, path, begun, port, local_root)


def _kind(session: Session, name: str) -> str:
    """Return the kind of the job: a triggered one is refused by the platform, in its words."""
    known = session.client.find(f"/v1/jobs/continuous/{segment(name)}")
    triggered = known is None and session.client.find(f"/v1/jobs/triggered/{segment(name)}")
    return "triggered" if triggered else "continuous"


def _started(session: Session, path: str) -> dict[str, Any]:
    """Return the state once a process runs under the debugger, or after a while as it is."""
    deadline = time.monotonic() + _START_S
    while True:
        told: dict[str, Any] = session.client.get(path)
        if told["state"] != "waiting" or time.monotonic() > deadline:
            return told
        time.sleep(_PAUSE_S)


def _carry(session: Session, path: str, begun: dict[str, Any], port: int, local_root: str) -> None:
    import asyncio

    from gateway.cli.tunnel import Tunnel

    tokens = [begun["token"]]  # the first is here; each further connection asks for its own

    def new_token() -> str:
        with suppress(IndexError):
            return str(tokens.pop())
        return str(session.client.post(f"{path}/tokens")["token"])

    def left() -> float:
        try:
            told = session.client.get(path)
        except CliError as error:
            if error.code is ExitCode.UNREACHABLE:
                return 1.0  # the platform is being restarted, perhaps
            raise
        return _left_s(told)

    tunnel = Tunnel(session.target.url + begun["tunnel"], new_token, session.terminal.note)
    try:
        asyncio.run(tunnel.serve(port, lambda own: _show(session, begun, own, local_root), left))
    except KeyboardInterrupt:
        name = begun["job"]
        session.terminal.note(f"{name} stays under its debugger: taak debug {name} --off ends it")
        raise
    session.terminal.note(f"debugging of {begun['job']} is over")


def _show(session: Session, begun: dict[str, Any], port: int, local_root: str) -> None:
    entry = launch_entry(begun, port, local_root)
    shown = {name: value for name, value in begun.items() if name != "token"}

    def human() -> None:
        print(f"{begun['job']}: {begun['debugger']} at 127.0.0.1:{port}{_until(begun)}")
        print("VS Code, launch.json:")
        print(json.dumps(entry, indent=2, ensure_ascii=False))
        for line in hints(begun, port):
            print(line)
        print("Ctrl-C closes the port; when the job starts anew, attach again at the same one.")

    session.terminal.result({**shown, "port": port, "entry": entry}, human, [str(port)])
    print(end="", flush=True)  # whoever started us reads it while we go on


def _until(told: dict[str, Any]) -> str:
    return f" until {when(told['ends'])}" if told.get("ends") else ""


def _left_s(told: dict[str, Any]) -> float:
    """Return the seconds until debugging ends by itself; a second more than the platform says."""
    if told["state"] == "off" or not told["ends"]:
        return 0.0
    left = datetime.fromisoformat(told["ends"]) - datetime.now(UTC)
    return max(left.total_seconds(), 0.0) + 1.0
