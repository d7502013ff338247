"""`taak invoke`: one call of a function, through the platform, whatever its trigger and key."""

from __future__ import annotations

import base64
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli.client import segment
from gateway.cli.exits import CliError, ExitCode
from gateway.cli.terminal import milliseconds
from gateway.cli.verb import Session, verb

_Text = str | None


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("invoke")(invoke)


@verb
def invoke(
    session: Session,
    name: Annotated[str, typer.Argument(help="Name of the function.")],
    *,
    data: Annotated[_Text, typer.Option("--data", "-d", help="Body, or the event's text.")] = None,
    file: Annotated[
        _Text, typer.Option("--file", "-f", help="The same from a file (- stdin).")
    ] = None,
    method: Annotated[_Text, typer.Option("--method", "-X", help="GET; with a body POST.")] = None,
    path: Annotated[
        str, typer.Option(help="Path behind the prefix, for a route with parameters.")
    ] = "",
    query: Annotated[list[str] | None, typer.Option("--query", help="name=value; repeat.")] = None,
    header: Annotated[
        list[str] | None, typer.Option("--header", "-H", help="'name: value'.")
    ] = None,
) -> None:
    """Call a function now and print what it answers.

    A timer or another trigger fires once, past due rules aside; an HTTP function gets a request.
    Exit code 8: the function failed.
    """
    body = _body(data, file)
    request: dict[str, Any] = {
        **({"method": method} if method else {}),
        "path": path,
        "query": dict(_pair(text, "=", "--query") for text in query or []),
        "headers": dict(_pair(text, ":", "--header") for text in header or []),
        **({} if body is None else {"input": body, "body": body}),
    }
    answer = session.client.post(f"/v1/functions/{segment(name)}/invoke", request)
    failed = answer.get("ending") != "succeeded" or (answer.get("status") or 0) >= 500

    def human() -> None:
        _print_body(answer)
        spent = milliseconds(answer.get("exec_ms"))
        words = [answer.get("ending"), answer.get("status"), spent, answer.get("invocation_id")]
        session.terminal.note("  ".join(str(word) for word in words if word))

    session.terminal.result(answer, human, [str(answer.get("invocation_id", ""))])
    if failed:
        raise _failure(name, answer)


def _failure(name: str, answer: dict[str, Any]) -> CliError:
    reason = answer.get("error") or f"status {answer.get('status')}"
    detail = str(answer.get("detail") or "").rstrip()
    return CliError(
        f"{name} {answer.get('ending')}: {reason}" + (f"\n{detail}" if detail else ""),
        ExitCode.RUN_FAILED,
        hint=f"its output: taak logs {name}",
    )


def _body(data: str | None, file: str | None) -> str | None:
    if data is not None and file is not None:
        raise CliError("give --data or --file, not both", ExitCode.USAGE)
    if file is None:
        return data
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CliError(f"--file {file}: {error}", ExitCode.USAGE) from error


def _pair(text: str, mark: str, option: str) -> tuple[str, str]:
    name, found, value = text.partition(mark)
    if not found or not name.strip():
        raise CliError(f"{option} {text!r}: write it as name{mark}value", ExitCode.USAGE)
    return name.strip(), value.strip() if mark == ":" else value


def _print_body(answer: dict[str, Any]) -> None:
    encoded = answer.get("body_base64")
    if encoded:
        sys.stdout.flush()
        sys.stdout.buffer.write(base64.b64decode(encoded))
        sys.stdout.buffer.flush()
        return
    body = answer.get("body") or ""
    if body:
        print(body, end="" if body.endswith("\n") else "\n")
