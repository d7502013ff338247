"""What tests say when a tool of the machine is absent, so that a skip is never overlooked."""

from __future__ import annotations

import os
import shutil

import pytest

#: A skip whose reason starts so is a failure where CI=true, and shown loudly elsewhere.
MISSING = "missing tool"


def need(program: str) -> str:
    """Return the path of a program, or skip the test because it is not installed."""
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{MISSING}: {program}")
    return found


def is_ci() -> bool:
    """Tell whether an absent tool is a failure."""
    return os.environ.get("CI", "").lower() in {"true", "1"}


def judge(report: pytest.TestReport, *, strict: bool) -> str:
    """Return why a test was skipped for want of a tool, else ""; strictly, make it a failure."""
    if report.outcome != "skipped" or not isinstance(report.longrepr, tuple):
        return ""
    reason = report.longrepr[2].removeprefix("Skipped: ")
    if not reason.startswith(MISSING):
        return ""
    if strict:
        report.outcome = "failed"
        report.longrepr = f"{reason}; install it (.ci/run does), or run without CI=true"
    return reason
