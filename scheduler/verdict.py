"""Whether a new definition may take the place of the one that serves.

The rule: what served well must not be lost. A broken function or job that served before refuses
the whole deployment, so that its last good version goes on; one that is new, or was broken
already, is listed as a problem and does not stop the others.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from scheduler.catalog import label
from scheduler.function_manifest import FUNCTION_FILE
from scheduler.functions import AppDefinition, Function, Job, Problem, key
from scheduler.host_manifest import HOST_FILE
from scheduler.isolation import Level
from scheduler.job_manifest import SETTINGS_FILE

#: How the guest ends the line of an error of one of the app's files.
_PLACE = re.compile(r"(?P<what>.*) \((?P<file>[^()]+), line (?P<line>\d+)\)")


def losses(serving: AppDefinition, problems: Iterable[Problem]) -> list[Problem]:
    """Return the problems that would take away something that serves well now."""
    well = _serves_well(serving)
    old = {(problem.where, problem.message) for problem in serving.problems}
    return [
        problem
        for problem in problems
        if not problem.warning
        and (
            key(problem.owner) in well
            if problem.owner
            else bool(well) and (problem.where, problem.message) not in old
        )
    ]


def with_levels(
    problems: list[Problem], coming: AppDefinition, least: Level | None
) -> list[Problem]:
    """Return the problems with those of whoever asks for less than the platform's least level.

    Their code was refused before it was imported: what is wrong is a setting, and not the code.
    """
    if least is None:
        return problems
    every: list[Function | Job] = [*coming.functions, *coming.jobs]
    below = [one for one in every if not one.bundle.isolation.sandbox.reaches(least)]
    owners = set(map(label, below))
    rest = [problem for problem in problems if problem.warning or problem.owner not in owners]
    return [*rest, *(_too_low(one, least) for one in below)]


def _too_low(one: Function | Job, least: Level) -> Problem:
    level = one.bundle.isolation.sandbox.value
    own, where = (
        (one.config.get("taak"), f"{one.directory}/{FUNCTION_FILE}")
        if isinstance(one, Function)
        else (one.settings.get("taak"), f"{one.directory}/{SETTINGS_FILE}")
    )
    is_own = isinstance(own, Mapping) and "sandbox" in map(str.casefold, own)
    told = (
        f'the bundle {one.bundle.name!r} has the level "{level}", and the platform was started '
        f"with --require-sandbox {least.value}: it does not run; raise the level here, or start "
        "the platform with less"
    )
    place = where if is_own else HOST_FILE
    return Problem(place, told, field="taak.sandbox", owner=label(one))


def owned(problems: Iterable[Problem], coming: AppDefinition) -> list[Problem]:
    """Return the problems with their functions named, for those that only name the script."""
    owners = {function.script_file: function.name for function in coming.functions}
    return [
        _placed(problem if problem.owner else replace(problem, owner=owners.get(problem.where, "")))
        for problem in problems
    ]


def _placed(problem: Problem) -> Problem:
    """Return the problem at the file and line that its first line ends with, if it does."""
    first, *rest = problem.message.split("\n", 1)
    found = _PLACE.fullmatch(first)
    if problem.line or found is None or os.path.isabs(found["file"]):
        return problem
    message = "\n".join([found["what"], *rest])
    return replace(problem, where=found["file"], line=int(found["line"]), message=message)


def inherited(serving: AppDefinition, coming: AppDefinition) -> list[Problem]:
    """Return what is still wrong with functions that did not change.

    A function that is served and in error is one whose code does not load. It is not tried again
    as long as nothing about it has changed, but it must not look healed.
    """
    bundles = {key(function.name): function.bundle.digest for function in serving.functions}
    same = {
        key(function.name)
        for function in coming.functions
        if bundles.get(key(function.name)) == function.bundle.digest
    }
    return [p for p in serving.problems if not p.warning and key(p.owner) in same]


def _serves_well(serving: AppDefinition) -> set[str]:
    broken = {key(problem.owner) for problem in serving.problems if not problem.warning}
    names = {key(label(function)) for function in serving.functions}
    names |= {key(label(job)) for job in serving.jobs if not job.error}
    return names - broken
