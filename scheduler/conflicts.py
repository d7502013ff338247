"""Functions that claim the same thing: a name, a route with a method, the one warm-up.

The first by name has it, the later one is in error (functions.md 7.1).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from scheduler.function_manifest import FUNCTION_FILE
from scheduler.functions import Function, HttpTrigger, OtherTrigger, Problem, key
from scheduler.route_rules import conflict_form


def without_conflicts(functions: Iterable[Function], problems: list[Problem]) -> list[Function]:
    """Return the functions without those that claim what an earlier one has; note each."""
    kept: list[Function] = []
    holders: dict[str, list[Function]] = defaultdict(list)
    for function in functions:
        claims = _claims(function)
        rivals = (rival for claim in claims for rival in holders[claim])
        reason = next((told for rival in rivals if (told := _conflict(function, rival))), "")
        if reason:
            where = f"{function.directory}/{FUNCTION_FILE}"
            problems.append(Problem(where, reason, owner=function.name))
            continue
        kept.append(function)
        for claim in claims:
            holders[claim].append(function)
    return kept


def _claims(function: Function) -> list[str]:
    """Return what two functions may not both claim, as texts that are equal then."""
    claims = [f"name {key(function.name)}"]
    if isinstance(function.trigger, HttpTrigger):
        claims.append(f"route {conflict_form(function.trigger.route)}")
    elif isinstance(function.trigger, OtherTrigger) and _warms_up(function.trigger):
        claims.append("warm-up")
    return claims


def _warms_up(trigger: OtherTrigger) -> bool:
    return trigger.type.casefold() == "warmuptrigger"


def _conflict(function: Function, rival: Function) -> str:
    """Return why two functions with a common claim cannot both serve; empty if they can."""
    told = f"conflicts with function {rival.name!r}"
    if key(function.name) == key(rival.name):
        return f"{told}: names compare without case; rename one"
    mine, theirs = function.trigger, rival.trigger
    if isinstance(mine, HttpTrigger) and isinstance(theirs, HttpTrigger):
        shared = _shared_methods(mine, theirs)
        if not shared:
            return ""
        return (
            f"{told}: both serve the route {mine.route!r} for {', '.join(sorted(shared))}; change "
            "the route or the methods of one"
        )
    return f"{told}: an app has at most one warmupTrigger; remove one"


def _shared_methods(mine: HttpTrigger, theirs: HttpTrigger) -> frozenset[str]:
    if mine.methods is not None and theirs.methods is not None:
        return mine.methods & theirs.methods
    return mine.methods or theirs.methods or frozenset({"every method"})
