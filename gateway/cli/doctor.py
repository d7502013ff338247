"""`taak doctor`: what this machine and the running platform lack, each with the fix."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import typer

from gateway.cli.exits import CliError, ExitCode
from gateway.cli.verb import Session, verb
from gateway.machine import Check, inspect_machine


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("doctor")(doctor)


@verb
def doctor(session: Session) -> None:
    """Check the machine, and the platform if one runs; exit 1 when something needed is missing."""
    checks = _checks(session)
    bad = [check for check in checks if not check["ok"] and check.get("needed", True)]

    def human() -> None:
        for check in checks:
            print(f"{_mark(check)}  {check['name']}: {check['detail']}")
            if not check["ok"] and check.get("fix"):
                print(f"      fix: {check['fix']}")

    session.terminal.result({"checks": checks}, human, [check["name"] for check in bad])
    if bad:
        raise typer.Exit(ExitCode.UNEXPECTED)


def _mark(check: dict[str, Any]) -> str:
    if check["ok"]:
        return "ok  "
    return "FAIL" if check.get("needed", True) else "note"


def _checks(session: Session) -> list[dict[str, Any]]:
    """Return the platform's checks; where none runs this machine's own, and that none runs."""
    try:
        found: list[dict[str, Any]] = session.client.get("/v1/doctor")["checks"]
    except CliError as error:
        # A note, not a failure: most people ask the doctor before the first start.
        none = Check("platform", ok=False, detail=error.message, fix=error.hint, needed=False)
        return [asdict(check) for check in [*inspect_machine(session.home), none]]
    return found
