"""Why an attempt to deploy ends: the reasons as problems, and when they are told.

Decides nothing; `verdict.py` does.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterable
from pathlib import Path

from scheduler.deployment import Deployment
from scheduler.file_index import FileChangedError
from scheduler.functions import Problem

_log = logging.getLogger("taak.deployments")


class RefusedError(Exception):
    """An attempt that ends here, with the reasons."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = problems


def tell_errors(problems: Iterable[Problem]) -> None:
    """Log what is wrong: an error that is only in a table is swallowed for whoever reads logs."""
    for problem in problems:
        if not problem.warning:
            _log.warning("%s", problem)


def same_refusal(one: Deployment, other: Deployment) -> bool:
    """Tell whether the same content is refused for the same reasons."""
    return (one.state, one.digest, one.problems) == (other.state, other.digest, other.problems)


def not_copied(site: Path, error: OSError | FileChangedError) -> Problem:
    """Return why the files could not be copied, and what helps."""
    if isinstance(error, FileChangedError):
        return Problem(".", f"the files of {site} keep changing: {error}; let the writer finish")
    if error.errno == errno.ENOENT and error.filename == str(site):
        return Problem(".", f"the folder {site} is missing; put it back")
    hint = "free some space" if error.errno in {errno.ENOSPC, errno.EDQUOT} else "check the path"
    return Problem(".", f"the files of {site} cannot be copied: {error}; {hint}")
