"""The platform's settings: one frozen value, every default with its unit, all mistakes at once.

Three sources, flag beats environment beats file. One table says for every setting how it is read
and what it may be; the command line, the environment and `taak.toml` are read through it alike.
How a value is read stands in setting_values.py. This file decides nothing about running and touches
the disk only to look at the file.
"""

from __future__ import annotations

import difflib
import os
import re
import socket
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import quote

from gateway import setting_values
from gateway.setting_values import BadValueError

FILE_NAME = "taak.toml"


class ConfigError(Exception):
    """The settings are wrong. `mistakes` has every one, each with its source and the fix."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = tuple(mistakes)


def default_instance() -> str:
    """Return Azure's name of the instance, else the machine's, shortened to what one may be called.

    It must be the same after a restart: runs found open are closed by instance.
    """
    given = os.environ.get("WEBSITE_INSTANCE_ID") or socket.gethostname()
    name = re.sub(r"[^A-Za-z0-9_.-]", "-", given).lstrip("-_.")[:63]
    return name or "taak"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything that `taak run` needs to know.

    Attributes:
        home: the one directory that the platform writes to.
        site: the app's root; left out it is `home/site/wwwroot`.
        site_is_default: the site was left out, so the server makes the directory.
        host: address of the data listener.
        port: port of the data listener; 0 picks a free one.
        management_host: address of the management listener.
        management_port: port of the management listener; 0 picks a free one.
        store: URL of the store; left out it is the SQLite file `home/taak.db`.
        instance: this platform's name in runs, leases and metrics.
        log_format: "text" or "json".
        drain_s: how long an ordered stop waits for running work, seconds.
        settle_s: quiet time after the last file event before a deployment, seconds.
        rescan_s: how often the site is compared even without an event, seconds; a site that takes
            long to compare is compared more rarely (folder_watch.py).
        fast_lane: plain HTTP requests are answered without aiohttp (fast_lane.py); both ways say
            the same, so that "off" serves for comparing and as a way out.
        require_sandbox: the least level of every function and job; below it nothing starts. Empty:
            each gets what it asks for, as far as the machine gives it.
        max_connections: open at once on the data listener.
        max_management_connections: open at once on the management listener.
        max_connections_per_address: of one client address on a listener; 0 is any number. Clients
            on this machine are not counted.
        header_timeout_s: from the first byte of a request, or the connect, to the end of its head.
        idle_timeout_s: how long a connection stays open between two requests, seconds.
        body_timeout_s: the longest pause in a body and in the reading of an answer, seconds.
        debug_s: the longest time that a job is debugged at one order, seconds.
        master_key: management key; empty: generated once and kept in the home.
    """

    home: Path
    site: Path
    site_is_default: bool = False
    host: str = "127.0.0.1"
    port: int = 7071
    management_host: str = "127.0.0.1"
    management_port: int = 7072
    store: str
    instance: str = field(default_factory=default_instance)
    log_format: str = "text"
    drain_s: float = 30.0
    settle_s: float = 0.2
    rescan_s: float = 10.0
    master_key: str = field(default="", repr=False)
    fast_lane: bool = True
    require_sandbox: str = ""
    max_connections: int = 10_000
    max_management_connections: int = 1000
    max_connections_per_address: int = 1000
    header_timeout_s: float = 10.0
    idle_timeout_s: float = 75.0
    body_timeout_s: float = 30.0
    debug_s: float = 3600.0


