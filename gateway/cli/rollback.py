"""`taak rollback`: serve an earlier release again, and have the site's files as they were then."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli.client import Client, segment
from gateway.cli.deploy import show_end
from gateway.cli.listing import problem_line
from gateway.cli.verb import Session, verb

_WAIT_S = 300.0


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("rollback")(rollback)


@verb
def rollback(
    session: Session,
    deployment: Annotated[
        str, typer.Argument(help="An id of `taak deployments`; else the one before.")
    ] = "previous",
) -> None:
    """Go back to an earlier deployment: the site's files and what serves. Exit 3: it was refused.

    Without an id it is the last one that served something else than what serves now.
    """
    path = f"/v1/deployments/{segment(deployment)}/rollback"
    found = Client(session.target, timeout_s=_WAIT_S).post(path)
    for problem in found.get("problems") or []:
        session.terminal.say(problem_line(problem))
    show_end(session, found)
