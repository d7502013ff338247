"""A route table whose paths match without case and with or without a slash at the end.

Kudu and the Functions admin API promise that; aiohttp's router knows neither. It must not know
what the routes mean.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

from aiohttp import web

from gateway.path_template import Pattern, template
from gateway.platform import Platform

Match = dict[str, str]
Call = Callable[[Platform, web.Request, Match], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class FoldedRoute:
    """Verbs, a path's template, and who answers."""

    methods: frozenset[str]
    path: str
    pattern: Pattern
    call: Call


class FoldedRoutes:
    """Routes in the order in which they are tried."""

    def __init__(self) -> None:
        self._routes: list[FoldedRoute] = []

    def __iter__(self) -> Iterator[FoldedRoute]:
        """Yield every route."""
        return iter(self._routes)

    def add(self, methods: str, path: str, call: Call) -> None:
        """Register a handler for the verbs ("GET HEAD") under a template."""
        self._routes.append(FoldedRoute(frozenset(methods.split()), path, template(path), call))

    def find(self, method: str, path: str) -> tuple[Call, Match] | None:
        """Return the handler for a decoded path and what its placeholders matched."""
        for route in self._routes:
            if method in route.methods and (match := route.pattern.fullmatch(path)):
                return route.call, match.groupdict(default="")
        return None
