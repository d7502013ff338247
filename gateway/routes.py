"""From method and path to a function: ASP.NET route templates (functions.md 7.1).

A table is built once for each release and never changed; a path without parameters costs one dict
look-up. Order: templates with more literal text first, then by function name. Upstream goes by
name alone; the difference shows only where one app has both `users/{id}` and `users/me`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import NamedTuple
from urllib.parse import unquote
from uuid import UUID

from scheduler.functions import Function, HttpTrigger
from scheduler.route_rules import PARAMETER, PIECE, RULE

Params = tuple[tuple[str, str], ...]
_Check = Callable[[str], bool]


class Match(NamedTuple):
    """A function that answers a request, and the values of its route's parameters."""

    function: Function
    params: Params


class _Route(NamedTuple):
    function: Function
    methods: frozenset[str] | None
    pattern: re.Pattern[str] | None  # None: no parameters
    defaults: dict[str, str]
    checks: tuple[tuple[str, _Check], ...]
    literals: int


class RouteTable:
    """The routes of one release."""

    def __init__(self, functions: Iterable[Function], prefix: str) -> None:
        self._literal: dict[str, list[_Route]] = {}
        self._patterns: list[_Route] = []
        for function in sorted(functions, key=lambda f: f.name.casefold()):
            if isinstance(function.trigger, HttpTrigger) and not function.disabled:
                self._add(function, function.trigger, prefix.strip("/"))
        self._patterns.sort(key=lambda route: -route.literals)

    def find(self, method: str, path: str) -> Match | None:
        """Return who answers, or None: wrong method and failing constraint count as no match.

        `path` is as it came, percent-encoded, without the query.
        """
        plain = _decoded(path).strip("/")
        for route in self._literal.get(plain.lower(), ()):
            if route.methods is None or method in route.methods:
                return Match(route.function, ())
        for route in self._patterns:
            if route.methods is not None and method not in route.methods:
                continue
            if (params := _params(route, plain)) is not None:
                return Match(route.function, params)
        return None

    def owns(self, path: str) -> bool:
        """Tell whether any function answers this path, whatever the method."""
        plain = _decoded(path).strip("/")
        return plain.lower() in self._literal or any(
            _params(route, plain) is not None for route in self._patterns
        )

    def _add(self, function: Function, trigger: HttpTrigger, prefix: str) -> None:
        template = "/".join(filter(None, (prefix, trigger.route.strip("/"))))
        route = _compile(function, trigger.methods, template)
        if route.pattern is None:
            text = template.replace("{{", "{").replace("}}", "}")
            self._literal.setdefault(text.lower(), []).append(route)
        else:
            self._patterns.append(route)


def _decoded(path: str) -> str:
    """Decode once; an encoded slash stays encoded, it separates no segments."""
    if "%" not in path:
        return path
    return "%2F".join(unquote(part) for part in re.split("%2[fF]", path))


def _params(route: _Route, path: str) -> Params | None:
    assert route.pattern is not None
    found = route.pattern.fullmatch(path)
    if found is None:
        return None
    params = []
    for group, value in found.groupdict().items():
        text = value or route.defaults.get(group)
        if text:
            params.append((group, text.replace("%2F", "/")))
    values = dict(params)
    for name, check in route.checks:
        if name in values and not check(values[name]):
            return None
    return tuple(params)


def _compile(function: Function, methods: frozenset[str] | None, template: str) -> _Route:
    text, literals = "", 0
    defaults: dict[str, str] = {}
    checks: list[tuple[str, _Check]] = []
    for piece in PIECE.finditer(template):
        inner = piece["inner"]
        if inner is None:
            char = piece[0][0]
            literals += char != "/"
            text += re.escape(char)
            continue
        parameter = PARAMETER.fullmatch(inner)
        assert parameter is not None  # the manifest has checked it
        text = _with_parameter(text, parameter)
        name = parameter["name"]
        if parameter["default"]:
            defaults[name] = parameter["default"][1:]
        checks += [(name, check) for check in _checks(parameter["rules"])]
    pattern = re.compile(text, re.IGNORECASE) if "(?P<" in text else None
    return _Route(function, methods, pattern, defaults, tuple(checks), literals)


def _with_parameter(text: str, parameter: re.Match[str]) -> str:
    group = f"(?P<{parameter['name']}>"
    if not (parameter["stars"] or parameter["optional"] or parameter["default"]):
        return f"{text}{group}[^/]+?)"
    value = ".*" if parameter["stars"] else "[^/]*"
    if text.endswith("/"):
        return f"{text[:-1]}(?:/{group}{value}))?"
    return f"{text}{group}{value})?"


# -- constraints


def _checks(rules: str) -> list[_Check]:
    found = []
    for rule in re.finditer(RULE.pattern, rules):
        name, _, arguments = rule[0][1:].partition("(")
        found.append(_check(name.lower(), arguments.removesuffix(")")))
    return found


def _check(name: str, arguments: str) -> _Check:
    if name in _KINDS:
        return _KINDS[name]
    if name == "regex":
        pattern = re.compile(arguments.replace("{{", "{").replace("}}", "}"), re.IGNORECASE)
        return lambda text: pattern.search(text) is not None
    numbers = [int(part) for part in arguments.split(",") if part.strip()]
    low, high = (numbers + numbers)[:2] if numbers else (0, 0)
    return {
        "length": lambda text: low <= len(text) <= high,
        "minlength": lambda text: len(text) >= low,
        "maxlength": lambda text: len(text) <= low,
        "min": lambda text: _is_int(text) and int(text) >= low,
        "max": lambda text: _is_int(text) and int(text) <= low,
        "range": lambda text: _is_int(text) and low <= int(text) <= high,
    }.get(name, bool)


def _is_int(text: str, bits: int = 64) -> bool:
    if not re.fullmatch(r"[+-]?\d{1,20}", text, re.ASCII):
        return False
    return -(1 << (bits - 1)) <= int(text) < 1 << (bits - 1)


def _parses(read: Callable[[str], object]) -> _Check:
    def check(text: str) -> bool:
        try:
            read(text)
        except (ValueError, InvalidOperation):
            return False
        return True

    return check


_KINDS: dict[str, _Check] = {
    "int": lambda text: _is_int(text, 32),
    "long": _is_int,
    "float": _parses(float),
    "double": _parses(float),
    "decimal": _parses(Decimal),
    "bool": lambda text: text.lower() in ("true", "false"),
    "datetime": _parses(datetime.fromisoformat),
    "guid": _parses(UUID),
    "alpha": lambda text: re.fullmatch("[A-Za-z]*", text) is not None,
    "required": bool,
}
