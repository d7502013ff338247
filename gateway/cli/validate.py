"""`taak validate`: read an app as the platform would, and tell everything that is wrong with it."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.exits import CliError, ExitCode
from gateway.cli.verb import Session, verb
from scheduler.functions import AppDefinition, Problem


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("validate")(validate)


@verb
def validate(
    session: Session,
    path: Annotated[str, typer.Argument(help="App root.")] = ".",
) -> None:
    """Check an app without a platform; exit 3 when a deployment of it would be refused."""
    definition = _read(Path(os.path.abspath(path)))
    problems = sorted(definition.problems, key=lambda p: (p.where, p.line, p.field))
    errors = [problem for problem in problems if not problem.warning]
    value = {
        "path": path,
        "functions": [function.name for function in definition.functions],
        "jobs": [job.name for job in definition.jobs],
        "problems": [asdict(problem) for problem in problems],
    }

    def human() -> None:
        for problem in problems:
            print(_line(problem))
        counts = ", ".join(
            [
                _count(len(definition.functions), "function"),
                _count(len(definition.jobs), "job"),
                _count(len(errors), "error"),
                _count(len(problems) - len(errors), "warning"),
            ]
        )
        print(f"{path}: {counts}")

    session.terminal.result(value, human, [_line(problem) for problem in problems])
    if errors:
        raise typer.Exit(ExitCode.INVALID)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _line(problem: Problem) -> str:
    return f"warning: {problem}" if problem.warning else str(problem)


def _read(path: Path) -> AppDefinition:
    from scheduler.manifest import read_app

    if not path.is_dir():
        raise CliError(f"{path} is not a directory", ExitCode.NOT_FOUND, hint="name the app root")
    return read_app(path, path, settings={})
