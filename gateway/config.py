"""The platform's settings: one frozen value, every default with its unit, all mistakes at once.

Three sources, flag beats environment beats file. One table says for every setting how it is read
and what it may be; the command line, the environment and `taak.toml` are read through it alike.
This file decides nothing about running and touches the disk only to look at the site and the file.
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

FILE_NAME = "taak.toml"
_INSTANCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_STORE = re.compile(r"sqlite:///.+|memory:")


class ConfigError(Exception):
    """The settings are wrong. `mistakes` has every one, each with its source and the fix."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = tuple(mistakes)


def default_instance() -> str:
    """Return the machine's name, shortened to what an instance may be called.

    It must be the same after a restart: runs found open are closed by instance.
    """
    name = re.sub(r"[^A-Za-z0-9_.-]", "-", socket.gethostname()).lstrip("-_.")[:63]
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
        rescan_s: how often the site is compared even without an event, seconds.
        fast_lane: plain HTTP requests are answered without aiohttp (fast_lane.py); both ways say
            the same, so that "off" serves for comparing and as a way out.
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


class _BadValueError(ValueError):
    """A value that the setting cannot be; the text says what it can be."""


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise _BadValueError("not a port; give 0 to 65535 (0 picks a free one)")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 86400:  # false for NaN as well
        raise _BadValueError("not a time in seconds; give 0 to 86400, such as 0.2 or 30")
    return value


def _positive_seconds(text: str) -> float:
    value = _seconds(text)
    if value == 0:
        raise _BadValueError("must be more than 0 seconds, such as 0.2 or 10")
    return value


def _address(text: str) -> str:
    if not text or "/" in text or any(c.isspace() for c in text):
        raise _BadValueError("not an address; give one such as 127.0.0.1, 0.0.0.0, :: or localhost")
    return text.strip("[]")


def _instance(text: str) -> str:
    if not _INSTANCE.fullmatch(text):
        raise _BadValueError("give 1 to 63 letters, digits, '-', '_' or '.', a letter first")
    return text


def _log_format(text: str) -> str:
    if text not in ("text", "json"):
        raise _BadValueError("give text or json")
    return text


def _switch(text: str) -> bool:
    if text.lower() not in {"on", "off", "true", "false", "1", "0"}:
        raise _BadValueError("give on or off")
    return text.lower() in {"on", "true", "1"}


def _store(text: str) -> str:
    if not _STORE.fullmatch(text):
        raise _BadValueError("give a URL such as sqlite:////var/lib/taak/taak.db or memory:")
    return text


def _directory(text: str) -> Path:
    if not text:
        raise _BadValueError("is empty; give a directory")
    path = Path(os.path.abspath(os.path.expanduser(text)))
    if path.exists() and not path.is_dir():
        raise _BadValueError(f"{path} is a file; give a directory")
    return path


def _existing_directory(text: str) -> Path:
    path = _directory(text)
    if not path.exists():
        raise _BadValueError(f"{path} does not exist; make it, or leave it out for HOME/site")
    return path


def _key(text: str) -> str:
    if not text.isprintable() or any(c.isspace() for c in text) or not text:
        raise _BadValueError("must be printable characters without blanks")
    return text


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
    Setting("site", _existing_directory),
    Setting("home", _directory),
    Setting("host", _address),
    Setting("port", _port),
    Setting("management_host", _address),
    Setting("management_port", _port),
    Setting("store", _store),
    Setting("instance", _instance),
    Setting("log_format", _log_format),
    Setting("drain_s", _seconds),
    Setting("settle_s", _positive_seconds),
    Setting("rescan_s", _positive_seconds),
    Setting("fast_lane", _switch),
    Setting("master_key", _key, secret=True),
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
        except _BadValueError as error:
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
        elif isinstance(value, bool) and _BY_NAME[name].read is _switch:
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
