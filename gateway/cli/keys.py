"""`taak keys`: the keys that the platform keeps in its home on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli.exits import CliError, ExitCode
from gateway.cli.target import secrets_file
from gateway.cli.verb import Session, verb


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("keys")(keys)


@verb
def keys(
    session: Session,
    show: Annotated[bool, typer.Option("--show", help="Print the keys themselves.")] = False,
    master: Annotated[bool, typer.Option("--master", help="Print the master key alone.")] = False,
) -> None:
    """List the keys of the home; their values only when asked for."""
    found = _read_all(secrets_file(session.home))
    if master:
        print(next(key["value"] for key in found if key["scope"] == "master"))
        return
    shown = [{**key, "value": key["value"] if show else _masked(key["value"])} for key in found]

    def human() -> None:
        rows = [[key["scope"], key["name"], key["value"]] for key in shown]
        session.terminal.table(["SCOPE", "NAME", "KEY"], rows)

    session.terminal.result(shown, human, [f"{key['scope']}/{key['name']}" for key in shown])


def _masked(value: str) -> str:
    return value[:4] + "…" if len(value) > 12 else "…"


def _read_all(host_file: Path) -> list[dict[str, str]]:
    """Return every key of host.json and of the functions' files beside it."""
    host = _read(host_file)
    found = _named("master", [host.get("masterKey")])
    found += _named("host", host.get("functionKeys"))
    found += _named("system", host.get("systemKeys"))
    for file in sorted(host_file.parent.glob("*.json")):
        if file != host_file:
            found += _named(f"function {file.stem}", _read(file).get("keys"))
    return found


def _named(scope: str, entries: Any) -> list[dict[str, str]]:
    return [
        {"scope": scope, "name": str(entry.get("name", "")), "value": str(entry.get("value", ""))}
        for entry in entries or []
        if isinstance(entry, dict)
    ]


def _read(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise CliError(
            f"{path} does not exist",
            ExitCode.NOT_FOUND,
            hint="taak run makes it at its first start; --home names another home",
        ) from error
    except (OSError, ValueError) as error:
        raise CliError(f"{path}: {error}", ExitCode.INVALID) from error
    return document if isinstance(document, dict) else {}
