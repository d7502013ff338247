"""`taak run`: settings from three sources, then the platform until it is told to stop."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.exits import CliError, ExitCode
from gateway.config import Config, ConfigError, load

_Text = str | None


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("run")(run)


def run(
    *,
    site: Annotated[_Text, typer.Argument(help="App root; left out: HOME/site/wwwroot.")] = None,
    home: Annotated[_Text, typer.Option(help="Directory for all that we write (.taak).")] = None,
    host: Annotated[_Text, typer.Option(help="Address of the functions (127.0.0.1).")] = None,
    port: Annotated[_Text, typer.Option(help="Port of the functions (7071; 0: any).")] = None,
    management_host: Annotated[
        _Text, typer.Option(help="Address of management (127.0.0.1).")
    ] = None,
    management_port: Annotated[_Text, typer.Option(help="Its port (7072; 0: any).")] = None,
    store: Annotated[_Text, typer.Option(help="URL of the store (sqlite: in the home).")] = None,
    instance: Annotated[_Text, typer.Option(help="Name of this platform (host name).")] = None,
    log_format: Annotated[_Text, typer.Option(help="text or json.")] = None,
    drain_s: Annotated[_Text, typer.Option(help="Seconds that a stop waits for work (30).")] = None,
    settle_s: Annotated[_Text, typer.Option(help="Quiet seconds before a deploy (0.2).")] = None,
    rescan_s: Annotated[_Text, typer.Option(help="Seconds between rescans (10).")] = None,
    config: Annotated[_Text, typer.Option(help="Settings file (./taak.toml).")] = None,
) -> None:
    """Run the platform here, until SIGTERM or Ctrl-C.

    Every option has an environment twin (TAAK_PORT, TAAK_HOME ...) and a key in taak.toml; the
    option beats the environment, which beats the file.
    """
    flags = {
        "site": site,
        "home": home,
        "host": host,
        "port": port,
        "management_host": management_host,
        "management_port": management_port,
        "store": store,
        "instance": instance,
        "log_format": log_format,
        "drain_s": drain_s,
        "settle_s": settle_s,
        "rescan_s": rescan_s,
    }
    settings = settings_or_error(flags, config)

    # Imported last: a mistake in the settings is told before aiohttp is loaded.
    from gateway.server import run as run_platform

    raise typer.Exit(run_platform(settings))


def settings_or_error(flags: dict[str, str | None], file: str | None) -> Config:
    """Return the settings; every mistake at once as one error."""
    name = file or os.environ.get("TAAK_CONFIG")
    try:
        return load(flags, os.environ, Path(name) if name else None)
    except ConfigError as error:
        count = len(error.mistakes)
        title = "1 mistake" if count == 1 else f"{count} mistakes"
        raise CliError(
            "\n  ".join([f"{title} in the settings:", *error.mistakes]),
            ExitCode.INVALID,
            facts={"mistakes": list(error.mistakes)},
        ) from error
