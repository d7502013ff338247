"""`taak trigger`, `start`, `stop`, `restart`: a triggered job now, a continuous job on and off."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable
from typing import Annotated, Any

import typer

from gateway.cli.client import segment
from gateway.cli.exits import CliError, ExitCode
from gateway.cli.logs import follow_run
from gateway.cli.verb import Session, verb

FINAL_STATES = frozenset(
    {"success", "failed", "aborted", "timed-out", "out-of-memory", "cancelled"}
)


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command("trigger")(trigger)
    app.command("start")(start)
    app.command("stop")(stop)
    app.command("restart")(restart)


@verb
def trigger(
    session: Session,
    name: Annotated[str, typer.Argument(help="A triggered job, or a timer function.")],
    *,
    arguments: Annotated[list[str] | None, typer.Argument(help="Its arguments, after --.")] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for its end; exit 8 if it fails.")
    ] = False,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Print its log, and wait.")
    ] = False,
    timeout: Annotated[float, typer.Option(help="Seconds to wait at most; 0 is no limit.")] = 0.0,
    propagate: Annotated[bool, typer.Option("--propagate", help="Exit with its own code.")] = False,
) -> None:
    """Start a triggered job, or fire a timer, now."""
    client = session.client
    if client.find(f"/v1/jobs/triggered/{segment(name)}") is None:
        _fire_function(session, name)
        return
    body = {"arguments": shlex.join(arguments or [])}
    run = client.post(f"/v1/jobs/triggered/{segment(name)}/run", body)
    if follow:
        follow_run(session, run["id"])
    if wait or follow or propagate:
        run = _wait_for_end(session, run["id"], timeout)
    line = f"{name}: run {run['id']} {run.get('state', '')} {run.get('reason') or ''}".rstrip()
    session.terminal.result(run, lambda: print(line), [str(run["id"])])
    if run.get("state") in FINAL_STATES - {"success"}:
        raise _run_failed(name, run, propagate=propagate)


def _fire_function(session: Session, name: str) -> None:
    """Fire a function of that name; whatever else has the name is told with its verb."""
    path = f"/v1/functions/{segment(name)}"
    if session.client.find(path) is None:
        raise _not_fired(session, name)
    answer = session.client.post(f"{path}/invoke", {})
    line = f"{name}: {answer.get('ending')} {answer.get('invocation_id', '')}"
    ids = [str(answer.get("invocation_id", ""))]
    session.terminal.result(answer, lambda: print(line), ids)
    if answer.get("ending") != "succeeded":
        reason = answer.get("error") or answer.get("ending")
        raise CliError(f"{name} failed: {reason}", ExitCode.RUN_FAILED)


def _not_fired(session: Session, name: str) -> CliError:
    job = session.client.find(f"/v1/jobs/continuous/{segment(name)}")
    if job is None:
        message = f"no triggered job and no function is called {name!r}"
        hint = "taak list shows what is deployed"
        return CliError(message, ExitCode.NOT_FOUND, hint=hint)
    state = job.get("state") or "unknown"
    verb_for = "restart" if job.get("pid") else "start"
    return CliError(
        f"{name!r} is a continuous job ({state}): it runs all the time and is not triggered",
        ExitCode.CONFLICT,
        hint=f"to run it anew: taak {verb_for} {name}; what it says: taak logs {name}",
    )


def _wait_for_end(session: Session, run_id: int, timeout_s: float) -> dict[str, Any]:
    """Return the run when it has ended. The platform has no wait call, so this asks again."""
    deadline = time.monotonic() + timeout_s if timeout_s else None
    pause = 0.02
    while True:
        run: dict[str, Any] = session.client.get(f"/v1/runs/{run_id}")
        if run.get("state") in FINAL_STATES:
            return run
        if deadline is not None and time.monotonic() > deadline:
            message = f"run {run_id} is still {run.get('state')} after {timeout_s:g} s"
            raise CliError(message, ExitCode.TIMED_OUT, hint=f"taak runs show {run_id}")
        time.sleep(pause)
        pause = min(pause * 1.5, 1.0)


def _run_failed(name: str, run: dict[str, Any], *, propagate: bool) -> CliError | typer.Exit:
    own = run.get("exit_code")
    if propagate and isinstance(own, int) and own:
        return typer.Exit(own & 0xFF)
    reason = run.get("reason") or (f"exit code {own}" if own is not None else "")
    return CliError(
        f"{name}: run {run['id']} {run['state']}: {reason}",
        ExitCode.RUN_FAILED,
        hint=f"its log: taak runs log {run['id']}",
        facts={"exit_code_of_run": own},
    )


def _switch(action: str, words: str) -> Callable[..., None]:
    def switch(
        session: Session, name: Annotated[str, typer.Argument(help="A continuous job.")]
    ) -> None:
        job = session.client.post(f"/v1/jobs/continuous/{segment(name)}/{action}")
        line = f"{name}: {job.get('state', '')}"
        session.terminal.result(job, lambda: print(line), [str(job.get("state", ""))])

    switch.__doc__ = words
    switch.__name__ = action
    return verb(switch)


start = _switch("start", "Start a continuous job, and keep it running.")
stop = _switch("stop", "Stop a continuous job: shutdown file, SIGTERM, bounded wait, kill.")
restart = _switch("restart", "Stop and start a continuous job.")
