"""One object of a manifest, read field by field; what is wrong with it is collected, not raised.

Names compare without case, as the Functions host does (functions.md 3). Texts such as "5" and
"true" are taken for numbers and flags, because environment variables may override host.json.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from types import MappingProxyType
from typing import Any

from scheduler.functions import Limits, Problem
from scheduler.lenient_json import Document

_NOWHERE: Mapping[str, str] = MappingProxyType({})
_FLAGS = {"true": True, "1": True, "false": False, "0": False}


class Fields:
    """A view of one JSON object that knows its place in the document.

    `loose` also reads `maxWorkers` and `max_workers` as one name: people write "taak" both ways.
    """

    def __init__(
        self,
        document: Document,
        values: Any,
        problems: list[Problem],
        *,
        path: str = "",
        owner: str = "",
        loose: bool = False,
    ) -> None:
        self._document = document
        self._problems = problems
        self._as_read = values
        self._path = path
        self._owner = owner
        self._key = _plain if loose else str.casefold
        self._values: dict[str, Any] = {}
        self._written: dict[str, str] = {}
        if isinstance(values, dict):
            self._values = {self._key(name): value for name, value in values.items()}
            self._written = {self._key(name): name for name in values}
        elif values is not None:
            self.complain(f"must be an object {{…}}, not {shown(values)}")

    def noting(self, problems: list[Problem]) -> Fields:
        """Return the same view with another place for what is wrong."""
        return Fields(self._document, self._as_read, problems, path=self._path, owner=self._owner)

    def complain(self, message: str, name: str = "", *, warning: bool = False) -> None:
        """Note a problem with the field `name` of this object, or with the object."""
        name = self._written.get(self._key(name), name)
        path = f"{self._path}.{name}" if self._path and name else self._path or name
        self._problems.append(
            self._document.problem(message, path, warning=warning, owner=self._owner)
        )

    def raw(self, name: str) -> Any:
        """Return the value as read, None if it is absent."""
        return self._values.get(self._key(name))

    def names(self) -> list[str]:
        """Return the names of the fields as they are written."""
        return list(self._written.values())

    def text(self, name: str, default: str = "") -> str:
        """Return a text."""
        value = self.raw(name)
        if value is None or isinstance(value, str):
            return default if value is None else value
        self.complain(f"must be a text in quotes, not {shown(value)}", name)
        return default

    def flag(self, name: str, *, default: bool) -> bool:
        """Return true or false."""
        value = self.raw(name)
        if isinstance(value, str):
            value = _FLAGS.get(value.strip().casefold(), value)
        if value is None or isinstance(value, bool):
            return default if value is None else value
        self.complain(f"must be true or false, not {shown(value)}", name)
        return default

    def number(self, name: str, default: float, *, at_least: float = 0) -> float:
        """Return a number that is not below a bound."""
        value = self.raw(name)
        if value is None:
            return default
        number = _number(value)
        if number is None or not at_least <= number < float("inf"):
            self.complain(f"must be a number of at least {at_least:g}, not {shown(value)}", name)
            return default
        return number

    def whole(self, name: str, default: int, *, at_least: float = 0) -> int:
        """Return a whole number that is not below a bound."""
        number = self.number(name, default, at_least=at_least)
        if number == int(number):
            return int(number)
        self.complain(f"must be a whole number, not {shown(self.raw(name))}", name)
        return default

    def items(self, name: str) -> list[Any]:
        """Return a list; one text stands for a list of it."""
        value = self.raw(name)
        if value is None or isinstance(value, list):
            return value or []
        if isinstance(value, str):
            return [value]
        self.complain(f"must be a list […], not {shown(value)}", name)
        return []

    def texts(self, name: str) -> dict[str, str]:
        """Return an object whose values are texts; numbers and flags become texts."""
        value = self.raw(name)
        if value is not None and not isinstance(value, dict):
            self.complain(f"must be an object {{…}}, not {shown(value)}", name)
        return {
            key: text
            for key, item in (value.items() if isinstance(value, dict) else ())
            if (text := self._scalar(f"{name}.{key}", item)) is not None
        }

    def _scalar(self, name: str, value: Any) -> str | None:
        if isinstance(value, str):
            return value
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, int | float):
            return str(value)
        if value is not None:
            self.complain(f"must be a text in quotes, not {shown(value)}", name)
        return None

    def inner(self, name: str, *, loose: bool = False) -> Fields:
        """Return the object in the field; an empty one if it is absent."""
        return self.at(name, self.raw(name), loose=loose)

    def at(self, place: str, values: Any, *, loose: bool = False) -> Fields:
        """Return a view of an object that stands at `place` below this one."""
        path = f"{self._path}.{place}" if self._path else place
        return Fields(
            self._document, values, self._problems, path=path, owner=self._owner, loose=loose
        )

    def warn_unknown(self, known: Iterable[str], elsewhere: Mapping[str, str] = _NOWHERE) -> None:
        """Warn of each field that is not one of these, and name the nearest that is.

        `elsewhere` has what is known in other files, with what is to be said of it here.
        """
        names = {self._key(name): name for name in known}
        others = {self._key(name): told for name, told in elsewhere.items()}
        for name in sorted(self._values.keys() - names.keys()):
            if told := others.get(name):
                self.complain(f"has no effect here: {told}", name, warning=True)
                continue
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {names[near[0]]!r}?" if near else f"known: {', '.join(known)}"
            self.complain(f"unknown key, ignored; {hint}", name, warning=True)


def shown(value: Any) -> str:
    """Return a value as it goes into a message: in JSON, and short."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


def _plain(name: str) -> str:
    return name.replace("_", "").casefold()


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


#: The names of Limits, as they stand under "taak" in host.json and function.json.
LIMIT_NAMES = tuple(field.name for field in fields(Limits))
_AT_LEAST: Mapping[str, float] = {"max_workers": 1, "concurrency": 1, "start_timeout_s": 0.1}


def read_limits(taak: Fields, defaults: Limits) -> Limits:
    """Return the limits that a "taak" object sets, over defaults."""
    changes: dict[str, Any] = {"timeout_s": _timeout(taak, defaults.timeout_s)}
    for name in LIMIT_NAMES[1:]:
        default = getattr(defaults, name)
        read = taak.number if name.endswith("_s") else taak.whole
        changes[name] = read(name, default, at_least=_AT_LEAST.get(name, 0))
    limits = replace(defaults, **changes)
    if limits.min_workers > limits.max_workers:
        taak.complain(
            f"min_workers {limits.min_workers} is more than max_workers {limits.max_workers}; "
            "raise max_workers or lower min_workers",
            "min_workers",
        )
    return limits


def _timeout(taak: Fields, default: float | None) -> float | None:
    """Return the timeout; -1 is none, as it is for functionTimeout."""
    if taak.raw("timeout_s") in (-1, "-1"):
        return None
    return taak.number("timeout_s", 0, at_least=0.001) or default
