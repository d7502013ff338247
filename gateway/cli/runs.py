"""`taak runs`: the history, newest first; one run, its log, and its cancellation."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from gateway.cli.logs import Follow, Grep, Regex, Since, Stderr, Stream, Tail, query, run_log
from gateway.cli.terminal import milliseconds, when
from gateway.cli.verb import Session, verb

_RunId = Annotated[int, typer.Argument(help="Number of the run.")]


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    group = typer.Typer(rich_markup_mode=None)
    group.callback(invoke_without_command=True)(list_runs)
    group.command("show")(show)
    group.command("log")(log)
    group.command("cancel")(cancel)
    app.add_typer(group, name="runs")


@verb
def list_runs(
    session: Session,
    *,
    context: typer.Context,
    name: Annotated[str, typer.Option(help="Of this function or job.")] = "",
    kind: Annotated[str, typer.Option(help="function, triggered or continuous.")] = "",
    state: Annotated[str, typer.Option(help="success, failed, running, aborted ...")] = "",
    trigger: Annotated[str, typer.Option(help="http, timer, Schedule ...")] = "",
    since: Annotated[str, typer.Option(help="ISO instant: created then or later.")] = "",
    until: Annotated[str, typer.Option(help="ISO instant: created before it.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 25,
) -> None:
    """List runs, newest first; or look at one: show, log, cancel."""
    if context.invoked_subcommand is not None:
        return
    filters = {"name": name, "kind": kind, "state": state}
    filters |= {"trigger": trigger, "since": since, "until": until}
    items = _pages(session, filters, limit)
    columns = ["RUN", "KIND", "NAME", "TRIGGER", "STATE", "CREATED", "TOOK", "EXIT", "REASON"]

    def human() -> None:
        if items:
            session.terminal.table(columns, [_row(run) for run in items])
        else:
            print("no runs")

    session.terminal.result(items, human, [str(run["id"]) for run in items])


def _pages(session: Session, filters: dict[str, Any], limit: int) -> list[dict[str, Any]]:
    """Return up to `limit` runs; the platform gives at most 200 a page."""
    items: list[dict[str, Any]] = []
    cursor: object = None
    while len(items) < limit:
        query = {**filters, "limit": min(limit - len(items), 200), "cursor": cursor}
        page = session.client.get("/v1/runs", query)
        items += page["items"]
        cursor = page.get("cursor")
        if not cursor or not page["items"]:
            break
    return items


def _row(run: dict[str, Any]) -> list[object]:
    return [
        run["id"],
        run.get("kind"),
        run.get("name"),
        run.get("trigger"),
        run.get("state"),
        when(run.get("created_at")),
        milliseconds(run.get("exec_ms")),
        run.get("exit_code"),
        run.get("reason"),
    ]


@verb
def show(session: Session, run: _RunId) -> None:
    """Show everything that is recorded of one run."""
    found = session.client.get(f"/v1/runs/{run}")
    session.terminal.result(
        found, lambda: session.terminal.facts(found.items()), [str(found.get("state", ""))]
    )


@verb
def log(
    session: Session,
    run: _RunId,
    *,
    follow: Follow = False,
    tail: Tail = None,
    since: Since = "",
    stderr: Stderr = False,
    stream: Stream = "",
    grep: Grep = "",
    regex: Regex = "",
) -> None:
    """Print what one run wrote."""
    wanted = query(tail, since, "stderr" if stderr else stream, grep, regex)
    run_log(session, run, wanted, follow=follow)


@verb
def cancel(session: Session, run: _RunId) -> None:
    """End a run that is queued or running."""
    found = session.client.post(f"/v1/runs/{run}/cancel")
    state = str(found.get("state", ""))
    session.terminal.result(found, lambda: print(f"run {run}: {state}"), [state])
