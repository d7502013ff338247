"""What becomes of triggered runs that were open when the platform was killed (promise D3).

They are closed, never run again: nobody knows how far they came. Files and store are brought to
say the same.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial

from scheduler.errors import ConflictError, NotFoundError
from scheduler.run import Run, RunKind, RunState
from scheduler.run_ending import record_end
from scheduler.run_slots import LEASES
from scheduler.triggered_run import RunPlace, show_status

_log = logging.getLogger("taak.jobs")

HOST_RESTART = "host_restart"
HOST_LOST = "host_lost"


async def close_left_over_runs(place: RunPlace) -> list[Run]:
    """Close the runs that an earlier process of this instance left open, and return them."""
    for run in await place.store.open_runs(place.instance):
        if run.kind is RunKind.TRIGGERED:
            await _take_end_from_file(place, run)
    closed = await place.store.close_orphans(place.instance, HOST_RESTART)
    for run in closed:
        if run.kind is RunKind.TRIGGERED:
            told = "the platform was restarted while it ran"
            await place.programs.offload(partial(_show_aborted, place, run, told))
    return closed


async def close_runs_of_the_dead(place: RunPlace) -> list[Run]:
    """Close what instances that are gone have left under way, and return it.

    Gone is who is no living member and holds no right to run any more: one that only hangs for a
    moment still holds it, and has ended what it runs before it is free for others.
    """
    open_runs = [run for run in await place.store.open_runs() if _may_be_left(place, run)]
    if not open_runs:
        return []
    alive = {member.instance for member in await place.store.members() if member.alive}
    alive |= {lease.owner for lease in await place.store.leases(LEASES)}
    closed = []
    for run in open_runs:
        if run.instance in alive:
            continue
        try:
            ended = await place.store.update_run(run.id, RunState.ABORTED, reason=HOST_LOST)
        except (ConflictError, NotFoundError):
            continue  # somebody else has closed it
        told = f"its platform {run.instance} is gone"
        await place.programs.offload(partial(_show_aborted, place, ended, told))
        closed.append(ended)
    return closed


def _may_be_left(place: RunPlace, run: Run) -> bool:
    is_here = run.instance == place.instance
    return run.kind is RunKind.TRIGGERED and run.state is not RunState.QUEUED and not is_here


async def _take_end_from_file(place: RunPlace, run: Run) -> None:
    """Record an end that the store could not take while it happened, but the file did."""
    try:
        status = place.folders.read_run_status(run, run.public_id)
    except ValueError:
        return  # not a run that this program has made
    if status is None or status.ended_at is None:
        return
    success = status.status == "Success"
    await record_end(
        place.store,
        replace(
            run,
            state=RunState.SUCCESS if success else RunState.FAILED,
            ended_at=status.ended_at,
            exit_code=0 if success else None,
            reason="" if success else "told by the status file only",
            exec_ms=(status.ended_at - status.started_at).total_seconds() * 1000,
        ),
    )


def _show_aborted(place: RunPlace, run: Run, why: str) -> None:
    if not place.folders.has_run(run, run.public_id):
        return
    journal = place.logs.run(run, run.public_id)
    show_status(place.folders, run, run, "Aborted", run.ended_at)
    try:
        place.logs.complete_file(run, run.public_id)
    except OSError as error:
        _log.warning("the end of run %s is in its segments only: %s", run.public_id, error)
    journal.status("Aborted")
    journal.error(f"WebJob run was aborted: {why}")
