"""From method and path to a function: ASP.NET route templates (functions.md 7.1).

A table is built once for each release and never changed; a path without parameters costs one dict
look-up. Order: templates with more literal text first, then by function name. Upstream goes by
name alone; the difference shows only where one app has both `users/{id}` and `users/me`.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import NamedTuple
from urllib.parse import unquote

from scheduler.functions import AuthLevel, Function, HttpTrigger
from scheduler.route_rules import PARAMETER, PIECE, RULE

Params = tuple[tuple[str, str], ...]
_Check = Callable[[str], bool]

# Stands for an encoded slash while segments are told apart: no decoded text holds a lone surrogate.
_SLASH = chr(0xD800)
_DOTS = re.compile(rf"[/{_SLASH}]\.\.?(?:[/{_SLASH}]|$)")


class Match(NamedTuple):
    """A function that answers a request, and the values of its route's parameters."""

    function: Function
    params: Params
    is_open: bool  # to callers without a key


class _Route(NamedTuple):
    function: Function
    methods: frozenset[str] | None
    pattern: re.Pattern[str] | None  # None: no parameters
    defaults: dict[str, str]
    checks: tuple[tuple[str, _Check], ...]
    literals: int
    is_open: bool  # ends with a catch-all
    plain: Match  # what a request gives that has no parameters: made once


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
        path = _decoded(path)
        for route in self._literal.get(path.strip("/").lower(), ()):
            if route.methods is None or method in route.methods:
                return route.plain
        for route in self._patterns:
            if route.methods is not None and method not in route.methods:
                continue
            if (params := _params(route, path)) is not None:
                return Match(route.function, params, route.plain.is_open)
        return None

    def owns(self, path: str) -> bool:
        """Tell whether any function answers this path, whatever the method."""
        path = _decoded(path)
        return path.strip("/").lower() in self._literal or any(
            _params(route, path) is not None for route in self._patterns
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
    """Decode once; an encoded slash separates no segments, and dot segments lead nowhere.

    A function that joins a parameter to a folder must never see "..": the original's server takes
    such segments out before routing, so apps rely on it.
    """
    if "%" in path:
        path = _SLASH.join(unquote(part) for part in re.split("%2[fF]", path))
    if "." in path and _DOTS.search(path):
        return _without_dots(path.replace(_SLASH, "/"))
    return path


def _without_dots(path: str) -> str:
    kept: list[str] = []
    *segments, last = path.split("/")[1:]
    for segment in (*segments, last):
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if last in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)


def _params(route: _Route, path: str) -> Params | None:
    assert route.pattern is not None
    # A catch-all keeps its own last slash; any other route does not know one.
    found = route.pattern.fullmatch(path[1:] if route.is_open else path.strip("/"))
    if found is None:
        return None
    params = []
    for group, value in found.groupdict().items():
        text = value or route.defaults.get(group)
        if text:
            params.append((group, text.replace(_SLASH, "/")))
    values = dict(params)
    for name, check in route.checks:
        if name in values and not check(values[name]):
            return None
    return tuple(params)


def _compile(function: Function, methods: frozenset[str] | None, template: str) -> _Route:
    text, literals, is_open = "", 0, False
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
        is_open = bool(parameter["stars"])
        if parameter["default"]:
            defaults[name] = parameter["default"][1:]
        checks += [(name, check) for check in _checks(parameter["rules"])]
    pattern = re.compile(text, re.IGNORECASE) if "(?P<" in text else None
    trigger = function.trigger
    assert isinstance(trigger, HttpTrigger)
    plain = Match(function, (), trigger.auth_level is AuthLevel.ANONYMOUS)
    return _Route(function, methods, pattern, defaults, tuple(checks), literals, is_open, plain)


def _with_parameter(text: str, parameter: re.Match[str]) -> str:
    group = f"(?P<{parameter['name']}>"
    if not (parameter["stars"] or parameter["optional"] or parameter["default"]):
        # Greedy: of several dots in "{name}.{ext}" the last one separates.
        return f"{text}{group}{_VALUE})"
    value = ".*" if parameter["stars"] else "[^/]*"
    if text.endswith("/"):
        return f"{text[:-1]}(?:/{group}{value}))?"
    if text.endswith(rf"{_VALUE})\.") and parameter["optional"]:  # the dot is optional with it
        return rf"{text[:-3]}?)(?:\.{group}[^/.]+))?"
    return f"{text}{group}{value})?"


_VALUE = "[^/]+"


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


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", text, re.ASCII) is not None


def _is_decimal(text: str) -> bool:
    return re.fullmatch(r"[+-]?(\d{1,29}\.?\d*|\.\d+)", text, re.ASCII) is not None


def _is_guid(text: str) -> bool:
    return _GUID.fullmatch(text) is not None


_GUID = re.compile(
    r"[0-9a-f]{32}|(?P<open>[({])?[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(?(open)[)}])",
    re.IGNORECASE,
)


def _is_instant(text: str) -> bool:
    with contextlib.suppress(ValueError):
        datetime.fromisoformat(text)
        return True
    with contextlib.suppress(ValueError):
        datetime.strptime(text, "%Y-%m-%d %I:%M%p")  # noqa: DTZ007  only whether it parses
        return True
    return False


_KINDS: dict[str, _Check] = {
    "int": lambda text: _is_int(text, 32),
    "long": _is_int,
    "float": _is_number,
    "double": _is_number,
    "decimal": _is_decimal,
    "bool": lambda text: text.lower() in ("true", "false"),
    "datetime": _is_instant,
    "guid": _is_guid,
    "alpha": lambda text: re.fullmatch("[A-Za-z]*", text) is not None,
    "required": bool,
}
