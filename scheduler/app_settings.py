"""App settings: names and texts that the app's owner sets, looked up as Azure does.

A name is found as written, else without regard to case. `%NAME%` inside a manifest's text stands
for the setting's value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_REFERENCE = re.compile(r"%([^%\s]+)%")


class MissingSettingError(LookupError):
    """A text refers to a setting that is not there; the message says how to add it."""


def lookup(settings: Mapping[str, str], name: str) -> str | None:
    """Return the value of a setting, None if there is none of that name."""
    if name in settings:
        return settings[name]
    wanted = name.casefold()
    return next((value for key, value in settings.items() if key.casefold() == wanted), None)


def is_true(value: str | None) -> bool:
    """Tell whether a setting switches something on: `1` or `true` in any case."""
    return value is not None and value.strip().casefold() in {"1", "true"}


def expand(text: str, settings: Mapping[str, str]) -> str:
    """Return the text with each %NAME% replaced; raise MissingSettingError for an unknown name."""

    def value(match: re.Match[str]) -> str:
        found = lookup(settings, match[1])
        if found is None:
            raise MissingSettingError(
                f"'{match[0]}' refers to the app setting {match[1]!r}, which is not set; add it to "
                "the environment of taak or to Values in local.settings.json"
            )
        return found

    return _REFERENCE.sub(value, text)


def expand_all(value: Any, settings: Mapping[str, str]) -> Any:
    """Expand every text inside a value that was read from JSON."""
    if isinstance(value, str):
        return expand(value, settings) if "%" in value else value
    if isinstance(value, list):
        return [expand_all(item, settings) for item in value]
    if isinstance(value, dict):
        return {name: expand_all(item, settings) for name, item in value.items()}
    return value
