"""The facts of the start screen, read from the running platform."""

from __future__ import annotations

import os
import time

from gateway.job_facts import continuous_status
from gateway.machine import inspect_machine
from gateway.platform import Platform
from gateway.sandbox_facts import function_sandbox, job_sandbox, level_word
from gateway.start_screen import FunctionLine, JobLine, Missing, StartFacts
from scheduler.deployment import DeploymentState
from scheduler.functions import Function, HttpTrigger, Job, JobKind, OtherTrigger, TimerTrigger


async def start_facts(platform: Platform, began: float) -> StartFacts:
    """Return what the screen shows; `began` is a monotonic time."""
    definition = platform.catalog.definition
    functions = [_function(platform, function) for function in definition.functions]
    served = set(_names(platform))
    broken = dict.fromkeys(p.owner for p in definition.problems if p.owner and not p.warning)
    functions += [
        FunctionLine(name, "", "", "error")
        for name in broken
        if name not in served | _jobs(platform)
    ]
    return StartFacts(
        version=platform.version,
        instance=platform.instance,
        site=str(platform.site),
        home=str(platform.home),
        data_url=platform.data_url,
        management_url=platform.management_url,
        portal_url=f"{platform.management_url}/?token={platform.keys.issue_token()}",
        key_file=platform.keys.source.replace("HOME", str(platform.home)),
        functions=functions,
        jobs=[_job(platform, job) for job in definition.jobs],
        sandbox_level=platform.reach().level.value,
        sandbox_because=platform.reach().because,
        missing=[
            Missing(check.name, check.fix)
            for check in inspect_machine(platform.home)
            if not check.ok
        ],
        problems=[*_served_problems(platform), *await _refusal(platform)],
        started_in_s=time.monotonic() - began,
        pid=os.getpid(),
    )


def _served_problems(platform: Platform) -> list[str]:
    """Return what is wrong with the release that serves, but for what the table says already."""
    told = {name for name in _names(platform) if platform.dispatcher.load_error(name)}
    problems = platform.catalog.definition.problems
    shown = [p for p in problems if not (p.field == "import" and p.owner in told)]
    return [f"warning: {p}" if p.warning else str(p) for p in shown]


async def _refusal(platform: Platform) -> list[str]:
    """Return why the site's newest state does not serve, nothing if it does."""
    newest = await platform.deployments.history(1)
    if not newest or newest[0].state is not DeploymentState.REFUSED:
        return []
    reasons = [f"  {problem}" for problem in newest[0].problems if not problem.warning]
    return ["the site as it is now was refused; the last good release serves:", *reasons]


def _names(platform: Platform) -> list[str]:
    return [function.name for function in platform.catalog.functions()]


def _jobs(platform: Platform) -> set[str]:
    return {f"{job.kind.value}/{job.name}" for job in platform.catalog.jobs()}


def _function(platform: Platform, function: Function) -> FunctionLine:
    error = platform.dispatcher.load_error(function.name)
    state = "error" if error else "disabled" if function.disabled else "ready"
    note = error[0] if error else function.disabled
    level = level_word(function_sandbox(platform, function))
    match function.trigger:
        case HttpTrigger(route=route, methods=methods, auth_level=auth):
            prefix = platform.catalog.definition.host.route_prefix
            path = "/".join(filter(None, (prefix.strip("/"), route.strip("/"))))
            verbs = ",".join(sorted(methods)) if methods else "any"
            where = f"{verbs} {platform.data_url}/{path}"
            return FunctionLine(function.name, f"http ({auth.value})", where, state, note, level)
        case TimerTrigger(expression=expression):
            return FunctionLine(function.name, "timer", expression, state, note, level)
        case OtherTrigger(type=kind):
            return FunctionLine(function.name, kind, "by hand", state, note, level)


def _job(platform: Platform, job: Job) -> JobLine:
    schedule = job.schedule.text if job.schedule else ""
    note = job.error or job.schedule_error
    level = level_word(job_sandbox(platform, job))
    if job.kind is JobKind.TRIGGERED:
        state = "error" if job.error else "ready"
        return JobLine(job.name, "triggered", schedule, state, note, level)
    state = "error" if job.error else continuous_status(platform, job).state.value
    return JobLine(job.name, "continuous", "", state, note, level)
