"""`taak run` as the full parser sees it: its help, and its mistakes (start.py has the rest)."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli.start import start

_Text = str | None


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("run")(run)


def run(
    *,
    site: Annotated[
        _Text, typer.Argument(metavar="SITE", help="App root; left out: HOME/site/wwwroot.")
    ] = None,
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
    fast_lane: Annotated[
        _Text, typer.Option(help="on, or off: answer every request by the general path.")
    ] = None,
    require_sandbox: Annotated[
        _Text, typer.Option(help="Refuse to run anything in less: process, standard or strict.")
    ] = None,
    max_connections: Annotated[
        _Text, typer.Option(help="Open connections to the functions (10000).")
    ] = None,
    max_management_connections: Annotated[
        _Text, typer.Option(help="Open connections to management (1000).")
    ] = None,
    max_connections_per_address: Annotated[
        _Text, typer.Option(help="Of one client to a listener (1000; 0: any; never this machine).")
    ] = None,
    header_timeout_s: Annotated[
        _Text, typer.Option(help="Seconds in which a request's head has to come (10).")
    ] = None,
    idle_timeout_s: Annotated[
        _Text, typer.Option(help="Seconds that a connection may be idle (75).")
    ] = None,
    body_timeout_s: Annotated[
        _Text, typer.Option(help="Longest pause in a body, or in reading an answer (30).")
    ] = None,
    debug_s: Annotated[
        _Text, typer.Option(help="Longest time that a job is debugged at one order (3600).")
    ] = None,
    config: Annotated[_Text, typer.Option(help="Settings file (./taak.toml).")] = None,
) -> None:
    """Run the platform here, until SIGTERM or Ctrl-C.

    Every option has an environment twin (TAAK_PORT, TAAK_HOME ...) and a key in taak.toml; the
    option beats the environment, which beats the file.
    """
    options = {
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
        "fast_lane": fast_lane,
        "require_sandbox": require_sandbox,
        "max_connections": max_connections,
        "max_management_connections": max_management_connections,
        "max_connections_per_address": max_connections_per_address,
        "header_timeout_s": header_timeout_s,
        "idle_timeout_s": idle_timeout_s,
        "body_timeout_s": body_timeout_s,
        "debug_s": debug_s,
        "config": config,
    }
    raise typer.Exit(start(options))
