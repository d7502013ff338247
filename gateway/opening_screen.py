"""The facts of the start screen, read from the running platform."""

from __future__ import annotations

import os
import time

from gateway.job_facts import continuous_status
from gateway.machine import inspect_machine
from gateway.platform import Platform
from gateway.start_screen import FunctionLine, JobLine, Missing, StartFacts
from scheduler.functions import Function, HttpTrigger, Job, JobKind, OtherTrigger, TimerTrigger


def start_facts(platform: Platform, began: float) -> StartFacts:
    """Return what the screen shows; `began` is a monotonic time."""
    definition = platform.catalog.definition
    functions = [_function(platform, function) for function in definition.functions]
    served = {function.name for function in definition.functions}
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
        sandbox_level="process",
        sandbox_missing=("namespaces", "Landlock", "seccomp"),
        missing=[
            Missing(check.name, check.fix)
            for check in inspect_machine(platform.home)
            if not check.ok
        ],
        problems=[str(problem) for problem in definition.problems],
        started_in_s=time.monotonic() - began,
        pid=os.getpid(),
    )


def _jobs(platform: Platform) -> set[str]:
    return {f"{job.kind.value}/{job.name}" for job in platform.catalog.jobs()}


def _function(platform: Platform, function: Function) -> FunctionLine:
    error = platform.dispatcher.load_error(function.name)
    state = "error" if error else "disabled" if function.disabled else "ready"
    note = error[0] if error else function.disabled
    match function.trigger:
        case HttpTrigger(route=route, methods=methods, auth_level=level):
            prefix = platform.catalog.definition.host.route_prefix
            path = "/".join(filter(None, (prefix.strip("/"), route.strip("/"))))
            verbs = ",".join(sorted(methods)) if methods else "any"
            where = f"{verbs} {platform.data_url}/{path}"
            return FunctionLine(function.name, f"http ({level.value})", where, state, note)
        case TimerTrigger(expression=expression):
            return FunctionLine(function.name, "timer", expression, state, note)
        case OtherTrigger(type=kind):
            return FunctionLine(function.name, kind, "by hand", state, note)


def _job(platform: Platform, job: Job) -> JobLine:
    schedule = job.schedule.text if job.schedule else ""
    note = job.error or job.schedule_error
    if job.kind is JobKind.TRIGGERED:
        return JobLine(job.name, "triggered", schedule, "error" if job.error else "ready", note)
    state = "error" if job.error else continuous_status(platform, job).state.value
    return JobLine(job.name, "continuous", "", state, note)
