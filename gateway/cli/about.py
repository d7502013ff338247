"""`taak version` and `taak openapi`: what this is, and the description of its interface."""

from __future__ import annotations

import json
import platform
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version

import typer

from gateway.cli.verb import Session, verb


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command("version")(version)
    app.command("openapi")(openapi)


@verb
def version(session: Session) -> None:
    """Print the versions of Taak and of the Python that runs it."""
    facts = {"taak": _installed(), "python": platform.python_version()}
    session.terminal.result(facts, lambda: session.terminal.facts(facts.items()), [facts["taak"]])


def _installed() -> str:
    try:
        return installed_version("taak")
    except PackageNotFoundError:  # run from a source tree that was never installed
        return "unknown (not installed)"


@verb
def openapi(session: Session) -> None:
    """Print the OpenAPI document of the management listener."""
    print(json.dumps(session.client.get("/openapi.json"), indent=2, ensure_ascii=False))
