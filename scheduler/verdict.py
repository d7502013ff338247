"""Whether a new definition may take the place of the one that serves.

The rule: what served well must not be lost. A broken function or job that served before refuses
the whole deployment, so that its last good version goes on; one that is new, or was broken
already, is listed as a problem and does not stop the others.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import replace

from scheduler.catalog import label
from scheduler.functions import AppDefinition, Problem, key

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
