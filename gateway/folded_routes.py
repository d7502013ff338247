"""A route table whose paths match without case and with or without a slash at the end.

Kudu and the Functions admin API promise that; aiohttp's router knows neither. It must not know
what the routes mean.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from gateway.platform import Platform

Match = dict[str, str]
Call = Callable[[Platform, web.Request, Match], Awaitable[web.StreamResponse]]

_PLACEHOLDER = re.compile(r"\{(\w+)(\*|=\w+)?\}")


@dataclass(frozen=True, slots=True)
class FoldedRoute:
    """One verb and pattern; `{name}` is one segment, `{name*}` the rest, `{name=word}` a word."""

    methods: frozenset[str]
    pattern: re.Pattern[str]
    call: Call


class FoldedRoutes:
    """Routes in the order in which they are tried."""

    def __init__(self) -> None:
        self._routes: list[FoldedRoute] = []

    def add(self, methods: str, template: str, call: Call) -> None:
        """Register a handler for the verbs ("GET HEAD") under a template."""
        self._routes.append(FoldedRoute(frozenset(methods.split()), _compile(template), call))

    def find(self, method: str, path: str) -> tuple[Call, Match] | None:
        """Return the handler for a decoded path and what its placeholders matched."""
        for route in self._routes:
            if method in route.methods and (match := route.pattern.fullmatch(path)):
                return route.call, match.groupdict(default="")
        return None


def _compile(template: str) -> re.Pattern[str]:
    parts: list[str] = []
    at = 0
    for found in _PLACEHOLDER.finditer(template):
        parts.append(re.escape(template[at : found.start()]))
        name, form = found.group(1), found.group(2) or ""
        what = ".*" if form == "*" else form[1:] or "[^/]+"
        parts.append(f"(?P<{name}>{what})")
        at = found.end()
    parts.append(re.escape(template[at:]))
    # A catch-all keeps its own last slash: it says "folder" there.
    tail = "" if template.endswith("*}") else "/?"
    return re.compile("".join(parts) + tail, re.IGNORECASE | re.DOTALL)
