"""/v1/doctor: what this machine and this platform lack, each with the fix."""

from __future__ import annotations

from collections.abc import Iterator

from aiohttp import web

from gateway.machine import Check, inspect_machine
from gateway.native.route import Route, answer
from gateway.platform import Platform
from scheduler.deployment import DeploymentState
from scheduler.errors import SchedulerError


async def doctor(platform: Platform, _request: web.Request) -> web.Response:
    """Answer GET /v1/doctor."""
    checks = [
        *inspect_machine(platform.home),
        _readiness(platform),
        await _store(platform),
        await _deployment(platform),
        *_sandboxes(platform),
    ]
    return answer({"checks": [_shape(check) for check in checks]})


def _shape(check: Check) -> dict[str, object]:
    return {
        "name": check.name,
        "ok": check.ok,
        "detail": check.detail,
        "fix": "" if check.ok else check.fix,
        "needed": check.needed,
    }


def _readiness(platform: Platform) -> Check:
    reasons = platform.ready()
    return Check("ready", not reasons, "; ".join(reasons) or "calls are served")


async def _store(platform: Platform) -> Check:
    fix = "look at the disk and the platform's log; the store recovers without a restart"
    try:
        health = await platform.store.health()
    except SchedulerError as error:
        return Check("store", False, str(error), fix)
    return Check("store", health.ok, health.detail or platform.store_url or "answers", fix)


async def _deployment(platform: Platform) -> Check:
    newest = await platform.deployments.history(1)
    if not newest or newest[0].state is not DeploymentState.REFUSED:
        return Check("deployment", True, "the site is what runs")
    problems = [str(problem) for problem in newest[0].problems if not problem.warning]
    detail = "the newest files are refused, the last good release serves: " + "; ".join(problems)
    return Check("deployment", False, detail, "mend the files named; saving them deploys again")


def _sandboxes(platform: Platform) -> Iterator[Check]:
    """Yield what the self-test found, and each reason why a sandbox is weaker than asked for."""
    reach = platform.reach()
    is_whole = reach.is_standard
    fix = reach.because or "see README, Isolation"
    yield Check("sandbox", is_whole, f"level {reach.level.value}", fix, needed=False)
    reasons: dict[str, list[str]] = {}
    for function in platform.catalog.functions():
        because = platform.dispatcher.sandbox_report(function.name).get("degraded_because")
        for reason in [because] if isinstance(because, str) else because or ():
            if reason and reason != reach.because:
                reasons.setdefault(str(reason), []).append(function.name)
    for reason, names in reasons.items():
        yield Check("sandbox", False, f"{reason} ({', '.join(names)})", needed=False)


ROUTES = (
    Route(
        method="GET",
        path="/v1/doctor",
        call=doctor,
        summary="What is missing here, and the fix",
        answer="Doctor",
    ),
)
