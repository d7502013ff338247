"""What is wrong with the app's files: of the live release and of the last one that was refused."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gateway.platform import Platform
from scheduler.deployment import DeploymentState
from scheduler.functions import Problem, key


def problem_shape(problem: Problem) -> dict[str, Any]:
    """Return a problem as JSON."""
    return {
        "where": problem.where,
        "line": problem.line,
        "field": problem.field,
        "message": problem.message,
        "warning": problem.warning,
    }


async def known_problems(platform: Platform) -> list[Problem]:
    """Return the problems of the live release, then those for which a newer one was refused."""
    problems = list(platform.catalog.definition.problems)
    newest = await platform.deployments.history(1)
    if newest and newest[0].state is DeploymentState.REFUSED:
        problems += [problem for problem in newest[0].problems if problem not in problems]
    return problems


def problems_of(owner: str, problems: Iterable[Problem]) -> list[Problem]:
    """Return the problems that hurt one function ("hello") or job ("triggered/report")."""
    return [problem for problem in problems if key(problem.owner) == key(owner)]
