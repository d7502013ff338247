"""Which platform a verb talks to: its management URL, the key, and how both were found.

Flag beats environment beats the platform that runs in the home beats the default address. Only
files of the home are read here; nothing is connected to.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.cli.exits import CliError, ExitCode

DEFAULT_URL = "http://127.0.0.1:7072"
DEFAULT_HOME = ".taak"


@dataclass(frozen=True, slots=True)
class Target:
    """A management listener. `found` says in words where the URL comes from."""

    url: str
    key: str = field(repr=False)
    found: str
    home: Path


def find_target(
    *, host: str | None, key: str | None, home: str | None, environ: Mapping[str, str]
) -> Target:
    """Return the platform to talk to; CliError when a given URL is none."""
    folder = home_folder(home, environ)
    url, found = _find_url(host, environ, folder)
    return Target(_checked(url, found), _find_key(key, environ, folder), found, folder)


def home_folder(home: str | None, environ: Mapping[str, str]) -> Path:
    """Return the home that the verb means."""
    return Path(home or environ.get("TAAK_HOME") or DEFAULT_HOME).expanduser().absolute()


def read_master_key(home: Path) -> str:
    """Return the key that the platform in this home keeps, or "" when there is none to read."""
    document = _read_json(secrets_file(home))
    entry = document.get("masterKey")
    value = entry.get("value") if isinstance(entry, dict) else None
    return value if isinstance(value, str) else ""


def secrets_file(home: Path) -> Path:
    """Return where the platform keeps its host keys."""
    return home / "data" / "secrets" / "host.json"


def _find_url(host: str | None, environ: Mapping[str, str], home: Path) -> tuple[str, str]:
    if host:
        return host, "--host"
    # `taak run` reads a listening address from the same variable; only a URL is meant for us.
    variable = environ.get("TAAK_HOST", "")
    if "://" in variable:
        return variable, "TAAK_HOST"
    running = _read_json(home / "run.json").get("management_url")
    if isinstance(running, str) and running:
        return running, str(home / "run.json")
    return DEFAULT_URL, "the default"


def _find_key(key: str | None, environ: Mapping[str, str], home: Path) -> str:
    return key or environ.get("TAAK_KEY") or environ.get("TAAK_MASTER_KEY") or read_master_key(home)


def _checked(url: str, found: str) -> str:
    text = url if "://" in url else f"http://{url}"
    scheme, _, rest = text.partition("://")
    if scheme not in ("http", "https") or not rest.strip("/"):
        raise CliError(
            f"{found}: {url!r} is not the URL of a management listener",
            ExitCode.USAGE,
            hint=f"give one such as {DEFAULT_URL}",
        )
    return text.rstrip("/")


def _read_json(path: Path) -> dict[str, Any]:
    """Return the object in the file; {} when it is absent, unreadable or something else."""
    try:
        document = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}
