"""`taak deployments`: what was deployed when, and why a deployment was refused."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from gateway.cli.client import segment
from gateway.cli.exits import CliError, ExitCode
from gateway.cli.listing import problem_line
from gateway.cli.terminal import when
from gateway.cli.verb import Session, verb


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    group = typer.Typer(rich_markup_mode=None)
    group.callback(invoke_without_command=True)(list_deployments)
    group.command("show")(show)
    group.command("reconcile")(reconcile)
    app.add_typer(group, name="deployments")


@verb
def list_deployments(
    session: Session,
    *,
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, max=200, help="At most so many.")] = 20,
) -> None:
    """List deployments, newest first; or look at one: show; or deploy now: reconcile."""
    if context.invoked_subcommand is not None:
        return
    items = session.client.get("/v1/deployments", {"limit": limit})["items"]
    columns = ["DEPLOYMENT", "STATE", "STARTED", "GENERATION", "REASON", "CHANGES"]

    def human() -> None:
        session.terminal.table(columns, [_row(item) for item in items])
        live = [item["id"] for item in items if item.get("state") == "live"]
        for item in items:
            if item.get("state") == "refused":
                _print_problems(item, "was refused")
            elif item["id"] in live[:1]:  # the newest: what others lacked is past
                _print_problems(item, "serves, but")

    session.terminal.result(items, human, [str(item["id"]) for item in items])


def _row(item: dict[str, Any]) -> list[object]:
    return [
        item["id"],
        item.get("state"),
        when(item.get("started_at")),
        item.get("generation"),
        item.get("reason"),
        _changes(item),
    ]


def _changes(item: dict[str, Any]) -> str:
    signs = (("+", "added"), ("~", "changed"), ("-", "removed"))
    words = [sign + str(name) for sign, key in signs for name in item.get(key) or []]
    count = len(item.get("problems") or [])
    told = f"({count} problem{'s' if count > 1 else ''})" if count else ""
    return " ".join(filter(None, [*words, told]))


def _print_problems(item: dict[str, Any], what: str) -> None:
    """Tell below the table what is wrong with a deployment, if anything is."""
    problems = item.get("problems") or []
    if problems:
        print(f"\n{item['id']} {what}:")
    for problem in problems:
        print(f"  {problem_line(problem)}")


@verb
def show(session: Session, deployment: Annotated[str, typer.Argument(help="Its id.")]) -> None:
    """Show one deployment with its problems."""
    found = session.client.get(f"/v1/deployments/{segment(deployment)}")
    _show(session, found)


@verb
def reconcile(session: Session) -> None:
    """Compare the site with what runs now, and deploy what differs; exit 3 if it is refused."""
    found = session.client.post("/v1/deployments:reconcile")
    _show(session, found)
    if found.get("state") == "refused":
        raise CliError(
            "the deployment was refused; the last good release goes on serving",
            ExitCode.INVALID,
            facts={"problems": found.get("problems")},
        )


def _show(session: Session, found: dict[str, Any]) -> None:
    def human() -> None:
        plain = {k: v for k, v in found.items() if k != "problems"}
        session.terminal.facts(plain.items())
        for problem in found.get("problems") or []:
            print(problem_line(problem) if isinstance(problem, dict) else problem)

    session.terminal.result(found, human, [str(found.get("state", ""))])
