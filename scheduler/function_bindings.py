"""The bindings of a function.json: names, types, directions, and %SETTING% resolved.

What a trigger's properties mean is `function_manifest.py`'s business.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from scheduler.app_settings import MissingSettingError, expand_all
from scheduler.functions import Binding
from scheduler.manifest_fields import Fields, shown

#: Trigger types that are served; more arrive one by one.
TRIGGERS = ("httpTrigger", "timerTrigger", "manualTrigger", "warmupTrigger")
#: Other bindings that are served.
BINDINGS = ("http",)

_BINDING_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9_]{0,127}|\$return")
_PROPERTIES = {
    name.casefold(): name
    for name in ("authLevel", "methods", "route", "schedule", "runOnStartup", "useMonitor")
}


def is_trigger(kind: str) -> bool:
    """Tell whether a type of binding starts the function."""
    return kind.casefold().endswith("trigger")


def read_bindings(fields: Fields, settings: Mapping[str, str]) -> list[Binding]:
    """Return the bindings; what is wrong with one is noted."""
    items = fields.items("bindings")
    if not items and fields.raw("bindings") in (None, []):
        fields.complain(
            "there must be at least one binding, the trigger: "
            '"bindings": [{"type": "httpTrigger", "direction": "in", "name": "req"}]',
            "bindings",
        )
    bindings: list[Binding] = []
    for number, item in enumerate(items):
        place = f"bindings[{number}]"
        if not isinstance(item, dict):
            fields.complain(f"must be an object {{…}}, not {shown(item)}", place)
            continue
        binding = _binding(fields.at(place, item), item, settings)
        if any(binding.name == earlier.name for earlier in bindings):
            fields.complain(f"the name {binding.name!r} is there twice; rename one", place)
        bindings.append(binding)
    return bindings


def _binding(fields: Fields, item: dict[str, Any], settings: Mapping[str, str]) -> Binding:
    kind, name = fields.text("type"), fields.text("name")
    direction = (fields.text("direction") or "in").casefold()
    if direction not in {"in", "out"}:
        fields.complain(f'must be "in" or "out", not {shown(direction)}', "direction")
    if not _BINDING_NAME.fullmatch(name):
        fields.complain(
            f"must be a letter followed by letters, digits or '_', or \"$return\", "
            f"not {shown(name)}",
            "name",
        )
    elif name == "$return" and direction != "out":
        fields.complain('"$return" must have "direction": "out"', "direction")
    _check_type(fields, kind, direction)
    return Binding(name, kind, direction, _properties(fields, item, settings))


def _check_type(fields: Fields, kind: str, direction: str) -> None:
    if not kind:
        fields.complain('a "type" is needed, for example "httpTrigger"', "type")
    elif is_trigger(kind):
        if kind.casefold() not in {name.casefold() for name in TRIGGERS}:
            fields.complain(
                f"{kind!r} is not served by this version; triggers that are: {', '.join(TRIGGERS)}",
                "type",
            )
        elif direction != "in":
            fields.complain('a trigger must have "direction": "in"', "direction")
    elif kind.casefold() not in BINDINGS:
        fields.complain(
            f"bindings of type {kind!r} are not served by this version; besides triggers, these "
            f"are: {', '.join(BINDINGS)}",
            "type",
        )
    elif direction != "out":
        fields.complain('an "http" binding must have "direction": "out"', "direction")


def _properties(
    fields: Fields, item: dict[str, Any], settings: Mapping[str, str]
) -> dict[str, Any]:
    """Return the other properties, known ones in their usual spelling, %NAME% resolved."""
    properties = {}
    for written, value in item.items():
        if written.casefold() in {"name", "type", "direction"}:
            continue
        try:
            value = expand_all(value, settings)  # noqa: PLW2901
        except MissingSettingError as error:
            fields.complain(str(error.args[0]), written)
        properties[_PROPERTIES.get(written.casefold(), written)] = value
    return properties
