"""`taak run` as the full parser sees it: its help, and its mistakes (start.py has the rest)."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from gateway.cli.start import start
from gateway.config import SETTINGS

_HELP = {
    "site": "App root; left out: HOME/site/wwwroot.",
    "home": "Directory for all that we write (.taak).",
    "host": "Address of the functions (127.0.0.1).",
    "port": "Port of the functions (7071; 0: any).",
    "management_host": "Address of management (127.0.0.1).",
    "management_port": "Its port (7072; 0: any).",
    "store": "URL of the store (sqlite: in the home).",
    "instance": "Name of this platform (host name).",
    "log_format": "text or json.",
    "drain_s": "Seconds that a stop waits for work (30).",
    "settle_s": "Quiet seconds before a deploy (0.2).",
    "rescan_s": "Seconds between rescans (10).",
    "fast_lane": "on, or off: answer every request by the general path.",
    "require_sandbox": "Refuse to run anything in less: process, standard or strict.",
    "max_connections": "Open connections to the functions (10000).",
    "max_management_connections": "Open connections to management (1000).",
    "max_connections_per_address": "Of one client to a listener (1000; 0: any), not this machine.",
    "header_timeout_s": "Seconds in which a request's head has to come (10).",
    "idle_timeout_s": "Seconds that a connection may be idle (75).",
    "body_timeout_s": "Longest pause in a body, or in reading an answer (30).",
    "debug_s": "Longest time that a job is debugged at one order (3600).",
    "config": "Settings file (./taak.toml).",
}


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("run")(_with_options(run))


def run(**options: str | None) -> None:
    """Run the platform here, until SIGTERM or Ctrl-C.

    Every option has an environment twin (TAAK_PORT, TAAK_HOME ...) and a key in taak.toml; the
    option beats the environment, which beats the file.
    """
    raise typer.Exit(start(options))


def _with_options(verb: Callable[..., None]) -> Callable[..., None]:
    """Give the verb a parameter for each setting: typer reads a signature, not a table.

    All of them are texts, so that a bad value is told as one in a file or the environment is.
    """
    names = [setting.name for setting in SETTINGS if not setting.secret]
    parameters = [_parameter(name) for name in (*names, "config")]
    vars(verb)["__signature__"] = inspect.Signature(parameters)
    return verb


def _parameter(name: str) -> inspect.Parameter:
    told: Any = (
        typer.Argument(metavar="SITE", help=_HELP[name])
        if name == "site"
        else typer.Option(help=_HELP[name])
    )
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=None, annotation=Annotated[str | None, told])
