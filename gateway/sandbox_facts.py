"""What stands around a function or a job: as it was built, or as it will be at the first start."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from gateway.platform import Platform
from scheduler.functions import Function, Job
from scheduler.isolation import Isolation

_NOT_LIMITS = ("sandbox", "network", "ports")


def function_sandbox(platform: Platform, function: Function) -> dict[str, Any]:
    """Return the level, the layers and why they are less than what was asked for."""
    report = dict(platform.dispatcher.sandbox_report(function.name))
    if report["level"]:
        return report
    return {**report, **function.bundle.isolation.report(platform.reach())}


def job_sandbox(platform: Platform, job: Job) -> dict[str, Any]:
    """Return the level and the layers that the job's next process gets."""
    return job.bundle.isolation.report(platform.reach())


def resource_limits(isolation: Isolation) -> dict[str, Any]:
    """Return the limits of a sandbox by their names in "taak"; 0 is no limit."""
    return {name: value for name, value in asdict(isolation).items() if name not in _NOT_LIMITS}


def level_word(report: dict[str, Any]) -> str:
    """Return the level and the network in a word or two, for a table."""
    level, network = str(report.get("level", "")), report.get("network", "none")
    return level if network in ("none", "host") or not level else f"{level}, {network}"
