"""The table of verbs, and the way from a command line to an exit code.

Only the module of the verb that was asked for is imported: `taak run` must not pay for the tables
of `taak list`. `taak --help`, an unknown verb and shell completion load them all.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING

from gateway.cli.exits import CliError, ExitCode
from gateway.cli.start import plain_options, start

if TYPE_CHECKING:
    import typer

#: verb -> the module of this package that registers it.
VERBS = {
    "run": "run",
    "list": "listing",
    "status": "listing",
    "invoke": "invoke",
    "trigger": "jobs",
    "start": "jobs",
    "stop": "jobs",
    "restart": "jobs",
    "debug": "debug",
    "logs": "logs",
    "runs": "runs",
    "schedule": "schedule",
    "deployments": "deployments",
    "deploy": "deploy",
    "rollback": "rollback",
    "validate": "validate",
    "doctor": "doctor",
    "keys": "keys",
    "openapi": "about",
    "version": "about",
}


def build(arguments: Sequence[str]) -> typer.Typer:
    """Return the command with as few verbs loaded as these arguments allow."""
    import typer

    app = typer.Typer(
        name="taak",
        help="Event-driven functions and WebJobs on your own machines.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    app.callback()(_root)
    asked = VERBS.get(arguments[0]) if arguments else None
    for module in [asked] if asked else dict.fromkeys(VERBS.values()):
        import_module(f"gateway.cli.{module}").register(app)
    return app


def run_command_line(arguments: Sequence[str]) -> int:
    """Carry out one command line. The one place where an error becomes text and a number."""
    try:
        return _invoke(arguments)
    except CliError as error:
        _show(error, as_json="--json" in arguments)
        return int(error.code)
    except KeyboardInterrupt:
        return int(ExitCode.INTERRUPTED)
    except BrokenPipeError:
        # The reader left (`taak logs | head`): not worth a word, and no second error at exit.
        sys.stdout = None
        return int(ExitCode.OK)


def _invoke(arguments: Sequence[str]) -> int:
    options = plain_options(arguments[1:]) if arguments and arguments[0] == "run" else None
    if options is not None:
        return start(options)

    from typer.main import get_command

    # Stand-alone mode ends in SystemExit with the parser's own code: 2 for bad usage.
    try:
        get_command(build(arguments)).main(list(arguments), prog_name="taak")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(ExitCode.OK)
    return int(ExitCode.OK)


def _show(error: CliError, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(error.document(), indent=2, ensure_ascii=False), file=sys.stderr)
        return
    print(f"taak: {error.message}", file=sys.stderr)
    if error.hint:
        print(f"      {error.hint}", file=sys.stderr)


def _root() -> None:
    """Run functions and WebJobs, and look after those that run."""
