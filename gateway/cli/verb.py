"""What every verb has in common: the global options, and the value that it gets for them.

`@verb` adds the options to a verb's own, so each verb declares and reads only what is its own.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any

import typer

from gateway.cli.client import Client
from gateway.cli.target import Target, find_target, home_folder
from gateway.cli.terminal import Terminal

_PANEL = "Global options"
_Text = str | None


def _option(*spellings: str, help_text: str) -> Any:
    return typer.Option(*spellings, help=help_text, rich_help_panel=_PANEL)


_GLOBAL: dict[str, tuple[Any, Any]] = {
    "host": (
        Annotated[
            _Text, _option("--host", help_text="Management URL; else TAAK_HOST, else --home's.")
        ],
        None,
    ),
    "key": (
        Annotated[
            _Text, _option("--key", help_text="Key; else TAAK_KEY, TAAK_MASTER_KEY, --home's.")
        ],
        None,
    ),
    "home": (
        Annotated[
            _Text, _option("--home", help_text="Home of the platform on this machine (.taak).")
        ],
        None,
    ),
    "as_json": (Annotated[bool, _option("--json", help_text="Print one JSON document.")], False),
    "quiet": (
        Annotated[bool, _option("--quiet", "-q", help_text="Print names or ids only.")],
        False,
    ),
    "no_color": (Annotated[bool, _option("--no-color", help_text="Print without colours.")], False),
}


@dataclass(frozen=True)
class Session:
    """One command: how it shows things, and the platform that it talks to."""

    terminal: Terminal
    host: str | None
    key: str | None
    home_option: str | None
    environ: Mapping[str, str]

    @cached_property
    def target(self) -> Target:
        """Return the platform that is meant, found when it is first asked for."""
        return find_target(
            host=self.host, key=self.key, home=self.home_option, environ=self.environ
        )

    @cached_property
    def client(self) -> Client:
        """Return the connection to it."""
        return Client(self.target)

    @cached_property
    def home(self) -> Any:
        """Return the home on this machine."""
        return home_folder(self.home_option, self.environ)


def verb(function: Callable[..., None]) -> Callable[..., None]:
    """Give a verb the global options; its first parameter receives the Session."""
    signature = inspect.signature(function, eval_str=True)
    own = list(signature.parameters.values())[1:]
    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=kind, default=default)
        for name, (kind, default) in _GLOBAL.items()
    ]

    def command(**given: Any) -> None:
        options = {name: given.pop(name) for name in _GLOBAL}
        function(_session(options), **given)

    command.__name__ = function.__name__
    command.__doc__ = function.__doc__
    keywords = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]
    command.__signature__ = inspect.Signature([*keywords, *shared])  # type: ignore[attr-defined]
    command.__annotations__ = {}
    return command


def _session(options: Mapping[str, Any]) -> Session:
    terminal = Terminal(
        json=options["as_json"],
        quiet=options["quiet"],
        color=not options["no_color"] and not os.environ.get("NO_COLOR"),
    )
    return Session(terminal, options["host"], options["key"], options["home"], os.environ)
