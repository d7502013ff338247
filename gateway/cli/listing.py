"""`taak list` and `taak status`: what is deployed, and how the platform is."""

from __future__ import annotations

from typing import Any

import typer

from gateway.cli.terminal import when
from gateway.cli.verb import Session, verb


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command("list")(list_all)
    app.command("status")(status)


@verb
def list_all(session: Session) -> None:
    """List functions and jobs with trigger, state and next run."""
    functions = session.client.get("/v1/functions")["items"]
    jobs = session.client.get("/v1/jobs")["items"]
    names = [item["name"] for item in [*functions, *jobs]]

    def human() -> None:
        terminal = session.terminal
        if functions:
            columns = ["FUNCTION", "TRIGGER", "WHERE", "STATE", "NEXT", "CALLS", "WORKERS"]
            terminal.table(columns, [_function_row(item) for item in functions])
        if jobs:
            print()
            columns = ["JOB", "KIND", "STATE", "PID", "SCHEDULE", "NEXT", "LATEST RUN"]
            terminal.table(columns, [_job_row(item) for item in jobs])
        if not functions and not jobs:
            print("nothing is deployed; copy a function or a job into the site (taak status)")
        _print_problems([*functions, *jobs])

    session.terminal.result({"functions": functions, "jobs": jobs}, human, names)


def _function_row(item: dict[str, Any]) -> list[object]:
    workers = item.get("workers") or {}
    counts = item.get("counts") or {}
    return [
        item["name"],
        item.get("trigger"),
        _where(item),
        item.get("state"),
        when(first(item.get("next"))),
        counts.get("calls"),
        workers.get("total"),
    ]


def _where(item: dict[str, Any]) -> str:
    """Return the address or the schedule of a function."""
    if item.get("schedule"):
        return str(item["schedule"])
    methods = ",".join(item.get("methods") or [])
    return f"{methods} {item.get('url') or item.get('route') or ''}".strip()


def _job_row(item: dict[str, Any]) -> list[object]:
    latest = item.get("latest_run") or {}
    ended = f"{latest['state']} {when(latest.get('created_at'))}" if latest.get("state") else ""
    return [
        item["name"],
        item.get("kind"),
        _job_state(item),
        item.get("pid"),
        item.get("schedule"),
        when(first(item.get("next"))),
        ended,
    ]


def _job_state(item: dict[str, Any]) -> object:
    if item.get("error"):
        return "error"
    return f"{item.get('state')}, debugging" if item.get("debugging") else item.get("state")


def first(value: object) -> object:
    """Return the first of a list, or the value itself."""
    return (value[0] if value else None) if isinstance(value, list) else value


def _print_problems(items: list[dict[str, Any]]) -> None:
    for item in items:
        for text in filter(None, [item.get("reason"), item.get("error")]):
            print(f"{item['name']}: {text}")
        for problem in item.get("problems") or []:
            print(problem_line(problem))


def problem_line(problem: dict[str, Any]) -> str:
    """Return a problem as file:line: field: message."""
    place = str(problem.get("where") or "")
    place += f":{problem['line']}" if problem.get("line") else ""
    field = f"{problem['field']}: " if problem.get("field") else ""
    mark = "warning: " if problem.get("warning") else ""
    return f"{place}: {mark}{field}{problem.get('message', '')}"


@verb
def status(session: Session) -> None:
    """Show the running platform: addresses, state, release, and why it is not ready."""
    facts = session.client.get("/v1/status")

    def human() -> None:
        reasons = facts.get("not_ready") or []
        shown = {k: v for k, v in facts.items() if k != "not_ready"}
        session.terminal.facts([*shown.items(), ("not ready", "; ".join(map(str, reasons)))])

    session.terminal.result(facts, human, [str(facts.get("state", ""))])
