"""`taak schedule`: when something fires next, and what an expression means.

`explain` works without a platform: the schedule module is the same that the platform uses.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import typer

from gateway.cli.exits import CliError, ExitCode
from gateway.cli.verb import Session, verb
from scheduler.schedule import Schedule, ScheduleError, parse_job, parse_timer, zone_name

_Count = Annotated[int, typer.Option("--count", "-n", min=1, max=1000, help="How many.")]


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    group = typer.Typer(help="When things fire.", no_args_is_help=True, rich_markup_mode=None)
    group.command("next")(next_times)
    group.command("explain")(explain)
    app.add_typer(group, name="schedule")


@verb
def next_times(
    session: Session,
    name: Annotated[str, typer.Argument(help="A function or job with a schedule.")],
    count: _Count = 5,
) -> None:
    """Show when a deployed function or job fires next."""
    items = session.client.get("/v1/schedules")["items"]
    found = [item for item in items if item["name"].casefold() == name.casefold()]
    if not found:
        raise CliError(
            f"{name!r} has no schedule, or is not deployed",
            ExitCode.NOT_FOUND,
            hint="with a schedule: " + (", ".join(item["name"] for item in items) or "none"),
        )
    item = found[0]
    times = [datetime.fromisoformat(text) for text in item.get("next") or []]
    if count > len(times):
        dialect = "timer" if item.get("kind") == "function" else "job"
        times = _times(_read(item["expression"], item["time_zone"], dialect), count)
    value = {key: item.get(key) for key in ("name", "kind", "last")}
    _show(session, {**value, **_meaning(item)}, times[:count])


@verb
def explain(
    session: Session,
    expression: Annotated[str, typer.Argument(help="Six or five fields, or hh:mm:ss.")],
    time_zone: Annotated[str, typer.Option("--time-zone", "--tz", help="IANA or Windows.")] = "UTC",
    count: _Count = 5,
    dialect: Annotated[str, typer.Option(help="timer (functions) or job (WebJobs).")] = "timer",
) -> None:
    """Say what an expression means and when it fires; needs no platform."""
    if dialect not in ("timer", "job"):
        raise CliError(f"--dialect {dialect!r}: give timer or job", ExitCode.USAGE)
    plan = _read(expression, time_zone, dialect)
    meaning = {"expression": plan.text, "canonical": plan.canonical, "time_zone": plan.zone}
    _show(session, meaning, _times(plan, count))


def _meaning(item: dict[str, Any]) -> dict[str, Any]:
    return {key: item.get(key) for key in ("expression", "canonical", "time_zone")}


def _read(expression: str, time_zone: str, dialect: str) -> Schedule:
    try:
        zone = zone_name(time_zone)
        read = parse_timer if dialect == "timer" else parse_job
        return read(expression, zone=zone)
    except ScheduleError as error:
        raise CliError(f"{expression!r}: {error}", ExitCode.INVALID) from error


def _times(plan: Schedule, count: int) -> list[datetime]:
    return plan.occurrences(datetime.now(UTC), count)


def _show(session: Session, meaning: dict[str, Any], times: list[datetime]) -> None:
    value = {**meaning, "next": [instant.isoformat() for instant in times]}

    def human() -> None:
        session.terminal.facts(meaning.items())
        for instant in times:
            print(_both_zones(instant, meaning["time_zone"]))
        if not times:
            print("never fires")

    session.terminal.result(value, human, value["next"])


def _both_zones(instant: datetime, zone: str) -> str:
    there = instant.astimezone(ZoneInfo(zone))
    text = f"{there:%a %Y-%m-%d %H:%M:%S %Z}"
    return text if zone == "UTC" else f"{text}   ({instant:%H:%M:%S} UTC)"