@dataclass(frozen=True, slots=True)
class Setting:
    """How one setting is read. `secret` values are never repeated in a message."""

    name: str
    read: Callable[[str], Any]
    secret: bool = False

    @property
    def flag(self) -> str:
        """Return the spelling on the command line."""
        return "SITE" if self.name == "site" else "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """Return the spelling in the environment."""
        return "TAAK_" + self.name.upper()


SETTINGS = (
    Setting("site", setting_values.existing_directory),
    Setting("home", setting_values.directory),
    Setting("host", setting_values.address),
    Setting("port", setting_values.port),
    Setting("management_host", setting_values.address),
    Setting("management_port", setting_values.port),
    Setting("store", setting_values.store),
    Setting("instance", setting_values.instance),
    Setting("log_format", setting_values.log_format),
    Setting("drain_s", setting_values.seconds),
    Setting("settle_s", setting_values.positive_seconds),
    Setting("rescan_s", setting_values.positive_seconds),
    Setting("fast_lane", setting_values.switch),
    Setting("require_sandbox", setting_values.level),
    Setting("max_connections", setting_values.positive_count),
    Setting("max_management_connections", setting_values.positive_count),
    Setting("max_connections_per_address", setting_values.count),
    Setting("header_timeout_s", setting_values.positive_seconds),
    Setting("idle_timeout_s", setting_values.positive_seconds),
    Setting("body_timeout_s", setting_values.positive_seconds),
    Setting("debug_s", setting_values.positive_seconds),
    Setting("master_key", setting_values.key, secret=True),
)
_BY_NAME = {setting.name: setting for setting in SETTINGS}
assert set(_BY_NAME) == {f.name for f in fields(Config)} - {"site_is_default"}


def load(
    flags: Mapping[str, str | None], environ: Mapping[str, str], file: Path | None = None
) -> Config:
    """Return the settings, or raise ConfigError with every mistake of all three sources.

    `flags` maps a setting's name to the text of its flag, None where it was not given. `file` is
    read when it is named; the default file only when it is there.
    """
    mistakes: list[str] = []
    from_file = _read_file(file or Path(FILE_NAME), wanted=file is not None, mistakes=mistakes)
    values: dict[str, Any] = {}
    for setting in SETTINGS:
        source, text = _pick(setting, flags, environ, from_file)
        if text is None:
            continue
        try:
            values[setting.name] = setting.read(text)
        except BadValueError as error:
            shown = "" if setting.secret else f"={text!r}"
            mistakes.append(f"{source}{shown}: {error}")
    _check_together(values, mistakes)
    if mistakes:
        raise ConfigError(mistakes)
    return _complete(values)


def _pick(
    setting: Setting,
    flags: Mapping[str, str | None],
    environ: Mapping[str, str],
    from_file: Mapping[str, str],
) -> tuple[str, str | None]:
    """Return where the setting comes from and its text: flag beats environment beats file."""
    flag = flags.get(setting.name)
    if flag is not None:
        return setting.flag, flag
    variable = environ.get(setting.variable)
    # The other verbs read a platform's URL from TAAK_HOST; such a value is not meant for us.
    if variable and not (setting.name == "host" and "://" in variable):
        return setting.variable, variable
    return f"{FILE_NAME} {setting.name}", from_file.get(setting.name)


def _read_file(path: Path, *, wanted: bool, mistakes: list[str]) -> dict[str, str]:
    """Return the file's settings as text. Mistakes name the file and what is wrong in it."""
    if not wanted and not path.is_file():
        return {}
    try:
        with path.open("rb") as stream:
            document = tomllib.load(stream)
    except OSError as error:
        mistakes.append(f"{path}: cannot be read: {error.strerror}")
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        mistakes.append(f"{path}: not TOML: {error}")
        return {}
    found: dict[str, str] = {}
    for key, value in document.items():
        name = key.replace("-", "_")
        if name not in _BY_NAME:
            mistakes.append(f"{path}: unknown setting {key!r}{_nearest(name)}")
        elif isinstance(value, bool) and _BY_NAME[name].read is setting_values.switch:
            found[name] = "on" if value else "off"
        elif isinstance(value, bool) or not isinstance(value, str | int | float):
            mistakes.append(f"{path}: {key}: give a text or a number")
        else:
            found[name] = str(value)
    return found


def _nearest(name: str) -> str:
    close = difflib.get_close_matches(name, _BY_NAME, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(_BY_NAME)}"


def _check_together(values: Mapping[str, Any], mistakes: list[str]) -> None:
    """Find what only two settings together can be wrong about."""
    data = values.get("port", Config.__dataclass_fields__["port"].default)
    management = values.get(
        "management_port", Config.__dataclass_fields__["management_port"].default
    )
    if data == management != 0:
        mistakes.append(f"--port and --management-port are both {data}; give two ports, or 0")


def _complete(values: dict[str, Any]) -> Config:
    """Fill in what depends on other settings."""
    home = values.setdefault("home", Path(os.path.abspath(".taak")))
    if "site" not in values:
        values["site"] = home / "site" / "wwwroot"
        values["site_is_default"] = True
    values.setdefault("store", f"sqlite:///{quote(str(home / 'taak.db'))}")
    return Config(**values)
