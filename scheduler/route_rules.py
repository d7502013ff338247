"""Which route templates an HTTP function may have (functions.md 7.1), decided at deployment.

Says what is wrong with a template and gives the form under which two templates conflict. Matching
requests is the gateway's business.
"""

from __future__ import annotations

import re

CONSTRAINTS = (
    "int", "long", "float", "double", "decimal", "bool", "datetime", "guid", "alpha", "length",
    "minlength", "maxlength", "min", "max", "range", "regex", "required",
)  # fmt: skip
#: Beginnings of routes that belong to the platform; a plain prefix test, as upstream.
RESERVED = ("admin", "runtime")
_FORBIDDEN = frozenset("?#\\ \t\r\n")

PIECE = re.compile(r"\{\{|\}\}|\{(?P<inner>(?:[^{}]|\{\{|\}\})*)\}|[^{}]")
PARAMETER = re.compile(
    r"(?P<stars>\*{0,2})(?P<name>[^\W\d][\w\-]*)(?P<rules>(?::[a-zA-Z]+(?:\((?:.*?)\))?(?=[:=?]|$))*)"
    r"(?P<default>=[^?]*)?(?P<optional>\?)?"
)
RULE = re.compile(r":([a-zA-Z]+)(?:\(.*?\)(?=[:=?]|$))?")


def route_problem(route: str) -> str:
    """Return what is wrong with a route, without prefix; empty if nothing is."""
    reserved = next((r for r in RESERVED if route.strip("/").casefold().startswith(r)), "")
    if reserved:
        return (
            f"{route!r} begins with {reserved!r}, which belongs to the platform; rename the route"
        )
    if "//" in route:
        return f"{route!r} has an empty segment; remove one '/'"
    pieces = _pieces(route)
    if pieces is None:
        return f"{route!r} has a brace without its partner; write {{name}}, or {{{{ for a brace"
    return _parameters_problem(route, pieces)


def conflict_form(route: str) -> str:
    """Return the route without case and parameter names: equal forms match the same requests."""
    form = ""
    for piece in PIECE.finditer(route.strip("/")):
        found = PARAMETER.fullmatch(piece["inner"]) if piece["inner"] is not None else None
        form += piece[0] if found is None else f"{{{found['stars'][:1]}{found['rules']}}}"
    return form.casefold()


def _pieces(route: str) -> list[re.Match[str]] | None:
    pieces = list(PIECE.finditer(route))
    return pieces if sum(len(piece[0]) for piece in pieces) == len(route) else None


def _parameters_problem(route: str, pieces: list[re.Match[str]]) -> str:
    names: set[str] = set()
    for piece in pieces:
        inner = piece["inner"]
        if inner is None:
            if piece[0] in _FORBIDDEN:
                return f"{route!r} holds {piece[0]!r}, which no path has; remove it"
            continue
        found = PARAMETER.fullmatch(inner)
        if found is None:
            return f"{piece[0]!r} is no parameter; write {{name}}, {{name:int}} or {{*rest}}"
        problem = _parameter_problem(piece, found, names)
        if problem:
            return problem
        names.add(found["name"].casefold())
    return ""


def _parameter_problem(piece: re.Match[str], found: re.Match[str], names: set[str]) -> str:
    if found["name"].casefold() in names:
        return f"the parameter {found['name']!r} is there twice; rename one"
    for rule in RULE.findall(found["rules"]):
        if rule.casefold() not in CONSTRAINTS:
            return f"{piece[0]!r}: unknown constraint {rule!r}; known: {', '.join(CONSTRAINTS)}"
    if found["optional"] and found["default"]:
        return f"{piece[0]!r} cannot be optional and have a default; remove '?'"
    if (found["optional"] or found["stars"]) and piece.end() != len(piece.string.rstrip("/")):
        kind = "a catch-all" if found["stars"] else "an optional parameter"
        return f"{piece[0]!r}: {kind} must be the end of the route"
    if found["stars"] and piece.start() and piece.string[piece.start() - 1] != "/":
        return f"{piece[0]!r}: a catch-all must be a segment of its own"
    return ""
