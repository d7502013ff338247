"""`taak version` and `taak openapi`: what this is, and the description of its interface."""

from __future__ import annotations

import json
import platform

import typer

from gateway.cli.verb import Session, verb
from gateway.version import version as platform_version


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command("version")(version)
    app.command("openapi")(openapi)


@verb
def version(session: Session) -> None:
    """Print the versions of Taak and of the Python that runs it."""
    facts = {"taak": platform_version(), "python": platform.python_version()}
    session.terminal.result(facts, lambda: session.terminal.facts(facts.items()), [facts["taak"]])


@verb
def openapi(session: Session) -> None:
    """Print the OpenAPI document of the management listener."""
    print(json.dumps(session.client.get("/openapi.json"), indent=2, ensure_ascii=False))
