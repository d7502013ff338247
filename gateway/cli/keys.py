"""`taak keys`: the keys of the home on this machine; keys of management, made and revoked."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli.client import segment
from gateway.cli.exits import CliError, ExitCode
from gateway.cli.target import secrets_file
from gateway.cli.verb import Session, verb
from gateway.key_file import SCOPED_FILE


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("keys")(keys)


@verb
def keys(
    session: Session,
    action: Annotated[str, typer.Argument(help="list, create NAME, revoke NAME.")] = "list",
    name: Annotated[str, typer.Argument(help="Name of a key of management.")] = "",
    scope: Annotated[
        list[str] | None,
        typer.Option(
            "--scope",
            help="Of a new key: invoke, read, operate, deploy, debug, admin, or job:NAME:run."
            " May be repeated.",
        ),
    ] = None,
    show: Annotated[bool, typer.Option("--show", help="Print the keys themselves.")] = False,
    master: Annotated[bool, typer.Option("--master", help="Print the master key alone.")] = False,
) -> None:
    """List the keys of the home, make a key for a client of management, or revoke one."""
    if action not in _ACTIONS:
        raise CliError(f"{action!r} is none of {', '.join(_ACTIONS)}", ExitCode.USAGE)
    if action != "list" and not name:
        raise CliError(f"taak keys {action} needs a name", ExitCode.USAGE)
    _ACTIONS[action](session, name, scope or [], show, master)


def _list(session: Session, _name: str, _scopes: list[str], show: bool, master: bool) -> None:
    found = _read_all(secrets_file(session.home))
    if master:
        print(next(key["value"] for key in found if key["scope"] == "master"))
        return
    shown = [{**key, "value": key["value"] if show else _masked(key["value"])} for key in found]

    def human() -> None:
        rows = [[key["scope"], key["name"], key["value"]] for key in shown]
        session.terminal.table(["SCOPE", "NAME", "KEY"], rows)

    session.terminal.result(shown, human, [f"{key['scope']}/{key['name']}" for key in shown])


def _create(session: Session, name: str, scopes: list[str], *_: bool) -> None:
    made = session.client.post("/v1/keys", {"name": name, "scopes": scopes})

    def human() -> None:
        print(f"{made['key']}\n\nThis is shown once. It opens: {', '.join(made['scopes'])}.")

    session.terminal.result(made, human, [made["key"]])


def _revoke(session: Session, name: str, *_: object) -> None:
    session.client.delete(f"/v1/keys/{segment(name)}")
    session.terminal.result({"revoked": name}, lambda: print(f"{name} is revoked."), [name])


_ACTIONS: dict[str, Callable[[Session, str, list[str], bool, bool], None]] = {
    "list": _list,
    "create": _create,
    "revoke": _revoke,
}


def _masked(value: str) -> str:
    if value.startswith("("):
        return value
    return value[:4] + "…" if len(value) > 12 else "…"


def _read_all(host_file: Path) -> list[dict[str, str]]:
    """Return every key of host.json and of the functions' files beside it."""
    host = _read(host_file)
    found = _named("master", [host.get("masterKey")])
    found += _named("host", host.get("functionKeys"))
    found += _named("system", host.get("systemKeys"))
    for key in _read(host_file.parent / SCOPED_FILE, missing={}).get("keys", []):
        scopes = " ".join(key["scopes"])
        found.append({"scope": scopes, "name": key["name"], "value": "(only its digest is kept)"})
    for file in sorted(host_file.parent.glob("*.json")):
        if file not in {host_file, host_file.parent / SCOPED_FILE}:
            found += _named(f"function {file.stem}", _read(file).get("keys"))
    return found


def _named(scope: str, entries: Any) -> list[dict[str, str]]:
    return [
        {"scope": scope, "name": str(entry.get("name", "")), "value": str(entry.get("value", ""))}
        for entry in entries or []
        if isinstance(entry, dict)
    ]


def _read(path: Path, missing: dict[str, Any] | None = None) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        if missing is not None:
            return missing
        raise CliError(
            f"{path} does not exist",
            ExitCode.NOT_FOUND,
            hint="taak run makes it at its first start; --home names another home",
        ) from error
    except (OSError, ValueError) as error:
        raise CliError(f"{path}: {error}", ExitCode.INVALID) from error
    return document if isinstance(document, dict) else {}
