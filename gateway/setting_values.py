"""How the text of each setting is read, and what it may be; what it may not be names the fix."""

from __future__ import annotations

import os
import re
from pathlib import Path

_MOST = 1_000_000  # connections; descriptors end before
_INSTANCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_STORE = re.compile(r"sqlite:///.+|memory:")


class BadValueError(ValueError):
    """A value that the setting cannot be; the text says what it can be."""


def port(text: str) -> int:
    """Return a port; 0 picks a free one."""
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise BadValueError("not a port; give 0 to 65535 (0 picks a free one)")
    return int(text)


def seconds(text: str) -> float:
    """Return a time of at most a day."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 86400:  # false for NaN as well
        raise BadValueError("not a time in seconds; give 0 to 86400, such as 0.2 or 30")
    return value


def positive_seconds(text: str) -> float:
    """Return a time that is not zero."""
    value = seconds(text)
    if value == 0:
        raise BadValueError("must be more than 0 seconds, such as 0.2 or 10")
    return value


def count(text: str) -> int:
    """Return a number of connections."""
    if not text.isascii() or not text.isdigit() or int(text) > _MOST:
        raise BadValueError(f"not a number of connections; give 0 to {_MOST}")
    return int(text)


def positive_count(text: str) -> int:
    """Return a number of connections that is not zero."""
    value = count(text)
    if value == 0:
        raise BadValueError("must be at least 1")
    return value


def address(text: str) -> str:
    """Return an address to listen on, IPv6 without its brackets."""
    if not text or "/" in text or any(c.isspace() for c in text):
        raise BadValueError("not an address; give one such as 127.0.0.1, 0.0.0.0, :: or localhost")
    return text.strip("[]")


def instance(text: str) -> str:
    """Return a name for this platform."""
    if not _INSTANCE.fullmatch(text):
        raise BadValueError("give 1 to 63 letters, digits, '-', '_' or '.', a letter first")
    return text


def log_format(text: str) -> str:
    """Return text or json."""
    if text not in ("text", "json"):
        raise BadValueError("give text or json")
    return text


def switch(text: str) -> bool:
    """Return whether it is on."""
    if text.lower() not in {"on", "off", "true", "false", "1", "0"}:
        raise BadValueError("give on or off")
    return text.lower() in {"on", "true", "1"}


def store(text: str) -> str:
    """Return the URL of a store."""
    if not _STORE.fullmatch(text):
        raise BadValueError("give a URL such as sqlite:////var/lib/taak/taak.db or memory:")
    return text


def directory(text: str) -> Path:
    """Return a directory, absolute, that may not exist yet."""
    if not text:
        raise BadValueError("is empty; give a directory")
    path = Path(os.path.abspath(os.path.expanduser(text)))
    if path.exists() and not path.is_dir():
        raise BadValueError(f"{path} is a file; give a directory")
    return path


def existing_directory(text: str) -> Path:
    """Return a directory that exists."""
    path = directory(text)
    if not path.exists():
        raise BadValueError(f"{path} does not exist; make it, or leave it out for HOME/site")
    return path


def key(text: str) -> str:
    """Return a key."""
    if not text.isprintable() or any(c.isspace() for c in text) or not text:
        raise BadValueError("must be printable characters without blanks")
    return text


def level(text: str) -> str:
    """Return the least level of sandboxes, empty for none."""
    if text not in ("", "process", "standard", "strict"):
        raise BadValueError("not a level; give process, standard or strict")
    return text
