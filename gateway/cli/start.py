"""The way from `taak run` to a running platform that needs no command-line library.

Starting is what people wait for, and most starts have plain options: `--name value`, `--name=value`
and a site. Anything else (--help, a mistake) is left to the full parser, which explains it.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from gateway.cli.exits import CliError, ExitCode
from gateway.config import SETTINGS, Config, ConfigError, load

#: Every setting but secrets has a flag; `config` names the file and is no setting itself.
_FLAGS = {s.flag: s.name for s in SETTINGS if not s.secret and s.name != "site"}
_FLAGS["--config"] = "config"


def plain_options(arguments: Sequence[str]) -> dict[str, str | None] | None:
    """Return the options by name, or None when the full parser has to look at them."""
    found: dict[str, str | None] = {}
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        flag, has_value, value = word.partition("=")
        if not word.startswith("-"):
            name, value = "site", word
        elif flag in _FLAGS and (has_value or rest):
            name, value = _FLAGS[flag], value if has_value else rest.pop(0)
        else:
            return None
        # A value that looks like an option, or an option given twice, deserves an explanation.
        if name in found or (not has_value and value.startswith("-")):
            return None
        found[name] = value
    return found


def start(options: Mapping[str, str | None]) -> int:
    """Run the platform with these options until it is told to stop; return its exit code."""
    settings = settings_or_error(options)

    # Our own byte code is kept, whatever the environment says (PYTHONDONTWRITEBYTECODE is common in
    # containers): compiling all of it took a third of each start. User code is never loaded here.
    sys.dont_write_bytecode = False
    # Before our own code, on another processor: both take long. It holds no secret and no thread.
    from sandbox import launcher_process

    launcher_process.begin()
    # Imported last: a mistake in the settings is told before aiohttp is loaded.
    # Without looking for cycles in what is being loaded, nor later: all of it stays.
    gc.disable()
    from gateway import compiled

    compiled.use()
    from gateway.server import run

    gc.freeze()
    gc.enable()
    return run(settings)


def settings_or_error(options: Mapping[str, str | None]) -> Config:
    """Return the settings; every mistake at once as one error."""
    file = options.get("config") or os.environ.get("TAAK_CONFIG")
    flags = {name: value for name, value in options.items() if name != "config"}
    try:
        return load(flags, os.environ, Path(file) if file else None)
    except ConfigError as error:
        count = len(error.mistakes)
        title = "1 mistake" if count == 1 else f"{count} mistakes"
        raise CliError(
            "\n  ".join([f"{title} in the settings:", *error.mistakes]),
            ExitCode.INVALID,
            facts={"mistakes": list(error.mistakes)},
        ) from error
